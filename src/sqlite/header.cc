#include "sqlite/header.h"

#include <algorithm>

#include "base/ids.h"
#include "sqlite/read_at.h"

namespace caddis::sqlite {

ReadAt read_at_of(ByteView bytes) {
  return [bytes](std::uint64_t offset, ByteSpan out) -> Result<std::size_t> {
    if (offset >= bytes.size()) return std::size_t{0};
    std::size_t n = std::min(out.size(), bytes.size() - static_cast<std::size_t>(offset));
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(offset), n, out.begin());
    return n;
  };
}

bool has_magic(ByteView b) { return b.size() >= kMagic.size() && as_text(b.first(kMagic.size())) == kMagic; }

std::optional<DbHeader> parse_header(ByteView b) {
  if (b.size() < kDbHeaderSizeBytes || !has_magic(b)) return std::nullopt;
  DbHeader h;
  h.page_size_bytes = get_be16(b.data() + 16);
  if (h.page_size_bytes == 1) h.page_size_bytes = 65536;
  if (!valid_page_size(h.page_size_bytes)) return std::nullopt;
  h.write_version = b[18];
  h.read_version = b[19];
  h.reserved_bytes = b[20];
  h.change_counter = get_be32(b.data() + 24);
  h.page_count = get_be32(b.data() + 28);
  h.schema_cookie = get_be32(b.data() + 40);
  h.version_valid_for = get_be32(b.data() + 92);
  h.sqlite_version = get_be32(b.data() + 96);
  return h;
}

std::uint32_t database_pages(const DbHeader& h, std::uint64_t file_size_bytes) {
  if (h.page_count != 0 && h.change_counter == h.version_valid_for) return h.page_count;
  return static_cast<std::uint32_t>((file_size_bytes + h.page_size_bytes - 1) / h.page_size_bytes);
}

}  // namespace caddis::sqlite
