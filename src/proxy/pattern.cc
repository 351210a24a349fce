#include "proxy/pattern.h"

#include <algorithm>

namespace caddis::proxy {

// The last `*` takes one character more whenever what follows it does not fit: no recursion, at most
// pattern.size() * path.size() steps.
bool pattern_matches(std::string_view pattern, std::string_view path) {
  std::size_t p = 0, at = 0;
  std::size_t star = std::string_view::npos, resume = 0;
  while (at < path.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = at;
    } else if (p < pattern.size() && pattern[p] == path[at]) {
      ++p;
      ++at;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      at = ++resume;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

bool Patterns::match(std::string_view path) const {
  return std::any_of(patterns_.begin(), patterns_.end(),
                     [&](const std::string& pattern) { return pattern_matches(pattern, path); });
}

}  // namespace caddis::proxy
