// CONV_FP, CONV_BP and CONV_WU of depthwise convolutions: each channel has a kernel of its own, and a
// lane is a channel, so a tap is one vector multiply-add. Weights: [m tile][kernel row][kernel column][T].
#pragma once
#include "correlate.hpp"

namespace eft {
namespace {

// One row of output pixels that meet the same taps, forward or backward (where a stride leaves
// output pixels of one phase only). Tap (a, b) joins output pixel q to the input pixel in row
// row + a*turn, column q*step + col + b*turn, by weight (kernel_row + a*skip_rows, kernel_col + b*skip_cols).
struct Sweep {
  const float* x;       // one plane
  int64_t x_row, x_col, lanes;
  int64_t cols;         // of the input
  int64_t row, col, turn, step;
  const float* w;       // of the first tap
  int64_t w_row, w_col; // between taps
  int64_t rows, taps;   // taps of one column, all inside; taps of one row, perhaps outside
  int64_t count;        // output pixels

  EFT_INLINE const float* pixel(int64_t a, int64_t b, int64_t q) const {
    return x + (row + a * turn) * x_row + (q * step + col + b * turn) * x_col;
  }
};

// P neighbouring output pixels, all of whose taps lie inside.
template <int P, class Put>
EFT_INLINE void sweep_block(const Sweep& s, int64_t q, Vec start, const Put& put) {
  Vec acc[P];
  EFT_UNROLL
  for (int p = 0; p < P; ++p) acc[p] = start;
  const int64_t step = s.step * s.x_col;
  for (int64_t a = 0; a < s.rows; ++a) {
    const float* from = s.pixel(a, 0, q);
    const float* w = s.w + a * s.w_row;
    for (int64_t b = 0; b < s.taps; ++b, from += s.turn * s.x_col, w += s.w_col) {
      const Vec weight = load(w);
      EFT_UNROLL
      for (int p = 0; p < P; ++p) acc[p] += load(from + p * step) * weight;
    }
  }
  EFT_UNROLL
  for (int p = 0; p < P; ++p) put(q + p, acc[p]);
}

template <class Put>
EFT_INLINE void sweep_edge(const Sweep& s, int64_t q, Vec start, const Put& put) {
  Vec acc = start;
  for (int64_t b = 0; b < s.taps; ++b) {
    const int64_t at = q * s.step + s.col + b * s.turn;
    if (at < 0 || at >= s.cols) continue;
    for (int64_t a = 0; a < s.rows; ++a) {
      acc += load_pixel(s.pixel(a, b, q), s.lanes) * load(s.w + a * s.w_row + b * s.w_col);
    }
  }
  put(q, acc);
}

template <class Put>
EFT_INLINE void sweep(const Sweep& s, Vec start, const Put& put) {
  // Pixels [first, last) have all their taps inside.
  const int64_t reach = (s.taps - 1) * s.turn;
  const int64_t low = s.col + least(reach, 0), high = s.col + most(reach, 0);
  int64_t first = most(ceil_div(-low, s.step), 0);
  int64_t last = floor_div(s.cols - 1 - high, s.step) + 1;
  if (s.lanes != T || s.taps == 0) last = 0;  // a narrow network input
  first = least(first, s.count), last = most(least(last, s.count), first);
  int64_t q = 0;
  for (; q < first; ++q) sweep_edge(s, q, start, put);
  for (; q + 8 <= last; q += 8) sweep_block<8>(s, q, start, put);
  for (; q + 4 <= last; q += 4) sweep_block<4>(s, q, start, put);
  for (; q < last; ++q) sweep_block<1>(s, q, start, put);
  for (; q < s.count; ++q) sweep_edge(s, q, start, put);
}

EFT_INLINE int64_t kernel_words(const Command& c) { return int64_t(c.kernel_rows) * c.kernel_cols * T; }

// Work shared by rows; small ones a few at a time.
template <class Work>
void each_row(const Task& task, int64_t rows, const Work& work) {
  task.each(rows, [&](Range mine, int) {
    for (int64_t i = mine.begin; i < mine.end; ++i) work(i);
  });
}

inline int depthwise_fp(const Task& task) {
  const Command& c = *task.command;
  const Strides xs = input_strides(c), ys = output_strides(c);
  const float* x = operand(task, c.src_slot, c.src_offset);
  const float* w = operand(task, c.weights_slot, c.weights_offset);
  float* dst = operand(task, c.dst_slot, c.dst_offset);
  const int64_t count = tiles(c.m);
  const float* bias = c.flags & FLAG_BIAS ? w + count * kernel_words(c) : nullptr;
  const Activation activation = activation_of(c);
  each_row(task, c.images * count * c.rows_out, [=](int64_t i) {
    const int64_t plane = i / c.rows_out, r = i % c.rows_out, tile = plane % count;
    const int64_t from = r * c.stride_rows - c.pad_top;
    const int64_t first = most(-from, 0), end = least(c.kernel_rows, c.rows_in - from);
    Sweep s{};
    s.x = x + plane * xs.tile, s.x_row = xs.row, s.x_col = xs.col, s.lanes = c.lanes, s.cols = c.cols_in;
    s.row = from + first, s.col = -c.pad_left, s.turn = 1, s.step = c.stride_cols;
    s.w_row = c.kernel_cols * T, s.w_col = T;
    s.w = w + tile * kernel_words(c) + first * s.w_row;
    s.rows = most(end - first, 0), s.taps = c.kernel_cols, s.count = c.cols_out;
    float* to = dst + plane * ys.tile + r * ys.row;
    const Activation then = activation;
    sweep(s, bias ? load(bias + tile * T) : Vec{}, [=](int64_t q, Vec v) __attribute__((always_inline)) {
      store(to + q * T, then.of(v));
    });
  });
  return STATUS_OK;
}

// Taps that meet one row or column of x, going backwards through a stride: the first output row
// (the last in order) is `from`, its tap `tap`; further ones lie `stride` taps on.
struct Met {
  int64_t from, tap, count;
};
EFT_INLINE Met met_by(int64_t at, int64_t pad, int64_t stride, int64_t kernel, int64_t outputs) {
  int64_t tap = (at + pad) % stride, from = (at + pad) / stride;
  if (from >= outputs) tap += (from - outputs + 1) * stride, from = outputs - 1;
  const int64_t count = tap < kernel ? least(ceil_div(kernel - tap, stride), from + 1) : 0;
  return {from, tap, count};
}

inline int depthwise_bp(const Task& task) {
  const Command& c = *task.command;
  const Strides xs = input_strides(c), ys = output_strides(c);
  const float* dy = operand(task, c.src_slot, c.src_offset);
  const float* w = operand(task, c.weights_slot, c.weights_offset);
  const int64_t count = tiles(c.m);
  const Sink sink = sink_of(task);
  each_row(task, c.images * count * c.rows_in, [=](int64_t i) {
    const int64_t plane = i / c.rows_in, r = i % c.rows_in;
    const Met rows = met_by(r, c.pad_top, c.stride_rows, c.kernel_rows, c.rows_out);
    Sweep s{};
    s.x = dy + plane * ys.tile, s.x_row = ys.row, s.x_col = T, s.lanes = T, s.cols = c.cols_out;
    s.row = rows.from, s.turn = -1, s.step = 1, s.rows = rows.count;
    s.w_row = int64_t(c.stride_rows) * c.kernel_cols * T, s.w_col = c.stride_cols * T;
    const float* kernel = w + plane % count * kernel_words(c) + rows.tap * c.kernel_cols * T;
    const Sink to = sink;
    for (int64_t phase = 0; phase < least(c.stride_cols, c.cols_in); ++phase) {
      const int64_t tap = (phase + c.pad_left) % c.stride_cols, step = c.stride_cols * T;
      s.col = (phase + c.pad_left) / c.stride_cols;
      s.w = kernel + tap * T;
      s.taps = tap < c.kernel_cols ? ceil_div(c.kernel_cols - tap, c.stride_cols) : 0;
      s.count = ceil_div(c.cols_in - phase, c.stride_cols);
      const int64_t at = plane * xs.tile + r * xs.row + phase * T;
      sweep(s, Vec{}, [=](int64_t q, Vec v) __attribute__((always_inline)) { to.put(at + q * step, v); });
    }
  });
  return STATUS_OK;
}

// Images that one part of the weight gradient sums: the same for any number of threads.
inline int64_t depthwise_parts(const Command& c) {
  return least(c.images, ceil_div(16, tiles(c.m)));
}
// Words of one tile's gradient: taps, then bias.
EFT_INLINE int64_t depthwise_words(const Command& c) { return kernel_words(c) + T; }

// G neighbouring taps of a kernel row, over one row of dy: d += sum of x * dy.
template <int G>
EFT_INLINE void depthwise_taps(const Command& c, const float* x, int64_t x_col, const float* dy, float* d,
                               int64_t kc) {
  const auto inside = [&](int64_t o, int64_t g) {
    const int64_t at = o * c.stride_cols + kc + g - c.pad_left;
    return at >= 0 && at < c.cols_in;
  };
  Vec acc[2][G] = {};
  const int64_t low = c.pad_left - kc;  // first column that meets the input, before the stride
  const int64_t first = least(most(ceil_div(low, c.stride_cols), 0), c.cols_out);
  const int64_t last = most(least(floor_div(c.cols_in - G + low, c.stride_cols) + 1, c.cols_out), first);
  const auto edge = [&](int64_t o) {
    for (int g = 0; g < G; ++g) {
      if (!inside(o, g)) continue;
      const float* from = x + (o * c.stride_cols - low + g) * x_col;
      acc[0][g] += load_pixel(from, x_col) * load(dy + o * T);
    }
  };
  int64_t o = 0;
  for (; o < first; ++o) edge(o);
  if (x_col == T) {
    const float* from = x + (o * c.stride_cols - low) * T;
    const int64_t step = c.stride_cols * T;
    for (; o + 2 <= last; o += 2, from += 2 * step) {
      EFT_UNROLL
      for (int k = 0; k < 2; ++k) {
        const Vec grad = load(dy + (o + k) * T);
        EFT_UNROLL
        for (int g = 0; g < G; ++g) acc[k][g] += load(from + k * step + g * T) * grad;
      }
    }
  }
  for (; o < c.cols_out; ++o) edge(o);
  for (int g = 0; g < G; ++g) store(d + g * T, load(d + g * T) + (acc[0][g] + acc[1][g]));
}

inline void depthwise_row(const Command& c, const float* x, int64_t x_col, const float* dy, float* d) {
  int64_t kc = 0;
  for (; kc + 3 <= c.kernel_cols; kc += 3) depthwise_taps<3>(c, x, x_col, dy, d + kc * T, kc);
  for (; kc < c.kernel_cols; ++kc) depthwise_taps<1>(c, x, x_col, dy, d + kc * T, kc);
}

// One tile of one image, added to d.
inline void depthwise_plane(const Command& c, const float* x, const Strides& xs, const float* dy, float* d) {
  for (int64_t r = 0; r < c.rows_out; ++r) {
    const float* row = dy + r * c.cols_out * T;
    for (int64_t kr = 0; kr < c.kernel_rows; ++kr) {
      const int64_t from = r * c.stride_rows + kr - c.pad_top;
      if (from < 0 || from >= c.rows_in) continue;
      depthwise_row(c, x + from * xs.row, xs.col, row, d + kr * c.kernel_cols * T);
    }
    if (!(c.flags & FLAG_BIAS)) continue;
    Vec sum = load(d + kernel_words(c));
    for (int64_t k = 0; k < c.cols_out; ++k) sum += load(row + k * T);
    store(d + kernel_words(c), sum);
  }
}

inline int depthwise_wu(const Task& task) {
  const Command& c = *task.command;
  const Strides xs = input_strides(c), ys = output_strides(c);
  const float* x = operand(task, c.src_slot, c.src_offset);
  const float* dy = operand(task, c.aux_slot, c.aux_offset);
  float* dst = operand(task, c.dst_slot, c.dst_offset);
  const int64_t count = tiles(c.m), parts = depthwise_parts(c), words = depthwise_words(c);
  task.each(count * parts, 1, [&](Range unit, int) {
    const int64_t tile = unit.begin / parts;
    float* d = task.shared + unit.begin * words;
    memset(d, 0, words * 4);
    const Range images = share(c.images, unit.begin % parts, parts);
    for (int64_t i = images.begin; i < images.end; ++i) {
      depthwise_plane(c, x + i * xs.image + tile * xs.tile, xs, dy + i * ys.image + tile * ys.tile, d);
    }
  });
  const int64_t kernel = kernel_words(c);
  for (int64_t tile = 0; tile < count; ++tile) {
    for (int64_t i = 0; i < (c.flags & FLAG_BIAS ? words : kernel); i += T) {
      float* to = i < kernel ? dst + tile * kernel + i : dst + count * kernel + tile * T;
      Vec sum = c.flags & FLAG_ACCUMULATE ? load(to) : Vec{};
      for (int64_t p = 0; p < parts; ++p) sum += load(task.shared + (tile * parts + p) * words + i);
      store(to, sum);
    }
  }
  return STATUS_OK;
}

}  // namespace
}  // namespace eft
