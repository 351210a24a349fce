// Shared by the LTX targets: what decodes must encode again, and to the same pages.
#pragma once

#include <vector>

#include "base/check.h"
#include "ltx/stream.h"

namespace caddis::ltx {

struct FuzzPage {
  Pgno pgno;
  Bytes data;
  bool operator==(const FuzzPage&) const = default;
};

inline Result<std::vector<FuzzPage>> fuzz_decode(Version version, ByteView input, Header& header, Trailer& trailer) {
  std::unique_ptr<PageSource> decoder = make_decoder(version, source_of(input));
  TRY_ASSIGN(header, decoder->header());
  std::vector<FuzzPage> pages;
  while (true) {
    TRY_ASSIGN(std::optional<Page> page, decoder->next());
    if (!page) break;
    pages.push_back({page->pgno, Bytes(page->data.begin(), page->data.end())});
  }
  trailer = decoder->trailer();
  return pages;
}

// The trailer's file checksum (the last 8 bytes) is nothing a fuzzer finds; the targets reach the end through the
// golden files given as corpus, and everything before it in any case.
inline void fuzz_round_trip(Version version, ByteView input) {
  Header header;
  Trailer trailer;
  Result<std::vector<FuzzPage>> pages = fuzz_decode(version, input, header, trailer);
  if (!pages) {
    ErrorCode code = pages.error().code();
    CHECK(code == ErrorCode::kCorrupt);
    return;
  }
  Bytes out;
  std::unique_ptr<Encoder> encoder = make_encoder(version, header, [&out](ByteView data) -> Status {
    append(out, data);
    return {};
  });
  for (const FuzzPage& page : *pages) CHECK(encoder->add_page(page.pgno, page.data).has_value());
  CHECK(encoder->finish(trailer.post_apply).has_value());
  Header header_again;
  Trailer trailer_again;
  Result<std::vector<FuzzPage>> again = fuzz_decode(version, out, header_again, trailer_again);
  CHECK(again.has_value());
  CHECK(header_again == header && *again == *pages && trailer_again.post_apply == trailer.post_apply);
}

}  // namespace caddis::ltx
