#include "db/log.h"

#include <algorithm>

#include "ltx/header.h"

namespace caddis::db {

Log::Log(os::Dir& dbs) : dbs_(dbs) {}

Result<std::vector<LogEntry>> Log::list(const std::string& name) {
  TRY_ASSIGN(std::unique_ptr<os::Dir> db, dbs_.open_dir(name));
  Result<std::unique_ptr<os::Dir>> dir = db->open_dir("ltx");
  if (!dir) {
    if (dir.error().code() == ErrorCode::kNotFound) return std::vector<LogEntry>{};
    return std::unexpected(std::move(dir).error());
  }
  TRY_ASSIGN(std::vector<std::string> files, (*dir)->list());
  std::vector<LogEntry> entries;
  for (std::string& file : files) {
    auto txids = ltx::parse_file_name(file);
    if (!txids) continue;
    Result<os::FileInfo> info = (*dir)->info(file);
    if (!info) continue;  // retention was faster
    entries.push_back({txids->first, txids->second, info->size_bytes, info->mtime_ms, std::move(file)});
  }
  std::sort(entries.begin(), entries.end(),
            [](const LogEntry& a, const LogEntry& b) { return a.max != b.max ? a.max < b.max : a.min < b.min; });
  return entries;
}

Result<std::unique_ptr<os::File>> Log::open(const std::string& name, const LogEntry& entry) {
  TRY_ASSIGN(std::unique_ptr<os::Dir> db, dbs_.open_dir(name));
  TRY_ASSIGN(std::unique_ptr<os::Dir> dir, db->open_dir("ltx"));
  return dir->open(entry.file_name, os::OpenMode::kRead);
}

Result<std::vector<LogEntry>> Log::chain(const std::string& name, Txid after, Txid upto) {
  TRY_ASSIGN(std::vector<LogEntry> all, list(name));
  std::sort(all.begin(), all.end(), [](const LogEntry& a, const LogEntry& b) { return a.min < b.min; });
  std::vector<LogEntry> chain;
  Txid at = after;
  std::size_t next = 0;
  // Of the files that continue `at` the one that reaches farthest is taken.
  while (at < upto) {
    const LogEntry* best = nullptr;
    for (; next < all.size() && all[next].min <= at.next(); ++next) {
      if (all[next].max > at && (best == nullptr || all[next].max > best->max)) best = &all[next];
    }
    if (best == nullptr) return not_found("log of {}: no file continues {}", name, at);
    chain.push_back(*best);
    at = best->max;
  }
  return chain;
}

}  // namespace caddis::db
