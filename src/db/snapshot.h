// A consistent image of one database as of a position, read while the app goes on writing. No SQLite lock is held:
// pages that the app overwrites before they were read are saved first (copy-on-write into an unlinked file in
// caddis/tmp), so the cost is bounded by what changes meanwhile.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"

namespace caddis::db {

class SnapshotReader {  // what start_snapshot gives; destroy it to end the snapshot
 public:
  virtual ~SnapshotReader() = default;
  virtual Position position() const = 0;
  virtual std::uint32_t page_size_bytes() const = 0;
  virtual std::uint32_t page_count() const = 0;
  virtual std::int64_t wall_ms() const = 0;
  // Reads one page (page_size_bytes) as of position(). Ascending order only; the lock page reads as zeros.
  // Pool threads, one at a time. kConflict when the image can't be kept (take a new snapshot).
  virtual Status read_page(Pgno pgno, ByteSpan out) = 0;
};

}  // namespace caddis::db
