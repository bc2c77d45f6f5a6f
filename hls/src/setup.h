// From a command to the work that `walk.h` does: axes, maps, tiles, what finishes a store.
#pragma once
#include "walk.h"

namespace eft {

// Pixels of a map that one window, or a row of them, looks at.
inline int seen_by(const Axis& window, int windows) {
  return least(window.in, (windows - 1) * window.stride + window.taps);
}

// Maximum pooling backward holds windows, and the pixels that they see, in half a feature buffer each.
inline Tiling windows_tiling(const Work& k) {
  const int room = X_DEPTH / 2;
  Tiling t = tiling_of(k.rows, k.cols, k.c.images, least(room, WINDOWS), Y_WORDS, room);
  t.fits = t.fits && t.tap_rows == k.rows.taps && t.tap_cols == k.cols.taps;
shrink:
  for (int i = 0; i < 48 && t.fits; ++i) {
    HLS(PIPELINE off)
    const int rows = seen_by(k.window_rows, most(1, inputs_of(k.rows, t.rows, k.rows.taps)));
    const int cols = seen_by(k.window_cols, most(1, inputs_of(k.cols, t.cols, k.cols.taps)));
    if (t.images * rows * cols <= room) return t;
    if (t.images > 1) t.images = ceil_div(t.images, 2);
    else if (t.rows > 1) t.rows = ceil_div(t.rows, 2);
    else if (t.cols > 1) t.cols = ceil_div(t.cols, 2);
    else t.fits = false;
  }
  return t;
}

// A gradient and its bias fit a weight buffer, and an output buffer on their way out.
constexpr int MOST_GRADIENT_TAPS = (PIXELS * Y_WORDS / T < W_DEPTH ? PIXELS * Y_WORDS / T : W_DEPTH) - 1;

static void setup_convolution(const Places& at, Work& k) {
  const Command& c = k.c;
  const bool back = c.op == OP_CONV_BP;
  const bool depthwise = c.groups > 1;
  const int fold = depthwise || c.lanes == T ? 1 : T / c.lanes;
  const Map x = map_of(c.op == OP_CONV_BP ? at.dst : at.src, c.n, c.rows_in, c.cols_in, c.lanes);
  const Map y = map_of(c.op == OP_CONV_FP ? at.dst : c.op == OP_CONV_WU ? at.aux : at.src, c.m, c.rows_out,
                       c.cols_out, T);
  k.kind = c.op == OP_CONV_WU ? GRADIENT : ARRAY;
  k.rows = axis_of(back ? c.rows_out : c.rows_in, back ? c.rows_in : c.rows_out, c.kernel_rows, c.stride_rows,
                   c.pad_top, 1, back);
  k.cols = axis_of(back ? c.cols_out : c.cols_in, back ? c.cols_in : c.cols_out, c.kernel_cols, c.stride_cols,
                   c.pad_left, fold, back);
  k.channelwise = depthwise;
  k.in = back ? y : x;
  k.second = y;
  k.out_tiles = back ? x.tiles : y.tiles;
  k.in_tiles = depthwise ? 1 : back ? y.tiles : x.tiles;
  k.kernel.place = c.op == OP_CONV_WU ? at.dst : at.weights;
  k.kernel.m_tiles = y.tiles;
  k.kernel.n_tiles = x.tiles;
  k.kernel.rows = c.kernel_rows;
  k.kernel.cols = c.kernel_cols;
  k.kernel.lanes = c.lanes;
  k.kernel.fold = fold;
  k.kernel.back = back;
  k.kernel.depthwise = depthwise;
  k.tiling = tiling_of(k.rows, k.cols, c.images, X_DEPTH, Y_WORDS, k.kind == GRADIENT ? MOST_GRADIENT_TAPS : W_DEPTH);
  if (k.kind == GRADIENT) {
    k.finish = plain_finish(c, at);
    return;
  }
  k.finish = finish_of(c, back ? x : y, at, back);
  k.finish.undone = undone(k.cols);
  k.finish.channels = k.finish.until = back ? c.n : c.m;
  k.finish.add_bias = c.op == OP_CONV_FP && has(c, FLAG_BIAS);
  k.finish.bias.beat = bias_beat(k.kernel, 0);
}

// Weights of an UPDATE are rows of a kernel that never ends.
static void setup_update(const Places& at, Work& k) {
  const Command& c = k.c;
  k.kind = WORDS;
  k.in = map_of(at.src, T, 1, 1, T);
  k.kernel.place = at.dst;
  k.kernel.m_tiles = k.kernel.n_tiles = k.kernel.rows = 1;
  k.kernel.cols = 1;
  k.kernel.lanes = T;
  k.kernel.fold = 1;
  k.kernel.back = k.kernel.depthwise = false;
  k.finish = plain_finish(c, at);
  k.tiling.fits = true;
}

static void setup_pool(const Places& at, Work& k) {
  const Command& c = k.c;
  const bool back = c.op == OP_POOL_BP || c.op == OP_AVG_BP;
  const bool mean = c.op == OP_AVG_FP || c.op == OP_AVG_BP;
  const Map x = map_of(c.op == OP_POOL_BP ? at.aux : back ? at.dst : at.src, c.n, c.rows_in, c.cols_in, c.lanes);
  const Map y = map_of(back ? at.src : at.dst, c.n, c.rows_out, c.cols_out, T);
  k.kind = mean ? ARRAY : back ? MAXIMUM_BACK : MAXIMUM;
  k.window_rows = axis_of(c.rows_in, c.rows_out, c.kernel_rows, c.stride_rows, c.pad_top, 1, false);
  k.window_cols = axis_of(c.cols_in, c.cols_out, c.kernel_cols, c.stride_cols, c.pad_left, 1, false);
  k.rows = back ? axis_of(c.rows_out, c.rows_in, c.kernel_rows, c.stride_rows, c.pad_top, 1, true) : k.window_rows;
  k.cols = back ? axis_of(c.cols_out, c.cols_in, c.kernel_cols, c.stride_cols, c.pad_left, 1, true) : k.window_cols;
  k.channelwise = k.unit = true;
  k.in = back ? y : x;
  k.second = x;
  k.in_tiles = 1;
  k.out_tiles = x.tiles;
  Map written = back ? x : y;
  written.place = at.dst;
  k.finish = finish_of(c, written, at, back);
  k.finish.undone = undone(k.cols);
  if (!back) k.finish.flags = 0;
  const bool counts_pad = !has(c, FLAG_EXCLUDE_PAD);
  k.finish.scale = mean && counts_pad ? 1.0f / static_cast<float>(c.kernel_rows * c.kernel_cols) : 1.0f;
  k.finish.slope = c.scalar * k.finish.scale;
  k.finish.by_window = c.op == OP_AVG_FP && !counts_pad;
  k.finish.rows = k.window_rows;
  k.finish.cols = k.window_cols;
  k.tiling = k.kind == MAXIMUM_BACK ? windows_tiling(k)
                                    : tiling_of(k.rows, k.cols, c.images, X_DEPTH, Y_WORDS, X_DEPTH);
}

static void setup_elements(const Places& at, uint32_t seed, Work& k) {
  const Command& c = k.c;
  const bool widens = c.op == OP_CONCAT_FP, narrows = c.op == OP_CONCAT_BP;
  const bool back = c.op == OP_PASS_BP || narrows || c.op == OP_DROP_BP || c.op == OP_BN_BP;
  k.kind = ELEMENTS;
  k.rows = axis_of(c.rows_in, c.rows_in, 1, 1, 0, 1, false);
  k.cols = axis_of(c.cols_in, c.cols_in, 1, 1, 0, 1, false);
  k.in = map_of(at.src, narrows ? c.m : c.n, c.rows_in, c.cols_in, T);
  k.second = map_of(at.aux, c.n, c.rows_in, c.cols_in, T);
  k.channelwise = true;
  k.in_tiles = 1;
  const Map written = map_of(at.dst, widens ? c.m : c.n, c.rows_in, c.cols_in, T);
  k.out_tiles = written.tiles;
  k.finish = finish_of(c, written, at, back);
  if (c.op == OP_DROP_FP || widens) k.finish.flags = 0;
  if (widens) {
    // Every piece also zeroes the lanes behind the last channel, in a tile that may not be its own.
    k.first_tile = c.axis / T;
    k.last_tile = (c.axis + c.n - 1) / T;
    k.out_tiles = k.last_tile - k.first_tile + (k.last_tile < written.tiles - 1 ? 2 : 1);
    k.finish.from = c.axis;
    k.finish.until = c.axis + c.n;
    k.finish.channels = c.m;
  }
  k.finish.drop = dropout_of(c, seed);
  k.vectors[0] = at.weights;
  k.vectors[1] = c.op == OP_BN_FP ? at.aux : at.extra;
  k.vectors[2] = behind(at.extra, 2 * tiles(c.n) * T);
  k.vector_pitch = tiles(c.n) * QUADS;
  k.tiling = tiling_of(k.rows, k.cols, c.images, PIXELS * Y_WORDS, joins(c) || k.finish.turn > 0 ? HALF : Y_WORDS, 1);
}

static bool is_convolution(int op) { return op == OP_CONV_FP || op == OP_CONV_BP || op == OP_CONV_WU; }
static bool is_pool(int op) { return op == OP_POOL_FP || op == OP_POOL_BP || op == OP_AVG_FP || op == OP_AVG_BP; }

inline bool steps(const Command& c) { return c.op == OP_UPDATE || has(c, FLAG_STEP); }

// `seed` is dropout's. `tiling.fits` tells whether the buffers can hold a tile.
static Work work_of(const Command& c, const Places& at, uint32_t seed) {
  Work k;
  k.c = c;
  k.step = no_step();
  k.step.on = steps(c);
  k.step.ahead = has(c, FLAG_NESTEROV);
  k.step.velocity = at.extra;
  k.unit = false;
  k.first_tile = 0;
  k.last_tile = 1 << 30;
  if (is_convolution(c.op)) {
    setup_convolution(at, k);
  } else if (is_pool(c.op)) {
    setup_pool(at, k);
  } else if (c.op == OP_UPDATE) {
    setup_update(at, k);
  } else {
    setup_elements(at, seed, k);
  }
  return k;
}

}  // namespace eft
