#include "sqlite/wal_index.h"

#include <atomic>

#include "base/check.h"

namespace caddis::sqlite {
namespace {

constexpr std::size_t kCheckedBytes = 40;  // of a copy; its last 8 are the checksum

// Shared memory is moved word by word, so that no word is seen half written.
void copy_from_shared(ByteSpan out, const std::uint8_t* shared) {
  for (std::size_t i = 0; i < out.size(); i += 4) {
    store_raw(out.data() + i, __atomic_load_n(reinterpret_cast<const std::uint32_t*>(shared + i), __ATOMIC_RELAXED));
  }
}
void copy_to_shared(std::uint8_t* shared, ByteView bytes) {
  for (std::size_t i = 0; i < bytes.size(); i += 4) {
    __atomic_store_n(reinterpret_cast<std::uint32_t*>(shared + i), load_raw<std::uint32_t>(bytes.data() + i),
                     __ATOMIC_RELAXED);
  }
}

}  // namespace

WalIndexCopyBytes encode_wal_index_header(const WalIndexHdr& h) {
  WalIndexCopyBytes out{};
  std::uint8_t* p = out.data();
  put_le32(p, h.version);
  put_le32(p + 8, h.change);
  p[12] = h.is_init ? 1 : 0;
  p[13] = h.big_endian_checksums ? 1 : 0;
  store_raw(p + 14, static_cast<std::uint16_t>((h.page_size_bytes & 0xfe00) | (h.page_size_bytes >> 16)));
  put_le32(p + 16, h.max_frame);
  put_le32(p + 20, h.pages);
  put_le32(p + 24, h.frame_checksum.s1);
  put_le32(p + 28, h.frame_checksum.s2);
  put_be32(p + 32, h.salt1);
  put_be32(p + 36, h.salt2);
  WalChecksum sum = wal_checksum(false, ByteView(out).first(kCheckedBytes), {});
  put_le32(p + 40, sum.s1);
  put_le32(p + 44, sum.s2);
  return out;
}

std::optional<WalIndexHdr> parse_wal_index_headers(ByteView b) {
  if (b.size() < kWalIndexHeadersSizeBytes) return std::nullopt;
  const std::uint8_t* p = b.data();
  if (std::memcmp(p, p + kWalIndexCopySizeBytes, kWalIndexCopySizeBytes) != 0 || p[12] == 0) return std::nullopt;
  WalChecksum stored{get_le32(p + 40), get_le32(p + 44)};
  if (wal_checksum(false, b.first(kCheckedBytes), {}) != stored) return std::nullopt;
  std::uint32_t page_size = load_raw<std::uint16_t>(p + 14);
  WalIndexHdr h;
  h.version = get_le32(p);
  h.change = get_le32(p + 8);
  h.is_init = true;
  h.big_endian_checksums = p[13] != 0;
  h.page_size_bytes = (page_size & 0xfe00) + ((page_size & 1) << 16);
  h.max_frame = get_le32(p + 16);
  h.pages = get_le32(p + 20);
  h.frame_checksum = {get_le32(p + 24), get_le32(p + 28)};
  h.salt1 = get_be32(p + 32);
  h.salt2 = get_be32(p + 36);
  return h;
}

std::optional<WalIndexHdr> load_wal_index_header(const std::uint8_t* shm) {
  WalIndexHeadersBytes bytes;
  copy_from_shared(ByteSpan(bytes).first(kWalIndexCopySizeBytes), shm);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  copy_from_shared(ByteSpan(bytes).last(kWalIndexCopySizeBytes), shm + kWalIndexCopySizeBytes);
  return parse_wal_index_headers(bytes);
}

void store_wal_index_header(std::uint8_t* shm, const WalIndexHdr& header) {
  WalIndexCopyBytes copy = encode_wal_index_header(header);
  copy_to_shared(shm + kWalIndexCopySizeBytes, copy);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  copy_to_shared(shm, copy);
}

WalCkptInfo parse_wal_ckpt_info(ByteView b) {
  CHECK(b.size() >= kWalCkptInfoSizeBytes);
  WalCkptInfo info;
  info.backfilled = get_le32(b.data());
  for (std::size_t i = 0; i < kReadMarks; ++i) info.read_marks[i] = get_le32(b.data() + 4 + 4 * i);
  info.backfill_attempted = get_le32(b.data() + 32);
  return info;
}

void encode_wal_ckpt_info(ByteSpan b, const WalCkptInfo& info) {
  CHECK(b.size() >= kWalCkptInfoSizeBytes);
  put_le32(b.data(), info.backfilled);
  for (std::size_t i = 0; i < kReadMarks; ++i) put_le32(b.data() + 4 + 4 * i, info.read_marks[i]);
  put_le32(b.data() + 32, info.backfill_attempted);
}

}  // namespace caddis::sqlite
