#include "app/restore_command.h"

#include <fmt/core.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <vector>

#include "app/backup_targets.h"
#include "app/restore_output.h"
#include "app/settings.h"
#include "backup/restore.h"
#include "backup/rfc3339.h"
#include "base/clock.h"
#include "db/engine.h"
#include "os/file.h"
#include "sqlcheck/integrity.h"

namespace caddis::app {
namespace {

using loop::Loop;
using loop::Task;

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr std::int64_t kPatienceMs = 60'000;  // without any answer of the target
constexpr std::int64_t kProgressMs = 100;     // between two pictures of the bar
constexpr int kDefaultColumns = 80;

int fail(const std::string& text, int code = kExitFailure) {
  fmt::print(stderr, "ERROR: {}\n", text);
  return code;
}

struct Source {
  std::vector<config::BackupTarget> targets;
  std::string name;         // of the database in them
  std::string output_path;  // -o, or the database's own place
};

// What the command line names. The error text is for exit code 2.
Result<Source> find_source(const RestoreCommand& command) {
  config::Environment env = read_environment();
  if (command.source.find("://") != std::string::npos) {
    TRY_ASSIGN(ReplicaUrl url, split_replica_url(command.source));
    return Source{{target_of_url(url.target, env)}, url.name, command.output_path};
  }
  MountCommand mount;
  mount.config_path = command.config_path;
  mount.no_expand_env = command.no_expand_env;
  Settings settings = load_settings(mount, std::move(env));
  if (!settings.errors.empty()) {
    for (const std::string& e : settings.errors) fmt::print(stderr, "{}\n", e);
    return invalid("the configuration has errors");
  }
  Source source{settings.config.backup, command.source, command.output_path};
  bool is_path = command.source.find('/') != std::string::npos;
  if (is_path) source.name = command.source.substr(command.source.rfind('/') + 1);
  TRY(db::validate_name(source.name));
  if (source.targets.empty())
    return invalid("the configuration names no backup target; give a URL such as s3://BUCKET/PREFIX/{}", source.name);
  if (source.output_path.empty() && !is_path)
    return invalid("where to? write -o FILE (an empty volume is restored by `caddis mount` at its start)");
  if (source.output_path.empty()) source.output_path = command.source;
  return source;
}

// The bar on a terminal; nothing elsewhere. Loop thread.
class ProgressBar {
 public:
  ProgressBar(std::string name, const Clock& clock, bool quiet)
      : name_(std::move(name)), clock_(clock), begun_(clock.now()) {
    shown_ = !quiet && isatty(STDERR_FILENO) == 1;
  }
  void show(const backup::RestoreProgress& p) {
    TimeMs now = clock_.now();
    if (!shown_ || (p.done_bytes < p.total_bytes && now - drawn_ < kProgressMs)) return;
    drawn_ = now;
    winsize size{};
    int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : kDefaultColumns;
    fmt::print(stderr, "\r{}\x1b[K", progress_line(name_, p.done_bytes, p.total_bytes, now - begun_, columns));
    dirty_ = true;
  }
  void clear() {
    if (std::exchange(dirty_, false)) fmt::print(stderr, "\r\x1b[K");
  }

 private:
  std::string name_;
  const Clock& clock_;
  TimeMs begun_;
  TimeMs drawn_;
  bool shown_ = false;
  bool dirty_ = false;
};

// INT and TERM stop the work instead of the process, so that no temporary file stays. A second one ends it at once.
class Signals {
 public:
  explicit Signals(Loop& loop) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return;
    fd_ = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd_ < 0) return;
    Result<loop::FdWatch> watch = loop::watch_fd(loop, fd_, [this] { on_readable(); });
    if (watch) watch_ = std::move(*watch);
  }
  ~Signals() {
    watch_.stop();
    if (fd_ >= 0) close(fd_);
  }
  std::stop_token token() const { return stop_.get_token(); }
  int received() const { return signal_; }  // 0: none

 private:
  void on_readable() {
    signalfd_siginfo info{};
    while (read(fd_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      if (signal_ != 0) _exit(128 + static_cast<int>(info.ssi_signo));
      signal_ = static_cast<int>(info.ssi_signo);
      stop_.request_stop();
    }
  }
  int fd_ = -1;
  int signal_ = 0;
  std::stop_source stop_;
  loop::FdWatch watch_;
};

class RestoreJob {
 public:
  RestoreJob(Loop& loop, const RestoreCommand& command, Source source, std::stop_token stop)
      : loop_(loop), command_(command), source_(std::move(source)), stop_(std::move(stop)) {
    std::string path = source_.output_path;
    auto slash = path.rfind('/');
    folder_ = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
    file_ = slash == std::string::npos ? path : path.substr(slash + 1);
    tmp_ = fmt::format(".{}.restore-{}", file_, getpid());
  }

  Task<Result<int>> run() {
    if (file_.empty())
      co_return Error(ErrorCode::kInvalid, fmt::format("-o {}: it names a directory", source_.output_path));
    CO_TRY_ASSIGN(bool wanted, check_output());
    if (!wanted) co_return 0;
    CO_TRY(co_await choose_target());
    if (target_ == nullptr) {  // -if-replica-exists
      if (!command_.json) fmt::print("no backup of {} there, nothing done\n", source_.name);
      co_return 0;
    }
    if (command_.dry_run) {
      if (command_.json)
        fmt::print("{}", plan_json(plan_, source_.output_path, replica()));
      else
        fmt::print("{}", plan_text(plan_, source_.output_path));
      co_return 0;
    }
    CO_TRY(co_await restore());
    co_return 0;
  }

 private:
  std::string replica() const { return target_->url() + "/" + source_.name; }

  backup::RestoreOptions options() const {
    backup::RestoreOptions o;
    o.point.txid = command_.txid;
    o.point.timestamp_ms = command_.timestamp_ms;
    o.parallelism = command_.parallelism;
    o.patience_ms = kPatienceMs;
    return o;
  }

  // False: -if-db-not-exists, and it is there. An empty file is no database.
  Result<bool> check_output() {
    Result<std::unique_ptr<os::Dir>> dir = os::open_system_dir(folder_);
    if (!dir && dir.error().code() == ErrorCode::kNotFound) return true;
    if (!dir) return std::unexpected(std::move(dir).error());
    auto size_of = [&](const std::string& name) {
      Result<os::FileInfo> info = (*dir)->info(name);
      return info ? info->size_bytes : 0;
    };
    Result<os::FileInfo> info = (*dir)->info(file_);
    if (info && info->is_dir) return invalid("-o {}: it is a directory", source_.output_path);
    bool there = size_of(file_) > 0;
    if (there && command_.if_db_not_exists) {
      if (!command_.json) fmt::print("{} exists, nothing done\n", source_.output_path);
      return false;
    }
    if (command_.force || command_.dry_run) return true;
    if (there) return make_error(ErrorCode::kExists, "{} exists; -force replaces it", source_.output_path);
    for (const char* suffix : {"-wal", "-journal"}) {
      if (size_of(file_ + suffix) > 0)
        return make_error(ErrorCode::kExists,
                          "{}{} exists and would be applied to the restored database; -force removes it",
                          source_.output_path, suffix);
    }
    return true;
  }

  // Takes the target whose backup reaches furthest; one that fails is an error only when no other has the database.
  Task<Status> choose_target() {
    std::optional<Error> failed;
    std::string absent;
    for (const config::BackupTarget& configured : source_.targets) {
      if (configured.layout != config::BackupLayout::kLitestream) continue;
      CO_TRY_ASSIGN(std::unique_ptr<backup::Target> target, open_backup_target(loop_, nullptr, configured));
      Result<std::vector<backup::ObjectInfo>> objects = co_await target->list(source_.name, stop_);
      if (objects && objects->empty()) {
        absent = co_await describe_absent(*target);
        continue;
      }
      Result<backup::RestorePlan> plan =
          objects ? co_await backup::plan_database(loop_, *target, source_.name, options(), stop_)
                  : std::unexpected(std::move(objects).error());
      if (!plan) {
        failed = std::move(plan).error().context(fmt::format("restore {} from {}", source_.name, target->url()));
        continue;
      }
      if (target_ == nullptr || plan->txid > plan_.txid) {
        target_ = std::move(target);
        plan_ = std::move(*plan);
      }
    }
    if (target_ != nullptr) co_return Status{};
    if (failed) co_return std::move(*failed);
    if (command_.if_replica_exists) co_return Status{};
    co_return Error(ErrorCode::kNotFound, absent);
  }

  Task<std::string> describe_absent(backup::Target& target) {
    std::string text = fmt::format("{}/{}: no backup there", target.url(), source_.name);
    Result<std::vector<std::string>> names = co_await target.databases(stop_);
    if (!names || names->empty()) co_return text;
    text += fmt::format("; {} holds", target.url());
    for (std::size_t i = 0; i < std::min<std::size_t>(names->size(), 10); ++i)
      text += fmt::format("{} {}", i == 0 ? "" : ",", (*names)[i]);
    co_return text;
  }

  Task<Status> restore() {
    TimeMs begun = clock_.now();
    CO_TRY_ASSIGN(std::unique_ptr<os::Dir> dir, os::make_system_dir(folder_));
    ProgressBar bar(source_.name, clock_, command_.json);
    backup::RestoreOptions o = options();
    o.progress = [&bar](const backup::RestoreProgress& p) { bar.show(p); };
    Result<backup::RestoreResult> result =
        co_await backup::restore_database(loop_, *target_, source_.name, *dir, tmp_, std::move(o), stop_);
    bar.clear();
    if (!result) co_return std::move(result).error().context("restore from " + replica());
    auto finish = [&] { return check_and_rename(*dir); };
    if (Status finished = co_await loop::offload(loop_, finish); !finished) {
      (void)dir->unlink(tmp_);
      co_return finished;
    }
    report(*result, clock_.now() - begun);
    co_return Status{};
  }

  // Pool thread.
  Status check_and_rename(os::Dir& dir) {
    std::string_view word = check_word();
    TRY_ASSIGN(sqlcheck::IntegrityCheck check, sqlcheck::parse_integrity_check(word));
    TRY(sqlcheck::check_integrity(folder_ + "/" + tmp_, check, stop_));
    if (stop_.stop_requested()) return make_error(ErrorCode::kCancelled, "stopped");
    for (const char* suffix : {"-wal", "-shm", "-journal"}) {  // of the database that is replaced
      Status gone = dir.unlink(file_ + suffix);
      if (!gone && gone.error().code() != ErrorCode::kNotFound) return gone;
    }
    TRY(dir.rename(tmp_, file_));
    return dir.sync();
  }

  std::string_view check_word() const {
    switch (command_.integrity_check) {
      case IntegrityCheck::kNone:
        return "none";
      case IntegrityCheck::kQuick:
        return "quick";
      case IntegrityCheck::kFull:
        return "full";
    }
    return "quick";
  }

  void report(const backup::RestoreResult& result, std::int64_t elapsed_ms) const {
    std::uint64_t size = std::uint64_t{result.page_count} * result.page_size_bytes;
    if (command_.json) {
      fmt::print("{}", report_json({source_.output_path, replica(), to_hex(result.position.txid), elapsed_ms,
                                    std::string(check_word()), to_hex(result.position.checksum),
                                    backup::format_rfc3339(result.timestamp_ms), size}));
      return;
    }
    fmt::print("restored {} from {}: TXID {} of {}, {}, checked: {}{}, {:.1f} s\n", source_.output_path, replica(),
               result.position.txid, backup::format_rfc3339(result.timestamp_ms), format_bytes(size), check_word(),
               result.proven ? ", checksum as backed up" : "", static_cast<double>(elapsed_ms) / 1000);
  }

  Loop& loop_;
  const RestoreCommand& command_;
  Source source_;
  std::stop_token stop_;
  SystemClock clock_;
  std::string folder_;
  std::string file_;
  std::string tmp_;
  std::unique_ptr<backup::Target> target_;
  backup::RestorePlan plan_;
};

}  // namespace

int run_restore(const RestoreCommand& command) {
  Result<Source> source = find_source(command);
  if (!source) return fail(source.error().message(), kExitUsage);
  Loop loop;
  Signals signals(loop);
  RestoreJob job(loop, command, std::move(*source), signals.token());
  Result<int> code = loop::run_until_done(loop, job.run());
  if (signals.received() != 0 && !code) {
    fail(fmt::format("restore stopped by signal {}", signals.received()));
    return 128 + signals.received();
  }
  if (!code)
    return fail(code.error().message(), code.error().code() == ErrorCode::kInvalid ? kExitUsage : kExitFailure);
  return *code;
}

}  // namespace caddis::app
