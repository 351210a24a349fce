// What a follower lacks of one database, and whether a log file brings it on. Pure.
#pragma once

#include <cstdint>

#include "base/ids.h"
#include "ltx/header.h"

namespace caddis::replica {

enum class Standing {
  kSame,
  kNew,        // the follower has nothing of it yet
  kBehind,     // by TXID; whether it is on our branch, the next file tells
  kAhead,      // it has transactions that we have not
  kDifferent,  // the same TXID with another content
};

inline Standing standing(const Position& theirs, const Position& ours) {
  if (theirs == ours) return Standing::kSame;
  if (theirs.txid == Txid()) return Standing::kNew;
  if (theirs.txid > ours.txid) return Standing::kAhead;
  return theirs.txid == ours.txid ? Standing::kDifferent : Standing::kBehind;
}

enum class Step {
  kSend,       // the file follows their position
  kSnapshot,   // it does not, and nothing speaks against their position being part of our past
  kDifferent,  // their position is not part of our past: the file says that this TXID had another content
};

// `file` begins at theirs.txid + 1. `forwarded`: it was committed while the follower was connected, so that one with
// its own node id is its own write on its way back (a follower drops such a file unseen; it must not be sent one it
// lacks).
inline Step step_for(const Position& theirs, const ltx::Header& file, std::uint64_t follower_id, bool forwarded) {
  if (file.pre_apply != theirs.checksum) return Step::kDifferent;
  bool own = follower_id != 0 && file.node_id == follower_id;
  return own && !forwarded ? Step::kSnapshot : Step::kSend;
}

}  // namespace caddis::replica
