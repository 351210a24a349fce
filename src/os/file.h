// Files and directories behind an interface, so that tests and the simulator can lose what was not synced.
// The system implementation is SystemDir; the fake one (FakeDisk) forgets unsynced data at power_loss().
// Blocking; any thread. Names are single components: no "/", never followed through symlinks.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace caddis::os {

class File {
 public:
  virtual ~File() = default;
  // Reads up to out.size() bytes; short only at the end of the file.
  virtual Result<std::size_t> pread(ByteSpan out, std::uint64_t offset) const = 0;
  // Writes all of it or fails (ENOSPC may leave a part).
  virtual Status pwrite(ByteView data, std::uint64_t offset) = 0;
  virtual Status truncate(std::uint64_t size_bytes) = 0;
  virtual Status datasync() = 0;
  virtual Status sync() = 0;
  virtual Result<std::uint64_t> size_bytes() const = 0;
  virtual int fd() const { return -1; }  // for sendfile, mmap and fuse replies; -1 for fakes
};

struct FileInfo {
  std::uint64_t size_bytes = 0;
  std::int64_t mtime_ms = 0;  // wall clock
  bool is_dir = false;
  std::uint64_t inode = 0;
};

enum class OpenMode {
  kRead,       // must exist
  kReadWrite,  // must exist
  kCreate,     // read-write, made when absent, content kept
  kCreateNew,  // read-write, kExists when there
  kTruncate,   // read-write, made when absent, emptied
};

class Dir {
 public:
  virtual ~Dir() = default;
  virtual Result<std::unique_ptr<File>> open(std::string_view name, OpenMode mode) = 0;
  virtual Result<std::unique_ptr<Dir>> open_dir(std::string_view name) = 0;  // kNotFound when absent
  virtual Result<std::unique_ptr<Dir>> make_dir(std::string_view name) = 0;  // opened, made when absent (0700)
  virtual Status unlink(std::string_view name) = 0;
  virtual Status remove_tree(std::string_view name) = 0;  // a file or a directory with all in it
  virtual Status rename(std::string_view from, Dir& to_dir, std::string_view to) = 0;  // replaces; same file system
  virtual Result<std::vector<std::string>> list() = 0;                                 // sorted, without . and ..
  virtual Result<FileInfo> info(std::string_view name) = 0;
  virtual Status set_mtime(std::string_view name, std::int64_t wall_ms) = 0;
  virtual Status sync() = 0;  // makes names durable
  // True where syncing a new file makes its name durable too (ext4, XFS, btrfs): no sync of the directory is needed.
  virtual bool file_sync_keeps_name() const { return false; }
  // Everything on this file system at once, which beats syncing hundreds of files. False: this disk cannot.
  virtual Result<bool> sync_file_system() { return false; }
  virtual std::string path() const = 0;  // for messages
  Status rename(std::string_view from, std::string_view to) { return rename(from, *this, to); }
};

Result<std::unique_ptr<Dir>> open_system_dir(const std::string& path);  // must exist
Result<std::unique_ptr<Dir>> make_system_dir(const std::string& path);  // made with its parents (0700) when absent
// Whole small files. write_file_durably: NAME.tmp, fsync, rename, fsync of the directory.
Result<Bytes> read_file(Dir& dir, std::string_view name, std::uint64_t limit_bytes = 64u << 20);
Status write_file_durably(Dir& dir, std::string_view name, ByteView content);
// pread that fails with kCorrupt when the file ends early.
Status read_exactly(const File& file, ByteSpan out, std::uint64_t offset);

}  // namespace caddis::os
