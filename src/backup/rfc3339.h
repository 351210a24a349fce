// Times in messages and status documents: RFC 3339, UTC, always milliseconds. Reading them: store/times.h.
#pragma once

#include <cstdint>
#include <string>

namespace caddis::backup {

// Milliseconds since the Unix epoch as "2026-01-02T03:04:05.678Z".
std::string format_rfc3339(std::int64_t wall_ms);

}  // namespace caddis::backup
