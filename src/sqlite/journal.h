// Rollback journal reader, by the rules of SQLite's pager_playback (pager.c).
// A journal is a row of segments, each a header padded to a sector and nRec records: u32 pgno, the page as it was
// before the transaction, u32 checksum; a super-journal name may stand at the end.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "sqlite/read_at.h"

namespace caddis::sqlite {

inline constexpr std::size_t kJournalHeaderSizeBytes = 28;
// Record count of a segment that reaches to the end of the file (synchronous=OFF, or a file system with safe append).
inline constexpr std::uint32_t kJournalCountToEnd = 0xffffffff;

// SQLite's last test for a hot journal, for the first byte(s) of an existing journal: the first byte is not zero. The
// caller has found before that the database is not empty and nobody holds RESERVED.
bool is_hot(ByteView first_bytes);
// A header that journal_mode=PERSIST has zeroed to commit: the first 28 bytes (or all there are) are zero, and there is
// at least one.
bool is_zeroed_header(ByteView first_bytes);

struct JournalHeader {
  std::uint32_t record_count = 0;   // as stored: 0 before the journal was synced, kJournalCountToEnd
  std::uint32_t nonce = 0;          // initial value of the record checksums
  std::uint32_t initial_pages = 0;  // database size before the transaction; rollback truncates to it
  std::uint32_t sector_size_bytes = 0;
  std::uint32_t page_size_bytes = 0;  // stored 0 means "that of the database"
  bool operator==(const JournalHeader&) const = default;
};
// nullopt: shorter than 28 bytes or without the magic. Sizes are not checked.
std::optional<JournalHeader> parse_journal_header(ByteView bytes);

// The checksum of one record: the nonce plus every 200th byte of the page, counted from its end.
std::uint32_t journal_checksum(std::uint32_t nonce, ByteView page);

// What a segment with record count 0 means.
enum class JournalView {
  kHot,   // left by a dead writer: its records were never synced and are not played back
  kLive,  // of a living writer: up to the end of the file or the first bad record. Before its first sync such a header
          // has zeros for magic and count, which is accepted here
};

// Why the iteration is over.
enum class JournalEnd {
  kNone,         // it is not
  kNoHeader,     // no valid header (at the beginning: nothing to play back)
  kBadRecord,    // page number 0, the lock page, or a wrong checksum
  kShortRecord,  // the file ends inside a record
};

struct JournalRecord {
  Pgno pgno;
  ByteView data;  // the original page, valid until the next call
};

// Memory: one page. Writing the records in order, truncating to initial_pages() and removing the journal is the
// rollback.
class JournalReader {
 public:
  // `size_bytes`: of the journal. `database_page_size_bytes`: for headers that leave it 0; 0 if not known.
  JournalReader(ReadAt read_at, std::uint64_t size_bytes, std::uint32_t database_page_size_bytes,
                JournalView view = JournalView::kHot);

  // The first segment's header, with the page size that holds for all. nullopt: nothing to play back.
  Result<std::optional<JournalHeader>> header();
  // The next record to play back; nullopt at the end. Records of pages beyond the initial size are left out, as
  // rollback truncates them away.
  Result<std::optional<JournalRecord>> next();
  JournalEnd end() const { return end_; }

 private:
  Result<bool> read(std::uint64_t offset, ByteSpan out) const;  // false: the file ends before
  Status open_segment();                                        // at the next sector boundary, or end_ is set
  std::optional<JournalHeader> accept(ByteView bytes) const;    // by the rules of view_
  std::uint64_t record_size_bytes() const { return first_->page_size_bytes + 8ull; }

  ReadAt read_at_;
  std::uint64_t size_bytes_;
  std::uint32_t database_page_size_bytes_;
  JournalView view_;
  std::optional<JournalHeader> first_;
  std::uint64_t offset_ = 0;        // of the next record
  std::uint64_t records_left_ = 0;  // in this segment
  std::uint32_t nonce_ = 0;         // of this segment
  Bytes record_;
  bool started_ = false;
  JournalEnd end_ = JournalEnd::kNone;
};

// The super-journal's path at the end of a journal (readSuperJournal); empty when there is none or it is damaged.
// A hot journal that names a super-journal which no longer exists is committed and must not be played back.
Result<std::string> read_super_journal(const ReadAt& read_at, std::uint64_t size_bytes);

}  // namespace caddis::sqlite
