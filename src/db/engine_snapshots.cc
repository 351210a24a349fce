// Snapshots of an Engine: one a database at a time, the others wait for their turn.
#include <algorithm>

#include "base/log.h"
#include "db/capture.h"
#include "db/engine_state.h"
#include "db/snapshot_cow.h"

namespace caddis::db {
namespace {

constexpr std::int64_t kSnapshotRetryUs = 2'000;

}  // namespace

namespace {

class Reader final : public SnapshotReader {
 public:
  Reader(std::shared_ptr<SnapshotCow> cow, std::move_only_function<void()> ended)
      : cow_(std::move(cow)), ended_(std::move(ended)) {}
  ~Reader() override { ended_(); }
  Position position() const override { return cow_->position(); }
  std::uint32_t page_size_bytes() const override { return cow_->sums().page_size_bytes(); }
  std::uint32_t page_count() const override { return cow_->sums().page_count(); }
  std::int64_t wall_ms() const override { return cow_->wall_ms(); }
  Status read_page(Pgno pgno, ByteSpan out) override { return cow_->read_page(pgno, out); }

 private:
  std::shared_ptr<SnapshotCow> cow_;
  std::move_only_function<void()> ended_;
};

}  // namespace

void Engine::start_snapshot(const std::shared_ptr<Database>& db,
                            std::move_only_function<void(Result<std::shared_ptr<SnapshotReader>>)> reply) {
  post([this, db, reply = std::move(reply)]() mutable {
    state_->snapshots.push_back({db, std::move(reply)});
    begin_snapshot(db);
  });
}

void Engine::begin_snapshot(const std::shared_ptr<Database>& db) {
  if (state_->snapshot_running.contains(db->name())) return;
  auto it = std::find_if(state_->snapshots.begin(), state_->snapshots.end(),
                         [&](const State::WaitingSnapshot& w) { return w.db == db; });
  if (it == state_->snapshots.end()) return;
  if (db->has_dirty() && !db->dirty_without_journal() && db->part(PartKind::kWal) == nullptr) {
    // A journalled transaction has spilled pages: what they were is only in its journal. After it.
    return post_later(kSnapshotRetryUs, [this, db] { begin_snapshot(db); });
  }
  state_->snapshot_running.insert(db->name());
  auto reply = std::make_shared<decltype(it->reply)>(std::move(it->reply));
  state_->snapshots.erase(it);
  auto take = [this, db, reply](Status captured) {
    auto fail = [&](Error error) {
      (*reply)(std::unexpected(std::move(error)));
      snapshot_ended(db);
    };
    if (!captured) return fail(std::move(captured).error());
    Capture& capture = *db->capture_;
    PartFile file = db->part(PartKind::kDatabase);
    if (file == nullptr || capture.sums().page_count() == 0) {
      return fail(Error(ErrorCode::kNotFound, fmt::format("database {} is empty", db->name())));
    }
    std::string spill_name = "snapshot-" + db->name();
    Result<std::unique_ptr<os::File>> spill = tmp_->open(spill_name, os::OpenMode::kTruncate);
    if (!spill) return fail(std::move(spill).error());
    (void)tmp_->unlink(spill_name);
    auto cow =
        std::make_shared<SnapshotCow>(capture.position(), db->last_commit_wall_ms(), capture.sums(), std::move(file),
                                      db->part(PartKind::kWal), capture.wal_frames_, std::move(*spill));
    db->set_snapshot(cow);
    (*reply)(std::make_shared<Reader>(std::move(cow), [this, db] { snapshot_ended(db); }));
  };
  if (db->dirty_without_journal()) return db->capture_boundary(std::move(take), false);
  db->when_captured(std::move(take));
}

void Engine::snapshot_ended(const std::shared_ptr<Database>& db) {
  post([this, db] {
    db->set_snapshot(nullptr);
    state_->snapshot_running.erase(db->name());
    begin_snapshot(db);
  });
}

}  // namespace caddis::db
