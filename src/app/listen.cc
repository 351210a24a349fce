#include "app/listen.h"

#include "base/log.h"

namespace caddis::app {

Result<ListenPlan> plan_listen(const ListenRules& rules) {
  TRY_ASSIGN(loop::HostPort parsed, loop::parse_host_port(rules.addr));
  ListenPlan plan{.hosts = {}, .port = parsed.port};
  if (rules.addr_given) {
    plan.hosts = {{parsed.host, false}};
  } else if (rules.lease_type_written && !rules.on_fly) {
    plan.hosts = {{"", false}};
  } else {
    plan.hosts = {{"127.0.0.1", false}, {"::1", true}};
    if (rules.on_fly) plan.hosts.push_back({"fly-local-6pn", true});
  }
  return plan;
}

Result<std::vector<api::ListenAddress>> resolve_listen(loop::Loop& loop, const ListenPlan& plan) {
  std::vector<api::ListenAddress> addresses;
  for (const ListenHost& host : plan.hosts) {
    if (host.host.empty() || loop::is_ip(host.host)) {
      addresses.push_back({{host.host, plan.port}, host.optional});
      continue;
    }
    Result<std::vector<loop::SocketAddress>> found = loop::resolve_now(loop, host.host, plan.port);
    if (found) {
      for (loop::SocketAddress& address : *found) addresses.push_back({std::move(address), host.optional});
    } else if (host.optional) {
      log_warn("node port: not reachable for other machines",
               {{"host", host.host}, {"cause", found.error().message()}});
    } else {
      return std::unexpected(std::move(found).error());
    }
  }
  return addresses;
}

}  // namespace caddis::app
