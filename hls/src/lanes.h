// Pooling and arithmetic element by element, on chip. Maxima are taken T lanes at a time, they are
// cheap; element arithmetic goes a beat of 4 lanes at a time, as fast as its operands can arrive.
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

// Whether dropout keeps elements: nn.pointwise.dropout_keep says how.
struct Dropout {
  uint32_t key, threshold;
  float scale;
};

inline Dropout dropout_of(const Command& c, uint32_t seed) {
  Dropout d;
  d.key = mixed(seed ^ ((static_cast<uint32_t>(c.layer) + 1u) * 0x9e3779b9u));
  d.threshold = static_cast<uint32_t>(c.scalar * 4294967296.0f);
  d.scale = 1.0f / (1.0f - c.scalar);
  return d;
}

// y = p * (a - s) + q * (b - t), or p * (a - s) + r: all arithmetic on elements, with these per channel.
// Means are taken away before anything is scaled: a large one costs no digits.
enum Coefficient { SCALE_A, SHIFT_A, SCALE_B, SHIFT_B, OFFSET, COEFFICIENTS };

// From the vectors of batch normalisation: rows 0..3 of w[0] hold gamma, beta, mean, inverse deviation,
// rows 0..1 of w[1] BN_SUM's vectors. Other commands have none.
static void coefficients(const Command& c, const Dropout& drop, const float w[W_DEPTH][T][T],
                         float k[COEFFICIENTS][T]) {
  HLS(INLINE off)
  const bool frozen = has(c, FLAG_FROZEN), back = c.op == OP_BN_BP;
  const float share = 1.0f / static_cast<float>(most(c.count, 1));
  const float plain_scale = c.op == OP_DROP_FP || c.op == OP_DROP_BP ? drop.scale : 1.0f;
coefficient_lane:
  for (int m = 0; m < T; ++m) {
    HLS(PIPELINE off)
    const float mean = w[0][2][m], inverse = w[0][3][m];
    k[SCALE_A][m] = plain_scale;
    k[SHIFT_A][m] = k[SHIFT_B][m] = k[OFFSET][m] = 0.0f;
    k[SCALE_B][m] = 1.0f;
    if (back || c.op == OP_BN_FP) {
      k[SCALE_A][m] = w[0][0][m] * inverse;
      k[SHIFT_A][m] = !back ? mean : frozen ? 0.0f : w[1][1][m] * share;
      k[SCALE_B][m] = -(k[SCALE_A][m] * inverse) * (w[1][0][m] * share);
      k[SHIFT_B][m] = mean;
      k[OFFSET][m] = back ? 0.0f : w[0][1][m];
    }
  }
}

// Whether a command on elements has a second operand of its own.
inline bool joins(const Command& c) { return c.op == OP_ADD_FP || (c.op == OP_BN_BP && !has(c, FLAG_FROZEN)); }

// Commands on elements. Operand a lies in x from 0 on, b from X_DEPTH / 2 on. CONCAT takes T lanes from a
// and b, from lane `shift` of a on.
static int elements(const Command& c, const Pass& p, const Dropout& drop, int shift, const float x[COPIES][X_DEPTH][T],
                    const float w[W_DEPTH][T][T], float y[PIXELS][Y_WORDS][T]) {
  HLS(INLINE off)
  float k[COEFFICIENTS][T];
  HLS(ARRAY_PARTITION variable=k complete dim=1)
  HLS(ARRAY_PARTITION variable=k complete dim=2)
  coefficients(c, drop, w, k);
  const int beats = p.images * p.rows.outs * p.cols.outs * QUADS;
  const bool dropped = c.op == OP_DROP_FP || c.op == OP_DROP_BP, second = joins(c);
  Spot at = first_spot(1, p.rows.outs, p.cols.outs);
  int pixel = 0, quad = 0;
element_beat:
  for (int i = 0; i < beats; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=1 max=4096)
    HLS(DEPENDENCE variable=y inter false)
    const uint32_t image = static_cast<uint32_t>(c.axis) + static_cast<uint32_t>(p.image + at.at.image);
    const int row = p.rows.out + at.at.row, col = p.cols.out + at.at.col;
  element_lane:
    for (int e = 0; e < BEAT_WORDS; ++e) {
      HLS(UNROLL)
      const int lane = quad * BEAT_WORDS + e;
      const bool turned = lane + shift >= T;
      const int source = turned ? lane + shift - T : lane + shift;
      const float a = x[0][turned ? X_DEPTH / 2 + pixel : pixel][source], b = x[0][X_DEPTH / 2 + pixel][lane];
      const float other = k[SCALE_B][lane] * (b - k[SHIFT_B][lane]);
      const float v = k[SCALE_A][lane] * (a - k[SHIFT_A][lane]) + (second ? other : k[OFFSET][lane]);
      const uint32_t channel = image * c.n + p.out_tile * T + lane;
      const uint32_t index = (channel * c.rows_in + row) * c.cols_in + col;
      const bool keeps = !dropped || mixed(drop.key + index) >= drop.threshold;
      y[at.seat.bank][word_of(at)][lane] = keeps ? v : 0.0f;
    }
    if (++quad == QUADS) {
      quad = 0;
      ++pixel;
      advance(at);
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
