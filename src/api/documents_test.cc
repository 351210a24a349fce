#include "api/documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace caddis::api {
namespace {

using testing::HasSubstr;
using testing::Not;

NodeFacts primary_facts() {
  NodeFacts f;
  f.version = "v1.2.3";
  f.cluster_id = "LFSC6C84B0A71B4F3D29";
  f.data_dir = "/var/lib/litefs";
  f.mount_dir = "/litefs";
  f.mount_mode = "reference";
  f.lease_type = "static";
  f.primary = f.candidate = true;
  f.primary_hostname = "node-p";
  f.boot_state = "running";
  f.databases.push_back({"app.db", {Txid(7), Checksum(0x8000000000000001)}, 4096, 3, 1000});
  return f;
}

TEST(InfoDocument, HasLiteFsKeysInItsOrderAndLayoutAndCaddisAfterThem) {
  EXPECT_EQ(
      info_json(primary_facts()),
      "{\n  \"clusterID\": \"LFSC6C84B0A71B4F3D29\",\n  \"isPrimary\": true,\n  \"candidate\": true,\n"
      "  \"path\": \"/var/lib/litefs\",\n  \"primary\": {\n    \"hostname\": \"node-p\"\n  },\n"
      "  \"caddis\": {\n    \"version\": \"v1.2.3\",\n    \"mode\": \"reference\",\n    \"health\": \"ok\"\n  }\n}\n");
}

TEST(InfoDocument, LeavesAnUnknownClusterIdOut) {
  NodeFacts f = primary_facts();
  f.cluster_id.clear();
  EXPECT_THAT(info_json(f), Not(HasSubstr("clusterID")));
}

TEST(InfoDocument, IsReadBackForTheRunCommand) {
  Result<InfoFlags> flags = parse_info(info_json(primary_facts()));
  ASSERT_TRUE(flags);
  EXPECT_TRUE(flags->primary);
  EXPECT_TRUE(flags->candidate);
  EXPECT_FALSE(parse_info("<html>"));
  EXPECT_FALSE(parse_info("[]"));
  EXPECT_FALSE(parse_info("{\"isPrimary\": 1}"));
}

TEST(StatusDocument, IsRenderedWithRoleDatabasesAndBackup) {
  NodeFacts f = primary_facts();
  f.backup.push_back({"file:///b", "app.db", Txid(6), 250, "disk full"});
  Result<std::string> text = render_status(status_json(f), "");
  ASSERT_TRUE(text);
  EXPECT_THAT(*text, HasSubstr("role: primary (static lease, candidate)  primary: node-p"));
  EXPECT_THAT(*text, HasSubstr("0000000000000007"));
  EXPECT_THAT(*text, HasSubstr("12.0 KiB"));
  EXPECT_THAT(*text, HasSubstr("backup file:///b app.db: at 0000000000000006, 250 ms behind; last error: disk full"));
}

TEST(StatusDocument, OfAnUnknownDatabaseIsNotFound) {
  std::string json = status_json(primary_facts());
  EXPECT_TRUE(render_status(json, "app.db"));
  EXPECT_EQ(render_status(json, "other.db").error().code(), ErrorCode::kNotFound);
}

TEST(StatusDocument, ThatIsNoneIsRefused) {
  for (const char* text : {"", "404 page not found\n", "{}", "[1]", "{\"node\":3}"}) {
    EXPECT_EQ(render_status(text, "").error().code(), ErrorCode::kInvalid) << text;
  }
}

TEST(Documents, ReplaceBytesThatAreNotUtf8) {
  NodeFacts f = primary_facts();
  f.databases[0].name = "a\xff.db";
  EXPECT_THAT(status_json(f), HasSubstr("a\xef\xbf\xbd.db"));
  EXPECT_EQ(error_json("no \"x\""), "{\"error\":\"no \\\"x\\\"\"}\n");
}

}  // namespace
}  // namespace caddis::api
