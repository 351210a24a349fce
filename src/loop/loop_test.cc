#include "loop/loop.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>
#include <vector>

namespace caddis::loop {
namespace {

Task<int> answer() { co_return 42; }
Task<Result<int>> failing() { co_return Error(ErrorCode::kBusy, "somebody else"); }
Task<Result<int>> passes_on() {
  CO_TRY_ASSIGN(int v, co_await failing());
  co_return v;
}
Task<int> deep(int n) {
  if (n == 0) co_return 0;
  co_return 1 + co_await deep(n - 1);
}

TEST(Task, ReturnsItsValueToTheAwaiter) {
  Loop loop;
  EXPECT_EQ(run_until_done(loop, answer()), 42);
}
TEST(Task, PassesErrorsUp) {
  Loop loop;
  Result<int> r = run_until_done(loop, passes_on());
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code(), ErrorCode::kBusy);
}
TEST(Task, CompletesAHundredThousandAwaitsInALoopWithoutGrowingTheStack) {
  Loop loop;
  auto many = []() -> Task<int> {
    int sum = 0;
    for (int i = 0; i < 100'000; ++i) sum += co_await answer();
    co_return sum;
  };
  EXPECT_EQ(run_until_done(loop, many()), 4'200'000);
  EXPECT_EQ(run_until_done(loop, deep(1000)), 1000);
}
TEST(Task, IsLazyAndFreedWhenNeverAwaited) {
  bool ran = false;
  auto body = [](bool& flag) -> Task<void> {
    flag = true;
    co_return;
  };
  { Task<void> unused = body(ran); }
  EXPECT_FALSE(ran);
}

TEST(Loop, PostRunsFromAnotherThreadInOrder) {
  Loop loop;
  std::vector<int> seen;
  std::jthread other([&] {
    for (int i = 0; i < 1000; ++i) loop.post([&seen, i] { seen.push_back(i); });
    loop.stop();
  });
  loop.run();
  ASSERT_EQ(seen.size(), 1000u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST(Loop, OffloadRunsOnAnotherThreadAndResumesOnTheLoop) {
  Loop loop;
  auto body = [](Loop& l) -> Task<bool> {
    std::thread::id here = std::this_thread::get_id();
    std::thread::id there = co_await offload(l, [] { return std::this_thread::get_id(); });
    co_return here != there&& here == std::this_thread::get_id();
  };
  EXPECT_TRUE(run_until_done(loop, body(loop)));
}

TEST(Loop, OffloadOfAVoidFunctionIsAwaitable) {
  Loop loop;
  int n = 0;
  auto body = [](Loop& l, int& out) -> Task<void> { co_await offload(l, [&out] { out = 7; }); };
  run_until_done(loop, body(loop, n));
  EXPECT_EQ(n, 7);
}

TEST(Sleep, EndsByItselfOrWhenStopped) {
  Loop loop;
  EXPECT_TRUE(run_until_done(loop, sleep(loop, 5, {})));
  std::stop_source source;
  std::jthread other([&] { source.request_stop(); });
  Status stopped = run_until_done(loop, sleep(loop, 60'000, source.get_token()));
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code(), ErrorCode::kCancelled);
  EXPECT_FALSE(run_until_done(loop, sleep(loop, 60'000, source.get_token()))) << "stopped before it began";
}

TEST(Timer, FiresOnceOrRepeatedlyAndNotAfterStop) {
  Loop loop;
  int once = 0, many = 0, never = 0;
  Timer a = Timer::after(loop, 1, [&] { ++once; });
  Timer b = Timer::every(loop, 1, [&] {
    if (++many == 5) loop.stop();
  });
  {
    Timer c = Timer::after(loop, 1, [&] { ++never; });
  }
  loop.run();
  EXPECT_EQ(once, 1);
  EXPECT_EQ(many, 5);
  EXPECT_EQ(never, 0);
  EXPECT_FALSE(a.active());
  EXPECT_TRUE(b.active());
}

TEST(Timer, MayDestroyItselfInItsCallback) {
  Loop loop;
  auto timer = std::make_unique<Timer>();
  *timer = Timer::every(loop, 1, [&] {
    timer.reset();
    loop.stop();
  });
  loop.run();
  EXPECT_EQ(timer, nullptr);
}

TEST(Event, ResumesAllWaitersAndTimesOut) {
  Loop loop;
  Event event(loop);
  TaskGroup group;
  int woken = 0;
  auto waiter = [](Event& e, int& n) -> Task<void> {
    if (co_await e.wait(0, {})) ++n;
  };
  for (int i = 0; i < 3; ++i) group.spawn(waiter(event, woken));
  Status late = run_until_done(loop, event.wait(1, {}));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code(), ErrorCode::kTimeout);
  auto body = [](Event& e, TaskGroup& g) -> Task<void> {
    e.set();
    co_await g.join();
  };
  run_until_done(loop, body(event, group));
  EXPECT_EQ(woken, 3);
}

TEST(FdWatch, CallsWhenReadable) {
  int fds[2];
  ASSERT_EQ(::pipe(fds), 0);
  Loop loop;
  char c = 0;
  Result<FdWatch> watch = watch_fd(loop, fds[0], [&] {
    EXPECT_EQ(::read(fds[0], &c, 1), 1);
    loop.stop();
  });
  ASSERT_TRUE(watch);
  ASSERT_EQ(::write(fds[1], "x", 1), 1);
  loop.run();
  EXPECT_EQ(c, 'x');
  watch->stop();
  ::close(fds[0]);
  ::close(fds[1]);
}

TEST(Loop, EndsWithTimersWatchesAndWaitersStillThere) {
  Timer timer;
  {
    Loop loop;
    timer = Timer::every(loop, 1000, [] {});
    loop.post([] { FAIL() << "posted and never run"; });
  }
  timer.stop();
}

}  // namespace
}  // namespace caddis::loop
