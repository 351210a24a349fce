// s3://BUCKET/PREFIX: objects in a bucket, laid out as Litestream's S3 replica.
#pragma once

#include <memory>

#include "store/store.h"

namespace caddis::store {

Result<std::unique_ptr<Store>> open_s3_store(loop::Loop& loop, const TargetOptions& options);

}  // namespace caddis::store
