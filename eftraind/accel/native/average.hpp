// AVG_FP and AVG_BP. With EXCLUDE_PAD a window's mean is over what lies inside the map, else what
// lies outside counts as zeros.
#pragma once
#include "pool.hpp"

namespace eft {
namespace {

EFT_INLINE Vec average_share(const Command& c, const Box& b) {
  const int64_t inside = most(b.r1 - b.r0, 0) * most(b.c1 - b.c0, 0);
  const int64_t whole = int64_t(c.kernel_rows) * c.kernel_cols;
  return splat(static_cast<float>(c.flags & FLAG_EXCLUDE_PAD ? most(inside, 1) : whole));
}

inline int avg_fp(const Task& task) {
  const Command& c = *task.command;
  const Pool p = pool_of(c);
  task.each(p.planes * c.rows_out, [&](Range mine, int) {
    for (int64_t i = mine.begin; i < mine.end; ++i) {
      const int64_t plane = i / c.rows_out, r = i % c.rows_out;
      const float* x = operand(task, c.src_slot, c.src_offset) + plane * p.xs.tile;
      float* y = operand(task, c.dst_slot, c.dst_offset) + plane * p.ys.tile + r * p.ys.row;
      for (int64_t k = 0; k < c.cols_out; ++k) {
        const Box b = box_of(c, r, k);
        Vec sum{};
        for (int64_t row = b.r0; row < b.r1; ++row) {
          for (int64_t col = b.c0; col < b.c1; ++col) sum += load(x + row * p.xs.row + col * T);
        }
        store(y + k * T, sum / average_share(c, b));
      }
    }
  });
  return STATUS_OK;
}

inline int avg_bp(const Task& task) {
  const Command& c = *task.command;
  const Pool p = pool_of(c);
  const Sink sink = sink_of(task);
  Sink adding = sink;  // windows may overlap
  adding.add = true;
  task.each(p.planes, [&](Range mine, int) {
    for (int64_t i = mine.begin; i < mine.end; ++i) {
      const float* dy = operand(task, c.src_slot, c.src_offset) + i * p.ys.tile;
      if (!sink.add) memset(sink.to + i * p.xs.tile, 0, p.xs.tile * 4);
      for (int64_t at = 0; at < int64_t(c.rows_out) * c.cols_out; ++at) {
        const Box b = box_of(c, at / c.cols_out, at % c.cols_out);
        const Vec grad = load(dy + at * T) / average_share(c, b);
        for (int64_t row = b.r0; row < b.r1; ++row) {
          const int64_t to = i * p.xs.tile + row * p.xs.row;
          for (int64_t col = b.c0; col < b.c1; ++col) adding.put(to + col * T, grad);
        }
      }
    }
  });
  return STATUS_OK;
}

}  // namespace
}  // namespace eft
