#include "proxy/cookies.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace caddis::proxy {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Cookies, AreFoundByTheirWholeNameAndUnquoted) {
  EXPECT_EQ(find_cookie("__txid=000000000000000a", "__txid"), "000000000000000a");
  EXPECT_EQ(find_cookie("a=b; __txid=1; __txid=2", "__txid"), "1");
  EXPECT_EQ(find_cookie("x__txid=1;\t __txid=\"2\" ;c=d", "__txid"), "2");
  EXPECT_EQ(find_cookie("__txids=1; __txid", "__txid"), std::nullopt);
  EXPECT_EQ(find_cookie("", "__txid"), std::nullopt);
  EXPECT_EQ(find_cookie("__txid=", "__txid"), "");
}

TEST(TxidCookie, Is16HexDigitsOrIgnored) {
  EXPECT_EQ(parse_txid_cookie("000000000000000a"), Txid(10));
  EXPECT_EQ(parse_txid_cookie("00000000000000FF"), Txid(255));
  for (const char* bad : {"", "a", "0000000000000000", "000000000000000g", "0000000000000000a", "+00000000000000a",
                          "00000000000000 a", "0x00000000000001"}) {
    EXPECT_EQ(parse_txid_cookie(bad), std::nullopt) << bad;
  }
}

TEST(TxidCookie, IsSetAsLiteFsDoes) {
  std::string out;
  append_txid_cookie(out, Txid(0x1f), 784111777 - kCookieLifeSeconds);
  EXPECT_EQ(out, "Set-Cookie: __txid=000000000000001f; Path=/; Expires=Sun, 06 Nov 1994 08:49:37 GMT; HttpOnly\r\n");
}

TEST(TxidsCookie, CarriesAnyNameThereAndBack) {
  std::vector<DatabaseTxid> txids = {{"cache.db", Txid(1)}, {"a;b=c, \"d\":\xc3\xa4%", Txid(0xffff'ffff'ffff'ffff)}};
  std::string out;
  append_txids_cookie(out, txids, 0);
  std::string_view value = std::string_view(out).substr(out.find('=') + 1);
  value = value.substr(0, value.find(';'));
  EXPECT_TRUE(std::all_of(value.begin(), value.end(), [](char c) {
    return c > 0x20 && c < 0x7f && std::string_view("\",;\\").find(c) == std::string_view::npos;
  })) << value;
  EXPECT_EQ(find_cookie("x=y; __caddis_txids=" + std::string(value), kTxidsCookie), value);
  EXPECT_EQ(parse_txids_cookie(value), txids);
  std::string nothing;
  append_txids_cookie(nothing, {}, 0);
  EXPECT_EQ(nothing, "");
}

TEST(TxidsCookie, LeavesOutWhatIsMalformedAndIsBounded) {
  EXPECT_THAT(parse_txids_cookie("a:1/b:0000000000000002/:0000000000000003/c/%zz:0000000000000004//"),
              ElementsAre(DatabaseTxid{"b", Txid(2)}));
  EXPECT_THAT(parse_txids_cookie(""), IsEmpty());
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "a:0000000000000001/";
  EXPECT_EQ(parse_txids_cookie(many).size(), kMaxCookieDatabases);
}

}  // namespace
}  // namespace caddis::proxy
