// The log facade: one record, one line on stderr, slog text (level=INFO msg="…" key=value) or JSON as LiteFS writes it.
// Any thread. Configured once by the app before threads start.
#pragma once

#include <fmt/core.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace caddis {

enum class LogLevel { kDebug, kInfo, kWarn, kError };
struct LogField {
  std::string_view key;
  std::string value;
};
struct LogOptions {
  bool json = false;
  bool timestamp = false;
  LogLevel level = LogLevel::kInfo;
};
void configure_log(const LogOptions& options);
void log_record(LogLevel level, std::string_view msg, std::initializer_list<LogField> fields = {});

inline void log_debug(std::string_view msg, std::initializer_list<LogField> f = {}) {
  log_record(LogLevel::kDebug, msg, f);
}
inline void log_info(std::string_view msg, std::initializer_list<LogField> f = {}) {
  log_record(LogLevel::kInfo, msg, f);
}
inline void log_warn(std::string_view msg, std::initializer_list<LogField> f = {}) {
  log_record(LogLevel::kWarn, msg, f);
}
inline void log_error(std::string_view msg, std::initializer_list<LogField> f = {}) {
  log_record(LogLevel::kError, msg, f);
}
// level=ERROR msg="INTENTION: CAUSE" cure="…"
inline void log_error(std::string_view intention, const Error& error, std::string_view cure = {}) {
  std::string msg = fmt::format("{}: {}", intention, error.message());
  if (cure.empty())
    log_record(LogLevel::kError, msg);
  else
    log_record(LogLevel::kError, msg, {{"cure", std::string(cure)}});
}

}  // namespace caddis
