// Go's duration texts ("10s", "1m30s", "1.5h"), as LiteFS's configuration has them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace caddis::config {

// Nanoseconds, by the rules of Go's time.ParseDuration: [+-] then one or more NUMBER UNIT, units ns us µs ms s m h;
// "0" alone needs no unit. nullopt: no duration, or beyond 64 bits.
std::optional<std::int64_t> parse_duration_ns(std::string_view text);

// The same in milliseconds, rounded away from zero, so that no positive duration becomes 0.
std::optional<std::int64_t> parse_duration_ms(std::string_view text);

}  // namespace caddis::config
