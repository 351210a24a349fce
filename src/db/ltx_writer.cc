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

Result<std::shared_ptr<os::File>> LtxWriter::finish(Checksum post_apply, bool durable) {
  TRY(encoder_->finish(post_apply));
  TRY(dir_.rename(name_ + ".tmp", name_));
  finished_ = true;
  if (durable) {
    TRY(file_->datasync());
    TRY(dir_.sync());
  }
  return file_;
}

}  // namespace caddis::db
