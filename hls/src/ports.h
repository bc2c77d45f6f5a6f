// Places in memory, and the plainest ways there: single words, runs of some hundred beats, words of any number.
// Bursts are loops over consecutive beats without conditions.
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

// Vectors have a lane a channel.
static void read_vector(const Word* port, int beat, float v[T]) {
read_vector_beat:
  for (int q = 0; q < QUADS; ++q) {
    HLS(PIPELINE II=1)
    const Word word = port[beat + q];
  read_vector_lane:
    for (int e = 0; e < BEAT_WORDS; ++e) {
      HLS(UNROLL)
      v[q * BEAT_WORDS + e] = word.v[e];
    }
  }
}

static void write_vector(Word* port, int beat, bool adds, const float v[T]) {
  float before[T];
  if (adds) read_vector(port, beat, before);
write_vector_beat:
  for (int q = 0; q < QUADS; ++q) {
    HLS(PIPELINE II=1)
    Word word;
  write_vector_lane:
    for (int e = 0; e < BEAT_WORDS; ++e) {
      HLS(UNROLL)
      const int m = q * BEAT_WORDS + e;
      word.v[e] = adds ? before[m] + v[m] : v[m];
    }
    port[beat + q] = word;
  }
}

}  // namespace eft
