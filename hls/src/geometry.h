// Which pixels a tile needs, where they lie on chip, and how a command is cut. Integers only; no memory is
// touched here.
//
// One dimension (rows, or columns) of a command is an Axis; a tile's part of it is a Span; the pixels
// that one tap joins within a tile are a Line.
#pragma once
#include "word.h"

namespace eft {

// Forward:  input = output * stride + tap * fold - pad
// Backward: output = input * stride + tap - pad, the map that is written being the larger one
struct Axis {
  int in, out;  // pixels of the map that is read, and of the one that is written
  int taps, stride, pad;
  int fold;  // input pixels that share the lanes of one pixel: a narrow network input
  bool back;
};

struct Span {
  int out, outs;  // first output pixel, and how many
  int tap, taps;
  int in, ins;  // input pixels that they need, within the map (if folded: also beyond its edges)
};

// Input pixels that `outs` output pixels need, at most.
inline int inputs_of(const Axis& a, int outs, int taps) {
  const int need = a.back ? (outs + taps - 2) / a.stride + 1 : (outs - 1) * a.stride + (taps - 1) * a.fold + 1;
  return a.fold > 1 ? need : least(need, a.in);
}

// The most output pixels whose inputs fit a room of input pixels; 0 if none.
inline int outputs_for(const Axis& a, int room, int taps) {
  if (a.fold == 1 && a.in <= room) return a.out;
  const int first = a.back ? 1 : (taps - 1) * a.fold + 1;
  if (room < first) return 0;
  const int fit = a.back ? room * a.stride - taps + 1 : (room - first) / a.stride + 1;
  return most(0, least(fit, a.out));
}

inline Span span_of(const Axis& a, int out, int outs, int tap, int taps) {
  int low, high;
  if (a.back) {
    low = -floor_div(tap + taps - 1 - out - a.pad, a.stride);
    high = floor_div(out + outs - 1 + a.pad - tap, a.stride) + 1;
  } else {
    low = out * a.stride + tap * a.fold - a.pad;
    high = (out + outs - 1) * a.stride + (tap + taps - 1) * a.fold - a.pad + 1;
  }
  if (a.fold == 1) {
    low = most(low, 0);
    high = least(high, a.in);
  }
  const Span s = {out, outs, tap, taps, low, most(high - low, 0)};
  return s;
}

// Pixels of a tile that a tap joins: output `out + i * out_step` with input `in + i * in_step`, both
// counted from the tile's first.
struct Line {
  int count, out, out_step, in, in_step;
  int whole, rest;  // outputs of a tile in strides, and behind the last whole one
};

inline Line first_line(const Axis& a, const Span& s) {
  Line l;
  if (a.back) {
    l.whole = s.outs / a.stride;
    l.rest = s.outs % a.stride;
    l.out = modulo(s.tap - a.pad - s.out, a.stride);
    l.out_step = a.stride;
    l.in = floor_div(s.out + l.out + a.pad - s.tap, a.stride) - s.in;
    l.in_step = 1;
    l.count = l.whole + (l.out < l.rest ? 1 : 0);
  } else {
    l.whole = l.count = s.outs;
    l.rest = l.out = 0;
    l.out_step = 1;
    l.in = s.out * a.stride + s.tap * a.fold - a.pad - s.in;
    l.in_step = a.stride;
  }
  return l;
}

// The next tap's line, without a division.
inline void next_line(const Axis& a, Line& l) {
  if (!a.back) {
    l.in += a.fold;
    return;
  }
  if (++l.out == a.stride) {
    l.out = 0;
    l.in -= 1;
  }
  l.count = l.whole + (l.out < l.rest ? 1 : 0);
}

// How many elements of a window lie inside the map, along one dimension (forward).
inline int inside_of(const Axis& a, int output) {
  const int low = output * a.stride - a.pad;
  return most(0, least(low + a.taps, a.in) - most(low, 0));
}

// What each element counts for in the mean over what lies inside.
inline float window_share(const Axis& rows, const Axis& cols, int row, int col) {
  return 1.0f / static_cast<float>(most(1, inside_of(rows, row) * inside_of(cols, col)));
}

// An output buffer has PIXELS banks; a word, at one address of them all, holds PIXELS neighbours of a row,
// the last of a row perhaps fewer. Where a stride is undone, neighbours are pixels of one residue of the
// stride, which one tap meets: a row is so many sets of words. A step of the array takes one word.
inline int undone(const Axis& a) { return a.back ? a.stride : 1; }

inline int row_sets(int stride, int outs) { return most(1, least(stride, outs)); }

inline int set_words(int stride, int outs) { return ceil_div(outs, row_sets(stride, outs) * PIXELS); }

inline int row_words(int stride, int outs) { return row_sets(stride, outs) * set_words(stride, outs); }

// The most output pixels of a row that so many words hold.
inline int outputs_in(int stride, int words) {
  return words < stride ? words : words / stride * stride * PIXELS;
}

// How a command is cut: output pixels of a tile, images it spans, taps of a pass.
struct Tiling {
  int images, rows, cols;
  int tap_rows, tap_cols;
  bool fits;
};

// Rooms are pixels of the feature buffer, words of the output buffer, and taps of the weight buffer.
// Small maps share a tile, so that weights are used often and an accumulator rests long.
inline Tiling tiling_of(const Axis& rows, const Axis& cols, int images, int x_room, int y_room, int w_room) {
  Tiling t;
  t.tap_cols = least(cols.taps, w_room);
  t.tap_rows = least(rows.taps, w_room / t.tap_cols);
  t.tap_rows = least(t.tap_rows, most(1, x_room / inputs_of(cols, 1, t.tap_cols)));
  const int deep = inputs_of(rows, 1, t.tap_rows);
  t.cols = least(outputs_in(undone(cols), y_room), outputs_for(cols, x_room / deep, t.tap_cols));
  t.fits = t.cols > 0;
  if (!t.fits) return t;
  t.cols = even_part(cols.out, least(t.cols, cols.out));
  const int wide = inputs_of(cols, t.cols, t.tap_cols);
  const int words = row_words(undone(cols), t.cols);
  t.rows = least(least(rows.out, y_room / words), outputs_for(rows, x_room / wide, t.tap_rows));
  t.fits = t.rows > 0;
  if (!t.fits) return t;
  t.rows = even_part(rows.out, t.rows);
  t.images = 1;
  if (t.rows == rows.out && t.cols == cols.out) {
    const int area = inputs_of(rows, t.rows, t.tap_rows) * wide;
    t.images = most(1, least(images, least(x_room / most(area, 1), y_room / (t.rows * words))));
    t.images = even_part(images, t.images);
  }
  return t;
}

// One visit of the pipeline: what is loaded, computed, and stored behind it.
struct Pass {
  bool valid;
  bool first, last;  // of those that add up in one output tile
  bool fresh;        // its weights are not on chip yet
  int image, images;
  int in_tile, out_tile;  // channel tiles read and written
  int slot;               // of its first tap in the weight buffer
  bool bias;              // WU: it sums the bias gradient too
  Span rows, cols;
};

inline Pass no_pass() {
  const Span none = {0, 0, 0, 0, 0, 0};
  const Pass p = {false, false, false, false, 0, 0, 0, 0, 0, false, none, none};
  return p;
}

// A part of one channel tile of a map.
struct Box {
  int image, images, row, rows, col, cols;
};

inline Box input_box(const Pass& p) {
  const Box b = {p.image, p.images, p.rows.in, p.rows.ins, p.cols.in, p.cols.ins};
  return b;
}

inline Box output_box(const Pass& p) {
  const Box b = {p.image, p.images, p.rows.out, p.rows.outs, p.cols.out, p.cols.outs};
  return b;
}

// A counter over the pixels of a tile, columns fastest.
struct Pixel {
  int image, row, col;
};

inline void advance(Pixel& p, int rows, int cols) {
  if (++p.col < cols) return;
  p.col = 0;
  if (++p.row < rows) return;
  p.row = 0;
  ++p.image;
}

// A counter over the neighbours in a set of words: no division by PIXELS, which may be 3.
struct Seat {
  int bank, word;
};

inline void advance(Seat& s, int pace) {
  s.bank += pace;
  if (s.bank < PIXELS) return;
  s.bank = 0;
  ++s.word;
}

// A counter over the pixels of a tile in an output buffer, and where each lies.
struct Spot {
  Pixel at;
  int rows, cols, sets, set_words;
  int row, set, first;  // first word of the pixel's row; its set; the set's first word in the row
  Seat seat;
};

inline Spot first_spot(int stride, int rows, int cols) {
  const Spot s = {{0, 0, 0}, rows, cols, row_sets(stride, cols), set_words(stride, cols), 0, 0, 0, {0, 0}};
  return s;
}

inline int word_of(const Spot& s) { return s.row + s.first + s.seat.word; }

inline void advance(Spot& s) {
  advance(s.at, s.rows, s.cols);
  s.first += s.set_words;
  if (++s.set == s.sets) {
    s.set = s.first = 0;
    advance(s.seat, 1);
  }
  if (s.at.col == 0) {
    s.row += s.sets * s.set_words;
    s.set = s.first = s.seat.bank = s.seat.word = 0;
  }
}

}  // namespace eft
