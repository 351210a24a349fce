// Copy-on-write state of one running snapshot. Its hooks are called before a page of the image is lost: by FUSE workers
// before they overwrite the database file, by the peer before a newer frame makes an older one unreachable.
#pragma once

#include <atomic>
#include <memory>
#include <unordered_map>

#include "base/mutex.h"
#include "db/database.h"
#include "db/page_sums.h"
#include "db/snapshot.h"

namespace caddis::db {

class SnapshotCow {
 public:
  // `frames`: where the image's pages lie in `wal`; all others lie in `file`. `spill`: an unlinked scratch file.
  SnapshotCow(Position position, std::int64_t wall_ms, PageSums sums, PartFile file, PartFile wal,
              std::unordered_map<std::uint32_t, std::uint32_t> frames, std::unique_ptr<os::File> spill);

  void before_write(std::uint64_t offset, std::uint64_t length);  // FUSE workers
  void before_truncate(std::uint64_t size_bytes);                 // FUSE workers
  void before_supersede(Pgno pgno);                               // peer

  Position position() const { return position_; }
  std::int64_t wall_ms() const { return wall_ms_; }
  const PageSums& sums() const { return sums_; }
  Status read_page(Pgno pgno, ByteSpan out);  // the reader's thread

 private:
  bool wanted(Pgno pgno) EXCLUDES(mutex_);
  void save(Pgno pgno, ByteView page) EXCLUDES(mutex_);
  Result<bool> read_saved(Pgno pgno, ByteSpan out) EXCLUDES(mutex_);
  // True when `out` holds the image's page: its checksum says so.
  bool matches(Pgno pgno, ByteView page) const;
  bool read_file_page(Pgno pgno, ByteSpan out) const;
  bool read_wal_page(Pgno pgno, ByteSpan out) const;

  const Position position_;
  const std::int64_t wall_ms_;
  const PageSums sums_;
  const PartFile file_;
  const PartFile wal_;
  const std::unordered_map<std::uint32_t, std::uint32_t> frames_;
  const std::unique_ptr<os::File> spill_;
  std::atomic<std::uint32_t> cursor_{1};  // pages below have been read
  Mutex mutex_;
  std::unordered_map<std::uint32_t, std::uint64_t> saved_ GUARDED_BY(mutex_);  // pgno → offset in spill_
  std::uint64_t spill_end_ GUARDED_BY(mutex_) = 0;
  bool broken_ GUARDED_BY(mutex_) = false;  // a page could not be saved
};

}  // namespace caddis::db
