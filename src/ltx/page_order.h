// The rules of the page block that encoder and decoder share: ascending, within commit, never the lock page, and in a
// snapshot every page.
#pragma once

#include "base/ids.h"
#include "base/result.h"
#include "ltx/header.h"

namespace caddis::ltx {

class PageOrder {
 public:
  // Errors carry `code`: kInvalid for what a caller gives, kCorrupt for what a file holds.
  PageOrder(const Header& header, ErrorCode code);
  Status check(Pgno pgno);
  Status finish() const;
  std::uint32_t count() const { return count_; }

 private:
  Pgno following(Pgno pgno) const;

  Pgno lock_;
  std::uint32_t commit_ = 0;
  bool complete_ = false;
  ErrorCode code_;
  Pgno previous_;
  std::uint32_t count_ = 0;
};

}  // namespace caddis::ltx
