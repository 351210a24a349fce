#include "backup/boot_restore.h"

#include <malloc.h>

#include <algorithm>
#include <map>
#include <set>

#include "backup/upload_note.h"
#include "base/log.h"
#include "sqlcheck/integrity.h"

namespace caddis::backup {
namespace {

using loop::Loop;
using loop::Task;

constexpr char kPendingFile[] = "restore-pending";
constexpr std::int64_t kFirstRetryMs = 500;
constexpr std::int64_t kLastRetryMs = 5'000;
constexpr std::int64_t kProgressLogMs = 3'000;
constexpr std::int64_t kStallLookMs = 200;

std::string tmp_name_of(const std::string& name) { return "restore-" + name; }

// Requests a stop when nothing was reported for `timeout_ms`, or when the outer stop is requested.
class Stall {
 public:
  Stall(Loop& loop, const Clock& clock, std::int64_t timeout_ms, std::stop_token outer)
      : clock_(clock),
        timeout_ms_(timeout_ms),
        last_(clock.now()),
        outer_(outer, [this] { stop_.request_stop(); }),
        timer_(loop::Timer::every(loop, kStallLookMs, [this] { look(); })) {}
  void progress() { last_ = clock_.now(); }
  std::stop_token token() const { return stop_.get_token(); }
  bool stalled() const { return stalled_; }
  bool over() const { return clock_.now() - last_ >= timeout_ms_; }

 private:
  void look() {
    if (!over()) return;
    stalled_ = true;
    stop_.request_stop();
  }
  const Clock& clock_;
  std::int64_t timeout_ms_;
  TimeMs last_;
  bool stalled_ = false;
  std::stop_source stop_;
  std::stop_callback<std::function<void()>> outer_;
  loop::Timer timer_;
};

struct Candidate {
  Target* target = nullptr;
  std::size_t order = 0;  // of the target in the configuration
  RestorePlan plan;
};

class BootRestore {
 public:
  BootRestore(Loop& loop, const Clock& clock, os::Dir& data_dir, std::vector<Target*> targets, InstallRestored install,
              BootRestoreOptions options, std::stop_token stop)
      : loop_(loop),
        clock_(clock),
        data_dir_(data_dir),
        targets_(std::move(targets)),
        install_(std::move(install)),
        options_(options),
        stop_(std::move(stop)) {}

  Task<Result<std::vector<RestoredDatabase>>> run() {
    CO_TRY(co_await find_candidates());
    if (candidates_.empty()) co_return std::vector<RestoredDatabase>{};
    CO_TRY_ASSIGN(caddis_dir_, data_dir_.make_dir("caddis"));
    CO_TRY_ASSIGN(tmp_, caddis_dir_->make_dir("tmp"));
    std::vector<RestoredDatabase> restored;
    for (auto& [name, candidates] : candidates_) {
      if (is_installed(name)) continue;
      CO_TRY_ASSIGN(RestoredDatabase one, co_await restore_one(name, candidates));
      restored.push_back(std::move(one));
    }
    auto install = [this, &restored] { return install_all(restored); };
    CO_TRY(co_await loop::offload(loop_, install));
    co_await loop::offload(loop_, [] { malloc_trim(0); });  // the daemon lives long, the restore's buffers do not
    co_return restored;
  }

 private:
  // Asks all targets side by side; fills candidates_ with what each has, furthest first.
  Task<Status> find_candidates() {
    std::vector<TargetAnswer> answers(targets_.size());
    {
      Stall stall(loop_, clock_, options_.timeout_ms, stop_);
      loop::TaskGroup group;
      for (std::size_t i = 0; i < targets_.size(); ++i) group.spawn(ask(i, answers[i], stall));
      co_await group.join();
    }
    if (stop_.stop_requested()) co_return Error(ErrorCode::kCancelled, "restore stopped");
    BootDecision decision = decide_boot(answers, options_.required);
    if (decision.kind == BootDecision::Kind::kFail) co_return Error(ErrorCode::kUnavailable, decision.text);
    if (!decision.text.empty()) log_warn(decision.text);
    for (auto& [name, candidates] : candidates_) {
      std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
        return a.plan.txid != b.plan.txid ? a.plan.txid > b.plan.txid : a.order < b.order;
      });
    }
    co_return Status{};
  }

  Task<void> ask(std::size_t order, TargetAnswer& answer, Stall& stall) {
    Target& target = *targets_[order];
    answer.url = target.url();
    std::int64_t wait_ms = kFirstRetryMs;
    for (;;) {
      Result<std::map<std::string, RestorePlan>> found = co_await look_into(target, stall.token());
      if (found) {
        answer.kind = found->empty() ? TargetAnswer::Kind::kNothing : TargetAnswer::Kind::kData;
        for (auto& [name, plan] : *found) candidates_[name].push_back({&target, order, std::move(plan)});
        co_return;
      }
      // What the target said last is worth more than "stopped".
      if (found.error().code() != ErrorCode::kCancelled || answer.cause.empty()) {
        bool silent = found.error().code() == ErrorCode::kCancelled;
        answer.cause = silent ? fmt::format("no answer within {} ms", options_.timeout_ms) : found.error().message();
      }
      if (stop_.stop_requested() || stall.stalled() || stall.over() || is_lasting(found.error())) co_return;
      log_warn("the backup target does not answer, asking again", {{"target", target.url()}, {"error", answer.cause}});
      (void)co_await loop::sleep(loop_, wait_ms, stall.token());
      wait_ms = std::min(wait_ms * 2, kLastRetryMs);
    }
  }

  // What can be restored from a target, by name.
  Task<Result<std::map<std::string, RestorePlan>>> look_into(Target& target, std::stop_token stop) {
    CO_TRY_ASSIGN(std::vector<std::string> names, co_await target.databases(stop));
    std::map<std::string, RestorePlan> found;
    for (const std::string& name : names) {
      CO_TRY_ASSIGN(std::vector<ObjectInfo> objects, co_await target.list(name, stop));
      if (objects.empty()) {
        CO_TRY_ASSIGN(bool old, co_await target.has_litestream_03(name, stop));
        if (old)
          co_return Error(
              ErrorCode::kUnsupported,
              fmt::format("{} is a replica of Litestream 0.3, which caddis does not read: restore it with litestream, "
                          "put the file into the volume as dbs/{}/database, then start again",
                          name, name));
        log_warn("no backup of a database under this name, left alone", {{"target", target.url()}, {"name", name}});
        continue;
      }
      Result<RestorePlan> plan = plan_restore(objects, {});
      if (!plan) co_return std::move(plan).error().context("database " + name);
      found.emplace(name, std::move(*plan));
    }
    co_return found;
  }

  bool is_installed(const std::string& name) {
    Result<std::unique_ptr<os::Dir>> dbs = data_dir_.open_dir("dbs");
    if (!dbs) return false;
    Result<std::unique_ptr<os::Dir>> dir = (*dbs)->open_dir(name);
    if (!dir) return false;
    Result<os::FileInfo> info = (*dir)->info("database");
    return info && info->size_bytes > 0;
  }

  Task<Result<RestoredDatabase>> restore_one(std::string name, std::vector<Candidate>& candidates) {
    std::optional<Error> last;
    for (Candidate& c : candidates) {
      // A target that is behind is never taken instead: the result would be an older state that nobody asked for.
      if (c.plan.txid != candidates.front().plan.txid) break;
      Result<RestoreResult> result = co_await restore_with_retries(name, *c.target);
      if (result) co_return RestoredDatabase{name, result->position, c.target->url(), result->read_bytes};
      last = std::move(result).error().context(fmt::format("restore {} from {}", name, c.target->url()));
      if (stop_.stop_requested()) break;
      log_error("a target could not give a database back", *last);
    }
    co_return std::move(*last);
  }

  Task<Result<RestoreResult>> restore_with_retries(std::string name, Target& target) {
    Stall stall(loop_, clock_, options_.timeout_ms, stop_);
    std::int64_t wait_ms = kFirstRetryMs;
    for (;;) {
      log_info("restoring database from backup", {{"db", name}, {"target", target.url()}});
      Result<RestoreResult> result = co_await restore_and_check(name, target, stall);
      if (result) co_return result;
      if (stop_.stop_requested()) co_return Error(ErrorCode::kCancelled, "restore stopped");
      ErrorCode code = result.error().code();
      if (stall.stalled() && code == ErrorCode::kCancelled)
        co_return Error(ErrorCode::kUnavailable, fmt::format("no progress for {} s", options_.timeout_ms / 1000));
      if (code != ErrorCode::kUnavailable && code != ErrorCode::kTimeout) co_return result;
      if (stall.over()) co_return result;
      log_warn("restore was interrupted, starting it again", {{"db", name}, {"error", result.error().message()}});
      (void)co_await loop::sleep(loop_, wait_ms, stall.token());
      wait_ms = std::min(wait_ms * 2, kLastRetryMs);
    }
  }

  Task<Result<RestoreResult>> restore_and_check(std::string name, Target& target, Stall& stall) {
    RestoreOptions options;
    options.parallelism = options_.parallelism;
    options.patience_ms = options_.timeout_ms;
    TimeMs begun = clock_.now();
    TimeMs logged = begun;
    options.progress = [&](const RestoreProgress& p) {
      stall.progress();
      TimeMs now = clock_.now();
      if (now - logged < kProgressLogMs || p.total_bytes == 0) return;
      logged = now;
      log_info("restore in progress", {{"db", name},
                                       {"bytes", std::to_string(p.done_bytes)},
                                       {"total", std::to_string(p.total_bytes)},
                                       {"percent", std::to_string(p.done_bytes * 100 / p.total_bytes)}});
    };
    CO_TRY_ASSIGN(RestoreResult result,
                  co_await restore_database(loop_, target, name, *tmp_, tmp_name_of(name), options, stall.token()));
    std::string path = tmp_->path() + "/" + tmp_name_of(name);
    auto check = [&] { return sqlcheck::check_integrity(path, sqlcheck::IntegrityCheck::kQuick, stop_); };
    CO_TRY(co_await loop::offload(loop_, check));
    stall.progress();  // a long check is no silence of the target
    log_info("database restored from backup", {{"db", name},
                                               {"target", target.url()},
                                               {"txid", to_hex(result.position.txid)},
                                               {"bytes", std::to_string(result.read_bytes)},
                                               {"objects", std::to_string(result.objects)},
                                               {"proven", result.proven ? "true" : "false"},
                                               {"elapsed", fmt::format("{}ms", clock_.now() - begun)}});
    co_return result;
  }

  // Pool thread.
  Status install_all(const std::vector<RestoredDatabase>& restored) {
    std::string names;
    for (const RestoredDatabase& d : restored) names += d.name + "\n";
    TRY(os::write_file_durably(*caddis_dir_, kPendingFile, as_bytes(names)));
    for (const RestoredDatabase& d : restored) {
      if (Status installed = install_(d.name, tmp_name_of(d.name), d.position); !installed)
        return std::unexpected(std::move(installed).error().context("install restored database " + d.name));
      TRY_ASSIGN(UploadNotes notes, UploadNotes::open(*caddis_dir_, target_id(d.target_url)));
      TRY(notes.write(d.name, d.position));
    }
    TRY(caddis_dir_->unlink(kPendingFile));
    return caddis_dir_->sync();
  }

  Loop& loop_;
  const Clock& clock_;
  os::Dir& data_dir_;
  std::vector<Target*> targets_;
  InstallRestored install_;
  BootRestoreOptions options_;
  std::stop_token stop_;
  std::unique_ptr<os::Dir> caddis_dir_;
  std::unique_ptr<os::Dir> tmp_;
  std::map<std::string, std::vector<Candidate>> candidates_;
};

}  // namespace

bool is_lasting(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kUnavailable:
    case ErrorCode::kTimeout:
    case ErrorCode::kBusy:
    case ErrorCode::kIo:
    case ErrorCode::kConflict:
    case ErrorCode::kCancelled:
      return false;
    default:
      return true;
  }
}

BootDecision decide_boot(const std::vector<TargetAnswer>& answers, bool required) {
  bool data = false;
  std::string failed;
  for (const TargetAnswer& a : answers) {
    if (a.kind == TargetAnswer::Kind::kData) data = true;
    if (a.kind != TargetAnswer::Kind::kFailed) continue;
    failed += fmt::format("{}{}: {}", failed.empty() ? "" : "; ", a.url, a.cause);
  }
  if (data) {
    if (failed.empty()) return {BootDecision::Kind::kRestore, ""};
    return {BootDecision::Kind::kRestore,
            "restoring although a backup target did not answer; it may hold newer data: " + failed};
  }
  if (!failed.empty())
    return {
        BootDecision::Kind::kFail,
        "the volume is empty and a backup target gave no answer to rely on, so what it holds is not known: " + failed};
  if (required)
    return {BootDecision::Kind::kFail,
            "the volume is empty, restore is required, and no backup target holds a database"};
  return {BootDecision::Kind::kFresh, ""};
}

Task<Result<std::vector<RestoredDatabase>>> boot_restore(Loop& loop, const Clock& clock, os::Dir& data_dir,
                                                         std::vector<Target*> targets, InstallRestored install,
                                                         BootRestoreOptions options, std::stop_token stop) {
  BootRestore restore(loop, clock, data_dir, std::move(targets), std::move(install), options, std::move(stop));
  co_return co_await restore.run();
}

Result<bool> is_restore_pending(os::Dir& data_dir) {
  Result<std::unique_ptr<os::Dir>> dir = data_dir.open_dir("caddis");
  if (!dir && dir.error().code() == ErrorCode::kNotFound) return false;
  if (!dir) return std::unexpected(std::move(dir).error());
  Result<os::FileInfo> info = (*dir)->info(kPendingFile);
  if (!info && info.error().code() == ErrorCode::kNotFound) return false;
  if (!info) return std::unexpected(std::move(info).error());
  return true;
}

}  // namespace caddis::backup
