// A command string to argv, split as LiteFS does it (quotes and backslashes, no variables, no shell).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace caddis::config {

// Errors (kInvalid, the texts name the cause): unbalanced quotes or backquotes, "(" outside quotes, and an unquoted
// ; & | < >, where LiteFS would silently drop the rest of the line. The last one's text proposes the argv list.
// An empty or blank text gives an empty list.
Result<std::vector<std::string>> split_command(std::string_view text);

}  // namespace caddis::config
