#include "app/boot_machine.h"

#include <csignal>

#include "base/check.h"

namespace caddis::app {
namespace {

constexpr int kExitFatal = 99;

bool is_stop_signal(int signo) { return signo == SIGINT || signo == SIGTERM || signo == SIGQUIT || signo == SIGHUP; }
bool starts_stop_timer(int signo) { return signo == SIGINT || signo == SIGTERM; }

void append(std::vector<BootAction>& to, std::vector<BootAction> more) {
  to.insert(to.end(), more.begin(), more.end());
}

}  // namespace

std::string_view to_text(BootState state) {
  static constexpr std::string_view kNames[] = {
      "new",      "locking",   "cleaning", "binding",  "inspecting", "restoring",  "opening",          "mounting",
      "joining",  "executing", "starting", "running",  "idle",       "held",       "cancelling",       "stopping",
      "fatal_unmounting",      "draining", "flushing", "releasing",  "unmounting", "closing",          "done"};
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
    case BootState::kStarting:
    case BootState::kRunning:
    case BootState::kStopping:
      return child_step(event);
    case BootState::kIdle:
    case BootState::kHeld:
      return resting(event);
    case BootState::kCancelling:
      return cancelling(event);
    case BootState::kFatalUnmounting:
      return fatal_unmounting(event);
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
      return next_entry();
  }
}

std::vector<BootAction> BootMachine::next_entry() {
  Actions actions;
  for (; entry_ < setup_.entries.size(); ++entry_) {
    const BootEntry& entry = setup_.entries[entry_];
    int index = static_cast<int>(entry_);
    if ((entry.if_candidate && !setup_.candidate) || (entry.if_primary && !primary_)) {
      actions.push_back({BootActionKind::kSkipEntry, index});
      continue;
    }
    bool is_app = entry_ + 1 == setup_.entries.size();
    child_alive_ = true;
    append(actions, is_app ? enter(BootState::kStarting, BootActionKind::kStartApp, index)
                           : enter(BootState::kExecuting, BootActionKind::kRunEntry, index));
    return actions;
  }
  complete_ = true;
  append(actions, enter(BootState::kIdle, BootActionKind::kUp, 0));
  return actions;
}

std::vector<BootAction> BootMachine::fail(int code) {
  if (fatal_) return unwind();
  exit_code_ = code;
  if (!setup_.exit_on_error) return enter(BootState::kHeld, BootActionKind::kHold);
  return unwind();
}

std::vector<BootAction> BootMachine::boot_step(const BootEvent& event) {
  if (std::holds_alternative<Succeeded>(event)) return advance();
  if (std::holds_alternative<VolumeEmpty>(event) && state_ == BootState::kInspecting) {
    return enter(BootState::kRestoring, BootActionKind::kRestore);
  }
  if (const auto* failed = std::get_if<Failed>(&event)) return fail(failed->exit_code);
  bool stop = false;
  if (const auto* signal = std::get_if<Signal>(&event); signal && is_stop_signal(signal->signo)) {
    exit_code_ = 128 + signal->signo;
    stop = true;
  }
  if (std::holds_alternative<Fatal>(event)) {
    fatal_ = stop = true;
    exit_code_ = kExitFatal;
  }
  if (!stop) return {};
  cancelled_ = state_;
  state_ = BootState::kCancelling;
  return {{BootActionKind::kCancelStep}, {BootActionKind::kArmStopTimer}};
}

std::vector<BootAction> BootMachine::cancelling(const BootEvent& event) {
  if (std::holds_alternative<Succeeded>(event)) {
    note_reached();
    return unwind();
  }
  if (std::holds_alternative<Failed>(event) || std::holds_alternative<VolumeEmpty>(event)) return unwind();
  // What a step has begun may need undoing, even though its end was never seen.
  bool give_up = std::holds_alternative<StopTimedOut>(event);
  if (const auto* signal = std::get_if<Signal>(&event)) give_up = starts_stop_timer(signal->signo);
  if (give_up) {
    note_reached();
    return unwind();
  }
  if (std::holds_alternative<Fatal>(event)) {
    fatal_ = true;
    exit_code_ = kExitFatal;
  }
  return {};
}

std::vector<BootAction> BootMachine::forward(int signo) {
  Actions actions{{BootActionKind::kForward, signo}};
  if (state_ == BootState::kStopping) {
    if (starts_stop_timer(signo)) return {{BootActionKind::kKillChild}};
    return actions;
  }
  bool is_entry = state_ == BootState::kExecuting;
  if (starts_stop_timer(signo)) actions.push_back({BootActionKind::kArmStopTimer});
  if (starts_stop_timer(signo) || (is_entry && is_stop_signal(signo))) {
    entry_interrupted_ = is_entry;
    exit_code_ = 128 + signo;
    state_ = BootState::kStopping;
  }
  return actions;
}

std::vector<BootAction> BootMachine::child_step(const BootEvent& event) {
  if (std::holds_alternative<Fatal>(event)) return fatal_ ? Actions{} : fatal();
  if (const auto* signal = std::get_if<Signal>(&event)) return forward(signal->signo);
  if (const auto* exited = std::get_if<ChildExited>(&event)) {
    child_alive_ = false;
    if (state_ == BootState::kExecuting) {
      if (exited->code != 0) return fail(exited->code);
      ++entry_;
      return next_entry();
    }
    // An interrupted entry that says 0 has not finished the list: the signal is the result.
    bool keep = fatal_ || (entry_interrupted_ && exited->code == 0);
    if (!keep) exit_code_ = exited->code;
    return unwind();
  }
  if (std::holds_alternative<StopTimedOut>(event) && state_ == BootState::kStopping) {
    return {{BootActionKind::kKillChild}};
  }
  if (std::holds_alternative<EntryTimedOut>(event) && state_ == BootState::kExecuting) return forward(SIGTERM);
  bool starting = state_ == BootState::kStarting;
  if (std::holds_alternative<Succeeded>(event) && starting) {
    complete_ = true;
    return enter(BootState::kRunning, BootActionKind::kUp, 1);
  }
  if (const auto* failed = std::get_if<Failed>(&event); failed && (starting || state_ == BootState::kExecuting)) {
    child_alive_ = false;
    return fail(failed->exit_code);
  }
  return {};
}

std::vector<BootAction> BootMachine::resting(const BootEvent& event) {
  if (std::holds_alternative<Fatal>(event)) return fatal();
  const auto* signal = std::get_if<Signal>(&event);
  if (!signal || !is_stop_signal(signal->signo)) return {};
  exit_code_ = state_ == BootState::kIdle ? 0 : 128 + signal->signo;
  return unwind();
}

std::vector<BootAction> BootMachine::fatal() {
  fatal_ = true;
  exit_code_ = kExitFatal;
  if (!mounted_) return unwind();
  mounted_ = false;
  return enter(BootState::kFatalUnmounting, BootActionKind::kUnmount);
}

std::vector<BootAction> BootMachine::fatal_unmounting(const BootEvent& event) {
  if (std::holds_alternative<ChildExited>(event)) child_alive_ = false;
  if (!std::holds_alternative<Succeeded>(event) && !std::holds_alternative<Failed>(event)) return {};
  if (!child_alive_) return unwind();
  state_ = BootState::kStopping;
  return {{BootActionKind::kForward, SIGTERM}, {BootActionKind::kArmStopTimer}};
}

std::vector<BootAction> BootMachine::unwind() {
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
  if (const auto* signal = std::get_if<Signal>(&event); signal && starts_stop_timer(signal->signo)) {
    return {{BootActionKind::kHurry}};
  }
  return {};
}

}  // namespace caddis::app
