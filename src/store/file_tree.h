// Objects as files below one directory: the blocking half of the file store. Any thread.
//
// A new object is written into KEY.tmp, synced, given its mtime, renamed and the directory synced. KEY.tmp is locked
// (flock) while it is written: two writers of one key exclude each other, and what a dead one left is overwritten by
// the next, or swept away when its directory gets its next object (an hour later, as other programs do not lock
// theirs).
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/mutex.h"
#include "base/result.h"
#include "store/store.h"

namespace caddis::store {

// An object that is being written. Destroyed without commit(), nothing stays.
class PendingFile {
 public:
  PendingFile(int fd, std::string dir, std::string path, PutOptions options);
  ~PendingFile();
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;

  Status write(ByteView data);
  Result<std::string> commit();  // the etag; kConflict when the options' condition does not hold
  const std::string& path() const { return path_; }

 private:
  Status publish();
  int fd_;
  std::string dir_;
  std::string path_;  // the final one
  PutOptions options_;
  bool renamed_ = false;
};

class FileTree {
 public:
  explicit FileTree(std::string root) : root_(std::move(root)) {}

  Result<std::vector<ObjectInfo>> list(const std::string& prefix, const std::stop_token& stop) const;
  Result<std::vector<std::string>> list_dirs(const std::string& prefix, const std::stop_token& stop) const;
  Result<Bytes> get(const std::string& key, std::uint64_t offset, std::uint64_t length) const;
  Result<int> open(const std::string& key, std::uint64_t& size_bytes) const;  // a descriptor, the caller's to close
  Result<ObjectHead> head(const std::string& key) const;
  Result<std::unique_ptr<PendingFile>> create(const std::string& key, PutOptions options);
  Status remove(const std::vector<std::string>& keys) const;

 private:
  Status check_parent() const;
  Error missing(const std::string& key, int sys_errno, const char* doing) const;
  void sweep(const std::string& dir);

  std::string root_;
  Mutex mutex_;
  std::set<std::string> swept_ GUARDED_BY(mutex_);
};

// "" or what is wrong with the key: components must not be empty, "." or "..", nor end in ".tmp".
std::string key_problem(std::string_view key);

}  // namespace caddis::store
