// Watches what a loop of the array does in an iteration: aborts if an accumulator is used again before
// REVISIT iterations have passed, if a bank of accumulators is used twice in one, or if more is read of a
// bank than its two ports bring.
#pragma once
#include <cstdio>
#include <cstdlib>

namespace eft {

struct Watch {
  enum { MOST = Y_DEPTH + W_DEPTH * T, BANKS = 4, PORTS = 2 };
  int last[BANKS][MOST], bank_last[BANKS], reads[BANKS];
  Watch() {
    for (int b = 0; b < BANKS; ++b) {
      bank_last[b] = -1;
      reads[b] = 0;
      for (int i = 0; i < MOST; ++i) last[b][i] = -REVISIT;
    }
  }
  void use(const char* buffer, int bank, int index, int iteration) {
    if (bank < 0 || bank >= BANKS || index < 0 || index >= MOST) fail(buffer, bank, index, "does not exist");
    if (bank_last[bank] == iteration) fail(buffer, bank, index, "has a bank that is used twice in an iteration");
    if (iteration - last[bank][index] < REVISIT) {
      std::fprintf(stderr, "iterations %d and %d: ", last[bank][index], iteration);
      fail(buffer, bank, index, "is used too soon");
    }
    bank_last[bank] = last[bank][index] = iteration;
  }
  void read(const char* buffer, int bank, int index, int iteration) {
    if (bank < 0 || bank >= BANKS || index < 0 || index >= X_DEPTH) fail(buffer, bank, index, "does not exist");
    reads[bank] = bank_last[bank] == iteration ? reads[bank] + 1 : 1;
    bank_last[bank] = iteration;
    if (reads[bank] > PORTS) fail(buffer, bank, index, "has a bank that is read too often in an iteration");
  }

 private:
  static void fail(const char* buffer, int bank, int index, const char* what) {
    std::fprintf(stderr, "%s[%d][%d] %s\n", buffer, bank, index, what);
    std::abort();
  }
};

}  // namespace eft

#define WATCH_START(buffer) ::eft::Watch watch_##buffer
#define WATCH(buffer, bank, index, iteration) watch_##buffer.use(#buffer, bank, index, iteration)
#define WATCH_READ(buffer, bank, index, iteration) watch_##buffer.read(#buffer, bank, index, iteration)
