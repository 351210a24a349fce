// LTX v1 (LiteFS). Corpus: the .ltx files of tests/testdata/litefs/volume.tar.
#include "ltx_round_trip.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  caddis::ByteView input(data, size);
  caddis::ltx::fuzz_round_trip(caddis::ltx::Version::kV1, input);
  (void)caddis::ltx::guess_version(input);
  return 0;
}
