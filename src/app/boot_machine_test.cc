#include "app/boot_machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

namespace caddis::app {

void PrintTo(const BootAction& a, std::ostream* os) { *os << static_cast<int>(a.kind) << "(" << a.value << ")"; }

namespace {

using K = BootActionKind;
using S = BootState;
using Why = ListEnded::Why;
using testing::ElementsAre;
using testing::IsEmpty;

// A machine that has been taken to `state` by the shortest way.
BootMachine machine_in(S state, bool exit_on_error = true) {
  BootMachine m(exit_on_error);
  if (state == S::kNew) return m;
  m.start();
  auto until = [&m](S target) {
    for (int i = 0; i < 30 && m.state() != target; ++i) {
      m.on(m.state() == S::kExecuting ? BootEvent(AppStarted{}) : BootEvent(Succeeded{}));
    }
  };
  switch (state) {
    case S::kRestoring:
      until(S::kInspecting);
      m.on(VolumeEmpty{});
      break;
    case S::kIdle:
      until(S::kExecuting);
      m.on(ListEnded{Why::kNoApp, 0});
      break;
    case S::kHeld: {
      BootMachine held(false);
      held.start();
      held.on(Failed{1});
      return held;
    }
    case S::kCancelling:
      until(S::kOpening);
      m.on(StopRequested{SIGTERM});
      break;
    case S::kStopping:
      until(S::kRunning);
      m.on(StopRequested{SIGTERM});
      break;
    case S::kFatalUnmounting:
    case S::kFatalStopping:
      until(S::kRunning);
      m.on(Fatal{});
      if (state == S::kFatalStopping) m.on(Succeeded{});
      break;
    case S::kDraining:
    case S::kFlushing:
    case S::kReleasing:
    case S::kUnmounting:
    case S::kClosing:
    case S::kDone:
      until(S::kRunning);
      m.on(ListEnded{Why::kApp, 0});
      until(state);
      break;
    default:
      until(state);
  }
  return m;
}

constexpr S kBootSteps[] = {S::kLocking,   S::kCleaning, S::kBinding,  S::kInspecting,
                            S::kRestoring, S::kOpening,  S::kMounting, S::kJoining};
constexpr S kStopSteps[] = {S::kDraining, S::kFlushing, S::kReleasing, S::kUnmounting, S::kClosing};

std::vector<S> all_but_the_ends() {
  std::vector<S> states;
  for (int i = static_cast<int>(S::kLocking); i < static_cast<int>(S::kDone); ++i) states.push_back(static_cast<S>(i));
  return states;
}

// Feeds successes (and the list's end) until the machine is done; the exit code.
int run_to_exit(BootMachine& m, std::vector<BootAction> actions) {
  for (int i = 0; i < 50; ++i) {
    for (const BootAction& a : actions) {
      if (a.kind == K::kExit) return a.value;
    }
    bool list = m.state() == S::kStopping || m.state() == S::kExecuting || m.state() == S::kRunning ||
                m.state() == S::kFatalStopping;
    actions = m.on(list ? BootEvent(ListEnded{Why::kApp, 0}) : BootEvent(Succeeded{}));
  }
  return -1;
}

TEST(BootMachine, BootsInTheDocumentedOrder) {
  BootMachine m(true);
  EXPECT_THAT(m.start(), ElementsAre(BootAction{K::kLockDataDir}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kCleanStaleMount}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kBindPort}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kInspectVolume}));
  EXPECT_THAT(m.on(VolumeEmpty{}), ElementsAre(BootAction{K::kRestore}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kOpenEngine}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kMount}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kJoin}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kRunList}));
  EXPECT_THAT(m.on(AppStarted{}), ElementsAre(BootAction{K::kUp, 1}));
  EXPECT_EQ(m.state(), S::kRunning);
  EXPECT_FALSE(m.stopping());
}

TEST(BootMachine, StopsInTheDocumentedOrderWithTheAppsCode) {
  BootMachine m = machine_in(S::kRunning);
  EXPECT_THAT(m.on(ListEnded{Why::kApp, 7}), ElementsAre(BootAction{K::kDrain}));
  EXPECT_TRUE(m.stopping());
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
  for (bool exit_on_error : {true, false}) {
    for (S state : kBootSteps) {
      for (int signo : {SIGTERM, SIGINT}) {
        BootMachine m = machine_in(state, exit_on_error);
        EXPECT_THAT(m.on(StopRequested{signo}), ElementsAre(BootAction{K::kCancelStep}, BootAction{K::kArmStopTimer}));
        EXPECT_EQ(m.state(), S::kCancelling) << to_text(state);
        EXPECT_EQ(run_to_exit(m, m.on(Failed{1})), 128 + signo) << to_text(state);
      }
    }
  }
}

TEST(BootMachine, ACancelledStepThatDoesNotEndIsLeftAfterTheTimer) {
  BootMachine m = machine_in(S::kRestoring);
  m.on(StopRequested{SIGTERM});
  EXPECT_THAT(m.on(StopTimedOut{}), ElementsAre(BootAction{K::kExit, 143}));
}

TEST(BootMachine, ACancelledStepThatSucceededAllTheSameIsUndone) {
  BootMachine m = machine_in(S::kMounting);
  m.on(StopRequested{SIGTERM});
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kDrain}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kUnmount}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kClose}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kExit, 143}));
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
    EXPECT_THAT(m.on(Succeeded{}), IsEmpty());
    EXPECT_EQ(run_to_exit(m, m.on(StopRequested{SIGTERM})), 143);
  }
  BootMachine migration = machine_in(S::kExecuting, false);
  EXPECT_THAT(migration.on(ListEnded{Why::kEntryFailed, 3}), ElementsAre(BootAction{K::kHold}));
}

TEST(BootMachine, WithoutAnAppTheNodeIsIdleAndASignalEndsItWithZero) {
  BootMachine m = machine_in(S::kExecuting);
  EXPECT_THAT(m.on(ListEnded{Why::kNoApp, 0}), ElementsAre(BootAction{K::kUp, 0}));
  EXPECT_EQ(run_to_exit(m, m.on(StopRequested{SIGINT})), 0);
}

TEST(BootMachine, AFailedEntryEndsTheListWithItsCode) {
  BootMachine m = machine_in(S::kExecuting);
  EXPECT_THAT(m.on(ListEnded{Why::kEntryFailed, 3}), ElementsAre(BootAction{K::kDrain}));
  EXPECT_EQ(run_to_exit(m, {}), 3);
}

TEST(BootMachine, AListThatASignalEndedGivesItsCodeEvenWithExitOnErrorFalse) {
  for (Why why : {Why::kEntryFailed, Why::kStopped, Why::kApp}) {
    BootMachine m = machine_in(S::kExecuting, false);
    EXPECT_THAT(m.on(StopRequested{SIGTERM}), IsEmpty());
    EXPECT_EQ(m.state(), S::kStopping);
    EXPECT_THAT(m.on(ListEnded{why, 143}), ElementsAre(BootAction{K::kDrain}));
    EXPECT_EQ(run_to_exit(m, {}), 143);
  }
}

TEST(BootMachine, TheAppsCodeAfterAForwardedSignalIsKept) {
  for (int code : {0, 41, 143}) {
    BootMachine m = machine_in(S::kStopping);
    EXPECT_EQ(run_to_exit(m, m.on(ListEnded{Why::kApp, code})), code);
  }
}

TEST(BootMachine, AFatalCaptureErrorUnmountsBeforeTheAppIsStopped) {
  BootMachine m = machine_in(S::kRunning);
  EXPECT_THAT(m.on(Fatal{}), ElementsAre(BootAction{K::kUnmount}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kStopList}));
  EXPECT_THAT(m.on(ListEnded{Why::kApp, 0}), ElementsAre(BootAction{K::kFlushBackup}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kRelease}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kClose}));
  EXPECT_THAT(m.on(Succeeded{}), ElementsAre(BootAction{K::kExit, 99}));
}

TEST(BootMachine, AnAppThatEndsWhileTheMountIsTakenDownIsNotStoppedAgain) {
  BootMachine m = machine_in(S::kFatalUnmounting);
  EXPECT_THAT(m.on(ListEnded{Why::kApp, 1}), IsEmpty());
  EXPECT_THAT(m.on(Failed{1}), ElementsAre(BootAction{K::kFlushBackup}));
  EXPECT_EQ(run_to_exit(m, {}), 99);
}

TEST(BootMachine, AFatalErrorEndsWith99FromEveryState) {
  for (S state : all_but_the_ends()) {
    BootMachine m = machine_in(state);
    EXPECT_EQ(run_to_exit(m, m.on(Fatal{})), 99) << to_text(state);
  }
}

TEST(BootMachine, AFailedDrainEndsWith99) {
  BootMachine m = machine_in(S::kDraining);
  EXPECT_EQ(run_to_exit(m, m.on(Failed{1})), 99);
}

TEST(BootMachine, AFailedStopStepOnlyReplacesTheCodeZero) {
  for (S state : kStopSteps) {
    if (state == S::kDraining) continue;
    BootMachine zero = machine_in(state);
    EXPECT_EQ(run_to_exit(zero, zero.on(Failed{1})), 1) << to_text(state);
  }
  BootMachine m = machine_in(S::kRunning);
  m.on(ListEnded{Why::kApp, 7});
  m.on(Succeeded{});
  EXPECT_EQ(run_to_exit(m, m.on(Failed{1})), 7);
}

TEST(BootMachine, ASignalWhileStoppingHurries) {
  for (S state : kStopSteps) {
    BootMachine m = machine_in(state);
    EXPECT_THAT(m.on(StopRequested{SIGTERM}), ElementsAre(BootAction{K::kHurry}));
    EXPECT_EQ(m.state(), state);
  }
}

// No event, wherever it comes, crashes the machine, and the way out is always finite.
TEST(BootMachine, EveryEventInEveryStateHasADefinedEnd) {
  const BootEvent events[] = {Succeeded{},
                              VolumeEmpty{},
                              Failed{5},
                              StopRequested{SIGTERM},
                              AppStarted{},
                              ListEnded{Why::kApp, 9},
                              ListEnded{Why::kEntryFailed, 3},
                              ListEnded{Why::kStopped, 143},
                              ListEnded{Why::kNoApp, 0},
                              StopTimedOut{},
                              Fatal{}};
  for (bool exit_on_error : {true, false}) {
    for (S state : all_but_the_ends()) {
      for (const BootEvent& first : events) {
        for (const BootEvent& second : events) {
          BootMachine m = machine_in(state, exit_on_error);
          ASSERT_EQ(m.state(), state) << to_text(state);
          std::vector<BootAction> actions = m.on(first);
          if (m.state() != S::kDone) actions = m.on(second);
          if (m.state() != S::kDone) actions = m.on(StopRequested{SIGTERM});
          int code = m.state() == S::kDone ? actions.back().value : run_to_exit(m, actions);
          EXPECT_GE(code, 0) << to_text(state) << " " << first.index() << " " << second.index();
        }
      }
    }
  }
}

}  // namespace
}  // namespace caddis::app
