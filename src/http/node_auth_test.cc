#include "http/node_auth.h"

#include <gtest/gtest.h>

namespace caddis::http {
namespace {

NodeSecret secret(std::string_view text = "0123456789abcdef") { return NodeSecret::parse(text).value(); }

std::string hash_of(std::string_view body) {
  BodyHash hash;
  hash.update(as_bytes(body));
  return hash.hex();
}

class NodeAuth : public testing::Test {
 protected:
  ManualClock clock_;
  AuthChecker checker_{secret(), clock_};
  std::string sign(std::int64_t off_ms = 0, std::string_view body = kNoBody) {
    return secret().sign("POST", "/tx?name=a.db", body, clock_.wall_ms() + off_ms);
  }
  Result<std::string> check(std::string_view header) { return checker_.check(header, "POST", "/tx?name=a.db"); }
};

TEST_F(NodeAuth, WhatWasSignedIsTakenOnce) {
  std::string header = sign(0, hash_of("body"));
  EXPECT_EQ(check(header).value(), hash_of("body"));
  EXPECT_EQ(check(header).error().code(), ErrorCode::kDenied);
  EXPECT_EQ(check(sign()).value(), kNoBody);
}

TEST_F(NodeAuth, ANonceIsRememberedAsLongAsItsTimeCounts) {
  std::string header = sign(59'000);
  ASSERT_TRUE(check(header));
  clock_.advance(118'000);  // 59 s old now
  EXPECT_EQ(check(header).error().message(), "this request has been made before");
}

TEST_F(NodeAuth, AnotherMethodTargetOrSecretIsRefused) {
  EXPECT_FALSE(checker_.check(sign(), "GET", "/tx?name=a.db"));
  EXPECT_FALSE(checker_.check(sign(), "POST", "/tx?name=b.db"));
  AuthChecker other(secret("another secret of 16"), clock_);
  EXPECT_FALSE(other.check(sign(), "POST", "/tx?name=a.db"));
  EXPECT_FALSE(check(""));
}

TEST_F(NodeAuth, ATimeThatIsAMinuteOffIsRefused) {
  EXPECT_TRUE(check(sign(-60'000)));
  EXPECT_TRUE(check(sign(60'000)));
  EXPECT_FALSE(check(sign(-61'000)));
  EXPECT_FALSE(check(sign(61'000)));
}

TEST_F(NodeAuth, AHeaderThatIsChangedAnywhereIsRefused) {
  std::string header = sign(0, hash_of("x"));
  for (std::size_t at = 0; at < header.size(); ++at) {
    std::string changed = header;
    changed[at] = changed[at] == 'a' ? 'b' : 'a';
    EXPECT_FALSE(check(changed)) << at;
    EXPECT_FALSE(check(header.substr(0, at))) << at;
  }
  EXPECT_TRUE(check(header));
}

TEST(NodeSecret, WhiteSpaceAtItsEndsDoesNotCountAndShortOnesAreRefused) {
  ManualClock clock;
  AuthChecker checker(NodeSecret::parse(" 0123456789abcdef\n").value(), clock);
  EXPECT_TRUE(checker.check(secret().sign("GET", "/", kNoBody, clock.wall_ms()), "GET", "/"));
  EXPECT_EQ(NodeSecret::parse("0123456789abcde\n").error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(NodeSecret::parse(" \n").error().code(), ErrorCode::kInvalid);
}

TEST(BodyHash, IsSha256) {
  EXPECT_EQ(hash_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace caddis::http
