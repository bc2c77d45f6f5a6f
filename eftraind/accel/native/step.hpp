// The commands around the convolutions: LOAD, LOSS, UPDATE, COPY. Each looks at everything that
// could be wrong before it writes its first word.
#pragma once
#include "convolve.hpp"

extern "C" float expf(float);
extern "C" float logf(float);

namespace eft {
namespace {

EFT_INLINE bool finite(float f) { return f - f == 0; }

typedef uint8_t VecBytes __attribute__((vector_size(EFT_LANES), aligned(1), may_alias));
EFT_INLINE Vec vector(const float* p) { return load(p); }
EFT_INLINE Vec vector(const uint8_t* p) {
  return __builtin_convertvector(*reinterpret_cast<const VecBytes*>(p), Vec);
}

// Scale or shift of one tile, repeated over the pixels of a vector; padded lanes get neither.
EFT_INLINE Vec repeated(const Command& c, const float* values, int tile) {
  Vec v{};
  for (int i = 0; i < T; ++i) {
    const int channel = tile * c.lanes + i % c.lanes;
    if (channel < c.n) v[i] = values[channel];
  }
  return v;
}

// One sample, a vector (one pixel or several narrow ones) at a time.
template <class Sample>
void load_sample(const Command& c, const Sample* from, const float* scale, float* to) {
  const int64_t words = int64_t(c.rows_in) * c.cols_in * c.lanes;
  const float* shift = scale + tiles(c.n) * c.lanes;
    for (int tile = 0; tile < tiles(c.n); ++tile, from += words, to += words) {
    const Vec a = repeated(c, scale, tile), b = repeated(c, shift, tile);
    int64_t i = 0;
    if (T % c.lanes == 0) {
      for (; i + T <= words; i += T) store(to + i, vector(from + i) * a + b);
    }
    for (; i < words; ++i) {
      const int64_t lane = i % c.lanes;
      to[i] = static_cast<float>(from[i]) * a[lane] + b[lane];
    }
  }
}

inline int load_batch(const Task& task) {
  const Command& c = *task.command;
  const bool bytes = c.flags & FLAG_U8;
  const int64_t words = int64_t(tiles(c.n)) * c.rows_in * c.cols_in * c.lanes;
  const int64_t sample = bytes ? words / 4 : words;
  const int64_t samples = (task.slot_words[c.src_slot] - c.src_offset) / sample;
  const float* src = operand(task, c.src_slot, c.src_offset);
  const int32_t* index = reinterpret_cast<const int32_t*>(operand(task, c.aux_slot, c.aux_offset));
  const float* scale = operand(task, c.weights_slot, c.weights_offset);
  float* dst = operand(task, c.dst_slot, c.dst_offset);
  for (int64_t i = 0; i < c.images; ++i) {
    if (index[i] < 0 || index[i] >= samples) return STATUS_OUT_OF_RANGE;
  }
  task.each(c.images, [&](Range mine, int) {
    for (int64_t i = mine.begin; i < mine.end; ++i) {
      const float* from = src + index[i] * sample;
      if (bytes) {
        load_sample(c, reinterpret_cast<const uint8_t*>(from), scale, dst + i * words);
      } else {
        load_sample(c, from, scale, dst + i * words);
      }
    }
  });
  return STATUS_OK;
}

inline void loss_of(const Command& c, const float* logits, int32_t label, float* grad, float* loss,
                    int32_t* predicted) {
  int best = 0;
  for (int k = 1; k < c.m; ++k) {
    if (logits[k] > logits[best]) best = k;
  }
  float sum = 0;
  for (int k = 0; k < c.m; ++k) sum += grad[k] = expf(logits[k] - logits[best]);
  *loss = logf(sum) - (logits[label] - logits[best]);
  for (int k = 0; k < c.m; ++k) grad[k] = (grad[k] / sum - (k == label)) / c.count;
  for (int k = c.m; k < tiles(c.m) * T; ++k) grad[k] = 0;
  *predicted = best;
}

inline int loss(const Task& task) {
  const Command& c = *task.command;
  const float* logits = operand(task, c.src_slot, c.src_offset);
  const int32_t* labels = reinterpret_cast<const int32_t*>(operand(task, c.aux_slot, c.aux_offset));
  float* dst = operand(task, c.dst_slot, c.dst_offset);
  float* losses = operand(task, c.extra_slot, c.extra_offset);
  int32_t* predicted = reinterpret_cast<int32_t*>(losses + c.images);
  const int64_t words = tiles(c.m) * T;
  for (int64_t i = 0; i < c.images; ++i) {
    if (labels[i] < 0 || labels[i] >= c.m) return STATUS_OUT_OF_RANGE;
    for (int k = 0; k < c.m; ++k) {
      if (!finite(logits[i * words + k])) return STATUS_NONFINITE;
    }
  }
  task.each(c.images, [&](Range mine, int) {
    for (int64_t i = mine.begin; i < mine.end; ++i) {
      loss_of(c, logits + i * words, labels[i], dst + i * words, losses + i, predicted + i);
    }
  });
  return STATUS_OK;
}

struct Moved {
  Vec velocity, weight;
};

// SGD on one vector; the same expression checks and moves, so what was found finite is what is kept.
EFT_INLINE Moved moved(const float* g, const float* w, const float* v, const float* hypers) {
  const Vec velocity = splat(hypers[1]) * load(v) + load(g) + splat(hypers[2]) * load(w);
  return {velocity, load(w) - splat(hypers[0]) * velocity};
}
// 0 where finite: x - x is NaN for Inf and NaN.
EFT_INLINE Lanes not_finite(Vec x) { return (x - x) != 0; }

// `count` words, T at a time; the last few through copies filled up with zeros.
template <class Body>
EFT_INLINE void vectors(int64_t begin, int64_t end, const float* g, float* w, float* v, const Body& body) {
  int64_t i = begin;
  for (; i + T <= end; i += T) body(g + i, w + i, v + i);
  if (i == end) return;
  const size_t bytes = size_t(end - i) * 4;
  float tail[3][T] = {};
  memcpy(tail[0], g + i, bytes), memcpy(tail[1], w + i, bytes), memcpy(tail[2], v + i, bytes);
  body(tail[0], tail[1], tail[2]);
  memcpy(w + i, tail[1], bytes), memcpy(v + i, tail[2], bytes);
}

inline int update(const Task& task) {
  const Command& c = *task.command;
  const float* g = operand(task, c.src_slot, c.src_offset);
  float* w = operand(task, c.dst_slot, c.dst_offset);
  float* v = operand(task, c.extra_slot, c.extra_offset);
  const float* aux = operand(task, c.aux_slot, c.aux_offset);
  const float hypers[3] = {aux[0], aux[1], aux[2]};
  const int64_t total = ceil_div(c.count, T);
  int spoilt = 0;  // set by any thread, never unset
  task.each(total, [&](Range r, int) {
    Lanes bad{};
    vectors(r.begin * T, least(r.end * T, c.count), g, w, v,
            [&](const float* pg, const float* pw, const float* pv) {
              const Moved to = moved(pg, pw, pv, hypers);
              bad |= not_finite(to.weight) | not_finite(to.velocity);
            });
    int any = 0;
    for (int i = 0; i < T; ++i) any |= bad[i];
    if (any) __atomic_store_n(&spoilt, 1, __ATOMIC_RELAXED);
  });
  if (spoilt) return STATUS_NONFINITE;
  task.each(total, [&](Range r, int) {
    vectors(r.begin * T, least(r.end * T, c.count), g, w, v,
            [&](const float* pg, float* pw, float* pv) {
              const Moved to = moved(pg, pw, pv, hypers);
              store(pv, to.velocity);
              store(pw, to.weight);
            });
  });
  return STATUS_OK;
}

inline int copy(const Task& task) {
  const Command& c = *task.command;
  memmove(operand(task, c.dst_slot, c.dst_offset), operand(task, c.src_slot, c.src_offset),
          size_t(c.count) * 4);
  return STATUS_OK;
}

}  // namespace
}  // namespace eft
