#include "db/snapshot_cow.h"

#include <algorithm>

#include "ltx/checksum.h"
#include "sqlite/wal.h"

namespace caddis::db {

SnapshotCow::SnapshotCow(Position position, std::int64_t wall_ms, PageSums sums, PartFile file, PartFile wal,
                         std::unordered_map<std::uint32_t, std::uint32_t> frames, std::unique_ptr<os::File> spill)
    : position_(position),
      wall_ms_(wall_ms),
      sums_(std::move(sums)),
      file_(std::move(file)),
      wal_(std::move(wal)),
      frames_(std::move(frames)),
      spill_(std::move(spill)) {}

bool SnapshotCow::matches(Pgno pgno, ByteView page) const { return ltx::page_checksum(pgno, page) == sums_.get(pgno); }

bool SnapshotCow::read_file_page(Pgno pgno, ByteSpan out) const {
  Result<std::size_t> got = file_->pread(out, std::uint64_t{pgno.index()} * out.size());
  if (!got) return false;
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(*got), out.end(), std::uint8_t{0});
  return matches(pgno, out);
}

bool SnapshotCow::read_wal_page(Pgno pgno, ByteSpan out) const {
  auto frame = frames_.find(pgno.value());
  if (wal_ == nullptr || frame == frames_.end()) return false;
  std::uint64_t at =
      sqlite::wal_frame_offset(frame->second, sums_.page_size_bytes()) + sqlite::kWalFrameHeaderSizeBytes;
  Result<std::size_t> got = wal_->pread(out, at);
  return got && *got == out.size() && matches(pgno, out);
}

bool SnapshotCow::wanted(Pgno pgno) {
  if (pgno.value() < cursor_.load(std::memory_order_acquire) || pgno.value() > sums_.page_count()) return false;
  if (pgno == lock_pgno(sums_.page_size_bytes())) return false;
  MutexLock lock(mutex_);
  return !saved_.contains(pgno.value()) && !broken_;
}

void SnapshotCow::save(Pgno pgno, ByteView page) {
  std::uint64_t at = 0;
  {
    MutexLock lock(mutex_);
    at = spill_end_;
    spill_end_ += page.size();
  }
  Status done = spill_->pwrite(page, at);
  MutexLock lock(mutex_);
  if (done)
    saved_.emplace(pgno.value(), at);
  else
    broken_ = true;  // a full disk must not fail the app's write: the snapshot is given up instead
}

void SnapshotCow::before_write(std::uint64_t offset, std::uint64_t length) {
  std::uint32_t size = sums_.page_size_bytes();
  if (size == 0 || length == 0) return;
  Bytes page(size);
  std::uint64_t last = std::min<std::uint64_t>((offset + length - 1) / size + 1, sums_.page_count());
  for (std::uint64_t p = offset / size + 1; p <= last; ++p) {
    Pgno pgno(static_cast<std::uint32_t>(p));
    if (wanted(pgno) && read_file_page(pgno, page)) save(pgno, page);
  }
}

void SnapshotCow::before_truncate(std::uint64_t size_bytes) {
  std::uint64_t end = std::uint64_t{sums_.page_count()} * sums_.page_size_bytes();
  if (size_bytes < end) before_write(size_bytes, end - size_bytes);
}

void SnapshotCow::before_supersede(Pgno pgno) {
  if (!frames_.contains(pgno.value()) || !wanted(pgno)) return;
  Bytes page(sums_.page_size_bytes());
  if (read_wal_page(pgno, page)) save(pgno, page);
}

Result<bool> SnapshotCow::read_saved(Pgno pgno, ByteSpan out) {
  std::uint64_t at = 0;
  {
    MutexLock lock(mutex_);
    auto it = saved_.find(pgno.value());
    if (it == saved_.end()) return false;
    at = it->second;
  }
  TRY(os::read_exactly(*spill_, out, at));
  return true;
}

Status SnapshotCow::read_page(Pgno pgno, ByteSpan out) {
  if (pgno == lock_pgno(sums_.page_size_bytes())) {
    std::fill(out.begin(), out.end(), std::uint8_t{0});
    return {};
  }
  // A page may be saved between two looks: whoever overwrites it saves it first, so the last look finds it.
  for (int look = 0; look < 3; ++look) {
    TRY_ASSIGN(bool saved, read_saved(pgno, out));
    if (saved || read_file_page(pgno, out) || read_wal_page(pgno, out)) {
      cursor_.store(pgno.value() + 1, std::memory_order_release);
      return {};
    }
  }
  return make_error(ErrorCode::kConflict, "snapshot at {}: page {} is gone", position_.txid, pgno);
}

}  // namespace caddis::db
