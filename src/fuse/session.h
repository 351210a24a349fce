// One mounted FUSE connection: mounts by itself (root, no fusermount3), reads requests on its own worker threads and
// gives them to Operations. The only module part that knows libfuse.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "fuse/operations.h"

namespace caddis::fuse {

struct SessionOptions {
  std::string dir;  // absolute, exists
  bool allow_other = false;
  bool default_permissions = false;
  bool debug = false;  // libfuse prints every message on stderr
  int threads = 2;
};

class Session {
 public:
  // Mounts and waits (5 s at most) until the kernel's INIT is answered. `ops` outlives the session.
  // Errors: kDenied without CAP_SYS_ADMIN or /dev/fuse; kNotFound when there is no /dev/fuse.
  static Result<std::unique_ptr<Session>> start(const SessionOptions& options, Operations& ops);
  ~Session();  // stop()

  // Unmounts, ends the workers and closes the connection. A file that somebody still has open does not stop it: the
  // connection is aborted then (their next call fails with ECONNABORTED or ENOTCONN). What is parked must still be
  // answered by its owner while this runs. Bounded in time. Not from a FUSE worker.
  void stop();

  // Drop what the kernel has cached: the pages and attributes of an inode, attributes alone, one name in the directory.
  // May wait for requests in flight, so never from a FUSE worker or from a thread that answers parked requests. Not
  // after stop().
  void invalidate_inode(std::uint64_t ino);
  void invalidate_attributes(std::uint64_t ino);
  void invalidate_entry(const std::string& name);

  struct Impl;  // session.cc

 private:
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace caddis::fuse
