// Writes one LTX file of the log: pages in, a file under its final name out. Peer thread.
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
  // `dir` is dbs/NAME/ltx. The file is MIN-MAX.ltx.tmp until finish().
  static Result<std::unique_ptr<LtxWriter>> create(os::Dir& dir, const ltx::Header& header);
  ~LtxWriter();  // removes an unfinished file

  Status add_page(Pgno pgno, ByteView page) { return encoder_->add_page(pgno, page); }
  // Gives the file its final name. `durable`: file and directory are synced before this returns; else the descriptor
  // that comes back is synced later. Renaming first lets one journal commit of the file system cover both; a torn file
  // under its final name is found by its checksum at boot, and nobody has been told of it.
  Result<std::shared_ptr<os::File>> finish(Checksum post_apply, bool durable);
  std::uint64_t size_bytes() const { return written_; }

 private:
  LtxWriter(os::Dir& dir, std::string name, std::shared_ptr<os::File> file);

  os::Dir& dir_;
  std::string name_;
  std::shared_ptr<os::File> file_;
  std::unique_ptr<ltx::Encoder> encoder_;
  std::uint64_t written_ = 0;
  bool finished_ = false;
};

}  // namespace caddis::db
