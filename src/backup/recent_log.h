// The names of the newest log files of one database, as the engine announced them: while uploads keep up, nobody lists
// a directory that may hold hundreds of thousands of files. Any thread.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/mutex.h"
#include "db/log.h"

namespace caddis::backup {

class RecentLog {
 public:
  explicit RecentLog(std::size_t max_files = 100'000) : max_files_(max_files) {}
  // The file min-max is durable. A file that does not continue the last one begins a new sequence.
  void add(Txid min, Txid max) EXCLUDES(mutex_);
  // The files that lead from `after` towards `upto`, at most `limit` of them; nullopt when the sequence does not reach
  // back to `after`.
  std::optional<std::vector<db::LogEntry>> chain(Txid after, Txid upto, std::size_t limit = 20'000) const
      EXCLUDES(mutex_);
  void forget_through(Txid txid) EXCLUDES(mutex_);

 private:
  std::size_t max_files_;
  mutable Mutex mutex_;
  std::deque<std::pair<Txid, Txid>> files_ GUARDED_BY(mutex_);  // contiguous, ascending
};

}  // namespace caddis::backup
