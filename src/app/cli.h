// The command line: argv to one struct per command. Go's flag rules: -x, --x, -x=v, -x v; booleans -x and -x=false;
// flags before or after positionals, up to "--"; what follows "--" is kept byte for byte.
// Pure: prints nothing and reads no environment.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/ids.h"

namespace caddis::app {

inline constexpr std::string_view kDefaultUrl = "http://localhost:20202";

struct MountCommand {
  std::string config_path;  // -config; empty: search
  bool no_expand_env = false;
  std::string fly_toml_path;  // -fly-toml; empty: ./fly.toml
  bool skip_unmount = false;
  bool debug = false;
  bool fuse_debug = false;
  bool tracing = false;
  std::optional<std::vector<std::string>> command;  // after "--"; absent: the config's exec list. Never empty
};

struct RunCommand {
  std::string url{kDefaultUrl};
  bool promote = false;
  bool if_candidate = false;
  std::string with_halt_lock_on;  // a database path
  bool on_primary = false;
  bool verbose = false;
  std::vector<std::string> command;  // never empty
  // None of the flags that need a node: a plain supervisor, no mount, no config read.
  bool is_plain() const { return !promote && !if_candidate && with_halt_lock_on.empty() && !on_primary; }
};

struct ExportCommand {
  std::string url{kDefaultUrl};
  std::string name;
  std::string path;
};

struct ImportCommand {
  std::string url{kDefaultUrl};
  std::string name;
  std::string path;
};

enum class IntegrityCheck { kNone, kQuick, kFull };

struct RestoreCommand {
  std::string source;       // URL, database path or database name
  std::string config_path;  // for a source that is no URL
  bool no_expand_env = false;
  std::string output_path;                   // -o; empty: the database's own place
  std::optional<Txid> txid;                  // -txid
  std::optional<std::int64_t> timestamp_ms;  // -timestamp, milliseconds since the epoch
  bool if_db_not_exists = false;
  bool if_replica_exists = false;
  bool force = false;
  bool dry_run = false;
  bool json = false;
  IntegrityCheck integrity_check = IntegrityCheck::kQuick;
  int parallelism = 8;  // 1–256
};

struct StatusCommand {
  std::string url{kDefaultUrl};
  std::string database;  // empty: all
  bool json = false;
  bool watch = false;
};

struct VersionCommand {
  bool json = false;
};

// Usage asked for (-h, help: stdout, exit 0), or nothing asked for (stderr, exit 2).
struct HelpCommand {
  std::string text;  // ends with a newline
  bool to_stderr = false;
  int exit_code = 0;
};

// A command line that cannot be run: print "ERROR: TEXT" on stderr, exit 2.
struct UsageError {
  std::string text;  // one line
};

using Command = std::variant<MountCommand, RunCommand, ExportCommand, ImportCommand, RestoreCommand, StatusCommand,
                             VersionCommand, HelpCommand, UsageError>;

struct CommandLine {
  std::string program;  // basename of argv[0]: "litefs" changes the version text and the first log line only
  Command command;
};

// args: argv as the kernel gave it, argv[0] included (may be empty).
CommandLine parse_command_line(const std::vector<std::string>& args);

// The usage of the whole program, and of one command ("" or an unknown name: the whole program).
std::string usage_text(std::string_view command = {});

// "caddis v0.1.0, commit=HASH", under the name litefs "LiteFS v0.5.14, commit=HASH (caddis v0.1.0)". version has its
// "v".
std::string version_text(std::string_view program, std::string_view version, std::string_view commit);

// RFC 3339 ("2026-11-22T03:34:36Z", "…36.5+01:00") to milliseconds since the epoch; nullopt when it is none.
std::optional<std::int64_t> parse_rfc3339_ms(std::string_view text);

}  // namespace caddis::app
