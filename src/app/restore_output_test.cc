#include "app/restore_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace caddis::app {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

void expect_split(std::string_view url, std::string_view target, std::string_view name) {
  auto split = split_replica_url(url);
  ASSERT_TRUE(split) << split.error().message();
  EXPECT_EQ(split->target, target);
  EXPECT_EQ(split->name, name);
}

TEST(SplitReplicaUrl, LastPathPartIsTheDatabase) {
  expect_split("s3://bkt/prefix/app.db?endpoint=http://h:1/&region=r", "s3://bkt/prefix?endpoint=http://h:1/&region=r",
               "app.db");
  expect_split("s3://bkt/app.db", "s3://bkt", "app.db");
  expect_split("s3://bkt/app.db/", "s3://bkt", "app.db");
  expect_split("file:///backup/app.db", "file:///backup", "app.db");
  expect_split("file:///app.db", "file:///", "app.db");
}

TEST(SplitReplicaUrl, UrlWithoutADatabaseIsRefused) {
  for (const char* url : {"s3://bkt", "s3://bkt/", "file:///", "s3:", "app.db", "s3://bkt?region=a/b"})
    EXPECT_FALSE(split_replica_url(url)) << url;
}

TEST(FormatBytes, UsesTheUnitThatFits) {
  EXPECT_EQ(format_bytes(300), "300 B");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(5u << 20), "5.0 MiB");
  EXPECT_EQ(format_bytes(3ull << 40), "3.0 TiB");
}

TEST(ProgressLine, ShowsBarBytesRateAndTimeLeft) {
  std::string line = progress_line("app.db", 5u << 20, 10u << 20, 1000, 100);
  EXPECT_THAT(line, HasSubstr("[####"));
  EXPECT_THAT(line, HasSubstr(" 50 %"));
  EXPECT_THAT(line, HasSubstr("5.0 MiB of 10.0 MiB"));
  EXPECT_THAT(line, HasSubstr("5.0 MiB/s"));
  EXPECT_THAT(line, HasSubstr("ETA 0:01"));
  EXPECT_LT(line.size(), 100u);
}

TEST(ProgressLine, NeverWrapsOnANarrowTerminalAndKnowsNoTimeAtTheStart) {
  EXPECT_LT(progress_line("app.db", 5u << 20, 10u << 20, 1000, 30).size(), 30u);
  EXPECT_THAT(progress_line("app.db", 0, 10, 0, 80), Not(HasSubstr("ETA")));
}

TEST(ReportJson, HasLitestreamsKeys) {
  std::string text = report_json({"/a", "s3://b", "0000000000000007", 12, "quick", "8000000000000000", "", 4096});
  EXPECT_THAT(
      text,
      HasSubstr(
          R"("db_path":"/a","replica":"s3://b","txid":"0000000000000007","duration_ms":12,"integrity_check":"quick")"));
}

}  // namespace
}  // namespace caddis::app
