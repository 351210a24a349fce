// Which build this is.
#pragma once

#include <string>

namespace caddis::app {

struct BuildInfo {
  std::string version;  // "v0.1.0"
  std::string commit;
};

}  // namespace caddis::app
