// The three stages that a pass goes through, and the pipeline that runs them at once, on different buffers and
// ports: the next pass is loaded while this one is computed and the tile before is stored.
#pragma once
#include "array.h"
#include "lanes.h"
#include "store.h"

namespace eft {

// The on-chip buffers, two of each.
static float x0[COPIES][X_DEPTH][T], x1[COPIES][X_DEPTH][T];  // pixels read
static float y0[PIXELS][Y_WORDS][T], y1[PIXELS][Y_WORDS][T];  // pixels written; WU: of dy; elements: read
static float w0[W_DEPTH][T][T], w1[W_DEPTH][T][T];            // weights; WU: their gradient
static float g0[PIXELS][Y_WORDS][T];                          // WU: a gradient on its way out, and one is enough
static float c0[COEFFICIENTS][T], c1[COEFFICIENTS][T];        // of elements

// Coefficients of a channel tile, from the vectors of batch normalisation. Other commands have none.
static void load_coefficients(const Word* port, const Work& k, const Pass& p, float c[COEFFICIENTS][T]) {
  HLS(INLINE off)
  const bool back = k.c.op == OP_BN_BP, norm = back || k.c.op == OP_BN_FP, cross = k.finish.crosses;
  float v[3][2][T];  // gamma and beta; mean and inverse deviation; sums of dy * xhat and of dy
  HLS(ARRAY_PARTITION variable=v complete dim=1)
  HLS(ARRAY_PARTITION variable=v complete dim=2)
coefficient_vector:
  for (int i = 0; i < (norm ? 3 : 0); ++i) {
    HLS(LOOP_TRIPCOUNT min=0 max=3)
    if (i == 2 && !cross) break;
    const int beat = k.vectors[i].beat + p.out_tile * QUADS;
    read_vector(port, beat, v[i][0]);
    read_vector(port, beat + k.vector_pitch, v[i][1]);
  }
  const float share = 1.0f / static_cast<float>(most(k.c.count, 1));
coefficient_channel:
  for (int m = 0; m < T; ++m) {
    HLS(PIPELINE off)
    c[SHIFT_A][m] = c[SHIFT_B][m] = NOTHING;
    c[SCALE_A][m] = k.finish.drop.scale;
    c[SCALE_B][m] = 1.0f;
    c[OFFSET][m] = 0.0f;
    if (norm) {
      const float beta = v[0][1][m], mean = v[1][0][m], inverse = v[1][1][m];
      c[SCALE_A][m] = v[0][0][m] * inverse;
      if (cross) {
        c[SHIFT_A][m] = -(v[2][1][m] * share);
        c[SHIFT_B][m] = -mean;
        c[SCALE_B][m] = -(c[SCALE_A][m] * inverse) * (v[2][0][m] * share);
      } else if (!back) {
        c[SHIFT_A][m] = -mean;
        c[OFFSET][m] = beta == 0.0f ? 0.0f : beta;
      }
    }
  }
}

static void load_elements(const Word* features, const Word* weights, const Work& k, const Pass& p,
                          float y[PIXELS][Y_WORDS][T], float c[COEFFICIENTS][T]) {
  HLS(INLINE off)
  if (!p.valid) return;
  if (k.kind == WORDS) {
    load_rows(features, k.in.place.beat + p.image * QUADS, ceil_div(words_of(k, p), BEAT_WORDS), y);
    return;
  }
  const Box box = input_box(p);
  const int a = p.out_tile + floor_div(concat_offset(k.c), T);
  if (joins(k.c)) load_tiles(features, weights, k.in, k.second, p.out_tile, box, y);
  else if (a >= 0 && a < k.in.tiles) load_tile(features, k.in, a, box, 0, y);
  if (k.finish.turn > 0 && a + 1 < k.in.tiles) load_tile(features, k.in, a + 1, box, HALF, y);
  load_coefficients(weights, k, p, c);
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
  const bool windows = k.kind == MAXIMUM_BACK;
  load_box(features, k.in, p.in_tile, input_box(p), k.cols.fold, windows ? X_DEPTH / 2 : 0, x);
  if (windows) {
    const Windows v = windows_of(k, p);
    const Box box = {p.image, p.images, v.row.in, v.row.ins, v.col.in, v.col.ins};
    load_box(features, k.second, p.in_tile, box, 1, 0, x);
  }
  if (k.kind == ARRAY && p.fresh) {
    if (k.unit) load_unit(w);
    else load_weights(weights, k.kernel, p, w);
  }
}

static int compute(const Work& k, const Pass& p, float x[COPIES][X_DEPTH][T], float w[W_DEPTH][T][T],
                   float y[PIXELS][Y_WORDS][T]) {
  HLS(INLINE off)
  if (!p.valid) return 0;
  int steps = 0;
  switch (k.kind) {
    case MAXIMUM:
      steps += maxima(k.rows, k.cols, p, x, y);
      break;
    case MAXIMUM_BACK:
      steps += first_maxima(windows_of(k, p), p.images, x, w);
      steps += scatter_maxima(k.rows, k.cols, p, x, w, y);
      break;
    default:
      if (k.c.op == OP_AVG_BP && has(k.c, FLAG_EXCLUDE_PAD)) {
        steps += share_windows(k.window_rows, k.window_cols, p, x);
      }
      steps += convolve(k.kind == GRADIENT, k.channelwise, k.rows, k.cols, p, k.unit ? 0 : 1, x, w, y);
      if (k.kind == GRADIENT && p.last) steps += fold_partials(p, w);
  }
  return steps;
}

static void load_pair(const Word* features, const Word* weights, const Work& k, const Pass& p,
                      float x[COPIES][X_DEPTH][T], float y[PIXELS][Y_WORDS][T]) {
  HLS(INLINE off)
  if (!p.valid) return;
  load_box(features, k.in, p.in_tile, input_box(p), k.cols.fold, 0, x);
  load_tile(weights, k.second, p.out_tile, output_box(p), 0, y);
}

static void unload(const Work& k, const Pass& p, const float w[W_DEPTH][T][T], float y[PIXELS][Y_WORDS][T]) {
  HLS(INLINE off)
  if (p.valid && p.last) unload_weights(k.kernel, p, w, y);
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

// One step of the pipeline with buffers in fixed roles. Vitis runs the calls at once, because they share neither
// an array nor a port; only a gradient is unloaded before it is stored.
static bool map_stage(const Word* features, const Word* weights, Word* results, const Work& k, Flow& f,
                      const Pass& next, float x[COPIES][X_DEPTH][T], float w[W_DEPTH][T][T],
                      float xc[COPIES][X_DEPTH][T], float wc[W_DEPTH][T][T], float yc[PIXELS][Y_WORDS][T],
                      const float ys[PIXELS][Y_WORDS][T]) {
  HLS(INLINE)
  load(features, weights, k, next, x, w);
  f.count.steps += compute(k, f.now, xc, wc, yc);
  return store(results, k, f.done, ys, c0);
}

static bool gradient_stage(const Word* features, const Word* weights, Word* results, const Work& k, Flow& f,
                           const Pass& next, float x[COPIES][X_DEPTH][T], float y[PIXELS][Y_WORDS][T],
                           float xc[COPIES][X_DEPTH][T], float yc[PIXELS][Y_WORDS][T],
                           float wc[W_DEPTH][T][T], const float ws[W_DEPTH][T][T]) {
  HLS(INLINE)
  load_pair(features, weights, k, next, x, y);
  f.count.steps += compute(k, f.now, xc, wc, yc);
  unload(k, f.done, ws, g0);
  return store(results, k, f.done, g0, c0);
}

// What nothing computes is stored as soon as it is loaded.
static bool element_stage(const Word* features, const Word* weights, Word* results, const Work& k, Flow& f,
                          const Pass& next, float y[PIXELS][Y_WORDS][T], float c[COEFFICIENTS][T],
                          const float ys[PIXELS][Y_WORDS][T], const float cs[COEFFICIENTS][T]) {
  HLS(INLINE)
  load_elements(features, weights, k, next, y, c);
  if (f.now.valid) {
    const int words = k.kind == WORDS ? words_of(k, f.now) : f.now.images * f.now.rows.outs * f.now.cols.outs * T;
    f.count.steps += ceil_div(words, BEAT_WORDS);
  }
  return store(results, k, f.now, ys, cs);
}

// Hands the pipeline its next pass; one that is not valid drains it.
static void push(const Word* features, const Word* weights, Word* results, const Work& k, Flow& f, const Pass& next) {
  HLS(INLINE off)
  HLS(ALLOCATION function instances=compute limit=1)
  HLS(ALLOCATION function instances=load limit=1)
  HLS(ALLOCATION function instances=load_pair limit=1)
  HLS(ALLOCATION function instances=load_elements limit=1)
  HLS(ALLOCATION function instances=unload limit=1)
  HLS(ALLOCATION function instances=store limit=1)
  bool good;
  if (k.kind == ELEMENTS || k.kind == WORDS) {
    if (!f.turn) good = element_stage(features, weights, results, k, f, next, y0, c0, y1, c1);
    else good = element_stage(features, weights, results, k, f, next, y1, c1, y0, c0);
  } else if (k.kind == GRADIENT) {
    if (!f.turn && !f.tile) good = gradient_stage(features, weights, results, k, f, next, x0, y0, x1, y1, w0, w1);
    else if (!f.turn) good = gradient_stage(features, weights, results, k, f, next, x0, y0, x1, y1, w1, w0);
    else if (!f.tile) good = gradient_stage(features, weights, results, k, f, next, x1, y1, x0, y0, w0, w1);
    else good = gradient_stage(features, weights, results, k, f, next, x1, y1, x0, y0, w1, w0);
  } else {
    if (!f.turn && !f.tile) good = map_stage(features, weights, results, k, f, next, x0, w0, x1, w1, y0, y1);
    else if (!f.turn) good = map_stage(features, weights, results, k, f, next, x0, w0, x1, w1, y1, y0);
    else if (!f.tile) good = map_stage(features, weights, results, k, f, next, x1, w1, x0, w0, y0, y1);
    else good = map_stage(features, weights, results, k, f, next, x1, w1, x0, w0, y1, y0);
  }
  f.count.finite = f.count.finite && good;
  f.count.passes += next.valid ? 1 : 0;
  if (f.now.valid && f.now.last) f.tile = !f.tile;
  f.turn = !f.turn;
  f.done = f.now;
  f.now = next;
}

}  // namespace eft
