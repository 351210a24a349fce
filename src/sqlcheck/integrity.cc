#include "sqlcheck/integrity.h"

#include <cerrno>

#include "sqlcheck/connection.h"

namespace caddis::sqlcheck {
namespace {

constexpr int kStepsBetweenLooks = 4000;

// A path as SQLite's URI: what could end the path or start an escape is percent-encoded.
std::string to_uri(const std::string& path, const std::string& query) {
  std::string uri = "file:";
  for (char c : path) {
    if (c == '%' || c == '?' || c == '#')
      uri += fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    else
      uri += c;
  }
  if (!query.empty()) uri += "?" + query;
  return uri;
}

ErrorCode code_of(int sqlite_code) {
  switch (sqlite_code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return ErrorCode::kBusy;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return ErrorCode::kCorrupt;
    case SQLITE_FULL:
      return ErrorCode::kNoSpace;
    case SQLITE_READONLY:
      return ErrorCode::kReadOnly;
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return ErrorCode::kDenied;
    case SQLITE_INTERRUPT:
      return ErrorCode::kCancelled;
    default:
      return ErrorCode::kIo;
  }
}

}  // namespace

Error sqlite_error(sqlite3* db, int code, const std::string& intention) {
  const char* text = db != nullptr ? sqlite3_errmsg(db) : sqlite3_errstr(code);
  int sys = db != nullptr ? sqlite3_system_errno(db) : 0;
  ErrorCode mapped = code_of(code);
  if (mapped == ErrorCode::kIo && sys == ENOENT) mapped = ErrorCode::kNotFound;
  return Error(mapped, fmt::format("{}: {}", intention, text), sys);
}

Result<Connection> open_connection(const std::string& path, int flags, const std::string& query) {
  sqlite3* raw = nullptr;
  int rc = sqlite3_open_v2(to_uri(path, query).c_str(), &raw, flags | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX, nullptr);
  Connection db(raw);
  if (rc != SQLITE_OK) return std::unexpected(sqlite_error(raw, rc, "open " + path));
  return db;
}

Result<IntegrityCheck> parse_integrity_check(std::string_view text) {
  if (text == "none") return IntegrityCheck::kNone;
  if (text == "quick") return IntegrityCheck::kQuick;
  if (text == "full") return IntegrityCheck::kFull;
  return invalid("integrity check \"{}\": it is none, quick or full", text);
}

std::string_view to_text(IntegrityCheck check) {
  switch (check) {
    case IntegrityCheck::kNone:
      return "none";
    case IntegrityCheck::kQuick:
      return "quick";
    case IntegrityCheck::kFull:
      return "full";
  }
  return "none";
}

Status check_integrity(const std::string& path, IntegrityCheck check, std::stop_token stop) {
  if (check == IntegrityCheck::kNone) return {};
  TRY_ASSIGN(Connection db, open_connection(path, SQLITE_OPEN_READONLY, "immutable=1"));
  auto stopped = [](void* arg) { return static_cast<std::stop_token*>(arg)->stop_requested() ? 1 : 0; };
  sqlite3_progress_handler(db.get(), kStepsBetweenLooks, stopped, &stop);
  const char* sql = check == IntegrityCheck::kQuick ? "PRAGMA quick_check(1)" : "PRAGMA integrity_check(1)";
  std::string intention = fmt::format("{} check of {}", to_text(check), path);
  sqlite3_stmt* raw = nullptr;
  int rc = sqlite3_prepare_v2(db.get(), sql, -1, &raw, nullptr);
  Statement statement(raw);
  if (rc != SQLITE_OK) return std::unexpected(sqlite_error(db.get(), rc, intention));
  rc = sqlite3_step(raw);
  if (stop.stop_requested()) return make_error(ErrorCode::kCancelled, "{}: stopped", intention);
  if (rc != SQLITE_ROW) return std::unexpected(sqlite_error(db.get(), rc, intention));
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(raw, 0));
  std::string answer = text != nullptr ? text : "no answer";
  if (answer == "ok") return {};
  for (char& c : answer) {
    if (c == '\n') c = ' ';  // "*** in database main *** <newline> …": an error is one line
  }
  return corrupt("{}: {}", intention, answer);
}

Result<SourceInfo> inspect_source(const std::string& path) {
  TRY_ASSIGN(Connection db, open_connection(path, SQLITE_OPEN_READONLY, ""));
  SourceInfo info;
  auto number = [&](const char* sql) -> Result<std::uint32_t> {
    sqlite3_stmt* raw = nullptr;
    int rc = sqlite3_prepare_v2(db.get(), sql, -1, &raw, nullptr);
    Statement statement(raw);
    if (rc == SQLITE_OK) rc = sqlite3_step(raw);
    if (rc != SQLITE_ROW) return std::unexpected(sqlite_error(db.get(), rc, path));
    return static_cast<std::uint32_t>(sqlite3_column_int64(raw, 0));
  };
  TRY(number("SELECT count(*) FROM sqlite_schema"));  // reads page 1: magic and page size are checked here
  TRY_ASSIGN(info.page_size_bytes, number("PRAGMA page_size"));
  TRY_ASSIGN(info.page_count, number("PRAGMA page_count"));
  if (info.page_count == 0) return corrupt("{}: it is empty, not a database", path);
  return info;
}

}  // namespace caddis::sqlcheck
