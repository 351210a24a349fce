#include "app/boot_machine.h"

#include "base/check.h"

namespace caddis::app {
namespace {
constexpr int kExitFatal = 99;
}  // namespace

std::string_view to_text(BootState state) {
  static constexpr std::string_view kNames[] = {"new",
                                                "locking",
                                                "cleaning",
                                                "binding",
                                                "inspecting",
                                                "restoring",
                                                "opening",
                                                "mounting",
                                                "joining",
                                                "executing",
                                                "running",
                                                "idle",
                                                "held",
                                                "cancelling",
                                                "stopping",
                                                "fatal_unmounting",
                                                "fatal_stopping",
                                                "draining",
                                                "flushing",
                                                "releasing",
                                                "unmounting",
                                                "closing",
                                                "done"};
  return kNames[static_cast<std::size_t>(state)];
}

std::vector<BootAction> BootMachine::start() {
  CHECK(state_ == BootState::kNew);
  return enter(BootState::kLocking, BootActionKind::kLockDataDir);
}

std::vector<BootAction> BootMachine::on(const BootEvent& event) {
  switch (state_) {
    case BootState::kLocking:
    case BootState::kCleaning:
    case BootState::kBinding:
    case BootState::kInspecting:
    case BootState::kRestoring:
    case BootState::kOpening:
    case BootState::kMounting:
    case BootState::kJoining:
      return boot_step(event);
    case BootState::kExecuting:
    case BootState::kRunning:
    case BootState::kStopping:
      return list_step(event);
    case BootState::kIdle:
    case BootState::kHeld:
      return resting(event);
    case BootState::kCancelling:
      return cancelling(event);
    case BootState::kFatalUnmounting:
    case BootState::kFatalStopping:
      return fatal_step(event);
    case BootState::kDraining:
    case BootState::kFlushing:
    case BootState::kReleasing:
    case BootState::kUnmounting:
    case BootState::kClosing:
      return stop_step(event);
    case BootState::kNew:
    case BootState::kDone:
      return {};
  }
  return {};
}

std::vector<BootAction> BootMachine::enter(BootState state, BootActionKind action, int value) {
  state_ = state;
  return {{action, value}};
}

void BootMachine::note_reached() {
  BootState step = state_ == BootState::kCancelling ? cancelled_ : state_;
  if (step == BootState::kOpening) opened_ = true;
  if (step == BootState::kMounting) mounted_ = true;
}

std::vector<BootAction> BootMachine::advance() {
  note_reached();
  switch (state_) {
    case BootState::kLocking:
      return enter(BootState::kCleaning, BootActionKind::kCleanStaleMount);
    case BootState::kCleaning:
      return enter(BootState::kBinding, BootActionKind::kBindPort);
    case BootState::kBinding:
      return enter(BootState::kInspecting, BootActionKind::kInspectVolume);
    case BootState::kInspecting:
    case BootState::kRestoring:
      return enter(BootState::kOpening, BootActionKind::kOpenEngine);
    case BootState::kOpening:
      return enter(BootState::kMounting, BootActionKind::kMount);
    case BootState::kMounting:
      joined_ = true;  // a join that fails half-way has begun something
      return enter(BootState::kJoining, BootActionKind::kJoin);
    default:
      CHECK(state_ == BootState::kJoining);
      list_running_ = true;
      return enter(BootState::kExecuting, BootActionKind::kRunList);
  }
}

std::vector<BootAction> BootMachine::fail(int code) {
  exit_code_ = code;
  if (!exit_on_error_) return enter(BootState::kHeld, BootActionKind::kHold);
  return unwind();
}

std::vector<BootAction> BootMachine::boot_step(const BootEvent& event) {
  if (std::holds_alternative<Succeeded>(event)) return advance();
  if (std::holds_alternative<VolumeEmpty>(event) && state_ == BootState::kInspecting) {
    return enter(BootState::kRestoring, BootActionKind::kRestore);
  }
  if (const auto* failed = std::get_if<Failed>(&event)) return fail(failed->exit_code);
  if (const auto* stop = std::get_if<StopRequested>(&event)) {
    exit_code_ = 128 + stop->signo;
  } else if (std::holds_alternative<Fatal>(event)) {
    exit_code_ = kExitFatal;
  } else {
    return {};
  }
  cancelled_ = state_;
  stopping_ = true;
  state_ = BootState::kCancelling;
  return {{BootActionKind::kCancelStep}, {BootActionKind::kArmStopTimer}};
}

std::vector<BootAction> BootMachine::cancelling(const BootEvent& event) {
  // A step that was left alone after the time-out has perhaps done its work: what it would leave is undone.
  bool done = std::holds_alternative<Succeeded>(event) || std::holds_alternative<StopTimedOut>(event);
  if (done) note_reached();
  if (done || std::holds_alternative<Failed>(event) || std::holds_alternative<VolumeEmpty>(event)) return unwind();
  if (std::holds_alternative<Fatal>(event)) exit_code_ = kExitFatal;
  return {};
}

std::vector<BootAction> BootMachine::list_step(const BootEvent& event) {
  if (std::holds_alternative<Fatal>(event)) return fatal();
  if (std::holds_alternative<StopRequested>(event)) {
    stopping_ = true;
    state_ = BootState::kStopping;
    return {};
  }
  if (std::holds_alternative<AppStarted>(event) && state_ == BootState::kExecuting) {
    return enter(BootState::kRunning, BootActionKind::kUp, 1);
  }
  const auto* ended = std::get_if<ListEnded>(&event);
  if (ended == nullptr) return {};
  list_running_ = false;
  if (state_ == BootState::kExecuting && ended->why == ListEnded::Why::kNoApp) {
    return enter(BootState::kIdle, BootActionKind::kUp, 0);
  }
  if (state_ == BootState::kExecuting && ended->why == ListEnded::Why::kEntryFailed) return fail(ended->exit_code);
  exit_code_ = ended->exit_code;
  return unwind();
}

std::vector<BootAction> BootMachine::resting(const BootEvent& event) {
  if (std::holds_alternative<Fatal>(event)) return fatal();
  const auto* stop = std::get_if<StopRequested>(&event);
  if (stop == nullptr) return {};
  exit_code_ = state_ == BootState::kIdle ? 0 : 128 + stop->signo;
  return unwind();
}

std::vector<BootAction> BootMachine::fatal() {
  exit_code_ = kExitFatal;
  stopping_ = true;
  if (!mounted_) return unwind();
  mounted_ = false;
  return enter(BootState::kFatalUnmounting, BootActionKind::kUnmount);
}

std::vector<BootAction> BootMachine::fatal_step(const BootEvent& event) {
  bool unmounting = state_ == BootState::kFatalUnmounting;
  if (std::holds_alternative<ListEnded>(event)) {
    list_running_ = false;
    return unmounting ? Actions{} : unwind();
  }
  bool unmounted = unmounting && (std::holds_alternative<Succeeded>(event) || std::holds_alternative<Failed>(event));
  if (!unmounted) return {};
  if (!list_running_) return unwind();
  return enter(BootState::kFatalStopping, BootActionKind::kStopList);
}

std::vector<BootAction> BootMachine::unwind() {
  stopping_ = true;
  if (mounted_ && !drained_) {
    drained_ = true;
    return enter(BootState::kDraining, BootActionKind::kDrain);
  }
  if (joined_ && !flushed_) {
    flushed_ = true;
    return enter(BootState::kFlushing, BootActionKind::kFlushBackup);
  }
  if (joined_) {
    joined_ = false;
    return enter(BootState::kReleasing, BootActionKind::kRelease);
  }
  if (mounted_) {
    mounted_ = false;
    return enter(BootState::kUnmounting, BootActionKind::kUnmount);
  }
  if (opened_) {
    opened_ = false;
    return enter(BootState::kClosing, BootActionKind::kClose);
  }
  return enter(BootState::kDone, BootActionKind::kExit, exit_code_);
}

std::vector<BootAction> BootMachine::stop_step(const BootEvent& event) {
  if (std::holds_alternative<Succeeded>(event)) return unwind();
  if (const auto* failed = std::get_if<Failed>(&event)) {
    if (state_ == BootState::kDraining) exit_code_ = kExitFatal;
    if (exit_code_ == 0) exit_code_ = failed->exit_code;
    return unwind();
  }
  if (std::holds_alternative<Fatal>(event)) exit_code_ = kExitFatal;
  if (std::holds_alternative<StopRequested>(event)) return {{BootActionKind::kHurry}};
  return {};
}

}  // namespace caddis::app
