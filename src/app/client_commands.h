// The commands that talk to a running node: export, import, status, and `run` with its node flags.
#pragma once

#include "app/cli.h"

namespace caddis::app {

int run_export(const ExportCommand& command);
int run_import(const ImportCommand& command);
int run_status(const StatusCommand& command);
// -if-candidate, -promote, -with-halt-lock-on, -on-primary.
int run_on_node(const RunCommand& command);

}  // namespace caddis::app
