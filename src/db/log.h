// The LTX log: dbs/NAME/ltx/MIN-MAX.ltx, LTX v1 as LiteFS writes it. Any thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "os/file.h"

namespace caddis::db {

struct LogEntry {
  Txid min;
  Txid max;
  std::uint64_t size_bytes = 0;
  std::int64_t mtime_ms = 0;
  std::string file_name;
};

class Log {
 public:
  explicit Log(os::Dir& dbs);
  // All LTX files of a database, by MAX then MIN; other names are skipped.
  Result<std::vector<LogEntry>> list(const std::string& name);
  Result<std::unique_ptr<os::File>> open(const std::string& name, const LogEntry& entry);
  // The shortest chain of files that leads from `after` to at least `upto`; kNotFound when retention has taken a link.
  Result<std::vector<LogEntry>> chain(const std::string& name, Txid after, Txid upto);

 private:
  os::Dir& dbs_;
};

}  // namespace caddis::db
