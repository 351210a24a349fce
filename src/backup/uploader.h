// The backup of all databases to all targets: one Replica for each pair, made when a database appears. One slow or dead
// target delays neither the app nor another target.
//
// flush() must have ended before it is destroyed, when start() was called.
// Threads: the loop thread, except committed() and durable() (the engine's peer thread).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "backup/local_databases.h"
#include "backup/replica.h"
#include "backup/slots.h"
#include "backup/target.h"
#include "backup/upload_note.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "db/engine.h"
#include "loop/loop.h"
#include "os/file.h"

namespace caddis::backup {

struct UploadTarget {
  std::shared_ptr<Target> target;
  UploadOptions options;
};

struct FlushResult {
  std::string target;
  std::string db;
  bool done = false;  // everything durable here is there
  Txid uploaded;
  Txid durable;
  std::string error;  // why not, as far as known
};

class Uploader final : public db::CommitSink {
 public:
  // Opens caddis/targets/ID of every target (blocking, small). `metrics` may be null.
  static Result<std::unique_ptr<Uploader>> create(loop::Loop& loop, const Clock& clock, LocalDatabases& databases,
                                                  os::Dir& caddis_dir, Metrics* metrics,
                                                  std::vector<UploadTarget> targets);
  ~Uploader() override;

  // Begins with the databases that are there. Call once, when the engine is open (before or after the mount).
  void start();
  // Uploads what is left, at most `deadline_ms` long, then ends everything; start() is not possible again. One result
  // for each database and target, also of those that were done before.
  loop::Task<std::vector<FlushResult>> flush(std::int64_t deadline_ms);
  std::vector<ReplicaStatus> status() const;

  void committed(const db::Commit& commit) override {}
  void durable(const db::Commit& commit) override EXCLUDES(mutex_);

 private:
  struct PerTarget {
    UploadTarget given;
    UploadNotes notes;
    std::unique_ptr<Slots> slots;
    std::unique_ptr<Slots> snapshot_slots;
    std::map<std::string, std::unique_ptr<Replica>> replicas;
  };
  struct Fresh {  // durable commits the loop has not seen yet
    std::vector<std::pair<Txid, Txid>> files;
    Txid txid;
    std::int64_t wall_ms = 0;  // of the first
  };
  struct Gauges;  // values for /metrics, read on any thread
  Uploader(loop::Loop& loop, const Clock& clock, LocalDatabases& databases);
  void take_fresh() EXCLUDES(mutex_);
  void note_commit(const std::string& name, const Fresh& fresh);
  void on_changed(const std::string& name);
  bool all_settled() const;

  loop::Loop& loop_;
  const Clock& clock_;
  LocalDatabases& databases_;
  std::vector<PerTarget> targets_;
  std::map<std::string, std::shared_ptr<RecentLog>> recent_;
  bool started_ = false;
  bool ended_ = false;
  std::stop_source stop_;
  loop::TaskGroup running_;
  loop::Event changed_;
  std::shared_ptr<Gauges> gauges_;
  std::shared_ptr<bool> alive_;  // posted functions look at it
  Mutex mutex_;
  std::map<std::string, Fresh> fresh_ GUARDED_BY(mutex_);
};

}  // namespace caddis::backup
