#include "config/config.h"

#include <gtest/gtest.h>

namespace caddis::config {
namespace {

TEST(Config, DefaultsAreThoseOfLiteFs) {
  Config c;
  EXPECT_EQ(c.fuse.dir, "/litefs");
  EXPECT_EQ(c.data.dir, "/var/lib/litefs");
  EXPECT_EQ(c.data.retention_ms, 600'000);
  EXPECT_TRUE(c.data.compress);
  EXPECT_EQ(c.http.addr, ":20202");
  EXPECT_TRUE(c.lease.candidate);
  EXPECT_FALSE(c.lease.promote);
  EXPECT_EQ(c.proxy.idle_timeout_ms, 30'000);
  EXPECT_TRUE(c.exit_on_error);
  EXPECT_EQ(c.tracing.max_size_mb, 64);
}

TEST(Config, EnumerationsReadAsInTheFile) {
  EXPECT_EQ(to_text(FuseIo::kPassthrough), "passthrough");
  EXPECT_EQ(to_text(LeaseType::kConsul), "consul");
  EXPECT_EQ(to_text(RestoreMode::kRequired), "required");
  EXPECT_EQ(to_text(Durability::kBackup), "backup");
  EXPECT_EQ(to_text(ReplicaWrites::kFail), "fail");
  EXPECT_EQ(to_text(LogFormat::kJson), "json");
}

}  // namespace
}  // namespace caddis::config
