#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "loop/stream.h"

namespace caddis::loop {
namespace {

Task<void> echo(std::unique_ptr<Stream> s) {
  Bytes buf(65536);
  for (;;) {
    Result<std::size_t> n = co_await s->read(buf, 0, {});
    if (!n || *n == 0) co_return;
    if (!co_await s->write(ByteView(buf).first(*n), 0, {})) co_return;
  }
}
Task<void> serve_one(Listener& l) {
  Result<std::unique_ptr<Stream>> s = co_await l.accept({});
  if (s) co_await echo(std::move(*s));
}
Task<Result<std::string>> round_trip(std::unique_ptr<Stream> s, std::size_t size) {
  Bytes sent(size), got;
  for (std::size_t i = 0; i < size; ++i) sent[i] = static_cast<std::uint8_t>(i * 7 + i / 251);
  TaskGroup group;
  auto writer = [](Stream& st, const Bytes& data) -> Task<void> {
    Status ok = co_await st.write(data, 5000, {});
    if (ok) (void)co_await st.shutdown_write();
  };
  group.spawn(writer(*s, sent));
  Bytes buf(100'000);
  for (;;) {
    Result<std::size_t> n = co_await s->read(buf, 5000, {});
    if (!n) {
      s->close();
      co_await group.join();
      co_return std::move(n).error();
    }
    if (*n == 0) break;
    append(got, ByteView(buf).first(*n));
  }
  co_await group.join();
  co_return got == sent ? std::string("same") : std::string("different");
}

TEST(Tcp, CarriesTenMegabytesBothWays) {
  Loop loop;
  auto listener = listen_tcp(loop, {"127.0.0.1", 0});
  ASSERT_TRUE(listener) << listener.error().message();
  ASSERT_NE((*listener)->port(), 0);
  auto body = [](Loop& l, Listener& at) -> Task<Result<std::string>> {
    TaskGroup group;
    group.spawn(serve_one(at));
    auto s = co_await connect_host(l, "localhost", at.port(), 2000, {});
    if (!s) co_return std::move(s).error();
    auto result = co_await round_trip(std::move(*s), 10u << 20);
    co_await group.join();
    co_return result;
  };
  Result<std::string> r = run_until_done(loop, body(loop, **listener));
  ASSERT_TRUE(r) << r.error().message();
  EXPECT_EQ(*r, "same");
}

TEST(Tcp, ListensOnAllAddressesAndNamesATakenPort) {
  Loop loop;
  auto first = listen_tcp(loop, {"", 0});
  ASSERT_TRUE(first) << first.error().message();
  auto second = listen_tcp(loop, {"", (*first)->port()});
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().message().find(std::to_string((*first)->port())), std::string::npos);
  EXPECT_NE(second.error().message().find("already in use"), std::string::npos) << second.error().message();
}

TEST(Tcp, RefusedConnectionNamesTheAddress) {
  Loop loop;
  std::uint16_t port = 0;
  {
    auto listener = listen_tcp(loop, {"127.0.0.1", 0});
    ASSERT_TRUE(listener);
    port = (*listener)->port();
  }
  auto s = run_until_done(loop, connect_tcp(loop, {"127.0.0.1", port}, 1000, {}));
  ASSERT_FALSE(s);
  EXPECT_EQ(s.error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(s.error().message(), fmt::format("connect to 127.0.0.1:{}: Connection refused", port));
}

TEST(Stream, ReadTimesOutAndGoesOnLater) {
  Loop loop;
  auto body = [](Loop& l) -> Task<void> {
    StreamPair pair = *make_stream_pair(l);
    Bytes buf(10);
    auto late = co_await pair.a->read(buf, 1, {});
    EXPECT_FALSE(late);
    if (!late) EXPECT_EQ(late.error().code(), ErrorCode::kTimeout);
    EXPECT_TRUE(co_await pair.b->write(as_bytes("hello"), 0, {}));
    auto n = co_await pair.a->read(buf, 1000, {});
    EXPECT_TRUE(n && *n == 5);
  };
  run_until_done(loop, body(loop));
}

TEST(Stream, TellsOfBytesAndOfAnEndThatNobodyRead) {
  Loop loop;
  auto body = [](Loop& l) -> Task<void> {
    StreamPair pair = *make_stream_pair(l);
    Bytes one(1), buf(10);
    EXPECT_TRUE(co_await pair.b->write(as_bytes("x"), 0, {}));
    EXPECT_EQ(*co_await pair.a->read(one, 1000, {}), 1u);  // fills its buffer: uv asks for another one at once
    EXPECT_TRUE(co_await sleep(l, 1, {}));
    EXPECT_FALSE(pair.a->input_waits());
    EXPECT_TRUE(co_await pair.b->write(as_bytes("hello"), 0, {}));
    while (!pair.a->input_waits()) (void)co_await sleep(l, 1, {});
    EXPECT_EQ(*co_await pair.a->read(buf, 1000, {}), 5u);
    EXPECT_FALSE(pair.a->input_waits());
    pair.b->close();
    while (!pair.a->input_waits()) (void)co_await sleep(l, 1, {});
    EXPECT_EQ(*co_await pair.a->read(buf, 1000, {}), 0u);
    EXPECT_EQ(*co_await pair.a->read(buf, 1000, {}), 0u);
  };
  run_until_done(loop, body(loop));
}

TEST(Stream, WritesSeveralPartsNowUntilTheKernelIsFull) {
  Loop loop;
  auto body = [](Loop& l) -> Task<void> {
    StreamPair pair = *make_stream_pair(l);
    std::array<ByteView, 3> parts = {as_bytes("one "), ByteView(), as_bytes("two")};
    EXPECT_EQ(*pair.a->write_now(parts), 7u);
    Bytes buf(100);
    EXPECT_EQ(*co_await pair.b->read(buf, 1000, {}), 7u);
    EXPECT_EQ(as_text(ByteView(buf).first(7)), "one two");
    Bytes much(100'000, 'm');
    std::array<ByteView, 1> all = {much};
    std::size_t sent = 0;
    for (std::size_t n = 1; n > 0; sent += n) n = *pair.a->write_now(all);
    EXPECT_GT(sent, 0u);
    pair.b->close();
    Result<std::size_t> n = pair.a->write_now(all);
    EXPECT_FALSE(n);
    if (!n) EXPECT_EQ(n.error().code(), ErrorCode::kUnavailable) << n.error().message();
    pair.a->close();
    EXPECT_EQ(pair.a->write_now(all).error().code(), ErrorCode::kCancelled);
  };
  run_until_done(loop, body(loop));
}

TEST(Stream, ReadErrorsNameThePeerOnce) {
  Loop loop;
  auto body = [](Loop& l) -> Task<std::string> {
    auto listener = *listen_tcp(l, {"127.0.0.1", 0});
    auto s = *co_await connect_tcp(l, {"127.0.0.1", listener->port()}, 1000, {});
    auto other = *co_await listener->accept({});
    EXPECT_TRUE(co_await s->write(as_bytes("unread"), 0, {}));
    Bytes one(1);
    EXPECT_EQ(*co_await other->read(one, 1000, {}), 1u);
    other.reset();  // with unread input: a reset
    auto n = co_await s->read(one, 1000, {});
    co_return n ? "no error"
                : n.error().message().substr(0, 9) + n.error().message().substr(n.error().message().rfind(':'));
  };
  EXPECT_EQ(run_until_done(loop, body(loop)), "read from: Connection reset by peer");
}

TEST(Stream, StopFromAnotherThreadEndsARead) {
  Loop loop;
  std::stop_source source;
  auto body = [](Loop& l, std::stop_token stop) -> Task<ErrorCode> {
    StreamPair pair = *make_stream_pair(l);
    Bytes buf(10);
    auto n = co_await pair.a->read(buf, 0, stop);
    co_return n ? ErrorCode::kInternal : n.error().code();
  };
  std::jthread other([&] { source.request_stop(); });
  EXPECT_EQ(run_until_done(loop, body(loop, source.get_token())), ErrorCode::kCancelled);
}

TEST(Stream, CloseEndsAPendingReadAndWrite) {
  Loop loop;
  auto body = [](Loop& l) -> Task<void> {
    StreamPair pair = *make_stream_pair(l);
    TaskGroup group;
    Bytes big(8u << 20), buf(10);
    ErrorCode read_code{}, write_code{};
    auto reader = [](Stream& s, Bytes& b, ErrorCode& out) -> Task<void> {
      auto n = co_await s.read(b, 0, {});
      out = n ? ErrorCode::kInternal : n.error().code();
    };
    auto writer = [](Stream& s, Bytes& b, ErrorCode& out) -> Task<void> {
      auto n = co_await s.write(b, 0, {});
      out = n ? ErrorCode::kInternal : n.error().code();
    };
    group.spawn(reader(*pair.a, buf, read_code));
    group.spawn(writer(*pair.a, big, write_code));
    EXPECT_EQ(group.running(), 2u);
    pair.a->close();
    co_await group.join();
    EXPECT_EQ(read_code, ErrorCode::kCancelled);
    EXPECT_EQ(write_code, ErrorCode::kCancelled);
  };
  run_until_done(loop, body(loop));
}

TEST(Stream, StuckWriterTimesOutAndClosesTheStream) {
  Loop loop;
  auto body = [](Loop& l) -> Task<void> {
    StreamPair pair = *make_stream_pair(l);
    Bytes big(8u << 20);
    Status s = co_await pair.a->write(big, 20, {});
    EXPECT_FALSE(s);
    if (!s) EXPECT_EQ(s.error().code(), ErrorCode::kTimeout);
    Bytes buf(10);
    EXPECT_FALSE(co_await pair.a->read(buf, 0, {}));
  };
  run_until_done(loop, body(loop));
}

TEST(Stream, WritingToAClosedPeerIsAnErrorNotASignal) {
  Loop loop;
  auto body = [](Loop& l) -> Task<void> {
    StreamPair pair = *make_stream_pair(l);
    pair.b.reset();
    co_await sleep(l, 1, {});
    EXPECT_FALSE(co_await pair.a->write(as_bytes("x"), 0, {}));
  };
  run_until_done(loop, body(loop));
}

TEST(UnixSocket, ListensReplacesAStaleFileAndRefusesALiveOne) {
  Loop loop;
  std::string path = fmt::format("{}/caddis-net-test-{}.sock", testing::TempDir(), ::getpid());
  auto listener = listen_unix(loop, path);
  ASSERT_TRUE(listener) << listener.error().message();
  auto live = listen_unix(loop, path);
  EXPECT_FALSE(live);
  auto body = [](Loop& l, Listener& at, std::string p) -> Task<Result<std::string>> {
    // The probe above is the first connection.
    (void)co_await at.accept({});
    TaskGroup group;
    group.spawn(serve_one(at));
    auto s = co_await connect_unix(l, p, 1000, {});
    if (!s) co_return std::move(s).error();
    auto result = co_await round_trip(std::move(*s), 100'000);
    co_await group.join();
    co_return result;
  };
  Result<std::string> r = run_until_done(loop, body(loop, **listener, path));
  ASSERT_TRUE(r) << r.error().message();
  EXPECT_EQ(*r, "same");
  listener->reset();
  auto absent = run_until_done(loop, connect_unix(loop, path, 1000, {}));
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code(), ErrorCode::kNotFound);
}

TEST(Listener, CloseEndsAPendingAccept) {
  Loop loop;
  auto listener = listen_tcp(loop, {"127.0.0.1", 0});
  ASSERT_TRUE(listener);
  auto body = [](Listener& at) -> Task<void> {
    TaskGroup group;
    bool cancelled = false;
    auto waiter = [](Listener& x, bool& c) -> Task<void> {
      auto s = co_await x.accept({});
      c = !s && s.error().code() == ErrorCode::kCancelled;
    };
    group.spawn(waiter(at, cancelled));
    at.close();
    co_await group.join();
    EXPECT_TRUE(cancelled);
  };
  run_until_done(loop, body(**listener));
}

TEST(Resolve, UnknownNameSaysSo) {
  Loop loop;
  auto r = run_until_done(loop, resolve(loop, "no-such-host.invalid", 80, 5000, {}));
  ASSERT_FALSE(r);
  EXPECT_NE(r.error().message().find("no-such-host.invalid"), std::string::npos);
}

TEST(HostPort, TakesGoAddressForms) {
  EXPECT_EQ(parse_host_port(":20202")->host, "");
  EXPECT_EQ(parse_host_port(":20202")->port, 20202);
  EXPECT_EQ(parse_host_port("127.0.0.1:0")->host, "127.0.0.1");
  EXPECT_EQ(parse_host_port("[::]:20202")->host, "::");
  EXPECT_EQ(parse_host_port("fly-local-6pn:1")->host, "fly-local-6pn");
  for (const char* bad : {"", "20202", "::1:80", "host:", "host:70000", "host:-1", "host:8o", "[::1:80"}) {
    EXPECT_FALSE(parse_host_port(bad)) << bad;
  }
}

}  // namespace
}  // namespace caddis::loop
