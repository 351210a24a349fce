#include "supervise/supervisor.h"

#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "base/check.h"
#include "base/log.h"
#include "supervise/descendants.h"
#include "supervise/signals.h"

namespace caddis::supervise {
namespace {

int exit_code_of_status(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

// XCPU and XFSZ are raised by what caddis itself did, unless a process sent them (si_code <= 0).
bool is_forwardable(const signalfd_siginfo& info) {
  int signo = static_cast<int>(info.ssi_signo);
  if (signo == SIGTTIN || signo == SIGTTOU) return false;
  return (signo != SIGXCPU && signo != SIGXFSZ) || info.ssi_code <= 0;
}

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};

}  // namespace

Result<std::unique_ptr<Supervisor>> Supervisor::create(SupervisorOptions options, SupervisorCallbacks callbacks) {
  block_signals();
  std::unique_ptr<Supervisor> supervisor(new Supervisor(std::move(options), std::move(callbacks)));
  TRY(supervisor->open_descriptors());
  return supervisor;
}

Supervisor::Supervisor(SupervisorOptions options, SupervisorCallbacks callbacks)
    : options_(std::move(options)), callbacks_(std::move(callbacks)) {
  set_environment(std::move(options_.env));
  if (::getpid() != 1) ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  pid_t foreground = ::tcgetpgrp(STDIN_FILENO);
  // In a PID namespace both are 0 when the group was made outside; it is the same group all the same.
  has_terminal_ = foreground >= 0 && foreground == ::getpgrp();
}

Supervisor::~Supervisor() {
  if (pid_ != 0) {
    signal_program(SIGKILL, true);
    ::waitpid(pid_, nullptr, 0);
    take_terminal_back();
  }
  for (int fd : {timer_fd_, signal_fd_, poll_fd_}) {
    if (fd >= 0) ::close(fd);
  }
}

Status Supervisor::open_descriptors() {
  sigset_t mask;
  ::sigprocmask(SIG_BLOCK, nullptr, &mask);
  signal_fd_ = ::signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
  if (signal_fd_ < 0) return from_errno(errno, "supervisor: signalfd");
  timer_fd_ = ::timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
  if (timer_fd_ < 0) return from_errno(errno, "supervisor: timerfd");
  poll_fd_ = ::epoll_create1(EPOLL_CLOEXEC);
  if (poll_fd_ < 0) return from_errno(errno, "supervisor: epoll");
  for (int fd : {signal_fd_, timer_fd_}) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    if (::epoll_ctl(poll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) return from_errno(errno, "supervisor: epoll");
  }
  return {};
}

void Supervisor::set_environment(std::vector<std::string> env) {
  options_.env = std::move(env);
  if (options_.user) options_.env = child_environment(std::move(options_.env), {}, {"HOME=" + options_.user->home});
}

// ---- what comes in

void Supervisor::on_readable() {
  // Signals before children: after a TERM the next entry of the list must not be started.
  read_signals();
  std::uint64_t expirations = 0;
  bool expired = ::read(timer_fd_, &expirations, sizeof expirations) == sizeof expirations;
  if (expired && machine_ && machine_->deadline() && *machine_->deadline() <= clock_.now()) {
    perform(machine_->on_deadline(clock_.now()));
  }
  set_timer();
}

void Supervisor::read_signals() {
  bool child_changed = false;
  for (;;) {
    std::array<signalfd_siginfo, 16> infos;
    ssize_t got = ::read(signal_fd_, infos.data(), sizeof infos);
    if (got <= 0) break;
    for (std::size_t i = 0; i < static_cast<std::size_t>(got) / sizeof infos[0]; ++i) {
      if (infos[i].ssi_signo == SIGCHLD)
        child_changed = true;
      else if (is_forwardable(infos[i]))
        on_signal(static_cast<int>(infos[i].ssi_signo));
    }
  }
  if (child_changed) reap();
}

void Supervisor::on_signal(int signo) {
  bool hold = is_stop_signal(signo, ignored_by_parent()) && note_stop(signo);
  if (machine_) perform(machine_->on_signal(signo, clock_.now(), hold));
}

bool Supervisor::note_stop(int signo) {
  bool first = stop_signal_ == 0;
  if (first) stop_signal_ = signo;
  if (callbacks_.stop_requested) callbacks_.stop_requested(signo);
  bool hold = first && pid_ != 0 && is_last() && callbacks_.hold_stop && callbacks_.hold_stop();
  if (first && !hold) log_forwarding();
  return hold;
}

void Supervisor::log_forwarding() const {
  if (pid_ == 0 || !options_.log_steps) return;
  log_info("sending signal to exec process");
  log_info("waiting for exec process to close");
}

void Supervisor::stop(int signo) {
  bool hold = note_stop(signo);
  if (machine_) perform(machine_->stop(signo, clock_.now(), hold));
  set_timer();
}

void Supervisor::release_stop() {
  if (!machine_) return;
  StopActions actions = machine_->release();
  if (!actions.empty()) log_forwarding();
  perform(actions);
}

void Supervisor::signal_app(int signo) {
  if (pid_ != 0) signal_program(signo, options_.signal_group);
}

void Supervisor::reap() {
  std::optional<int> entry_code;
  bool reaped_rest = false;
  rest_ = true;
  for (;;) {
    int status = 0;
    pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid < 0 && errno == ECHILD) rest_ = false;
    if (pid <= 0) break;
    if (pid == pid_) {
      entry_code = exit_code_of_status(status);
    } else {
      termed_.erase(pid);
      reaped_rest = true;
    }
  }
  if (entry_code)
    entry_ended(*entry_code);
  else if (machine_ && reaped_rest)
    perform(machine_->on_rest(rest_));
}

// ---- the list

void Supervisor::run(std::vector<ExecEntry> entries) {
  CHECK(!active_);
  entries_ = std::move(entries);
  index_ = 0;
  active_ = true;
  next_entry();
  set_timer();
}

// Starts the entry at index_, or a later one when it is to be skipped.
void Supervisor::next_entry() {
  for (; index_ < entries_.size(); ++index_) {
    if (stop_signal_ != 0) {
      finish({.why = Ended::Why::kStopped, .exit_code = 128 + stop_signal_, .index = index_, .message = ""});
      return;
    }
    if (!callbacks_.should_run || callbacks_.should_run(index_)) {
      start_entry(entries_[index_]);
      return;
    }
  }
  result_ = Ended{.why = Ended::Why::kNoApp, .exit_code = 0, .index = index_, .message = ""};
  conclude();
}

void Supervisor::start_entry(const ExecEntry& entry) {
  if (options_.log_steps) {
    log_info(fmt::format("{}: {}", is_last() ? "starting background subprocess" : "executing command",
                         command_text(entry.argv)));
  }
  Result<pid_t> pid = os::spawn({.argv = entry.argv,
                                 .env = options_.env,
                                 .cwd = "",
                                 .user = options_.user,
                                 .ignored_signals = ignored_by_parent(),
                                 .take_terminal = has_terminal_});
  if (!pid) {
    take_terminal_back();
    finish({.why = Ended::Why::kEntry,
            .exit_code = os::exit_code_of(pid.error()),
            .index = index_,
            .message = pid.error().message()});
    return;
  }
  pid_ = *pid;
  Rest rest = options_.leave_rest ? Rest::kLeave : is_last() ? Rest::kSweep : Rest::kLeaveOnSuccess;
  machine_.emplace(
      StopOptions{.stop_timeout_ms = options_.stop_timeout_ms, .rest = rest, .ignored_by_parent = ignored_by_parent()},
      clock_.now(), entry.timeout_ms);
  if (is_last() && callbacks_.app_started) callbacks_.app_started(pid_);
}

void Supervisor::entry_ended(int exit_code) {
  pid_ = 0;
  take_terminal_back();
  perform(machine_->on_program_end(exit_code, rest_, clock_.now()));
}

// Ends the list without a program: descendants of earlier entries are stopped like those of one.
void Supervisor::finish(Ended ended) {
  result_ = std::move(ended);
  machine_.emplace(StopOptions{.stop_timeout_ms = options_.stop_timeout_ms,
                               .rest = options_.leave_rest ? Rest::kLeave : Rest::kSweep,
                               .ignored_by_parent = ignored_by_parent()},
                   clock_.now());
  reap();
  if (machine_) perform(machine_->on_program_end(result_->exit_code, rest_, clock_.now()));
}

void Supervisor::conclude() {
  active_ = false;
  termed_.clear();
  Ended ended = std::move(*result_);
  result_.reset();
  if (callbacks_.ended) callbacks_.ended(ended);
}

// ---- what goes out

void Supervisor::perform(const StopActions& actions) {
  for (const StopAction& action : actions) {
    std::visit(Overloaded{
                   [this](const ForwardSignal& a) { signal_program(a.signo, options_.signal_group); },
                   [this](const KillProgram&) { signal_program(SIGKILL, true); },
                   [this](const SignalRest& a) { signal_rest(a.signo); },
                   [this](const ProgramEnded& a) {
                     int stopped_by = machine_->stop_signal();
                     bool timed_out = machine_->timed_out();
                     machine_.reset();
                     program_over(a.exit_code, stopped_by, timed_out);
                   },
               },
               action);
  }
}

// The running entry and what had to go with it are gone.
void Supervisor::program_over(int exit_code, int stopped_by, bool timed_out) {
  if (pid_ != 0) {  // given up: stuck in the kernel
    log_warn("process does not die of SIGKILL, giving up", {{"pid", std::to_string(pid_)}});
    pid_ = 0;
    take_terminal_back();
  }
  if (result_) {
    conclude();
    return;
  }
  if (is_last()) {
    result_ = Ended{.why = Ended::Why::kApp, .exit_code = exit_code, .index = index_, .message = ""};
    conclude();
    return;
  }
  if (exit_code == 0 && stopped_by != 0) exit_code = 128 + stopped_by;
  if (exit_code == 0) {
    ++index_;
    next_entry();
    return;
  }
  const ExecEntry& entry = entries_[index_];
  std::string why = timed_out         ? fmt::format("did not end within {} ms", entry.timeout_ms)
                    : stopped_by != 0 ? fmt::format("stopped by {}", signal_name(stopped_by))
                    : exit_code > 128 ? fmt::format("exit status {} ({})", exit_code, signal_name(exit_code - 128))
                                      : fmt::format("exit status {}", exit_code);
  result_ = Ended{.why = Ended::Why::kEntry,
                  .exit_code = exit_code,
                  .index = index_,
                  .message = fmt::format("{}: {}", command_text(entry.argv), why)};
  conclude();
}

void Supervisor::signal_program(int signo, bool group) {
  if (pid_ == 0) return;
  // The group first; the program itself too when it has moved to another one. A KILL may go to both.
  bool reached = group && ::kill(-pid_, signo) == 0;
  if (!reached || signo == SIGKILL) ::kill(pid_, signo);
}

void Supervisor::signal_rest(int signo) {
  for (pid_t pid : living_descendants()) {
    if (signo == SIGTERM && !termed_.insert(pid).second) continue;
    ::kill(pid, signo);
    if (signo == SIGTERM) ::kill(pid, SIGCONT);  // a stopped process would not get to its TERM
  }
}

void Supervisor::set_timer() {
  std::optional<TimeMs> deadline = machine_ ? machine_->deadline() : std::nullopt;
  itimerspec when{};
  if (deadline) {
    std::int64_t ms = std::max<std::int64_t>(deadline->value(), 1);  // all zero would disarm
    when.it_value = {.tv_sec = ms / 1000, .tv_nsec = static_cast<long>(ms % 1000) * 1'000'000};
  }
  ::timerfd_settime(timer_fd_, TFD_TIMER_ABSTIME, &when, nullptr);
}

void Supervisor::take_terminal_back() const {
  if (has_terminal_) ::tcsetpgrp(STDIN_FILENO, ::getpgrp());  // SIGTTOU is blocked
}

}  // namespace caddis::supervise
