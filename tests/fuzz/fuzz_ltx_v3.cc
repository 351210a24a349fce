// LTX v3 (Litestream) and its page index. Corpus: tests/testdata/ltx.
#include "ltx/page_index.h"
#include "ltx_round_trip.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace caddis;
  ByteView input(data, size);
  ltx::fuzz_round_trip(ltx::Version::kV3, input);
  Result<std::vector<ltx::PageIndexEntry>> index = ltx::parse_page_index(input, size);
  if (!index) return 0;
  Bytes page(512);
  for (const ltx::PageIndexEntry& entry : *index) {
    (void)ltx::decode_page_frame(input.subspan(entry.offset, entry.size_bytes), entry.pgno, page);
  }
  return 0;
}
