// One key's value to one member of Config, with the errors said the same way everywhere. Used by schema.cc and
// exec_backup.cc only.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/config.h"
#include "config/node.h"
#include "config/schema.h"

namespace caddis::config {

class Walker {
 public:
  using Handler = std::function<void(const Node&, const std::string& path)>;
  struct Field {
    std::string name;
    Handler handler;
  };

  Walker(std::string file, Config& config, SchemaResult& out) : file_(std::move(file)), config_(config), out_(out) {}

  // Calls the fields' handlers for the entries of a map (null: none). prefix: "lease.", or "" at the top.
  // Reports unknown and repeated keys. Null values are skipped, and not noted as given.
  void map(const Node& node, const std::string& path, const std::vector<Field>& fields);

  Handler section(std::vector<Field> fields) {
    return [this, fields = std::move(fields)](const Node& node, const std::string& path) { map(node, path, fields); };
  }
  Handler boolean(bool& out);
  // need: what LiteFS says when the text is empty ("fuse directory required"); "" allows it.
  Handler text(std::string& out, std::string_view need = {});
  Handler text_list(std::vector<std::string>& out);
  Handler integer(std::int64_t& out, std::int64_t min);
  // min_ms: the smallest allowed value; INT64_MIN allows negatives.
  Handler duration(std::int64_t& out, std::int64_t min_ms);
  Handler duration(std::optional<std::int64_t>& out, std::int64_t min_ms);
  // what: the start of the error ("invalid lease type").
  template <class E>
  Handler choice(E& out, std::vector<E> values, std::string what) {
    return [this, &out, values = std::move(values), what = std::move(what)](const Node& node, const std::string& path) {
      std::vector<std::string> names;
      for (E value : values) names.emplace_back(to_text(value));
      for (std::size_t i = 0; i < values.size(); ++i) {
        if (node.kind == Node::Kind::kScalar && node.text == names[i]) {
          out = values[i];
          return;
        }
      }
      wrong_choice(node, path, names, what);
    };
  }

  std::string where(const Node& node) const { return fmt::format("{}:{}", file_, node.line); }
  void error(int line, const std::string& path, std::string_view text);
  void warning(int line, const std::string& path, std::string_view text);
  Config& config() { return config_; }

 private:
  void unknown(const NodeEntry& entry, const std::string& path, const std::vector<Field>& fields);
  void wrong_choice(const Node& node, const std::string& path, const std::vector<std::string>& names,
                    const std::string& what);

  std::string file_;
  Config& config_;
  SchemaResult& out_;
};

// exec: a command, or the list of {cmd, if-candidate, if-primary, timeout}.
void read_exec(Walker& walker, const Node& node, const std::string& path);
// backup: the list of targets, or LiteFS's map.
void read_backup(Walker& walker, const Node& node, const std::string& path);

}  // namespace caddis::config
