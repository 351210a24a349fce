// Roles, TXIDs and the lease: where requests go, what they wait for, which answers may leave.
#include "proxy/test_bench.h"

namespace caddis::proxy {
namespace {

using namespace testing_support;
using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class ProxyRouting : public ProxyBench {
 protected:
  // A second node that is primary, with an app of its own and a proxy; this one is its replica.
  ScriptedNode other{loop};
  ScriptedGate other_gate;
  Metrics other_metrics;
  std::unique_ptr<RawServer> other_app;
  std::unique_ptr<Proxy> other_proxy;

  ~ProxyRouting() override {
    if (proxy) loop::run_until_done(loop, proxy->stop(0));
    if (other_proxy) loop::run_until_done(loop, other_proxy->stop(0));
  }
  void start_primary(RawServer::Script script) {
    other_app = std::make_unique<RawServer>(loop, std::move(script));
    Options o = options;
    o.target = fmt::format("127.0.0.1:{}", other_app->port());
    other.set_role({.primary = true});
    other.set_txid("app.db", 7);
    other_proxy = std::make_unique<Proxy>(loop, o, other, other_gate, other_metrics);
    ASSERT_TRUE(other_proxy->start());
    node.set_role({.hostname = "m2", .proxy_url = fmt::format("http://127.0.0.1:{}", other_proxy->port())});
  }
  std::string post(const std::string& fields = "", const std::string& body = "x=1") {
    return ask("POST", "/p", fmt::format("{}Content-Length: {}\r\n", fields, body.size()), body);
  }
  void replica(std::string hostname = "m2", std::string url = "") {
    node.set_role({.hostname = std::move(hostname), .proxy_url = std::move(url)});
  }
};

Task<void> echo_with_body(Peer& peer, int) {
  for (;;) {
    std::string head = co_await peer.head();
    std::size_t at = head.find("Content-Length: ");
    std::string body;
    if (at != std::string::npos) body = co_await peer.exactly(std::stoul(head.substr(at + 16)));
    if (head.find("chunked") != std::string::npos) body = co_await peer.until("0\r\n\r\n");
    if (!head.ends_with("\r\n\r\n") || !co_await peer.send(ok_answer(head + body))) co_return;
  }
}

// ---- cookies

TEST_F(ProxyRouting, SetsTheCookieOfWritesBeforeTheFieldsOfTheApp) {
  start([](Peer& peer, int) -> Task<void> {
    while ((co_await peer.head()).ends_with("\r\n\r\n")) {
      if (!co_await peer.send(ok_answer("", "Set-Cookie: session=1\r\n"))) co_return;
    }
  });
  EXPECT_THAT(ask("POST", "/"), Not(HasSubstr("__txid")));  // no database yet
  node.set_txid("app.db", 0x2a);
  for (const char* method : {"POST", "PUT", "DELETE", "PATCH", "OPTIONS"}) {
    EXPECT_THAT(ask(method, "/"),
                StartsWith("HTTP/1.1 200 OK\r\nSet-Cookie: __txid=000000000000002a; Path=/; Expires="))
        << method;
  }
  EXPECT_THAT(ask("DELETE", "/"), HasSubstr("; HttpOnly\r\nSet-Cookie: session=1\r\n"));
  for (const char* method : {"GET", "HEAD"}) EXPECT_THAT(ask(method, "/"), Not(HasSubstr("__txid"))) << method;
}

TEST_F(ProxyRouting, ReadsThePositionBehindTheCaptureBarrier) {
  node.set_txid("app.db", 1);
  node.on_captured = [&] { node.set_txid("app.db", 2); };  // what the observer had not seen yet
  start();
  EXPECT_THAT(ask("DELETE", "/"), HasSubstr("__txid=0000000000000002;"));
}

TEST_F(ProxyRouting, CarriesFurtherDatabasesInACookieOfItsOwn) {
  options.more_dbs = {"cache.db", "gone.db", "queue.db"};
  node.set_txid("app.db", 1);
  node.set_txid("cache.db", 2);
  node.set_txid("queue.db", 3);
  start();
  EXPECT_THAT(ask("DELETE", "/"),
              AllOf(HasSubstr("Set-Cookie: __txid=0000000000000001;"),
                    HasSubstr("Set-Cookie: __caddis_txids=cache.db:0000000000000002/queue.db:0000000000000003;")));
}

TEST_F(ProxyRouting, SetsNoCookieOnPassthroughAndAlwaysForwardedReads) {
  options.passthrough = {"/pass/*"};
  options.always_forward = {"/always"};
  node.set_txid("app.db", 1);
  start();
  EXPECT_THAT(ask("DELETE", "/pass/x"), Not(HasSubstr("__txid")));
  EXPECT_THAT(ask("GET", "/always"), Not(HasSubstr("__txid")));
}

// ---- reads wait

TEST_F(ProxyRouting, LetsAReadWaitForWhatItsClientWrote) {
  start();
  replica();
  node.set_txid("app.db", 9);
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    (void)co_await c.send("GET / HTTP/1.1\r\nHost: h\r\nCookie: a=b; __txid=000000000000000b\r\n\r\n");
    co_await eventually([&] { return node.waiting == 1; });
    node.set_txid("app.db", 10);
    EXPECT_EQ(co_await c.until("never", 30), "<time>");
    node.set_txid("app.db", 11);
    EXPECT_THAT(co_await c.head(), StartsWith("HTTP/1.1 200 OK\r\n"));
  };
  run(body());
  EXPECT_EQ(metric("caddis_proxy_txid_waits_total"), 1);
}

TEST_F(ProxyRouting, Answers504WhenItDoesNotCome) {
  options.txid_timeout_ms = 50;
  start();
  replica();
  node.set_txid("app.db", 9);
  node.set_primary_txid("app.db", 20);
  std::string cookie = "Cookie: __txid=000000000000000b\r\n";
  EXPECT_THAT(ask("GET", "/", cookie), AllOf(StartsWith("HTTP/1.1 504 "), EndsWith("\r\n\r\nProxy timeout\n")));
  EXPECT_EQ(app->connections(), 0);
  EXPECT_EQ(metric("caddis_proxy_txid_timeouts_total"), 1);
}

TEST_F(ProxyRouting, IgnoresCookiesThatNoNodeGaveOut) {
  options.txid_timeout_ms = 10'000;
  options.word_timeout_ms = 50;
  start();
  node.set_txid("app.db", 9);
  node.set_primary_txid("app.db", 9);
  for (bool primary : {true, false}) {
    if (!primary) replica();
    for (const char* txid : {"7fffffffffffffff", "000000000000000b", "x", ""}) {
      EXPECT_THAT(ask("GET", "/", fmt::format("Cookie: __txid={}\r\n", txid)), StartsWith("HTTP/1.1 200 OK\r\n"));
    }
  }
  EXPECT_EQ(metric("caddis_proxy_unknown_txids_total"), 4);
}

TEST_F(ProxyRouting, WaitsForATxidThatThePrimaryTellsOfLater) {
  options.word_timeout_ms = 30;
  start();
  replica();
  node.set_txid("app.db", 9);
  node.set_primary_txid("app.db", 9);
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    (void)co_await c.send("GET / HTTP/1.1\r\nHost: h\r\nCookie: __txid=000000000000000b\r\n\r\n");
    co_await eventually([&] { return node.waiting == 1; });
    node.set_primary_txid("app.db", 11);  // before the 30 ms are over: it is real, so it is waited for
    EXPECT_EQ(co_await c.until("never", 100), "<time>");
    node.set_txid("app.db", 11);
    EXPECT_THAT(co_await c.head(), StartsWith("HTTP/1.1 200 OK\r\n"));
  };
  run(body());
}

TEST_F(ProxyRouting, WaitsForEveryDatabaseOfTheCookies) {
  options.more_dbs = {"cache.db"};
  start();
  replica();
  node.set_txid("app.db", 1);
  node.set_txid("cache.db", 1);
  node.set_txid("other.db", 1);
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    (void)co_await c.send(
        "GET / HTTP/1.1\r\nHost: h\r\nCookie: __txid=0000000000000001; "
        "__caddis_txids=other.db:0000000000000009/cache.db:0000000000000002\r\n\r\n");
    co_await eventually([&] { return node.waiting == 1; });
    node.set_txid("cache.db", 2);
    EXPECT_THAT(co_await c.head(), StartsWith("HTTP/1.1 200 OK\r\n"));
  };
  run(body());
}

TEST_F(ProxyRouting, StopsWaitingWhenTheClientIsGone) {
  start();
  replica();
  node.set_txid("app.db", 1);
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    (void)co_await c.send("GET / HTTP/1.1\r\nHost: h\r\nCookie: __txid=0000000000000002\r\n\r\n");
    co_await eventually([&] { return node.waiting == 1; });
    c.close();
    co_await eventually([&] { return node.waiting == 0 && proxy->running() == 0; });
  };
  run(body());
}

// ---- writes on a replica

TEST_F(ProxyRouting, AnswersWritesOnFlyWithReplay) {
  options.fly = true;
  start(echo_with_body);
  replica("m2", "http://127.0.0.1:1");
  std::string got = post();
  EXPECT_THAT(got, AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), HasSubstr("\r\nFly-Replay: instance=m2\r\n"),
                         HasSubstr("\r\nContent-Length: 0\r\n"), EndsWith("\r\n\r\n")));
  EXPECT_EQ(app->connections(), 0);
  // The body is read away, and the connection goes on.
  std::string body(900'000, 'b');
  got =
      raw(fmt::format("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{}"
                      "GET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
                      body.size(), body));
  EXPECT_THAT(got, AllOf(HasSubstr("Fly-Replay"), HasSubstr("GET /next")));
}

TEST_F(ProxyRouting, ForwardsToThePrimaryWhatFlyCannotReplay) {
  options.fly = true;
  start();
  start_primary(echo_with_body);
  std::string large(1'000'001, 'b');
  std::string got = post("", large);
  EXPECT_THAT(got, AllOf(StartsWith("HTTP/1.1 200 OK\r\nSet-Cookie: __txid=0000000000000007;"), EndsWith(large)));
  got = ask("POST", "/", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n");
  EXPECT_THAT(got, AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), EndsWith("3\r\nabc\r\n0\r\n\r\n")));
}

TEST_F(ProxyRouting, ForwardsEveryWriteOffFly) {
  start();
  start_primary(echo_with_body);
  std::string got = post("X-Forwarded-For: 1.2.3.4\r\n");
  EXPECT_THAT(got, StartsWith("HTTP/1.1 200 OK\r\nSet-Cookie: __txid=0000000000000007;"));
  EXPECT_THAT(got, HasSubstr("POST /p HTTP/1.1\r\nHost: h\r\n"));
  EXPECT_THAT(got, HasSubstr("\r\nX-Forwarded-For: 1.2.3.4, 127.0.0.1, 127.0.0.1\r\n"));
  EXPECT_THAT(got, Not(HasSubstr("Caddis-Forwarded")));
  EXPECT_EQ(got.find("Set-Cookie"), got.rfind("Set-Cookie"));
  EXPECT_EQ(app->connections(), 0);
  EXPECT_THAT(ask("GET", "/r"), HasSubstr("GET /r"));
  EXPECT_EQ(app->connections(), 1);
  EXPECT_EQ(metric("caddis_proxy_sent_to_primary_total{op=\"forward\"}"), 1);
}

TEST_F(ProxyRouting, TunnelsUpgradesToThePrimaryUnlessTheirPathPassesThrough) {
  options.fly = true;
  options.passthrough = {"/local"};
  start([](Peer& peer, int) -> Task<void> {
    (void)co_await peer.head();
    (void)co_await peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    (void)co_await peer.send("here");
  });
  start_primary([](Peer& peer, int) -> Task<void> {
    (void)co_await peer.head();
    (void)co_await peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    (void)co_await peer.send(co_await peer.exactly(5));
  });
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    (void)co_await c.send("GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello");
    EXPECT_THAT(co_await c.head(), StartsWith("HTTP/1.1 101 "));
    EXPECT_EQ(co_await c.exactly(5), "hello");
    Peer local = co_await client();
    (void)co_await local.send("GET /local HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    (void)co_await local.head();
    EXPECT_EQ(co_await local.exactly(4), "here");
  };
  run(body());
}

TEST_F(ProxyRouting, NeverSendsARequestOnTwice) {
  options.primary_redirect_timeout_ms = 50;
  start();
  replica("m2", "http://127.0.0.1:1");
  EXPECT_THAT(post("Caddis-Forwarded: request\r\n"),
              AllOf(StartsWith("HTTP/1.1 503 "), EndsWith("Proxy error: this node is not the primary any more\n")));
  proxy.reset();
  options.fly = true;
  start_proxy();
  replica("m2", "http://127.0.0.1:1");
  EXPECT_THAT(post("fly-replay-src: instance=m3;region=ams;t=1\r\n"), StartsWith("HTTP/1.1 503 "));
  EXPECT_EQ(app->connections(), 0);
}

TEST_F(ProxyRouting, TakesAMisroutedWriteWhenItBecomesThePrimaryMeanwhile) {
  start(echo_with_body);
  replica("m1");
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    (void)co_await c.send("DELETE /x HTTP/1.1\r\nHost: h\r\nCaddis-Forwarded: request\r\n\r\n");
    EXPECT_EQ(co_await c.until("never", 20), "<time>");
    node.set_role({.primary = true});
    EXPECT_THAT(co_await c.head(), StartsWith("HTTP/1.1 200 OK\r\n"));
  };
  run(body());
}

TEST_F(ProxyRouting, WaitsForAPrimaryToBeKnown) {
  options.primary_redirect_timeout_ms = 5'000;
  start();
  replica("");
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    (void)co_await c.send("DELETE /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(co_await c.until("never", 20), "<time>");
    node.set_role({.primary = true});
    EXPECT_THAT(co_await c.rest(), StartsWith("HTTP/1.1 200 OK\r\n"));
  };
  run(body());
  proxy.reset();
  options.primary_redirect_timeout_ms = 30;
  start_proxy();
  replica("");
  EXPECT_THAT(post(), AllOf(StartsWith("HTTP/1.1 503 "), EndsWith("\r\n\r\nProxy error: no primary available\n")));
  replica("m2");
  EXPECT_THAT(post(), EndsWith("Proxy error: the address of the primary is not known\n"));
}

TEST_F(ProxyRouting, FollowsThePrimaryWhenTheFirstAddressDoesNotAnswer) {
  start();
  start_primary(echo_with_body);
  RoleView there = node.role();
  replica("m3", "http://127.0.0.1:1");
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    (void)co_await c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    EXPECT_EQ(co_await c.until("never", 20), "<time>");
    node.set_role(there);
    EXPECT_THAT(co_await c.head(), StartsWith("HTTP/1.1 200 OK\r\n"));
  };
  run(body());
  replica("m3", "http://127.0.0.1:1");
  proxy.reset();
  options.primary_redirect_timeout_ms = 30;
  start_proxy();
  EXPECT_THAT(post(),
              AllOf(StartsWith("HTTP/1.1 503 "), HasSubstr("the primary cannot be reached: connect to 127.0.0.1:1: ")));
}

TEST_F(ProxyRouting, SaysThatThePrimaryHasMovedInsteadOfPassingItsReplayOn) {
  start();
  RawServer litefs(loop, [](Peer& peer, int) -> Task<void> {
    (void)co_await peer.head();
    (void)co_await peer.send("HTTP/1.1 200 OK\r\nFly-Replay: instance=m9\r\nContent-Length: 0\r\n\r\n");
  });
  replica("m2", fmt::format("http://127.0.0.1:{}", litefs.port()));
  EXPECT_THAT(post(), AllOf(StartsWith("HTTP/1.1 503 "), EndsWith("Proxy error: the primary has moved\n")));
}

TEST_F(ProxyRouting, PassesTheReplayOfAnAppOn) {
  options.fly = true;
  start([](Peer& peer, int) -> Task<void> {
    (void)co_await peer.head();
    (void)co_await peer.send("HTTP/1.1 409 Conflict\r\nfly-replay: instance=m9\r\nContent-Length: 0\r\n\r\n");
  });
  EXPECT_THAT(ask("GET", "/"), HasSubstr("fly-replay: instance=m9\r\n"));
}

// ---- the gate

TEST_F(ProxyRouting, HoldsTheAnswerToAWriteUntilTheLeaseIsProved) {
  start(echo_with_body);
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    node.capture_ms = 20;
    node.on_captured = [&] { gate.set(false); };  // the doubt comes after the app has answered
    (void)co_await c.send("DELETE / HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_EQ(co_await c.until("never", 100), "<time>");
    gate.set(true);
    EXPECT_THAT(co_await c.head(), StartsWith("HTTP/1.1 200 OK\r\n"));
  };
  run(body());
}

TEST_F(ProxyRouting, WithholdsTheAnswerToAWriteWhenTheLeaseIsLost) {
  options.primary_redirect_timeout_ms = 50;
  start(echo_with_body);
  node.on_captured = [&] { gate.set(false); };
  EXPECT_THAT(post(), AllOf(StartsWith("HTTP/1.1 503 "), HasSubstr("this node has lost its lease")));
  EXPECT_EQ(app->connections(), 1);
  EXPECT_EQ(metric("caddis_proxy_withheld_answers_total"), 1);
  // The gate is shut now: the next write does not reach the app at all, reads do.
  EXPECT_THAT(post(), AllOf(StartsWith("HTTP/1.1 503 "), HasSubstr("cannot prove its lease")));
  EXPECT_THAT(ask("GET", "/"), StartsWith("HTTP/1.1 200 OK\r\n"));
}

TEST_F(ProxyRouting, DoesNotSendTheLastByteBehindAShutGate) {
  options.primary_redirect_timeout_ms = 50;
  for (bool chunked : {true, false}) {
    gate.set(true);
    start([&, chunked](Peer& peer, int) -> Task<void> {
      (void)co_await peer.head();
      (void)co_await peer.send(chunked ? "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n"
                                       : "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none");
      (void)co_await loop::sleep(loop, 30, {});
      gate.set(false);
      (void)co_await peer.send(chunked ? "3\r\ntwo\r\n0\r\n\r\n" : "two");
      (void)co_await peer.rest();
    });
    std::string got = ask("DELETE", "/");
    EXPECT_THAT(got, HasSubstr("one"));
    EXPECT_THAT(got, Not(HasSubstr("two")));
    proxy.reset();
  }
}

TEST_F(ProxyRouting, WithholdsAnAnswerWhoseTransactionCouldNotBeCaptured) {
  start();
  node.capture_fails = true;
  EXPECT_THAT(ask("DELETE", "/"), AllOf(StartsWith("HTTP/1.1 503 "), HasSubstr("could not be captured")));
}

TEST_F(ProxyRouting, DoesNotGateReadsAndPassthrough) {
  options.passthrough = {"/pass"};
  start();
  gate.set(false);
  EXPECT_THAT(ask("GET", "/"), StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(ask("DELETE", "/pass"), StartsWith("HTTP/1.1 200 OK\r\n"));
}

// ---- reads that write

// An app whose GET /w writes: on a replica it gets an error from SQLite, and answers as its framework does.
struct WritingApp {
  ScriptedNode& node;
  std::string answer = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
  Task<void> operator()(Peer& peer, int) const {
    for (;;) {
      std::string head = co_await peer.head();
      if (!head.ends_with("\r\n\r\n")) co_return;
      bool writes = head.starts_with("GET /w");
      if (writes) node.refuse_write();
      if (!co_await peer.send(writes ? answer : ok_answer("read"))) co_return;
    }
  }
};

TEST_F(ProxyRouting, MovesAReadThatWritesToThePrimary) {
  start(WritingApp{node});
  start_primary(echo_heads);
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(ask("GET", "/w"), AllOf(StartsWith("HTTP/1.1 200 OK\r\nSet-Cookie: __txid=0000000000000007;"),
                                        HasSubstr("GET /w HTTP/1.1\r\n")));
  }
  EXPECT_THAT(ask("GET", "/r"), EndsWith("\r\n\r\nread"));
  EXPECT_EQ(metric("caddis_proxy_sent_to_primary_total{op=\"moved\"}"), 3);
}

TEST_F(ProxyRouting, MovesItByReplayOnFly) {
  options.fly = true;
  start(WritingApp{node});
  replica("m2");
  EXPECT_THAT(ask("GET", "/w"), AllOf(StartsWith("HTTP/1.1 200 OK\r\n"),
                                      HasSubstr("\r\nFly-Replay: instance=m2;state=caddis-write\r\n")));
  // There it counts as a write: its answer carries the cookie.
  node.set_role({.primary = true});
  node.set_txid("app.db", 5);
  EXPECT_THAT(ask("GET", "/r", "fly-replay-src: instance=m1;t=1;state=caddis-write\r\n"),
              HasSubstr("Set-Cookie: __txid=0000000000000005;"));
}

TEST_F(ProxyRouting, MovesOnlyTheOneOfSeveralThatFailed) {
  std::vector<Peer*> waiting;
  auto release = std::make_unique<loop::Event>(loop);
  start([&](Peer& peer, int) -> Task<void> {
    std::string head = co_await peer.head();
    if (head.starts_with("GET /slow")) {
      waiting.push_back(&peer);
      (void)co_await release->wait(10'000, {});
      (void)co_await peer.send(ok_answer("slow"));
    } else {
      node.refuse_write();
      (void)co_await peer.send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
    }
  });
  start_primary(echo_heads);
  auto body = [&]() -> Task<void> {
    Peer slow = co_await client(), writer = co_await client();
    (void)co_await slow.send("GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
    co_await eventually([&] { return waiting.size() == 1; });
    (void)co_await writer.send("GET /w HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    EXPECT_THAT(co_await writer.rest(), HasSubstr("GET /w"));
    release->set();
    EXPECT_THAT(co_await slow.head(), StartsWith("HTTP/1.1 200 OK\r\n"));
    EXPECT_EQ(co_await slow.exactly(4), "slow");
  };
  run(body());
}

TEST_F(ProxyRouting, DoesNotWaitForTheAppWhenNoOtherRequestRuns) {
  start([&](Peer& peer, int) -> Task<void> {
    (void)co_await peer.head();
    node.refuse_write();
    (void)co_await peer.rest();  // waits in SQLite's busy time-out
  });
  start_primary(echo_heads);
  EXPECT_THAT(ask("GET", "/w"), AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), HasSubstr("GET /w")));
}

TEST_F(ProxyRouting, LeavesAnswersAloneThatHaveBegunOrSucceeded) {
  start([&](Peer& peer, int) -> Task<void> {
    (void)co_await peer.head();
    (void)co_await peer.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\none");
    (void)co_await loop::sleep(loop, 20, {});
    node.refuse_write();
    (void)co_await loop::sleep(loop, 20, {});
    (void)co_await peer.send("two");
  });
  start_primary(echo_heads);
  EXPECT_THAT(ask("GET", "/w"), EndsWith("onetwo"));
  EXPECT_EQ(other_app->connections(), 0);
}

TEST_F(ProxyRouting, LeavesFailuresAloneThatNoWriteExplains) {
  start([](Peer& peer, int) -> Task<void> {
    (void)co_await peer.head();
    (void)co_await peer.send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n");
  });
  start_primary(echo_heads);
  EXPECT_THAT(ask("GET", "/w"), StartsWith("HTTP/1.1 500 "));
  EXPECT_EQ(other_app->connections(), 0);
}

// ---- health, times

TEST_F(ProxyRouting, AnswersHealthItselfForGetAndHead) {
  options.max_lag_ms = 1'000;
  start();
  EXPECT_THAT(ask("GET", "/litefs/health"), AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), EndsWith("\r\n\r\nOK\n")));
  EXPECT_THAT(ask("HEAD", "/litefs/health"), AllOf(HasSubstr("Content-Length: 3\r\n"), EndsWith("\r\n\r\n")));
  node.lag = 1'001;
  EXPECT_THAT(ask("GET", "/litefs/health"), AllOf(StartsWith("HTTP/1.1 503 "), EndsWith("Replication lag exceeded\n")));
  EXPECT_THAT(ask("HEAD", "/litefs/health"), StartsWith("HTTP/1.1 503 "));
  EXPECT_EQ(app->connections(), 0);
  proxy.reset();
  options.max_lag_ms = 0;
  start_proxy();
  EXPECT_THAT(ask("GET", "/litefs/health?x=y"), StartsWith("HTTP/1.1 200 OK\r\n"));
  proxy.reset();
  options.passthrough = {"/litefs/*"};
  start_proxy();
  EXPECT_THAT(ask("GET", "/litefs/health"), HasSubstr("GET /litefs/health"));  // the app's, as in LiteFS
}

TEST_F(ProxyRouting, TellsTheNodeOfTheEdgesClockOnFlyOnly) {
  std::string fields = "X-Request-Start: t=1512379167574\r\n";
  start();
  (void)ask("GET", "/", fields);
  EXPECT_THAT(node.request_times, testing::IsEmpty());
  proxy.reset();
  options.fly = true;
  start_proxy();
  (void)ask("GET", "/", fields);
  EXPECT_THAT(node.request_times, ElementsAre(1512379167574));
}

}  // namespace
}  // namespace caddis::proxy
