// Commands on maps, gradients and words as sequences of passes. The pipeline runs on across output tiles and drains
// once a command.
#pragma once
#include "stages.h"

namespace eft {

static Count drain(const Word* features, const Word* weights, Word* results, const Work& k, Flow& f) {
  const Pass none = no_pass();
drain_stage:
  for (int i = 0; i < 2; ++i) push(features, weights, results, k, f, none);
  return f.count;
}

// Output channel tiles whose weights stay on chip while all images pass (M_on / T): as many as fit,
// in pairs of passes, one of each weight buffer. With an odd number of passes a tile meets its weights
// in either buffer by turns: then both hold all of them.
inline bool resident(int visits, int taps) {
  const int room = W_DEPTH / taps;
  return visits % 2 == 0 ? visits <= 2 * room : visits <= room;
}

inline int resident_tiles(int out_tiles, int per_tile, int taps) {
  int group = least(out_tiles, most(1, 2 * (W_DEPTH / taps) / per_tile));
  if (group > 1 && !resident(group * per_tile, taps)) --group;
  return resident(group * per_tile, taps) ? group : out_tiles;
}

static Count walk_maps(const Word* features, const Word* weights, Word* results, const Work& k) {
  HLS(INLINE off)
  const Tiling& t = k.tiling;
  const int taps = t.tap_rows * t.tap_cols;
  const int per_tile = k.in_tiles * ceil_div(k.rows.taps, t.tap_rows) * ceil_div(k.cols.taps, t.tap_cols);
  const bool weighs = k.kind == ARRAY && !k.unit;
  const int group = weighs ? resident_tiles(k.out_tiles, per_tile, taps) : k.out_tiles;
  Flow flow = idle_flow();
  Pass p = no_pass();
  p.valid = true;
map_group:
  for (int out0 = 0; out0 < k.out_tiles; out0 += group) {
    const int outs = least(group, k.out_tiles - out0), visits = outs * per_tile;
    const bool stays = weighs && resident(visits, taps);
    const int rounds = visits % 2 == 0 ? 1 : 2;  // until all weights are in their buffers
    int round = 0;
  map_image:
    for (p.image = 0; p.image < k.c.images; p.image += t.images) {
      p.images = least(t.images, k.c.images - p.image);
    map_row:
      for (int row = 0; row < k.rows.out; row += t.rows) {
      map_col:
        for (int col = 0; col < k.cols.out; col += t.cols) {
          int visit = 0;
        map_out:
          for (int out = out0; out < out0 + outs; ++out) {
            p.out_tile = written_tile(k, out);
          map_in:
            for (int in = 0; in < k.in_tiles; ++in) {
              p.in_tile = k.channelwise ? p.out_tile : in;
            map_tap_row:
              for (int i = 0; i < k.rows.taps; i += t.tap_rows) {
                p.rows = span_of(k.rows, row, least(t.rows, k.rows.out - row), i, least(t.tap_rows, k.rows.taps - i));
              map_tap_col:
                for (int j = 0; j < k.cols.taps; j += t.tap_cols) {
                  p.cols =
                      span_of(k.cols, col, least(t.cols, k.cols.out - col), j, least(t.tap_cols, k.cols.taps - j));
                  p.first = in == 0;
                  p.last = in == k.in_tiles - 1 && i + t.tap_rows >= k.rows.taps && j + t.tap_cols >= k.cols.taps;
                  p.fresh = !stays || round < rounds;
                  p.slot = !stays ? 0 : (rounds == 1 ? visit / 2 : visit) * taps;
                  push(features, weights, results, k, flow, p);
                  ++visit;
                }
              }
            }
          }
          ++round;
        }
      }
    }
  }
  return drain(features, weights, results, k, flow);
}

// Weight gradients: one tile of them stays in the weight buffer while all images of the command pass.
static Count walk_gradient(const Word* features, const Word* weights, Word* results, const Work& k) {
  HLS(INLINE off)
  const Tiling& t = k.tiling;
  Flow flow = idle_flow();
  Pass p = no_pass();
  p.valid = true;
gradient_out:
  for (int out = 0; out < k.out_tiles; ++out) {
    p.out_tile = out;
  gradient_in:
    for (int in = 0; in < k.in_tiles; ++in) {
      p.in_tile = k.channelwise ? out : in;
    gradient_tap_row:
      for (int i = 0; i < k.rows.taps; i += t.tap_rows) {
      gradient_tap_col:
        for (int j = 0; j < k.cols.taps; j += t.tap_cols) {
          p.bias = has(k.c, FLAG_BIAS) && in == 0 && i == 0 && j == 0;
          p.first = true;
        gradient_image:
          for (p.image = 0; p.image < k.c.images; p.image += t.images) {
            p.images = least(t.images, k.c.images - p.image);
          gradient_row:
            for (int row = 0; row < k.rows.out; row += t.rows) {
              p.rows = span_of(k.rows, row, least(t.rows, k.rows.out - row), i, least(t.tap_rows, k.rows.taps - i));
            gradient_col:
              for (int col = 0; col < k.cols.out; col += t.cols) {
                p.cols = span_of(k.cols, col, least(t.cols, k.cols.out - col), j, least(t.tap_cols, k.cols.taps - j));
                p.last = p.image + p.images >= k.c.images && row + t.rows >= k.rows.out && col + t.cols >= k.cols.out;
                push(features, weights, results, k, flow, p);
                p.first = false;
              }
            }
          }
        }
      }
    }
  }
  return drain(features, weights, results, k, flow);
}

// UPDATE: gradients come in and weights step on their way out, as those of a CONV_WU with STEP do.
static Count walk_words(const Word* features, const Word* weights, Word* results, const Work& k) {
  HLS(INLINE off)
  const int rows = ceil_div(k.c.count, T), most_rows = PIXELS * Y_WORDS;
  Flow flow = idle_flow();
  Pass p = no_pass();
  p.valid = p.first = p.last = true;
words_pass:
  for (p.image = 0; p.image < rows; p.image += most_rows) {
    p.images = least(most_rows, rows - p.image);
    push(features, weights, results, k, flow, p);
  }
  return drain(features, weights, results, k, flow);
}

}  // namespace eft
