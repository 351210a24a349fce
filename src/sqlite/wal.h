// The write-ahead log: header, frames, checksums, and a reader that stops where SQLite's recovery stops (wal.c).
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "sqlite/read_at.h"

namespace caddis::sqlite {

inline constexpr std::size_t kWalHeaderSizeBytes = 32;
inline constexpr std::size_t kWalFrameHeaderSizeBytes = 24;
inline constexpr std::uint32_t kWalVersion = 3007000;

// A running checksum of header and frames.
struct WalChecksum {
  std::uint32_t s1 = 0;
  std::uint32_t s2 = 0;
  bool operator==(const WalChecksum&) const = default;
};
// Continues `seed` over `data` (a multiple of 8 bytes) taken as big- or little-endian words.
WalChecksum wal_checksum(bool big_endian, ByteView data, WalChecksum seed);

struct WalHeader {
  bool big_endian_checksums = false;  // magic 0x377f0683, else 0x377f0682
  std::uint32_t page_size_bytes = 0;
  std::uint32_t checkpoint_sequence = 0;
  std::uint32_t salt1 = 0;
  std::uint32_t salt2 = 0;
  WalChecksum checksum;  // of the header, the seed for frame 1
  bool operator==(const WalHeader&) const = default;
};
using WalHeaderBytes = std::array<std::uint8_t, kWalHeaderSizeBytes>;
// Errors: kCorrupt for what SQLite takes as an empty WAL (short, other magic, page size or checksum); kUnsupported for
// another version, where SQLite refuses to open.
Result<WalHeader> parse_wal_header(ByteView bytes);
// Computes the checksum; header.checksum is not looked at.
WalHeaderBytes encode_wal_header(const WalHeader& header);

struct WalFrameHeader {
  Pgno pgno;
  std::uint32_t commit = 0;  // database size in pages on the last frame of a transaction, else 0
  std::uint32_t salt1 = 0;
  std::uint32_t salt2 = 0;
  WalChecksum checksum;  // running, up to and including this frame
  bool operator==(const WalFrameHeader&) const = default;
};
using WalFrameHeaderBytes = std::array<std::uint8_t, kWalFrameHeaderSizeBytes>;
// `bytes`: at least 24. No checks: those need the state before (WalReader, frame_checksum).
WalFrameHeader parse_wal_frame_header(ByteView bytes);
WalFrameHeaderBytes encode_wal_frame_header(const WalFrameHeader& header);
// The running checksum after a frame: over the first 8 bytes of its header and the page.
WalChecksum frame_checksum(bool big_endian, Pgno pgno, std::uint32_t commit, ByteView page, WalChecksum previous);

// Where frame `frame_no` begins; frames count from 1.
constexpr std::uint64_t wal_frame_offset(std::uint32_t frame_no, std::uint32_t page_size_bytes) {
  return kWalHeaderSizeBytes + (frame_no - 1ull) * (page_size_bytes + kWalFrameHeaderSizeBytes);
}
constexpr std::uint64_t wal_size_for(std::uint32_t frames, std::uint32_t page_size_bytes) {
  return wal_frame_offset(frames + 1, page_size_bytes);
}

// A point in a WAL: `frame_no` frames are behind it, with this running checksum.
struct WalPoint {
  std::uint32_t frame_no = 0;
  WalChecksum checksum;
  bool operator==(const WalPoint&) const = default;
};
inline WalPoint wal_begin(const WalHeader& header) { return {.frame_no = 0, .checksum = header.checksum}; }

struct WalFrame {
  std::uint32_t frame_no = 0;
  Pgno pgno;
  std::uint32_t commit = 0;  // see WalFrameHeader
  ByteView page;             // valid until the next call
};

// Walks valid frames from a point on. A frame is valid with the header's salts, a page number that is not 0 and the
// right running checksum; the first invalid one is the end, as in walIndexRecover. Only frames up to the last one with
// `commit` belong to transactions: the caller keeps the state at each of them. To go on after more was appended, make a
// new reader from point().
// Memory: about 256 KiB.
class WalReader {
 public:
  // Reads no frame beyond max_frame (mxFrame of a live WAL, whose tail may be half written).
  WalReader(ReadAt read_at, const WalHeader& header, WalPoint from, std::uint32_t max_frame = UINT32_MAX);
  Result<std::optional<WalFrame>> next();
  // Behind the last frame that next() returned.
  WalPoint point() const { return point_; }

 private:
  std::size_t frame_size_bytes() const { return header_.page_size_bytes + kWalFrameHeaderSizeBytes; }
  Result<ByteView> frame_bytes();  // of the frame after point_; empty at the end

  ReadAt read_at_;
  WalHeader header_;
  WalPoint point_;
  std::uint32_t max_frame_;
  Bytes buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool ended_ = false;
};

}  // namespace caddis::sqlite
