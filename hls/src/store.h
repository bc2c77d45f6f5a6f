// What is computed, from an output buffer to memory: a run at a time, swept by the vector unit as often as its acts
// ask for. What it reads beside comes first; a sweep's words are written as it goes, and overwritten by the next.
#pragma once
#include "work.h"

namespace eft {

// Words that lie in a row in memory: pixels of a map, or a part of a gradient.
struct Strip {
  int beat, words;
};

// How many strips of a pass each image has. Rows over the map's whole width are one.
inline int strips_of(const Work& k, const Pass& p) {
  if (k.kind == WORDS) return 1;
  if (k.kind == GRADIENT) return runs_of(k.kernel, p).count + (p.bias ? 1 : 0);
  return p.cols.outs == k.finish.map.cols ? 1 : p.rows.outs;
}

inline Strip strip_of(const Work& k, const Pass& p, int image, int index) {
  Strip s;
  if (k.kind == WORDS) {
    s.beat = k.kernel.place.beat + p.image * QUADS;
    s.words = words_of(k, p);
  } else if (k.kind == GRADIENT) {
    const Runs runs = runs_of(k.kernel, p);
    const bool bias = index == runs.count;
    s.beat = bias ? bias_beat(k.kernel, p.out_tile)
                  : tap_beat(k.kernel, p.out_tile, p.in_tile, p.rows.tap + index, p.cols.tap);
    s.words = bias ? T : runs.beats * BEAT_WORDS;
  } else {
    const int rows = p.cols.outs == k.finish.map.cols ? p.rows.outs : 1;
    s.beat = row_beat(k.finish.map, p.image + image, p.out_tile, p.rows.out + index, p.cols.out);
    s.words = rows * p.cols.outs * T;
  }
  return s;
}

// A command on elements has its own; a convolution's are its bias; others change nothing.
static void coefficients_of(const Word* port, const Work& k, const Pass& p, const float own[COEFFICIENTS][T],
                            float c[COEFFICIENTS][T]) {
  HLS(INLINE)
  const bool elements = k.kind == ELEMENTS;
  const float shift = k.kind == GRADIENT ? NOTHING : 0.0f;
coefficient_beat:
  for (int q = 0; q < QUADS; ++q) {
    HLS(PIPELINE II=1)
  coefficient_lane:
    for (int e = 0; e < BEAT_WORDS; ++e) {
      HLS(UNROLL)
      const int m = q * BEAT_WORDS + e;
      c[SHIFT_A][m] = elements ? own[SHIFT_A][m] : shift;
      c[SCALE_A][m] = elements ? own[SCALE_A][m] : 1.0f;
      c[SHIFT_B][m] = own[SHIFT_B][m];
      c[SCALE_B][m] = own[SCALE_B][m];
      c[OFFSET][m] = elements ? own[OFFSET][m] : NOTHING;
    }
  }
  if (k.finish.add_bias) read_vector(port, k.finish.bias.beat + p.out_tile * QUADS, c[SHIFT_A]);
}

inline bool keeps(const Finish& f, const Box& b, const Pixel& at, int channel) {
  const uint32_t image = static_cast<uint32_t>(f.drop.image) + static_cast<uint32_t>(b.image + at.image);
  const uint32_t row = b.row + at.row, col = b.col + at.col;
  const uint32_t index = ((image * f.channels + channel) * f.map.rows + row) * f.map.cols + col;
  return !f.drop.on || mixed(f.drop.key + index) >= f.drop.threshold;
}

// One tile. Returns whether all weights moved that were to step: one whose new state would not be finite stays,
// with its velocity, which is written again.
static bool store(Word* port, const Work& k, const Pass& p, const float y[PIXELS][Y_WORDS][T],
                  const float own[COEFFICIENTS][T]) {
  HLS(INLINE off)
  if (!p.valid || !p.last) return true;
  float before[RUN * QUADS][BEAT_WORDS], second[RUN * QUADS][BEAT_WORDS], c[COEFFICIENTS][T];
  float kept[RUN * QUADS][BEAT_WORDS], slope[RUN * QUADS][BEAT_WORDS];
  HLS(ARRAY_PARTITION variable=before complete dim=2)
  HLS(ARRAY_PARTITION variable=second complete dim=2)
  HLS(ARRAY_PARTITION variable=kept complete dim=2)
  HLS(ARRAY_PARTITION variable=slope complete dim=2)
  HLS(ARRAY_PARTITION variable=c complete dim=1)
  HLS(ARRAY_PARTITION variable=c complete dim=2)
  coefficients_of(port, k, p, own, c);
  const Finish& f = k.finish;
  const Step& s = k.step;
  const bool map = k.kind != GRADIENT && k.kind != WORDS;
  const bool reads = f.adds || s.on || f.from > 0 || f.until < f.channels, reads_second = f.masks || s.on;
  const int beside = s.on ? s.velocity.beat - k.kernel.place.beat : f.mask.beat - f.map.place.beat;
  const int strips = strips_of(k, p);
  const Box b = output_box(p);
  const Acts acts = acts_of(f, s);
  const bool two_operands = f.joins || f.crosses;
  Spot at = map ? first_spot(f.undone, b.rows, b.cols) : first_spot(1, 1, PIXELS * Y_WORDS);
  bool good = true;
store_image:
  for (int i = 0; i < (map ? b.images : 1); ++i) {
    HLS(LOOP_TRIPCOUNT min=1 max=8)
  store_strip:
    for (int r = 0; r < strips; ++r) {
      HLS(LOOP_TRIPCOUNT min=1 max=64)
      const Strip strip = strip_of(k, p, i, r);
      const int beats = ceil_div(strip.words, BEAT_WORDS);
    store_run:
      for (int done = 0; done < beats; done += RUN * QUADS) {
        HLS(LOOP_TRIPCOUNT min=1 max=16)
        const int run = least(RUN * QUADS, beats - done), words = strip.words - done * BEAT_WORDS;
        const int start = strip.beat + done;
        if (reads) read_run(port, start, run, before);
        if (reads_second) read_run(port, start + beside, run, second);
        const Spot first = at;
        bool moved = true;
      store_act:
        for (int a = 0; a < acts.count; ++a) {
          HLS(LOOP_TRIPCOUNT min=1 max=3)
          const Act act = act_of(acts, a);
          const int to = act == SCALED || act == SPEED ? start + beside : start;
          int q = 0;
          at = first;
        store_beat:
          for (int n = 0; n < run; ++n) {
            HLS(PIPELINE II=1)
            HLS(LOOP_TRIPCOUNT min=QUADS max=256)
            HLS(DEPENDENCE variable=kept inter false)
            HLS(DEPENDENCE variable=slope inter false)
            const float share = window_share(f.rows, f.cols, b.row + at.at.row, b.col + at.at.col);
            const float scale = f.by_window ? share : f.scale;
            const int bank = at.seat.bank, one = word_of(at), two = HALF + one;
            Word word;
          store_lane:
            for (int e = 0; e < BEAT_WORDS; ++e) {
              HLS(UNROLL)
              const int lane = q * BEAT_WORDS + e, channel = p.out_tile * T + lane;
              const bool turned = lane + f.turn >= T, live = n * BEAT_WORDS + e < words;
              const int there = turned ? lane + f.turn - T : lane;
              const float other = two_operands || turned ? y[bank][two][there] : 0.0f;
              const float tile = turned ? other : y[bank][one][lane + f.turn];
              const Given g = {tile, other, before[n][e], second[n][e], kept[n][e], slope[n][e]};
              const float of_lane[COEFFICIENTS] = {c[SHIFT_A][lane], c[SCALE_A][lane], c[SHIFT_B][lane],
                                                   c[SCALE_B][lane], c[OFFSET][lane]};
              const Made made = unit(act, f, s, g, of_lane, scale, keeps(f, b, at.at, channel));
              const bool stays = act == WEIGHT && !(live && finite(made.word));
              kept[n][e] = stays ? g.second : act == WEIGHT ? g.kept : made.word;
              slope[n][e] = made.middle;
              moved = moved && !(stays && live);
              const bool written = s.on ? live && !stays : channel >= f.from && channel < f.until;
              const float old = act == SCALED || act == SPEED ? g.second : g.before;
              word.v[e] = channel >= f.channels ? 0.0f : written ? made.word : old;
            }
            port[to + n] = word;
            if (++q == QUADS) {
              q = 0;
              advance(at);
            }
          }
        }
        if (!moved) write_run(port, start + beside, run, kept);
        good = good && moved;
      }
    }
  }
  return good;
}

}  // namespace eft
