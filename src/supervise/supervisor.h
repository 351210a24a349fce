// Runs the exec list: one entry after another, the last one is the app. Forwards signals, reaps every child, stops what
// has to be stopped (stop_machine.h says how), gives exact exit codes. As PID 1 and as an ordinary child alike: when it
// is not PID 1 it becomes the subreaper, so that orphans come to it and not to somebody who outlives it.
//
// One per process, on the main thread (a child dies with the thread that started it). Nobody else may have children,
// except for the length of one call on the main thread that waits for its own (fusermount3).
// Callbacks come from on_readable(), run() and stop(), and must not destroy the Supervisor. No loop in here: the owner
// waits for poll_fd() and calls on_readable(); run_to_end() is such an owner.
//
// Signals: all but CHLD, PIPE, TTIN, TTOU and those a fault raises are forwarded to the running entry, real-time ones
// too. XCPU, XFSZ only when somebody sent them. While nothing runs, INT and TERM are a stop request and others are
// dropped; none of them ever ends caddis itself.
//
// Terminal: when this process is in the foreground of the terminal on descriptor 0, each entry gets the foreground
// (Ctrl-C, window size and job control are then its own), and it comes back when the entry has ended.
//
// Exit codes (Ended::exit_code): the entry's own; 128+n of death by signal n; 126, 127 not executable, not found; an
// entry that is not the last and ends with 0 after a stop signal n, or a list stopped before an entry began: 128+n.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "os/spawn.h"
#include "supervise/stop_machine.h"

namespace caddis::supervise {

struct ExecEntry {
  std::vector<std::string> argv;
  std::int64_t timeout_ms = 0;  // then it is stopped as by TERM; 0: none
};

struct SupervisorOptions {
  std::vector<std::string> env = os::current_environment();
  std::optional<os::User> user;  // its home becomes HOME
  std::int64_t stop_timeout_ms = 8000;
  bool signal_group = false;  // forward to the entry's process group instead of its process
  bool leave_rest = false;    // what the app leaves behind may stay
  bool log_steps = false;     // LiteFS's lines: executing command, starting background subprocess, …
};

struct Ended {
  enum class Why {
    kApp,      // the last entry ended
    kEntry,    // an earlier entry failed, or any entry could not be started; the rest of the list was not run
    kStopped,  // stop was asked for before or between entries; no app was started
    kNoApp,    // no entry, or the last one was skipped: nothing runs and nothing will
  };
  Why why = Why::kNoApp;
  int exit_code = 0;
  std::size_t index = 0;  // of the entry
  std::string message;    // of a failure: what, and why
};

struct SupervisorCallbacks {
  // Once per run(), also from inside run(). After it orphans are still reaped and signals still come.
  std::function<void(const Ended&)> ended;
  // Every INT, TERM and stop(), before it is forwarded; also when nothing runs (boot, no app).
  std::function<void(int signo)> stop_requested;
  // After it, at the app's first stop request: true keeps the signal from the app until release_stop().
  std::function<bool()> hold_stop;
  // Asked right before an entry is started; false skips it (if-candidate, if-primary). Unset: all are run.
  std::function<bool(std::size_t index)> should_run;
  // The last entry has been started.
  std::function<void(pid_t pid)> app_started;
};

class Supervisor {
 public:
  // Calls block_signals() if nobody has yet. Errors: no descriptor left.
  static Result<std::unique_ptr<Supervisor>> create(SupervisorOptions options, SupervisorCallbacks callbacks);
  ~Supervisor();  // kills what it started and still runs
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  // Readable (level-triggered) when a signal came or a deadline passed. Stays the same descriptor.
  int poll_fd() const { return poll_fd_; }
  void on_readable();

  // Starts the list. Not while one runs; after Ended again. Entries that cannot be started end it with 126, 127 or 1.
  void run(std::vector<ExecEntry> entries);
  // Stops the running entry as if signo (INT or TERM) had come, and the list with it; a second call kills.
  void stop(int signo);
  // The app may hear of the stop now (SupervisorCallbacks::hold_stop).
  void release_stop();
  // Sends a signal to the running entry, without any other effect.
  void signal_app(int signo);

  bool running() const { return pid_ != 0; }
  pid_t pid() const { return pid_; }                // of the running entry, 0 without
  int stop_signal() const { return stop_signal_; }  // the first stop request of this process, 0 before
  // Replaces the environment of entries started from now on (HOME of options.user is set again).
  void set_environment(std::vector<std::string> env);

 private:
  Supervisor(SupervisorOptions options, SupervisorCallbacks callbacks);
  Status open_descriptors();
  void read_signals();
  void reap();
  void next_entry();
  void start_entry(const ExecEntry& entry);
  void entry_ended(int exit_code);
  void program_over(int exit_code, int stopped_by, bool timed_out);
  void finish(Ended ended);
  void conclude();
  void on_signal(int signo);
  bool note_stop(int signo);  // whether to hold it
  void perform(const StopActions& actions);
  void log_forwarding() const;
  void signal_program(int signo, bool group);
  void signal_rest(int signo);
  void set_timer();
  void take_terminal_back() const;
  bool is_last() const { return index_ + 1 == entries_.size(); }

  SupervisorOptions options_;
  SupervisorCallbacks callbacks_;
  SystemClock clock_;
  int poll_fd_ = -1;
  int signal_fd_ = -1;
  int timer_fd_ = -1;
  bool has_terminal_ = false;
  bool rest_ = false;  // children are left besides the running entry
  std::vector<ExecEntry> entries_;
  std::size_t index_ = 0;
  bool active_ = false;  // between run() and Ended
  std::optional<StopMachine> machine_;
  std::optional<Ended> result_;  // known, waiting for the sweep
  pid_t pid_ = 0;
  int stop_signal_ = 0;
  std::set<pid_t> termed_;  // of the rest, so that each gets TERM once
};

// Runs the list with nothing but poll(): `caddis run -- CMD` is a list of one. Returns the exit code; what went wrong
// has been logged.
int run_to_end(std::vector<ExecEntry> entries, SupervisorOptions options);
int run_plain(std::vector<std::string> argv, SupervisorOptions options = {});

// base without the names in `remove`, and with `set` (NAME=value) in place of what has those names.
std::vector<std::string> child_environment(std::vector<std::string> base, const std::vector<std::string>& remove,
                                           const std::vector<std::string>& set);

// "sleep [100]": how LiteFS's log lines show a command.
std::string command_text(const std::vector<std::string>& argv);

}  // namespace caddis::supervise
