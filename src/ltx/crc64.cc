#include "ltx/crc64.h"

#include <array>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace caddis::ltx {
namespace {

constexpr std::uint64_t kPolynomial = 0xD800000000000000ull;

using Tables = std::array<std::array<std::uint64_t, 256>, 8>;

// tables[k][b]: the CRC contribution of byte b followed by k zero bytes.
constexpr Tables make_tables() {
  Tables tables{};
  for (std::uint64_t b = 0; b < 256; ++b) {
    std::uint64_t c = b;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ ((c & 1) != 0 ? kPolynomial : 0);
    tables[0][b] = c;
  }
  for (std::size_t k = 1; k < 8; ++k) {
    for (std::size_t b = 0; b < 256; ++b) tables[k][b] = tables[0][tables[k - 1][b] & 255] ^ (tables[k - 1][b] >> 8);
  }
  return tables;
}
constexpr Tables kTables = make_tables();
static_assert(kTables[0][1] == 0x01b0000000000000ull && kTables[0][255] == 0x9090000000000000ull);

}  // namespace

namespace detail {

std::uint64_t crc64_slicing(std::uint64_t state, ByteView data) {
  const std::uint8_t* p = data.data();
  std::size_t n = data.size();
  for (; n >= 8; p += 8, n -= 8) {
    std::uint64_t v = state ^ get_le64(p);
    state = kTables[7][v & 255] ^ kTables[6][(v >> 8) & 255] ^ kTables[5][(v >> 16) & 255] ^
            kTables[4][(v >> 24) & 255] ^ kTables[3][(v >> 32) & 255] ^ kTables[2][(v >> 40) & 255] ^
            kTables[1][(v >> 48) & 255] ^ kTables[0][v >> 56];
  }
  for (; n > 0; ++p, --n) state = kTables[0][(state ^ *p) & 255] ^ (state >> 8);
  return state;
}

#if defined(__x86_64__)

namespace {

// x^n mod P in the reflected representation (bit 63 is x^0).
constexpr std::uint64_t x_power(unsigned n) {
  std::uint64_t v = 1ull << 63;
  for (unsigned i = 0; i < n; ++i) v = (v >> 1) ^ ((v & 1) != 0 ? kPolynomial : 0);
  return v;
}

// Moves a 128-bit remainder `n` bits further along the message. The carry-less product of two reflected 64-bit values
// comes out multiplied by x, hence the exponents minus one.
struct FoldConstants {
  std::uint64_t low;   // for the first 8 bytes in memory, the higher powers
  std::uint64_t high;  // for the second 8 bytes
};
constexpr FoldConstants fold_by(unsigned n) { return {x_power(n + 64 - 1), x_power(n - 1)}; }
constexpr FoldConstants kFold512 = fold_by(512);
constexpr FoldConstants kFold128 = fold_by(128);

__attribute__((target("pclmul,sse4.1"))) inline __m128i load(const std::uint8_t* p) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
}
__attribute__((target("pclmul,sse4.1"))) inline __m128i constants(FoldConstants k) {
  return _mm_set_epi64x(static_cast<long long>(k.high), static_cast<long long>(k.low));
}
__attribute__((target("pclmul,sse4.1"))) inline __m128i fold(__m128i acc, __m128i k, __m128i next) {
  __m128i low = _mm_clmulepi64_si128(acc, k, 0x00);
  __m128i high = _mm_clmulepi64_si128(acc, k, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

}  // namespace

bool crc64_has_clmul() {
  static const bool has = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
  return has;
}

// Four 128-bit accumulators over 64-byte strides, folded into one; that one and the rest of the bytes go through the
// tables (a folded accumulator is simply 16 message bytes with the same remainder).
__attribute__((target("pclmul,sse4.1"))) std::uint64_t crc64_clmul(std::uint64_t state, ByteView data) {
  const std::uint8_t* p = data.data();
  std::size_t n = data.size();
  if (n < 64) return crc64_slicing(state, data);
  __m128i a0 = _mm_xor_si128(load(p), _mm_set_epi64x(0, static_cast<long long>(state)));
  __m128i a1 = load(p + 16);
  __m128i a2 = load(p + 32);
  __m128i a3 = load(p + 48);
  const __m128i k512 = constants(kFold512);
  for (p += 64, n -= 64; n >= 64; p += 64, n -= 64) {
    a0 = fold(a0, k512, load(p));
    a1 = fold(a1, k512, load(p + 16));
    a2 = fold(a2, k512, load(p + 32));
    a3 = fold(a3, k512, load(p + 48));
  }
  const __m128i k128 = constants(kFold128);
  a0 = fold(a0, k128, a1);
  a0 = fold(a0, k128, a2);
  a0 = fold(a0, k128, a3);
  for (; n >= 16; p += 16, n -= 16) a0 = fold(a0, k128, load(p));
  std::array<std::uint8_t, 32> rest;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(rest.data()), a0);
  if (n > 0) std::memcpy(rest.data() + 16, p, n);
  return crc64_slicing(0, ByteView(rest.data(), 16 + n));
}

#else

bool crc64_has_clmul() { return false; }
std::uint64_t crc64_clmul(std::uint64_t state, ByteView data) { return crc64_slicing(state, data); }

#endif

}  // namespace detail

void Crc64::update(ByteView data) {
  state_ = data.size() >= 64 && detail::crc64_has_clmul() ? detail::crc64_clmul(state_, data)
                                                          : detail::crc64_slicing(state_, data);
}

std::uint64_t crc64(ByteView data) {
  Crc64 crc;
  crc.update(data);
  return crc.value();
}

}  // namespace caddis::ltx
