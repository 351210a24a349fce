#include "proxy/pieces.h"

#include <gtest/gtest.h>

namespace caddis::proxy {
namespace {

using Kind = http::BodyFraming::Kind;

// Feeds wire in steps; what would be written. "!400" at the end for an error, "|" after each write.
std::string relayed(std::string_view wire, http::BodyFraming framing, bool chunked, std::size_t step,
                    std::string_view head = {}) {
  http::BodyDecoder decoder(framing);
  std::string out, pending;
  bool first = true;
  for (std::size_t at = 0;; at += step) {
    pending += wire.substr(std::min(at, wire.size()), step);
    for (;;) {
      Pieces p;
      auto ok = p.gather(decoder, as_bytes(pending), chunked, first ? head : std::string_view());
      if (!ok) return out + "!" + std::to_string(ok.error().status);
      std::size_t size = 0;
      EXPECT_LE(p.parts().size(), 8u);
      for (ByteView part : p.parts()) {
        EXPECT_FALSE(part.empty());
        out += as_text(part);
        size += part.size();
      }
      EXPECT_EQ(size, p.size());
      if (p.size() > 0) out += "|";
      first = false;
      pending.erase(0, p.consumed());
      if (p.done()) return out + (pending.empty() ? "" : "+" + pending);
      if (p.consumed() == 0) break;
    }
    if (at >= wire.size()) return out + "…";
  }
}

TEST(Pieces, LeaveWithTheHeadInOneWrite) {
  EXPECT_EQ(relayed("hello", {Kind::kLength, 5}, false, 100, "HEAD "), "HEAD hello|");
  EXPECT_EQ(relayed("5\r\nhello\r\n0\r\n\r\n", {Kind::kChunked}, true, 100, "HEAD "), "HEAD 5\r\nhello\r\n0\r\n\r\n|");
  EXPECT_EQ(relayed("", {Kind::kNone}, false, 100, "HEAD "), "HEAD |");
  EXPECT_EQ(relayed("0\r\n\r\n", {Kind::kChunked}, true, 100, "HEAD "), "HEAD 0\r\n\r\n|");
  EXPECT_EQ(relayed("", {Kind::kChunked}, true, 100, "HEAD "), "HEAD |…");
}

TEST(Pieces, JoinSmallChunksAndDropExtensionsAndTrailers) {
  EXPECT_EQ(relayed("1;a=b\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\nX: y\r\n\r\nnext", {Kind::kChunked}, true, 100),
            "3\r\nabc\r\n0\r\n\r\n|+next");
  EXPECT_EQ(relayed("1\r\na\r\n1\r\nb\r\n0\r\n\r\n", {Kind::kChunked}, false, 100), "ab|");
  std::string many, plain;
  for (int i = 0; i < 20; ++i) many += "1\r\nx\r\n";
  EXPECT_EQ(relayed(many + "0\r\n\r\n", {Kind::kChunked}, true, 1000),
            "6\r\nxxxxxx\r\n|6\r\nxxxxxx\r\n|6\r\nxxxxxx\r\n|2\r\nxx\r\n0\r\n\r\n|");
}

TEST(Pieces, ComeOutRightHoweverTheBytesArrive) {
  std::string wire = "b\r\nhello world\r\n2\r\n, \r\n3\r\nyes\r\n0\r\n\r\n";
  for (std::size_t step = 1; step < wire.size(); ++step) {
    std::string plain = relayed(wire, {Kind::kChunked}, false, step);
    std::erase(plain, '|');
    EXPECT_EQ(plain, "hello world, yes");
    std::string again = relayed(wire, {Kind::kChunked}, true, step);
    std::erase(again, '|');
    plain = relayed(again, {Kind::kChunked}, false, step);
    std::erase(plain, '|');
    EXPECT_EQ(plain, "hello world, yes") << again;
  }
}

TEST(Pieces, LeaveWhatBelongsToTheNextMessage) {
  EXPECT_EQ(relayed("hellonext", {Kind::kLength, 5}, true, 100), "5\r\nhello\r\n0\r\n\r\n|+next");
  EXPECT_EQ(relayed("hello", {Kind::kLength, 9}, false, 2), "he|ll|o|…");
  EXPECT_EQ(relayed("abc", {Kind::kUntilClose}, true, 2), "2\r\nab\r\n|1\r\nc\r\n|…");
}

TEST(Pieces, RefuseBrokenFraming) {
  EXPECT_EQ(relayed("5\r\nhelloX\r\n0\r\n\r\n", {Kind::kChunked}, true, 100), "!400");
  EXPECT_EQ(relayed("zz\r\n", {Kind::kChunked}, false, 100), "!400");
}

}  // namespace
}  // namespace caddis::proxy
