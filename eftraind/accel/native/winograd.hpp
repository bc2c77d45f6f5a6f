// Winograd's transforms F(2x2, 3x3), as Lavin and Gray (2016) use them: a patch of 4 x 4 inputs gives
// 2 x 2 outputs with 16 multiplications where sums over 3 x 3 taps take 36. Everything here works on
// vectors of T channels; a point is one of the 16 places of a transformed patch.
#pragma once
#include "correlate.hpp"
#include "transpose.hpp"

namespace eft {
namespace {

constexpr int POINTS = 16;
// Points lie a cache line more than their words apart: at powers of two they would all want the same
// lines of L1.
constexpr int64_t APART = 16;

// Patches of all images of a map whose stride is 1, numbered through.
struct Patches {
  int64_t rows, cols, images;

  int64_t of_image() const { return rows * cols; }
  int64_t total() const { return images * rows * cols; }
};
inline Patches patches_of(int64_t images, int64_t rows_out, int64_t cols_out) {
  return {ceil_div(rows_out, 2), ceil_div(cols_out, 2), images};
}

// Patches [begin, end), a row of them at a time: work(number, image, patch row, patch column).
template <class Work>
EFT_INLINE void each_patch_row(const Patches& all, Range range, const Work& work) {
  for (int64_t i = range.begin; i < range.end;) {
    const int64_t row = i / all.cols, first = i % all.cols;
    const int64_t count = least(all.cols - first, range.end - i);
    work(i - range.begin, count, row / all.rows, row % all.rows, first);
    i += count;
  }
}

// B' d B. A patch shares two columns with its neighbour, so each column is met once.
struct MapPart {
  const float* x;  // one tile of one image
  int64_t row, col;
  int rows, cols, top, left;
};
inline void transform_inputs(const MapPart& m, int64_t patch_row, int64_t first, int64_t count, float* to,
                             int64_t to_point) {
  static const float nothing[T] = {};
  const float* from[4];
  int64_t step[4];
  for (int k = 0; k < 4; ++k) {
    const int64_t row = 2 * patch_row - m.top + k;
    const bool inside = row >= 0 && row < m.rows;
    from[k] = inside ? m.x + row * m.row : nothing;
    step[k] = inside ? m.col : 0;
  }
  const auto column = [&](int64_t at, Vec(&out)[4]) __attribute__((always_inline)) {
    if (at < 0 || at >= m.cols) {
      for (int k = 0; k < 4; ++k) out[k] = Vec{};
      return;
    }
    const Vec d0 = load(from[0] + at * step[0]), d1 = load(from[1] + at * step[1]);
    const Vec d2 = load(from[2] + at * step[2]), d3 = load(from[3] + at * step[3]);
    out[0] = d0 - d2, out[1] = d1 + d2, out[2] = d2 - d1, out[3] = d1 - d3;
  };
  int64_t at = 2 * first - m.left;
  Vec a[4], b[4], c[4], d[4];
  column(at, a), column(at + 1, b);
  for (int64_t i = 0; i < count; ++i, to += T) {
    at += 2;
    column(at, c), column(at + 1, d);
    EFT_UNROLL
    for (int k = 0; k < 4; ++k) {
      float* point = to + 4 * k * to_point;
      store(point, a[k] - c[k]);
      store(point + to_point, b[k] + c[k]);
      store(point + 2 * to_point, c[k] - b[k]);
      store(point + 3 * to_point, b[k] - d[k]);
      a[k] = c[k], b[k] = d[k];
    }
  }
}

// G g G': nine taps, `from_tap` words apart, to 16 points.
EFT_INLINE void transform_weight(const float* from, int64_t from_tap, float* to, int64_t to_point) {
  Vec t[4][3];
  EFT_UNROLL
  for (int c = 0; c < 3; ++c) {
    const Vec a = load(from + c * from_tap), b = load(from + (3 + c) * from_tap),
              d = load(from + (6 + c) * from_tap);
    const Vec ends = (a + d) * splat(0.5f), middle = b * splat(0.5f);
    t[0][c] = a, t[1][c] = ends + middle, t[2][c] = ends - middle, t[3][c] = d;
  }
  EFT_UNROLL
  for (int r = 0; r < 4; ++r) {
    const Vec ends = (t[r][0] + t[r][2]) * splat(0.5f), middle = t[r][1] * splat(0.5f);
    float* point = to + 4 * r * to_point;
    store(point, t[r][0]);
    store(point + to_point, ends + middle);
    store(point + 2 * to_point, ends - middle);
    store(point + 3 * to_point, t[r][2]);
  }
}

// A' m A: 16 points of one patch to its 2 x 2 outputs.
EFT_INLINE void transform_output(const float* from, int64_t from_point, Vec (&out)[2][2]) {
  Vec s[2][4];
  EFT_UNROLL
  for (int c = 0; c < 4; ++c) {
    const Vec a = load(from + c * from_point), b = load(from + (4 + c) * from_point);
    const Vec d = load(from + (8 + c) * from_point), e = load(from + (12 + c) * from_point);
    s[0][c] = a + b + d, s[1][c] = b - d - e;
  }
  EFT_UNROLL
  for (int r = 0; r < 2; ++r) {
    out[r][0] = s[r][0] + s[r][1] + s[r][2];
    out[r][1] = s[r][1] - s[r][2] - s[r][3];
  }
}

// Sums of products at one point: P patches, M tiles of output channels.
constexpr int SUMS = ACCUMULATORS * 3 / 2;
constexpr int most_patches(int m) { return SUMS / m / 4 * 4; }

template <int P, int M>
EFT_INLINE void multiply(const Correlation& j, const float* v, int64_t v_tile, const float* u, int64_t u_tile,
                         float* to, int64_t to_tile) {
  Vec sum[M][P] = {};
  for (int tile = 0; tile < j.tiles_in; ++tile, v += v_tile, u += T * T) {
    const int n = j.channels_of(tile);
    for (int i = 0; i < n; ++i) {
      Vec w[M];
      EFT_UNROLL
      for (int m = 0; m < M; ++m) w[m] = load(u + m * u_tile + i * T);
      _Pragma("GCC unroll 32")
      for (int p = 0; p < P; ++p) {
        const Vec in = splat(v[p * T + i]);
        EFT_UNROLL
        for (int m = 0; m < M; ++m) sum[m][p] += in * w[m];
      }
    }
  }
  EFT_UNROLL
  for (int m = 0; m < M; ++m) {
    _Pragma("GCC unroll 32")
    for (int p = 0; p < P; ++p) store(to + m * to_tile + p * T, sum[m][p]);
  }
}

// `patches` is a multiple of 4; blocks of them are as equal as that allows.
template <int P, int M>
void multiply_all(const Correlation& j, int64_t patches, int64_t block, const float* v, int64_t v_tile,
                  const float* u, int64_t u_tile, float* to, int64_t to_tile) {
  for (int64_t i = 0; i < patches;) {
    const int64_t take = least(block, patches - i);
    if (take == P) {
      multiply<P, M>(j, v + i * T, v_tile, u, u_tile, to + i * T, to_tile);
    } else if constexpr (P > 4) {
      multiply_all<P - 4, M>(j, take, take, v + i * T, v_tile, u, u_tile, to + i * T, to_tile);
    }
    i += take;
  }
}

// How patches and tiles of output channels are cut into units, and the block of patches that a unit
// takes through two output tiles at a time.
struct Winograd {
  Patches all;
  int64_t block, cuts, m_cuts;

  int64_t v_tile() const { return ceil_div(block, 4) * 4 * T; }
  int64_t v_point(const Correlation& j) const { return j.tiles_in * v_tile() + APART; }
  int64_t u_tile(const Correlation& j) const { return int64_t(j.tiles_in) * T * T; }
  int64_t u_point(const Correlation& j) const { return 2 * u_tile(j) + APART; }
  int64_t sum_point() const { return 2 * v_tile() + APART; }
  int64_t words(const Correlation& j) const { return POINTS * (v_point(j) + u_point(j) + sum_point()); }
};

// A block in transformed form fits L2; with weights that stay where they are, L1. But where weights are
// transformed anew for each block, it is large enough to outweigh that.
constexpr int64_t BLOCK_WORDS = 64 * 1024;
constexpr int64_t LEAST_PATCHES = 64;
constexpr int64_t KEPT_PATCHES = 48;
constexpr int64_t UNIT_PATCHES = 256;
// Rough cycles: to transform a patch of one input tile, and the weights of two tiles.
constexpr int64_t INPUT_COST = 45, WEIGHT_COST = 1000;

// As few units as give every thread one: those that share patches transform the same inputs, those that
// share output tiles the same weights.
inline Winograd winograd_of(const Correlation& j, int threads) {
  const Patches all = patches_of(j.images, j.rows_out, j.cols_out);
  const int64_t fit = BLOCK_WORDS / (POINTS * T * j.tiles_in) / 4 * 4, total = all.total();
  Winograd w = {all, least(j.tiles_out <= 2 ? KEPT_PATCHES : most(fit, LEAST_PATCHES), total), 1, 1};
  const int64_t inputs = total * INPUT_COST, weights = (j.turn ? 2 : 1) * WEIGHT_COST * j.tiles_out;
  int64_t least_cost = INT64_MAX;
  for (int64_t m = 1; m <= least(threads, j.tiles_out); ++m) {
    const int64_t cuts = least(most(ceil_div(total, UNIT_PATCHES), ceil_div(threads, m)), total);
    if (m * inputs + cuts * weights < least_cost) {
      least_cost = m * inputs + cuts * weights;
      w.cuts = cuts, w.m_cuts = m;
    }
  }
  return w;
}

// Where the transforms, a dozen operations an output, are outweighed by five products saved a channel.
// The number of images is not asked for: a sample gets the same answer in any company.
EFT_INLINE bool suits_winograd(const Correlation& j) {
  return j.kernel_rows == 3 && j.kernel_cols == 3 && j.step_rows == 1 && j.step_cols == 1 && j.fold == 1 &&
         j.lanes == T && j.channels >= 12 && j.rows_out >= 4 && j.cols_out >= 4;
}

// The 2 x 2 pixels of one patch, as far as they lie in the map.
EFT_INLINE void finish_patch(const Correlation& j, const float* from, int64_t from_point, Vec start,
                             int64_t row, int64_t col, int64_t at) {
  Vec out[2][2];
  transform_output(from, from_point, out);
  for (int r = 0; r < 2 && row + r < j.rows_out; ++r) {
    for (int c = 0; c < 2 && col + c < j.cols_out; ++c) {
      const int64_t pixel = at + (row + r) * j.ys.row + (col + c) * j.ys.col;
      Vec v = out[r][c] + start;
      if (j.activation.kind != LINEAR) v = j.activation.of(v);
      if (j.mask) v = j.undo.undone(v, load(j.mask + pixel));
      if (j.add) v += load(j.y + pixel);
      store(j.y + pixel, v);
    }
  }
}

// The weights of M output tiles.
inline void transform_weights(const Correlation& j, const Winograd& w, int64_t first_tile, int m_tiles, float* u) {
  const int64_t u_tile = w.u_tile(j), u_point = w.u_point(j);
  for (int m = 0; m < m_tiles; ++m) {
    for (int n = 0; n < j.tiles_in; ++n) {
      const int64_t out = first_tile + m;
      const float* from = j.w + (j.turn ? n * int64_t(j.tiles_out) + out : out * j.tiles_in + n) * 9 * T * T;
      float turned[9 * T * T];
      if (j.turn) {
        for (int k = 0; k < 9; ++k) transpose(from + (8 - k) * T * T, turned + k * T * T);
        from = turned;
      }
      const int channels = j.channels_of(n);
      for (int i = 0; i < channels; ++i) {
        transform_weight(from + i * T, T * T, u + m * u_tile + (n * T + i) * T, u_point);
      }
    }
  }
}

template <int M>
void winograd_tiles(const Correlation& j, const Winograd& w, Range patches, int64_t first_tile, const float* v,
                    const float* u, float* sums) {
  const int64_t room = ceil_div(patches.end - patches.begin, 4) * 4;
  const int64_t blocks = ceil_div(room, most_patches(M)), block = ceil_div(ceil_div(room, blocks), 4) * 4;
  for (int p = 0; p < POINTS; ++p) {
    multiply_all<most_patches(M), M>(j, room, block, v + p * w.v_point(j), w.v_tile(), u + p * w.u_point(j),
                                     w.u_tile(j), sums + p * w.sum_point(), w.v_tile());
  }
  for (int m = 0; m < M; ++m) {
    const Vec start = j.bias ? load(j.bias + (first_tile + m) * T) : Vec{};
    each_patch_row(w.all, patches, [&](int64_t at, int64_t count, int64_t image, int64_t row, int64_t col) {
      const float* from = sums + m * w.v_tile() + at * T;
      const int64_t y = image * j.ys.image + (first_tile + m) * j.ys.tile;
      for (int64_t i = 0; i < count; ++i, from += T) {
        finish_patch(j, from, w.sum_point(), start, 2 * row, 2 * (col + i), y);
      }
    });
  }
}

inline void winograd_unit(const Correlation& j, const Winograd& w, Range patches, Range tiles, float* scratch) {
  float* v = scratch;
  float* u = v + POINTS * w.v_point(j);
  float* sums = u + POINTS * w.u_point(j);
  const bool keep = tiles.end - tiles.begin <= 2;
  if (keep) transform_weights(j, w, tiles.begin, int(tiles.end - tiles.begin), u);
  for (int64_t first = patches.begin; first < patches.end; first += w.block) {
    const Range some = {first, least(first + w.block, patches.end)};
    for (int n = 0; n < j.tiles_in; ++n) {
      each_patch_row(w.all, some, [&](int64_t at, int64_t count, int64_t image, int64_t row, int64_t col) {
        const float* x = j.x + image * j.xs.image + n * j.xs.tile;
        const MapPart part = {x, j.xs.row, j.xs.col, j.rows_in, j.cols_in, j.top, j.left};
        transform_inputs(part, row, col, count, v + n * w.v_tile() + at * T, w.v_point(j));
      });
    }
    for (int64_t m = tiles.begin; m < tiles.end; m += 2) {
      const int count = int(least(tiles.end - m, 2));
      if (!keep) transform_weights(j, w, m, count, u);
      (count == 2 ? winograd_tiles<2> : winograd_tiles<1>)(j, w, some, m, v, u, sums);
    }
  }
}

inline void winograd(const Correlation& j, const Task& task) {
  const Winograd w = winograd_of(j, task.threads);
  task.each(w.cuts * w.m_cuts, 1, [&](Range unit, int thread) {
    for (int64_t i = unit.begin; i < unit.end; ++i) {
      winograd_unit(j, w, share(w.all.total(), i / w.m_cuts, w.cuts), share(j.tiles_out, i % w.m_cuts, w.m_cuts),
                    task.scratch_of(thread));
    }
  });
}

}  // namespace
}  // namespace eft
