#include "supervise/signals.h"

#include <fmt/core.h>

#include <csignal>
#include <cstring>

namespace caddis::supervise {
namespace {

os::SignalBits ignored_bits = 0;
bool blocked = false;

void set_disposition(int signo, void (*handler)(int)) {
  struct sigaction action{};
  action.sa_handler = handler;
  ::sigaction(signo, &action, nullptr);
}

}  // namespace

void block_signals() {
  if (blocked) return;
  blocked = true;
  for (int signo = 1; signo <= SIGRTMAX; ++signo) {
    struct sigaction action{};
    if (signo == SIGPIPE || signo == SIGCHLD || ::sigaction(signo, nullptr, &action) != 0) continue;
    if (action.sa_handler == SIG_IGN) ignored_bits |= os::signal_bit(signo);
  }
  sigset_t mask;
  ::sigfillset(&mask);
  for (int signo : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGPIPE}) ::sigdelset(&mask, signo);
  ::sigprocmask(SIG_SETMASK, &mask, nullptr);
  set_disposition(SIGPIPE, SIG_IGN);
  set_disposition(SIGCHLD, SIG_DFL);  // ignored, it would make the kernel throw exit codes away
}

os::SignalBits ignored_by_parent() { return ignored_bits; }

std::string signal_name(int signo) {
  if (signo >= SIGRTMIN && signo <= SIGRTMAX) return fmt::format("SIGRTMIN+{}", signo - SIGRTMIN);
  const char* name = ::sigabbrev_np(signo);
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", signo);
}

}  // namespace caddis::supervise
