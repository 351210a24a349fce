// Constants of LTX v3's page block and its index; not for other modules.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace caddis::ltx::detail {

inline constexpr std::size_t kPageHeaderSizeBytes = 6;  // u32 pgno, u16 flags
inline constexpr std::size_t kBlockSizeFieldBytes = 4;  // u32 size of the LZ4 block, with kPageFlagSize only
inline constexpr std::uint16_t kPageFlagSize = 0x1;     // else the payload is an LZ4 frame (ltx 0.5.0 and 0.5.1)
inline constexpr std::size_t kIndexSizeFieldBytes = 8;

// The greatest LZ4 block of one page (LZ4_compressBound); writers never exceed it.
constexpr std::uint32_t block_bound(std::uint32_t page_size_bytes) {
  return page_size_bytes + page_size_bytes / 255 + 16;
}

// Unsigned LEB128, at most 10 bytes.
inline void append_varint(Bytes& out, std::uint64_t v) {
  for (; v >= 0x80; v >>= 7) out.push_back(static_cast<std::uint8_t>(v | 0x80));
  out.push_back(static_cast<std::uint8_t>(v));
}
inline void append_index_entry(Bytes& out, std::uint32_t pgno, std::uint64_t offset, std::uint64_t size) {
  append_varint(out, pgno);
  append_varint(out, offset);
  append_varint(out, size);
}

}  // namespace caddis::ltx::detail
