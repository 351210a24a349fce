#include "config/schema.h"

#include <limits>

#include "config/walker.h"

namespace caddis::config {
namespace {

constexpr std::int64_t kAnyDuration = std::numeric_limits<std::int64_t>::min();

using Fields = std::vector<Walker::Field>;

Fields proxy_fields(Walker& w, ProxyConfig& c) {
  return {{"addr", w.text(c.addr)},
          {"target", w.text(c.target)},
          {"db", w.text(c.db)},
          {"max-lag", w.duration(c.max_lag_ms, 0)},
          {"debug", w.boolean(c.debug)},
          {"passthrough", w.text_list(c.passthrough)},
          {"always-forward", w.text_list(c.always_forward)},
          {"primary-redirect-timeout", w.duration(c.primary_redirect_timeout_ms, 0)},
          {"read-timeout", w.duration(c.read_timeout_ms, 0)},
          {"read-header-timeout", w.duration(c.read_header_timeout_ms, 0)},
          {"write-timeout", w.duration(c.write_timeout_ms, 0)},
          {"idle-timeout", w.duration(c.idle_timeout_ms, 0)}};
}

// A zero or negative Consul duration leaves the default, as in LiteFS.
Walker::Handler positive_or_default(Walker& w, std::int64_t& out) {
  return [&w, &out](const Node& node, const std::string& path) {
    std::int64_t value = out;
    w.duration(value, kAnyDuration)(node, path);
    if (value > 0) out = value;
  };
}

Fields lease_fields(Walker& w, LeaseConfig& c) {
  return {{"type", w.choice(c.type, {LeaseType::kAuto, LeaseType::kStatic, LeaseType::kConsul, LeaseType::kS3},
                            "invalid lease type")},
          {"hostname", w.text(c.hostname)},
          {"advertise-url", w.text(c.advertise_url)},
          {"candidate", w.boolean(c.candidate)},
          {"promote", w.boolean(c.promote)},
          {"reconnect-delay", w.duration(c.reconnect_delay_ms, 0)},
          {"demote-delay", w.duration(c.demote_delay_ms, 0)},
          {"databases", w.text_list(c.databases)},
          {"consul", w.section({{"url", w.text(c.consul.url)},
                                {"key", w.text(c.consul.key)},
                                {"ttl", positive_or_default(w, c.consul.ttl_ms)},
                                {"lock-delay", positive_or_default(w, c.consul.lock_delay_ms)}})},
          {"s3", w.section({{"url", w.text(c.s3.url)}, {"ttl", w.duration(c.s3.ttl_ms, 1'000)}})}};
}

// "uid[:gid]" or names: nothing empty, no blanks.
Walker::Handler user_name(Walker& w, std::string& out) {
  return [&w, &out](const Node& node, const std::string& path) {
    const std::string& text = node.text;
    bool good = node.kind == Node::Kind::kScalar && !text.empty() && text.find_first_of(" \t\n") == std::string::npos &&
                !text.starts_with(':') && !text.ends_with(':') && text.find(':') == text.rfind(':');
    if (good)
      out = text;
    else
      w.error(node.line, path, fmt::format("must be USER or USER:GROUP, names or numbers, got {}", describe(node)));
  };
}

Fields top_fields(Walker& w, Config& c) {
  return {
      {"fuse", w.section({{"dir", w.text(c.fuse.dir, "fuse directory required, write a path such as /litefs")},
                          {"allow-other", w.boolean(c.fuse.allow_other)},
                          {"debug", w.boolean(c.fuse.debug)},
                          {"io", w.choice(c.fuse.io, {FuseIo::kAuto, FuseIo::kPassthrough, FuseIo::kDirect},
                                          "invalid mode")}})},
      {"data",
       w.section({{"dir", w.text(c.data.dir, "data directory required, write a path such as /var/lib/litefs")},
                  {"compress", w.boolean(c.data.compress)},
                  {"retention", w.duration(c.data.retention_ms, kAnyDuration)},
                  {"retention-monitor-interval", w.duration(c.data.retention_monitor_interval_ms, kAnyDuration)}})},
      {"http", w.section({{"addr", w.text(c.http.addr)},
                          {"snapshot-timeout", w.duration(c.http.snapshot_timeout_ms, 0)},
                          {"secret-file", w.text(c.http.secret_file)}})},
      {"proxy", w.section(proxy_fields(w, c.proxy))},
      {"lease", w.section(lease_fields(w, c.lease))},
      {"backup", [&w](const Node& node, const std::string& path) { read_backup(w, node, path); }},
      {"restore",
       w.choice(c.restore, {RestoreMode::kAuto, RestoreMode::kOff, RestoreMode::kRequired, RestoreMode::kLazy},
                "invalid restore mode")},
      {"restore-timeout", w.duration(c.restore_timeout_ms, 1)},
      {"durability",
       w.choice(c.durability, {Durability::kLocal, Durability::kReplica, Durability::kBackup}, "invalid durability")},
      {"replica-writes", w.choice(c.replica_writes, {ReplicaWrites::kWait, ReplicaWrites::kFail}, "invalid value")},
      {"stop-timeout", w.duration(c.stop_timeout_ms, 0)},
      {"user", user_name(w, c.user)},
      {"env", w.section({{"remove", w.text_list(c.env_remove)}})},
      {"exec", [&w](const Node& node, const std::string& path) { read_exec(w, node, path); }},
      {"exit-on-error", w.boolean(c.exit_on_error)},
      {"skip-sync", w.boolean(c.skip_sync)},
      {"strict-verify", w.boolean(c.strict_verify)},
      {"log", w.section({{"format", w.choice(c.log.format, {LogFormat::kText, LogFormat::kJson}, "invalid log format")},
                         {"timestamp", w.boolean(c.log.timestamp)},
                         {"debug", w.boolean(c.log.debug)}})},
      {"tracing", w.section({{"enabled", w.boolean(c.tracing.enabled)},
                             {"path", w.text(c.tracing.path)},
                             {"max-size", w.integer(c.tracing.max_size_mb, 0)},
                             {"max-count", w.integer(c.tracing.max_count, 0)},
                             {"compress", w.boolean(c.tracing.compress)}})},
  };
}

// What concerns several keys of one section.
void check_sections(Walker& w, Config& c) {
  auto line = [&c](std::string_view key) {
    const std::string& where = c.given.find(key)->second;
    return std::stoi(where.substr(where.rfind(':') + 1));
  };
  if (!c.proxy.target.empty()) {
    int at = line("proxy.target");
    if (c.proxy.addr.empty())
      w.error(at, "proxy.addr", "proxy bind address required with proxy.target, write addr: \":8080\"");
    if (c.proxy.db.empty())
      w.error(at, "proxy.db", "proxy database name required with proxy.target, write the database's file name");
  }
  if (c.lease.type == LeaseType::kConsul && c.lease.consul.key.empty()) {
    w.error(line("lease.type"), "lease.consul.key",
            "must specify a consul key, one for each cluster, such as \"myapp/primary\"");
  }
  if (c.durability == Durability::kBackup && c.is_given("backup") && c.backup.empty()) {
    w.error(line("durability"), "durability",
            "backup needs a backup target and backup: has none, add one or write local");
  }
}

}  // namespace

SchemaResult apply_schema(const Node& root, const std::string& file, Config& config) {
  SchemaResult out;
  Walker walker(file, config, out);
  walker.map(root, "", top_fields(walker, config));
  config.http.addr_given = config.is_given("http.addr");
  check_sections(walker, config);
  return out;
}

}  // namespace caddis::config
