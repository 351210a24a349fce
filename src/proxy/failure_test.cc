// Hostile and broken peers, and the proxy's own beginning and end.
#include "proxy/test_bench.h"

namespace caddis::proxy {
namespace {

using namespace testing_support;
using namespace std::string_literals;
using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using ProxyFailures = ProxyBench;

// ---- smuggling, towards the app

struct Smuggled {
  const char* what;
  std::string wire;
  int status = 400;
};

const std::string kNext = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
std::string post_with(const std::string& fields, const std::string& body) {
  return "POST / HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n" + body + kNext;
}
std::string flood(const std::string& piece, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += piece;
  return out;
}

const Smuggled kHeadsNobodyMaySee[] = {
    {"CL and TE", post_with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")},
    {"TE and CL", post_with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n")},
    {"two lengths", post_with("Content-Length: 0\r\nContent-Length: 5\r\n", "hello")},
    {"two equal lengths", post_with("Content-Length: 5\r\nContent-Length: 5\r\n", "hello")},
    {"list of lengths", post_with("Content-Length: 5, 5\r\n", "hello")},
    {"signed length", post_with("Content-Length: +5\r\n", "hello")},
    {"length with a space before the colon", post_with("Content-Length : 5\r\n", "hello")},
    {"length in a folded line", post_with("X: y\r\n Content-Length: 5\r\n", "hello")},
    {"TE behind a folded line", post_with("X: y\r\n\tTransfer-Encoding: chunked\r\n", "0\r\n\r\n")},
    {"two codings", post_with("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n")},
    {"coding with a vertical tab", post_with("Transfer-Encoding: \x0b"
                                             "chunked\r\n",
                                             "0\r\n\r\n")},
    {"unknown coding", post_with("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"), 501},
    {"coding list", post_with("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), 501},
    {"quoted coding", post_with("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"), 501},
    {"coding in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + kNext},
    {"LF only", "GET / HTTP/1.1\nHost: h\n\n" + kNext},
    {"LF within the head", "GET / HTTP/1.1\r\nHost: h\r\nX: y\nContent-Length: 5\r\n\r\n" + kNext},
    {"CR within the head", "GET / HTTP/1.1\r\nHost: h\r\nX: y\rContent-Length: 5\r\n\r\n" + kNext},
    {"LF as the empty line", "GET / HTTP/1.1\r\nHost: h\r\n\n" + kNext},
    {"NUL in a value", "GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n"s + kNext},
    {"NUL in a name", "GET / HTTP/1.1\r\nHost: h\r\nX\0: ab\r\n\r\n"s + kNext},
    {"no colon", "GET / HTTP/1.1\r\nHost: h\r\nContent-Length 5\r\n\r\n" + kNext},
    {"no name", "GET / HTTP/1.1\r\nHost: h\r\n: 5\r\n\r\n" + kNext},
    {"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + kNext},
    {"no host", "GET / HTTP/1.1\r\n\r\n" + kNext},
    {"host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n" + kNext},
    {"space in the target", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n" + kNext},
    {"two spaces", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n" + kNext},
    {"control in the target", "GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n" + kNext},
    {"encoded NUL", "GET /%00 HTTP/1.1\r\nHost: h\r\n\r\n" + kNext},
    {"connect", "CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n" + kNext},
    {"tunnel by absolute form", "GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n" + kNext},
    {"user in the target", "GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n" + kNext},
    {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
    {"HTTP/0.9", "GET /\r\n\r\n" + kNext},
    {"empty lines first", "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"},
    {"70 KB of head", "GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(70'000, 'x') + "\r\n\r\n", 431},
    {"300 fields", "GET / HTTP/1.1\r\nHost: h\r\n" + flood("X: y\r\n", 300) + "\r\n", 431},
    {"expectation", "POST / HTTP/1.1\r\nHost: h\r\nExpect: money\r\nContent-Length: 0\r\n\r\n" + kNext, 417},
};

TEST_F(ProxyFailures, LetsNoAmbiguousHeadReachTheApp) {
  start();
  for (const Smuggled& s : kHeadsNobodyMaySee) {
    std::string got = raw(s.wire);
    EXPECT_THAT(got, StartsWith(fmt::format("HTTP/1.1 {} ", s.status))) << s.what;
    EXPECT_THAT(got, Not(HasSubstr("HTTP/1.1 200"))) << s.what;  // nothing after it was answered
    EXPECT_THAT(got, HasSubstr("Connection: close\r\n")) << s.what;
  }
  EXPECT_EQ(app->connections(), 0);
}

const Smuggled kBodiesNobodyMayBelieve[] = {
    {"chunk longer than its size", "2\r\nabc\r\n0\r\n\r\n"},
    {"size in LF", "2\nab\r\n0\r\n\r\n"},
    {"data in LF", "2\r\nab\n0\r\n\r\n"},
    {"size with 0x", "0x2\r\nab\r\n0\r\n\r\n"},
    {"signed size", "+2\r\nab\r\n0\r\n\r\n"},
    {"negative size", "-2\r\nab\r\n0\r\n\r\n"},
    {"size beyond 63 bits", "ffffffffffffffff\r\nab\r\n0\r\n\r\n"},
    {"size of 17 digits", "00000000000000002\r\nab\r\n0\r\n\r\n"},
    {"space before the size", " 2\r\nab\r\n0\r\n\r\n"},
    {"LF in an extension", "2;a\nb\r\nab\r\n0\r\n\r\n"},
    {"CR in an extension", "2;a\rb\r\nab\r\n0\r\n\r\n"},
    {"an endless extension", "2;" + std::string(10'000, 'x') + "\r\nab\r\n0\r\n\r\n"},
    {"a flood of extensions", flood("1;" + std::string(2000, 'x') + "\r\na\r\n", 50)},
    {"an endless trailer", "0\r\n" + flood("X: " + std::string(100, 'x') + "\r\n", 500) + "\r\n", 400},
    {"a field in the trailer without colon", "0\r\nContent-Length\r\n\r\n"},
};

TEST_F(ProxyFailures, EndsTheRequestWhenItsFramingBreaks) {
  std::string seen;
  start([&seen](Peer& peer, int) -> Task<void> {
    seen = co_await peer.rest();  // an app that answers only at the end of the body
  });
  for (const Smuggled& s : kBodiesNobodyMayBelieve) {
    seen.clear();
    std::string got = raw("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + s.wire + kNext);
    EXPECT_THAT(got, StartsWith("HTTP/1.1 400 ")) << s.what;
    EXPECT_THAT(got, Not(HasSubstr("HTTP/1.1 200"))) << s.what;
    EXPECT_THAT(seen, Not(HasSubstr("smuggled"))) << s.what;
    EXPECT_THAT(seen, Not(HasSubstr("0\r\n\r\n"))) << s.what;  // the app does not take it for whole
  }
}

// Bytes behind a complete request are the client's next request, never a part of what the app is told.
TEST_F(ProxyFailures, GivesTheAppExactlyTheBodyThatWasStated) {
  std::string seen;
  start([&seen](Peer& peer, int) -> Task<void> {
    std::string head = co_await peer.head();
    seen = head + co_await peer.exactly(5);
    (void)co_await peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    seen += co_await peer.rest();
  });
  std::string got = raw("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 005\r\n\r\nhelloBAD /x HTTP/1.1\r\n\r\n");
  EXPECT_THAT(got, HasSubstr("HTTP/1.1 400 "));
  EXPECT_THAT(seen, AllOf(HasSubstr("\r\nContent-Length: 5\r\n\r\nhello"), Not(HasSubstr("BAD"))));
}

// ---- an app that answers badly

const Smuggled kAnswersNobodyMayBelieve[] = {
    {"CL and TE", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
    {"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"},
    {"length with sign", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello"},
    {"two codings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
    {"unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx"},
    {"folded line", "HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 0\r\n\r\n"},
    {"LF only", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"},
    {"space before the colon", "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n"},
    {"no status", "HTTP/1.1 OK\r\n\r\n"},
    {"status of four digits", "HTTP/1.1 2000 OK\r\n\r\n"},
    {"HTTP/2", "HTTP/2 200\r\n\r\n"},
    {"not HTTP at all", "SSH-2.0-OpenSSH_9.2\r\n\r\n"},
    {"an endless head", "HTTP/1.1 200 OK\r\nX: " + std::string(80'000, 'x')},
    {"an unasked upgrade", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"},
    {"endless interim answers", flood("HTTP/1.1 102 Processing\r\n\r\n", 100), 102},
    {"nothing", ""},
    {"half a head", "HTTP/1.1 200 OK\r\nContent-"},
};

TEST_F(ProxyFailures, Answers502ForWhatIsNoAnswer) {
  std::string answer;
  start([&answer](Peer& peer, int) -> Task<void> {
    (void)co_await peer.head();
    (void)co_await peer.send(answer);
  });
  for (const Smuggled& s : kAnswersNobodyMayBelieve) {
    answer = s.wire;
    std::string got = ask("GET", "/");
    if (s.status == 102) got.erase(0, got.find("HTTP/1.1 502"));
    EXPECT_THAT(got, StartsWith("HTTP/1.1 502 Bad Gateway\r\n")) << s.what;
    EXPECT_THAT(got, HasSubstr("Proxy error: 127.0.0.1:")) << s.what;
  }
}

// A second answer behind the first would be taken for that to the next client's request.
TEST_F(ProxyFailures, DoesNotUseAConnectionAgainOnWhichTheAppSaidTooMuch) {
  start([](Peer& peer, int number) -> Task<void> {
    (void)co_await peer.head();
    (void)co_await peer.send(ok_answer("right" + std::to_string(number)) + ok_answer("wrong"));
    (void)co_await peer.rest();
  });
  EXPECT_THAT(ask("GET", "/"), EndsWith("right1"));
  EXPECT_THAT(ask("GET", "/"), EndsWith("right2"));
  EXPECT_EQ(app->connections(), 2);
}

TEST_F(ProxyFailures, DoesNotUseAConnectionAgainThatSpokeWhileItWasIdle) {
  start([&](Peer& peer, int number) -> Task<void> {
    (void)co_await peer.head();
    (void)co_await peer.send(ok_answer("right" + std::to_string(number)));
    if (number == 1) (void)co_await peer.send(ok_answer("wrong"));
    (void)co_await peer.rest();
  });
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    (void)co_await c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    (void)co_await c.until("right1");
    (void)co_await loop::sleep(loop, 20, {});
    (void)co_await c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_THAT(co_await c.until("right2"), EndsWith("right2"));
  };
  run(body());
}

// ---- kept connections

TEST_F(ProxyFailures, SendsAReadAgainWhenAKeptConnectionTurnsOutClosed) {
  start([](Peer& peer, int number) -> Task<void> {
    (void)co_await peer.head();
    (void)co_await peer.send(ok_answer("from " + std::to_string(number)));
    if (number == 1) (void)co_await peer.head();  // takes the next request and says nothing
  });
  EXPECT_THAT(ask("GET", "/"), EndsWith("from 1"));
  EXPECT_THAT(ask("GET", "/"), EndsWith("from 2"));
  EXPECT_EQ(metric("caddis_proxy_target_retries_total"), 1);
}

TEST_F(ProxyFailures, SendsAWriteOnlyOnceOverAConnectionThatCloses) {
  int heads = 0;
  start([&heads](Peer& peer, int number) -> Task<void> {
    while ((co_await peer.head()).ends_with("\r\n\r\n")) {
      if (++heads == 2) co_return;  // the second one is a write: was it done?
      (void)co_await peer.send(ok_answer("from " + std::to_string(number)));
    }
  });
  EXPECT_THAT(ask("GET", "/"), EndsWith("from 1"));
  EXPECT_THAT(ask("DELETE", "/"), StartsWith("HTTP/1.1 502 "));
  EXPECT_EQ(heads, 2);
}

TEST_F(ProxyFailures, UsesOnlyFreshConnectionsForWrites) {
  start();
  EXPECT_THAT(ask("DELETE", "/"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask("DELETE", "/"), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(app->connections(), 1);
  proxy.reset();
  options.fresh_ms = 0;
  start_proxy();
  EXPECT_THAT(ask("GET", "/"), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(app->connections(), 2);
  run(loop::sleep(loop, 2, {}));
  EXPECT_THAT(ask("DELETE", "/"), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(app->connections(), 3);
  EXPECT_THAT(ask("GET", "/"), StartsWith("HTTP/1.1 200 "));
  EXPECT_EQ(app->connections(), 3);
}

// ---- an app that is down

TEST_F(ProxyFailures, WaitsForAnAppThatIsDown) {
  start();
  std::uint16_t port = app->port();
  app.reset();
  auto body = [&]() -> Task<void> {
    std::vector<Peer> clients;
    for (int i = 0; i < 5; ++i) {
      clients.push_back(co_await client());
      (void)co_await clients.back().send(fmt::format("POST /{} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab", i));
    }
    EXPECT_EQ(co_await clients[0].until("never", 250), "<time>");
    app = std::make_unique<RawServer>(
        loop,
        [](Peer& peer, int) -> Task<void> {
          std::string head = co_await peer.head();
          std::string b = co_await peer.exactly(2);
          (void)co_await peer.send(ok_answer(head + b));
        },
        port);
    for (int i = 0; i < 5; ++i) {
      EXPECT_THAT(co_await clients[static_cast<std::size_t>(i)].until("\r\n\r\nab"),
                  HasSubstr(fmt::format("POST /{} ", i)));
    }
  };
  run(body());
}

TEST_F(ProxyFailures, Answers502WhenItStaysDown) {
  options.target_timeout_ms = 250;
  start();
  std::uint16_t port = app->port();
  app.reset();
  EXPECT_THAT(ask("GET", "/"),
              AllOf(StartsWith("HTTP/1.1 502 "),
                    HasSubstr(fmt::format("Proxy error: 127.0.0.1:{}: connect to 127.0.0.1:{}: Connection refused",
                                          port, port))));
  EXPECT_EQ(metric("caddis_proxy_target_errors_total"), 1);
}

TEST_F(ProxyFailures, StopsWaitingForTheAppWhenTheClientIsGone) {
  start();
  app.reset();
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    (void)co_await c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    co_await eventually([&] { return proxy->running() == 1; });
    c.close();
    co_await eventually([&] { return proxy->running() == 0; });
  };
  run(body());
}

// ---- slow clients, many clients

TEST_F(ProxyFailures, ClosesConnectionsThatAreSlow) {
  options.read_header_timeout_ms = 50;
  options.idle_timeout_ms = 80;
  options.body_idle_ms = 60;
  start([](Peer& peer, int) -> Task<void> {
    std::string head = co_await peer.head();
    if (head.starts_with("GET")) (void)co_await peer.send(ok_answer("x"));
    (void)co_await peer.rest();
  });
  EXPECT_THAT(raw("GET / HT"), StartsWith("HTTP/1.1 408 "));
  EXPECT_EQ(raw(""), "");
  EXPECT_THAT(raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), EndsWith("\r\n\r\nx"));  // closed when idle
  EXPECT_THAT(raw("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab"), StartsWith("HTTP/1.1 408 "));
}

TEST_F(ProxyFailures, LimitsTheWholeBodyAndTheWholeAnswer) {
  options.read_timeout_ms = 100;
  start([](Peer& peer, int) -> Task<void> { (void)co_await peer.rest(); });
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    (void)co_await c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
    for (int i = 0; i < 50 && co_await c.send("x"); ++i) {
      if ((co_await c.until("408", 10)).find("408") != std::string::npos) co_return;
    }
    ADD_FAILURE() << "a byte now and then keeps a request alive for ever";
  };
  run(body());
  proxy.reset();
  options.read_timeout_ms = 0;
  options.write_timeout_ms = 50;
  start_proxy();
  EXPECT_EQ(ask("GET", "/"), "");  // cut, as Go does
}

TEST_F(ProxyFailures, Answers503BeyondTheLimitOfConnections) {
  options.max_connections = 1;
  start();
  auto body = [&]() -> Task<std::string> {
    Peer held = co_await client();
    co_await eventually([&] { return proxy->connections() == 1; });
    Peer second = co_await client();
    co_return co_await second.rest();
  };
  EXPECT_THAT(run(body()), StartsWith("HTTP/1.1 503 "));
}

TEST_F(ProxyFailures, BoundsTheMemoryOfLargeHeads) {
  start();
  auto body = [&]() -> Task<void> {
    std::vector<Peer> clients;
    for (int i = 0; i < 128; ++i) {
      clients.push_back(co_await client());
      (void)co_await clients.back().send("GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(20'000, 'x'));
    }
    Peer last = co_await client();
    (void)co_await last.send("GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(20'000, 'x'));
    EXPECT_THAT(co_await last.rest(), StartsWith("HTTP/1.1 503 "));
    (void)co_await clients[0].send("\r\n\r\n");
    EXPECT_THAT(co_await clients[0].head(), StartsWith("HTTP/1.1 200 "));
    clients[1].close();
    co_await eventually([&] { return proxy->connections() == 127; });
    Peer again = co_await client();
    (void)co_await again.send("GET / HTTP/1.1\r\nHost: h\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n");
    EXPECT_THAT(co_await again.head(), StartsWith("HTTP/1.1 200 "));
  };
  run(body());
}

// ---- beginning and end

TEST_F(ProxyFailures, Answers503BeforeTheAppMayBeReached) {
  app = std::make_unique<RawServer>(loop, echo_heads);
  options.target = fmt::format("127.0.0.1:{}", app->port());
  proxy = std::make_unique<Proxy>(loop, options, node, gate, metrics);
  ASSERT_TRUE(proxy->listen());
  EXPECT_THAT(ask("GET", "/litefs/health"), StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(ask("GET", "/"), StartsWith("HTTP/1.1 503 "));
  ASSERT_TRUE(proxy->start());
  EXPECT_THAT(ask("GET", "/litefs/health"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask("GET", "/"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(ProxyFailures, NamesAnAddressThatCannotBeUsed) {
  start();
  Options taken = options;
  taken.addr = fmt::format("127.0.0.1:{}", proxy->port());
  Proxy second(loop, taken, node, gate, metrics);
  Status ok = second.start();
  ASSERT_FALSE(ok);
  EXPECT_THAT(ok.error().message(), AllOf(StartsWith("proxy.addr: "), HasSubstr(taken.addr), HasSubstr("in use")));
  Options senseless = options;
  senseless.target = "8081";
  Proxy third(loop, senseless, node, gate, metrics);
  ok = third.start();
  ASSERT_FALSE(ok);
  EXPECT_THAT(ok.error().message(), HasSubstr("proxy.target \"8081\": write the app's address as HOST:PORT"));
}

TEST_F(ProxyFailures, RefusesNewRequestsWhileItDrainsAndLetsRunningOnesEnd) {
  auto go = std::make_unique<loop::Event>(loop);
  start([&](Peer& peer, int) -> Task<void> {
    (void)co_await peer.head();
    (void)co_await go->wait(10'000, {});
    (void)co_await peer.send(ok_answer("done"));
  });
  bool stopped = false;
  auto stop = [&]() -> Task<void> {
    co_await proxy->stop(10'000);
    stopped = true;
  };
  auto body = [&]() -> Task<void> {
    Peer running = co_await client(), idle = co_await client();
    (void)co_await running.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    co_await eventually([&] { return proxy->running() == 1; });
    loop::TaskGroup group;
    group.spawn(stop());
    (void)co_await idle.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_THAT(co_await idle.rest(), AllOf(StartsWith("HTTP/1.1 503 "), HasSubstr("\r\nConnection: close\r\n")));
    Peer check = co_await client();
    (void)co_await check.send("GET /litefs/health HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_THAT(co_await check.rest(), StartsWith("HTTP/1.1 503 "));
    EXPECT_FALSE(stopped);
    go->set();
    EXPECT_THAT(co_await running.rest(),
                AllOf(StartsWith("HTTP/1.1 200 "), HasSubstr("\r\nConnection: close\r\n"), EndsWith("done")));
    co_await group.join();
    EXPECT_TRUE(stopped);
  };
  run(body());
}

TEST_F(ProxyFailures, CutsWhatRunsAfterTheGrace) {
  start([](Peer& peer, int) -> Task<void> {
    std::string head = co_await peer.head();
    bool ws = head.find("websocket") != std::string::npos;
    if (ws)
      (void)co_await peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    (void)co_await peer.rest();
  });
  auto body = [&]() -> Task<void> {
    Peer request = co_await client(), socket = co_await client(), upload = co_await client(),
         waiting = co_await client();
    (void)co_await request.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    (void)co_await socket.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    (void)co_await upload.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nab");
    (void)co_await socket.head();
    co_await eventually([&] { return proxy->running() == 3; });
    node.set_txid("app.db", 1);
    node.set_role({.hostname = "m2"});
    (void)co_await waiting.send("GET / HTTP/1.1\r\nHost: h\r\nCookie: __txid=0000000000000009\r\n\r\n");
    co_await eventually([&] { return proxy->running() == 4 && node.waiting == 1; });
    co_await proxy->stop(30);
    EXPECT_EQ(proxy->running(), 0u);
    EXPECT_EQ(proxy->connections(), 0u);
    for (Peer* p : {&request, &socket, &upload, &waiting}) EXPECT_EQ(co_await p->rest(), "");
  };
  run(body());
}

TEST_F(ProxyFailures, MayBeDestroyedWhileRequestsRun) {
  start([](Peer& peer, int) -> Task<void> { (void)co_await peer.rest(); });
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    (void)co_await c.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    co_await eventually([&] { return app->connections() == 1; });
    proxy.reset();
    EXPECT_EQ(co_await c.rest(), "");
  };
  run(body());
}

}  // namespace
}  // namespace caddis::proxy
