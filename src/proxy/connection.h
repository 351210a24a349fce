// Inside of src/proxy: one client's connection, its buffer and its requests one after the other.
#pragma once

#include <coroutine>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "http/parser.h"
#include "loop/stream.h"
#include "proxy/rewrite.h"
#include "proxy/state.h"

namespace caddis::proxy {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<State> state, std::unique_ptr<loop::Stream> stream);
  ~Connection();

  loop::Task<void> serve();  // until the connection is to be closed, and closes it
  void refuse_at_once();     // too many connections
  void cut();                // from outside, at a stop
  void sweep(TimeMs now);    // ends what has taken too long
  Exchange* running() const { return exchange_; }

  loop::Stream& stream() { return *stream_; }
  std::string_view client_ip() const { return ip_of_peer(peer_); }
  std::string& scratch() { return scratch_; }  // for heads; one user at a time
  std::vector<http::Field>& request_fields() { return request_fields_; }
  std::vector<http::Field>& answer_fields() { return answer_fields_; }
  RequestNotes& notes() { return notes_; }

  // ---- What was received and not used yet, behind the request's head.
  ByteView input() const { return ByteView(buffer_).subspan(begin_, end_ - begin_); }
  void use(std::size_t n);
  // Bytes that were read past this buffer and belong behind the end of the request.
  void give_back(ByteView bytes) { returned_.insert(returned_.end(), bytes.begin(), bytes.end()); }
  bool reading() const { return reading_; }
  bool ended() const { return ended_; }    // the client sends no more
  bool failed() const { return failed_; }  // and receives no more
  // co_await more(): until there is more input(), or ended(), or the time is up (true then).
  struct More {
    Connection& c;
    bool await_ready();
    void await_suspend(std::coroutine_handle<> h) { c.waiter_ = h; }
    bool await_resume();
  };
  More more(std::int64_t timeout_ms) {
    wait_until_ = deadline(timeout_ms);
    return More{*this};
  }
  // Goes on reading although nobody asks, so that a client that goes away is noticed.
  void watch() { read_some(); }
  // All of the exchange has to be over by then (0: no limit); afterwards the connection is cut.
  void limit_exchange(std::int64_t timeout_ms) { exchange_until_ = deadline(timeout_ms); }
  TimeMs request_began() const { return request_began_; }  // known where options.read_timeout_ms is set

 private:
  TimeMs deadline(std::int64_t timeout_ms) const;
  loop::Task<std::size_t> read_head(bool first);  // its length, 0 when there is none
  loop::Task<bool> exchange(std::size_t head_length);
  loop::Task<void> refuse(int status, std::string text);
  loop::Task<void> linger();
  loop::Detached read_some();
  ByteSpan room();
  void free_buffer();

  std::shared_ptr<State> state_;
  std::unique_ptr<loop::Stream> stream_;
  std::string peer_;
  Bytes buffer_, returned_;
  std::size_t pinned_ = 0;  // the head of the running request; what stands before it does not move
  std::size_t begin_ = 0, end_ = 0;
  bool large_ = false;  // the buffer; there may only be so many
  bool reading_ = false, ended_ = false, failed_ = false, late_ = false;
  std::coroutine_handle<> waiter_;
  TimeMs wait_until_, exchange_until_, request_began_;  // 0: none
  Exchange* exchange_ = nullptr;
  std::string scratch_;
  std::vector<http::Field> request_fields_, answer_fields_;
  RequestNotes notes_;
};

// "HTTP/1.1 503 …" with text as its body.
void append_own_answer(std::string& out, int status, std::string_view own_fields, std::string_view text, bool close,
                       bool head_only);

}  // namespace caddis::proxy
