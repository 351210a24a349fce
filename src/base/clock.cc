#include "base/clock.h"

#include <ctime>

namespace caddis {
namespace {
std::int64_t read_ms(clockid_t id) {
  timespec t{};
  clock_gettime(id, &t);
  return static_cast<std::int64_t>(t.tv_sec) * 1000 + t.tv_nsec / 1'000'000;
}
}  // namespace

TimeMs SystemClock::now() const { return TimeMs(read_ms(CLOCK_BOOTTIME)); }
std::int64_t SystemClock::wall_ms() const { return read_ms(CLOCK_REALTIME); }

}  // namespace caddis
