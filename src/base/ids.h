// The field's numbers as types of their own, so that a page number is never taken for an index or a TXID.
#pragma once

#include <fmt/format.h>

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace caddis {

// Transaction id: 1 is the first, 0 means "none yet". Text form: 16 lower-case hex digits.
class Txid {
 public:
  constexpr Txid() = default;
  constexpr explicit Txid(std::uint64_t v) : v_(v) {}
  constexpr std::uint64_t value() const { return v_; }
  constexpr Txid next() const { return Txid(v_ + 1); }
  auto operator<=>(const Txid&) const = default;

 private:
  std::uint64_t v_ = 0;
};

// Page number: counts from 1.
class Pgno {
 public:
  constexpr Pgno() = default;
  constexpr explicit Pgno(std::uint32_t v) : v_(v) {}
  constexpr std::uint32_t value() const { return v_; }
  constexpr std::uint32_t index() const { return v_ - 1; }
  auto operator<=>(const Pgno&) const = default;

 private:
  std::uint32_t v_ = 0;
};

// Checksum of a page, a database or a file: CRC-64/ISO with bit 63 set; 0 means "not known".
class Checksum {
 public:
  static constexpr std::uint64_t kFlag = 1ull << 63;
  constexpr Checksum() = default;
  constexpr explicit Checksum(std::uint64_t v) : v_(v) {}
  constexpr std::uint64_t value() const { return v_; }
  auto operator<=>(const Checksum&) const = default;

 private:
  std::uint64_t v_ = 0;
};
inline constexpr Checksum kEmptyDatabaseChecksum{Checksum::kFlag};

// Where a database is: the last transaction and the rolling checksum of all pages after it.
// Text form (NAME-pos, without the newline): 16 hex "/" 16 hex.
struct Position {
  Txid txid;
  Checksum checksum;
  auto operator<=>(const Position&) const = default;
};

std::string to_hex(std::uint64_t v);  // 16 lower-case digits
inline std::string to_hex(Txid t) { return to_hex(t.value()); }
inline std::string to_hex(Checksum c) { return to_hex(c.value()); }
std::string to_text(const Position& p);
Result<std::uint64_t> parse_hex16(std::string_view text);  // exactly 16 hex digits, lower case

// Page number of the page that holds SQLite's lock bytes; it is never stored, replicated or summed.
constexpr Pgno lock_pgno(std::uint32_t page_size_bytes) { return Pgno(0x40000000u / page_size_bytes + 1); }
constexpr bool valid_page_size(std::uint32_t n) { return n >= 512 && n <= 65536 && (n & (n - 1)) == 0; }

}  // namespace caddis

template <>
struct fmt::formatter<caddis::Txid> : fmt::formatter<std::string_view> {
  template <class C>
  auto format(caddis::Txid v, C& ctx) const {
    return fmt::formatter<std::string_view>::format(caddis::to_hex(v), ctx);
  }
};
template <>
struct fmt::formatter<caddis::Checksum> : fmt::formatter<std::string_view> {
  template <class C>
  auto format(caddis::Checksum v, C& ctx) const {
    return fmt::formatter<std::string_view>::format(caddis::to_hex(v), ctx);
  }
};
template <>
struct fmt::formatter<caddis::Pgno> : fmt::formatter<std::uint32_t> {
  template <class C>
  auto format(caddis::Pgno v, C& ctx) const {
    return fmt::formatter<std::uint32_t>::format(v.value(), ctx);
  }
};
template <>
struct fmt::formatter<caddis::Position> : fmt::formatter<std::string_view> {
  template <class C>
  auto format(const caddis::Position& v, C& ctx) const {
    return fmt::formatter<std::string_view>::format(caddis::to_text(v), ctx);
  }
};
