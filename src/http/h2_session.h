// HTTP/2 (RFC 9113) of one connection without the connection, over nghttp2: bytes in, bytes out, and streams with
// bounded buffers between them. Pure; one thread. h2_connection.h adds the socket, server_http2.cc and client_http2.cc
// the two sides.
//
// What a peer can make this side hold: a stream's window of its body, as the connection's credit is given back when
// bytes arrive and the stream's only when they are read, so that a stream nobody reads stops only itself; 64 KiB and
// 256 fields of a head; limited numbers of streams, resets and frames that carry nothing.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "http/message.h"

struct nghttp2_session;

namespace caddis::http {

// Bytes that were received and not yet read, in order.
class ByteQueue {
 public:
  std::size_t size() const { return bytes_.size() - begin_; }
  void push(ByteView more);
  std::size_t pop(ByteSpan out);
  void clear();

 private:
  Bytes bytes_;
  std::size_t begin_ = 0;
};

// One request and its answer. Changed by H2Session; whoever waits for something is told through the two callbacks,
// which must not call the session.
struct H2Stream {
  std::int32_t id = 0;
  // The other side's head: of a request method, scheme, authority, path; of an answer status.
  std::string method, scheme, authority, path;
  int status = 0;
  Headers headers;
  bool head_complete = false;
  bool head_too_large = false;
  // The other side's body.
  ByteQueue in;
  bool in_ended = false;
  // Our body: what the write under way has left. Stays valid while it is not empty.
  ByteView out;
  bool out_last = false;  // the stream's end comes behind `out`
  // Gone: finished or reset on either side. 0, or HTTP/2's error code.
  bool closed = false;
  std::uint32_t error_code = 0;

  std::function<void()> on_in;   // head, body, end, closed
  std::function<void()> on_out;  // `out` became empty, or closed

 private:
  friend class H2Session;
  std::size_t head_bytes_ = 0;
  std::size_t window_ = 0;
};
using H2StreamPtr = std::shared_ptr<H2Stream>;

// "stream closed by the other side (CANCEL)" and the like.
std::string h2_error_text(std::uint32_t code);

struct H2Limits {
  std::uint32_t max_streams = 32;           // that the other side may open; 0 on a client
  std::size_t window_bytes = 64u << 10;     // of a stream, to begin with
  std::size_t max_window_bytes = 1u << 20;  // of one whose reader keeps up
  std::size_t connection_bytes = 4u << 20;  // of all windows
};

class H2Session {
 public:
  enum class Side { kServer, kClient };
  // on_request: a request's head is complete (server). Called from feed(); must not call the session.
  H2Session(Side side, H2Limits limits, std::function<void(H2StreamPtr)> on_request);
  ~H2Session();
  H2Session(const H2Session&) = delete;
  H2Session& operator=(const H2Session&) = delete;

  // What arrived. kCorrupt: the connection has to end; take_output() first, it says why.
  Status feed(ByteView bytes);
  // Appends up to about `limit` bytes (and one frame more) that are to be sent.
  void take_output(Bytes& out, std::size_t limit);
  // Nothing more will come of this session.
  bool finished() const;

  // Server: an answer's head. `end`: without a body.
  void answer(H2Stream& stream, int status, const Headers& headers, bool end);
  void interim(H2Stream& stream, int status);
  // Client: a request. `end`: without a body. kUnavailable when the connection takes no more requests.
  Result<H2StreamPtr> request(const std::string& method, bool tls, const std::string& authority,
                              const std::string& target, const Headers& headers, bool end);
  // Sends `data` as the stream takes it; then on_out. `last`: and ends it.
  void write(H2Stream& stream, ByteView data, bool last);
  // Takes bytes of the other side's body and gives the window back.
  std::size_t read(H2Stream& stream, ByteSpan out);
  void reset(H2Stream& stream, std::uint32_t code);
  void forget(H2Stream& stream);  // nobody reads what is left of its body
  // No further streams: GOAWAY. Those that are open go on.
  void go_away(std::uint32_t code = 0);
  bool going_away() const { return going_away_; }  // either side said so
  // The connection is gone: every stream is closed. Nothing but read() may be called afterwards.
  void abandon();

  std::size_t open_streams() const { return streams_.size(); }
  std::size_t buffered() const { return buffered_; }  // bytes of bodies that nobody has read
  bool head_in_progress() const { return head_in_progress_; }

 private:
  struct Callbacks;
  friend struct Callbacks;
  H2Stream* find(std::int32_t id);
  void close(std::int32_t id, std::uint32_t code);
  bool add_field(H2Stream& stream, std::string_view name, std::string_view value);
  void head_ended(H2Stream& stream);
  bool allow_noise();

  Side side_;
  H2Limits limits_;
  std::function<void(H2StreamPtr)> on_request_;
  nghttp2_session* session_ = nullptr;
  std::map<std::int32_t, H2StreamPtr> streams_;
  std::size_t buffered_ = 0;
  std::size_t granted_ = 0;  // sum of the windows
  bool head_in_progress_ = false;
  bool going_away_ = false;
  std::uint32_t noise_ = 0;           // frames that carried nothing since something was sent or received
  std::uint32_t broken_streams_ = 0;  // that this side had to reset
};

}  // namespace caddis::http
