#include "ltx/v1_encoder.h"

#include <array>

namespace caddis::ltx {

V1Encoder::V1Encoder(const Header& header, Sink sink)
    : header_(header), out_(std::move(sink)), frame_(out_), order_(header, ErrorCode::kInvalid) {}

Status V1Encoder::begin() {
  if (begun_) return {};
  TRY(validate(header_, Version::kV1));
  begun_ = true;
  HeaderBytes bytes = encode_header(header_);
  crc_.update(bytes);
  TRY(out_.write(bytes));
  if (compressed()) TRY(frame_.begin());
  return {};
}

Status V1Encoder::write_block(ByteView data) {
  crc_.update(data);
  return compressed() ? frame_.write(data) : out_.write(data);
}

Status V1Encoder::add_page(Pgno pgno, ByteView data) {
  TRY(begin());
  if (data.size() != header_.page_size_bytes) {
    return invalid("ltx page {}: {} bytes, the page size is {}", pgno, data.size(), header_.page_size_bytes);
  }
  TRY(order_.check(pgno));
  std::array<std::uint8_t, 4> number;
  put_be32(number.data(), pgno.value());
  TRY(write_block(number));
  return write_block(data);
}

Status V1Encoder::finish(Checksum post_apply) {
  TRY(begin());
  TRY(validate_post_apply(header_, post_apply));
  TRY(order_.finish());
  TRY(write_block(std::array<std::uint8_t, 4>{}));
  if (compressed()) TRY(frame_.finish());
  trailer_.post_apply = post_apply;
  crc_.update(ByteView(encode_trailer(trailer_)).first(8));
  trailer_.file = Checksum(crc_.value() | Checksum::kFlag);
  TRY(out_.write(encode_trailer(trailer_)));
  return out_.flush();
}

}  // namespace caddis::ltx
