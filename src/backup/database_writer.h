// Builds a database file out of LTX objects, in order, in bounded memory: pages go where they belong, the last copy
// wins, the size follows every object. The checksums of all pages are kept (8 bytes a page), so that every object that
// carries a database checksum (CDS1, or a trailer of ltx) is compared with what is on disk after it. Blocking; one
// thread.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "ltx/checksum.h"
#include "ltx/stream.h"
#include "os/file.h"

namespace caddis::backup {

class DatabaseWriter {
 public:
  // `file` is empty, and the writer's alone.
  explicit DatabaseWriter(os::File& file) : file_(file) {}
  // Errors: kCorrupt when the object is damaged, does not follow the one before, has another page size, begins above
  // TXID 1 as the first, lacks a page that it adds, or leads to another database checksum than it says.
  Status apply(ltx::PageSource& object);
  // Makes the content durable.
  Status finish();

  Position position() const { return {last_.max_txid, sum_.value()}; }
  const ltx::Header& last_header() const { return last_; }  // of the last object
  // The last object carried a database checksum, and it was right.
  bool proven() const { return proven_; }

 private:
  Status check_header(const ltx::Header& header) const;
  Status expect_pages_below(Pgno pgno);
  Status set_page(Pgno pgno, ByteView data);
  Status flush();
  Status resize(std::uint32_t commit);

  os::File& file_;
  std::vector<Checksum> sums_;  // by page index; Checksum(): not written yet
  ltx::RollingChecksum sum_;
  ltx::Header last_;
  bool begun_ = false;
  bool proven_ = false;
  Bytes run_;  // pages that lie one after the other and are not written yet
  std::uint64_t run_offset_ = 0;
};

}  // namespace caddis::backup
