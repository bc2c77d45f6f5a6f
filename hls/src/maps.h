// Maps, from memory into feature and output buffers.
#pragma once
#include "ports.h"

namespace eft {

// A map in memory.
struct Map {
  Place place;
  int tiles, rows, cols;
  int quads;  // beats of a pixel: QUADS, or fewer for a narrow network input
};

inline int row_beat(const Map& m, int image, int tile, int row, int col) {
  return m.place.beat + (((image * m.tiles + tile) * m.rows + row) * m.cols + col) * m.quads;
}

// One beat into the feature buffer: quad `q` of column `c` of a row that starts at pixel `base`. With a
// fold, a column also lies in the higher lanes of those before it; lanes that no column fills are 0.
inline void put(const Word& word, int base, int c, int q, int quads, int fold, int cols, float x[COPIES][X_DEPTH][T]) {
  HLS(INLINE)
put_group:
  for (int g = 0; g < QUADS; ++g) {
    HLS(UNROLL)
    const int f = g / quads;
    const int column = f < fold ? c - f : c;
    if (g % quads == q && column >= 0 && column < cols) {
    put_lane:
      for (int e = 0; e < BEAT_WORDS; ++e) {
        HLS(UNROLL)
      put_copy:
        for (int copy = 0; copy < COPIES; ++copy) {
          HLS(UNROLL)
          x[copy][base + column][g * BEAT_WORDS + e] = f < fold ? word.v[e] : 0.0f;
        }
      }
    }
  }
}

// A part of one channel tile, pixels from `at` of the buffer on. Rows over the map's whole width lie one
// behind the other and are one burst. If folded, a box reaches beyond the map, where there are zeros.
static void load_box(const Word* port, const Map& m, int tile, const Box& b, int fold, int at,
                     float x[COPIES][X_DEPTH][T]) {
  HLS(INLINE off)
  const Word zero = {{0.0f, 0.0f, 0.0f, 0.0f}};
  const bool whole = fold == 1 && b.cols == m.cols;
  const int rows = whole ? least(b.rows, 1) : b.rows, cols = whole ? b.rows * b.cols : b.cols;
  const int low = whole ? 0 : least(most(b.col, 0), m.cols);
  const int high = whole ? cols : most(low, least(b.col + b.cols + fold - 1, m.cols));
  int base = at;
load_image:
  for (int i = 0; i < b.images; ++i) {
    HLS(LOOP_TRIPCOUNT min=1 max=8)
  load_row:
    for (int r = 0; r < rows; ++r) {
      HLS(LOOP_TRIPCOUNT min=1 max=64)
      const int start = row_beat(m, b.image + i, tile, b.row + r, low), beats = (high - low) * m.quads;
    load_edge:
      for (int c = 0; c < cols + fold - 1; ++c) {
        HLS(PIPELINE off)
        HLS(LOOP_TRIPCOUNT min=0 max=256)
        if (fold > 1 && (b.col + c < low || b.col + c >= high)) {
        load_edge_quad:
          for (int q = 0; q < m.quads; ++q) {
            HLS(PIPELINE II=1)
            HLS(LOOP_TRIPCOUNT min=1 max=QUADS)
            put(zero, base, c, q, m.quads, fold, cols, x);
          }
        }
      }
      int c = low - b.col, q = 0;
    load_beat:
      for (int k = 0; k < beats; ++k) {
        HLS(PIPELINE II=1)
        HLS(LOOP_TRIPCOUNT min=4 max=8192)
        put(port[start + k], base, c, q, m.quads, fold, cols, x);
        if (++q == m.quads) {
          q = 0;
          ++c;
        }
      }
      base += cols;
    }
  }
}

// One beat of a pixel into an output buffer, `first` words behind where a map without company begins.
inline void put(const Word& word, const Spot& at, int first, int q, float y[PIXELS][Y_WORDS][T]) {
  HLS(INLINE)
put_tile_lane:
  for (int e = 0; e < BEAT_WORDS; ++e) {
    HLS(UNROLL)
    y[at.seat.bank][first + word_of(at)][q * BEAT_WORDS + e] = word.v[e];
  }
}

// A part of one channel tile into an output buffer.
static void load_tile(const Word* port, const Map& m, int tile, const Box& b, int first, float y[PIXELS][Y_WORDS][T]) {
  HLS(INLINE off)
  const bool whole = b.cols == m.cols;
  const int rows = whole ? least(b.rows, 1) : b.rows, beats = (whole ? b.rows * b.cols : b.cols) * QUADS;
  Spot at = first_spot(1, b.rows, b.cols);
  int q = 0;
tile_image:
  for (int i = 0; i < b.images; ++i) {
    HLS(LOOP_TRIPCOUNT min=1 max=8)
  tile_row:
    for (int r = 0; r < rows; ++r) {
      HLS(LOOP_TRIPCOUNT min=1 max=64)
      const int start = row_beat(m, b.image + i, tile, b.row + r, b.col);
    tile_beat:
      for (int k = 0; k < beats; ++k) {
        HLS(PIPELINE II=1)
        HLS(LOOP_TRIPCOUNT min=4 max=4096)
        put(port[start + k], at, first, q, y);
        if (++q == QUADS) {
          q = 0;
          advance(at);
        }
      }
    }
  }
}

// The same part of two maps of one shape, a beat of each an iteration: the second comes on a port of its own and
// lies HALF words behind the first, through the other port of its banks.
static void load_tiles(const Word* port, const Word* beside, const Map& a, const Map& b, int tile, const Box& box,
                       float y[PIXELS][Y_WORDS][T]) {
  HLS(INLINE off)
  const bool whole = box.cols == a.cols;
  const int rows = whole ? 1 : box.rows, beats = (whole ? box.rows * box.cols : box.cols) * QUADS;
  Spot at = first_spot(1, box.rows, box.cols);
  int q = 0;
tiles_image:
  for (int i = 0; i < box.images; ++i) {
    HLS(LOOP_TRIPCOUNT min=1 max=8)
  tiles_row:
    for (int r = 0; r < rows; ++r) {
      HLS(LOOP_TRIPCOUNT min=1 max=64)
      const int start = row_beat(a, box.image + i, tile, box.row + r, box.col);
      const int other = start - a.place.beat + b.place.beat;
    tiles_beat:
      for (int k = 0; k < beats; ++k) {
        HLS(PIPELINE II=1)
        HLS(LOOP_TRIPCOUNT min=4 max=4096)
        const Word one = port[start + k], two = beside[other + k];
        put(one, at, 0, q, y);
        put(two, at, HALF, q, y);
        if (++q == QUADS) {
          q = 0;
          advance(at);
        }
      }
    }
  }
}

// `beats` of words in a row, one pixel behind the other.
static void load_rows(const Word* port, int beat, int beats, float y[PIXELS][Y_WORDS][T]) {
  HLS(INLINE off)
  Seat to = {0, 0};
  int q = 0;
rows_beat:
  for (int k = 0; k < beats; ++k) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=1 max=4096)
    const Word word = port[beat + k];
  rows_lane:
    for (int e = 0; e < BEAT_WORDS; ++e) {
      HLS(UNROLL)
      y[to.bank][to.word][q * BEAT_WORDS + e] = word.v[e];
    }
    if (++q == QUADS) {
      q = 0;
      advance(to, 1);
    }
  }
}

// Such two into a feature buffer, the second into its upper half. Nobody reads more than those two of a pixel:
// one copy will do.
static void load_both(const Word* port, const Word* beside, const Map& a, const Map& b, int tile, const Box& box,
                      float x[COPIES][X_DEPTH][T]) {
  HLS(INLINE off)
  const bool whole = box.cols == a.cols;
  const int rows = whole ? 1 : box.rows, beats = (whole ? box.rows * box.cols : box.cols) * QUADS;
  int pixel = 0, q = 0;
both_image:
  for (int i = 0; i < box.images; ++i) {
    HLS(LOOP_TRIPCOUNT min=1 max=8)
  both_row:
    for (int r = 0; r < rows; ++r) {
      HLS(LOOP_TRIPCOUNT min=1 max=64)
      const int start = row_beat(a, box.image + i, tile, box.row + r, box.col);
      const int other = start - a.place.beat + b.place.beat;
    both_beat:
      for (int k = 0; k < beats; ++k) {
        HLS(PIPELINE II=1)
        HLS(LOOP_TRIPCOUNT min=4 max=8192)
        const Word one = port[start + k], two = beside[other + k];
      both_lane:
        for (int e = 0; e < BEAT_WORDS; ++e) {
          HLS(UNROLL)
          x[0][pixel][q * BEAT_WORDS + e] = one.v[e];
          x[0][X_DEPTH / 2 + pixel][q * BEAT_WORDS + e] = two.v[e];
        }
        if (++q == QUADS) {
          q = 0;
          ++pixel;
        }
      }
    }
  }
}

}  // namespace eft
