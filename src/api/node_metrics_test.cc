#include "api/node_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace caddis::api {
namespace {

using testing::HasSubstr;
using testing::Not;

DatabaseFacts database(std::string name, std::uint64_t txid) {
  DatabaseFacts db;
  db.name = std::move(name);
  db.position.txid = Txid(txid);
  db.ltx_count = 2;
  return db;
}

TEST(NodeMetrics, ShowRoleAndDatabases) {
  Metrics metrics;
  NodeFacts facts;
  facts.primary = true;
  facts.mount_mode = "reference";
  facts.databases = {database("a.db", 7)};
  NodeMetrics(metrics).update(facts);
  std::string text = metrics.render();
  EXPECT_THAT(text, HasSubstr("litefs_is_primary 1\n"));
  EXPECT_THAT(text, HasSubstr("litefs_db_count 1\n"));
  EXPECT_THAT(text, HasSubstr("litefs_db_txid{db=\"a.db\"} 7\n"));
  EXPECT_THAT(text, HasSubstr("caddis_mount_mode{mode=\"reference\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("go_")));
}

TEST(NodeMetrics, ForgetADroppedDatabase) {
  Metrics metrics;
  NodeFacts facts;
  facts.databases = {database("a.db", 7)};
  NodeMetrics node(metrics);
  node.update(facts);
  EXPECT_THAT(metrics.render(), HasSubstr("a.db"));
  facts.databases.clear();
  node.update(facts);
  EXPECT_THAT(metrics.render(), Not(HasSubstr("a.db")));
}

TEST(NodeMetrics, SumManyDatabases) {
  Metrics metrics;
  NodeFacts facts;
  for (std::size_t i = 0; i <= kMaxDatabaseSeries; ++i) facts.databases.push_back(database(fmt::format("{}.db", i), 2));
  NodeMetrics(metrics).update(facts);
  std::string text = metrics.render();
  EXPECT_THAT(text, HasSubstr("litefs_db_txid{db=\"_sum\"} 202\n"));
  EXPECT_THAT(text, HasSubstr("litefs_db_count 101\n"));
  EXPECT_THAT(text, Not(HasSubstr("\"7.db\"")));
}

}  // namespace
}  // namespace caddis::api
