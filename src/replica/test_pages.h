// Test only: an Applier that keeps databases as pages in memory and proves everything: LTX format, that each
// transaction follows the one before, and the checksum of the whole database after it.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "db/engine.h"
#include "ltx/checksum.h"
#include "ltx/stream.h"
#include "replica/applier.h"

namespace caddis::replica {

class PagesApplier final : public Applier {
 public:
  struct Database {
    std::uint32_t page_size = 0;
    std::vector<Bytes> pages;  // an empty one is the lock page
    Position position;
    std::vector<Position> past;
  };

  Result<std::unique_ptr<IncomingFile>> begin_incoming(const std::string& name) override {
    TRY(db::validate_name(name));
    return std::make_unique<Ltx>();
  }

  void apply(const std::string& name, std::unique_ptr<IncomingFile> ltx,
             std::move_only_function<void(Result<Position>)> reply) override {
    {
      MutexLock lock(mutex_);
      if (held_.contains(name)) {
        waiting_[name].emplace_back(std::move(ltx), std::move(reply));
        return;
      }
    }
    reply(apply_now(name, static_cast<Ltx&>(*ltx)));
  }

  PositionMap positions() override {
    MutexLock lock(mutex_);
    PositionMap out;
    for (const auto& [name, db] : databases_) out[name] = db.position;
    return out;
  }

  Result<std::vector<Position>> past(const std::string& name, Txid upto) override {
    MutexLock lock(mutex_);
    std::vector<Position> out;
    for (auto p = databases_[name].past.rbegin(); p != databases_[name].past.rend(); ++p) {
      if (p->txid <= upto) out.push_back(*p);
    }
    return out;
  }

  // Applies of this database wait until release().
  void hold(const std::string& name) {
    MutexLock lock(mutex_);
    held_.insert(name);
  }
  void release(const std::string& name) {
    std::deque<Waiting> waiting;
    {
      MutexLock lock(mutex_);
      held_.erase(name);
      waiting.swap(waiting_[name]);
    }
    for (auto& [ltx, reply] : waiting) reply(apply_now(name, static_cast<Ltx&>(*ltx)));
  }
  Database database(const std::string& name) {
    MutexLock lock(mutex_);
    return databases_[name];
  }
  void put(const std::string& name, Database database) {
    MutexLock lock(mutex_);
    databases_[name] = std::move(database);
  }
  // As set_aside(): back to an earlier position (its pages are not looked at again).
  void forget(const std::string& name) {
    MutexLock lock(mutex_);
    databases_.erase(name);
  }
  int applied() const { return applied_; }

 private:
  struct Ltx final : IncomingFile {
    Status write(ByteView more) override {
      append(bytes, more);
      return {};
    }
    Result<ltx::Header> finish() override {
      auto decoder = ltx::make_decoder(ltx::Version::kV1, ltx::source_of(bytes));
      TRY_ASSIGN(head, decoder->header());
      for (;;) {
        TRY_ASSIGN(std::optional<ltx::Page> page, decoder->next());
        if (!page) break;
        pages.emplace_back(page->pgno, Bytes(page->data.begin(), page->data.end()));
      }
      after = {head.max_txid, decoder->trailer().post_apply};
      return head;
    }
    const ltx::Header& header() const override { return head; }
    Position position() const override { return after; }
    Bytes bytes;
    ltx::Header head;
    Position after;
    std::vector<std::pair<Pgno, Bytes>> pages;
  };
  using Waiting = std::pair<std::unique_ptr<IncomingFile>, std::move_only_function<void(Result<Position>)>>;

  Result<Position> apply_now(const std::string& name, Ltx& ltx) {
    MutexLock lock(mutex_);
    Database& db = databases_[name];
    Position before{Txid(ltx.head.min_txid.value() - 1), ltx.head.pre_apply};
    if (!ltx.head.is_snapshot() && db.position != before) {
      return make_error(ErrorCode::kConflict, "position mismatch on db \"{}\": have {}, transaction follows {}", name,
                        db.position, before);
    }
    if (ltx.head.page_size_bytes != db.page_size) db.pages.clear();
    if (ltx.head.is_snapshot()) db.past.clear();
    db.page_size = ltx.head.page_size_bytes;
    db.pages.resize(ltx.head.commit);
    for (auto& [pgno, data] : ltx.pages) db.pages[pgno.index()] = std::move(data);
    ltx::RollingChecksum sum;
    for (std::uint32_t i = 0; i < db.pages.size(); ++i) {
      if (!db.pages[i].empty()) sum.add(ltx::page_checksum(Pgno(i + 1), db.pages[i]));
    }
    if (sum.value() != ltx.after.checksum) {
      return corrupt("apply {}: checksum {}, the pages give {}", name, ltx.after.checksum, sum.value());
    }
    db.position = ltx.after;
    db.past.push_back(ltx.after);
    ++applied_;
    return db.position;
  }

  Mutex mutex_;
  std::map<std::string, Database> databases_ GUARDED_BY(mutex_);
  std::set<std::string> held_ GUARDED_BY(mutex_);
  std::map<std::string, std::deque<Waiting>> waiting_ GUARDED_BY(mutex_);
  int applied_ = 0;
};

}  // namespace caddis::replica
