// LocalDatabases over the engine of this machine.
#pragma once

#include "backup/local_databases.h"
#include "db/engine.h"

namespace caddis::backup {

class EngineDatabases final : public LocalDatabases {
 public:
  explicit EngineDatabases(db::Engine& engine) : engine_(engine) {}
  std::vector<std::string> names() override;
  std::optional<LocalState> state(const std::string& name) override;
  Result<std::vector<db::LogEntry>> list_log(const std::string& name) override;
  Result<std::vector<db::LogEntry>> chain(const std::string& name, Txid after, Txid upto) override;
  Result<std::unique_ptr<os::File>> open_log(const std::string& name, const db::LogEntry& entry) override;
  void start_snapshot(const std::string& name, SnapshotReply reply) override;
  void set_needed_from(const std::string& name, Txid txid) override;

 private:
  db::Engine& engine_;
};

}  // namespace caddis::backup
