#include "http/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>

#include "http/server.h"
#include "loop/stream.h"

namespace caddis::http {
namespace {

using loop::Loop;
using testing::HasSubstr;

Task<void> routes(Request& request, ResponseWriter& w) {
  const std::string& path = request.target.path;
  if (path == "/hello") {
    (void)co_await w.send(200, {{"X-Seen", std::string(request.headers.get("X-Sent"))}}, std::string("hello"));
  } else if (path == "/count") {
    Bytes piece(64 * 1024);
    std::uint64_t total = 0, sum = 0;
    for (;;) {
      auto n = co_await request.read(piece);
      if (!n) co_return;
      if (*n == 0) break;
      for (std::uint8_t b : ByteView(piece).first(*n)) sum += b;
      total += *n;
    }
    (void)co_await w.send(200, {}, fmt::format("{} {}", total, sum));
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
  } else if (path == "/too-large") {
    (void)co_await w.send(413, {}, std::string("at most 1 byte"));
  } else {
    (void)co_await w.send(404, {}, std::string("no such page"));
  }
}

// An answer for everybody who connects: reads until the empty line, sends text, closes unless kept open.
Task<void> canned(Loop& loop, loop::Listener& listener, std::string text, bool hold, loop::Event& done) {
  auto s = co_await listener.accept({});
  if (!s) co_return;
  Bytes buf(10'000);
  std::string got;
  while (got.find("\r\n\r\n") == std::string::npos) {
    auto n = co_await (*s)->read(buf, 5000, {});
    if (!n || *n == 0) co_return;
    got += as_text(ByteView(buf).first(*n));
  }
  if (!text.empty()) (void)co_await (*s)->write(as_bytes(text), 5000, {});
  if (hold) (void)co_await done.wait(10'000, {});
}

struct HttpClient : testing::Test {
  Loop loop;
  std::unique_ptr<Server> server;
  std::unique_ptr<Client> client = std::make_unique<Client>(loop);

  void SetUp() override {
    auto s = Server::listen(loop, "127.0.0.1:0", routes);
    ASSERT_TRUE(s) << s.error().message();
    server = std::move(*s);
    server->serve();
  }
  ~HttpClient() override {
    client.reset();
    if (server) loop::run_until_done(loop, server->stop());
  }
  std::string url(const std::string& path) { return fmt::format("http://127.0.0.1:{}{}", server->port(), path); }
  Result<Response> fetch(ClientRequest r, std::stop_token stop = {}) {
    return loop::run_until_done(loop, client->fetch(std::move(r), std::move(stop)));
  }
  // From a server that sends this text.
  Result<Response> fetch_canned(std::string text, ClientRequest r = {}, bool hold = false) {
    auto listener = loop::listen_tcp(loop, {"127.0.0.1", 0});
    if (!listener) return std::unexpected(std::move(listener).error());
    r.url = fmt::format("http://127.0.0.1:{}/x", (*listener)->port());
    auto body = [](Loop& l, loop::Listener& at, std::string t, bool h, Client& c,
                   ClientRequest q) -> Task<Result<Response>> {
      loop::Event done(l);
      loop::TaskGroup group;
      group.spawn(canned(l, at, std::move(t), h, done));
      auto result = co_await c.fetch(std::move(q), {});
      done.set();
      co_await group.join();
      co_return result;
    };
    return loop::run_until_done(loop, body(loop, **listener, std::move(text), hold, *client, std::move(r)));
  }
};

TEST_F(HttpClient, FetchesAndKeepsTheConnection) {
  for (int i = 0; i < 3; ++i) {
    auto r = fetch({.url = url("/hello"), .headers = {{"X-Sent", "yes"}}});
    ASSERT_TRUE(r) << r.error().message();
    EXPECT_EQ(r->status, 200);
    EXPECT_EQ(r->text(), "hello");
    EXPECT_EQ(r->headers.get("x-seen"), "yes");
    EXPECT_EQ(client->idle_connections(), 1u);
    EXPECT_EQ(server->connections(), 1u);
  }
  auto head = fetch({.method = "HEAD", .url = url("/hello"), .body_limit = 1});
  ASSERT_TRUE(head) << head.error().message();
  EXPECT_EQ(head->headers.get("Content-Length"), "5");
  auto missing = fetch({.url = url("/nothing")});
  ASSERT_TRUE(missing);
  Error e = status_error("get x", missing->status, missing->text());
  EXPECT_EQ(e.code(), ErrorCode::kNotFound);
  EXPECT_EQ(e.message(), "get x: HTTP 404 Not Found (no such page)");
}

TEST_F(HttpClient, OpensANewConnectionWhenAKeptOneIsDead) {
  ASSERT_TRUE(fetch({.url = url("/hello")}));
  std::uint16_t port = server->port();
  loop::run_until_done(loop, server->stop());
  auto again = Server::listen(loop, fmt::format("127.0.0.1:{}", port), routes);
  ASSERT_TRUE(again) << again.error().message();
  server = std::move(*again);
  server->serve();
  EXPECT_EQ(client->idle_connections(), 1u);
  auto r = fetch({.url = url("/hello")});
  ASSERT_TRUE(r) << r.error().message();
  EXPECT_EQ(r->text(), "hello");
}

TEST_F(HttpClient, SendsAPostOverAConnectionOfItsOwn) {
  ASSERT_TRUE(fetch({.url = url("/hello")}));
  auto r = fetch({.method = "POST", .url = url("/count"), .body = Bytes(10, 1)});
  ASSERT_TRUE(r) << r.error().message();
  EXPECT_EQ(r->text(), "10 10");
  EXPECT_EQ(client->idle_connections(), 2u);
}

TEST_F(HttpClient, SendsBodiesFromMemoryAndFromASource) {
  auto r = fetch({.method = "PUT", .url = url("/count"), .body = Bytes(3'000'000, 2)});
  ASSERT_TRUE(r) << r.error().message();
  EXPECT_EQ(r->text(), "3000000 6000000");
  BodySource source = [](std::uint64_t offset, ByteSpan out) -> Task<Result<std::size_t>> {
    std::uint64_t left = 100'000'000 - offset;
    std::size_t n = static_cast<std::size_t>(std::min<std::uint64_t>(left, out.size()));
    std::fill_n(out.begin(), n, std::uint8_t{1});
    co_return n;
  };
  for (std::optional<std::uint64_t> size :
       {std::optional<std::uint64_t>(), std::optional<std::uint64_t>(100'000'000)}) {
    r = fetch({.method = "PUT", .url = url("/count"), .source = source, .source_size = size});
    ASSERT_TRUE(r) << r.error().message();
    EXPECT_EQ(r->text(), "100000000 100000000");
  }
  r = fetch({.method = "PUT", .url = url("/count"), .source = source, .source_size = 200'000'000});
  EXPECT_FALSE(r);
}

TEST_F(HttpClient, ReportsTheSourcesError) {
  BodySource broken = [](std::uint64_t, ByteSpan) -> Task<Result<std::size_t>> {
    co_return Error(ErrorCode::kIo, "the disk is broken");
  };
  auto r = fetch({.method = "PUT", .url = url("/count"), .source = broken});
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code(), ErrorCode::kIo);
  EXPECT_THAT(r.error().message(), HasSubstr("the disk is broken"));
}

TEST_F(HttpClient, ReadsAnAnswerThatComesBeforeTheBodyIsSent) {
  auto r = fetch({.method = "PUT", .url = url("/too-large"), .body = Bytes(50'000'000, 2)});
  ASSERT_TRUE(r) << r.error().message();
  EXPECT_EQ(r->status, 413);
  EXPECT_EQ(r->text(), "at most 1 byte");
  EXPECT_EQ(client->idle_connections(), 0u);
}

TEST_F(HttpClient, StreamsALargeAnswer) {
  auto body = [](Client& c, std::string u) -> Task<Result<std::uint64_t>> {
    CO_TRY_ASSIGN(auto reader, co_await c.open({.url = u}, {}));
    Bytes piece(64 * 1024);
    for (std::uint64_t total = 0;;) {
      CO_TRY_ASSIGN(std::size_t n, co_await reader->read(piece, {}));
      if (n == 0) co_return total;
      total += n;
    }
  };
  auto total = loop::run_until_done(loop, body(*client, url("/big")));
  ASSERT_TRUE(total) << total.error().message();
  EXPECT_EQ(*total, 50'000'000u);
  EXPECT_EQ(client->idle_connections(), 1u);
}

TEST_F(HttpClient, RefusesABodyBeyondItsLimit) {
  auto r = fetch({.url = url("/big"), .body_limit = 1000});
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code(), ErrorCode::kNoSpace);
  EXPECT_EQ(fetch({.url = url("/hello"), .body_limit = 4}).error().code(), ErrorCode::kNoSpace);
  EXPECT_TRUE(fetch({.url = url("/hello"), .body_limit = 5}));
}

TEST_F(HttpClient, TakesATruncatedAnswerForAnError) {
  auto r = fetch({.url = url("/cut")});
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code(), ErrorCode::kUnavailable);
  EXPECT_THAT(r.error().message(), HasSubstr("GET http://127.0.0.1:"));
  EXPECT_EQ(fetch_canned("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhalf").error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(fetch_canned("HTTP/1.1 200 OK\r\nConte").error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(fetch_canned("").error().code(), ErrorCode::kUnavailable);
}

TEST_F(HttpClient, TakesWhatIsNotHttpForAnError) {
  EXPECT_EQ(fetch_canned("SSH-2.0-OpenSSH_9\r\n\r\n").error().code(), ErrorCode::kCorrupt);
  EXPECT_EQ(fetch_canned("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n").error().code(),
            ErrorCode::kCorrupt);
}

TEST_F(HttpClient, ReadsBodiesThatEndWithTheConnectionAndSkipsInterimAnswers) {
  auto r = fetch_canned("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.0 200 OK\r\n\r\nall of it");
  ASSERT_TRUE(r) << r.error().message();
  EXPECT_EQ(r->text(), "all of it");
  EXPECT_EQ(client->idle_connections(), 0u);
}

TEST_F(HttpClient, GivesUpInTime) {
  EXPECT_EQ(fetch_canned("", {.timeout_ms = 50}, true).error().code(), ErrorCode::kTimeout);
  EXPECT_EQ(fetch_canned("", {.timeout_ms = 0, .idle_timeout_ms = 50}, true).error().code(), ErrorCode::kTimeout);
  EXPECT_EQ(fetch_canned("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nh", {.timeout_ms = 50}, true).error().code(),
            ErrorCode::kTimeout);
}

TEST_F(HttpClient, EndsWhenItIsStopped) {
  std::stop_source stop;
  auto listener = loop::listen_tcp(loop, {"127.0.0.1", 0});
  ASSERT_TRUE(listener);
  loop::Timer timer = loop::Timer::after(loop, 20, [&] { stop.request_stop(); });
  auto r = fetch({.url = fmt::format("http://127.0.0.1:{}/", (*listener)->port())}, stop.get_token());
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code(), ErrorCode::kCancelled);
}

TEST_F(HttpClient, NamesAServerThatRefuses) {
  std::string gone = url("/hello");
  loop::run_until_done(loop, server->stop());
  auto r = fetch({.url = gone});
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code(), ErrorCode::kUnavailable) << r.error().message();
  EXPECT_THAT(r.error().message(), HasSubstr("GET " + gone));
}

TEST_F(HttpClient, RefusesRequestsThatCannotBeSent) {
  EXPECT_EQ(fetch({.url = url("/a b")}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(fetch({.url = url("/"), .headers = {{"X", "a\r\nY: b"}}}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(fetch({.url = url("/"), .headers = {{"Content-Length", "5"}}}).error().code(), ErrorCode::kInvalid);
  EXPECT_EQ(fetch({.method = "GET /x", .url = url("/")}).error().code(), ErrorCode::kInvalid);
}

TEST_F(HttpClient, TalksOverAUnixSocket) {
  std::string path = fmt::format("{}caddis-http-client-{}.sock", testing::TempDir(), ::getpid());
  auto s = Server::listen_unix(loop, path, routes);
  ASSERT_TRUE(s) << s.error().message();
  (*s)->serve();
  auto r = fetch({.url = "http://localhost/hello", .unix_socket = path});
  ASSERT_TRUE(r) << r.error().message();
  EXPECT_EQ(r->text(), "hello");
  client = std::make_unique<Client>(loop);
  loop::run_until_done(loop, (*s)->stop());
  r = fetch({.url = "http://localhost/hello", .unix_socket = path});
  ASSERT_FALSE(r);
  EXPECT_THAT(r.error().message(), HasSubstr(path));
}

TEST_F(HttpClient, FetchesWithoutAClient) {
  auto r = loop::run_until_done(loop, http::fetch(loop, {.url = url("/hello")}, {}));
  ASSERT_TRUE(r) << r.error().message();
  EXPECT_EQ(r->text(), "hello");
}

}  // namespace
}  // namespace caddis::http
