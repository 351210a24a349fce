#include "supervise/descendants.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstring>
#include <map>
#include <string>
#include <string_view>

namespace caddis::supervise {
namespace {

struct Process {
  pid_t pid = 0;
  pid_t parent = 0;
  bool zombie = false;
};

// /proc/PID/stat: PID (NAME) STATE PPID …; NAME may contain anything, so the last ")" counts.
bool read_process(const char* pid_text, Process& process) {
  std::string path = std::string("/proc/") + pid_text + "/stat";
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  std::array<char, 512> buffer{};
  ssize_t got = ::read(fd, buffer.data(), buffer.size());
  ::close(fd);
  if (got <= 0) return false;
  std::string_view text(buffer.data(), static_cast<std::size_t>(got));
  std::size_t at = text.rfind(") ");
  if (at == text.npos || at + 4 >= text.size()) return false;
  process.zombie = text[at + 2] == 'Z' || text[at + 2] == 'X';
  std::from_chars(pid_text, pid_text + std::strlen(pid_text), process.pid);
  std::from_chars(text.data() + at + 4, text.data() + text.size(), process.parent);
  return process.pid > 0;
}

}  // namespace

std::vector<pid_t> living_descendants() {
  DIR* proc = ::opendir("/proc");
  if (proc == nullptr) return {};
  std::multimap<pid_t, Process> children;
  while (dirent* entry = ::readdir(proc)) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    Process process;
    if (read_process(entry->d_name, process)) children.emplace(process.parent, process);
  }
  ::closedir(proc);
  std::vector<pid_t> found;
  std::vector<pid_t> parents{::getpid()};
  while (!parents.empty()) {
    pid_t parent = parents.back();
    parents.pop_back();
    auto [first, last] = children.equal_range(parent);
    for (auto it = first; it != last; ++it) {
      if (!it->second.zombie) found.push_back(it->second.pid);
      parents.push_back(it->second.pid);
    }
    children.erase(first, last);
  }
  return found;
}

}  // namespace caddis::supervise
