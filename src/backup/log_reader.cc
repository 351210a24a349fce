#include "backup/log_reader.h"

namespace caddis::backup {
namespace {

Result<ltx::Header> read_header(const os::File& file) {
  ltx::HeaderBytes bytes;
  TRY(os::read_exactly(file, bytes, 0));
  return ltx::decode_header(bytes, ltx::Version::kV1);
}

Result<ltx::Trailer> read_trailer(const os::File& file, const ltx::Header& header) {
  TRY_ASSIGN(std::uint64_t size, file.size_bytes());
  if (size < ltx::kHeaderSizeBytes + ltx::kTrailerSizeBytes) return corrupt("{} bytes are no LTX file", size);
  ltx::TrailerBytes bytes;
  TRY(os::read_exactly(file, bytes, size - bytes.size()));
  return ltx::decode_trailer(bytes, header);
}

// One transaction as a stream of parts. The encoder owns the file it reads.
Result<LogPiece> giant_piece(std::unique_ptr<os::File> file, std::uint64_t epoch) {
  TRY_ASSIGN(ltx::Header header, read_header(*file));
  TRY_ASSIGN(ltx::Trailer trailer, read_trailer(*file, header));
  struct Input {
    std::unique_ptr<os::File> file;
    std::unique_ptr<ltx::PageSource> decoder;
  };
  auto input = std::make_shared<Input>();
  input->file = std::move(file);
  input->decoder = ltx::make_decoder(ltx::Version::kV1, source_of_file(*input->file));
  LogPiece piece;
  piece.kind = LogPiece::Kind::kGiant;
  piece.min = header.min_txid;
  piece.position = {header.max_txid, trailer.post_apply};
  piece.timestamp_ms = header.timestamp_ms;
  piece.page_size_bytes = header.page_size_bytes;
  piece.stream =
      std::make_unique<PartEncoder>(header, trailer.post_apply, epoch, [input] { return input->decoder->next(); });
  return piece;
}

LogPiece broken(std::string why) {
  LogPiece piece;
  piece.kind = LogPiece::Kind::kBroken;
  piece.why = std::move(why);
  return piece;
}

Result<LogPiece> encode_batch(const PageBatch& batch, std::uint64_t epoch) {
  LogPiece piece;
  if (batch.empty()) return piece;
  TRY_ASSIGN(Bytes data, batch.encode(epoch));
  piece.kind = LogPiece::Kind::kBatch;
  piece.min = batch.min();
  piece.position = batch.position();
  piece.timestamp_ms = batch.timestamp_ms();
  piece.page_size_bytes = batch.page_size_bytes();
  piece.data = std::make_shared<const Bytes>(std::move(data));
  return piece;
}

struct PieceOptions {
  std::uint32_t page_size_bytes = 0;
  std::uint64_t epoch = 0;
  std::uint64_t limit_bytes = 0;
  Txid upto;
};

Result<LogPiece> read_piece(LocalDatabases& databases, const std::string& name, const std::vector<db::LogEntry>& chain,
                            const PieceOptions& options) {
  PageBatch batch(options.limit_bytes);
  for (const db::LogEntry& entry : chain) {
    if (entry.max > options.upto) break;  // not durable yet
    TRY_ASSIGN(std::unique_ptr<os::File> file, databases.open_log(name, entry));
    auto decoder = ltx::make_decoder(ltx::Version::kV1, source_of_file(*file));
    Result<ltx::Header> header = decoder->header();
    bool other_size = header && header->commit != 0 && header->page_size_bytes != options.page_size_bytes;
    if (other_size && options.page_size_bytes != 0 && batch.empty())
      return broken(
          fmt::format("the page size changed from {} to {}", options.page_size_bytes, header->page_size_bytes));
    Result<PageBatch::Added> added = batch.add(*decoder);
    if (!added) return std::unexpected(std::move(added).error().context("log file " + entry.file_name));
    if (*added == PageBatch::Added::kAdded) continue;
    if (!batch.empty()) break;
    if (*added == PageBatch::Added::kTooLarge) return giant_piece(std::move(file), options.epoch);
    LogPiece dropped;  // kPageSize and kFull need pages before them
    dropped.kind = LogPiece::Kind::kDropped;
    dropped.position = {entry.max, kEmptyDatabaseChecksum};
    return dropped;
  }
  return encode_batch(batch, options.epoch);
}

// A restored database's log begins with a file that says where it is and changes nothing. What led there is not in it.
Result<bool> begins_with_marker(LocalDatabases& databases, const std::string& name,
                                const std::vector<db::LogEntry>& chain) {
  if (chain.empty() || chain.front().min == Txid(1)) return false;
  TRY_ASSIGN(std::unique_ptr<os::File> file, databases.open_log(name, chain.front()));
  TRY_ASSIGN(ltx::Header header, read_header(*file));
  TRY_ASSIGN(ltx::Trailer trailer, read_trailer(*file, header));
  return header.pre_apply == trailer.post_apply;
}

}  // namespace

ltx::Source source_of_file(const os::File& file) {
  return [&file, offset = std::uint64_t{0}](ByteSpan out) mutable -> Result<std::size_t> {
    TRY_ASSIGN(std::size_t n, file.pread(out, offset));
    offset += n;
    return n;
  };
}

Result<LogPiece> next_piece(LocalDatabases& databases, const std::string& name, const RecentLog* recent, Txid after,
                            Txid upto, std::uint32_t page_size_bytes, std::uint64_t epoch, std::uint64_t limit_bytes) {
  if (upto <= after) return LogPiece{};
  PieceOptions options{page_size_bytes, epoch, limit_bytes, upto};
  if (recent != nullptr) {
    if (auto entries = recent->chain(after, upto)) {
      Result<LogPiece> piece = read_piece(databases, name, *entries, options);
      if (piece || piece.error().code() != ErrorCode::kNotFound) return piece;
    }
  }
  Result<std::vector<db::LogEntry>> chain = databases.chain(name, after, upto);
  if (!chain && chain.error().code() == ErrorCode::kNotFound) return broken(chain.error().message());
  if (!chain) return std::unexpected(std::move(chain).error());
  TRY_ASSIGN(bool marker, begins_with_marker(databases, name, *chain));
  if (marker) return broken(fmt::format("the log begins at TXID {}", chain->front().min));
  return read_piece(databases, name, *chain, options);
}

Result<std::optional<Checksum>> checksum_at(LocalDatabases& databases, const std::string& name, Txid txid) {
  TRY_ASSIGN(std::vector<db::LogEntry> entries, databases.list_log(name));
  for (const db::LogEntry& entry : entries) {
    bool ends_there = entry.max == txid;
    bool begins_after = entry.min == txid.next();
    if (!ends_there && !begins_after) continue;
    TRY_ASSIGN(std::unique_ptr<os::File> file, databases.open_log(name, entry));
    TRY_ASSIGN(ltx::Header header, read_header(*file));
    TRY_ASSIGN(ltx::Trailer trailer, read_trailer(*file, header));
    if (ends_there) return std::optional(trailer.post_apply);
    // A file that changes nothing marks where a restored log begins: what was before it is not known.
    if (header.pre_apply != Checksum() && header.pre_apply != trailer.post_apply)
      return std::optional(header.pre_apply);
  }
  return std::optional<Checksum>();
}

}  // namespace caddis::backup
