// CONV_FP and CONV_BP as correlations. A fully connected layer (its kernel spans the whole map) is
// a 1x1 convolution whose pixels are the images and whose input tiles are (tile, row, column).
#pragma once
#include "depthwise.hpp"
#include "winograd.hpp"

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
  j.step_rows = j.step_cols = 1;
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

// Backwards through a stride, the pixels of x whose row and column leave the same remainder meet the
// same taps: each such phase is a dense correlation of its own, with the taps from `first` on, a stride
// apart, turned by half a turn.
struct Phase {
  int64_t first, taps;  // of the kernel
  int64_t begin, count; // pixels of x, a stride apart
  int64_t pad;          // before dy
};
inline Phase phase_of(int64_t phase, int64_t size, int64_t pad, int64_t stride, int64_t kernel) {
  const int64_t first = (phase + pad) % stride;
  const int64_t taps = first < kernel ? ceil_div(kernel - first, stride) : 0;
  return {first, taps, phase, ceil_div(size - phase, stride), taps - 1 - (phase + pad) / stride};
}
inline Phase row_phase(const Command& c, int64_t phase) {
  return phase_of(phase, c.rows_in, c.pad_top, c.stride_rows, c.kernel_rows);
}
inline Phase col_phase(const Command& c, int64_t phase) {
  return phase_of(phase, c.cols_in, c.pad_left, c.stride_cols, c.kernel_cols);
}

// dy takes the part of x.
inline Correlation backward(const Command& c, const Phase& rows, const Phase& cols) {
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
  j.step_rows = j.step_cols = 1;
  j.rows_out = static_cast<int>(rows.count), j.cols_out = static_cast<int>(cols.count);
  j.kernel_rows = static_cast<int>(rows.taps), j.kernel_cols = static_cast<int>(cols.taps);
  j.top = static_cast<int>(rows.pad), j.left = static_cast<int>(cols.pad);
  j.ys.row *= c.stride_rows, j.ys.col *= c.stride_cols;
  return j;
}

inline int64_t scratch_words(const Correlation& j) {
  return suits_winograd(j) ? winograd_of(j, 1).words(j) : window_words(j);
}

// All images; those of a fully connected layer a row at a time.
inline void correlate_images(Correlation j, const Task& task) {
  const Command& c = *task.command;
  if (suits_winograd(j)) return winograd(j, task);
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

// Weights as a phase of CONV_BP reads them: input and output tiles exchanged, taps turned, tiles
// transposed.
inline void turn_weights(const Task& task, const Phase& rows, const Phase& cols, float* to) {
  const Command& c = *task.command;
  const float* w = operand(task, c.weights_slot, c.weights_offset);
  const bool spans = spans_the_map(c);
  const int64_t mt = tiles(c.m), nt = tiles(c.n), whole = int64_t(c.kernel_rows) * c.kernel_cols;
  const int64_t taps = spans ? whole : rows.taps * cols.taps;
  task.each(mt * nt * taps, [=](Range r, int) {
    for (int64_t i = r.begin; i < r.end; ++i) {
      const int64_t m = i / taps / nt, n = i / taps % nt, k = i % taps;
      const int64_t row = rows.first + k / most(cols.taps, 1) * c.stride_rows;
      const int64_t col = cols.first + k % most(cols.taps, 1) * c.stride_cols;
      const int64_t tap = spans ? k : row * c.kernel_cols + col;
      const int64_t at = spans ? (n * whole + k) * mt + m : (n * mt + m) * taps + taps - 1 - k;
      transpose(w + ((m * nt + n) * whole + tap) * T * T, to + at * T * T);
    }
  });
}

// Pixels that no tap meets: their gradient is 0.
inline void clear_phase(const Correlation& j, const Task& task) {
  if (j.add) return;
  task.each(int64_t(j.images) * j.tiles_out, [&](Range r, int) {
    for (int64_t i = r.begin; i < r.end; ++i) {
      float* y = j.y + i / j.tiles_out * j.ys.image + i % j.tiles_out * j.ys.tile;
      for (int64_t row = 0; row < j.rows_out; ++row) {
        for (int64_t col = 0; col < j.cols_out; ++col) store(y + row * j.ys.row + col * j.ys.col, Vec{});
      }
    }
  });
}

inline int conv_bp(const Task& task) {
  const Command& c = *task.command;
  if (c.groups > 1) return depthwise_bp(task);
  const int64_t strides[2] = {spans_the_map(c) ? 1 : least(c.stride_rows, c.rows_in),
                              spans_the_map(c) ? 1 : least(c.stride_cols, c.cols_in)};
  float* turned = task.shared;
  for (int64_t phase = 0; phase < strides[0] * strides[1]; ++phase) {
    const Phase rows = row_phase(c, phase / strides[1]), cols = col_phase(c, phase % strides[1]);
    Correlation j = backward(c, rows, cols);
    const int64_t at = rows.begin * c.cols_in * T + cols.begin * T;
    j.x = operand(task, c.src_slot, c.src_offset);
    j.w = turned;
    j.y = operand(task, c.dst_slot, c.dst_offset) + at;
    j.mask = c.flags & FLAG_MASK ? operand(task, c.aux_slot, c.aux_offset) + at : nullptr;
    j.undo = masked_of(c);
    j.add = c.flags & FLAG_ACCUMULATE;
    if (!spans_the_map(c) && rows.taps * cols.taps == 0) {
      clear_phase(j, task);
      continue;
    }
    if (suits_winograd(j) && winograd_of(j, task.threads).cuts == 1) {
      j.w = operand(task, c.weights_slot, c.weights_offset);
      j.turn = true;
      winograd(j, task);
      continue;
    }
    turn_weights(task, rows, cols, turned);
    turned += weight_words(c) / (int64_t(c.kernel_rows) * c.kernel_cols) * rows.taps * cols.taps;
    correlate_images(j, task);
  }
  return STATUS_OK;
}

// Words of one thread's scratch, the most of all phases.
inline int64_t backward_scratch_words(const Command& c) {
  int64_t words = 0;
  for (int64_t r = 0; r < least(c.stride_rows, c.rows_in); ++r) {
    for (int64_t k = 0; k < least(c.stride_cols, c.cols_in); ++k) {
      const Phase rows = row_phase(c, r), cols = col_phase(c, k);
      if (rows.taps * cols.taps || spans_the_map(c)) {
        words = most(words, scratch_words(backward(c, rows, cols)));
      }
    }
  }
  return words;
}

}  // namespace
}  // namespace eft
