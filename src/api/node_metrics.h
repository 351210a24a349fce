// The gauges of /metrics that are read on demand: litefs_* with LiteFS's meaning, caddis_* of our own. Counters belong
// to the modules that count.
#pragma once

#include <set>
#include <string>

#include "api/documents.h"
#include "base/metrics.h"

namespace caddis::api {

// More databases than this are summed into one series, db="_sum".
inline constexpr std::size_t kMaxDatabaseSeries = 100;

class NodeMetrics {
 public:
  explicit NodeMetrics(Metrics& metrics) : metrics_(metrics) {}
  void update(const NodeFacts& facts);  // one thread at a time

 private:
  Metrics& metrics_;
  std::set<std::string> shown_;  // databases that have series
};

}  // namespace caddis::api
