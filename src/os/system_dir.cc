#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "os/file.h"

namespace caddis::os {
namespace {

// fsync(2) promises nothing about names. These do: a new file's sync commits the journal its name is in, or logs it.
bool file_sync_keeps_name_on(int fd) {
  struct statfs fs{};
  if (::fstatfs(fd, &fs) != 0) return false;
  return fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == XFS_SUPER_MAGIC || fs.f_type == BTRFS_SUPER_MAGIC;
}

class SystemFile final : public File {
 public:
  SystemFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~SystemFile() override { ::close(fd_); }
  Result<std::size_t> pread(ByteSpan out, std::uint64_t offset) const override {
    std::size_t done = 0;
    while (done < out.size()) {
      ssize_t n = ::pread(fd_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
      if (n < 0) {
        if (errno == EINTR) continue;
        return from_errno(errno, "read {} at {}", path_, offset + done);
      }
      if (n == 0) break;
      done += static_cast<std::size_t>(n);
    }
    return done;
  }
  Status pwrite(ByteView data, std::uint64_t offset) override {
    std::size_t done = 0;
    while (done < data.size()) {
      ssize_t n = ::pwrite(fd_, data.data() + done, data.size() - done, static_cast<off_t>(offset + done));
      if (n < 0) {
        if (errno == EINTR) continue;
        return from_errno(errno, "write {} at {}", path_, offset + done);
      }
      done += static_cast<std::size_t>(n);
    }
    return {};
  }
  Status truncate(std::uint64_t size_bytes) override {
    if (::ftruncate(fd_, static_cast<off_t>(size_bytes)) != 0) {
      return from_errno(errno, "truncate {} to {}", path_, size_bytes);
    }
    return {};
  }
  Status datasync() override {
    if (::fdatasync(fd_) != 0) return from_errno(errno, "fdatasync {}", path_);
    return {};
  }
  Status sync() override {
    if (::fsync(fd_) != 0) return from_errno(errno, "fsync {}", path_);
    return {};
  }
  Result<std::uint64_t> size_bytes() const override {
    struct stat st{};
    if (::fstat(fd_, &st) != 0) return from_errno(errno, "stat {}", path_);
    return static_cast<std::uint64_t>(st.st_size);
  }
  int fd() const override { return fd_; }

 private:
  int fd_;
  std::string path_;
};

class SystemDir final : public Dir {
 public:
  SystemDir(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~SystemDir() override { ::close(fd_); }

  Result<std::unique_ptr<File>> open(std::string_view name, OpenMode mode) override {
    int flags = O_CLOEXEC | O_NOFOLLOW;
    switch (mode) {
      case OpenMode::kRead:
        flags |= O_RDONLY;
        break;
      case OpenMode::kReadWrite:
        flags |= O_RDWR;
        break;
      case OpenMode::kCreate:
        flags |= O_RDWR | O_CREAT;
        break;
      case OpenMode::kCreateNew:
        flags |= O_RDWR | O_CREAT | O_EXCL;
        break;
      case OpenMode::kTruncate:
        flags |= O_RDWR | O_CREAT | O_TRUNC;
        break;
    }
    std::string n(name);
    int fd = ::openat(fd_, n.c_str(), flags, 0600);
    if (fd < 0) return from_errno(errno, "open {}/{}", path_, name);
    return std::make_unique<SystemFile>(fd, path_ + "/" + n);
  }
  Result<std::unique_ptr<Dir>> open_dir(std::string_view name) override {
    std::string n(name);
    int fd = ::openat(fd_, n.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return from_errno(errno, "open directory {}/{}", path_, name);
    return std::make_unique<SystemDir>(fd, path_ + "/" + n);
  }
  Result<std::unique_ptr<Dir>> make_dir(std::string_view name) override {
    std::string n(name);
    if (::mkdirat(fd_, n.c_str(), 0700) != 0 && errno != EEXIST) {
      return from_errno(errno, "make directory {}/{}", path_, name);
    }
    return open_dir(name);
  }
  Status unlink(std::string_view name) override {
    std::string n(name);
    if (::unlinkat(fd_, n.c_str(), 0) != 0) return from_errno(errno, "remove {}/{}", path_, name);
    return {};
  }
  Status remove_tree(std::string_view name) override {
    std::string n(name);
    if (::unlinkat(fd_, n.c_str(), 0) == 0) return {};
    if (errno != EISDIR) return from_errno(errno, "remove {}/{}", path_, name);
    TRY_ASSIGN(std::unique_ptr<Dir> sub, open_dir(name));
    TRY_ASSIGN(std::vector<std::string> names, sub->list());
    for (const std::string& child : names) TRY(sub->remove_tree(child));
    if (::unlinkat(fd_, n.c_str(), AT_REMOVEDIR) != 0) return from_errno(errno, "remove {}/{}", path_, name);
    return {};
  }
  Status rename(std::string_view from, Dir& to_dir, std::string_view to) override {
    std::string f(from);
    std::string t(to);
    int to_fd = static_cast<SystemDir&>(to_dir).fd_;
    if (::renameat(fd_, f.c_str(), to_fd, t.c_str()) != 0) {
      return from_errno(errno, "rename {}/{} to {}/{}", path_, from, to_dir.path(), to);
    }
    return {};
  }
  Result<std::vector<std::string>> list() override {
    int copy = ::openat(fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (copy < 0) return from_errno(errno, "list {}", path_);
    DIR* d = ::fdopendir(copy);
    if (d == nullptr) {
      int e = errno;
      ::close(copy);
      return from_errno(e, "list {}", path_);
    }
    std::vector<std::string> names;
    errno = 0;
    while (dirent* entry = ::readdir(d)) {
      std::string_view n = entry->d_name;
      if (n != "." && n != "..") names.emplace_back(n);
      errno = 0;
    }
    int e = errno;
    ::closedir(d);
    if (e != 0) return from_errno(e, "list {}", path_);
    std::sort(names.begin(), names.end());
    return names;
  }
  Result<FileInfo> info(std::string_view name) override {
    std::string n(name);
    struct stat st{};
    if (::fstatat(fd_, n.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return from_errno(errno, "stat {}/{}", path_, name);
    return FileInfo{.size_bytes = static_cast<std::uint64_t>(st.st_size),
                    .mtime_ms = static_cast<std::int64_t>(st.st_mtim.tv_sec) * 1000 + st.st_mtim.tv_nsec / 1'000'000,
                    .is_dir = S_ISDIR(st.st_mode),
                    .inode = st.st_ino};
  }
  Status set_mtime(std::string_view name, std::int64_t wall_ms) override {
    std::string n(name);
    timespec t{.tv_sec = static_cast<time_t>(wall_ms / 1000), .tv_nsec = static_cast<long>(wall_ms % 1000) * 1'000'000};
    timespec both[2] = {t, t};
    if (::utimensat(fd_, n.c_str(), both, AT_SYMLINK_NOFOLLOW) != 0) {
      return from_errno(errno, "set time of {}/{}", path_, name);
    }
    return {};
  }
  Result<bool> sync_file_system() override {
    if (::syncfs(fd_) != 0) return from_errno(errno, "syncfs {}", path_);
    return true;
  }
  Status sync() override {
    if (::fsync(fd_) != 0) return from_errno(errno, "fsync {}", path_);
    return {};
  }
  bool file_sync_keeps_name() const override { return keeps_name_; }
  std::string path() const override { return path_; }

 private:
  int fd_;
  std::string path_;
  bool keeps_name_ = file_sync_keeps_name_on(fd_);
};

}  // namespace

Result<std::unique_ptr<Dir>> open_system_dir(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return from_errno(errno, "open directory {}", path);
  return std::make_unique<SystemDir>(fd, path);
}

Result<std::unique_ptr<Dir>> make_system_dir(const std::string& path) {
  for (std::size_t at = 1; at <= path.size(); ++at) {
    if (at != path.size() && path[at] != '/') continue;
    std::string part = path.substr(0, at);
    if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) return from_errno(errno, "make directory {}", part);
  }
  return open_system_dir(path);
}

Result<Bytes> read_file(Dir& dir, std::string_view name, std::uint64_t limit_bytes) {
  TRY_ASSIGN(std::unique_ptr<File> file, dir.open(name, OpenMode::kRead));
  TRY_ASSIGN(std::uint64_t size, file->size_bytes());
  if (size > limit_bytes) return corrupt("{}/{}: {} bytes, at most {} expected", dir.path(), name, size, limit_bytes);
  Bytes content(size);
  TRY_ASSIGN(std::size_t got, file->pread(content, 0));
  content.resize(got);
  return content;
}

Status write_file_durably(Dir& dir, std::string_view name, ByteView content) {
  std::string tmp = std::string(name) + ".tmp";
  {
    TRY_ASSIGN(std::unique_ptr<File> file, dir.open(tmp, OpenMode::kTruncate));
    TRY(file->pwrite(content, 0));
    TRY(file->sync());
  }
  TRY(dir.rename(tmp, name));
  return dir.sync();
}

Status read_exactly(const File& file, ByteSpan out, std::uint64_t offset) {
  TRY_ASSIGN(std::size_t got, file.pread(out, offset));
  if (got != out.size()) return corrupt("{} bytes at {}, {} expected", got, offset, out.size());
  return {};
}

}  // namespace caddis::os
