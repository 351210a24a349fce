// The head of the wal-index (the `-shm` file): two copies of a 48-byte header, the checkpoint info, the lock bytes.
// Integers are in the machine's byte order, which is little-endian here. Source: wal.c, "WAL-INDEX FORMAT".
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "base/bytes.h"
#include "sqlite/wal.h"

namespace caddis::sqlite {

inline constexpr std::size_t kWalIndexCopySizeBytes = 48;
inline constexpr std::size_t kWalIndexHeadersSizeBytes = 2 * kWalIndexCopySizeBytes;
inline constexpr std::size_t kWalCkptInfoOffset = kWalIndexHeadersSizeBytes;
inline constexpr std::size_t kWalCkptInfoSizeBytes = 40;
inline constexpr std::size_t kWalIndexHeadSizeBytes = 136;  // headers and checkpoint info; page numbers begin here
inline constexpr std::size_t kWalIndexRegionSizeBytes = 32768;
inline constexpr std::uint32_t kReadMarkNotUsed = 0xffffffff;
inline constexpr std::size_t kReadMarks = 5;

// Byte offsets in `-shm` of the locks; reader i holds kLockRead0 + i.
inline constexpr std::uint64_t kLockWrite = 120;
inline constexpr std::uint64_t kLockCheckpoint = 121;
inline constexpr std::uint64_t kLockRecover = 122;
inline constexpr std::uint64_t kLockRead0 = 123;
inline constexpr std::uint64_t kLockDms = 128;  // "dead man's switch": held shared by everyone who has the file open

struct WalIndexHdr {
  std::uint32_t version = kWalVersion;  // iVersion
  std::uint32_t change = 0;             // iChange, counts transactions
  bool is_init = false;
  bool big_endian_checksums = false;  // of the WAL
  std::uint32_t page_size_bytes = 0;  // szPage, stored 1 means 65536; 0 in a fresh wal-index
  std::uint32_t max_frame = 0;        // mxFrame, the last committed frame
  std::uint32_t pages = 0;            // nPage, database size
  WalChecksum frame_checksum;         // aFrameCksum, running checksum after max_frame
  std::uint32_t salt1 = 0;            // the same numbers as in WalHeader (stored big-endian, unlike the rest)
  std::uint32_t salt2 = 0;
  bool operator==(const WalIndexHdr&) const = default;

  WalPoint point() const { return {.frame_no = max_frame, .checksum = frame_checksum}; }
};

using WalIndexCopyBytes = std::array<std::uint8_t, kWalIndexCopySizeBytes>;
using WalIndexHeadersBytes = std::array<std::uint8_t, kWalIndexHeadersSizeBytes>;

// One copy with its checksum.
WalIndexCopyBytes encode_wal_index_header(const WalIndexHdr& header);
// `headers`: the first 96 bytes, both copies. nullopt unless they are equal, initialised and the checksum is right,
// that is, while a writer is at work or before recovery. The version is for the caller to look at: SQLite answers
// SQLITE_CANTOPEN to any other than kWalVersion.
std::optional<WalIndexHdr> parse_wal_index_headers(ByteView headers);

// The same on shared memory that others write meanwhile: `shm` points at the mapped `-shm`, 8-byte aligned, at least
// 136 bytes. Order as SQLite's: a reader takes the first copy before the second, a writer stores the second first.
// Lock WRITE (or RECOVER) must be held to store.
std::optional<WalIndexHdr> load_wal_index_header(const std::uint8_t* shm);
void store_wal_index_header(std::uint8_t* shm, const WalIndexHdr& header);

struct WalCkptInfo {
  std::uint32_t backfilled = 0;                        // nBackfill: frames copied into the database
  std::array<std::uint32_t, kReadMarks> read_marks{};  // aReadMark, kReadMarkNotUsed for a free one
  std::uint32_t backfill_attempted = 0;                // nBackfillAttempted: frames that may have been copied
  bool operator==(const WalCkptInfo&) const = default;
};
// `info`: the 40 bytes at offset 96. The lock bytes inside are left alone.
WalCkptInfo parse_wal_ckpt_info(ByteView info);
void encode_wal_ckpt_info(ByteSpan info, const WalCkptInfo& value);

}  // namespace caddis::sqlite
