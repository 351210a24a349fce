#include "os/spawn.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <string_view>

#include "base/check.h"

namespace caddis::os {
namespace {

constexpr std::string_view kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr int kSignalLast = 64;

enum class Stage : int { kGroup, kUser, kCwd, kExec };
struct Failure {
  Stage stage;
  int sys_errno;
};

std::string_view path_of(const std::vector<std::string>& env) {
  for (const std::string& entry : env) {
    if (entry.starts_with("PATH=")) return std::string_view(entry).substr(5);
  }
  return kDefaultPath;
}

// The files to try, in order. An empty element of PATH is the current directory.
std::vector<std::string> candidates_of(const std::string& program, std::string_view path) {
  if (program.empty()) return {};
  if (program.find('/') != program.npos) return {program};
  std::vector<std::string> files;
  for (;;) {
    std::size_t end = path.find(':');
    std::string_view dir = path.substr(0, end);
    files.push_back((dir.empty() ? std::string("./") : std::string(dir) + "/") + program);
    if (end == path.npos) return files;
    path.remove_prefix(end + 1);
  }
}

std::vector<char*> pointers_to(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& s : strings) pointers.push_back(const_cast<char*>(s.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// Everything the child needs, allocated before fork: between fork and exec only system calls are allowed.
struct Prepared {
  explicit Prepared(const SpawnOptions& o)
      : options(o),
        files(candidates_of(o.argv[0], path_of(o.env))),
        argv(pointers_to(o.argv)),
        env(pointers_to(o.env)),
        shell_argv(argv.size() + 1) {
    shell_argv[0] = const_cast<char*>("/bin/sh");
    std::copy(argv.begin() + 1, argv.end(), shell_argv.begin() + 2);
  }
  const SpawnOptions& options;
  std::vector<std::string> files;
  std::vector<char*> argv;
  std::vector<char*> env;
  std::vector<char*> shell_argv;  // /bin/sh FILE argv[1]…
  pid_t parent = ::getpid();
};

void reset_signals(SignalBits ignored) {
  for (int signo = 1; signo <= kSignalLast; ++signo) {
    struct sigaction action{};
    action.sa_handler = (ignored & signal_bit(signo)) != 0 ? SIG_IGN : SIG_DFL;
    ::sigaction(signo, &action, nullptr);  // refused for KILL, STOP and glibc's own two
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

void close_descriptors_at_exec() {
  if (::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC) == 0) return;
  struct rlimit limit{};  // Linux before 5.11, gVisor
  ::getrlimit(RLIMIT_NOFILE, &limit);
  int end = static_cast<int>(std::min<rlim_t>(limit.rlim_cur, 65'536));
  for (int fd = 3; fd < end; ++fd) ::fcntl(fd, F_SETFD, FD_CLOEXEC);
}

// The system calls themselves: glibc's wrappers tell the other threads, which do not exist after fork.
bool change_user(const User& user) {
  return ::syscall(SYS_setgroups, user.groups.size(), user.groups.data()) == 0 &&
         ::syscall(SYS_setresgid, user.gid, user.gid, user.gid) == 0 &&
         ::syscall(SYS_setresuid, user.uid, user.uid, user.uid) == 0;
}

// execvp's rules: a file that is there and may not be executed is remembered while the search goes on.
int exec_first(Prepared& p) {
  int answer = ENOENT;
  for (const std::string& file : p.files) {
    ::execve(file.c_str(), p.argv.data(), p.env.data());
    if (errno == ENOEXEC) {
      p.shell_argv[1] = const_cast<char*>(file.c_str());
      ::execve("/bin/sh", p.shell_argv.data(), p.env.data());
      return ENOEXEC;
    }
    if (errno == EACCES)
      answer = EACCES;
    else if (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG)
      return errno;
  }
  return answer;
}

[[noreturn]] void run_child(Prepared& p, int status_fd) {
  auto fail = [status_fd](Stage stage) {
    Failure failure{.stage = stage, .sys_errno = errno};
    [[maybe_unused]] ssize_t written = ::write(status_fd, &failure, sizeof failure);
    ::_exit(127);
  };
  if (::setpgid(0, 0) != 0) fail(Stage::kGroup);
  // The mask still blocks SIGTTOU here; without that the change would stop this process, which is no longer in front.
  // A refusal leaves the program in the background, which is no reason not to run it.
  if (p.options.take_terminal) ::tcsetpgrp(STDIN_FILENO, ::getpid());
  if (p.options.user && !change_user(*p.options.user)) fail(Stage::kUser);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != p.parent) ::_exit(127);  // it died before the line above
  if (!p.options.cwd.empty() && ::chdir(p.options.cwd.c_str()) != 0) fail(Stage::kCwd);
  close_descriptors_at_exec();
  reset_signals(p.options.ignored_signals);
  errno = exec_first(p);
  fail(Stage::kExec);
  ::_exit(127);
}

Error exec_error(const Prepared& p, int sys_errno) {
  const std::string& program = p.options.argv[0];
  if (sys_errno != ENOENT) {
    Error cause = errno_error(sys_errno, fmt::format("cannot execute {:?}", program));
    return Error(ErrorCode::kDenied, cause.message(), sys_errno);
  }
  for (const std::string& file : p.files) {
    struct stat st{};
    if (::stat(file.c_str(), &st) != 0) continue;
    return Error(ErrorCode::kDenied,
                 fmt::format("cannot execute {:?}: the interpreter named in its first line, or its dynamic loader, is "
                             "not there",
                             file),
                 sys_errno);
  }
  bool direct = program.find('/') != program.npos;
  std::string where = direct ? "no such file" : fmt::format("not found in PATH ({})", path_of(p.options.env));
  return Error(ErrorCode::kNotFound, fmt::format("cannot execute {:?}: {}", program, where), sys_errno);
}

Error failure_error(const Prepared& p, const Failure& failure) {
  const std::string& program = p.options.argv[0];
  switch (failure.stage) {
    case Stage::kExec:
      return exec_error(p, failure.sys_errno);
    case Stage::kUser: {
      const User& user = *p.options.user;
      std::string text = fmt::format("start {:?} as uid {} gid {}", program, user.uid, user.gid);
      return Error(ErrorCode::kInvalid, errno_error(failure.sys_errno, text).message(), failure.sys_errno);
    }
    case Stage::kCwd: {
      std::string text = fmt::format("start {:?} in directory {:?}", program, p.options.cwd);
      return Error(ErrorCode::kInvalid, errno_error(failure.sys_errno, text).message(), failure.sys_errno);
    }
    case Stage::kGroup:
      break;
  }
  return errno_error(failure.sys_errno, fmt::format("start {:?}: process group", program));
}

}  // namespace

Result<pid_t> spawn(const SpawnOptions& options) {
  CHECK(!options.argv.empty());
  Prepared prepared(options);
  std::array<int, 2> status{};
  if (::pipe2(status.data(), O_CLOEXEC) != 0) return from_errno(errno, "start {:?}: pipe", options.argv[0]);
  // No handler of ours may run in the child, and SIGTTOU must be blocked there.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t pid = ::fork();
  int fork_errno = errno;
  if (pid == 0) run_child(prepared, status[1]);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::close(status[1]);
  if (pid < 0) {
    ::close(status[0]);
    Error error = errno_error(fork_errno, fmt::format("start {:?}: fork", options.argv[0]));
    return std::unexpected(Error(ErrorCode::kUnavailable, error.message(), fork_errno));
  }
  Failure failure{};
  ssize_t got = 0;
  do {
    got = ::read(status[0], &failure, sizeof failure);
  } while (got < 0 && errno == EINTR);
  ::close(status[0]);
  if (got != static_cast<ssize_t>(sizeof failure)) return pid;
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {}
  return std::unexpected(failure_error(prepared, failure));
}

int exit_code_of(const Error& spawn_error) {
  switch (spawn_error.code()) {
    case ErrorCode::kNotFound:
      return 127;
    case ErrorCode::kDenied:
      return 126;
    default:
      return 1;
  }
}

std::vector<std::string> current_environment() {
  std::vector<std::string> env;
  for (char** entry = ::environ; entry != nullptr && *entry != nullptr; ++entry) env.emplace_back(*entry);
  return env;
}

}  // namespace caddis::os
