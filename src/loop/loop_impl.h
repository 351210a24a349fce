// Inside of src/loop: what the uv wrappers share. Includes uv.h; include only from src/loop/*.cc.
#pragma once

#include <uv.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "loop/loop.h"

namespace caddis::loop {

class LoopImpl : public std::enable_shared_from_this<LoopImpl> {
 public:
  using Deadlines = std::multimap<std::uint64_t, std::move_only_function<void()>>;  // key: uv_now() ms
  LoopImpl();
  ~LoopImpl();
  void shut_down();  // from ~Loop: closes every handle, waits for the pool

  void post(std::move_only_function<void()> fn);  // any thread
  // One uv timer serves all deadlines. fn runs once, unless removed before.
  Deadlines::iterator add_deadline(std::int64_t delay_ms, std::move_only_function<void()> fn);
  void remove_deadline(Deadlines::iterator it);

  uv_loop_t uv;
  bool closing = false;  // loop thread

 private:
  void on_async();
  void arm();
  void on_timer();
  Mutex mutex_;
  std::vector<std::move_only_function<void()>> posted_ GUARDED_BY(mutex_);
  bool dead_ GUARDED_BY(mutex_) = false;  // no uv_async_send any more
  uv_async_t async_;
  uv_timer_t timer_;
  Deadlines deadlines_;
};

// One coroutine waiting for one event, with time-out and stop. Kept by shared_ptr in the uv callback's closure and in
// the waiting frame, so that neither side dies under the other.
class Pending : public std::enable_shared_from_this<Pending> {
 public:
  explicit Pending(std::shared_ptr<LoopImpl> loop) : loop_(std::move(loop)) {}
  // The event. The first call wins; resumes the waiter.
  void finish(Result<std::size_t> result);
  bool finished() const { return result_.has_value(); }
  // Called when time-out or stop came first, before the waiter is resumed.
  std::function<void()> on_abort;

  // co_await Pending::wait(p, …): the result. kTimeout and kCancelled come without a name for what was waited for.
  struct Wait {
    std::shared_ptr<Pending> p;
    std::int64_t timeout_ms;
    std::stop_token stop;
    bool await_ready() const noexcept { return p->result_.has_value(); }
    bool await_suspend(std::coroutine_handle<> h);
    Result<std::size_t> await_resume() { return std::move(*p->result_); }
  };
  static Wait wait(std::shared_ptr<Pending> self, std::int64_t timeout_ms, std::stop_token stop) {
    return Wait{std::move(self), timeout_ms, std::move(stop)};
  }

 private:
  void abort(ErrorCode code, std::string text);

  struct PostAbort {
    std::weak_ptr<Pending> pending;
    std::shared_ptr<LoopImpl> loop;
    void operator()() const;
  };
  std::shared_ptr<LoopImpl> loop_;
  std::optional<Result<std::size_t>> result_;
  std::coroutine_handle<> waiter_;
  std::optional<LoopImpl::Deadlines::iterator> deadline_;
  std::optional<std::stop_callback<PostAbort>> stop_callback_;
};

// "TEXT: connection refused" from a libuv error number (negative errno or UV_EAI_*), and the cause alone.
Error uv_failure(int rc, std::string text);
Error uv_cause(int rc);

}  // namespace caddis::loop
