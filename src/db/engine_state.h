// What an Engine keeps beside its directories: the peer's queue and what it watches. For engine*.cc only.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "db/engine.h"

namespace caddis::db {

struct Engine::State {
  struct Delayed {
    std::int64_t due_us;
    Job job;
  };
  struct Unsynced {
    std::shared_ptr<Database> db;
    std::shared_ptr<os::File> file;
    Commit commit;
  };
  Mutex mutex;
  CondVar wake;
  CondVar stepped;
  bool woken GUARDED_BY(mutex) = false;
  bool stepping GUARDED_BY(mutex) = false;
  std::uint64_t steps GUARDED_BY(mutex) = 0;
  std::deque<Job> jobs GUARDED_BY(mutex);
  std::vector<std::shared_ptr<Database>> activated GUARDED_BY(mutex);
  std::map<std::string, std::shared_ptr<Database>, std::less<>> databases GUARDED_BY(mutex);
  std::map<std::string, std::shared_ptr<Database>, std::less<>> dropped GUARDED_BY(mutex);  // for their TXIDs
  std::map<std::string, Txid, std::less<>> needed_from GUARDED_BY(mutex);
  CondVar offload_done;
  int offloaded GUARDED_BY(mutex) = 0;  // functions that a pool thread has, or will have

  // Peer only.
  std::vector<Delayed> delayed;
  std::set<std::shared_ptr<Database>> watched;
  std::vector<Unsynced> unsynced;
  bool syncing = false;
  std::optional<Error> log_failure;  // of a sync of the log
  std::vector<Reply> after_sync;
  struct WaitingSnapshot {
    std::shared_ptr<Database> db;
    std::move_only_function<void(Result<std::shared_ptr<SnapshotReader>>)> reply;
  };
  std::deque<WaitingSnapshot> snapshots;
  std::set<std::string> snapshot_running;
  std::int64_t next_retention_us = 0;
};

}  // namespace caddis::db
