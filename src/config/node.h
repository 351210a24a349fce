// A configuration file as a tree with line numbers: what YAML and TOML both become, so that one schema checks both.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace caddis::config {

struct NodeEntry;

struct Node {
  enum class Kind { kNull, kScalar, kSequence, kMap };
  Kind kind = Kind::kNull;
  int line = 0;         // counts from 1
  bool quoted = false;  // a scalar that can only be text; others may be a boolean or a number
  std::string text;     // of a scalar
  std::vector<Node> items;
  std::vector<NodeEntry> entries;  // in file order, repeated keys kept

  const Node* find(std::string_view key) const;  // the first entry of that name, or null
};

struct NodeEntry {
  std::string key;
  int line = 0;
  Node value;
};

// "a list", "a map", "nothing", or the scalar in quotes: what an error says was found.
std::string describe(const Node& node);

struct SyntaxError {
  int line = 0;
  std::string text;
};
template <class T>
using ParseResult = std::expected<T, SyntaxError>;

// The first document of a YAML text. An empty one is an error, as for LiteFS. Anchors, aliases and merge keys (<<)
// are resolved; more than 20,000 nodes or 100 levels are an error.
ParseResult<Node> parse_yaml(const std::string& text);
ParseResult<Node> parse_toml(const std::string& text);

}  // namespace caddis::config
