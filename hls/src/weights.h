// Weights: where they lie in memory and on chip, their way in, and their gradient's into an output buffer.
#pragma once
#include "ports.h"

namespace eft {

// A convolution's weights in memory, and how their taps share lanes.
struct Kernel {
  Place place;
  int m_tiles, n_tiles;
  int rows, cols;
  int lanes, fold;
  bool back, depthwise;
};

inline int folded_cols(const Kernel& k) { return ceil_div(k.cols, k.fold); }

// Beats of a column of the kernel, for one pair of channel tiles.
inline int col_beats(const Kernel& k) { return (k.depthwise ? 1 : k.lanes) * QUADS; }

inline int tap_beat(const Kernel& k, int m_tile, int n_tile, int row, int folded_col) {
  const int block = k.depthwise ? m_tile : m_tile * k.n_tiles + n_tile;
  return k.place.beat + ((block * k.rows + row) * k.cols + folded_col * k.fold) * col_beats(k);
}

inline int bias_beat(const Kernel& k, int m_tile) {
  const int blocks = k.depthwise ? k.m_tiles : k.m_tiles * k.n_tiles;
  return k.place.beat + blocks * k.rows * k.cols * col_beats(k) + m_tile * QUADS;
}

// The taps of a pass lie one behind the other in memory, in as many runs as it has rows, or in one if it
// has whole rows.
struct Runs {
  int count, beats;
};

inline Runs runs_of(const Kernel& k, const Pass& p) {
  const bool whole = p.cols.taps == folded_cols(k);
  const int cols = whole ? k.cols : least(p.cols.taps * k.fold, k.cols - p.cols.tap * k.fold);
  const Runs r = {whole ? 1 : p.rows.taps, (whole ? p.rows.taps : 1) * cols * col_beats(k)};
  return r;
}

// Where a beat of weights belongs: its slot, row of lanes, and quad of columns.
struct Weights {
  int slot, row, quad;
  int n, f, col;  // lane of its kernel column; which column of the fold; which of the kernel
};

inline Weights first_weights(const Kernel& k, int slot, int folded_col) {
  const Weights w = {slot, 0, 0, 0, 0, folded_col * k.fold};
  return w;
}

inline void advance(const Kernel& k, Weights& w) {
  if (++w.quad < QUADS) return;
  w.quad = 0;
  ++w.row;
  if (!k.depthwise && ++w.n < k.lanes) return;
  w.n = 0;
  ++w.f;
  ++w.col;
  if (w.f == k.fold || w.col == k.cols) {
    w.f = w.row = 0;
    ++w.slot;
  }
  if (w.col == k.cols) w.col = 0;
}

// The taps of a pass, transposed on the way in for BP; depthwise weights are diagonals, of which the rest
// is never used.
static void load_weights(const Word* port, const Kernel& k, const Pass& p, float w[W_DEPTH][T][T]) {
  HLS(INLINE off)
  const int m_tile = k.back ? p.in_tile : p.out_tile, n_tile = k.back ? p.out_tile : p.in_tile;
  const int zeros = k.lanes < T && !k.depthwise ? p.rows.taps * p.cols.taps * T : 0;
  int zero_slot = p.slot, zero_n = 0;
weights_zero:
  for (int i = 0; i < zeros; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=0 max=256)
  weights_zero_lane:
    for (int m = 0; m < T; ++m) {
      HLS(UNROLL)
      w[zero_slot][zero_n][m] = 0.0f;
    }
    if (++zero_n == T) {
      zero_n = 0;
      ++zero_slot;
    }
  }
  const Runs runs = runs_of(k, p);
  Weights at = first_weights(k, p.slot, p.cols.tap);
weights_run:
  for (int i = 0; i < runs.count; ++i) {
    HLS(LOOP_TRIPCOUNT min=1 max=1)
    const int start = tap_beat(k, m_tile, n_tile, p.rows.tap + i, p.cols.tap);
    at.col = p.cols.tap * k.fold;
  weights_beat:
    for (int b = 0; b < runs.beats; ++b) {
      HLS(PIPELINE II=1)
      HLS(LOOP_TRIPCOUNT min=QUADS max=4096)
      const Word word = port[start + b];
    weights_lane:
      for (int e = 0; e < BEAT_WORDS; ++e) {
        HLS(UNROLL)
        const int lane = at.quad * BEAT_WORDS + e;
        const int n = k.back || k.depthwise ? lane : at.row, m = k.back && !k.depthwise ? at.row : lane;
        w[at.slot][n][m] = word.v[e];
      }
      advance(k, at);
    }
  }
}

// The unit matrix: pooling sums a window's pixels.
static void load_unit(float w[W_DEPTH][T][T]) {
  HLS(INLINE off)
unit_n:
  for (int n = 0; n < T; ++n) {
    HLS(PIPELINE II=1)
  unit_m:
    for (int m = 0; m < T; ++m) {
      HLS(UNROLL)
      w[0][n][m] = n == m ? 1.0f : 0.0f;
    }
  }
}

// A gradient that is whole into an output buffer, a row of lanes an iteration and in the order of memory; its
// bias comes behind it.
static void unload_weights(const Kernel& k, const Pass& p, const float w[W_DEPTH][T][T], float y[PIXELS][Y_WORDS][T]) {
  HLS(INLINE off)
  const Runs runs = runs_of(k, p);
  const int rows = runs.beats / QUADS, all = runs.count * rows;
  Weights at = first_weights(k, 0, p.cols.tap);
  Seat to = {0, 0};
  int row = 0;
unload_row:
  for (int i = 0; i < all + (p.bias ? 1 : 0); ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=1 max=1024)
    const bool bias = i == all;
    const int slot = bias ? p.rows.taps * p.cols.taps : at.slot;
  unload_lane:
    for (int m = 0; m < T; ++m) {
      HLS(UNROLL)
      y[to.bank][to.word][m] = w[slot][bias ? 0 : k.depthwise ? m : at.row][m];
    }
    advance(to, 1);
    at.quad = QUADS - 1;
    advance(k, at);
    if (++row == rows) {
      row = 0;
      at.col = p.cols.tap * k.fold;
    }
  }
}

}  // namespace eft
