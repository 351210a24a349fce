// The app of the boot bench: writes CLOCK_MONOTONIC in ns and ends.
#include <stdio.h>
#include <time.h>

int main(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  printf("%lld\n", (long long)t.tv_sec * 1000000000 + t.tv_nsec);
  return 0;
}
