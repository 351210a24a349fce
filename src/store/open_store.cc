#include "store/file_store.h"
#include "store/s3_store.h"
#include "store/store.h"

namespace caddis::store {

Result<std::unique_ptr<Store>> open_store(loop::Loop& loop, const TargetOptions& options) {
  if (options.url.starts_with("file://")) return open_file_store(loop, options);
  if (options.url.starts_with("s3://")) return open_s3_store(loop, options);
  std::string_view url = options.url;
  return invalid("backup target {}: write s3://BUCKET/PREFIX or file:///PATH", url.substr(0, url.find_first_of("?@")));
}

}  // namespace caddis::store
