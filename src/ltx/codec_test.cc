// Rules of encoder and decoder, and what happens to damaged files.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "ltx/checksum.h"
#include "ltx/page_index.h"
#include "ltx/test_files.h"

namespace caddis::ltx {
namespace {

Bytes random_page(std::uint32_t size, unsigned seed) {
  std::mt19937 random(seed);
  Bytes page(size);
  // Half noise, half zeros: compressible, but not to nothing.
  for (std::size_t i = 0; i < size / 2; ++i) page[i] = static_cast<std::uint8_t>(random());
  return page;
}

// A snapshot of `commit` pages in one of the three forms.
Decoded snapshot(std::uint32_t page_size, std::uint32_t commit, std::uint32_t flags) {
  Decoded file;
  file.header = {
      .flags = flags, .page_size_bytes = page_size, .commit = commit, .min_txid = Txid(1), .max_txid = Txid(3)};
  RollingChecksum sum;
  for (std::uint32_t pgno = 1; pgno <= commit; ++pgno) {
    if (Pgno(pgno) == lock_pgno(page_size)) continue;
    file.pages.emplace_back(Pgno(pgno), random_page(page_size, pgno));
    sum.add(page_checksum(Pgno(pgno), file.pages.back().second));
  }
  file.trailer.post_apply = sum.value();
  if (flags == kFlagNoChecksum) {
    file.header.set_cds1({sum.value(), 1});
    file.trailer.post_apply = Checksum();
  }
  return file;
}

struct Form {
  const char* name;
  Version version;
  std::uint32_t flags;
};
void PrintTo(const Form& form, std::ostream* out) { *out << form.name; }
class Codec : public testing::TestWithParam<Form> {};
INSTANTIATE_TEST_SUITE_P(Forms, Codec,
                         testing::Values(Form{"v1raw", Version::kV1, 0}, Form{"v1lz4", Version::kV1, kFlagLz4},
                                         Form{"v3", Version::kV3, 0},
                                         Form{"v3untracked", Version::kV3, kFlagNoChecksum}),
                         [](const auto& param) { return std::string(param.param.name); });

TEST_P(Codec, RoundTripAtEveryPageSize) {
  for (std::uint32_t page_size = 512; page_size <= 65536; page_size *= 2) {
    Decoded file = snapshot(page_size, 9, GetParam().flags);
    Result<Bytes> bytes = encode(GetParam().version, file);
    ASSERT_TRUE(bytes) << bytes.error().message();
    Result<Decoded> again = decode(GetParam().version, *bytes);
    ASSERT_TRUE(again) << again.error().message();
    EXPECT_EQ(again->header, file.header);
    EXPECT_EQ(again->pages, file.pages);
    EXPECT_EQ(again->trailer.post_apply, file.trailer.post_apply);
    EXPECT_EQ(*guess_version(*bytes), GetParam().version);
    EXPECT_EQ(verify(GetParam().version, source_of(*bytes))->pages, 9u);
  }
}

TEST_P(Codec, ASourceThatGivesOneByteAtATimeIsEnough) {
  Bytes bytes = *encode(GetParam().version, snapshot(512, 3, GetParam().flags));
  Source whole = source_of(bytes);
  Source single = [&whole](ByteSpan out) { return whole(out.first(1)); };
  EXPECT_EQ(*drain(*make_decoder(GetParam().version, single)), *decode(GetParam().version, bytes));
}

TEST_P(Codec, EveryTruncationIsAnErrorThatSaysSo) {
  Bytes bytes = *encode(GetParam().version, snapshot(512, 3, GetParam().flags));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    Result<Decoded> file = decode(GetParam().version, ByteView(bytes).first(size));
    ASSERT_FALSE(file) << size;
    ASSERT_EQ(file.error().code(), ErrorCode::kCorrupt);
    ASSERT_THAT(file.error().message(), testing::HasSubstr("ends")) << size;
  }
}

TEST_P(Codec, BytesAfterTheTrailerAreAnError) {
  Bytes bytes = *encode(GetParam().version, snapshot(512, 3, GetParam().flags));
  bytes.push_back(0);
  EXPECT_FALSE(decode(GetParam().version, bytes));
}

// LZ4 has several encodings of one text: a flip may lead to another that says the same, which is no damage.
TEST_P(Codec, EveryBitFlipIsAnErrorOrChangesNothing) {
  Bytes bytes = *encode(GetParam().version, snapshot(512, 2, GetParam().flags));
  Decoded original = *decode(GetParam().version, bytes);
  std::size_t harmless = 0;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      Bytes bad = bytes;
      bad[at] = static_cast<std::uint8_t>(bad[at] ^ (1u << bit));
      Result<Decoded> file = decode(GetParam().version, bad);
      if (file) {
        ASSERT_EQ(*file, original) << at;
        ++harmless;
      } else {
        ASSERT_EQ(file.error().code(), ErrorCode::kCorrupt) << at;
      }
    }
  }
  if (GetParam().version == Version::kV1 && GetParam().flags == 0) EXPECT_EQ(harmless, 0u);
  EXPECT_LT(harmless, bytes.size() / 8);
}

TEST_P(Codec, RandomBytesNeverCrashTheDecoder) {
  Bytes bytes = *encode(GetParam().version, snapshot(512, 4, GetParam().flags));
  std::mt19937 random(11);
  for (int round = 0; round < 2000; ++round) {
    Bytes bad = bytes;
    for (unsigned i = 0, n = 1 + random() % 8; i < n; ++i) {
      bad[100 + random() % (bad.size() - 100)] = static_cast<std::uint8_t>(random());
    }
    if (Result<Decoded> file = decode(GetParam().version, bad); !file) {
      ASSERT_EQ(file.error().code(), ErrorCode::kCorrupt);
    }
  }
}

TEST_P(Codec, ASnapshotWhosePagesGiveAnotherChecksumIsRefused) {
  Decoded file = snapshot(512, 3, GetParam().flags);
  Checksum wrong(Checksum::kFlag | 1);
  if (file.header.tracks_checksums()) {
    file.trailer.post_apply = wrong;
  } else {
    file.header.set_cds1({wrong, 1});
  }
  Result<Decoded> again = decode(GetParam().version, *encode(GetParam().version, file));
  ASSERT_FALSE(again);
  EXPECT_THAT(again.error().message(), testing::HasSubstr("snapshot says database checksum 8000000000000001"));
}

TEST_P(Codec, EncoderRefusesPagesThatBreakTheRules) {
  Header base{.flags = GetParam().flags == kFlagLz4 ? kFlagLz4 : 0,
              .page_size_bytes = 65536,
              .commit = 16387,
              .min_txid = Txid(1),
              .max_txid = Txid(3)};
  Bytes page(65536);
  auto fails = [&](std::initializer_list<std::uint32_t> pages, bool is_snapshot) {
    Header header = base;
    if (!is_snapshot) {
      header.min_txid = Txid(2);
      header.pre_apply = Checksum(Checksum::kFlag);
    }
    std::unique_ptr<Encoder> encoder = make_encoder(GetParam().version, header, [](ByteView) -> Status { return {}; });
    for (std::uint32_t pgno : pages) {
      if (Status s = encoder->add_page(Pgno(pgno), page); !s) return s.error().code() == ErrorCode::kInvalid;
    }
    return !encoder->finish(Checksum(Checksum::kFlag | 5)).has_value();
  };
  EXPECT_FALSE(fails({2, 16384, 16386, 16387}, false));
  EXPECT_TRUE(fails({16385}, false)) << "the lock page";
  EXPECT_TRUE(fails({16388}, false)) << "beyond commit";
  EXPECT_TRUE(fails({2, 2}, false));
  EXPECT_TRUE(fails({2, 1}, false));
  EXPECT_TRUE(fails({0}, false));
  EXPECT_TRUE(fails({2}, true)) << "a snapshot begins at page 1";
  EXPECT_TRUE(fails({1, 3}, true));
  EXPECT_TRUE(fails({1, 2}, true)) << "a snapshot is complete";
  page.resize(512);
  EXPECT_TRUE(fails({2}, false)) << "a page has the page size";
}

TEST_P(Codec, TheLockPageIsLeftOutOfASnapshot) {
  Header header{
      .flags = GetParam().flags, .page_size_bytes = 65536, .commit = 16386, .min_txid = Txid(1), .max_txid = Txid(1)};
  Bytes page(65536);
  Bytes out;
  std::unique_ptr<Encoder> encoder = make_encoder(GetParam().version, header, [&out](ByteView data) -> Status {
    if (out.size() < 1000) append(out, data.first(std::min<std::size_t>(data.size(), 1000)));
    return {};
  });
  for (std::uint32_t pgno = 1; pgno <= 16386; ++pgno) {
    if (pgno != 16385) ASSERT_TRUE(encoder->add_page(Pgno(pgno), page));
  }
  EXPECT_TRUE(encoder->finish(Checksum(Checksum::kFlag)));
}

TEST(Codec, AnErrorOfTheSinkOrSourceIsPassedOn) {
  Decoded file = snapshot(512, 3, 0);
  std::unique_ptr<Encoder> encoder = make_encoder(
      Version::kV1, file.header, [](ByteView) -> Status { return make_error(ErrorCode::kNoSpace, "disk full"); });
  for (const auto& [pgno, data] : file.pages) ASSERT_TRUE(encoder->add_page(pgno, data));
  EXPECT_EQ(encoder->finish(file.trailer.post_apply).error().code(), ErrorCode::kNoSpace);
  Result<Decoded> read = drain(*make_decoder(
      Version::kV3, [](ByteSpan) -> Result<std::size_t> { return make_error(ErrorCode::kIo, "cable cut"); }));
  EXPECT_EQ(read.error().message(), "cable cut");
}

TEST(Codec, APromiseInCds1IsKeptOrTheFileIsNotFinished) {
  Decoded file = snapshot(512, 3, kFlagNoChecksum);
  Bytes out;
  for (bool kept : {true, false}) {
    std::unique_ptr<Encoder> encoder = make_encoder(Version::kV3, file.header, sink_to(out));
    for (const auto& [pgno, data] : file.pages) ASSERT_TRUE(encoder->add_page(pgno, data));
    Checksum actual(file.header.cds1()->post_apply.value() ^ (kept ? 0 : 1));
    EXPECT_EQ(encoder->finish(actual).has_value(), kept);
  }
}

TEST(PageIndex, TheEndOfAFileIsEnoughToFindAPage) {
  Decoded file = snapshot(4096, 300, 0);
  Bytes bytes = *encode(Version::kV3, file);
  Result<std::uint64_t> needed = index_tail_size_bytes(ByteView(bytes).last(24), bytes.size());
  ASSERT_TRUE(needed);
  EXPECT_FALSE(parse_page_index(ByteView(bytes).last(*needed - 1), bytes.size()));
  Result<std::vector<PageIndexEntry>> index = parse_page_index(ByteView(bytes).last(*needed), bytes.size());
  ASSERT_TRUE(index) << index.error().message();
  ASSERT_EQ(index->size(), 300u);
  Bytes page(4096);
  const PageIndexEntry& entry = (*index)[255];
  ASSERT_TRUE(decode_page_frame(ByteView(bytes).subspan(entry.offset, entry.size_bytes), Pgno(256), page));
  EXPECT_EQ(page, file.pages[255].second);
  EXPECT_FALSE(decode_page_frame(ByteView(bytes).subspan(entry.offset, entry.size_bytes), Pgno(255), page));
}

TEST(PageIndex, DamagedIndexesAreErrors) {
  Bytes bytes = *encode(Version::kV3, snapshot(512, 5, 0));
  std::uint64_t tail = *index_tail_size_bytes(bytes, bytes.size());
  for (std::size_t at = bytes.size() - tail; at < bytes.size() - 16; ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      Bytes bad = bytes;
      bad[at] = static_cast<std::uint8_t>(bad[at] ^ (1u << bit));
      // A changed page number may still ascend; then only the frame itself can contradict it.
      Result<std::vector<PageIndexEntry>> index = parse_page_index(bad, bad.size());
      if (!index) continue;
      bool contradicted = false;
      for (const PageIndexEntry& entry : *index) {
        Bytes page(512);
        auto frame = ByteView(bad).subspan(entry.offset, entry.size_bytes);
        contradicted = contradicted || !decode_page_frame(frame, entry.pgno, page);
      }
      EXPECT_TRUE(contradicted) << at;
    }
  }
  EXPECT_FALSE(index_tail_size_bytes(ByteView(bytes).last(23), bytes.size()));
  EXPECT_FALSE(index_tail_size_bytes(ByteView(bytes).last(24), 50));
}

}  // namespace
}  // namespace caddis::ltx
