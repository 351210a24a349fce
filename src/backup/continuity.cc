#include "backup/continuity.h"

#include <fmt/core.h>

namespace caddis::backup {
namespace {

enum class Contains { kYes, kNo, kUnknown };

// Is the target's newest position a point of the local history?
Contains contains(const RemoteTail& remote, const LocalTail& local) {
  std::optional<Checksum> ours = local.checksum_at_remote;
  if (remote.newest == local.position.txid) ours = local.position.checksum;
  if (!ours && local.uploaded && local.uploaded->txid == remote.newest) ours = local.uploaded->checksum;
  if (!ours) return Contains::kUnknown;
  if (remote.checksum) return *ours == *remote.checksum ? Contains::kYes : Contains::kNo;
  // No checksum there: only the note says that it was our history. It is written after a restore from there, too.
  bool noted = local.uploaded && local.uploaded->txid == remote.newest && local.uploaded->checksum == *ours;
  return noted ? Contains::kYes : Contains::kUnknown;
}

}  // namespace

StartDecision decide_start(const RemoteTail& remote, const LocalTail& local) {
  if (remote.empty) {
    if (local.log_follows) return {StartAction::kContinue, Txid(), "the target is empty"};
    return {StartAction::kSnapshot, Txid(), "the target is empty"};
  }
  if (remote.newest > local.position.txid)
    return {StartAction::kStop, Txid(),
            fmt::format("the target is ahead: it holds TXID {} of epoch {}, this volume is at {}", remote.newest,
                        remote.epoch, local.position.txid)};
  Contains answer = contains(remote, local);
  if (answer == Contains::kNo)
    return {
        StartAction::kStop, Txid(),
        fmt::format("the target holds another history: TXID {} there (epoch {}) has database checksum {}, ours differs",
                    remote.newest, remote.epoch, remote.checksum.value_or(Checksum()))};
  if (answer == Contains::kUnknown)
    return {StartAction::kSnapshot, Txid(),
            fmt::format("whether TXID {} there belongs to this volume's history can't be told", remote.newest)};
  if (remote.restorable != remote.newest)
    return {StartAction::kSnapshot, Txid(), fmt::format("objects are missing after TXID {} there", remote.restorable)};
  if (remote.page_size_bytes != local.page_size_bytes)
    return {StartAction::kSnapshot, Txid(),
            fmt::format("the page size changed from {} to {}", remote.page_size_bytes, local.page_size_bytes)};
  if (remote.newest == local.position.txid) return {StartAction::kContinue, remote.newest, "the target is up to date"};
  if (!local.log_follows)
    return {StartAction::kSnapshot, Txid(), fmt::format("the log does not reach back to TXID {}", remote.newest)};
  return {StartAction::kContinue, remote.newest, "the target is behind on the same history"};
}

}  // namespace caddis::backup
