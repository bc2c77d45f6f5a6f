// Weight gradients on their way out: stored, added to what is there, or steps of weights and velocities.
#pragma once
#include "functions.h"
#include "memory.h"

namespace eft {

// What a step reads at run time; `scale` clips the gradient.
struct Rates {
  float rate, momentum, decay, beta2, epsilon, correction1, correction2, scale;
};

static Rates rates_of(const Word* control, const Place& hyper, bool clips, const Place& norm) {
  Rates r;
  r.rate = peek(control, hyper, HYPER_RATE);
  r.momentum = peek(control, hyper, HYPER_MOMENTUM);
  r.decay = peek(control, hyper, HYPER_DECAY);
  r.beta2 = peek(control, hyper, HYPER_BETA2);
  r.epsilon = peek(control, hyper, HYPER_EPSILON);
  r.correction1 = peek(control, hyper, HYPER_CORRECTION1);
  r.correction2 = peek(control, hyper, HYPER_CORRECTION2);
  r.scale = 1.0f;
  if (clips) {
    const float scale = peek(control, hyper, HYPER_CLIP) / (root(peek(control, norm, 0)) + 1e-6f);
    r.scale = scale >= 1.0f ? 1.0f : scale;
  }
  return r;
}

// One weight by SGD (Sutskever 2013), or with Nesterov's look ahead: new weight in w, velocity in v.
inline void sgd(const Rates& r, bool ahead, float gradient, float& w, float& v) {
  const float slope = gradient * r.scale + r.decay * w;
  v = r.momentum * v + slope;
  w = w - r.rate * (ahead ? slope + r.momentum * v : v);
}

// How weights step as their gradient leaves the chip.
struct Step {
  bool on, ahead;  // ahead: Nesterov's
  Rates rates;
  Place velocity;  // of the first weight
};

inline Step no_step() {
  const Rates none = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
  const Step s = {false, false, none, {0, 0}};
  return s;
}

// Where lane n, m of a gradient lies.
inline float gradient_of(const Kernel& k, const Weights& at, bool bias, int m, const float w[W_DEPTH][T][T]) {
  return w[at.slot][k.depthwise && !bias ? m : at.row][m];
}

// A run of `words` weights and velocities steps, one after another: the multipliers and adders of one lane
// serve all of them, about as fast as the port moves their state. One whose state would not be finite
// stays; returns whether all moved.
static bool step_run(const Kernel& k, const Step& s, int words, bool bias, Weights& at, const float w[W_DEPTH][T][T],
                     float weights[RUN * QUADS][BEAT_WORDS], float velocity[RUN * QUADS][BEAT_WORDS]) {
  HLS(INLINE off)
  bool good = true;
step_word:
  for (int i = 0; i < words; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=BEAT_WORDS max=1024)
    HLS(DEPENDENCE variable=weights inter false)
    HLS(DEPENDENCE variable=velocity inter false)
    const int b = i / BEAT_WORDS, e = i % BEAT_WORDS;
    float weight = weights[b][e], speed = velocity[b][e];
    sgd(s.rates, s.ahead, gradient_of(k, at, bias, at.quad * BEAT_WORDS + e, w), weight, speed);
    if (finite(weight) && finite(speed)) {
      weights[b][e] = weight;
      velocity[b][e] = speed;
    } else {
      good = false;
    }
    if (e == BEAT_WORDS - 1) advance(k, at);
  }
  return good;
}

// `words` of a weight gradient, from `at` of the buffer on, in runs of some hundred beats. What shares the
// last beat with the last word of a step stays. Returns whether all weights moved that were to step.
static bool store_taps(Word* port, const Kernel& k, const Step& s, int start, int words, bool bias, bool adds,
                       Weights& at, const float w[W_DEPTH][T][T]) {
  HLS(INLINE off)
  float before[RUN * QUADS][BEAT_WORDS], velocity[RUN * QUADS][BEAT_WORDS];
  HLS(ARRAY_PARTITION variable=before complete dim=2)
  HLS(ARRAY_PARTITION variable=velocity complete dim=2)
  const int beats = ceil_div(words, BEAT_WORDS), beside = s.velocity.beat - k.place.beat;
  bool good = true;
taps_run:
  for (int done = 0; done < beats; done += RUN * QUADS) {
    HLS(LOOP_TRIPCOUNT min=1 max=16)
    const int run = least(RUN * QUADS, beats - done), to = start + done;
    if (adds || s.on) read_run(port, to, run, before);
    if (s.on) {
      read_run(port, to + beside, run, velocity);
      good = step_run(k, s, least(run * BEAT_WORDS, words - done * BEAT_WORDS), bias, at, w, before, velocity) && good;
      write_run(port, to, run, before);
      write_run(port, to + beside, run, velocity);
    } else {
    taps_beat:
      for (int b = 0; b < run; ++b) {
        HLS(PIPELINE II=1)
        HLS(LOOP_TRIPCOUNT min=QUADS max=256)
        Word word;
      taps_lane:
        for (int e = 0; e < BEAT_WORDS; ++e) {
          HLS(UNROLL)
          const float g = gradient_of(k, at, bias, at.quad * BEAT_WORDS + e, w);
          word.v[e] = adds ? before[b][e] + g : g;
        }
        port[to + b] = word;
        advance(k, at);
      }
    }
  }
  return good;
}

// A weight gradient, and behind the kernel its bias.
static bool store_weights(Word* port, const Kernel& k, const Step& s, const Pass& p, bool adds,
                          const float w[W_DEPTH][T][T]) {
  HLS(INLINE off)
  const Runs runs = runs_of(k, p);
  Weights at = first_weights(k, 0, p.cols.tap);
  bool good = true;
gradient_run:
  for (int i = 0; i < runs.count; ++i) {
    HLS(LOOP_TRIPCOUNT min=1 max=1)
    at.col = p.cols.tap * k.fold;
    const int start = tap_beat(k, p.out_tile, p.in_tile, p.rows.tap + i, p.cols.tap);
    good = store_taps(port, k, s, start, runs.beats * BEAT_WORDS, false, adds, at, w) && good;
  }
  if (p.bias) {
    at = first_weights(k, p.rows.taps * p.cols.taps, 0);
    good = store_taps(port, k, s, bias_beat(k, p.out_tile), T, true, adds, at, w) && good;
  }
  return good;
}

}  // namespace eft
