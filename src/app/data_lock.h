// caddis/lock in the data directory: one daemon at a time (flock, released by the kernel when the process ends).
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/result.h"

namespace caddis::app {

class DataLock {
 public:
  // Waits up to `wait_ms` for a predecessor that is being killed. `data_dir` exists. Blocking.
  // Errors: kBusy names the process that has it; what the disk says (kIo, kDenied, kReadOnly, kNoSpace).
  static Result<DataLock> acquire(const std::string& data_dir, std::int64_t wait_ms);
  DataLock(DataLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  DataLock& operator=(DataLock&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~DataLock();

 private:
  explicit DataLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace caddis::app
