// A disk in memory that forgets what was not synced: the Dir and File that tests and the simulator use.
//
// Two images. Calls see the volatile one; power_loss() goes back to the durable one:
//   content written or truncated   durable after sync() or datasync() of that file
//   names (create, mkdir, rename, unlink)   durable after sync() of the directory; a rename is atomic even between two
//                                  directories, and syncing either of them is enough
//   mtime                          durable with the file's next sync
// A file whose name was synced and whose content was not is there, and empty. Syncing a file does not make its name
// durable (ext4 often does that, POSIX does not promise it).
//
// A failed sync() or datasync() of a file drops its unsynced content from what a later sync writes, as Linux does after
// a write-back error: reads still show it, a power loss does not.
//
// Any thread. Handles may outlive the FakeDisk; after power_loss() or process_crash() they answer EIO.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>

#include "base/clock.h"
#include "os/file.h"

namespace caddis::os {

enum class FaultOp { kOpen, kRead, kWrite, kTruncate, kSync, kDirSync, kRename, kUnlink };

class FakeDisk {
 public:
  // Without a clock every change gets the same mtime.
  explicit FakeDisk(const Clock* clock = nullptr);
  ~FakeDisk();
  FakeDisk(const FakeDisk&) = delete;
  FakeDisk& operator=(const FakeDisk&) = delete;

  std::unique_ptr<Dir> root();

  // Everything unsynced is gone. Handles opened before answer EIO; the power is on again, faults are cleared.
  void power_loss();
  // The same, but a random part of what was unsynced survives, as on a real disk: of each file any subset of its
  // 512-byte sectors and truncations, of the names a prefix of the changes in the order they were made.
  void power_loss(std::uint64_t seed);
  // kill -9: handles are invalid, both images stay as they are; a pending cut is over.
  void process_crash();

  // The n-th call of this kind from now (1 is the next) fails with this errno, and count-1 more after it.
  // A failing write leaves the first half of its bytes.
  void fail(FaultOp op, std::uint64_t n, int sys_errno, std::uint64_t count = 1);
  void clear_faults();
  // Changes made since construction: creates, writes, truncates, syncs, renames, unlinks, each counted when it starts.
  std::uint64_t change_count() const;
  // The n-th change from now (1 is the next) and every call after it fails with EIO until power_loss() or
  // process_crash().
  void cut_power_at(std::uint64_t n);

  // ENOSPC beyond this many bytes in blocks of 4096 (holes are free). The failing write leaves the blocks that fit.
  void set_limit_bytes(std::uint64_t limit_bytes);
  std::uint64_t used_bytes() const;

  struct State;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace caddis::os
