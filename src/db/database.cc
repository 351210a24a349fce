#include "db/database.h"

#include <algorithm>

#include "base/log.h"
#include "db/capture.h"
#include "db/engine.h"
#include "db/snapshot_cow.h"

namespace caddis::db {
namespace {

constexpr std::int64_t kIndexRetryUs = 200;
// How long a wal-index may be unreadable before the checksum chain has to do: the attacher opens a new -shm in well
// under a millisecond; a header that stays torn was left by a killed writer, and recovery will go by the chain as well.
constexpr std::int64_t kViewPatienceUs = 2'000'000;
constexpr std::int64_t kTornPatienceUs = 20'000;

std::size_t index_of(PartKind kind) { return static_cast<std::size_t>(kind); }

bool begins_with_zeros(ByteView data) {
  return data.size() >= 8 && std::all_of(data.begin(), data.begin() + 8, [](std::uint8_t b) { return b == 0; });
}

// SQLite writes the header of a frame by itself where -wal is not cached; the last frame of a transaction has a size.
bool is_commit_frame(ByteView data, std::uint64_t offset) {
  return offset >= 32 && data.size() == 24 && get_be32(data.data() + 4) != 0;
}

}  // namespace

std::string_view part_file_name(PartKind kind) {
  switch (kind) {
    case PartKind::kDatabase:
      return "database";
    case PartKind::kWal:
      return "wal";
    case PartKind::kShm:
      return "shm";
    case PartKind::kJournal:
      return "journal";
  }
  return "database";
}

Database::Database(Engine& engine, std::string name, std::shared_ptr<os::Dir> dir)
    : engine_(engine), name_(std::move(name)), dir_(std::move(dir)), capture_(std::make_unique<Capture>(*this)) {}
Database::~Database() = default;

Position Database::position() const {
  MutexLock lock(mutex_);
  return position_;
}
std::uint32_t Database::page_count() const {
  MutexLock lock(mutex_);
  return page_count_;
}
std::uint32_t Database::page_size_bytes() const {
  MutexLock lock(mutex_);
  return page_size_;
}
std::int64_t Database::last_commit_wall_ms() const {
  MutexLock lock(mutex_);
  return last_commit_wall_ms_;
}

PartFile Database::part(PartKind kind) {
  MutexLock lock(mutex_);
  return parts_[index_of(kind)];
}

Result<PartFile> Database::create_part(PartKind kind, bool truncate) {
  MutexLock lock(mutex_);
  PartFile& slot = parts_[index_of(kind)];
  if (slot != nullptr && !truncate) return slot;
  TRY_ASSIGN(slot, dir_->open(part_file_name(kind), truncate ? os::OpenMode::kTruncate : os::OpenMode::kCreate));
  names_changed_.store(true, std::memory_order_release);
  if (kind == PartKind::kJournal) journal_live_ = journal_synced_ = false;
  if (kind == PartKind::kWal) wal_end_.store(0, std::memory_order_release);
  return slot;
}

void Database::forget_part(PartKind kind) {
  names_changed_.store(true, std::memory_order_release);
  MutexLock lock(mutex_);
  parts_[index_of(kind)] = nullptr;
  if (kind == PartKind::kJournal) journal_live_ = journal_synced_ = false;
  if (kind == PartKind::kWal) wal_end_.store(0, std::memory_order_release);
}

bool Database::is_current(PartKind kind, const PartFile& file) {
  MutexLock lock(mutex_);
  return live() && parts_[index_of(kind)] == file;
}

bool Database::has_dirty() {
  MutexLock lock(mutex_);
  return !dirty_.empty();
}

bool Database::dirty_without_journal() {
  MutexLock lock(mutex_);
  return !dirty_.empty() && !journal_live_ && parts_[index_of(PartKind::kWal)] == nullptr;
}

bool Database::dirty_under_journal() {
  MutexLock lock(mutex_);
  return !dirty_.empty() && journal_live_ && journal_synced_;
}

void Database::mark_dirty(std::uint64_t begin, std::uint64_t end) {
  std::int64_t now = engine_.now_us();
  MutexLock lock(mutex_);
  last_write_us_ = now;
  ++writes_;
  if (!dirty_.empty() && dirty_.back().end == begin)
    dirty_.back().end = end;
  else
    dirty_.push_back({begin, end});
}

std::vector<DirtyRange> Database::take_dirty() {
  MutexLock lock(mutex_);
  return std::exchange(dirty_, {});
}

std::pair<std::vector<DirtyRange>, std::uint64_t> Database::look_at_dirty() {
  MutexLock lock(mutex_);
  return {dirty_, writes_};
}

std::optional<std::vector<DirtyRange>> Database::take_dirty_as_of(std::uint64_t writes) {
  MutexLock lock(mutex_);
  if (writes_ != writes) return std::nullopt;
  return std::exchange(dirty_, {});
}

void Database::put_back_dirty(std::vector<DirtyRange> ranges) {
  MutexLock lock(mutex_);
  dirty_.insert(dirty_.end(), ranges.begin(), ranges.end());
}

std::shared_ptr<MountView> Database::view() {
  MutexLock lock(mutex_);
  return view_;
}

std::shared_ptr<SnapshotCow> Database::snapshot() {
  MutexLock lock(mutex_);
  return snapshot_;
}

void Database::set_snapshot(std::shared_ptr<SnapshotCow> snapshot) {
  MutexLock lock(mutex_);
  snapshot_ = std::move(snapshot);
}

void Database::set_published(Position position, std::uint32_t pages, std::uint32_t page_size, std::int64_t wall) {
  MutexLock lock(mutex_);
  position_ = position;
  page_count_ = pages;
  page_size_ = page_size;
  last_commit_wall_ms_ = wall;
}

void Database::set_view(std::shared_ptr<MountView> view) {
  std::shared_ptr<MountView> old;
  {
    MutexLock lock(mutex_);
    old = std::exchange(view_, std::move(view));
  }
  engine_.wait_for_peer();  // a step that still holds the old one has ended
}

void Database::write(PartKind kind, const PartFile& file, ByteView data, std::uint64_t offset, Reply reply) {
  if (!is_current(kind, file)) return reply(file->pwrite(data, offset));
  switch (kind) {
    case PartKind::kDatabase: {
      if (std::shared_ptr<SnapshotCow> cow = snapshot()) cow->before_write(offset, data.size());
      mark_dirty(offset, offset + data.size());
      Status done = file->pwrite(data, offset);
      if (dirty_without_journal()) engine_.note_activity(shared_from_this());
      return reply(std::move(done));
    }
    case PartKind::kWal: {
      Status done = file->pwrite(data, offset);
      wal_end_.store(offset + data.size(), std::memory_order_release);
      engine_.note_activity(shared_from_this());
      if (is_commit_frame(data, offset)) engine_.expect_commit(*this);
      return reply(std::move(done));
    }
    case PartKind::kJournal: {
      bool at_start = offset == 0 && data.size() >= 8;
      bool was_live = false;
      if (at_start) {
        bool zero = begins_with_zeros(data);
        MutexLock lock(mutex_);
        was_live = journal_live_ && zero;
        if (!zero) journal_live_ = true;
      }
      if (!was_live) return reply(file->pwrite(data, offset));
      // journal_mode=PERSIST: zeroing the header is the commit.
      Bytes copy(data.begin(), data.end());
      engine_.post(
          [self = shared_from_this(), file, copy = std::move(copy), offset, reply = std::move(reply)]() mutable {
            self->finish_journal([file, copy = std::move(copy), offset] { return file->pwrite(copy, offset); },
                                 std::move(reply));
          });
      return;
    }
    case PartKind::kShm:
      return reply(file->pwrite(data, offset));
  }
}

void Database::truncate(PartKind kind, const PartFile& file, std::uint64_t size_bytes, Reply reply) {
  if (!is_current(kind, file)) return reply(file->truncate(size_bytes));
  switch (kind) {
    case PartKind::kDatabase: {
      if (std::shared_ptr<SnapshotCow> cow = snapshot()) cow->before_truncate(size_bytes);
      if (part(PartKind::kWal) == nullptr) {
        mark_dirty(0, 1);
        Status done = file->truncate(size_bytes);
        if (dirty_without_journal()) engine_.note_activity(shared_from_this());
        return reply(std::move(done));
      }
      // The checkpoint barrier: nBackfill is stored, and the WAL may be restarted, only after this has been answered
      // (and, unless synchronous is OFF, the sync that follows: see sync()).
      engine_.post([self = shared_from_this(), file, size_bytes, reply = std::move(reply)]() mutable {
        self->when_captured([self, file, size_bytes, reply = std::move(reply)](Status captured) mutable {
          if (!captured) return reply(std::move(captured));
          Status done = file->truncate(size_bytes);
          if (done) done = self->capture_->checkpoint_passed();
          reply(std::move(done));
        });
      });
      return;
    }
    case PartKind::kWal:
      engine_.post([self = shared_from_this(), file, size_bytes, reply = std::move(reply)]() mutable {
        self->when_captured([self, file, size_bytes, reply = std::move(reply)](Status captured) mutable {
          if (!captured) return reply(std::move(captured));
          Status done = file->truncate(size_bytes);
          if (done && self->is_current(PartKind::kWal, file))
            self->wal_end_.store(size_bytes, std::memory_order_release);
          reply(std::move(done));
        });
      });
      return;
    case PartKind::kJournal: {
      if (size_bytes >= 8 || !has_dirty()) {
        if (size_bytes < 8) {
          MutexLock lock(mutex_);
          journal_live_ = false;
        }
        return reply(file->truncate(size_bytes));
      }
      engine_.post([self = shared_from_this(), file, size_bytes, reply = std::move(reply)]() mutable {
        self->finish_journal([file, size_bytes] { return file->truncate(size_bytes); }, std::move(reply));
      });
      return;
    }
    case PartKind::kShm:
      return reply(file->truncate(size_bytes));
  }
}

void Database::sync(PartKind kind, const PartFile& file, bool data_only, Reply reply) {
  bool prepare = kind == PartKind::kDatabase && dirty_under_journal() && is_current(kind, file);
  // The peer makes and syncs the LTX meanwhile; the journal's end, which comes next, then costs little.
  if (prepare) engine_.post([self = shared_from_this()] { self->capture_->prepare_pages(); });
  Status done = data_only ? file->datasync() : file->sync();
  if (!done || !is_current(kind, file)) return reply(std::move(done));
  if (kind == PartKind::kJournal) {
    MutexLock lock(mutex_);
    journal_synced_ = true;
  } else if (kind == PartKind::kWal) {
    engine_.note_activity(shared_from_this());  // the wal-index follows when this is answered
  } else if (kind == PartKind::kDatabase && part(PartKind::kWal) != nullptr) {
    // The end of a checkpoint: the WAL may be restarted when this is answered. By then the log is durable too, so that
    // after a power loss it is never behind a database that has no WAL left to make up for it: recovery writes the
    // log's pages over it. The two syncs run side by side.
    engine_.post([self = shared_from_this(), reply = std::move(reply)]() mutable {
      self->engine_.when_log_durable(std::move(reply));
    });
    return;
  } else if (kind == PartKind::kDatabase && dirty_without_journal()) {
    // journal_mode=MEMORY or OFF: the sync of the database is the commit.
    engine_.post([self = shared_from_this(), reply = std::move(reply)]() mutable {
      self->capture_boundary(std::move(reply), true);
    });
    return;
  }
  reply({});
}

void Database::flush(PartKind kind, const PartFile& file, Reply reply) {
  if (kind != PartKind::kDatabase || !is_current(kind, file) || !dirty_without_journal()) return reply({});
  engine_.post([self = shared_from_this(), reply = std::move(reply)]() mutable {
    std::shared_ptr<MountView> view = self->view();
    // Somebody else's lock: an SQLite writer is at work, the boundary is his.
    if (!self->dirty_without_journal() || (view != nullptr && view->app_holds_lock())) return reply({});
    self->capture_boundary(
        [self, reply = std::move(reply)](Status done) mutable {
          if (!done) {
            log_error(fmt::format("take in what was written to {}", self->name_), done.error(),
                      "write a complete SQLite database, or use `caddis import`");
          }
          reply({});
        },
        true);
  });
}

void Database::remove(PartKind kind, Reply reply) {
  if (kind == PartKind::kJournal && !has_dirty()) {
    Status done = dir_->unlink(part_file_name(kind));
    forget_part(kind);
    return reply(std::move(done));
  }
  engine_.post([self = shared_from_this(), kind, reply = std::move(reply)]() mutable {
    switch (kind) {
      case PartKind::kJournal:
        self->finish_journal(
            [self] {
              Status done = self->dir_->unlink("journal");
              if (done) self->forget_part(PartKind::kJournal);
              return done;
            },
            std::move(reply));
        return;
      case PartKind::kWal:
        return self->remove_wal(std::move(reply));
      case PartKind::kShm:
        return self->remove_shm(std::move(reply));
      case PartKind::kDatabase:
        return self->drop(std::move(reply));
    }
  });
}

void Database::read_position(PositionReply reply) {
  engine_.post([self = shared_from_this(), reply = std::move(reply)]() mutable {
    auto answer = [self, reply = std::move(reply)](Status done) mutable {
      if (!done) return reply(std::unexpected(std::move(done).error()));
      reply(self->position());
    };
    if (!self->dirty_without_journal()) return self->when_captured(std::move(answer));
    std::shared_ptr<MountView> view = self->view();
    if (view != nullptr && !view->try_lock_shared()) return answer({});  // a writer is at it: not committed yet
    self->capture_boundary(
        [view, answer = std::move(answer)](Status) mutable {
          if (view != nullptr) view->unlock_shared();
          answer({});
        },
        false);
  });
}

// --- peer ------------------------------------------------------------------------------------------------------------

void Database::when_captured(Reply then, std::int64_t waited_us) {
  std::int64_t patience_us = capture_->index_is_torn() ? kTornPatienceUs : kViewPatienceUs;
  bool without_index = waited_us > patience_us;
  Result<CaptureOutcome> outcome = capture_->capture_wal(without_index);
  if (!outcome) {
    log_error(fmt::format("capture {}", name_), outcome.error());
    return then(std::unexpected(std::move(outcome).error()));
  }
  if (*outcome != CaptureOutcome::kNotReady || without_index) return then({});
  engine_.post_later(kIndexRetryUs, [self = shared_from_this(), then = std::move(then), waited_us]() mutable {
    self->when_captured(std::move(then), waited_us + kIndexRetryUs);
  });
}

void Database::finish_journal(std::move_only_function<Status()> finalise, Reply reply) {
  bool durable = false;
  {
    MutexLock lock(mutex_);
    durable = journal_synced_;
  }
  // The LTX comes first: from here on the log has the transaction whatever happens to the journal.
  Result<CaptureOutcome> outcome = capture_->capture_pages(durable);
  if (!outcome) {
    log_error(fmt::format("capture {}", name_), outcome.error());
    return reply(std::unexpected(std::move(outcome).error()));
  }
  Status done = finalise();
  if (done) {
    MutexLock lock(mutex_);
    journal_live_ = false;
    journal_synced_ = false;
  }
  engine_.save_sums_if_due(*this, false);
  reply(std::move(done));
}

void Database::capture_boundary(Reply then, bool durable) {
  Result<CaptureOutcome> outcome = capture_->capture_pages(durable);
  if (!outcome) return then(std::unexpected(std::move(outcome).error()));
  then({});
}

void Database::remove_shm(Reply reply) {
  when_captured([self = shared_from_this(), reply = std::move(reply)](Status captured) mutable {
    if (!captured) return reply(std::move(captured));
    Status done = self->dir_->unlink("shm");
    self->forget_part(PartKind::kShm);
    reply(std::move(done));
  });
}

void Database::remove_wal(Reply reply) {
  when_captured([self = shared_from_this(), reply = std::move(reply)](Status captured) mutable {
    if (!captured) return reply(std::move(captured));
    Status done = self->dir_->unlink("wal");
    self->forget_part(PartKind::kWal);
    Result<CaptureOutcome> reverted = self->capture_->wal_removed();
    if (!reverted) log_error(fmt::format("compare {} after its WAL was removed", self->name_), reverted.error());
    reply(std::move(done));
  });
}

void Database::drop(Reply reply) {
  Status done = capture_->capture_drop();
  if (!done) {
    log_error(fmt::format("drop {}", name_), done.error());
    return reply(std::move(done));
  }
  live_.store(false, std::memory_order_release);
  for (PartKind kind : {PartKind::kJournal, PartKind::kWal, PartKind::kShm}) {
    if (part(kind) != nullptr) (void)dir_->unlink(part_file_name(kind));
    forget_part(kind);
  }
  done = dir_->unlink("database");
  forget_part(PartKind::kDatabase);
  engine_.forget_dropped(shared_from_this());
  reply(std::move(done));
}

}  // namespace caddis::db
