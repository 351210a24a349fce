// A Target on a store: Litestream's keys under U/NAME, If-None-Match on everything.
#pragma once

#include <memory>

#include "backup/target.h"
#include "store/store.h"

namespace caddis::backup {

class StoreTarget final : public Target {
 public:
  explicit StoreTarget(std::unique_ptr<store::Store> store) : store_(std::move(store)) {}
  const std::string& url() const override { return store_->describe(); }
  loop::Task<Result<std::vector<std::string>>> databases(std::stop_token stop) override;
  loop::Task<Result<std::vector<ObjectInfo>>> list(std::string name, std::stop_token stop) override;
  loop::Task<Result<bool>> has_litestream_03(std::string name, std::stop_token stop) override;
  loop::Task<Result<Bytes>> read(std::string name, ObjectInfo object, std::uint64_t offset, std::uint64_t length,
                                 std::stop_token stop) override;
  loop::Task<Status> put(std::string name, ObjectInfo object, std::shared_ptr<const Bytes> data,
                         std::stop_token stop) override;
  loop::Task<Result<std::unique_ptr<ObjectUpload>>> start_upload(std::string name, ObjectInfo object,
                                                                 std::stop_token stop) override;
  loop::Task<Status> remove(std::string name, std::vector<ObjectInfo> objects, std::stop_token stop) override;

 private:
  std::string key_of(const std::string& name, const ObjectInfo& object) const;
  std::unique_ptr<store::Store> store_;
};

}  // namespace caddis::backup
