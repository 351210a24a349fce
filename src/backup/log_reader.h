// From the LTX log of a database (v1) to objects of a target (v3). Blocking; pool threads.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "backup/local_databases.h"
#include "backup/page_batch.h"
#include "backup/part_encoder.h"
#include "backup/recent_log.h"
#include "base/bytes.h"
#include "base/result.h"

namespace caddis::backup {

// The greatest size in memory of the pages of one object; more is sent in several objects, one transaction alone in
// parts.
inline constexpr std::uint64_t kBatchLimitBytes = 8u << 20;

// What follows a TXID in the log, as the next object.
struct LogPiece {
  enum class Kind {
    kNothing,  // the log has nothing (durable) after it
    kBatch,    // `data`
    kGiant,    // one transaction that does not fit into memory: `stream`
    kDropped,  // the next transaction deletes the database
    kBroken,   // only a snapshot leads on; `why`
  };
  Kind kind = Kind::kNothing;
  Txid min;
  Position position;  // after the object (kBatch, kGiant), or of the deletion (kDropped)
  std::int64_t timestamp_ms = 0;
  std::uint32_t page_size_bytes = 0;
  std::shared_ptr<const Bytes> data;
  std::unique_ptr<PartEncoder> stream;
  std::string why;
};

// `page_size_bytes`: of what the target holds, 0 when it holds nothing. Errors: kCorrupt and I/O of the log.
// `recent` may be null.
Result<LogPiece> next_piece(LocalDatabases& databases, const std::string& name, const RecentLog* recent, Txid after,
                            Txid upto, std::uint32_t page_size_bytes, std::uint64_t epoch,
                            std::uint64_t limit_bytes = kBatchLimitBytes);

// The database checksum after `txid` as the log knows it; nullopt when no file ends there or begins after it.
Result<std::optional<Checksum>> checksum_at(LocalDatabases& databases, const std::string& name, Txid txid);

// A source over an open file, from its beginning. The file must outlive it.
ltx::Source source_of_file(const os::File& file);

}  // namespace caddis::backup
