#include "base/metrics.h"

#include <gtest/gtest.h>

namespace caddis {
namespace {

TEST(Metrics, RendersPrometheusTextSortedByName) {
  Metrics m;
  m.gauge("b", "second", {{"db", "x\"y"}}).set(2);
  m.counter("a_total", "first").inc();
  EXPECT_EQ(m.render(),
            "# HELP a_total first\n# TYPE a_total counter\na_total 1\n"
            "# HELP b second\n# TYPE b gauge\nb{db=\"x\\\"y\"} 2\n");
}

TEST(Metrics, RemoveForgetsOnlySeriesWithThatLabel) {
  Metrics m;
  m.gauge("g", "h", {{"db", "a"}}).set(1);
  m.gauge("g", "h", {{"db", "ab"}}).set(2);
  m.remove("db", "a");
  EXPECT_EQ(m.render(), "# HELP g h\n# TYPE g gauge\ng{db=\"ab\"} 2\n");
}

}  // namespace
}  // namespace caddis
