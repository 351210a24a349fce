// The peer of an Engine: its queue, and when it looks at which database.
#include <time.h>

#include <algorithm>

#include "base/log.h"
#include "db/capture.h"
#include "db/engine_state.h"

namespace caddis::db {
namespace {

constexpr std::int64_t kMaxPauseUs = 25'000;  // between two captures of a busy WAL
constexpr std::int64_t kPauseFactor = 10;     // a capture may use a tenth of a core
constexpr std::int64_t kMinIdleStepUs = 250;  // looking for the wal-index to follow a WAL write
constexpr std::int64_t kMaxIdleStepUs = 250'000;
constexpr std::int64_t kUnwatchAfterUs = 5'000;  // without anything uncaptured
constexpr std::int64_t kQuietUs = 10'000;        // journal-less writes: nothing written for so long is a boundary

}  // namespace

std::int64_t Engine::now_us() const {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::int64_t>(t.tv_sec) * 1'000'000 + t.tv_nsec / 1000;
}

void Engine::post(Job job) {
  MutexLock lock(state_->mutex);
  state_->jobs.push_back(std::move(job));
  state_->woken = true;
  state_->wake.notify_one();
}

void Engine::post_later(std::int64_t delay_us, Job job) {
  state_->delayed.push_back({now_us() + delay_us, std::move(job)});
}

void Engine::note_activity(const std::shared_ptr<Database>& db) {
  if (db->active_.exchange(true, std::memory_order_acq_rel)) return;
  MutexLock lock(state_->mutex);
  state_->activated.push_back(db);
  state_->woken = true;
  state_->wake.notify_one();
}

void Engine::expect_commit(Database& db) {
  if (!db.backing_off_.load(std::memory_order_relaxed) || !db.backing_off_.exchange(false, std::memory_order_acq_rel))
    return;
  post([db = db.shared_from_this()] {
    db->capture_->next_look_us_ = 0;
    db->capture_->idle_step_us_ = 0;
  });
}

void Engine::wake() {
  MutexLock lock(state_->mutex);
  state_->woken = true;
  state_->wake.notify_one();
}

void Engine::wait(std::int64_t us) {
  MutexLock lock(state_->mutex);
  if (!state_->woken && us != 0) {
    if (us < 0)
      state_->wake.wait(state_->mutex);
    else
      state_->wake.wait_for_us(state_->mutex, us);
  }
  state_->woken = false;
}

void Engine::wait_for_peer() {
  MutexLock lock(state_->mutex);
  std::uint64_t step = state_->steps;
  while (state_->stepping && state_->steps == step) state_->stepped.wait(state_->mutex);
}

std::int64_t Engine::step() {
  std::deque<Job> jobs;
  {
    MutexLock lock(state_->mutex);
    state_->stepping = true;
    jobs.swap(state_->jobs);
    for (std::shared_ptr<Database>& db : state_->activated) state_->watched.insert(std::move(db));
    state_->activated.clear();
  }
  for (Job& job : jobs) job();
  std::int64_t now = now_us();
  std::vector<Job> due;
  for (std::size_t i = 0; i < state_->delayed.size();) {
    if (state_->delayed[i].due_us > now) {
      ++i;
      continue;
    }
    due.push_back(std::move(state_->delayed[i].job));
    state_->delayed.erase(state_->delayed.begin() + static_cast<std::ptrdiff_t>(i));
  }
  for (Job& job : due) job();
  std::int64_t next = -1;
  auto at = [&](std::int64_t due_us) { next = next < 0 ? due_us : std::min(next, due_us); };
  std::vector<std::shared_ptr<Database>> watched(state_->watched.begin(), state_->watched.end());
  for (const std::shared_ptr<Database>& db : watched) {
    std::int64_t look = watch(db, now);
    if (look >= 0) at(look);
  }
  if (options_.retention_interval_ms > 0 && now >= state_->next_retention_us) {
    if (state_->next_retention_us != 0) enforce_retention();
    state_->next_retention_us = now + options_.retention_interval_ms * 1000;
  }
  if (state_->next_retention_us != 0) at(state_->next_retention_us);
  for (const State::Delayed& delayed : state_->delayed) at(delayed.due_us);
  start_sync();
  MutexLock lock(state_->mutex);
  state_->stepping = false;
  ++state_->steps;
  state_->stepped.notify_all();
  if (!state_->jobs.empty()) return 0;
  return next < 0 ? -1 : std::max<std::int64_t>(next - now_us(), 1);
}

// Looks at a database that has been written to. Returns when to look again, or -1 when it is quiet.
std::int64_t Engine::watch(const std::shared_ptr<Database>& db, std::int64_t now) {
  Capture& capture = *db->capture_;
  if (now < capture.next_look_us_) return capture.next_look_us_;
  CaptureOutcome outcome = CaptureOutcome::kNothing;
  bool unfinished = false;
  Position before = capture.position();
  if (db->live() && db->part(PartKind::kWal) != nullptr) {
    save_sums_if_due(*db, false);
    Result<CaptureOutcome> result = capture.capture_wal();
    if (!result) log_error(fmt::format("capture {}", db->name()), result.error(), "it is tried again");
    outcome = result.value_or(CaptureOutcome::kNotReady);
    unfinished = capture.has_uncaptured_wal();
  } else if (db->live() && db->dirty_without_journal()) {
    unfinished = true;
    std::shared_ptr<MountView> view = db->view();
    std::int64_t last_write = 0;
    {
      MutexLock lock(db->mutex_);
      last_write = db->last_write_us_;
    }
    // Either a lock that is free again or, without any lock, a while without writes ends what belongs together.
    if (now - last_write >= kQuietUs && (view == nullptr || view->try_lock_shared())) {
      Result<CaptureOutcome> result = capture.capture_pages(false);
      if (view != nullptr) view->unlock_shared();
      outcome = result.value_or(CaptureOutcome::kNotReady);  // a copy under way: its header is not whole yet
    }
  }
  std::int64_t end = now_us();
  if (outcome == CaptureOutcome::kCaptured) {
    bool busy = capture.position().txid.value() - before.txid.value() > 2;
    std::int64_t pause = busy ? std::clamp((end - now) * kPauseFactor, kMinIdleStepUs, kMaxPauseUs) : kMinIdleStepUs;
    capture.idle_step_us_ = kMinIdleStepUs;
    db->backing_off_.store(false, std::memory_order_release);
    capture.quiet_since_us_ = end;
    return capture.next_look_us_ = end + pause;
  }
  if (!unfinished && end - capture.quiet_since_us_ > kUnwatchAfterUs) {
    state_->watched.erase(db);
    capture.next_look_us_ = 0;
    capture.idle_step_us_ = 0;
    db->active_.store(false, std::memory_order_release);
    // A write between the look and the store would be missed: look at the flag's cause once more.
    if (db->live() && (capture.has_uncaptured_wal() || db->dirty_without_journal())) note_activity(db);
    return -1;
  }
  capture.idle_step_us_ = std::clamp(capture.idle_step_us_ * 2, kMinIdleStepUs, kMaxIdleStepUs);
  db->backing_off_.store(capture.idle_step_us_ > 1000, std::memory_order_release);
  return capture.next_look_us_ = end + capture.idle_step_us_;
}

}  // namespace caddis::db
