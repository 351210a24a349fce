// Reads a database back from a target: plan, parallel reads, one pass over the objects into a file, proof.
// The objects are applied in order onto the file (the last copy of a page wins), so memory does not depend on their
// number or size: about 16 reads of 2 MiB and 8 bytes a page. Loop thread; decoding and writing happen on a thread of
// its own.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>

#include "backup/plan.h"
#include "backup/target.h"
#include "base/ids.h"
#include "base/result.h"
#include "loop/loop.h"
#include "os/file.h"

namespace caddis::backup {

struct RestoreProgress {
  std::uint64_t done_bytes = 0;  // read from the target
  std::uint64_t total_bytes = 0;
};

struct RestoreOptions {
  RestorePoint point;
  int parallelism = 8;  // reads at the same time, 1 to 64
  // A read that found no answer (kUnavailable, kTimeout) is tried again until nothing came for this long, so that an
  // outage does not begin a long restore anew.
  std::int64_t patience_ms = 0;
  std::function<void(const RestoreProgress&)> progress;  // loop thread, after every answer of the target
};

struct RestoreResult {
  Position position;  // the checksum is computed over what was written
  std::uint32_t page_size_bytes = 0;
  std::uint32_t page_count = 0;
  std::int64_t timestamp_ms = 0;  // of the last transaction
  std::uint64_t read_bytes = 0;
  std::uint64_t objects = 0;
  bool proven = false;  // the target said the database checksum (CDS1) and it was right
};

// What restore_database would read. Timestamps are taken from the objects' headers when the point is a time.
loop::Task<Result<RestorePlan>> plan_database(loop::Loop& loop, Target& target, std::string name,
                                              RestoreOptions options, std::stop_token stop);

// Writes the database into the new file `tmp_name` of `dir` (an old one is replaced) and makes it durable; on an error
// the file is removed. Errors: as plan_restore; kCorrupt naming the object; what the target or the disk answered;
// kCancelled. When an object is gone (retention ran meanwhile) the plan is made again.
loop::Task<Result<RestoreResult>> restore_database(loop::Loop& loop, Target& target, std::string name, os::Dir& dir,
                                                   std::string tmp_name, RestoreOptions options, std::stop_token stop);

}  // namespace caddis::backup
