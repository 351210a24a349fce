// How one program is stopped: signals, its end, time; in, actions out. Decides, does nothing.
//
// | state     | INT, TERM, stop()             | other signal | program ended     | deadline            | rest gone |
// |-----------|-------------------------------|--------------|-------------------|---------------------|-----------|
// | running   | forward → stopping            | forward      | sweep             | (entry time-out)    |           |
// |           | deadline = now + stop_timeout |              |                   | as stop(TERM)       |           |
// | held      | kill → killing                | forward      | sweep             | kill → killing      |           |
// | stopping  | kill → killing                | forward      | sweep             | kill → killing      |           |
// | killing   | -                             | -            | sweep             | give up → ended 137 |           |
// | sweeping  | kill the rest → sweep-killing | -            |                   | kill the rest →     | → ended   |
// |           |                               |              |                   | sweep-killing       |           |
// | sweep-    | -                             | -            |                   | give up → ended     | → ended   |
// | killing   |                               |              |                   |                     |           |
// | ended     | -                             | -            | -                 | -                   | -         |
//
// held, in place of stopping, when something has to be done before the program hears of the stop (its time runs all the
// same): release() forwards the signal → stopping. sweep, when the program has ended: nothing left, or it may stay →
// ended; after a kill → kill the rest (sweep-killing); else TERM to the rest, deadline = stop_timeout after the first
// stop signal, or after now without one (sweeping). "The rest" is every descendant that the program leaves behind. A
// kill has kGiveUpMs to work: only a process stuck in the kernel outlives it. INT or TERM that the parent of caddis had
// ignored is an "other signal".
#pragma once

#include <cstdint>
#include <optional>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "os/spawn.h"

namespace caddis::supervise {

enum class Rest {
  kSweep,           // no descendant outlives the program
  kLeave,           // they may
  kLeaveOnSuccess,  // they may when it ended with 0 and nobody asked it to stop: a migration that starts a daemon
};

struct StopOptions {
  std::int64_t stop_timeout_ms = 8000;  // first INT or TERM to KILL
  Rest rest = Rest::kSweep;
  os::SignalBits ignored_by_parent = 0;
};

struct ForwardSignal {
  int signo;
  bool operator==(const ForwardSignal&) const = default;
};
struct KillProgram {  // SIGKILL to its process group
  bool operator==(const KillProgram&) const = default;
};
struct SignalRest {  // TERM or KILL to all remaining descendants
  int signo;
  bool operator==(const SignalRest&) const = default;
};
struct ProgramEnded {
  int exit_code;  // its own, or 128+n
  bool operator==(const ProgramEnded&) const = default;
};
using StopAction = std::variant<ForwardSignal, KillProgram, SignalRest, ProgramEnded>;
using StopActions = std::vector<StopAction>;

// INT and TERM, unless the parent of caddis had ignored it.
bool is_stop_signal(int signo, os::SignalBits ignored_by_parent);

class StopMachine {
 public:
  static constexpr std::int64_t kGiveUpMs = 1000;

  // The program runs from now on. timeout_ms 0: for as long as it likes.
  StopMachine(const StopOptions& options, TimeMs now, std::int64_t timeout_ms = 0);

  // Any signal but CHLD that caddis got. hold: a first stop request is not forwarded before release().
  StopActions on_signal(int signo, TimeMs now, bool hold = false);
  // Stops the program without a signal from outside, as if signo had come.
  StopActions stop(int signo, TimeMs now, bool hold = false);
  StopActions release();
  // exit_code is 128+n for a death by signal n. rest: descendants are left.
  StopActions on_program_end(int exit_code, bool rest, TimeMs now);
  // After the program's end, whenever a descendant has been reaped.
  StopActions on_rest(bool rest);
  // deadline() has passed.
  StopActions on_deadline(TimeMs now);

  std::optional<TimeMs> deadline() const { return deadline_; }
  // The first stop signal; 0 while nobody asked. A time-out counts as TERM.
  int stop_signal() const { return stop_signal_; }
  bool timed_out() const { return timed_out_; }

 private:
  enum class State { kRunning, kHeld, kStopping, kKilling, kSweeping, kSweepKilling, kEnded };
  bool program_runs() const;
  StopActions kill_program(TimeMs now);
  StopActions kill_rest(TimeMs now);
  StopActions end();
  bool may_leave_rest() const;

  StopOptions options_;
  State state_ = State::kRunning;
  std::optional<TimeMs> deadline_;
  TimeMs stop_began_;
  int stop_signal_ = 0;
  bool timed_out_ = false;
  int exit_code_ = 0;
};

}  // namespace caddis::supervise
