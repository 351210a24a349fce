#include "fuse/file_name.h"

#include "db/engine.h"

namespace caddis::fuse {

FileName classify(std::string_view name) {
  if (name == ".primary") return {NameKind::kPrimary, name};
  if (name == ".lag") return {NameKind::kLag, name};
  if (name == ".at") return {NameKind::kReserved, name};
  struct Suffix {
    std::string_view text;
    NameKind kind;
  };
  static constexpr Suffix kSuffixes[] = {{"-journal", NameKind::kJournal},
                                         {"-wal", NameKind::kWal},
                                         {"-shm", NameKind::kShm},
                                         {"-pos", NameKind::kPos},
                                         {"-lock", NameKind::kLock}};
  for (const Suffix& suffix : kSuffixes) {
    if (!name.ends_with(suffix.text)) continue;
    std::string_view base = name.substr(0, name.size() - suffix.text.size());
    if (db::validate_name(base)) return {suffix.kind, base};
    return {NameKind::kLocal, name};
  }
  return {db::validate_name(name) ? NameKind::kFile : NameKind::kLocal, name};
}

bool has_sqlite_magic(std::string_view first_bytes) {
  return first_bytes.starts_with(std::string_view("SQLite format 3\0", 16));
}

}  // namespace caddis::fuse
