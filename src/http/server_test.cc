#include "http/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "http/test_client.h"

namespace caddis::http {
namespace {

using loop::Loop;
using testing::HasSubstr;
using testing::StartsWith;
using namespace testing_support;

Task<void> routes(Request& request, ResponseWriter& w) {
  const std::string& path = request.target.path;
  if (path == "/hello") {
    (void)co_await w.send(200, {}, std::string("hello\n"));
  } else if (path == "/echo") {
    auto body = co_await request.read_all(1 << 20);
    if (body)
      (void)co_await w.send(200, {{"Content-Type", "x/y"}}, ByteView(*body));
    else
      (void)co_await w.send(body.error().code() == ErrorCode::kNoSpace ? 413 : 400, {}, body.error().message() + "\n");
  } else if (path == "/count") {  // any size, in bounded memory
    Bytes piece(64 * 1024);
    std::uint64_t total = 0;
    for (;;) {
      auto n = co_await request.read(piece);
      if (!n || *n == 0) break;
      total += *n;
    }
    (void)co_await w.send(200, {}, std::to_string(total));
  } else if (path == "/big") {
    Bytes piece(100'000, 'b');
    (void)co_await w.begin(200, {});
    for (int i = 0; i < 500; ++i) {
      if (!co_await w.write(piece)) co_return;
    }
    (void)co_await w.finish();
  } else if (path == "/cut") {
    (void)co_await w.begin(200, {});
    (void)co_await w.write(as_bytes("half"));
  } else if (path == "/refuse") {
    (void)co_await w.send(403, {}, std::string("no\n"));
  } else if (path == "/inject") {
    EXPECT_FALSE(co_await w.send(200, {{"X", "a\r\nY: b"}}, std::string("x")));
  } else if (path == "/silent") {
  }
}

struct Fixture : testing::Test {
  Loop loop;
  std::unique_ptr<Server> server;
  void start(ServerOptions options = {}, Handler handler = routes) {
    auto s = Server::listen(loop, "127.0.0.1:0", std::move(handler), options);
    ASSERT_TRUE(s) << s.error().message();
    server = std::move(*s);
    server->serve();
  }
  std::string raw(std::string wire) {
    return without_date(loop::run_until_done(loop, exchange_raw(loop, server->port(), std::move(wire))));
  }
  ~Fixture() override {
    if (server) loop::run_until_done(loop, server->stop());
    if (server) EXPECT_EQ(server->connections(), 0u);
  }
  // curl's output with the answer's head; the loop runs meanwhile.
  std::string curl(const std::string& arguments, const std::string& input = "") {
    return run_beside(loop, fmt::format("{}curl -s -m 20 --noproxy '*' {} 2>&1", input, arguments));
  }
  std::string url(const std::string& path) { return fmt::format("http://127.0.0.1:{}{}", server->port(), path); }
};
using HttpServer = Fixture;

TEST_F(HttpServer, AnswersAndKeepsTheConnectionForPipelinedRequests) {
  start();
  EXPECT_EQ(
      raw("GET /hello HTTP/1.1\r\nHost: a\r\n\r\nPOST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
          "HEAD /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
      "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 6\r\n\r\nhello\n"
      "HTTP/1.1 200 OK\r\nContent-Type: x/y\r\nContent-Length: 3\r\n\r\nabc"
      "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 6\r\nConnection: close\r\n\r\n");
}

TEST_F(HttpServer, RefusesSmuggledRequestsAndClosesTheConnection) {
  start();
  std::string next = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
  for (std::string wire : {
           "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG" + next,
           "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab" + next,
           "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length : 2\r\n\r\nab" + next,
           "POST /echo HTTP/1.1\r\nHost: a\r\nX: y\r\n Content-Length: 2\r\n\r\nab" + next,
           "POST /echo HTTP/1.1\nHost: a\nContent-Length: 2\n\nab" + next,
           "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;a\nab\r\n0\r\n\r\n" + next,
           "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n" + next,
       }) {
    std::string got = raw(wire);
    EXPECT_THAT(got, StartsWith("HTTP/1.1 400 Bad Request\r\n")) << wire;
    EXPECT_EQ(got.find("HTTP/1.1", 1), std::string::npos) << wire << got;  // the second request was not seen
  }
  EXPECT_THAT(raw("GET / HTTP/1.1\r\nX: " + std::string(100'000, 'x')), StartsWith("HTTP/1.1 431 "));
}

TEST_F(HttpServer, CutsAnUnfinishedAnswerAndAnswers500ForNone) {
  start();
  EXPECT_EQ(raw("GET /cut HTTP/1.1\r\nHost: a\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n");
  EXPECT_THAT(raw("GET /silent HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), StartsWith("HTTP/1.1 500 "));
  EXPECT_THAT(raw("GET /inject HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"), StartsWith("HTTP/1.1 500 "));
}

TEST_F(HttpServer, EndsAnswersTo10ByClosing) {
  start();
  std::string got = raw("GET /big HTTP/1.0\r\n\r\n");
  EXPECT_THAT(got.substr(0, 100), HasSubstr("Connection: close"));
  EXPECT_EQ(got.size() - got.find("\r\n\r\n") - 4, 50'000'000u);
}

TEST_F(HttpServer, SendsContinueOnlyWhenTheBodyIsWanted) {
  start();
  EXPECT_THAT(
      raw("POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab"),
      StartsWith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"));
  std::string got = raw("POST /refuse HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
  EXPECT_THAT(got, StartsWith("HTTP/1.1 403 "));
  EXPECT_THAT(got, HasSubstr("Connection: close"));
}

TEST_F(HttpServer, SkipsAnUnreadBodyBeforeTheNextRequest) {
  start();
  EXPECT_THAT(raw("POST /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + std::string(100'000, 'G') +
                  "GET /refuse HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
              HasSubstr("HTTP/1.1 403 "));
}

TEST_F(HttpServer, Answers408ToASlowHeadAndClosesIdleConnections) {
  start({.header_timeout_ms = 50, .idle_timeout_ms = 50});
  EXPECT_THAT(raw("GET /hello HT"), StartsWith("HTTP/1.1 408 "));
  EXPECT_EQ(raw(""), "");
  EXPECT_THAT(raw("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(HttpServer, Answers413And400FromReadAll) {
  start();
  EXPECT_THAT(raw("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999\r\n\r\n"), StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(raw("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
              StartsWith("HTTP/1.1 400 "));
}

TEST_F(HttpServer, Answers503BeyondTheConnectionLimit) {
  start({.idle_timeout_ms = 5000, .max_connections = 1});
  auto body = [](Loop& l, std::uint16_t port) -> Task<std::string> {
    auto held = co_await loop::connect_tcp(l, {"127.0.0.1", port}, 2000, {});
    co_return co_await exchange_raw(l, port, "");
  };
  EXPECT_THAT(loop::run_until_done(loop, body(loop, server->port())), StartsWith("HTTP/1.1 503 "));
}

TEST_F(HttpServer, ServesCurl) {
  start();
  EXPECT_EQ(curl(url("/hello") + " " + url("/hello") + " -w '%{num_connects},'"), "hello\n1,hello\n0,");
  EXPECT_EQ(curl("-I -o /dev/null -w '%{http_code}' " + url("/hello")), "200");
  EXPECT_EQ(curl("-o /dev/null -w '%{size_download}' " + url("/big")), "50000000");
  EXPECT_EQ(curl("-w '%{exitcode}' " + url("/cut")), "half18");
  EXPECT_EQ(curl("-d abc -H 'Expect: 100-continue' " + url("/echo")), "abc");
  EXPECT_EQ(curl("-H 'Transfer-Encoding: chunked' -d abc " + url("/echo")), "abc");
}

TEST_F(HttpServer, TakesALargeBodyInBoundedMemory) {
  start();
  long before = resident_kib();
  EXPECT_EQ(curl("-T - -X POST " + url("/count"), "head -c 200000000 /dev/zero | "), "200000000");
  EXPECT_LT(resident_kib() - before, 20'000);
}

TEST_F(HttpServer, BindsBeforeItServes) {
  auto s = Server::listen(loop, "127.0.0.1:0", routes);
  ASSERT_TRUE(s);
  server = std::move(*s);
  auto body = [](Loop& l, Server& srv) -> Task<std::string> {
    auto stream = co_await loop::connect_tcp(l, {"127.0.0.1", srv.port()}, 2000, {});
    if (!stream) co_return "not connected";
    (void)co_await (*stream)->write(as_bytes("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"), 1000, {});
    Bytes buf(1000);
    auto early = co_await (*stream)->read(buf, 50, {});
    if (early) co_return "answered before serve()";
    srv.serve();
    auto n = co_await (*stream)->read(buf, 2000, {});
    co_return n ? std::string(as_text(ByteView(buf).first(*n))) : n.error().message();
  };
  EXPECT_THAT(loop::run_until_done(loop, body(loop, *server)), StartsWith("HTTP/1.1 200 OK"));
}

TEST_F(HttpServer, NamesATakenOrImpossibleAddress) {
  start();
  std::string addr = fmt::format("127.0.0.1:{}", server->port());
  auto second = Server::listen(loop, addr, routes);
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message(), HasSubstr(addr));
  auto nowhere = Server::listen(loop, "no-such-host.invalid:1", routes);
  ASSERT_FALSE(nowhere);
  EXPECT_THAT(nowhere.error().message(), HasSubstr("no-such-host.invalid:1"));
  EXPECT_FALSE(Server::listen(loop, "20202", routes));
}

TEST_F(HttpServer, ListensOnSeveralAddresses) {
  start();
  auto v6 = server->also_listen("[::1]:0");
  ASSERT_TRUE(v6) << v6.error().message();
  auto any = server->also_listen("localhost:0");
  ASSERT_TRUE(any) << any.error().message();
  EXPECT_EQ(curl(fmt::format("http://[::1]:{}/hello http://127.0.0.1:{}/hello", *v6, *any)), "hello\nhello\n");
}

TEST_F(HttpServer, StopCutsHandlersThatWait) {
  bool ended = false;
  std::unique_ptr<loop::Event> entered = std::make_unique<loop::Event>(loop);
  start({}, [&](Request& r, ResponseWriter& w) -> Task<void> {
    (void)co_await w.begin(200, {});
    entered->set();
    (void)co_await loop::sleep(loop, 60'000, r.stop());
    ended = true;
  });
  auto body = [](Fixture& f, loop::Event& in) -> Task<std::string> {
    std::string got;
    loop::TaskGroup group;
    auto client = [](Fixture& fx, std::string& out) -> Task<void> {
      out = co_await exchange_raw(fx.loop, fx.server->port(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    };
    group.spawn(client(f, got));
    (void)co_await in.wait(5000, {});
    co_await f.server->stop();
    co_await group.join();
    co_return got;
  };
  EXPECT_THAT(loop::run_until_done(loop, body(*this, *entered)), StartsWith("HTTP/1.1 200 OK"));
  EXPECT_TRUE(ended);
}

TEST_F(HttpServer, StopWithGraceLetsAHandlerFinish) {
  auto entered = std::make_unique<loop::Event>(loop);
  start({}, [&](Request& r, ResponseWriter& w) -> Task<void> {
    entered->set();
    (void)co_await loop::sleep(loop, 100, r.stop());
    (void)co_await w.send(200, {}, std::string("done"));
  });
  auto body = [](Fixture& f, loop::Event& in) -> Task<std::string> {
    std::string got;
    loop::TaskGroup group;
    auto client = [](Fixture& fx, std::string& out) -> Task<void> {
      out = co_await exchange_raw(fx.loop, fx.server->port(), "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    };
    group.spawn(client(f, got));
    (void)co_await in.wait(5000, {});
    co_await f.server->stop(5000);
    co_await group.join();
    co_return got;
  };
  EXPECT_THAT(loop::run_until_done(loop, body(*this, *entered)), HasSubstr("done"));
}

TEST(HttpUnixServer, ServesCurl) {
  std::string path = fmt::format("{}caddis-http-{}.sock", testing::TempDir(), ::getpid());
  Loop loop;
  auto s = Server::listen_unix(loop, path, routes);
  ASSERT_TRUE(s) << s.error().message();
  (*s)->serve();
  EXPECT_EQ((*s)->port(), 0);
  auto body = [](Loop& l, std::string p) -> Task<std::string> {
    auto stream = co_await loop::connect_unix(l, p, 2000, {});
    if (!stream) co_return stream.error().message();
    (void)co_await (*stream)->write(as_bytes("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"), 1000, {});
    Bytes buf(1000);
    auto n = co_await (*stream)->read(buf, 2000, {});
    co_return n ? std::string(as_text(ByteView(buf).first(*n))) : n.error().message();
  };
  EXPECT_THAT(loop::run_until_done(loop, body(loop, path)), HasSubstr("hello"));
  loop::run_until_done(loop, (*s)->stop());
}

}  // namespace
}  // namespace caddis::http
