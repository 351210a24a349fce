// Who is primary, as this node knows it at the moment: written by the leaser, read by everybody.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/mutex.h"

namespace caddis::lease {

struct Role {
  bool primary = false;          // this node may acknowledge writes
  std::string primary_hostname;  // of whoever is primary; empty: unknown
  std::string primary_url;       // advertised by it
  std::uint64_t epoch = 0;       // fencing token of this term; 0 where the leaser has none (static)
  bool operator==(const Role&) const = default;
};

class RoleBoard {
 public:
  using Listener = std::function<void(const Role&)>;

  Role role() const;  // any thread
  bool is_primary() const { return role().primary; }
  // Hears every change, on the thread that sets it (the loop). Before the leaser starts.
  void on_change(Listener listener);
  // Loop thread. Listeners are called only when something differs, after the new role can be read.
  void set(Role role);

 private:
  mutable Mutex mutex_;
  Role role_ GUARDED_BY(mutex_);
  std::vector<Listener> listeners_;
};

}  // namespace caddis::lease
