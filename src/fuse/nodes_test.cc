#include "fuse/nodes.h"

#include <gtest/gtest.h>

#include "fuse/files.h"
#include "fuse/stale_mount.h"

namespace caddis::fuse {
namespace {

class FakeFile final : public os::File {
 public:
  Result<std::size_t> pread(ByteSpan, std::uint64_t) const override { return std::size_t{0}; }
  Status pwrite(ByteView, std::uint64_t) override { return {}; }
  Status truncate(std::uint64_t) override { return {}; }
  Status datasync() override { return {}; }
  Status sync() override { return {}; }
  Result<std::uint64_t> size_bytes() const override { return std::uint64_t{0}; }
};

TEST(NodeTable, ANameMadeAgainIsAnotherInode) {
  NodeTable table;
  auto file = std::make_shared<FakeFile>();
  NodePtr first = table.obtain("a", NodeKind::kPlain, nullptr, file);
  table.drop_name("a", false);
  NodePtr second = table.obtain("a", NodeKind::kPlain, nullptr, file);
  EXPECT_NE(first->ino(), second->ino());
  EXPECT_TRUE(first->unlinked);
  EXPECT_EQ(table.find(first->ino()), first) << "those who have it open still use it";
  table.forget(first->ino(), 1);
  EXPECT_EQ(table.find(first->ino()), nullptr);
  EXPECT_EQ(table.current("a"), second) << "forgetting the old one leaves the name";
}

TEST(NodeTable, AnInodeLivesUntilItsLastLookupIsForgotten) {
  NodeTable table;
  NodePtr node = table.obtain("a", NodeKind::kPlain, nullptr, nullptr);
  EXPECT_EQ(table.obtain("a", NodeKind::kPlain, nullptr, nullptr), node);
  table.forget(node->ino(), 1);
  EXPECT_NE(table.find(node->ino()), nullptr);
  table.forget(node->ino(), 1);
  EXPECT_EQ(table.find(node->ino()), nullptr);
  EXPECT_EQ(table.current("a"), nullptr);
  EXPECT_NE(table.obtain("a", NodeKind::kPlain, nullptr, nullptr)->ino(), node->ino()) << "numbers are not used twice";
}

TEST(NodeTable, APartWithAnotherFileIsAnotherInode) {
  NodeTable table;
  auto old_file = std::make_shared<FakeFile>(), new_file = std::make_shared<FakeFile>();
  NodePtr old_node = table.obtain("a-wal", NodeKind::kWal, nullptr, old_file);
  NodePtr new_node = table.obtain("a-wal", NodeKind::kWal, nullptr, new_file);
  EXPECT_NE(old_node->ino(), new_node->ino());
  EXPECT_TRUE(old_node->stale());
}

TEST(NodeTable, RenameKeepsTheInodeAndTakesTheTargetsName) {
  NodeTable table;
  NodePtr from = table.obtain("from", NodeKind::kPlain, nullptr, nullptr);
  NodePtr target = table.obtain("to", NodeKind::kPlain, nullptr, nullptr);
  table.rename("from", "to");
  EXPECT_EQ(table.current("to"), from);
  EXPECT_EQ(table.current("from"), nullptr);
  EXPECT_TRUE(target->unlinked);
  EXPECT_EQ(table.name_of(*from), "to");
}

TEST(DirectoryCookies, AReaderInTheMiddleSeesEveryNameThatStaysExactlyOnce) {
  DirectoryCookies cookies;
  auto names = [](std::initializer_list<const char*> list) {
    std::vector<DirEntry> out;
    for (const char* n : list) out.push_back({n, 0, 0});
    return out;
  };
  std::vector<DirEntry> first = cookies.after(names({"a", "b", "c"}), 0);
  ASSERT_EQ(first.size(), 3u);
  // "a" was read; then "a" goes and "aa" comes: "b" and "c" must still follow, and "aa" may.
  std::vector<DirEntry> rest = cookies.after(names({"aa", "b", "c"}), first[0].cookie);
  ASSERT_EQ(rest.size(), 3u);
  EXPECT_EQ(rest[0].name, "b");
  EXPECT_EQ(rest[1].name, "c");
  EXPECT_EQ(rest[2].name, "aa");
}

TEST(VirtualFiles, LagIsElevenBytesAsInLiteFs) {
  EXPECT_EQ(lag_text(0), "+000000000\n");
  EXPECT_EQ(lag_text(3430), "+000003430\n");
  EXPECT_EQ(lag_text(-5), "-000000005\n");
  EXPECT_EQ(lag_text(2147483647).size(), 11u);
}

TEST(VirtualFiles, PositionIs34Bytes) {
  EXPECT_EQ(position_text(Position{Txid(7), Checksum(0x8000000000000001)}), "0000000000000007/8000000000000001\n");
  EXPECT_EQ(position_text(Position{}).size(), 34u);
}

TEST(Modes, ShowTheRole) {
  EXPECT_EQ(mode_bits(NodeKind::kRoot, true, false), 0777u);
  EXPECT_EQ(mode_bits(NodeKind::kRoot, false, false), 0555u);
  EXPECT_EQ(mode_bits(NodeKind::kDatabase, true, false), 0666u);
  EXPECT_EQ(mode_bits(NodeKind::kDatabase, false, false), 0444u);
  EXPECT_EQ(mode_bits(NodeKind::kShm, false, false), 0666u) << "readers set marks in -shm";
  EXPECT_EQ(mode_bits(NodeKind::kDatabase, true, true), 0660u);
  EXPECT_EQ(mode_bits(NodeKind::kDatabase, false, true), 0440u);
  EXPECT_EQ(mode_bits(NodeKind::kRoot, true, true), 0770u);
  EXPECT_EQ(mode_bits(NodeKind::kRoot, false, true), 0770u) << "the kernel must let SQLite make -wal and -shm";
}

TEST(MountInfo, FindsFuseMountsAndUnescapesTheirDirectory) {
  std::vector<MountEntry> got = parse_mountinfo(
      "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
      "not a line\n"
      "98 22 0:45 / /data/my\\040db rw,nosuid,nodev - fuse.caddis caddis rw,user_id=0\n");
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].type, "ext4");
  EXPECT_EQ(got[1].dir, "/data/my db");
  EXPECT_EQ(got[1].type, "fuse.caddis");
  EXPECT_EQ(got[1].source, "caddis");
  EXPECT_EQ(got[1].device_minor, 45u);
}

}  // namespace
}  // namespace caddis::fuse
