#include "backup/levels.h"

#include <algorithm>

namespace caddis::backup {
namespace {

std::vector<ObjectInfo> at_level(const std::vector<ObjectInfo>& objects, int level) {
  std::vector<ObjectInfo> out;
  for (const ObjectInfo& o : objects) {
    if (o.level == level) out.push_back(o);
  }
  std::sort(out.begin(), out.end(),
            [](const ObjectInfo& a, const ObjectInfo& b) { return a.max != b.max ? a.max < b.max : a.min < b.min; });
  return out;
}

}  // namespace

Txid newest_at(const std::vector<ObjectInfo>& objects, int level) {
  Txid newest;
  for (const ObjectInfo& o : objects) {
    if (o.level == level && o.max > newest) newest = o.max;
  }
  return newest;
}

std::vector<std::vector<ObjectInfo>> plan_compaction(const std::vector<ObjectInfo>& objects, int level) {
  Txid done = newest_at(objects, level);
  std::vector<std::vector<ObjectInfo>> runs;
  Txid end;
  for (const ObjectInfo& o : at_level(objects, level - 1)) {
    if (o.max <= done || o.max <= end) continue;
    if (runs.empty() || o.min > end.next()) runs.emplace_back();
    runs.back().push_back(o);
    end = o.max;
  }
  return runs;
}

std::int64_t next_boundary_ms(std::int64_t now_wall_ms, std::int64_t interval_ms) {
  return (now_wall_ms / interval_ms + 1) * interval_ms;
}

bool snapshot_due(const std::vector<ObjectInfo>& objects, Txid current, std::int64_t now_wall_ms,
                  std::int64_t interval_ms) {
  if (current == Txid()) return false;
  std::vector<ObjectInfo> snapshots = at_level(objects, kSnapshotLevel);
  if (snapshots.empty()) return true;
  const ObjectInfo& newest = snapshots.back();
  return newest.max != current && now_wall_ms - newest.created_ms >= interval_ms;
}

std::vector<ObjectInfo> expired_level0(const std::vector<ObjectInfo>& objects, std::int64_t now_wall_ms,
                                       const RetentionOptions& options) {
  std::vector<ObjectInfo> expired;
  if (options.level0_retention_ms <= 0) return expired;
  std::vector<ObjectInfo> level0 = at_level(objects, 0);
  Txid covered = newest_at(objects, 1);
  for (std::size_t i = 0; i + 1 < level0.size(); ++i) {
    const ObjectInfo& o = level0[i];
    if (o.max > covered || now_wall_ms - o.created_ms < options.level0_retention_ms) break;
    expired.push_back(o);
  }
  return expired;
}

std::vector<ObjectInfo> expired_snapshots(const std::vector<ObjectInfo>& objects, std::int64_t now_wall_ms,
                                          const RetentionOptions& options) {
  std::vector<ObjectInfo> expired;
  Txid floor;
  std::vector<ObjectInfo> snapshots = at_level(objects, kSnapshotLevel);
  for (std::size_t i = 0; i + 1 < snapshots.size(); ++i) {
    if (now_wall_ms - snapshots[i].created_ms < options.snapshot_retention_ms) break;
    expired.push_back(snapshots[i]);
    floor = snapshots[i].max;
  }
  for (int level = 1; level < kSnapshotLevel; ++level) {
    std::vector<ObjectInfo> files = at_level(objects, level);
    for (std::size_t i = 0; i + 1 < files.size() && files[i].max < floor; ++i) expired.push_back(files[i]);
  }
  return expired;
}

}  // namespace caddis::backup
