// Sums over a batch, per channel: batch normalisation's statistics and gradients, bias gradients.
#pragma once
#include "walk.h"

namespace eft {

constexpr int MOST_NORM_TILES = Y_WORDS < W_DEPTH * T ? Y_WORDS : W_DEPTH * T;

static void load_operands(const Word* features, const Word* weights, const Map& a, const Map& b, bool both, int tile,
                          const Pass& p, float x[COPIES][X_DEPTH][T]) {
  HLS(INLINE off)
  if (!p.valid) return;
  if (both) load_both(features, weights, a, b, tile, input_box(p), x);
  else load_box(features, a, tile, input_box(p), 1, 0, x);
}

// Sums of one channel tile over all images, rows and columns; the next pass is loaded meanwhile.
static Count sum_tile(const Word* features, const Word* weights, const Command& c, const Map& a, const Map& b,
                      Sum kind, int tile, const float k[2][T], float total[2][T]) {
  HLS(INLINE off)
  const Axis rows = axis_of(c.rows_in, c.rows_in, 1, 1, 0, 1, false);
  const Axis cols = axis_of(c.cols_in, c.cols_in, 1, 1, 0, 1, false);
  const Tiling t = tiling_of(rows, cols, c.images, X_DEPTH / 2, X_DEPTH / 2, 1);
  Count count = {0, 0, true};
  Pass next = no_pass();
  bool turn = false;
sum_total:
  for (int m = 0; m < T; ++m) {
    HLS(UNROLL)
    total[0][m] = total[1][m] = 0.0f;
  }
  const int groups = ceil_div(c.images, t.images), high = ceil_div(rows.out, t.rows), wide = ceil_div(cols.out, t.cols);
  Pixel at = {0, 0, 0};
sum_pass:
  for (int i = 0; i <= groups * high * wide; ++i) {
    HLS(PIPELINE off)
    const Pass now = next;
    next.valid = i < groups * high * wide;
    if (next.valid) {
      next.image = at.image * t.images;
      next.images = least(t.images, c.images - next.image);
      next.rows = span_of(rows, at.row * t.rows, least(t.rows, rows.out - at.row * t.rows), 0, 1);
      next.cols = span_of(cols, at.col * t.cols, least(t.cols, cols.out - at.col * t.cols), 0, 1);
      advance(at, high, wide);
      ++count.passes;
    }
    const int pixels = now.valid ? now.images * now.rows.ins * now.cols.ins : 0;
    if (turn) {
      load_operands(features, weights, a, b, kind == SUM_ALONG, tile, next, x1);
      count.steps += sums(kind, pixels, k, x0, total);
    } else {
      load_operands(features, weights, a, b, kind == SUM_ALONG, tile, next, x0);
      count.steps += sums(kind, pixels, k, x1, total);
    }
    turn = !turn;
  }
  return count;
}

// Mean and variance of one channel tile, in two passes. The sums are of what is left when the first
// pixel is taken away, and of shares rather than values: neither a large mean nor a large sum hurts.
// The second pass also finds how far the rounded mean is off (the corrected two-pass algorithm of
// Chan, Golub and LeVeque 1983).
static Count batch_statistics(const Word* features, const Word* weights, const Command& c, const Map& x, int tile,
                              float mean[T], float variance[T]) {
  const float share = 1.0f / static_cast<float>(c.images * c.rows_in * c.cols_in);
  float k[2][T], total[2][T];
  read_vector(features, row_beat(x, 0, tile, 0, 0), k[0]);
share_lane:
  for (int m = 0; m < T; ++m) {
    HLS(UNROLL)
    k[1][m] = share;
  }
  Count count = sum_tile(features, weights, c, x, x, SUM_ALONE, tile, k, total);
mean_lane:
  for (int m = 0; m < T; ++m) {
    HLS(PIPELINE off)
    mean[m] = k[0][m] + total[0][m];
    k[0][m] = mean[m];
  }
  const Count second = sum_tile(features, weights, c, x, x, SUM_SQUARED, tile, k, total);
  count.steps += second.steps;
  count.passes += second.passes;
variance_lane:
  for (int m = 0; m < T; ++m) {
    HLS(PIPELINE off)
    const float v = finite(total[0][m]) ? total[0][m] - total[1][m] * total[1][m] : total[0][m];
    variance[m] = v < 0.0f ? 0.0f : v;
  }
  return count;
}

// All channels are judged before the first word is written: y0 keeps means, y1 inverse deviations,
// w0 variances, one channel tile a row.
static int statistics(const Word* features, const Word* weights, Word* results, const Command& c, const Places& at,
                      bool follows, float share, Count& count) {
  HLS(INLINE off)
  const Map x = map_of(at.src, c.n, c.rows_in, c.cols_in, T);
  const int pitch = x.tiles * QUADS;
  bool good = true;
stat_tile:
  for (int tile = 0; tile < x.tiles; ++tile) {
    float mean[T], variance[T];
    if (has(c, FLAG_FROZEN)) {
      read_vector(features, at.dst.beat + tile * QUADS, mean);
      read_vector(features, at.dst.beat + pitch + tile * QUADS, variance);
    } else {
      const Count one = batch_statistics(features, weights, c, x, tile, mean, variance);
      count.steps += one.steps;
      count.passes += one.passes;
    }
  stat_lane:
    for (int m = 0; m < T; ++m) {
      HLS(PIPELINE off)
      const bool padded = tile * T + m >= c.n;
      const float inverse = padded ? 0.0f : inverse_root(variance[m] + c.scalar);
      good = good && (padded || (finite(mean[m]) && finite(inverse)));
      y0[0][tile][m] = padded ? 0.0f : mean[m];
      y1[0][tile][m] = inverse;
      w0[tile / T][tile % T][m] = padded ? 0.0f : variance[m];
    }
  }
  if (!good) return STATUS_NONFINITE;
  const float values = static_cast<float>(c.images * c.rows_in * c.cols_in);
  const float unbiased = values / (values > 1.0f ? values - 1.0f : 1.0f);
stat_write:
  for (int tile = 0; tile < x.tiles; ++tile) {
    write_vector(results, at.extra.beat + tile * QUADS, false, y0[0][tile]);
    write_vector(results, at.extra.beat + pitch + tile * QUADS, false, y1[0][tile]);
    if (follows) {
      float mean[T], variance[T];
      read_vector(results, at.dst.beat + tile * QUADS, mean);
      read_vector(results, at.dst.beat + pitch + tile * QUADS, variance);
    follow_lane:
      for (int m = 0; m < T; ++m) {
        HLS(PIPELINE off)
        const float wide = w0[tile / T][tile % T][m] * unbiased;
        mean[m] = mean[m] + share * (y0[0][tile][m] - mean[m]);
        variance[m] = variance[m] + share * (wide - variance[m]);
      }
      write_vector(results, at.dst.beat + tile * QUADS, false, mean);
      write_vector(results, at.dst.beat + pitch + tile * QUADS, false, variance);
    }
  }
  return STATUS_OK;
}

// BN_SUM, BIAS_WU: sums that are written as they are, or added.
static void channel_sums(const Word* features, const Word* weights, Word* results, const Command& c,
                         const Places& at, bool named, Count& count) {
  HLS(INLINE off)
  const bool norm = c.op == OP_BN_SUM, adds = has(c, FLAG_ACCUMULATE);
  const Map x = map_of(at.src, c.n, c.rows_in, c.cols_in, T);
  const Map dy = map_of(at.aux, c.n, c.rows_in, c.cols_in, T);
  const int pitch = x.tiles * QUADS;
channel_tile:
  for (int tile = 0; tile < x.tiles; ++tile) {
    float k[2][T], total[2][T];
    if (norm) {
      read_vector(features, at.extra.beat + tile * QUADS, k[0]);
      read_vector(features, at.extra.beat + pitch + tile * QUADS, k[1]);
    } else {
    channel_none:
      for (int m = 0; m < T; ++m) {
        HLS(UNROLL)
        k[0][m] = 0.0f;
        k[1][m] = 1.0f;
      }
    }
    const Count one = sum_tile(features, weights, c, x, dy, norm ? SUM_ALONG : SUM_ALONE, tile, k, total);
    count.steps += one.steps;
    count.passes += one.passes;
    if (norm) {
      write_vector(results, at.extra.beat + 2 * pitch + tile * QUADS, false, total[0]);
      write_vector(results, at.extra.beat + 3 * pitch + tile * QUADS, false, total[1]);
    }
    if (named) write_vector(results, at.dst.beat + tile * QUADS, adds, total[0]);
    if (named && norm) write_vector(results, at.dst.beat + pitch + tile * QUADS, adds, total[1]);
  }
}

}  // namespace eft
