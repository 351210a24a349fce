#include "ltx/page_index.h"

#include <lz4.h>

#include <optional>

#include "ltx/buffers.h"
#include "ltx/header.h"
#include "ltx/v3_format.h"

namespace caddis::ltx {
namespace {

// Reads one LEB128 value from the front of `b`; nullopt when it does not end or does not fit 64 bits.
std::optional<std::uint64_t> take_varint(ByteView& b) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !b.empty(); shift += 7) {
    std::uint64_t byte = b.front();
    b = b.subspan(1);
    if (shift == 63 && byte > 1) return std::nullopt;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

}  // namespace

Result<std::uint64_t> index_tail_size_bytes(ByteView tail, std::uint64_t file_size_bytes) {
  constexpr std::uint64_t kRest = kHeaderSizeBytes + detail::kPageHeaderSizeBytes + kIndexFooterSizeBytes;
  if (tail.size() < kIndexFooterSizeBytes || file_size_bytes < kRest + 1 || tail.size() > file_size_bytes) {
    return corrupt("ltx page index: {} bytes of a file of {}, too few for an index", tail.size(), file_size_bytes);
  }
  std::uint64_t size = get_be64(tail.last(kIndexFooterSizeBytes).data());
  if (size == 0 || size > file_size_bytes - kRest) {
    return corrupt("ltx page index: size {} does not fit a file of {} bytes", size, file_size_bytes);
  }
  return size + kIndexFooterSizeBytes;
}

Result<std::vector<PageIndexEntry>> parse_page_index(ByteView tail, std::uint64_t file_size_bytes) {
  TRY_ASSIGN(std::uint64_t needed, index_tail_size_bytes(tail, file_size_bytes));
  if (tail.size() < needed) return corrupt("ltx page index: {} bytes given, {} needed", tail.size(), needed);
  ByteView rest = tail.last(needed).first(needed - kIndexFooterSizeBytes);
  std::uint64_t block_end = file_size_bytes - needed - detail::kPageHeaderSizeBytes;
  std::vector<PageIndexEntry> entries;
  PageIndexEntry last{.pgno = Pgno(0), .offset = kHeaderSizeBytes, .size_bytes = 0};
  while (true) {
    std::optional<std::uint64_t> pgno = take_varint(rest);
    if (pgno == 0u) break;
    std::optional<std::uint64_t> offset = take_varint(rest);
    std::optional<std::uint64_t> size = take_varint(rest);
    if (!pgno || !offset || !size) return corrupt("ltx page index: ends after page {}", last.pgno);
    if (*pgno <= last.pgno.value() || *pgno > UINT32_MAX) {
      return corrupt("ltx page index: page {} after page {}", *pgno, last.pgno);
    }
    if (*offset != last.offset + last.size_bytes || *offset > block_end || *size > block_end - *offset ||
        *size <= detail::kPageHeaderSizeBytes) {
      return corrupt("ltx page index: page {} at byte {} with {} bytes, expected byte {} and the end by {}", *pgno,
                     *offset, *size, last.offset + last.size_bytes, block_end);
    }
    last = {.pgno = Pgno(static_cast<std::uint32_t>(*pgno)), .offset = *offset, .size_bytes = *size};
    entries.push_back(last);
  }
  if (!rest.empty()) return corrupt("ltx page index: {} bytes after its end mark", rest.size());
  if (last.offset + last.size_bytes != block_end) {
    return corrupt("ltx page index: ends at byte {}, the page block at {}", last.offset + last.size_bytes, block_end);
  }
  return entries;
}

Status decompress_block(Pgno pgno, ByteView block, ByteSpan page) {
  int size = LZ4_decompress_safe(reinterpret_cast<const char*>(block.data()), reinterpret_cast<char*>(page.data()),
                                 static_cast<int>(block.size()), static_cast<int>(page.size()));
  if (size < 0) return corrupt("ltx page {}: its LZ4 block of {} bytes is damaged", pgno, block.size());
  if (static_cast<std::size_t>(size) != page.size()) {
    return corrupt("ltx page {}: inflates to {} bytes, the page size is {}", pgno, size, page.size());
  }
  return {};
}

Status decode_page_frame(ByteView frame, Pgno pgno, ByteSpan page) {
  if (frame.size() < detail::kPageHeaderSizeBytes) return corrupt("ltx page {}: frame of {} bytes", pgno, frame.size());
  Pgno stored(get_be32(frame.data()));
  if (stored != pgno) return corrupt("ltx page {}: the frame holds page {}", pgno, stored);
  std::uint16_t flags = get_be16(frame.data() + 4);
  ByteView payload = frame.subspan(detail::kPageHeaderSizeBytes);
  if (flags == 0) {
    detail::InBuffer in(source_of(payload));
    detail::FrameReader reader(in);
    TRY(reader.begin());
    TRY(reader.read(page, "page"));
    TRY(reader.finish());
    return in.expect_end();
  }
  if (flags != detail::kPageFlagSize) return corrupt("ltx page {}: flags {:#x}, known is 0x1", pgno, flags);
  if (payload.size() < detail::kBlockSizeFieldBytes ||
      get_be32(payload.data()) != payload.size() - detail::kBlockSizeFieldBytes) {
    return corrupt("ltx page {}: the frame's size field does not match its {} bytes", pgno, frame.size());
  }
  if (payload.size() - detail::kBlockSizeFieldBytes > detail::block_bound(static_cast<std::uint32_t>(page.size()))) {
    return corrupt("ltx page {}: frame of {} bytes is longer than a compressed page", pgno, frame.size());
  }
  return decompress_block(pgno, payload.subspan(detail::kBlockSizeFieldBytes), page);
}

}  // namespace caddis::ltx
