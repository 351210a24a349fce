// Inside of src/http: an H2Session on a socket. Loop thread only. run() moves the bytes until the connection ends; the
// calls on streams wait in coroutines beside it.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>

#include "http/h2_session.h"
#include "http/wire.h"
#include "loop/loop.h"

namespace caddis::http {

// A stream and what its coroutines wait for.
struct H2Channel {
  H2Channel(loop::Loop& loop, H2StreamPtr s);
  ~H2Channel();
  H2StreamPtr stream;
  loop::Event in, out;
};

struct H2Timeouts {
  std::int64_t idle_ms = 0;    // without a stream
  std::int64_t header_ms = 0;  // for a head that has begun
  std::int64_t write_ms = 0;   // without the other side taking bytes
};

class H2Connection {
 public:
  // The wire outlives it.
  H2Connection(loop::Loop& loop, Wire& wire, H2Session::Side side, H2Limits limits, H2Timeouts timeouts,
               std::function<void(H2StreamPtr)> on_request = {});
  H2Session& session() { return session_; }
  // Reads and writes until the connection is at its end; then every stream is closed. after_feed: called when what
  // arrived has been taken in, outside of the session; false ends the connection.
  Task<void> run(std::function<bool()> after_feed);
  // The session has something to send.
  void kick() { output_.set(); }
  // No more streams; ends when the last is done.
  void end_soon();
  bool ended() const { return ended_; }

  // Bytes of the body: at least one, 0 at its end. kTimeout and kCancelled leave the stream usable.
  Task<Result<std::size_t>> read(H2Channel& c, ByteSpan out, std::int64_t timeout_ms, std::stop_token stop);
  // Until the last byte of data is with the connection. An error resets the stream.
  Task<Status> write(H2Channel& c, ByteView data, bool last, std::int64_t timeout_ms, std::stop_token stop);
  // Until the other side's head is here.
  Task<Status> wait_head(H2Channel& c, std::int64_t timeout_ms, std::stop_token stop);
  void reset(H2Stream& stream, std::uint32_t code);

 private:
  Task<void> pump();
  bool may_stay();
  Error closed_error(const H2Stream& stream) const;

  Wire& wire_;
  H2Session session_;
  H2Timeouts timeouts_;
  loop::Event output_;
  Bytes out_;
  Deadline idle_;
  Deadline head_;
  bool head_begun_ = false;
  bool ended_ = false;
  bool ending_ = false;
  std::string end_reason_;
};

}  // namespace caddis::http
