#include "db/capture.h"

#include <algorithm>

#include "base/log.h"
#include "db/engine.h"
#include "db/file_source.h"
#include "db/ltx_writer.h"
#include "db/snapshot_cow.h"
#include "ltx/checksum.h"
#include "sqlite/header.h"
#include "sqlite/wal.h"
#include "sqlite/wal_index.h"

namespace caddis::db {
namespace {

// The index moved while its WAL was read; the caller reads the index again.
std::unexpected<Error> index_moved() { return make_error(ErrorCode::kBusy, "the wal-index moved while it was read"); }

}  // namespace

Capture::Capture(Database& db) : db_(db) {}

Capture::IndexState Capture::read_index(WalTarget& target) {
  if (db_.part(PartKind::kShm) == nullptr) return IndexState::kAbsent;
  std::shared_ptr<MountView> view = db_.view();
  index_torn_ = false;
  if (view == nullptr) return IndexState::kNotReady;
  alignas(8) std::array<std::uint8_t, sqlite::kWalIndexHeadSizeBytes> bytes;
  for (int attempt = 0; attempt < 50; ++attempt) {
    if (!view->read_wal_index(bytes)) return IndexState::kNotReady;
    std::optional<sqlite::WalIndexHdr> header = sqlite::parse_wal_index_headers(bytes);
    if (!header) {
      // All zero: nobody has initialised it yet, so nobody has committed through it either.
      if (std::all_of(bytes.begin(), bytes.begin() + 96, [](std::uint8_t b) { return b == 0; }))
        return IndexState::kEmpty;
      continue;  // torn: a writer is between its two copies
    }
    index_seen_ = true;
    ByteView info = ByteView(bytes).subspan(sqlite::kWalCkptInfoOffset, sqlite::kWalCkptInfoSizeBytes);
    target = WalTarget{.point = header->point(),
                       .salt1 = header->salt1,
                       .salt2 = header->salt2,
                       .change = header->change,
                       .backfilled = sqlite::parse_wal_ckpt_info(info).backfilled,
                       .from_index = true};
    return header->max_frame == 0 ? IndexState::kEmpty : IndexState::kValid;
  }
  index_torn_ = true;
  return IndexState::kNotReady;
}

Result<CaptureOutcome> Capture::capture_wal(bool without_index) {
  PartFile wal = db_.part(PartKind::kWal);
  if (wal == nullptr) return CaptureOutcome::kNothing;
  for (int attempt = 0; attempt < 8; ++attempt) {
    WalTarget target;
    IndexState state = without_index ? IndexState::kAbsent : read_index(target);
    if (state == IndexState::kNotReady) return CaptureOutcome::kNotReady;
    if (state == IndexState::kEmpty) return CaptureOutcome::kNothing;
    // The index was there and is gone: the last connection is closing, everything it knew has been captured. A commit
    // frame behind that was abandoned by a killed writer and is no transaction.
    if (state == IndexState::kAbsent && index_seen_ && !without_index) return CaptureOutcome::kNothing;
    if (state == IndexState::kValid && wal_ && wal_->same_salts(target.salt1, target.salt2) &&
        wal_->point.frame_no == target.point.frame_no) {
      return CaptureOutcome::kNothing;
    }
    Result<CaptureOutcome> outcome = capture_frames(*wal, target);
    if (outcome || outcome.error().code() != ErrorCode::kBusy) return outcome;
  }
  return CaptureOutcome::kNotReady;
}

Result<Capture::WalScan> Capture::scan_wal(os::File& wal, const WalTail& from, std::uint32_t to_frame) {
  WalScan scan{.tail = from};
  sqlite::WalReader reader(read_at(wal), from.header, from.point, to_frame);
  std::vector<PageRef> open;  // of a transaction whose commit frame has not been seen
  for (;;) {
    TRY_ASSIGN(std::optional<sqlite::WalFrame> frame, reader.next());
    if (!frame) return scan;
    open.push_back({frame->pgno, frame->frame_no});
    if (frame->commit == 0) continue;
    ++scan.commits;
    scan.pages = frame->commit;
    scan.tail.point = reader.point();
    scan.refs.insert(scan.refs.end(), open.begin(), open.end());
    open.clear();
  }
}

std::optional<WalTail> Capture::read_wal_start(os::File& wal) {
  sqlite::WalHeaderBytes bytes;
  Result<std::size_t> got = wal.pread(bytes, 0);
  if (!got || *got != bytes.size()) return std::nullopt;
  Result<sqlite::WalHeader> header = sqlite::parse_wal_header(bytes);
  if (!header) return std::nullopt;
  return WalTail{.header = *header, .point = sqlite::wal_begin(*header)};
}

Result<CaptureOutcome> Capture::capture_frames(os::File& wal, const WalTarget& target) {
  std::optional<WalTail> start = read_wal_start(wal);
  if (!start) return target.from_index ? Result<CaptureOutcome>(index_moved()) : CaptureOutcome::kNothing;
  if (target.from_index && !start->same_salts(target.salt1, target.salt2)) return index_moved();
  bool same = wal_ && wal_->same_salts(start->header.salt1, start->header.salt2);
  WalTail from = same ? *wal_ : *start;
  if (!same && wal_) {
    from.change = wal_->change;
    from.change_known = wal_->change_known;
  }
  if (target.from_index && target.point.frame_no < from.point.frame_no) {
    return resync("the wal-index went back behind the captured frame");
  }
  TRY_ASSIGN(WalScan scan, scan_wal(wal, from, target.from_index ? target.point.frame_no : UINT32_MAX));
  if (target.from_index && scan.tail.point != target.point) return index_moved();
  if (scan.tail.point.frame_no == from.point.frame_no) return CaptureOutcome::kNothing;

  if (!same) {
    wal_ = from;
    wal_frames_.clear();
  }
  // iChange counts transactions; commit frames can be repeated as padding up to a sector.
  std::uint64_t transactions = std::max<std::uint32_t>(scan.commits, 1);
  if (target.from_index && from.change_known) {
    std::uint32_t counted = target.change - from.change;
    if (counted >= 1 && counted <= transactions) transactions = counted;
  }
  scan.tail.change = target.change;
  scan.tail.change_known = target.from_index;
  return commit_scan(std::move(scan), from, transactions);
}

Result<CaptureOutcome> Capture::commit_scan(WalScan scan, const WalTail& from, std::uint64_t transactions) {
  std::vector<PageRef> refs = scan.refs;
  std::sort(refs.begin(), refs.end(),
            [](const PageRef& a, const PageRef& b) { return a.pgno != b.pgno ? a.pgno < b.pgno : a.frame < b.frame; });
  std::uint32_t page_size = from.header.page_size_bytes;
  Change change{.commit = scan.pages,
                .page_size = page_size,
                .transactions = transactions,
                .durable = sync_each_,
                .from = from,
                .to_frame = scan.tail.point.frame_no};
  Pgno lock = lock_pgno(page_size);
  for (std::size_t i = 0; i < refs.size(); ++i) {
    bool last = i + 1 == refs.size() || refs[i + 1].pgno != refs[i].pgno;
    if (last && refs[i].pgno.value() <= scan.pages && refs[i].pgno != lock) change.pages.push_back(refs[i]);
  }
  std::uint32_t known = sums_.page_size_bytes() == page_size ? sums_.page_count() : 0;
  add_growth(change.pages, known, scan.pages, page_size);
  if (std::shared_ptr<SnapshotCow> snapshot = db_.snapshot()) {
    for (const PageRef& ref : change.pages) snapshot->before_supersede(ref.pgno);
  }
  TRY_ASSIGN(CaptureOutcome outcome, write_change(change));
  for (const PageRef& ref : refs) wal_frames_[ref.pgno.value()] = ref.frame;
  wal_ = scan.tail;
  return outcome;
}

void Capture::add_growth(std::vector<PageRef>& pages, std::uint32_t old_count, std::uint32_t new_count,
                         std::uint32_t page_size) {
  if (new_count <= old_count) return;
  Pgno lock = lock_pgno(page_size);
  std::vector<PageRef> missing;
  auto at = std::lower_bound(pages.begin(), pages.end(), old_count + 1,
                             [](const PageRef& ref, std::uint32_t pgno) { return ref.pgno.value() < pgno; });
  for (std::uint32_t pgno = old_count + 1; pgno <= new_count; ++pgno) {
    if (at != pages.end() && at->pgno.value() == pgno) {
      ++at;
      continue;
    }
    if (Pgno(pgno) == lock) continue;
    auto frame = wal_frames_.find(pgno);
    missing.push_back({Pgno(pgno), frame == wal_frames_.end() ? 0 : frame->second});
  }
  std::vector<PageRef> merged;
  merged.reserve(pages.size() + missing.size());
  std::merge(pages.begin(), pages.end(), missing.begin(), missing.end(), std::back_inserter(merged),
             [](const PageRef& a, const PageRef& b) { return a.pgno < b.pgno; });
  pages = std::move(merged);
}

Status Capture::read_page(const PageRef& ref, std::uint32_t page_size, ByteSpan out) {
  if (ref.frame != 0) {
    PartFile wal = db_.part(PartKind::kWal);
    if (wal == nullptr) return corrupt("page {} is in the WAL, which is gone", ref.pgno);
    return os::read_exactly(*wal, out,
                            sqlite::wal_frame_offset(ref.frame, page_size) + sqlite::kWalFrameHeaderSizeBytes);
  }
  PartFile file = db_.part(PartKind::kDatabase);
  if (file == nullptr) return corrupt("page {}: the database file is gone", ref.pgno);
  TRY_ASSIGN(std::size_t got, file->pread(out, std::uint64_t{ref.pgno.index()} * page_size));
  std::fill(out.begin() + static_cast<std::ptrdiff_t>(got), out.end(), std::uint8_t{0});  // never written: zeros
  return {};
}

ltx::Header Capture::header_of(const Change& change) const {
  ltx::Header header{.flags = db_.engine_.options().compress ? ltx::kFlagLz4 : 0,
                     .page_size_bytes = change.page_size,
                     .commit = change.commit,
                     .min_txid = position_.txid.next(),
                     .max_txid = Txid(position_.txid.value() + change.transactions),
                     .timestamp_ms = db_.engine_.options().clock->wall_ms(),
                     .node_id = db_.engine_.options().node_id};
  if (position_.txid.value() != 0) header.pre_apply = position_.checksum;
  if (change.to_frame != 0) {
    header.wal_offset = sqlite::wal_frame_offset(change.from.point.frame_no + 1, change.page_size);
    header.wal_size = sqlite::wal_size_for(change.to_frame, change.page_size) - header.wal_offset;
    header.salt1 = change.from.header.salt1;
    header.salt2 = change.from.header.salt2;
  }
  return header;
}

Result<CaptureOutcome> Capture::write_change(const Change& change) {
  TRY_ASSIGN(std::optional<Draft> draft, draft_change(change));
  if (!draft) return CaptureOutcome::kNothing;
  if (change.durable) TRY(sync_dirs_once());
  TRY_ASSIGN(std::shared_ptr<os::File> file, draft->writer->finish(draft->post_apply, change.durable));
  adopt_draft(*draft, change.durable ? nullptr : std::move(file));
  return CaptureOutcome::kCaptured;
}

Result<std::optional<Capture::Draft>> Capture::draft_change(const Change& change) {
  prepared_.reset();
  bool other_size = sums_.page_size_bytes() != change.page_size;
  ltx::RollingChecksum total(other_size ? kEmptyDatabaseChecksum : sums_.total());
  if (!other_size) {
    for (std::uint32_t p = change.commit + 1; p <= sums_.page_count(); ++p) total.remove(sums_.get(Pgno(p)));
  }
  bool resized = other_size || change.commit != sums_.page_count();
  Draft draft{
      .before = position_, .commit = change.commit, .page_size = change.page_size, .transactions = change.transactions};
  draft.sums.reserve(change.pages.size());
  std::unique_ptr<LtxWriter>& writer = draft.writer;
  Bytes page(change.page_size);
  for (const PageRef& ref : change.pages) {
    TRY(read_page(ref, change.page_size, page));
    Checksum sum = ltx::page_checksum(ref.pgno, page);
    Checksum old = other_size ? Checksum() : sums_.get(ref.pgno);
    if (change.drop_equal && sum == old) continue;
    if (writer == nullptr) {
      TRY_ASSIGN(writer, LtxWriter::create(*ltx_dir_, header_of(change)));
    }
    TRY(writer->add_page(ref.pgno, page));
    total.replace(old, sum);
    draft.sums.emplace_back(ref.pgno, sum);
  }
  if (writer == nullptr) {
    if (change.drop_equal && !resized) return std::nullopt;
    TRY_ASSIGN(writer, LtxWriter::create(*ltx_dir_, header_of(change)));
  }
  draft.post_apply = total.value();
  return draft;
}

void Capture::adopt_draft(const Draft& draft, std::shared_ptr<os::File> unsynced) {
  if (sums_.page_size_bytes() != draft.page_size) sums_.reset(draft.page_size);
  sums_.resize(draft.commit);
  for (const auto& [pgno, sum] : draft.sums) sums_.set(pgno, sum);
  Txid min = position_.txid.next();
  position_ = {Txid(position_.txid.value() + draft.transactions), draft.post_apply};
  bytes_since_saved_ += draft.writer->size_bytes();
  publish(min, std::move(unsynced));
}

// The first transaction of a new database: its directories' names must survive too.
Status Capture::sync_dirs_once() {
  if (dirs_synced_) return {};
  TRY(db_.dir_->sync());
  TRY(db_.engine_.sync_dbs_dir());
  dirs_synced_ = true;
  return {};
}

void Capture::publish(Txid min, std::shared_ptr<os::File> unsynced) {
  std::int64_t wall = db_.engine_.options().clock->wall_ms();
  db_.set_published(position_, sums_.page_count(), sums_.page_size_bytes(), wall);
  db_.engine_.committed(db_.shared_from_this(),
                        Commit{.name = db_.name(),
                               .min = min,
                               .position = position_,
                               .page_size_bytes = sums_.page_size_bytes(),
                               .page_count = sums_.page_count(),
                               .wall_ms = wall},
                        std::move(unsynced));
}

Result<std::pair<std::uint32_t, std::uint32_t>> Capture::file_geometry() {
  PartFile file = db_.part(PartKind::kDatabase);
  if (file == nullptr) return std::pair{0u, 0u};
  TRY_ASSIGN(std::uint64_t size, file->size_bytes());
  if (size == 0) return std::pair{0u, 0u};
  std::array<std::uint8_t, sqlite::kDbHeaderSizeBytes> bytes;
  TRY_ASSIGN(std::size_t got, file->pread(bytes, 0));
  std::optional<sqlite::DbHeader> header = sqlite::parse_header(ByteView(bytes).first(got));
  if (!header) return corrupt("database {}: {} bytes that do not begin with an SQLite header", db_.name(), size);
  return std::pair{header->page_size_bytes, sqlite::database_pages(*header, size)};
}

Result<std::optional<Capture::Change>> Capture::dirty_change(const std::vector<DirtyRange>& dirty, bool durable) {
  TRY_ASSIGN(auto geometry, file_geometry());
  auto [page_size, pages] = geometry;
  if (pages == 0 && sums_.page_count() == 0) return std::nullopt;
  std::vector<std::uint32_t> pgnos;
  if (page_size != 0) {
    for (const DirtyRange& range : dirty) {
      std::uint64_t last = std::min<std::uint64_t>((range.end - 1) / page_size + 1, pages);
      for (std::uint64_t p = range.begin / page_size + 1; p <= last; ++p)
        pgnos.push_back(static_cast<std::uint32_t>(p));
    }
  }
  return comparison(std::move(pgnos), pages, page_size, durable);
}

Result<CaptureOutcome> Capture::capture_pages(bool durable) {
  TRY_ASSIGN(bool sealed, seal_prepared());
  if (sealed) return CaptureOutcome::kCaptured;
  std::vector<DirtyRange> dirty = db_.take_dirty();
  Result<CaptureOutcome> outcome = CaptureOutcome::kNothing;
  Result<std::optional<Change>> change = dirty_change(dirty, durable);
  if (!change)
    outcome = std::unexpected(std::move(change).error());
  else if (*change)
    outcome = write_change(**change);
  if (!outcome) db_.put_back_dirty(std::move(dirty));
  return outcome;
}

void Capture::prepare_pages() {
  prepared_.reset();
  auto [dirty, writes] = db_.look_at_dirty();
  if (dirty.empty()) return;
  Status done = [&]() -> Status {
    TRY_ASSIGN(std::optional<Change> change, dirty_change(dirty, true));
    if (!change) return {};
    TRY_ASSIGN(std::optional<Draft> draft, draft_change(*change));
    if (!draft) return {};
    TRY(sync_dirs_once());
    TRY(draft->writer->place(draft->post_apply));
    draft->writes = writes;
    prepared_ = std::move(draft);
    return {};
  }();
  if (!done) log_debug("a transaction could not be prepared", {{"db", db_.name()}, {"cause", done.error().message()}});
}

Result<bool> Capture::seal_prepared() {
  std::optional<Draft> draft = std::exchange(prepared_, std::nullopt);
  if (!draft || draft->before != position_) return false;
  std::optional<std::vector<DirtyRange>> dirty = db_.take_dirty_as_of(draft->writes);
  if (!dirty) return false;
  if (Result<std::shared_ptr<os::File>> sealed = draft->writer->seal(); !sealed) {
    db_.put_back_dirty(std::move(*dirty));
    return std::unexpected(std::move(sealed).error());
  }
  adopt_draft(*draft, nullptr);
  return true;
}

Result<CaptureOutcome> Capture::compare_pages(std::vector<std::uint32_t> pgnos, std::uint32_t commit,
                                              std::uint32_t page_size, bool durable) {
  if (commit == 0 && sums_.page_count() == 0) return CaptureOutcome::kNothing;
  return write_change(comparison(std::move(pgnos), commit, page_size, durable));
}

Capture::Change Capture::comparison(std::vector<std::uint32_t> pgnos, std::uint32_t commit, std::uint32_t page_size,
                                    bool durable) {
  if (commit == 0) page_size = sums_.page_size_bytes();
  Change change{.commit = commit, .page_size = page_size, .drop_equal = true, .durable = durable};
  bool all = page_size != sums_.page_size_bytes();
  if (!all) {
    std::sort(pgnos.begin(), pgnos.end());
    pgnos.erase(std::unique(pgnos.begin(), pgnos.end()), pgnos.end());
    for (std::uint32_t pgno : pgnos) {
      if (pgno > commit || Pgno(pgno) == lock_pgno(page_size)) continue;
      auto frame = wal_frames_.find(pgno);
      change.pages.push_back({Pgno(pgno), frame == wal_frames_.end() ? 0 : frame->second});
    }
  }
  add_growth(change.pages, all ? 0 : sums_.page_count(), commit, page_size);
  return change;
}

Result<CaptureOutcome> Capture::resync(std::string_view reason) {
  log_warn("comparing every page with its checksum", {{"db", db_.name()}, {"reason", std::string(reason)}});
  std::uint32_t page_size = 0;
  std::uint32_t pages = 0;
  PartFile wal = db_.part(PartKind::kWal);
  wal_frames_.clear();
  wal_.reset();
  if (wal != nullptr) {
    WalTarget target;
    IndexState state = read_index(target);
    std::optional<WalTail> start = read_wal_start(*wal);
    if (start && state != IndexState::kEmpty) {
      bool indexed = state == IndexState::kValid && start->same_salts(target.salt1, target.salt2);
      TRY_ASSIGN(WalScan scan, scan_wal(*wal, *start, indexed ? target.point.frame_no : UINT32_MAX));
      if (scan.tail.point.frame_no != 0) {
        for (const PageRef& ref : scan.refs) wal_frames_[ref.pgno.value()] = ref.frame;
        scan.tail.change = target.change;
        scan.tail.change_known = indexed;
        wal_ = scan.tail;
        page_size = start->header.page_size_bytes;
        pages = scan.pages;
      }
    }
  }
  if (pages == 0) {
    TRY_ASSIGN(auto geometry, file_geometry());
    std::tie(page_size, pages) = geometry;
  }
  std::vector<std::uint32_t> all(pages);
  for (std::uint32_t i = 0; i < pages; ++i) all[i] = i + 1;
  return compare_pages(std::move(all), pages, page_size, true);
}

Result<CaptureOutcome> Capture::wal_removed() {
  std::vector<std::uint32_t> pgnos;
  pgnos.reserve(wal_frames_.size());
  for (const auto& [pgno, frame] : wal_frames_) pgnos.push_back(pgno);
  wal_frames_.clear();
  wal_.reset();
  index_seen_ = false;
  (void)db_.take_dirty();  // written by checkpoints of the frames above
  if (pgnos.empty()) return CaptureOutcome::kNothing;
  TRY_ASSIGN(auto geometry, file_geometry());
  return compare_pages(std::move(pgnos), geometry.second, geometry.first, true);
}

Status Capture::checkpoint_passed() {
  std::vector<DirtyRange> dirty = db_.take_dirty();
  std::uint32_t page_size = sums_.page_size_bytes();
  if (page_size == 0) return {};
  // A checkpoint writes only pages that have frames. Anything else was written behind SQLite's back.
  std::vector<std::uint32_t> strange;
  for (const DirtyRange& range : dirty) {
    for (std::uint64_t p = range.begin / page_size + 1; p <= (range.end - 1) / page_size + 1; ++p) {
      auto pgno = static_cast<std::uint32_t>(p);
      if (pgno <= sums_.page_count() && !wal_frames_.contains(pgno)) strange.push_back(pgno);
    }
  }
  if (strange.empty()) return {};
  TRY_ASSIGN(CaptureOutcome outcome, compare_pages(std::move(strange), sums_.page_count(), page_size, false));
  if (outcome == CaptureOutcome::kCaptured) {
    log_warn("pages of a WAL database were written outside its WAL; they are captured as a transaction",
             {{"db", db_.name()}});
  }
  return {};
}

Status Capture::capture_drop() {
  (void)db_.take_dirty();
  wal_frames_.clear();
  wal_.reset();
  index_seen_ = false;
  if (position_.txid.value() == 0 || sums_.page_count() == 0) return {};
  Change change{.commit = 0, .page_size = sums_.page_size_bytes(), .durable = true};
  TRY(write_change(change));
  return {};
}

bool Capture::all_backfilled() {
  if (!wal_ || wal_->point.frame_no == 0) return true;
  WalTarget target;
  switch (read_index(target)) {
    case IndexState::kAbsent:
    case IndexState::kNotReady:
      return false;
    case IndexState::kEmpty:
    case IndexState::kValid:
      break;
  }
  if (!target.from_index) return false;  // not initialised: a recovery is due
  // A WAL is restarted only when all of it lies in the database.
  if (!wal_->same_salts(target.salt1, target.salt2)) return true;
  return target.backfilled >= wal_->point.frame_no;
}

bool Capture::has_uncaptured_wal() const {
  std::uint64_t end = db_.wal_end();
  if (end <= sqlite::kWalHeaderSizeBytes) return false;
  if (!wal_) return true;
  return end != sqlite::wal_size_for(wal_->point.frame_no, wal_->header.page_size_bytes);
}

}  // namespace caddis::db
