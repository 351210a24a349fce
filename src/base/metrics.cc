#include "base/metrics.h"

#include <fmt/core.h>

namespace caddis {
namespace {
std::string series_key(const MetricLabels& labels) {
  if (labels.empty()) return "";
  std::string key = "{";
  for (const auto& [name, value] : labels) {
    if (key.size() > 1) key += ',';
    key += name + "=\"";
    for (char c : value) {
      if (c == '\\' || c == '"') key += '\\';
      if (c == '\n')
        key += "\\n";
      else
        key += c;
    }
    key += '"';
  }
  return key + "}";
}
}  // namespace

MetricValue& Metrics::find(bool counter, std::string_view name, std::string_view help, const MetricLabels& labels) {
  MutexLock lock(mutex_);
  auto it = families_.find(name);
  if (it == families_.end()) {
    it = families_.emplace(std::string(name), Family{counter, std::string(help), {}}).first;
  }
  auto& slot = it->second.series[series_key(labels)];
  if (!slot) slot = std::make_unique<MetricValue>();
  return *slot;
}

MetricValue& Metrics::counter(std::string_view name, std::string_view help, const MetricLabels& labels) {
  return find(true, name, help, labels);
}
MetricValue& Metrics::gauge(std::string_view name, std::string_view help, const MetricLabels& labels) {
  return find(false, name, help, labels);
}

void Metrics::on_render(std::function<void(Metrics&)> fn) {
  MutexLock lock(mutex_);
  hooks_.push_back(std::move(fn));
}

void Metrics::remove(std::string_view label, std::string_view value) {
  std::string part = series_key({{std::string(label), std::string(value)}});
  part = part.substr(1, part.size() - 2);
  MutexLock lock(mutex_);
  auto has_label = [&part](const std::string& key) {
    std::size_t at = key.find(part);
    if (at == std::string::npos || at == 0) return false;
    char before = key[at - 1];
    char after = key[at + part.size()];
    return (before == '{' || before == ',') && (after == '}' || after == ',');
  };
  for (auto& [name, family] : families_) {
    for (auto it = family.series.begin(); it != family.series.end();) {
      bool gone = has_label(it->first);
      if (gone) retired_.push_back(std::move(it->second));
      it = gone ? family.series.erase(it) : std::next(it);
    }
  }
}

std::string Metrics::render() {
  std::vector<std::function<void(Metrics&)>> hooks;
  {
    MutexLock lock(mutex_);
    hooks = hooks_;
  }
  for (auto& hook : hooks) hook(*this);
  MutexLock lock(mutex_);
  std::string out;
  for (const auto& [name, family] : families_) {
    if (family.series.empty()) continue;
    out += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, family.help, name, family.counter ? "counter" : "gauge");
    for (const auto& [labels, value] : family.series) out += fmt::format("{}{} {}\n", name, labels, value->get());
  }
  return out;
}

}  // namespace caddis
