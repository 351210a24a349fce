#include "base/ids.h"

namespace caddis {

std::string to_hex(std::uint64_t v) { return fmt::format("{:016x}", v); }
std::string to_text(const Position& p) { return to_hex(p.txid) + "/" + to_hex(p.checksum); }

Result<std::uint64_t> parse_hex16(std::string_view text) {
  if (text.size() != 16) return invalid("\"{}\": {} characters, 16 hex digits expected", text, text.size());
  std::uint64_t v = 0;
  for (char c : text) {
    unsigned digit = 0;
    if (c >= '0' && c <= '9')
      digit = static_cast<unsigned>(c - '0');
    else if (c >= 'a' && c <= 'f')
      digit = static_cast<unsigned>(c - 'a') + 10;
    else
      return invalid("\"{}\": '{}' is not a lower-case hex digit", text, c);
    v = v << 4 | digit;
  }
  return v;
}

}  // namespace caddis
