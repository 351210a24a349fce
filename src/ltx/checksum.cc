#include "ltx/checksum.h"

#include <array>

#include "ltx/crc64.h"

namespace caddis::ltx {

Checksum page_checksum(Pgno pgno, ByteView page) {
  std::array<std::uint8_t, 4> number;
  put_be32(number.data(), pgno.value());
  Crc64 crc;
  crc.update(number);
  crc.update(page);
  return Checksum(crc.value() | Checksum::kFlag);
}

}  // namespace caddis::ltx
