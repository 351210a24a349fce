// The event loop (libuv) of the main thread: posting from other threads, timers, work on the thread pool, descriptors.
// One thread runs it and owns everything made from it; post() and stop() are the only calls for other threads.
// Everything that waits takes a std::stop_token last and ends with kCancelled when it is requested (from any thread);
// timeout_ms 0 means no limit, otherwise kTimeout. Loop must outlive what was made from it, except Timer and FdWatch.
// ~Loop closes all handles and waits for work on the pool; coroutines still suspended then are never resumed (nor
// freed). The constructor gives SIGPIPE an empty handler (not "ignore": children started by exec get the default back).
#pragma once

#include <coroutine>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>

#include "base/result.h"
#include "loop/task.h"

namespace caddis::loop {

class LoopImpl;

class Loop {
 public:
  Loop();
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void run();   // until stop(); may be called again
  void stop();  // any thread
  // Any thread; runs fn on the loop thread, in order, never inside this call. After ~Loop began, fn is dropped.
  void post(std::move_only_function<void()> fn);

  // Runs work on the pool and then, on the loop thread, done. The pool has UV_THREADPOOL_SIZE threads (4).
  void queue_work(std::move_only_function<void()> work, std::move_only_function<void()> done);

  const std::shared_ptr<LoopImpl>& impl() const { return impl_; }  // for src/loop

 private:
  std::shared_ptr<LoopImpl> impl_;
};

// Calls fn after delay_ms, once or again and again, until destroyed or stopped. fn may destroy the Timer.
class Timer {
 public:
  Timer() = default;
  static Timer after(Loop& loop, std::int64_t delay_ms, std::move_only_function<void()> fn);
  static Timer every(Loop& loop, std::int64_t period_ms, std::move_only_function<void()> fn);
  Timer(Timer&& other) noexcept;
  Timer& operator=(Timer&& other) noexcept;
  ~Timer() { stop(); }
  void stop();
  bool active() const;

 private:
  std::weak_ptr<LoopImpl> loop_;
  std::shared_ptr<struct TimerState> state_;
};

// Calls fn whenever fd is readable (or has an error or end of file), until destroyed. The descriptor stays the caller's
// and must be open as long as the watch; fn may destroy the watch.
class FdWatch {
 public:
  FdWatch() = default;
  FdWatch(FdWatch&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  FdWatch& operator=(FdWatch&& other) noexcept;
  ~FdWatch() { stop(); }
  void stop();

 private:
  friend Result<FdWatch> watch_fd(Loop& loop, int fd, std::move_only_function<void()> readable);
  struct PollState* state_ = nullptr;
};
Result<FdWatch> watch_fd(Loop& loop, int fd, std::move_only_function<void()> readable);

// A flag that coroutines wait for; set() resumes all waiters from the loop (not inside set()).
class Event {
 public:
  explicit Event(Loop& loop);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void set();
  void reset();
  bool is_set() const;
  Task<Status> wait(std::int64_t timeout_ms, std::stop_token stop);

 private:
  std::shared_ptr<struct EventState> state_;
};

// kCancelled when stopped, else ok. Time of a suspended machine does not count (CLOCK_MONOTONIC).
Task<Status> sleep(Loop& loop, std::int64_t ms, std::stop_token stop);

// fn on the pool; its result back on the loop thread. Not cancellable: what fn captured is in use until it returns.
template <class F>
Task<std::invoke_result_t<F&>> offload(Loop& loop, F fn) {
  using R = std::invoke_result_t<F&>;
  if constexpr (std::is_void_v<R>) {
    OneShot<bool> done;
    loop.queue_work([&fn] { fn(); }, [&done] { done.set(true); });
    co_await done;
  } else {
    std::optional<R> result;
    OneShot<bool> done;
    loop.queue_work([&fn, &result] { result.emplace(fn()); }, [&done] { done.set(true); });
    co_await done;
    co_return std::move(*result);
  }
}

// Runs the loop until the task ended (commands and tests). Not from inside run().
template <class T>
T run_until_done(Loop& loop, Task<T> task) {
  std::conditional_t<std::is_void_v<T>, std::optional<bool>, std::optional<T>> result;
  auto body = [](Loop& l, Task<T> t, auto& out) -> Detached {
    if constexpr (std::is_void_v<T>) {
      co_await std::move(t);
      out.emplace(true);
    } else {
      out.emplace(co_await std::move(t));
    }
    l.stop();
  };
  body(loop, std::move(task), result);
  while (!result) loop.run();
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace caddis::loop
