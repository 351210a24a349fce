#include "app/backup_targets.h"

#include <cstdlib>

#include "backup/store_target.h"
#include "store/store.h"

namespace caddis::app {

Result<std::unique_ptr<backup::Target>> open_backup_target(loop::Loop& loop, Metrics* metrics,
                                                           const config::BackupTarget& target) {
  store::TargetOptions options;
  options.url = target.url;
  options.access_key_id = target.access_key_id;
  options.secret_access_key = target.secret_access_key;
  options.session_token = target.session_token;
  options.access_key_id_file = target.access_key_id_file;
  options.secret_access_key_file = target.secret_access_key_file;
  options.endpoint = target.endpoint;
  options.region = target.region;
  if (const char* file = std::getenv("SSL_CERT_FILE")) options.ssl_cert_file = file;
  if (const char* dir = std::getenv("SSL_CERT_DIR")) options.ssl_cert_dir = dir;
  options.metrics = metrics;
  Result<std::unique_ptr<store::Store>> store = store::open_store(loop, options);
  if (!store && target.where.empty()) return std::unexpected(std::move(store).error());
  if (!store) return std::unexpected(std::move(store).error().context(target.where));
  return std::make_unique<backup::StoreTarget>(std::move(*store));
}

config::BackupTarget target_of_url(std::string url, const config::Environment& env) {
  auto get = [&env](const char* name) {
    auto it = env.find(name);
    return it == env.end() ? std::string() : it->second;
  };
  config::BackupTarget target;
  target.url = std::move(url);
  target.access_key_id = get("LITESTREAM_ACCESS_KEY_ID");
  target.secret_access_key = get("LITESTREAM_SECRET_ACCESS_KEY");
  if (target.access_key_id.empty() && target.secret_access_key.empty()) {
    target.access_key_id = get("AWS_ACCESS_KEY_ID");
    target.secret_access_key = get("AWS_SECRET_ACCESS_KEY");
    target.session_token = get("AWS_SESSION_TOKEN");
  }
  target.endpoint = get("AWS_ENDPOINT_URL_S3");
  target.region = get("AWS_REGION");
  return target;
}

}  // namespace caddis::app
