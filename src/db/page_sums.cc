#include "db/page_sums.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/check.h"
#include "ltx/crc64.h"

namespace caddis::db {
namespace {

// File, big-endian: magic "CDSSUMS1", page size u32, page count u32, TXID u64, checksum u64, epoch u64, identity flag
// u32, reserved u32, inode u64, size u64, mtime u64, then one u64 per page, then the CRC-64 of all of it.
constexpr std::string_view kMagic = "CDSSUMS1";
constexpr std::size_t kHeaderSize = 72;

}  // namespace

void PageSums::reset(std::uint32_t page_size_bytes) {
  page_size_ = page_size_bytes;
  total_ = 0;
  sums_.clear();
}

void PageSums::resize(std::uint32_t page_count) {
  for (std::size_t i = page_count; i < sums_.size(); ++i) total_ ^= sums_[i];
  sums_.resize(page_count);
}

void PageSums::set(Pgno pgno, Checksum sum) {
  CHECK(pgno.index() < sums_.size());
  std::uint64_t& slot = sums_[pgno.index()];
  total_ ^= slot ^ sum.value();
  slot = sum.value();
}

Status save_sums(os::Dir& dir, const std::string& name, const SavedSums& saved) {
  std::uint32_t pages = saved.sums.page_count();
  Bytes out(kHeaderSize + std::size_t{pages} * 8 + 8);
  std::uint8_t* p = out.data();
  std::copy(kMagic.begin(), kMagic.end(), p);
  put_be32(p + 8, saved.sums.page_size_bytes());
  put_be32(p + 12, pages);
  put_be64(p + 16, saved.position.txid.value());
  put_be64(p + 24, saved.position.checksum.value());
  put_be64(p + 32, saved.epoch);
  put_be32(p + 40, saved.identity ? 1 : 0);
  SavedSums::Identity id = saved.identity.value_or(SavedSums::Identity{});
  put_be64(p + 48, id.inode);
  put_be64(p + 56, id.size_bytes);
  put_be64(p + 64, static_cast<std::uint64_t>(id.mtime_ms));
  for (std::uint32_t i = 0; i < pages; ++i)
    put_be64(p + kHeaderSize + std::size_t{i} * 8, saved.sums.get(Pgno(i + 1)).value());
  put_be64(p + out.size() - 8, ltx::crc64(ByteView(out).first(out.size() - 8)));
  return os::write_file_durably(dir, name, out);
}

Result<SavedSums> load_sums(os::Dir& dir, const std::string& name) {
  TRY_ASSIGN(Bytes in, os::read_file(dir, name, std::uint64_t{64} << 30));
  if (in.size() < kHeaderSize + 8)
    return corrupt("checksums of {}: {} bytes, a header has {}", name, in.size(), kHeaderSize);
  const std::uint8_t* p = in.data();
  if (as_text(ByteView(in).first(8)) != kMagic) return corrupt("checksums of {}: unknown format", name);
  std::uint32_t pages = get_be32(p + 12);
  if (in.size() != kHeaderSize + std::size_t{pages} * 8 + 8) {
    return corrupt("checksums of {}: {} bytes for {} pages", name, in.size(), pages);
  }
  if (ltx::crc64(ByteView(in).first(in.size() - 8)) != get_be64(p + in.size() - 8)) {
    return corrupt("checksums of {}: damaged", name);
  }
  SavedSums saved;
  saved.sums.reset(get_be32(p + 8));
  if (pages > 0 && !valid_page_size(saved.sums.page_size_bytes())) {
    return corrupt("checksums of {}: page size {}", name, saved.sums.page_size_bytes());
  }
  saved.sums.resize(pages);
  for (std::uint32_t i = 0; i < pages; ++i) {
    saved.sums.set(Pgno(i + 1), Checksum(get_be64(p + kHeaderSize + std::size_t{i} * 8)));
  }
  saved.position = {Txid(get_be64(p + 16)), Checksum(get_be64(p + 24))};
  saved.epoch = get_be64(p + 32);
  if (get_be32(p + 40) != 0) {
    saved.identity = SavedSums::Identity{.inode = get_be64(p + 48),
                                         .size_bytes = get_be64(p + 56),
                                         .mtime_ms = static_cast<std::int64_t>(get_be64(p + 64))};
  }
  if (saved.position.txid.value() != 0 && saved.sums.total() != saved.position.checksum) {
    return corrupt("checksums of {}: total {}, position says {}", name, saved.sums.total(), saved.position.checksum);
  }
  return saved;
}

}  // namespace caddis::db
