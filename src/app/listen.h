// Which addresses the node port is bound to.
#pragma once

#include <string>
#include <vector>

#include "api/node_port.h"
#include "base/result.h"
#include "loop/loop.h"
#include "loop/stream.h"

namespace caddis::app {

struct ListenRules {
  std::string addr;          // http.addr
  bool addr_given = false;   // written by the user: exactly that
  bool on_fly = false;
  bool lease_type_written = false;  // as static or consul: other machines have to reach this one, as LiteFS
};
struct ListenHost {
  std::string host;       // name or address; empty: all addresses
  bool optional = false;  // a missing name or address family is no error
  bool operator==(const ListenHost&) const = default;
};
struct ListenPlan {
  std::vector<ListenHost> hosts;
  std::uint16_t port = 0;
};
// Pure. kInvalid for an address that is none.
Result<ListenPlan> plan_listen(const ListenRules& rules);

// Names to addresses, blocking; a missing optional one is logged.
Result<std::vector<api::ListenAddress>> resolve_listen(loop::Loop& loop, const ListenPlan& plan);

}  // namespace caddis::app
