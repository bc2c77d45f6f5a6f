// CONV_FP and CONV_BP as correlations. A fully connected layer (its kernel spans the whole map) is
// a 1x1 convolution whose pixels are the images and whose input tiles are (tile, row, column).
#pragma once
#include "depthwise.hpp"

namespace eft {
namespace {

EFT_INLINE bool spans_the_map(const Command& c) {
  return c.rows_out == 1 && c.cols_out == 1 && c.pad_top == 0 && c.pad_left == 0 &&
         c.kernel_rows == c.rows_in && c.kernel_cols == c.cols_in;
}
EFT_INLINE int64_t weight_words(const Command& c) {
  return int64_t(tiles(c.m)) * tiles(c.n) * c.kernel_rows * c.kernel_cols * c.lanes * T;
}

// Images of a fully connected layer that are pixels of one row: all, unless their inputs would
// leave the caches.
constexpr int64_t FOLDED_IMAGES = 48;
inline int folded(const Command& c) {
  return static_cast<int>(ceil_div(c.images, ceil_div(c.images, FOLDED_IMAGES)));
}

inline Correlation forward(const Command& c) {
  Correlation j{};
  j.tiles_in = tiles(c.n);
  j.fold = 1;
  j.channels = c.n;
  j.lanes = j.lanes_w = c.lanes;
  j.spread_rows = j.spread_cols = j.step_rows = j.step_cols = 1;
  j.kernel_rows = j.kernel_cols = 1;
  j.xs = input_strides(c);
  j.ys = output_strides(c);
  j.tiles_out = tiles(c.m);
  if (spans_the_map(c)) {
    j.fold = c.kernel_rows * c.kernel_cols;
    j.tiles_in *= j.fold;
    j.images = j.rows_in = j.rows_out = 1;
    j.cols_in = j.cols_out = folded(c);
    j.xs = {0, c.lanes, 0, j.xs.image};
    j.ys = {0, T, 0, j.ys.image};
    return j;
  }
  j.images = c.images;
  j.rows_in = c.rows_in, j.cols_in = c.cols_in;
  j.rows_out = c.rows_out, j.cols_out = c.cols_out;
  j.step_rows = c.stride_rows, j.step_cols = c.stride_cols;
  j.top = c.pad_top, j.left = c.pad_left;
  j.kernel_rows = c.kernel_rows, j.kernel_cols = c.kernel_cols;
  return j;
}

// dy takes the part of x: kernel turned by half a turn, stride becomes spread.
inline Correlation backward(const Command& c) {
  Correlation j = forward(c);
  const Strides xs = j.xs;
  j.xs = j.ys, j.ys = xs;
  j.channels = c.m;
  j.lanes = j.lanes_w = T;
  j.tiles_out = j.tiles_in;
  j.tiles_in = tiles(c.m);
  j.fold = 1;
  if (spans_the_map(c)) return j;
  j.rows_in = c.rows_out, j.cols_in = c.cols_out;
  j.rows_out = c.rows_in, j.cols_out = c.cols_in;
  j.spread_rows = c.stride_rows, j.spread_cols = c.stride_cols;
  j.step_rows = j.step_cols = 1;
  j.top = c.kernel_rows - 1 - c.pad_top, j.left = c.kernel_cols - 1 - c.pad_left;
  return j;
}

// All images; those of a fully connected layer a row at a time.
inline void correlate_images(Correlation j, const Task& task) {
  const Command& c = *task.command;
  if (!spans_the_map(c)) return correlate(j, task);
  const Correlation whole = j;
  for (int first = 0; first < c.images; first += whole.cols_out) {
    j.x = whole.x + first * whole.xs.col;
    j.y = whole.y + first * whole.ys.col;
    if (whole.mask) j.mask = whole.mask + first * whole.ys.col;
    j.cols_in = j.cols_out = static_cast<int>(least(whole.cols_out, c.images - first));
    correlate(j, task);
  }
}

inline int conv_fp(const Task& task) {
  const Command& c = *task.command;
  if (c.groups > 1) return depthwise_fp(task);
  Correlation j = forward(c);
  j.x = operand(task, c.src_slot, c.src_offset);
  j.w = operand(task, c.weights_slot, c.weights_offset);
  j.y = operand(task, c.dst_slot, c.dst_offset);
  j.bias = c.flags & FLAG_BIAS ? j.w + weight_words(c) : nullptr;
  j.activation = activation_of(c);
  correlate_images(j, task);
  return STATUS_OK;
}

// Exchanges blocks of S lanes between registers S apart: log2(T) rounds of this transpose T x T.
template <int S, int... I>
EFT_INLINE void exchange(Vec* v, Indices<I...>) {
  EFT_UNROLL
  for (int i = 0; i < T; ++i) {
    if (i & S) continue;
    const Vec a = v[i], b = v[i + S];
    v[i] = pick<(I & S ? T + I - S : I)...>(a, b);
    v[i + S] = pick<(I & S ? T + I : I + S)...>(a, b);
  }
  if constexpr (S > 1) exchange<S / 2>(v, Indices<I...>{});
}

// to[m][n] = from[n][m]
EFT_INLINE void transpose(const float* from, float* to) {
  Vec v[T];
  EFT_UNROLL
  for (int i = 0; i < T; ++i) v[i] = load(from + i * T);
  exchange<T / 2>(v, FirstIndices<T>::Type{});
  EFT_UNROLL
  for (int i = 0; i < T; ++i) store(to + i * T, v[i]);
}

// Weights as CONV_BP reads them: input and output tiles exchanged, taps turned, tiles transposed.
inline void turn_weights(const Task& task) {
  const Command& c = *task.command;
  const float* w = operand(task, c.weights_slot, c.weights_offset);
  const int mt = tiles(c.m), nt = tiles(c.n), kernel = c.kernel_rows * c.kernel_cols;
  const bool spans = spans_the_map(c);
  task.each(int64_t(mt) * nt * kernel, [&](Range r, int) {
    for (int64_t i = r.begin; i < r.end; ++i) {
      const int64_t m = i / kernel / nt, n = i / kernel % nt, k = i % kernel;
      const int64_t at = spans ? (n * kernel + k) * mt + m : (n * mt + m) * kernel + kernel - 1 - k;
      transpose(w + i * T * T, task.shared + at * T * T);
    }
  });
}

inline int conv_bp(const Task& task) {
  const Command& c = *task.command;
  if (c.groups > 1) return depthwise_bp(task);
  turn_weights(task);
  Correlation j = backward(c);
  j.x = operand(task, c.src_slot, c.src_offset);
  j.w = task.shared;
  j.y = operand(task, c.dst_slot, c.dst_offset);
  j.mask = c.flags & FLAG_MASK ? operand(task, c.aux_slot, c.aux_offset) : nullptr;
  j.undo = masked_of(c);
  j.add = c.flags & FLAG_ACCUMULATE;
  correlate_images(j, task);
  return STATUS_OK;
}

}  // namespace
}  // namespace eft
