// Time-outs that several waits share. Loop thread.
#pragma once

#include <chrono>
#include <cstdint>

namespace caddis::http {

// A point in time until which something must have happened; 0 ms from now means never.
class Deadline {
 public:
  explicit Deadline(std::int64_t ms) : limited_(ms > 0), at_(Clock::now() + std::chrono::milliseconds(ms)) {}
  bool passed() const { return limited_ && Clock::now() >= at_; }
  // For the time-out argument of loop functions: at least 1, or 0 for never.
  std::int64_t remaining_ms() const {
    if (!limited_) return 0;
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(at_ - Clock::now()).count();
    return left < 1 ? 1 : left;
  }
  // The sooner one of this and ms from now (0: none).
  std::int64_t at_most_ms(std::int64_t ms) const {
    std::int64_t left = remaining_ms();
    return left == 0 || (ms > 0 && ms < left) ? ms : left;
  }

 private:
  using Clock = std::chrono::steady_clock;
  bool limited_;
  Clock::time_point at_;
};

}  // namespace caddis::http
