#include "db/recovery.h"

#include <algorithm>
#include <array>
#include <set>

#include "base/log.h"
#include "db/engine.h"
#include "db/file_source.h"
#include "db/ltx_writer.h"
#include "ltx/checksum.h"
#include "ltx/stream.h"
#include "sqlite/header.h"
#include "sqlite/journal.h"

namespace caddis::db {
namespace {

constexpr std::uint64_t kCloseBackfillBytes = 64u << 20;  // a longer WAL is left to the next boot
constexpr std::size_t kStaleLookBack = 4096;              // log files asked for the salts of a WAL

Result<ltx::Header> read_ltx_header(os::File& file) {
  ltx::HeaderBytes bytes;
  TRY(os::read_exactly(file, bytes, 0));
  return ltx::decode_header(bytes, ltx::Version::kV1);
}

}  // namespace

Result<std::uint64_t> Recovery::database_size() {
  PartFile file = db_.part(PartKind::kDatabase);
  if (file == nullptr) return std::uint64_t{0};
  return file->size_bytes();
}

Status Recovery::open_files() {
  TRY_ASSIGN(capture_.ltx_dir_, db_.dir_->make_dir("ltx"));
  TRY(take_in_log_ends());
  if (db_.dir_->info("shm")) TRY(db_.dir_->unlink("shm"));  // built anew from what is true after recovery
  for (PartKind kind : {PartKind::kDatabase, PartKind::kWal, PartKind::kJournal}) {
    Result<std::unique_ptr<os::File>> file = db_.dir_->open(part_file_name(kind), os::OpenMode::kReadWrite);
    if (!file) {
      if (file.error().code() == ErrorCode::kNotFound) continue;
      return std::unexpected(std::move(file).error());
    }
    MutexLock lock(db_.mutex_);
    db_.parts_[static_cast<std::size_t>(kind)] = std::move(*file);
  }
  return {};
}

// A log file under its temporary name is a transaction when it is whole and continues the log: a commit waits for its
// content to be durable, not for its name.
Status Recovery::take_in_log_ends() {
  os::Dir& dir = *capture_.ltx_dir_;
  TRY_ASSIGN(log_, db_.engine_.log().list(db_.name()));
  TRY_ASSIGN(std::vector<std::string> names, dir.list());  // sorted: in the order of their TXIDs
  for (const std::string& name : names) {
    if (!name.ends_with(".tmp")) continue;
    std::string whole_name = name.substr(0, name.size() - 4);
    auto txids = ltx::parse_file_name(whole_name);
    Txid last = log_.empty() ? Txid(0) : log_.back().max;
    bool whole = false;
    if (txids && txids->first == last.next()) {
      TRY_ASSIGN(std::unique_ptr<os::File> file, dir.open(name, os::OpenMode::kReadWrite));
      Result<ltx::Summary> summary = ltx::verify(ltx::Version::kV1, source_of(*file));
      whole = summary && ltx::file_name(summary->header.min_txid, summary->header.max_txid) == whole_name;
      if (whole) TRY(file->datasync());
    }
    if (!whole) {
      TRY(dir.unlink(name));
      continue;
    }
    TRY(dir.rename(name, whole_name));
    TRY(dir.sync());
    TRY_ASSIGN(log_, db_.engine_.log().list(db_.name()));
  }
  return {};
}

Status Recovery::boot() {
  capture_.sync_each_ = true;
  TRY(open_files());
  TRY(resolve_journal());
  Result<SavedSums> saved = load_sums(*db_.engine_.sums_, db_.name());
  if (!saved && saved.error().code() == ErrorCode::kCorrupt) {
    log_warn("page checksums are read from the database instead",
             {{"db", db_.name()}, {"reason", saved.error().message()}});
  }
  if (saved)
    TRY(boot_known(std::move(*saved)));
  else
    TRY(boot_unknown());
  if (!committed_pages_.empty()) {
    TRY_ASSIGN(auto geometry, capture_.file_geometry());
    TRY(capture_.compare_pages(committed_pages_, geometry.second, geometry.first, true));
  }
  if (rolled_back_ && !verify_ && capture_.sums_.page_count() > 0) {
    TRY_ASSIGN(std::vector<std::uint32_t> leaves, free_leaves());
    TRY_ASSIGN(auto geometry, capture_.file_geometry());
    TRY(capture_.compare_pages(std::move(leaves), geometry.second, geometry.first, true));
  }
  if (verify_) TRY(verify_all(verify_reason_));
  const PageSums& sums = capture_.sums_;
  db_.set_published(capture_.position_, sums.page_count(), sums.page_size_bytes(),
                    db_.engine_.options().clock->wall_ms());
  if (capture_.position_.txid != capture_.saved_txid_) TRY(save(false));
  capture_.sync_each_ = false;
  // An empty file stays: SQLite made it and has not written yet. It is no database for anybody else.
  return {};
}

// --- known position ---

Result<SavedSums::Identity> Recovery::identity() {
  TRY_ASSIGN(os::FileInfo info, db_.dir_->info("database"));
  return SavedSums::Identity{.inode = info.inode, .size_bytes = info.size_bytes, .mtime_ms = info.mtime_ms};
}

Status Recovery::boot_known(SavedSums saved) {
  capture_.position_ = saved.position;
  capture_.saved_txid_ = saved.position.txid;
  capture_.sums_ = std::move(saved.sums);
  if (saved.identity) {
    Result<SavedSums::Identity> now = identity();
    bool unchanged = now ? *now == *saved.identity : capture_.sums_.page_count() == 0;
    bool no_newer_log = log_.empty() || log_.back().max <= saved.position.txid;
    if (unchanged && no_newer_log && !has(PartKind::kWal)) return {};
    if (!unchanged) {
      TRY_ASSIGN(std::uint64_t size, database_size());
      if (size == 0 && capture_.sums_.page_count() > 0) {
        log_warn("the database file is gone; it is made from the log", {{"db", db_.name()}});
        capture_.position_ = {};
        capture_.sums_.reset(0);
        return boot_unknown();
      }
      TRY_ASSIGN(repair_, is_damaged());
      verify_ = !repair_;
      verify_reason_ = "the database file was changed while caddis was not running";
    }
  }
  if (!log_.empty() && log_.back().max > capture_.position_.txid) {
    Result<std::vector<LogEntry>> chain = db_.engine_.log().chain(db_.name(), capture_.position_.txid, log_.back().max);
    if (!chain) {
      // Another program's history (LiteFS ran on this volume and took a snapshot): begin from what it left.
      log_warn("the log does not continue the saved checksums",
               {{"db", db_.name()}, {"reason", chain.error().message()}});
      capture_.position_ = {};
      capture_.sums_.reset(0);
      return boot_unknown();
    }
    TRY(redo(*chain));
  }
  if (repair_) TRY(repair_from_log());
  return take_wal();
}

// A change by SQLite leaves a whole file, and in rollback mode another page 1 (its change counter). Anything else is
// damage.
Result<bool> Recovery::is_damaged() {
  Result<std::pair<std::uint32_t, std::uint32_t>> geometry = capture_.file_geometry();
  if (!geometry) return true;
  TRY_ASSIGN(std::uint64_t size, database_size());
  if (size < std::uint64_t{geometry->first} * geometry->second) return true;
  if (geometry->first != capture_.sums_.page_size_bytes()) return false;
  Bytes page(geometry->first);
  TRY(capture_.read_page({Pgno(1), 0}, geometry->first, page));
  std::optional<sqlite::DbHeader> header = sqlite::parse_header(page);
  bool same_header = ltx::page_checksum(Pgno(1), page) == capture_.sums_.get(Pgno(1));
  return header && !header->is_wal() && same_header;
}

// Newest file first: the page whose checksum is the recorded one is the page.
Status Recovery::repair_from_log() {
  const PageSums& sums = capture_.sums_;
  std::uint32_t page_size = sums.page_size_bytes();
  std::set<std::uint32_t> wrong;
  Bytes bytes(page_size);
  for (std::uint32_t p = 1; p <= sums.page_count(); ++p) {
    if (Pgno(p) == lock_pgno(page_size)) continue;
    TRY(capture_.read_page({Pgno(p), 0}, page_size, bytes));
    if (ltx::page_checksum(Pgno(p), bytes) != sums.get(Pgno(p))) wrong.insert(p);
  }
  std::size_t damaged = wrong.size();
  PartFile file = db_.part(PartKind::kDatabase);
  for (auto entry = log_.rbegin(); entry != log_.rend() && !wrong.empty(); ++entry) {
    TRY_ASSIGN(std::unique_ptr<os::File> ltx, db_.engine_.log().open(db_.name(), *entry));
    std::unique_ptr<ltx::PageSource> pages = ltx::make_decoder(ltx::Version::kV1, source_of(*ltx));
    Result<std::optional<ltx::Page>> page = std::nullopt;
    for (page = pages->next(); page && *page; page = pages->next()) {
      if (!wrong.contains((*page)->pgno.value()) || (*page)->data.size() != page_size) continue;
      if (ltx::page_checksum((*page)->pgno, (*page)->data) != sums.get((*page)->pgno)) continue;
      TRY(file->pwrite((*page)->data, std::uint64_t{(*page)->pgno.index()} * page_size));
      wrong.erase((*page)->pgno.value());
    }
  }
  if (!wrong.empty()) {
    return corrupt(
        "{} of its {} pages are damaged (the first is {}) and the log does not have them; restore it from a backup: "
        "caddis restore",
        wrong.size(), sums.page_count(), *wrong.begin());
  }
  TRY(file->truncate(std::uint64_t{sums.page_count()} * page_size));
  TRY(file->datasync());
  log_warn("the database file was damaged and is repaired from the log",
           {{"db", db_.name()}, {"pages", std::to_string(damaged)}});
  return {};
}

Status Recovery::redo(const std::vector<LogEntry>& chain) {
  std::uint64_t applied = 0;
  for (std::size_t i = 0; i < chain.size(); ++i) {
    TRY_ASSIGN(bool whole, redo_one(chain[i]));
    if (whole) {
      ++applied;
      continue;
    }
    // Not durable when the machine stopped, so nobody was told of it, nor of what follows.
    for (std::size_t j = i; j < chain.size(); ++j) TRY(capture_.ltx_dir_->unlink(chain[j].file_name));
    TRY_ASSIGN(log_, db_.engine_.log().list(db_.name()));
    verify_ = true;  // its pages may have reached the database all the same
    verify_reason_ = fmt::format("log file {} was not whole", chain[i].file_name);
    break;
  }
  if (PartFile file = db_.part(PartKind::kDatabase)) TRY(file->datasync());
  if (applied > 0) {
    log_info("applied the log again",
             {{"db", db_.name()}, {"files", std::to_string(applied)}, {"txid", to_hex(capture_.position_.txid)}});
  }
  return {};
}

// False when the file is not whole.
Result<bool> Recovery::redo_one(const LogEntry& entry) {
  TRY_ASSIGN(std::unique_ptr<os::File> ltx, db_.engine_.log().open(db_.name(), entry));
  Result<ltx::Summary> summary = ltx::verify(ltx::Version::kV1, source_of(*ltx));
  if (!summary) {
    if (summary.error().code() != ErrorCode::kCorrupt) return std::unexpected(std::move(summary).error());
    log_warn("unfinished log file removed",
             {{"db", db_.name()}, {"file", entry.file_name}, {"reason", summary.error().message()}});
    return false;
  }
  const ltx::Header& header = summary->header;
  if (!header.is_snapshot() && header.pre_apply != capture_.position_.checksum) {
    return corrupt("log file {} continues checksum {}, the database has {}", entry.file_name, header.pre_apply,
                   capture_.position_.checksum);
  }
  PartFile file = db_.part(PartKind::kDatabase);
  if (file == nullptr) {
    TRY_ASSIGN(file, db_.create_part(PartKind::kDatabase, false));
  }
  PageSums& sums = capture_.sums_;
  if (sums.page_size_bytes() != header.page_size_bytes) sums.reset(header.page_size_bytes);
  sums.resize(header.commit);
  std::unique_ptr<ltx::PageSource> pages = ltx::make_decoder(ltx::Version::kV1, source_of(*ltx));
  TRY(pages->header());
  for (;;) {
    TRY_ASSIGN(std::optional<ltx::Page> page, pages->next());
    if (!page) break;
    TRY(file->pwrite(page->data, std::uint64_t{page->pgno.index()} * header.page_size_bytes));
    sums.set(page->pgno, ltx::page_checksum(page->pgno, page->data));
  }
  TRY(file->truncate(std::uint64_t{header.commit} * header.page_size_bytes));
  capture_.position_ = {header.max_txid, summary->trailer.post_apply};
  if (header.commit == 0) {
    TRY(db_.dir_->unlink("database"));
    db_.forget_part(PartKind::kDatabase);
  } else if (sums.total() != capture_.position_.checksum) {
    verify_ = true;
    verify_reason_ = fmt::format("after {} the checksum is {}, the log says {}", entry.file_name, sums.total(),
                                 capture_.position_.checksum);
  }
  return true;
}

// --- WAL ---

// How many frames of this generation the log has; nullopt when it knows nothing of it. Newer entries of the log may
// come from elsewhere (a later generation that the file has lost, a journal, a boot): what is captured stays captured,
// and a generation with frames behind that point was never restarted, because nothing restarts a WAL before it is
// captured.
Result<std::optional<std::uint32_t>> Recovery::frames_in_log(const WalTail& start) {
  std::uint32_t frame_size = start.header.page_size_bytes + sqlite::kWalFrameHeaderSizeBytes;
  std::size_t looked = 0;
  for (auto entry = log_.rbegin(); entry != log_.rend() && looked < kStaleLookBack; ++entry, ++looked) {
    TRY_ASSIGN(std::unique_ptr<os::File> file, db_.engine_.log().open(db_.name(), *entry));
    Result<ltx::Header> header = read_ltx_header(*file);
    if (!header || header->wal_size == 0 || !start.same_salts(header->salt1, header->salt2)) continue;
    return static_cast<std::uint32_t>((header->wal_offset + header->wal_size - sqlite::kWalHeaderSizeBytes) /
                                      frame_size);
  }
  return std::nullopt;
}

Status Recovery::take_wal() {
  PartFile wal = db_.part(PartKind::kWal);
  if (wal == nullptr) return {};
  std::optional<WalTail> start = capture_.read_wal_start(*wal);
  if (!start) return remove_wal();

  TRY_ASSIGN(std::optional<std::uint32_t> known, frames_in_log(*start));
  std::uint32_t captured = known.value_or(0);
  TRY_ASSIGN(Capture::WalScan scan, capture_.scan_wal(*wal, *start, captured));
  if (scan.tail.point.frame_no != captured) return remove_wal();  // the file lost its tail, the log has it
  capture_.wal_ = scan.tail;
  TRY_ASSIGN(CaptureOutcome outcome, capture_.capture_wal(true));
  if (outcome == CaptureOutcome::kCaptured && !known && capture_.saved_txid_.value() != 0) {
    // Nothing ties this generation to the captured one but that a WAL is restarted only after the barrier.
    verify_ = true;
    verify_reason_ = "the WAL was restarted after the last captured transaction";
  }
  TRY(backfill());
  return remove_wal();
}

// The captured frames of the WAL into the database file.
Status Recovery::backfill() {
  PartFile file = db_.part(PartKind::kDatabase);
  if (file == nullptr || capture_.wal_frames_.empty()) return {};
  std::uint32_t page_size = capture_.sums_.page_size_bytes();
  std::vector<std::pair<std::uint32_t, std::uint32_t>> frames(capture_.wal_frames_.begin(), capture_.wal_frames_.end());
  std::sort(frames.begin(), frames.end());
  Bytes page(page_size);
  for (const auto& [pgno, frame] : frames) {
    if (pgno > capture_.sums_.page_count()) break;
    TRY(capture_.read_page({Pgno(pgno), frame}, page_size, page));
    TRY(file->pwrite(page, std::uint64_t{pgno - 1} * page_size));
  }
  TRY(file->truncate(std::uint64_t{capture_.sums_.page_count()} * page_size));
  return file->datasync();
}

Status Recovery::remove_wal() {
  TRY(db_.dir_->unlink("wal"));
  db_.forget_part(PartKind::kWal);
  capture_.wal_.reset();
  capture_.wal_frames_.clear();
  capture_.index_seen_ = false;
  return db_.dir_->sync();
}

// --- unknown position ---

Status Recovery::compute_sums() {
  TRY_ASSIGN(auto geometry, capture_.file_geometry());
  auto [page_size, pages] = geometry;
  capture_.sums_.reset(page_size);
  capture_.sums_.resize(pages);
  Bytes page(page_size);
  for (std::uint32_t p = 1; p <= pages; ++p) {
    if (Pgno(p) == lock_pgno(page_size)) continue;
    TRY(capture_.read_page({Pgno(p), 0}, page_size, page));
    capture_.sums_.set(Pgno(p), ltx::page_checksum(Pgno(p), page));
  }
  return {};
}

Status Recovery::boot_unknown() {
  TRY_ASSIGN(std::uint64_t size, database_size());
  if (log_.empty()) {
    if (size == 0) return {};
    // Frames first, with the WAL's own rules: there is no log that could say more.
    if (PartFile wal = db_.part(PartKind::kWal)) {
      if (std::optional<WalTail> start = capture_.read_wal_start(*wal)) {
        TRY(capture_.file_geometry());
        TRY_ASSIGN(Capture::WalScan scan, capture_.scan_wal(*wal, *start, UINT32_MAX));
        for (const Capture::PageRef& ref : scan.refs) capture_.wal_frames_[ref.pgno.value()] = ref.frame;
        if (!scan.refs.empty()) {
          capture_.sums_.reset(start->header.page_size_bytes);
          capture_.sums_.resize(scan.pages);
          TRY(backfill());
          capture_.sums_.reset(0);
        }
      }
      TRY(remove_wal());
    }
    Result<std::pair<std::uint32_t, std::uint32_t>> geometry = capture_.file_geometry();
    if (!geometry) return set_aside(geometry.error().message());
    TRY(capture_.compare_pages({}, geometry->second, geometry->first, true));
    log_info("adopted a database without a log", {{"db", db_.name()}, {"pages", std::to_string(geometry->second)}});
    return {};
  }
  // A volume of LiteFS, or our side file is lost. The newest whole file of the log says where the database is.
  const LogEntry last = log_.back();
  TRY_ASSIGN(std::unique_ptr<os::File> ltx, db_.engine_.log().open(db_.name(), last));
  Result<ltx::Summary> summary = ltx::verify(ltx::Version::kV1, source_of(*ltx));
  if (!summary) {
    if (summary.error().code() != ErrorCode::kCorrupt || log_.size() == 1) {
      return std::unexpected(std::move(summary).error().context(fmt::format("log file {}", last.file_name)));
    }
    log_warn("damaged log file set aside",
             {{"db", db_.name()}, {"file", last.file_name}, {"reason", summary.error().message()}});
    TRY(capture_.ltx_dir_->rename(last.file_name, last.file_name + ".damaged"));
    log_.pop_back();
    return boot_unknown();
  }
  if (size == 0 && summary->header.commit != 0 && !summary->header.is_snapshot()) {
    Result<std::vector<LogEntry>> chain = db_.engine_.log().chain(db_.name(), Txid(0), last.max);
    if (!chain) {
      return corrupt("the database file is missing and the log begins at {}; restore it from a backup",
                     log_.front().min);
    }
    TRY(redo(*chain));
    return take_wal();
  }
  if (PartFile wal = db_.part(PartKind::kWal); wal != nullptr && summary->header.wal_size != 0) {
    std::optional<WalTail> start = capture_.read_wal_start(*wal);
    if (start && start->same_salts(summary->header.salt1, summary->header.salt2)) {
      std::uint32_t frame_size = start->header.page_size_bytes + sqlite::kWalFrameHeaderSizeBytes;
      std::uint64_t end = summary->header.wal_offset + summary->header.wal_size - sqlite::kWalHeaderSizeBytes;
      TRY_ASSIGN(Capture::WalScan scan, capture_.scan_wal(*wal, *start, static_cast<std::uint32_t>(end / frame_size)));
      for (const Capture::PageRef& ref : scan.refs) capture_.wal_frames_[ref.pgno.value()] = ref.frame;
      capture_.sums_.reset(start->header.page_size_bytes);
      capture_.sums_.resize(scan.pages);
      TRY(backfill());
      capture_.wal_frames_.clear();
    }
  }
  if (size > 0) TRY(compute_sums());
  capture_.position_ = {summary->header.min_txid.value() == 1 ? Txid(0) : Txid(summary->header.min_txid.value() - 1),
                        summary->header.pre_apply};
  TRY_ASSIGN(bool applied, redo_one(last));
  if (!applied) return corrupt("log file {} changed while it was read", last.file_name);
  if (PartFile file = db_.part(PartKind::kDatabase)) TRY(file->datasync());
  if (verify_ && capture_.sums_.total() != capture_.position_.checksum) {
    // Which pages differ cannot be known: the database as it is becomes the next transaction, whole.
    verify_ = false;
    log_warn("the database does not match its log; its present content becomes the next transaction",
             {{"db", db_.name()}, {"reason", verify_reason_}});
    Capture::Change change{
        .commit = capture_.sums_.page_count(), .page_size = capture_.sums_.page_size_bytes(), .durable = true};
    capture_.add_growth(change.pages, 0, change.commit, change.page_size);
    TRY(capture_.write_change(change));
    TRY_ASSIGN(log_, db_.engine_.log().list(db_.name()));
  }
  return take_wal();
}

Status Recovery::verify_all(std::string_view reason) {
  log_warn("comparing every page with its checksum", {{"db", db_.name()}, {"reason", std::string(reason)}});
  TRY_ASSIGN(auto geometry, capture_.file_geometry());
  std::vector<std::uint32_t> all(geometry.second);
  for (std::uint32_t i = 0; i < geometry.second; ++i) all[i] = i + 1;
  TRY_ASSIGN(CaptureOutcome outcome, capture_.compare_pages(std::move(all), geometry.second, geometry.first, true));
  if (outcome == CaptureOutcome::kCaptured) {
    log_warn("pages differed from their checksums and became a transaction",
             {{"db", db_.name()}, {"txid", to_hex(capture_.position_.txid)}});
  }
  return {};
}

Status Recovery::set_aside(std::string_view reason) {
  std::string name = fmt::format("{}-{}", db_.name(), db_.engine_.options().clock->wall_ms());
  TRY(db_.dir_->rename("database", *db_.engine_.lost_, name));
  TRY(db_.dir_->sync());
  TRY(db_.engine_.lost_->sync());
  db_.forget_part(PartKind::kDatabase);
  log_warn("no SQLite database, set aside",
           {{"db", db_.name()}, {"as", db_.engine_.lost_->path() + "/" + name}, {"reason", std::string(reason)}});
  return {};
}

// --- end ---

Status Recovery::save(bool with_identity) {
  SavedSums saved{.sums = capture_.sums_, .position = capture_.position_};
  if (PartFile file = db_.part(PartKind::kDatabase)) TRY(file->datasync());
  if (with_identity) {
    if (Result<SavedSums::Identity> now = identity())
      saved.identity = *now;
    else
      saved.identity = SavedSums::Identity{};
  }
  TRY(db_.engine_.write_sums(db_, saved));
  capture_.saved_txid_ = capture_.position_.txid;
  return {};
}

Status Recovery::close() {
  capture_.sync_each_ = true;
  TRY(resolve_journal());
  if (!committed_pages_.empty()) TRY(verify_all("a transaction over several databases was being committed"));
  if (db_.dirty_without_journal()) {
    Result<CaptureOutcome> last = capture_.capture_pages(true);
    if (!last) log_error(fmt::format("capture {} at the end", db_.name()), last.error());
  }
  PartFile wal = db_.part(PartKind::kWal);
  if (wal != nullptr) {
    TRY(capture_.capture_wal(true));
    TRY_ASSIGN(std::uint64_t size, wal->size_bytes());
    // After a truncation or restart that no transaction followed, the frames we know lie in a WAL that is gone; SQLite
    // had copied all of them before.
    std::optional<WalTail> on_disk = capture_.read_wal_start(*wal);
    bool same = on_disk && capture_.wal_ && capture_.wal_->same_salts(on_disk->header.salt1, on_disk->header.salt2);
    if (!same) capture_.wal_frames_.clear();
    if (size > kCloseBackfillBytes) return {};  // the next boot copies it; the log and the old side file are enough
    TRY(backfill());
    TRY(remove_wal());
  }
  if (db_.dir_->info("shm")) TRY(db_.dir_->unlink("shm"));
  TRY(capture_.ltx_dir_->sync());
  return save(true);
}

Status Recovery::install(os::Dir& from, const std::string& file_name, Position position) {
  TRY_ASSIGN(capture_.ltx_dir_, db_.dir_->make_dir("ltx"));
  TRY_ASSIGN(PartFile file, from.open(file_name, os::OpenMode::kReadWrite));
  {
    MutexLock lock(db_.mutex_);
    db_.parts_[static_cast<std::size_t>(PartKind::kDatabase)] = file;
  }
  TRY(compute_sums());
  if (position.checksum.value() != 0 && capture_.sums_.total() != position.checksum) {
    return corrupt("restored {}: its checksum is {}, the backup says {}", db_.name(), capture_.sums_.total(),
                   position.checksum);
  }
  // The log begins with the restored position. At TXID 1 that is a snapshot; else page 1 unchanged is enough for a
  // reader of the volume (LiteFS too) to know where it is.
  Position restored{position.txid, capture_.sums_.total()};
  ltx::Header header{.flags = db_.engine_.options().compress ? ltx::kFlagLz4 : 0,
                     .page_size_bytes = capture_.sums_.page_size_bytes(),
                     .commit = capture_.sums_.page_count(),
                     .min_txid = restored.txid,
                     .max_txid = restored.txid,
                     .timestamp_ms = db_.engine_.options().clock->wall_ms(),
                     .node_id = db_.engine_.options().node_id};
  bool whole = restored.txid == Txid(1);
  if (!whole) header.pre_apply = restored.checksum;
  TRY_ASSIGN(std::unique_ptr<LtxWriter> writer, LtxWriter::create(*capture_.ltx_dir_, header));
  Bytes page(header.page_size_bytes);
  for (std::uint32_t p = 1; p <= (whole ? header.commit : 1); ++p) {
    if (Pgno(p) == lock_pgno(header.page_size_bytes)) continue;
    TRY(capture_.read_page({Pgno(p), 0}, header.page_size_bytes, page));
    TRY(writer->add_page(Pgno(p), page));
  }
  TRY(writer->finish(restored.checksum, true));
  capture_.position_ = restored;
  TRY(from.rename(file_name, *db_.dir_, "database"));
  TRY(db_.dir_->sync());
  return save(true);
}

}  // namespace caddis::db
