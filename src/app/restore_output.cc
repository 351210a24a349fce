#include "app/restore_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "backup/rfc3339.h"

namespace caddis::app {

Result<ReplicaUrl> split_replica_url(std::string_view url) {
  std::string_view query;
  std::string_view base = url;
  if (auto mark = url.find('?'); mark != std::string_view::npos) {
    base = url.substr(0, mark);
    query = url.substr(mark);
  }
  auto wrong = [&] {
    return invalid("{}: it must name a database in a target, such as s3://BUCKET/PREFIX/app.db", base);
  };
  auto scheme = base.find("://");
  if (scheme == std::string_view::npos) return wrong();
  std::size_t path = scheme + 3;  // host and path; file URLs have no host
  while (base.ends_with('/') && base.size() > path + 1) base.remove_suffix(1);
  auto slash = base.rfind('/');
  if (slash == std::string_view::npos || slash < path || slash + 1 == base.size()) return wrong();
  std::string_view parent = base.substr(0, slash);
  if (parent.size() == path) parent = base.substr(0, slash + 1);  // file:///app.db
  return ReplicaUrl{std::string(parent) + std::string(query), std::string(base.substr(slash + 1))};
}

std::string format_bytes(std::uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  const char* unit = "KiB";
  double value = static_cast<double>(bytes) / 1024;
  for (const char* next : {"MiB", "GiB", "TiB"}) {
    if (value < 1024) break;
    value /= 1024;
    unit = next;
  }
  return fmt::format("{:.1f} {}", value, unit);
}

std::string progress_line(std::string_view name, std::uint64_t done_bytes, std::uint64_t total_bytes,
                          std::int64_t elapsed_ms, int columns) {
  double part = total_bytes == 0 ? 0 : static_cast<double>(done_bytes) / static_cast<double>(total_bytes);
  std::string tail =
      fmt::format(" {:3.0f} %  {} of {}", part * 100, format_bytes(done_bytes), format_bytes(total_bytes));
  if (elapsed_ms >= 500 && done_bytes > 0) {
    double per_second = static_cast<double>(done_bytes) * 1000 / static_cast<double>(elapsed_ms);
    auto left_s = static_cast<std::uint64_t>(
        static_cast<double>(total_bytes - std::min(done_bytes, total_bytes)) / per_second + 0.5);
    tail += fmt::format("  {}/s  ETA {}:{:02}", format_bytes(static_cast<std::uint64_t>(per_second)), left_s / 60,
                        left_s % 60);
  }
  int room = columns - 1 - static_cast<int>(name.size()) - static_cast<int>(tail.size()) - 3;
  std::string line(name);
  if (room >= 10) {
    int width = std::min(room, 40);
    int full = std::clamp(static_cast<int>(part * width), 0, width);
    line += " [" + std::string(static_cast<std::size_t>(full), '#') +
            std::string(static_cast<std::size_t>(width - full), '-') + "]";
  }
  line += tail;
  if (columns > 1 && line.size() >= static_cast<std::size_t>(columns))
    line.resize(static_cast<std::size_t>(columns) - 1);
  return line;
}

std::string plan_text(const backup::RestorePlan& plan, std::string_view output_path) {
  std::string text = fmt::format("{:5} {:16} {:16} {:>10} {}\n", "level", "min_txid", "max_txid", "size", "created");
  for (const backup::ObjectInfo& o : plan.objects) {
    text += fmt::format("{:5} {} {} {:>10} {}\n", o.level, o.min, o.max, o.size_bytes,
                        backup::format_rfc3339(o.created_ms));
  }
  text += fmt::format("would restore TXID {} to {}: {} objects, {}\n", plan.txid, output_path, plan.objects.size(),
                      format_bytes(plan.total_bytes));
  return text;
}

std::string plan_json(const backup::RestorePlan& plan, std::string_view output_path, std::string_view replica) {
  nlohmann::ordered_json doc;
  doc["db_path"] = output_path;
  doc["replica"] = replica;
  doc["txid"] = to_hex(plan.txid);
  doc["dry_run"] = true;
  doc["total_bytes"] = plan.total_bytes;
  doc["files"] = nlohmann::ordered_json::array();
  for (const backup::ObjectInfo& o : plan.objects) {
    nlohmann::ordered_json file;
    file["level"] = o.level;
    file["min_txid"] = to_hex(o.min);
    file["max_txid"] = to_hex(o.max);
    file["size"] = o.size_bytes;
    file["created"] = backup::format_rfc3339(o.created_ms);
    doc["files"].push_back(std::move(file));
  }
  return doc.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string report_json(const RestoreReport& report) {
  nlohmann::ordered_json doc;
  doc["db_path"] = report.db_path;
  doc["replica"] = report.replica;
  doc["txid"] = report.txid;
  doc["duration_ms"] = report.duration_ms;
  doc["integrity_check"] = report.integrity_check;
  doc["checksum"] = report.checksum;
  doc["timestamp"] = report.timestamp;
  doc["size_bytes"] = report.size_bytes;
  return doc.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace caddis::app
