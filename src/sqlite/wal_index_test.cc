#include "sqlite/wal_index.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "sqlite/test_db.h"

namespace caddis::sqlite {
namespace {

class WalIndex : public testing::TestWithParam<std::uint32_t> {
 protected:
  TestDir dir_;
  TestDb db_{dir_ / "db"};
  void SetUp() override {
    db_.exec("PRAGMA page_size=" + std::to_string(GetParam()) +
             "; PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0;"
             "CREATE TABLE t(x); INSERT INTO t VALUES(randomblob(3000)); INSERT INTO t VALUES(2)");
  }
  Bytes shm() const { return read_file(dir_ / "db-shm"); }
};
INSTANTIATE_TEST_SUITE_P(PageSizes, WalIndex, testing::Values(512, 4096, 65536));

TEST_P(WalIndex, HeaderOfALiveDatabaseMatchesItsWal) {
  Bytes index = shm();
  std::optional<WalIndexHdr> header = parse_wal_index_headers(index);
  ASSERT_TRUE(header);
  EXPECT_EQ(header->version, kWalVersion);
  EXPECT_EQ(header->page_size_bytes, GetParam());
  EXPECT_EQ(std::to_string(header->pages), db_.value("PRAGMA page_count"));
  Bytes bytes = read_file(dir_ / "db-wal");
  WalHeader wal = *parse_wal_header(bytes);
  EXPECT_EQ(header->salt1, wal.salt1);
  EXPECT_EQ(header->salt2, wal.salt2);
  EXPECT_EQ(header->big_endian_checksums, wal.big_endian_checksums);
  WalReader reader(read_at_of(bytes), wal, wal_begin(wal));
  while (*reader.next()) {}
  EXPECT_EQ(header->point(), reader.point());
}

TEST_P(WalIndex, EncodingGivesSqlitesBytes) {
  Bytes index = shm();
  WalIndexCopyBytes copy = encode_wal_index_header(*parse_wal_index_headers(index));
  EXPECT_TRUE(std::equal(copy.begin(), copy.end(), index.begin()));
  alignas(8) std::array<std::uint8_t, kWalIndexHeadSizeBytes> memory{};
  WalIndexHdr header = *parse_wal_index_headers(index);
  store_wal_index_header(memory.data(), header);
  EXPECT_TRUE(std::equal(memory.begin(), memory.begin() + 96, index.begin()));
  EXPECT_EQ(load_wal_index_header(memory.data()), header);
}

TEST_P(WalIndex, AHeaderThatIsBeingWrittenIsNotRead) {
  Bytes index = shm();
  for (std::size_t at = 0; at < kWalIndexHeadersSizeBytes; ++at) {
    Bytes torn = index;
    torn[at] ^= 1;
    EXPECT_FALSE(parse_wal_index_headers(torn)) << at;
    torn[(at + 48) % 96] ^= 1;  // both copies alike, but the checksum is wrong
    EXPECT_FALSE(parse_wal_index_headers(torn)) << at;
  }
  EXPECT_FALSE(parse_wal_index_headers(Bytes(136))) << "a fresh file of zeros";
  EXPECT_FALSE(parse_wal_index_headers(ByteView(index).first(95)));
}

TEST_P(WalIndex, CheckpointInfoShowsBackfillAndReadMarks) {
  auto info_of = [](const Bytes& index) {
    return parse_wal_ckpt_info(ByteView(index).subspan(kWalCkptInfoOffset, kWalCkptInfoSizeBytes));
  };
  std::uint32_t frames = parse_wal_index_headers(shm())->max_frame;
  EXPECT_EQ(info_of(shm()).backfilled, 0u);
  {
    TestDb reader(dir_ / "db");
    reader.exec("BEGIN; SELECT * FROM t");
    WalCkptInfo info = info_of(shm());
    EXPECT_NE(std::ranges::find(info.read_marks, frames), info.read_marks.end());
    reader.exec("COMMIT");
  }
  db_.exec("PRAGMA wal_checkpoint(PASSIVE)");
  Bytes index = shm();
  WalCkptInfo info = info_of(index);
  EXPECT_EQ(info.backfilled, frames);
  EXPECT_EQ(info.backfill_attempted, frames);
  EXPECT_EQ(info.read_marks[0], 0u);
  Bytes again(index.begin() + kWalCkptInfoOffset, index.begin() + kWalCkptInfoOffset + kWalCkptInfoSizeBytes);
  Bytes expected = again;
  encode_wal_ckpt_info(again, info);
  EXPECT_EQ(again, expected);
}

}  // namespace
}  // namespace caddis::sqlite
