// An HTTP client on the loop: HTTP/1.1 over TCP, Unix sockets and TLS, and HTTP/2 in cleartext with prior knowledge (as
// LiteFS's nodes speak it). Loop thread only. Redirects are answers like others; proxies and compression are not used.
//
//   Client client(loop);
//   auto answer = co_await client.fetch({.url = "http://[::1]:20202/info", .timeout_ms = 2000}, stop);
//
// Errors of the transport: kUnavailable (not reached, reset, cut off in the middle), kTimeout, kCancelled, kCorrupt
// (not HTTP), kDenied (the server's certificate), kNoSpace (the body is larger than body_limit), kInvalid (the
// request). A status of 400 and more is an answer, not an error; see status_error().
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

namespace caddis::http {

using loop::Task;

// The next bytes of a request body from offset on, 0 at its end. Asked again from 0 when the request is repeated.
// Reading a file blocks: offload() it.
using BodySource = std::function<Task<Result<std::size_t>>(std::uint64_t offset, ByteSpan out)>;

struct ClientRequest {
  std::string method = "GET";
  std::string url;          // "http://host:port/path?query" or "https://…", percent-encoded as it shall be sent
  std::string unix_socket;  // connect to this path instead; the url's host is only sent
  Headers headers;          // Host, Content-Length, Transfer-Encoding and Connection are added
  Bytes body;
  BodySource source;                         // instead of body
  std::optional<std::uint64_t> source_size;  // what source gives in all; without it the body is sent in chunks
  std::int64_t connect_timeout_ms = 5'000;   // with the TLS handshake
  std::int64_t timeout_ms = 30'000;          // fetch: all of it; open: until the answer's head. 0: none
  std::int64_t idle_timeout_ms = 0;          // for each wait for bytes, while sending and receiving. 0: none
  std::size_t body_limit = 1 << 20;          // of fetch
  // HTTP/2 in cleartext, without asking first; the url must be http. Requests to one host and port share a connection.
  // The answer may begin, and be read, while the body is still being sent: a source may wait for what it sends next.
  bool http2 = false;
  // May go over a kept connection and be sent again when that turns out dead before an answer. Default: by the method
  // (all but POST and PATCH).
  std::optional<bool> repeatable;
};

struct Response {
  int status = 0;
  Headers headers;
  Bytes body;
  std::string_view text() const { return as_text(body); }
};

// An error for an answer that was not hoped for: 404 kNotFound, 401 and 403 kDenied, 409 and 412 kConflict, 408 and 504
// kTimeout, 429 and 5xx kUnavailable, others kInvalid. With the first line of the body, without control characters.
Error status_error(std::string_view intention, int status, std::string_view body);

// An answer whose body is still to be read. Destroying it before the end of the body closes the connection (HTTP/2:
// resets the stream).
class BodyReader {
 public:
  virtual ~BodyReader() = default;
  virtual int status() const = 0;
  virtual const Headers& headers() const = 0;
  virtual std::optional<std::uint64_t> content_length() const = 0;
  // At least one byte, or 0 at the end of the body. After kTimeout of its idle time-out it may be called again.
  virtual Task<Result<std::size_t>> read(ByteSpan out, std::stop_token stop) = 0;
};

struct TlsOptions {
  std::string ssl_cert_file;  // PEM roots; SSL_CERT_FILE
  std::string ssl_cert_dir;   // hashed directory; SSL_CERT_DIR
  // Neither: the system's bundle, else the one compiled in.
};

struct ClientOptions {
  TlsOptions tls;
  std::size_t max_idle_per_host = 8;  // kept connections
  std::int64_t max_idle_ms = 30'000;  // older ones are not used again
  std::string user_agent = "caddis";
};

struct ClientState;

class Client {
 public:
  explicit Client(loop::Loop& loop, ClientOptions options = {});
  ~Client();  // closes kept connections; requests under way go on
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  Task<Result<Response>> fetch(ClientRequest request, std::stop_token stop);
  Task<Result<std::unique_ptr<BodyReader>>> open(ClientRequest request, std::stop_token stop);
  std::size_t idle_connections() const;

 private:
  std::shared_ptr<ClientState> state_;
};

// One request over a connection of its own.
Task<Result<Response>> fetch(loop::Loop& loop, ClientRequest request, std::stop_token stop, TlsOptions tls = {});

}  // namespace caddis::http
