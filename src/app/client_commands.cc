#include "app/client_commands.h"
namespace caddis::app {
int run_export(const ExportCommand&) { return 1; }
int run_import(const ImportCommand&) { return 1; }
int run_status(const StatusCommand&) { return 1; }
int run_on_node(const RunCommand&) { return 1; }
}
