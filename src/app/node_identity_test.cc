#include "app/node_identity.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

namespace caddis::app {
namespace {

struct ClusterIdTest : testing::Test {
  ClusterIdTest() {
    char name[] = "/tmp/caddis-id-XXXXXX";
    path = mkdtemp(name);
    dir = std::move(*os::open_system_dir(path));
  }
  ~ClusterIdTest() override { std::filesystem::remove_all(path); }
  std::string path;
  std::unique_ptr<os::Dir> dir;
};

TEST_F(ClusterIdTest, IsReadBackAsLiteFsWritesIt) {
  EXPECT_EQ(*read_cluster_id(*dir), "");
  std::string id = generate_cluster_id();
  ASSERT_TRUE(write_cluster_id(*dir, id));
  EXPECT_EQ(*read_cluster_id(*dir), id);
  EXPECT_EQ(std::filesystem::file_size(path + "/clusterid"), 21u);
}

TEST_F(ClusterIdTest, ThatIsNoneIsAnError) {
  for (std::string_view text : {"", "LFSC", "XXXX6C84B0A71B4F3D29", "LFSC6C84B0A71B4F3D290"}) {
    ASSERT_TRUE(os::write_file_durably(*dir, "clusterid", as_bytes(text)));
    Result<std::string> id = read_cluster_id(*dir);
    ASSERT_FALSE(id) << text;
    EXPECT_TRUE(id.error().message().starts_with("load cluster id: invalid cluster id"));
  }
}

TEST(NodeId, IsRandomAndShownInUpperCaseHex) {
  EXPECT_NE(random_node_id(), random_node_id());
  EXPECT_EQ(format_node_id(0xabc), "0000000000000ABC");
  EXPECT_TRUE(is_valid_cluster_id(generate_cluster_id()));
}

}  // namespace
}  // namespace caddis::app
