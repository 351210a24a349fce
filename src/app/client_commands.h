// The commands that talk to a running node: export, import, status, and `run` with its node flags. Each returns the
// exit code and says what went wrong as "ERROR: …" on stderr.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "app/cli.h"
#include "base/result.h"

namespace caddis::app {

int run_export(const ExportCommand& command);
int run_import(const ImportCommand& command);
int run_status(const StatusCommand& command);
// -if-candidate, -promote, -with-halt-lock-on, -on-primary.
int run_on_node(const RunCommand& command);

// "http://host:port" of a node's URL: as in LiteFS its path is dropped. kInvalid: `invalid URL scheme`, `URL host
// required`.
Result<std::string> node_base_url(std::string_view url);
// As Go prints a time.Duration: "1.234567ms", "2.5s", "1m0.5s".
std::string go_duration_text(std::int64_t nanoseconds);

}  // namespace caddis::app
