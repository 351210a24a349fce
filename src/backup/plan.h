// Which objects of a target give a database back. Pure. Litestream's plan (replica.go, CalcRestorePlan) with stricter
// errors: a gap or a point that is not there is said, with the nearest points that are, never answered by another
// state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"

namespace caddis::backup {

inline constexpr int kSnapshotLevel = 9;

// One LTX object of a database in a target.
struct ObjectInfo {
  int level = 0;  // 0: as uploaded; 1-8: compacted; 9: snapshots
  Txid min;
  Txid max;
  std::uint64_t size_bytes = 0;
  std::int64_t created_ms = 0;  // time of the last transaction in it where known, else of the upload; wall clock
  bool operator==(const ObjectInfo&) const = default;
};
// "level 1 0000000000000001-0000000000000002.ltx", for messages.
std::string to_text(const ObjectInfo& object);

// The state that is wanted; neither set: the latest. Both set is kInvalid.
struct RestorePoint {
  std::optional<Txid> txid;
  std::optional<std::int64_t> timestamp_ms;  // the last transaction strictly before it, as in Litestream
};

struct RestorePlan {
  std::vector<ObjectInfo> objects;  // in the order of applying; the first holds the whole database (min TXID 1)
  Txid txid;                        // what the database will be
  std::int64_t created_ms = 0;      // of the last object
  std::uint64_t total_bytes = 0;
};

// Errors: kNotFound when `objects` is empty or the point can't be restored; kCorrupt when objects beyond the restorable
// ones exist but TXIDs before them are missing (latest and timestamp). All name the nearest restorable points.
// A time is restorable when no transaction before it is hidden in an object that goes beyond it: the next object is of
// level 0 (one sync interval), holds one transaction, or there is none.
Result<RestorePlan> plan_restore(const std::vector<ObjectInfo>& objects, const RestorePoint& point);

struct RestorablePoint {
  Txid txid;
  std::int64_t created_ms = 0;
};
// Every TXID that plan_restore accepts, ascending.
std::vector<RestorablePoint> restorable_points(std::vector<ObjectInfo> objects);

}  // namespace caddis::backup
