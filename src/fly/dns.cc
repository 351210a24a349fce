#include "fly/dns.h"

#include <algorithm>

namespace caddis::fly {
namespace {

constexpr std::size_t kHeaderSize = 12;
constexpr std::size_t kMaxName = 253;
constexpr std::size_t kMaxLabel = 63;
constexpr std::uint16_t kTypeTxt = 16;
constexpr std::uint16_t kTypeOpt = 41;
constexpr std::uint16_t kClassIn = 1;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }
bool is_label_char(char c) {
  return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

void append_be16(Bytes& out, std::uint16_t v) {
  out.push_back(static_cast<std::uint8_t>(v >> 8));
  out.push_back(static_cast<std::uint8_t>(v));
}

// Reads a message from front to back; every step fails at its end instead of reading beyond.
class Reader {
 public:
  explicit Reader(ByteView message) : message_(message) {}
  Result<std::uint16_t> u16() {
    TRY(need(2));
    std::uint16_t v = get_be16(message_.data() + at_);
    at_ += 2;
    return v;
  }
  Status skip(std::size_t n) {
    TRY(need(n));
    at_ += n;
    return {};
  }
  Result<ByteView> take(std::size_t n) {
    TRY(need(n));
    ByteView v = message_.subspan(at_, n);
    at_ += n;
    return v;
  }
  // A name in lower case. Pointers lead backwards only, so that they end.
  Result<std::string> name() {
    std::string text;
    std::size_t at = at_;
    std::size_t limit = at_;  // a pointer must lead before it
    bool jumped = false;
    for (;;) {
      if (at >= message_.size()) return cut();
      std::uint8_t length = message_[at];
      if (length >= 0xc0) {
        if (at + 2 > message_.size()) return cut();
        std::size_t to = get_be16(message_.data() + at) & 0x3fffu;
        if (!jumped) at_ = at + 2;
        if (to >= limit) return corrupt("dns answer: a name points forward");
        jumped = true;
        at = limit = to;
        continue;
      }
      if (length > kMaxLabel) return corrupt("dns answer: a label of {} bytes", length);
      if (at + 1 + length > message_.size()) return cut();
      at += 1;
      if (length == 0) break;
      if (!text.empty()) text += '.';
      for (char c : as_text(message_.subspan(at, length))) text += lower(c);
      if (text.size() > kMaxName) return corrupt("dns answer: a name of more than {} bytes", kMaxName);
      at += length;
    }
    if (!jumped) at_ = at;
    return text;
  }

 private:
  static std::unexpected<Error> cut() { return corrupt("dns answer: it ends early"); }
  Status need(std::size_t n) const {
    if (message_.size() - at_ < n) return cut();
    return {};
  }
  ByteView message_;
  std::size_t at_ = 0;
};

Status check_code(std::uint16_t flags, std::string_view name) {
  switch (flags & 0xfu) {
    case 0:
      return {};
    case 3:
      return not_found("dns: there is no name {}", name);
    default:
      return make_error(ErrorCode::kUnavailable, "dns: {}: the resolver answered with code {}", name, flags & 0xfu);
  }
}

Result<std::string> join_strings(ByteView data) {
  std::string text;
  while (!data.empty()) {
    std::size_t length = data[0];
    if (data.size() < 1 + length) return corrupt("dns answer: a text record ends early");
    text += as_text(data.subspan(1, length));
    data = data.subspan(1 + length);
  }
  return text;
}

}  // namespace

Result<Bytes> encode_txt_question(std::uint16_t id, std::string_view name) {
  if (name.empty() || name.size() > kMaxName)
    return invalid("dns name of {} bytes, 1 to {} may be", name.size(), kMaxName);
  Bytes out;
  append_be16(out, id);
  append_be16(out, 0x0100);  // recursion desired
  append_be16(out, 1);       // questions
  append_be16(out, 0);
  append_be16(out, 0);
  append_be16(out, 1);  // additional: OPT
  for (std::string_view rest = name; !rest.empty();) {
    std::string_view label = rest.substr(0, rest.find('.'));
    rest.remove_prefix(std::min(rest.size(), label.size() + 1));
    if (label.empty() || label.size() > kMaxLabel || !std::all_of(label.begin(), label.end(), is_label_char)) {
      return invalid("\"{}\" is no dns name", name);
    }
    out.push_back(static_cast<std::uint8_t>(label.size()));
    append(out, as_bytes(label));
  }
  out.push_back(0);
  append_be16(out, kTypeTxt);
  append_be16(out, kClassIn);
  out.push_back(0);  // OPT: root name, type, size of answers, no extended flags, no data
  append_be16(out, kTypeOpt);
  append_be16(out, kMaxDnsAnswer);
  append_be16(out, 0);
  append_be16(out, 0);
  append_be16(out, 0);
  return out;
}

Result<std::vector<std::string>> decode_txt_answer(ByteView message, std::uint16_t id, std::string_view name) {
  if (message.size() < kHeaderSize)
    return corrupt("dns answer: {} bytes, a header has {}", message.size(), kHeaderSize);
  std::string asked;
  for (char c : name) asked += lower(c);
  Reader in(message);
  TRY_ASSIGN(std::uint16_t answer_id, in.u16());
  TRY_ASSIGN(std::uint16_t flags, in.u16());
  TRY_ASSIGN(std::uint16_t questions, in.u16());
  TRY_ASSIGN(std::uint16_t answers, in.u16());
  TRY(in.skip(4));
  if ((flags & 0x8000u) == 0) return corrupt("dns answer: it is a question");
  if (answer_id != id) return make_error(ErrorCode::kConflict, "dns answer: to another question");
  if (questions != 1) return corrupt("dns answer: {} questions", questions);
  TRY_ASSIGN(std::string about, in.name());
  TRY_ASSIGN(std::uint16_t about_type, in.u16());
  TRY(in.skip(2));
  if (about != asked || about_type != kTypeTxt) return make_error(ErrorCode::kConflict, "dns answer: about {}", about);
  TRY(check_code(flags, name));
  if ((flags & 0x0200u) != 0) return make_error(ErrorCode::kUnavailable, "dns: {}: the answer is cut short", name);
  std::vector<std::string> texts;
  for (std::uint16_t i = 0; i < answers; ++i) {
    TRY_ASSIGN(std::string owner, in.name());
    TRY_ASSIGN(std::uint16_t type, in.u16());
    TRY(in.skip(6));  // class, time to live
    TRY_ASSIGN(std::uint16_t length, in.u16());
    TRY_ASSIGN(ByteView data, in.take(length));
    if (type != kTypeTxt) continue;  // a CNAME before it
    TRY_ASSIGN(std::string text, join_strings(data));
    texts.push_back(std::move(text));
  }
  return texts;
}

}  // namespace caddis::fly
