#include "store/file_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <memory>

namespace caddis::store {
namespace {

constexpr std::string_view kTmp = ".tmp";
constexpr std::int64_t kDeadTmpSeconds = 3600;
constexpr int kLockAttempts = 20;

std::int64_t to_ms(const timespec& t) { return static_cast<std::int64_t>(t.tv_sec) * 1000 + t.tv_nsec / 1'000'000; }

// The inode's change time can't be set by anyone, so two contents under one name never share an etag.
std::string etag_of(const struct stat& st) {
  return fmt::format("{:x}-{:x}-{:x}.{:x}", st.st_size, st.st_ino, st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
}

struct DirCloser {
  void operator()(DIR* d) const { ::closedir(d); }
};
using DirHandle = std::unique_ptr<DIR, DirCloser>;

struct Entry {
  std::string name;
  bool is_dir = false;
  struct stat st{};
};

// Directories and finished files of one directory; what vanishes meanwhile is left out. kNotFound when absent.
Result<std::vector<Entry>> entries(const std::string& path) {
  DirHandle dir(::opendir(path.c_str()));
  if (!dir) return from_errno(errno, "list directory {}", path);
  std::vector<Entry> out;
  for (;;) {
    errno = 0;
    const dirent* d = ::readdir(dir.get());
    if (d == nullptr) {
      if (errno != 0) return from_errno(errno, "list directory {}", path);
      return out;
    }
    Entry e{.name = d->d_name};
    if (e.name == "." || e.name == ".." || e.name.ends_with(kTmp)) continue;
    if (::fstatat(::dirfd(dir.get()), d->d_name, &e.st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) continue;
      return from_errno(errno, "stat {}/{}", path, e.name);
    }
    e.is_dir = S_ISDIR(e.st.st_mode);
    if (e.is_dir || S_ISREG(e.st.st_mode)) out.push_back(std::move(e));
  }
}

// Adds the objects below path, whose key is key_prefix (empty or ending in "/").
Status walk(const std::string& path, const std::string& key_prefix, std::string_view wanted, bool first_only,
            const std::stop_token& stop, std::vector<ObjectInfo>& out) {
  if (stop.stop_requested()) return make_error(ErrorCode::kCancelled, "list directory {}: stopped", path);
  Result<std::vector<Entry>> found = entries(path);
  if (!found && found.error().code() == ErrorCode::kNotFound) return {};
  if (!found) return std::unexpected(std::move(found).error());
  for (const Entry& e : *found) {
    std::string key = key_prefix + e.name;
    if (e.is_dir) {
      key += '/';
      if (!key.starts_with(wanted) && !wanted.starts_with(key)) continue;
      TRY(walk(path + '/' + e.name, key, wanted, first_only, stop, out));
    } else if (key.starts_with(wanted)) {
      out.push_back({.key = std::move(key),
                     .size_bytes = static_cast<std::uint64_t>(e.st.st_size),
                     .modified_ms = to_ms(e.st.st_mtim),
                     .etag = etag_of(e.st)});
    }
    if (first_only && !out.empty()) return {};
  }
  return {};
}

// "a/b/c" -> "a/b", "" -> "".
std::string_view parent_of(std::string_view path) {
  std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view() : path.substr(0, slash);
}

Status sync_dir(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return from_errno(errno, "open directory {}", path);
  int failed = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  // EINVAL: a file system whose directories can't be synced.
  if (failed != 0 && failed != EINVAL) return from_errno(failed, "fsync directory {}", path);
  return {};
}

// Makes root (whose parent exists) and the directories of `below` in it.
Status make_dirs(const std::string& root, std::string_view below) {
  std::string path = root;
  for (;;) {
    if (::mkdir(path.c_str(), 0700) == 0) {
      std::string_view parent = parent_of(path);
      TRY(sync_dir(parent.empty() ? "/" : std::string(parent)));
    } else if (errno != EEXIST) {
      return from_errno(errno, "make directory {}", path);
    }
    if (below.empty()) return {};
    std::size_t slash = below.find('/');
    path += '/';
    path += below.substr(0, slash);
    below = slash == std::string_view::npos ? std::string_view() : below.substr(slash + 1);
  }
}

// Opens and locks PATH.tmp, empty. The lock counts only when the name still means the locked file.
Result<int> open_tmp(const std::string& tmp) {
  for (int i = 0; i < kLockAttempts; ++i) {
    int fd = ::open(tmp.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return from_errno(errno, "create {}", tmp);
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      ::close(fd);
      return make_error(ErrorCode::kBusy, "create {}: another writer has it open", tmp);
    }
    struct stat ours{}, named{};
    if (::fstat(fd, &ours) == 0 && ::stat(tmp.c_str(), &named) == 0 && ours.st_ino == named.st_ino) {
      if (::ftruncate(fd, 0) == 0) return fd;
      int failed = errno;
      ::close(fd);
      return from_errno(failed, "truncate {}", tmp);
    }
    ::close(fd);
  }
  return make_error(ErrorCode::kBusy, "create {}: another writer keeps replacing it", tmp);
}

}  // namespace

std::string key_problem(std::string_view key) {
  if (key.empty()) return "it is empty";
  if (key.find('\0') != std::string_view::npos) return "it contains NUL";
  for (std::size_t begin = 0; begin <= key.size();) {
    std::size_t end = std::min(key.find('/', begin), key.size());
    std::string_view part = key.substr(begin, end - begin);
    if (part.empty()) return "a component is empty";
    if (part == "." || part == "..") return "a component is . or ..";
    if (part.ends_with(kTmp)) return "a component ends in .tmp";
    begin = end + 1;
  }
  return {};
}

PendingFile::PendingFile(int fd, std::string dir, std::string path, PutOptions options)
    : fd_(fd), dir_(std::move(dir)), path_(std::move(path)), options_(std::move(options)) {}

PendingFile::~PendingFile() {
  if (!renamed_) ::unlink((path_ + std::string(kTmp)).c_str());
  ::close(fd_);
}

Status PendingFile::write(ByteView data) {
  while (!data.empty()) {
    ssize_t n = ::write(fd_, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return from_errno(errno, "write {}{}", path_, kTmp);
    data = data.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

// Gives the file its name under the condition of the options. Writers of this module exclude each other in between.
Status PendingFile::publish() {
  std::string tmp = path_ + std::string(kTmp);
  if (options_.if_none_match) {
    if (::renameat2(AT_FDCWD, tmp.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) == 0) return {};
    if (errno == EINVAL || errno == ENOSYS) {  // a file system that can't: a hard link never replaces either
      if (::link(tmp.c_str(), path_.c_str()) == 0) {
        ::unlink(tmp.c_str());
        return {};
      }
    }
    if (errno == EEXIST) return make_error(ErrorCode::kConflict, "write {}: it exists already", path_);
    return from_errno(errno, "rename {} to {}", tmp, path_);
  }
  if (!options_.if_match.empty()) {
    struct stat st{};
    bool same = ::stat(path_.c_str(), &st) == 0 && etag_of(st) == options_.if_match;
    if (!same) return make_error(ErrorCode::kConflict, "write {}: it was changed or removed by somebody else", path_);
  }
  if (::rename(tmp.c_str(), path_.c_str()) != 0) return from_errno(errno, "rename {} to {}", tmp, path_);
  return {};
}

Result<std::string> PendingFile::commit() {
  if (options_.timestamp_ms != 0) {
    timespec t{};
    t.tv_sec = options_.timestamp_ms / 1000;
    t.tv_nsec = options_.timestamp_ms % 1000 * 1'000'000;
    timespec both[2] = {t, t};
    if (::futimens(fd_, both) != 0) return from_errno(errno, "set the time of {}{}", path_, kTmp);
  }
  if (::fsync(fd_) != 0) return from_errno(errno, "fsync {}{}", path_, kTmp);
  if (!renamed_) TRY(publish());
  renamed_ = true;
  TRY(sync_dir(dir_));
  struct stat st{};
  if (::fstat(fd_, &st) != 0) return from_errno(errno, "stat {}", path_);
  return etag_of(st);
}

// ok when "nothing there" is the right answer for an absent root.
Status FileTree::check_parent() const {
  struct stat st{};
  std::string parent(parent_of(root_));
  if (parent.empty()) parent = "/";
  if (::stat(root_.c_str(), &st) == 0) {
    if (S_ISDIR(st.st_mode)) return {};
    return make_error(ErrorCode::kUnavailable, "{} is not a directory: name one in the target's URL", root_);
  }
  if (errno != ENOENT && errno != ENOTDIR) return from_errno(errno, "open directory {}", root_);
  if (::stat(parent.c_str(), &st) == 0 && S_ISDIR(st.st_mode)) return {};
  return make_error(ErrorCode::kUnavailable, "{}: its parent directory {} does not exist: mount or make it first",
                    root_, parent);
}

Error FileTree::missing(const std::string& key, int sys_errno, const char* doing) const {
  if (sys_errno == ENOENT || sys_errno == ENOTDIR) {
    if (Status parent = check_parent(); !parent) return std::move(parent).error();
  }
  return errno_error(sys_errno, fmt::format("{} {}/{}", doing, root_, key));
}

Result<std::vector<ObjectInfo>> FileTree::list(const std::string& prefix, const std::stop_token& stop) const {
  TRY(check_parent());
  std::string below(parent_of(prefix));
  if (!below.empty() && !key_problem(below).empty()) return invalid("prefix {}: {}", prefix, key_problem(below));
  std::vector<ObjectInfo> out;
  std::string key_prefix = below.empty() ? "" : below + '/';
  TRY(walk(below.empty() ? root_ : root_ + '/' + below, key_prefix, prefix, false, stop, out));
  std::sort(out.begin(), out.end(), [](const ObjectInfo& a, const ObjectInfo& b) { return a.key < b.key; });
  return out;
}

Result<std::vector<std::string>> FileTree::list_dirs(const std::string& prefix, const std::stop_token& stop) const {
  TRY(check_parent());
  std::string below(parent_of(prefix));
  if (!prefix.empty() && (!prefix.ends_with('/') || !key_problem(below).empty()))
    return invalid("prefix {}: it is empty or has the form a/b/", prefix);
  std::string dir = below.empty() ? root_ : root_ + '/' + below;
  std::vector<std::string> out;
  Result<std::vector<Entry>> found = entries(dir);
  if (!found && found.error().code() == ErrorCode::kNotFound) return out;
  if (!found) return std::unexpected(std::move(found).error());
  for (const Entry& e : *found) {
    if (!e.is_dir) continue;
    std::vector<ObjectInfo> one;
    TRY(walk(dir + '/' + e.name, "", "", true, stop, one));
    if (!one.empty()) out.push_back(e.name);
  }
  std::sort(out.begin(), out.end());
  return out;
}

Result<int> FileTree::open(const std::string& key, std::uint64_t& size_bytes) const {
  if (std::string why = key_problem(key); !why.empty()) return invalid("key {}: {}", key, why);
  int fd = ::open((root_ + '/' + key).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return std::unexpected(missing(key, errno, "open"));
  struct stat st{};
  if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    ::close(fd);
    return not_found("open {}/{}: it is not a regular file", root_, key);
  }
  size_bytes = static_cast<std::uint64_t>(st.st_size);
  return fd;
}

Result<Bytes> FileTree::get(const std::string& key, std::uint64_t offset, std::uint64_t length) const {
  std::uint64_t size = 0;
  TRY_ASSIGN(int fd, open(key, size));
  std::uint64_t begin = std::min(offset, size);
  std::uint64_t rest = size - begin;
  Bytes out(length == 0 ? rest : std::min(rest, length));
  std::size_t done = 0;
  int failed = 0;
  while (done < out.size()) {
    ssize_t n = ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(begin + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      failed = n < 0 ? errno : EIO;  // objects never shrink
      break;
    }
    done += static_cast<std::size_t>(n);
  }
  ::close(fd);
  if (failed != 0) return from_errno(failed, "read {}/{} at {}", root_, key, begin + done);
  return out;
}

Result<ObjectHead> FileTree::head(const std::string& key) const {
  if (std::string why = key_problem(key); !why.empty()) return invalid("key {}: {}", key, why);
  struct stat st{};
  if (::lstat((root_ + '/' + key).c_str(), &st) != 0) return std::unexpected(missing(key, errno, "stat"));
  if (!S_ISREG(st.st_mode)) return not_found("stat {}/{}: it is not a regular file", root_, key);
  ObjectHead head;
  head.size_bytes = static_cast<std::uint64_t>(st.st_size);
  head.modified_ms = head.timestamp_ms = to_ms(st.st_mtim);
  head.etag = etag_of(st);
  return head;
}

Result<std::unique_ptr<PendingFile>> FileTree::create(const std::string& key, PutOptions options) {
  if (std::string why = key_problem(key); !why.empty()) return invalid("key {}: {}", key, why);
  TRY(check_parent());
  TRY(make_dirs(root_, parent_of(key)));
  std::string path = root_ + '/' + key;
  std::string dir(parent_of(path));
  sweep(dir);
  TRY_ASSIGN(int fd, open_tmp(path + std::string(kTmp)));
  return std::make_unique<PendingFile>(fd, std::move(dir), std::move(path), std::move(options));
}

Status FileTree::remove(const std::vector<std::string>& keys) const {
  std::set<std::string> dirs;
  for (const std::string& key : keys) {
    if (std::string why = key_problem(key); !why.empty()) return invalid("key {}: {}", key, why);
    std::string path = root_ + '/' + key;
    if (::unlink(path.c_str()) == 0) {
      dirs.insert(std::string(parent_of(path)));
    } else if (errno == ENOENT || errno == ENOTDIR) {
      TRY(check_parent());
    } else {
      return from_errno(errno, "remove {}", path);
    }
  }
  for (const std::string& dir : dirs) TRY(sync_dir(dir));
  return {};
}

// Removes what dead writers left in dir; once for each directory. Failures do not matter here.
void FileTree::sweep(const std::string& dir) {
  {
    MutexLock lock(mutex_);
    if (!swept_.insert(dir).second) return;
  }
  DirHandle handle(::opendir(dir.c_str()));
  if (!handle) return;
  std::time_t now = std::time(nullptr);
  while (const dirent* d = ::readdir(handle.get())) {
    std::string_view name = d->d_name;
    struct stat st{};
    if (!name.ends_with(kTmp) || ::fstatat(::dirfd(handle.get()), d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (!S_ISREG(st.st_mode) || now - std::max(st.st_mtim.tv_sec, st.st_ctim.tv_sec) < kDeadTmpSeconds) continue;
    int fd = ::openat(::dirfd(handle.get()), d->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) continue;
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) ::unlinkat(::dirfd(handle.get()), d->d_name, 0);
    ::close(fd);
  }
}

}  // namespace caddis::store
