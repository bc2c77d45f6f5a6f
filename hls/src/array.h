// The T x T array of multipliers: convolutions forward and backward, and weight gradients. Everything
// that is a sum of products over channels or pixels goes through it; depthwise convolution and average
// pooling use its diagonal alone. Arithmetic on chip only, no memory.
#pragma once
#include "geometry.h"

namespace eft {

// The adders of one output lane, all T of them: a tree over T products, or T sums of an old value and a
// product each. A node of the tree over lanes [LOW, LOW + N) does the sum of lane LOW + N / 2. The
// association is fixed: the same bits wherever it is compiled.
template <int LOW, int N>
struct Adders {
  static inline float sum(bool outer, const float product[T], const float old[T], float sums[T]) {
    const float left = Adders<LOW, N / 2>::sum(outer, product, old, sums);
    const float right = Adders<LOW + N / 2, N / 2>::sum(outer, product, old, sums);
    const int n = LOW + N / 2;
    const float a = outer ? old[n] : left, b = outer ? product[n] : right;
    const float total = a + b;
    HLS(BIND_OP variable=total op=fadd impl=EFT_FADD_TREE)
    sums[n] = total;
    return total;
  }
};
template <int LOW>
struct Adders<LOW, 1> {
  static inline float sum(bool, const float product[T], const float[T], float[T]) { return product[LOW]; }
};

// One iteration of the array: y += v * w, or w += v (outer) d. `fresh` sums begin at 0. If `lone`, a lane
// of y takes nothing of others: products off the diagonal are 0 by selection, which a NaN does not pass as
// it would a multiplication by 0.
inline void multiply(bool outer, bool lone, bool fresh, const float v[T], const float d[T], float w[T][T],
                     float y[T]) {
  HLS(INLINE)
array_m:
  for (int m = 0; m < T; ++m) {
    HLS(UNROLL)
    float products[T], old[T], sums[T];
  array_n:
    for (int n = 0; n < T; ++n) {
      HLS(UNROLL)
      const float product = v[n] * (outer ? d[m] : w[n][m]);
      HLS(BIND_OP variable=product op=fmul impl=EFT_FMUL)
      products[n] = product;
      old[n] = fresh ? 0.0f : w[n][m];
    }
  array_lone:
    for (int n = 0; n < T; ++n) {
      HLS(UNROLL)
      if (lone && !outer && n != m) products[n] = 0.0f;
    }
    const float tree = Adders<0, T>::sum(outer, products, old, sums);
    const float before = outer ? old[0] : fresh ? 0.0f : y[m], after = outer ? products[0] : tree;
    const float total = before + after;
    HLS(BIND_OP variable=total op=fadd impl=EFT_FADD_SUM)
    sums[0] = total;
    if (!outer) y[m] = total;
  array_keep:
    for (int n = 0; n < T; ++n) {
      HLS(UNROLL)
      if (outer) w[n][m] = sums[n];
    }
  }
}

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

// Weight gradients visit the pixels of a pass `partials` at a time, each group tap by tap; partial sum q
// of a tap lies `q * taps` slots behind. The bias gradient is one more tap, whose pixels are (1, 0, ...).
struct Groups {
  Axis rows, cols;
  Sweep sweep;
  Line first_row, first_col;
  Pixel group, at;
  int pixels, partials, taps, kernel, col_taps;
  int before, tap, col, q;
};

inline Groups groups_of(const Axis& rows, const Axis& cols, const Pass& p) {
  Groups g;
  g.rows = rows;
  g.cols = cols;
  g.first_row = first_line(rows, p.rows);
  g.first_col = first_line(cols, p.cols);
  const Sweep s = {g.first_row, g.first_col, p.rows.ins, p.cols.ins, p.rows.outs, p.cols.outs};
  g.sweep = s;
  g.at.image = g.at.row = g.at.col = g.before = g.tap = g.col = g.q = 0;
  g.group = g.at;
  g.pixels = p.images * p.rows.outs * p.cols.outs;
  g.kernel = p.rows.taps * p.cols.taps;
  g.taps = g.kernel + (p.bias ? 1 : 0);
  g.partials = partial_sums(g.taps);
  g.col_taps = p.cols.taps;
  return g;
}

inline int steps_of(const Groups& g) { return ceil_div(g.pixels, g.partials) * g.partials * g.taps; }

// To the next pixel of the group, or the first of the next tap, or the next group.
inline void advance(Groups& g) {
  advance(g.at, g.sweep.out_rows, g.sweep.out_cols);
  if (++g.q < g.partials) return;
  g.q = 0;
  next_line(g.cols, g.sweep.cols);
  if (++g.col == g.col_taps) {
    g.col = 0;
    g.sweep.cols = g.first_col;
    next_line(g.rows, g.sweep.rows);
  }
  if (++g.tap == g.taps) {
    g.tap = g.col = 0;
    g.sweep.rows = g.first_row;
    g.sweep.cols = g.first_col;
    g.group = g.at;
    g.before += g.partials;
  }
  g.at = g.group;
}

// A pass through the array, in one loop. Forward and backward: y (+)= all taps. The taps of a stride meet
// disjoint output pixels, so the first tap of each sets them; output pixels that no tap meets are
// cleared. Outer: w (+)= x (outer) y, y being dy. `lone`: each channel by itself.
static int convolve(bool outer, bool lone, const Axis& rows, const Axis& cols, const Pass& p, int tap_slots,
                    const float x[X_DEPTH][T], float w[W_DEPTH][T][T], float y[Y_DEPTH][T]) {
  HLS(INLINE off)
  const int row_sets = rows.back ? rows.stride : 1, col_sets = cols.back ? cols.stride : 1;
  int steps = 0;
  if (!outer && p.first && (rows.taps < row_sets || cols.taps < col_sets)) {
    steps = p.images * p.rows.outs * p.cols.outs;
    clear(steps, y);
  }
  Taps taps = taps_of(rows, cols, p.rows, p.cols, p.images);
  Groups groups = groups_of(rows, cols, p);
  const int total = outer ? steps_of(groups) : steps_of(rows, cols, p.rows, p.cols, p.images);
  WATCH_START(y);
  WATCH_START(w);
array_pixel:
  for (int i = 0; i < total; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=REVISIT max=100000)
    HLS(DEPENDENCE variable=y inter RAW distance=REVISIT true)
    HLS(DEPENDENCE variable=w inter RAW distance=REVISIT true)
    const int pixel = groups.before + groups.q;
    const bool bias = groups.tap == groups.kernel;
    const bool first = p.rows.tap + taps.row < row_sets && p.cols.tap + taps.col < col_sets;
    const bool fresh = p.first && (outer ? groups.before == 0 : first);
    const int within = pixel >= groups.pixels ? -1 : bias ? 0 : input_of(groups.sweep, groups.at);
    const int from = outer ? within : input_of(taps);
    const int to = outer ? least(pixel, groups.pixels - 1) : output_of(taps);
    const int slot = outer ? groups.q * groups.taps + groups.tap : p.slot + taps.tap * tap_slots;
    float v[T], d[T];
  array_operand:
    for (int n = 0; n < T; ++n) {
      HLS(UNROLL)
      const float one = n == 0 ? 1.0f : 0.0f;
      v[n] = from < 0 ? 0.0f : outer && bias ? one : x[from][n];
      d[n] = from < 0 || !outer ? 0.0f : y[to][n];
    }
    if (to >= 0 && (fresh || from >= 0)) {
      if (outer) {
        WATCH(w, slot, i);
      } else {
        WATCH(y, to, i);
      }
      multiply(outer, lone, fresh, v, d, w[slot], y[to]);
    }
    if (outer) advance(groups);
    else advance(taps);
  }
  return steps + total;
}

// The partial sums of every tap, added pairwise into the first, one row of T weights at a time: adders
// for all rows would be a second array. A level reads nothing that it writes.
static int fold_partials(const Pass& p, float w[W_DEPTH][T][T]) {
  HLS(INLINE off)
  const int taps = p.rows.taps * p.cols.taps + (p.bias ? 1 : 0);
  int half = partial_sums(taps) / 2, steps = 0;
fold_level:
  for (int level = 0; level < 8; ++level) {
    int slot = 0, n = 0;
  fold_row:
    for (int i = 0; i < half * taps * T; ++i) {
      HLS(PIPELINE II=1)
      HLS(LOOP_TRIPCOUNT min=0 max=256)
      HLS(DEPENDENCE variable=w inter false)
    fold_m:
      for (int m = 0; m < T; ++m) {
        HLS(UNROLL)
        w[slot][n][m] = w[slot][n][m] + w[slot + half * taps][n][m];
      }
      if (++n == T) {
        n = 0;
        ++slot;
      }
    }
    steps += half * taps * T;
    half /= 2;
  }
  return steps;
}

}  // namespace eft
