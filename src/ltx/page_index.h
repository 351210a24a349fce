// Random access to one page of an LTX v3 file through the index at its end. What is read this way is covered by no
// checksum: the reader must know the page's checksum from elsewhere or accept that.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"

namespace caddis::ltx {

struct PageIndexEntry {
  Pgno pgno;
  std::uint64_t offset = 0;      // of the page frame, from the start of the file
  std::uint64_t size_bytes = 0;  // of the page frame: header, size field, payload
  bool operator==(const PageIndexEntry&) const = default;
};

// The last 24 bytes of a file say how many bytes at its end hold index and trailer.
inline constexpr std::size_t kIndexFooterSizeBytes = 24;
// How much of the file's end parse_page_index needs. `tail`: at least the last 24 bytes.
// Errors: kCorrupt when the claim does not fit the file.
Result<std::uint64_t> index_tail_size_bytes(ByteView tail, std::uint64_t file_size_bytes);
// Entries by ascending page number. `tail`: the file's last bytes, at least index_tail_size_bytes() of them.
// Errors: kCorrupt when entries are out of order, overlap or lie outside the page block.
Result<std::vector<PageIndexEntry>> parse_page_index(ByteView tail, std::uint64_t file_size_bytes);

// Decompresses one page frame (both forms) into `page`, whose size is the page size.
// Errors: kCorrupt when the frame holds another page or does not inflate to exactly one page.
Status decode_page_frame(ByteView frame, Pgno pgno, ByteSpan page);

// One raw LZ4 block to exactly one page. Errors: kCorrupt.
Status decompress_block(Pgno pgno, ByteView block, ByteSpan page);

}  // namespace caddis::ltx
