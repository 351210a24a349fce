// Heads and bodies on their way through the proxy: whatever it sends on is understood by the strict parser in exactly
// one way, the way the proxy understood it.
#include "base/check.h"
#include "proxy/pieces.h"
#include "proxy/rewrite.h"

namespace {

using namespace caddis;
using namespace caddis::proxy;
using Kind = http::BodyFraming::Kind;

void check_request(std::string_view head, bool fly) {
  std::vector<http::Field> fields, again_fields;
  auto view = http::parse_request_view(head, fields);
  if (!view) return;
  RequestNotes notes, again_notes;
  read_request(*view, fields, fly, notes);
  bool upgrade = notes.upgrade && view->body.kind == Kind::kNone;
  std::string out;
  append_request(out, *view, fields, notes,
                 {.client_ip = "1.2.3.4", .default_host = "h:1", .upgrade = upgrade, .fly = fly});
  http::HeadScanner scanner;
  auto length = scanner.scan(out + "next");
  if (!length && out.size() > http::kMaxHead) return;  // grown beyond the limit by our own fields
  CHECK(length && *length == out.size());
  auto again = http::parse_request_view(out, again_fields);
  if (!again && again.error().status == 431) return;
  CHECK(again);
  CHECK(again->method == view->method && again->body.kind == view->body.kind);
  CHECK_EQ(again->body.length, view->body.length);
  CHECK(again->keep_alive);
  read_request(*again, again_fields, fly, again_notes);
  CHECK(again_notes.upgrade == upgrade);
  CHECK(!again_notes.forwarded && (fly || !again_notes.replayed));
}

void check_response(std::string_view head, std::string_view method) {
  std::vector<http::Field> fields, again_fields;
  auto view = http::parse_response_view(head, method, fields);
  if (!view || view->status > 999) return;
  for (int minor : {0, 1}) {
    std::string out;
    Kind kind = append_response(out, *view, fields, {.client_minor = minor, .own_fields = "Set-Cookie: a=b\r\n"});
    auto again = http::parse_response_view(out, method, again_fields);
    if (!again && (again.error().status == 431 || out.size() > http::kMaxHead)) continue;
    CHECK(again);
    CHECK(again->status == view->status && again->body.kind == kind);
    if (kind == Kind::kLength) CHECK_EQ(again->body.length, view->body.length);
  }
}

struct Relayed {
  std::string body;
  std::size_t used = 0;
  bool done = false, broken = false;
  bool operator==(const Relayed&) const = default;
};

// The body as the receiver has it, when wire arrives in pieces of step bytes. chunked: it was put into chunks for it.
Relayed relay(ByteView wire, std::size_t step, http::BodyFraming framing, bool chunked) {
  Relayed out;
  http::BodyDecoder decoder(framing), receiver({Kind::kChunked});
  Bytes plain(64 * 1024), pending;
  for (std::size_t at = 0;;) {
    Pieces pieces;
    if (!pieces.gather(decoder, pending, chunked)) {
      out.broken = true;
      return out;
    }
    for (ByteView part : pieces.parts()) {
      if (!chunked) out.body += as_text(part);
      if (!chunked) continue;
      auto got = receiver.decode(part, plain);
      CHECK(got && got->consumed == part.size());
      out.body += as_text(ByteView(plain).first(got->produced));
    }
    pending.erase(pending.begin(), pending.begin() + static_cast<std::ptrdiff_t>(pieces.consumed()));
    out.used += pieces.consumed();
    out.done = pieces.done();
    if (chunked) CHECK(receiver.done() == out.done);
    if (out.done || (pieces.consumed() == 0 && at == wire.size())) return out;
    if (pieces.consumed() > 0) continue;
    std::size_t end = std::min(wire.size(), at + step);
    append(pending, wire.subspan(at, end - at));
    at = end;
  }
}

void check_body(ByteView wire, std::size_t step, std::uint64_t length) {
  for (http::BodyFraming framing : {http::BodyFraming{Kind::kChunked}, http::BodyFraming{Kind::kLength, length}}) {
    Relayed plain = relay(wire, step, framing, false);
    if (!plain.broken) CHECK(plain == relay(wire, step, framing, true));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  std::uint8_t choice = data[0], step = data[1];
  std::string_view text = as_text(ByteView(data + 2, size - 2));
  http::HeadScanner scanner;
  auto length = scanner.scan(text);
  if (length && *length > 0) {
    if ((choice & 1) == 0) check_request(text.substr(0, *length), (choice & 2) != 0);
    if ((choice & 1) == 1) check_response(text.substr(0, *length), (choice & 2) != 0 ? "HEAD" : "GET");
  }
  check_body(as_bytes(text), 1u + step, choice);
  return 0;
}
