#include "ltx/page_order.h"

namespace caddis::ltx {

PageOrder::PageOrder(const Header& header, ErrorCode code)
    : lock_(lock_pgno(header.page_size_bytes)), commit_(header.commit), complete_(header.is_snapshot()), code_(code) {}

Pgno PageOrder::following(Pgno pgno) const {
  Pgno next(pgno.value() + 1);
  return next == lock_ ? Pgno(next.value() + 1) : next;
}

Status PageOrder::check(Pgno pgno) {
  if (pgno == lock_) return make_error(code_, "ltx page {}: this is the lock page, which is never stored", pgno);
  if (pgno.value() > commit_)
    return make_error(code_, "ltx page {}: beyond the database size of {} pages", pgno, commit_);
  if (pgno <= previous_)
    return make_error(code_, "ltx page {}: after page {}, expected ascending order", pgno, previous_);
  if (complete_ && pgno != following(previous_)) {
    return make_error(code_, "ltx page {}: after page {}, a snapshot leaves no page out", pgno, previous_);
  }
  previous_ = pgno;
  ++count_;
  return {};
}

Status PageOrder::finish() const {
  if (complete_ && following(previous_).value() <= commit_) {
    return make_error(code_, "ltx: a snapshot of {} pages ends at page {}", commit_, previous_);
  }
  return {};
}

}  // namespace caddis::ltx
