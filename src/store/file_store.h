// file:///PATH: objects as files of a directory, laid out as Litestream's file replica.
#pragma once

#include <memory>

#include "store/store.h"

namespace caddis::store {

Result<std::unique_ptr<Store>> open_file_store(loop::Loop& loop, const TargetOptions& options);

}  // namespace caddis::store
