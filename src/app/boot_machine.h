// Boot and stop of `caddis mount` as a pure state machine: events in, actions out. mount_command.cc acts.
//
// Boot, one step after the other (state: its action, what Succeeded leads to, what it leaves to be undone):
//   locking       lock_data_dir       cleaning
//   cleaning      clean_stale_mount   binding
//   binding       bind_port           inspecting
//   inspecting    inspect_volume      opening; VolumeEmpty: restoring
//   restoring     restore             opening
//   opening       open_engine         mounting                                          close
//   mounting      mount               joining                                           drain, unmount
//   joining       join (HTTP, lease,  executing, starting or idle                       flush, release
//                 first sync)
//   executing     run_entry(i)        ChildExited(0): the next entry; any other code fails
//   starting      start_app(i)        running
//   running, idle: up. idle: no command to supervise.
// Events in those states:
//                 Failed(c)           Signal                                     ChildExited   StopTimedOut  Fatal
//   boot steps    fail(c)             stop signal: cancel_step, `cancelling`     –             –             99, cancelling
//   cancelling    unwind              INT, TERM: unwind without waiting          –             unwind        99
//   executing     fail(c)             forwarded; stop signal: `stopping`         see above     –             fatal
//   running       –                   forwarded; INT, TERM: `stopping` and timer unwind        –             fatal
//   stopping      –                   forwarded; INT, TERM: kill_child           unwind        kill_child    fatal
//   idle          –                   stop signal: unwind with code 0            –             –             fatal
//   held          –                   stop signal: unwind with 128+n             –             –             fatal
//   EntryTimedOut in executing: TERM to the entry, `stopping`.
//   fail(c): unwind with code c; with exit-on-error false: report, `held` (HTTP stays up).
//   A stop signal is INT, TERM, QUIT or HUP. INT and TERM start the stop timer.
// Unwinding, each step only when there is something to undo; Failed goes on with the next one:
//   draining (last transaction captured and durable), flushing (backup), releasing (lease, role metadata), unmounting,
//   closing, done. A further INT or TERM: hurry (waits are cut to their minimum).
//   Exit code: the app's. A failed drain makes it 99; any other failed step makes 0 the step's code.
// fatal (a transaction could not be captured): `fatal_unmounting`: the mount goes first, then TERM and the stop timer for
//   the child, then the rest of unwinding; code 99.
#pragma once

#include <cstddef>
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
  kStarting,
  kRunning,
  kIdle,
  kHeld,
  kCancelling,
  kStopping,
  kFatalUnmounting,
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
  kSkipEntry,  // value: index; log it
  kRunEntry,   // value: index
  kStartApp,   // value: index
  kUp,         // boot is complete; value: 1 with an app
  kHold,       // exit-on-error false: stay up and wait for a signal
  kForward,    // value: signal, to the child
  kArmStopTimer,
  kKillChild,
  kCancelStep,
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

struct Succeeded {};               // the step that is under way
struct VolumeEmpty {};             // inspecting: nothing there, and there is something to restore from
struct Failed { int exit_code; };  // the step that is under way; its error has been reported
struct Signal { int signo; };
struct ChildExited { int code; };  // shell convention: 128+n for a signal
struct EntryTimedOut {};
struct StopTimedOut {};
struct Fatal {};                   // a committed transaction can't be captured
using BootEvent =
    std::variant<Succeeded, VolumeEmpty, Failed, Signal, ChildExited, EntryTimedOut, StopTimedOut, Fatal>;

struct BootEntry {
  bool if_candidate = false;
  bool if_primary = false;
};
struct BootSetup {
  bool exit_on_error = true;
  bool candidate = true;
  std::vector<BootEntry> entries;  // the last one is the app
};

class BootMachine {
 public:
  explicit BootMachine(BootSetup setup) : setup_(std::move(setup)) {}
  std::vector<BootAction> start();
  std::vector<BootAction> on(const BootEvent& event);
  // The role, as `if-primary` entries see it when their turn comes.
  void set_primary(bool primary) { primary_ = primary; }
  BootState state() const { return state_; }
  bool complete() const { return complete_; }  // boot got as far as running or idle

 private:
  using Actions = std::vector<BootAction>;
  Actions boot_step(const BootEvent& event);
  Actions child_step(const BootEvent& event);
  Actions resting(const BootEvent& event);
  Actions cancelling(const BootEvent& event);
  Actions stop_step(const BootEvent& event);
  Actions fatal_unmounting(const BootEvent& event);
  Actions forward(int signo);

  Actions enter(BootState state, BootActionKind action, int value = 0);
  Actions advance();  // the step of state_ has succeeded
  Actions next_entry();
  Actions fail(int code);
  Actions fatal();
  Actions unwind();
  void note_reached();

  BootSetup setup_;
  BootState state_ = BootState::kNew;
  BootState cancelled_ = BootState::kNew;  // cancelling: the step that was told to give up
  std::size_t entry_ = 0;                  // index of the entry to run next, or running
  bool primary_ = false;
  bool complete_ = false;
  bool child_alive_ = false;
  bool entry_interrupted_ = false;  // stopping: the child is an exec entry, not the app
  bool fatal_ = false;
  int exit_code_ = 0;
  // To be undone.
  bool opened_ = false;
  bool mounted_ = false;
  bool joined_ = false;
  bool drained_ = false;
  bool flushed_ = false;
};

}  // namespace caddis::app
