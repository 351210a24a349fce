// Merges LTX files of consecutive transactions into one stream of pages: the last copy of a page wins, pages beyond the
// final size are dropped. The result is a PageSource, to be copied into an encoder of either version, or into a
// database.
#pragma once

#include <memory>
#include <vector>

#include "ltx/stream.h"

namespace caddis::ltx {

// next begins at or before the end of prev (overlap is allowed) and reaches beyond it.
constexpr bool is_contiguous(Txid prev_max, Txid next_min, Txid next_max) {
  return next_min.value() <= prev_max.value() + 1 && next_max > prev_max;
}

// Inputs in ascending order of transactions, any mixture of versions. Memory: that of the inputs, one page each.
//
// header(): page size, min TXID and pre-apply checksum of the first input, commit, max TXID and timestamp of the last;
// the last one's CDS1; flags, WAL fields and node id are 0. The caller makes it the header of its encoder: as it is, or
// with kFlagLz4, for v1; through untracked_header() for a backup. (A first input without checksums leaves pre-apply 0,
// so only the untracked form can be made from it, unless it is a snapshot.)
// trailer(): the last input's post-apply checksum (from CDS1 when its trailer has none), file checksum 0.
//
// A page that an intermediate shrink cut off does not come back from an older input, even if the final size is greater
// again: the input that grew the database must hold it, as SQLite's commits do.
// Errors: kInvalid when the inputs differ in page size or are not contiguous; kCorrupt when two neighbours with
// checksums do not belong to one history, or an input is damaged.
class Compactor : public PageSource {
 public:
  explicit Compactor(std::vector<std::unique_ptr<PageSource>> inputs);
  Result<Header> header() override;
  Result<std::optional<Page>> next() override;
  Trailer trailer() const override { return trailer_; }

 private:
  struct Input {
    std::unique_ptr<PageSource> source;
    Header header;
    std::optional<Page> page;                 // the one not yet passed on; nullopt at the end
    std::uint32_t smallest_commit_after = 0;  // of this and all later inputs
  };
  Result<Header> read_headers();
  Result<std::optional<Page>> merge_next();
  Status advance(Input& input);
  Status check_history();
  static Checksum post_apply_of(const Input& input);

  std::vector<Input> inputs_;
  std::optional<Result<Header>> header_;
  std::vector<std::size_t> consumed_;  // inputs whose page was passed on or overruled by the last next()
  Trailer trailer_;
  bool started_ = false;
  bool ended_ = false;
  std::optional<Error> failed_;
};

}  // namespace caddis::ltx
