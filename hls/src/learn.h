// Commands on plain words (NORM, Adam's UPDATE, COPY), the loss, and the gather of samples. What would be
// refused is found before the first word is written.
#pragma once
#include "walk.h"

namespace eft {

// Words take one bank of the buffers, T at a time.
constexpr int CHUNK = X_DEPTH < Y_WORDS ? X_DEPTH : Y_WORDS;

static void copy(const Word* features, Word* results, const Command& c, const Places& at, Count& count) {
  HLS(INLINE off)
copy_chunk:
  for (int done = 0; done < c.count; done += CHUNK * T) {
    HLS(LOOP_TRIPCOUNT min=1 max=64)
    const int words = least(c.count - done, CHUNK * T);
    load_words<X_DEPTH>(features, at.src.beat + done / BEAT_WORDS, words, x0[0]);
    store_words<X_DEPTH>(results, at.dst.beat + done / BEAT_WORDS, words, x0[0]);
    ++count.passes;
  }
}

// The sum of squares, as one number.
static float sum_of_squares(const Word* features, const Command& c, const Places& at, Count& count) {
  HLS(INLINE off)
  float k[2][T], total[2][T];
squares_clear:
  for (int m = 0; m < T; ++m) {
    HLS(UNROLL)
    k[0][m] = total[0][m] = total[1][m] = 0.0f;
    k[1][m] = 1.0f;
  }
  const int chunk = X_DEPTH / 2 * T;
squares_chunk:
  for (int done = 0; done < c.count; done += chunk) {
    HLS(LOOP_TRIPCOUNT min=1 max=64)
    const int words = least(c.count - done, chunk);
    load_words<X_DEPTH>(features, at.src.beat + done / BEAT_WORDS, words, x0[0]);
    count.steps += sums(SUM_SQUARED, ceil_div(words, T), k, x0, total);
    ++count.passes;
  }
  float all = 0.0f;
squares_lane:
  for (int m = 0; m < T; ++m) {
    HLS(PIPELINE off)
    all = all + total[0][m];
  }
  return all;
}

// One weight by Adam (Kingma 2015): moments in v and s.
inline void adam(const Rates& r, float gradient, float& w, float& v, float& s) {
  const float g = gradient * r.scale + r.decay * w;
  v = r.momentum * v + (1.0f - r.momentum) * g;
  s = r.beta2 * s + (1.0f - r.beta2) * g * g;
  const float deviation = root(s / r.correction2) + r.epsilon;
  w = w - r.rate * (v / r.correction1) / deviation;
}

// New weights and moments of a chunk in place: y0, y1 and x1 from gradients in x0. A weight whose state
// would not be finite stays; returns whether all moved. One an iteration: roots and divisions are large.
static bool step_adam(const Rates& r, int words) {
  HLS(INLINE off)
  bool good = true;
  int pixel = 0, lane = 0;
adam_word:
  for (int i = 0; i < words; ++i) {
    HLS(PIPELINE II=1)
    HLS(LOOP_TRIPCOUNT min=1 max=16384)
    HLS(DEPENDENCE variable=y0 inter false)
    HLS(DEPENDENCE variable=y1 inter false)
    HLS(DEPENDENCE variable=x1 inter false)
    float w = y0[0][pixel][lane], v = y1[0][pixel][lane], s = x1[0][pixel][lane];
    adam(r, x0[0][pixel][lane], w, v, s);
    if (finite(w) && finite(v) && finite(s)) {
      y0[0][pixel][lane] = w;
      y1[0][pixel][lane] = v;
      x1[0][pixel][lane] = s;
    } else {
      good = false;
    }
    if (++lane == T) {
      lane = 0;
      ++pixel;
    }
  }
  return good;
}

static int update_adam(const Word* features, const Word* weights, Word* results, const Command& c, const Places& at,
                       const Rates& rates, Count& count) {
  HLS(INLINE off)
  bool good = true;
update_chunk:
  for (int done = 0; done < c.count; done += CHUNK * T) {
    HLS(LOOP_TRIPCOUNT min=1 max=64)
    const int words = least(c.count - done, CHUNK * T), beat = done / BEAT_WORDS;
    const int second = at.extra.beat + c.axis / BEAT_WORDS + beat;
    load_words<X_DEPTH>(features, at.src.beat + beat, words, x0[0]);
    load_words<Y_WORDS>(weights, at.dst.beat + beat, words, y0[0]);
    load_words<Y_WORDS>(results, at.extra.beat + beat, words, y1[0]);
    load_words<X_DEPTH>(features, second, words, x1[0]);
    good = step_adam(rates, words) && good;
    store_words<Y_WORDS>(results, at.dst.beat + beat, words, y0[0]);
    store_words<Y_WORDS>(results, at.extra.beat + beat, words, y1[0]);
    store_words<X_DEPTH>(results, second, words, x1[0]);
    count.steps += words;
    ++count.passes;
  }
  return good ? STATUS_OK : STATUS_NONFINITE;
}

constexpr int MOST_CLASSES = CHUNK * T;

// Softmax cross-entropy of one image whose logits are in x0: gradient into y0, class weights in x1.
// Returns the loss; `best` becomes the first class with the largest logit.
static float cross_entropy(const Command& c, int label, float divisor, int& best) {
  HLS(INLINE off)
  float top = x0[0][0][0], sum = 0.0f, target = 0.0f, loss = 0.0f;
  best = 0;
loss_top:
  for (int k = 1; k < c.m; ++k) {
    HLS(PIPELINE off)
    HLS(LOOP_TRIPCOUNT min=2 max=1000)
    const float v = x0[0][k / T][k % T];
    if (v > top) {
      top = v;
      best = k;
    }
  }
loss_sum:
  for (int k = 0; k < c.m; ++k) {
    HLS(PIPELINE off)
    HLS(LOOP_TRIPCOUNT min=2 max=1000)
    const float e = exp_of(x0[0][k / T][k % T] - top);
    y0[0][k / T][k % T] = e;
    sum = sum + e;
  }
  const float log_sum = log_of(sum), even = c.scalar / static_cast<float>(c.m);
loss_target:
  for (int k = 0; k < c.m; ++k) {
    HLS(PIPELINE off)
    HLS(LOOP_TRIPCOUNT min=2 max=1000)
    const float weight = x1[0][k / T][k % T];
    const float t = weight * even + (k == label ? (1.0f - c.scalar) * weight : 0.0f);
    target = target + t;
    loss = loss - t * ((x0[0][k / T][k % T] - top) - log_sum);
    x0[0][k / T][k % T] = t;
  }
loss_gradient:
  for (int k = 0; k < ceil_div(c.m, T) * T; ++k) {
    HLS(PIPELINE off)
    HLS(LOOP_TRIPCOUNT min=T max=1000)
    const float p = y0[0][k / T][k % T] / sum;
    y0[0][k / T][k % T] = k < c.m ? (target * p - x0[0][k / T][k % T]) / divisor : 0.0f;
  }
  return loss;
}

static int loss(const Word* features, Word* results, Word* control, const Command& c, const Places& at, bool weighted,
                Count& count) {
  HLS(INLINE off)
  const int words = tiles(c.m) * T, beats = words / BEAT_WORDS;
  bool good = true;
loss_label:
  for (int i = 0; i < c.images; ++i) {
    const int label = as_int(peek(control, at.aux, i));
    good = good && label >= 0 && label < c.m;
  }
  if (!good) return STATUS_OUT_OF_RANGE;
loss_check:
  for (int i = 0; i < c.images; ++i) {
    load_words<X_DEPTH>(features, at.src.beat + i * beats, words, x0[0]);
  loss_check_class:
    for (int k = 0; k < c.m; ++k) {
      HLS(PIPELINE II=1)
      HLS(LOOP_TRIPCOUNT min=2 max=1000)
      good = good && finite(x0[0][k / T][k % T]);
    }
  }
  if (!good) return STATUS_NONFINITE;
loss_weight:
  for (int k = 0; k < c.m; ++k) {
    HLS(PIPELINE off)
    HLS(LOOP_TRIPCOUNT min=2 max=1000)
    x1[0][k / T][k % T] = weighted ? peek(control, at.weights, k) : 1.0f;
  }
  const float divisor = weighted ? peek(control, at.weights, words) : static_cast<float>(c.count);
loss_image:
  for (int i = 0; i < c.images; ++i) {
    int best;
    load_words<X_DEPTH>(features, at.src.beat + i * beats, words, x0[0]);
    const float value = cross_entropy(c, as_int(peek(control, at.aux, i)), divisor, best);
    store_words<Y_WORDS>(results, at.dst.beat + i * beats, words, y0[0]);
    poke(control, at.extra, i, value);
    poke(control, at.extra, c.images + i, as_float(best));
    count.steps += 3 * c.m + words;
    ++count.passes;
  }
  return STATUS_OK;
}

// Samples by their indices, normalised: dst[i] = src[aux[i]] * scale + shift; uint8 samples pack four
// lanes in a word. `samples` is how many there are.
static int gather(const Word* features, const Word* weights, Word* results, const Word* control, const Command& c,
                  const Places& at, int samples, Count& count) {
  HLS(INLINE off)
  const bool bytes = has(c, FLAG_U8);
  const int quads = c.lanes / BEAT_WORDS, beats = c.rows_in * c.cols_in * quads, channel_tiles = tiles(c.n);
  bool good = true;
gather_index:
  for (int i = 0; i < c.images; ++i) {
    const int index = as_int(peek(control, at.aux, i));
    good = good && index >= 0 && index < samples;
  }
  if (!good) return STATUS_OUT_OF_RANGE;
  float raw[RUN * QUADS][BEAT_WORDS], scale[RUN * QUADS][BEAT_WORDS], shift[RUN * QUADS][BEAT_WORDS];
  HLS(ARRAY_PARTITION variable=raw complete dim=2)
gather_image:
  for (int i = 0; i < c.images; ++i) {
    const int64_t sample = as_int(peek(control, at.aux, i));
    // Looked at again: a host may have put dst over the indices.
    if (sample < 0 || sample >= samples) return STATUS_OUT_OF_RANGE;
  gather_tile:
    for (int tile = 0; tile < channel_tiles; ++tile) {
      read_run(weights, at.weights.beat + tile * quads, quads, scale);
      read_run(weights, at.weights.beat + (channel_tiles + tile) * quads, quads, shift);
      int q = 0;
    gather_run:
      for (int done = 0; done < beats; done += RUN) {
        HLS(LOOP_TRIPCOUNT min=1 max=64)
        const int run = least(RUN, beats - done);
        const int64_t before = (sample * channel_tiles + tile) * beats + done;
        const Place from = behind(at.src, bytes ? before : before * BEAT_WORDS);
        read_run(features, from.beat, bytes ? ceil_div(from.word + run, BEAT_WORDS) : run, raw);
        const int to = at.dst.beat + (i * channel_tiles + tile) * beats + done;
      gather_beat:
        for (int b = 0; b < run; ++b) {
          HLS(PIPELINE II=1)
          HLS(LOOP_TRIPCOUNT min=1 max=RUN)
          const int packed = as_int(raw[(from.word + b) / BEAT_WORDS][(from.word + b) % BEAT_WORDS]);
          Word word;
        gather_lane:
          for (int e = 0; e < BEAT_WORDS; ++e) {
            HLS(UNROLL)
            const float v = bytes ? static_cast<float>((packed >> (8 * e)) & 255) : raw[b][e];
            const int channel = tile * T + q * BEAT_WORDS + e;
            word.v[e] = channel < c.n ? v * scale[q][e] + shift[q][e] : 0.0f;
          }
          results[to + b] = word;
          if (++q == quads) q = 0;
        }
        count.steps += run;
      }
      ++count.passes;
    }
  }
  return STATUS_OK;
}

}  // namespace eft
