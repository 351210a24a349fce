// Times as S3 and Litestream write them. All in milliseconds since the Unix epoch, UTC. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace caddis::store {

// Go's RFC3339Nano: no trailing zeros in the fraction, and none at all for a whole second: "2026-11-22T01:10:48.68Z".
std::string rfc3339_nano(std::int64_t wall_ms);
// "2026-11-22T01:10:48.680000001Z", also with +01:00; what is finer than milliseconds is cut off.
std::optional<std::int64_t> parse_rfc3339(std::string_view text);
// RFC 9110's IMF-fixdate: "Sun, 06 Nov 1994 08:49:37 GMT".
std::optional<std::int64_t> parse_http_date(std::string_view text);
std::string amz_date(std::int64_t wall_ms);  // "20130524T000000Z"

}  // namespace caddis::store
