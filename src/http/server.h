// An HTTP/1.1 and HTTP/2 server on the loop. Loop thread only. A client that begins with HTTP/2's preface gets HTTP/2
// in cleartext ("prior knowledge"), every other HTTP/1.1, on the same port; an Upgrade to h2c is ignored.
//
//   auto server = Server::listen(loop, ":20202", handler);   // bound: connections wait in the kernel's queue
//   (*server)->serve();                                      // accepted from here on
//   co_await (*server)->stop();                              // listeners closed, connections cut, handlers ended
//
// A malformed request is answered with its 4xx or 5xx and never reaches the handler. A handler that ends without an
// answer gives a 500 (400 or 408 after its read() failed so); one that ends in the middle of its answer cuts the
// connection (HTTP/2: resets the stream), so that the client sees it.
//
// What HTTP/2 costs is bounded: of a request's body at most a window waits for its handler (64 KiB, up to 1 MiB for one
// that keeps up; 4 MiB a connection, ServerOptions::max_http2_buffered in all), of answers 256 KiB a connection wait
// for the kernel. A client that is slow to read one answer holds up that one. Resets, pings, settings and the like are
// limited; beyond that the connection is closed with ENHANCE_YOUR_CALM.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "http/message.h"
#include "loop/loop.h"
#include "loop/stream.h"

namespace caddis::http {

using loop::Task;
struct Exchange;  // one request and its answer
struct ServerState;

struct Request {
  std::string method;
  Target target;
  Headers headers;
  int major = 1;
  int minor = 1;     // HTTP/1.minor
  std::string peer;  // "[::1]:4711"

  // The next bytes of the body, 0 at its end; sends "100 Continue" first where the client waits for it. kCorrupt:
  // broken chunk framing; kUnavailable: cut off; kTimeout: no byte within ServerOptions::body_timeout_ms.
  // May run beside the ResponseWriter's calls; over HTTP/2 that is of use to any client.
  Task<Result<std::size_t>> read(ByteSpan out);
  // Ends a read() that waits, and every later one, with kCancelled: for a handler that reads beside its answer.
  void stop_reading();
  // The whole rest of the body; kNoSpace when it is larger than limit bytes (answer 413).
  Task<Result<Bytes>> read_all(std::size_t limit);
  std::optional<std::uint64_t> content_length() const;  // 0 without a body; none for a chunked one
  // Requested when the server stops; pass it to everything the handler waits for.
  std::stop_token stop() const;

  Exchange* exchange = nullptr;  // of the server
};

// Every call ends with an error once the client is gone; a handler may ignore that and return.
class ResponseWriter {
 public:
  explicit ResponseWriter(Exchange& exchange) : exchange_(exchange) {}
  // A whole answer. Content-Length, Date and Connection are added.
  Task<Status> send(int status, Headers headers, ByteView body);
  Task<Status> send(int status, Headers headers, std::string body);  // Content-Type: text/plain unless given

  // An answer in pieces: chunked, or exactly as long as a Content-Length in headers says.
  Task<Status> begin(int status, Headers headers);
  Task<Status> write(ByteView data);  // waits until the kernel has taken it (HTTP/2: or the connection's buffer)
  Task<Status> finish();

  bool begun() const;
  void close_afterwards();  // no keep-alive after this answer (HTTP/1)

 private:
  Exchange& exchange_;
};

using Handler = std::function<Task<void>(Request&, ResponseWriter&)>;

struct ServerOptions {
  std::int64_t header_timeout_ms = 10'000;  // from the first byte of a head to its last (408)
  std::int64_t idle_timeout_ms = 75'000;    // between requests
  std::int64_t body_timeout_ms = 60'000;    // without a byte of a body
  std::int64_t write_timeout_ms = 60'000;   // without the client taking bytes
  std::size_t max_connections = 1024;       // more are answered 503
  std::uint32_t max_http2_streams = 32;     // requests at a time on one connection
  std::size_t max_http2_buffered = 64u << 20;
};

// Binds addr as Server::listen() takes it, for one who accepts by itself. Of a name's addresses the first IPv4 one, as
// Go does, else the first.
Result<std::unique_ptr<loop::Listener>> listen_on(loop::Loop& loop, const std::string& addr);

class Server {
 public:
  // addr: ":20202" (all addresses), "127.0.0.1:0", "[::]:20202", "fly-local-6pn:20202". Blocks while a name is
  // resolved. A taken port or an unknown name is an error that names addr.
  static Result<std::unique_ptr<Server>> listen(loop::Loop& loop, const std::string& addr, Handler handler,
                                                ServerOptions options = {});
  static Result<std::unique_ptr<Server>> listen_unix(loop::Loop& loop, const std::string& path, Handler handler,
                                                     ServerOptions options = {});  // mode 0600
  // One more address for the same handler, before or after serve(). Returns its port.
  Result<std::uint16_t> also_listen(const std::string& addr);

  std::uint16_t port() const;   // of the first address
  std::string address() const;  // "[::]:20202" as bound
  std::size_t connections() const;
  void serve();
  // Closes the listeners and idle connections, lets running handlers go on for grace_ms, then requests their stop token
  // and cuts their connections; returns when all have ended.
  Task<void> stop(std::int64_t grace_ms = 0);
  // Stops with no grace and without waiting: handlers that wait end later on the loop, so what they use must live on.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

 private:
  explicit Server(std::shared_ptr<ServerState> state) : state_(std::move(state)) {}
  std::shared_ptr<ServerState> state_;
};

}  // namespace caddis::http
