#include "sqlite/journal.h"

#include <algorithm>
#include <array>

namespace caddis::sqlite {
namespace {

constexpr std::array<std::uint8_t, 8> kJournalMagic = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};
constexpr std::uint32_t kMaxSectorSizeBytes = 0x10000;
constexpr std::uint32_t kDefaultSectorSizeBytes = 512;  // before a header has said another
constexpr std::uint32_t kMaxSuperNameBytes = 512;       // mxPathname of the unix VFS

bool has_journal_magic(ByteView b) { return std::equal(kJournalMagic.begin(), kJournalMagic.end(), b.begin()); }
JournalHeader fields_of(ByteView b) {
  return {.record_count = get_be32(b.data() + 8),
          .nonce = get_be32(b.data() + 12),
          .initial_pages = get_be32(b.data() + 16),
          .sector_size_bytes = get_be32(b.data() + 20),
          .page_size_bytes = get_be32(b.data() + 24)};
}
bool is_power_of_two(std::uint32_t n) { return n != 0 && (n & (n - 1)) == 0; }

}  // namespace

bool is_hot(ByteView b) { return !b.empty() && b[0] != 0; }

bool is_zeroed_header(ByteView b) {
  b = b.first(std::min(b.size(), kJournalHeaderSizeBytes));
  return !b.empty() && std::all_of(b.begin(), b.end(), [](std::uint8_t v) { return v == 0; });
}

std::optional<JournalHeader> parse_journal_header(ByteView b) {
  if (b.size() < kJournalHeaderSizeBytes || !has_journal_magic(b)) return std::nullopt;
  return fields_of(b);
}

std::uint32_t journal_checksum(std::uint32_t nonce, ByteView page) {
  for (std::size_t i = page.size(); i > 200;) {
    i -= 200;
    nonce += page[i];
  }
  return nonce;
}

JournalReader::JournalReader(ReadAt read_at, std::uint64_t size_bytes, std::uint32_t database_page_size_bytes,
                             JournalView view)
    : read_at_(std::move(read_at)),
      size_bytes_(size_bytes),
      database_page_size_bytes_(database_page_size_bytes),
      view_(view) {}

Result<bool> JournalReader::read(std::uint64_t offset, ByteSpan out) const {
  TRY_ASSIGN(std::size_t n, read_at_(offset, out));
  return n == out.size();
}

Result<std::optional<JournalHeader>> JournalReader::header() {
  if (!started_) {
    TRY(open_segment());
    started_ = true;
  }
  return first_;
}

Status JournalReader::open_segment() {
  std::uint64_t sector = first_ ? first_->sector_size_bytes : kDefaultSectorSizeBytes;
  std::uint64_t at = (offset_ + sector - 1) / sector * sector;
  end_ = JournalEnd::kNoHeader;
  if (at + sector > size_bytes_) return {};
  std::array<std::uint8_t, kJournalHeaderSizeBytes> bytes;
  TRY_ASSIGN(bool whole, read(at, bytes));
  std::optional<JournalHeader> header = whole ? accept(bytes) : std::nullopt;
  if (!header) return {};
  if (!first_) {
    if (header->page_size_bytes == 0) header->page_size_bytes = database_page_size_bytes_;
    std::uint32_t own_sector = header->sector_size_bytes;
    if (!valid_page_size(header->page_size_bytes) || !is_power_of_two(own_sector) || own_sector < 32 ||
        own_sector > kMaxSectorSizeBytes) {
      return {};
    }
    first_ = header;
    record_.resize(record_size_bytes());
  }
  end_ = JournalEnd::kNone;
  nonce_ = header->nonce;
  offset_ = at + first_->sector_size_bytes;
  std::uint64_t to_end = offset_ < size_bytes_ ? (size_bytes_ - offset_) / record_size_bytes() : 0;
  records_left_ = header->record_count;
  if (header->record_count == kJournalCountToEnd) {
    // SQLite counts from the first header here, whichever segment this is; only a first segment is ever written so.
    std::uint64_t one_header = first_->sector_size_bytes;
    records_left_ = size_bytes_ > one_header ? (size_bytes_ - one_header) / record_size_bytes() : 0;
  } else if (header->record_count == 0 && view_ == JournalView::kLive) {
    records_left_ = to_end;
  }
  return {};
}

std::optional<JournalHeader> JournalReader::accept(ByteView b) const {
  if (std::optional<JournalHeader> header = parse_journal_header(b)) return header;
  // Not synced yet: 12 zero bytes, then the true fields. Those of a later segment tell it from other zeros.
  if (view_ != JournalView::kLive || get_be64(b.data()) != 0 || get_be32(b.data() + 8) != 0) return std::nullopt;
  JournalHeader header = fields_of(b);
  bool alike = !first_ || (header.sector_size_bytes == first_->sector_size_bytes &&
                           header.page_size_bytes == first_->page_size_bytes);
  return alike ? std::optional(header) : std::nullopt;
}

Result<std::optional<JournalRecord>> JournalReader::next() {
  TRY(header());
  while (end_ == JournalEnd::kNone) {
    if (records_left_ == 0) {
      TRY(open_segment());
      continue;
    }
    TRY_ASSIGN(bool whole, read(offset_, record_));
    if (!whole) {
      end_ = JournalEnd::kShortRecord;
      break;
    }
    offset_ += record_.size();
    --records_left_;
    Pgno pgno(get_be32(record_.data()));
    auto data = ByteView(record_).subspan(4, first_->page_size_bytes);
    if (pgno == Pgno(0) || pgno == lock_pgno(first_->page_size_bytes)) {
      end_ = JournalEnd::kBadRecord;
      break;
    }
    if (pgno.value() > first_->initial_pages) continue;  // not even its checksum is looked at
    if (journal_checksum(nonce_, data) != get_be32(record_.data() + 4 + data.size())) {
      end_ = JournalEnd::kBadRecord;
      break;
    }
    return JournalRecord{pgno, data};
  }
  return std::nullopt;
}

Result<std::string> read_super_journal(const ReadAt& read_at, std::uint64_t size_bytes) {
  std::array<std::uint8_t, 16> footer;  // u32 name length, u32 checksum, magic
  if (size_bytes < footer.size()) return std::string();
  TRY_ASSIGN(std::size_t n, read_at(size_bytes - footer.size(), footer));
  std::uint32_t length = get_be32(footer.data());
  if (n != footer.size() || length == 0 || length > kMaxSuperNameBytes || length > size_bytes - footer.size() ||
      !has_journal_magic(ByteView(footer).subspan(8))) {
    return std::string();
  }
  std::string name(length, '\0');
  ByteSpan out(reinterpret_cast<std::uint8_t*>(name.data()), name.size());
  TRY_ASSIGN(n, read_at(size_bytes - footer.size() - length, out));
  if (n != length) return std::string();
  std::uint32_t sum = get_be32(footer.data() + 4);
  for (char c : name) sum -= static_cast<std::uint32_t>(c);  // signedness of char as in SQLite on this machine
  if (sum != 0) return std::string();
  return name.substr(0, name.find('\0'));
}

}  // namespace caddis::sqlite
