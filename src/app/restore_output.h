// What `caddis restore` prints, and where it reads and writes: the pure part of the command.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "backup/plan.h"
#include "base/result.h"

namespace caddis::app {

// A replica's URL in two parts: the target, and the database in it. "s3://b/p/app.db?region=x" is "s3://b/p?region=x"
// and "app.db"; "file:///dir/app.db" is "file:///dir" and "app.db". kInvalid when there is no path to split.
struct ReplicaUrl {
  std::string target;
  std::string name;
};
Result<ReplicaUrl> split_replica_url(std::string_view url);

// "1.5 MiB", "300 B".
std::string format_bytes(std::uint64_t bytes);
// One line for a terminal of `columns` columns, without newline:
// "app.db [######------]  52 %  5.2 MiB of 10.0 MiB  3.1 MiB/s  ETA 0:02".
std::string progress_line(std::string_view name, std::uint64_t done_bytes, std::uint64_t total_bytes,
                          std::int64_t elapsed_ms, int columns);
// -dry-run: the objects a restore would read, as a table, or as JSON (one line).
std::string plan_text(const backup::RestorePlan& plan, std::string_view output_path);
std::string plan_json(const backup::RestorePlan& plan, std::string_view output_path, std::string_view replica);

struct RestoreReport {
  std::string db_path;
  std::string replica;
  std::string txid;  // 16 hex digits
  std::int64_t duration_ms = 0;
  std::string integrity_check;
  std::string checksum;
  std::string timestamp;
  std::uint64_t size_bytes = 0;
};
// -json: Litestream's keys and ours, one line.
std::string report_json(const RestoreReport& report);

}  // namespace caddis::app
