// Sends this node's transactions to those who follow it (POST /stream). Loop thread, except where said.
//
// Every follower has a queue of names that moved, never of data: log files are read when they are sent. What is sent of
// different databases to a caddis goes side by side on channels of its own, four databases at a time, so that neither a
// large snapshot nor a database that has to wait holds up others or the heartbeat. To a LiteFS one LTX file goes after
// the other, as its receiver can take nothing in between; heartbeats come between files.
//
// Only what is durable here is sent. The stream ends when the term does.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "db/engine.h"
#include "http/server.h"
#include "loop/loop.h"
#include "replica/frames.h"

namespace caddis::replica {

using loop::Task;

// A follower, as long as it is connected.
struct Peer {
  std::uint64_t node_id = 0;  // Litefs-Id; 0: it sent none
  std::string address;        // "[::1]:4711"
  bool litefs = false;        // speaks no frames of ours: no facts, and it confirms nothing
  Facts facts;
  bool ready = false;         // has been sent everything once
  std::size_t behind = 0;     // databases that are on their way to it
  PositionMap held;           // durably, as it says
  std::int64_t heard_ms = 0;  // Clock::now() of its last sign of life (litefs: of its request)
};

struct PublisherOptions {
  db::Engine* engine = nullptr;
  const Clock* clock = nullptr;
  std::uint64_t node_id = 0;
  std::function<std::string()> cluster_id;
  bool compress = true;  // snapshots
  std::int64_t heartbeat_ms = 1000;
  std::size_t max_followers = 64;
  std::function<Txid(const std::string& name)> hwm;  // backed up up to here; none: 0
  // A LiteFS has transactions that this node has not: called before a snapshot replaces them. Saves its /export.
  std::function<Task<void>(Peer peer, std::string name, Position theirs, Position ours, std::stop_token stop)>
      save_export;
  std::function<void(const Peer& peer)> on_joined;            // or its facts changed, or it became ready
  std::function<void(const Peer& peer, bool reset)> on_left;  // reset: the connection broke instead of ending
};

struct HandoffSent {
  bool begun = false;  // the first byte may have left: the lease id is the receiver's
  Status status;
};

class Publisher final : public db::CommitSink {
 public:
  // After Engine::open() and before its peer runs. The engine outlives it; it outlives the HTTP server's handlers.
  Publisher(loop::Loop& loop, PublisherOptions options);
  ~Publisher() override;

  void committed(const db::Commit&) override {}
  void durable(const db::Commit& commit) override;  // peer thread

  // This node is the primary from now on: followers are served. epoch 0: the lease has none.
  void begin_term(std::uint64_t epoch);
  // It is no more: every stream ends with an End frame, and new ones are answered 503.
  void end_term();

  // The answer to POST /stream.
  Task<void> serve(http::Request& request, http::ResponseWriter& w);

  std::vector<Peer> peers() const;
  // Sends the node what is left, then the lease id, and ends its stream (POST /handoff). Errors: kNotFound when the
  // node is not connected, kTimeout.
  Task<HandoffSent> hand_off(std::uint64_t node_id, std::string lease_id, std::int64_t timeout_ms,
                             std::stop_token stop);
  // Until the node has all these positions durably. kNotFound, kUnsupported (a LiteFS says nothing), kTimeout,
  // kUnavailable when it leaves.
  Task<Status> until_held(std::uint64_t node_id, PositionMap wanted, std::int64_t timeout_ms, std::stop_token stop);
  // What is durable here, dropped databases with it.
  PositionMap positions() const;

  struct State;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace caddis::replica
