// CONV_WU of 3 x 3 kernels by Winograd's transforms: the gradient of a transformed weight is the sum,
// over all patches, of transformed input times transformed dy, and goes back through the transform.
// Sums stay apart in sections of the patches; these follow from the shape, never from the threads.
#pragma once
#include "gradient.hpp"
#include "winograd.hpp"

namespace eft {
namespace {

// A d A': 2 x 2 outputs of one patch to 16 points.
EFT_INLINE void transform_gradient(const Vec (&d)[2][2], float* to, int64_t to_point) {
  Vec s[4][2];
  EFT_UNROLL
  for (int c = 0; c < 2; ++c) {
    s[0][c] = d[0][c], s[1][c] = d[0][c] + d[1][c], s[2][c] = d[0][c] - d[1][c], s[3][c] = -d[1][c];
  }
  EFT_UNROLL
  for (int r = 0; r < 4; ++r) {
    float* point = to + 4 * r * to_point;
    store(point, s[r][0]);
    store(point + to_point, s[r][0] + s[r][1]);
    store(point + 2 * to_point, s[r][0] - s[r][1]);
    store(point + 3 * to_point, -s[r][1]);
  }
}

// G' u G: 16 points back to nine taps.
EFT_INLINE void transform_taps(const float* from, int64_t from_point, float* to, int64_t to_tap) {
  Vec t[3][4];
  EFT_UNROLL
  for (int c = 0; c < 4; ++c) {
    const Vec a = load(from + c * from_point), b = load(from + (4 + c) * from_point);
    const Vec d = load(from + (8 + c) * from_point), e = load(from + (12 + c) * from_point);
    const Vec sum = (b + d) * splat(0.5f);
    t[0][c] = a + sum, t[1][c] = (b - d) * splat(0.5f), t[2][c] = sum + e;
  }
  EFT_UNROLL
  for (int r = 0; r < 3; ++r) {
    const Vec sum = (t[r][1] + t[r][2]) * splat(0.5f);
    store(to + 3 * r * to_tap, t[r][0] + sum);
    store(to + (3 * r + 1) * to_tap, (t[r][1] - t[r][2]) * splat(0.5f));
    store(to + (3 * r + 2) * to_tap, sum + t[r][3]);
  }
}

// Sums at one point: B input lanes and M tiles of output channels stay in registers.
constexpr int lanes_at_once(int m) { return ACCUMULATORS / m < T ? ACCUMULATORS / m : T; }

template <int B, int M>
EFT_INLINE void add_products(int64_t patches, const float* v, const float* y, int64_t y_tile, float* u, int64_t u_tile,
                             bool fresh) {
  Vec sum[B][M];
  for (int b = 0; b < B; ++b) {
    for (int m = 0; m < M; ++m) sum[b][m] = fresh ? Vec{} : load(u + m * u_tile + b * T);
  }
  for (int64_t p = 0; p < patches; ++p, v += T, y += T) {
    Vec grad[M];
    EFT_UNROLL
    for (int m = 0; m < M; ++m) grad[m] = load(y + m * y_tile);
    EFT_UNROLL
    for (int b = 0; b < B; ++b) {
      const Vec in = splat(v[b]);
      EFT_UNROLL
      for (int m = 0; m < M; ++m) sum[b][m] += in * grad[m];
    }
  }
  for (int b = 0; b < B; ++b) {
    for (int m = 0; m < M; ++m) store(u + m * u_tile + b * T, sum[b][m]);
  }
}

constexpr int64_t GRADIENT_WORDS = 8 * 1024;  // of a block of inputs in transformed form
constexpr int64_t LEAST_SECTION = 32;          // patches
constexpr int64_t SHARED_UNITS = 4;            // sections make up for tiles that are too few to share

// A unit sums one section of the patches for two tiles of output channels and some of the input.
struct WinogradGradient {
  Patches all;
  int64_t sections, block, m_tiles, n_tiles;

  int64_t pairs() const { return ceil_div(m_tiles, 2); }
  int64_t tile() const { return block * T; }
  int64_t v_point() const { return n_tiles * tile() + APART; }
  int64_t y_point() const { return 2 * tile() + APART; }
  int64_t u_tile() const { return n_tiles * T * T; }
  int64_t u_point() const { return 2 * u_tile() + APART; }
  int64_t words() const { return POINTS * (v_point() + y_point() + u_point()); }
};

EFT_INLINE bool suits_winograd(const Gradient& g) {
  return g.kernel_rows == 3 && g.kernel_cols == 3 && g.stride_rows == 1 && g.stride_cols == 1 && g.fold == 1 &&
         g.lanes == T && g.channels >= 12 && g.rows_out >= 4 && g.cols_out >= 4;
}

inline WinogradGradient winograd_of(const Gradient& g) {
  const Patches all = patches_of(g.images, g.rows_out, g.cols_out);
  const int64_t fit = most(GRADIENT_WORDS / (POINTS * T * int64_t(g.n_tiles)), LEAST_SECTION);
  WinogradGradient w = {all, 1, least(fit, all.total()), g.m_tiles, g.n_tiles};
  w.sections = most(least(ceil_div(SHARED_UNITS, w.pairs() * w.n_tiles), all.total() / LEAST_SECTION), 1);
  return w;
}

inline void transform_gradients(const Gradient& g, const WinogradGradient& w, Range patches, int64_t m, float* y,
                                Vec& bias) {
  each_patch_row(w.all, patches, [&](int64_t at, int64_t count, int64_t image, int64_t row, int64_t col) {
    const float* dy = g.dy + image * g.ys.image + m * g.ys.tile;
    for (int64_t i = 0; i < count; ++i) {
      Vec d[2][2];
      for (int r = 0; r < 2; ++r) {
        for (int c = 0; c < 2; ++c) {
          const int64_t pr = 2 * row + r, pc = 2 * (col + i) + c;
          const bool inside = pr < g.rows_out && pc < g.cols_out;
          d[r][c] = inside ? load(dy + pr * g.ys.row + pc * g.ys.col) : Vec{};
          bias += d[r][c];
        }
      }
      transform_gradient(d, y + (at + i) * T, w.y_point());
    }
  });
}

// Input tiles [n.begin, n.end) and output tiles m, m + M of one section, into u.
template <int M>
void winograd_sums(const Gradient& g, const WinogradGradient& w, Range patches, Range n, int64_t m, float* scratch,
                   Vec (&bias)[2]) {
  constexpr int B = lanes_at_once(M);
  float* v = scratch;
  float* y = v + POINTS * w.v_point();
  float* u = y + POINTS * w.y_point();
  for (int64_t first = patches.begin; first < patches.end; first += w.block) {
    const Range some = {first, least(first + w.block, patches.end)};
    for (int64_t tile = n.begin; tile < n.end; ++tile) {
      each_patch_row(w.all, some, [&](int64_t at, int64_t count, int64_t image, int64_t row, int64_t col) {
        const float* x = g.x + image * g.xs.image + tile * g.xs.tile;
        const MapPart part = {x, g.xs.row, g.xs.col, g.rows_in, g.cols_in, g.top, g.left};
        transform_inputs(part, row, col, count, v + (tile - n.begin) * w.tile() + at * T, w.v_point());
      });
    }
    for (int i = 0; i < M; ++i) transform_gradients(g, w, some, m + i, y + i * w.tile(), bias[i]);
    for (int p = 0; p < POINTS; ++p) {
      for (int64_t tile = 0; tile < n.end - n.begin; ++tile) {
        for (int b = 0; b < T; b += B) {
          add_products<B, M>(some.end - some.begin, v + p * w.v_point() + tile * w.tile() + b, y + p * w.y_point(),
                             w.tile(), u + p * w.u_point() + (tile * T + b) * T, w.u_tile(), first == patches.begin);
        }
      }
    }
  }
}

// Taps of all lanes; padded ones are sums of zeros.
inline void winograd_unit(const Gradient& g, const WinogradGradient& w, Range patches, Range n, int64_t m, float* d,
                          bool add, float* scratch) {
  Vec bias[2] = {};
  const int64_t tap = int64_t(T) * T;
  const int count = static_cast<int>(least(g.m_tiles - m, 2));
  (count == 2 ? winograd_sums<2> : winograd_sums<1>)(g, w, patches, n, m, scratch, bias);
  const float* u = scratch + POINTS * (w.v_point() + w.y_point());
  for (int i = 0; i < count; ++i) {
    for (int64_t lane = 0; lane < (n.end - n.begin) * T; ++lane) {
      float* to = d + ((m + i) * g.n_tiles + n.begin + lane / T) * 9 * tap + lane % T * T;
      const float* from = u + i * w.u_tile() + lane * T;
      if (!add) {
        transform_taps(from, w.u_point(), to, tap);
        continue;
      }
      float taps[9 * T];
      transform_taps(from, w.u_point(), taps, T);
      for (int k = 0; k < 9; ++k) store(to + k * tap, load(to + k * tap) + load(taps + k * T));
    }
    if (g.bias && n.begin == 0) {
      float* to = d + g.words() - (g.m_tiles - m - i) * T;
      store(to, add ? load(to) + bias[i] : bias[i]);
    }
  }
}

inline void winograd_wu(const Gradient& g, const Task& task, float* dst, bool add) {
  const WinogradGradient w = winograd_of(g);
  const int64_t total = w.all.total(), pairs = w.pairs();
  const int64_t n_cuts = least(ceil_div(2 * task.threads, w.sections * pairs), task.threads == 1 ? 1 : g.n_tiles);
  const bool direct = w.sections == 1;
  task.each(w.sections * pairs * n_cuts, 1, [&](Range units, int thread) {
    for (int64_t i = units.begin; i < units.end; ++i) {
      const int64_t s = i / n_cuts / pairs;
      winograd_unit(g, w, share(total, s, w.sections), share(g.n_tiles, i % n_cuts, n_cuts), i / n_cuts % pairs * 2,
                    direct ? dst : task.shared + s * g.words(), add && direct, task.scratch_of(thread));
    }
  });
}

}  // namespace
}  // namespace eft
