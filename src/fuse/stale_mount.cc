#include "fuse/stale_mount.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace caddis::fuse {
namespace {

std::string unescape_octal(std::string_view text) {  // mountinfo writes space, tab, newline and backslash as \040 …
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    auto digit = [&](std::size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '7'; };
    if (text[i] == '\\' && digit(i + 1) && digit(i + 2) && digit(i + 3)) {
      out.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0')));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

std::vector<std::string_view> split(std::string_view line) {
  std::vector<std::string_view> words;
  while (!line.empty()) {
    std::size_t end = line.find(' ');
    if (end != 0) words.push_back(line.substr(0, end));
    if (end == std::string_view::npos) break;
    line.remove_prefix(end + 1);
  }
  return words;
}

std::string read_text(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream out;
  out << in.rdbuf();
  return std::move(out).str();
}

bool is_fuse(const MountEntry& m) { return m.type == "fuse" || m.type.starts_with("fuse."); }

bool below(std::string_view path, std::string_view dir) {
  return path.starts_with(dir) && (path.size() == dir.size() || path[dir.size()] == '/');
}

std::string link_target(const std::string& path) {
  char buf[PATH_MAX];
  ssize_t n = ::readlink(path.c_str(), buf, sizeof buf);
  return n > 0 ? std::string(buf, static_cast<std::size_t>(n)) : std::string();
}

bool has_open_file(const std::string& proc, const std::string& dir) {
  for (const char* name : {"/cwd", "/root"}) {
    if (below(link_target(proc + name), dir)) return true;
  }
  bool found = false;
  if (DIR* fds = ::opendir((proc + "/fd").c_str())) {
    while (dirent* e = ::readdir(fds)) {
      if (e->d_name[0] == '.') continue;
      if (below(link_target(proc + "/fd/" + e->d_name), dir)) {
        found = true;
        break;
      }
    }
    ::closedir(fds);
  }
  if (found) return true;
  std::istringstream maps(read_text(proc + "/maps"));
  for (std::string line; std::getline(maps, line);) {
    std::size_t slash = line.find('/');
    if (slash != std::string::npos && below(std::string_view(line).substr(slash), dir)) return true;
  }
  return false;
}

bool write_one(int fd) {
  if (fd < 0) return false;
  bool ok = ::write(fd, "1", 1) == 1;
  ::close(fd);
  return ok;
}

}  // namespace

std::vector<MountEntry> parse_mountinfo(std::string_view text) {
  // 36 35 0:98 / /mnt2 rw,noatime shared:1 - fuse.caddis caddis rw,errors=continue
  std::vector<MountEntry> out;
  while (!text.empty()) {
    std::size_t end = text.find('\n');
    std::vector<std::string_view> words = split(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 7 || words.end() - dash < 3) continue;
    std::size_t colon = words[2].find(':');
    if (colon == std::string_view::npos) continue;
    MountEntry m;
    std::string_view minor = words[2].substr(colon + 1);
    if (std::from_chars(minor.data(), minor.data() + minor.size(), m.device_minor).ec != std::errc()) continue;
    m.dir = unescape_octal(words[4]);
    m.type = unescape_octal(dash[1]);
    m.source = unescape_octal(dash[2]);
    out.push_back(std::move(m));
  }
  return out;
}

std::vector<MountEntry> mounts_at(const std::string& dir) {
  std::vector<MountEntry> all = parse_mountinfo(read_text("/proc/self/mountinfo"));
  std::erase_if(all, [&](const MountEntry& m) { return m.dir != dir; });
  return all;
}

std::string canonical_mount_dir(const std::string& dir) {
  std::string path = dir;
  if (!path.starts_with('/')) {
    char cwd[PATH_MAX];
    if (::getcwd(cwd, sizeof cwd) != nullptr) path = std::string(cwd) + "/" + path;
  }
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  std::size_t slash = path.rfind('/');
  std::string parent = slash == 0 ? "/" : path.substr(0, slash);
  char real[PATH_MAX];
  if (::realpath(parent.c_str(), real) == nullptr) return path;
  std::string out = real;
  if (!out.ends_with('/')) out += '/';
  return out + path.substr(slash + 1);
}

bool abort_connection(unsigned device_minor) {
  std::string name = std::to_string(device_minor) + "/abort";
  if (write_one(::open(("/sys/fs/fuse/connections/" + name).c_str(), O_WRONLY | O_CLOEXEC))) return true;
  // fusectl is not mounted (a container): take a detached instance of it.
  int fs = ::fsopen("fusectl", FSOPEN_CLOEXEC);
  if (fs < 0) return false;
  int mount = -1;
  if (::fsconfig(fs, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0) mount = ::fsmount(fs, FSMOUNT_CLOEXEC, 0);
  bool ok = mount >= 0 && write_one(::openat(mount, name.c_str(), O_WRONLY | O_CLOEXEC));
  if (mount >= 0) ::close(mount);
  ::close(fs);
  return ok;
}

Result<int> clean_stale_mounts(const std::string& dir) {
  int cleaned = 0;
  for (int round = 0; round < 16; ++round) {
    std::vector<MountEntry> mounts = mounts_at(dir);
    if (mounts.empty() || !is_fuse(mounts.back())) break;
    // A predecessor that died inside its own mount keeps its connection open; only an abort frees those who wait in it.
    if (!abort_connection(mounts.back().device_minor)) ::umount2(dir.c_str(), MNT_FORCE | UMOUNT_NOFOLLOW);
    if (::umount2(dir.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno != EINVAL) {
      return from_errno(errno, "unmount stale {} at {}", mounts.back().type, dir);
    }
    ++cleaned;
  }
  return cleaned;
}

std::vector<pid_t> processes_using(const std::string& dir) {
  std::vector<pid_t> out;
  DIR* proc = ::opendir("/proc");
  if (proc == nullptr) return out;
  while (dirent* e = ::readdir(proc)) {
    std::string_view name = e->d_name;
    pid_t pid = 0;
    auto parsed = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (parsed.ec != std::errc() || parsed.ptr != name.data() + name.size() || pid == ::getpid()) continue;
    if (has_open_file("/proc/" + std::string(name), dir)) out.push_back(pid);
  }
  ::closedir(proc);
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace caddis::fuse
