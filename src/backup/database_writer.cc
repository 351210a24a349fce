#include "backup/database_writer.h"

#include "ltx/compactor.h"

namespace caddis::backup {
namespace {

constexpr std::size_t kRunSizeBytes = 256 * 1024;

}  // namespace

Status DatabaseWriter::check_header(const ltx::Header& header) const {
  if (header.commit == 0) return corrupt("the database was deleted in it");
  if (!begun_) {
    if (!header.is_snapshot())
      return corrupt("it begins at TXID {}, the first object must begin at 1", header.min_txid);
    return {};
  }
  if (header.page_size_bytes != last_.page_size_bytes)
    return corrupt("page size {}, the objects before have {}", header.page_size_bytes, last_.page_size_bytes);
  if (!ltx::is_contiguous(last_.max_txid, header.min_txid, header.max_txid))
    return corrupt("transactions {} to {} do not follow {}", header.min_txid, header.max_txid, last_.max_txid);
  return {};
}

Status DatabaseWriter::apply(ltx::PageSource& object) {
  TRY_ASSIGN(ltx::Header header, object.header());
  TRY(check_header(header));
  begun_ = true;
  last_ = header;
  for (;;) {
    TRY_ASSIGN(std::optional<ltx::Page> page, object.next());
    if (!page) break;
    TRY(set_page(page->pgno, page->data));
  }
  TRY(flush());
  TRY(expect_pages_below(Pgno(header.commit + 1)));
  TRY(resize(header.commit));
  Checksum expected = object.trailer().post_apply;
  if (auto proof = header.cds1(); expected == Checksum() && proof) expected = proof->post_apply;
  proven_ = expected != Checksum();
  if (proven_ && expected != sum_.value())
    return corrupt("the database has checksum {} after it, it says {}", sum_.value(), expected);
  return {};
}

// A transaction that makes the database larger holds every new page, so beyond the end they come one after the other.
// (Memory therefore follows the pages read, never the size that a header claims.)
Status DatabaseWriter::expect_pages_below(Pgno pgno) {
  bool lock_page_is_next = sums_.size() + 1 == lock_pgno(last_.page_size_bytes).value();
  if (lock_page_is_next && pgno.index() > sums_.size()) sums_.emplace_back();
  if (pgno.index() > sums_.size()) return corrupt("page {} of {} is in no object", sums_.size() + 1, last_.commit);
  return {};
}

Status DatabaseWriter::set_page(Pgno pgno, ByteView data) {
  TRY(expect_pages_below(pgno));
  Checksum fresh = ltx::page_checksum(pgno, data);
  if (pgno.index() == sums_.size()) sums_.emplace_back();
  sum_.replace(sums_[pgno.index()], fresh);
  sums_[pgno.index()] = fresh;
  std::uint64_t offset = std::uint64_t{pgno.index()} * last_.page_size_bytes;
  if (!run_.empty() && (run_offset_ + run_.size() != offset || run_.size() + data.size() > kRunSizeBytes)) TRY(flush());
  if (run_.empty()) run_offset_ = offset;
  append(run_, data);
  return {};
}

Status DatabaseWriter::flush() {
  if (run_.empty()) return {};
  TRY(file_.pwrite(run_, run_offset_));
  run_.clear();
  return {};
}

Status DatabaseWriter::resize(std::uint32_t commit) {
  for (std::size_t i = commit; i < sums_.size(); ++i) {
    if (sums_[i] != Checksum()) sum_.remove(sums_[i]);
  }
  sums_.resize(commit);
  return file_.truncate(std::uint64_t{commit} * last_.page_size_bytes);
}

Status DatabaseWriter::finish() {
  if (!begun_) return corrupt("there is no object");
  return file_.sync();
}

}  // namespace caddis::backup
