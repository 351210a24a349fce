#include "supervise/stop_machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

namespace caddis::supervise {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr StopOptions kOptions{.stop_timeout_ms = 3000};
constexpr TimeMs at(std::int64_t ms) { return TimeMs{100'000 + ms}; }

template <class T>
auto just(T action) {
  return ElementsAre(StopAction(action));
}

TEST(StopMachine, EndsAtOnceWithTheProgramsCodeWhenNothingIsLeft) {
  StopMachine m(kOptions, at(0));
  EXPECT_EQ(m.deadline(), std::nullopt);
  EXPECT_THAT(m.on_program_end(7, false, at(5)), just(ProgramEnded{7}));
  EXPECT_EQ(m.stop_signal(), 0);
  EXPECT_THAT(m.on_signal(SIGTERM, at(6)), IsEmpty());
}

TEST(StopMachine, ForwardsEverySignalAndOnlyIntAndTermStartTheClock) {
  StopMachine m(kOptions, at(0));
  for (int signo : {SIGHUP, SIGQUIT, SIGUSR1, SIGCONT, SIGTSTP, 64}) {
    EXPECT_THAT(m.on_signal(signo, at(1)), just(ForwardSignal{signo}));
    EXPECT_EQ(m.deadline(), std::nullopt);
  }
  EXPECT_THAT(m.on_signal(SIGTERM, at(2)), just(ForwardSignal{SIGTERM}));
  EXPECT_EQ(m.deadline(), at(3002));
  EXPECT_THAT(m.on_signal(SIGHUP, at(3)), just(ForwardSignal{SIGHUP}));
  EXPECT_THAT(m.on_program_end(41, false, at(4)), just(ProgramEnded{41}));
  EXPECT_EQ(m.deadline(), std::nullopt);
}

TEST(StopMachine, KillsAfterTheTimeOutAndGivesUpOnAProcessStuckInTheKernel) {
  StopMachine m(kOptions, at(0));
  m.on_signal(SIGINT, at(0));
  EXPECT_EQ(m.stop_signal(), SIGINT);
  EXPECT_THAT(m.on_deadline(at(3000)), just(KillProgram{}));
  EXPECT_THAT(m.on_signal(SIGTERM, at(3001)), IsEmpty());
  EXPECT_THAT(m.on_signal(SIGHUP, at(3001)), IsEmpty());
  EXPECT_EQ(m.deadline(), at(3000 + StopMachine::kGiveUpMs));
  EXPECT_THAT(m.on_deadline(at(4000)), just(ProgramEnded{137}));
}

TEST(StopMachine, AHeldStopReachesTheProgramWhenReleasedAndItsTimeRunsFromTheSignalOn) {
  StopMachine m(kOptions, at(0));
  EXPECT_THAT(m.release(), IsEmpty());
  EXPECT_THAT(m.on_signal(SIGTERM, at(0), true), IsEmpty());
  EXPECT_THAT(m.on_signal(SIGHUP, at(1), true), just(ForwardSignal{SIGHUP}));
  EXPECT_EQ(m.deadline(), at(3000));
  EXPECT_THAT(m.release(), just(ForwardSignal{SIGTERM}));
  EXPECT_THAT(m.release(), IsEmpty());
  EXPECT_EQ(m.deadline(), at(3000));
  EXPECT_THAT(m.on_program_end(0, false, at(5)), just(ProgramEnded{0}));
}

TEST(StopMachine, AHeldStopKillsAtASecondSignalAndAtItsEnd) {
  StopMachine hurried(kOptions, at(0));
  hurried.on_signal(SIGTERM, at(0), true);
  EXPECT_THAT(hurried.on_signal(SIGINT, at(1), true), just(KillProgram{}));
  StopMachine forgotten(kOptions, at(0));
  forgotten.on_signal(SIGTERM, at(0), true);
  EXPECT_THAT(forgotten.on_deadline(at(3000)), just(KillProgram{}));
  StopMachine ended(kOptions, at(0));
  ended.on_signal(SIGTERM, at(0), true);
  EXPECT_THAT(ended.on_program_end(4, false, at(1)), just(ProgramEnded{4}));
}

TEST(StopMachine, ASecondStopSignalKillsAtOnceWhicheverOfTheTwoItIs) {
  StopMachine m(kOptions, at(0));
  m.on_signal(SIGINT, at(0));
  EXPECT_THAT(m.on_signal(SIGTERM, at(10)), just(KillProgram{}));
  EXPECT_THAT(m.on_program_end(137, false, at(11)), just(ProgramEnded{137}));
}

TEST(StopMachine, WhatTheProgramLeavesGetsTermAndThenKill) {
  StopMachine m(kOptions, at(0));
  EXPECT_THAT(m.on_program_end(0, true, at(100)), just(SignalRest{SIGTERM}));
  EXPECT_EQ(m.deadline(), at(3100));
  EXPECT_THAT(m.on_rest(true), just(SignalRest{SIGTERM}));
  EXPECT_THAT(m.on_deadline(at(3100)), just(SignalRest{SIGKILL}));
  EXPECT_THAT(m.on_rest(true), just(SignalRest{SIGKILL}));
  EXPECT_THAT(m.on_rest(false), just(ProgramEnded{0}));
}

TEST(StopMachine, TheRestHasOnlyWhatIsLeftOfTheTimeOut) {
  StopMachine m(kOptions, at(0));
  m.on_signal(SIGTERM, at(0));
  m.on_program_end(0, true, at(2000));
  EXPECT_EQ(m.deadline(), at(3000));
  EXPECT_THAT(m.on_signal(SIGTERM, at(2500)), just(SignalRest{SIGKILL}));
  EXPECT_THAT(m.on_deadline(at(2500 + StopMachine::kGiveUpMs)), just(ProgramEnded{0}));
}

TEST(StopMachine, AfterAKillTheRestIsKilledToo) {
  StopMachine m(kOptions, at(0));
  m.stop(SIGTERM, at(0));
  m.on_deadline(at(3000));
  EXPECT_THAT(m.on_program_end(137, true, at(3001)), just(SignalRest{SIGKILL}));
  EXPECT_THAT(m.on_rest(false), just(ProgramEnded{137}));
}

TEST(StopMachine, LeaveEndsWithoutASweep) {
  StopMachine m({.stop_timeout_ms = 3000, .rest = Rest::kLeave}, at(0));
  EXPECT_THAT(m.on_program_end(3, true, at(1)), just(ProgramEnded{3}));
}

TEST(StopMachine, LeaveOnSuccessSweepsAfterAFailureOrAStop) {
  constexpr StopOptions options{.stop_timeout_ms = 3000, .rest = Rest::kLeaveOnSuccess};
  StopMachine good(options, at(0));
  EXPECT_THAT(good.on_program_end(0, true, at(1)), just(ProgramEnded{0}));
  StopMachine failed(options, at(0));
  EXPECT_THAT(failed.on_program_end(3, true, at(1)), just(SignalRest{SIGTERM}));
  StopMachine stopped(options, at(0));
  stopped.stop(SIGTERM, at(0));
  EXPECT_THAT(stopped.on_program_end(0, true, at(1)), just(SignalRest{SIGTERM}));
}

TEST(StopMachine, ASignalTheParentHadIgnoredIsOnlyForwarded) {
  StopMachine m({.stop_timeout_ms = 3000, .ignored_by_parent = os::signal_bit(SIGINT)}, at(0));
  EXPECT_THAT(m.on_signal(SIGINT, at(0)), just(ForwardSignal{SIGINT}));
  EXPECT_THAT(m.on_signal(SIGINT, at(1)), just(ForwardSignal{SIGINT}));
  EXPECT_EQ(m.deadline(), std::nullopt);
  m.on_signal(SIGTERM, at(2));
  EXPECT_EQ(m.stop_signal(), SIGTERM);
}

TEST(StopMachine, AnEntrysTimeOutStopsItLikeTerm) {
  StopMachine m(kOptions, at(0), 10'000);
  EXPECT_EQ(m.deadline(), at(10'000));
  EXPECT_THAT(m.on_deadline(at(10'000)), just(ForwardSignal{SIGTERM}));
  EXPECT_TRUE(m.timed_out());
  EXPECT_EQ(m.deadline(), at(13'000));
  EXPECT_THAT(m.on_program_end(0, false, at(10'001)), just(ProgramEnded{0}));
  EXPECT_EQ(m.stop_signal(), SIGTERM);
}

TEST(StopMachine, NothingLeavesTheEndAndTheRestCountsOnlyAfterTheProgram) {
  StopMachine m(kOptions, at(0));
  EXPECT_THAT(m.on_rest(false), IsEmpty());
  m.on_program_end(0, false, at(1));
  EXPECT_THAT(m.on_rest(false), IsEmpty());
  EXPECT_THAT(m.on_deadline(at(2)), IsEmpty());
  EXPECT_THAT(m.stop(SIGTERM, at(2)), IsEmpty());
  EXPECT_THAT(m.on_program_end(1, true, at(2)), IsEmpty());
}

}  // namespace
}  // namespace caddis::supervise
