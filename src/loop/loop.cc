#include "loop/loop.h"

#include <algorithm>
#include <csignal>

#include "base/check.h"
#include "loop/loop_impl.h"

namespace caddis::loop {

Error uv_failure(int rc, std::string text) {
  if (rc > -3000 && rc != UV_EOF) return errno_error(-rc, std::move(text));
  return Error(ErrorCode::kUnavailable, fmt::format("{}: {}", text, uv_strerror(rc)));
}

Error uv_cause(int rc) {
  Error named = uv_failure(rc, "");
  return Error(named.code(), named.message().substr(2), named.sys_errno());  // without ": "
}

// ---- LoopImpl

LoopImpl::LoopImpl() {
  struct sigaction old{};
  if (sigaction(SIGPIPE, nullptr, &old) == 0 && old.sa_handler == SIG_DFL) {
    struct sigaction quiet{};
    quiet.sa_handler = [](int) {};
    quiet.sa_flags = SA_RESTART;
    sigaction(SIGPIPE, &quiet, nullptr);
  }
  CHECK_EQ(uv_loop_init(&uv), 0);
  uv.data = this;
  async_.data = this;
  CHECK_EQ(uv_async_init(&uv, &async_, [](uv_async_t* h) { static_cast<LoopImpl*>(h->data)->on_async(); }), 0);
  CHECK_EQ(uv_timer_init(&uv, &timer_), 0);
  timer_.data = this;
}

LoopImpl::~LoopImpl() = default;

void LoopImpl::shut_down() {
  closing = true;
  std::vector<std::move_only_function<void()>> dropped;
  {
    MutexLock lock(mutex_);
    dead_ = true;
    dropped.swap(posted_);
  }
  dropped.clear();
  uv_close(reinterpret_cast<uv_handle_t*>(&async_), nullptr);
  uv_close(reinterpret_cast<uv_handle_t*>(&timer_), nullptr);
  // Every other handle's owner has closed it or is a coroutine that never ends; the memory of those is not ours to
  // free.
  uv_walk(
      &uv,
      [](uv_handle_t* h, void*) {
        if (!uv_is_closing(h)) uv_close(h, nullptr);
      },
      nullptr);
  uv_run(&uv, UV_RUN_DEFAULT);
  deadlines_.clear();
  CHECK_EQ(uv_loop_close(&uv), 0);
}

void LoopImpl::post(std::move_only_function<void()> fn) {
  MutexLock lock(mutex_);
  if (dead_) return;
  posted_.push_back(std::move(fn));
  if (posted_.size() == 1) uv_async_send(&async_);
}

void LoopImpl::on_async() {
  std::vector<std::move_only_function<void()>> batch;
  {
    MutexLock lock(mutex_);
    batch.swap(posted_);
  }
  for (auto& fn : batch) fn();
}

LoopImpl::Deadlines::iterator LoopImpl::add_deadline(std::int64_t delay_ms, std::move_only_function<void()> fn) {
  uv_update_time(&uv);  // a callback may have run long
  auto it =
      deadlines_.emplace(uv_now(&uv) + static_cast<std::uint64_t>(std::max<std::int64_t>(delay_ms, 0)), std::move(fn));
  if (it == deadlines_.begin()) arm();
  return it;
}

void LoopImpl::remove_deadline(Deadlines::iterator it) { deadlines_.erase(it); }  // the timer then fires for nothing

void LoopImpl::arm() {
  if (closing) return;
  if (deadlines_.empty()) {
    uv_timer_stop(&timer_);
    return;
  }
  std::uint64_t now = uv_now(&uv);
  std::uint64_t at = deadlines_.begin()->first;
  uv_timer_start(
      &timer_, [](uv_timer_t* h) { static_cast<LoopImpl*>(h->data)->on_timer(); }, at > now ? at - now : 0, 0);
}

void LoopImpl::on_timer() {
  std::uint64_t now = uv_now(&uv);  // those added by the callbacks below wait for the next turn
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    auto node = deadlines_.extract(deadlines_.begin());
    node.mapped()();
  }
  arm();
}

// ---- Pending

void Pending::finish(Result<std::size_t> result) {
  if (result_) return;
  std::shared_ptr<Pending> keep = shared_from_this();
  result_.emplace(std::move(result));
  if (deadline_) {
    loop_->remove_deadline(*deadline_);
    deadline_.reset();
  }
  stop_callback_.reset();
  on_abort = nullptr;
  if (waiter_ && !loop_->closing) std::exchange(waiter_, nullptr).resume();
}

void Pending::abort(ErrorCode code, std::string text) {
  if (result_) return;
  std::shared_ptr<Pending> keep = shared_from_this();
  if (auto fn = std::exchange(on_abort, nullptr)) fn();
  finish(std::unexpected(Error(code, std::move(text))));
}

void Pending::PostAbort::operator()() const {
  loop->post([weak = pending] {
    if (auto p = weak.lock()) p->abort(ErrorCode::kCancelled, "stop requested");
  });
}

bool Pending::Wait::await_suspend(std::coroutine_handle<> h) {
  if (stop.stop_requested()) {
    p->abort(ErrorCode::kCancelled, "stop requested");
    return false;
  }
  p->waiter_ = h;
  if (timeout_ms > 0) {
    p->deadline_ = p->loop_->add_deadline(timeout_ms, [waiting = p.get(), ms = timeout_ms] {
      waiting->deadline_.reset();
      waiting->abort(ErrorCode::kTimeout, fmt::format("nothing within {} ms", ms));
    });
  }
  if (stop.stop_possible()) p->stop_callback_.emplace(stop, PostAbort{p->weak_from_this(), p->loop_});
  return true;
}

// ---- Loop

Loop::Loop() : impl_(std::make_shared<LoopImpl>()) {}
Loop::~Loop() { impl_->shut_down(); }
void Loop::run() { uv_run(&impl_->uv, UV_RUN_DEFAULT); }
void Loop::stop() {
  impl_->post([impl = impl_.get()] { uv_stop(&impl->uv); });
}
void Loop::post(std::move_only_function<void()> fn) { impl_->post(std::move(fn)); }

void Loop::queue_work(std::move_only_function<void()> work, std::move_only_function<void()> done) {
  struct Work {
    uv_work_t req;
    std::move_only_function<void()> work, done;
    LoopImpl* loop;
  };
  auto* w = new Work{{}, std::move(work), std::move(done), impl_.get()};
  w->req.data = w;
  int rc = uv_queue_work(
      &impl_->uv, &w->req, [](uv_work_t* r) { static_cast<Work*>(r->data)->work(); },
      [](uv_work_t* r, int) {
        std::unique_ptr<Work> owned(static_cast<Work*>(r->data));
        if (!owned->loop->closing) owned->done();
      });
  CHECK_EQ(rc, 0);
}

// ---- Timer

struct TimerState {
  std::move_only_function<void()> fn;
  std::int64_t period_ms = 0;  // 0: once
  std::optional<LoopImpl::Deadlines::iterator> deadline;

  static void start(LoopImpl& loop, const std::shared_ptr<TimerState>& self, std::int64_t delay_ms) {
    self->deadline = loop.add_deadline(delay_ms, [&loop, self] {
      self->deadline.reset();
      if (self->period_ms > 0) start(loop, self, self->period_ms);
      self->fn();
    });
  }
};

Timer Timer::after(Loop& loop, std::int64_t delay_ms, std::move_only_function<void()> fn) {
  Timer t;
  t.loop_ = loop.impl();
  t.state_ = std::make_shared<TimerState>(std::move(fn));
  TimerState::start(*loop.impl(), t.state_, delay_ms);
  return t;
}

Timer Timer::every(Loop& loop, std::int64_t period_ms, std::move_only_function<void()> fn) {
  CHECK(period_ms > 0);
  Timer t;
  t.loop_ = loop.impl();
  t.state_ = std::make_shared<TimerState>(std::move(fn), period_ms);
  TimerState::start(*loop.impl(), t.state_, period_ms);
  return t;
}

Timer::Timer(Timer&& other) noexcept = default;
Timer& Timer::operator=(Timer&& other) noexcept {
  if (this != &other) {
    stop();
    loop_ = std::move(other.loop_);
    state_ = std::move(other.state_);
  }
  return *this;
}
void Timer::stop() {
  std::shared_ptr<LoopImpl> loop = loop_.lock();
  if (state_ && state_->deadline && loop && !loop->closing) {
    auto it = *std::exchange(state_->deadline, std::nullopt);
    loop->remove_deadline(it);
  }
  state_.reset();
}
bool Timer::active() const { return state_ && state_->deadline; }

// ---- FdWatch

struct PollState {
  uv_poll_t handle;
  std::move_only_function<void()> fn;
};

Result<FdWatch> watch_fd(Loop& loop, int fd, std::move_only_function<void()> readable) {
  auto state = std::make_unique<PollState>(PollState{{}, std::move(readable)});
  int rc = uv_poll_init(&loop.impl()->uv, &state->handle, fd);
  if (rc != 0) return std::unexpected(uv_failure(rc, fmt::format("watch descriptor {}", fd)));
  FdWatch watch;
  watch.state_ = state.release();
  watch.state_->handle.data = watch.state_;
  rc = uv_poll_start(&watch.state_->handle, UV_READABLE | UV_DISCONNECT,
                     [](uv_poll_t* h, int, int) { static_cast<PollState*>(h->data)->fn(); });
  if (rc != 0) return std::unexpected(uv_failure(rc, fmt::format("watch descriptor {}", fd)));
  return watch;
}

FdWatch& FdWatch::operator=(FdWatch&& other) noexcept {
  if (this != &other) {
    stop();
    state_ = std::exchange(other.state_, nullptr);
  }
  return *this;
}
void FdWatch::stop() {
  if (!state_) return;
  auto* handle = reinterpret_cast<uv_handle_t*>(&std::exchange(state_, nullptr)->handle);
  if (!uv_is_closing(handle)) {
    uv_close(handle, [](uv_handle_t* h) { delete static_cast<PollState*>(h->data); });
  } else {
    delete static_cast<PollState*>(handle->data);  // ~Loop has closed it
  }
}

// ---- Event, sleep

struct EventState {
  explicit EventState(std::shared_ptr<LoopImpl> l) : loop(std::move(l)) {}
  std::shared_ptr<LoopImpl> loop;
  bool set = false;
  std::vector<std::weak_ptr<Pending>> waiters;
};

Event::Event(Loop& loop) : state_(std::make_shared<EventState>(loop.impl())) {}
Event::~Event() = default;
void Event::set() {
  if (std::exchange(state_->set, true) || state_->waiters.empty()) return;
  state_->loop->post([waiters = std::exchange(state_->waiters, {})] {
    for (const auto& weak : waiters) {
      if (auto p = weak.lock()) p->finish(std::size_t{0});
    }
  });
}
void Event::reset() { state_->set = false; }
bool Event::is_set() const { return state_->set; }
Task<Status> Event::wait(std::int64_t timeout_ms, std::stop_token stop) {
  if (state_->set) co_return {};
  auto pending = std::make_shared<Pending>(state_->loop);
  std::erase_if(state_->waiters, [](const auto& w) { return w.expired(); });
  state_->waiters.push_back(pending);
  CO_TRY(co_await Pending::wait(pending, timeout_ms, stop));
  co_return {};
}

Task<Status> sleep(Loop& loop, std::int64_t ms, std::stop_token stop) {
  Result<std::size_t> waited =
      co_await Pending::wait(std::make_shared<Pending>(loop.impl()), std::max<std::int64_t>(ms, 1), stop);
  if (!waited && waited.error().code() == ErrorCode::kCancelled) co_return std::move(waited).error();
  co_return {};
}

}  // namespace caddis::loop
