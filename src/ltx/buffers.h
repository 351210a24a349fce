// Input and output buffers of the LTX codecs; not for other modules.
#pragma once

#include <cstdint>
#include <memory>

#include "base/bytes.h"
#include "base/result.h"
#include "ltx/stream.h"

// liblz4's frame contexts, opaque here.
struct LZ4F_cctx_s;
struct LZ4F_dctx_s;

namespace caddis::ltx::detail {

inline constexpr std::size_t kBufferSizeBytes = 64 * 1024;  // of output
inline constexpr std::size_t kReadSizeBytes = 16 * 1024;    // compaction holds one such buffer an input

// Collects output and hands it to the sink in pieces.
class OutBuffer {
 public:
  explicit OutBuffer(Sink sink) : sink_(std::move(sink)) {}
  Status write(ByteView data);
  Status flush();
  std::uint64_t size_bytes() const { return size_bytes_; }

 private:
  Sink sink_;
  Bytes pending_;
  std::uint64_t size_bytes_ = 0;
};

// Buffered exact reads that know their offset, for error texts.
class InBuffer {
 public:
  explicit InBuffer(Source source) : source_(std::move(source)) {}
  // Exactly out.size() bytes. Errors: kCorrupt naming `what` at the end of the file.
  Status read(ByteSpan out, const char* what);
  // At least one unread byte, or an empty view at the end of the file. consume() says how many were used.
  Result<ByteView> peek();
  void consume(std::size_t n);
  // Errors: kCorrupt unless the file ends here.
  Status expect_end();
  std::uint64_t offset() const { return offset_; }

 private:
  Source source_;
  Bytes buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::uint64_t offset_ = 0;  // of begin_, in the file
  bool ended_ = false;
};

// One LZ4 frame out of an InBuffer.
class FrameReader {
 public:
  explicit FrameReader(InBuffer& in) : in_(in) {}
  // Begins a frame at the current position. Errors: kCorrupt when no LZ4 frame begins here.
  Status begin();
  // Exactly out.size() decompressed bytes. Errors: kCorrupt when the frame ends earlier or is broken.
  Status read(ByteSpan out, const char* what);
  // Errors: kCorrupt when more data follows or the frame's own checksum is wrong. Leaves the input behind the frame.
  Status finish();

 private:
  struct Free {
    void operator()(LZ4F_dctx_s* context) const;
  };
  Result<std::size_t> step(ByteSpan out);  // bytes decompressed by one call

  InBuffer& in_;
  std::unique_ptr<LZ4F_dctx_s, Free> context_;
  bool ended_ = false;
};

// One LZ4 frame into an OutBuffer, in LiteFS's form: version 1, independent 64 KiB blocks, content checksum.
class FrameWriter {
 public:
  explicit FrameWriter(OutBuffer& out) : out_(out) {}
  Status begin();
  Status write(ByteView data);
  Status finish();

 private:
  struct Free {
    void operator()(LZ4F_cctx_s* context) const;
  };
  Status emit(std::size_t size_or_error);

  OutBuffer& out_;
  Bytes compressed_;
  std::unique_ptr<LZ4F_cctx_s, Free> context_;
};

}  // namespace caddis::ltx::detail
