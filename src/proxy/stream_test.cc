// What a client and an app see of each other through the proxy: framing, streaming, upgrades, ends.
#include "http/test_client.h"
#include "proxy/test_bench.h"

namespace caddis::proxy {
namespace {

using namespace testing_support;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using ProxyStreams = ProxyBench;

TEST_F(ProxyStreams, ForwardsPipelinedRequestsInOrderOverOneConnection) {
  start();
  std::string got =
      raw("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nHEAD /3 HTTP/1.1\r\nHost: h\r\n\r\n"
          "GET /4 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  std::size_t one = got.find("GET /1"), two = got.find("GET /2"), four = got.find("GET /4");
  EXPECT_LT(one, two);
  EXPECT_LT(two, four);
  EXPECT_NE(four, std::string::npos) << got;
  EXPECT_THAT(got, HasSubstr("\r\nX-Forwarded-For: 127.0.0.1\r\n"));
  EXPECT_THAT(got, HasSubstr("\r\nConnection: close\r\n\r\nGET /4"));
}

TEST_F(ProxyStreams, KeepsConnectionsToTheApp) {
  start();
  for (int i = 0; i < 5; ++i) EXPECT_THAT(ask("GET", "/"), StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_EQ(app->connections(), 1);
}

TEST_F(ProxyStreams, CarriesTwoHundredMebibytesBothWaysInBoundedMemory) {
  constexpr std::size_t kSize = 200u << 20;
  start([](Peer& peer, int) -> Task<void> {
    std::string head = co_await peer.head();
    EXPECT_THAT(head, HasSubstr("Content-Length: 209715200\r\n"));
    (void)co_await peer.send("HTTP/1.1 200 OK\r\nContent-Length: 209715200\r\n\r\n");
    Bytes buf(256 * 1024);  // an echo, so that both directions run at once
    for (std::size_t total = 0; total < kSize;) {
      auto n = co_await peer.stream().read(buf, 10'000, {});
      if (!n || *n == 0) co_return;
      if (!co_await peer.stream().write(ByteView(buf).first(*n), 10'000, {})) co_return;
      total += *n;
    }
  });
  auto writer = [](Peer& c) -> Task<void> {
    Bytes piece(1 << 20);
    for (std::size_t i = 0; i < 200; ++i) {
      std::fill(piece.begin(), piece.end(), static_cast<std::uint8_t>(i));
      if (!co_await c.stream().write(piece, 10'000, {})) co_return;
    }
  };
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    EXPECT_TRUE(co_await c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 209715200\r\n\r\n"));
    EXPECT_THAT(co_await c.head(), StartsWith("HTTP/1.1 200 OK\r\n"));
    long before = http::testing_support::resident_kib();
    loop::TaskGroup group;
    group.spawn(writer(c));
    Bytes buf(1 << 20);
    std::size_t total = 0;
    bool same = true;
    while (total < kSize) {
      auto n = co_await c.stream().read(buf, 10'000, {});
      if (!n || *n == 0) break;
      same = same && buf[0] == (total >> 20) && buf[*n - 1] == ((total + *n - 1) >> 20);
      total += *n;
    }
    EXPECT_EQ(total, kSize);
    EXPECT_TRUE(same);
    EXPECT_LT(http::testing_support::resident_kib() - before, 40'000);
    co_await group.join();
  };
  run(body());
}

TEST_F(ProxyStreams, SendsEachChunkOnAtOnce) {
  start([](Peer& peer, int) -> Task<void> {
    (void)co_await peer.head();
    (void)co_await peer.send(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(co_await peer.until("never", 30), "<time>");  // nothing comes back, but the client has gone on
      (void)co_await peer.send("8\r\ndata: x\n\r\n");
    }
    (void)co_await peer.send("0\r\n\r\n");
  });
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    (void)co_await c.send("GET /events HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_THAT(co_await c.head(), HasSubstr("text/event-stream"));
    for (int i = 0; i < 3; ++i) EXPECT_EQ(co_await c.until("\n\r\n"), "8\r\ndata: x\n\r\n");
    EXPECT_EQ(co_await c.until("0\r\n\r\n"), "0\r\n\r\n");
  };
  run(body());
}

TEST_F(ProxyStreams, EndsAnswersAsTheClientUnderstands) {
  start([](Peer& peer, int) -> Task<void> {
    std::string head = co_await peer.head();
    if (head.starts_with("GET /open"))
      (void)co_await peer.send("HTTP/1.0 200 OK\r\n\r\nuntil the end");
    else
      (void)co_await peer.send(
          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX: t\r\n\r\n");
  });
  EXPECT_THAT(raw("GET /open HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
              AllOf(HasSubstr("Transfer-Encoding: chunked\r\n"), EndsWith("\r\nd\r\nuntil the end\r\n0\r\n\r\n")));
  EXPECT_THAT(raw("GET /open HTTP/1.0\r\n\r\n"), EndsWith("\r\nConnection: close\r\n\r\nuntil the end"));
  EXPECT_THAT(raw("GET /chunks HTTP/1.0\r\n\r\n"), EndsWith("\r\nConnection: close\r\n\r\nabc"));
  EXPECT_THAT(ask("GET", "/chunks"), EndsWith("\r\n3\r\nabc\r\n0\r\n\r\n"));  // the trailer is dropped
}

TEST_F(ProxyStreams, KnowsAnswersWithoutABody) {
  start([](Peer& peer, int) -> Task<void> {
    for (;;) {
      std::string head = co_await peer.head();
      if (head.starts_with("HEAD"))
        (void)co_await peer.send("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
      else if (head.starts_with("GET /same"))
        (void)co_await peer.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n");
      else if (head.starts_with("GET /none"))
        (void)co_await peer.send("HTTP/1.1 204 No Content\r\n\r\n");
      else if (head.starts_with("GET"))
        (void)co_await peer.send(ok_answer("last"));
      else
        co_return;
    }
  });
  EXPECT_EQ(raw("HEAD / HTTP/1.1\r\nHost: h\r\n\r\nGET /same HTTP/1.1\r\nHost: h\r\n\r\n"
                "GET /none HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n"
            "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlast");
  EXPECT_EQ(app->connections(), 1);
}

TEST_F(ProxyStreams, CarriesChunkedRequestBodiesWithoutTheirTrailer) {
  start([](Peer& peer, int) -> Task<void> {
    std::string head = co_await peer.head();
    EXPECT_THAT(head, HasSubstr("Transfer-Encoding: chunked\r\n"));
    EXPECT_THAT(head, Not(HasSubstr("Trailer")));
    std::string body = co_await peer.until("0\r\n\r\n");
    (void)co_await peer.send(ok_answer(body));
    (void)co_await peer.head();
    (void)co_await peer.send(ok_answer("next"));
  });
  std::string got =
      raw("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n"
          "3;ext\r\nabc\r\n4\r\ndefg\r\n0\r\nX: y\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(got, HasSubstr("7\r\nabcdefg\r\n0\r\n\r\n"));
  EXPECT_THAT(got, EndsWith("next"));
}

TEST_F(ProxyStreams, TakesWhatFollowsALongChunkedBodyForTheNextRequest) {
  start([](Peer& peer, int) -> Task<void> {
    (void)co_await peer.head();
    (void)co_await peer.until("0\r\n\r\n");
    (void)co_await peer.send(ok_answer("one"));
    std::string head = co_await peer.head();
    (void)co_await peer.send(ok_answer(head));
  });
  std::string wire = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 40; ++i) wire += "1000\r\n" + std::string(4096, 'x') + "\r\n";
  wire += "0\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\nX: " + std::string(3000, 'y') + "\r\nConnection: close\r\n\r\n";
  std::string got = raw(wire);
  EXPECT_THAT(got, HasSubstr("\r\n\r\none"));
  EXPECT_THAT(got, HasSubstr("GET /next HTTP/1.1"));
}

TEST_F(ProxyStreams, PassesInterimAnswersOn) {
  start([](Peer& peer, int) -> Task<void> {
    std::string head = co_await peer.head();
    if (head.starts_with("POST")) {
      EXPECT_THAT(head, HasSubstr("Expect: 100-continue\r\n"));
      (void)co_await peer.send("HTTP/1.1 100 Continue\r\n\r\n");
      std::string body = co_await peer.exactly(5);
      (void)co_await peer.send(ok_answer(body));
    } else {
      (void)co_await peer.send("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + ok_answer("page"));
    }
  });
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    (void)co_await c.send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    EXPECT_EQ(co_await c.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    (void)co_await c.send("hello");
    EXPECT_THAT(co_await c.head(), StartsWith("HTTP/1.1 200 OK\r\n"));
    EXPECT_EQ(co_await c.exactly(5), "hello");
  };
  run(body());
  EXPECT_THAT(ask("GET", "/"), StartsWith("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(raw("GET / HTTP/1.0\r\n\r\n"), StartsWith("HTTP/1.1 200 OK\r\n"));
}

TEST_F(ProxyStreams, PassesARefusalOnToAClientThatWaitsForContinue) {
  start([](Peer& peer, int) -> Task<void> {
    (void)co_await peer.head();
    (void)co_await peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
  });
  EXPECT_EQ(raw("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"),
            "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

TEST_F(ProxyStreams, PassesAnAnswerOnThatComesBeforeTheEndOfTheBody) {
  start([](Peer& peer, int) -> Task<void> {
    (void)co_await peer.head();
    (void)co_await peer.send(
        "HTTP/1.1 413 Content Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large");
    peer.close();  // with the body unread: a reset
  });
  auto sender = [](Peer& c) -> Task<void> {
    for (int i = 0; i < 100; ++i) {
      if (!co_await c.send(std::string(100'000, 'x'))) co_return;
    }
  };
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    (void)co_await c.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n");
    loop::TaskGroup group;
    group.spawn(sender(c));
    EXPECT_THAT(co_await c.head(), StartsWith("HTTP/1.1 413 Content Too Large\r\n"));
    EXPECT_EQ(co_await c.exactly(9), "too large");
    (void)co_await c.rest();
    c.close();
    co_await group.join();
  };
  run(body());
}

TEST_F(ProxyStreams, GoesOnAfterAnEarlyAnswerWhenTheBodyIsShort) {
  start([](Peer& peer, int) -> Task<void> {
    std::string head = co_await peer.head();
    (void)co_await peer.send(ok_answer(head.substr(0, 6)));
    (void)co_await peer.rest();
  });
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    (void)co_await c.send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n");
    EXPECT_THAT(co_await c.head(), StartsWith("HTTP/1.1 200 OK\r\n"));
    (void)co_await c.send(std::string(200'000, 'x') + "GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
    EXPECT_THAT(co_await c.head(), HasSubstr("HTTP/1.1 200 OK\r\n"));
  };
  run(body());
}

TEST_F(ProxyStreams, TunnelsAnUpgradeWithWhatWasSentAlong) {
  start([](Peer& peer, int) -> Task<void> {
    std::string head = co_await peer.head();
    EXPECT_THAT(head, AllOf(HasSubstr("\r\nConnection: Upgrade\r\n"), HasSubstr("\r\nUpgrade: websocket\r\n")));
    (void)co_await peer.send(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: a\r\n\r\nwelcome");
    for (;;) {
      std::string frame = co_await peer.exactly(4);
      if (frame == "quit" || !co_await peer.send("<" + frame + ">")) co_return;
    }
  });
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    (void)co_await c.send(
        "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nearl");
    EXPECT_EQ(co_await c.head(),
              "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: a\r\n"
              "Connection: Upgrade\r\n\r\n");
    EXPECT_EQ(co_await c.exactly(13), "welcome<earl>");
    for (std::string frame : {std::string("\0\r\n\xff", 4), std::string("GET "), std::string("abcd")}) {
      (void)co_await c.send(frame);
      EXPECT_EQ(co_await c.exactly(6), "<" + frame + ">");
    }
    EXPECT_EQ(metric("caddis_proxy_upgrades_running"), 1);
    (void)co_await c.send("quit");
    EXPECT_EQ(co_await c.rest(), "");
    c.close();
    co_await eventually([&] { return proxy->connections() == 0; });
  };
  run(body());
  EXPECT_EQ(metric("caddis_proxy_upgrades_running"), 0);
}

TEST_F(ProxyStreams, CarriesTheHalfCloseOfAnUpgradedConnection) {
  start([](Peer& peer, int) -> Task<void> {
    (void)co_await peer.head();
    (void)co_await peer.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: raw\r\nConnection: Upgrade\r\n\r\n");
    std::string all = co_await peer.rest();
    (void)co_await peer.send("got " + std::to_string(all.size()));
  });
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    (void)co_await c.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n");
    (void)co_await c.head();
    (void)co_await c.send(std::string(1'000'000, 'x'));
    co_await c.half_close();
    EXPECT_EQ(co_await c.rest(), "got 1000000");
  };
  run(body());
}

TEST_F(ProxyStreams, TreatsARefusedUpgradeAsAnAnswer) {
  start();
  std::string got =
      raw("GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
          "GET /next HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(got, HasSubstr("GET /next"));
}

TEST_F(ProxyStreams, CarriesHeadsOfAlmost64KibBothWays) {
  start();
  std::string big = "X: " + std::string(60'000, 'x') + "\r\n";
  EXPECT_THAT(ask("GET", "/", big), AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), HasSubstr(big)));
  EXPECT_THAT(ask("GET", "/", "X: " + std::string(70'000, 'x') + "\r\n"), StartsWith("HTTP/1.1 431 "));
  std::string many;
  for (int i = 0; i < 250; ++i) many += fmt::format("X-{}: {}\r\n", i, i);
  EXPECT_THAT(ask("GET", "/", many), AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), HasSubstr("X-249: 249")));
}

TEST_F(ProxyStreams, CarriesAnAnswerHeadOfAlmost64Kib) {
  std::string fields = "X: " + std::string(60'000, 'x') + "\r\n";
  start([fields](Peer& peer, int) -> Task<void> {
    (void)co_await peer.head();
    (void)co_await peer.send(ok_answer("body", fields));
  });
  EXPECT_THAT(ask("GET", "/"), AllOf(HasSubstr(fields), EndsWith("\r\n\r\nbody")));
}

TEST_F(ProxyStreams, CutsTheConnectionWhenTheAppBreaksOff) {
  start([](Peer& peer, int) -> Task<void> {
    std::string head = co_await peer.head();
    if (head.starts_with("GET /chunks"))
      (void)co_await peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal");
    else if (head.starts_with("GET /bad"))
      (void)co_await peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n");
    else
      (void)co_await peer.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
  });
  EXPECT_THAT(ask("GET", "/sized"), EndsWith("\r\n\r\nhalf"));
  EXPECT_THAT(ask("GET", "/chunks"), EndsWith("3\r\nhal\r\n"));
  EXPECT_THAT(ask("GET", "/bad"), Not(EndsWith("0\r\n\r\n")));
}

// The app notices at once, whatever its request was doing.
TEST_F(ProxyStreams, TellsTheAppThatTheClientIsGone) {
  int seen = 0;
  start([&seen](Peer& peer, int) -> Task<void> {
    std::string head = co_await peer.head();
    if (head.starts_with("GET /stream"))
      (void)co_await peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    std::string rest = co_await peer.rest();
    EXPECT_THAT(rest, Not(HasSubstr("<time>")));
    ++seen;
  });
  for (std::string wire : {"GET /wait HTTP/1.1\r\nHost: h\r\n\r\n", "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n",
                           "POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\npart",
                           "POST /up HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"}) {
    auto body = [&]() -> Task<void> {
      int before = seen, connections = app->connections();
      Peer c = co_await client();
      (void)co_await c.send(wire);
      if (wire.starts_with("GET /stream")) (void)co_await c.until("1\r\nx\r\n");
      co_await eventually([&] { return app->connections() > connections; });
      c.close();
      co_await eventually([&] { return seen == before + 1; });
    };
    run(body());
  }
}

TEST_F(ProxyStreams, AnswersAClientThatHasClosedItsSideAfterConnectionClose) {
  start([](Peer& peer, int) -> Task<void> {
    (void)co_await peer.head();
    EXPECT_EQ(co_await peer.until("never", 50), "<time>");
    (void)co_await peer.send(ok_answer("late"));
  });
  auto body = [&]() -> Task<void> {
    Peer c = co_await client();
    (void)co_await c.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    co_await c.half_close();
    EXPECT_THAT(co_await c.rest(), EndsWith("late"));
  };
  run(body());
}

}  // namespace
}  // namespace caddis::proxy
