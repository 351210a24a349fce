// What decides who is primary. One implementation for each `lease.type`; the app only knows this interface.
// Loop thread only.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "lease/role_board.h"
#include "loop/task.h"

namespace caddis::lease {

struct NodeAddress {
  std::string hostname;       // what others show as the primary's name (.primary)
  std::string advertise_url;  // where others reach this node's port
};

class Leaser {
 public:
  virtual ~Leaser() = default;
  virtual std::string_view type() const = 0;  // "static", as in log lines
  // Takes part from now on and keeps `board` current. Returns once the role is known: primary, or a replica that knows
  // its primary. No deadline of its own; kCancelled when stopped.
  virtual loop::Task<Status> join(RoleBoard& board, std::stop_token stop) = 0;
  // Ends the term, if this node holds one, so that another may start at once. Bounded by `stop`.
  virtual loop::Task<Status> release(RoleBoard& board, std::stop_token stop) = 0;
};

// A candidate always is the primary, everybody else never. Without a candidate's own node the configured address is
// the primary's, as in LiteFS.
std::unique_ptr<Leaser> make_static_leaser(bool candidate, NodeAddress address);

}  // namespace caddis::lease
