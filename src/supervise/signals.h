// The signals of the whole process: blocked everywhere, read from one signalfd by the Supervisor.
//
// Policy for what caddis itself inherited:
//   ignored signals   handed on: what the parent had ignored (HUP under nohup, INT and QUIT for a command a shell
//   script
//                     put in the background) is ignored in the app until the app decides otherwise, as with tini.
//                     PIPE and CHLD are always default in the app.
//   blocked signals   not handed on: the app starts with an empty mask, because a blocked TERM makes it unstoppable.
#pragma once

#include "os/spawn.h"

namespace caddis::supervise {

// First thing in main, before any thread exists, so that every thread inherits the mask: blocks all signals but those
// that a fault raises (SEGV, BUS, FPE, ILL, ABRT, TRAP, SYS), ignores PIPE, makes CHLD default. A signal that arrives
// before the app runs then waits and is forwarded to it. Later calls do nothing.
void block_signals();

// What the parent of caddis had ignored and the app inherits; empty before block_signals().
os::SignalBits ignored_by_parent();

// "SIGTERM", "SIGRTMIN+3".
std::string signal_name(int signo);

}  // namespace caddis::supervise
