// Bytes in a stated order. `Bytes` is an owned buffer, `ByteView` and `ByteSpan` are borrowed ones.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace caddis {

using Bytes = std::vector<std::uint8_t>;
using ByteView = std::span<const std::uint8_t>;
using ByteSpan = std::span<std::uint8_t>;

template <class T>
T load_raw(const std::uint8_t* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
void store_raw(std::uint8_t* p, T v) {
  std::memcpy(p, &v, sizeof v);
}
inline std::uint16_t bswap(std::uint16_t v) { return __builtin_bswap16(v); }
inline std::uint32_t bswap(std::uint32_t v) { return __builtin_bswap32(v); }
inline std::uint64_t bswap(std::uint64_t v) { return __builtin_bswap64(v); }
static_assert(std::endian::native == std::endian::little, "caddis is built for little-endian machines");

inline std::uint16_t get_be16(const std::uint8_t* p) { return bswap(load_raw<std::uint16_t>(p)); }
inline std::uint32_t get_be32(const std::uint8_t* p) { return bswap(load_raw<std::uint32_t>(p)); }
inline std::uint64_t get_be64(const std::uint8_t* p) { return bswap(load_raw<std::uint64_t>(p)); }
inline std::uint32_t get_le32(const std::uint8_t* p) { return load_raw<std::uint32_t>(p); }
inline std::uint64_t get_le64(const std::uint8_t* p) { return load_raw<std::uint64_t>(p); }
inline void put_be16(std::uint8_t* p, std::uint16_t v) { store_raw(p, bswap(v)); }
inline void put_be32(std::uint8_t* p, std::uint32_t v) { store_raw(p, bswap(v)); }
inline void put_be64(std::uint8_t* p, std::uint64_t v) { store_raw(p, bswap(v)); }
inline void put_le32(std::uint8_t* p, std::uint32_t v) { store_raw(p, v); }
inline void put_le64(std::uint8_t* p, std::uint64_t v) { store_raw(p, v); }

inline ByteView as_bytes(std::string_view s) { return {reinterpret_cast<const std::uint8_t*>(s.data()), s.size()}; }
inline std::string_view as_text(ByteView b) { return {reinterpret_cast<const char*>(b.data()), b.size()}; }
inline void append(Bytes& out, ByteView more) { out.insert(out.end(), more.begin(), more.end()); }

}  // namespace caddis
