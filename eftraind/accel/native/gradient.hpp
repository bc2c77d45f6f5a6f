// CONV_WU: dw[m, n, kr, kc] = sum over images and pixels of x[n, r*stride + kr - top, ...] * dy[m, r, c].
// An item is (m tile, n tile, kernel row, block of input lanes); its sums over kernel columns stay
// in registers while one chunk of images or rows, small enough for L1, goes by. The chunks are the
// same for any number of threads, so the sums are, too.
#pragma once
#include "convolve.hpp"

namespace eft {
namespace {

constexpr int64_t CHUNK_WORDS = 4096;   // of one tile of x: with dy, 32 KB
constexpr int64_t LEAST_UNITS = 12;     // to share among threads; fewer items are cut in sections

struct Gradient {
  const float *x, *dy;
  Strides xs, ys;
  int images, rows_in, cols_in, rows_out, cols_out;
  int stride_rows, stride_cols, top, left;
  int m_tiles, n_tiles, fold, channels, lanes;
  int kernel_rows, kernel_cols;
  int lane_block, lane_blocks;
  bool bias;
  int64_t chunk_images, chunk_rows, row_chunks, chunks, sections;

  int64_t items() const { return int64_t(m_tiles) * n_tiles * kernel_rows * lane_blocks; }
  int64_t words() const {
    const int64_t w = int64_t(m_tiles) * n_tiles * kernel_rows * kernel_cols * lanes * T;
    return w + (bias ? m_tiles * T : 0);
  }
};

inline Gradient gradient_of(const Command& c) {
  Gradient g{};
  g.xs = input_strides(c), g.ys = output_strides(c);
  g.m_tiles = tiles(c.m), g.n_tiles = tiles(c.n);
  g.channels = c.n, g.lanes = c.lanes, g.bias = c.flags & FLAG_BIAS;
  if (spans_the_map(c)) {
    g.fold = c.kernel_rows * c.kernel_cols;
    g.n_tiles *= g.fold;
    g.images = g.rows_in = g.rows_out = g.kernel_rows = g.kernel_cols = 1;
    g.stride_rows = g.stride_cols = 1;
    g.cols_in = g.cols_out = c.images;
    g.xs = {0, c.lanes, 0, g.xs.image};
    g.ys = {0, T, 0, g.ys.image};
  } else {
    g.fold = 1;
    g.images = c.images;
    g.rows_in = c.rows_in, g.cols_in = c.cols_in, g.rows_out = c.rows_out, g.cols_out = c.cols_out;
    g.stride_rows = c.stride_rows, g.stride_cols = c.stride_cols;
    g.top = c.pad_top, g.left = c.pad_left;
    g.kernel_rows = c.kernel_rows, g.kernel_cols = c.kernel_cols;
  }
  // Neighbouring kernel columns share each broadcast input; alone, more lanes fit the registers.
  const bool shared = g.kernel_cols > 1 && g.stride_cols == 1;
  g.lane_block = shared || g.lanes % ACCUMULATORS ? ACCUMULATORS / 2 : ACCUMULATORS;
  g.lane_block = static_cast<int>(least(g.lane_block, T));
  g.lane_blocks = static_cast<int>(ceil_div(g.lanes, g.lane_block));
  const int64_t plane = most(int64_t(g.rows_out) * g.cols_out * T, 1);
  g.chunk_images = least(most(CHUNK_WORDS / plane, 1), g.images);
  g.chunk_rows = least(most(CHUNK_WORDS / (int64_t(g.cols_out) * T), 1), g.rows_out);
  g.row_chunks = ceil_div(g.rows_out, g.chunk_rows);
  g.chunks = ceil_div(g.images, g.chunk_images) * g.row_chunks;
  g.sections = least(ceil_div(LEAST_UNITS, g.items()), g.chunks);
  return g;
}

// Rows [r0, r1) of images [i0, i1) of the forward output.
struct Chunk {
  int64_t i0, i1, r0, r1;
  bool fresh;  // sums start here
};

// Kernel columns [kc, kc + G) and B lanes; d steps by one tap from kernel column to column.
template <int G, int B>
void accumulate(const Gradient& g, const Chunk& k, const float* x, const float* dy, float* d, int kr,
                int kc) {
  const int64_t tap = int64_t(g.lanes) * T;
  Vec acc[G][B];
  for (int i = 0; i < G; ++i) {
    for (int b = 0; b < B; ++b) acc[i][b] = k.fresh ? Vec{} : load(d + i * tap + b * T);
  }
  // o: output column that the first of the G taps joins to the input column at hand.
  const int64_t shift = g.left - kc;
  const int64_t low = most(ceil_div(shift, g.stride_cols), 0);
  const int64_t high = least(g.cols_out + G - 1, floor_div(g.cols_in - 1 + shift, g.stride_cols) + 1);
  const int64_t inner = least(most(low, G - 1), high), outer = most(least(high, g.cols_out), inner);
  const int64_t x_step = g.stride_cols * g.xs.col, y_step = g.ys.col;
  static const float nothing[T] = {};
  for (int64_t image = k.i0; image < k.i1; ++image) {
    for (int64_t r = k.r0; r < k.r1; ++r) {
      const int64_t row = r * g.stride_rows + kr - g.top;
      if (row < 0 || row >= g.rows_in) continue;
      const float* px = x + image * g.xs.image + row * g.xs.row + (low * g.stride_cols - shift) * g.xs.col;
      const float* py = dy + image * g.ys.image + r * g.ys.row;
      const auto pixel = [&](const float* const(&from)[G]) __attribute__((always_inline)) {
        Vec grad[G];
        EFT_UNROLL
        for (int i = 0; i < G; ++i) grad[i] = load(from[i]);
        EFT_UNROLL
        for (int b = 0; b < B; ++b) {
          const Vec in = splat(px[b]);
          EFT_UNROLL
          for (int i = 0; i < G; ++i) acc[i][b] += in * grad[i];
        }
        px += x_step;
      };
      const auto edge = [&](int64_t o) __attribute__((always_inline)) {
        const float* from[G];
        for (int i = 0; i < G; ++i) {
          from[i] = o - i >= 0 && o - i < g.cols_out ? py + (o - i) * y_step : nothing;
        }
        pixel(from);
      };
      int64_t o = low;
      for (; o < inner; ++o) edge(o);
      for (const float* q = py + o * y_step; o < outer; ++o, q += y_step) {
        const float* from[G];
        for (int i = 0; i < G; ++i) from[i] = q - i * y_step;
        pixel(from);
      }
      for (; o < high; ++o) edge(o);
    }
  }
  for (int i = 0; i < G; ++i) {
    for (int b = 0; b < B; ++b) store(d + i * tap + b * T, acc[i][b]);
  }
}

// One item, all kernel columns.
template <int B>
void accumulate_row(const Gradient& g, const Chunk& k, const float* x, const float* dy, float* d,
                    int kr) {
  const int64_t tap = int64_t(g.lanes) * T;
  int kc = 0;
  if constexpr (3 * B < 2 * ACCUMULATORS) {
    const bool shared = g.stride_cols == 1;
    for (; shared && g.kernel_cols - kc >= 3; kc += 3) accumulate<3, B>(g, k, x, dy, d + kc * tap, kr, kc);
    for (; shared && g.kernel_cols - kc >= 2; kc += 2) accumulate<2, B>(g, k, x, dy, d + kc * tap, kr, kc);
  }
  for (; kc < g.kernel_cols; ++kc) accumulate<1, B>(g, k, x, dy, d + kc * tap, kr, kc);
}

// The taps of a kernel row of a narrow input lie side by side: G columns of N channels are lanes of one
// row, and a dy serves them all.
template <int G, int N>
void accumulate_folded(const Gradient& g, const Chunk& k, const float* x, const float* dy, float* d, int kr, int kc) {
  Vec acc[G][N];
  for (int i = 0; i < G; ++i) {
    for (int n = 0; n < N; ++n) acc[i][n] = k.fresh ? Vec{} : load(d + (i * NARROW + n) * T);
  }
  // Output columns whose G taps all lie in the map.
  const int64_t shift = g.left - kc, step = g.stride_cols;
  const int64_t low = least(most(ceil_div(shift, step), 0), g.cols_out);
  const int64_t high = most(least(floor_div(g.cols_in - G + shift, step) + 1, g.cols_out), low);
  for (int64_t image = k.i0; image < k.i1; ++image) {
    for (int64_t r = k.r0; r < k.r1; ++r) {
      const int64_t row = r * g.stride_rows + kr - g.top;
      if (row < 0 || row >= g.rows_in) continue;
      const float* px = x + image * g.xs.image + row * g.xs.row;
      const float* py = dy + image * g.ys.image + r * g.ys.row;
      const auto edge = [&](int64_t o) __attribute__((always_inline)) {
        const Vec grad = load(py + o * T);
        for (int i = 0; i < G; ++i) {
          const int64_t col = o * step - shift + i;
          if (col < 0 || col >= g.cols_in) continue;
          for (int n = 0; n < N; ++n) acc[i][n] += splat(px[col * NARROW + n]) * grad;
        }
      };
      for (int64_t o = 0; o < low; ++o) edge(o);
      const float* from = px + (low * step - shift) * NARROW;
      for (int64_t o = low; o < high; ++o, from += step * NARROW) {
        const Vec grad = load(py + o * T);
        EFT_UNROLL
        for (int i = 0; i < G; ++i) {
          EFT_UNROLL
          for (int n = 0; n < N; ++n) acc[i][n] += splat(from[i * NARROW + n]) * grad;
        }
      }
      for (int64_t o = high; o < g.cols_out; ++o) edge(o);
    }
  }
  for (int i = 0; i < G; ++i) {
    for (int n = 0; n < N; ++n) store(d + (i * NARROW + n) * T, acc[i][n]);
  }
}

// All kernel columns of `channels` input channels, G at once.
template <int G, int N>
void accumulate_folded_row(const Gradient& g, const Chunk& k, const float* x, const float* dy, float* d, int kr,
                           int channels) {
  if constexpr (N > 1) {
    if (channels < N) return accumulate_folded_row<G, N - 1>(g, k, x, dy, d, kr, channels);
  }
  int kc = 0;
  for (; g.kernel_cols - kc >= G; kc += G) accumulate_folded<G, N>(g, k, x, dy, d + kc * NARROW * T, kr, kc);
  for (; g.kernel_cols - kc >= 2; kc += 2) accumulate_folded<2, N>(g, k, x, dy, d + kc * NARROW * T, kr, kc);
  for (; kc < g.kernel_cols; ++kc) accumulate_folded<1, N>(g, k, x, dy, d + kc * NARROW * T, kr, kc);
}

void accumulate_bias(const Gradient& g, const Chunk& k, const float* dy, float* d) {
  Vec sum = k.fresh ? Vec{} : load(d);
  for (int64_t image = k.i0; image < k.i1; ++image) {
    for (int64_t r = k.r0; r < k.r1; ++r) {
      const float* row = dy + image * g.ys.image + r * g.ys.row;
      for (int64_t c = 0; c < g.cols_out; ++c) sum += load(row + c * g.ys.col);
    }
  }
  store(d, sum);
}

// Padded input lanes of a block, of which the first `done` are summed.
inline void clear_lanes(const Gradient& g, float* d, int64_t lane, int64_t done) {
  const int64_t end = least(g.lane_block, g.lanes - lane);
  for (int kc = 0; kc < g.kernel_cols; ++kc) {
    for (int64_t i = done; i < end; ++i) store(d + (kc * g.lanes + i) * T, Vec{});
  }
}

// Items [items.begin, items.end) over one chunk into d, the whole gradient or a section's share.
inline void accumulate_chunk(const Gradient& g, const Chunk& k, Range items, float* d) {
  const int64_t tap = int64_t(g.lanes) * T;
  for (int64_t item = items.begin; item < items.end; ++item) {
    const int64_t lane = item % g.lane_blocks * g.lane_block;
    const int64_t kr = item / g.lane_blocks % g.kernel_rows;
    const int64_t n = item / g.lane_blocks / g.kernel_rows % g.n_tiles;
    const int64_t m = item / g.lane_blocks / g.kernel_rows / g.n_tiles;
    const float* x = g.x + n * g.xs.tile + lane;
    const float* dy = g.dy + m * g.ys.tile;
    float* to = d + ((m * g.n_tiles + n) * g.kernel_rows + kr) * g.kernel_cols * tap + lane * T;
    const int64_t lanes = least(least(g.lanes, g.channels - n / g.fold * g.lanes) - lane, g.lane_block);
    const int row = static_cast<int>(kr);
    if (T != NARROW && g.lanes == NARROW && g.fold == 1) {
      accumulate_folded_row<ACCUMULATORS >= 16 ? 3 : 2, NARROW>(g, k, x, dy, to, row, static_cast<int>(lanes));
    } else if (lanes > 8) {
      accumulate_row<ACCUMULATORS>(g, k, x, dy, to, row);
    } else if (lanes > 4) {
      accumulate_row<8>(g, k, x, dy, to, row);
    } else if (lanes > 0) {
      accumulate_row<4>(g, k, x, dy, to, row);
    }
    if (k.fresh) clear_lanes(g, to, lane, most(lanes, 0));
    if (g.bias && n == 0 && kr == 0 && lane == 0) {
      accumulate_bias(g, k, dy, d + g.words() - (g.m_tiles - m) * T);
    }
  }
}

inline Chunk chunk_of(const Gradient& g, int64_t index) {
  const int64_t image = index / g.row_chunks * g.chunk_images;
  const int64_t row = index % g.row_chunks * g.chunk_rows;
  return {image, least(image + g.chunk_images, g.images), row,
          least(row + g.chunk_rows, g.rows_out), false};
}

// Into dst, or each section into its share of the shared scratch.
inline void direct_wu(const Gradient& g, const Task& task, float* dst, bool add) {
  const int64_t items = g.items();
  const int64_t grain = ceil_div(items, ceil_div(6 * task.threads, g.sections));
  const int64_t cuts = ceil_div(items, grain);
  task.each(g.sections * cuts, 1, [&](Range unit, int) {
    const int64_t s = unit.begin / cuts, first = unit.begin % cuts * grain;
    float* d = g.sections == 1 ? dst : task.shared + s * g.words();
    const Range chunks = share(g.chunks, s, g.sections);
    for (int64_t i = chunks.begin; i < chunks.end; ++i) {
      Chunk chunk = chunk_of(g, i);
      chunk.fresh = i == chunks.begin && !(add && g.sections == 1);
      accumulate_chunk(g, chunk, {first, least(first + grain, items)}, d);
    }
  });
}

}  // namespace
}  // namespace eft
