// The replication stream: frames and position map. Corpus: tests/testdata/litefs/stream-*.bin, behind two bytes (what
// is allowed, and in what pieces it arrives).
#include <algorithm>

#include "base/check.h"
#include "replica/frames.h"

namespace {

using namespace caddis;
using namespace caddis::replica;

// Everything that decodes, encoded again; data of one file or channel joined.
struct Reading {
  Bytes again;
  std::size_t frames = 0;
  bool broken = false;
};

Reading read(ByteView input, std::size_t piece, FrameDecoder::Own own) {
  Reading r;
  FrameDecoder decoder(own);
  while (!input.empty() && !r.broken) {
    ByteView in = input.first(std::min(piece, input.size()));
    input = input.subspan(in.size());
    for (;;) {
      Result<std::optional<Frame>> frame = decoder.next(in);
      r.broken = !frame;
      if (!frame || !*frame) break;
      bool data = std::holds_alternative<LtxBytes>(**frame) || std::holds_alternative<Data>(**frame);
      if (data) continue;
      ++r.frames;
      std::visit([&](const auto& f) { encode(r.again, f); }, **frame);
    }
    if (!r.broken) CHECK(in.empty());
  }
  return r;
}

void position_map(ByteView input, std::size_t piece) {
  PositionMapDecoder decoder;
  for (ByteView rest = input; !rest.empty();) {
    ByteView in = rest.first(std::min(piece, rest.size()));
    std::size_t before = in.size();
    Result<bool> fed = decoder.feed(in);
    if (!fed) return;
    CHECK(decoder.map().size() <= kMaxDatabases);
    if (*fed) {
      Bytes again;
      encode(again, decoder.map());
      PositionMapDecoder second;
      ByteView all = again;
      CHECK(second.feed(all).value() && second.map() == decoder.map());
      return;
    }
    rest = rest.subspan(before - in.size());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  FrameDecoder::Own own = data[0] % 2 == 0 ? FrameDecoder::Own::kAllowed : FrameDecoder::Own::kRefused;
  std::size_t piece = std::size_t{1} + data[1];
  ByteView input(data + 2, size - 2);
  Reading whole = read(input, input.size(), own);
  Reading cut = read(input, piece, own);
  CHECK(whole.again == cut.again && whole.frames == cut.frames && whole.broken == cut.broken);
  position_map(input, piece);
  return 0;
}
