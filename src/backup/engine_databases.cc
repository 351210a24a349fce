#include "backup/engine_databases.h"

namespace caddis::backup {

std::vector<std::string> EngineDatabases::names() {
  std::vector<std::string> names;
  for (const auto& db : engine_.databases()) names.push_back(db->name());
  return names;
}

std::optional<LocalState> EngineDatabases::state(const std::string& name) {
  std::shared_ptr<db::Database> db = engine_.find(name);
  if (db == nullptr) return std::nullopt;
  return LocalState{db->position(), db->page_size_bytes(), db->page_count(), db->last_commit_wall_ms()};
}

Result<std::vector<db::LogEntry>> EngineDatabases::list_log(const std::string& name) {
  return engine_.log().list(name);
}

Result<std::vector<db::LogEntry>> EngineDatabases::chain(const std::string& name, Txid after, Txid upto) {
  return engine_.log().chain(name, after, upto);
}

Result<std::unique_ptr<os::File>> EngineDatabases::open_log(const std::string& name, const db::LogEntry& entry) {
  return engine_.log().open(name, entry);
}

void EngineDatabases::start_snapshot(const std::string& name, SnapshotReply reply) {
  std::shared_ptr<db::Database> db = engine_.find(name);
  if (db == nullptr) {
    reply(not_found("database {} does not exist", name));
    return;
  }
  engine_.start_snapshot(db, std::move(reply));
}

void EngineDatabases::set_needed_from(const std::string& name, Txid txid) { engine_.set_needed_from(name, txid); }

}  // namespace caddis::backup
