#include "lease/role_board.h"

#include <utility>

namespace caddis::lease {

Role RoleBoard::role() const {
  MutexLock lock(mutex_);
  return role_;
}

void RoleBoard::on_change(Listener listener) { listeners_.push_back(std::move(listener)); }

void RoleBoard::set(Role role) {
  {
    MutexLock lock(mutex_);
    if (role == role_) return;
    role_ = role;
  }
  for (const Listener& listener : listeners_) listener(role);
}

}  // namespace caddis::lease
