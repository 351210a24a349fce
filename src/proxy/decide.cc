#include "proxy/decide.h"

namespace caddis::proxy {
namespace {

bool may_replay(const RequestFacts& request, const NodeFacts& node) {
  return node.fly && node.primary_named && !request.upgrade && request.body_bytes &&
         *request.body_bytes <= kMaxReplayBody;
}

}  // namespace

Action decide(const RequestFacts& request, const NodeFacts& node) {
  if (request.passthrough) return Action::kTarget;
  if (request.health) return Action::kHealth;
  if (!request.write) return Action::kTarget;
  if (node.primary) return node.gate_open ? Action::kTarget : Action::kWait;
  if (request.forwarded || request.replayed) return Action::kMisrouted;
  if (may_replay(request, node)) return Action::kReplay;
  return node.primary_has_url ? Action::kForward : Action::kWait;
}

Action move_to_primary(const RequestFacts& request, const NodeFacts& node) {
  bool possible = !request.write && !request.passthrough && !request.upgrade && !request.forwarded &&
                  !request.replayed && request.body_bytes == 0u && !node.primary;
  if (!possible) return Action::kTarget;
  if (may_replay(request, node)) return Action::kReplay;
  return node.primary_has_url ? Action::kForward : Action::kTarget;
}

TxidWait judge_txid(const TxidFacts& facts) {
  if (!facts.here || *facts.here >= facts.wanted) return TxidWait::kServe;
  if (facts.primary) return TxidWait::kServe;  // nobody knows of more than the primary
  if (!facts.of_primary || *facts.of_primary >= facts.wanted) return TxidWait::kWait;
  std::uint64_t ahead = facts.wanted.value() - facts.of_primary->value();
  return ahead > kFarAhead ? TxidWait::kServe : TxidWait::kWaitAWord;
}

}  // namespace caddis::proxy
