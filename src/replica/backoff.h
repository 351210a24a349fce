// How long to wait before the next try. Pure.
#pragma once

#include <algorithm>
#include <cstdint>

namespace caddis::replica {

// Doubles from `first_ms` to `most_ms`, each time ± 20 %, so that many nodes do not come at once.
class Backoff {
 public:
  Backoff(std::int64_t first_ms, std::int64_t most_ms) : first_ms_(first_ms), most_ms_(most_ms), next_ms_(first_ms) {}
  // random: any number.
  std::int64_t next_ms(std::uint64_t random) {
    std::int64_t base = std::min(next_ms_, most_ms_);
    next_ms_ = std::min(2 * next_ms_, most_ms_);
    return base - base / 5 + static_cast<std::int64_t>(random % static_cast<std::uint64_t>(2 * (base / 5) + 1));
  }
  void reset() { next_ms_ = first_ms_; }  // it worked

 private:
  std::int64_t first_ms_, most_ms_, next_ms_;
};

}  // namespace caddis::replica
