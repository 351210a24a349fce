// Times in messages, flags and status documents: RFC 3339, UTC, milliseconds.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace caddis::backup {

// Milliseconds since the Unix epoch as "2026-01-02T03:04:05.678Z".
std::string format_rfc3339(std::int64_t wall_ms);
// "2026-01-02T03:04:05[.fraction](Z|+01:00|-01:00)"; digits beyond milliseconds are cut off. kInvalid names the text.
Result<std::int64_t> parse_rfc3339(std::string_view text);

}  // namespace caddis::backup
