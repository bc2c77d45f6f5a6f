// Maxima and sums, on chip. Maxima are taken T lanes at a time, they are cheap; sums a beat of 4 lanes at a
// time, as fast as operands arrive.
#pragma once
#include "array.h"
#include "functions.h"

namespace eft {

inline bool above(float value, float best) { return value > best || (value != value && best == best); }

// y = maximum of y and all taps of a pass; NaN wins, and the first of equals.
static int maxima(const Axis& rows, const Axis& cols, const Pass& p, const float x[COPIES][X_DEPTH][T],
                  float y[PIXELS][Y_WORDS][T]) {
  HLS(INLINE off)
  const int total = steps_of(rows, cols, p.rows, p.cols, p.images, 1);
  Taps at = taps_of(rows, cols, p.rows, p.cols, p.images, 1);
  WATCH_START(y);
max_pixel:
  for (int i = 0; i < total; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=REVISIT max=50000)
    HLS(DEPENDENCE variable=y inter RAW distance=REVISIT true)
    const bool first = p.first && p.rows.tap + at.row == 0 && p.cols.tap + at.col == 0;
    const int from = input_of(at, 0), to = word_of(at), bank = at.seat.bank;
    if (to >= 0) {
      WATCH(y, bank, to, i);
    max_lane:
      for (int m = 0; m < T; ++m) {
        HLS(UNROLL)
        const float best = first ? -INFINITE : y[bank][to][m];
        const float value = from >= 0 ? x[0][from][m] : -INFINITE;
        y[bank][to][m] = above(value, best) ? value : best;
      }
    }
    advance(at);
  }
  return total;
}

// The gradient of maximum pooling, in two parts: the first maximum of every window of the tile, kept
// with its tap in the weight buffer; then each window's dy, tap by tap, to the pixel that was it.
// x holds the pixels of the windows from 0 on, dy from X_DEPTH / 2 on.
struct Windows {
  Axis rows, cols;  // forward, from the windows of the tile to their pixels
  Span row, col;
};

constexpr int WINDOWS = W_DEPTH * T / 2;

static int first_maxima(const Windows& v, int images, const float x[COPIES][X_DEPTH][T], float w[W_DEPTH][T][T]) {
  HLS(INLINE off)
  const int total = steps_of(v.rows, v.cols, v.row, v.col, images, 1);
  Taps at = taps_of(v.rows, v.cols, v.row, v.col, images, 1);
  WATCH_START(w);
found_pixel:
  for (int i = 0; i < total; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=REVISIT max=50000)
    HLS(DEPENDENCE variable=w inter RAW distance=REVISIT true)
    const int from = input_of(at, 0);
    const int to = at.k < at.area ? (at.at.image * v.row.outs + at.at.row) * v.col.outs + at.at.col : -1;
    if (to >= 0) {
      WATCH(w, 0, to, i);
    found_lane:
      for (int m = 0; m < T; ++m) {
        HLS(UNROLL)
        const float best = at.tap == 0 ? -INFINITE : w[to / T][to % T][m];
        const float value = from >= 0 ? x[0][from][m] : -INFINITE;
        const bool better = above(value, best);
        w[to / T][to % T][m] = better ? value : best;
        if (at.tap == 0 || better) w[W_DEPTH / 2 + to / T][to % T][m] = static_cast<float>(at.tap);
      }
    }
    advance(at);
  }
  return total;
}

static int scatter_maxima(const Axis& rows, const Axis& cols, const Pass& p, const float x[COPIES][X_DEPTH][T],
                          const float w[W_DEPTH][T][T], float y[PIXELS][Y_WORDS][T]) {
  HLS(INLINE off)
  const int words = tile_words(cols, p);
  clear(words, y);
  const int total = steps_of(rows, cols, p.rows, p.cols, p.images, 1);
  Taps at = taps_of(rows, cols, p.rows, p.cols, p.images, 1);
  WATCH_START(y);
scatter_pixel:
  for (int i = 0; i < total; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=REVISIT max=50000)
    HLS(DEPENDENCE variable=y inter RAW distance=REVISIT true)
    const int window = input_of(at, 0), to = word_of(at), bank = at.seat.bank;
    if (to >= 0 && window >= 0) {
      WATCH(y, bank, to, i);
    scatter_lane:
      for (int m = 0; m < T; ++m) {
        HLS(UNROLL)
        const bool hers = w[W_DEPTH / 2 + window / T][window % T][m] == static_cast<float>(at.tap);
        if (hers) y[bank][to][m] = y[bank][to][m] + x[0][X_DEPTH / 2 + window][m];
      }
    }
    advance(at);
  }
  return words + total;
}

// Each window's dy becomes the share that every element inside the map gets.
static int share_windows(const Axis& rows, const Axis& cols, const Pass& p, float x[COPIES][X_DEPTH][T]) {
  HLS(INLINE off)
  const int beats = p.images * p.rows.ins * p.cols.ins * QUADS;
  Pixel at = {0, 0, 0};
  int pixel = 0, quad = 0;
share_beat:
  for (int i = 0; i < beats; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=1 max=8192)
    HLS(DEPENDENCE variable=x inter false)
    const float share = window_share(rows, cols, p.rows.in + at.row, p.cols.in + at.col);
  share_lane:
    for (int e = 0; e < BEAT_WORDS; ++e) {
      HLS(UNROLL)
      const float shared = x[0][pixel][quad * BEAT_WORDS + e] * share;
    share_copy:
      for (int c = 0; c < COPIES; ++c) {
        HLS(UNROLL)
        x[c][pixel][quad * BEAT_WORDS + e] = shared;
      }
    }
    if (++quad == QUADS) {
      quad = 0;
      ++pixel;
      advance(at, p.rows.ins, p.cols.ins);
    }
  }
  return beats;
}

// Sums over the pixels of a pass, per channel: pixel i goes to partial sum i % SHARES, so that one is
// used again after REVISIT iterations; then they are added in order, and the pass to the total. Sums of
// sums lose little: no chain of additions is longer than a pass or the number of passes.
constexpr int power_of_two(int least) { return least <= 1 ? 1 : 2 * power_of_two((least + 1) / 2); }
constexpr int SHARES = power_of_two((REVISIT + QUADS - 1) / QUADS);

// With d = a - k[0] and u = k[1] * d, the first sum is of u, of d * u or of b * u; the second of u, or of b.
enum Sum { SUM_ALONE, SUM_SQUARED, SUM_ALONG };

static int sums(Sum kind, int pixels, const float k[2][T], const float x[COPIES][X_DEPTH][T], float total[2][T]) {
  HLS(INLINE off)
  float part[2][SHARES][T];
  HLS(ARRAY_PARTITION variable=part complete dim=1)
  HLS(ARRAY_PARTITION variable=part complete dim=3)
sum_clear:
  for (int i = 0; i < SHARES; ++i) {
    HLS(PIPELINE II=1)
  sum_clear_lane:
    for (int m = 0; m < T; ++m) {
      HLS(UNROLL)
      part[0][i][m] = part[1][i][m] = 0.0f;
    }
  }
  int pixel = 0, quad = 0;
  WATCH_START(part);
sum_beat:
  for (int i = 0; i < pixels * QUADS; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=1 max=4096)
    HLS(DEPENDENCE variable=part inter RAW distance=REVISIT true)
    const int slot = pixel % SHARES;
    WATCH(part, 0, slot * QUADS + quad, i);
  sum_lane:
    for (int e = 0; e < BEAT_WORDS; ++e) {
      HLS(UNROLL)
      const int lane = quad * BEAT_WORDS + e;
      const float b = x[0][X_DEPTH / 2 + pixel][lane], d = x[0][pixel][lane] - k[0][lane];
      const float u = k[1][lane] * d;
      const float term = (kind == SUM_ALONE ? 1.0f : kind == SUM_SQUARED ? d : b) * u;
      part[0][slot][lane] = part[0][slot][lane] + term;
      part[1][slot][lane] = part[1][slot][lane] + (kind == SUM_ALONG ? b : u);
    }
    if (++quad == QUADS) {
      quad = 0;
      ++pixel;
    }
  }
sum_lanes:
  for (int m = 0; m < T; ++m) {
    HLS(PIPELINE off)
  sum_both:
    for (int h = 0; h < 2; ++h) {
      HLS(PIPELINE off)
      float all = part[h][0][m];
    sum_shares:
      for (int i = 1; i < SHARES; ++i) {
        HLS(PIPELINE off)
        all = all + part[h][i][m];
      }
      total[h][m] = total[h][m] + all;
    }
  }
  return pixels * QUADS;
}

}  // namespace eft
