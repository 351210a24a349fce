#include "backup/plan.h"

#include <algorithm>
#include <set>

#include "backup/rfc3339.h"
#include "ltx/header.h"

namespace caddis::backup {
namespace {

// Objects the plan may use under this point.
bool allowed(const ObjectInfo& o, const RestorePoint& point) {
  if (point.txid && o.max > *point.txid) return false;
  return !point.timestamp_ms || o.created_ms < *point.timestamp_ms;
}

// Better next step: reaches further; then begins earlier, is of a higher level, is older.
bool better(const ObjectInfo& a, const ObjectInfo& b) {
  if (a.max != b.max) return a.max > b.max;
  if (a.min != b.min) return a.min < b.min;
  if (a.level != b.level) return a.level > b.level;
  return a.created_ms < b.created_ms;
}

bool leads_on(const ObjectInfo& o, Txid current) { return o.min.value() <= current.value() + 1 && o.max > current; }

std::string describe(const RestorablePoint& p) { return fmt::format("{} ({})", p.txid, format_rfc3339(p.created_ms)); }

// "; nearest restorable points: 000…5 (2026-…) before, 000…9 (…) after".
template <class IsBefore>
std::string nearest(const std::vector<ObjectInfo>& objects, IsBefore is_before) {
  std::vector<RestorablePoint> points = restorable_points(objects);
  const RestorablePoint* before = nullptr;
  const RestorablePoint* after = nullptr;
  for (const RestorablePoint& p : points) {
    if (is_before(p))
      before = &p;
    else if (after == nullptr)
      after = &p;
  }
  if (before == nullptr && after == nullptr) return "; nothing there can be restored";
  std::string text = "; nearest restorable points: ";
  if (before != nullptr) text += describe(*before) + " before";
  if (before != nullptr && after != nullptr) text += ", ";
  if (after != nullptr) text += describe(*after) + " after";
  return text;
}

RestorePlan walk(const std::vector<ObjectInfo>& objects, const RestorePoint& point) {
  RestorePlan plan;
  const ObjectInfo* base = nullptr;
  for (const ObjectInfo& o : objects) {
    if (o.level == kSnapshotLevel && o.min == Txid(1) && allowed(o, point) && (base == nullptr || o.max > base->max))
      base = &o;
  }
  for (const ObjectInfo* next = base;;) {
    if (next != nullptr) {
      plan.objects.push_back(*next);
      plan.txid = next->max;
      plan.created_ms = next->created_ms;
      plan.total_bytes += next->size_bytes;
    }
    next = nullptr;
    for (const ObjectInfo& o : objects) {
      if (o.level == kSnapshotLevel || !allowed(o, point) || !leads_on(o, plan.txid)) continue;
      if (next == nullptr || better(o, *next)) next = &o;
    }
    if (next == nullptr) return plan;
  }
}

// The first object beyond the plan that nothing leads to; null when there is none.
const ObjectInfo* first_unreachable(const std::vector<ObjectInfo>& objects, const RestorePoint& point, Txid reached) {
  const ObjectInfo* found = nullptr;
  for (const ObjectInfo& o : objects) {
    if (!allowed(o, point) || o.max <= reached) continue;
    if (found == nullptr || o.min < found->min) found = &o;
  }
  return found;
}

// True when transactions before the wanted time may be hidden in an object that ends after it.
bool time_is_hidden(const std::vector<ObjectInfo>& objects, Txid reached) {
  bool beyond = false;
  for (const ObjectInfo& o : objects) {
    if (o.level == kSnapshotLevel || !leads_on(o, reached)) continue;
    if (o.level == 0 || o.max == reached.next()) return false;
    beyond = true;
  }
  return beyond;
}

Status check_timestamp(const std::vector<ObjectInfo>& objects, std::int64_t wanted_ms, const RestorePlan& plan) {
  auto before = [&](const RestorablePoint& p) { return p.created_ms < wanted_ms; };
  std::string when = format_rfc3339(wanted_ms);
  if (plan.objects.empty())
    return not_found("time {}: the backup does not go back that far{}", when, nearest(objects, before));
  if (time_is_hidden(objects, plan.txid))
    return not_found("time {}: the transactions around it were compacted together{}", when, nearest(objects, before));
  return {};
}

}  // namespace

std::string to_text(const ObjectInfo& object) {
  return fmt::format("level {} {}", object.level, ltx::file_name(object.min, object.max));
}

std::vector<RestorablePoint> restorable_points(std::vector<ObjectInfo> objects) {
  std::sort(objects.begin(), objects.end(), [](const ObjectInfo& a, const ObjectInfo& b) {
    return a.max != b.max ? a.max < b.max : a.created_ms < b.created_ms;
  });
  std::vector<RestorablePoint> points;  // ascending, so the last one below `max` decides whether an object is reachable
  for (const ObjectInfo& o : objects) {
    if (!points.empty() && points.back().txid == o.max) continue;
    bool reachable = o.min == Txid(1) || (!points.empty() && o.min.value() <= points.back().txid.value() + 1);
    if (reachable) points.push_back({o.max, o.created_ms});
  }
  return points;
}

Result<RestorePlan> plan_restore(const std::vector<ObjectInfo>& objects, const RestorePoint& point) {
  if (point.txid && point.timestamp_ms) return invalid("a TXID and a time were both given; give one");
  if (objects.empty()) return not_found("no backup there");
  RestorePlan plan = walk(objects, point);
  if (point.txid) {
    if (plan.txid == *point.txid) return plan;
    auto before = [&](const RestorablePoint& p) { return p.txid < *point.txid; };
    return not_found("TXID {} can't be restored{}", *point.txid, nearest(objects, before));
  }
  if (point.timestamp_ms) TRY(check_timestamp(objects, *point.timestamp_ms, plan));
  if (const ObjectInfo* lost = first_unreachable(objects, point, plan.txid)) {
    auto before = [&](const RestorablePoint& p) { return p.txid <= plan.txid; };
    return corrupt("gap: {} is there, but the transactions {} to {} before it are missing{}", to_text(*lost),
                   plan.txid.next(), Txid(lost->min.value() - 1), nearest(objects, before));
  }
  return plan;
}

}  // namespace caddis::backup
