// Starts a program and knows, before it returns, whether exec worked. Not uv_spawn: the supervisor is the only one who
// waits for children, and argv, signals, terminal and descriptors have to be exactly as stated here.
//
// What the program gets:
//   argv            byte for byte; argv[0] without "/" is looked up in the PATH of `env`, as execvp does (a script
//                   without "#!" runs under /bin/sh)
//   descriptors     0, 1, 2 of this process; everything else is closed
//   signals         empty mask; every disposition default, but those in `ignored_signals` ignored
//   process group   its own, number = its pid, so that the whole group can be signalled
//   terminal        with `take_terminal` its group is made the foreground one of the terminal on descriptor 0
//   death           SIGKILL when the thread that called spawn() ends (PR_SET_PDEATHSIG, after the change of user; a
//                   set-uid program clears it): call it on the main thread
//   kept            umask, limits, OOM score, priority, cwd unless given
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "os/user.h"

namespace caddis::os {

// Bit n-1 is signal n.
using SignalBits = std::uint64_t;
constexpr SignalBits signal_bit(int signo) { return 1ull << (signo - 1); }

struct SpawnOptions {
  std::vector<std::string> argv;  // not empty
  std::vector<std::string> env;   // NAME=value
  std::string cwd;                // empty: unchanged
  std::optional<User> user;       // changes uid, gid and groups; HOME is the caller's
  SignalBits ignored_signals = 0;
  bool take_terminal = false;
};

// The pid, once exec has succeeded. The caller waits for it; a child whose exec failed has already been reaped.
// Errors: kNotFound (exit code 127) no such program; kDenied (126) found but not executable: mode, directory, format,
// missing interpreter; kInvalid cwd or user refused; kUnavailable no process or memory left. Messages name argv[0].
Result<pid_t> spawn(const SpawnOptions& options);

// 127, 126 or 1 for an error of spawn().
int exit_code_of(const Error& spawn_error);

// environ as NAME=value.
std::vector<std::string> current_environment();

}  // namespace caddis::os
