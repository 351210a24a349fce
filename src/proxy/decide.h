// What becomes of a request: tables without clock, socket or node. Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "base/ids.h"

namespace caddis::proxy {

// Fly's proxy cannot replay a larger request.
inline constexpr std::uint64_t kMaxReplayBody = 1'000'000;
// A TXID so far beyond what the primary is known to have was never given out, whatever is on its way: a takeover skips
// two to three times 2^20.
inline constexpr std::uint64_t kFarAhead = 4u << 20;

struct RequestFacts {
  bool passthrough = false;                 // the path matches `proxy.passthrough`
  bool health = false;                      // GET or HEAD of /litefs/health
  bool write = false;                       // not GET or HEAD, an upgrade, or `proxy.always-forward` matches
  bool upgrade = false;                     // to another protocol
  bool forwarded = false;                   // another node's proxy sent it, taking this one for the primary
  bool replayed = false;                    // Fly's proxy sent it, because a node asked for it
  std::optional<std::uint64_t> body_bytes;  // 0 without a body; none: not known (chunked)
};

struct NodeFacts {
  bool primary = false;          // this node, by its own knowledge
  bool gate_open = false;        // and it may acknowledge at this moment
  bool primary_named = false;    // another node is primary and its host name is known
  bool primary_has_url = false;  // and where its proxy answers
  bool fly = false;              // behind Fly's proxy
};

enum class Action {
  kTarget,     // to the app on this machine
  kHealth,     // answered here
  kReplay,     // answered with fly-replay: Fly's proxy sends it to the primary
  kForward,    // to the primary's proxy
  kWait,       // nobody can take it now: until the role changes or the time is up (503)
  kMisrouted,  // somebody took this node for the primary: a moment for a hand-over under way, then 503, never a loop
};
Action decide(const RequestFacts& request, const NodeFacts& node);

// A read that turned out to write on a replica: where it can be done again, kTarget when nowhere.
Action move_to_primary(const RequestFacts& request, const NodeFacts& node);

// A read of a client that has seen `wanted` (of one database).
struct TxidFacts {
  Txid wanted;
  std::optional<Txid> here;        // none: no such database
  bool primary = false;            // this node
  std::optional<Txid> of_primary;  // the highest the primary is known to have; none: no word from it at the moment
};
enum class TxidWait {
  kServe,      // it is here, or no node has given it out
  kWait,       // until it is here
  kWaitAWord,  // the primary has not told of it yet: wait for its next words too, then it is from no node
};
TxidWait judge_txid(const TxidFacts& facts);

// `/litefs/health`: 503 beyond it. max_lag_ms 0: never.
inline bool lag_exceeded(std::int64_t lag_ms, std::int64_t max_lag_ms) { return max_lag_ms > 0 && lag_ms > max_lag_ms; }

}  // namespace caddis::proxy
