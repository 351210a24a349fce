#include "app/commands.h"

#include <fmt/core.h>

#include <cstdio>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "app/cli.h"
#include "app/client_commands.h"
#include "app/importer.h"
#include "app/mount_command.h"
#include "app/restore_command.h"
#include "supervise/supervisor.h"

namespace caddis::app {
namespace {

struct Dispatch {
  const std::string& program;
  const BuildInfo& build;

  int operator()(const MountCommand& c) const { return run_mount(c, build, banner()); }
  int operator()(const RunCommand& c) const {
    if (c.is_plain()) return supervise::run_plain(c.command);
    return run_on_node(c);
  }
  int operator()(const ExportCommand& c) const { return run_export(c); }
  int operator()(const ImportCommand& c) const { return run_import(c); }
  int operator()(const RestoreCommand& c) const { return run_restore(c); }
  int operator()(const StatusCommand& c) const { return run_status(c); }
  int operator()(const VersionCommand& c) const {
    if (c.json)
      fmt::print("{{\"version\":\"{}\",\"commit\":\"{}\"}}\n", build.version, build.commit);
    else
      fmt::print("{}\n", banner());
    return 0;
  }
  int operator()(const HelpCommand& c) const {
    fmt::print(c.to_stderr ? stderr : stdout, "{}", c.text);
    return c.exit_code;
  }
  int operator()(const UsageError& e) const {
    fmt::print(stderr, "ERROR: {}\n", e.text);
    return 2;
  }
  std::string banner() const { return version_text(program, build.version, build.commit); }
};

}  // namespace

int run_program(int argc, char** argv, const BuildInfo& build) {
  std::vector<std::string> args(argv, argv + argc);
  if (args.size() > 1 && args[1] == "_import") return run_import_helper({args.begin() + 2, args.end()});
  CommandLine line = parse_command_line(args);
  return std::visit(Dispatch{line.program, build}, line.command);
}

}  // namespace caddis::app
