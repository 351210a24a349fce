// The objects of databases in one backup target, without URLs, keys or layouts: what restore and upload work on.
// StoreTarget (store_target.h) puts it on a store; tests have one in memory. Loop thread.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "backup/plan.h"
#include "base/bytes.h"
#include "base/result.h"
#include "loop/task.h"

namespace caddis::backup {

// One object sent in parts. Nothing is visible before finish(); destroyed without it, nothing stays.
class ObjectUpload {
 public:
  virtual ~ObjectUpload() = default;
  virtual loop::Task<Status> write(Bytes part, std::stop_token stop) = 0;
  // kConflict when an object of that name is there already.
  virtual loop::Task<Status> finish(std::stop_token stop) = 0;
};

class Target {
 public:
  virtual ~Target() = default;
  // For messages and labels: the URL without its query, "s3://bucket/prefix".
  virtual const std::string& url() const = 0;
  // Names under which something is stored; validated (db::validate_name), sorted. Empty: the target answered
  // "nothing there"; every other answer is an error.
  virtual loop::Task<Result<std::vector<std::string>>> databases(std::stop_token stop) = 0;
  // All LTX objects of a database, of all levels. One LIST where the store allows it. created_ms is the store's time.
  virtual loop::Task<Result<std::vector<ObjectInfo>>> list(std::string name, std::stop_token stop) = 0;
  // True when a replica of Litestream 0.3 lies under the name, which list() does not show and nothing here reads.
  virtual loop::Task<Result<bool>> has_litestream_03(std::string name, std::stop_token stop) = 0;
  // `length` bytes from `offset` (fewer at the end of the object). kNotFound when the object is gone.
  virtual loop::Task<Result<Bytes>> read(std::string name, ObjectInfo object, std::uint64_t offset,
                                         std::uint64_t length, std::stop_token stop) = 0;
  // Stores a new object under its level and TXIDs; created_ms becomes its Litestream timestamp. kConflict when one is
  // there already: nothing is ever overwritten.
  virtual loop::Task<Status> put(std::string name, ObjectInfo object, std::shared_ptr<const Bytes> data,
                                 std::stop_token stop) = 0;
  virtual loop::Task<Result<std::unique_ptr<ObjectUpload>>> start_upload(std::string name, ObjectInfo object,
                                                                         std::stop_token stop) = 0;
  // Absent objects are fine.
  virtual loop::Task<Status> remove(std::string name, std::vector<ObjectInfo> objects, std::stop_token stop) = 0;
};

}  // namespace caddis::backup
