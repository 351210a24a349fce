// caddis_backup_requests_total{op,code}: what targets were asked, and what they answered.
#pragma once

#include <string_view>

#include "base/metrics.h"

namespace caddis::store {

class RequestCount {
 public:
  explicit RequestCount(Metrics* metrics) : metrics_(metrics) {}
  // code: the HTTP status, "ok", or the name of an error code. Any thread.
  void add(std::string_view op, std::string_view code) const {
    if (metrics_ == nullptr) return;
    metrics_
        ->counter("caddis_backup_requests_total", "Requests to backup targets.",
                  {{"op", std::string(op)}, {"code", std::string(code)}})
        .inc();
  }

 private:
  Metrics* metrics_;
};

}  // namespace caddis::store
