#include "proxy/decide.h"

#include <gtest/gtest.h>

namespace caddis::proxy {
namespace {

const RequestFacts kRead{.body_bytes = 0};
const RequestFacts kWrite{.write = true, .body_bytes = 100};
const NodeFacts kPrimary{.primary = true, .gate_open = true};
const NodeFacts kReplica{.primary_named = true, .primary_has_url = true};
const NodeFacts kFlyReplica{.primary_named = true, .primary_has_url = true, .fly = true};
const NodeFacts kLost{};

RequestFacts with(RequestFacts r, void (*change)(RequestFacts&)) {
  change(r);
  return r;
}

TEST(Decide, SendsReadsAndPassthroughToTheAppWhateverTheRole) {
  for (const NodeFacts& node : {kPrimary, kReplica, kFlyReplica, kLost, NodeFacts{.primary = true}}) {
    EXPECT_EQ(decide(kRead, node), Action::kTarget);
    EXPECT_EQ(decide(with(kWrite, [](auto& r) { r.passthrough = true; }), node), Action::kTarget);
    EXPECT_EQ(decide(with(kRead, [](auto& r) { r.health = true; }), node), Action::kHealth);
    EXPECT_EQ(decide(with(kRead, [](auto& r) { r.health = r.passthrough = true; }), node), Action::kTarget);
  }
}

TEST(Decide, SendsWritesToTheAppOnlyOnAPrimaryWhoseGateIsOpen) {
  EXPECT_EQ(decide(kWrite, kPrimary), Action::kTarget);
  EXPECT_EQ(decide(kWrite, NodeFacts{.primary = true}), Action::kWait);
  EXPECT_EQ(decide(kWrite, NodeFacts{.gate_open = true, .primary_named = true, .primary_has_url = true}),
            Action::kForward);
  EXPECT_EQ(decide(kWrite, kLost), Action::kWait);
}

TEST(Decide, ReplaysOnFlyWhatFlyCanReplay) {
  EXPECT_EQ(decide(kWrite, kFlyReplica), Action::kReplay);
  EXPECT_EQ(decide(with(kWrite, [](auto& r) { r.body_bytes = kMaxReplayBody; }), kFlyReplica), Action::kReplay);
  EXPECT_EQ(decide(with(kWrite, [](auto& r) { r.body_bytes = kMaxReplayBody + 1; }), kFlyReplica), Action::kForward);
  EXPECT_EQ(decide(with(kWrite, [](auto& r) { r.body_bytes.reset(); }), kFlyReplica), Action::kForward);
  EXPECT_EQ(decide(with(kWrite, [](auto& r) { r.upgrade = true; }), kFlyReplica), Action::kForward);
  EXPECT_EQ(decide(kWrite, kReplica), Action::kForward);
  EXPECT_EQ(decide(kWrite, NodeFacts{.primary_named = true, .fly = true}), Action::kReplay);
  EXPECT_EQ(decide(kWrite, NodeFacts{.primary_has_url = true, .fly = true}), Action::kForward);
  EXPECT_EQ(decide(kWrite, NodeFacts{.primary_named = true}), Action::kWait);
}

TEST(Decide, NeverSendsARequestOnTwice) {
  for (const NodeFacts& node : {kReplica, kFlyReplica, kLost}) {
    EXPECT_EQ(decide(with(kWrite, [](auto& r) { r.replayed = true; }), node), Action::kMisrouted);
    EXPECT_EQ(decide(with(kWrite, [](auto& r) { r.forwarded = true; }), node), Action::kMisrouted);
  }
  EXPECT_EQ(decide(with(kWrite, [](auto& r) { r.forwarded = r.replayed = true; }), kPrimary), Action::kTarget);
}

TEST(MoveToPrimary, IsForBodylessReadsOfAReplicaThatCameHereFirst) {
  EXPECT_EQ(move_to_primary(kRead, kReplica), Action::kForward);
  EXPECT_EQ(move_to_primary(kRead, kFlyReplica), Action::kReplay);
  EXPECT_EQ(move_to_primary(kRead, kLost), Action::kTarget);
  EXPECT_EQ(move_to_primary(kRead, kPrimary), Action::kTarget);
  EXPECT_EQ(move_to_primary(kRead, NodeFacts{.primary = true, .primary_named = true, .primary_has_url = true}),
            Action::kTarget);
  for (auto change : {+[](RequestFacts& r) { r.write = true; }, +[](RequestFacts& r) { r.passthrough = true; },
                      +[](RequestFacts& r) { r.upgrade = true; }, +[](RequestFacts& r) { r.forwarded = true; },
                      +[](RequestFacts& r) { r.replayed = true; }, +[](RequestFacts& r) { r.body_bytes = 1; },
                      +[](RequestFacts& r) { r.body_bytes.reset(); }}) {
    EXPECT_EQ(move_to_primary(with(kRead, change), kFlyReplica), Action::kTarget);
  }
}

TEST(JudgeTxid, WaitsForWhatThePrimaryHasAndNotForWhatNobodyGaveOut) {
  auto judge = [](std::uint64_t wanted, std::optional<Txid> here, std::optional<Txid> of_primary) {
    return judge_txid({.wanted = Txid(wanted), .here = here, .primary = false, .of_primary = of_primary});
  };
  EXPECT_EQ(judge(10, Txid(10), Txid(10)), TxidWait::kServe);
  EXPECT_EQ(judge(10, Txid(11), std::nullopt), TxidWait::kServe);
  EXPECT_EQ(judge(10, std::nullopt, Txid(12)), TxidWait::kServe);  // no such database here
  EXPECT_EQ(judge(10, Txid(9), Txid(10)), TxidWait::kWait);
  EXPECT_EQ(judge(10, Txid(9), std::nullopt), TxidWait::kWait);
  EXPECT_EQ(judge(10, Txid(9), Txid(9)), TxidWait::kWaitAWord);
  EXPECT_EQ(judge(9 + kFarAhead, Txid(9), Txid(9)), TxidWait::kWaitAWord);
  EXPECT_EQ(judge(10 + kFarAhead, Txid(9), Txid(9)), TxidWait::kServe);
  EXPECT_EQ(judge(0x7fff'ffff'ffff'ffff, Txid(9), Txid(9)), TxidWait::kServe);
  EXPECT_EQ(judge_txid({.wanted = Txid(10), .here = Txid(9), .primary = true}), TxidWait::kServe);
}

TEST(Health, IsBadOnlyBeyondTheLimit) {
  EXPECT_FALSE(lag_exceeded(10'000, 10'000));
  EXPECT_TRUE(lag_exceeded(10'001, 10'000));
  EXPECT_FALSE(lag_exceeded(1'000'000, 0));
}

}  // namespace
}  // namespace caddis::proxy
