// HTTP/2: our client against our server, curl against our server, and clients that do not play by the rules.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "http/client.h"
#include "http/h2_session.h"
#include "http/server.h"
#include "http/test_client.h"

namespace caddis::http {
namespace {

using loop::Loop;
using testing::HasSubstr;
using testing::StartsWith;
using namespace testing_support;

struct Http2 : testing::Test {
  Loop loop;
  std::unique_ptr<Server> server;
  std::unique_ptr<Client> client = std::make_unique<Client>(loop);
  loop::Event gate{loop};  // opened by a test
  int handlers = 0, ended = 0;
  std::string last_error;

  void start(ServerOptions options = {}) {
    auto s =
        Server::listen(loop, "127.0.0.1:0", [this](Request& r, ResponseWriter& w) { return routes(r, w); }, options);
    ASSERT_TRUE(s) << s.error().message();
    server = std::move(*s);
    server->serve();
  }
  ~Http2() override {
    client.reset();
    if (server) loop::run_until_done(loop, server->stop());
    if (server) EXPECT_EQ(server->connections(), 0u);
    EXPECT_EQ(handlers, ended);
  }

  Task<void> routes(Request& request, ResponseWriter& w) {
    ++handlers;
    co_await route(request, w);
    ++ended;
  }
  Task<void> route(Request& request, ResponseWriter& w) {
    const std::string& path = request.target.path;
    if (path == "/hello") {
      std::string text = fmt::format("hello {} HTTP/{}.{} {}", request.method, request.major, request.minor,
                                     request.headers.get("Host").substr(0, 9));
      (void)co_await w.send(200, {{"X-Seen", std::string(request.headers.get("X-Sent"))}}, text);
    } else if (path == "/echo") {  // both ways at once
      (void)co_await w.begin(200, {});
      Bytes piece(64 * 1024);
      for (;;) {
        auto n = co_await request.read(piece);
        if (!n || *n == 0) break;
        if (!co_await w.write(ByteView(piece).first(*n))) co_return;
      }
      (void)co_await w.finish();
    } else if (path == "/count") {
      Bytes piece(64 * 1024);
      std::uint64_t total = 0;
      for (;;) {
        auto n = co_await request.read(piece);
        if (!n) co_return;
        if (*n == 0) break;
        total += *n;
      }
      (void)co_await w.send(200, {}, std::to_string(total));
    } else if (path == "/big") {
      Bytes piece(100'000, 'b');
      (void)co_await w.begin(200, {{"Content-Length", "50000000"}});
      for (int i = 0; i < 500; ++i) {
        Status ok = co_await w.write(piece);
        if (!ok) last_error = ok.error().message();
        if (!ok) co_return;
      }
      (void)co_await w.finish();
    } else if (path == "/cut") {
      (void)co_await w.begin(200, {});
      (void)co_await w.write(as_bytes("half"));
    } else if (path == "/wait") {  // without reading its body
      (void)co_await gate.wait(10'000, request.stop());
      (void)co_await w.send(200, {}, std::string("waited"));
    } else if (path == "/stream") {
      if (!co_await w.begin(200, {})) co_return;
      while (!request.stop().stop_requested()) {
        if (!co_await w.write(as_bytes("tick"))) co_return;
        if (!co_await loop::sleep(loop, 5, request.stop())) break;
      }
      (void)co_await w.write(as_bytes("end"));
      (void)co_await w.finish();
    } else if (path == "/none") {
      (void)co_await w.send(204, {}, std::string());
    } else {
      (void)co_await w.send(404, {}, std::string("no such page"));
    }
  }

  std::string url(const std::string& path) { return fmt::format("http://127.0.0.1:{}{}", server->port(), path); }
  Result<Response> fetch(ClientRequest r) {
    r.http2 = true;
    return loop::run_until_done(loop, client->fetch(std::move(r), {}));
  }
  std::string curl(const std::string& arguments) {
    return run_beside(loop, fmt::format("curl -s -m 20 --noproxy '*' --http2-prior-knowledge {} 2>&1", arguments));
  }
};

TEST_F(Http2, AnswersOverOneConnectionAndBesideHttp1) {
  start();
  for (int i = 0; i < 3; ++i) {
    auto r = fetch({.url = url("/hello"), .headers = {{"X-Sent", "yes"}}});
    ASSERT_TRUE(r) << r.error().message();
    EXPECT_EQ(r->text(), "hello GET HTTP/2.0 127.0.0.1");
    EXPECT_EQ(r->headers.get("X-Seen"), "yes");
    EXPECT_TRUE(r->headers.has("Date"));
    EXPECT_EQ(server->connections(), 1u);
  }
  auto old = loop::run_until_done(loop, client->fetch({.url = url("/hello")}, {}));
  ASSERT_TRUE(old) << old.error().message();
  EXPECT_EQ(old->text(), "hello GET HTTP/1.1 127.0.0.1");
  auto missing = fetch({.url = url("/nothing")});
  ASSERT_TRUE(missing);
  EXPECT_EQ(missing->status, 404);
  auto head = fetch({.method = "HEAD", .url = url("/hello")});
  ASSERT_TRUE(head) << head.error().message();
  EXPECT_EQ(head->text(), "");
  EXPECT_NE(head->headers.get("Content-Length"), "");
  auto none = fetch({.method = "DELETE", .url = url("/none")});
  ASSERT_TRUE(none) << none.error().message();
  EXPECT_EQ(none->status, 204);
}

TEST_F(Http2, CarriesLargeBodiesBothWaysAndReportsACutOne) {
  start();
  auto up = fetch({.method = "POST", .url = url("/count"), .body = Bytes(30'000'000, 'u')});
  ASSERT_TRUE(up) << up.error().message();
  EXPECT_EQ(up->text(), "30000000");
  auto down = fetch({.url = url("/big"), .body_limit = 60'000'000});
  ASSERT_TRUE(down) << down.error().message();
  EXPECT_EQ(down->body.size(), 50'000'000u);
  EXPECT_EQ(down->body.back(), 'b');
  auto cut = fetch({.url = url("/cut")});
  ASSERT_FALSE(cut);
  EXPECT_THAT(cut.error().message(), HasSubstr("reset"));
  auto after = fetch({.url = url("/hello")});  // the connection goes on
  ASSERT_TRUE(after);
  EXPECT_EQ(server->connections(), 1u);
}

TEST_F(Http2, AnswersWhileTheRequestIsStillBeingSent) {
  start();
  auto body = [](Http2& t) -> Task<std::string> {
    auto sent = std::make_shared<int>(0);
    auto more = std::make_shared<loop::Event>(t.loop);
    BodySource source = [sent, more](std::uint64_t, ByteSpan out) -> Task<Result<std::size_t>> {
      if (*sent == 3) co_return std::size_t{0};
      if (*sent > 0) CO_TRY(co_await more->wait(5000, {}));
      more->reset();
      out[0] = static_cast<std::uint8_t>('a' + (*sent)++);
      co_return std::size_t{1};
    };
    ClientRequest r{.method = "POST", .url = t.url("/echo"), .source = source, .http2 = true};
    auto answer = co_await t.client->open(std::move(r), {});
    if (!answer) co_return answer.error().message();
    std::string got;
    Bytes buf(100);
    for (;;) {
      auto n = co_await (*answer)->read(buf, {});
      if (!n) co_return got + n.error().message();
      if (*n == 0) co_return got;
      got += as_text(ByteView(buf).first(*n));
      more->set();  // only now the next byte is sent
    }
  };
  EXPECT_EQ(loop::run_until_done(loop, body(*this)), "abc");
}

TEST_F(Http2, AReaderThatStopsHoldsUpItsOwnStreamOnly) {
  start({.write_timeout_ms = 300});
  auto body = [](Http2& t) -> Task<std::string> {
    std::vector<std::unique_ptr<BodyReader>> stuck;
    for (int i = 0; i < 8; ++i) {
      auto one = co_await t.client->open({.url = t.url("/big"), .http2 = true}, {});
      if (!one) co_return one.error().message();
      stuck.push_back(std::move(*one));  // never read
    }
    for (int i = 0; i < 20; ++i) {
      auto r = co_await t.client->fetch({.url = t.url("/hello"), .timeout_ms = 2000, .http2 = true}, {});
      if (!r) co_return r.error().message();
    }
    for (int i = 0; i < 200 && t.ended < t.handlers; ++i) (void)co_await loop::sleep(t.loop, 10, {});
    co_return fmt::format("{} of {} ended, {}", t.ended, t.handlers, t.last_error);
  };
  EXPECT_EQ(loop::run_until_done(loop, body(*this)), "28 of 28 ended, nothing within 300 ms");
}

TEST_F(Http2, ABodyNobodyReadsHoldsUpItsOwnStreamOnly) {
  start({.max_http2_streams = 20});
  auto body = [](Http2& t) -> Task<std::string> {
    loop::TaskGroup group;
    std::vector<std::string> waited(10);
    auto wait = [](Http2& tt, std::string& out) -> Task<void> {
      ClientRequest r{.method = "POST", .url = tt.url("/wait"), .body = Bytes(5'000'000), .http2 = true};
      auto answer = co_await tt.client->fetch(std::move(r), {});
      out = answer ? std::string(answer->text()) : answer.error().message();
    };
    for (std::string& out : waited) group.spawn(wait(t, out));
    for (int i = 0; i < 10; ++i) {
      auto r = co_await t.client->fetch(
          {.method = "POST", .url = t.url("/count"), .body = Bytes(300'000), .timeout_ms = 5000, .http2 = true}, {});
      if (!r) co_return r.error().message();
      if (r->text() != "300000") co_return std::string(r->text());
    }
    t.gate.set();
    co_await group.join();
    co_return fmt::format("{} {}", waited.front(), waited.back());
  };
  EXPECT_EQ(loop::run_until_done(loop, body(*this)), "waited waited");
}

TEST_F(Http2, DroppingAReaderEndsItsHandlerAndASilentAnswerIsATimeOut) {
  start();
  auto body = [](Http2& t) -> Task<std::string> {
    auto one = co_await t.client->open({.url = t.url("/stream"), .http2 = true}, {});
    if (!one) co_return one.error().message();
    Bytes buf(100);
    auto n = co_await (*one)->read(buf, {});
    one->reset();
    for (int i = 0; i < 200 && t.ended < 1; ++i) (void)co_await loop::sleep(t.loop, 5, {});
    if (t.ended != 1) co_return "the handler goes on";
    auto two = co_await t.client->open({.url = t.url("/wait"), .timeout_ms = 100, .http2 = true}, {});
    if (two || two.error().code() != ErrorCode::kTimeout) co_return "no time-out of the head";
    t.gate.set();
    ClientRequest echo{.method = "POST", .url = t.url("/echo"), .idle_timeout_ms = 50, .http2 = true};
    echo.source = [&t](std::uint64_t offset, ByteSpan out) -> Task<Result<std::size_t>> {
      if (offset > 0) (void)co_await loop::sleep(t.loop, 200, {});
      out[0] = 'x';
      co_return offset > 1 ? std::size_t{0} : std::size_t{1};
    };
    auto three = co_await t.client->open(std::move(echo), {});
    if (!three) co_return three.error().message();
    std::string got;
    for (int timeouts = 0;;) {
      n = co_await (*three)->read(buf, {});
      if (!n && n.error().code() == ErrorCode::kTimeout && ++timeouts < 100) continue;  // it may be called again
      if (!n) co_return n.error().message();
      if (*n == 0) co_return fmt::format("{} {}", got, timeouts > 0);
      got += as_text(ByteView(buf).first(*n));
    }
  };
  EXPECT_EQ(loop::run_until_done(loop, body(*this)), "xx true");
}

TEST_F(Http2, StopEndsStreamsAfterTheirLastWord) {
  start();
  auto body = [](Http2& t) -> Task<std::string> {
    auto one = co_await t.client->open({.url = t.url("/stream"), .http2 = true}, {});
    if (!one) co_return one.error().message();
    loop::TaskGroup group;
    auto stop = [](Http2& tt) -> Task<void> { co_await tt.server->stop(20); };
    group.spawn(stop(t));
    std::string got;
    Bytes buf(1000);
    for (;;) {
      auto n = co_await (*one)->read(buf, {});
      if (!n || *n == 0) break;
      got += as_text(ByteView(buf).first(*n));
    }
    co_await group.join();
    co_return got.substr(0, 4);
  };
  EXPECT_EQ(loop::run_until_done(loop, body(*this)), "tick");
}

TEST_F(Http2, AnswersManyRequestsAtOnceAndThenAgain) {
  start({.max_http2_streams = 8});
  auto body = [](Http2& t) -> Task<int> {
    int good = 0;
    loop::TaskGroup group;
    auto one = [](Http2& tt, int& n) -> Task<void> {
      auto r = co_await tt.client->fetch({.url = tt.url("/hello"), .http2 = true}, {});
      n += r && r->status == 200;
    };
    for (int i = 0; i < 500; ++i) group.spawn(one(t, good));  // beyond the server's limit they wait their turn
    co_await group.join();
    co_return good;
  };
  EXPECT_EQ(loop::run_until_done(loop, body(*this)), 500);
}

TEST_F(Http2, ServesCurl) {
  start();
  // One request each: curl 7.88 fails to use a connection with prior knowledge again, with any server.
  EXPECT_EQ(curl(url("/hello") + " -w ' %{http_version}'"), "hello GET HTTP/2.0 127.0.0.1 2");
  EXPECT_EQ(curl("-o /dev/null -w '%{size_download}' " + url("/big")), "50000000");
  EXPECT_EQ(curl("-I -o /dev/null -w '%{http_code}' " + url("/hello")), "200");
  EXPECT_EQ(curl("-d abc -H 'Expect: 100-continue' " + url("/count")), "3");
  EXPECT_EQ(curl("-T /bin/sh -X POST " + url("/echo") + " | cmp - /bin/sh && echo same"), "same\n");
  EXPECT_THAT(curl("-w ' exit %{exitcode}' " + url("/cut")), HasSubstr(" exit 92"));
}

TEST_F(Http2, AnUpgradeIsAnsweredAsHttp1) {
  start();
  std::string got = loop::run_until_done(
      loop, exchange_raw(loop, server->port(),
                         "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: "
                         "h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"));
  EXPECT_EQ(curl("--http2 " + url("/hello") + " -w ' %{http_version}'"), "hello GET HTTP/1.1 127.0.0.1 1.1");
  EXPECT_THAT(got, StartsWith("HTTP/1.1 200 OK"));
  EXPECT_THAT(got, HasSubstr("HTTP/1.1 a"));
}

// ---- clients that do not play by the rules

std::string frame(std::uint8_t type, std::uint8_t flags, std::uint32_t id, std::string_view payload) {
  std::uint8_t head[9];
  put_be32(head, static_cast<std::uint32_t>(payload.size()) << 8 | type);
  head[4] = flags;
  put_be32(head + 5, id);
  return std::string(as_text(head)) + std::string(payload);
}
constexpr std::uint8_t kData = 0, kHeaders = 1, kReset = 3, kSettings = 4, kPing = 6, kContinuation = 9;
constexpr std::string_view kMagic = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

std::string start_of_connection() { return std::string(kMagic) + frame(kSettings, 0, 0, ""); }
std::string get_block(std::string_view path) {  // HPACK of GET http://a/path
  return std::string("\x82\x86\x41\x01") + "a\x44" + static_cast<char>(path.size()) + std::string(path);
}
std::string get(std::uint32_t id, std::string_view path, std::uint8_t flags = 5) {
  return frame(kHeaders, flags, id, get_block(path));
}

// What the server says until it closes. Every frame's type, for GOAWAY and RST_STREAM with the error code.
std::string talk(Loop& loop, std::uint16_t port, std::string wire) {
  std::string got = loop::run_until_done(loop, exchange_raw(loop, port, std::move(wire)));
  std::string out;
  ByteView rest = as_bytes(got);
  while (rest.size() >= 9) {
    std::uint32_t size = get_be32(rest.data()) >> 8;
    std::uint8_t type = rest[3];
    if (rest.size() < 9 + size) break;
    ByteView payload = rest.subspan(9, size);
    rest = rest.subspan(9 + size);
    if (type == 7) out += fmt::format("goaway {} ", get_be32(payload.data() + 4));
    if (type == 3) out += fmt::format("reset {} ", get_be32(payload.data()));
    if (type == 0) out += fmt::format("data {} ", as_text(payload));
  }
  return out + std::string(as_text(rest));
}

TEST_F(Http2, ClosesConnectionsOfClientsThatFlood) {
  start();
  auto closed = testing::Not(HasSubstr("TIMEOUT"));
  std::string resets = start_of_connection();
  for (std::uint32_t id = 1; id < 4000; id += 2) resets += get(id, "/wait") + frame(kReset, 0, id, {"\0\0\0\x8", 4});
  EXPECT_THAT(talk(loop, server->port(), resets), HasSubstr("goaway"));
  EXPECT_LE(handlers, 2 * 32);

  std::string pings = start_of_connection();
  for (int i = 0; i < 20'000; ++i) pings += frame(kPing, 0, 0, "12345678");
  EXPECT_THAT(talk(loop, server->port(), pings), closed);

  std::string settings = start_of_connection();
  for (int i = 0; i < 20'000; ++i) settings += frame(kSettings, 0, 0, "");
  EXPECT_THAT(talk(loop, server->port(), settings), closed);

  std::string empty = start_of_connection() + get(1, "/count", 4);
  for (int i = 0; i < 20'000; ++i) empty += frame(kData, 0, 1, "");
  EXPECT_THAT(talk(loop, server->port(), empty), HasSubstr("goaway 11"));

  std::string endless = start_of_connection() + frame(kHeaders, 1, 1, get_block("/hello"));
  for (int i = 0; i < 100; ++i) endless += frame(kContinuation, 0, 1, "");
  EXPECT_THAT(talk(loop, server->port(), endless), closed);
  gate.set();
}

TEST_F(Http2, RefusesBadRequestsAndGoesOn) {
  start({.idle_timeout_ms = 200});
  std::string wire =
      start_of_connection() + frame(kHeaders, 5, 1, "\x82\x86\x84") + get(3, "no-slash") + get(5, "/hello");
  std::string got = talk(loop, server->port(), wire);
  EXPECT_THAT(got, HasSubstr("reset 1 "));  // a path without a slash is against RFC 9113 8.3.1
  EXPECT_THAT(got, HasSubstr("data hello GET HTTP/2.0 a"));

  std::string large = start_of_connection();
  std::string block = get_block("/hello");
  for (int i = 0; i < 12; ++i) block += std::string("\0\1x", 3) + "\x7f\xf1\x2e" + std::string(6128, 'v');
  for (std::size_t at = 0; at < block.size(); at += 16'000) {
    bool last = at + 16'000 >= block.size();
    large += frame(at == 0 ? kHeaders : kContinuation, static_cast<std::uint8_t>((at == 0 ? 1 : 0) | (last ? 4 : 0)), 1,
                   std::string_view(block).substr(at, 16'000));
  }
  EXPECT_THAT(talk(loop, server->port(), large), HasSubstr("the head is larger than 65536 bytes"));
}

TEST_F(Http2, ClosesConnectionsThatAreIdleOrTooSlowWithAHead) {
  start({.header_timeout_ms = 60, .idle_timeout_ms = 60});
  EXPECT_EQ(talk(loop, server->port(), start_of_connection()), "goaway 0 ");
  EXPECT_THAT(talk(loop, server->port(), std::string(kMagic.substr(0, 20))), HasSubstr("HTTP/1.1 408"));
  std::string slow = start_of_connection() + frame(kHeaders, 1, 1, get_block("/hello"));
  EXPECT_EQ(talk(loop, server->port(), slow), "goaway 0 ");
  EXPECT_THAT(talk(loop, server->port(), start_of_connection() + "garbage garbage garbage"), HasSubstr("goaway"));
}

TEST_F(Http2, BodiesBeyondTheBudgetOfAllConnectionsEndTheirConnection) {
  start({.max_http2_buffered = 100'000});
  auto body = [](Http2& t) -> Task<std::string> {
    loop::TaskGroup group;
    std::string all;
    auto one = [](Http2& tt, std::string& out) -> Task<void> {
      ClientRequest r{.method = "POST", .url = tt.url("/wait"), .body = Bytes(60'000), .http2 = true};
      auto answer = co_await tt.client->fetch(std::move(r), {});
      out += answer ? "fine " : "cut ";
      tt.gate.set();
    };
    for (int i = 0; i < 2; ++i) group.spawn(one(t, all));
    co_await group.join();
    co_return all;
  };
  EXPECT_EQ(loop::run_until_done(loop, body(*this)), "cut cut ");
}

}  // namespace
}  // namespace caddis::http
