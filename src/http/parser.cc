#include "http/parser.h"

#include <algorithm>
#include <charconv>
#include <limits>

namespace caddis::http {
namespace {

constexpr std::size_t kMaxFramingLine = 4096;   // a chunk's size line, a trailer line
constexpr std::size_t kMaxTrailer = 8 * 1024;   // all trailer lines
constexpr std::int64_t kMaxExcess = 16 * 1024;  // as Go: framing bytes not paid for by body bytes
constexpr std::int64_t kFreePerChunk = 16;

std::unexpected<ParseError> bad(std::string text, int status = 400) {
  return std::unexpected(ParseError{status, std::move(text)});
}

// Cuts the next line off; lines end in CRLF (the scanner has proven it).
std::string_view next_line(std::string_view& rest) {
  std::size_t end = rest.find("\r\n");
  std::string_view line = rest.substr(0, end);
  rest.remove_prefix(end + 2);
  return line;
}

// line: without its CRLF.
Parsed<Field> parse_field(std::string_view line) {
  if (line.front() == ' ' || line.front() == '\t')
    return bad("a header line begins with white space (obsolete folding)");
  std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return bad("a header line has no colon");
  std::string_view name = line.substr(0, colon);
  if (!is_token(name))
    return bad("a header name is empty or has a character that is not allowed, such as a space before ':'");
  std::string_view value = line.substr(colon + 1);
  while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
  while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.remove_suffix(1);
  if (!is_field_value(value)) return bad(fmt::format("header {} has a control character in its value", name));
  return Field{name, value, line};
}

Parsed<bool> parse_fields(std::string_view rest, std::vector<Field>& out) {
  out.clear();
  for (;;) {
    std::string_view line = next_line(rest);
    if (line.empty()) return true;
    if (out.size() == kMaxFields) return bad(fmt::format("more than {} header fields", kMaxFields), 431);
    auto field = parse_field(line);
    if (!field) return std::unexpected(field.error());
    field->line = std::string_view(line.data(), line.size() + 2);
    out.push_back(*field);
  }
}

Headers copy_of(const std::vector<Field>& fields) {
  Headers out;
  for (const Field& f : fields) out.add(std::string(f.name), std::string(f.value));
  return out;
}

// What the fields say about the message itself.
struct Stated {
  struct Named {
    std::size_t count = 0;
    std::string_view value;  // the first
    void see(const Field& f) {
      if (count++ == 0) value = f.value;
    }
  };
  Named length, coding, host, expect;
  bool close = false;  // Connection: close

  explicit Stated(const std::vector<Field>& fields) {
    for (const Field& f : fields) {
      auto is = [&f](std::string_view name) { return equal_ignoring_case(f.name, name); };
      switch (f.name.size()) {
        case 4:
          if (is("Host")) host.see(f);
          break;
        case 6:
          if (is("Expect")) expect.see(f);
          break;
        case 10:
          if (is("Connection") && list_has_token(f.value, "close")) close = true;
          break;
        case 14:
          if (is("Content-Length")) length.see(f);
          break;
        case 17:
          if (is("Transfer-Encoding")) coding.see(f);
          break;
        default:
          break;
      }
    }
  }

  // The framing that Content-Length and Transfer-Encoding state, or kNone.
  Parsed<BodyFraming> framing(int minor) const {
    if (length.count > 0 && coding.count > 0) return bad("both Content-Length and Transfer-Encoding");
    if (length.count > 1) return bad("more than one Content-Length");
    if (coding.count > 0) {
      if (minor == 0) return bad("Transfer-Encoding in HTTP/1.0");
      if (coding.count > 1) return bad("more than one Transfer-Encoding");
      if (!equal_ignoring_case(coding.value, "chunked")) return bad("a Transfer-Encoding other than chunked", 501);
      return BodyFraming{BodyFraming::Kind::kChunked, 0};
    }
    if (length.count == 0) return BodyFraming{};
    auto size = parse_content_length(length.value);
    if (!size) return bad("Content-Length is not a number");
    return BodyFraming{BodyFraming::Kind::kLength, *size};
  }
};

bool is_host(std::string_view host) {
  return std::all_of(host.begin(), host.end(), [](char c) {
    return c > 0x20 && c < 0x7f && std::string_view("/\\@?#,\"<>{}|^`").find(c) == std::string_view::npos;
  });
}

Parsed<int> parse_version(std::string_view text) {
  if (text == "HTTP/1.1") return 1;
  if (text == "HTTP/1.0") return 0;
  bool version = text.size() == 8 && text.starts_with("HTTP/") && text[6] == '.';
  if (version) return bad("this speaks HTTP/1.1 only", 505);
  return bad("the first line does not end in HTTP/1.1");
}

// Percent escapes are complete and none is a NUL.
bool escapes_are_whole(std::string_view path) {
  auto hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); };
  for (std::size_t at = path.find('%'); at != std::string_view::npos; at = path.find('%', at + 3)) {
    if (at + 2 >= path.size() || !hex(path[at + 1]) || !hex(path[at + 2])) return false;
    if (path[at + 1] == '0' && path[at + 2] == '0') return false;
  }
  return true;
}

// Fills target, path and authority.
bool take_target(std::string_view raw, RequestView& out) {
  bool clean = std::all_of(raw.begin(), raw.end(), [](char c) {
    auto u = static_cast<unsigned char>(c);
    return u > 0x20 && u != 0x7f && u != '#';
  });
  if (!clean || raw.empty()) return false;
  std::string_view rest = raw;
  if (rest == "*") {
    out.target = out.path = rest;
    return true;
  }
  if (rest.front() != '/') {
    std::size_t scheme = rest.find("://");
    if (scheme == std::string_view::npos || !(equal_ignoring_case(rest.substr(0, scheme), "http") ||
                                              equal_ignoring_case(rest.substr(0, scheme), "https"))) {
      return false;
    }
    rest.remove_prefix(scheme + 3);
    std::size_t end = std::min(rest.find_first_of("/?"), rest.size());
    out.authority = rest.substr(0, end);
    rest.remove_prefix(end);
    if (out.authority.empty() || out.authority.find('@') != std::string_view::npos) return false;
  }
  out.target = rest;
  out.path = rest.substr(0, rest.find('?'));
  if (out.path.empty()) out.path = "/";
  return escapes_are_whole(out.path);
}

}  // namespace

Parsed<std::size_t> HeadScanner::scan(std::string_view text) {
  std::string_view seen = text.substr(0, kMaxHead);
  for (;;) {
    std::size_t lf = seen.find('\n', pos_);
    std::size_t end = std::min(lf, seen.size());
    // Up to here: no CR but the one before the LF. The last byte's LF may still be on the way.
    std::size_t cr = seen.find('\r', pos_ > line_ ? pos_ - 1 : pos_);
    if (cr < end && cr + 1 != lf && cr + 1 != seen.size()) return bad("a CR without LF in the head");
    if (lf == std::string_view::npos) break;
    if (lf == line_ || seen[lf - 1] != '\r') return bad("a line of the head ends in LF without CR");
    bool empty = lf - line_ == 1;
    if (empty && line_ == 0) return bad("the message begins with an empty line");
    pos_ = line_ = lf + 1;
    if (empty) return pos_;
  }
  pos_ = seen.size();
  if (seen.size() == kMaxHead) return bad(fmt::format("the head is larger than {} bytes", kMaxHead), 431);
  return 0;
}

std::optional<std::uint64_t> parse_content_length(std::string_view text) {
  std::int64_t length = 0;
  auto [p, ec] = std::from_chars(text.data(), text.data() + text.size(), length);
  if (text.empty() || text.front() == '-' || ec != std::errc{} || p != text.data() + text.size()) return std::nullopt;
  return static_cast<std::uint64_t>(length);
}

Parsed<RequestView> parse_request_view(std::string_view head, std::vector<Field>& fields) {
  RequestView out;
  std::string_view line = next_line(head);
  std::size_t first = line.find(' '), last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return bad("the first line is not METHOD TARGET HTTP/1.1");
  out.method = line.substr(0, first);
  if (!is_token(out.method)) return bad("the method has a character that is not allowed");
  auto minor = parse_version(line.substr(last + 1));
  if (!minor) return std::unexpected(minor.error());
  out.minor = *minor;
  if (!take_target(line.substr(first + 1, last - first - 1), out)) return bad("the request target is malformed");
  if (out.path == "*" && out.method != "OPTIONS") return bad("target * is for OPTIONS only");

  if (auto ok = parse_fields(head, fields); !ok) return std::unexpected(ok.error());
  Stated stated(fields);
  if (stated.host.count > 1) return bad("more than one Host");
  if (stated.host.count == 0 && out.minor == 1) return bad("no Host header");
  if (!is_host(stated.host.value) || !is_host(out.authority)) return bad("the host is malformed");
  if (out.authority.empty()) out.authority = stated.host.value;
  auto framing = stated.framing(out.minor);
  if (!framing) return std::unexpected(framing.error());
  out.body = *framing;
  if (stated.expect.count > 0) {
    if (!equal_ignoring_case(stated.expect.value, "100-continue")) return bad("an unknown expectation", 417);
    out.expect_continue = out.minor == 1 && out.body.kind != BodyFraming::Kind::kNone;
  }
  out.keep_alive = out.minor == 1 && !stated.close;
  return out;
}

Parsed<RequestHead> parse_request_head(std::string_view head) {
  std::vector<Field> fields;
  auto view = parse_request_view(head, fields);
  if (!view) return std::unexpected(view.error());
  std::string_view line = next_line(head);
  std::size_t first = line.find(' ');
  Result<Target> target = parse_target(line.substr(first + 1, line.rfind(' ') - first - 1));
  if (!target) return bad("the request target is malformed");
  return RequestHead{.method = std::string(view->method),
                     .target = std::move(*target),
                     .minor = view->minor,
                     .headers = copy_of(fields),
                     .body = view->body,
                     .keep_alive = view->keep_alive,
                     .expect_continue = view->expect_continue};
}

Parsed<ResponseView> parse_response_view(std::string_view head, std::string_view request_method,
                                         std::vector<Field>& fields) {
  ResponseView out;
  std::string_view line = next_line(head);
  auto minor = parse_version(line.substr(0, 8));
  if (!minor) return std::unexpected(minor.error());
  out.minor = *minor;
  bool shape = line.size() >= 12 && line[8] == ' ' && (line.size() == 12 || line[12] == ' ');
  std::string_view digits = shape ? line.substr(9, 3) : "";
  auto [p, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), out.status);
  if (!shape || ec != std::errc{} || p != digits.data() + digits.size() || out.status < 100) {
    return bad("the status line is malformed");
  }
  if (line.size() > 13) out.reason = line.substr(13);
  if (!is_field_value(out.reason)) return bad("the status line has a control character");
  if (auto ok = parse_fields(head, fields); !ok) return std::unexpected(ok.error());
  Stated stated(fields);
  auto framing = stated.framing(out.minor);
  if (!framing) return std::unexpected(framing.error());
  bool bodyless = request_method == "HEAD" || out.status < 200 || out.status == 204 || out.status == 304;
  if (!bodyless) {
    out.body = *framing;
    if (out.body.kind == BodyFraming::Kind::kNone) out.body.kind = BodyFraming::Kind::kUntilClose;
  }
  out.keep_alive = out.minor == 1 && !stated.close && out.body.kind != BodyFraming::Kind::kUntilClose;
  return out;
}

Parsed<ResponseHead> parse_response_head(std::string_view head, std::string_view request_method) {
  std::vector<Field> fields;
  auto view = parse_response_view(head, request_method, fields);
  if (!view) return std::unexpected(view.error());
  return ResponseHead{.status = view->status,
                      .reason = std::string(view->reason),
                      .minor = view->minor,
                      .headers = copy_of(fields),
                      .body = view->body,
                      .keep_alive = view->keep_alive};
}

BodyDecoder::BodyDecoder(BodyFraming framing) : state_(State::kDone), left_(framing.length) {
  switch (framing.kind) {
    case BodyFraming::Kind::kNone:
      break;
    case BodyFraming::Kind::kLength:
      state_ = left_ > 0 ? State::kPlain : State::kDone;
      break;
    case BodyFraming::Kind::kChunked:
      state_ = State::kSize;
      break;
    case BodyFraming::Kind::kUntilClose:
      state_ = State::kUntilClose;
      break;
  }
}

std::uint64_t BodyDecoder::plain_bytes() const {
  if (state_ == State::kUntilClose) return std::numeric_limits<std::uint64_t>::max();
  return state_ == State::kPlain || state_ == State::kChunk ? left_ : 0;
}

void BodyDecoder::took_plain(std::uint64_t n) {
  if (state_ == State::kUntilClose) return;
  left_ -= n;
  if (left_ == 0) state_ = state_ == State::kPlain ? State::kDone : State::kChunkEnd;
}

Parsed<BodyDecoder::Progress> BodyDecoder::decode(ByteView in, ByteSpan out) {
  Progress at;
  while (at.consumed < in.size() && !done()) {
    if (std::uint64_t plain = plain_bytes(); plain > 0) {
      std::size_t n = std::min({in.size() - at.consumed, out.size() - at.produced,
                                static_cast<std::size_t>(std::min<std::uint64_t>(plain, SIZE_MAX))});
      if (n == 0) break;  // out is full
      std::copy_n(in.begin() + static_cast<std::ptrdiff_t>(at.consumed), n,
                  out.begin() + static_cast<std::ptrdiff_t>(at.produced));
      at.consumed += n;
      at.produced += n;
      took_plain(n);
      continue;
    }
    auto ok = framing_byte(static_cast<char>(in[at.consumed++]));
    if (!ok) return std::unexpected(ok.error());
  }
  return at;
}

Parsed<bool> BodyDecoder::framing_byte(char c) {
  if (!line_.empty() && line_.back() == '\r') {
    if (c != '\n') return bad("a CR without LF in the chunk framing");
    line_.pop_back();
    Parsed<bool> ok = true;
    if (state_ == State::kSize)
      ok = size_line();
    else if (state_ == State::kTrailer)
      ok = trailer_line();
    else if (line_.empty())
      state_ = State::kSize;
    else
      ok = bad("a chunk is longer than its size");
    line_.clear();
    return ok;
  }
  if (c == '\n') return bad("a line of the chunk framing ends in LF without CR");
  if (state_ == State::kChunkEnd && c != '\r') return bad("a chunk is longer than its size");
  if (line_.size() == kMaxFramingLine) return bad("a line of the chunk framing is too long");
  line_ += c;
  return true;
}

Parsed<bool> BodyDecoder::size_line() {
  std::string_view text = line_;
  std::string_view digits = text.substr(0, text.find(';'));
  std::int64_t size = 0;
  bool hex = !digits.empty() && digits.size() <= 16 && digits.front() != '-';
  auto [p, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), size, 16);
  if (!hex || ec != std::errc{} || p != digits.data() + digits.size()) return bad("a chunk size is not a number");
  if (!is_field_value(text)) return bad("a chunk extension has a control character");
  excess_ += static_cast<std::int64_t>(text.size()) + 2 - kFreePerChunk;
  excess_ = std::max<std::int64_t>(excess_ - 2 * std::min<std::int64_t>(size, kMaxExcess), 0);
  if (excess_ > kMaxExcess) return bad("the chunk framing has too much besides data");
  left_ = static_cast<std::uint64_t>(size);
  state_ = size > 0 ? State::kChunk : State::kTrailer;
  return true;
}

Parsed<bool> BodyDecoder::trailer_line() {
  if (line_.empty()) {
    state_ = State::kDone;
    return true;
  }
  trailer_ += line_.size() + 2;
  if (trailer_ > kMaxTrailer) return bad("the trailer is too long", 431);
  auto field = parse_field(line_);
  if (!field) return std::unexpected(field.error());
  return true;
}

Parsed<bool> BodyDecoder::end_of_stream() {
  if (state_ == State::kUntilClose) state_ = State::kDone;
  if (!done()) return bad("the connection ended in the middle of the body");
  return true;
}

std::string chunk_prefix(std::size_t size) { return fmt::format("{:x}\r\n", size); }

}  // namespace caddis::http
