// May this volume go on with the history that a target holds? Decided once at start for every database and target.
// Pure. A greater TXID alone proves nothing: the local history must contain the target's newest position with its
// checksum, by the log, by the current position, or by the note of what was uploaded from this very volume.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/ids.h"

namespace caddis::backup {

struct RemoteTail {
  bool empty = true;
  Txid newest;                       // greatest TXID of any object
  std::optional<Checksum> checksum;  // database checksum there (CDS1); none: written by another program
  std::uint64_t epoch = 0;
  std::uint32_t page_size_bytes = 0;
  Txid restorable;  // what a restore of the latest state gives now; less than newest: a gap
};

struct LocalTail {
  Position position;
  std::uint32_t page_size_bytes = 0;
  std::optional<Checksum> checksum_at_remote;  // of the local history at RemoteTail::newest; none: the log does not say
  std::optional<Position> uploaded;            // noted durably after the last upload to this target
  bool log_follows = false;                    // the log has every transaction after RemoteTail::newest
};

enum class StartAction {
  kContinue,  // upload what follows `from`
  kSnapshot,  // upload a snapshot, then what follows it
  kStop,      // upload nothing; `why` is the line for the operator
};
struct StartDecision {
  StartAction action = StartAction::kStop;
  Txid from;
  std::string why;
};
StartDecision decide_start(const RemoteTail& remote, const LocalTail& local);

}  // namespace caddis::backup
