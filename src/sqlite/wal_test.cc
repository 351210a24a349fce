#include "sqlite/wal.h"

#include <gtest/gtest.h>

#include <random>

#include "sqlite/test_db.h"

namespace caddis::sqlite {
namespace {

constexpr std::uint32_t kPageSize = 1024;

struct RealWal {
  Bytes database, wal;
};
// Three transactions: the table, 40 rows of 500 bytes, an update.
RealWal real_wal() {
  TestDir dir;
  TestDb db(dir / "db");
  db.exec(
      "PRAGMA page_size=1024; PRAGMA journal_mode=wal; PRAGMA wal_autocheckpoint=0;"
      "CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB);"
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<40) "
      "INSERT INTO t SELECT i, randomblob(500) FROM n;"
      "UPDATE t SET v='x' WHERE id=7");
  return {read_file(dir / "db"), read_file(dir / "db-wal")};
}

struct Walk {
  std::uint32_t frames = 0, commits = 0, pages = 0;
  WalPoint last;
};
Walk walk(const Bytes& wal, std::uint32_t max_frame = UINT32_MAX) {
  Walk out;
  Result<WalHeader> header = parse_wal_header(wal);
  if (!header) return out;
  WalReader reader(read_at_of(wal), *header, wal_begin(*header), max_frame);
  while (true) {
    Result<std::optional<WalFrame>> frame = reader.next();
    EXPECT_TRUE(frame);
    if (!frame || !*frame) break;
    EXPECT_EQ((*frame)->frame_no, ++out.frames);
    EXPECT_EQ((*frame)->page.size(), header->page_size_bytes);
    if ((*frame)->commit != 0) {
      ++out.commits;
      out.pages = (*frame)->commit;
    }
  }
  out.last = reader.point();
  return out;
}

// The same WAL with the other byte order of checksums and other salts.
Bytes rewritten(const Bytes& wal, bool big_endian) {
  WalHeader header = *parse_wal_header(wal);
  WalReader reader(read_at_of(wal), header, wal_begin(header));
  WalHeader other = header;
  other.big_endian_checksums = big_endian;
  other.salt1 += 1;
  WalHeaderBytes head = encode_wal_header(other);
  other = *parse_wal_header(head);
  Bytes out(head.begin(), head.end());
  WalChecksum sum = other.checksum;
  while (true) {
    std::optional<WalFrame> frame = *reader.next();
    if (!frame) break;
    sum = frame_checksum(big_endian, frame->pgno, frame->commit, frame->page, sum);
    append(out, encode_wal_frame_header({frame->pgno, frame->commit, other.salt1, other.salt2, sum}));
    append(out, frame->page);
  }
  return out;
}

TEST(WalReader, WalksEveryFrameOfARealWal) {
  RealWal real = real_wal();
  Result<WalHeader> header = parse_wal_header(real.wal);
  ASSERT_TRUE(header) << header.error().message();
  EXPECT_FALSE(header->big_endian_checksums);
  EXPECT_EQ(header->page_size_bytes, kPageSize);
  Walk all = walk(real.wal);
  EXPECT_EQ(wal_size_for(all.frames, kPageSize), real.wal.size());
  EXPECT_EQ(all.commits, 3u);
  WalHeaderBytes again = encode_wal_header(*header);
  EXPECT_TRUE(std::equal(again.begin(), again.end(), real.wal.begin()));
}

TEST(WalReader, SqliteReadsWhatWeWriteInBothByteOrders) {
  RealWal real = real_wal();
  for (bool big_endian : {false, true}) {
    TestDir dir;
    Bytes wal = rewritten(real.wal, big_endian);
    EXPECT_EQ(walk(wal).frames, walk(real.wal).frames);
    write_file(dir / "db", real.database);
    write_file(dir / "db-wal", wal);
    TestDb db(dir / "db");
    EXPECT_EQ(db.value("SELECT v FROM t WHERE id=7"), "x");
    EXPECT_EQ(db.value("PRAGMA integrity_check"), "ok");
  }
}

TEST(WalReader, GoesOnFromAPointAsIfItHadNeverStopped) {
  RealWal real = real_wal();
  Walk all = walk(real.wal);
  WalHeader header = *parse_wal_header(real.wal);
  for (std::uint32_t stop = 0; stop <= all.frames; ++stop) {
    Walk first = walk(real.wal, stop);
    EXPECT_EQ(first.frames, stop);
    WalReader rest(read_at_of(real.wal), header, first.last);
    std::uint32_t more = 0;
    while (*rest.next()) ++more;
    EXPECT_EQ(stop + more, all.frames);
    EXPECT_EQ(rest.point(), all.last);
  }
}

TEST(WalReader, StopsAtATornFrame) {
  RealWal real = real_wal();
  Walk all = walk(real.wal);
  for (std::size_t cut : {1u, 500u, 1024u, 1030u}) {
    Bytes torn(real.wal.begin(), real.wal.end() - static_cast<std::ptrdiff_t>(cut));
    EXPECT_EQ(walk(torn).frames, all.frames - 1) << cut;
  }
}

TEST(WalReader, StopsAtAnyFlippedBit) {
  RealWal real = real_wal();
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    std::size_t at = random() % real.wal.size();
    Bytes bad = real.wal;
    bad[at] = static_cast<std::uint8_t>(bad[at] ^ (1u << (random() % 8)));
    std::uint32_t frame = at < 32 ? 1 : static_cast<std::uint32_t>((at - 32) / (kPageSize + 24)) + 1;
    EXPECT_EQ(walk(bad).frames, frame - 1) << at;
  }
}

TEST(WalReader, StopsWhereAnOlderGenerationBegins) {
  RealWal real = real_wal();
  Bytes newer = rewritten(real.wal, false);
  std::copy_n(newer.begin(), wal_size_for(4, kPageSize), real.wal.begin());
  EXPECT_EQ(walk(real.wal).frames, 4u);
}

TEST(WalHeader, SaysWhatIsWrong) {
  RealWal real = real_wal();
  EXPECT_EQ(parse_wal_header(ByteView(real.wal).first(31)).error().code(), ErrorCode::kCorrupt);
  WalHeaderBytes head = encode_wal_header({.page_size_bytes = 65536, .salt1 = 1, .salt2 = 2});
  EXPECT_EQ(parse_wal_header(head)->page_size_bytes, 65536u);
  head = encode_wal_header({.page_size_bytes = 1000});
  EXPECT_EQ(parse_wal_header(head).error().message(), "wal: page size 1000");
}

TEST(WalChecksum, AgreesWithTheDefinitionInBothByteOrders) {
  std::mt19937 random(5);
  Bytes data(4096);
  for (std::uint8_t& b : data) b = static_cast<std::uint8_t>(random());
  for (bool big_endian : {false, true}) {
    std::uint32_t s1 = 11;
    std::uint32_t s2 = 22;
    for (std::size_t i = 0; i < data.size(); i += 8) {
      const std::uint8_t* p = data.data() + i;
      s1 += (big_endian ? get_be32(p) : get_le32(p)) + s2;
      s2 += (big_endian ? get_be32(p + 4) : get_le32(p + 4)) + s1;
    }
    EXPECT_EQ(wal_checksum(big_endian, data, {11, 22}), (WalChecksum{s1, s2}));
  }
}

}  // namespace
}  // namespace caddis::sqlite
