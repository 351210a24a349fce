#include "ltx/compactor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ltx/checksum.h"
#include "ltx/test_files.h"

namespace caddis::ltx {
namespace {

Bytes sample(const std::string& name) { return read_testdata("ltx/" + name + ".ltx"); }

struct File {
  Version version;
  Bytes bytes;
};
Compactor compactor_of(const std::vector<File>& files) {
  std::vector<std::unique_ptr<PageSource>> sources;
  for (const File& file : files) sources.push_back(make_decoder(file.version, source_of(file.bytes)));
  return Compactor(std::move(sources));
}
Compactor compactor_of(const std::vector<std::string>& samples, std::vector<File>& keep) {
  for (const std::string& name : samples) keep.push_back({Version::kV3, sample(name)});
  return compactor_of(keep);
}

TEST(Compactor, GivesWhatTheGoCompactorGave) {
  std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"s2-incremental-checksum", "s3-shrink-checksum"}, "s4-compact-2-3"},
      {{"s1-snapshot-checksum", "s2-incremental-checksum", "s3-shrink-checksum"}, "s5-compact-1-3"},
      {{"s1-snapshot-checksum", "s4-compact-2-3"}, "s5-compact-1-3"},
      {{"s6-litestream-l0-full", "s7-litestream-l0-incremental"}, "s8-litestream-compact-1-2"},
  };
  for (const auto& [inputs, output] : cases) {
    SCOPED_TRACE(output);
    std::vector<File> keep;
    Compactor compactor = compactor_of(inputs, keep);
    Decoded expected = *decode(Version::kV3, sample(output));
    Header header = *compactor.header();
    if (!expected.header.tracks_checksums()) header = untracked_header(header, std::nullopt);
    EXPECT_EQ(header, expected.header);
    Bytes out;
    std::unique_ptr<Encoder> encoder = make_encoder(Version::kV3, header, sink_to(out));
    Status copied = copy_pages(compactor, *encoder);
    ASSERT_TRUE(copied) << copied.error().message();
    Decoded got = *decode(Version::kV3, out);
    EXPECT_EQ(got.pages, expected.pages);
    EXPECT_EQ(got.trailer.post_apply, expected.trailer.post_apply);
  }
}

TEST(Compactor, LiteFsFilesOfAVolumeBecomeOneSnapshotOfTheDatabase) {
  for (std::string db : {"del.db", "wal.db"}) {
    std::vector<File> files;
    std::map<std::string, Bytes> volume = untar(read_testdata("litefs/volume.tar"));
    for (const auto& [path, bytes] : volume) {
      if (path.starts_with("./dbs/" + db + "/ltx/")) files.push_back({Version::kV1, bytes});
    }
    Compactor compactor = compactor_of(files);
    Header header = *compactor.header();
    Checksum position = decode(Version::kV1, files.back().bytes)->trailer.post_apply;
    Bytes out;
    auto encoder = make_encoder(Version::kV3, untracked_header(header, Cds1{position, 3}), sink_to(out));
    Status copied = copy_pages(compactor, *encoder);
    ASSERT_TRUE(copied) << copied.error().message();
    Result<Decoded> backup = decode(Version::kV3, out);  // proves the database checksum in CDS1
    ASSERT_TRUE(backup) << backup.error().message();
    Bytes database;
    for (const auto& [pgno, data] : backup->pages) append(database, data);
    EXPECT_EQ(database, volume["./dbs/" + db + "/database"]);
  }
}

// A file of one transaction; page n of transaction t is filled with 16 t + n.
File transaction(Version version, std::uint64_t txid, std::uint32_t commit, std::vector<std::uint32_t> pages,
                 std::uint32_t page_size = 512) {
  Decoded file;
  file.header = {.page_size_bytes = page_size, .commit = commit, .min_txid = Txid(txid), .max_txid = Txid(txid)};
  if (txid > 1) file.header.pre_apply = Checksum(Checksum::kFlag | (txid - 1));
  file.trailer.post_apply = Checksum(Checksum::kFlag | txid);
  RollingChecksum sum;
  for (std::uint32_t pgno : pages) {
    file.pages.emplace_back(Pgno(pgno), Bytes(page_size, static_cast<std::uint8_t>(16 * txid + pgno)));
    sum.add(page_checksum(Pgno(pgno), file.pages.back().second));
  }
  if (txid == 1) file.trailer.post_apply = sum.value();
  return {version, *encode(version, file)};
}
std::vector<int> fills(const Decoded& file) {
  std::vector<int> out;
  for (const auto& [pgno, data] : file.pages) out.push_back(data[0]);
  return out;
}

TEST(Compactor, LastInputWinsOverBothVersionsAndPagesBeyondTheEndAreDropped) {
  std::vector<File> files = {transaction(Version::kV1, 2, 9, {1, 2, 3, 8, 9}), transaction(Version::kV3, 3, 9, {2, 4}),
                             transaction(Version::kV1, 4, 4, {3})};
  Compactor compactor = compactor_of(files);
  Result<Decoded> merged = drain(compactor);
  ASSERT_TRUE(merged) << merged.error().message();
  EXPECT_THAT(fills(*merged), testing::ElementsAre(33, 50, 67, 52));
  EXPECT_EQ(merged->header.commit, 4u);
  EXPECT_EQ(merged->header.pre_apply, Checksum(Checksum::kFlag | 1));
  EXPECT_EQ(merged->trailer.post_apply, Checksum(Checksum::kFlag | 4));
  EXPECT_FALSE(*compactor.next()) << "stays at the end";
}

TEST(Compactor, APageCutOffInBetweenDoesNotComeBack) {
  std::vector<File> files = {transaction(Version::kV3, 2, 5, {4, 5}), transaction(Version::kV3, 3, 3, {1}),
                             transaction(Version::kV3, 4, 5, {5})};
  Compactor compactor = compactor_of(files);
  EXPECT_THAT(fills(*drain(compactor)), testing::ElementsAre(49, 69));
}

TEST(Compactor, RefusesGapsRepetitionsAndOtherPageSizes) {
  auto message = [](const std::vector<File>& files) {
    Compactor compactor = compactor_of(files);
    Result<Header> header = compactor.header();
    EXPECT_FALSE(compactor.next());
    return header ? "" : header.error().message();
  };
  EXPECT_EQ(message({}), "ltx compaction: no input");
  EXPECT_THAT(message({transaction(Version::kV3, 2, 5, {4}), transaction(Version::kV3, 4, 5, {4})}),
              testing::HasSubstr("does not continue"));
  EXPECT_THAT(message({transaction(Version::kV3, 2, 5, {4}), transaction(Version::kV3, 2, 5, {4})}),
              testing::HasSubstr("does not continue"));
  EXPECT_THAT(message({transaction(Version::kV3, 2, 5, {4}), transaction(Version::kV3, 3, 5, {4}, 1024)}),
              testing::HasSubstr("page size 512"));
  EXPECT_TRUE(is_contiguous(Txid(5), Txid(3), Txid(6))) << "overlap is allowed";
  EXPECT_FALSE(is_contiguous(Txid(5), Txid(3), Txid(5)));
}

TEST(Compactor, RefusesTwoHistories) {
  Decoded other;
  other.header = {.page_size_bytes = 512,
                  .commit = 1,
                  .min_txid = Txid(3),
                  .max_txid = Txid(3),
                  .pre_apply = Checksum(Checksum::kFlag | 77)};
  other.trailer.post_apply = Checksum(Checksum::kFlag | 3);
  std::vector<File> files = {transaction(Version::kV1, 2, 1, {1}), {Version::kV1, *encode(Version::kV1, other)}};
  Compactor compactor = compactor_of(files);
  Result<Decoded> merged = drain(compactor);
  ASSERT_FALSE(merged);
  EXPECT_THAT(merged.error().message(), testing::HasSubstr("two histories"));
}

TEST(Compactor, ADamagedInputIsAnErrorAndNotAShorterResult) {
  for (std::size_t damaged : {0u, 1u, 2u}) {
    std::vector<File> files = {transaction(Version::kV1, 1, 3, {1, 2, 3}), transaction(Version::kV3, 2, 3, {2}),
                               transaction(Version::kV1, 3, 1, {1})};
    files[damaged].bytes.back() ^= 1;
    Compactor compactor = compactor_of(files);
    EXPECT_FALSE(drain(compactor));
    EXPECT_FALSE(compactor.next()) << "stays broken";
  }
}

TEST(Compactor, TheProofOfTheLastInputIsKept) {
  Header header{
      .flags = kFlagNoChecksum, .page_size_bytes = 512, .commit = 1, .min_txid = Txid(1), .max_txid = Txid(1)};
  std::vector<File> files;
  for (std::uint64_t txid : {1u, 2u}) {
    Bytes page(512, static_cast<std::uint8_t>(txid));
    header.min_txid = header.max_txid = Txid(txid);
    header.set_cds1({page_checksum(Pgno(1), page), 40 + txid});
    Bytes out;
    auto encoder = make_encoder(Version::kV3, header, sink_to(out));
    ASSERT_TRUE(encoder->add_page(Pgno(1), page));
    ASSERT_TRUE(encoder->finish(Checksum()));
    files.push_back({Version::kV3, out});
  }
  Compactor compactor = compactor_of(files);
  Header merged = *compactor.header();
  EXPECT_EQ(merged.cds1(), header.cds1());
  Bytes out;
  auto encoder = make_encoder(Version::kV3, untracked_header(merged, merged.cds1()), sink_to(out));
  ASSERT_TRUE(copy_pages(compactor, *encoder));
  EXPECT_EQ(compactor.trailer().post_apply, header.cds1()->post_apply);
  EXPECT_TRUE(decode(Version::kV3, out));
}

}  // namespace
}  // namespace caddis::ltx
