// Between ports and on-chip arrays: every access to memory on behalf of a tile is here. Bursts are
// loops over consecutive beats without conditions; nothing is computed but what a store finishes.
#pragma once
#include "geometry.h"

namespace eft {

// Where an operand starts: a beat of the window, and a word in it (0 but for scalars).
struct Place {
  int beat, word;
};

inline Place behind(const Place& p, int64_t words) {
  const int64_t at = p.word + words;
  const Place there = {p.beat + static_cast<int>(at / BEAT_WORDS), static_cast<int>(at % BEAT_WORDS)};
  return there;
}

inline float peek(const Word* port, const Place& p, int index) {
  const Place at = behind(p, index);
  return port[at.beat].v[at.word];
}

// The other words of the beat stay.
inline void poke(Word* port, const Place& p, int index, float value) {
  const Place at = behind(p, index);
  Word word = port[at.beat];
  word.v[at.word] = value;
  port[at.beat] = word;
}

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

// A part of one channel tile of dy into an output buffer.
static void load_tile(const Word* port, const Map& m, int tile, const Box& b, float y[PIXELS][Y_WORDS][T]) {
  HLS(INLINE off)
  const bool whole = b.cols == m.cols;
  const int rows = whole ? least(b.rows, 1) : b.rows, beats = (whole ? b.rows * b.cols : b.cols) * QUADS;
  Spot at = first_spot(1, b.rows, b.cols);
  int q = 0;
dy_image:
  for (int i = 0; i < b.images; ++i) {
    HLS(LOOP_TRIPCOUNT min=1 max=8)
  dy_row:
    for (int r = 0; r < rows; ++r) {
      HLS(LOOP_TRIPCOUNT min=1 max=64)
      const int start = row_beat(m, b.image + i, tile, b.row + r, b.col);
    dy_beat:
      for (int k = 0; k < beats; ++k) {
        HLS(PIPELINE II=1)
        HLS(LOOP_TRIPCOUNT min=4 max=4096)
        const Word word = port[start + k];
      dy_lane:
        for (int e = 0; e < BEAT_WORDS; ++e) {
          HLS(UNROLL)
          y[at.seat.bank][word_of(at)][q * BEAT_WORDS + e] = word.v[e];
        }
        if (++q == QUADS) {
          q = 0;
          advance(at);
        }
      }
    }
  }
}

// The same part of two maps of one shape, a beat of each an iteration: the second comes on a port of its
// own and lies in the upper half of the buffer, through the other port of its banks. Nobody reads more
// than those two of a pixel: one copy will do.
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

// Words from a beat on; those behind the last, up to a whole pixel, are 0.
template <int DEPTH>
static void load_words(const Word* port, int beat, int words, float x[DEPTH][T]) {
  HLS(INLINE off)
  const int beats = ceil_div(words, BEAT_WORDS), all = ceil_div(words, T) * QUADS;
  int pixel = 0, q = 0;
words_beat:
  for (int i = 0; i < beats; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=1 max=4096)
    const Word word = port[beat + i];
  words_lane:
    for (int e = 0; e < BEAT_WORDS; ++e) {
      HLS(UNROLL)
      x[pixel][q * BEAT_WORDS + e] = i * BEAT_WORDS + e < words ? word.v[e] : 0.0f;
    }
    if (++q == QUADS) {
      q = 0;
      ++pixel;
    }
  }
words_rest:
  for (int i = beats; i < all; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=0 max=QUADS)
  words_rest_lane:
    for (int e = 0; e < BEAT_WORDS; ++e) {
      HLS(UNROLL)
      x[pixel][(i % QUADS) * BEAT_WORDS + e] = 0.0f;
    }
  }
}

// What shares the last beat with the last word stays.
template <int DEPTH>
static void store_words(Word* port, int beat, int words, const float x[DEPTH][T]) {
  HLS(INLINE off)
  const int beats = ceil_div(words, BEAT_WORDS);
  const Word last = port[beat + beats - 1];
  int pixel = 0, q = 0;
words_out:
  for (int i = 0; i < beats; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=1 max=4096)
    Word word;
  words_out_lane:
    for (int e = 0; e < BEAT_WORDS; ++e) {
      HLS(UNROLL)
      word.v[e] = i * BEAT_WORDS + e < words ? x[pixel][q * BEAT_WORDS + e] : last.v[e];
    }
    port[beat + i] = word;
    if (++q == QUADS) {
      q = 0;
      ++pixel;
    }
  }
}

// A convolution's weights in memory, and how their taps share lanes.
struct Kernel {
  Place place;
  int m_tiles, n_tiles;
  int rows, cols;
  int lanes, fold;
  bool back, depthwise;
};

inline int folded_cols(const Kernel& k) { return ceil_div(k.cols, k.fold); }

// Beats of a column of the kernel, for one pair of channel tiles.
inline int col_beats(const Kernel& k) { return (k.depthwise ? 1 : k.lanes) * QUADS; }

inline int tap_beat(const Kernel& k, int m_tile, int n_tile, int row, int folded_col) {
  const int block = k.depthwise ? m_tile : m_tile * k.n_tiles + n_tile;
  return k.place.beat + ((block * k.rows + row) * k.cols + folded_col * k.fold) * col_beats(k);
}

inline int bias_beat(const Kernel& k, int m_tile) {
  const int blocks = k.depthwise ? k.m_tiles : k.m_tiles * k.n_tiles;
  return k.place.beat + blocks * k.rows * k.cols * col_beats(k) + m_tile * QUADS;
}

// The taps of a pass lie one behind the other in memory, in as many runs as it has rows, or in one if it
// has whole rows.
struct Runs {
  int count, beats;
};

inline Runs runs_of(const Kernel& k, const Pass& p) {
  const bool whole = p.cols.taps == folded_cols(k);
  const int cols = whole ? k.cols : least(p.cols.taps * k.fold, k.cols - p.cols.tap * k.fold);
  const Runs r = {whole ? 1 : p.rows.taps, (whole ? p.rows.taps : 1) * cols * col_beats(k)};
  return r;
}

// Where a beat of weights belongs: its slot, row of lanes, and quad of columns.
struct Weights {
  int slot, row, quad;
  int n, f, col;  // lane of its kernel column; which column of the fold; which of the kernel
};

inline Weights first_weights(const Kernel& k, int slot, int folded_col) {
  const Weights w = {slot, 0, 0, 0, 0, folded_col * k.fold};
  return w;
}

inline void advance(const Kernel& k, Weights& w) {
  if (++w.quad < QUADS) return;
  w.quad = 0;
  ++w.row;
  if (!k.depthwise && ++w.n < k.lanes) return;
  w.n = 0;
  ++w.f;
  ++w.col;
  if (w.f == k.fold || w.col == k.cols) {
    w.f = w.row = 0;
    ++w.slot;
  }
  if (w.col == k.cols) w.col = 0;
}

// The taps of a pass, transposed on the way in for BP; depthwise weights are diagonals, of which the rest
// is never used.
static void load_weights(const Word* port, const Kernel& k, const Pass& p, float w[W_DEPTH][T][T]) {
  HLS(INLINE off)
  const int m_tile = k.back ? p.in_tile : p.out_tile, n_tile = k.back ? p.out_tile : p.in_tile;
  const int zeros = k.lanes < T && !k.depthwise ? p.rows.taps * p.cols.taps * T : 0;
  int zero_slot = p.slot, zero_n = 0;
weights_zero:
  for (int i = 0; i < zeros; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=0 max=256)
  weights_zero_lane:
    for (int m = 0; m < T; ++m) {
      HLS(UNROLL)
      w[zero_slot][zero_n][m] = 0.0f;
    }
    if (++zero_n == T) {
      zero_n = 0;
      ++zero_slot;
    }
  }
  const Runs runs = runs_of(k, p);
  Weights at = first_weights(k, p.slot, p.cols.tap);
weights_run:
  for (int i = 0; i < runs.count; ++i) {
    HLS(LOOP_TRIPCOUNT min=1 max=1)
    const int start = tap_beat(k, m_tile, n_tile, p.rows.tap + i, p.cols.tap);
    at.col = p.cols.tap * k.fold;
  weights_beat:
    for (int b = 0; b < runs.beats; ++b) {
      HLS(PIPELINE II=1)
      HLS(LOOP_TRIPCOUNT min=QUADS max=4096)
      const Word word = port[start + b];
    weights_lane:
      for (int e = 0; e < BEAT_WORDS; ++e) {
        HLS(UNROLL)
        const int lane = at.quad * BEAT_WORDS + e;
        const int n = k.back || k.depthwise ? lane : at.row, m = k.back && !k.depthwise ? at.row : lane;
        w[at.slot][n][m] = word.v[e];
      }
      advance(k, at);
    }
  }
}

// The unit matrix: pooling sums a window's pixels.
static void load_unit(float w[W_DEPTH][T][T]) {
  HLS(INLINE off)
unit_n:
  for (int n = 0; n < T; ++n) {
    HLS(PIPELINE II=1)
  unit_m:
    for (int m = 0; m < T; ++m) {
      HLS(UNROLL)
      w[0][n][m] = n == m ? 1.0f : 0.0f;
    }
  }
}

// `count` vectors of one channel tile become rows `first`.. of w[slot]; they lie `pitch` beats apart.
static void load_vectors(const Word* port, int beat, int pitch, int count, int slot, int first,
                         float w[W_DEPTH][T][T]) {
  HLS(INLINE off)
vector_row:
  for (int i = 0; i < count; ++i) {
    HLS(LOOP_TRIPCOUNT min=2 max=4)
  vector_beat:
    for (int q = 0; q < QUADS; ++q) {
      HLS(PIPELINE II=1)
      const Word word = port[beat + i * pitch + q];
    vector_lane:
      for (int e = 0; e < BEAT_WORDS; ++e) {
        HLS(UNROLL)
        w[slot][first + i][q * BEAT_WORDS + e] = word.v[e];
      }
    }
  }
}

// How a tile is finished on its way out.
struct Finish {
  Map map;
  Place bias, mask;
  bool add_bias, masks, adds;
  int flags;  // of the activation
  float scale, slope;         // of every element; of those where a leaky activation bends
  bool by_window;             // scale is the share of a window that lies inside the map
  Axis rows, cols;            // for that
  int undone;                 // the stride that the tile's layout is for
  int from, until, channels;  // channels written; others of the map stay, those behind it are 0
};

// What an element is multiplied by: forward, told from its value; backward, from x, which the activation
// that is undone made.
inline float factor_of(const Finish& f, float v, float x, float scale) {
  if (f.flags & FLAG_LEAKY) return (f.masks ? x : v) > 0.0f ? scale : f.slope;
  return scale;
}

// Where an activation that is undone was flat: the gradient is 0 there, even one that is NaN or infinite.
inline bool flat(const Finish& f, float x) {
  if (!f.masks) return false;
  if (f.flags & FLAG_RELU6) return !(x > 0.0f && x < 6.0f);
  return !(f.flags & FLAG_LEAKY) && !(x > 0.0f);
}

inline float clamped(const Finish& f, float v) {
  const bool six = (f.flags & FLAG_RELU6) != 0, below = six || (f.flags & (FLAG_RELU | FLAG_LEAKY)) == FLAG_RELU;
  if (f.masks) return v;
  if (below && v < 0.0f) return 0.0f;
  return six && v > 6.0f ? 6.0f : v;
}

constexpr int RUN = 64;  // pixels of a store burst: what is read before is kept

static void read_run(const Word* port, int beat, int beats, float run[RUN * QUADS][BEAT_WORDS]) {
  HLS(INLINE off)
run_beat:
  for (int i = 0; i < beats; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=1 max=256)
    const Word word = port[beat + i];
  run_lane:
    for (int e = 0; e < BEAT_WORDS; ++e) {
      HLS(UNROLL)
      run[i][e] = word.v[e];
    }
  }
}

static void write_run(Word* port, int beat, int beats, const float run[RUN * QUADS][BEAT_WORDS]) {
  HLS(INLINE off)
write_beat:
  for (int i = 0; i < beats; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=1 max=256)
    Word word;
  write_lane:
    for (int e = 0; e < BEAT_WORDS; ++e) {
      HLS(UNROLL)
      word.v[e] = run[i][e];
    }
    port[beat + i] = word;
  }
}

// One output tile, a run of pixels at a time: bias, activation, mask, addition, padded lanes. Rows over
// the map's whole width are one row.
static void store_box(Word* port, const Finish& f, int tile, const Box& b, const float y[PIXELS][Y_WORDS][T]) {
  HLS(INLINE off)
  float before[RUN * QUADS][BEAT_WORDS], mask[RUN * QUADS][BEAT_WORDS], bias[RUN * QUADS][BEAT_WORDS];
  HLS(ARRAY_PARTITION variable=before complete dim=2)
  HLS(ARRAY_PARTITION variable=mask complete dim=2)
  HLS(ARRAY_PARTITION variable=bias complete dim=2)
  if (f.add_bias) read_run(port, f.bias.beat + tile * QUADS, QUADS, bias);
  const bool reads = f.adds || f.from > 0 || f.until < f.channels, whole = b.cols == f.map.cols;
  const int rows = whole ? 1 : b.rows, cols = whole ? b.rows * b.cols : b.cols;
  Spot at = first_spot(f.undone, b.rows, b.cols);
store_image:
  for (int i = 0; i < b.images; ++i) {
    HLS(LOOP_TRIPCOUNT min=1 max=8)
  store_row:
    for (int r = 0; r < rows; ++r) {
      HLS(LOOP_TRIPCOUNT min=1 max=64)
    store_run:
      for (int c = 0; c < cols; c += RUN) {
        HLS(LOOP_TRIPCOUNT min=1 max=16)
        const int beats = least(RUN, cols - c) * QUADS;
        const int start = row_beat(f.map, b.image + i, tile, b.row + r, b.col + c);
        if (reads) read_run(port, start, beats, before);
        if (f.masks) read_run(port, start - f.map.place.beat + f.mask.beat, beats, mask);
        int q = 0;
      store_beat:
        for (int k = 0; k < beats; ++k) {
          HLS(PIPELINE II=1)
          HLS(LOOP_TRIPCOUNT min=QUADS max=256)
          const float share = window_share(f.rows, f.cols, b.row + at.at.row, b.col + at.at.col);
          const float scale = f.by_window ? share : f.scale;
          Word word;
        store_lane:
          for (int e = 0; e < BEAT_WORDS; ++e) {
            HLS(UNROLL)
            const int channel = tile * T + q * BEAT_WORDS + e;
            const float sum = y[at.seat.bank][word_of(at)][q * BEAT_WORDS + e];
            const float biased = sum + (f.add_bias ? bias[q][e] : 0.0f);
            float v = clamped(f, biased * factor_of(f, biased, mask[k][e], scale));
            if (flat(f, mask[k][e])) v = 0.0f;
            if (f.adds) v = before[k][e] + v;
            if (channel < f.from || channel >= f.until) v = before[k][e];
            word.v[e] = channel < f.channels ? v : 0.0f;
          }
          port[start + k] = word;
          if (++q == QUADS) {
            q = 0;
            advance(at);
          }
        }
      }
    }
  }
}

}  // namespace eft
