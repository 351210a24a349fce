#include "app/daemon.h"

#include <csignal>
#include <utility>

#include "app/node_identity.h"
#include "base/check.h"
#include "base/log.h"
#include "db/log.h"

namespace caddis::app {
namespace {

constexpr std::int64_t kCancelMs = 500;      // for a boot step to give up, then it is left alone
constexpr std::int64_t kAfterAppMs = 1'000;  // the rest of a stop beyond the app's own time
constexpr std::int64_t kDrainMs = 2'000;
constexpr std::int64_t kMinFlushMs = 300;
constexpr std::int64_t kReleaseMs = 300;

}  // namespace

Daemon::Daemon(Settings settings, BuildInfo build, bool clean_stale_mount)
    : settings_(std::move(settings)),
      build_(std::move(build)),
      clean_stale_mount_(clean_stale_mount),
      node_id_(random_node_id()),
      started_(clock_.now()),
      machine_(settings_.config.exit_on_error) {}

Daemon::~Daemon() = default;

int Daemon::run() {
  Status supervisor = create_supervisor();
  if (!supervisor) {
    log_error("start", supervisor.error());
    return 1;
  }
  loop_.post([this] {
    pumping_ = true;
    std::vector<BootAction> actions = machine_.start();
    for (const BootAction& action : actions) perform(action);
    pumping_ = false;
    feed(VolumeEmpty{});  // ignored in every state but inspecting; runs what the first step has fed
  });
  loop_.run();
  CHECK(exit_code_.has_value());
  if (*exit_code_ != 0 && !last_error_.empty()) fmt::print(stderr, "ERROR: {}\n", last_error_);
  return *exit_code_;
}

// Events are worked off one after the other, also those that actions cause at once.
void Daemon::feed(BootEvent event) {
  events_.push_back(event);
  if (pumping_) return;
  pumping_ = true;
  while (!events_.empty() && !exit_code_) {
    BootEvent next = events_.front();
    events_.pop_front();
    std::vector<BootAction> actions = machine_.on(next);
    for (const BootAction& action : actions) perform(action);
  }
  pumping_ = false;
}

void Daemon::perform(const BootAction& action) {
  bool is_step = action.kind != BootActionKind::kCancelStep && action.kind != BootActionKind::kArmStopTimer &&
                 action.kind != BootActionKind::kHurry;
  if (is_step) {
    ++step_;
    step_stop_ = std::stop_source();
    stop_timer_.stop();
  }
  if (machine_.stopping() && !stop_began_) stop_began_ = clock_.now();
  switch (action.kind) {
    case BootActionKind::kLockDataDir:
      return lock_data_dir();
    case BootActionKind::kCleanStaleMount:
      return clean_stale_mount();
    case BootActionKind::kBindPort:
      return bind_port();
    case BootActionKind::kInspectVolume:
      return inspect_volume();
    case BootActionKind::kRestore:
      return restore();
    case BootActionKind::kOpenEngine:
      return open_engine();
    case BootActionKind::kMount:
      return mount();
    case BootActionKind::kJoin:
      return join();
    case BootActionKind::kRunList:
      return run_list();
    case BootActionKind::kUp:
      return up(action.value == 1);
    case BootActionKind::kHold:
      fmt::print(stderr, "ERROR: {}\n", last_error_);
      return log_info("waiting for signal or subprocess to exit");
    case BootActionKind::kCancelStep:
      return cancel_step();
    case BootActionKind::kArmStopTimer:
      stop_timer_ = loop::Timer::after(loop_, kCancelMs, [this] {
        abandoned_ = true;
        feed(StopTimedOut{});
      });
      return;
    case BootActionKind::kStopList:
      return supervisor_->stop(SIGTERM);
    case BootActionKind::kHurry:
      return cancel_step();
    case BootActionKind::kDrain:
      return drain();
    case BootActionKind::kFlushBackup:
      return flush_backup();
    case BootActionKind::kRelease:
      return release();
    case BootActionKind::kUnmount:
      return unmount();
    case BootActionKind::kClose:
      return close();
    case BootActionKind::kExit:
      exit_code_ = action.value;
      log_info("litefs shut down complete");
      return loop_.stop();
  }
}

void Daemon::finish_step(std::uint64_t step, Status status, int exit_code, std::string_view intention) {
  if (step != step_) return;  // abandoned meanwhile
  if (status) return feed(Succeeded{});
  if (status.error().code() != ErrorCode::kCancelled) {
    std::string text =
        intention.empty() ? status.error().message() : fmt::format("{}: {}", intention, status.error().message());
    log_error(text);
    if (last_error_.empty() || !machine_.stopping()) last_error_ = std::move(text);  // the first one is the cause
  }
  feed(Failed{exit_code});
}

void Daemon::in_pool(std::move_only_function<Status()> work, int exit_code, std::string intention) {
  auto result = std::make_shared<Status>();
  loop_.queue_work([result, work = std::move(work)]() mutable { *result = work(); },
                   [this, result, exit_code, intention = std::move(intention), step = step_] {
                     finish_step(step, std::move(*result), exit_code, intention);
                   });
}

void Daemon::cancel_step() { step_stop_.request_stop(); }

// ---- the stop

std::int64_t Daemon::stop_budget_ms() const {
  std::int64_t budget = settings_.config.stop_timeout_ms.value_or(0) + kAfterAppMs;
  return budget - (stop_began_ ? clock_.now() - *stop_began_ : 0);
}

void Daemon::drain() {
  if (!peer_) return feed(Succeeded{});
  if (supervisor_->stop_signal() != 0) log_info("signal received, litefs shutting down");
  // Not longer than kDrainMs: a mount that is stuck must not keep the machine from stopping.
  stop_timer_ = loop::Timer::after(loop_, kDrainMs, [this, step = step_] {
    finish_step(step, make_error(ErrorCode::kTimeout, "the last transaction was not captured within {} ms", kDrainMs),
                99, "stop");
  });
  engine_->drain([this, step = step_](Status status) {
    loop_.post([this, step, status = std::move(status)]() mutable {
      finish_step(step, std::move(status), 99, "stop: capture the last transaction");
    });
  });
}

void Daemon::flush_backup() {
  if (!backup_ || !backup_->has_targets()) return feed(Succeeded{});
  flush_task(step_);
}

loop::Detached Daemon::flush_task(std::uint64_t step) {
  std::int64_t deadline_ms = std::max(stop_budget_ms() - 2 * kReleaseMs, kMinFlushMs);
  Status flushed = co_await backup_->flush_and_stop(deadline_ms);
  if (!flushed) {
    // The log has it: it is uploaded when this volume starts again.
    log_warn("not everything was uploaded before the stop; it will be when this volume starts again",
             {{"cause", flushed.error().message()}});
  }
  finish_step(step, {}, 0, "");
}

void Daemon::release() {
  stop_timer_ = loop::Timer::after(loop_, kReleaseMs, [this] { step_stop_.request_stop(); });
  release_task(step_);
}

loop::Detached Daemon::release_task(std::uint64_t step) {
  std::stop_token stop = step_stop_.get_token();
  if (roles_.is_primary()) log_info(fmt::format("{}: exiting primary, destroying lease", format_node_id(node_id_)));
  Status released = co_await leaser_->release(roles_, stop);
  if (!released) log_error("release the lease", released.error());
  if (role_metadata_) {
    Status cleared = co_await role_metadata_->clear(kReleaseMs, stop);
    if (!cleared) log_debug("cannot clear environment metadata", {{"err", cleared.error().message()}});
  }
  finish_step(step, {}, 0, "");
}

void Daemon::unmount() {
  if (port_) port_->close();
  in_pool(
      [this]() -> Status {
        if (mount_) {
          mount_->stop();
          return {};
        }
        TRY(fuse::clean_stale_mounts(fuse::canonical_mount_dir(settings_.config.fuse.dir)));  // an abandoned mount()
        return {};
      },
      1, "unmount");
}

void Daemon::close() {
  if (port_) port_->close();
  if (abandoned_) return finish_step(step_, {}, 0, "");  // a thread still works with it; the next start recovers
  in_pool(
      [this] {
        peer_.reset();
        return engine_->close();
      },
      1, "close");
}

// ---- what others are told

std::string Daemon::node_url() const { return fmt::format("http://localhost:{}", port_ ? port_->port() : 0); }

std::string Daemon::not_ready() const {
  BootState state = machine_.state();
  if (state == BootState::kRunning || state == BootState::kIdle) return {};
  if (state == BootState::kHeld) return fmt::format("start failed: {}", last_error_);
  if (machine_.stopping()) return fmt::format("stopping: {}", to_text(state));
  return fmt::format("starting: {}", to_text(state));
}

api::NodeFacts Daemon::facts() {
  lease::Role role = roles_.role();
  api::NodeFacts facts;
  facts.version = build_.version;
  facts.commit = build_.commit;
  facts.cluster_id = cluster_id_;
  facts.node_id = format_node_id(node_id_);
  facts.data_dir = settings_.config.data.dir;
  facts.mount_dir = settings_.config.fuse.dir;
  facts.mount_mode = mount_ ? std::string(mount_->mode()) : std::string();
  facts.lease_type = leaser_ ? std::string(leaser_->type()) : std::string();
  facts.primary = role.primary;
  facts.candidate = settings_.config.lease.candidate;
  facts.primary_hostname = role.primary_hostname;
  facts.primary_url = role.primary_url;
  facts.epoch = role.epoch;
  facts.boot_state = to_text(machine_.state());
  facts.not_ready = not_ready();
  facts.uptime_ms = clock_.now() - started_;
  if (peer_) {
    for (const std::shared_ptr<db::Database>& db : engine_->databases()) {
      if (db->page_count() == 0) continue;
      facts.databases.push_back({.name = db->name(),
                                 .position = db->position(),
                                 .page_size_bytes = db->page_size_bytes(),
                                 .page_count = db->page_count(),
                                 .last_commit_wall_ms = db->last_commit_wall_ms()});
    }
  }
  if (backup_) facts.backup = backup_->facts();
  return facts;
}

}  // namespace caddis::app
