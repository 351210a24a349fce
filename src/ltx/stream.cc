#include "ltx/stream.h"

#include "ltx/v1_decoder.h"
#include "ltx/v1_encoder.h"
#include "ltx/v3_decoder.h"
#include "ltx/v3_encoder.h"

namespace caddis::ltx {

std::unique_ptr<Encoder> make_encoder(Version version, const Header& header, Sink sink) {
  if (version == Version::kV1) return std::make_unique<V1Encoder>(header, std::move(sink));
  return std::make_unique<V3Encoder>(header, std::move(sink));
}

std::unique_ptr<PageSource> make_decoder(Version version, Source source) {
  if (version == Version::kV1) return std::make_unique<V1Decoder>(std::move(source));
  return std::make_unique<V3Decoder>(std::move(source));
}

Status copy_pages(PageSource& from, Encoder& to) {
  TRY_ASSIGN(Header header, from.header());
  while (true) {
    TRY_ASSIGN(std::optional<Page> page, from.next());
    if (!page) break;
    TRY(to.add_page(page->pgno, page->data));
  }
  Checksum post_apply = from.trailer().post_apply;
  if (post_apply == Checksum()) post_apply = header.cds1().value_or(Cds1{}).post_apply;
  return to.finish(post_apply);
}

Result<Summary> verify(Version version, Source source) {
  std::unique_ptr<PageSource> decoder = make_decoder(version, std::move(source));
  Summary summary;
  TRY_ASSIGN(summary.header, decoder->header());
  while (true) {
    TRY_ASSIGN(std::optional<Page> page, decoder->next());
    if (!page) break;
    ++summary.pages;
  }
  summary.trailer = decoder->trailer();
  return summary;
}

}  // namespace caddis::ltx
