#include "app/data_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace caddis::app {
namespace {

constexpr std::int64_t kRetryMs = 20;

std::string holder_of(int fd) {
  char text[32] = {};
  ssize_t n = pread(fd, text, sizeof text - 1, 0);
  std::string pid(text, static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
  while (!pid.empty() && pid.back() == '\n') pid.pop_back();
  return pid.empty() ? "unknown" : pid;
}

}  // namespace

Result<DataLock> DataLock::acquire(const std::string& data_dir, std::int64_t wait_ms) {
  std::string dir = data_dir + "/caddis";
  if (mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) return from_errno(errno, "data directory: make {}", dir);
  std::string path = dir + "/lock";
  int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return from_errno(errno, "data directory: open {}", path);
  DataLock lock(fd);
  while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    int e = errno;
    if (e != EWOULDBLOCK && e != EINTR) return from_errno(e, "data directory: lock {}", path);
    if (wait_ms <= 0) {
      return make_error(ErrorCode::kBusy,
                        "data directory {}: another caddis (process {}) is using it; stop that one, or give this one "
                        "its own data.dir",
                        data_dir, holder_of(fd));
    }
    timespec pause{.tv_sec = 0, .tv_nsec = kRetryMs * 1'000'000};
    nanosleep(&pause, nullptr);
    wait_ms -= kRetryMs;
  }
  std::string pid = std::to_string(getpid()) + "\n";
  if (ftruncate(fd, 0) != 0 || pwrite(fd, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return from_errno(errno, "data directory: write {}", path);
  }
  return lock;
}

DataLock::~DataLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace caddis::app
