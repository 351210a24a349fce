// Page and database checksums of LTX. Both have bit 63 set; 0 means "not known" or "no such page".
#pragma once

#include "base/bytes.h"
#include "base/ids.h"

namespace caddis::ltx {

// Bit 63 | crc64(u32 big-endian pgno, page bytes).
Checksum page_checksum(Pgno pgno, ByteView page);

// The database checksum after one page changed: old_page out, new_page in, bit 63 set. Checksum() as old_page means the
// page is new, as new_page that it was truncated away. The database checksum is the XOR of all its page checksums
// without the lock page; an empty database has kEmptyDatabaseChecksum. Leaving the lock page out is the caller's part.
constexpr Checksum fold(Checksum database, Checksum old_page, Checksum new_page) {
  return Checksum((database.value() ^ old_page.value() ^ new_page.value()) | Checksum::kFlag);
}

// A database checksum built page by page, or kept up to date.
class RollingChecksum {
 public:
  RollingChecksum() = default;
  explicit RollingChecksum(Checksum database) : value_(database) {}
  void add(Checksum page) { value_ = fold(value_, Checksum(), page); }
  void remove(Checksum page) { value_ = fold(value_, page, Checksum()); }
  void replace(Checksum old_page, Checksum new_page) { value_ = fold(value_, old_page, new_page); }
  Checksum value() const { return value_; }

 private:
  Checksum value_ = kEmptyDatabaseChecksum;
};

}  // namespace caddis::ltx
