// What a name in the mount directory can mean. Pure: no disk, no database list; whether the thing exists is another
// question (names.cc).
#pragma once

#include <cstdint>
#include <string_view>

namespace caddis::fuse {

enum class NameKind : std::uint8_t {
  kFile,      // NAME: a database, or a plain file that may become one
  kLocal,     // a plain file for ever: super-journals, etilqs_*, names that no database can have
  kWal,       // NAME-wal
  kShm,       // NAME-shm
  kJournal,   // NAME-journal
  kPos,       // NAME-pos
  kLock,      // NAME-lock
  kPrimary,   // .primary
  kLag,       // .lag
  kReserved,  // .at: ours later, nobody else's now
};

struct FileName {
  NameKind kind = NameKind::kLocal;
  std::string_view base;  // the database's name for parts, -pos and -lock; else the whole name. Views the argument.
};

// A suffix counts only when what stands before it can be a database's name; ".x-journal" is a plain file, so that
// SQLite works on a database the mount will never replicate.
FileName classify(std::string_view name);

// True for NAME-wal, -shm, -journal.
inline bool is_part(NameKind kind) {
  return kind == NameKind::kWal || kind == NameKind::kShm || kind == NameKind::kJournal;
}

// True when these bytes begin an SQLite database file (16 bytes: "SQLite format 3" and a NUL).
bool has_sqlite_magic(std::string_view first_bytes);

}  // namespace caddis::fuse
