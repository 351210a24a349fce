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

Parsed<Header> parse_field(std::string_view line) {
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
  return Header{std::string(name), std::string(value)};
}

Parsed<Headers> parse_fields(std::string_view rest) {
  Headers out;
  for (;;) {
    std::string_view line = next_line(rest);
    if (line.empty()) return out;
    if (out.size() == kMaxFields) return bad(fmt::format("more than {} header fields", kMaxFields), 431);
    auto field = parse_field(line);
    if (!field) return std::unexpected(field.error());
    out.add(std::move(field->name), std::move(field->value));
  }
}

// The framing that Content-Length and Transfer-Encoding state, or kNone.
Parsed<BodyFraming> stated_framing(const Headers& headers, int minor) {
  std::size_t lengths = headers.count("Content-Length");
  std::size_t codings = headers.count("Transfer-Encoding");
  if (lengths > 0 && codings > 0) return bad("both Content-Length and Transfer-Encoding");
  if (lengths > 1) return bad("more than one Content-Length");
  if (codings > 0) {
    if (minor == 0) return bad("Transfer-Encoding in HTTP/1.0");
    if (codings > 1) return bad("more than one Transfer-Encoding");
    if (!equal_ignoring_case(headers.get("Transfer-Encoding"), "chunked")) {
      return bad("a Transfer-Encoding other than chunked", 501);
    }
    return BodyFraming{BodyFraming::Kind::kChunked, 0};
  }
  if (lengths == 0) return BodyFraming{};
  auto length = parse_content_length(headers.get("Content-Length"));
  if (!length) return bad("Content-Length is not a number");
  return BodyFraming{BodyFraming::Kind::kLength, *length};
}

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

}  // namespace

Parsed<std::size_t> HeadScanner::scan(std::string_view text) {
  std::size_t end = std::min(text.size(), kMaxHead);
  for (; pos_ < end; ++pos_) {
    char c = text[pos_];
    if (c == '\r') {
      if (pos_ + 1 == text.size()) return 0;  // its LF is still on the way
      if (text[pos_ + 1] != '\n') return bad("a CR without LF in the head");
      continue;
    }
    if (c != '\n') continue;
    if (pos_ == 0 || text[pos_ - 1] != '\r') return bad("a line of the head ends in LF without CR");
    bool empty = pos_ - line_ == 1;
    if (empty && line_ == 0) return bad("the message begins with an empty line");
    line_ = pos_ + 1;
    if (empty) return ++pos_;
  }
  if (end == kMaxHead) return bad(fmt::format("the head is larger than {} bytes", kMaxHead), 431);
  return 0;
}

std::optional<std::uint64_t> parse_content_length(std::string_view text) {
  std::int64_t length = 0;
  auto [p, ec] = std::from_chars(text.data(), text.data() + text.size(), length);
  if (text.empty() || text.front() == '-' || ec != std::errc{} || p != text.data() + text.size()) return std::nullopt;
  return static_cast<std::uint64_t>(length);
}

Parsed<RequestHead> parse_request_head(std::string_view head) {
  RequestHead out;
  std::string_view line = next_line(head);
  std::size_t first = line.find(' '), last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return bad("the first line is not METHOD TARGET HTTP/1.1");
  out.method = line.substr(0, first);
  if (!is_token(out.method)) return bad("the method has a character that is not allowed");
  auto minor = parse_version(line.substr(last + 1));
  if (!minor) return std::unexpected(minor.error());
  out.minor = *minor;
  Result<Target> target = parse_target(line.substr(first + 1, last - first - 1));
  if (!target) return bad("the request target is malformed");
  out.target = std::move(*target);
  if (out.target.path == "*" && out.method != "OPTIONS") return bad("target * is for OPTIONS only");

  auto fields = parse_fields(head);
  if (!fields) return std::unexpected(fields.error());
  out.headers = std::move(*fields);
  std::size_t hosts = out.headers.count("Host");
  if (hosts > 1) return bad("more than one Host");
  if (hosts == 0 && out.minor == 1) return bad("no Host header");
  if (!is_host(out.headers.get("Host")) || !is_host(out.target.authority)) return bad("the host is malformed");
  auto framing = stated_framing(out.headers, out.minor);
  if (!framing) return std::unexpected(framing.error());
  out.body = *framing;
  if (out.headers.has("Expect")) {
    if (!equal_ignoring_case(out.headers.get("Expect"), "100-continue")) return bad("an unknown expectation", 417);
    out.expect_continue = out.minor == 1 && out.body.kind != BodyFraming::Kind::kNone;
  }
  out.keep_alive = out.minor == 1 && !out.headers.has_token("Connection", "close");
  return out;
}

Parsed<ResponseHead> parse_response_head(std::string_view head, std::string_view request_method) {
  ResponseHead out;
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
  auto fields = parse_fields(head);
  if (!fields) return std::unexpected(fields.error());
  out.headers = std::move(*fields);
  auto framing = stated_framing(out.headers, out.minor);
  if (!framing) return std::unexpected(framing.error());
  bool bodyless = request_method == "HEAD" || out.status < 200 || out.status == 204 || out.status == 304;
  if (!bodyless) {
    out.body = *framing;
    if (out.body.kind == BodyFraming::Kind::kNone) out.body.kind = BodyFraming::Kind::kUntilClose;
  }
  out.keep_alive = out.minor == 1 && !out.headers.has_token("Connection", "close") &&
                   out.body.kind != BodyFraming::Kind::kUntilClose;
  return out;
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
