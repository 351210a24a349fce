// The program: one command of src/app. `run` without flags is a small supervisor, so nothing heavy comes before it.
#include <malloc.h>

#include "app/commands.h"

int main(int argc, char** argv) {
  mallopt(M_ARENA_MAX, 2);  // an arena for each pool thread would keep what a burst of uploads used: 25 MB against 8
  return caddis::app::run_program(argc, argv, {CADDIS_VERSION, CADDIS_COMMIT});
}
