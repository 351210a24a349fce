// A primary (real SQLite on an Engine) and a follower (pages in memory) over TCP: every way to commit, to be cut off,
// to fall behind and to disagree.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <functional>
#include <random>

#include "db/sqlite_on_engine.h"
#include "http/client.h"
#include "http/server.h"
#include "loop/stream.h"
#include "os/fake_disk.h"
#include "replica/publisher.h"
#include "replica/receiver.h"
#include "replica/test_pages.h"

namespace caddis::replica {
namespace {

using loop::Loop;
using testing::HasSubstr;
using Why = FollowEnd::Why;
constexpr std::uint64_t kPrimaryId = 0x1111, kFollowerId = 0x2222;

class LockDir {
 public:
  LockDir() {
    char name[] = "/tmp/caddis-replica-test-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~LockDir() { (void)!system(("rm -rf " + path_).c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Lets bytes through in both directions; cuts both when `limit` bytes came back from the server.
Task<void> relay(std::unique_ptr<loop::Stream> client, std::unique_ptr<loop::Stream> server, std::size_t limit) {
  auto pump = [](loop::Stream& from, loop::Stream& to, std::size_t left) -> Task<void> {
    Bytes buffer(64 * 1024);
    while (left > 0) {
      auto n = co_await from.read(ByteSpan(buffer).first(std::min(buffer.size(), left)), 0, {});
      if (!n || *n == 0 || !co_await to.write(ByteView(buffer).first(*n), 0, {})) break;
      left -= *n;
    }
    from.close();
    to.close();
  };
  loop::TaskGroup group;
  group.spawn(pump(*client, *server, SIZE_MAX));
  group.spawn(pump(*server, *client, limit));
  co_await group.join();
}

struct Stream : testing::Test {
  Loop loop;
  SystemClock clock;
  os::FakeDisk disk;
  LockDir locks;
  std::unique_ptr<db::SqliteOnEngine> sql;
  std::unique_ptr<Publisher> publisher;
  std::unique_ptr<http::Server> server;
  std::unique_ptr<http::Client> client = std::make_unique<http::Client>(loop);
  loop::Timer steps;
  std::map<std::string, sqlite3*> open;

  PagesApplier applier;
  std::unique_ptr<Receiver> receiver;
  std::string own_cluster, primary_cluster = "LFSC0000000000000001";
  Facts facts{.candidate = true, .node = "f1", .hostname = "follower"};
  std::vector<std::string> saved;  // exports of LiteFS followers
  std::vector<std::string> joined, left;
  std::uint64_t min_epoch = 0;

  void SetUp() override {
    sql = std::make_unique<db::SqliteOnEngine>(disk.root(), locks.path());
    ASSERT_TRUE(sql->engine().open());
    start_publisher();
    start_receiver();
    // The engine's peer and its pool, between the loop's turns.
    steps = loop::Timer::every(loop, 1, [this] { sql->step(); });
  }
  void start_publisher() {
    PublisherOptions o{.engine = &sql->engine(), .clock = &clock, .node_id = kPrimaryId, .heartbeat_ms = 50};
    o.cluster_id = [this] { return primary_cluster; };
    o.save_export = [this](Peer, std::string name, Position theirs, Position, std::stop_token) -> Task<void> {
      saved.push_back(fmt::format("{} {}", name, theirs.txid.value()));
      co_return;
    };
    o.on_joined = [this](const Peer& p) { joined.push_back(fmt::format("{} {}", p.facts.hostname, p.ready)); };
    o.on_left = [this](const Peer& p, bool reset) { left.push_back(fmt::format("{} {}", p.facts.hostname, reset)); };
    publisher = std::make_unique<Publisher>(loop, std::move(o));
    sql->engine().add_sink(publisher.get());
    publisher->begin_term(7);
    auto s = http::Server::listen(loop, "127.0.0.1:0", [this](http::Request& request, http::ResponseWriter& w) {
      return publisher->serve(request, w);
    });
    ASSERT_TRUE(s);
    server = std::move(*s);
    server->serve();
  }
  ReceiverOptions receiver_options() {
    ReceiverOptions o{.applier = &applier, .client = client.get(), .clock = &clock, .node_id = kFollowerId};
    o.cluster_id = [this] { return own_cluster; };
    o.adopt_cluster_id = [this](const std::string& id) -> Status {
      own_cluster = id;
      return {};
    };
    o.facts = [this] { return facts; };
    o.min_epoch = [this] { return min_epoch; };
    return o;
  }
  void start_receiver() { receiver = std::make_unique<Receiver>(loop, receiver_options()); }
  void TearDown() override {
    client.reset();
    loop::run_until_done(loop, server->stop());
    for (auto& [name, db] : open) sqlite3_close(db);
    receiver.reset();
    steps.stop();
  }

  std::string url() { return fmt::format("http://127.0.0.1:{}", server->port()); }
  sqlite3* db(const std::string& name) {
    sqlite3*& handle = open[name];
    if (handle == nullptr) handle = sql->open(name);
    return handle;
  }
  void exec(const std::string& name, const std::string& text) {
    char* message = nullptr;
    int rc = sqlite3_exec(db(name), text.c_str(), nullptr, nullptr, &message);
    EXPECT_EQ(rc, SQLITE_OK) << text << ": " << (message == nullptr ? "" : message);
    sqlite3_free(message);
  }
  void drop(const std::string& name) {
    sqlite3_close(db(name));
    open.erase(name);
    std::optional<Status> done;
    sql->engine().find(name)->remove(db::PartKind::kDatabase, [&](Status s) { done = std::move(s); });
    for (int i = 0; i < 1000 && !done; ++i) sql->step();
    ASSERT_TRUE(done && *done);
  }
  template <class F>
  auto run(F body) {
    return loop::run_until_done(loop, body());
  }
  Task<bool> until(std::function<bool()> there, std::int64_t ms = 10'000) {
    for (std::int64_t i = 0; i < ms && !there(); ++i) (void)co_await loop::sleep(loop, 1, {});
    co_return there();
  }
  bool equal() {
    PositionMap theirs = applier.positions(), ours = publisher->positions();
    std::erase_if(ours, [](const auto& e) { return e.second.txid == Txid(); });
    for (auto& [name, position] : sql->engine().positions(true)) {
      if (position.txid != Txid() && ours[name] != position) return false;  // not durable yet
    }
    return theirs == ours;
  }
  std::string differences() {
    std::string out;
    PositionMap theirs = applier.positions(), ours = publisher->positions();
    for (auto& [name, position] : sql->engine().positions(true)) {
      out += fmt::format("\n{}: is at {}, durable {}, follower {}", name, position, ours[name], theirs[name]);
    }
    for (const Peer& p : publisher->peers())
      out += fmt::format("\n{}: behind {}, ready {}", p.address, p.behind, p.ready);
    return out +
           fmt::format("\nfollower connected {}, ready {}", receiver->followed().connected, receiver->followed().ready);
  }
  Task<void> follow_into(FollowEnd& end, std::stop_token stop) { end = co_await receiver->follow(url(), stop); }
  // follow() beside a test's body, which begins when the stream is ready.
  Task<FollowEnd> follow_while(std::function<Task<void>()> body) {
    std::stop_source stop;
    FollowEnd end;
    loop::TaskGroup group;
    group.spawn(follow_into(end, stop.get_token()));
    (void)co_await until([this] { return receiver->followed().ready; }, 5000);
    co_await body();
    stop.request_stop();
    co_await group.join();
    co_return end;
  }
  // Page by page, not only by checksum.
  Task<std::string> compare_pages() {
    for (const auto& database : sql->engine().databases()) {
      if (database->page_count() == 0) continue;
      PagesApplier::Database copy = applier.database(database->name());
      std::optional<Result<std::shared_ptr<db::SnapshotReader>>> taken;
      sql->engine().start_snapshot(database, [&taken](auto t) { taken.emplace(std::move(t)); });
      (void)co_await until([&taken] { return taken.has_value(); });
      if (!taken || !*taken) co_return "no snapshot";
      db::SnapshotReader& snapshot = ***taken;
      if (snapshot.page_count() != copy.pages.size()) co_return database->name() + ": page count";
      Bytes page(snapshot.page_size_bytes());
      for (std::uint32_t i = 0; i < snapshot.page_count(); ++i) {
        if (Pgno(i + 1) == lock_pgno(snapshot.page_size_bytes())) continue;
        if (!snapshot.read_page(Pgno(i + 1), page)) co_return "read";
        if (page != copy.pages[i]) co_return fmt::format("{}: page {}", database->name(), i + 1);
      }
    }
    co_return "same";
  }
};

TEST_F(Stream, AFollowerGetsWhatIsThereAndThenEveryTransaction) {
  exec("a.db", "PRAGMA journal_mode=wal; CREATE TABLE t(v); INSERT INTO t VALUES(randomblob(9000))");
  exec("b.db", "CREATE TABLE u(v)");
  FollowEnd end = run([this]() -> Task<FollowEnd> {
    co_return co_await follow_while([this]() -> Task<void> {
      EXPECT_TRUE(equal());
      EXPECT_EQ(applier.applied(), 2);
      for (int i = 0; i < 20; ++i) {
        exec(i % 2 == 0 ? "a.db" : "b.db",
             i % 2 == 0 ? "INSERT INTO t VALUES(randomblob(500))" : "INSERT INTO u VALUES(1)");
        EXPECT_TRUE(co_await until([this] { return equal(); }));
      }
      exec("c.db", "PRAGMA page_size=512; CREATE TABLE w(v)");
      EXPECT_TRUE(co_await until([this] { return equal(); }));
      EXPECT_EQ(co_await compare_pages(), "same");
      EXPECT_TRUE(co_await until([this] { return receiver->followed().positions == publisher->positions(); }));
      EXPECT_GT(receiver->primary_wall_ms(), 1'700'000'000'000);
      EXPECT_EQ(receiver->followed().primary.epoch, 7u);
      EXPECT_FALSE(receiver->followed().primary.litefs);
    });
  });
  EXPECT_EQ(end.why, Why::kStopped) << end.text;
  EXPECT_EQ(own_cluster, primary_cluster);
  EXPECT_EQ(joined.front(), " false");
  EXPECT_EQ(joined.back(), "follower true");
}

TEST_F(Stream, AnyWorkloadEndsEqualWhateverReconnects) {
  std::mt19937 random(7);
  auto pick = [&random](unsigned n) { return static_cast<unsigned>(random()) % n; };
  run([&]() -> Task<bool> {
    for (int round = 0; round < 12; ++round) {
      std::stop_source stop;
      loop::TaskGroup group;
      auto follow = [](Stream& t, std::stop_token token) -> Task<void> {
        FollowEnd end = co_await t.receiver->follow(t.url(), token);
        EXPECT_EQ(end.why, Why::kStopped) << end.text;
      };
      // A LiteFS every other time.
      ReceiverOptions o = receiver_options();
      o.own_frames = round % 2 == 0;
      receiver = std::make_unique<Receiver>(loop, std::move(o));
      group.spawn(follow(*this, stop.get_token()));
      for (int i = 0; i < 12; ++i) {
        std::string name = fmt::format("{}.db", pick(3));
        bool exists = sql->engine().find(name) != nullptr;
        if (!exists) {
          exec(name,
               fmt::format("PRAGMA page_size={}; PRAGMA journal_mode={}; CREATE TABLE t(k INTEGER PRIMARY KEY, v)",
                           512u << pick(4), pick(2) == 0 ? "wal" : "delete"));
        }
        switch (pick(8)) {
          case 0:
            exec(name, "PRAGMA journal_mode=delete; PRAGMA page_size=2048; VACUUM; PRAGMA journal_mode=wal");
            break;
          case 1:
            exec(name, "DELETE FROM t; VACUUM");
            break;
          case 2:
            if (exists) drop(name);
            break;
          case 3:
            exec(name,
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300) "
                 "INSERT INTO t(v) SELECT randomblob(700) FROM n");
            break;
          default:
            for (unsigned n = pick(5); n > 0; --n) exec(name, "INSERT INTO t(v) VALUES(randomblob(100))");
        }
        if (pick(3) == 0) (void)co_await loop::sleep(loop, pick(6), {});
      }
      if (round % 3 == 2) EXPECT_TRUE(co_await until([this] { return equal(); })) << "round " << round << differences();
      stop.request_stop();
      co_await group.join();
    }
    receiver = std::make_unique<Receiver>(loop, receiver_options());
    (void)co_await follow_while([this]() -> Task<void> { EXPECT_TRUE(co_await until([this] { return equal(); })); });
    EXPECT_EQ(co_await compare_pages(), "same");
    co_return true;
  });
}

TEST_F(Stream, CutAfterAnyByteItGoesOnWhereItWas) {
  exec("a.db", "PRAGMA page_size=512; CREATE TABLE t(v)");
  exec("b.db", "PRAGMA page_size=512; PRAGMA journal_mode=wal; CREATE TABLE t(v); INSERT INTO t VALUES(1)");
  auto listener = loop::listen_tcp(loop, {"127.0.0.1", 0});
  ASSERT_TRUE(listener);
  run([&]() -> Task<bool> {
    bool whole = false;
    for (std::size_t limit = 1; !whole; limit += limit < 1200 ? 1 : 7) {
      applier.forget("a.db");
      applier.forget("b.db");
      // One connection that is cut, with a transaction in it; then one that is not.
      loop::TaskGroup group;
      auto serve = [](Stream& t, loop::Listener& l, std::size_t bytes) -> Task<void> {
        auto from = co_await l.accept({});
        auto to = co_await loop::connect_tcp(t.loop, {"127.0.0.1", t.server->port()}, 1000, {});
        if (from && to) co_await relay(std::move(*from), std::move(*to), bytes);
      };
      group.spawn(serve(*this, **listener, limit));
      client = std::make_unique<http::Client>(loop);
      receiver = std::make_unique<Receiver>(loop, receiver_options());
      std::stop_source stop;
      auto commit = [](Stream& t, std::stop_source& s, bool& done, bool& over) -> Task<void> {
        (void)co_await t.until([&] { return over || t.receiver->followed().ready; });
        t.exec("b.db", "UPDATE t SET v=v+1");
        (void)co_await t.until([&] { return over || t.equal(); });
        done = !over && t.equal();
        s.request_stop();
      };
      bool over = false;
      group.spawn(commit(*this, stop, whole, over));
      FollowEnd end =
          co_await receiver->follow(fmt::format("http://127.0.0.1:{}", (*listener)->port()), stop.get_token());
      over = true;
      client.reset();
      co_await group.join();
      client = std::make_unique<http::Client>(loop);
      receiver = std::make_unique<Receiver>(loop, receiver_options());
      (void)co_await follow_while([this]() -> Task<void> { EXPECT_TRUE(co_await until([this] { return equal(); })); });
      if (HasFailure()) ADD_FAILURE() << "after " << limit << " bytes, " << end.text;
      if (HasFailure() || limit > 4000) co_return false;
    }
    co_return true;
  });
}

TEST_F(Stream, AStuckDatabaseHoldsUpNeitherOthersNorTheHeartbeat) {
  exec("a.db", "PRAGMA journal_mode=wal; CREATE TABLE t(v)");
  exec("b.db", "PRAGMA journal_mode=wal; CREATE TABLE t(v)");
  FollowEnd end = run([this]() -> Task<FollowEnd> {
    co_return co_await follow_while([this]() -> Task<void> {
      applier.hold("a.db");
      for (int i = 0; i < 30; ++i) exec("a.db", "INSERT INTO t VALUES(1)");
      std::int64_t heard = receiver->followed().heard_ms;
      exec("b.db", "INSERT INTO t VALUES(2)");
      EXPECT_TRUE(co_await until([this] { return applier.positions()["b.db"] == publisher->positions()["b.db"]; }));
      EXPECT_TRUE(co_await until([&] { return receiver->followed().heard_ms > heard + 100; }));
      EXPECT_NE(applier.positions()["a.db"], publisher->positions()["a.db"]);
      applier.release("a.db");
      EXPECT_TRUE(co_await until([this] { return equal(); }));
    });
  });
  EXPECT_EQ(end.why, Why::kStopped) << end.text;
}

TEST_F(Stream, AFullQueueIsFetchedAgain) {
  exec("a.db", "PRAGMA journal_mode=wal; CREATE TABLE t(v)");
  ReceiverOptions o = receiver_options();
  o.max_queued_files = 4;
  o.max_pending_bytes = 1000;
  o.stuck_ms = 30;
  receiver = std::make_unique<Receiver>(loop, std::move(o));
  FollowEnd end = run([this]() -> Task<FollowEnd> {
    co_return co_await follow_while([this]() -> Task<void> {
      applier.hold("a.db");
      for (int i = 0; i < 20; ++i) {
        exec("a.db", "INSERT INTO t VALUES(1)");
        (void)co_await loop::sleep(loop, 5, {});
      }
      applier.release("a.db");
      (void)co_await until([this] { return !receiver->followed().connected; });
    });
  });
  EXPECT_THAT(end.text, HasSubstr("a.db has caught up with its queue"));
  run([this]() -> Task<bool> {
    (void)co_await follow_while([this]() -> Task<void> { EXPECT_TRUE(co_await until([this] { return equal(); })); });
    co_return true;
  });
}

TEST_F(Stream, AFollowerThatWentAnotherWayIsToldWhereTheyParted) {
  exec("a.db", "PRAGMA journal_mode=wal; CREATE TABLE t(v)");
  PagesApplier::Database common;
  run([&]() -> Task<bool> {
    (void)co_await follow_while([]() -> Task<void> { co_return; });
    common = applier.database("a.db");
    co_return true;
  });
  exec("a.db", "INSERT INTO t VALUES(1)");
  PagesApplier::Database other = common;  // one transaction of its own behind the common one
  other.position = {common.position.txid.next(), Checksum(Checksum::kFlag | 77)};
  other.past.push_back(other.position);
  for (int ahead : {0, 1, 5}) {
    PagesApplier::Database branch = other;
    for (int i = 0; i < ahead; ++i) {
      branch.position = {branch.position.txid.next(), Checksum(Checksum::kFlag | 100u + static_cast<unsigned>(i))};
      branch.past.push_back(branch.position);
    }
    applier.put("a.db", branch);
    FollowEnd end = loop::run_until_done(loop, receiver->follow(url(), {}));
    EXPECT_EQ(end.why, Why::kConflict) << end.text;
    ASSERT_EQ(end.conflicts.size(), 1u);
    EXPECT_EQ(end.conflicts[0].db, "a.db");
    EXPECT_EQ(end.conflicts[0].common, common.position);
  }
  applier.put("a.db", common);  // set aside
  run([this]() -> Task<bool> {
    (void)co_await follow_while([this]() -> Task<void> { EXPECT_TRUE(co_await until([this] { return equal(); })); });
    co_return true;
  });
  EXPECT_TRUE(saved.empty());
}

TEST_F(Stream, ALiteFsThatWentAnotherWayIsSavedBeforeItsSnapshot) {
  exec("a.db", "PRAGMA journal_mode=wal; CREATE TABLE t(v)");
  PagesApplier::Database other;
  other.position = {Txid(9), Checksum(Checksum::kFlag | 77)};
  applier.put("a.db", other);
  ReceiverOptions o = receiver_options();
  o.own_frames = false;
  receiver = std::make_unique<Receiver>(loop, std::move(o));
  // From a LiteFS a caddis does not let itself be replaced either, before it has set aside what it has.
  FollowEnd end = loop::run_until_done(loop, receiver->follow(url(), {}));
  EXPECT_EQ(end.why, Why::kConflict) << end.text;
  ASSERT_EQ(end.conflicts.size(), 1u);
  EXPECT_EQ(end.conflicts[0].common, std::nullopt);
  EXPECT_EQ(saved, std::vector<std::string>{"a.db 9"});
  applier.forget("a.db");
  run([this]() -> Task<bool> {
    (void)co_await follow_while([this]() -> Task<void> { EXPECT_TRUE(co_await until([this] { return equal(); })); });
    co_return true;
  });
}

TEST_F(Stream, FollowersSayWhatTheyHoldAndWhoTheyAre) {
  exec("a.db", "PRAGMA journal_mode=wal; CREATE TABLE t(v)");
  FollowEnd end = run([this]() -> Task<FollowEnd> {
    co_return co_await follow_while([this]() -> Task<void> {
      EXPECT_TRUE(co_await publisher->until_held(kFollowerId, publisher->positions(), 2000, {}));
      applier.hold("a.db");
      PositionMap before = publisher->positions();
      exec("a.db", "INSERT INTO t VALUES(1)");
      (void)co_await until([&] { return publisher->positions() != before; });
      Status held = co_await publisher->until_held(kFollowerId, publisher->positions(), 50, {});
      EXPECT_EQ(held.error().code(), ErrorCode::kTimeout);
      applier.release("a.db");
      EXPECT_TRUE(co_await publisher->until_held(kFollowerId, publisher->positions(), 2000, {}));
      Status absent = co_await publisher->until_held(0x99, {}, 50, {});
      EXPECT_EQ(absent.error().code(), ErrorCode::kNotFound);
      facts.stopping = true;
      receiver->facts_changed();
      EXPECT_TRUE(co_await until([this] { return publisher->peers().at(0).facts.stopping; }));
      Peer peer = publisher->peers().at(0);
      EXPECT_TRUE(peer.ready && !peer.litefs && peer.facts.candidate);
      EXPECT_EQ(peer.facts.hostname, "follower");
      EXPECT_EQ(peer.node_id, kFollowerId);
      EXPECT_EQ(peer.held, publisher->positions());
      EXPECT_EQ(peer.behind, 0u);
    });
  });
  EXPECT_EQ(end.why, Why::kStopped) << end.text;
  run([this]() -> Task<bool> { co_return co_await until([this] { return publisher->peers().empty(); }); });
  EXPECT_EQ(left, std::vector<std::string>{"follower true"});
}

TEST_F(Stream, AHandoffComesAfterEverythingElse) {
  exec("a.db", "PRAGMA journal_mode=wal; CREATE TABLE t(v)");
  for (bool own : {true, false}) {
    ReceiverOptions o = receiver_options();
    o.own_frames = own;
    receiver = std::make_unique<Receiver>(loop, std::move(o));
    FollowEnd end = run([this]() -> Task<FollowEnd> {
      FollowEnd inner;
      loop::TaskGroup group;
      group.spawn(follow_into(inner, {}));
      (void)co_await until([this] { return receiver->followed().ready; });
      for (int i = 0; i < 5; ++i) exec("a.db", "INSERT INTO t VALUES(1)");
      bool drained = false;
      sql->engine().drain([&drained](Status) { drained = true; });
      for (int i = 0; i < 1000 && !drained; ++i) sql->step();
      HandoffSent nobody = co_await publisher->hand_off(0x99, "x", 1000, {});
      EXPECT_FALSE(nobody.begun || nobody.status);
      HandoffSent sent = co_await publisher->hand_off(kFollowerId, "session-1", 5000, {});
      EXPECT_TRUE(sent.begun && sent.status);
      co_await group.join();
      co_return inner;
    });
    EXPECT_EQ(end.why, Why::kHandoff) << end.text;
    EXPECT_EQ(end.lease_id, "session-1");
    EXPECT_TRUE(equal()) << differences();
  }
}

TEST_F(Stream, TheStreamEndsWithTheTermAndIsRefusedOutsideOfOne) {
  exec("a.db", "CREATE TABLE t(v)");
  FollowEnd end = run([this]() -> Task<FollowEnd> {
    FollowEnd inner;
    loop::TaskGroup group;
    group.spawn(follow_into(inner, {}));
    (void)co_await until([this] { return receiver->followed().ready; });
    publisher->end_term();
    co_await group.join();
    co_return inner;
  });
  EXPECT_EQ(end.why, Why::kEnded);
  EXPECT_EQ(end.text, "the primary ended the stream");
  EXPECT_TRUE(end.was_ready);
  end = loop::run_until_done(loop, receiver->follow(url(), {}));
  EXPECT_EQ(end.why, Why::kRefused);
  EXPECT_THAT(end.text, HasSubstr("HTTP 503 Service Unavailable (lease expired)"));
  publisher->begin_term(8);
  min_epoch = 9;
  end = loop::run_until_done(loop, receiver->follow(url(), {}));
  EXPECT_EQ(end.why, Why::kRefused);
  EXPECT_THAT(end.text, HasSubstr("is of term 8, a later one, 9, is known"));
}

TEST_F(Stream, RefusesItselfOtherClustersAndHttp1) {
  own_cluster = "LFSC0000000000000002";
  FollowEnd end = loop::run_until_done(loop, receiver->follow(url(), {}));
  EXPECT_EQ(end.why, Why::kOtherCluster);
  EXPECT_THAT(end.text, HasSubstr("LFSC0000000000000002 <> LFSC0000000000000001"));
  EXPECT_THAT(end.text, HasSubstr("caddis adopt LFSC0000000000000001"));
  primary_cluster.clear();
  end = loop::run_until_done(loop, receiver->follow(url(), {}));
  EXPECT_EQ(end.why, Why::kOtherCluster);
  ReceiverOptions o = receiver_options();
  o.node_id = kPrimaryId;
  receiver = std::make_unique<Receiver>(loop, std::move(o));
  end = loop::run_until_done(loop, receiver->follow(url(), {}));
  EXPECT_EQ(end.why, Why::kRefused);
  EXPECT_THAT(end.text, HasSubstr("cannot connect to self"));
  end = loop::run_until_done(loop, receiver->follow("http://127.0.0.1:1", {}));
  EXPECT_EQ(end.why, Why::kUnreachable);
  end = loop::run_until_done(loop, receiver->follow("nonsense", {}));
  EXPECT_EQ(end.why, Why::kUnreachable);
  auto old = loop::run_until_done(loop, client->fetch({.method = "POST", .url = url() + "/stream"}, {}));
  ASSERT_TRUE(old);
  EXPECT_EQ(old->status, 426);
  EXPECT_EQ(old->text(), "Upgrade to HTTP/2 required\n");
  auto bad = loop::run_until_done(
      loop, client->fetch({.method = "POST", .url = url() + "/stream", .body = {0, 9, 0, 0}, .http2 = true}, {}));
  ASSERT_TRUE(bad);
  EXPECT_EQ(bad->status, 400);
}

TEST_F(Stream, SilenceEndsIt) {
  server = nullptr;
  auto s = http::Server::listen(loop, "127.0.0.1:0", [this](http::Request& r, http::ResponseWriter& w) -> Task<void> {
    (void)co_await w.begin(200, {{"Caddis-Stream", "1"}, {"Caddis-Epoch", "1"}});
    Bytes beat;
    encode(beat, Heartbeat{5});
    (void)co_await w.write(beat);
    (void)co_await loop::sleep(loop, 60'000, r.stop());
  });
  ASSERT_TRUE(s);
  server = std::move(*s);
  server->serve();
  ReceiverOptions o = receiver_options();
  o.silence_ms = 100;
  receiver = std::make_unique<Receiver>(loop, std::move(o));
  FollowEnd end = loop::run_until_done(loop, receiver->follow(url(), {}));
  EXPECT_EQ(end.why, Why::kSilent) << end.text;
}

TEST_F(Stream, TheFilterLetsOnlyTheseThrough) {
  exec("a.db", "CREATE TABLE t(v)");
  exec("b c.db", "CREATE TABLE t(v)");
  ReceiverOptions o = receiver_options();
  o.filter = {"b c.db", "x"};
  receiver = std::make_unique<Receiver>(loop, std::move(o));
  run([this]() -> Task<bool> {
    (void)co_await follow_while([this]() -> Task<void> {
      exec("a.db", "INSERT INTO t VALUES(1)");
      exec("b c.db", "INSERT INTO t VALUES(1)");
      EXPECT_TRUE(co_await until([this] { return applier.positions()["b c.db"] == publisher->positions()["b c.db"]; }));
      applier.forget("a.db");
      (void)co_await loop::sleep(loop, 50, {});
    });
    co_return true;
  });
  EXPECT_FALSE(applier.positions().contains("a.db"));
}

TEST_F(Stream, LargeTransactionsAndDatabasesGoInPiecesAndHeartbeatsBetween) {
  exec("big.db", "PRAGMA journal_mode=wal; CREATE TABLE t(v)");
  exec("small.db", "PRAGMA journal_mode=wal; CREATE TABLE t(v)");
  std::string fill =
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<3000) "
      "INSERT INTO t SELECT randomblob(3000) FROM n";
  exec("big.db", fill);
  run([&]() -> Task<bool> {
    (void)co_await follow_while([&]() -> Task<void> {
      EXPECT_TRUE(co_await until([this] { return equal(); }));
      exec("big.db", fill);  // one LTX of 9 MB
      exec("small.db", "INSERT INTO t VALUES(1)");
      EXPECT_TRUE(co_await until([this] { return equal(); }));
      EXPECT_EQ(co_await compare_pages(), "same");
    });
    co_return true;
  });
}

// A server that sends these bytes and then waits; what becomes of them at a follower.
struct Scripted : Stream {
  Bytes script;
  std::string epoch = "7";
  void serve_script() {
    loop::run_until_done(loop, server->stop());
    auto s = http::Server::listen(loop, "127.0.0.1:0", [this](http::Request& r, http::ResponseWriter& w) -> Task<void> {
      http::Headers head{{"Litefs-Id", "00000000000000FF"}, {"Litefs-Cluster-Id", primary_cluster}};
      if (!epoch.empty()) {
        head.add("Caddis-Stream", "1");
        head.add("Caddis-Epoch", epoch);
      }
      (void)co_await w.begin(200, std::move(head));
      (void)co_await w.write(script);
      (void)co_await loop::sleep(loop, 60'000, r.stop());
    });
    ASSERT_TRUE(s);
    server = std::move(*s);
    server->serve();
  }
  static Bytes ltx(Txid min, Txid max, Checksum pre, std::uint8_t fill, std::uint64_t node_id, Checksum* after) {
    ltx::Header h;
    h.page_size_bytes = 512;
    h.commit = 1;
    h.min_txid = min;
    h.max_txid = max;
    h.pre_apply = pre;
    h.node_id = node_id;
    Bytes page(512, fill), out;
    auto encoder = ltx::make_encoder(ltx::Version::kV1, h, [&out](ByteView b) -> Status {
      append(out, b);
      return {};
    });
    *after = ltx::fold(kEmptyDatabaseChecksum, Checksum(), ltx::page_checksum(Pgno(1), page));
    EXPECT_TRUE(encoder->add_page(Pgno(1), page));
    EXPECT_TRUE(encoder->finish(*after));
    return out;
  }
  void put_file(const Bytes& file) {
    encode(script, LtxBegin{"a.db"});
    encode(script, LtxBytes{file});
    encode(script, LtxEnd{});
  }
};

TEST_F(Scripted, ItsOwnWritesAreTakenOnceHoweverOftenTheyComeBack) {
  Checksum one, two, three;
  put_file(ltx(Txid(1), Txid(1), {}, 1, 0xFF, &one));
  Bytes own = ltx(Txid(2), Txid(2), one, 2, kFollowerId, &two);
  put_file(own);
  put_file(own);
  put_file(ltx(Txid(3), Txid(5), two, 3, 0xFF, &three));
  encode(script, Ready{});
  serve_script();
  FollowEnd end = run([this]() -> Task<FollowEnd> {
    co_return co_await follow_while([this]() -> Task<void> {
      EXPECT_TRUE(receiver->followed().ready);
      co_return;
    });
  });
  EXPECT_EQ(end.why, Why::kStopped) << end.text;
  EXPECT_EQ(applier.positions()["a.db"], (Position{Txid(5), three}));
  EXPECT_EQ(applier.applied(), 3);
}

TEST_F(Scripted, WhatDoesNotFitIsNamedAndEndsTheStream) {
  struct Case {
    std::function<void()> make;
    Why why;
    std::string text;
  };
  Checksum sum;
  Bytes good = ltx(Txid(1), Txid(1), {}, 1, 0xFF, &sum);
  Bytes torn = good;
  torn[200] ^= 1;
  std::vector<Case> cases;
  cases.push_back({[&] { put_file(torn); }, Why::kFailed, "receive a.db: "});
  cases.push_back(
      {[&] { put_file(ltx(Txid(7), Txid(7), sum, 1, 1, &sum)); }, Why::kConflict, "position mismatch on db"});
  cases.push_back({[&] {
                     encode(script, LtxBegin{"../x"});
                     encode(script, LtxBytes{good});
                     encode(script, LtxEnd{});
                   },
                   Why::kFailed, "receive ../x: "});
  cases.push_back({[&] { script = {0, 0, 0, 99}; }, Why::kFailed, "invalid stream frame type: 0x63"});
  cases.push_back({[&] { encode(script, Data{1, good}); }, Why::kFailed, "channel 1 is not open"});
  cases.push_back({[&] {
                     for (std::uint32_t i = 0; i < 20; ++i) encode(script, Open{i, "a"});
                   },
                   Why::kFailed, "more than 16 channels"});
  cases.push_back({[&] { encode(script, replica::State{1, 8, {}}); }, Why::kRefused, "went from term 7 to 8"});
  cases.push_back({[&] { encode(script, End{}); }, Why::kEnded, "ended the stream"});
  for (Case& c : cases) {
    script.clear();
    c.make();
    serve_script();
    FollowEnd end = loop::run_until_done(loop, receiver->follow(url(), {}));
    EXPECT_EQ(end.why, c.why) << c.text;
    EXPECT_THAT(end.text, HasSubstr(c.text));
  }
  EXPECT_TRUE(applier.positions()["a.db"] == Position{});
}

}  // namespace
}  // namespace caddis::replica
