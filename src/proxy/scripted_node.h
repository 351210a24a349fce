// For tests: a node whose role and TXIDs are set by hand, and a gate.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/write_gate.h"
#include "loop/loop.h"
#include "proxy/node.h"

namespace caddis::proxy::testing_support {

class ScriptedGate final : public WriteGate {
 public:
  bool open() const override { return open_; }
  void set(bool open) { open_ = open; }

 private:
  std::atomic<bool> open_{true};
};

class ScriptedNode final : public Node {
 public:
  explicit ScriptedNode(loop::Loop& loop) : loop_(loop), changed_(loop), moved_(loop) {}

  void set_role(RoleView role) {
    role_ = std::move(role);
    wake(changed_);
  }
  void set_txid(const std::string& db, std::uint64_t txid) {
    txids_[db] = Txid(txid);
    wake(moved_);
  }
  // Of the primary; 0 forgets it.
  void set_primary_txid(const std::string& db, std::uint64_t txid) {
    if (txid == 0)
      primary_txids_.erase(db);
    else
      primary_txids_[db] = Txid(txid);
  }
  void refuse_write() {
    ++refused_;
    loop_.post([this] {
      if (on_refused_) on_refused_();
    });
  }
  std::int64_t lag = 0;
  std::int64_t capture_ms = 0;  // how long the barrier takes
  bool capture_fails = false;
  std::vector<std::int64_t> request_times;
  std::size_t waiting = 0;  // in wait_for()
  std::function<void()> on_captured;

  const RoleView& role() const override { return role_; }
  loop::Task<void> role_changed(std::int64_t timeout_ms, std::stop_token stop) override {
    (void)co_await changed_.wait(timeout_ms, stop);
  }
  std::optional<Txid> txid(std::string_view db) const override { return find(txids_, db); }
  loop::Task<Result<std::vector<std::optional<Txid>>>> captured(std::vector<std::string> dbs,
                                                                std::stop_token stop) override {
    if (capture_ms > 0) (void)co_await loop::sleep(loop_, capture_ms, stop);
    if (capture_fails) co_return Error(ErrorCode::kIo, "capture of app.db: the disk is full");
    if (on_captured) on_captured();
    std::vector<std::optional<Txid>> out;
    for (const std::string& db : dbs) out.push_back(find(txids_, db));
    co_return out;
  }
  loop::Task<Status> wait_for(std::string db, Txid wanted, std::int64_t timeout_ms, std::stop_token stop) override {
    ++waiting;
    SystemClock clock;
    TimeMs until = clock.now() + timeout_ms;
    Status result;
    while (result && (!txid(db) || *txid(db) < wanted)) {
      std::int64_t left_ms = until - clock.now();
      if (left_ms <= 0)
        result = make_error(ErrorCode::kTimeout, "{} has not come", wanted);
      else
        result = co_await moved_.wait(left_ms, stop);
    }
    --waiting;
    co_return result;
  }
  std::optional<Txid> primary_txid(std::string_view db) const override { return find(primary_txids_, db); }
  std::int64_t lag_ms() const override { return lag; }
  std::uint64_t refused_writes() const override { return refused_; }
  void on_refused_write(std::function<void()> fn) override { on_refused_ = std::move(fn); }
  void request_time_seen(std::int64_t wall_ms) override { request_times.push_back(wall_ms); }

 private:
  using Txids = std::map<std::string, Txid, std::less<>>;
  static std::optional<Txid> find(const Txids& all, std::string_view db) {
    auto it = all.find(db);
    return it == all.end() ? std::nullopt : std::optional(it->second);
  }
  static void wake(loop::Event& event) {
    event.set();
    event.reset();
  }
  loop::Loop& loop_;
  loop::Event changed_, moved_;
  RoleView role_;
  Txids txids_, primary_txids_;
  std::uint64_t refused_ = 0;
  std::function<void()> on_refused_;
};

}  // namespace caddis::proxy::testing_support
