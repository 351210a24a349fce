// What the backup needs of the databases on this machine. EngineDatabases (engine_databases.h) puts it on db::Engine;
// tests have a made-up one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "db/log.h"
#include "db/snapshot.h"
#include "os/file.h"

namespace caddis::backup {

struct LocalState {
  Position position;  // of the last captured transaction
  std::uint32_t page_size_bytes = 0;
  std::uint32_t page_count = 0;
  std::int64_t wall_ms = 0;  // of the last transaction
};

class LocalDatabases {
 public:
  using SnapshotReply = std::move_only_function<void(Result<std::shared_ptr<db::SnapshotReader>>)>;
  virtual ~LocalDatabases() = default;
  virtual std::vector<std::string> names() = 0;
  virtual std::optional<LocalState> state(const std::string& name) = 0;  // nullopt: there is none (any more)
  // As db::Log. Pool threads.
  virtual Result<std::vector<db::LogEntry>> list_log(const std::string& name) = 0;
  virtual Result<std::vector<db::LogEntry>> chain(const std::string& name, Txid after, Txid upto) = 0;
  virtual Result<std::unique_ptr<os::File>> open_log(const std::string& name, const db::LogEntry& entry) = 0;
  // The reply comes on any thread.
  virtual void start_snapshot(const std::string& name, SnapshotReply reply) = 0;
  virtual void set_needed_from(const std::string& name, Txid txid) = 0;
};

}  // namespace caddis::backup
