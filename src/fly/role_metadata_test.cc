#include "fly/role_metadata.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "loop/stream.h"

namespace caddis::fly {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

// Answers each connection with the next of `replies` and keeps what was asked.
loop::Task<void> serve(loop::Listener& listener, std::vector<std::string> replies, std::vector<std::string>& requests) {
  for (const std::string& reply : replies) {
    auto stream = co_await listener.accept({});
    if (!stream) co_return;
    Bytes buffer(4096);
    std::string text;
    while (text.find("\r\n\r\n") == std::string::npos || (text.starts_with("POST") && !text.ends_with("}"))) {
      Result<std::size_t> n = co_await (*stream)->read(buffer, 1000, {});
      if (!n || *n == 0) break;
      text += as_text({buffer.data(), *n});
    }
    requests.push_back(text);
    (void)co_await (*stream)->write(as_bytes(reply), 1000, {});
  }
}

struct RoleMetadataTest : testing::Test {
  RoleMetadataTest() {
    char name[] = "/tmp/caddis-fly-XXXXXX";
    dir = mkdtemp(name);
    options = {.app_name = "myapp", .machine_id = "m1", .socket_path = dir + "/api", .pause_ms = 1};
    listener = std::move(*loop::listen_unix(loop, options.socket_path));
  }
  ~RoleMetadataTest() override { std::filesystem::remove_all(dir); }
  loop::Loop loop;
  std::string dir;
  RoleMetadataOptions options;
  std::unique_ptr<loop::Listener> listener;
  std::vector<std::string> requests;
};

TEST_F(RoleMetadataTest, IsPostedAsLiteFsDoesAndTriedAgainAfterAFailure) {
  RoleMetadata role(loop, options);
  role.publish("primary");
  loop::run_until_done(loop,
                       serve(*listener, {"HTTP/1.1 500 no\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"}, requests));
  ASSERT_EQ(requests.size(), 2u);
  EXPECT_THAT(requests[0], StartsWith("POST /v1/apps/myapp/machines/m1/metadata/role HTTP/1.1\r\n"));
  EXPECT_THAT(requests[0], HasSubstr("\r\n\r\n{\"value\":\"primary\"}"));
}

TEST_F(RoleMetadataTest, IsDeletedAtTheStop) {
  RoleMetadata role(loop, options);
  loop::TaskGroup group;
  auto clear = [](RoleMetadata& r, bool& ok) -> loop::Task<void> {
    Status done = co_await r.clear(1000, {});
    ok = done.has_value();
  };
  bool ok = false;
  group.spawn(clear(role, ok));
  loop::run_until_done(loop, serve(*listener, {"HTTP/1.1 200 OK\r\n\r\n"}, requests));
  auto join = [](loop::TaskGroup& g) -> loop::Task<void> { co_await g.join(); };
  loop::run_until_done(loop, join(group));
  EXPECT_TRUE(ok);
  EXPECT_THAT(requests, ElementsAre(StartsWith("DELETE /v1/apps/myapp/machines/m1/metadata/role HTTP/1.1\r\n")));
}

}  // namespace
}  // namespace caddis::fly
