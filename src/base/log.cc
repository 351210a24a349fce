#include "base/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <ctime>
#include <memory>

namespace caddis {
namespace {

LogOptions g_options;  // written once before threads start

spdlog::logger& logger() {
  static std::shared_ptr<spdlog::logger> instance = [] {
    auto l = std::make_shared<spdlog::logger>("caddis", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    l->set_pattern("%v");
    l->set_level(spdlog::level::trace);
    l->flush_on(spdlog::level::trace);
    return l;
  }();
  return *instance;
}

std::string_view level_name(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "DEBUG";
    case LogLevel::kInfo:
      return "INFO";
    case LogLevel::kWarn:
      return "WARN";
    case LogLevel::kError:
      return "ERROR";
  }
  return "INFO";
}

// RFC 3339 with milliseconds, UTC.
std::string timestamp() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, now.tv_nsec / 1'000'000);
}

// Quoted, with control characters, quotes and backslashes escaped: a record is one line whatever it holds.
void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    } else {
      out += c;
    }
  }
  out += '"';
}

bool needs_quotes(std::string_view text) {
  if (text.empty()) return true;
  for (char c : text) {
    if (c <= ' ' || c == '"' || c == '=' || c == '\\' || c == 0x7f) return true;
  }
  return false;
}

}  // namespace

void configure_log(const LogOptions& options) { g_options = options; }

void log_record(LogLevel level, std::string_view msg, std::initializer_list<LogField> fields) {
  if (level < g_options.level) return;
  std::string line;
  if (g_options.json) {
    line += '{';
    if (g_options.timestamp) line += fmt::format("\"time\":\"{}\",", timestamp());
    line += fmt::format("\"level\":\"{}\",\"msg\":", level_name(level));
    append_quoted(line, msg);
    for (const LogField& f : fields) {
      line += ',';
      append_quoted(line, f.key);
      line += ':';
      append_quoted(line, f.value);
    }
    line += '}';
  } else {
    if (g_options.timestamp) line += fmt::format("time={} ", timestamp());
    line += fmt::format("level={} msg=", level_name(level));
    if (needs_quotes(msg))
      append_quoted(line, msg);
    else
      line += msg;
    for (const LogField& f : fields) {
      line += fmt::format(" {}=", f.key);
      if (needs_quotes(f.value))
        append_quoted(line, f.value);
      else
        line += f.value;
    }
  }
  logger().log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace caddis
