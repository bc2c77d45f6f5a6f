// A bench for the kernel: a window of memory with guarded buffers, and one command at a time through the
// top function, as a host would.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "eftrain.h"
#include "subnormals.h"

namespace bench {

using namespace eft;
using Floats = std::vector<float>;

#define CHECK(holds)                                                         \
  do {                                                                       \
    if (!(holds)) {                                                          \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #holds);       \
      std::exit(1);                                                          \
    }                                                                        \
  } while (0)

inline Floats noise(std::mt19937& random, size_t count) {
  std::normal_distribution<float> normal;
  Floats out(count);
  for (float& v : out) v = normal(random);
  return out;
}

constexpr int HOST_BLOCK = 1, REPORT = 64, PROGRAM = 128, FIRST_BUFFER = 256, GUARD = 3;  // beats
constexpr float UNTOUCHED = -12345.5f;

struct Machine {
  std::vector<Word> memory;
  int next = FIRST_BUFFER, tickets = 0;
  const volatile int clock = 0;
  explicit Machine(int beats) : memory(beats) {
    for (Word& word : memory)
      for (float& v : word.v) v = UNTOUCHED;
    for (int i = 0; i < HOST_BLOCK_BEATS; ++i) memory[HOST_BLOCK + i] = Word();
  }
  int32_t get(int beat, int word) const { return as_int(memory[beat].v[word]); }
  void set(int beat, int word, int32_t value) { memory[beat].v[word] = as_float(value); }

  // Binds a slot to a new buffer that holds `words`.
  void bind(int slot, const Floats& words) {
    const int beats = int(words.size() + BEAT_WORDS - 1) / BEAT_WORDS;
    next += GUARD;
    CHECK(next + beats + GUARD <= int(memory.size()));
    set(HOST_BLOCK + slot, SLOT_WORD_BEAT, next);
    set(HOST_BLOCK + slot, SLOT_WORD_WORDS, int(words.size()));
    for (size_t i = 0; i < words.size(); ++i) memory[next + i / BEAT_WORDS].v[i % BEAT_WORDS] = words[i];
    next += beats;
  }
  Floats read(int slot) const {
    Floats out(get(HOST_BLOCK + slot, SLOT_WORD_WORDS));
    const int beat = get(HOST_BLOCK + slot, SLOT_WORD_BEAT);
    for (size_t i = 0; i < out.size(); ++i) out[i] = memory[beat + i / BEAT_WORDS].v[i % BEAT_WORDS];
    return out;
  }
  void put(int index, const Command& c) {
    int32_t words[COMMAND_WORDS];
    std::memcpy(words, &c, sizeof c);
    for (int i = 0; i < COMMAND_WORDS; ++i)
      set(PROGRAM + index * COMMAND_BEATS + i / BEAT_WORDS, i % BEAT_WORDS, words[i]);
  }
  // Returns the status of the header.
  int run(int count) {
    Word* m = memory.data();
    eftrain(m, m, m, m, int(memory.size()), HOST_BLOCK, PROGRAM, count, REPORT, ++tickets, &clock);
    CHECK(get(REPORT, HEADER_TICKET) == tickets);
    return get(REPORT, HEADER_STATUS);
  }
  int index() const { return get(REPORT, HEADER_INDEX); }
  int entry(int command, int word) const { return get(REPORT + HEADER_BEATS + command, word); }
  int one(const Command& c) {
    put(0, c);
    return run(1);
  }
};

inline Command command(int op, int flags = 0) {
  Command c;
  std::memset(&c, 0, sizeof c);
  c.op = op;
  c.flags = flags;
  c.images = c.kernel_rows = c.kernel_cols = c.stride_rows = c.stride_cols = c.groups = 1;
  c.lanes = T;
  return c;
}

inline bool same_bits(const Floats& a, const Floats& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (as_int(a[i]) == as_int(b[i])) continue;
    std::fprintf(stderr, "word %zu: %.9g (%08x), not %.9g (%08x)\n", i, a[i], as_int(a[i]), b[i], as_int(b[i]));
    return false;
  }
  return true;
}

}  // namespace bench
