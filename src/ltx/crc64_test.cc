#include "ltx/crc64.h"

#include <gtest/gtest.h>

#include <random>

#include "ltx/checksum.h"

namespace caddis::ltx {
namespace {

TEST(Crc64, HasTheCheckValueOfGo) {
  EXPECT_EQ(crc64(as_bytes("123456789")), 0xb90956c775a41001u);
  EXPECT_EQ(crc64({}), 0u);
}

// The definition, one bit at a time.
std::uint64_t bitwise(std::uint64_t state, ByteView data) {
  for (std::uint8_t byte : data) {
    state ^= byte;
    for (int bit = 0; bit < 8; ++bit) state = (state >> 1) ^ ((state & 1) != 0 ? 0xD800000000000000ull : 0);
  }
  return state;
}

TEST(Crc64, SlicingAndCarrylessMultiplicationAgreeAtEveryLengthAndAlignment) {
  std::mt19937_64 random(7);
  Bytes data(1024 + 16);
  for (std::uint8_t& b : data) b = static_cast<std::uint8_t>(random());
  for (std::size_t n = 0; n <= 1024; ++n) {
    ByteView view = ByteView(data).subspan(n % 16, n);
    std::uint64_t state = random();
    std::uint64_t expected = bitwise(state, view);
    ASSERT_EQ(detail::crc64_slicing(state, view), expected) << n;
    if (detail::crc64_has_clmul()) ASSERT_EQ(detail::crc64_clmul(state, view), expected) << n;
  }
}

TEST(Crc64, PiecesGiveTheSameAsTheWhole) {
  std::mt19937_64 random(8);
  Bytes data(70'000);
  for (std::uint8_t& b : data) b = static_cast<std::uint8_t>(random());
  for (int round = 0; round < 50; ++round) {
    Crc64 crc;
    for (ByteView rest = data; !rest.empty();) {
      std::size_t n = std::min<std::size_t>(rest.size(), random() % 5000);
      crc.update(rest.first(n));
      rest = rest.subspan(n);
    }
    ASSERT_EQ(crc.value(), crc64(data));
  }
}

TEST(RollingChecksum, AddThenRemoveGivesTheEmptyDatabaseAndBit63IsAlwaysSet) {
  Bytes page(512, 1);
  Checksum one = page_checksum(Pgno(1), page);
  Checksum two = page_checksum(Pgno(2), page);
  EXPECT_NE(one, two);
  RollingChecksum sum;
  sum.add(one);
  EXPECT_EQ(sum.value(), one);
  sum.add(two);
  EXPECT_NE(sum.value().value() & Checksum::kFlag, 0u);
  sum.remove(one);
  sum.replace(two, Checksum());
  EXPECT_EQ(sum.value(), kEmptyDatabaseChecksum);
}

}  // namespace
}  // namespace caddis::ltx
