#include "backup/upload_note.h"

#include "ltx/crc64.h"

namespace caddis::backup {

std::string target_id(std::string_view url) { return to_hex(ltx::crc64(as_bytes(url.substr(0, url.find('?'))))); }

Result<UploadNotes> UploadNotes::open(os::Dir& caddis_dir, const std::string& id) {
  TRY_ASSIGN(std::unique_ptr<os::Dir> targets, caddis_dir.make_dir("targets"));
  TRY_ASSIGN(std::unique_ptr<os::Dir> dir, targets->make_dir(id));
  TRY(targets->sync());
  TRY(caddis_dir.sync());
  return UploadNotes(std::move(dir));
}

std::optional<Position> UploadNotes::read(const std::string& name) {
  Result<Bytes> content = os::read_file(*dir_, name, 4096);
  if (!content) return std::nullopt;
  std::string_view text = as_text(*content);
  if (text.size() != 34 || text[16] != '/' || text[33] != '\n') return std::nullopt;
  Result<std::uint64_t> txid = parse_hex16(text.substr(0, 16));
  Result<std::uint64_t> checksum = parse_hex16(text.substr(17, 16));
  if (!txid || !checksum) return std::nullopt;
  return Position{Txid(*txid), Checksum(*checksum)};
}

Status UploadNotes::write(const std::string& name, const Position& position) {
  return os::write_file_durably(*dir_, name, as_bytes(to_text(position) + "\n"));
}

}  // namespace caddis::backup
