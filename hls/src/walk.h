// Commands on maps: how each is set up, cut into passes, and driven through load, compute and store.
//
// The pipeline has three stages that work at once on different buffers and ports: the next pass is
// loaded while this one is computed and the tile before is stored. It runs on across output tiles and
// drains once a command.
#pragma once
#include "array.h"
#include "descend.h"
#include "lanes.h"

namespace eft {

// The on-chip buffers, two of each.
static float x0[COPIES][X_DEPTH][T], x1[COPIES][X_DEPTH][T];  // pixels read
static float y0[PIXELS][Y_WORDS][T], y1[PIXELS][Y_WORDS][T];  // pixels written; WU: of dy
static float w0[W_DEPTH][T][T], w1[W_DEPTH][T][T];            // weights; WU: their gradient

// Where a command's operands lie, as far as it has them.
struct Places {
  Place src, weights, dst, aux, extra;
};

enum Kind { ARRAY, GRADIENT, WORDS, MAXIMUM, MAXIMUM_BACK, ELEMENTS };

// A command that is walked: on maps, or an UPDATE, whose tiles are rows of T words.
struct Work {
  Command c;
  Kind kind;
  Axis rows, cols;
  Axis window_rows, window_cols;  // pooling: from outputs to inputs, in either phase
  Tiling tiling;
  int in_tiles, out_tiles;    // channel tiles added up, and written (WU: of n, of m)
  bool channelwise;           // each channel tile by itself
  bool unit;                  // weights are the unit matrix
  int first_tile, last_tile;  // CONCAT_FP: written are tiles from the first on, and the last
  Map in, second;             // read; WU: dy
  Kernel kernel;
  Step step;
  Finish finish;
  Dropout drop;
  Place vectors[3];  // of BN: gamma and beta; mean and inverse; BN_SUM's
  int vector_pitch;
};

inline Map map_of(const Place& place, int channels, int rows, int cols, int lanes) {
  const Map m = {place, tiles(channels), rows, cols, lanes / BEAT_WORDS};
  return m;
}

inline Axis axis_of(int in, int out, int taps, int stride, int pad, int fold, bool back) {
  const Axis a = {in, out, ceil_div(taps, fold), stride, pad, fold, back};
  return a;
}

inline Finish finish_of(const Command& c, const Map& map, const Places& at, bool back) {
  Finish f;
  f.map = map;
  f.bias = at.weights;
  f.mask = at.aux;
  f.add_bias = false;
  f.masks = back && has(c, FLAG_MASK);
  f.adds = back && has(c, FLAG_ACCUMULATE);
  f.flags = back && !f.masks ? 0 : c.flags;
  f.scale = 1.0f;
  f.slope = c.scalar;
  f.by_window = false;
  f.rows = axis_of(map.rows, map.rows, 1, 1, 0, 1, false);
  f.cols = axis_of(map.cols, map.cols, 1, 1, 0, 1, false);
  f.undone = 1;
  f.from = 0;
  f.until = f.channels = c.n;
  return f;
}

// Channel tile of a CONCAT's source that the first lane of a written tile comes from; its lane in it
// is `shift_of`. The lanes behind come from the next tile.
inline int concat_offset(const Command& c) {
  return c.op == OP_CONCAT_FP ? -c.axis : c.op == OP_CONCAT_BP ? c.axis : 0;
}
inline int shift_of(const Command& c) { return modulo(concat_offset(c), T); }

inline int written_tile(const Work& k, int index) {
  const int tile = k.first_tile + index;
  return tile > k.last_tile ? k.finish.map.tiles - 1 : tile;
}

static int load_elements(const Word* features, const Word* weights, const Work& k, const Pass& p,
                         float x[COPIES][X_DEPTH][T], float w[W_DEPTH][T][T]) {
  HLS(INLINE)
  const Command& c = k.c;
  const Box box = input_box(p);
  const int a = p.out_tile + floor_div(concat_offset(c), T), b = shift_of(c) > 0 ? a + 1 : a;
  const bool joined = c.op == OP_CONCAT_FP || c.op == OP_CONCAT_BP;
  if (joins(c)) {
    load_both(features, weights, k.in, k.second, p.out_tile, box, x);
  } else if (a >= 0 && a < k.in.tiles) {
    load_box(features, k.in, a, box, 1, 0, x);
  }
  if (joined && shift_of(c) > 0 && b < k.in.tiles) {
    load_box(features, k.in, b, box, 1, X_DEPTH / 2, x);
  }
  if (c.op == OP_BN_FP || c.op == OP_BN_BP) {
    const int tile = p.out_tile * QUADS;
    load_vectors(weights, k.vectors[0].beat + tile, k.vector_pitch, 2, 0, 0, w);
    load_vectors(weights, k.vectors[1].beat + tile, k.vector_pitch, 2, 0, 2, w);
    if (c.op == OP_BN_BP) load_vectors(weights, k.vectors[2].beat + tile, k.vector_pitch, 2, 1, 0, w);
  }
  return 0;
}

// The windows of a pass of maximum pooling backward, and the pixels they look at.
inline Windows windows_of(const Work& k, const Pass& p) {
  Windows v;
  v.rows = k.window_rows;
  v.cols = k.window_cols;
  v.row = span_of(v.rows, p.rows.in, p.rows.ins, 0, v.rows.taps);
  v.col = span_of(v.cols, p.cols.in, p.cols.ins, 0, v.cols.taps);
  return v;
}

static void load(const Word* features, const Word* weights, const Work& k, const Pass& p, float x[COPIES][X_DEPTH][T],
                 float w[W_DEPTH][T][T]) {
  HLS(INLINE off)
  if (!p.valid) return;
  if (k.kind == ELEMENTS) {
    load_elements(features, weights, k, p, x, w);
    return;
  }
  const bool windows = k.kind == MAXIMUM_BACK;
  load_box(features, k.in, p.in_tile, input_box(p), k.cols.fold, windows ? X_DEPTH / 2 : 0, x);
  if (windows) {
    const Windows v = windows_of(k, p);
    const Box box = {p.image, p.images, v.row.in, v.row.ins, v.col.in, v.col.ins};
    load_box(features, k.second, p.in_tile, box, 1, 0, x);
  }
  if (k.kind == ARRAY && p.fresh) {
    if (k.unit) {
      load_unit(w);
    } else {
      load_weights(weights, k.kernel, p, w);
    }
  }
}

// Rows of the feature buffer become rows of weights.
static int take_rows(int rows, const float x[COPIES][X_DEPTH][T], float w[W_DEPTH][T][T]) {
  HLS(INLINE off)
  int slot = 0, n = 0;
rows_row:
  for (int i = 0; i < rows; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=1 max=1024)
  rows_lane:
    for (int m = 0; m < T; ++m) {
      HLS(UNROLL)
      w[slot][n][m] = x[0][i][m];
    }
    if (++n == T) {
      n = 0;
      ++slot;
    }
  }
  return rows;
}

static int compute(const Work& k, const Pass& p, float x[COPIES][X_DEPTH][T], float w[W_DEPTH][T][T],
                   float y[PIXELS][Y_WORDS][T]) {
  HLS(INLINE off)
  if (!p.valid) return 0;
  int steps = 0;
  switch (k.kind) {
    case ARRAY:
    case GRADIENT:
      if (k.c.op == OP_AVG_BP && has(k.c, FLAG_EXCLUDE_PAD)) {
        steps += share_windows(k.window_rows, k.window_cols, p, x);
      }
      steps += convolve(k.kind == GRADIENT, k.channelwise, k.rows, k.cols, p, k.unit ? 0 : 1, x, w, y);
      if (k.kind == GRADIENT && p.last) steps += fold_partials(p, w);
      break;
    case WORDS:
      steps += take_rows(p.images, x, w);
      break;
    case MAXIMUM:
      steps += maxima(k.rows, k.cols, p, x, y);
      break;
    case MAXIMUM_BACK:
      steps += first_maxima(windows_of(k, p), p.images, x, w);
      steps += scatter_maxima(k.rows, k.cols, p, x, w, y);
      break;
    default:
      steps += elements(k.c, p, k.drop, shift_of(k.c), x, w, y);
  }
  return steps;
}

static void store(Word* results, const Work& k, const Pass& p, const float y[PIXELS][Y_WORDS][T]) {
  HLS(INLINE off)
  if (p.valid && p.last) store_box(results, k.finish, p.out_tile, output_box(p), y);
}

// Words of an UPDATE's pass.
inline int words_of(const Work& k, const Pass& p) { return least(k.c.count - p.image * T, p.images * T); }

static void load_pair(const Word* features, const Word* weights, const Work& k, const Pass& p,
                      float x[COPIES][X_DEPTH][T], float y[PIXELS][Y_WORDS][T]) {
  HLS(INLINE off)
  if (!p.valid) return;
  if (k.kind == WORDS) {
    load_words<X_DEPTH>(features, k.in.place.beat + p.image * QUADS, words_of(k, p), x[0]);
    return;
  }
  load_box(features, k.in, p.in_tile, input_box(p), k.cols.fold, 0, x);
  load_tile(weights, k.second, p.out_tile, output_box(p), y);
}

// Whether all weights moved that were to step.
static bool store_gradient(Word* results, const Work& k, const Pass& p, const float w[W_DEPTH][T][T]) {
  HLS(INLINE off)
  if (!p.valid || !p.last) return true;
  if (k.kind == GRADIENT) return store_weights(results, k.kernel, k.step, p, has(k.c, FLAG_ACCUMULATE), w);
  Weights at = first_weights(k.kernel, 0, 0);
  const int start = k.kernel.place.beat + p.image * QUADS;
  return store_taps(results, k.kernel, k.step, start, words_of(k, p), false, false, at, w);
}

// The passes in flight. `turn` says which buffers are loaded next, `tile` which hold the output.
struct Flow {
  Pass now, done;
  bool turn, tile;
  Count count;
};

inline Flow idle_flow() {
  Flow f;
  f.now = f.done = no_pass();
  f.turn = f.tile = false;
  f.count = {0, 0, true};
  return f;
}

// One step of the pipeline with buffers in fixed roles. Vitis runs the three calls at once, because
// they share neither an array nor a port.
static int map_stage(const Word* features, const Word* weights, Word* results, const Work& k, const Flow& f,
                     const Pass& next, float x[COPIES][X_DEPTH][T], float w[W_DEPTH][T][T],
                     float xc[COPIES][X_DEPTH][T], float wc[W_DEPTH][T][T], float yc[PIXELS][Y_WORDS][T],
                     const float ys[PIXELS][Y_WORDS][T]) {
  HLS(INLINE)
  load(features, weights, k, next, x, w);
  const int steps = compute(k, f.now, xc, wc, yc);
  store(results, k, f.done, ys);
  return steps;
}

static int gradient_stage(const Word* features, const Word* weights, Word* results, const Work& k, Flow& f,
                          const Pass& next, float x[COPIES][X_DEPTH][T], float y[PIXELS][Y_WORDS][T],
                          float xc[COPIES][X_DEPTH][T], float yc[PIXELS][Y_WORDS][T],
                          float wc[W_DEPTH][T][T], const float ws[W_DEPTH][T][T]) {
  HLS(INLINE)
  load_pair(features, weights, k, next, x, y);
  const int steps = compute(k, f.now, xc, wc, yc);
  const bool good = store_gradient(results, k, f.done, ws);
  f.count.finite = f.count.finite && good;
  return steps;
}

// Hands the pipeline its next pass; one that is not valid drains it.
static void push(const Word* features, const Word* weights, Word* results, const Work& k, Flow& f, const Pass& next) {
  HLS(INLINE off)
  HLS(ALLOCATION function instances=compute limit=1)
  HLS(ALLOCATION function instances=load limit=1)
  HLS(ALLOCATION function instances=store limit=1)
  int steps;
  if (k.kind == GRADIENT || k.kind == WORDS) {
    if (!f.turn && !f.tile) steps = gradient_stage(features, weights, results, k, f, next, x0, y0, x1, y1, w0, w1);
    else if (!f.turn) steps = gradient_stage(features, weights, results, k, f, next, x0, y0, x1, y1, w1, w0);
    else if (!f.tile) steps = gradient_stage(features, weights, results, k, f, next, x1, y1, x0, y0, w0, w1);
    else steps = gradient_stage(features, weights, results, k, f, next, x1, y1, x0, y0, w1, w0);
  } else {
    if (!f.turn && !f.tile) steps = map_stage(features, weights, results, k, f, next, x0, w0, x1, w1, y0, y1);
    else if (!f.turn) steps = map_stage(features, weights, results, k, f, next, x0, w0, x1, w1, y1, y0);
    else if (!f.tile) steps = map_stage(features, weights, results, k, f, next, x1, w1, x0, w0, y0, y1);
    else steps = map_stage(features, weights, results, k, f, next, x1, w1, x0, w0, y1, y0);
  }
  f.count.steps += steps;
  f.count.passes += next.valid ? 1 : 0;
  if (f.now.valid && f.now.last) f.tile = !f.tile;
  f.turn = !f.turn;
  f.done = f.now;
  f.now = next;
}

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
  const int rows = ceil_div(k.c.count, T), most_rows = least(X_DEPTH, W_DEPTH * T);
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
