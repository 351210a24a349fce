// A target in memory with faults, and local databases made of a TestHistory, for this module's tests.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "backup/local_databases.h"
#include "backup/target.h"
#include "backup/test_history.h"
#include "db/engine.h"
#include "loop/loop.h"
#include "ltx/header.h"
#include "os/file.h"

namespace caddis::backup {

class MemoryTarget final : public Target {
 public:
  struct Stored {
    ObjectInfo info;
    Bytes data;
  };
  using Key = std::tuple<std::string, int, Txid, Txid>;

  explicit MemoryTarget(loop::Loop& loop, std::string url = "memory://test") : loop_(loop), url_(std::move(url)) {}

  std::map<Key, Stored> objects;
  std::set<std::string> other_names;  // prefixes without LTX objects
  std::set<std::string> litestream_03_names;
  std::optional<Error> fail;  // answer to everything
  bool silent = false;        // no answer at all until stopped
  int requests = 0;
  int puts = 0;
  bool lose_answer_of_next_put = false;  // stored, but the caller hears of a failure
  std::size_t largest_part = 0;

  void insert(const std::string& name, int level, Txid min, Txid max, Bytes data, std::int64_t created_ms = 0) {
    ObjectInfo info{level, min, max, data.size(), created_ms};
    objects[{name, level, min, max}] = {info, std::move(data)};
  }
  std::vector<std::string> names_at(const std::string& name, int level) const {
    std::vector<std::string> out;
    for (const auto& [key, stored] : objects) {
      if (std::get<0>(key) == name && std::get<1>(key) == level)
        out.push_back(ltx::file_name(std::get<2>(key), std::get<3>(key)));
    }
    return out;
  }

  const std::string& url() const override { return url_; }
  loop::Task<Result<std::vector<std::string>>> databases(std::stop_token stop) override {
    CO_TRY(co_await answer(stop));
    std::set<std::string> names = other_names;
    for (const auto& [key, stored] : objects) names.insert(std::get<0>(key));
    co_return std::vector<std::string>(names.begin(), names.end());
  }
  loop::Task<Result<std::vector<ObjectInfo>>> list(std::string name, std::stop_token stop) override {
    CO_TRY(co_await answer(stop));
    std::vector<ObjectInfo> out;
    for (const auto& [key, stored] : objects) {
      if (std::get<0>(key) == name) out.push_back(stored.info);
    }
    co_return out;
  }
  loop::Task<Result<bool>> has_litestream_03(std::string name, std::stop_token stop) override {
    CO_TRY(co_await answer(stop));
    co_return litestream_03_names.contains(name);
  }
  loop::Task<Result<Bytes>> read(std::string name, ObjectInfo object, std::uint64_t offset, std::uint64_t length,
                                 std::stop_token stop) override {
    CO_TRY(co_await answer(stop));
    auto it = objects.find(key_of(name, object));
    if (it == objects.end()) co_return Error(ErrorCode::kNotFound, "object is gone");
    const Bytes& data = it->second.data;
    std::uint64_t begin = std::min<std::uint64_t>(offset, data.size());
    std::uint64_t end = std::min<std::uint64_t>(begin + length, data.size());
    co_return Bytes(data.begin() + static_cast<std::ptrdiff_t>(begin), data.begin() + static_cast<std::ptrdiff_t>(end));
  }
  loop::Task<Status> put(std::string name, ObjectInfo object, std::shared_ptr<const Bytes> data,
                         std::stop_token stop) override {
    CO_TRY(co_await answer(stop));
    co_return store(name, object, *data);
  }
  loop::Task<Result<std::unique_ptr<ObjectUpload>>> start_upload(std::string name, ObjectInfo object,
                                                                 std::stop_token stop) override {
    CO_TRY(co_await answer(stop));
    co_return std::make_unique<Upload>(*this, name, object);
  }
  loop::Task<Status> remove(std::string name, std::vector<ObjectInfo> gone, std::stop_token stop) override {
    CO_TRY(co_await answer(stop));
    for (const ObjectInfo& o : gone) objects.erase(key_of(name, o));
    co_return Status{};
  }

 private:
  class Upload final : public ObjectUpload {
   public:
    Upload(MemoryTarget& target, std::string name, ObjectInfo info)
        : target_(target), name_(std::move(name)), info_(info) {}
    loop::Task<Status> write(Bytes part, std::stop_token stop) override {
      CO_TRY(co_await target_.answer(stop));
      target_.largest_part = std::max(target_.largest_part, part.size());
      append(data_, part);
      co_return Status{};
    }
    loop::Task<Status> finish(std::stop_token stop) override {
      CO_TRY(co_await target_.answer(stop));
      co_return target_.store(name_, info_, std::move(data_));
    }

   private:
    MemoryTarget& target_;
    std::string name_;
    ObjectInfo info_;
    Bytes data_;
  };
  static Key key_of(const std::string& name, const ObjectInfo& o) { return {name, o.level, o.min, o.max}; }
  loop::Task<Status> answer(std::stop_token stop) {
    ++requests;
    if (silent) CO_TRY(co_await loop::sleep(loop_, 1'000'000, stop));
    CO_TRY(co_await loop::sleep(loop_, 0, stop));
    if (fail) co_return *fail;
    co_return Status{};
  }
  Status store(const std::string& name, ObjectInfo info, Bytes data) {
    ++puts;
    info.size_bytes = data.size();
    if (!objects.try_emplace(key_of(name, info), Stored{info, std::move(data)}).second)
      return make_error(ErrorCode::kConflict, "412 Precondition Failed");
    if (std::exchange(lose_answer_of_next_put, false)) return make_error(ErrorCode::kUnavailable, "connection reset");
    return {};
  }

  loop::Loop& loop_;
  std::string url_;
};

// A log and a state that tests set by hand.
class FakeDatabases final : public LocalDatabases {
 public:
  struct One {
    std::vector<HistoryFile> log;
    LocalState state;
    Bytes image;
    bool live = true;
  };
  std::map<std::string, One> all GUARDED_BY(mutex_);
  int listings = 0;  // of a log directory

  // Takes over what `history` is now; files before `keep_from` are gone from the log.
  void set(const std::string& name, const TestHistory& history, std::size_t keep_from = 0) {
    MutexLock lock(mutex_);
    One one;
    one.log.assign(history.files().begin() + static_cast<std::ptrdiff_t>(keep_from), history.files().end());
    one.state = {history.position(), history.page_size_bytes(), history.page_count(), history.wall_ms()};
    one.image = history.image();
    one.live = history.page_count() > 0;
    all[name] = std::move(one);
  }
  // As after a restore: the log holds only where it begins.
  void set_restored(const std::string& name, const TestHistory& history) {
    set(name, history);
    MutexLock lock(mutex_);
    all[name].log = {history.restored_marker()};
  }
  static db::Commit commit_of(const std::string& name, const TestHistory& history) {
    db::Commit c;
    c.name = name;
    c.min = history.files().back().min;
    c.position = history.position();
    c.page_size_bytes = history.page_size_bytes();
    c.page_count = history.page_count();
    c.wall_ms = history.wall_ms();
    return c;
  }

  std::vector<std::string> names() override {
    MutexLock lock(mutex_);
    std::vector<std::string> out;
    for (const auto& [name, one] : all) out.push_back(name);
    return out;
  }
  std::optional<LocalState> state(const std::string& name) override {
    MutexLock lock(mutex_);
    auto it = all.find(name);
    if (it == all.end() || !it->second.live) return std::nullopt;
    return it->second.state;
  }
  Result<std::vector<db::LogEntry>> list_log(const std::string& name) override {
    MutexLock lock(mutex_);
    ++listings;
    std::vector<db::LogEntry> out;
    for (const HistoryFile& f : all[name].log)
      out.push_back({f.min, f.max, f.v1.size(), 0, ltx::file_name(f.min, f.max)});
    return out;
  }
  Result<std::vector<db::LogEntry>> chain(const std::string& name, Txid after, Txid upto) override {
    TRY_ASSIGN(std::vector<db::LogEntry> entries, list_log(name));
    std::erase_if(entries, [&](const db::LogEntry& e) { return e.max <= after || e.min > upto; });
    if (!entries.empty() && entries.front().min > after.next()) entries.clear();
    if (entries.empty()) return not_found("no file continues {}", after);
    return entries;
  }
  Result<std::unique_ptr<os::File>> open_log(const std::string& name, const db::LogEntry& entry) override {
    MutexLock lock(mutex_);
    for (const HistoryFile& f : all[name].log) {
      if (f.min == entry.min && f.max == entry.max) return std::make_unique<MemoryFile>(f.v1);
    }
    return not_found("log file {}", entry.file_name);
  }
  void start_snapshot(const std::string& name, SnapshotReply reply) override {
    MutexLock lock(mutex_);
    auto it = all.find(name);
    if (it == all.end() || !it->second.live) return reply(not_found("no such database"));
    reply(std::make_shared<Image>(it->second));
  }
  void set_needed_from(const std::string& name, Txid txid) override { needed[name] = txid; }
  std::map<std::string, Txid> needed;

 private:
  class MemoryFile final : public os::File {
   public:
    explicit MemoryFile(Bytes data) : data_(std::move(data)) {}
    Result<std::size_t> pread(ByteSpan out, std::uint64_t offset) const override {
      if (offset >= data_.size()) return std::size_t{0};
      std::size_t n = std::min<std::size_t>(out.size(), data_.size() - offset);
      std::copy_n(data_.begin() + static_cast<std::ptrdiff_t>(offset), n, out.begin());
      return n;
    }
    Status pwrite(ByteView, std::uint64_t) override { return make_error(ErrorCode::kReadOnly, "read only"); }
    Status truncate(std::uint64_t) override { return make_error(ErrorCode::kReadOnly, "read only"); }
    Status datasync() override { return {}; }
    Status sync() override { return {}; }
    Result<std::uint64_t> size_bytes() const override { return data_.size(); }

   private:
    Bytes data_;
  };
  class Image final : public db::SnapshotReader {
   public:
    explicit Image(const One& one) : state_(one.state), image_(one.image) {}
    Position position() const override { return state_.position; }
    std::uint32_t page_size_bytes() const override { return state_.page_size_bytes; }
    std::uint32_t page_count() const override { return state_.page_count; }
    std::int64_t wall_ms() const override { return state_.wall_ms; }
    Status read_page(Pgno pgno, ByteSpan out) override {
      std::copy_n(image_.begin() + static_cast<std::ptrdiff_t>(std::size_t{pgno.index()} * out.size()), out.size(),
                  out.begin());
      return {};
    }

   private:
    LocalState state_;
    Bytes image_;
  };
  Mutex mutex_;
};

}  // namespace caddis::backup
