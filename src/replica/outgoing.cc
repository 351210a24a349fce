#include "replica/outgoing.h"

#include <algorithm>

#include "ltx/checksum.h"
#include "replica/standing.h"

namespace caddis::replica {
namespace {

ltx::Source source_of(const os::File& file) {
  return [&file, offset = std::uint64_t{0}](ByteSpan out) mutable -> Result<std::size_t> {
    TRY_ASSIGN(std::size_t n, file.pread(out, offset));
    offset += n;
    return n;
  };
}

class FilePieces final : public LtxPieces {
 public:
  FilePieces(std::unique_ptr<os::File> file, std::uint64_t size_bytes, Position position)
      : file_(std::move(file)), size_(size_bytes), position_(position) {}
  Result<bool> next(Bytes& out) override {
    std::size_t n = static_cast<std::size_t>(std::min<std::uint64_t>(kPieceBytes, size_ - offset_));
    std::size_t begin = out.size();
    out.resize(begin + n);
    TRY(os::read_exactly(*file_, ByteSpan(out).subspan(begin), offset_));
    offset_ += n;
    return offset_ < size_;
  }
  Position position() const override { return position_; }

 private:
  std::unique_ptr<os::File> file_;
  std::uint64_t size_;
  std::uint64_t offset_ = 0;
  Position position_;
};

class SnapshotPieces final : public LtxPieces {
 public:
  SnapshotPieces(std::shared_ptr<db::SnapshotReader> snapshot, const ltx::Header& header)
      : snapshot_(std::move(snapshot)),
        page_(header.page_size_bytes),
        encoder_(ltx::make_encoder(ltx::Version::kV1, header, [this](ByteView bytes) -> Status {
          append(*out_, bytes);
          return {};
        })) {}

  Result<bool> next(Bytes& out) override {
    out_ = &out;
    std::size_t full = out.size() + kPieceBytes;
    for (; next_ <= snapshot_->page_count(); ++next_) {
      if (out.size() >= full) return true;
      Pgno pgno(next_);
      if (pgno == lock_pgno(snapshot_->page_size_bytes())) continue;
      TRY(snapshot_->read_page(pgno, page_));
      sum_.add(ltx::page_checksum(pgno, page_));
      TRY(encoder_->add_page(pgno, page_));
    }
    if (sum_.value() != snapshot_->position().checksum) {
      return corrupt("snapshot at {}: its pages give the checksum {}", snapshot_->position(), sum_.value());
    }
    TRY(encoder_->finish(sum_.value()));
    return false;
  }
  Position position() const override { return snapshot_->position(); }

 private:
  std::shared_ptr<db::SnapshotReader> snapshot_;
  Bytes page_;
  Bytes* out_ = nullptr;
  std::unique_ptr<ltx::Encoder> encoder_;
  ltx::RollingChecksum sum_;
  std::uint32_t next_ = 1;
};

struct Proof {
  ltx::Header header;
  Position after;
};
Result<Proof> verify(ltx::Source source, const db::LogEntry& entry) {
  Result<ltx::Summary> summary = ltx::verify(ltx::Version::kV1, std::move(source));
  if (!summary) return std::unexpected(std::move(summary).error().context("log file " + entry.file_name));
  return Proof{summary->header, {summary->header.max_txid, summary->trailer.post_apply}};
}

Result<ltx::Header> read_header(const os::File& file) {
  ltx::HeaderBytes bytes;
  TRY(os::read_exactly(file, bytes, 0));
  return ltx::decode_header(bytes, ltx::Version::kV1);
}

}  // namespace

void LtxFraming::begin(Bytes& out) const {
  if (own_)
    encode(out, Open{channel_, name_});
  else
    encode(out, LtxBegin{name_});
}

void LtxFraming::bytes(Bytes& out, ByteView ltx) const {
  if (!own_) return encode(out, LtxBytes{ltx});
  for (; !ltx.empty(); ltx = ltx.subspan(std::min(ltx.size(), kMaxDataBytes))) {
    encode(out, Data{channel_, ltx.first(std::min(ltx.size(), kMaxDataBytes))});
  }
}

void LtxFraming::end(Bytes& out, bool complete) const {
  if (own_)
    encode(out, Close{channel_, complete});
  else if (complete)
    encode(out, LtxEnd{});
}

Result<OutgoingFiles> read_files(db::Log& log, const FilesQuestion& q) {
  OutgoingFiles out;
  out.after = q.from;
  std::uint32_t channel = q.channel;
  Bytes content;
  for (const db::LogEntry& entry : q.entries) {
    if (out.frames.size() >= kPieceBytes) return out;
    if (entry.max <= out.after.txid) continue;  // part of a longer one that was sent
    auto snapshot = [&](std::string why) {
      if (!out.frames.empty()) return;  // first what leads up to here
      out.end = OutgoingFiles::End::kSnapshot;
      out.why = std::move(why);
    };
    if (entry.min != out.after.txid.next()) {
      snapshot(fmt::format("the log goes on with {}", entry.file_name));
      return out;
    }
    Result<std::unique_ptr<os::File>> file = log.open(q.name, entry);
    if (!file && file.error().code() == ErrorCode::kNotFound) {
      snapshot(fmt::format("{} has left the log", entry.file_name));
      return out;
    }
    if (!file) return std::unexpected(std::move(file).error());
    TRY_ASSIGN(std::uint64_t size, (*file)->size_bytes());
    TRY_ASSIGN(ltx::Header header, read_header(**file));
    Step step = step_for(out.after, header, q.follower.node_id, entry.min >= q.forwarded_from);
    if (step == Step::kSnapshot) {
      snapshot(fmt::format("{} is the follower's own write, which it has lost", entry.file_name));
      return out;
    }
    if (step == Step::kDifferent) {
      if (!out.frames.empty()) return out;
      out.end = OutgoingFiles::End::kDifferent;
      out.why = fmt::format("{} follows checksum {}", entry.file_name, header.pre_apply);
      return out;
    }
    if (size > kSmallFileBytes) {
      if (!out.frames.empty()) return out;
      out.end = OutgoingFiles::End::kLarge;
      out.large = std::move(*file);
      out.large_bytes = size;
      return out;
    }
    content.resize(static_cast<std::size_t>(size));
    TRY(os::read_exactly(**file, content, 0));
    TRY_ASSIGN(Proof proof, verify(ltx::source_of(content), entry));
    LtxFraming framing(q.follower.own_frames, channel++, q.name);
    framing.begin(out.frames);
    framing.bytes(out.frames, content);
    framing.end(out.frames);
    encode(out.frames, Hwm{q.name, q.hwm});
    out.after = proof.after;
  }
  if (q.entries.empty()) {
    out.end = OutgoingFiles::End::kSnapshot;
    out.why = fmt::format("the log has no file that begins at TXID {}", q.from.txid.next());
  }
  return out;
}

Result<std::unique_ptr<LtxPieces>> large_file_pieces(std::unique_ptr<os::File> file, std::uint64_t size_bytes) {
  TRY_ASSIGN(ltx::Summary summary, ltx::verify(ltx::Version::kV1, source_of(*file)));
  Position after{summary.header.max_txid, summary.trailer.post_apply};
  return std::make_unique<FilePieces>(std::move(file), size_bytes, after);
}

std::unique_ptr<LtxPieces> snapshot_pieces(std::shared_ptr<db::SnapshotReader> snapshot, bool compress,
                                           std::uint64_t node_id, std::int64_t wall_ms) {
  ltx::Header header;
  header.flags = compress ? ltx::kFlagLz4 : 0;
  header.page_size_bytes = snapshot->page_size_bytes();
  header.commit = snapshot->page_count();
  header.min_txid = Txid(1);
  header.max_txid = snapshot->position().txid;
  header.timestamp_ms = wall_ms;
  header.node_id = node_id;
  return std::make_unique<SnapshotPieces>(std::move(snapshot), header);
}

Result<Bytes> drop_snapshot(Position position, std::uint32_t page_size_bytes, std::uint64_t node_id,
                            std::int64_t wall_ms) {
  ltx::Header header;
  header.page_size_bytes = valid_page_size(page_size_bytes) ? page_size_bytes : 4096;
  header.min_txid = Txid(1);
  header.max_txid = position.txid;
  header.timestamp_ms = wall_ms;
  header.node_id = node_id;
  Bytes out;
  auto encoder = ltx::make_encoder(ltx::Version::kV1, header, [&out](ByteView bytes) -> Status {
    append(out, bytes);
    return {};
  });
  TRY(encoder->finish(kEmptyDatabaseChecksum));
  return out;
}

Result<std::vector<Position>> log_positions(db::Log& log, const std::string& name, Txid upto, std::size_t limit) {
  TRY_ASSIGN(std::vector<db::LogEntry> entries, log.list(name));
  std::vector<Position> out;
  for (auto entry = entries.rbegin(); entry != entries.rend() && out.size() < limit; ++entry) {
    if (entry->min > upto.next()) continue;
    Result<std::unique_ptr<os::File>> file = log.open(name, *entry);
    if (!file) continue;  // retention was faster
    if (entry->size_bytes < ltx::kHeaderSizeBytes + ltx::kTrailerSizeBytes) continue;
    TRY_ASSIGN(ltx::Header header, read_header(**file));
    ltx::TrailerBytes bytes;
    TRY(os::read_exactly(**file, bytes, entry->size_bytes - bytes.size()));
    TRY_ASSIGN(ltx::Trailer trailer, ltx::decode_trailer(bytes, header));
    if (entry->max <= upto) out.push_back({header.max_txid, trailer.post_apply});
    // A file that changes nothing marks where a restored log begins; what was before it is not known.
    bool before = header.pre_apply != Checksum() && header.pre_apply != trailer.post_apply;
    if (before) out.push_back({Txid(header.min_txid.value() - 1), header.pre_apply});
  }
  std::sort(out.begin(), out.end(), [](const Position& a, const Position& b) { return a > b; });
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace caddis::replica
