#include "config/load.h"

#include <fmt/ranges.h>

#include "config/expand.h"
#include "config/node.h"
#include "config/schema.h"

namespace caddis::config {
namespace {

void note_source(const std::vector<SourceFile>& candidates, LoadResult& result) {
  if (candidates.empty()) {
    result.notes.push_back("no config file found, configured from environment, flags and defaults");
    return;
  }
  std::string note = "config file read from " + candidates[0].name;
  std::vector<std::string> ignored;
  for (std::size_t i = 1; i < candidates.size(); ++i) ignored.push_back(candidates[i].name);
  if (!ignored.empty()) note += fmt::format(", ignored: {}", fmt::join(ignored, ", "));
  result.notes.push_back(std::move(note));
}

void load_file(const SourceFile& file, const LoadInput& input, LoadResult& result) {
  std::string text = file.text;
  if (input.flags.expand_env) {
    Expansion expansion = expand_env(text, input.env);
    text = std::move(expansion.text);
    for (const Remark& r : expansion.errors)
      result.errors.push_back(fmt::format("{}:{}: {}", file.name, r.line, r.text));
    for (const Remark& r : expansion.warnings)
      result.warnings.push_back(fmt::format("{}:{}: {}", file.name, r.line, r.text));
  }
  bool toml = file.name.ends_with(".toml");
  ParseResult<Node> root = toml ? parse_toml(text) : parse_yaml(text);
  if (!root) {
    result.parsed = false;
    std::string what = toml ? "not TOML" : "not YAML";
    result.errors.push_back(fmt::format("{}:{}: {}: {}", file.name, root.error().line, what, root.error().text));
    return;
  }
  SchemaResult checked = apply_schema(*root, file.name, result.config);
  result.errors.insert(result.errors.end(), checked.errors.begin(), checked.errors.end());
  result.warnings.insert(result.warnings.end(), checked.warnings.begin(), checked.warnings.end());
}

void apply_flags(const LoadFlags& flags, Config& config) {
  if (flags.debug) {
    config.log.debug = true;
    config.given["log.debug"] = "-debug";
  }
  if (flags.fuse_debug) {
    config.fuse.debug = true;
    config.given["fuse.debug"] = "-fuse.debug";
  }
  if (flags.tracing) {
    config.tracing.enabled = true;
    config.tracing.to_stdout = true;
    config.given["tracing.enabled"] = "-tracing";
  }
  if (flags.command && !flags.command->empty()) {
    config.exec = {ExecEntry{.argv = *flags.command, .where = "--"}};
    config.given["exec"] = "--";
  }
}

}  // namespace

std::vector<std::string> search_paths(std::string_view home) {
  std::vector<std::string> paths;
  for (std::string_view name : {"caddis.yml", "caddis.toml", "litefs.yml"}) {
    paths.push_back(fmt::format("./{}", name));
    if (!home.empty()) paths.push_back(fmt::format("{}{}{}", home, home.ends_with('/') ? "" : "/", name));
    paths.push_back(fmt::format("/etc/{}", name));
  }
  return paths;
}

LoadResult load(const LoadInput& input) {
  LoadResult result;
  note_source(input.candidates, result);
  if (!input.candidates.empty()) load_file(input.candidates[0], input, result);
  apply_flags(input.flags, result.config);
  return result;
}

}  // namespace caddis::config
