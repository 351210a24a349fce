// When the edge received a request, by its own clock: a time ahead of ours says that this machine was suspended. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace caddis::proxy {

// X-Request-Start: "t=" optional, then seconds with a fraction, milliseconds or microseconds since the Unix epoch,
// told apart by their size. Milliseconds, or nullopt when it is none of these.
std::optional<std::int64_t> parse_request_start(std::string_view value);
// Fly-Request-Id: a ULID ("01HQ5T0Q3ZKX8FX9W6S7R4V2YB-iad"), whose first ten characters are milliseconds.
std::optional<std::int64_t> parse_fly_request_id(std::string_view value);

}  // namespace caddis::proxy
