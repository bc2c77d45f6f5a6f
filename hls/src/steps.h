// The steps of a loop over a tile: the pairs of pixels that each joins, tap by tap or, for weight gradients,
// in groups of words. Integers only.
#pragma once
#include "geometry.h"

namespace eft {

// One tap over a tile: the pairs of pixels that it joins, `pace` of a row (1 or PIXELS) a step.
struct Sweep {
  Line rows, cols;
  int in_rows, in_cols, out_rows;
  int pace, set_words, row_words;
};

inline Sweep sweep_of(const Axis& rows, const Axis& cols, const Span& row, const Span& col, int pace) {
  Sweep s;
  s.rows = first_line(rows, row);
  s.cols = first_line(cols, col);
  s.in_rows = row.ins;
  s.in_cols = col.ins;
  s.out_rows = row.outs;
  s.pace = pace;
  s.set_words = set_words(undone(cols), col.outs);
  s.row_words = row_words(undone(cols), col.outs);
  return s;
}

// Steps over `count` pixels of a row.
inline int steps_over(int count, int pace) { return pace == 1 ? count : ceil_div(count, PIXELS); }

// Whether a step has a pixel number `lane`: the last of a row may have fewer. A step's column counts steps.
inline bool has_pixel(const Sweep& s, const Pixel& step, int lane) { return step.col * s.pace + lane < s.cols.count; }

// Its index in the feature buffer, or -1 beyond the map.
inline int input_of(const Sweep& s, const Pixel& step, int lane) {
  const int row = s.rows.in + step.row * s.rows.in_step;
  const int col = s.cols.in + step.col * s.pace * s.cols.in_step + lane * s.cols.in_step;
  const bool inside = row >= 0 && row < s.in_rows && col >= 0 && col < s.in_cols;
  return inside ? (step.image * s.in_rows + row) * s.in_cols + col : -1;
}

// All taps of a tile, one sweep behind the other, so that a single loop runs through them without a
// pause. A sweep takes at least REVISIT iterations, short ones run empty: an accumulator comes round
// once a sweep at most, which is what DEPENDENCE pragmas promise.
struct Taps {
  Axis rows, cols;
  Sweep sweep;
  Line first_col;
  Pixel at;
  Seat seat;                    // of the step's first pixel, in its set of words
  int row, col, tap, col_taps;  // of the tile's taps
  int k, area, wide;            // of the sweep's steps; of those over a row
  int areas[2][2], wides[2];    // of a sweep, by whether a dimension has one more than its least
};

inline int sweep_steps(int area) { return most(area, REVISIT); }

inline int area_index(const Axis& a, const Line& l) { return a.back && l.out < l.rest ? 1 : 0; }

inline void set_area(Taps& t) {
  const int wide = area_index(t.cols, t.sweep.cols);
  t.wide = t.wides[wide];
  t.area = t.areas[area_index(t.rows, t.sweep.rows)][wide];
}

inline Taps taps_of(const Axis& rows, const Axis& cols, const Span& row, const Span& col, int images, int pace) {
  Taps t;
  t.rows = rows;
  t.cols = cols;
  t.sweep = sweep_of(rows, cols, row, col, pace);
  t.first_col = t.sweep.cols;
  t.at.image = t.at.row = t.at.col = t.row = t.col = t.tap = t.k = t.seat.bank = t.seat.word = 0;
  t.col_taps = col.taps;
area_col:
  for (int c = 0; c < 2; ++c) {
    HLS(UNROLL)
    t.wides[c] = steps_over(t.first_col.whole + c, pace);
  area_row:
    for (int r = 0; r < 2; ++r) {
      HLS(UNROLL)
      t.areas[r][c] = images * (t.sweep.rows.whole + r) * t.wides[c];
    }
  }
  set_area(t);
  return t;
}

// To the next step, or to the first of the next tap.
inline void advance(Taps& t) {
  advance(t.at, t.sweep.rows.count, t.wide);
  advance(t.seat, t.sweep.pace);
  if (t.at.col == 0) t.seat.bank = t.seat.word = 0;
  if (++t.k < sweep_steps(t.area)) return;
  t.k = t.at.image = t.at.row = t.at.col = t.seat.bank = t.seat.word = 0;
  ++t.tap;
  next_line(t.cols, t.sweep.cols);
  if (++t.col == t.col_taps) {
    t.col = 0;
    ++t.row;
    t.sweep.cols = t.first_col;
    next_line(t.rows, t.sweep.rows);
  }
  set_area(t);
}

// Iterations of all sweeps.
static int steps_of(const Axis& rows, const Axis& cols, const Span& row, const Span& col, int images, int pace) {
  const Taps t = taps_of(rows, cols, row, col, images, pace);
  Line r = t.sweep.rows;
  int steps = 0;
steps_row:
  for (int i = 0; i < row.taps; ++i) {
    HLS(LOOP_TRIPCOUNT min=1 max=11)
    Line c = t.first_col;
  steps_col:
    for (int j = 0; j < col.taps; ++j) {
      HLS(PIPELINE II=1)
      HLS(LOOP_TRIPCOUNT min=1 max=11)
      steps += sweep_steps(t.areas[area_index(rows, r)][area_index(cols, c)]);
      next_line(cols, c);
    }
    next_line(rows, r);
  }
  return steps;
}

// Where the step at hand reads, -1 beyond the map, and the word it writes, -1 if the sweep runs empty.
inline int input_of(const Taps& t, int lane) { return t.k < t.area ? input_of(t.sweep, t.at, lane) : -1; }
inline int word_of(const Taps& t) {
  const Sweep& s = t.sweep;
  const int row = t.at.image * s.out_rows + s.rows.out + t.at.row * s.rows.out_step;
  return t.k < t.area ? row * s.row_words + s.cols.out * s.set_words + t.seat.word : -1;
}

inline int tile_words(const Axis& cols, const Pass& p) {
  return p.images * p.rows.outs * row_words(undone(cols), p.cols.outs);
}

// Partial sums of a weight gradient with `taps` taps, a power of two: the accumulator of a tap must
// not come round before REVISIT iterations.
inline int partial_sums(int taps) {
  int n = 1;
partial_double:
  for (int i = 0; i < 8; ++i) {
    HLS(UNROLL)
    if (n * taps < REVISIT) n *= 2;
  }
  return n;
}

// Weight gradients take the words of dy of a pass `partials` at a time, each group tap by tap; partial sum
// q of a tap lies `q * taps` slots behind. The bias gradient is one more tap, whose pixels are (1, 0, ...).
struct Groups {
  Axis rows, cols;
  Sweep sweep;
  Line first_row, first_col;
  Pixel group, at;
  int words, wide, partials, taps, kernel, col_taps;
  int before, tap, col, q;
};

inline Groups groups_of(const Axis& rows, const Axis& cols, const Pass& p) {
  Groups g;
  g.rows = rows;
  g.cols = cols;
  g.sweep = sweep_of(rows, cols, p.rows, p.cols, PIXELS);
  g.first_row = g.sweep.rows;
  g.first_col = g.sweep.cols;
  g.at.image = g.at.row = g.at.col = g.before = g.tap = g.col = g.q = 0;
  g.group = g.at;
  g.words = tile_words(cols, p);
  g.wide = steps_over(p.cols.outs, PIXELS);
  g.kernel = p.rows.taps * p.cols.taps;
  g.taps = g.kernel + (p.bias ? 1 : 0);
  g.partials = partial_sums(g.taps);
  g.col_taps = p.cols.taps;
  return g;
}

inline int steps_of(const Groups& g) { return ceil_div(g.words, g.partials) * g.partials * g.taps; }

// To the next word of the group, or the first of the next tap, or the next group.
inline void advance(Groups& g) {
  advance(g.at, g.sweep.out_rows, g.wide);
  if (++g.q < g.partials) return;
  g.q = 0;
  next_line(g.cols, g.sweep.cols);
  if (++g.col == g.col_taps) {
    g.col = 0;
    g.sweep.cols = g.first_col;
    next_line(g.rows, g.sweep.rows);
  }
  if (++g.tap == g.taps) {
    g.tap = g.col = 0;
    g.sweep.rows = g.first_row;
    g.sweep.cols = g.first_col;
    g.group = g.at;
    g.before += g.partials;
  }
  g.at = g.group;
}

}  // namespace eft
