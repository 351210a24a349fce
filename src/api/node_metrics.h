// The gauges of /metrics that are read on demand: litefs_* with LiteFS's meaning, caddis_* of our own. Counters belong to
// the modules that count.
#pragma once

#include <functional>

#include "api/documents.h"
#include "base/metrics.h"

namespace caddis::api {

// More databases than this are summed into one series, db="_sum".
inline constexpr std::size_t kMaxDatabaseSeries = 100;

// `facts` is called at each render, on its thread. Metrics outlives what it captures, or is never rendered again.
void register_node_metrics(Metrics& metrics, std::function<NodeFacts()> facts);

}  // namespace caddis::api
