#include "backup/store_target.h"

#include "db/engine.h"
#include "ltx/header.h"

namespace caddis::backup {
namespace {

using loop::Task;

store::PutOptions new_object(const ObjectInfo& object) {
  store::PutOptions options;
  options.if_none_match = true;
  options.timestamp_ms = object.created_ms;
  return options;
}

class StoreUpload final : public ObjectUpload {
 public:
  explicit StoreUpload(std::unique_ptr<store::Upload> upload) : upload_(std::move(upload)) {}
  Task<Status> write(Bytes part, std::stop_token stop) override {
    co_return co_await upload_->write(std::move(part), std::move(stop));
  }
  Task<Status> finish(std::stop_token stop) override {
    Result<std::string> etag = co_await upload_->finish(std::move(stop));
    if (!etag) co_return std::move(etag).error();
    co_return Status{};
  }

 private:
  std::unique_ptr<store::Upload> upload_;
};

}  // namespace

std::string StoreTarget::key_of(const std::string& name, const ObjectInfo& object) const {
  return store_->level_prefix(name, object.level) + ltx::file_name(object.min, object.max);
}

Task<Result<std::vector<std::string>>> StoreTarget::databases(std::stop_token stop) {
  CO_TRY_ASSIGN(std::vector<std::string> names, co_await store_->list_dirs("", std::move(stop)));
  std::erase_if(names, [](const std::string& name) { return !db::validate_name(name); });
  co_return names;
}

// One LIST over all levels; keys of another form are somebody else's.
Task<Result<std::vector<ObjectInfo>>> StoreTarget::list(std::string name, std::stop_token stop) {
  CO_TRY_ASSIGN(std::vector<store::ObjectInfo> found, co_await store_->list(name + "/", std::move(stop)));
  std::vector<ObjectInfo> objects;
  for (int level = 0; level <= kSnapshotLevel; ++level) {
    std::string prefix = store_->level_prefix(name, level);
    for (const store::ObjectInfo& o : found) {
      if (!o.key.starts_with(prefix)) continue;
      auto txids = ltx::parse_file_name(std::string_view(o.key).substr(prefix.size()));
      if (!txids) continue;
      objects.push_back({level, txids->first, txids->second, o.size_bytes, o.modified_ms});
    }
  }
  co_return objects;
}

Task<Result<bool>> StoreTarget::has_litestream_03(std::string name, std::stop_token stop) {
  CO_TRY_ASSIGN(std::vector<std::string> generations,
                co_await store_->list_dirs(name + "/generations/", std::move(stop)));
  co_return !generations.empty();
}

Task<Result<Bytes>> StoreTarget::read(std::string name, ObjectInfo object, std::uint64_t offset, std::uint64_t length,
                                      std::stop_token stop) {
  co_return co_await store_->get(key_of(name, object), offset, length, std::move(stop));
}

Task<Status> StoreTarget::put(std::string name, ObjectInfo object, std::shared_ptr<const Bytes> data,
                              std::stop_token stop) {
  Result<std::string> etag =
      co_await store_->put(key_of(name, object), std::move(data), new_object(object), std::move(stop));
  if (!etag) co_return std::move(etag).error();
  co_return Status{};
}

Task<Result<std::unique_ptr<ObjectUpload>>> StoreTarget::start_upload(std::string name, ObjectInfo object,
                                                                      std::stop_token stop) {
  CO_TRY_ASSIGN(std::unique_ptr<store::Upload> upload,
                co_await store_->start_upload(key_of(name, object), new_object(object), std::move(stop)));
  co_return std::make_unique<StoreUpload>(std::move(upload));
}

Task<Status> StoreTarget::remove(std::string name, std::vector<ObjectInfo> objects, std::stop_token stop) {
  std::vector<std::string> keys;
  for (const ObjectInfo& o : objects) keys.push_back(key_of(name, o));
  co_return co_await store_->remove(std::move(keys), std::move(stop));
}

}  // namespace caddis::backup
