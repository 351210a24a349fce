// Strict HTTP/1.0 and 1.1 parsing, pure: bytes in, heads and body bytes out. Whatever two implementations could read in
// two ways is an error: Content-Length with Transfer-Encoding, repeated or unclean Content-Length, folded lines, bare
// CR or LF, white space before the colon, control characters, other transfer codings than a single "chunked".
//
// Reading a message:  HeadScanner finds the end of the head in what arrived so far; parse_request_head or
// parse_response_head takes it apart; BodyDecoder(head.body) then turns the following bytes into the body.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "http/message.h"

namespace caddis::http {

inline constexpr std::size_t kMaxHead = 64 * 1024;  // request line or status line, all fields, empty line
inline constexpr std::size_t kMaxFields = 256;

struct ParseError {
  int status = 400;  // what a server answers: 400, 417, 431, 501, 505
  std::string text;  // one line, safe to show and to send
};
template <class T>
using Parsed = std::expected<T, ParseError>;

// Finds the empty line that ends a head. Fed the same growing text again and again, it looks at each byte once.
class HeadScanner {
 public:
  // The length of the head with its empty line, or 0 when more is needed. 431 beyond kMaxHead, 400 for a bare CR or LF.
  Parsed<std::size_t> scan(std::string_view text);

 private:
  std::size_t pos_ = 0;
  std::size_t line_ = 0;  // where the current line began
};

struct BodyFraming {
  enum class Kind { kNone, kLength, kChunked, kUntilClose };
  Kind kind = Kind::kNone;
  std::uint64_t length = 0;  // kLength
};

// One field as it stands in a head: views into it.
struct Field {
  std::string_view name, value;  // the value without the white space around it
  std::string_view line;         // all of it, with its CRLF
};

// Digits only, below 2^63.
std::optional<std::uint64_t> parse_content_length(std::string_view text);

// A request's head taken apart without a copy, for one who forwards it. Every view points into the head. The path's
// percent escapes are checked, the query is anybody's; bytes above 0x7f are let through in both.
struct RequestView {
  std::string_view method;
  std::string_view target;     // "/path?query", "?query" of an absolute form without a path, or "*"
  std::string_view path;       // of target, not decoded; "/" when empty
  std::string_view authority;  // of the absolute form, else the Host header's value
  int minor = 1;
  BodyFraming body;
  bool keep_alive = false;
  bool expect_continue = false;
};
// head: what HeadScanner measured. fields: emptied first, so that its memory is used again.
Parsed<RequestView> parse_request_view(std::string_view head, std::vector<Field>& fields);

struct RequestHead {
  std::string method;
  Target target;
  int minor = 1;  // HTTP/1.minor
  Headers headers;
  BodyFraming body;
  bool keep_alive = false;
  bool expect_continue = false;
};
// head: what HeadScanner measured.
Parsed<RequestHead> parse_request_head(std::string_view head);

struct ResponseView {
  int status = 0;
  std::string_view reason;
  int minor = 1;
  BodyFraming body;  // kNone for HEAD, 1xx, 204, 304
  bool keep_alive = false;
};
Parsed<ResponseView> parse_response_view(std::string_view head, std::string_view request_method,
                                         std::vector<Field>& fields);

struct ResponseHead {
  int status = 0;
  std::string reason;
  int minor = 1;
  Headers headers;
  BodyFraming body;  // kNone for HEAD, 1xx, 204, 304
  bool keep_alive = false;
};
Parsed<ResponseHead> parse_response_head(std::string_view head, std::string_view request_method);

// Takes a body out of its framing. Trailer fields are checked and dropped.
class BodyDecoder {
 public:
  explicit BodyDecoder(BodyFraming framing);
  struct Progress {
    std::size_t consumed = 0;  // of in
    std::size_t produced = 0;  // in out
  };
  // Goes on until in is used up, out is full or the body is complete. out may be empty only to finish a body.
  Parsed<Progress> decode(ByteView in, ByteSpan out);
  bool done() const { return state_ == State::kDone; }
  // Bytes that may follow without framing between them (0 in chunk framing): these can be read straight to their place.
  std::uint64_t plain_bytes() const;
  void took_plain(std::uint64_t n);  // n of plain_bytes() were read past this decoder
  // The connection ended: an error unless the body is complete or ends this way.
  Parsed<bool> end_of_stream();

 private:
  enum class State { kPlain, kUntilClose, kSize, kChunk, kChunkEnd, kTrailer, kDone };
  Parsed<bool> framing_byte(char c);
  Parsed<bool> size_line();
  Parsed<bool> trailer_line();
  State state_;
  std::uint64_t left_ = 0;   // of the body or chunk
  std::string line_;         // of framing, without its LF
  std::int64_t excess_ = 0;  // framing bytes beyond what a sensible sender needs
  std::size_t trailer_ = 0;  // bytes
};

// One chunk's prefix ("1f4\r\n"); its suffix is "\r\n", and "0\r\n\r\n" ends the body.
std::string chunk_prefix(std::size_t size);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

}  // namespace caddis::http
