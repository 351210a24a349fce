#include "app/boot_machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

namespace caddis::app {

void PrintTo(const BootAction& a, std::ostream* os) { *os << static_cast<int>(a.kind) << "(" << a.value << ")"; }

namespace {

using K = BootActionKind;
using S = BootState;
using testing::ElementsAre;
using testing::IsEmpty;

BootSetup setup_with(std::vector<BootEntry> entries) { return {.entries = std::move(entries)}; }

// A machine that has been taken to `state` by the shortest way, with one migration and an app.
BootMachine machine_in(S state, bool exit_on_error = true) {
  BootMachine m({.exit_on_error = exit_on_error, .entries = {{}, {}}});
  if (state == S::kNew) return m;
  m.start();
  auto until = [&m](S target) {
    for (int i = 0; i < 20 && m.state() != target; ++i) {
      bool executing = m.state() == S::kExecuting;
      m.on(executing ? BootEvent(ChildExited{0}) : BootEvent(Succeeded{}));
    }
  };
  switch (state) {
    case S::kRestoring:
      until(S::kInspecting);
      m.on(VolumeEmpty{});
      break;
    case S::kIdle: {
      BootMachine idle(setup_with({}));
      idle.start();
      for (int i = 0; i < 8; ++i) idle.on(Succeeded{});
      return idle;
    }
    case S::kHeld: {
      BootMachine held({.exit_on_error = false, .entries = {}});
      held.start();
      held.on(Failed{1});
      return held;
    }
    case S::kCancelling:
      until(S::kOpening);
      m.on(Signal{SIGTERM});
      break;
    case S::kStopping:
      until(S::kRunning);
      m.on(Signal{SIGTERM});
      break;
    case S::kFatalUnmounting:
      until(S::kRunning);
      m.on(Fatal{});
      break;
    case S::kDraining:
    case S::kFlushing:
    case S::kReleasing:
    case S::kUnmounting:
    case S::kClosing:
    case S::kDone:
      until(S::kRunning);
      m.on(ChildExited{0});
      until(state);
      break;
    default:
      until(state);
  }
  return m;
}

constexpr S kAll[] = {S::kNew,      S::kLocking,  S::kCleaning,       S::kBinding,  S::kInspecting, S::kRestoring,
                      S::kOpening,  S::kMounting, S::kJoining,        S::kExecuting, S::kStarting,  S::kRunning,
                      S::kIdle,     S::kHeld,     S::kCancelling,     S::kStopping, S::kFatalUnmounting,
                      S::kDraining, S::kFlushing, S::kReleasing,      S::kUnmounting, S::kClosing,  S::kDone};
constexpr S kBootSteps[] = {S::kLocking,   S::kCleaning, S::kBinding,  S::kInspecting,
                            S::kRestoring, S::kOpening,  S::kMounting, S::kJoining};

// Feeds successes (and the child's exit code) until the end; the exit code.
int run_to_exit(BootMachine& m, std::vector<BootAction> actions, int child_code = 0) {
  for (int i = 0; i < 50; ++i) {
    for (const BootAction& a : actions) {
      if (a.kind == K::kExit) return a.value;
    }
    bool child = m.state() == S::kStopping || m.state() == S::kExecuting || m.state() == S::kRunning;
    actions = m.on(child ? BootEvent(ChildExited{child_code}) : BootEvent(Succeeded{}));
  }
  return -1;
}

TEST(BootMachine, BootsInTheDocumentedOrder) {
  BootMachine m(setup_with({{}, {}}));
  EXPECT_THAT(m.start(), ElementsAre(BootAction{K::kLockDataDir}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kCleanStaleMount}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kBindPort}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kInspectVolume}));
  EXPECT_THAT(m.on(VolumeEmpty{}), ElementsAre(BootAction{K::kRestore}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kOpenEngine}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kMount}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kJoin}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kRunEntry, 0}));
  EXPECT_FALSE(m.complete());
  EXPECT_THAT(m.on(ChildExited{0}), ElementsAre(BootAction{K::kStartApp, 1}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kUp, 1}));
  EXPECT_TRUE(m.complete());
}

TEST(BootMachine, StopsInTheDocumentedOrderWithTheAppsCode) {
  BootMachine m = machine_in(S::kRunning);
  EXPECT_THAT(m.on(ChildExited{7}), ElementsAre(BootAction{K::kDrain}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kFlushBackup}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kRelease}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kUnmount}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kClose}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kExit, 7}));
}

TEST(BootMachine, AVolumeThatIsNotEmptyIsNotRestored) {
  BootMachine m = machine_in(S::kInspecting);
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kOpenEngine}));
}

TEST(BootMachine, ASignalInAnyBootStepCancelsItAndEndsWith128PlusN) {
  for (S state : kBootSteps) {
    for (int signo : {SIGTERM, SIGINT, SIGQUIT, SIGHUP}) {
      BootMachine m = machine_in(state);
      EXPECT_THAT(m.on(Signal{signo}), ElementsAre(BootAction{K::kCancelStep}, BootAction{K::kArmStopTimer}));
      EXPECT_EQ(m.state(), S::kCancelling) << to_text(state);
      EXPECT_EQ(run_to_exit(m, m.on(Failed{1})), 128 + signo) << to_text(state);
    }
  }
}

TEST(BootMachine, OtherSignalsDuringBootAreIgnored) {
  for (S state : kBootSteps) {
    BootMachine m = machine_in(state);
    EXPECT_THAT(m.on(Signal{SIGUSR1}), IsEmpty());
    EXPECT_THAT(m.on(Signal{SIGWINCH}), IsEmpty());
    EXPECT_EQ(m.state(), state);
  }
}

TEST(BootMachine, ACancelledStepThatDoesNotEndIsLeftAfterTheTimerOrASecondSignal) {
  for (const BootEvent& event : {BootEvent(StopTimedOut{}), BootEvent(Signal{SIGINT})}) {
    BootMachine m = machine_in(S::kRestoring);
    m.on(Signal{SIGTERM});
    EXPECT_THAT(m.on(event), ElementsAre(BootAction{K::kExit, 143}));
  }
}

TEST(BootMachine, AFailedBootStepUndoesWhatWasReachedAndEndsWithItsCode) {
  BootMachine early = machine_in(S::kLocking);
  EXPECT_THAT(early.on(Failed{74}), ElementsAre(BootAction{K::kExit, 74}));
  BootMachine restoring = machine_in(S::kRestoring);
  EXPECT_THAT(restoring.on(Failed{69}), ElementsAre(BootAction{K::kExit, 69}));
  BootMachine mounting = machine_in(S::kMounting);
  EXPECT_THAT(mounting.on(Failed{1}), ElementsAre(BootAction{K::kClose}));
  EXPECT_THAT(mounting.on(Succeeded{}), ElementsAre(BootAction{K::kExit, 1}));
  BootMachine joining = machine_in(S::kJoining);
  EXPECT_THAT(joining.on(Failed{1}), ElementsAre(BootAction{K::kDrain}));
  EXPECT_EQ(run_to_exit(joining, {}), 1);
}

TEST(BootMachine, WithExitOnErrorFalseAFailureIsHeldUntilASignal) {
  for (S state : kBootSteps) {
    BootMachine m = machine_in(state, false);
    EXPECT_THAT(m.on(Failed{1}), ElementsAre(BootAction{K::kHold})) << to_text(state);
    EXPECT_THAT(m.on(Signal{SIGUSR1}), IsEmpty());
    EXPECT_EQ(m.state(), S::kHeld);
    EXPECT_EQ(run_to_exit(m, m.on(Signal{SIGTERM})), 143);
  }
}

TEST(BootMachine, CandidateEntriesAreSkippedWhereTheNodeIsNone) {
  BootMachine m({.candidate = false, .entries = {{.if_candidate = true}, {}}});
  m.start();
  for (int i = 0; i < 6; ++i) m.on(Succeeded{});
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kSkipEntry, 0}, BootAction{K::kStartApp, 1}));
}

TEST(BootMachine, PrimaryEntriesRunByTheRoleAtThatMoment) {
  for (bool primary : {false, true}) {
    BootMachine m(setup_with({{}, {.if_primary = true}, {}}));
    m.start();
    for (int i = 0; i < 7; ++i) m.on(Succeeded{});
    ASSERT_EQ(m.state(), S::kExecuting);
    m.set_primary(primary);
    if (primary) EXPECT_THAT(m.on(ChildExited{0}), ElementsAre(BootAction{K::kRunEntry, 1}));
    else EXPECT_THAT(m.on(ChildExited{0}), ElementsAre(BootAction{K::kSkipEntry, 1}, BootAction{K::kStartApp, 2}));
  }
}

TEST(BootMachine, ASkippedLastEntryLeavesTheNodeIdle) {
  BootMachine m({.candidate = false, .entries = {{.if_candidate = true}}});
  m.start();
  for (int i = 0; i < 6; ++i) m.on(Succeeded{});
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kSkipEntry, 0}, BootAction{K::kUp, 0}));
  EXPECT_EQ(run_to_exit(m, m.on(Signal{SIGINT})), 0);
}

TEST(BootMachine, AFailedMigrationEndsTheListWithItsCode) {
  BootMachine m = machine_in(S::kExecuting);
  EXPECT_THAT(m.on(ChildExited{3}), ElementsAre(BootAction{K::kDrain}));
  EXPECT_EQ(run_to_exit(m, {}), 3);
  BootMachine missing = machine_in(S::kExecuting);
  EXPECT_EQ(run_to_exit(missing, missing.on(Failed{127})), 127);
}

TEST(BootMachine, ASignalDuringAMigrationReachesItAndEndsTheList) {
  for (auto [code, expected] : {std::pair{143, 143}, {41, 41}, {0, 143}}) {
    BootMachine m = machine_in(S::kExecuting);
    EXPECT_THAT(m.on(Signal{SIGTERM}), ElementsAre(BootAction{K::kForward, SIGTERM}, BootAction{K::kArmStopTimer}));
    EXPECT_EQ(run_to_exit(m, m.on(ChildExited{code})), expected);
  }
}

TEST(BootMachine, AMigrationThatTakesTooLongIsStopped) {
  BootMachine m = machine_in(S::kExecuting);
  EXPECT_THAT(m.on(EntryTimedOut{}), ElementsAre(BootAction{K::kForward, SIGTERM}, BootAction{K::kArmStopTimer}));
  EXPECT_THAT(m.on(StopTimedOut{}), ElementsAre(BootAction{K::kKillChild}));
  EXPECT_EQ(run_to_exit(m, m.on(ChildExited{137})), 137);
}

TEST(BootMachine, EverySignalIsForwardedToTheAppAndOnlyIntAndTermStartTheTimer) {
  for (int signo : {SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT, SIGALRM}) {
    BootMachine m = machine_in(S::kRunning);
    EXPECT_THAT(m.on(Signal{signo}), ElementsAre(BootAction{K::kForward, signo}));
    EXPECT_EQ(m.state(), S::kRunning);
  }
  for (int signo : {SIGINT, SIGTERM}) {
    BootMachine m = machine_in(S::kRunning);
    EXPECT_THAT(m.on(Signal{signo}), ElementsAre(BootAction{K::kForward, signo}, BootAction{K::kArmStopTimer}));
    EXPECT_EQ(m.state(), S::kStopping);
  }
}

TEST(BootMachine, AnAppThatIgnoresTermIsKilledAfterTheTimerOrASecondSignal) {
  for (const BootEvent& event : {BootEvent(StopTimedOut{}), BootEvent(Signal{SIGTERM}), BootEvent(Signal{SIGINT})}) {
    BootMachine m = machine_in(S::kStopping);
    EXPECT_THAT(m.on(event), ElementsAre(BootAction{K::kKillChild}));
    EXPECT_EQ(run_to_exit(m, m.on(ChildExited{137})), 137);
  }
}

TEST(BootMachine, TheAppsCodeAfterAForwardedSignalIsKept) {
  for (int code : {0, 41, 143}) {
    BootMachine m = machine_in(S::kStopping);
    EXPECT_EQ(run_to_exit(m, m.on(ChildExited{code})), code);
  }
}

TEST(BootMachine, AFatalCaptureErrorUnmountsBeforeTheAppIsStopped) {
  BootMachine m = machine_in(S::kRunning);
  EXPECT_THAT(m.on(Fatal{}), ElementsAre(BootAction{K::kUnmount}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kForward, SIGTERM}, BootAction{K::kArmStopTimer}));
  EXPECT_THAT(m.on(ChildExited{0}), ElementsAre(BootAction{K::kFlushBackup}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kRelease}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kClose}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kExit, 99}));
}

TEST(BootMachine, AFatalErrorEndsWith99FromEveryState) {
  for (S state : kAll) {
    if (state == S::kNew || state == S::kDone) continue;
    BootMachine m = machine_in(state);
    EXPECT_EQ(run_to_exit(m, m.on(Fatal{})), 99) << to_text(state);
  }
}

TEST(BootMachine, AFailedDrainEndsWith99) {
  BootMachine m = machine_in(S::kDraining);
  EXPECT_EQ(run_to_exit(m, m.on(Failed{1})), 99);
}

TEST(BootMachine, AFailedStopStepOnlyReplacesTheCodeZero) {
  for (S state : {S::kFlushing, S::kReleasing, S::kUnmounting, S::kClosing}) {
    BootMachine zero = machine_in(state);
    EXPECT_EQ(run_to_exit(zero, zero.on(Failed{1})), 1) << to_text(state);
  }
  BootMachine m = machine_in(S::kRunning);
  m.on(ChildExited{7});
  EXPECT_EQ(run_to_exit(m, m.on(Succeeded{}) /* flushing */), 7);
}

TEST(BootMachine, ASecondSignalWhileStoppingHurries) {
  for (S state : {S::kDraining, S::kFlushing, S::kReleasing, S::kUnmounting, S::kClosing}) {
    BootMachine m = machine_in(state);
    EXPECT_THAT(m.on(Signal{SIGTERM}), ElementsAre(BootAction{K::kHurry}));
    EXPECT_THAT(m.on(Signal{SIGUSR1}), IsEmpty());
    EXPECT_EQ(m.state(), state);
  }
}

// No event, wherever it comes, crashes the machine, and the way out is always finite.
TEST(BootMachine, EveryEventInEveryStateHasADefinedEnd) {
  const BootEvent events[] = {Succeeded{},     VolumeEmpty{},   Failed{5},       Signal{SIGTERM}, Signal{SIGUSR1},
                              Signal{SIGHUP},  ChildExited{0},  ChildExited{9},  EntryTimedOut{}, StopTimedOut{},
                              Fatal{}};
  for (bool exit_on_error : {true, false}) {
    for (S state : kAll) {
      if (state == S::kNew || state == S::kDone) continue;
      for (const BootEvent& first : events) {
        for (const BootEvent& second : events) {
          BootMachine m = machine_in(state, exit_on_error);
          ASSERT_EQ(m.state(), state) << to_text(state);
          std::vector<BootAction> actions = m.on(first);
          if (m.state() != S::kDone) actions = m.on(second);
          if (m.state() != S::kDone) actions = m.on(Signal{SIGTERM});
          int code = m.state() == S::kDone ? actions.back().value : run_to_exit(m, actions);
          EXPECT_GE(code, 0) << to_text(state) << " " << first.index() << " " << second.index();
        }
      }
    }
  }
}

}  // namespace
}  // namespace caddis::app
