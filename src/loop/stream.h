// Byte streams and how to get them: TCP and Unix sockets. Stream is an interface, so that TLS, tests and the simulator
// can stand in for a socket. Loop thread only.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "loop/loop.h"

namespace caddis::loop {

class Stream {
 public:
  virtual ~Stream() = default;  // closes
  // At least one byte, or 0 at the end of the stream. One read at a time. timeout_ms 0: none.
  // kTimeout and kCancelled leave the stream usable.
  virtual Task<Result<std::size_t>> read(ByteSpan out, std::int64_t timeout_ms, std::stop_token stop) = 0;
  // All of it, or an error after which the stream is closed (a part may have been sent). One write at a time; the data
  // stays valid until the task ends.
  virtual Task<Status> write(ByteView data, std::int64_t timeout_ms, std::stop_token stop) = 0;
  // Without waiting and without a coroutine: the bytes that the kernel takes of at most 8 parts (0 when its buffer is
  // full, or where there is no such way: use write() then). An error does not close the stream, so that what had
  // arrived before can be read. Not while a write() is pending.
  virtual Result<std::size_t> write_now(std::span<const ByteView> parts) { return std::size_t{0}; }
  // True when bytes or the end of the stream arrived while nobody read, as far as the loop has seen. Known only after
  // a first read().
  virtual bool input_waits() const { return false; }
  virtual Task<Status> shutdown_write() = 0;  // the other side reads the end of the stream; reading goes on
  virtual void close() = 0;                   // at once; a pending read or write ends with kCancelled; may be repeated
  virtual std::string peer() const = 0;       // "[::1]:4711" or a path, for messages
};

struct SocketAddress {
  std::string ip;  // numeric, IPv6 without brackets
  std::uint16_t port = 0;
  bool operator==(const SocketAddress&) const = default;
};
std::string to_text(const SocketAddress& a);  // "1.2.3.4:80", "[::1]:80"
bool is_ip(std::string_view text);

// "HOST:PORT", ":PORT" (host empty), "[V6]:PORT". kInvalid names the text and what is wrong with it.
struct HostPort {
  std::string host;  // without brackets
  std::uint16_t port = 0;
};
Result<HostPort> parse_host_port(std::string_view text);

// The system's resolver on the pool. Never empty when ok. An unknown name is kUnavailable.
Task<Result<std::vector<SocketAddress>>> resolve(Loop& loop, std::string host, std::uint16_t port,
                                                 std::int64_t timeout_ms, std::stop_token stop);
// Blocking; for listeners at start-up.
Result<std::vector<SocketAddress>> resolve_now(Loop& loop, const std::string& host, std::uint16_t port);

Task<Result<std::unique_ptr<Stream>>> connect_tcp(Loop& loop, SocketAddress address, std::int64_t timeout_ms,
                                                  std::stop_token stop);
// Name or address; tries the addresses in the resolver's order, each with its share of the time.
Task<Result<std::unique_ptr<Stream>>> connect_host(Loop& loop, std::string host, std::uint16_t port,
                                                   std::int64_t timeout_ms, std::stop_token stop);
Task<Result<std::unique_ptr<Stream>>> connect_unix(Loop& loop, std::string path, std::int64_t timeout_ms,
                                                   std::stop_token stop);

class Listener {
 public:
  virtual ~Listener() = default;
  // The next connection. One accept at a time; connections wait in the kernel's queue meanwhile.
  virtual Task<Result<std::unique_ptr<Stream>>> accept(std::stop_token stop) = 0;
  virtual std::uint16_t port() const = 0;   // 0 for a Unix socket
  virtual std::string address() const = 0;  // "[::]:20202" as bound, or the path
  virtual void close() = 0;                 // a pending accept ends with kCancelled
};
// Empty ip: all addresses, IPv6 and IPv4 ("::" takes both as well), or IPv4 alone where the kernel has no IPv6.
// Port 0: any free one. A taken port is an error that names the address.
Result<std::unique_ptr<Listener>> listen_tcp(Loop& loop, const SocketAddress& address);
// Replaces a socket file nobody listens on; mode 0600. The file is removed on close.
Result<std::unique_ptr<Listener>> listen_unix(Loop& loop, const std::string& path);

// Two connected streams in this process (socketpair), for tests and in-process servers.
struct StreamPair {
  std::unique_ptr<Stream> a, b;
};
Result<StreamPair> make_stream_pair(Loop& loop);

}  // namespace caddis::loop
