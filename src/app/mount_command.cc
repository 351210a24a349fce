#include "app/mount_command.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <utility>

#include "app/settings.h"
#include "base/log.h"
#include "supervise/signals.h"
#include "supervise/supervisor.h"

namespace caddis::app {
namespace {

constexpr int kExitUsage = 2;

void configure_logging(const config::LogConfig& log) {
  configure_log({.json = log.format == config::LogFormat::kJson,
                 .timestamp = log.timestamp,
                 .level = log.debug ? LogLevel::kDebug : LogLevel::kInfo});
}

// `sh -c "caddis mount"` (an ENTRYPOINT in shell form): such a shell keeps the signals of a stop for itself. When it
// dies of one, that is the signal for this program.
void beware_of_shell_parent() {
  if (isatty(STDERR_FILENO)) return;
  Result<std::string> command = read_text_file(fmt::format("/proc/{}/cmdline", getppid()));
  if (!command || !is_shell_command(*command)) return;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  log_warn("the parent process is a shell, which does not hand signals on",
           {{"cure", "write the image's ENTRYPOINT as a list: ENTRYPOINT [\"caddis\", \"mount\"]"}});
}

// release_command, console and test machines: the command and nothing else.
int run_special(const std::vector<std::string>& argv, const Settings& settings) {
  log_info("special machine (release command, console or test): running the command without mount, lease or backup");
  supervise::SupervisorOptions options;
  options.user = settings.user;
  options.stop_timeout_ms = settings.config.stop_timeout_ms.value_or(options.stop_timeout_ms);
  return supervise::run_plain(argv, std::move(options));
}

// What is configured and does not exist in this version.
void check_supported(const config::Config& config, std::vector<std::string>& errors) {
  if (config.lease.type == config::LeaseType::kConsul || config.lease.type == config::LeaseType::kS3) {
    auto where = config.given.find("lease.type");
    errors.push_back(
        fmt::format("{}lease.type: '{}' is not part of this version, which has one writer by configuration "
                    "only; write static, and candidate: ${{FLY_REGION == PRIMARY_REGION}}",
                    where == config.given.end() ? "" : where->second + ": ", config::to_text(config.lease.type)));
  }
  if (config.durability != config::Durability::kLocal) {
    auto where = config.given.find("durability");
    errors.push_back(fmt::format("{}durability: '{}' is not part of this version; write local",
                                 where == config.given.end() ? "" : where->second + ": ",
                                 config::to_text(config.durability)));
  }
}

// Keys that are understood and have no effect yet; nobody shall believe they have.
void warn_about_later_keys(const config::Config& config) {
  auto warn = [](std::string_view key, std::string_view instead) {
    log_warn(fmt::format("{} has no effect in this version: {}", key, instead));
  };
  if (config.fuse.io == config::FuseIo::kPassthrough) warn("fuse.io: passthrough", "files go through the daemon");
  if (config.restore == config::RestoreMode::kLazy) warn("restore: lazy", "the restore ends before the app starts");
  if (!config.http.secret.empty() || !config.http.secret_file.empty()) {
    warn("http.secret", "whoever reaches the node port can export and import; bind it to a private address");
  }
  if (!config.tracing.path.empty() || config.tracing.to_stdout) warn("tracing", "no trace is written");
  if (!config.proxy.target.empty()) warn("proxy", "requests have to reach the app's own port");
}

void log_start(const Settings& settings, const std::string& banner) {
  log_info(banner);
  for (const std::string& note : settings.notes) log_info(note);
  for (const std::string& warning : settings.warnings) log_warn(warning);
  warn_about_later_keys(settings.config);
  if (settings.resolution.on_fly) log_info("host environment detected", {{"type", "fly.io"}});
  if (settings.config.backup.empty()) log_info("no backup client configured, skipping");
  for (const config::BackupTarget& target : settings.config.backup) {
    std::string url = target.url.substr(0, target.url.find('?'));
    log_info(fmt::format("{} backup client configured: {}", url.starts_with("file:") ? "file-based" : "s3", url));
  }
}

}  // namespace

bool is_shell_command(std::string_view cmdline) {
  static constexpr std::array<std::string_view, 4> kShells = {"sh", "dash", "ash", "bash"};
  std::size_t end = cmdline.find('\0');
  if (end == std::string_view::npos) return false;
  std::string_view name = cmdline.substr(0, end);
  name.remove_prefix(name.rfind('/') + 1);
  return std::find(kShells.begin(), kShells.end(), name) != kShells.end() &&
         cmdline.substr(end + 1).starts_with(std::string_view("-c\0", 3));
}

int run_mount(const MountCommand& command, const BuildInfo& build, const std::string& banner) {
  supervise::block_signals();
  config::Environment env = read_environment();
  if (config::is_special_machine(env) && command.command) return run_special(*command.command, {});
  Settings settings = load_settings(command, std::move(env));
  if (settings.errors.empty()) check_supported(settings.config, settings.errors);
  if (!settings.errors.empty()) {
    for (const std::string& error : settings.errors) fmt::print(stderr, "ERROR: {}\n", error);
    return kExitUsage;
  }
  configure_logging(settings.config.log);
  if (settings.resolution.special_machine) {
    if (settings.config.exec.empty()) return 0;
    return run_special(settings.config.exec.back().argv, settings);
  }
  log_start(settings, banner);
  beware_of_shell_parent();
  auto* daemon = new Daemon(std::move(settings), build, !command.skip_unmount);
  // Everything is down when run() returns. What pool threads may still hold is not worth waiting for.
  int code = daemon->run();
  std::fflush(nullptr);
  _exit(code);
}

}  // namespace caddis::app
