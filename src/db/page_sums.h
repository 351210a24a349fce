// The checksum of every page of one database and their rolling XOR, in memory, with the side file that saves a boot
// from reading the database. Peer thread; not synchronised.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "os/file.h"

namespace caddis::db {

class PageSums {
 public:
  std::uint32_t page_size_bytes() const { return page_size_; }
  std::uint32_t page_count() const { return static_cast<std::uint32_t>(sums_.size()); }
  // 0 when the page is beyond the end, or is the lock page.
  Checksum get(Pgno pgno) const { return pgno.index() < sums_.size() ? Checksum(sums_[pgno.index()]) : Checksum(); }
  Checksum total() const { return Checksum(total_ | Checksum::kFlag); }
  // Forgets everything; the next pages have this size.
  void reset(std::uint32_t page_size_bytes);
  // Grows with unset pages, or drops the pages beyond the end from the total.
  void resize(std::uint32_t page_count);
  void set(Pgno pgno, Checksum sum);

 private:
  std::uint32_t page_size_ = 0;
  std::uint64_t total_ = 0;
  std::vector<std::uint64_t> sums_;
};

// What the side file caddis/sums/NAME says. It holds the sums as of `position`; every page of that position was in the
// database file and synced when it was written. `identity`, when set, is the database file at a clean stop: another
// size, mtime or inode at boot means that somebody else wrote it.
struct SavedSums {
  PageSums sums;
  Position position;
  struct Identity {
    std::uint64_t inode = 0;
    std::uint64_t size_bytes = 0;
    std::int64_t mtime_ms = 0;
    auto operator<=>(const Identity&) const = default;
  };
  std::optional<Identity> identity;
  std::uint64_t epoch = 0;
};

// Writes NAME.tmp, fsyncs, renames, fsyncs the directory. The database file was synced before (see SavedSums).
Status save_sums(os::Dir& dir, const std::string& name, const SavedSums& saved);
// Errors: kNotFound; kCorrupt when any byte of it is not as written (the caller then reads the whole database).
Result<SavedSums> load_sums(os::Dir& dir, const std::string& name);

}  // namespace caddis::db
