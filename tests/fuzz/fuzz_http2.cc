// HTTP/2 as a server meets it: whatever arrives, what it holds stays within its limits.
#include <algorithm>
#include <vector>

#include "base/check.h"
#include "http/h2_session.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace caddis;
  using namespace caddis::http;
  constexpr std::string_view kMagic = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
  if (size < 1) return 0;
  H2Limits limits{.max_streams = 8, .window_bytes = 65536, .max_window_bytes = 1u << 18, .connection_bytes = 1u << 20};
  std::vector<H2StreamPtr> streams;
  H2Session session(H2Session::Side::kServer, limits, [&](H2StreamPtr s) { streams.push_back(std::move(s)); });
  std::size_t piece = std::size_t{1} + data[0] * 16;
  bool reads = data[0] % 2 == 0;
  Bytes out, buffer(4096);
  Bytes answer(10'000, 'a');
  CHECK(session.feed(as_bytes(kMagic)).has_value());
  std::size_t answered = 0;
  for (ByteView rest(data + 1, size - 1); !rest.empty();) {
    ByteView in = rest.first(std::min(piece, rest.size()));
    rest = rest.subspan(in.size());
    bool goes_on = session.feed(in).has_value();
    for (; goes_on && answered < streams.size(); ++answered) {
      H2Stream& s = *streams[answered];
      session.answer(s, 200, {{"X", "y"}}, answered % 3 == 0);
      if (answered % 3 != 0) session.write(s, answer, answered % 3 == 1);
    }
    for (const H2StreamPtr& s : streams) {
      if (reads) session.read(*s, buffer);
    }
    out.clear();
    session.take_output(out, 1u << 16);
    CHECK(session.buffered() <= limits.connection_bytes + (1u << 16) * streams.size());
    CHECK(session.open_streams() <= 1000);
    if (!goes_on) break;
  }
  for (const H2StreamPtr& s : streams) session.reset(*s, 0);
  CHECK(session.buffered() == 0);
  return 0;
}
