// Coroutines of the loop thread.
//   Task<T>      lazy: runs when awaited, once, as `co_await std::move(task)` or `co_await f(…)`; move-only. May be
//                destroyed before it was awaited, not while it is suspended.
//   Detached     a coroutine that starts at once and frees itself at its end; nobody waits for it.
//   spawn(task)  starts a Task<void> that nobody waits for.
//   TaskGroup    starts many, waits for all.
//   OneShot<T>   one coroutine waits for one value that a callback sets.
// Nothing here is thread-safe: a coroutine is resumed on the loop thread only (other threads: Loop::post).
// Exceptions never leave a coroutine: an uncaught one ends the process.
// Arguments of coroutines that outlive the caller's statement are taken by value.
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "base/result.h"

namespace caddis::loop {

template <class T = void>
class Task;

namespace detail {

template <class T>
struct IsResult : std::false_type {};
template <class T>
struct IsResult<std::expected<T, Error>> : std::true_type {};

struct PromiseBase {
  std::coroutine_handle<> continuation = std::noop_coroutine();

  std::suspend_always initial_suspend() noexcept { return {}; }
  struct FinalAwaiter {
    bool await_ready() noexcept { return false; }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> self) noexcept {
      return self.promise().continuation;
    }
    void await_resume() noexcept {}
  };
  FinalAwaiter final_suspend() noexcept { return {}; }
  [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }
};

template <class T>
struct Promise : PromiseBase {
  std::optional<T> value;
  Task<T> get_return_object() noexcept;
  // Takes T, what converts to it, and for Task<Result<X>> also a bare Error.
  template <class U = T>
  void return_value(U&& v) {
    if constexpr (IsResult<T>::value && std::is_same_v<std::remove_cvref_t<U>, Error>) {
      value.emplace(std::unexpected(std::forward<U>(v)));
    } else {
      value.emplace(std::forward<U>(v));
    }
  }
  T take() { return std::move(*value); }
};

template <>
struct Promise<void> : PromiseBase {
  Task<void> get_return_object() noexcept;
  void return_void() noexcept {}
  void take() noexcept {}
};

}  // namespace detail

template <class T>
class [[nodiscard]] Task {
 public:
  using promise_type = detail::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  explicit Task(Handle h) noexcept : handle_(h) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      if (handle_) handle_.destroy();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~Task() {
    if (handle_) handle_.destroy();
  }

  struct Awaiter {
    Handle handle;
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) noexcept {
      handle.promise().continuation = caller;
      return handle;
    }
    T await_resume() { return handle.promise().take(); }
  };
  Awaiter operator co_await() && noexcept { return Awaiter{handle_}; }

 private:
  Handle handle_;
};

namespace detail {
template <class T>
Task<T> Promise<T>::get_return_object() noexcept {
  return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() noexcept {
  return Task<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}
}  // namespace detail

class Detached {
 public:
  struct promise_type {
    Detached get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }
  };
};

// Runs the task up to its first suspension now; the rest when what it awaits is there.
inline Detached spawn(Task<void> task) { co_await std::move(task); }

// One value, set once by a callback (or before anyone waits), taken once by one coroutine.
// set() resumes the waiter before it returns; the OneShot may be gone then.
template <class T>
class OneShot {
 public:
  OneShot() = default;
  OneShot(const OneShot&) = delete;
  OneShot& operator=(const OneShot&) = delete;

  void set(T value) {
    CHECK(!value_.has_value());
    value_.emplace(std::move(value));
    if (waiter_) std::exchange(waiter_, nullptr).resume();
  }
  bool ready() const { return value_.has_value(); }

  struct Awaiter {
    OneShot& shot;
    bool await_ready() const noexcept { return shot.value_.has_value(); }
    void await_suspend(std::coroutine_handle<> h) noexcept {
      CHECK(!shot.waiter_);
      shot.waiter_ = h;
    }
    T await_resume() { return std::move(*shot.value_); }
  };
  Awaiter operator co_await() noexcept { return Awaiter{*this}; }

 private:
  std::optional<T> value_;
  std::coroutine_handle<> waiter_;
};

// Starts tasks side by side and waits for the end of all. Must outlive them: join before it is destroyed.
class TaskGroup {
 public:
  TaskGroup() = default;
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;
  ~TaskGroup() { CHECK(running_ == 0); }

  void spawn(Task<void> task) {
    ++running_;
    run(std::move(task));
  }
  std::size_t running() const { return running_; }

  struct Awaiter {
    TaskGroup& group;
    bool await_ready() const noexcept { return group.running_ == 0; }
    void await_suspend(std::coroutine_handle<> h) noexcept {
      CHECK(!group.waiter_);
      group.waiter_ = h;
    }
    void await_resume() const noexcept {}
  };
  // Waits until nothing runs any more. One waiter.
  Awaiter join() noexcept { return Awaiter{*this}; }

 private:
  Detached run(Task<void> task) {
    {
      Task<void> owned = std::move(task);
      co_await std::move(owned);
    }
    if (--running_ == 0 && waiter_) std::exchange(waiter_, nullptr).resume();
  }
  std::size_t running_ = 0;
  std::coroutine_handle<> waiter_;
};

}  // namespace caddis::loop
