// The correlation that both CONV_FP and CONV_BP are:
//   y[m, r, c] = bias[m] + sum over n, kr, kc of w[m, n, kr, kc] * x[n, r*step + kr, c*step + kc]
// Output pixels of one m tile stay in registers over all input tiles and taps. An input pixel that
// is broadcast once serves up to three neighbouring taps, so multiply-adds, not loads, set the pace.
#pragma once
#include "activate.hpp"

namespace eft {
namespace {

// Words between neighbours in each dimension of a map.
struct Strides {
  int64_t image, tile, row, col;
};

EFT_INLINE Strides map_strides(int channels, int rows, int cols, int lanes) {
  const int64_t row = int64_t(cols) * lanes, tile = row * rows;
  return {tile * tiles(channels), tile, row, lanes};
}
EFT_INLINE Strides input_strides(const Command& c) {
  return map_strides(c.n, c.rows_in, c.cols_in, c.lanes);
}
EFT_INLINE Strides output_strides(const Command& c) {
  return map_strides(c.m, c.rows_out, c.cols_out, T);
}

struct Correlation {
  const float* x;
  Strides xs;
  int images, tiles_in, rows_in, cols_in;
  int fold;            // input tiles per channel tile: kernel taps of a fully connected layer
  int channels, lanes; // true input channels; lanes of an input pixel
  int step_rows, step_cols;
  int top, left;       // padding, negative to crop
  int kernel_rows, kernel_cols;
  const float* w;      // [m tile][n tile][kernel row][kernel column][lanes_w][T]
  int lanes_w;
  bool turn;           // w is as the forward command has it: tiles exchanged, transposed, taps turned
  float* y;
  Strides ys;
  int tiles_out, rows_out, cols_out;
  const float* bias;   // or null
  const float* mask;   // laid out as y: the map whose activation is undone; or null
  Activation activation, undo;
  bool add;            // to what y holds

  // True channels of an input tile: padded lanes cost nothing.
  int channels_of(int tile) const {
    return static_cast<int>(least(lanes, channels - tile / fold * lanes));
  }
};

// Input with its halo, one row block, in this thread's scratch: [tile][row][column phase][lanes].
// Columns of a strided kernel are sorted by phase, so neighbouring output pixels stay neighbours.
struct Window {
  const float* x;
  int64_t tile, row, phase, col;
};

// Pixels of a network input of few channels stay close together: the taps of a kernel row, folded into
// one row of lanes.
constexpr int NARROW = 4;
EFT_INLINE bool narrow(const Correlation& j) { return T != NARROW && j.lanes == NARROW; }
EFT_INLINE int64_t window_lanes(const Correlation& j) { return narrow(j) ? NARROW : T; }

EFT_INLINE int64_t window_cols(const Correlation& j) {
  return ceil_div((j.cols_out - 1) * int64_t(j.step_cols) + j.kernel_cols, j.step_cols);
}
EFT_INLINE int64_t window_row_words(const Correlation& j) {
  return window_cols(j) * j.step_cols * window_lanes(j);
}

EFT_INLINE bool readable_in_place(const Correlation& j) {
  return j.xs.col == window_lanes(j) && j.step_cols == 1 && j.top == 0 && j.left == 0 &&
         (j.rows_out - 1) * j.step_rows + j.kernel_rows <= j.rows_in &&
         j.cols_out - 1 + j.kernel_cols <= j.cols_in;
}

inline void copy_pixel(float* to, const float* from, int64_t lanes) {
  if (lanes == T) {
    store(to, load(from));
  } else {
    for (int i = 0; i < lanes; i += 4) memcpy(to + i, from + i, 16);
  }
}

// Columns phase, phase + step, ... of a padded row; phases that no tap meets stay as they are.
inline void fill_row(const Correlation& j, const float* x, float* out) {
  const int64_t cols = window_cols(j), step = j.step_cols, lanes = window_lanes(j);
  for (int64_t phase = 0; phase < least(step, j.kernel_cols); ++phase, out += cols * lanes) {
    const int64_t low = ceil_div(j.left - phase, step);
    const int64_t first = least(most(low, 0), cols);
    const int64_t last = most(least(floor_div(j.cols_in - 1 + j.left - phase, step) + 1, cols), first);
    memset(out, 0, first * lanes * 4);
    const float* from = x + (first * step + phase - j.left) * j.xs.col;
    for (int64_t c = first; c < last; ++c, from += step * j.xs.col) copy_pixel(out + c * lanes, from, j.lanes);
    memset(out + last * lanes, 0, (cols - last) * lanes * 4);
  }
}

// Rows [first, last) of the output need these input rows.
inline Window fill_window(const Correlation& j, int64_t image, int64_t first, int64_t last,
                          float* scratch) {
  const float* x = j.x + image * j.xs.image;
  if (readable_in_place(j)) return {x + first * j.step_rows * j.xs.row, j.xs.tile, j.xs.row, 0, j.xs.col};
  const int64_t width = window_row_words(j);
  const int64_t rows = (last - 1 - first) * j.step_rows + j.kernel_rows;
  for (int tile = 0; tile < j.tiles_in; ++tile) {
    for (int64_t r = 0; r < rows; ++r) {
      if (r % j.step_rows >= j.kernel_rows) continue;  // no tap meets it
      float* out = scratch + (tile * rows + r) * width;
      const int64_t from = first * j.step_rows + r - j.top;
      if (from >= 0 && from < j.rows_in) {
        fill_row(j, x + tile * j.xs.tile + from * j.xs.row, out);
      } else {
        memset(out, 0, width * 4);
      }
    }
  }
  return {scratch, rows * width, width, window_cols(j) * window_lanes(j), window_lanes(j)};
}

// G neighbouring taps of all n channels of one tile, into R rows of P pixels of L lanes.
template <int P, int R, int G, int L = T>
EFT_INLINE void taps(Vec (&acc)[R][P], const float* x, int64_t x_row, const float* w, int64_t w_tap,
                     int n) {
  for (int i = 0; i < n; ++i, ++x, w += T) {
    Vec weight[G];
    EFT_UNROLL
    for (int g = 0; g < G; ++g) weight[g] = load(w + g * w_tap);
    EFT_UNROLL
    for (int r = 0; r < R; ++r) {
      _Pragma("GCC unroll 32")
      for (int c = 0; c < P + G - 1; ++c) {
        const Vec pixel = splat(x[r * x_row + c * L]);
        EFT_UNROLL
        for (int g = 0; g < G; ++g) {
          if (c - g >= 0 && c - g < P) acc[r][c - g] += pixel * weight[g];
        }
      }
    }
  }
}

// Input tiles [begin, end): few enough that their weights stay in the L1 cache while all pixels of a
// window go by. Sums wait in y for the next group.
struct Group {
  int begin, end;
};

// R x P output pixels of one m tile; x is the window's first pixel under the block's first tap.
template <int P, int R>
void block(const Correlation& j, const Window& v, Group group, const float* x, const float* w,
           const float* bias, float* y, const float* mask) {
  Vec acc[R][P];
  const Vec start = bias ? load(bias) : Vec{};
  for (int r = 0; r < R; ++r) {
    for (int p = 0; p < P; ++p) {
      acc[r][p] = group.begin == 0 ? start : load(y + r * j.ys.row + p * j.ys.col);
    }
  }
  const int64_t tap = int64_t(j.lanes_w) * T;
  const int64_t step = j.step_cols * tap;
  const int64_t x_row = j.step_rows * v.row;
  for (int tile = group.begin; tile < group.end; ++tile) {
    const int n = j.channels_of(tile);
    for (int kr = 0; kr < j.kernel_rows; ++kr, w += j.kernel_cols * tap) {
      for (int phase = 0; phase < j.step_cols && phase < j.kernel_cols; ++phase) {
        const float* from = x + tile * v.tile + kr * v.row + phase * v.phase;
        const float* weight = w + phase * tap;
        int left = static_cast<int>(ceil_div(j.kernel_cols - phase, j.step_cols));
        if (narrow(j)) {
          for (; left > 0; --left, from += NARROW, weight += step) {
            taps<P, R, 1, NARROW>(acc, from, x_row, weight, step, n);
          }
        }
        for (; left >= 3; left -= 3, from += 3 * T, weight += 3 * step) {
          taps<P, R, 3>(acc, from, x_row, weight, step, n);
        }
        if (left == 2) {
          taps<P, R, 2>(acc, from, x_row, weight, step, n);
        } else if (left == 1) {
          taps<P, R, 1>(acc, from, x_row, weight, step, n);
        }
      }
    }
  }
  EFT_UNROLL
  for (int r = 0; r < R; ++r) {
    EFT_UNROLL
    for (int p = 0; p < P; ++p) {
      Vec out = acc[r][p];
      const int64_t at = r * j.ys.row + p * j.ys.col;
      if (group.end < j.tiles_in) {
        store(y + at, out);
        continue;
      }
      if (j.activation.kind != LINEAR) out = j.activation.of(out);
      if (mask) out = j.undo.undone(out, load(mask + at));
      if (j.add) out += load(y + at);
      store(y + at, out);
    }
  }
}

using Block = void (*)(const Correlation&, const Window&, Group, const float*, const float*,
                       const float*, float*, const float*);

// Blocks by width: one row of P pixels, and as many rows (at most 4) as the registers hold.
constexpr int rows_of(int p) {
  return ACCUMULATORS / p >= 4 ? 4 : ACCUMULATORS / p >= 1 ? ACCUMULATORS / p : 1;
}
struct Blocks {
  Block one[ACCUMULATORS + 1], tall[ACCUMULATORS + 1];
};
template <int P>
constexpr void add_blocks(Blocks& blocks) {
  blocks.one[P] = block<P, 1>;
  blocks.tall[P] = block<P, rows_of(P)>;
  if constexpr (P > 1) add_blocks<P - 1>(blocks);
}
constexpr Blocks make_blocks() {
  Blocks blocks{};
  add_blocks<ACCUMULATORS>(blocks);
  return blocks;
}
constexpr Blocks BLOCKS = make_blocks();

struct Shape {
  int cols, rows;
};

// The block that covers the map with the least work. The last block of a row overlaps its
// neighbour rather than being narrower: computing a pixel twice gives the same bits (unless it is
// added to what is there).
inline Shape choose_block(int rows, int cols) {
  Shape best{1, 1};
  int64_t least_cost = INT64_MAX;
  for (int p = 1; p <= ACCUMULATORS && p <= cols; ++p) {
    for (int r = 1; r <= rows_of(p) && r <= rows; r += most(rows_of(p) - 1, 1)) {
      // Fewer than 8 accumulators wait for each other; each block costs a few more for its ends.
      const int64_t cost = ceil_div(cols, p) * ceil_div(rows, r) * (most(p * r, 8) + 1);
      if (cost <= least_cost) {
        least_cost = cost;
        best = {p, r};
      }
    }
  }
  return best;
}

// Rows of output whose window fits the scratch that a thread is given.
constexpr int64_t WINDOW_WORDS = 256 * 1024;
inline int window_rows(const Correlation& j) {
  const int64_t row = j.tiles_in * window_row_words(j);
  const int64_t fit = (WINDOW_WORDS / row - j.kernel_rows) / j.step_rows + 1;
  return static_cast<int>(least(most(fit, rows_of(1)), j.rows_out));
}
inline int64_t window_words(const Correlation& j) {
  if (readable_in_place(j)) return 0;
  const int64_t rows = int64_t(window_rows(j) - 1) * j.step_rows + j.kernel_rows;
  return j.tiles_in * rows * window_row_words(j);
}

// Weights of one m tile and one input tile.
EFT_INLINE int64_t tile_words(const Correlation& j) {
  return int64_t(j.kernel_rows) * j.kernel_cols * j.lanes_w * T;
}

// Input tiles of a group: all, unless their weights would leave L1 again and again.
constexpr int64_t GROUP_WORDS = 5 * 1024;
inline int group_tiles(const Correlation& j, Shape shape, int64_t rows) {
  const int64_t blocks = ceil_div(rows, shape.rows) * ceil_div(j.cols_out, shape.cols);
  if (j.add || blocks < 4 || j.tiles_in * tile_words(j) < 2 * GROUP_WORDS) return j.tiles_in;
  return static_cast<int>(most(GROUP_WORDS / tile_words(j), 1));
}

// All pixels of some rows of one m tile, by one group of input tiles.
inline void correlate_tile(const Correlation& j, Shape shape, const Window& v, Group group, Range rows,
                           const float* w, const float* bias, int64_t at) {
  // What is read and written again must not be met twice.
  const bool once = j.add || group.end - group.begin < j.tiles_in;
  const int64_t first = rows.begin, last = rows.end;
  for (int64_t r = first; r < last;) {
    bool tall = shape.rows > 1 && last - first >= shape.rows;
    if (tall && r + shape.rows > last) {
      if (once) tall = false; else r = last - shape.rows;
    }
    for (int c = 0, cols = shape.cols; c < j.cols_out; c += cols) {
      if (c + cols > j.cols_out) {
        if (once) cols = j.cols_out - c; else c = j.cols_out - cols;
      }
      const bool whole = tall && cols == shape.cols;
      for (int i = 0; i < (tall && !whole ? shape.rows : 1); ++i) {
        const int64_t out = at + (r + i) * j.ys.row + c * j.ys.col;
        const float* x = v.x + (r + i - first) * j.step_rows * v.row + c * v.col;
        (whole ? BLOCKS.tall : BLOCKS.one)[cols](j, v, group, x, w, bias, j.y + out,
                                                 j.mask ? j.mask + out : nullptr);
      }
    }
    r += tall ? shape.rows : 1;
  }
}

inline void correlate_rows(const Correlation& j, Shape shape, Range m, int64_t image, Range rows,
                           float* scratch) {
  const Window v = fill_window(j, image, rows.begin, rows.end, scratch);
  const int step = group_tiles(j, shape, rows.end - rows.begin);
  for (int64_t tile = m.begin; tile < m.end; ++tile) {
    const float* w = j.w + tile * j.tiles_in * tile_words(j);
    const float* bias = j.bias ? j.bias + tile * T : nullptr;
    const int64_t at = image * j.ys.image + tile * j.ys.tile;
    for (int n = 0; n < j.tiles_in; n += step) {
      const Group group = {n, static_cast<int>(least(n + step, j.tiles_in))};
      correlate_tile(j, shape, v, group, rows, w + n * tile_words(j), bias, at);
    }
  }
}

// A unit is some rows of one image and some m tiles. Windows set the least number of row cuts. Where
// these are too few to share, weights that outweigh the map are cut (each unit then reads its own
// part of them, and fills the window anew), else rows are.
inline void correlate(const Correlation& j, const Task& task) {
  const Shape shape = choose_block(j.rows_out, j.cols_out);
  const int64_t groups = ceil_div(j.rows_out, shape.rows);
  int64_t grain = most(window_rows(j) / shape.rows, 1);
  const auto missing = [&] {
    return task.threads == 1 ? 1 : ceil_div(2 * task.threads, j.images * ceil_div(groups, grain));
  };
  const int64_t weights = j.tiles_out * j.tiles_in * tile_words(j);
  const int64_t map = j.tiles_in * int64_t(j.rows_in) * j.cols_in * T;
  if (weights <= map) grain = ceil_div(groups, ceil_div(groups, grain) * missing());
  const int64_t cuts = ceil_div(groups, grain), m_cuts = least(missing(), j.tiles_out);
  task.each(j.images * cuts * m_cuts, 1, [&](Range unit, int thread) {
    for (int64_t i = unit.begin; i < unit.end; ++i) {
      const int64_t first = i / m_cuts % cuts * grain * shape.rows;
      const Range rows = {first, least(first + grain * shape.rows, j.rows_out)};
      const Range m = share(j.tiles_out, i % m_cuts, m_cuts);
      correlate_rows(j, shape, m, i / m_cuts / cuts, rows, task.scratch_of(thread));
    }
  });
}

}  // namespace
}  // namespace eft
