// The only file of this module that sees toml++.
#include <toml++/toml.h>

#include <sstream>

#include "config/node.h"

namespace caddis::config {
namespace {

int line_of(const toml::source_region& source) { return static_cast<int>(source.begin.line); }

Node convert(const toml::node& in) {
  Node out{.line = line_of(in.source())};
  if (const toml::table* table = in.as_table()) {
    out.kind = Node::Kind::kMap;
    for (const auto& [key, value] : *table) {
      NodeEntry entry{std::string(key.str()), line_of(key.source()), convert(value)};
      if (entry.line == 0) entry.line = entry.value.line;
      out.entries.push_back(std::move(entry));
    }
    return out;
  }
  if (const toml::array* array = in.as_array()) {
    out.kind = Node::Kind::kSequence;
    for (const toml::node& item : *array) out.items.push_back(convert(item));
    return out;
  }
  out.kind = Node::Kind::kScalar;
  if (const auto* text = in.as_string()) {
    out.quoted = true;
    out.text = text->get();
    return out;
  }
  std::ostringstream text;
  text << toml::node_view<const toml::node>(in);
  out.text = text.str();
  return out;
}

}  // namespace

ParseResult<Node> parse_toml(const std::string& text) {
  try {
    toml::table table = toml::parse(text);
    return convert(table);
  } catch (const toml::parse_error& e) {
    return std::unexpected(SyntaxError{line_of(e.source()), std::string(e.description())});
  }
}

}  // namespace caddis::config
