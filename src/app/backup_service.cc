#include "app/backup_service.h"
namespace caddis::app {
struct BackupService::Impl {};
Result<std::unique_ptr<BackupService>> BackupService::create(loop::Loop&, Clock&, Metrics&, const config::Config&) {
  return std::unique_ptr<BackupService>(new BackupService(nullptr));
}
BackupService::BackupService(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
BackupService::~BackupService() = default;
bool BackupService::has_targets() const { return false; }
bool BackupService::is_restore_pending(os::Dir&) const { return false; }
loop::Task<Status> BackupService::restore(os::Dir&, db::Engine&, std::stop_token) { co_return Status{}; }
Status BackupService::start(os::Dir&, db::Engine&) { return {}; }
void BackupService::set_primary(bool) {}
loop::Task<Status> BackupService::flush_and_stop(std::stop_token) { co_return Status{}; }
std::vector<api::BackupFacts> BackupService::facts() const { return {}; }
}  // namespace caddis::app
