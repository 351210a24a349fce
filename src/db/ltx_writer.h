// Writes one LTX file of the log: pages in, a file under its final name out. Peer thread.
//
// A file is MIN-MAX.ltx.tmp until it is a transaction, and a transaction from the moment it is whole: boot takes in a
// whole .tmp that continues the log (Recovery), so that the rename need not be durable.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "ltx/header.h"
#include "ltx/stream.h"
#include "os/file.h"

namespace caddis::db {

class LtxWriter {
 public:
  // `dir` is dbs/NAME/ltx.
  static Result<std::unique_ptr<LtxWriter>> create(os::Dir& dir, const ltx::Header& header);
  ~LtxWriter();  // removes an unfinished file

  Status add_page(Pgno pgno, ByteView page) { return encoder_->add_page(pgno, page); }
  // Completes the file and gives it its final name. `durable`: it survives a power loss from then on; else the
  // descriptor that comes back is synced later.
  Result<std::shared_ptr<os::File>> finish(Checksum post_apply, bool durable);
  // The same in two steps. place(): everything is on disk but the trailer, so the file is no transaction yet. seal():
  // the trailer, which costs a write in place (and its sync) instead of a new file.
  Status place(Checksum post_apply);
  Result<std::shared_ptr<os::File>> seal();
  std::uint64_t size_bytes() const { return written_; }

 private:
  LtxWriter(os::Dir& dir, std::string name, std::shared_ptr<os::File> file);
  Status sync_new_file();
  Status give_name();

  os::Dir& dir_;
  std::string name_;
  std::shared_ptr<os::File> file_;
  std::unique_ptr<ltx::Encoder> encoder_;
  std::uint64_t written_ = 0;
  ltx::TrailerBytes trailer_{};  // of a placed file
  bool finished_ = false;
};

}  // namespace caddis::db
