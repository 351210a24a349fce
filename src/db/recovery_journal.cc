// Boot: the rollback journal that a killed writer has left, by SQLite's rules.
#include <algorithm>
#include <array>

#include "base/log.h"
#include "db/engine.h"
#include "db/file_source.h"
#include "db/recovery.h"
#include "sqlite/journal.h"

namespace caddis::db {
// A hot journal that names a super-journal which is gone is committed.
Result<bool> Recovery::journal_is_committed(os::File& journal) {
  TRY_ASSIGN(std::uint64_t size, journal.size_bytes());
  TRY_ASSIGN(std::string super, sqlite::read_super_journal(read_at(journal), size));
  if (super.empty()) return false;
  std::string base = super.substr(super.rfind('/') == std::string::npos ? 0 : super.rfind('/') + 1);
  return !db_.engine_.scratch_->info(base).has_value();
}

Status Recovery::resolve_journal() {
  PartFile journal = db_.part(PartKind::kJournal);
  if (journal == nullptr) return {};
  std::array<std::uint8_t, 1> first{};
  TRY_ASSIGN(std::size_t got, journal->pread(first, 0));
  TRY_ASSIGN(std::uint64_t db_size, database_size());
  if (got == 1 && sqlite::is_hot(first) && db_size > 0) {
    TRY_ASSIGN(bool committed, journal_is_committed(*journal));
    if (committed) {
      TRY_ASSIGN(std::uint64_t size, journal->size_bytes());
      sqlite::JournalReader reader(read_at(*journal), size, 0);
      TRY(reader.header());
      for (;;) {
        TRY_ASSIGN(std::optional<sqlite::JournalRecord> record, reader.next());
        if (!record) break;
        committed_pages_.push_back(record->pgno.value());
      }
      committed_pages_.push_back(1);
      log_info("a journal whose super-journal is gone is committed", {{"db", db_.name()}});
    } else {
      TRY(roll_back(*journal));
    }
  }
  TRY(db_.dir_->unlink("journal"));
  db_.forget_part(PartKind::kJournal);
  return db_.dir_->sync();
}

Status Recovery::roll_back(os::File& journal) {
  PartFile file = db_.part(PartKind::kDatabase);
  TRY_ASSIGN(std::uint64_t size, journal.size_bytes());
  std::uint32_t page_size = 0;
  if (auto geometry = capture_.file_geometry()) page_size = geometry->first;
  sqlite::JournalReader reader(read_at(journal), size, page_size);
  TRY_ASSIGN(std::optional<sqlite::JournalHeader> header, reader.header());
  if (!header) return {};
  std::uint32_t records = 0;
  for (;;) {
    TRY_ASSIGN(std::optional<sqlite::JournalRecord> record, reader.next());
    if (!record) break;
    TRY(file->pwrite(record->data, std::uint64_t{record->pgno.index()} * header->page_size_bytes));
    ++records;
  }
  TRY(file->truncate(std::uint64_t{header->initial_pages} * header->page_size_bytes));
  TRY(file->sync());
  rolled_back_ = true;
  log_info("rolled back an unfinished transaction", {{"db", db_.name()}, {"pages", std::to_string(records)}});
  return {};
}

// A free page that the transaction took into use was not journalled, for its content means nothing to SQLite: after the
// rollback it may hold anything. Those pages are the leaves of the freelist, which the rollback has restored.
// File format: page 1 has the first trunk at 32; a trunk is u32 next, u32 n, n leaves.
Result<std::vector<std::uint32_t>> Recovery::free_leaves() {
  std::vector<std::uint32_t> leaves;
  std::uint32_t page_size = capture_.sums_.page_size_bytes();
  std::uint32_t pages = capture_.sums_.page_count();
  Bytes page(page_size);
  TRY(capture_.read_page({Pgno(1), 0}, page_size, page));
  std::uint32_t trunk = get_be32(page.data() + 32);
  for (std::uint32_t seen = 0; trunk != 0 && trunk <= pages && seen < pages; ++seen) {
    TRY(capture_.read_page({Pgno(trunk), 0}, page_size, page));
    std::uint32_t count = std::min(get_be32(page.data() + 4), page_size / 4 - 2);
    for (std::uint32_t i = 0; i < count; ++i) leaves.push_back(get_be32(page.data() + 8 + std::size_t{i} * 4));
    trunk = get_be32(page.data());
  }
  std::erase(leaves, 0u);
  return leaves;
}

}  // namespace caddis::db
