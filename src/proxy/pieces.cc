#include "proxy/pieces.h"

#include <algorithm>
#include <charconv>

#include "base/check.h"

namespace caddis::proxy {

void Pieces::add(ByteView part) {
  if (part.empty()) return;
  parts_[count_++] = part;
  size_ += part.size();
}

http::Parsed<bool> Pieces::gather(http::BodyDecoder& decoder, ByteView input, bool chunked, std::string_view head) {
  count_ = size_ = consumed_ = 0;
  add(as_bytes(head));
  std::size_t prefix_at = count_;
  if (chunked) ++count_;                             // filled in below, when the size is known
  std::size_t last = kMaxParts - (chunked ? 1 : 0);  // and one for the end of the chunk
  std::size_t data = 0;
  for (;;) {
    auto framing = decoder.decode(input.subspan(consumed_), ByteSpan());
    if (!framing) return std::unexpected(framing.error());
    consumed_ += framing->consumed;
    ByteView rest = input.subspan(consumed_);
    auto n = static_cast<std::size_t>(std::min<std::uint64_t>(decoder.plain_bytes(), rest.size()));
    if (n == 0 || count_ == last) break;
    add(rest.first(n));
    decoder.took_plain(n);
    consumed_ += n;
    data += n;
  }
  done_ = decoder.done();
  if (!chunked) return true;
  if (data == 0) {
    std::copy(parts_.begin() + static_cast<std::ptrdiff_t>(prefix_at) + 1,
              parts_.begin() + static_cast<std::ptrdiff_t>(count_),
              parts_.begin() + static_cast<std::ptrdiff_t>(prefix_at));
    --count_;
    if (done_) add(as_bytes(http::kLastChunk));
    return true;
  }
  auto [end, ec] = std::to_chars(prefix_.begin(), prefix_.end() - 2, data, 16);
  CHECK(ec == std::errc{});
  *end++ = '\r';
  *end++ = '\n';
  parts_[prefix_at] = as_bytes(std::string_view(prefix_.data(), static_cast<std::size_t>(end - prefix_.data())));
  size_ += parts_[prefix_at].size();
  add(as_bytes(done_ ? std::string_view("\r\n0\r\n\r\n") : std::string_view("\r\n")));
  return true;
}

}  // namespace caddis::proxy
