// How the readers of this module see a file.
#pragma once

#include <cstdint>
#include <functional>

#include "base/bytes.h"
#include "base/result.h"

namespace caddis::sqlite {

// Reads from `offset` into the span and returns the number of bytes read: fewer than asked only at the end of the file.
// An error ends the iteration and is returned unchanged.
using ReadAt = std::function<Result<std::size_t>(std::uint64_t offset, ByteSpan out)>;

// Over bytes in memory, which must outlive it.
ReadAt read_at_of(ByteView bytes);

}  // namespace caddis::sqlite
