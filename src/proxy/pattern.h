// Path patterns of `proxy.passthrough` and `proxy.always-forward`, as LiteFS has them: `*` stands for any characters,
// `/` among them, everything else for itself, and the pattern covers the whole path. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace caddis::proxy {

bool pattern_matches(std::string_view pattern, std::string_view path);

class Patterns {
 public:
  Patterns() = default;
  explicit Patterns(std::vector<std::string> patterns) : patterns_(std::move(patterns)) {}
  bool empty() const { return patterns_.empty(); }
  bool match(std::string_view path) const;  // path: percent-decoded, without the query

 private:
  std::vector<std::string> patterns_;
};

}  // namespace caddis::proxy
