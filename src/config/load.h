// Configuration text to Config: YAML and TOML, env expansion, strict keys, every error of a run at once.
// Pure: the environment is a map, a file is its name and text. The caller reads the files that search_paths() names.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"

namespace caddis::config {

using Environment = std::map<std::string, std::string>;

// Where `caddis mount` looks without -config, in order: caddis.yml in ".", home and /etc, then caddis.toml, then
// litefs.yml likewise. home may be empty (unknown): it is left out.
std::vector<std::string> search_paths(std::string_view home);

struct SourceFile {
  std::string name;  // as in error texts; a name ending in ".toml" is TOML, every other is YAML
  std::string text;
};

struct LoadFlags {
  bool expand_env = true;  // false: -no-expand-env
  bool debug = false;      // -debug
  bool fuse_debug = false;
  bool tracing = false;
  std::optional<std::vector<std::string>> command;  // what follows "--": replaces exec
};

struct LoadInput {
  Environment env;                     // with PRIMARY_REGION from fly.toml where it was unset, and HOSTNAME
  std::vector<SourceFile> candidates;  // existing files in search order: the first is used, the others are named
  LoadFlags flags;
};

struct LoadResult {
  Config config;                      // usable only when errors is empty
  std::vector<std::string> errors;    // "FILE:LINE: key: what, why, cure": configuration error, exit code 2
  std::vector<std::string> warnings;  // to be logged
  std::vector<std::string> notes;     // one line: the file used, those ignored
  bool parsed = true;                 // false: the file is no YAML or TOML at all, config has only defaults
  bool ok() const { return errors.empty(); }
};

// Reads the first candidate (none: defaults) and applies the flags. Call resolve() (config/resolve.h) next.
LoadResult load(const LoadInput& input);

}  // namespace caddis::config
