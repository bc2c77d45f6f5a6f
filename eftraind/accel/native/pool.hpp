// POOL_FP and POOL_BP: max pooling, one channel tile of one image at a time. Padding counts as -inf;
// of equal maxima the first in row order gets the gradient. NaN is greater than any number.
#pragma once
#include "convolve.hpp"

namespace eft {
namespace {

struct Pool {
  Strides xs, ys;
  int64_t planes, tiles;
};

inline Pool pool_of(const Command& c) {
  return {map_strides(c.n, c.rows_in, c.cols_in, c.lanes), map_strides(c.n, c.rows_out, c.cols_out, T),
          int64_t(c.images) * tiles(c.n), tiles(c.n)};
}

// The part of output pixel (r, c)'s window that lies inside the map.
struct Box {
  int64_t r0, r1, c0, c1;
};
EFT_INLINE Box box_of(const Command& c, int64_t row, int64_t col) {
  const int64_t r = row * c.stride_rows - c.pad_top, k = col * c.stride_cols - c.pad_left;
  return {most(r, 0), least(r + c.kernel_rows, c.rows_in), most(k, 0), least(k + c.kernel_cols, c.cols_in)};
}

EFT_INLINE Lanes is_nan(Vec v) { return v != v; }
// The first of two, if they are equal.
EFT_INLINE Vec greater(Vec first, Vec second) {
  return choose((second > first) | is_nan(second), second, first);
}
// Lanes in which v is the maximum, if it is the first to be.
EFT_INLINE Lanes is_best(Vec v, Vec best) { return (v == best) | is_nan(v); }

EFT_INLINE Vec greatest(const Pool& p, const float* x, const Box& b) {
  Vec best = splat(-__builtin_inff());
  for (int64_t r = b.r0; r < b.r1; ++r) {
    for (int64_t c = b.c0; c < b.c1; ++c) {
      best = greater(best, load_pixel(x + r * p.xs.row + c * p.xs.col, p.xs.col));
    }
  }
  return best;
}

// Two by two without overlap or padding, as most networks have it, needs no loops.
EFT_INLINE bool is_plain(const Command& c) {
  return c.lanes == T && c.kernel_rows == 2 && c.kernel_cols == 2 && c.stride_rows == 2 && c.stride_cols == 2 &&
         c.pad_top == 0 && c.pad_left == 0 && 2 * c.rows_out <= c.rows_in && 2 * c.cols_out <= c.cols_in;
}

inline void plain_row(const Command& c, const float* x, int64_t x_row, float* y) {
  for (int64_t k = 0; k < c.cols_out; ++k, x += 2 * T) {
    store(y + k * T, greater(greater(load(x), load(x + T)),
                             greater(load(x + x_row), load(x + x_row + T))));
  }
}

inline int pool_fp(const Task& task) {
  const Command& c = *task.command;
  const Pool p = pool_of(c);
  task.each(p.planes * c.rows_out, [&](Range mine, int) {
    for (int64_t i = mine.begin; i < mine.end; ++i) {
      const int64_t plane = i / c.rows_out, r = i % c.rows_out;
      const float* x = operand(task, c.src_slot, c.src_offset) + plane * p.xs.tile;
      float* y = operand(task, c.dst_slot, c.dst_offset) + plane * p.ys.tile + r * p.ys.row;
      if (is_plain(c)) {
        plain_row(c, x + 2 * r * p.xs.row, p.xs.row, y);
      } else {
        for (int64_t k = 0; k < c.cols_out; ++k) store(y + k * T, greatest(p, x, box_of(c, r, k)));
      }
    }
  });
  return STATUS_OK;
}

inline void plain_row_back(const Command& c, const Sink& sink, const float* x, int64_t x_row,
                           const float* dy, float* dx) {
  for (int64_t k = 0; k < c.cols_out; ++k, x += 2 * T, dx += 2 * T) {
    const Vec a = load(x), b = load(x + T), d = load(x + x_row), e = load(x + x_row + T);
    const Vec best = greater(greater(a, b), greater(d, e));
    const Vec grad = sink.activation.undone(load(dy + k * T), best);
    const Lanes is_a = is_best(a, best), is_b = ~is_a & is_best(b, best);
    const Lanes is_d = ~(is_a | is_b) & is_best(d, best), is_e = ~(is_a | is_b | is_d);
    const auto put = [&](float* to, Lanes mine) __attribute__((always_inline)) {
      store(to, sink.add ? load(to) + where(mine, grad) : where(mine, grad));
    };
    put(dx, is_a), put(dx + T, is_b), put(dx + x_row, is_d), put(dx + x_row + T, is_e);
  }
}

// A plane whose windows may overlap.
inline void add_plane(const Command& c, const Sink& sink, const Pool& p, const float* x,
                      const float* dy, float* dx) {
  for (int64_t r = 0; r < c.rows_out; ++r) {
    for (int64_t k = 0; k < c.cols_out; ++k) {
      const Box b = box_of(c, r, k);
      const Vec best = greatest(p, x, b);
      const Vec grad = sink.activation.undone(load(dy + r * p.ys.row + k * T), best);
      Lanes open = ~Lanes{};  // lanes whose maximum has not been met
      for (int64_t i = b.r0; i < b.r1; ++i) {
        for (int64_t l = b.c0; l < b.c1; ++l) {
          const int64_t at = i * p.xs.row + l * T;
          const Lanes here = open & is_best(load(x + at), best);
          store(dx + at, load(dx + at) + where(here, grad));
          open &= ~here;
        }
      }
    }
  }
}

inline void plane_back(const Command& c, const Sink& sink, const Pool& p, const float* x,
                       const float* dy, float* dx) {
  const bool plain = is_plain(c);
  // Plain windows that cover the plane write every pixel.
  const bool covers = plain && 2 * c.rows_out == c.rows_in && 2 * c.cols_out == c.cols_in;
  if (!covers && !sink.add) memset(dx, 0, p.xs.tile * 4);
  if (!plain) return add_plane(c, sink, p, x, dy, dx);
  for (int64_t r = 0; r < c.rows_out; ++r) {
    plain_row_back(c, sink, x + 2 * r * p.xs.row, p.xs.row, dy + r * p.ys.row, dx + 2 * r * p.xs.row);
  }
}

inline int pool_bp(const Task& task) {
  const Command& c = *task.command;
  const Pool p = pool_of(c);
  const Sink sink = sink_of(task);
  task.each(p.planes, [&](Range mine, int) {
    for (int64_t i = mine.begin; i < mine.end; ++i) {
      plane_back(c, sink, p, sink.x + i * p.xs.tile,
                 operand(task, c.src_slot, c.src_offset) + i * p.ys.tile, sink.to + i * p.xs.tile);
    }
  });
  return STATUS_OK;
}

}  // namespace
}  // namespace eft
