// caddis/targets/ID/NAME: the last position of a database that a target is known to hold, "TXID/CHECKSUM\n".
// It proves at the next start that the target's history is this volume's. Blocking.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "os/file.h"

namespace caddis::backup {

// 16 hex digits that name a target by its URL without the query (keys and endpoints may change, the place not).
std::string target_id(std::string_view url);

class UploadNotes {
 public:
  // `caddis_dir`: the data directory's caddis/.
  static Result<UploadNotes> open(os::Dir& caddis_dir, const std::string& id);
  // nullopt when there is none or it can't be read as a position (then it proves nothing).
  std::optional<Position> read(const std::string& name);
  Status write(const std::string& name, const Position& position);

 private:
  explicit UploadNotes(std::unique_ptr<os::Dir> dir) : dir_(std::move(dir)) {}
  std::unique_ptr<os::Dir> dir_;
};

}  // namespace caddis::backup
