// The machines of an app that are started at this moment, from Fly's internal DNS: the TXT record of vms.APP.internal
// is "ID REGION,ID REGION,…" (some seconds old; a machine that has just started may be missing).
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "loop/loop.h"

namespace caddis::fly {

struct ListedMachine {
  std::string id;
  std::string region;
  bool operator==(const ListedMachine&) const = default;
};

// Pure. Unreadable entries are left out; sorted by id, each once.
std::vector<ListedMachine> parse_machine_list(std::string_view text);
// "ID.vm.APP.internal": where a machine's node port is.
std::string machine_host(std::string_view id, std::string_view app);
// The first `nameserver` of a resolv.conf; empty when there is none. Pure.
std::string parse_nameserver(std::string_view resolv_conf);

// Asks the system's resolver (/etc/resolv.conf), again after a second without an answer, until timeout_ms have passed.
// An app without a started machine is an empty list. Errors: kUnavailable, kTimeout, kCorrupt, kCancelled.
loop::Task<Result<std::vector<ListedMachine>>> list_machines(loop::Loop& loop, std::string app, std::int64_t timeout_ms,
                                                             std::stop_token stop);

}  // namespace caddis::fly
