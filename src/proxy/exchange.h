// Inside of src/proxy: one request and its answer.
#pragma once

#include <coroutine>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "http/parser.h"
#include "proxy/connection.h"
#include "proxy/decide.h"
#include "proxy/pieces.h"
#include "proxy/state.h"

namespace caddis::proxy {

// What write_now() has left over of these parts: all but the first `sent` bytes.
loop::Task<Status> write_rest(loop::Stream& stream, std::span<const ByteView> parts, std::size_t sent,
                              std::int64_t timeout_ms);

class Exchange {
 public:
  // request and c.request_fields() point into the connection's buffer and stay there.
  Exchange(State& s, Connection& c, const http::RequestView& request);
  ~Exchange();
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  enum class After {
    kNext,    // the connection can carry the next request
    kClose,   // all is sent and received
    kLinger,  // all is sent, the client may still be sending
    kCut,     // the answer is not complete, or nobody is there to receive it
  };
  loop::Task<After> run();

  enum class Cut { kNo, kClientGone, kStopped, kWroteHere, kBadBody, kLateBody };
  void cut(Cut why);    // ends what waits; may end the exchange before it returns
  void client_ended();  // it has closed its side, and nobody was reading
  void wrote_here();    // the only one running, when the file layer refused a write

 private:
  // exchange.cc: what to do with the request
  void classify();
  NodeFacts node_facts() const;
  bool may_move() const;
  loop::Task<bool> dispatch();
  loop::Task<Action> wait_for_role(Action action);
  loop::Task<bool> wait_for_txids();
  loop::Task<bool> wait_for_txid(const std::string& db, Txid wanted);
  loop::Task<bool> to_app();
  loop::Task<bool> to_primary(std::string_view mark);
  loop::Task<bool> move();
  loop::Task<bool> replay(std::string_view state);
  loop::Task<bool> health();
  loop::Task<bool> unavailable(std::string_view why);
  // An answer of our own instead of the app's. As all of these: false when the connection is to be cut.
  loop::Task<bool> answer(int status, std::string text, std::string_view own_fields = {});
  // Barrier, cookies and gate before the first byte of an answer to a write. Why it may not leave; empty: it may.
  loop::Task<std::string> hold_back();
  loop::Task<bool> gate_opens();
  std::stop_token waits();  // for everything the exchange waits for but reads and writes
  RequestRoute route(std::string_view mark) const;
  void say(std::string_view what) const;

  // delivery.cc: the request on its way, the answer on its way back
  enum class Sent {
    kAnswered,  // completely, by the server or by us
    kCut,       // the client's connection has to be cut
    kStale,     // a kept connection was dead, and the request can be sent again
    kMove,      // a read that wrote: to be done on the primary
  };
  loop::Task<Sent> deliver(Upstream& up, const RequestRoute& route);
  loop::Task<Sent> deliver_over_link(Upstream& up, const RequestRoute& route);
  loop::Task<Result<std::size_t>> receive_head(http::ResponseView& answer);
  loop::Task<Status> interim(const http::ResponseView& answer);
  loop::Task<Sent> no_answer(Upstream& up, Error cause);
  loop::Task<Sent> relay(Upstream& up, const http::ResponseView& answer, std::size_t head_size);
  loop::Task<Sent> upgrade(const http::ResponseView& answer, std::size_t head_size);
  loop::Task<Status> to_client(std::span<const ByteView> parts, std::size_t size);
  std::optional<Sent> interrupted() const;
  bool closes() const;  // what the answer's head has to say
  bool repeatable() const;

  // body.cc: the request's body
  loop::Detached pump();
  loop::Task<bool> pump_some(Inlet& inlet);  // false: the end, good or bad
  struct PumpEnd {
    Exchange& x;
    bool await_ready() const { return !x.pumping_; }
    void await_suspend(std::coroutine_handle<> h) { x.pump_waiter_ = h; }
    void await_resume() const {}
  };
  loop::Task<bool> settle_body();  // true when the client's next bytes are a new request

  State& s_;
  Connection& c_;
  const http::RequestView request_;
  RequestFacts facts_;
  bool tracked_ = false;  // the answer carries cookies
  bool gated_ = false;    // the answer goes through the write gate
  bool at_app_ = false;   // the request is with the app of this machine, and unanswered
  bool to_peer_ = false;
  Cut cut_ = Cut::kNo;
  bool answering_ = false;  // bytes of the final answer have been sent
  bool close_ = false;      // and have said that the connection ends
  bool tunnel_ = false;
  std::uint64_t refused_before_ = 0;
  std::string own_fields_;
  std::unique_ptr<Link> link_;
  std::optional<std::stop_source> waiting_;

  http::BodyDecoder body_;
  std::size_t inline_body_ = 0;  // of input(): all of the body, sent with the head
  bool continued_ = false;       // 100 was passed on
  bool body_seen_ = false;       // bytes of it have arrived
  bool discard_ = false;         // nobody wants the rest
  std::uint64_t discarded_ = 0;
  bool pumping_ = false;
  std::coroutine_handle<> pump_waiter_;
};

}  // namespace caddis::proxy
