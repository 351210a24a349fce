// How the readers of sqlite/ and ltx/ see a file of the disk. The file outlives what is returned.
#pragma once

#include "ltx/stream.h"
#include "os/file.h"
#include "sqlite/read_at.h"

namespace caddis::db {

inline sqlite::ReadAt read_at(os::File& file) {
  return [&file](std::uint64_t offset, ByteSpan out) { return file.pread(out, offset); };
}

inline ltx::Source source_of(os::File& file) {
  return [&file, offset = std::uint64_t{0}](ByteSpan out) mutable -> Result<std::size_t> {
    TRY_ASSIGN(std::size_t got, file.pread(out, offset));
    offset += got;
    return got;
  };
}

}  // namespace caddis::db
