// Questions to SQLite about a database file that nobody has open. This module is the only user of libsqlite3.
// Blocking (pool threads). Nothing is written: the file is opened read-only and "immutable", so neither -wal nor -shm
// appears beside it, and a -wal that is there is not looked at.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/result.h"

namespace caddis::sqlcheck {

enum class IntegrityCheck { kNone, kQuick, kFull };
// "none", "quick", "full". kInvalid names the text.
Result<IntegrityCheck> parse_integrity_check(std::string_view text);
std::string_view to_text(IntegrityCheck check);

// PRAGMA quick_check or integrity_check of the whole file. kCorrupt carries SQLite's first complaint, kCancelled when
// stopped (looked at every few thousand steps of SQLite's machine). kNone does nothing. An empty file is a valid
// database.
Status check_integrity(const std::string& path, IntegrityCheck check, std::stop_token stop = {});

struct SourceInfo {
  std::uint32_t page_size_bytes = 0;
  std::uint32_t page_count = 0;
};
// Looks at a file a user wants to import. kNotFound, kCorrupt "not a database" (too short, wrong magic, a page size
// that SQLite does not know, schema unreadable). Takes a -wal beside the file into account.
Result<SourceInfo> inspect_source(const std::string& path);

}  // namespace caddis::sqlcheck
