// The T x T array of multipliers: convolutions forward and backward, and weight gradients. Everything
// that is a sum of products over channels or pixels goes through it; depthwise convolution and average
// pooling do with diagonal weights. Arithmetic on chip only, no memory.
#pragma once
#include "geometry.h"

namespace eft {

// A sum of T products in fixed association: the same bits wherever it is compiled.
template <int LOW, int N>
struct Tree {
  static inline float dot(const float x[T], const float w[T][T], int m) {
    return Tree<LOW, N / 2>::dot(x, w, m) + Tree<LOW + N / 2, N / 2>::dot(x, w, m);
  }
};
template <int LOW>
struct Tree<LOW, 1> {
  static inline float dot(const float x[T], const float w[T][T], int m) { return x[LOW] * w[LOW][m]; }
};

static void clear(int pixels, float y[Y_DEPTH][T]) {
array_clear:
  for (int i = 0; i < pixels; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=1 max=Y_DEPTH)
  clear_lane:
    for (int m = 0; m < T; ++m) {
      HLS(UNROLL)
      y[i][m] = 0.0f;
    }
  }
}

// y (+)= all taps of a pass, forward or backward. The taps of a stride meet disjoint output pixels, so
// the first tap of each sets them; output pixels that no tap meets are cleared.
static int accumulate(const Axis& rows, const Axis& cols, const Pass& p, int tap_slots, const float x[X_DEPTH][T],
                      const float w[W_DEPTH][T][T], float y[Y_DEPTH][T]) {
  HLS(INLINE off)
  const int row_sets = rows.back ? rows.stride : 1, col_sets = cols.back ? cols.stride : 1;
  int steps = 0;
  if (p.first && (rows.taps < row_sets || cols.taps < col_sets)) {
    steps = p.images * p.rows.outs * p.cols.outs;
    clear(steps, y);
  }
  const int total = steps_of(rows, cols, p.rows, p.cols, p.images);
  Taps at = taps_of(rows, cols, p.rows, p.cols, p.images);
  WATCH_START(y);
array_pixel:
  for (int i = 0; i < total; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=REVISIT max=121*Y_DEPTH)
    HLS(DEPENDENCE variable=y inter RAW distance=REVISIT true)
    const bool first = p.first && p.rows.tap + at.row < row_sets && p.cols.tap + at.col < col_sets;
    const int from = input_of(at), to = output_of(at), slot = p.slot + at.tap * tap_slots;
    float v[T];
  array_operand:
    for (int n = 0; n < T; ++n) {
      HLS(UNROLL)
      v[n] = from >= 0 ? x[from][n] : 0.0f;
    }
    if (to >= 0 && (first || from >= 0)) {
      WATCH(y, to, i);
    array_lane:
      for (int m = 0; m < T; ++m) {
        HLS(UNROLL)
        y[to][m] = (first ? 0.0f : y[to][m]) + Tree<0, T>::dot(v, w[slot], m);
      }
    }
    advance(at);
  }
  return steps + total;
}

// Partial sums of a weight gradient with `taps` taps, a power of two: the accumulator of a tap must
// not come round before REVISIT iterations.
inline int partial_sums(int taps) {
  int n = 1;
partial_double:
  for (int i = 0; i < 8; ++i) {
    HLS(UNROLL)
    if (n * taps < REVISIT) n *= 2;
  }
  return n;
}

// w[tap] (+)= x (outer) dy over the pixels of a pass. Pixels are taken `partials` at a time, each group
// tap by tap; partial sum q of a tap lies `q * taps` slots behind. The bias gradient is one more tap,
// whose pixels are (1, 0, 0, ...).
static int outer_products(const Axis& rows, const Axis& cols, const Pass& p, const float x[X_DEPTH][T],
                          const float dy[Y_DEPTH][T], float w[W_DEPTH][T][T]) {
  HLS(INLINE off)
  const Line row = first_line(rows, p.rows), col = first_line(cols, p.cols);
  const int kernel = p.rows.taps * p.cols.taps;
  const int taps = kernel + (p.bias ? 1 : 0);
  const int partials = partial_sums(taps);
  const int pixels = p.images * p.rows.outs * p.cols.outs;
  const int steps = ceil_div(pixels, partials) * partials * taps;
  Sweep s = {row, col, p.rows.ins, p.cols.ins, p.rows.outs, p.cols.outs};
  Pixel group = {0, 0, 0}, at = {0, 0, 0};
  int before = 0, tap = 0, j = 0, q = 0;
  WATCH_START(w);
outer_pixel:
  for (int i = 0; i < steps; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=REVISIT max=11*Y_DEPTH)
    HLS(DEPENDENCE variable=w inter RAW distance=REVISIT true)
    const int pixel = before + q;
    const bool bias = tap == kernel, fresh = p.first && before == 0;
    const int from = pixel >= pixels ? -1 : bias ? 0 : input_of(s, at);
    const int to = least(pixel, pixels - 1), slot = q * taps + tap;
    if (fresh || from >= 0) {
      WATCH(w, slot, i);
    outer_n:
      for (int n = 0; n < T; ++n) {
        HLS(UNROLL)
        const float v = !bias ? x[most(from, 0)][n] : n == 0 ? 1.0f : 0.0f;
      outer_m:
        for (int m = 0; m < T; ++m) {
          HLS(UNROLL)
          w[slot][n][m] = (fresh ? 0.0f : w[slot][n][m]) + (from >= 0 ? v * dy[to][m] : 0.0f);
        }
      }
    }
    advance(at, s.out_rows, s.out_cols);
    if (++q == partials) {
      q = 0;
      next_line(cols, s.cols);
      if (++j == p.cols.taps) {
        j = 0;
        s.cols = col;
        next_line(rows, s.rows);
      }
      if (++tap == taps) {
        tap = j = 0;
        s.rows = row;
        s.cols = col;
        group = at;
        before += partials;
      }
      at = group;
    }
  }
  return steps;
}

// The partial sums of every tap, added pairwise into the first. A level reads nothing that it writes.
static int fold_partials(const Pass& p, float w[W_DEPTH][T][T]) {
  HLS(INLINE off)
  const int taps = p.rows.taps * p.cols.taps + (p.bias ? 1 : 0);
  int half = partial_sums(taps) / 2, steps = 0;
fold_level:
  for (int level = 0; level < 8; ++level) {
  fold_slot:
    for (int i = 0; i < half * taps; ++i) {
      HLS(PIPELINE II=2)
      HLS(LOOP_TRIPCOUNT min=0 max=REVISIT)
    fold_n:
      for (int n = 0; n < T; ++n) {
        HLS(UNROLL)
      fold_m:
        for (int m = 0; m < T; ++m) {
          HLS(UNROLL)
          w[i][n][m] = w[i][n][m] + w[i + half * taps][n][m];
        }
      }
    }
    steps += 2 * half * taps;
    half /= 2;
  }
  return steps;
}

}  // namespace eft
