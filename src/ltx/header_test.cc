#include "ltx/header.h"

#include <gtest/gtest.h>

namespace caddis::ltx {
namespace {

Header incremental() {
  return {.page_size_bytes = 4096,
          .commit = 7,
          .min_txid = Txid(5),
          .max_txid = Txid(6),
          .timestamp_ms = -1,
          .pre_apply = Checksum(Checksum::kFlag | 9),
          .wal_offset = 32,
          .wal_size = 4120,
          .salt1 = 1,
          .salt2 = 2,
          .node_id = 0xfedcba9876543210};
}

TEST(LtxHeader, EveryFieldSurvivesEncodingAndDecoding) {
  for (Version version : {Version::kV1, Version::kV3}) {
    Header header = incremental();
    header.reserved[19] = 0xff;
    EXPECT_EQ(*decode_header(encode_header(header), version), header);
  }
}

TEST(LtxHeader, Cds1SitsInBytes80To99) {
  Header header = untracked_header(incremental(), Cds1{Checksum(0x8123456789abcdef), 0x42});
  EXPECT_EQ(header.flags, kFlagNoChecksum);
  EXPECT_EQ(header.pre_apply, Checksum());
  EXPECT_EQ(header.node_id, 0u);
  HeaderBytes bytes = encode_header(header);
  EXPECT_EQ(as_text(ByteView(bytes).subspan(80, 4)), "CDS1");
  EXPECT_EQ(get_be64(bytes.data() + 84), 0x8123456789abcdefu);
  EXPECT_EQ(get_be64(bytes.data() + 92), 0x42u);
  EXPECT_EQ(decode_header(bytes, Version::kV3)->cds1(), (Cds1{Checksum(0x8123456789abcdef), 0x42}));
  EXPECT_EQ(incremental().cds1(), std::nullopt);
  EXPECT_EQ(untracked_header(header, std::nullopt).cds1(), std::nullopt);
  header.set_cds1({Checksum(5), 1});
  EXPECT_FALSE(validate(header, Version::kV3)) << "a database checksum has bit 63";
}

TEST(LtxHeader, EachRuleOfTheFormatIsChecked) {
  auto broken = [](Version version, auto change) {
    Header header = incremental();
    change(header);
    return !validate(header, version).has_value();
  };
  for (Version v : {Version::kV1, Version::kV3}) {
    EXPECT_FALSE(broken(v, [](Header&) {}));
    EXPECT_TRUE(broken(v, [](Header& h) { h.flags = 4; }));
    EXPECT_TRUE(broken(v, [](Header& h) { h.page_size_bytes = 256; }));
    EXPECT_TRUE(broken(v, [](Header& h) { h.page_size_bytes = 131072; }));
    EXPECT_TRUE(broken(v, [](Header& h) { h.page_size_bytes = 4097; }));
    EXPECT_TRUE(broken(v, [](Header& h) { h.min_txid = Txid(0); }));
    EXPECT_TRUE(broken(v, [](Header& h) { h.max_txid = Txid(4); }));
    EXPECT_TRUE(broken(v, [](Header& h) { h.pre_apply = Checksum(9); }));
    EXPECT_TRUE(broken(v, [](Header& h) { h.min_txid = Txid(1); })) << "a snapshot has no pre-apply checksum";
    EXPECT_TRUE(broken(v, [](Header& h) { h.wal_offset = 0; }));
    EXPECT_TRUE(broken(v, [](Header& h) { h.wal_size = 1ull << 63; }));
  }
  EXPECT_TRUE(broken(Version::kV1, [](Header& h) { h.flags = kFlagNoChecksum; }));
  EXPECT_TRUE(broken(Version::kV3, [](Header& h) { h.flags = kFlagLz4; }));
  EXPECT_TRUE(broken(Version::kV1, [](Header& h) { h.wal_size = 0; }));
  EXPECT_FALSE(broken(Version::kV3, [](Header& h) { h.wal_size = 0; }));
  EXPECT_TRUE(broken(Version::kV3, [](Header& h) { h.flags = kFlagNoChecksum; })) << "it has a pre-apply checksum";
}

TEST(LtxHeader, WhatIsNoHeaderIsNamed) {
  HeaderBytes bytes = encode_header(incremental());
  EXPECT_EQ(decode_header(ByteView(bytes).first(99), Version::kV1).error().message(),
            "ltx: 99 bytes, a header has 100");
  bytes[3] = '2';
  EXPECT_EQ(decode_header(bytes, Version::kV1).error().message(), "ltx: magic 4c545832 is not LTX1");
  bytes[3] = '1';
  bytes[11] = 1;
  EXPECT_EQ(decode_header(bytes, Version::kV1).error().code(), ErrorCode::kCorrupt);
}

TEST(LtxTrailer, PostApplyMustFitTheHeader) {
  Header header = incremental();
  EXPECT_TRUE(validate_post_apply(header, Checksum(Checksum::kFlag | 1)));
  EXPECT_FALSE(validate_post_apply(header, Checksum(1)));
  EXPECT_FALSE(validate_post_apply(header, Checksum()));
  header.commit = 0;
  EXPECT_FALSE(validate_post_apply(header, Checksum(Checksum::kFlag | 1)));
  EXPECT_TRUE(validate_post_apply(header, kEmptyDatabaseChecksum));
  header.flags = kFlagNoChecksum;
  EXPECT_FALSE(validate_post_apply(header, kEmptyDatabaseChecksum));
  EXPECT_TRUE(validate_post_apply(header, Checksum()));
}

TEST(LtxFileName, IsMinAndMaxInSixteenLowerCaseDigits) {
  EXPECT_EQ(file_name(Txid(1), Txid(0x1f)), "0000000000000001-000000000000001f.ltx");
  EXPECT_EQ(*parse_file_name("0000000000000001-000000000000001f.ltx"), std::pair(Txid(1), Txid(0x1f)));
  for (const char* name :
       {"", "0000000000000001-000000000000001F.ltx", "0000000000000001-000000000000001f.ltx.tmp",
        "0000000000000001_000000000000001f.ltx", "0000000000000002-0000000000000001.ltx",
        "0000000000000000-0000000000000001.ltx", "000000000000001-000000000000001f.ltx", "0000000000000001.ltx"}) {
    EXPECT_FALSE(parse_file_name(name)) << name;
  }
}

}  // namespace
}  // namespace caddis::ltx
