// Inside of the publisher: what its streams share.
#pragma once

#include <list>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "replica/publisher.h"

namespace caddis::replica {

class FollowerStream;

// A database as it is durable here.
struct Durable {
  Position position;
  bool dropped = false;
  std::uint32_t page_size_bytes = 0;
  std::vector<db::LogEntry> recent;  // the newest files of its log, ascending; names and TXIDs only
};

struct Publisher::State : std::enable_shared_from_this<Publisher::State> {
  State(loop::Loop& l, PublisherOptions o) : loop(l), options(std::move(o)), held(l) {}
  loop::Loop& loop;
  PublisherOptions options;
  bool in_term = false;
  std::uint64_t epoch = 0;
  std::map<std::string, Durable> databases;
  std::list<FollowerStream*> followers;
  loop::Event held;  // set when a follower confirmed something or left

  const Durable* find(const std::string& name) const;
  FollowerStream* follower(std::uint64_t node_id) const;
  void take_moved();  // what the peer thread has reported

  struct Moved {
    Durable now;
    bool gap = false;  // more files than are kept here
  };
  Mutex mutex;
  std::map<std::string, Moved> moved GUARDED_BY(mutex);
};

}  // namespace caddis::replica
