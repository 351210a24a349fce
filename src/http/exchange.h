// Inside of src/http: one request and its answer, whatever the protocol, and what the connections of a server share.
// Loop thread only.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "http/server.h"
#include "http/wire.h"

namespace caddis::http {

inline constexpr std::string_view kHttp2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";  // RFC 9113 3.4

struct Connection {
  explicit Connection(std::unique_ptr<loop::Stream> stream) : wire(std::move(stream)) {}
  Wire wire;
  bool busy = false;  // a handler runs
};

struct ServerState {
  ServerState(loop::Loop& l, Handler h, ServerOptions o) : loop(l), handler(std::move(h)), options(o), ended(l) {}
  loop::Loop& loop;
  Handler handler;
  ServerOptions options;
  std::vector<std::unique_ptr<loop::Listener>> listeners;
  std::list<Connection*> connections;
  std::size_t running = 0;         // accept loops and connections
  std::size_t http2_buffered = 0;  // bytes of request bodies that wait for their handlers
  bool serving = false, stopping = false;
  std::stop_source stop;
  loop::Event ended;  // set when running came down to 0 while stopping

  void leave() {
    if (--running == 0 && stopping) ended.set();
  }
  void close_listeners();
  void cut(bool idle_only);
};

struct Exchange {
  Exchange(ServerState& s, bool head) : server(s), head_only(head) {}
  virtual ~Exchange() = default;
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  virtual Task<Result<std::size_t>> read(ByteSpan out) = 0;
  virtual std::optional<std::uint64_t> content_length() const = 0;
  virtual Task<Status> send(int status, Headers headers, ByteView body) = 0;
  virtual Task<Status> begin(int status, Headers headers) = 0;
  virtual Task<Status> write(ByteView data) = 0;
  virtual Task<Status> finish() = 0;
  virtual void close_afterwards() = 0;

  // Whether an answer with these can be begun. The size of the whole body, where `whole` or a Content-Length says it.
  Result<std::optional<std::uint64_t>> check_answer(int status, const Headers& headers,
                                                    std::optional<std::uint64_t> whole) const;
  // Called for every piece and at the end: an error when the answer is not open, or not as long as it said.
  Status count_out(std::size_t bytes);
  Status check_end();

  ServerState& server;
  bool head_only;
  std::stop_source reading;
  std::optional<ErrorCode> body_failure;
  enum class Out { kNotBegun, kNoBody, kLength, kChunked, kUntilClose, kFinished, kFailed };
  Out out = Out::kNotBegun;
  std::uint64_t left = 0;  // kLength
};

// Runs the handler and sees to an answer where it gave none.
Task<void> run_handler(Exchange& exchange, Request& request, ResponseWriter& writer);

// The next requests of a connection until it ends. `serve_http2` begins behind the preface.
Task<void> serve_http1(ServerState& s, Connection& c);
Task<void> serve_http2(ServerState& s, Connection& c);
// Answers and lets the client read it before the connection is cut.
Task<void> refuse(ServerState& s, Connection& c, int status, std::string text);

}  // namespace caddis::http
