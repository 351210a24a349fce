#include "app/backup_service.h"

#include <utility>

#include "app/backup_targets.h"
#include "backup/boot_restore.h"
#include "backup/engine_databases.h"
#include "backup/uploader.h"
#include "base/log.h"

namespace caddis::app {

struct BackupService::Impl {
  Impl(loop::Loop& l, Clock& c, Metrics& m, const config::Config& config)
      : loop(l),
        clock(c),
        metrics(m),
        restore_options{.required = config.restore == config::RestoreMode::kRequired,
                        .timeout_ms = config.restore_timeout_ms} {}

  loop::Loop& loop;
  Clock& clock;
  Metrics& metrics;
  backup::BootRestoreOptions restore_options;
  std::vector<backup::UploadTarget> targets;
  bool primary = false;
  bool started = false;
  std::unique_ptr<os::Dir> caddis_dir;
  std::unique_ptr<backup::EngineDatabases> databases;
  std::unique_ptr<backup::Uploader> uploader;
};

BackupService::BackupService(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
BackupService::~BackupService() = default;

Result<std::unique_ptr<BackupService>> BackupService::create(loop::Loop& loop, Clock& clock, Metrics& metrics,
                                                             const config::Config& config) {
  auto impl = std::make_unique<Impl>(loop, clock, metrics, config);
  for (const config::BackupTarget& configured : config.backup) {
    if (configured.layout == config::BackupLayout::kLiteFsFile) {
      log_warn("backup target in LiteFS's own layout is not used; write `- url: file://PATH` for a new one",
               {{"target", configured.url}});
      continue;
    }
    TRY_ASSIGN(std::unique_ptr<backup::Target> target, open_backup_target(loop, &metrics, configured));
    backup::UploadOptions options;
    options.sync_interval_ms = configured.sync_interval_ms;
    impl->targets.push_back({std::move(target), options});
  }
  return std::unique_ptr<BackupService>(new BackupService(std::move(impl)));
}

bool BackupService::has_targets() const { return !impl_->targets.empty(); }

bool BackupService::is_restore_pending(os::Dir& data_dir) const {
  return backup::is_restore_pending(data_dir).value_or(false);
}

loop::Task<Status> BackupService::restore(os::Dir& data_dir, db::Engine& engine, std::stop_token stop) {
  std::vector<backup::Target*> targets;
  for (const backup::UploadTarget& target : impl_->targets) targets.push_back(target.target.get());
  backup::InstallRestored install = [&engine](const std::string& name, const std::string& tmp_name, Position position) {
    return engine.install_restored(name, tmp_name, position);
  };
  log_info("the volume is empty, restoring from backup");
  CO_TRY_ASSIGN(std::vector<backup::RestoredDatabase> restored,
                co_await backup::boot_restore(impl_->loop, impl_->clock, data_dir, std::move(targets),
                                              std::move(install), impl_->restore_options, stop));
  if (restored.empty()) log_info("no target has a backup of this app: starting with an empty volume");
  for (const backup::RestoredDatabase& db : restored) {
    log_info("restored database", {{"db", db.name}, {"pos", to_text(db.position)}, {"target", db.target_url}});
  }
  co_return Status{};
}

Status BackupService::start(os::Dir& data_dir, db::Engine& engine) {
  if (impl_->targets.empty()) return {};
  TRY_ASSIGN(impl_->caddis_dir, data_dir.make_dir("caddis"));
  impl_->databases = std::make_unique<backup::EngineDatabases>(engine);
  TRY_ASSIGN(impl_->uploader, backup::Uploader::create(impl_->loop, impl_->clock, *impl_->databases, *impl_->caddis_dir,
                                                       &impl_->metrics, impl_->targets));
  engine.add_sink(impl_->uploader.get());
  return {};
}

void BackupService::set_primary(bool primary) {
  if (!primary || !impl_->uploader || impl_->started) return;
  impl_->started = true;
  impl_->uploader->start();
}

loop::Task<Status> BackupService::flush_and_stop(std::int64_t deadline_ms) {
  if (!impl_->started) co_return Status{};
  std::vector<backup::FlushResult> results = co_await impl_->uploader->flush(deadline_ms);
  std::string missing;
  for (const backup::FlushResult& r : results) {
    if (r.done) continue;
    missing += fmt::format("{}{} to {}: {} of {}{}{}", missing.empty() ? "" : "; ", r.db, r.target, r.uploaded,
                           r.durable, r.error.empty() ? "" : ": ", r.error);
  }
  if (missing.empty()) co_return Status{};
  co_return make_error(ErrorCode::kTimeout, "{}", missing);
}

std::vector<api::BackupFacts> BackupService::facts() const {
  std::vector<api::BackupFacts> facts;
  if (!impl_->started) return facts;
  for (const backup::ReplicaStatus& s : impl_->uploader->status()) {
    facts.push_back(
        {.target = s.target, .database = s.db, .txid = s.uploaded, .lag_ms = s.lag_ms, .last_error = s.error});
  }
  return facts;
}

}  // namespace caddis::app
