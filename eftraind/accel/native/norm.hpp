// BN_STAT, BN_FP, BN_SUM, BN_BP and BIAS_WU: sums per channel over all images, and what follows from
// them. A part is some rows of one image; parts are the same for any number of threads.
#pragma once
#include "pointwise.hpp"
#include "sums.hpp"

namespace eft {
namespace {

constexpr int64_t PART_PIXELS = 4096;
constexpr int64_t FLOAT_TERMS = 64;  // added in float, in four chains, before they go to double

struct Parts {
  int64_t tiles, row_parts, rows, parts;  // parts: of each tile
};

inline Parts parts_of(const Command& c) {
  const int64_t rows = least(most(PART_PIXELS / c.cols_in, 1), c.rows_in);
  const int64_t row_parts = ceil_div(c.rows_in, rows);
  return {tiles(c.n), row_parts, rows, c.images * row_parts};
}

// Words of shared scratch for `sums` sums per channel: those of the parts, then the totals.
inline int64_t parts_words(const Command& c, int sums) {
  const Parts p = parts_of(c);
  return 2 * sums * T * (p.tiles * p.parts + p.tiles);
}

// S sums per channel: sum(words from the start of the map, pixels, tile, Wide[S]) adds one part's.
// The totals lie at the result, [tile][S][T].
template <int S, class Sum>
double* sum_parts(const Task& task, const Sum& sum) {
  const Command& c = *task.command;
  const Parts p = parts_of(c);
  double* totals = reinterpret_cast<double*>(task.shared);
  double* parts = totals + p.tiles * S * T;
  task.each(p.tiles * p.parts, 1, [&](Range unit, int) {
    const int64_t tile = unit.begin / p.parts, image = unit.begin % p.parts / p.row_parts;
    const int64_t row = unit.begin % p.row_parts * p.rows;
    const int64_t pixels = least(p.rows, c.rows_in - row) * c.cols_in;
    Wide sums[S] = {};
    sum((image * p.tiles + tile) * pixels_in(c) * T + row * c.cols_in * T, pixels, tile, sums);
    for (int s = 0; s < S; ++s) store_wide(parts + (unit.begin * S + s) * T, sums[s]);
  });
  for (int64_t tile = 0; tile < p.tiles; ++tile) {
    for (int s = 0; s < S; ++s) {
      Wide total{};
      for (int64_t i = 0; i < p.parts; ++i) total.add(load_wide(parts + ((tile * p.parts + i) * S + s) * T));
      store_wide(totals + (tile * S + s) * T, total);
    }
  }
  return totals;
}

// term(word, Vec[S]) for each pixel: S values to be summed in float over a few pixels, then widened.
template <int S, class Term>
EFT_INLINE void sum_terms(int64_t pixels, Wide* sums, const Term& term) {
  for (int64_t i = 0; i < pixels;) {
    const int64_t end = least(i + FLOAT_TERMS, pixels);
    Vec chain[4][S] = {};
    for (; i + 4 <= end; i += 4) {
      EFT_UNROLL
      for (int k = 0; k < 4; ++k) {
        Vec value[S];
        term((i + k) * T, value);
        EFT_UNROLL
        for (int s = 0; s < S; ++s) chain[k][s] += value[s];
      }
    }
    for (; i < end; ++i) {
      Vec value[S];
      term(i * T, value);
      for (int s = 0; s < S; ++s) chain[0][s] += value[s];
    }
    for (int s = 0; s < S; ++s) {
      sums[s].add(widened((chain[0][s] + chain[1][s]) + (chain[2][s] + chain[3][s])));
    }
  }
}

// Mean and biased variance of the batch, [tile][mean, variance][T]: in two passes, all in double,
// so that a small spread around a large mean survives.
inline double* batch_statistics(const Task& task) {
  const Command& c = *task.command;
  const float* x = operand(task, c.src_slot, c.src_offset);
  const double count = double(c.images) * double(pixels_in(c));
  const int64_t words = tiles(c.n) * T;
  double* sums = sum_parts<1>(task, [&](int64_t at, int64_t pixels, int64_t, Wide* sum) {
    Wide even{}, odd{};
    int64_t i = 0;
    for (; i + 2 <= pixels; i += 2) {
      even.add(widened(x + at + i * T));
      odd.add(widened(x + at + i * T + T));
    }
    if (i < pixels) even.add(widened(x + at + i * T));
    even.add(odd);
    sum->add(even);
  });
  double* mean = reinterpret_cast<double*>(task.shared + parts_words(c, 1));
  for (int64_t i = 0; i < words; ++i) mean[i] = sums[i] / count;
  sums = sum_parts<1>(task, [&](int64_t at, int64_t pixels, int64_t tile, Wide* sum) {
    const Wide middle = load_wide(mean + tile * T);
    Wide even{}, odd{};
    const auto square = [&](int64_t i, Wide& to) __attribute__((always_inline)) {
      Wide d = widened(x + at + i * T);
      d.low -= middle.low, d.high -= middle.high;
      to.add_product(d, d);
    };
    int64_t i = 0;
    for (; i + 2 <= pixels; i += 2) square(i, even), square(i + 1, odd);
    if (i < pixels) square(i, even);
    even.add(odd);
    sum->add(even);
  });
  for (int64_t i = 0; i < words; ++i) mean[words + i] = sums[i] / count;
  return mean;
}

inline int64_t statistics_words(const Command& c) {
  return parts_words(c, 1) + 4 * int64_t(tiles(c.n)) * T;
}

inline int bn_stat(const Task& task) {
  const Command& c = *task.command;
  const int64_t words = tiles(c.n) * T;
  const bool frozen = c.flags & FLAG_FROZEN;
  float* running = operand(task, c.dst_slot, c.dst_offset);
  double* mean = nullptr;
  if (frozen) {
    mean = reinterpret_cast<double*>(task.shared + parts_words(c, 1));
    for (int64_t i = 0; i < 2 * words; ++i) mean[i] = running[i];
  } else {
    mean = batch_statistics(task);
  }
  float* out = operand(task, c.extra_slot, c.extra_offset);
  const auto inverse = [&](int64_t i) {
    return 1.0f / __builtin_sqrtf(static_cast<float>(mean[words + i]) + c.scalar);
  };
  for (int64_t i = 0; i < c.n; ++i) {
    if (!finite(static_cast<float>(mean[i])) || !finite(inverse(i))) return STATUS_NONFINITE;
  }
  for (int64_t i = 0; i < words; ++i) {
    out[i] = i < c.n ? static_cast<float>(mean[i]) : 0;
    out[words + i] = i < c.n ? inverse(i) : 0;
  }
  if (frozen || c.dst_slot == SLOT_NONE) return STATUS_OK;
  const float share = *operand(task, c.aux_slot, c.aux_offset);
  const double count = double(c.images) * double(pixels_in(c));
  const float unbiased = static_cast<float>(count / (count > 2 ? count - 1 : 1));
  for (int64_t i = 0; i < words; ++i) {
    const float variance = static_cast<float>(mean[words + i]) * unbiased;
    running[i] = i < c.n ? running[i] + share * (out[i] - running[i]) : 0;
    float* spread = running + words + i;
    *spread = i < c.n ? *spread + share * (variance - *spread) : 0;
  }
  return STATUS_OK;
}

// work(words from the start of the map, tile, pixels) in pieces of one plane.
template <class Work>
void each_plane(const Task& task, const Work& work) {
  const Command& c = *task.command;
  const int64_t count = tiles(c.n), pixels = pixels_in(c);
  const int64_t piece = least(pixels, 1024), pieces = ceil_div(pixels, piece);
  task.each(c.images * count * pieces, [&](Range r, int) {
    for (int64_t i = r.begin; i < r.end; ++i) {
      const int64_t plane = i / pieces, first = i % pieces * piece;
      work((plane * pixels + first) * T, plane % count, least(piece, pixels - first));
    }
  });
}

inline int bn_fp(const Task& task) {
  const Command& c = *task.command;
  const int64_t words = tiles(c.n) * T;
  const float* x = operand(task, c.src_slot, c.src_offset);
  const float* gamma = operand(task, c.weights_slot, c.weights_offset);
  const float* mean = operand(task, c.aux_slot, c.aux_offset);
  float* dst = operand(task, c.dst_slot, c.dst_offset);
  const Activation activation = activation_of(c);
  each_plane(task, [=](int64_t at, int64_t tile, int64_t pixels) {
    const Vec middle = load(mean + tile * T), shift = load(gamma + words + tile * T);
    const Vec scale = load(gamma + tile * T) * load(mean + words + tile * T);
    for (int64_t i = at; i < at + pixels * T; i += T) {
      store(dst + i, activation.of((load(x + i) - middle) * scale + shift));
    }
  });
  return STATUS_OK;
}

// Totals, [tile][S][T] in double, to S vectors in float behind each other; padded lanes become 0, or
// stay if it adds.
inline void write_sums(const Command& c, const double* totals, int sums, float* to, bool add) {
  const int64_t words = tiles(c.n) * T;
  for (int s = 0; s < sums; ++s) {
    for (int64_t i = 0; i < words; ++i) {
      const float sum = i < c.n ? static_cast<float>(totals[(i / T * sums + s) * T + i % T]) : 0;
      float* one = to + s * words + i;
      *one = add ? *one + sum : sum;
    }
  }
}

inline int bn_sum(const Task& task) {
  const Command& c = *task.command;
  const int64_t words = tiles(c.n) * T;
  const float* x = operand(task, c.src_slot, c.src_offset);
  const float* dy = operand(task, c.aux_slot, c.aux_offset);
  float* mean = operand(task, c.extra_slot, c.extra_offset);
  const double* totals = sum_parts<2>(task, [&](int64_t at, int64_t pixels, int64_t tile, Wide* sums) {
    const Vec middle = load(mean + tile * T), inverse = load(mean + words + tile * T);
    sum_terms<2>(pixels, sums, [&](int64_t i, Vec* value) __attribute__((always_inline)) {
      const Vec grad = load(dy + at + i);
      value[0] = grad * ((load(x + at + i) - middle) * inverse);
      value[1] = grad;
    });
  });
  write_sums(c, totals, 2, mean + 2 * words, false);
  if (c.dst_slot != SLOT_NONE) {
    write_sums(c, totals, 2, operand(task, c.dst_slot, c.dst_offset), c.flags & FLAG_ACCUMULATE);
  }
  return STATUS_OK;
}

inline int bn_bp(const Task& task) {
  const Command& c = *task.command;
  const int64_t words = tiles(c.n) * T;
  const bool frozen = c.flags & FLAG_FROZEN;
  const float* dy = operand(task, c.src_slot, c.src_offset);
  const float* x = operand(task, c.aux_slot, c.aux_offset);
  const float* gamma = operand(task, c.weights_slot, c.weights_offset);
  const float* mean = operand(task, c.extra_slot, c.extra_offset);
  const Sink sink = sink_of(task);
  const float values = static_cast<float>(c.count);
  each_plane(task, [=](int64_t at, int64_t tile, int64_t pixels) {
    const float* v = mean + tile * T;
    const Vec middle = load(v), inverse = load(v + words), scale = load(gamma + tile * T) * inverse;
    if (frozen) {
      for (int64_t i = at; i < at + pixels * T; i += T) sink.put(i, scale * load(dy + i));
      return;
    }
    const Vec count = splat(values);
    const Vec along = load(v + 2 * words) / count * inverse, plain = load(v + 3 * words) / count;
    for (int64_t i = at; i < at + pixels * T; i += T) {
      sink.put(i, scale * (load(dy + i) - plain - (load(x + i) - middle) * along));
    }
  });
  return STATUS_OK;
}

inline int bias_wu(const Task& task) {
  const Command& c = *task.command;
  const float* dy = operand(task, c.src_slot, c.src_offset);
  const double* totals = sum_parts<1>(task, [&](int64_t at, int64_t pixels, int64_t, Wide* sums) {
    sum_terms<1>(pixels, sums, [&](int64_t i, Vec* value) __attribute__((always_inline)) {
      value[0] = load(dy + at + i);
    });
  });
  write_sums(c, totals, 1, operand(task, c.dst_slot, c.dst_offset), c.flags & FLAG_ACCUMULATE);
  return STATUS_OK;
}

}  // namespace
}  // namespace eft
