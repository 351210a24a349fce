// The first 100 bytes of a SQLite database file, and the byte ranges SQLite locks in it.
// Source: https://www.sqlite.org/fileformat2.html section 1.3; pager.c; os.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/bytes.h"

namespace caddis::sqlite {

inline constexpr std::string_view kMagic{"SQLite format 3\0", 16};
inline constexpr std::size_t kDbHeaderSizeBytes = 100;

// Lock bytes of the database file; they lie in the lock page (base/ids.h, lock_pgno).
inline constexpr std::uint64_t kPendingByte = 0x40000000;
inline constexpr std::uint64_t kReservedByte = kPendingByte + 1;
inline constexpr std::uint64_t kSharedFirst = kPendingByte + 2;
inline constexpr std::uint64_t kSharedSizeBytes = 510;

struct DbHeader {
  std::uint32_t page_size_bytes = 0;    // @16, stored 1 means 65536
  std::uint8_t write_version = 0;       // @18: 1 rollback journal, 2 WAL
  std::uint8_t read_version = 0;        // @19
  std::uint8_t reserved_bytes = 0;      // @20, at the end of each page
  std::uint32_t change_counter = 0;     // @24
  std::uint32_t page_count = 0;         // @28, to be believed only as database_pages() does
  std::uint32_t schema_cookie = 0;      // @40
  std::uint32_t version_valid_for = 0;  // @92
  std::uint32_t sqlite_version = 0;     // @96, e.g. 3040001

  bool is_wal() const { return write_version == 2 && read_version == 2; }
  bool operator==(const DbHeader&) const = default;
};

// nullopt: shorter than 100 bytes, without the magic, or with a page size that cannot be, that is, no database.
std::optional<DbHeader> parse_header(ByteView first_bytes);
// True for the 16 bytes every non-empty database begins with.
bool has_magic(ByteView first_bytes);

// The size of the database in pages as SQLite's pager sees it: bytes 28-31 when they are non-zero and the change
// counter equals version-valid-for, else the file size (a last partial page counts).
std::uint32_t database_pages(const DbHeader& header, std::uint64_t file_size_bytes);

}  // namespace caddis::sqlite
