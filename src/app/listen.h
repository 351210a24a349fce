// Which addresses the node port is bound to.
#pragma once

#include <string>
#include <vector>

#include "api/node_port.h"
#include "base/result.h"

namespace caddis::app {

struct ListenRules {
  std::string addr;         // http.addr
  bool addr_given = false;  // written by the user: exactly that
  bool on_fly = false;
  bool lease_type_written = false;  // as static or consul: other machines have to reach this one, as LiteFS
};
// Pure: "HOST:PORT" for each address, the first one is never optional. kInvalid for an http.addr that is none.
Result<std::vector<api::ListenAddress>> plan_listen(const ListenRules& rules);

}  // namespace caddis::app
