// One command with its operands, as the strict tests run it: words to start from, words to end with. What
// the command does not write must be what it was, and so must what lies around every operand.
#pragma once
#include "bench.h"
#include "functions.h"

namespace bench {

// Plain maps [image][channel][row][col].
struct Sizes {
  int images, channels, rows, cols;
  int pixels() const { return rows * cols; }
  size_t words() const { return size_t(images) * channels * pixels(); }
  size_t at(int b, int c, int r, int k) const { return ((size_t(b) * channels + c) * rows + r) * cols + k; }
};

// The layout of docs/layout.md; padded lanes are 0.
inline Floats packed(const Floats& plain, const Sizes& s, int lanes = T) {
  const int tiles_of_c = (s.channels + T - 1) / T;
  Floats out(size_t(s.images) * tiles_of_c * s.pixels() * lanes, 0.0f);
  for (int b = 0; b < s.images; ++b)
    for (int c = 0; c < s.channels; ++c)
      for (int r = 0; r < s.rows; ++r)
        for (int k = 0; k < s.cols; ++k)
          out[(((size_t(b) * tiles_of_c + c / T) * s.rows + r) * s.cols + k) * lanes + c % T] = plain[s.at(b, c, r, k)];
  return out;
}

inline Floats packed_vector(const Floats& plain) {
  return packed(plain, {1, int(plain.size()), 1, 1});
}

inline void append(Floats& to, const Floats& more) { to.insert(to.end(), more.begin(), more.end()); }

// What maps are made of. ROUGH: zeros of both signs, subnormals, the least normal numbers, equal values, 6
// and its neighbours. ODD: also infinities and NaN.
enum Mood { SMOOTH, ROUGH, ODD };
constexpr Mood MOODS[] = {SMOOTH, ROUGH, ODD};

inline Floats values(std::mt19937& random, size_t count, Mood mood = SMOOTH, float spread = 3.0f) {
  const float rough[] = {0.0f, -0.0f, 1e-40f, -1e-40f, 1.17549435e-38f, -1.17549435e-38f, 1.0f, -1.0f, 2.0f, 6.0f,
                         5.9999995f, 6.0000005f};
  const float odd[] = {INFINITE, -INFINITE, as_float(0x7fc00000)};
  Floats out = noise(random, count);
  for (float& v : out) {
    v = spread * v;
    if (mood != SMOOTH && random() % 3 == 0) v = rough[random() % 12];
    if (mood == ODD && random() % 12 == 0) v = odd[random() % 3];
  }
  return out;
}

// The same bits, or NaN both: which of two NaN an addition hands on is the processor's business.
inline void check_words(const char* what, const Floats& found, const Floats& wanted) {
  CHECK(found.size() == wanted.size());
  for (size_t i = 0; i < found.size(); ++i) {
    if (as_int(found[i]) == as_int(wanted[i])) continue;
    if (std::isnan(found[i]) && std::isnan(wanted[i])) continue;
    std::fprintf(stderr, "%s word %zu of %zu: %.9g (%08x), not %.9g (%08x)\n", what, i, found.size(), found[i],
                 as_int(found[i]), wanted[i], as_int(wanted[i]));
    std::exit(1);
  }
}

struct Case {
  Command c;
  Floats src, weights, dst, aux, extra;  // empty: the command has none
};

// Runs it and expects these words in dst and extra.
inline void expect(Case k, const Floats& dst, const Floats& extra, int status = STATUS_OK) {
  constexpr int AROUND = 8;  // words, before and behind
  int32_t* const slots[] = {&k.c.src_slot, &k.c.weights_slot, &k.c.dst_slot, &k.c.aux_slot, &k.c.extra_slot};
  const char* const names[] = {"src", "weights", "dst", "aux", "extra"};
  const Floats* const before[] = {&k.src, &k.weights, &k.dst, &k.aux, &k.extra};
  const Floats* const after[] = {&k.src, &k.weights, &dst, &k.aux, &extra};
  size_t words = 0;
  for (const Floats* operand : before) words += operand->size() + 64;
  Machine m(FIRST_BUFFER + int(words / BEAT_WORDS) + 64);
  for (int i = 0; i < 5; ++i) {
    if (before[i]->empty()) continue;
    Floats all(AROUND, UNTOUCHED);
    append(all, *before[i]);
    append(all, Floats(AROUND, UNTOUCHED));
    m.bind(i + 1, all);
    slots[i][0] = i + 1;
    slots[i][1] = AROUND;
  }
  const int found = m.one(k.c);
  if (found != status) std::fprintf(stderr, "op %d: status %d, not %d\n", k.c.op, found, status);
  CHECK(found == status);
  for (int i = 0; i < 5; ++i) {
    if (before[i]->empty()) continue;
    Floats all(AROUND, UNTOUCHED);
    append(all, *after[i]);
    append(all, Floats(AROUND, UNTOUCHED));
    check_words(names[i], m.read(i + 1), all);
  }
}

inline void expect(const Case& k, const Floats& dst) { expect(k, dst, k.extra); }

// Nothing is written.
inline void expect_refusal(const Case& k, int status) { expect(k, k.dst, k.extra, status); }

}  // namespace bench
