// The JSON that the node port gives out: /info (LiteFS's keys and `caddis`) and /caddis/v1/status. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace caddis::api {

struct DatabaseFacts {
  std::string name;
  Position position;
  std::uint32_t page_size_bytes = 0;
  std::uint32_t page_count = 0;
  std::int64_t last_commit_wall_ms = 0;  // 0: none since the log begins
  std::uint64_t ltx_count = 0;           // files in the log
  std::uint64_t ltx_bytes = 0;
};

struct BackupFacts {   // one target and database
  std::string target;  // URL without credentials
  std::string database;
  Txid txid;                // last transaction that is there
  std::int64_t lag_ms = 0;  // age of the oldest commit that is not; 0: nothing is missing
  std::string last_error;   // empty: none since the last success
};

struct NodeFacts {
  std::string version;
  std::string commit;
  std::string cluster_id;  // empty: not known yet
  std::string node_id;
  std::string data_dir;
  std::string mount_dir;
  std::string mount_mode;  // "reference", "passthrough"; empty: not mounted
  std::string lease_type;
  bool primary = false;
  bool candidate = false;
  std::string primary_hostname;
  std::string primary_url;
  std::uint64_t epoch = 0;
  std::string boot_state;  // of app/boot_machine.h
  std::string not_ready;   // why /health is 503; empty: ready
  std::int64_t uptime_ms = 0;
  std::vector<DatabaseFacts> databases;
  std::vector<BackupFacts> backup;
};

std::string info_json(const NodeFacts& facts);
std::string status_json(const NodeFacts& facts);
// {"error":"…"} for routes under /caddis/.
std::string error_json(const std::string& message);
// What `caddis status` prints, from status_json's text. `database` empty: all.
// kInvalid when the text is no status document; kNotFound when the node has no such database.
Result<std::string> render_status(const std::string& json, const std::string& database);
// The keys of /info that `caddis run` needs.
struct InfoFlags {
  bool primary = false;
  bool candidate = false;
};
Result<InfoFlags> parse_info(const std::string& json);

}  // namespace caddis::api
