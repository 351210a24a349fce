#include "ltx/compactor.h"

#include <algorithm>

namespace caddis::ltx {

Compactor::Compactor(std::vector<std::unique_ptr<PageSource>> inputs) {
  for (auto& source : inputs) inputs_.push_back(Input{.source = std::move(source)});
}

Result<Header> Compactor::header() {
  if (!header_) header_ = read_headers();
  return *header_;
}

Result<Header> Compactor::read_headers() {
  if (inputs_.empty()) return invalid("ltx compaction: no input");
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    TRY_ASSIGN(inputs_[i].header, inputs_[i].source->header());
    if (i == 0) continue;
    const Header& prev = inputs_[i - 1].header;
    const Header& next = inputs_[i].header;
    if (next.page_size_bytes != prev.page_size_bytes) {
      return invalid("ltx compaction: page size {} in {}, {} in {}", prev.page_size_bytes,
                     file_name(prev.min_txid, prev.max_txid), next.page_size_bytes,
                     file_name(next.min_txid, next.max_txid));
    }
    if (!is_contiguous(prev.max_txid, next.min_txid, next.max_txid)) {
      return invalid("ltx compaction: {} does not continue {}", file_name(next.min_txid, next.max_txid),
                     file_name(prev.min_txid, prev.max_txid));
    }
  }
  std::uint32_t smallest = UINT32_MAX;
  for (auto input = inputs_.rbegin(); input != inputs_.rend(); ++input) {
    smallest = std::min(smallest, input->header.commit);
    input->smallest_commit_after = smallest;
  }
  const Header& first = inputs_.front().header;
  const Header& last = inputs_.back().header;
  Header merged;
  merged.page_size_bytes = first.page_size_bytes;
  merged.commit = last.commit;
  merged.min_txid = first.min_txid;
  merged.max_txid = last.max_txid;
  merged.timestamp_ms = last.timestamp_ms;
  merged.pre_apply = first.pre_apply;
  if (std::optional<Cds1> cds1 = last.cds1()) merged.set_cds1(*cds1);
  return merged;
}

Result<std::optional<Page>> Compactor::next() {
  if (failed_) return std::unexpected(*failed_);
  if (ended_) return std::nullopt;
  Result<std::optional<Page>> page = merge_next();
  if (!page) failed_ = page.error();
  return page;
}

Status Compactor::advance(Input& input) {
  TRY_ASSIGN(input.page, input.source->next());
  return {};
}

Result<std::optional<Page>> Compactor::merge_next() {
  TRY(header());
  if (!started_) {
    started_ = true;
    for (Input& input : inputs_) TRY(advance(input));
  }
  while (true) {
    for (std::size_t i : consumed_) TRY(advance(inputs_[i]));
    consumed_.clear();
    std::optional<Pgno> lowest;
    for (const Input& input : inputs_) {
      if (input.page && (!lowest || input.page->pgno < *lowest)) lowest = input.page->pgno;
    }
    if (!lowest) break;
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      if (inputs_[i].page && inputs_[i].page->pgno == *lowest) consumed_.push_back(i);
    }
    const Input& winner = inputs_[consumed_.back()];
    if (lowest->value() <= winner.smallest_commit_after) return winner.page;
  }
  TRY(check_history());
  trailer_.post_apply = post_apply_of(inputs_.back());
  ended_ = true;
  return std::nullopt;
}

Checksum Compactor::post_apply_of(const Input& input) {
  Checksum stored = input.source->trailer().post_apply;
  return stored != Checksum() ? stored : input.header.cds1().value_or(Cds1{}).post_apply;
}

// Possible only at the end: the trailers come last.
Status Compactor::check_history() {
  for (std::size_t i = 1; i < inputs_.size(); ++i) {
    const Header& prev = inputs_[i - 1].header;
    const Header& next = inputs_[i].header;
    Checksum before = post_apply_of(inputs_[i - 1]);
    if (next.min_txid != prev.max_txid.next() || before == Checksum() || next.pre_apply == Checksum()) continue;
    if (before != next.pre_apply) {
      return corrupt("ltx compaction: {} expects database checksum {}, {} left {}: two histories",
                     file_name(next.min_txid, next.max_txid), next.pre_apply, file_name(prev.min_txid, prev.max_txid),
                     before);
    }
  }
  return {};
}

}  // namespace caddis::ltx
