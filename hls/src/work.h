// What a command is to the pipeline: kind, axes, maps, tiles, what finishes a store.
#pragma once
#include "unit.h"
#include "weights.h"

namespace eft {

// Where a command's operands lie, as far as it has them.
struct Places {
  Place src, weights, dst, aux, extra;
};

// ELEMENTS and WORDS are only led through the vector unit: nothing computes but the store.
enum Kind { ARRAY, GRADIENT, MAXIMUM, MAXIMUM_BACK, ELEMENTS, WORDS };

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

// Channel tile of a CONCAT's source that the first lane of a written tile comes from; its lane in it
// is `shift_of`. The lanes behind come from the next tile.
inline int concat_offset(const Command& c) {
  return c.op == OP_CONCAT_FP ? -c.axis : c.op == OP_CONCAT_BP ? c.axis : 0;
}
inline int shift_of(const Command& c) { return modulo(concat_offset(c), T); }

// Whether a command on elements has a second operand of its own.
inline bool crosses(const Command& c) { return c.op == OP_BN_BP && !has(c, FLAG_FROZEN); }
inline bool joins(const Command& c) { return c.op == OP_ADD_FP || crosses(c); }

inline Finish finish_of(const Command& c, const Map& map, const Places& at, bool back) {
  Finish f;
  f.map = map;
  f.bias = at.weights;
  f.mask = at.aux;
  f.add_bias = false;
  f.masks = back && has(c, FLAG_MASK);
  f.adds = back && has(c, FLAG_ACCUMULATE);
  f.joins = c.op == OP_ADD_FP;
  f.crosses = crosses(c);
  f.turn = shift_of(c);
  f.drop = dropout_of(c, 0);
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

// Of words that are no map: a weight gradient, or what an UPDATE steps.
inline Finish plain_finish(const Command& c, const Places& at) {
  Finish f = finish_of(c, map_of(at.dst, T, 1, 1, T), at, true);
  f.masks = false;
  f.flags = 0;
  f.until = f.channels = 1 << 30;
  return f;
}

inline int written_tile(const Work& k, int index) {
  const int tile = k.first_tile + index;
  return tile > k.last_tile ? k.finish.map.tiles - 1 : tile;
}

// Words of an UPDATE's pass.
inline int words_of(const Work& k, const Pass& p) { return least(k.c.count - p.image * T, p.images * T); }

}  // namespace eft
