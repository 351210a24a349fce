#include "backup/page_batch.h"

#include "base/check.h"
#include "ltx/compactor.h"

namespace caddis::backup {

Status PageBatch::check_follows(const ltx::Header& header) const {
  if (!first_) return {};
  if (!ltx::is_contiguous(last_.max_txid, header.min_txid, header.max_txid))
    return corrupt("{} does not follow {}", ltx::file_name(header.min_txid, header.max_txid), last_.max_txid);
  bool both_known = header.pre_apply != Checksum() && post_apply_ != Checksum();
  if (both_known && header.min_txid == last_.max_txid.next() && header.pre_apply != post_apply_)
    return corrupt("{} begins at checksum {}, the transaction before ended at {}",
                   ltx::file_name(header.min_txid, header.max_txid), header.pre_apply, post_apply_);
  return {};
}

Result<PageBatch::Added> PageBatch::add(ltx::PageSource& source) {
  TRY_ASSIGN(ltx::Header header, source.header());
  if (header.commit == 0) return Added::kDropped;
  if (first_ && header.page_size_bytes != first_->page_size_bytes) return Added::kPageSize;
  TRY(check_follows(header));
  Pages staged;  // joins pages_ only when the file was read to its end
  std::uint64_t staged_bytes = 0;
  std::uint64_t fresh_bytes = 0;  // of pages that are not there yet
  for (;;) {
    TRY_ASSIGN(std::optional<ltx::Page> page, source.next());
    if (!page) break;
    staged_bytes += page->data.size();
    if (!pages_.contains(page->pgno)) fresh_bytes += page->data.size();
    if (staged_bytes > limit_bytes_ || (first_ && size_bytes_ + fresh_bytes > limit_bytes_))
      return first_ ? Added::kFull : Added::kTooLarge;
    staged.emplace(page->pgno, Bytes(page->data.begin(), page->data.end()));
  }
  pages_.erase(pages_.upper_bound(Pgno(header.commit)), pages_.end());
  staged.merge(pages_);  // keys of `staged` win
  pages_ = std::move(staged);
  size_bytes_ = pages_.size() * header.page_size_bytes;
  if (!first_) first_ = header;
  last_ = header;
  post_apply_ = source.trailer().post_apply;
  if (auto proof = header.cds1(); post_apply_ == Checksum() && proof) post_apply_ = proof->post_apply;
  return Added::kAdded;
}

Result<Bytes> PageBatch::encode(std::uint64_t epoch) const {
  CHECK(!empty());
  ltx::Header header = last_;
  header.min_txid = first_->min_txid;
  std::optional<ltx::Cds1> proof;
  if (post_apply_ != Checksum()) proof = ltx::Cds1{post_apply_, epoch};
  header = ltx::untracked_header(header, proof);
  header.wal_offset = header.wal_size = 0;  // they describe one transaction's WAL bytes, not an object's
  header.salt1 = header.salt2 = 0;
  Bytes out;
  auto encoder = ltx::make_encoder(ltx::Version::kV3, header, [&out](ByteView piece) -> Status {
    append(out, piece);
    return {};
  });
  for (const auto& [pgno, data] : pages_) TRY(encoder->add_page(pgno, data));
  TRY(encoder->finish(post_apply_));
  return out;
}

}  // namespace caddis::backup
