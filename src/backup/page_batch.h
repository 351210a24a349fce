// The pages of consecutive transactions, the last copy of each, in bounded memory: what becomes one object of a target.
// Files are read one after the other, so a thousand small transactions on the same pages cost those pages, not a
// thousand open files. Blocking; one thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "ltx/stream.h"

namespace caddis::backup {

class PageBatch {
 public:
  enum class Added {
    kAdded,
    kFull,      // does not fit beside what is there: the batch is unchanged, start another with this file
    kTooLarge,  // does not fit alone: stream it (part_encoder.h)
    kDropped,   // the transaction deletes the database: history ends here
    kPageSize,  // the page size changes: history ends here, a snapshot begins a new one
  };
  explicit PageBatch(std::uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}

  // Reads one file to its end and proves it. Errors: kCorrupt when it is damaged, does not follow on what is there, or
  // belongs to another history (pre-apply checksum); the batch is unchanged then.
  Result<Added> add(ltx::PageSource& source);

  bool empty() const { return !first_; }
  Txid min() const { return first_->min_txid; }
  Position position() const { return {last_.max_txid, post_apply_}; }  // after the last transaction
  std::int64_t timestamp_ms() const { return last_.timestamp_ms; }
  std::uint32_t page_size_bytes() const { return first_->page_size_bytes; }

  // The object: LTX v3 without Litestream's checksums, with our proof (CDS1) when the position's checksum is known.
  Result<Bytes> encode(std::uint64_t epoch) const;

 private:
  using Pages = std::map<Pgno, Bytes>;
  Status check_follows(const ltx::Header& header) const;

  std::uint64_t limit_bytes_;
  Pages pages_;
  std::uint64_t size_bytes_ = 0;
  std::optional<ltx::Header> first_;
  ltx::Header last_;
  Checksum post_apply_;
};

}  // namespace caddis::backup
