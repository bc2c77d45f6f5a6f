// Watches accumulators: aborts if one is used again before REVISIT iterations of its loop have passed.
#pragma once
#include <cstdio>
#include <cstdlib>

namespace eft {

struct Watch {
  enum { MOST = 1 << 16 };
  int last[MOST];
  Watch() {
    for (int i = 0; i < MOST; ++i) last[i] = -REVISIT;
  }
  void use(const char* buffer, int index, int iteration) {
    if (index < 0 || index >= MOST || iteration - last[index] < REVISIT) {
      std::fprintf(stderr, "accumulator %s[%d] used at iterations %d and %d\n", buffer, index, last[index], iteration);
      std::abort();
    }
    last[index] = iteration;
  }
};

}  // namespace eft

#define WATCH_START(buffer) ::eft::Watch watch_##buffer
#define WATCH(buffer, index, iteration) watch_##buffer.use(#buffer, index, iteration)
