// A made-up database with its history of LTX files, for this module's tests.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "ltx/checksum.h"
#include "ltx/stream.h"

namespace caddis::backup {

struct HistoryFile {
  Txid min, max;
  Bytes v1;
};

class TestHistory {
 public:
  explicit TestHistory(std::uint32_t page_size_bytes = 512, unsigned seed = 1)
      : page_size_(page_size_bytes), random_(seed) {}

  // One transaction: `changed` pages get new random content, the size becomes `commit`; pages that a growth adds are
  // written whether listed or not. `txids` > 1 makes a range.
  const HistoryFile& commit(std::vector<std::uint32_t> changed, std::uint32_t commit, std::uint64_t txids = 1) {
    std::map<std::uint32_t, Bytes> written;
    for (std::uint32_t n : changed) written[n] = random_page();
    for (std::uint32_t n = static_cast<std::uint32_t>(pages_.size()) + 1; n <= commit; ++n) {
      if (!written.contains(n)) written[n] = random_page();
    }
    return write(std::move(written), commit, txids);
  }

  // One transaction that makes the database what `image` is: the pages that differ, and what a growth adds.
  const HistoryFile& commit_image(ByteView image) {
    auto count = static_cast<std::uint32_t>(image.size() / page_size_);
    std::map<std::uint32_t, Bytes> written;
    for (std::uint32_t n = 1; n <= count; ++n) {
      ByteView page = image.subspan(std::size_t{n - 1} * page_size_, page_size_);
      if (n > pages_.size() || !std::equal(page.begin(), page.end(), pages_[n - 1].begin()))
        written[n] = Bytes(page.begin(), page.end());
    }
    return write(std::move(written), count, 1);
  }
  // How the log of a database begins that was restored at this position: page 1, unchanged.
  HistoryFile restored_marker() const {
    ltx::Header header;
    header.page_size_bytes = page_size_;
    header.commit = page_count();
    header.min_txid = header.max_txid = position_.txid;
    header.timestamp_ms = wall_ms_;
    header.pre_apply = position_.checksum;
    HistoryFile file{header.min_txid, header.max_txid, {}};
    auto encoder = ltx::make_encoder(ltx::Version::kV1, header, [&file](ByteView piece) -> Status {
      append(file.v1, piece);
      return {};
    });
    EXPECT_TRUE(encoder->add_page(Pgno(1), pages_.front()));
    EXPECT_TRUE(encoder->finish(position_.checksum));
    return file;
  }
  // DROP: an LTX of size 0.
  const HistoryFile& drop() { return commit({}, 0); }
  void change_page_size(std::uint32_t page_size_bytes) {
    EXPECT_TRUE(pages_.empty());
    page_size_ = page_size_bytes;
  }

  void set_wall_ms(std::int64_t wall_ms) { wall_ms_ = wall_ms; }

  Position position() const { return position_; }
  std::uint32_t page_size_bytes() const { return page_size_; }
  std::uint32_t page_count() const { return static_cast<std::uint32_t>(pages_.size()); }
  std::int64_t wall_ms() const { return wall_ms_; }
  const std::vector<HistoryFile>& files() const { return files_; }
  const Bytes& page(std::uint32_t n) const { return pages_.at(n - 1); }
  Bytes image() const {
    Bytes out;
    for (const Bytes& p : pages_) append(out, p);
    return out;
  }

 private:
  const HistoryFile& write(std::map<std::uint32_t, Bytes> written, std::uint32_t commit, std::uint64_t txids) {
    ltx::Header header;
    header.page_size_bytes = page_size_;
    header.commit = commit;
    header.min_txid = position_.txid.next();
    header.max_txid = Txid(position_.txid.value() + txids);
    header.timestamp_ms = wall_ms_ += 1000;
    header.flags = ltx::kFlagLz4;
    if (position_.txid != Txid()) header.pre_apply = position_.checksum;
    apply(written, commit);
    position_.txid = header.max_txid;
    HistoryFile file{header.min_txid, header.max_txid, {}};
    auto encoder = ltx::make_encoder(ltx::Version::kV1, header, [&file](ByteView piece) -> Status {
      append(file.v1, piece);
      return {};
    });
    for (const auto& [n, data] : written) {
      if (n <= commit && Pgno(n) != lock_pgno(page_size_)) {
        auto added = encoder->add_page(Pgno(n), data);
        EXPECT_TRUE(added) << added.error().message();
      }
    }
    auto finished = encoder->finish(position_.checksum);
    EXPECT_TRUE(finished) << finished.error().message();
    files_.push_back(std::move(file));
    return files_.back();
  }
  Bytes random_page() {
    Bytes page(page_size_);
    for (std::uint8_t& b : page) b = static_cast<std::uint8_t>(random_() % 17);  // compresses a little
    return page;
  }
  void apply(const std::map<std::uint32_t, Bytes>& written, std::uint32_t commit) {
    pages_.resize(commit);
    for (const auto& [n, data] : written) {
      if (n <= commit) pages_[n - 1] = data;
    }
    ltx::RollingChecksum sum;
    for (std::uint32_t n = 1; n <= commit; ++n) {
      if (Pgno(n) != lock_pgno(page_size_)) sum.add(ltx::page_checksum(Pgno(n), pages_[n - 1]));
    }
    position_.checksum = sum.value();
  }

  std::uint32_t page_size_;
  std::mt19937 random_;
  std::vector<Bytes> pages_;
  Position position_;
  std::int64_t wall_ms_ = 1'700'000'000'000;
  std::vector<HistoryFile> files_;
};

}  // namespace caddis::backup
