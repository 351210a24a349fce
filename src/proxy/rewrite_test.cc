#include "proxy/rewrite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace caddis::proxy {
namespace {

using testing::HasSubstr;
using testing::Not;
using Kind = http::BodyFraming::Kind;

struct Request {
  std::string wire;
  std::vector<http::Field> fields;
  http::RequestView view;
  RequestNotes notes;
  explicit Request(std::string w, bool fly = false) : wire(std::move(w)) {
    auto parsed = http::parse_request_view(wire, fields);
    EXPECT_TRUE(parsed) << parsed.error().text;
    if (parsed) view = *parsed;
    read_request(view, fields, fly, notes);
  }
  std::string sent(RequestRoute route = {}) {
    std::string out;
    if (route.client_ip.empty()) route.client_ip = "9.9.9.9";
    append_request(out, view, fields, notes, route);
    return out;
  }
};

std::string get(const std::string& lines) { return "GET /a?b HTTP/1.1\r\nHost: h:1\r\n" + lines + "\r\n"; }

TEST(ForwardedRequest, KeepsLinesAsTheyCameAndAddsWhoSentIt) {
  EXPECT_EQ(Request(get("Accept: */*\r\nX-a:  two  words \r\n")).sent(),
            "GET /a?b HTTP/1.1\r\nHost: h:1\r\nAccept: */*\r\nX-a:  two  words \r\nX-Forwarded-For: 9.9.9.9\r\n"
            "X-Forwarded-Proto: http\r\nX-Forwarded-Host: h:1\r\n\r\n");
}

TEST(ForwardedRequest, ContinuesWhatProxiesBeforeHaveAdded) {
  std::string sent = Request(get("X-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2, 3.3.3.3\r\n"
                                 "X-Forwarded-Proto: https\r\nX-Forwarded-Host: shop\r\n"))
                         .sent();
  EXPECT_THAT(sent, HasSubstr("\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 9.9.9.9\r\n"));
  EXPECT_THAT(sent, HasSubstr("X-Forwarded-Proto: https\r\n"));
  EXPECT_THAT(sent, HasSubstr("X-Forwarded-Host: shop\r\n"));
  EXPECT_THAT(sent, Not(HasSubstr("Proto: http\r\n")));
  EXPECT_THAT(sent, Not(HasSubstr("Host: h:1\r\nX-Forwarded-Host: h:1")));
}

TEST(ForwardedRequest, LeavesTheListOfFlysProxyAlone) {
  EXPECT_THAT(Request(get("X-Forwarded-For: 1.1.1.1, 2.2.2.2\r\n"), true).sent({.fly = true}),
              AllOf(HasSubstr("\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2\r\n"), Not(HasSubstr("9.9.9.9"))));
  EXPECT_THAT(Request(get(""), true).sent({.fly = true}), HasSubstr("\r\nX-Forwarded-For: 9.9.9.9\r\n"));
}

TEST(ForwardedRequest, LosesHopByHopFieldsAndWhatConnectionNames) {
  std::string sent = Request(get("Connection: keep-alive, X-Gone\r\nX-Gone: 1\r\nx-gone: 2\r\nKeep-Alive: 5\r\n"
                                 "TE: trailers\r\nTrailer: X\r\nProxy-Connection: x\r\nProxy-Authorization: y\r\n"
                                 "Upgrade: h2c\r\nHTTP2-Settings: AAA\r\nX-Stays: 1\r\n"))
                         .sent();
  EXPECT_EQ(sent,
            "GET /a?b HTTP/1.1\r\nHost: h:1\r\nX-Stays: 1\r\nX-Forwarded-For: 9.9.9.9\r\n"
            "X-Forwarded-Proto: http\r\nX-Forwarded-Host: h:1\r\n\r\n");
}

TEST(ForwardedRequest, KeepsWhatConnectionMayNotTakeAway) {
  std::string lines = "X-Forwarded-For: 1.1.1.1\r\nFly-Client-IP: 1.1.1.1\r\nCookie: a=b\r\nX-Real-IP: 1.1.1.1\r\n";
  std::string sent =
      Request(get("Connection: close, X-Forwarded-For, Fly-Client-IP, Cookie, Host, X-Real-IP\r\n" + lines)).sent();
  for (const char* kept : {"X-Forwarded-For: 1.1.1.1, 9.9.9.9\r\n", "Fly-Client-IP: 1.1.1.1\r\n", "Cookie: a=b\r\n",
                           "Host: h:1\r\n", "X-Real-IP: 1.1.1.1\r\n"}) {
    EXPECT_THAT(sent, HasSubstr(kept));
  }
}

TEST(ForwardedRequest, LosesFlyReplayFieldsOfClientsInEverySpelling) {
  std::string lines =
      "fly-replay: instance=x\r\nFly-Replay-Src: instance=y\r\nFLY-REPLAY-CACHE: z\r\nFly_Replay_Src: instance=u\r\n"
      "X_Forwarded_For: 6.6.6.6\r\nCaddis-Forwarded: request\r\nCaddis_Forwarded: request\r\nfly-replay-failed: v\r\n";
  Request here(get(lines));
  EXPECT_EQ(here.sent(),
            "GET /a?b HTTP/1.1\r\nHost: h:1\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: http\r\n"
            "X-Forwarded-Host: h:1\r\n\r\n");
  EXPECT_FALSE(here.notes.replayed);
  EXPECT_TRUE(here.notes.forwarded);

  Request on_fly(get(lines), true);
  std::string sent = on_fly.sent({.fly = true});
  EXPECT_TRUE(on_fly.notes.replayed);
  EXPECT_THAT(sent, HasSubstr("Fly-Replay-Src: instance=y\r\n"));  // by Fly's proxy; apps use it
  EXPECT_THAT(sent, HasSubstr("fly-replay-failed: v\r\n"));
  EXPECT_THAT(sent, Not(HasSubstr("instance=x")));
  EXPECT_THAT(sent, Not(HasSubstr("instance=u")));
}

TEST(ForwardedRequest, StatesTheFramingAnew) {
  EXPECT_THAT(Request("POST / HTTP/1.1\r\nHost: h\r\ncontent-length: 007\r\nA: b\r\n\r\n").sent(),
              testing::EndsWith("\r\nContent-Length: 7\r\n\r\n"));
  EXPECT_THAT(Request("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n").sent(),
              testing::EndsWith("\r\nTransfer-Encoding: chunked\r\n\r\n"));
  EXPECT_THAT(Request("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n").sent(),
              HasSubstr("Expect: 100-continue\r\n"));
}

TEST(ForwardedRequest, HasAnOriginFormAndTheHostOfTheTarget) {
  EXPECT_THAT(Request("GET http://real:2/x HTTP/1.1\r\nHost: other\r\n\r\n").sent(),
              testing::StartsWith("GET /x HTTP/1.1\r\nHost: real:2\r\n"));
  EXPECT_THAT(Request("GET http://real?q HTTP/1.1\r\nHost: other\r\n\r\n").sent(),
              testing::StartsWith("GET /?q HTTP/1.1\r\nHost: real\r\n"));
  EXPECT_THAT(Request("GET http://real HTTP/1.1\r\nHost: other\r\n\r\n").sent(),
              testing::StartsWith("GET / HTTP/1.1\r\nHost: real\r\n"));
  EXPECT_THAT(Request("GET /x HTTP/1.0\r\n\r\n").sent({.default_host = "localhost:81"}),
              testing::StartsWith("GET /x HTTP/1.1\r\nHost: localhost:81\r\n"));
}

TEST(ForwardedRequest, AsksForAnUpgradeOnlyWhenToldTo) {
  Request ws(get("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n"));
  EXPECT_TRUE(ws.notes.upgrade);
  EXPECT_THAT(ws.sent({.upgrade = true}), HasSubstr("\r\nUpgrade: websocket\r\n"));
  EXPECT_THAT(ws.sent({.upgrade = true}), HasSubstr("\r\nConnection: Upgrade\r\n"));
  EXPECT_THAT(ws.sent(), Not(HasSubstr("Upgrade")));
  EXPECT_FALSE(Request(get("Upgrade: websocket\r\n")).notes.upgrade);
  EXPECT_FALSE(Request(get("Connection: upgrade\r\n")).notes.upgrade);
  for (const char* hidden : {"h2c", "H2C", "websocket, h2c", "HTTP/2.0", "h2c-14", ""}) {
    EXPECT_FALSE(Request(get(fmt::format("Connection: upgrade\r\nUpgrade: {}\r\n", hidden))).notes.upgrade) << hidden;
  }
  EXPECT_FALSE(Request(get("Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: x\r\n")).notes.upgrade);
  EXPECT_FALSE(Request("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n").notes.upgrade);
}

TEST(ForwardedRequest, CarriesOurMark) {
  EXPECT_THAT(Request(get("")).sent({.mark = "write"}), HasSubstr("\r\nCaddis-Forwarded: write\r\n"));
  Request marked(get("Caddis-Forwarded: write\r\n"));
  EXPECT_TRUE(marked.notes.forwarded);
  EXPECT_TRUE(marked.notes.marked_write);
  EXPECT_THAT(marked.sent(), Not(HasSubstr("Caddis")));
  EXPECT_TRUE(Request(get("fly-replay-src: instance=a;state=caddis-write;t=1\r\n"), true).notes.marked_write);
}

TEST(RequestNotes, HaveTheCookiesAndOnFlyTheTimes) {
  Request r(get("Cookie: x=y\r\nCookie: __txid=000000000000002a; __caddis_txids=a:0000000000000001\r\n"
                "X-Request-Start: t=1512379167574\r\n"),
            true);
  EXPECT_EQ(r.notes.txid, Txid(42));
  EXPECT_EQ(r.notes.txids, "a:0000000000000001");
  EXPECT_EQ(r.notes.seen_ms, 1512379167574);
  EXPECT_EQ(Request(get("X-Request-Start: t=1512379167574\r\nFly-Request-Id: 01ARZ3NDEKTSV4RRFFQ69G5FAV\r\n"), true)
                .notes.seen_ms,
            1469922850259);
  EXPECT_FALSE(Request(get("X-Request-Start: t=1512379167574\r\n")).notes.seen_ms);
  EXPECT_FALSE(Request(get("Cookie: __txid=1\r\n")).notes.txid);
}

struct Answer {
  std::string wire, out;
  std::vector<http::Field> fields;
  Kind kind = Kind::kNone;
  Answer(std::string w, ResponseRoute route = {}, std::string_view method = "GET") : wire(std::move(w)) {
    auto view = http::parse_response_view(wire, method, fields);
    EXPECT_TRUE(view) << view.error().text;
    if (view) kind = append_response(out, *view, fields, route);
  }
};

TEST(ForwardedAnswer, KeepsItsLinesBehindOurOwn) {
  Answer a("HTTP/1.1 201 Made it\r\nSet-Cookie: a=b\r\nX:  y\r\nContent-Length: 3\r\n\r\n",
           {.own_fields = "Our: s\r\n"});
  EXPECT_EQ(a.out, "HTTP/1.1 201 Made it\r\nOur: s\r\nSet-Cookie: a=b\r\nX:  y\r\nContent-Length: 3\r\n\r\n");
  EXPECT_EQ(a.kind, Kind::kLength);
}

TEST(ForwardedAnswer, IsFramedForTheClient) {
  std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n";
  EXPECT_EQ(Answer(chunked).out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
  Answer old(chunked, {.client_minor = 0});
  EXPECT_EQ(old.out, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(old.kind, Kind::kUntilClose);
  Answer open("HTTP/1.0 200 OK\r\n\r\n");
  EXPECT_EQ(open.out, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
  EXPECT_EQ(Answer("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", {.close = true}).out,
            "HTTP/1.1 200 \r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

TEST(ForwardedAnswer, WithoutABodyKeepsTheLengthOfTheRepresentation) {
  std::string ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
  EXPECT_EQ(Answer(ok, {}, "HEAD").out, ok);
  std::string same = "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n";
  EXPECT_EQ(Answer(same).out, same);
  EXPECT_EQ(Answer("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n").out, "HTTP/1.1 204 No Content\r\n\r\n");
  EXPECT_EQ(Answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", {}, "HEAD").out, "HTTP/1.1 200 OK\r\n\r\n");
}

TEST(ForwardedAnswer, LosesHopByHopFields) {
  EXPECT_EQ(Answer("HTTP/1.1 200 OK\r\nConnection: close, X-Gone\r\nKeep-Alive: 5\r\nX-Gone: 1\r\nUpgrade: h2\r\n"
                   "A: b\r\nProxy-Connection: x\r\nContent-Length: 0\r\n\r\n")
                .out,
            "HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(Answer("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nA: b\r\n\r\n",
                   {.upgrade = true})
                .out,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nA: b\r\nConnection: Upgrade\r\n\r\n");
}

TEST(ForwardedAnswer, KnowsThatAReplayIsWanted) {
  EXPECT_TRUE(asks_for_replay(Answer("HTTP/1.1 200 OK\r\nFly-Replay: instance=a\r\n\r\n").fields));
  EXPECT_FALSE(asks_for_replay(Answer("HTTP/1.1 200 OK\r\nFly-Replay-Cache: a\r\n\r\n").fields));
}

TEST(Peer, IsShownWithoutPortAndMapping) {
  EXPECT_EQ(ip_of_peer("1.2.3.4:80"), "1.2.3.4");
  EXPECT_EQ(ip_of_peer("[::1]:80"), "::1");
  EXPECT_EQ(ip_of_peer("[::ffff:1.2.3.4]:80"), "1.2.3.4");
}

TEST(ProxyUrl, TakesTheHostOfTheNodeAndOurOwnPort) {
  EXPECT_EQ(derive_proxy_url("http://m1.vm.app.internal:20202", ":8080"), "http://m1.vm.app.internal:8080");
  EXPECT_EQ(derive_proxy_url("http://[fdaa::1]:20202/", "0.0.0.0:8080"), "http://[fdaa::1]:8080");
  EXPECT_EQ(derive_proxy_url("", ":8080"), "");
  EXPECT_EQ(derive_proxy_url("http://a:1", "8080"), "");
}

}  // namespace
}  // namespace caddis::proxy
