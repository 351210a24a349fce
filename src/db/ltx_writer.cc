#include "db/ltx_writer.h"

namespace caddis::db {

LtxWriter::LtxWriter(os::Dir& dir, std::string name, std::shared_ptr<os::File> file)
    : dir_(dir), name_(std::move(name)), file_(std::move(file)) {}

Result<std::unique_ptr<LtxWriter>> LtxWriter::create(os::Dir& dir, const ltx::Header& header) {
  std::string name = ltx::file_name(header.min_txid, header.max_txid);
  TRY_ASSIGN(std::unique_ptr<os::File> file, dir.open(name + ".tmp", os::OpenMode::kTruncate));
  std::unique_ptr<LtxWriter> writer(new LtxWriter(dir, std::move(name), std::move(file)));
  LtxWriter* self = writer.get();
  auto sink = [self](ByteView bytes) -> Status {
    TRY(self->file_->pwrite(bytes, self->written_));
    self->written_ += bytes.size();
    return {};
  };
  writer->encoder_ = ltx::make_encoder(ltx::Version::kV1, header, sink);
  return writer;
}

LtxWriter::~LtxWriter() {
  if (!finished_) (void)dir_.unlink(name_ + ".tmp");
}

Status LtxWriter::sync_new_file() {
  TRY(file_->datasync());
  return dir_.file_sync_keeps_name() ? Status{} : dir_.sync();
}

Status LtxWriter::give_name() {
  TRY(dir_.rename(name_ + ".tmp", name_));
  finished_ = true;
  return {};
}

Result<std::shared_ptr<os::File>> LtxWriter::finish(Checksum post_apply, bool durable) {
  TRY(encoder_->finish(post_apply));
  if (durable) TRY(sync_new_file());
  TRY(give_name());
  return file_;
}

Status LtxWriter::place(Checksum post_apply) {
  TRY(encoder_->finish(post_apply));
  std::uint64_t offset = written_ - trailer_.size();
  TRY(os::read_exactly(*file_, trailer_, offset));
  TRY(file_->pwrite(ltx::TrailerBytes{}, offset));
  return sync_new_file();
}

Result<std::shared_ptr<os::File>> LtxWriter::seal() {
  TRY(file_->pwrite(trailer_, written_ - trailer_.size()));
  TRY(file_->datasync());
  TRY(give_name());
  return file_;
}

}  // namespace caddis::db
