#include "api/node_metrics.h"

#include <algorithm>
#include <string>
#include <utility>

namespace caddis::api {
namespace {

constexpr std::string_view kSumName = "_sum";

double number(std::uint64_t v) { return static_cast<double>(v); }

void set_node_gauges(Metrics& m, const NodeFacts& facts) {
  m.gauge("litefs_db_count", "Number of managed databases.").set(number(facts.databases.size()));
  m.gauge("litefs_is_primary", "Primary status of the node.").set(facts.primary ? 1 : 0);
  m.gauge("litefs_subscriber_count", "Number of connected subscribers").set(0);
  m.gauge("litefs_http_stream_count", "Number of streams currently connected.").set(0);
  m.gauge("litefs_lag_seconds", "Lag behind the primary node, in seconds.").set(0);
  m.gauge("caddis_ready", "1 when /health answers 200.").set(facts.not_ready.empty() ? 1 : 0);
  m.gauge("caddis_build_info", "Always 1.", {{"version", facts.version}, {"commit", facts.commit}}).set(1);
  m.gauge("caddis_role", "1 for the role of this node.", {{"role", "primary"}}).set(facts.primary ? 1 : 0);
  m.gauge("caddis_role", "1 for the role of this node.", {{"role", "replica"}}).set(facts.primary ? 0 : 1);
  m.gauge("caddis_lease_epoch", "Fencing token of the current term, 0 where the lease type has none.")
      .set(number(facts.epoch));
  if (!facts.mount_mode.empty()) {
    m.gauge("caddis_mount_mode", "1 for the mode of the mount.", {{"mode", facts.mount_mode}}).set(1);
  }
}

void set_database_gauges(Metrics& m, const DatabaseFacts& db) {
  MetricLabels labels{{"db", db.name}};
  m.gauge("litefs_db_txid", "Current transaction ID.", labels).set(number(db.position.txid.value()));
  m.gauge("litefs_db_ltx_count", "Number of LTX files on disk.", labels).set(number(db.ltx_count));
  m.gauge("litefs_db_ltx_bytes", "Number of bytes used by LTX files on disk.", labels).set(number(db.ltx_bytes));
  m.gauge("litefs_db_lag_seconds", "Latency between generating an LTX file and consuming it.", labels).set(0);
}

DatabaseFacts sum_of(const std::vector<DatabaseFacts>& databases) {
  DatabaseFacts sum;
  sum.name = kSumName;
  for (const DatabaseFacts& db : databases) {
    sum.position.txid = Txid(sum.position.txid.value() + db.position.txid.value());
    sum.ltx_count += db.ltx_count;
    sum.ltx_bytes += db.ltx_bytes;
  }
  return sum;
}

}  // namespace

void NodeMetrics::update(const NodeFacts& facts) {
  set_node_gauges(metrics_, facts);
  std::set<std::string> names;
  auto show = [&](const DatabaseFacts& db) {
    set_database_gauges(metrics_, db);
    names.insert(db.name);
  };
  if (facts.databases.size() > kMaxDatabaseSeries)
    show(sum_of(facts.databases));
  else
    std::for_each(facts.databases.begin(), facts.databases.end(), show);
  for (const std::string& name : shown_) {
    if (!names.contains(name)) metrics_.remove("db", name);
  }
  shown_ = std::move(names);
}

}  // namespace caddis::api
