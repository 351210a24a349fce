// The keys of a configuration and their types: walks a Node tree into a Config and names everything that is wrong.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"
#include "config/node.h"

namespace caddis::config {

struct SchemaResult {
  std::vector<std::string> errors;
  std::vector<std::string> warnings;
};

// file: the name in error texts. Keys that are absent or null leave config's value.
SchemaResult apply_schema(const Node& root, const std::string& file, Config& config);

// The candidate nearest to word by edit distance, or "" when none is near enough to be meant.
std::string nearest_name(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace caddis::config
