#include <utility>

#include "lease/leaser.h"

namespace caddis::lease {
namespace {

class StaticLeaser final : public Leaser {
 public:
  StaticLeaser(bool candidate, NodeAddress address) : candidate_(candidate), address_(std::move(address)) {}
  std::string_view type() const override { return "static"; }

  loop::Task<Status> join(RoleBoard& board, std::stop_token) override {
    board.set({.primary = candidate_,
               .primary_hostname = address_.hostname,
               .primary_url = address_.advertise_url,
               .epoch = 0});
    co_return Status{};
  }

  loop::Task<Status> release(RoleBoard& board, std::stop_token) override {
    board.set({});
    co_return Status{};
  }

 private:
  const bool candidate_;
  const NodeAddress address_;
};

}  // namespace

std::unique_ptr<Leaser> make_static_leaser(bool candidate, NodeAddress address) {
  return std::make_unique<StaticLeaser>(candidate, std::move(address));
}

}  // namespace caddis::lease
