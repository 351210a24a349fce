// Time is injected: code that decides takes a TimeMs, code that acts takes a Clock&.
#pragma once

#include <compare>
#include <cstdint>

namespace caddis {

// Milliseconds of a clock that never jumps (CLOCK_BOOTTIME). Only differences mean anything.
class TimeMs {
 public:
  constexpr TimeMs() = default;
  constexpr explicit TimeMs(std::int64_t ms) : ms_(ms) {}
  constexpr std::int64_t value() const { return ms_; }
  auto operator<=>(const TimeMs&) const = default;
  friend constexpr std::int64_t operator-(TimeMs a, TimeMs b) { return a.ms_ - b.ms_; }
  friend constexpr TimeMs operator+(TimeMs a, std::int64_t ms) { return TimeMs(a.ms_ + ms); }

 private:
  std::int64_t ms_ = 0;
};

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimeMs now() const = 0;            // CLOCK_BOOTTIME
  virtual std::int64_t wall_ms() const = 0;  // since the Unix epoch; may jump
};

class SystemClock final : public Clock {
 public:
  TimeMs now() const override;
  std::int64_t wall_ms() const override;
};

class ManualClock final : public Clock {  // for tests and the simulator
 public:
  TimeMs now() const override { return now_; }
  std::int64_t wall_ms() const override { return wall_ms_ + now_.value(); }
  void advance(std::int64_t ms) { now_ = now_ + ms; }

 private:
  TimeMs now_{0};
  std::int64_t wall_ms_ = 1'700'000'000'000;
};

}  // namespace caddis
