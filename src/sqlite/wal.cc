#include "sqlite/wal.h"

#include <algorithm>

#include "base/check.h"

namespace caddis::sqlite {
namespace {

constexpr std::uint32_t kWalMagic = 0x377f0682;  // bit 0: checksum words are big-endian
constexpr std::size_t kReadAheadBytes = 256 * 1024;

// Each step's s2 waits for s1 and that for the s2 before; adding the word first keeps that chain at two additions.
template <bool kSwap>
WalChecksum sum_words(const std::uint8_t* p, std::size_t n, WalChecksum s) {
  auto word = [](const std::uint8_t* at) { return kSwap ? get_be32(at) : get_le32(at); };
  for (; n >= 8; p += 8, n -= 8) {
    s.s1 = (s.s1 + word(p)) + s.s2;
    s.s2 = (s.s2 + word(p + 4)) + s.s1;
  }
  return s;
}

}  // namespace

WalChecksum wal_checksum(bool big_endian, ByteView data, WalChecksum seed) {
  CHECK(data.size() % 8 == 0);
  return big_endian ? sum_words<true>(data.data(), data.size(), seed)
                    : sum_words<false>(data.data(), data.size(), seed);
}

Result<WalHeader> parse_wal_header(ByteView b) {
  if (b.size() < kWalHeaderSizeBytes) return corrupt("wal: {} bytes, a header has {}", b.size(), kWalHeaderSizeBytes);
  std::uint32_t magic = get_be32(b.data());
  if ((magic & ~1u) != kWalMagic) return corrupt("wal: magic {:08x} is neither 377f0682 nor 377f0683", magic);
  WalHeader h;
  h.big_endian_checksums = (magic & 1) != 0;
  h.page_size_bytes = get_be32(b.data() + 8);
  h.checkpoint_sequence = get_be32(b.data() + 12);
  h.salt1 = get_be32(b.data() + 16);
  h.salt2 = get_be32(b.data() + 20);
  h.checksum = {get_be32(b.data() + 24), get_be32(b.data() + 28)};
  if (!valid_page_size(h.page_size_bytes)) return corrupt("wal: page size {}", h.page_size_bytes);
  if (wal_checksum(h.big_endian_checksums, b.first(24), {}) != h.checksum) return corrupt("wal: wrong header checksum");
  std::uint32_t version = get_be32(b.data() + 4);
  if (version != kWalVersion) {
    return make_error(ErrorCode::kUnsupported, "wal: format version {}, known is {}", version, kWalVersion);
  }
  return h;
}

WalHeaderBytes encode_wal_header(const WalHeader& h) {
  WalHeaderBytes out;
  put_be32(out.data(), kWalMagic | (h.big_endian_checksums ? 1u : 0u));
  put_be32(out.data() + 4, kWalVersion);
  put_be32(out.data() + 8, h.page_size_bytes);
  put_be32(out.data() + 12, h.checkpoint_sequence);
  put_be32(out.data() + 16, h.salt1);
  put_be32(out.data() + 20, h.salt2);
  WalChecksum sum = wal_checksum(h.big_endian_checksums, ByteView(out).first(24), {});
  put_be32(out.data() + 24, sum.s1);
  put_be32(out.data() + 28, sum.s2);
  return out;
}

WalFrameHeader parse_wal_frame_header(ByteView b) {
  CHECK(b.size() >= kWalFrameHeaderSizeBytes);
  return {.pgno = Pgno(get_be32(b.data())),
          .commit = get_be32(b.data() + 4),
          .salt1 = get_be32(b.data() + 8),
          .salt2 = get_be32(b.data() + 12),
          .checksum = {get_be32(b.data() + 16), get_be32(b.data() + 20)}};
}

WalFrameHeaderBytes encode_wal_frame_header(const WalFrameHeader& h) {
  WalFrameHeaderBytes out;
  put_be32(out.data(), h.pgno.value());
  put_be32(out.data() + 4, h.commit);
  put_be32(out.data() + 8, h.salt1);
  put_be32(out.data() + 12, h.salt2);
  put_be32(out.data() + 16, h.checksum.s1);
  put_be32(out.data() + 20, h.checksum.s2);
  return out;
}

WalChecksum frame_checksum(bool big_endian, Pgno pgno, std::uint32_t commit, ByteView page, WalChecksum previous) {
  std::array<std::uint8_t, 8> head;
  put_be32(head.data(), pgno.value());
  put_be32(head.data() + 4, commit);
  return wal_checksum(big_endian, page, wal_checksum(big_endian, head, previous));
}

WalReader::WalReader(ReadAt read_at, const WalHeader& header, WalPoint from, std::uint32_t max_frame)
    : read_at_(std::move(read_at)), header_(header), point_(from), max_frame_(max_frame) {
  CHECK(valid_page_size(header.page_size_bytes));
}

Result<ByteView> WalReader::frame_bytes() {
  if (end_ - begin_ < frame_size_bytes()) {
    // Frame numbers fit 32 bits, so this cannot run past UINT32_MAX frames.
    std::uint64_t allowed = std::uint64_t{max_frame_} - point_.frame_no;
    std::size_t batch = std::max<std::size_t>(1, kReadAheadBytes / frame_size_bytes());
    batch = static_cast<std::size_t>(std::min<std::uint64_t>(batch, allowed));
    buffer_.resize(batch * frame_size_bytes());
    TRY_ASSIGN(std::size_t n, read_at_(wal_frame_offset(point_.frame_no + 1, header_.page_size_bytes), buffer_));
    CHECK(n <= buffer_.size());
    begin_ = 0;
    end_ = n;
    if (n < frame_size_bytes()) return ByteView();
  }
  return ByteView(buffer_).subspan(begin_, frame_size_bytes());
}

Result<std::optional<WalFrame>> WalReader::next() {
  if (ended_ || point_.frame_no >= max_frame_) return std::nullopt;
  TRY_ASSIGN(ByteView bytes, frame_bytes());
  ended_ = true;
  if (bytes.empty()) return std::nullopt;
  WalFrameHeader head = parse_wal_frame_header(bytes);
  if (head.salt1 != header_.salt1 || head.salt2 != header_.salt2 || head.pgno == Pgno(0)) return std::nullopt;
  ByteView page = bytes.subspan(kWalFrameHeaderSizeBytes);
  bool big_endian = header_.big_endian_checksums;
  WalChecksum sum = wal_checksum(big_endian, page, wal_checksum(big_endian, bytes.first(8), point_.checksum));
  if (sum != head.checksum) return std::nullopt;
  ended_ = false;
  begin_ += bytes.size();
  point_ = {.frame_no = point_.frame_no + 1, .checksum = sum};
  return WalFrame{.frame_no = point_.frame_no, .pgno = head.pgno, .commit = head.commit, .page = page};
}

}  // namespace caddis::sqlite
