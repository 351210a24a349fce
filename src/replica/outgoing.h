// What a follower is sent, read from the log and from snapshots. Blocking; pool threads, except where said.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "db/log.h"
#include "db/snapshot.h"
#include "ltx/header.h"
#include "ltx/stream.h"
#include "os/file.h"
#include "replica/frames.h"

namespace caddis::replica {

inline constexpr std::uint64_t kSmallFileBytes = 1u << 20;  // read, verified and sent as one
inline constexpr std::size_t kPieceBytes = 256u << 10;      // of what is larger

struct FollowerKind {
  std::uint64_t node_id = 0;
  bool own_frames = false;
};

// One LTX file in a follower's form: LiteFS's frame with chunks, or a channel of ours.
class LtxFraming {
 public:
  LtxFraming(bool own_frames, std::uint32_t channel, std::string name)
      : own_(own_frames), channel_(channel), name_(std::move(name)) {}
  void begin(Bytes& out) const;
  void bytes(Bytes& out, ByteView ltx) const;
  void end(Bytes& out, bool complete = true) const;  // LiteFS's form cannot say "given up"

 private:
  bool own_;
  std::uint32_t channel_;
  std::string name_;
};

struct OutgoingFiles {
  enum class End {
    kMore,       // the log goes on
    kLarge,      // the next file is a large one: `large`
    kSnapshot,   // only a snapshot leads on; `why`
    kDifferent,  // the follower's position is not part of our past; `why`
  };
  End end = End::kMore;
  Bytes frames;    // whole files
  Position after;  // of the follower, once it has them
  std::unique_ptr<os::File> large;
  std::uint64_t large_bytes = 0;
  std::string why;
};

struct FilesQuestion {
  std::string name;
  Position from;                      // of the follower
  std::vector<db::LogEntry> entries;  // ascending; the first begins at from + 1, if there is such a file
  Txid forwarded_from;                // transactions from here on were committed while the follower was connected
  FollowerKind follower;
  std::uint32_t channel = 0;  // those from here on are free
  Txid hwm;
};
// As many files as make about kPieceBytes, each verified before it goes out. Errors: the disk's, kCorrupt.
Result<OutgoingFiles> read_files(db::Log& log, const FilesQuestion& question);

// A large file that has been verified, or a snapshot of a database as it is: the bytes of an LTX file piece by piece.
class LtxPieces {
 public:
  virtual ~LtxPieces() = default;
  // Appends about kPieceBytes; false at the end of the file.
  virtual Result<bool> next(Bytes& out) = 0;
  virtual Position position() const = 0;  // after it
};
Result<std::unique_ptr<LtxPieces>> large_file_pieces(std::unique_ptr<os::File> file, std::uint64_t size_bytes);
// LTX v1 from TXID 1 to the snapshot's position, made while it is read. kCorrupt when the pages do not give the
// position's checksum.
std::unique_ptr<LtxPieces> snapshot_pieces(std::shared_ptr<db::SnapshotReader> snapshot, bool compress,
                                           std::uint64_t node_id, std::int64_t wall_ms);
// The same for a database that has been dropped.
Result<Bytes> drop_snapshot(Position position, std::uint32_t page_size_bytes, std::uint64_t node_id,
                            std::int64_t wall_ms);

// The positions that a database went through as far as its log tells, newest first, from `upto` down.
Result<std::vector<Position>> log_positions(db::Log& log, const std::string& name, Txid upto, std::size_t limit);

}  // namespace caddis::replica
