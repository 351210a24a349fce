// A registry of counters and gauges, rendered as Prometheus text. Any thread; values are atomics, looked up once.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/mutex.h"

namespace caddis {

class MetricValue {
 public:
  void add(double v) { value_.fetch_add(v, std::memory_order_relaxed); }
  void inc() { add(1); }
  void set(double v) { value_.store(v, std::memory_order_relaxed); }
  double get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<double> value_{0};
};

using MetricLabels = std::vector<std::pair<std::string, std::string>>;

class Metrics {
 public:
  // The reference stays valid for the registry's life; the same name and labels give the same value.
  MetricValue& counter(std::string_view name, std::string_view help, const MetricLabels& labels = {});
  MetricValue& gauge(std::string_view name, std::string_view help, const MetricLabels& labels = {});
  // Called at the start of every render(), to set gauges that are read on demand.
  void on_render(std::function<void(Metrics&)> fn);
  // Forgets the series with this label (a dropped database).
  void remove(std::string_view label, std::string_view value);
  std::string render();

 private:
  struct Family {
    bool counter = false;
    std::string help;
    std::map<std::string, std::unique_ptr<MetricValue>> series;  // key: {a="b",…} or ""
  };
  MetricValue& find(bool counter, std::string_view name, std::string_view help, const MetricLabels& labels);
  Mutex mutex_;
  std::map<std::string, Family, std::less<>> families_ GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<MetricValue>> retired_ GUARDED_BY(mutex_);  // somebody may still count on them
  std::vector<std::function<void(Metrics&)>> hooks_ GUARDED_BY(mutex_);
};

}  // namespace caddis
