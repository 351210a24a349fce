// Inside of src/proxy: an upgraded connection; bytes go both ways until both sides have ended.
#pragma once

#include <cstdint>

#include "proxy/connection.h"
#include "proxy/upstream.h"

namespace caddis::proxy {

// What was received with the heads goes first. After one side has ended, silence of stall_ms ends the other one too.
loop::Task<void> tunnel(Connection& client, Link& server, std::int64_t stall_ms);

}  // namespace caddis::proxy
