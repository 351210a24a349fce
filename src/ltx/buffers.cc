#include "ltx/buffers.h"

#include <lz4frame.h>

#include <algorithm>
#include <array>

#include "base/check.h"

namespace caddis::ltx {

Source source_of(ByteView bytes) {
  return [bytes](ByteSpan out) mutable -> Result<std::size_t> {
    std::size_t n = std::min(out.size(), bytes.size());
    std::copy_n(bytes.begin(), n, out.begin());
    bytes = bytes.subspan(n);
    return n;
  };
}

namespace detail {

Status OutBuffer::write(ByteView data) {
  append(pending_, data);
  size_bytes_ += data.size();
  if (pending_.size() >= kBufferSizeBytes) return flush();
  return {};
}

Status OutBuffer::flush() {
  if (pending_.empty()) return {};
  Status s = sink_(pending_);
  pending_.clear();
  return s;
}

Result<ByteView> InBuffer::peek() {
  if (begin_ == end_ && !ended_) {
    if (buffer_.empty()) buffer_.resize(kReadSizeBytes);
    TRY_ASSIGN(std::size_t n, source_(buffer_));
    CHECK(n <= buffer_.size());
    begin_ = 0;
    end_ = n;
    ended_ = n == 0;
  }
  return ByteView(buffer_).subspan(begin_, end_ - begin_);
}

void InBuffer::consume(std::size_t n) {
  CHECK(n <= end_ - begin_);
  begin_ += n;
  offset_ += n;
}

Status InBuffer::read(ByteSpan out, const char* what) {
  while (!out.empty()) {
    TRY_ASSIGN(ByteView ready, peek());
    if (ready.empty()) return corrupt("ltx: the file ends at byte {}, inside the {}", offset_, what);
    std::size_t n = std::min(ready.size(), out.size());
    std::copy_n(ready.begin(), n, out.begin());
    out = out.subspan(n);
    consume(n);
  }
  return {};
}

Status InBuffer::expect_end() {
  TRY_ASSIGN(ByteView ready, peek());
  if (!ready.empty()) return corrupt("ltx: bytes after the trailer, which ends at byte {}", offset_);
  return {};
}

void FrameReader::Free::operator()(LZ4F_dctx_s* context) const { LZ4F_freeDecompressionContext(context); }
void FrameWriter::Free::operator()(LZ4F_cctx_s* context) const { LZ4F_freeCompressionContext(context); }

Status FrameReader::begin() {
  // A context is used again for the next frame: finish() leaves it ready.
  if (!context_) {
    LZ4F_dctx* context = nullptr;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)) != 0) {
      return make_error(ErrorCode::kInternal, "lz4: no memory for a decompression context");
    }
    context_.reset(context);
  }
  ended_ = false;
  // The magic is read here, because liblz4 would skip over "skippable frames" too.
  std::array<std::uint8_t, 4> magic;
  std::uint64_t at = in_.offset();
  TRY(in_.read(magic, "LZ4 frame"));
  if (get_le32(magic.data()) != LZ4F_MAGICNUMBER) {
    return corrupt("ltx: no LZ4 frame at byte {}: {:08x}", at, get_be32(magic.data()));
  }
  std::size_t produced = 0;
  std::size_t used = magic.size();
  std::size_t r = LZ4F_decompress(context_.get(), nullptr, &produced, magic.data(), &used, nullptr);
  if (LZ4F_isError(r) != 0 || used != magic.size()) return corrupt("ltx: LZ4 frame at byte {}: bad header", at);
  return {};
}

Result<std::size_t> FrameReader::step(ByteSpan out) {
  TRY_ASSIGN(ByteView ready, in_.peek());
  // liblz4 may hold decompressed bytes it could not hand out yet, so it is asked also at the end of the input.
  std::size_t produced = out.size();
  std::size_t used = ready.size();
  std::size_t r = LZ4F_decompress(context_.get(), out.data(), &produced, ready.data(), &used, nullptr);
  if (LZ4F_isError(r) != 0) return corrupt("ltx: LZ4 frame near byte {}: {}", in_.offset(), LZ4F_getErrorName(r));
  in_.consume(used);
  if (r == 0) ended_ = true;
  if (!ended_ && used == 0 && produced == 0) {
    return corrupt("ltx: the file ends at byte {}, inside an LZ4 frame", in_.offset());
  }
  return produced;
}

Status FrameReader::read(ByteSpan out, const char* what) {
  while (!out.empty()) {
    if (ended_) return corrupt("ltx: LZ4 frame ends before byte {}, inside the {}", in_.offset(), what);
    TRY_ASSIGN(std::size_t n, step(out));
    out = out.subspan(n);
  }
  return {};
}

Status FrameReader::finish() {
  std::array<std::uint8_t, 1> extra;
  while (!ended_) {
    TRY_ASSIGN(std::size_t n, step(extra));
    if (n != 0) return corrupt("ltx: LZ4 frame near byte {} holds more than its pages", in_.offset());
  }
  return {};
}

Status FrameWriter::begin() {
  LZ4F_cctx* context = nullptr;
  if (LZ4F_isError(LZ4F_createCompressionContext(&context, LZ4F_VERSION)) != 0) {
    return make_error(ErrorCode::kInternal, "lz4: no memory for a compression context");
  }
  context_.reset(context);
  LZ4F_preferences_t preferences{};
  preferences.frameInfo.blockSizeID = LZ4F_max64KB;
  preferences.frameInfo.blockMode = LZ4F_blockIndependent;
  preferences.frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled;
  compressed_.resize(LZ4F_compressBound(kMaxPageSizeBytes, &preferences));
  return emit(LZ4F_compressBegin(context_.get(), compressed_.data(), compressed_.size(), &preferences));
}

Status FrameWriter::emit(std::size_t size_or_error) {
  if (LZ4F_isError(size_or_error) != 0) {
    return make_error(ErrorCode::kInternal, "lz4: {}", LZ4F_getErrorName(size_or_error));
  }
  return out_.write(ByteView(compressed_).first(size_or_error));
}

Status FrameWriter::write(ByteView data) {
  CHECK(data.size() <= kMaxPageSizeBytes);
  return emit(
      LZ4F_compressUpdate(context_.get(), compressed_.data(), compressed_.size(), data.data(), data.size(), nullptr));
}

Status FrameWriter::finish() {
  return emit(LZ4F_compressEnd(context_.get(), compressed_.data(), compressed_.size(), nullptr));
}

}  // namespace detail
}  // namespace caddis::ltx
