#include "backup/page_batch.h"

#include <gtest/gtest.h>

#include "backup/part_encoder.h"
#include "backup/test_history.h"

namespace caddis::backup {
namespace {

Result<PageBatch::Added> add(PageBatch& batch, const HistoryFile& file) {
  auto decoder = ltx::make_decoder(ltx::Version::kV1, ltx::source_of(file.v1));
  return batch.add(*decoder);
}

// Database image after the object (which begins at TXID 1).
Bytes image_of(const Bytes& object) {
  auto decoder = ltx::make_decoder(ltx::Version::kV3, ltx::source_of(object));
  Bytes image;
  for (;;) {
    auto page = decoder->next();
    EXPECT_TRUE(page) << page.error().message();
    if (!page || !*page) return image;
    append(image, (*page)->data);
  }
}

TEST(PageBatch, MergesTransactionsIntoOneProvenObject) {
  TestHistory history;
  PageBatch batch(1 << 20);
  EXPECT_EQ(add(batch, history.commit({1, 2, 3}, 5)).value(), PageBatch::Added::kAdded);
  EXPECT_EQ(add(batch, history.commit({2}, 3)).value(), PageBatch::Added::kAdded);
  EXPECT_EQ(add(batch, history.commit({1, 3}, 6, 4)).value(), PageBatch::Added::kAdded);
  EXPECT_EQ(batch.position(), history.position());
  auto object = batch.encode(7);
  ASSERT_TRUE(object) << object.error().message();
  EXPECT_EQ(image_of(*object), history.image());
  auto summary = ltx::verify(ltx::Version::kV3, ltx::source_of(*object));
  ASSERT_TRUE(summary) << summary.error().message();
  EXPECT_EQ(summary->header.flags, ltx::kFlagNoChecksum);
  EXPECT_EQ(summary->trailer.post_apply, Checksum());
  EXPECT_EQ(summary->header.cds1(), (ltx::Cds1{history.position().checksum, 7}));
  EXPECT_EQ(summary->header.min_txid, Txid(1));
  EXPECT_EQ(summary->header.max_txid, Txid(6));
  EXPECT_EQ(summary->header.timestamp_ms, history.wall_ms());
}

TEST(PageBatch, ManyTransactionsOnTheSamePagesFit) {
  TestHistory history;
  PageBatch batch(512 * 4);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(add(batch, history.commit({1, 2}, 4)).value(), PageBatch::Added::kAdded);
}

TEST(PageBatch, FileThatDoesNotFitLeavesTheBatchAsItWas) {
  TestHistory history;
  PageBatch batch(512 * 4);
  ASSERT_EQ(add(batch, history.commit({}, 3)).value(), PageBatch::Added::kAdded);
  Position before = history.position();
  EXPECT_EQ(add(batch, history.commit({1}, 6)).value(), PageBatch::Added::kFull);
  EXPECT_EQ(batch.position(), before);
  EXPECT_TRUE(batch.encode(1));
}

TEST(PageBatch, GiantFirstFileIsForStreaming) {
  TestHistory history;
  PageBatch batch(512 * 4);
  const HistoryFile& file = history.commit({}, 9);
  EXPECT_EQ(add(batch, file).value(), PageBatch::Added::kTooLarge);
  EXPECT_TRUE(batch.empty());
  auto decoder = ltx::make_decoder(ltx::Version::kV1, ltx::source_of(file.v1));
  auto header = decoder->header();
  ASSERT_TRUE(header);
  PartEncoder encoder(*header, history.position().checksum, 3, [&decoder] { return decoder->next(); });
  Bytes object;
  while (!encoder.done()) {
    auto part = encoder.next_part(1000);
    ASSERT_TRUE(part) << part.error().message();
    append(object, *part);
  }
  EXPECT_EQ(encoder.size_bytes(), object.size());
  EXPECT_EQ(image_of(object), history.image());
}

TEST(PageBatch, DropAndNewPageSizeEndTheHistory) {
  TestHistory history;
  PageBatch batch(1 << 20);
  ASSERT_EQ(add(batch, history.commit({}, 3)).value(), PageBatch::Added::kAdded);
  EXPECT_EQ(add(batch, history.drop()).value(), PageBatch::Added::kDropped);
  history.change_page_size(1024);
  EXPECT_EQ(add(batch, history.commit({}, 2)).value(), PageBatch::Added::kPageSize);
}

TEST(PageBatch, MissingTransactionAndOtherHistoryAreErrors) {
  TestHistory history(512, 1), other(512, 2);
  PageBatch batch(1 << 20);
  ASSERT_TRUE(add(batch, history.commit({}, 3)));
  other.commit({}, 3);
  EXPECT_EQ(add(batch, other.commit({1}, 3)).error().code(), ErrorCode::kCorrupt);
  history.commit({1}, 3);
  EXPECT_EQ(add(batch, history.commit({1}, 3)).error().code(), ErrorCode::kCorrupt);
}

TEST(PageBatch, DamagedFileIsAnErrorAndLeavesTheBatchAsItWas) {
  TestHistory history;
  PageBatch batch(1 << 20);
  ASSERT_TRUE(add(batch, history.commit({}, 3)));
  Position before = history.position();
  HistoryFile file = history.commit({2}, 3);
  file.v1[file.v1.size() - 1] ^= 1;
  EXPECT_EQ(add(batch, file).error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(batch.position(), before);
}

}  // namespace
}  // namespace caddis::backup
