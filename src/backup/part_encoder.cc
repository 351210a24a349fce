#include "backup/part_encoder.h"

namespace caddis::backup {

PartEncoder::PartEncoder(const ltx::Header& header, Checksum post_apply, std::uint64_t epoch, NextPage next)
    : post_apply_(post_apply), next_(std::move(next)) {
  std::optional<ltx::Cds1> proof;
  if (post_apply != Checksum()) proof = ltx::Cds1{post_apply, epoch};
  header_ = ltx::untracked_header(header, proof);
  header_.wal_offset = header_.wal_size = 0;
  header_.salt1 = header_.salt2 = 0;
  encoder_ = ltx::make_encoder(ltx::Version::kV3, header_, [this](ByteView piece) -> Status {
    append(part_, piece);
    return {};
  });
}

Result<Bytes> PartEncoder::next_part(std::size_t min_bytes) {
  while (!done_ && part_.size() < min_bytes) {
    TRY_ASSIGN(std::optional<ltx::Page> page, next_());
    if (page) {
      TRY(encoder_->add_page(page->pgno, page->data));
    } else {
      TRY(encoder_->finish(post_apply_));
      done_ = true;
    }
  }
  return std::exchange(part_, {});
}

}  // namespace caddis::backup
