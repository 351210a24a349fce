// Boot and stop of `caddis mount` as a pure state machine: events in, actions out. mount_command.cc acts; the exec list
// and its signals are the Supervisor's (supervise/supervisor.h), which tells only what matters here.
//
// Boot, one step after the other (state: its action, what Succeeded leads to, what it leaves to be undone):
//   locking       lock_data_dir       cleaning
//   cleaning      clean_stale_mount   binding
//   binding       bind_port           inspecting
//   inspecting    inspect_volume      opening; VolumeEmpty: restoring
//   restoring     restore             opening
//   opening       open_engine         mounting      close
//   mounting      mount               joining       drain, unmount
//   joining       join                executing     flush, release (from the beginning of the step)
//                 (HTTP, lease, first sync)
//   executing     run_list            AppStarted: running
// What comes in:
//   state         Failed(c)   StopRequested(n)           ListEnded                             StopTimedOut  Fatal
//   boot steps    fail(c)     cancel_step, `cancelling`  –                                     –             99,
//   `cancelling` cancelling    unwind      –                          –                                     unwind 99
//   executing     –           `stopping`                 entry: fail(code), no app: up, `idle` –             fatal
//   running       –           `stopping`                 unwind with its code                  –             fatal
//   stopping      –           –                          unwind with its code                  –             fatal
//   idle          –           unwind with 0              –                                     –             fatal
//   held          –           unwind with 128+n          –                                     –             fatal
//   fail(c): unwind with code c; with exit-on-error false: `held` (HTTP stays up, waits for a signal).
// Unwinding, each step only when there is something to undo; Failed goes on with the next one:
//   draining (last transaction captured and durable), flushing (backup), releasing (lease, role metadata), unmounting,
//   closing, done. StopRequested meanwhile: hurry (waits are cut to their minimum).
//   Exit code: the app's. A failed drain makes it 99; any other failed step makes 0 the step's code.
// fatal (a transaction could not be captured): `fatal_unmounting`: the mount goes first, then `fatal_stopping`:
// stop_list
//   and its end; then the rest of unwinding; code 99.
#pragma once

#include <string_view>
#include <variant>
#include <vector>

namespace caddis::app {

enum class BootState {
  kNew,
  kLocking,
  kCleaning,
  kBinding,
  kInspecting,
  kRestoring,
  kOpening,
  kMounting,
  kJoining,
  kExecuting,
  kRunning,
  kIdle,
  kHeld,
  kCancelling,
  kStopping,
  kFatalUnmounting,
  kFatalStopping,
  kDraining,
  kFlushing,
  kReleasing,
  kUnmounting,
  kClosing,
  kDone,
};
std::string_view to_text(BootState state);

enum class BootActionKind {
  kLockDataDir,
  kCleanStaleMount,
  kBindPort,
  kInspectVolume,
  kRestore,
  kOpenEngine,
  kMount,
  kJoin,
  kRunList,
  kUp,    // boot is complete; value: 1 with an app
  kHold,  // exit-on-error false: stay up and wait for a signal
  kCancelStep,
  kArmStopTimer,  // for the step that was told to give up
  kStopList,
  kHurry,
  kDrain,
  kFlushBackup,
  kRelease,
  kUnmount,
  kClose,
  kExit,  // value: exit code
};
struct BootAction {
  BootActionKind kind;
  int value = 0;
  bool operator==(const BootAction&) const = default;
};

struct Succeeded {};    // the step that is under way
struct VolumeEmpty {};  // inspecting: nothing there, and there is something to restore from
struct Failed {
  int exit_code;
};  // the step that is under way; its error has been reported
struct StopRequested {
  int signo;
};
struct AppStarted {};
struct ListEnded {
  enum class Why { kApp, kEntryFailed, kStopped, kNoApp } why;
  int exit_code;
};
struct StopTimedOut {};
struct Fatal {};  // a committed transaction can't be captured
using BootEvent =
    std::variant<Succeeded, VolumeEmpty, Failed, StopRequested, AppStarted, ListEnded, StopTimedOut, Fatal>;

class BootMachine {
 public:
  explicit BootMachine(bool exit_on_error) : exit_on_error_(exit_on_error) {}
  std::vector<BootAction> start();
  std::vector<BootAction> on(const BootEvent& event);
  BootState state() const { return state_; }
  bool stopping() const { return stopping_; }  // on the way out

 private:
  using Actions = std::vector<BootAction>;
  Actions boot_step(const BootEvent& event);
  Actions list_step(const BootEvent& event);
  Actions resting(const BootEvent& event);
  Actions cancelling(const BootEvent& event);
  Actions fatal_step(const BootEvent& event);
  Actions stop_step(const BootEvent& event);

  Actions enter(BootState state, BootActionKind action, int value = 0);
  Actions advance();  // the step of state_ has succeeded
  Actions fail(int code);
  Actions fatal();
  Actions unwind();
  void note_reached();

  const bool exit_on_error_;
  BootState state_ = BootState::kNew;
  BootState cancelled_ = BootState::kNew;  // cancelling: the step that was told to give up
  bool stopping_ = false;
  bool list_running_ = false;
  int exit_code_ = 0;
  // To be undone.
  bool opened_ = false;
  bool mounted_ = false;
  bool joined_ = false;
  bool drained_ = false;
  bool flushed_ = false;
};

}  // namespace caddis::app
