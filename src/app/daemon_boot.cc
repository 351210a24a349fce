// The steps of boot. daemon.cc has the machine's other half: the pump, the stop, what others are told.
#include <signal.h>

#include <csignal>
#include <utility>

#include "app/daemon.h"
#include "app/listen.h"
#include "app/node_identity.h"
#include "base/log.h"
#include "fly/environment.h"
#include "os/user.h"

namespace caddis::app {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitNoRestore = 69;
constexpr int kExitDataDir = 74;
constexpr std::int64_t kLockWaitMs = 3'000;  // for a predecessor that is being killed

int data_dir_exit_code(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kIo:
    case ErrorCode::kNoSpace:
    case ErrorCode::kDenied:
    case ErrorCode::kReadOnly:
      return kExitDataDir;
    default:
      return kExitFailure;
  }
}

ListenRules listen_rules(const config::Config& config, bool on_fly) {
  bool written = config.is_given("lease.type") && config.lease.type != config::LeaseType::kAuto &&
                 config.lease.type != config::LeaseType::kS3;
  return {
      .addr = config.http.addr, .addr_given = config.http.addr_given, .on_fly = on_fly, .lease_type_written = written};
}

}  // namespace

void Daemon::lock_data_dir() {
  const std::string& path = settings_.config.data.dir;
  Result<std::unique_ptr<os::Dir>> dir = os::make_system_dir(path);
  if (!dir) {
    int code = data_dir_exit_code(dir.error());
    return finish_step(step_, std::unexpected(std::move(dir).error()), code, "data directory");
  }
  data_dir_ = std::move(*dir);
  Result<DataLock> lock = DataLock::acquire(path, 0);
  if (lock) {
    lock_ = std::move(*lock);
    return finish_step(step_, {}, 0, "");
  }
  if (lock.error().code() != ErrorCode::kBusy) {
    int code = data_dir_exit_code(lock.error());
    return finish_step(step_, std::unexpected(std::move(lock).error()), code, "start");
  }
  in_pool(
      [this, path]() -> Status {
        TRY_ASSIGN(DataLock later, DataLock::acquire(path, kLockWaitMs));
        lock_ = std::move(later);
        return {};
      },
      kExitFailure, "start");
}

void Daemon::clean_stale_mount() {
  if (!clean_stale_mount_) return finish_step(step_, {}, 0, "");
  std::string dir = fuse::canonical_mount_dir(settings_.config.fuse.dir);
  if (fuse::mounts_at(dir).empty()) return finish_step(step_, {}, 0, "");
  in_pool(
      [dir]() -> Status {
        // An orphaned app would go on writing into a mount that nobody captures.
        for (pid_t pid : fuse::processes_using(dir)) {
          log_warn("killing a process that still uses the mount of a predecessor", {{"pid", std::to_string(pid)}});
          ::kill(pid, SIGKILL);
        }
        TRY_ASSIGN(int cleaned, fuse::clean_stale_mounts(dir));
        if (cleaned > 0) log_warn("took away a stale mount of a predecessor that was killed", {{"dir", dir}});
        return {};
      },
      kExitFailure, "clean up the mount directory");
}

void Daemon::bind_port() {
  Status bound = [&]() -> Status {
    TRY_ASSIGN(std::vector<api::ListenAddress> addresses,
               plan_listen(listen_rules(settings_.config, settings_.resolution.on_fly)));
    api::NodePortHooks hooks{
        .node_id = format_node_id(node_id_),
        .facts = [this] { return facts(); },
        .metrics = &metrics_,
        .engine = [this]() -> db::Engine* { return mount_ && !machine_.stopping() ? engine_.get() : nullptr; },
        .import_dir = settings_.config.data.dir + "/caddis/tmp",
        .import =
            [this](std::string name, std::string path, std::stop_token stop) {
              return importer_->import(std::move(name), std::move(path), std::move(stop));
            }};
    TRY_ASSIGN(port_, api::NodePort::bind(loop_, addresses, std::move(hooks)));
    return {};
  }();
  finish_step(step_, std::move(bound), kExitFailure, "cannot init http server: cannot open http server");
}

void Daemon::inspect_volume() {
  const config::Config& config = settings_.config;
  lease::NodeAddress address{config.lease.hostname, config.lease.advertise_url};
  if (config.lease.candidate) {  // it is our own address, and may be left out
    auto host = settings_.env.find("HOSTNAME");
    if (address.hostname.empty() && host != settings_.env.end()) address.hostname = host->second;
    if (address.advertise_url.empty())
      address.advertise_url = fmt::format("http://{}:{}", address.hostname, port_->port());
  }
  log_info(fmt::format("Using static primary: primary={} hostname={} advertise-url={}", config.lease.candidate,
                       address.hostname, address.advertise_url));
  if (config.lease.type == config::LeaseType::kAuto && !config.lease.consul.url.empty()) {
    log_warn("FLY_CONSUL_URL is set, but this version has only the static lease: the candidate is the primary");
  }
  leaser_ = lease::make_static_leaser(config.lease.candidate, std::move(address));
  Result<std::unique_ptr<BackupService>> backup = BackupService::create(loop_, clock_, metrics_, config);
  if (!backup) return finish_step(step_, std::unexpected(std::move(backup).error()), kExitFailure, "backup");
  backup_ = std::move(*backup);
  Result<bool> empty = db::Engine::is_empty_volume(*data_dir_);
  if (!empty) return finish_step(step_, std::unexpected(std::move(empty).error()), kExitDataDir, "data directory");

  engine_ = std::make_unique<db::Engine>(engine_options());
  bool wanted = config.restore != config::RestoreMode::kOff && (*empty || backup_->is_restore_pending(*data_dir_));
  if (!wanted) return finish_step(step_, {}, 0, "");
  if (backup_->has_targets()) return feed(VolumeEmpty{});
  finish_step(step_, {}, 0, "");
}

db::EngineOptions Daemon::engine_options() {
  const config::DataConfig& data = settings_.config.data;
  db::EngineOptions options;
  options.data_dir = data_dir_;
  options.clock = &clock_;
  options.metrics = &metrics_;
  options.compress = data.compress;
  options.strict_verify = settings_.config.strict_verify;
  options.retention_ms = data.retention_ms;
  options.retention_interval_ms = data.retention_monitor_interval_ms;
  options.node_id = node_id_;
  // queue_work belongs to the loop thread; the engine calls from the peer.
  options.offload = [this](std::move_only_function<void()> work) {
    loop_.post([this, work = std::move(work)]() mutable { loop_.queue_work(std::move(work), [] {}); });
  };
  options.on_fatal = [this](const Error& error) {
    loop_.post([this, message = error.message()] {
      last_error_ = fmt::format("fatal error occurred while committing: {}", message);
      log_error(last_error_);
      feed(Fatal{});
    });
  };
  return options;
}

void Daemon::restore() { restore_task(step_); }

loop::Detached Daemon::restore_task(std::uint64_t step) {
  Status restored = co_await backup_->restore(*data_dir_, *engine_, step_stop_.get_token());
  int code = !restored && restored.error().code() == ErrorCode::kUnavailable ? kExitNoRestore : kExitFailure;
  finish_step(step, std::move(restored), code, "restore");
}

void Daemon::open_engine() {
  Result<std::string> id = read_cluster_id(*data_dir_);
  if (!id) return finish_step(step_, std::unexpected(std::move(id).error()), kExitFailure, "cannot open store");
  cluster_id_ = std::move(*id);
  if (!cluster_id_.empty()) log_info(fmt::format("using existing cluster id: \"{}\"", cluster_id_));
  in_pool([this] { return engine_->open(); }, kExitFailure, "cannot open store");
}

void Daemon::mount() {
  Status started = backup_->start(*data_dir_, *engine_);
  if (!started) return finish_step(step_, std::move(started), kExitFailure, "backup");
  peer_ = std::make_unique<db::PeerThread>(*engine_);
  const config::FuseConfig& fuse = settings_.config.fuse;
  fuse::MountOptions options;
  options.dir = fuse.dir;
  options.allow_other = fuse.allow_other;
  options.clean_stale = clean_stale_mount_;
  options.debug = fuse.debug;
  if (settings_.user) {
    options.default_permissions = true;
    options.uid = settings_.user->uid;
    options.gid = settings_.user->gid;
  }
  fuse::RoleInfo role_info;
  role_info.primary_hostname = [this]() -> std::optional<std::string> {
    lease::Role role = roles_.role();
    if (role.primary || role.primary_hostname.empty()) return std::nullopt;
    return role.primary_hostname;
  };
  in_pool(
      [this, options, role_info]() -> Status {
        TRY_ASSIGN(mount_, fuse::Mount::start(options, *engine_, role_info, metrics_));
        return {};
      },
      kExitFailure, "cannot init file system: cannot open file system");
}

void Daemon::join() {
  log_info(fmt::format("LiteFS mounted to: {}", mount_->dir()));
  log_info("mount mode", {{"mode", std::string(mount_->mode())}});
  importer_ = std::make_unique<Importer>(loop_, mount_->dir());
  port_->serve();
  log_info(fmt::format("http server listening on: {}", node_url()));
  roles_.on_change([this](const lease::Role& role) { role_changed(role); });
  fly::Environment on_fly = fly::read_environment(settings_.env);
  if (on_fly.on_fly() && !on_fly.machine_id.empty()) {
    role_metadata_ = std::make_unique<fly::RoleMetadata>(
        loop_, fly::RoleMetadataOptions{.app_name = on_fly.app_name, .machine_id = on_fly.machine_id});
  }
  join_task(step_);
}

loop::Detached Daemon::join_task(std::uint64_t step) {
  if (settings_.config.skip_sync)
    log_info("skipping cluster sync, starting immediately");
  else
    log_info("waiting to connect to cluster");
  Status joined = co_await leaser_->join(roles_, step_stop_.get_token());
  if (joined && roles_.is_primary()) joined = found_cluster();
  if (joined) {
    if (!settings_.config.skip_sync) log_info("connected to cluster, ready");
    if (settings_.config.lease.promote && !settings_.config.skip_sync) {
      if (!settings_.config.lease.candidate)
        log_info("node is not a candidate, skipping automatic promotion");
      else
        log_info("node is already primary, skipping promotion");
    }
    if (settings_.config.proxy.target.empty()) log_info("no proxy target set, skipping proxy");
  }
  finish_step(step, std::move(joined), kExitFailure, "cannot join the cluster");
}

// As in LiteFS, a static lease has no cluster id of its own: the primary says so at every start.
Status Daemon::found_cluster() {
  if (cluster_id_.empty()) {
    std::string id = generate_cluster_id();
    TRY(write_cluster_id(*data_dir_, id));
    cluster_id_ = std::move(id);
  }
  log_info(fmt::format("set cluster id on \"{}\" lease \"{}\"", leaser_->type(), cluster_id_));
  return {};
}

void Daemon::role_changed(const lease::Role& role) {
  std::string id = format_node_id(node_id_);
  if (role.primary) {
    log_info(fmt::format("{}: primary lease acquired, advertising as {}", id, role.primary_url));
  } else if (!role.primary_hostname.empty()) {
    log_info(fmt::format("{}: existing primary found ({}), connecting as replica to \"{}\"", id, role.primary_hostname,
                         role.primary_url));
  }
  engine_->set_writable(role.primary);
  backup_->set_primary(role.primary);
  if (mount_) mount_->role_changed();
  if (role_metadata_ && !machine_.stopping()) role_metadata_->publish(role.primary ? "primary" : "replica");
}

// ---- the exec list

Status Daemon::create_supervisor() {
  supervise::SupervisorOptions options;
  options.user = settings_.user;
  options.stop_timeout_ms = settings_.config.stop_timeout_ms.value_or(options.stop_timeout_ms);
  options.log_steps = true;
  supervise::SupervisorCallbacks callbacks;
  callbacks.ended = [this](const supervise::Ended& ended) { list_ended(ended); };
  callbacks.stop_requested = [this](int signo) {
    if (!stop_began_) stop_began_ = clock_.now();
    feed(StopRequested{signo});
  };
  callbacks.should_run = [this](std::size_t index) { return entry_runs(index); };
  callbacks.app_started = [this](pid_t) { feed(AppStarted{}); };
  TRY_ASSIGN(supervisor_, supervise::Supervisor::create(std::move(options), std::move(callbacks)));
  TRY_ASSIGN(supervisor_watch_, loop::watch_fd(loop_, supervisor_->poll_fd(), [this] { supervisor_->on_readable(); }));
  return {};
}

bool Daemon::entry_runs(std::size_t index) const {
  const config::ExecEntry& entry = settings_.config.exec[index];
  std::string_view reason;
  if (entry.if_candidate && !settings_.config.lease.candidate)
    reason = "node is not a candidate";
  else if (entry.if_primary && !roles_.is_primary())
    reason = "node is not the primary";
  if (reason.empty()) return true;
  log_info(fmt::format("{}, skipping command execution: {}", reason, supervise::command_text(entry.argv)));
  return false;
}

void Daemon::run_list() {
  supervisor_->set_environment(supervise::child_environment(
      os::current_environment(), settings_.config.env_remove,
      {"CADDIS_DIR=" + mount_->dir(), "CADDIS_URL=" + node_url(),
       std::string("CADDIS_CANDIDATE=") + (settings_.config.lease.candidate ? "true" : "false")}));
  std::vector<supervise::ExecEntry> entries;
  for (const config::ExecEntry& entry : settings_.config.exec) {
    entries.push_back({.argv = entry.argv, .timeout_ms = entry.timeout_ms.value_or(0)});
  }
  supervisor_->run(std::move(entries));
}

void Daemon::up(bool with_app) {
  log_info("waiting for signal or subprocess to exit");
  log_debug("boot complete", {{"ms", std::to_string(clock_.now() - started_)}, {"app", with_app ? "yes" : "no"}});
}

void Daemon::list_ended(const supervise::Ended& ended) {
  using Why = ListEnded::Why;
  Why why = Why::kNoApp;
  switch (ended.why) {
    case supervise::Ended::Why::kApp:
      why = Why::kApp;
      if (supervisor_->stop_signal() == 0) {
        if (ended.exit_code == 0)
          log_info("subprocess exited successfully, litefs shutting down");
        else
          log_info(fmt::format("subprocess exited with error code {}, litefs shutting down", ended.exit_code));
      }
      break;
    case supervise::Ended::Why::kEntry:
      why = Why::kEntryFailed;
      last_error_ = fmt::format("cannot exec: {}", ended.message);
      log_error(last_error_);
      break;
    case supervise::Ended::Why::kStopped:
      why = Why::kStopped;
      break;
    case supervise::Ended::Why::kNoApp:
      break;
  }
  feed(ListEnded{why, ended.exit_code});
}

}  // namespace caddis::app
