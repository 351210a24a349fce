// `caddis restore URL|DB|NAME`: one database out of its backup into a file, never over an existing one without -force.
#pragma once

#include "app/cli.h"

namespace caddis::app {

// Exit codes: 0 done (also: -if-db-not-exists and the file is there, -if-replica-exists and there is no backup),
// 1 failed, 2 usage or configuration, 128+n ended by a signal. Nothing half-done stays: the file appears complete,
// checked and durable, or not at all.
int run_restore(const RestoreCommand& command);

}  // namespace caddis::app
