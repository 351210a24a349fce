// ${…} in a configuration text: LiteFS's rules (Go's os.Expand plus comparisons), applied to the raw text before it is
// parsed, so that a value may also be YAML. Stricter where LiteFS would silently make every machine a candidate.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace caddis::config {

struct Remark {
  int line = 0;  // counts from 1
  std::string text;
};

struct Expansion {
  std::string text;
  std::vector<Remark> errors;
  std::vector<Remark> warnings;  // variables that are not set
};

// Replaces $NAME, ${NAME}, ${A == B}, ${A != B}, ${A == 'text'} and ${A == "text"} (A, B variables; empty counts as
// unset). Comments are expanded too, but say nothing.
// Errors: a comparison of two unset variables, a comparison that names PRIMARY_REGION while it is unset, and a
// comparison that is none of the forms above.
Expansion expand_env(std::string_view text, const std::map<std::string, std::string>& env);

}  // namespace caddis::config
