// Follows a primary: its stream's transactions go to the Applier. Loop thread, except where said.
//
// Each database has a queue of its own: what arrives is written to temporary files and verified on the pool, then
// applied one after the other. A database whose apply is stuck holds up neither the others nor the heartbeat; when its
// queue is full, what else comes for it is dropped, and the stream is begun anew when the queue is empty.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "http/client.h"
#include "loop/loop.h"
#include "replica/applier.h"
#include "replica/frames.h"

namespace caddis::replica {

using loop::Task;

// Who is followed, from the answer's head on.
struct Primary {
  std::uint64_t node_id = 0;  // Litefs-Id; 0: unknown
  std::string cluster_id;
  bool litefs = false;
  std::uint64_t epoch = 0;  // of its term; 0: a LiteFS, or a lease without epochs
};

// What is known of the primary at the moment.
struct Followed {
  bool connected = false;
  bool ready = false;  // the first round is applied
  Primary primary;
  std::int64_t heard_ms = 0;         // Clock::now() of the last bytes
  std::int64_t primary_wall_ms = 0;  // its clock, at its last heartbeat
  PositionMap positions;             // of the primary, as of its last heartbeats (not of a LiteFS)
};

struct Conflict {
  std::string db;
  std::optional<Position> common;  // the last position both have, where it is known
};

struct FollowEnd {
  enum class Why {
    kStopped,       // asked for
    kEnded,         // the primary left in peace, or the connection broke
    kSilent,        // nothing came for too long
    kUnreachable,   // no connection
    kRefused,       // it is no primary, or this node, or of an earlier term
    kOtherCluster,  // `text` names the cure
    kHandoff,       // `lease_id`; everything sent before it is applied, unless `text` says otherwise
    kConflict,      // `conflicts`: this node has what the primary has not
    kFailed,        // what it sent cannot be understood or applied here
  };
  Why why = Why::kStopped;
  std::string text;  // one line
  std::string lease_id;
  std::vector<Conflict> conflicts;
  Primary primary;
  bool was_ready = false;
};

struct ReceiverOptions {
  Applier* applier = nullptr;
  http::Client* client = nullptr;
  const Clock* clock = nullptr;
  std::uint64_t node_id = 0;
  std::function<std::string()> cluster_id;                     // empty: this volume belongs to none yet
  std::function<Status(const std::string&)> adopt_cluster_id;  // stores it
  std::function<Facts()> facts;
  std::function<std::uint64_t()> min_epoch;  // a primary of an earlier term is refused
  std::vector<std::string> filter;           // databases; empty: all
  bool own_frames = true;                    // false: speaks as a LiteFS does
  std::int64_t connect_timeout_ms = 5'000;
  std::int64_t silence_ms = 3'000;
  std::int64_t litefs_silence_ms = 15'000;  // it sends no heartbeat while it reads a large database
  // Of what waits to be applied: on disk, then in memory. Beyond both, what is received for a database that has applied
  // nothing for stuck_ms is dropped.
  std::size_t max_queued_files = 256;
  std::uint64_t max_queued_bytes = 1u << 30;
  std::size_t max_pending_bytes = 8u << 20;
  std::int64_t stuck_ms = 1'000;
  std::function<void(const Primary&)> on_ready;   // the first round is applied
  std::function<void(const Followed&)> on_heard;  // a heartbeat
  std::function<void(const std::string& name, Txid txid)> on_hwm;
};

class Receiver {
 public:
  Receiver(loop::Loop& loop, ReceiverOptions options);
  ~Receiver();  // not while follow() runs

  // One connection to the primary at `url` ("http://host:port"), until it ends. What was received completely is applied
  // before this returns, if that takes no longer than 2 s (a handoff: 10 s). One follow() at a time.
  Task<FollowEnd> follow(std::string url, std::stop_token stop);
  // follow() again and again, after reconnect_delay_ms, twice that and so on up to 16 times, until stopped or an end
  // that another try does not change: kOtherCluster, kHandoff, kConflict.
  Task<FollowEnd> keep_following(std::string url, std::int64_t reconnect_delay_ms, std::stop_token stop);

  // Until everything received is applied. Before this node becomes the primary.
  Task<Status> settle(std::int64_t timeout_ms, std::stop_token stop);
  // facts() gives something else now: the primary is told.
  void facts_changed();
  const Followed& followed() const;
  // The primary's clock at its last heartbeat or transaction, ms since the Unix epoch; 0: none is followed. Any thread.
  std::int64_t primary_wall_ms() const;

  struct State;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace caddis::replica
