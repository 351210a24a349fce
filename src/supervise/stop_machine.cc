#include "supervise/stop_machine.h"

#include <csignal>

namespace caddis::supervise {

StopMachine::StopMachine(const StopOptions& options, TimeMs now, std::int64_t timeout_ms) : options_(options) {
  if (timeout_ms > 0) deadline_ = now + timeout_ms;
}

bool is_stop_signal(int signo, os::SignalBits ignored_by_parent) {
  return (signo == SIGINT || signo == SIGTERM) && (ignored_by_parent & os::signal_bit(signo)) == 0;
}

StopActions StopMachine::on_signal(int signo, TimeMs now, bool hold) {
  if (is_stop_signal(signo, options_.ignored_by_parent)) return stop(signo, now, hold);
  if (program_runs() && state_ != State::kKilling) return {ForwardSignal{signo}};
  return {};
}

StopActions StopMachine::stop(int signo, TimeMs now, bool hold) {
  switch (state_) {
    case State::kRunning:
      state_ = hold ? State::kHeld : State::kStopping;
      stop_signal_ = signo;
      stop_began_ = now;
      deadline_ = now + options_.stop_timeout_ms;
      if (hold) return {};
      return {ForwardSignal{signo}};
    case State::kHeld:
    case State::kStopping:
      return kill_program(now);
    case State::kSweeping:
      return kill_rest(now);
    case State::kKilling:
    case State::kSweepKilling:
    case State::kEnded:
      break;
  }
  return {};
}

StopActions StopMachine::release() {
  if (state_ != State::kHeld) return {};
  state_ = State::kStopping;
  return {ForwardSignal{stop_signal_}};
}

bool StopMachine::program_runs() const {
  return state_ == State::kRunning || state_ == State::kHeld || state_ == State::kStopping || state_ == State::kKilling;
}

StopActions StopMachine::on_program_end(int exit_code, bool rest, TimeMs now) {
  if (!program_runs()) return {};
  exit_code_ = exit_code;
  if (!rest || may_leave_rest()) return end();
  if (state_ == State::kKilling) return kill_rest(now);
  deadline_ = (stop_signal_ != 0 ? stop_began_ : now) + options_.stop_timeout_ms;
  state_ = State::kSweeping;
  return {SignalRest{SIGTERM}};
}

StopActions StopMachine::on_rest(bool rest) {
  if (state_ != State::kSweeping && state_ != State::kSweepKilling) return {};
  if (!rest) return end();
  // Those whose parent has just died may not have been signalled yet.
  return {SignalRest{state_ == State::kSweeping ? SIGTERM : SIGKILL}};
}

StopActions StopMachine::on_deadline(TimeMs now) {
  switch (state_) {
    case State::kRunning:
      timed_out_ = true;
      return stop(SIGTERM, now);
    case State::kHeld:
    case State::kStopping:
      return kill_program(now);
    case State::kSweeping:
      return kill_rest(now);
    case State::kKilling:
      exit_code_ = 128 + SIGKILL;
      return end();
    case State::kSweepKilling:
      return end();
    case State::kEnded:
      break;
  }
  return {};
}

bool StopMachine::may_leave_rest() const {
  switch (options_.rest) {
    case Rest::kSweep:
      return false;
    case Rest::kLeave:
      return true;
    case Rest::kLeaveOnSuccess:
      return exit_code_ == 0 && stop_signal_ == 0;
  }
  return false;
}

StopActions StopMachine::kill_program(TimeMs now) {
  state_ = State::kKilling;
  deadline_ = now + kGiveUpMs;
  return {KillProgram{}};
}

StopActions StopMachine::kill_rest(TimeMs now) {
  state_ = State::kSweepKilling;
  deadline_ = now + kGiveUpMs;
  return {SignalRest{SIGKILL}};
}

StopActions StopMachine::end() {
  state_ = State::kEnded;
  deadline_.reset();
  return {ProgramEnded{exit_code_}};
}

}  // namespace caddis::supervise
