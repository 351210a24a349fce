// LTX header (100 bytes), trailer (16 bytes) and file names, for both versions that share the magic "LTX1":
//   v1  LiteFS 0.5 (ltx 0.3): 4-byte page numbers, raw pages or ONE LZ4 frame over all of them;
//   v3  Litestream 0.5 (ltx 0.5): 6-byte page headers, every page LZ4-compressed, page index before the trailer.
// The version is not in the file: the caller knows it from where the file lies (guess_version is a heuristic).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"

namespace caddis::ltx {

enum class Version : std::uint8_t { kV1 = 1, kV3 = 3 };

inline constexpr std::size_t kHeaderSizeBytes = 100;
inline constexpr std::size_t kTrailerSizeBytes = 16;
inline constexpr std::uint32_t kMaxPageSizeBytes = 65536;
inline constexpr std::uint32_t kFlagLz4 = 0x1;         // v1 only: the page block is one LZ4 frame
inline constexpr std::uint32_t kFlagNoChecksum = 0x2;  // v3 only: pre-apply and post-apply are 0

// caddis's extension in the reserved bytes 80-99 of a v3 header, which Litestream ignores and the file checksum covers:
// "CDS1", u64 post-apply database checksum, u64 lease epoch, big-endian.
struct Cds1 {
  Checksum post_apply;
  std::uint64_t epoch = 0;
  auto operator<=>(const Cds1&) const = default;
};

struct Header {
  std::uint32_t flags = 0;
  std::uint32_t page_size_bytes = 0;  // power of two 512..65536, stored as it is
  std::uint32_t commit = 0;           // database size in pages after the transaction; 0: database deleted
  Txid min_txid;
  Txid max_txid;
  std::int64_t timestamp_ms = 0;  // since the Unix epoch
  Checksum pre_apply;             // 0 in snapshots and with kFlagNoChecksum
  std::uint64_t wal_offset = 0;   // bytes of the WAL this file came from; 0/0 for journals, imports, snapshots
  std::uint64_t wal_size = 0;
  std::uint32_t salt1 = 0;
  std::uint32_t salt2 = 0;
  std::uint64_t node_id = 0;
  std::array<std::uint8_t, 20> reserved{};

  // LTX's only meaning of "snapshot": the file holds every page of the database.
  bool is_snapshot() const { return min_txid == Txid(1); }
  bool tracks_checksums() const { return (flags & kFlagNoChecksum) == 0; }
  std::optional<Cds1> cds1() const;  // nullopt when the reserved bytes do not begin with "CDS1"
  void set_cds1(const Cds1& cds1);
  void clear_reserved() { reserved = {}; }
  bool operator==(const Header&) const = default;
};

using HeaderBytes = std::array<std::uint8_t, kHeaderSizeBytes>;

HeaderBytes encode_header(const Header& header);
// Reads the first 100 bytes of `bytes` and checks them with validate().
// Errors: kCorrupt when shorter than a header, without the magic, or against a rule of that version.
Result<Header> decode_header(ByteView bytes, Version version);
// The rules of ltx 0.3 and 0.5 (Header.Validate). Errors: kInvalid naming the field and its value.
Status validate(const Header& header, Version version);

// Post-apply checksum of the database, and the file's own checksum (always with bit 63).
struct Trailer {
  Checksum post_apply;  // 0 with kFlagNoChecksum
  Checksum file;
  bool operator==(const Trailer&) const = default;
};
using TrailerBytes = std::array<std::uint8_t, kTrailerSizeBytes>;
TrailerBytes encode_trailer(const Trailer& trailer);
// Errors: kCorrupt when a checksum cannot belong to this header.
Result<Trailer> decode_trailer(ByteView bytes, const Header& header);
// What post_apply may be under this header. Errors: kInvalid.
Status validate_post_apply(const Header& header, Checksum post_apply);

// The header for the backup form of the same transactions: flags 0x2, no pre-apply checksum, node id 0, our proof in
// the reserved bytes (nullopt clears them).
Header untracked_header(Header header, const std::optional<Cds1>& cds1);

// "0000000000000001-0000000000000002.ltx".
std::string file_name(Txid min_txid, Txid max_txid);
// Errors: kInvalid when the name has another form, min is 0 or max < min.
Result<std::pair<Txid, Txid>> parse_file_name(std::string_view name);

// Tells v1 from v3 by the first bytes of a file (110 are enough): flags decide, else the form of the first page frame.
// Sure for every file with a flag set; a heuristic for v1 files that are neither compressed nor begin with page 1.
// Errors: kCorrupt when too short or without the magic.
Result<Version> guess_version(ByteView first_bytes);

}  // namespace caddis::ltx
