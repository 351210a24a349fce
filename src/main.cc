// The program: one command of src/app. `run` without flags is a small supervisor, so nothing heavy comes before it.
#include "app/commands.h"

int main(int argc, char** argv) { return caddis::app::run_program(argc, argv, {CADDIS_VERSION, CADDIS_COMMIT}); }
