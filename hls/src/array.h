// The T x T array of multipliers: convolutions forward and backward, and weight gradients. Everything
// that is a sum of products over channels or pixels goes through it; depthwise convolution and average
// pooling use its diagonal alone. Arithmetic on chip only, no memory.
#pragma once
#include "steps.h"

namespace eft {

// The adders of one output lane and pixel, all T of them: a tree over T products, or T sums of two other
// operands each. A node of the tree over lanes [LOW, LOW + N) does the sum of lane LOW + N / 2. The
// association is fixed: the same bits wherever it is compiled.
template <int LOW, int N>
struct Adders {
  static inline float sum(bool outer, const float product[T], const float one[T], const float other[T],
                          float sums[T]) {
    const float left = Adders<LOW, N / 2>::sum(outer, product, one, other, sums);
    const float right = Adders<LOW + N / 2, N / 2>::sum(outer, product, one, other, sums);
    const int n = LOW + N / 2;
    const float a = outer ? one[n] : left, b = outer ? other[n] : right;
    const float total = a + b;
    HLS(BIND_OP variable=total op=fadd impl=EFT_FADD_TREE)
    sums[n] = total;
    return total;
  }
};
template <int LOW>
struct Adders<LOW, 1> {
  static inline float sum(bool, const float product[T], const float[T], const float[T], float[T]) {
    return product[LOW];
  }
};

// `before` and the sum of the products, which is returned; or, outer, sums[n] = one[n] + other[n].
inline float add(bool outer, const float product[T], const float one[T], const float other[T], float before,
                 float sums[T]) {
  HLS(INLINE)
  const float tree = Adders<0, T>::sum(outer, product, one, other, sums);
  const float a = outer ? one[0] : before, b = outer ? other[0] : tree;
  const float total = a + b;
  HLS(BIND_OP variable=total op=fadd impl=EFT_FADD_SUM)
  sums[0] = total;
  return total;
}

// Outer products of pixels [LOW, LOW + N), summed by the adders that else sum the products of pixel
// LOW + N / 2; those of pixel 0 add to the old sum.
template <int LOW, int N>
struct Pixels {
  static inline void sum(bool outer, const float product[PIXELS][T], const float before[PIXELS], float sums[T],
                         float after[PIXELS]) {
    float left[T], right[T];
    Pixels<LOW, N / 2>::sum(outer, product, before, left, after);
    Pixels<LOW + N / 2, N - N / 2>::sum(outer, product, before, right, after);
    const int p = LOW + N / 2;
    after[p] = add(outer, product[p], left, right, before[p], sums);
  }
};
template <int LOW>
struct Pixels<LOW, 1> {
  static inline void sum(bool, const float product[PIXELS][T], const float[PIXELS], float sums[T], float[PIXELS]) {
  pixel_lane:
    for (int n = 0; n < T; ++n) {
      HLS(UNROLL)
      sums[n] = product[LOW][n];
    }
  }
};

// One iteration of the array: y += v * w of each pixel, or w += v (outer) d over all. `fresh` sums begin at
// 0. If `lone`, a lane of y takes nothing of others: products off the diagonal are 0 by selection, which a
// NaN does not pass as it would a multiplication by 0.
inline void multiply(bool outer, bool lone, bool fresh, const float v[PIXELS][T], const float d[PIXELS][T],
                     float w[T][T], float y[PIXELS][T]) {
  HLS(INLINE)
array_m:
  for (int m = 0; m < T; ++m) {
    HLS(UNROLL)
    float products[PIXELS][T], before[PIXELS], after[PIXELS], old[T], pixels[T], sums[T];
  array_p:
    for (int p = 0; p < PIXELS; ++p) {
      HLS(UNROLL)
    array_n:
      for (int n = 0; n < T; ++n) {
        HLS(UNROLL)
        const float product = v[p][n] * (outer ? d[p][m] : w[n][m]);
        HLS(BIND_OP variable=product op=fmul impl=EFT_FMUL)
        products[p][n] = product;
      }
    array_lone:
      for (int n = 0; n < T; ++n) {
        HLS(UNROLL)
        if (lone && !outer && n != m) products[p][n] = 0.0f;
      }
      before[p] = fresh ? 0.0f : y[p][m];
    }
  array_old:
    for (int n = 0; n < T; ++n) {
      HLS(UNROLL)
      old[n] = fresh ? 0.0f : w[n][m];
    }
    Pixels<0, PIXELS>::sum(outer, products, before, pixels, after);
    after[0] = add(outer, products[0], old, pixels, before[0], sums);
  array_keep_y:
    for (int p = 0; p < PIXELS; ++p) {
      HLS(UNROLL)
      y[p][m] = after[p];
    }
  array_keep_w:
    for (int n = 0; n < T; ++n) {
      HLS(UNROLL)
      if (outer) w[n][m] = sums[n];
    }
  }
}

// All words of a tile.
static void clear(int words, float y[PIXELS][Y_WORDS][T]) {
array_clear:
  for (int i = 0; i < words; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=1 max=Y_WORDS)
  clear_pixel:
    for (int p = 0; p < PIXELS; ++p) {
      HLS(UNROLL)
    clear_lane:
      for (int m = 0; m < T; ++m) {
        HLS(UNROLL)
        y[p][i][m] = 0.0f;
      }
    }
  }
}

// What the pixels of an iteration read, and whether they are there at all.
struct Reads {
  int from[PIXELS];
  bool there[PIXELS], any;
};

inline Reads reads_of(bool outer, bool bias, const Taps& taps, const Groups& groups) {
  HLS(INLINE)
  Reads r;
  r.any = false;
reads_pixel:
  for (int p = 0; p < PIXELS; ++p) {
    HLS(UNROLL)
    const bool runs = outer ? groups.before + groups.q < groups.words : taps.k < taps.area;
    const bool there = outer ? has_pixel(groups.sweep, groups.at, p) : has_pixel(taps.sweep, taps.at, p);
    const int from = outer ? input_of(groups.sweep, groups.at, p) : input_of(taps.sweep, taps.at, p);
    r.there[p] = runs && there;
    r.from[p] = !r.there[p] ? -1 : outer && bias ? 0 : from;
    r.any = r.any || r.from[p] >= 0;
  }
  return r;
}

// A pass through the array, in one loop. Forward and backward: y (+)= all taps. The taps of a stride meet
// disjoint output pixels, so the first tap of each sets them; output pixels that no tap meets are
// cleared. Outer: w (+)= x (outer) y, y being dy. `lone`: each channel by itself.
static int convolve(bool outer, bool lone, const Axis& rows, const Axis& cols, const Pass& p, int tap_slots,
                    const float x[COPIES][X_DEPTH][T], float w[W_DEPTH][T][T], float y[PIXELS][Y_WORDS][T]) {
  HLS(INLINE off)
  const int row_sets = rows.back ? rows.stride : 1, col_sets = cols.back ? cols.stride : 1;
  int steps = 0;
  if (!outer && p.first && (rows.taps < row_sets || cols.taps < col_sets)) {
    steps = tile_words(cols, p);
    clear(steps, y);
  }
  Taps taps = taps_of(rows, cols, p.rows, p.cols, p.images, PIXELS);
  Groups groups = groups_of(rows, cols, p);
  const int total = outer ? steps_of(groups) : steps_of(rows, cols, p.rows, p.cols, p.images, PIXELS);
  WATCH_START(x);
  WATCH_START(y);
  WATCH_START(w);
array_step:
  for (int i = 0; i < total; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=REVISIT max=100000)
    HLS(DEPENDENCE variable=y inter RAW distance=REVISIT true)
    HLS(DEPENDENCE variable=w inter RAW distance=REVISIT true)
    const bool bias = groups.tap == groups.kernel;
    const bool first = p.rows.tap + taps.row < row_sets && p.cols.tap + taps.col < col_sets;
    const bool fresh = p.first && (outer ? groups.before == 0 : first);
    const Reads reads = reads_of(outer, bias, taps, groups);
    const int to = outer ? least(groups.before + groups.q, groups.words - 1) : word_of(taps);
    const int slot = outer ? groups.q * groups.taps + groups.tap : p.slot + taps.tap * tap_slots;
    float v[PIXELS][T], d[PIXELS][T], sums[PIXELS][T];
  array_operand:
    for (int q = 0; q < PIXELS; ++q) {
      HLS(UNROLL)
      const int from = reads.from[q];
      if (from >= 0) WATCH_READ(x, q / 2, from, i);
    array_operand_lane:
      for (int n = 0; n < T; ++n) {
        HLS(UNROLL)
        const float one = n == 0 ? 1.0f : 0.0f;
        sums[q][n] = to < 0 ? 0.0f : y[q][to][n];
        v[q][n] = from < 0 ? 0.0f : outer && bias ? one : x[q / 2][from][n];
        d[q][n] = from < 0 || !outer ? 0.0f : sums[q][n];
      }
    }
    if (to >= 0 && (fresh || reads.any)) {
      if (outer) WATCH(w, 0, slot, i);
      multiply(outer, lone, fresh, v, d, w[slot], sums);
    }
  array_result:
    for (int q = 0; q < PIXELS; ++q) {
      HLS(UNROLL)
      if (!outer && reads.there[q] && (fresh || reads.from[q] >= 0)) {
        WATCH(y, q, to, i);
      array_result_lane:
        for (int m = 0; m < T; ++m) {
          HLS(UNROLL)
          y[q][to][m] = sums[q][m];
        }
      }
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
