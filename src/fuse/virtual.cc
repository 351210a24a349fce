#include <algorithm>

#include "fuse/files.h"

namespace caddis::fuse {

std::string lag_text(std::int64_t lag_ms) {
  return fmt::format("{:+010d}\n", std::clamp<std::int64_t>(lag_ms, -999'999'999, 999'999'999));
}

std::string position_text(const Position& position) { return to_text(position) + "\n"; }

std::optional<std::string> Files::primary_hostname() const {
  return roles_.primary_hostname ? roles_.primary_hostname() : std::nullopt;
}

std::int64_t Files::lag_ms() const { return roles_.lag_ms ? roles_.lag_ms() : 0; }

std::string Files::virtual_content(NodeKind kind) const {
  switch (kind) {
    case NodeKind::kLag:
      return lag_text(lag_ms());
    case NodeKind::kPrimary:
      return primary_hostname().value_or("") + "\n";
    default:
      return "";  // -lock
  }
}

static ByteView slice(std::string_view all, std::size_t size, std::uint64_t offset) {
  return offset >= all.size() ? ByteView() : as_bytes(all.substr(offset, size));
}

// Fresh at offset 0; what follows in the same open file belongs to what the reader has begun.
void Files::read_virtual(Request req, Handle& handle, std::size_t size, std::uint64_t offset) {
  if (offset == 0 && handle.node->kind() == NodeKind::kPos) {
    // The kernel holds the file open until this is answered, and so the handle stays.
    auto reply = [&handle, size, offset, req = std::move(req)](Result<Position> position) mutable {
      if (!position) return req.error(to_errno(position.error()));
      MutexLock lock(handle.mutex);
      handle.content = position_text(*position);
      req.data(slice(handle.content, size, offset));
    };
    handle.node->mounted()->database->read_position(std::move(reply));
    return;
  }
  MutexLock lock(handle.mutex);
  if (offset == 0) handle.content = virtual_content(handle.node->kind());
  req.data(slice(handle.content, size, offset));
}

}  // namespace caddis::fuse
