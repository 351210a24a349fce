// Compaction levels and retention of a target: what to merge, what to delete. Pure, over the objects known to be there.
// Defaults are Litestream's.
#pragma once

#include <cstdint>
#include <vector>

#include "backup/plan.h"

namespace caddis::backup {

struct Level {
  int level = 1;
  std::int64_t interval_ms = 30'000;  // compaction at wall-clock multiples of it
};

struct RetentionOptions {
  std::int64_t snapshot_interval_ms = 24 * 3'600'000LL;
  std::int64_t snapshot_retention_ms = 24 * 3'600'000LL;
  std::int64_t level0_retention_ms = 300'000;  // <= 0: level 0 is kept
};

// The newest TXID at a level; Txid(0) when there is none.
Txid newest_at(const std::vector<ObjectInfo>& objects, int level);

// Objects of level - 1 that are not in `level` yet, ascending, cut into runs without gaps: each run becomes one object
// (or several, when it is large).
std::vector<std::vector<ObjectInfo>> plan_compaction(const std::vector<ObjectInfo>& objects, int level);

// The next wall-clock multiple of the interval after `now`.
std::int64_t next_boundary_ms(std::int64_t now_wall_ms, std::int64_t interval_ms);

// True when there is no snapshot, or the newest is older than the interval and does not hold `current`.
bool snapshot_due(const std::vector<ObjectInfo>& objects, Txid current, std::int64_t now_wall_ms,
                  std::int64_t interval_ms);

// Level-0 objects to delete: in level 1 and older than the retention, from the oldest on up to the first that must
// stay; the newest always stays.
std::vector<ObjectInfo> expired_level0(const std::vector<ObjectInfo>& objects, std::int64_t now_wall_ms,
                                       const RetentionOptions& options);
// Snapshots older than the retention except the newest, and what levels 1-8 hold only for those (the newest of every
// level stays).
std::vector<ObjectInfo> expired_snapshots(const std::vector<ObjectInfo>& objects, std::int64_t now_wall_ms,
                                          const RetentionOptions& options);

}  // namespace caddis::backup
