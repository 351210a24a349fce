// What the receiver needs of the databases: transactions that come from elsewhere are written down, verified and
// applied.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "ltx/header.h"
#include "replica/frames.h"

namespace caddis::replica {

// One LTX file (v1) on its way in, kept in a temporary file. Pool threads, one call at a time.
class IncomingFile {
 public:
  virtual ~IncomingFile() = default;
  virtual Status write(ByteView bytes) = 0;       // in order, cut anywhere
  virtual Result<ltx::Header> finish() = 0;       // the file is complete: proves it
  virtual const ltx::Header& header() const = 0;  // after finish()
  virtual Position position() const = 0;          // after finish(): where the database is once it is applied
};

class Applier {
 public:
  virtual ~Applier() = default;
  // kInvalid: no database can have this name. Pool threads.
  virtual Result<std::unique_ptr<IncomingFile>> begin_incoming(const std::string& name) = 0;
  // Into the log, durably, then into the database. kConflict when it does not follow the database's position: nothing
  // was changed. Loop thread; the reply may come on any thread.
  virtual void apply(const std::string& name, std::unique_ptr<IncomingFile> ltx,
                     std::move_only_function<void(Result<Position>)> reply) = 0;
  // Dropped databases with it. One whose transactions were set aside, with nothing in common, is at {0, 0}. Loop
  // thread.
  virtual PositionMap positions() = 0;
  // Positions the database went through as far as its log tells, newest first, from `upto` down. Pool threads.
  virtual Result<std::vector<Position>> past(const std::string& name, Txid upto) = 0;
};

}  // namespace caddis::replica
