// Files written by the real programs: ltx 0.5 (tests/testdata/ltx) and LiteFS 0.5.14 (tests/testdata/litefs).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ltx/checksum.h"
#include "ltx/page_index.h"
#include "ltx/test_files.h"

namespace caddis::ltx {
namespace {

struct Sample {
  const char* name;
  std::uint64_t min, max;
  std::uint32_t flags, commit;
  std::vector<PageIndexEntry> pages;
  std::uint64_t pre_apply, post_apply, file_checksum;
};

PageIndexEntry at(std::uint32_t pgno, std::uint64_t offset, std::uint64_t size) { return {Pgno(pgno), offset, size}; }

const std::vector<Sample>& samples() {
  static const std::vector<Sample> all = {
      {"s1-snapshot-checksum",
       1,
       1,
       0,
       2,
       {at(1, 100, 149), at(2, 249, 43)},
       0,
       0xdb5691a05cd02de8,
       0xc3cd48f4cc6b9d74},
      {"s2-incremental-checksum",
       2,
       2,
       0,
       3,
       {at(1, 100, 181), at(2, 281, 46), at(3, 327, 43)},
       0xdb5691a05cd02de8,
       0x9603b15ed3fc3106,
       0xc94ccb2150acf5c5},
      {"s3-shrink-checksum", 3, 3, 0, 2, {at(1, 100, 151)}, 0x9603b15ed3fc3106, 0xe13b4fe6caa40a4c, 0x88832394d94cd5d9},
      {"s4-compact-2-3",
       2,
       3,
       0,
       2,
       {at(1, 100, 151), at(2, 251, 46)},
       0xdb5691a05cd02de8,
       0xe13b4fe6caa40a4c,
       0x9fdbd335667d6788},
      {"s5-compact-1-3", 1, 3, 0, 2, {at(1, 100, 151), at(2, 251, 46)}, 0, 0xe13b4fe6caa40a4c, 0xaac6a21632a10462},
      {"s6-litestream-l0-full", 1, 1, 2, 2, {at(1, 100, 149), at(2, 249, 43)}, 0, 0, 0x922bf0d20a74ec97},
      {"s7-litestream-l0-incremental",
       2,
       2,
       2,
       3,
       {at(1, 100, 181), at(2, 281, 46), at(3, 327, 43)},
       0,
       0,
       0xad5839c542e51764},
      {"s8-litestream-compact-1-2",
       1,
       2,
       2,
       3,
       {at(1, 100, 181), at(2, 281, 46), at(3, 327, 43)},
       0,
       0,
       0xdbc13fb50f86f4bb},
      {"s9-delete-checksum", 4, 4, 0, 0, {}, 0xe13b4fe6caa40a4c, 0x8000000000000000, 0xc18201eec51cd63f},
      {"s10-ltx050-frames", 1, 1, 2, 2, {at(1, 100, 164), at(2, 264, 58)}, 0, 0, 0x81a5a7cac7e0170f},
  };
  return all;
}

Bytes sample_bytes(const Sample& sample) { return read_testdata(std::string("ltx/") + sample.name + ".ltx"); }
Decoded sample_decoded(int number) {
  return *decode(Version::kV3, sample_bytes(samples()[static_cast<std::size_t>(number - 1)]));
}

TEST(GoldenV3, EverySampleDecodesToItsTableRow) {
  for (const Sample& sample : samples()) {
    SCOPED_TRACE(sample.name);
    Bytes bytes = sample_bytes(sample);
    EXPECT_EQ(*guess_version(bytes), Version::kV3);
    Result<Decoded> file = decode(Version::kV3, bytes);
    ASSERT_TRUE(file) << file.error().message();
    const Header& h = file->header;
    EXPECT_EQ(h.flags, sample.flags);
    EXPECT_EQ(h.page_size_bytes, 512u);
    EXPECT_EQ(h.commit, sample.commit);
    EXPECT_EQ(h.min_txid, Txid(sample.min));
    EXPECT_EQ(h.max_txid, Txid(sample.max));
    EXPECT_EQ(h.timestamp_ms, 1'700'000'000'000 + 1000 * static_cast<std::int64_t>(sample.max - 1));
    EXPECT_EQ(h.pre_apply, Checksum(sample.pre_apply));
    EXPECT_EQ(file->trailer, (Trailer{Checksum(sample.post_apply), Checksum(sample.file_checksum)}));
    Result<std::vector<PageIndexEntry>> index = parse_page_index(bytes, bytes.size());
    ASSERT_TRUE(index) << index.error().message();
    EXPECT_EQ(*index, sample.pages);
    ASSERT_EQ(file->pages.size(), index->size());
    for (std::size_t i = 0; i < index->size(); ++i) {
      Bytes page(512);
      const PageIndexEntry& entry = (*index)[i];
      ASSERT_TRUE(decode_page_frame(ByteView(bytes).subspan(entry.offset, entry.size_bytes), entry.pgno, page));
      EXPECT_EQ(page, file->pages[i].second);
    }
  }
}

TEST(GoldenV3, PageChecksumsAreThoseOfTheReadme) {
  auto sums = [](int number) {
    std::vector<std::string> out;
    for (const auto& [pgno, data] : sample_decoded(number).pages) out.push_back(to_hex(page_checksum(pgno, data)));
    return out;
  };
  EXPECT_THAT(sums(1), testing::ElementsAre("922693357a6a5ac2", "c970029526ba772a"));
  EXPECT_THAT(sums(2), testing::ElementsAre("8ac098c4e2d709c0", "972bda2e004c8e7d", "8be8f3b43167b6bb"));
  EXPECT_THAT(sums(3), testing::ElementsAre("f61095c8cae88431"));
}

TEST(GoldenV3, FoldingPageChecksumsLeadsFromPreApplyToPostApply) {
  std::map<Pgno, Checksum> pages;
  Checksum database = kEmptyDatabaseChecksum;
  for (int number : {1, 2, 3}) {
    Decoded file = sample_decoded(number);
    if (number > 1) EXPECT_EQ(file.header.pre_apply, database);
    for (const auto& [pgno, data] : file.pages) {
      Checksum sum = page_checksum(pgno, data);
      database = fold(database, pages[pgno], sum);
      pages[pgno] = sum;
    }
    for (auto& [pgno, sum] : pages) {
      if (pgno.value() > file.header.commit) database = fold(database, std::exchange(sum, Checksum()), Checksum());
    }
    EXPECT_EQ(file.trailer.post_apply, database) << number;
  }
}

TEST(GoldenV3, HeaderFieldsOfLitestreamAreRead) {
  Header full = sample_decoded(6).header;
  EXPECT_EQ(full.wal_offset, 32u);
  EXPECT_EQ(full.wal_size, 1072u);
  EXPECT_EQ(full.salt1, 0x01020304u);
  EXPECT_EQ(full.salt2, 0x05060708u);
  EXPECT_EQ(sample_decoded(2).header.node_id, 0x1122334455667788u);
}

TEST(GoldenV3, ReencodingGivesTheSamePagesAndTheEmptyFileByteForByte) {
  for (const Sample& sample : samples()) {
    SCOPED_TRACE(sample.name);
    Decoded file = *decode(Version::kV3, sample_bytes(sample));
    Result<Bytes> again = encode(Version::kV3, file);
    ASSERT_TRUE(again) << again.error().message();
    Decoded second = *decode(Version::kV3, *again);
    EXPECT_EQ(second.header, file.header);
    EXPECT_EQ(second.pages, file.pages);
    EXPECT_EQ(second.trailer.post_apply, file.trailer.post_apply);
    if (file.pages.empty()) EXPECT_EQ(*again, sample_bytes(sample));
  }
}

std::map<std::string, Bytes> volume_ltx(const std::string& db) {
  std::map<std::string, Bytes> out;
  for (auto& [path, content] : untar(read_testdata("litefs/volume.tar"))) {
    std::string prefix = "./dbs/" + db + "/ltx/";
    if (path.starts_with(prefix)) out[path.substr(prefix.size())] = content;
  }
  return out;
}

class GoldenV1 : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(LiteFs, GoldenV1, testing::Values("del.db", "wal.db"),
                         [](const auto& param) { return std::string(param.param).substr(0, 3); });

TEST_P(GoldenV1, FilesOfAVolumeChainFromTheFirstTransactionToItsPosition) {
  std::map<std::string, Bytes> files = volume_ltx(GetParam());
  ASSERT_GE(files.size(), 7u);
  Position position;
  for (const auto& [name, bytes] : files) {
    SCOPED_TRACE(name);
    EXPECT_EQ(*guess_version(bytes), Version::kV1);
    Result<Decoded> file = decode(Version::kV1, bytes);
    ASSERT_TRUE(file) << file.error().message();
    EXPECT_EQ(*parse_file_name(name), std::pair(file->header.min_txid, file->header.max_txid));
    EXPECT_EQ(file->header.pre_apply, position.checksum);
    position = {file->header.max_txid, file->trailer.post_apply};
  }
  Bytes expected = read_testdata(std::string("litefs/") + GetParam() + "-pos");
  EXPECT_EQ(to_text(position) + "\n", as_text(expected));
}

TEST_P(GoldenV1, ReencodedFilesDecodeToTheSameInBothForms) {
  for (const auto& [name, bytes] : volume_ltx(GetParam())) {
    SCOPED_TRACE(name);
    Decoded file = *decode(Version::kV1, bytes);
    EXPECT_EQ(file.header.flags, kFlagLz4);
    Result<Bytes> again = encode(Version::kV1, file);
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_EQ(*decode(Version::kV1, *again), file);  // also the file checksum: compression is not part of it
    EXPECT_TRUE(std::equal(again->begin(), again->begin() + 107, bytes.begin())) << "LZ4 frame header as LiteFS";
    file.header.flags = 0;
    Bytes raw = *encode(Version::kV1, file);
    EXPECT_EQ(raw.size(), 100 + file.pages.size() * 516 + 4 + 16);
    Decoded decoded = *decode(Version::kV1, raw);
    EXPECT_EQ(decoded.pages, file.pages);
    EXPECT_EQ(*guess_version(raw), Version::kV1);
  }
}

}  // namespace
}  // namespace caddis::ltx
