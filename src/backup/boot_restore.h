// An empty volume at boot: ask the targets, bring every database back, check it, put it in place; or find that there is
// nothing anywhere, which is a fresh start. Never an empty database because somebody did not answer.
//
//   all targets answered "nothing there"         fresh start (`required`: error)
//   some target has databases                    each is restored from the target that is furthest; targets that did
//   not
//                                                answer are waited for until the timeout, then named in a warning
//   none has any and one did not answer          kUnavailable after the timeout (exit code 69)
//   a database can't be restored                 the error, naming target, database and object; nothing was installed
//
// All files are complete and checked before the first is installed; caddis/restore-pending lists them meanwhile, so
// that a crash between two installs is noticed at the next boot (is_restore_pending) and the rest is restored then.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "backup/restore.h"
#include "backup/target.h"
#include "base/clock.h"
#include "base/result.h"
#include "loop/loop.h"
#include "os/file.h"

namespace caddis::backup {

struct BootRestoreOptions {
  bool required = false;             // restore: required
  std::int64_t timeout_ms = 60'000;  // without any answer or progress
  int parallelism = 8;
};

struct RestoredDatabase {
  std::string name;
  Position position;
  std::string target_url;
  std::uint64_t read_bytes = 0;
};

// db::Engine::install_restored: `tmp_name` in caddis/tmp becomes the database. Called on a pool thread.
using InstallRestored = std::function<Status(const std::string& name, const std::string& tmp_name, Position position)>;

// Empty result: a fresh start. Errors: kUnavailable as above; kCorrupt; kCancelled as soon as stop is requested.
loop::Task<Result<std::vector<RestoredDatabase>>> boot_restore(loop::Loop& loop, const Clock& clock, os::Dir& data_dir,
                                                               std::vector<Target*> targets, InstallRestored install,
                                                               BootRestoreOptions options, std::stop_token stop);

// True when an earlier boot_restore was cut off while it installed: the volume is not empty and yet not complete.
Result<bool> is_restore_pending(os::Dir& data_dir);

// --- the pure part ---------------------------------------------------------------------------------------------------
struct TargetAnswer {
  enum class Kind { kData, kNothing, kFailed };
  Kind kind = Kind::kFailed;
  std::string url;
  std::string cause;  // of kFailed
};
struct BootDecision {
  enum class Kind { kRestore, kFresh, kFail };
  Kind kind = Kind::kFail;
  std::string text;  // kFail: the error; kRestore: a warning about targets that failed, or empty
};
BootDecision decide_boot(const std::vector<TargetAnswer>& answers, bool required);
// An answer that asking again would not change within the timeout: wrong keys, no such bucket, nonsense.
bool is_lasting(const Error& error);

}  // namespace caddis::backup
