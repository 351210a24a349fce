#include "app/listen.h"

#include "loop/stream.h"

namespace caddis::app {

Result<std::vector<api::ListenAddress>> plan_listen(const ListenRules& rules) {
  TRY_ASSIGN(loop::HostPort parsed, loop::parse_host_port(rules.addr));
  if (rules.addr_given) return std::vector<api::ListenAddress>{{rules.addr, false}};
  std::string port = ":" + std::to_string(parsed.port);
  if (rules.lease_type_written && !rules.on_fly) return std::vector<api::ListenAddress>{{port, false}};
  std::vector<api::ListenAddress> addresses{{"127.0.0.1" + port, false}, {"[::1]" + port, true}};
  if (rules.on_fly) addresses.push_back({"fly-local-6pn" + port, true});
  return addresses;
}

}  // namespace caddis::app
