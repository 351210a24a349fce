#include "api/documents.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace caddis::api {
namespace {

using Json = nlohmann::ordered_json;

// Invalid UTF-8 (a database may have any name) is replaced instead of thrown at.
std::string dump(const Json& json) { return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"; }

const char* health_text(const NodeFacts& facts) { return facts.not_ready.empty() ? "ok" : facts.not_ready.c_str(); }

Json database_json(const DatabaseFacts& db) {
  return {{"name", db.name},
          {"txid", to_hex(db.position.txid)},
          {"checksum", to_hex(db.position.checksum)},
          {"pageSize", db.page_size_bytes},
          {"pages", db.page_count},
          {"lastCommitMs", db.last_commit_wall_ms}};
}

Json backup_json(const BackupFacts& backup) {
  return {{"target", backup.target},
          {"database", backup.database},
          {"txid", to_hex(backup.txid)},
          {"lagMs", backup.lag_ms},
          {"lastError", backup.last_error}};
}

std::string human_size(double bytes) {
  static constexpr std::string_view kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  for (; bytes >= 1024 && unit + 1 < std::size(kUnits); ++unit) bytes /= 1024;
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

std::string render(const Json& doc, const std::string& database, bool& found) {
  const Json& node = doc.at("node");
  const Json& lease = doc.at("lease");
  std::string primary = lease.at("primaryHostname").get<std::string>();
  std::string out =
      fmt::format("caddis {}  {}  health: {}\nrole: {} ({} lease{})  primary: {}\nmount: {} ({})  data: {}\n",
                  node.at("version").get<std::string>(), node.at("bootState").get<std::string>(),
                  node.at("health").get<std::string>(), lease.at("primary").get<bool>() ? "primary" : "replica",
                  lease.at("type").get<std::string>(), lease.at("candidate").get<bool>() ? ", candidate" : "",
                  primary.empty() ? "unknown" : primary, node.at("mountDir").get<std::string>(),
                  node.at("mountMode").get<std::string>(), node.at("dataDir").get<std::string>());
  out += fmt::format("{:<24} {:>16} {:>16} {:>10} {:>10}\n", "DATABASE", "TXID", "CHECKSUM", "PAGES", "SIZE");
  for (const Json& db : doc.at("databases")) {
    std::string name = db.at("name").get<std::string>();
    if (!database.empty() && name != database) continue;
    found = true;
    out += fmt::format("{:<24} {:>16} {:>16} {:>10} {:>10}\n", name, db.at("txid").get<std::string>(),
                       db.at("checksum").get<std::string>(), db.at("pages").get<std::uint32_t>(),
                       human_size(db.at("pages").get<double>() * db.at("pageSize").get<double>()));
  }
  for (const Json& target : doc.at("backup")) {
    std::string name = target.at("database").get<std::string>();
    if (!database.empty() && name != database) continue;
    std::string error = target.at("lastError").get<std::string>();
    out += fmt::format("backup {} {}: at {}, {}{}{}\n", target.at("target").get<std::string>(), name,
                       target.at("txid").get<std::string>(),
                       target.at("lagMs").get<std::int64_t>() == 0
                           ? std::string("up to date")
                           : fmt::format("{} ms behind", target.at("lagMs").get<std::int64_t>()),
                       error.empty() ? "" : "; last error: ", error);
  }
  if (doc.at("backup").empty()) out += "backup: none configured\n";
  return out;
}

}  // namespace

std::string info_json(const NodeFacts& facts) {
  Json doc;
  if (!facts.cluster_id.empty()) doc["clusterID"] = facts.cluster_id;
  doc["isPrimary"] = facts.primary;
  doc["candidate"] = facts.candidate;
  doc["path"] = facts.data_dir;
  doc["primary"] = {{"hostname", facts.primary_hostname}};
  doc["caddis"] = {{"version", facts.version}, {"mode", facts.mount_mode}, {"health", health_text(facts)}};
  return dump(doc);
}

std::string status_json(const NodeFacts& facts) {
  Json databases = Json::array();
  for (const DatabaseFacts& db : facts.databases) databases.push_back(database_json(db));
  Json backup = Json::array();
  for (const BackupFacts& target : facts.backup) backup.push_back(backup_json(target));
  Json doc;
  doc["node"] = {{"id", facts.node_id},
                 {"clusterID", facts.cluster_id},
                 {"version", facts.version},
                 {"commit", facts.commit},
                 {"bootState", facts.boot_state},
                 {"health", health_text(facts)},
                 {"ready", facts.not_ready.empty()},
                 {"uptimeMs", facts.uptime_ms},
                 {"mountDir", facts.mount_dir},
                 {"mountMode", facts.mount_mode},
                 {"dataDir", facts.data_dir}};
  doc["lease"] = {{"type", facts.lease_type},        {"primary", facts.primary},
                  {"candidate", facts.candidate},    {"primaryHostname", facts.primary_hostname},
                  {"primaryUrl", facts.primary_url}, {"epoch", facts.epoch}};
  doc["databases"] = std::move(databases);
  doc["backup"] = std::move(backup);
  return dump(doc);
}

std::string error_json(const std::string& message) {
  return Json{{"error", message}}.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<std::string> render_status(const std::string& json, const std::string& database) {
  try {
    bool found = database.empty();
    std::string text = render(Json::parse(json), database, found);
    if (!found) return not_found("no database \"{}\" on this node; `caddis status` lists them", database);
    return text;
  } catch (const Json::exception& e) {
    return invalid("not a caddis status document: {}", e.what());
  }
}

Result<InfoFlags> parse_info(const std::string& json) {
  try {
    Json doc = Json::parse(json);
    return InfoFlags{.primary = doc.at("isPrimary").get<bool>(), .candidate = doc.at("candidate").get<bool>()};
  } catch (const Json::exception& e) {
    return invalid("not an /info document: {}", e.what());
  }
}

}  // namespace caddis::api
