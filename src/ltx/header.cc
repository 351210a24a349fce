#include "ltx/header.h"

#include <fmt/core.h>

#include "base/check.h"

namespace caddis::ltx {
namespace {

constexpr std::string_view kMagic = "LTX1";
constexpr std::string_view kCds1Magic = "CDS1";
constexpr std::uint64_t kSignBit = 1ull << 63;        // the Go types are signed: the top bit means negative
constexpr std::uint32_t kLz4FrameMagic = 0x04224d18;  // as the file shows it, read big-endian

bool has_flag(Checksum c) { return (c.value() & Checksum::kFlag) != 0; }

}  // namespace

std::optional<Cds1> Header::cds1() const {
  if (as_text(ByteView(reserved).first(4)) != kCds1Magic) return std::nullopt;
  return Cds1{.post_apply = Checksum(get_be64(reserved.data() + 4)), .epoch = get_be64(reserved.data() + 12)};
}

void Header::set_cds1(const Cds1& cds1) {
  std::memcpy(reserved.data(), kCds1Magic.data(), 4);
  put_be64(reserved.data() + 4, cds1.post_apply.value());
  put_be64(reserved.data() + 12, cds1.epoch);
}

HeaderBytes encode_header(const Header& h) {
  HeaderBytes out;
  std::uint8_t* p = out.data();
  std::memcpy(p, kMagic.data(), 4);
  put_be32(p + 4, h.flags);
  put_be32(p + 8, h.page_size_bytes);
  put_be32(p + 12, h.commit);
  put_be64(p + 16, h.min_txid.value());
  put_be64(p + 24, h.max_txid.value());
  put_be64(p + 32, static_cast<std::uint64_t>(h.timestamp_ms));
  put_be64(p + 40, h.pre_apply.value());
  put_be64(p + 48, h.wal_offset);
  put_be64(p + 56, h.wal_size);
  put_be32(p + 64, h.salt1);
  put_be32(p + 68, h.salt2);
  put_be64(p + 72, h.node_id);
  std::memcpy(p + 80, h.reserved.data(), h.reserved.size());
  return out;
}

Result<Header> decode_header(ByteView bytes, Version version) {
  if (bytes.size() < kHeaderSizeBytes) return corrupt("ltx: {} bytes, a header has {}", bytes.size(), kHeaderSizeBytes);
  if (as_text(bytes.first(4)) != kMagic) return corrupt("ltx: magic {:08x} is not LTX1", get_be32(bytes.data()));
  const std::uint8_t* p = bytes.data();
  Header h;
  h.flags = get_be32(p + 4);
  h.page_size_bytes = get_be32(p + 8);
  h.commit = get_be32(p + 12);
  h.min_txid = Txid(get_be64(p + 16));
  h.max_txid = Txid(get_be64(p + 24));
  h.timestamp_ms = static_cast<std::int64_t>(get_be64(p + 32));
  h.pre_apply = Checksum(get_be64(p + 40));
  h.wal_offset = get_be64(p + 48);
  h.wal_size = get_be64(p + 56);
  h.salt1 = get_be32(p + 64);
  h.salt2 = get_be32(p + 68);
  h.node_id = get_be64(p + 72);
  std::memcpy(h.reserved.data(), p + 80, h.reserved.size());
  if (Status s = validate(h, version); !s) return corrupt("{}", s.error().message());
  return h;
}

Status validate(const Header& h, Version version) {
  std::uint32_t allowed = version == Version::kV1 ? kFlagLz4 : kFlagNoChecksum;
  if ((h.flags & ~allowed) != 0) {
    return invalid("ltx header: flags {:#x}, version {} knows only {:#x}", h.flags, static_cast<int>(version), allowed);
  }
  if (!valid_page_size(h.page_size_bytes)) {
    return invalid("ltx header: page size {} is no power of two in 512..65536", h.page_size_bytes);
  }
  if (h.min_txid == Txid(0) || h.max_txid < h.min_txid) {
    return invalid("ltx header: transactions {}-{}, expected 1 <= min <= max", h.min_txid, h.max_txid);
  }
  bool salted = h.salt1 != 0 || h.salt2 != 0;
  if ((h.wal_offset & kSignBit) != 0 || (h.wal_size & kSignBit) != 0) {
    return invalid("ltx header: negative WAL offset {:#x} or size {:#x}", h.wal_offset, h.wal_size);
  }
  if (h.wal_offset == 0 && (h.wal_size != 0 || salted)) {
    return invalid("ltx header: WAL size {} or salts {:08x} {:08x} without a WAL offset", h.wal_size, h.salt1, h.salt2);
  }
  if (version == Version::kV1 && h.wal_size == 0 && (h.wal_offset != 0 || salted)) {
    return invalid("ltx header: WAL offset {} or salts {:08x} {:08x} without a WAL size", h.wal_offset, h.salt1,
                   h.salt2);
  }
  if (!h.tracks_checksums() || h.is_snapshot()) {
    if (h.pre_apply != Checksum()) {
      return invalid("ltx header: pre-apply checksum {} in a file that must not have one ({}, min TXID {})",
                     h.pre_apply, h.tracks_checksums() ? "snapshot" : "flag 0x2", h.min_txid);
    }
  } else if (!has_flag(h.pre_apply)) {
    return invalid("ltx header: pre-apply checksum {} lacks bit 63", h.pre_apply);
  }
  if (std::optional<Cds1> cds1 = h.cds1(); cds1 && !has_flag(cds1->post_apply)) {
    return invalid("ltx header: CDS1 post-apply checksum {} lacks bit 63", cds1->post_apply);
  }
  return {};
}

TrailerBytes encode_trailer(const Trailer& trailer) {
  TrailerBytes out;
  put_be64(out.data(), trailer.post_apply.value());
  put_be64(out.data() + 8, trailer.file.value());
  return out;
}

Status validate_post_apply(const Header& header, Checksum post_apply) {
  if (!header.tracks_checksums()) {
    if (post_apply == Checksum()) return {};
    return invalid("ltx trailer: post-apply checksum {} under flag 0x2, expected 0", post_apply);
  }
  if (!has_flag(post_apply)) return invalid("ltx trailer: post-apply checksum {} lacks bit 63", post_apply);
  if (header.commit == 0 && post_apply != kEmptyDatabaseChecksum) {
    return invalid("ltx trailer: post-apply checksum {} of a deleted database, expected {}", post_apply,
                   kEmptyDatabaseChecksum);
  }
  return {};
}

Result<Trailer> decode_trailer(ByteView bytes, const Header& header) {
  if (bytes.size() < kTrailerSizeBytes) {
    return corrupt("ltx trailer: {} bytes, expected {}", bytes.size(), kTrailerSizeBytes);
  }
  Trailer trailer{.post_apply = Checksum(get_be64(bytes.data())), .file = Checksum(get_be64(bytes.data() + 8))};
  if (Status s = validate_post_apply(header, trailer.post_apply); !s) return corrupt("{}", s.error().message());
  if (!has_flag(trailer.file)) return corrupt("ltx trailer: file checksum {} lacks bit 63", trailer.file);
  return trailer;
}

Header untracked_header(Header header, const std::optional<Cds1>& cds1) {
  header.flags = kFlagNoChecksum;
  header.pre_apply = Checksum();
  header.node_id = 0;
  header.clear_reserved();
  if (cds1) header.set_cds1(*cds1);
  return header;
}

std::string file_name(Txid min_txid, Txid max_txid) { return fmt::format("{}-{}.ltx", min_txid, max_txid); }

Result<std::pair<Txid, Txid>> parse_file_name(std::string_view name) {
  if (name.size() != 37 || name[16] != '-' || name.substr(33) != ".ltx") {
    return invalid("ltx file name '{}' is not MIN-MAX.ltx with 16 hex digits each", name);
  }
  TRY_ASSIGN(std::uint64_t min, parse_hex16(name.substr(0, 16)));
  TRY_ASSIGN(std::uint64_t max, parse_hex16(name.substr(17, 16)));
  if (min == 0 || max < min) return invalid("ltx file name '{}': expected 1 <= min <= max", name);
  return std::pair(Txid(min), Txid(max));
}

Result<Version> guess_version(ByteView b) {
  if (b.size() < kHeaderSizeBytes + 6) return corrupt("ltx: {} bytes, too short for header and page block", b.size());
  if (as_text(b.first(4)) != kMagic) return corrupt("ltx: magic {:08x} is not LTX1", get_be32(b.data()));
  std::uint32_t flags = get_be32(b.data() + 4);
  if ((flags & kFlagLz4) != 0) return Version::kV1;
  if ((flags & kFlagNoChecksum) != 0) return Version::kV3;
  // Both kinds track checksums here, so an empty v1 page block is followed by a byte with its top bit set.
  std::uint16_t page_flags = get_be16(b.data() + 104);
  if (get_be32(b.data() + 100) == 0) return page_flags == 0 ? Version::kV3 : Version::kV1;
  if (b.size() < kHeaderSizeBytes + 10) return corrupt("ltx: {} bytes, ends inside its first page", b.size());
  std::uint32_t after = get_be32(b.data() + 106);
  if (page_flags == 0 && after == kLz4FrameMagic) return Version::kV3;
  std::uint32_t page_size = get_be32(b.data() + 8);
  if (page_flags == 1 && after > 0 && after <= page_size + page_size / 255 + 16) return Version::kV3;
  return Version::kV1;
}

}  // namespace caddis::ltx
