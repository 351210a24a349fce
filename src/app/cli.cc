#include "app/cli.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <utility>

#include "app/flag_set.h"

namespace caddis::app {
namespace {

constexpr std::string_view kSpecifyDashes = "too many arguments, specify a '--' to specify an exec command";

// ---- one function per command: its flags, bound to its struct

FlagSet flags_of(MountCommand& c) {
  FlagSet f;
  f.text("config", "PATH", c.config_path,
         "configuration file; without it caddis.yml, caddis.toml and litefs.yml are searched");
  f.boolean("no-expand-env", c.no_expand_env, "leave $NAME and ${...} in the configuration as they are");
  f.text("fly-toml", "PATH", c.fly_toml_path,
         "fly.toml for what file and environment leave open; without it ./fly.toml if there");
  f.boolean("skip-unmount", c.skip_unmount, "do not clean up the mount of a predecessor that was killed");
  f.boolean("debug", c.debug, "log at level DEBUG");
  f.boolean("fuse.debug", c.fuse_debug, "log each FUSE request");
  f.boolean("tracing", c.tracing, "write the trace log to stdout");
  return f;
}

FlagSet flags_of(RunCommand& c) {
  FlagSet f;
  f.text("url", "URL", c.url, "the node");
  f.boolean("promote", c.promote, "make this node primary first");
  f.boolean("if-candidate", c.if_candidate, "run only if this node is a candidate, else exit 0");
  f.text("with-halt-lock-on", "DB", c.with_halt_lock_on,
         "hold the halt lock of this database (a path in the mount) meanwhile");
  f.boolean("on-primary", c.on_primary, "run it so that its writes reach the primary");
  f.boolean("v", c.verbose, "say what is being done");
  return f;
}

template <class C>
FlagSet transfer_flags(C& c) {
  FlagSet f;
  f.text("url", "URL", c.url, "the node");
  f.text("name", "DB", c.name, "the database's name in the mount (required)");
  return f;
}
FlagSet flags_of(ExportCommand& c) { return transfer_flags(c); }
FlagSet flags_of(ImportCommand& c) { return transfer_flags(c); }

Status set_integrity_check(RestoreCommand& c, std::string_view value) {
  if (value == "none")
    c.integrity_check = IntegrityCheck::kNone;
  else if (value == "quick")
    c.integrity_check = IntegrityCheck::kQuick;
  else if (value == "full")
    c.integrity_check = IntegrityCheck::kFull;
  else
    return invalid("must be none, quick or full");
  return {};
}

Status set_parallelism(RestoreCommand& c, std::string_view value) {
  int n = 0;
  auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), n);
  if (ec != std::errc() || end != value.data() + value.size() || n < 1 || n > 256)
    return invalid("must be a number from 1 to 256");
  c.parallelism = n;
  return {};
}

Status set_timestamp(RestoreCommand& c, std::string_view value) {
  c.timestamp_ms = parse_rfc3339_ms(value);
  if (!c.timestamp_ms) return invalid("must be a time with zone such as 2026-11-22T03:34:36Z");
  return {};
}

Status set_txid(RestoreCommand& c, std::string_view value) {
  Result<std::uint64_t> txid = parse_hex16(value);
  if (!txid || *txid == 0) return invalid("must be 16 lower-case hex digits such as 000000000000002a");
  c.txid = Txid(*txid);
  return {};
}

FlagSet flags_of(RestoreCommand& c) {
  FlagSet f;
  f.text("o", "FILE", c.output_path, "write the database here");
  f.custom("txid", "HEX16", "restore up to this transaction", [&c](std::string_view v) { return set_txid(c, v); });
  f.custom("timestamp", "RFC3339", "restore the state at this time",
           [&c](std::string_view v) { return set_timestamp(c, v); });
  f.boolean("if-db-not-exists", c.if_db_not_exists, "exit 0 if the file is there already");
  f.boolean("if-replica-exists", c.if_replica_exists, "exit 0 if there is no backup");
  f.boolean("force", c.force, "replace a file that is there");
  f.boolean("dry-run", c.dry_run, "only say what would be read");
  f.boolean("json", c.json, "print the result as JSON");
  f.custom("integrity-check", "none|quick|full", "check of the restored file (default: quick)",
           [&c](std::string_view v) { return set_integrity_check(c, v); });
  f.custom("parallelism", "N", "downloads at a time (default: 8)",
           [&c](std::string_view v) { return set_parallelism(c, v); });
  f.text("config", "PATH", c.config_path, "configuration file that knows the database's targets");
  f.boolean("no-expand-env", c.no_expand_env, "leave $NAME and ${...} in the configuration as they are");
  return f;
}

FlagSet flags_of(StatusCommand& c) {
  FlagSet f;
  f.text("url", "URL", c.url, "the node");
  f.boolean("json", c.json, "print JSON");
  f.boolean("watch", c.watch, "print again each second");
  return f;
}

FlagSet flags_of(VersionCommand& c) {
  FlagSet f;
  f.boolean("json", c.json, "print JSON");
  return f;
}

// ---- usage

struct Topic {
  std::string_view name;
  std::string_view arguments;
  std::string_view summary;
  std::string_view text;
  std::string_view examples;
};
constexpr std::array<Topic, 7> kTopics{{
    {"mount", "[flags] [-- CMD ARG...]", "mount the databases, restore, migrate and run the app",
     "The entry point of a machine. Mounts the database directory, restores an empty volume from its backup,\n"
     "runs the exec list of the configuration and ends with the app's exit code. CMD replaces the exec list.\n",
     "  caddis mount -- npm start\n"
     "  caddis mount -config /etc/litefs.yml\n"},
    {"run", "[flags] -- CMD ARG...", "run a command, as a plain supervisor or beside a node",
     "Without flags a supervisor for any command: forwards signals, reaps, passes the exit code on; nothing is\n"
     "mounted. The flags first ask the node on this machine.\n",
     "  caddis run -- ./server -port 8080\n"
     "  caddis run -promote -if-candidate -- python manage.py migrate\n"
     "  caddis run -with-halt-lock-on /litefs/app.db -- ./fix-rows\n"},
    {"export", "-name DB [flags] PATH", "write a database of the node into a file",
     "Downloads a consistent copy while the app runs. PATH is replaced only after a complete download.\n",
     "  caddis export -name app.db /tmp/app.db\n"},
    {"import", "-name DB [flags] PATH", "replace a database of the node with a file",
     "Uploads a SQLite file in one transaction; all machines see it. The node must be the primary.\n",
     "  caddis import -name app.db ./seed.db\n"},
    {"restore", "[flags] URL|DB|NAME", "rebuild a database from its backup",
     "Reads a backup target into a file. A file that is there is never replaced without -force.\n",
     "  caddis restore -o app.db s3://bucket/myapp/app.db\n"
     "  caddis restore -timestamp 2026-11-22T03:00:00Z -o before.db app.db\n"},
    {"status", "[flags] [DB]", "say what the node does and how fresh its replicas and backups are", "",
     "  caddis status\n"
     "  caddis status -json app.db\n"},
    {"version", "[flags]", "print the version", "", ""},
}};

const Topic* find_topic(std::string_view name) {
  auto it = std::ranges::find(kTopics, name, &Topic::name);
  return it == kTopics.end() ? nullptr : &*it;
}

std::string flags_usage(std::string_view command) {
  auto of = [](auto c) { return flags_of(c).usage(); };
  if (command == "mount") return of(MountCommand{});
  if (command == "run") return of(RunCommand{});
  if (command == "export") return of(ExportCommand{});
  if (command == "import") return of(ImportCommand{});
  if (command == "restore") return of(RestoreCommand{});
  if (command == "status") return of(StatusCommand{});
  return of(VersionCommand{});
}

std::string topic_usage(const Topic& topic) {
  std::string out =
      fmt::format("caddis {}: {}\n\nUsage:\n  caddis {} {}\n", topic.name, topic.summary, topic.name, topic.arguments);
  if (!topic.text.empty()) out += fmt::format("\n{}", topic.text);
  out += fmt::format("\nFlags (-x and --x, -x=v and -x v are the same):\n{}", flags_usage(topic.name));
  if (!topic.examples.empty()) out += fmt::format("\nExamples:\n{}", topic.examples);
  return out;
}

// ---- one function per command: what its positionals mean

using Parsed = FlagSet::Parsed;

HelpCommand missing_arguments(std::string_view command) {
  return {.text = usage_text(command), .to_stderr = true, .exit_code = 2};
}

// Positionals of commands that take no "--" argv: what follows it is positional too, as in Go.
std::vector<std::string> all_positionals(const Parsed& parsed) {
  std::vector<std::string> out = parsed.positionals;
  if (parsed.rest) out.insert(out.end(), parsed.rest->begin(), parsed.rest->end());
  return out;
}

Command finish(MountCommand c, const Parsed& parsed) {
  if (!parsed.positionals.empty()) return UsageError{std::string(kSpecifyDashes)};
  if (parsed.rest && (parsed.rest->empty() || parsed.rest->front().empty())) {
    return UsageError{
        "no command after '--', write caddis mount -- CMD or leave the '--' out to run the configuration's exec list"};
  }
  c.command = parsed.rest;
  return c;
}

Command finish(RunCommand c, const Parsed& parsed) {
  if (!parsed.positionals.empty()) return UsageError{std::string(kSpecifyDashes)};
  if (!parsed.rest) return missing_arguments("run");
  if (parsed.rest->empty() || parsed.rest->front().empty())
    return UsageError{"no subcommand specified, write caddis run -- CMD"};
  if (c.promote && !c.with_halt_lock_on.empty()) return UsageError{"cannot specify both -promote & -with-halt-lock-on"};
  if (c.promote && c.on_primary) return UsageError{"cannot specify both -promote & -on-primary"};
  c.command = *parsed.rest;
  return c;
}

template <class C>
Command finish_transfer(C c, const Parsed& parsed, std::string_view name) {
  std::vector<std::string> positionals = all_positionals(parsed);
  if (positionals.empty()) return missing_arguments(name);
  if (positionals.size() > 1) return UsageError{fmt::format("too many arguments, caddis {} takes one PATH", name)};
  if (c.name.empty())
    return UsageError{fmt::format("database name required, write caddis {} -name DB {}", name, positionals[0])};
  c.path = positionals[0];
  return c;
}
Command finish(ExportCommand c, const Parsed& parsed) { return finish_transfer(std::move(c), parsed, "export"); }
Command finish(ImportCommand c, const Parsed& parsed) { return finish_transfer(std::move(c), parsed, "import"); }

Command finish(RestoreCommand c, const Parsed& parsed) {
  std::vector<std::string> positionals = all_positionals(parsed);
  if (positionals.empty()) return missing_arguments("restore");
  if (positionals.size() > 1) return UsageError{"too many arguments, caddis restore takes one URL, database or name"};
  if (c.txid && c.timestamp_ms) return UsageError{"cannot specify both -txid & -timestamp"};
  c.source = positionals[0];
  if (c.source.contains("://") && c.output_path.empty() && !c.dry_run) {
    return UsageError{"output path required with a URL, write -o FILE"};
  }
  return c;
}

Command finish(StatusCommand c, const Parsed& parsed) {
  std::vector<std::string> positionals = all_positionals(parsed);
  if (positionals.size() > 1) return UsageError{"too many arguments, caddis status takes one database"};
  if (!positionals.empty()) c.database = positionals[0];
  return c;
}

Command finish(VersionCommand c, const Parsed& parsed) {
  if (!all_positionals(parsed).empty()) return UsageError{"too many arguments, caddis version takes none"};
  return c;
}

template <class C>
Command parse_as(std::string_view name, const std::vector<std::string>& args) {
  C command;
  Result<Parsed> parsed = flags_of(command).parse(args);
  if (!parsed) return UsageError{fmt::format("{}; caddis {} -h lists the flags", parsed.error().message(), name)};
  if (parsed->help) return HelpCommand{.text = usage_text(name)};
  return finish(std::move(command), *parsed);
}

Command parse_command(const std::string& program, const std::vector<std::string>& args) {
  if (args.empty()) return missing_arguments("");
  const std::string& name = args[0];
  std::vector<std::string> rest(args.begin() + 1, args.end());
  if (name == "mount") return parse_as<MountCommand>(name, rest);
  if (name == "run") return parse_as<RunCommand>(name, rest);
  if (name == "export") return parse_as<ExportCommand>(name, rest);
  if (name == "import") return parse_as<ImportCommand>(name, rest);
  if (name == "restore") return parse_as<RestoreCommand>(name, rest);
  if (name == "status") return parse_as<StatusCommand>(name, rest);
  if (name == "version" || name == "-version" || name == "--version") return parse_as<VersionCommand>("version", rest);
  if (name == "-h" || name == "--h" || name == "-help" || name == "--help") return HelpCommand{.text = usage_text()};
  if (name == "help") {
    if (!rest.empty() && find_topic(rest[0]) == nullptr)
      return UsageError{fmt::format("{} {}: unknown command, {} help lists them", program, rest[0], program)};
    return HelpCommand{.text = usage_text(rest.empty() ? "" : rest[0])};
  }
  if (name.starts_with('-'))
    return UsageError{fmt::format("flag provided before the command: {}, write {} COMMAND {}", name, program, name)};
  return UsageError{fmt::format("{} {}: unknown command, {} help lists them", program, name, program)};
}

}  // namespace

CommandLine parse_command_line(const std::vector<std::string>& args) {
  CommandLine out;
  out.program = args.empty() || args[0].empty() ? "caddis" : args[0].substr(args[0].rfind('/') + 1);
  out.command =
      parse_command(out.program, args.empty() ? args : std::vector<std::string>(args.begin() + 1, args.end()));
  return out;
}

std::string usage_text(std::string_view command) {
  if (const Topic* topic = find_topic(command)) return topic_usage(*topic);
  std::string out =
      "caddis: SQLite on several machines, backed up, under one entry point\n\nUsage:\n  caddis COMMAND [flags] "
      "[arguments]\n\nCommands:\n";
  for (const Topic& topic : kTopics) out += fmt::format("  {:<8}  {}\n", topic.name, topic.summary);
  return out +
         "\ncaddis COMMAND -h says more. Exit codes: 0 done, 1 failed, 2 usage or configuration, else the app's own.\n";
}

std::string version_text(std::string_view program, std::string_view version, std::string_view commit) {
  if (program == "litefs") return fmt::format("LiteFS v0.5.14, commit={} (caddis {})", commit, version);
  return fmt::format("caddis {}, commit={}", version, commit);
}

namespace {

// Takes exactly `digits` decimal digits off the front.
std::optional<int> take_number(std::string_view& text, std::size_t digits) {
  if (text.size() < digits) return std::nullopt;
  int value = 0;
  for (char c : text.substr(0, digits)) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  text.remove_prefix(digits);
  return value;
}

bool take(std::string_view& text, std::string_view any_of) {
  if (text.empty() || !any_of.contains(text[0])) return false;
  text.remove_prefix(1);
  return true;
}

// "Z", "+01:00": minutes east of UTC.
std::optional<int> take_zone(std::string_view& text) {
  if (take(text, "Zz")) return 0;
  int sign = text.starts_with('-') ? -1 : 1;
  if (!take(text, "+-")) return std::nullopt;
  std::optional<int> hours = take_number(text, 2);
  if (!hours || !take(text, ":")) return std::nullopt;
  std::optional<int> minutes = take_number(text, 2);
  if (!minutes || *hours > 23 || *minutes > 59) return std::nullopt;
  return sign * (*hours * 60 + *minutes);
}

}  // namespace

std::optional<std::int64_t> parse_rfc3339_ms(std::string_view text) {
  std::array<int, 6> field{};  // year, month, day, hour, minute, second
  constexpr std::array<std::string_view, 6> kAfter{"-", "-", "Tt", ":", ":", ""};
  for (std::size_t i = 0; i < field.size(); ++i) {
    std::optional<int> value = take_number(text, i == 0 ? 4 : 2);
    if (!value || (!kAfter[i].empty() && !take(text, kAfter[i]))) return std::nullopt;
    field[i] = *value;
  }
  std::int64_t ms = 0;
  if (take(text, ".")) {
    std::int64_t unit = 100;
    std::size_t digits = 0;
    for (std::optional<int> d; (d = take_number(text, 1)); ++digits, unit /= 10)
      ms += unit * *d;  // further digits add 0
    if (digits == 0) return std::nullopt;
  }
  std::optional<int> zone_minutes = take_zone(text);
  std::chrono::year_month_day date{std::chrono::year(field[0]), std::chrono::month(static_cast<unsigned>(field[1])),
                                   std::chrono::day(static_cast<unsigned>(field[2]))};
  if (!zone_minutes || !text.empty() || !date.ok() || field[3] > 23 || field[4] > 59 || field[5] > 59)
    return std::nullopt;
  std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  std::int64_t minutes = (days * 24 + field[3]) * 60 + field[4] - *zone_minutes;
  return (minutes * 60 + field[5]) * 1'000 + ms;
}

}  // namespace caddis::app
