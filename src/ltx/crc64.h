// CRC-64/ISO as Go's hash/crc64 computes it with crc64.ISO: reflected polynomial 0xD800000000000000, initial value and
// final XOR all ones. Check value: "123456789" -> b90956c775a41001; the empty input -> 0.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace caddis::ltx {

// A running CRC; value() may be asked at any time and does not end it.
class Crc64 {
 public:
  void update(ByteView data);
  std::uint64_t value() const { return ~state_; }

 private:
  std::uint64_t state_ = ~0ull;
};

std::uint64_t crc64(ByteView data);

namespace detail {
// The two implementations behind Crc64, on the inverted state; exposed so that the tests can compare them.
std::uint64_t crc64_slicing(std::uint64_t state, ByteView data);
bool crc64_has_clmul();                                         // x86-64 with PCLMULQDQ
std::uint64_t crc64_clmul(std::uint64_t state, ByteView data);  // only when crc64_has_clmul()
}  // namespace detail

}  // namespace caddis::ltx
