// Inside of src/http: the root certificates compiled in, PEM.
#pragma once

#include <string_view>

namespace caddis::http {

std::string_view compiled_roots();

}  // namespace caddis::http
