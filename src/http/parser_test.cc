#include "http/parser.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace caddis::http {
namespace {

struct Outcome {
  int status = 0;  // 0: accepted
  std::string text;
};

// The head as a server reads it: scanned in pieces of step bytes, then parsed.
Outcome read_request(std::string_view wire, std::size_t step) {
  HeadScanner scanner;
  for (std::size_t have = std::min(step, wire.size());; have = std::min(have + step, wire.size())) {
    auto length = scanner.scan(wire.substr(0, have));
    if (!length) return {length.error().status, length.error().text};
    if (*length > 0) {
      auto head = parse_request_head(wire.substr(0, *length));
      return head ? Outcome{} : Outcome{head.error().status, head.error().text};
    }
    if (have == wire.size()) return {-1, "incomplete"};
  }
}

struct HeadCase {
  const char* what;
  std::string wire;
  int status;
};
void PrintTo(const HeadCase& c, std::ostream* os) { *os << c.what; }

const HeadCase kHeads[] = {
    {"plain", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0},
    {"empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 0},
    {"absolute form", "GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n", 0},
    {"options star", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 0},
    {"1.0 without host", "GET / HTTP/1.0\r\n\r\n", 0},
    {"value of high bytes", "GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa4\r\n\r\n", 0},
    {"chunked in capitals", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", 0},
    {"length and coding", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"coding and length", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400},
    {"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400},
    {"two equal lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", 400},
    {"list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", 400},
    {"length with plus", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", 400},
    {"length negative", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400},
    {"length minus zero", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -0\r\n\r\n", 400},
    {"length in hex", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", 400},
    {"length empty", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400},
    {"length beyond 63 bits", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n", 400},
    {"length with underscore", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\n", 400},
    {"two codings", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
     400},
    {"gzip, chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
    {"identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 501},
    {"xchunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 501},
    {"vertical tab before chunked",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0b"
     "chunked\r\n\r\n",
     400},
    {"coding in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {"folded line", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", 400},
    {"folded with tab", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\t2\r\n\r\n", 400},
    {"first field indented", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
    {"bare LF", "GET / HTTP/1.1\nHost: a\n\n", 400},
    {"bare LF in the middle", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\nY: 2\r\n\r\n", 400},
    {"bare CR", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n", 400},
    {"empty line ended by LF", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
    {"space before colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
    {"length, space, colon", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n", 400},
    {"no colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400},
    {"no name", "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", 400},
    {"name in brackets", "GET / HTTP/1.1\r\nHost: a\r\nX(y): x\r\n\r\n", 400},
    {"NUL in a value", std::string("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 36), 400},
    {"no host", "GET / HTTP/1.1\r\n\r\n", 400},
    {"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
    {"host with path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
    {"host with user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
    {"two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"tab as a separator", "GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"broken escape", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"encoded NUL", "GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"connect", "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"star without options", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"no version", "GET /\r\nHost: a\r\n\r\n", 400},
    {"lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
    {"HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
    {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\n", 505},
    {"empty line first", "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"odd expectation", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", 417},
    {"64 KiB of header", "GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(70'000, 'x') + "\r\n\r\n", 431},
    {"endless target", "GET /" + std::string(70'000, 'x'), 431},
};

class RequestHeads : public testing::TestWithParam<HeadCase> {};
TEST_P(RequestHeads, AreAcceptedOrRefusedHoweverTheyArrive) {
  const HeadCase& c = GetParam();
  for (std::size_t step : {std::size_t{1}, std::size_t{7}, c.wire.size()}) {
    if (step == 1 && c.wire.size() > 10'000) continue;
    Outcome o = read_request(c.wire, step);
    EXPECT_EQ(o.status, c.status) << c.what << " step " << step << ": " << o.text;
  }
}
INSTANTIATE_TEST_SUITE_P(Table, RequestHeads, testing::ValuesIn(kHeads));

TEST(RequestHead, AcceptsAHeadOfExactlyTheLimit) {
  std::string wire = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
  wire += std::string(kMaxHead - wire.size() - 4, 'x') + "\r\n\r\n";
  ASSERT_EQ(wire.size(), kMaxHead);
  EXPECT_EQ(read_request(wire, wire.size()).status, 0);
  wire.insert(30, "x");
  EXPECT_EQ(read_request(wire, wire.size()).status, 431);
}

TEST(RequestHead, IsTooLargeAndNotMalformedWhenTheLimitCutsALineEnd) {
  std::string wire = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
  wire += std::string(kMaxHead - wire.size() - 1, 'x') + "\r\nY: z\r\n\r\n";
  ASSERT_EQ(wire[kMaxHead - 1], '\r');
  EXPECT_EQ(read_request(wire, wire.size()).status, 431);
  EXPECT_EQ(read_request(wire, 1000).status, 431);
}

TEST(RequestHead, RefusesMoreThan256Fields) {
  std::string wire = "GET / HTTP/1.1\r\nHost: a\r\n";
  for (int i = 0; i < 256; ++i) wire += "X: 1\r\n";
  EXPECT_EQ(read_request(wire + "\r\n", 1000).status, 431);
}

TEST(RequestHead, GivesMethodTargetHeadersAndFraming) {
  std::string wire =
      "POST /db/my%20db?name=a%26b&x=1+2&flag HTTP/1.1\r\nHost: n:20202\r\ncontent-LENGTH: 007\r\nX-A: \t v \r\n"
      "Connection: Keep-Alive, Close\r\nExpect: 100-Continue\r\n\r\n";
  auto h = parse_request_head(wire);
  ASSERT_TRUE(h) << h.error().text;
  EXPECT_EQ(h->method, "POST");
  EXPECT_EQ(h->target.path, "/db/my db");
  ASSERT_TRUE(h->target.param("name"));
  EXPECT_EQ(*h->target.param("name"), "a&b");
  EXPECT_EQ(*h->target.param("x"), "1 2");
  EXPECT_EQ(*h->target.param("flag"), "");
  EXPECT_FALSE(h->target.param("other"));
  EXPECT_EQ(h->headers.get("x-a"), "v");
  EXPECT_EQ(h->body.kind, BodyFraming::Kind::kLength);
  EXPECT_EQ(h->body.length, 7u);
  EXPECT_FALSE(h->keep_alive);
  EXPECT_TRUE(h->expect_continue);
}

TEST(RequestView, PointsIntoTheHeadAndKeepsWholeLines) {
  std::string wire = "GET http://h:1/a%20b?q=100%&\xc3\xa4 HTTP/1.1\r\nHost: other\r\nX-A: \t v \r\n\r\n";
  std::vector<Field> fields(3);
  auto v = parse_request_view(wire, fields);
  ASSERT_TRUE(v) << v.error().text;
  EXPECT_EQ(v->target, "/a%20b?q=100%&\xc3\xa4");
  EXPECT_EQ(v->path, "/a%20b");
  EXPECT_EQ(v->authority, "h:1");
  ASSERT_EQ(fields.size(), 2u);
  EXPECT_EQ(fields[1].name, "X-A");
  EXPECT_EQ(fields[1].value, "v");
  EXPECT_EQ(fields[1].line, "X-A: \t v \r\n");
  EXPECT_EQ(fields[1].line.data() + fields[1].line.size() + 2, wire.data() + wire.size());
  EXPECT_EQ(parse_request_view("GET /x HTTP/1.1\r\nHost: n:2\r\n\r\n", fields)->authority, "n:2");
  auto bare = parse_request_view("GET http://h?x HTTP/1.1\r\nHost: h\r\n\r\n", fields);
  EXPECT_EQ(bare->target, "?x");
  EXPECT_EQ(bare->path, "/");
}

TEST(RequestView, RefusesWhatAServerRefuses) {
  std::vector<Field> fields;
  for (const HeadCase& c : kHeads) {
    HeadScanner scanner;
    auto length = scanner.scan(c.wire);
    if (!length || *length == 0) continue;
    auto v = parse_request_view(std::string_view(c.wire).substr(0, *length), fields);
    EXPECT_EQ(v ? 0 : v.error().status, c.status) << c.what;
  }
}

TEST(ResponseView, GivesTheReasonAndTheFields) {
  std::vector<Field> fields;
  auto v = parse_response_view("HTTP/1.1 404 Nothing here\r\nA: b\r\nConnection: x, close\r\n\r\n", "GET", fields);
  ASSERT_TRUE(v);
  EXPECT_EQ(v->status, 404);
  EXPECT_EQ(v->reason, "Nothing here");
  EXPECT_FALSE(v->keep_alive);
  EXPECT_EQ(fields.size(), 2u);
}

TEST(ResponseHead, KnowsWhichAnswersHaveNoBody) {
  std::string sized = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
  EXPECT_EQ(parse_response_head(sized, "GET")->body.kind, BodyFraming::Kind::kLength);
  EXPECT_EQ(parse_response_head(sized, "HEAD")->body.kind, BodyFraming::Kind::kNone);
  EXPECT_EQ(parse_response_head("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET")->body.kind,
            BodyFraming::Kind::kNone);
  EXPECT_EQ(parse_response_head("HTTP/1.1 204\r\n\r\n", "GET")->body.kind, BodyFraming::Kind::kNone);
  auto open = parse_response_head("HTTP/1.0 200 OK\r\n\r\n", "GET");
  EXPECT_EQ(open->body.kind, BodyFraming::Kind::kUntilClose);
  EXPECT_FALSE(open->keep_alive);
}

TEST(ResponseHead, RefusesWhatCanBeReadInTwoWays) {
  for (const char* wire :
       {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/2 200\r\n\r\n", "ICY 200 OK\r\n\r\n", "\r\n\r\n", "HTTP/1.1 -20 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n"}) {
    EXPECT_FALSE(parse_response_head(wire, "GET")) << wire;
  }
}

// ---- bodies

struct BodyOutcome {
  std::string body, rest;
  bool done = false;
  int status = 0;
};
BodyOutcome decode(std::string_view wire, BodyFraming::Kind kind, std::size_t step, std::size_t room = 1000,
                   std::uint64_t length = 0) {
  BodyDecoder d({kind, length});
  BodyOutcome o;
  Bytes out(room);
  while (!wire.empty() && !d.done()) {
    auto p = d.decode(as_bytes(wire.substr(0, step)), out);
    if (!p) {
      o.status = p.error().status;
      return o;
    }
    o.body += as_text(ByteView(out).first(p->produced));
    wire.remove_prefix(p->consumed);
  }
  o.rest = wire;
  o.done = d.done();
  return o;
}

TEST(ChunkedBody, ComesOutWholeInAnyPiecesAndLeavesWhatFollows) {
  std::string wire =
      "5\r\nhello\r\n00001;ext=\"v\"\r\n,\r\nA\r\n wide worl\r\n1\r\nd\r\n0\r\nX-Sum: 1\r\n\r\nGET /next";
  for (std::size_t step : {1u, 2u, 3u, 50u, 1000u}) {
    for (std::size_t room : {1u, 4u, 100u}) {
      BodyOutcome o = decode(wire, BodyFraming::Kind::kChunked, step, room);
      EXPECT_EQ(o.status, 0);
      EXPECT_EQ(o.body, "hello, wide world");
      EXPECT_EQ(o.rest, "GET /next");
      EXPECT_TRUE(o.done);
    }
  }
}

TEST(ChunkedBody, IsRefusedWhenItsFramingIsUnclean) {
  for (std::string wire : {std::string("5\nhello\r\n0\r\n\r\n"),
                           std::string("5\r\nhello\n0\r\n\r\n"),
                           std::string("5\r\nhelloX\r\n0\r\n\r\n"),
                           std::string("5\r\nhello0\r\n\r\n"),
                           std::string("-5\r\nhello\r\n"),
                           std::string("+5\r\nhello\r\n"),
                           std::string("0x5\r\nhello\r\n"),
                           std::string("5 \r\nhello\r\n"),
                           std::string(" 5\r\nhello\r\n"),
                           std::string("\r\n"),
                           std::string(";a\r\n"),
                           std::string("g\r\n"),
                           std::string("5\r\rhello\r\n"),
                           std::string("ffffffffffffffff\r\nx"),
                           std::string("00000000000000005\r\nhello"),
                           std::string("5;\x01\r\nhello\r\n0\r\n\r\n"),
                           std::string("0\r\nA : b\r\n\r\n"),
                           std::string("0\r\n folded\r\n\r\n"),
                           std::string("0\r\n\n"),
                           "5;" + std::string(5000, 'x') + "\r\nhello\r\n0\r\n\r\n"}) {
    EXPECT_EQ(decode(wire, BodyFraming::Kind::kChunked, 3).status, 400) << wire.substr(0, 40);
  }
}

TEST(ChunkedBody, IsRefusedWhenExtensionsFloodIt) {
  std::string wire;
  for (int i = 0; i < 20; ++i) wire += "1;" + std::string(2000, 'e') + "\r\nx\r\n";
  EXPECT_EQ(decode(wire, BodyFraming::Kind::kChunked, 4096).status, 400);
}

TEST(ChunkedBody, MayConsistOfManyTinyChunks) {
  std::string wire;
  for (int i = 0; i < 50'000; ++i) wire += "1\r\nx\r\n";
  BodyOutcome o = decode(wire + "0\r\n\r\n", BodyFraming::Kind::kChunked, 4096);
  EXPECT_EQ(o.status, 0);
  EXPECT_EQ(o.body.size(), 50'000u);
}

TEST(ChunkedBody, HasALimitedTrailer) {
  std::string wire = "0\r\n";
  for (int i = 0; i < 1000; ++i) wire += "Trailer-Field: value\r\n";
  EXPECT_EQ(decode(wire + "\r\n", BodyFraming::Kind::kChunked, 4096).status, 431);
}

TEST(Body, OfALengthEndsThereAndAnEarlyEndIsAnError) {
  BodyOutcome o = decode("hello world", BodyFraming::Kind::kLength, 2, 3, 5);
  EXPECT_EQ(o.body, "hello");
  EXPECT_EQ(o.rest, " world");
  BodyDecoder cut({BodyFraming::Kind::kLength, 5});
  EXPECT_FALSE(cut.end_of_stream());
  BodyDecoder chunked({BodyFraming::Kind::kChunked, 0});
  EXPECT_FALSE(chunked.end_of_stream());
  BodyDecoder open({BodyFraming::Kind::kUntilClose, 0});
  EXPECT_TRUE(open.end_of_stream());
  EXPECT_TRUE(open.done());
}

// ---- URLs

TEST(Url, IsTakenApart) {
  auto u = parse_url("http://node-1:20202/db/x?y=1");
  ASSERT_TRUE(u);
  EXPECT_EQ(u->host, "node-1");
  EXPECT_EQ(u->port, 20202);
  EXPECT_EQ(u->target, "/db/x?y=1");
  EXPECT_EQ(u->authority, "node-1:20202");
  u = parse_url("HTTPS://[fdaa::3]?q");
  ASSERT_TRUE(u);
  EXPECT_TRUE(u->tls);
  EXPECT_EQ(u->host, "fdaa::3");
  EXPECT_EQ(u->port, 443);
  EXPECT_EQ(u->authority, "[fdaa::3]");
  EXPECT_EQ(u->target, "/?q");
}

TEST(Url, ThatCannotBeAskedIsRefused) {
  for (const char* text :
       {"", "a", "ftp://a/", "http://", "http:///x", "http://a:0/", "http://a:65536/", "http://a:x/", "http://u:p@a/",
        "http://[::1/", "http://[::1]x/", "http://a/ b", "http://a/#f", "http://a/\r\nX: y"}) {
    EXPECT_FALSE(parse_url(text)) << text;
  }
}

TEST(Percent, EscapesRoundTrip) {
  std::string all;
  for (int i = 1; i < 256; ++i) all += static_cast<char>(i);
  EXPECT_EQ(percent_decode(percent_encode(all)), all);
  EXPECT_EQ(percent_encode("a/b c~", true), "a/b%20c~");
  EXPECT_EQ(percent_encode("a/b"), "a%2Fb");
}

TEST(HttpDate, IsTheImfFixdateOfRfc9110) {
  EXPECT_EQ(http_date(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
  EXPECT_EQ(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
}

}  // namespace
}  // namespace caddis::http
