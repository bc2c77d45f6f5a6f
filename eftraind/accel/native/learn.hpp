// LOSS, NORM and UPDATE. The first two look at everything that could be wrong before they write their
// first word, UPDATE at each weight before it moves it.
#pragma once
#include "sums.hpp"

extern "C" float expf(float);
extern "C" float logf(float);

namespace eft {
namespace {

// Loss of one image and its gradient. t[k]: share of class k in the target, times its weight.
struct Target {
  int32_t label;
  float sure, spread, divisor;
  const float* weights;  // or null

  float weight(int k) const { return weights ? weights[k] : 1.0f; }
  float of(int k) const { return weight(k) * spread + (k == label ? sure * weight(k) : 0.0f); }
};

inline void loss_of(const Command& c, const Target& t, const float* logits, float* grad, float* loss,
                    int32_t* predicted) {
  int best = 0;
  for (int k = 1; k < c.m; ++k) {
    if (logits[k] > logits[best]) best = k;
  }
  float sum = 0;
  for (int k = 0; k < c.m; ++k) sum += grad[k] = expf(logits[k] - logits[best]);
  const float log_sum = logf(sum);
  float total = 0, lost = 0;
  for (int k = 0; k < c.m; ++k) {
    total += t.of(k);
    lost += t.of(k) * (log_sum - (logits[k] - logits[best]));
  }
  for (int k = 0; k < c.m; ++k) grad[k] = (total * (grad[k] / sum) - t.of(k)) / t.divisor;
  for (int k = c.m; k < tiles(c.m) * T; ++k) grad[k] = 0;
  *loss = lost;
  *predicted = best;
}

inline int loss(const Task& task) {
  const Command& c = *task.command;
  const float* logits = operand(task, c.src_slot, c.src_offset);
  const int32_t* labels = reinterpret_cast<const int32_t*>(operand(task, c.aux_slot, c.aux_offset));
  const bool weighted = c.weights_slot != SLOT_NONE;
  const float* weights = weighted ? operand(task, c.weights_slot, c.weights_offset) : nullptr;
  float* dst = operand(task, c.dst_slot, c.dst_offset);
  float* losses = operand(task, c.extra_slot, c.extra_offset);
  int32_t* predicted = reinterpret_cast<int32_t*>(losses + c.images);
  const int64_t words = tiles(c.m) * T;
  for (int64_t i = 0; i < c.images; ++i) {
    if (labels[i] < 0 || labels[i] >= c.m) return STATUS_OUT_OF_RANGE;
  }
  for (int64_t i = 0; i < c.images; ++i) {
    for (int k = 0; k < c.m; ++k) {
      if (!finite(logits[i * words + k])) return STATUS_NONFINITE;
    }
  }
  const float divisor = weighted ? weights[words] : static_cast<float>(c.count);
  task.each(c.images, [&](Range mine, int) {
    for (int64_t i = mine.begin; i < mine.end; ++i) {
      const Target target = {labels[i], 1 - c.scalar, c.scalar / c.m, divisor, weights};
      loss_of(c, target, logits + i * words, dst + i * words, losses + i, predicted + i);
    }
  });
  return STATUS_OK;
}

// Words whose squares one thread adds up: the same for any number of threads.
constexpr int64_t NORM_WORDS = 32 * 1024;

inline int64_t norm_parts(const Command& c) { return ceil_div(c.count, NORM_WORDS); }

inline double squares(const float* g, int64_t count) {
  Wide sum{};
  int64_t i = 0;
  for (; i + T <= count; i += T) {
    const Wide v = widened(g + i);
    sum.add_product(v, v);
  }
  double total = 0;
  for (int k = 0; k < T; ++k) total += sum[k];
  for (; i < count; ++i) total += double(g[i]) * g[i];
  return total;
}

inline int norm(const Task& task) {
  const Command& c = *task.command;
  const float* g = operand(task, c.src_slot, c.src_offset);
  float* dst = operand(task, c.dst_slot, c.dst_offset);
  double* parts = reinterpret_cast<double*>(task.shared);
  task.each(norm_parts(c), [&](Range r, int) {
    for (int64_t i = r.begin; i < r.end; ++i) {
      parts[i] = squares(g + i * NORM_WORDS, least(NORM_WORDS, c.count - i * NORM_WORDS));
    }
  });
  double total = c.flags & FLAG_ACCUMULATE ? *dst : 0;
  for (int64_t i = 0; i < norm_parts(c); ++i) total += parts[i];
  if (!finite(static_cast<float>(total))) return STATUS_NONFINITE;
  *dst = static_cast<float>(total);
  return STATUS_OK;
}

struct Rates {
  Vec rate, momentum, decay, beta2, epsilon, correction1, correction2;
  Vec scale;  // of the gradient, so that the norm of all is at most `clip`
};

// From the words of `Hyper`, and NORM's sum where gradients are clipped.
inline Rates rates_of(const float* h, const float* sum) {
  double scale = 1;
  if (sum) {
    const double norm = *sum;
    const double allowed = h[HYPER_CLIP] / (__builtin_sqrt(norm) + 1e-6);
    if (allowed < scale) scale = allowed;
  }
  return {splat(h[HYPER_RATE]),  splat(h[HYPER_MOMENTUM]), splat(h[HYPER_DECAY]),
          splat(h[HYPER_BETA2]), splat(h[HYPER_EPSILON]),  splat(h[HYPER_CORRECTION1]),
          splat(h[HYPER_CORRECTION2]), splat(static_cast<float>(scale))};
}

// Weight, velocity or first moment, second moment.
struct State {
  Vec w, v, s;
};

EFT_INLINE Vec root(Vec x) {
  EFT_UNROLL
  for (int i = 0; i < T; ++i) x[i] = __builtin_sqrtf(x[i]);
  return x;
}

struct Sgd {
  static constexpr bool second = false;
  EFT_INLINE static State step(Vec g, const State& a, const Rates& r) {
    const Vec v = r.momentum * a.v + g * r.scale + r.decay * a.w;
    return {a.w - r.rate * v, v, a.s};
  }
};

struct Nesterov {
  static constexpr bool second = false;
  EFT_INLINE static State step(Vec g, const State& a, const Rates& r) {
    const Vec slope = g * r.scale + r.decay * a.w;
    const Vec v = r.momentum * a.v + slope;
    return {a.w - r.rate * (slope + r.momentum * v), v, a.s};
  }
};

struct Adam {
  static constexpr bool second = true;
  EFT_INLINE static State step(Vec g, const State& a, const Rates& r) {
    const Vec slope = g * r.scale + r.decay * a.w;
    const Vec v = r.momentum * a.v + (1 - r.momentum) * slope;
    const Vec s = r.beta2 * a.s + (1 - r.beta2) * slope * slope;
    return {a.w - r.rate * (v / r.correction1) / (root(s / r.correction2) + r.epsilon), v, s};
  }
};

// Where a step reads and writes; s only where the rule has second moments.
struct Learnt {
  const float* g;
  float *w, *v, *s;

  Learnt plus(int64_t words) const { return {g + words, w + words, v + words, s + words}; }
};

template <class Rule>
EFT_INLINE State moved(const Learnt& at, const Rates& rates) {
  const State now = {load(at.w), load(at.v), Rule::second ? load(at.s) : Vec{}};
  return Rule::step(load(at.g), now, rates);
}

// The words [begin, end), T at a time; the last few through copies filled up with zeros.
template <class Rule, class Work>
EFT_INLINE void vectors(int64_t begin, int64_t end, const Learnt& all, const Work& work) {
  int64_t i = begin;
  for (; i + T <= end; i += T) work(all.plus(i));
  if (i == end) return;
  const size_t bytes = size_t(end - i) * 4;
  const Learnt rest = all.plus(i);
  float tail[4][T] = {};
  memcpy(tail[0], rest.g, bytes), memcpy(tail[1], rest.w, bytes), memcpy(tail[2], rest.v, bytes);
  if (Rule::second) {
    store(tail[3], splat(1));  // not 0 / 0 behind the end
    memcpy(tail[3], rest.s, bytes);
  }
  work(Learnt{tail[0], tail[1], tail[2], tail[3]});
  memcpy(rest.w, tail[1], bytes), memcpy(rest.v, tail[2], bytes);
  if (Rule::second) memcpy(rest.s, tail[3], bytes);
}

// Weights whose state would not be finite stay as they are. Each word is read and written once.
template <class Rule>
int move_by(const Task& task, const Learnt& all, int64_t count, const Rates& rates) {
  int spoilt = 0;  // set by any thread, never unset
  task.each(ceil_div(count, T), [&](Range r, int) {
    Lanes bad{};
    vectors<Rule>(r.begin * T, least(r.end * T, count), all, [&](const Learnt& at) {
      const State to = moved<Rule>(at, rates);
      Lanes stays = not_finite(to.w) | not_finite(to.v);
      if (Rule::second) stays |= not_finite(to.s);
      store(at.v, choose(stays, load(at.v), to.v));
      store(at.w, choose(stays, load(at.w), to.w));
      if (Rule::second) store(at.s, choose(stays, load(at.s), to.s));
      bad |= stays;
    });
    int any = 0;
    for (int i = 0; i < T; ++i) any |= bad[i];
    if (any) __atomic_store_n(&spoilt, 1, __ATOMIC_RELAXED);
  });
  return spoilt ? STATUS_NONFINITE : STATUS_OK;
}

inline int update(const Task& task) {
  const Command& c = *task.command;
  Learnt all = {operand(task, c.src_slot, c.src_offset), operand(task, c.dst_slot, c.dst_offset),
                operand(task, c.extra_slot, c.extra_offset), nullptr};
  all.s = all.v + c.axis;
  const float* sum = c.weights_slot != SLOT_NONE ? operand(task, c.weights_slot, c.weights_offset) : nullptr;
  const Rates rates = rates_of(operand(task, c.aux_slot, c.aux_offset), sum);
  if (c.flags & FLAG_ADAM) return move_by<Adam>(task, all, c.count, rates);
  if (c.flags & FLAG_NESTEROV) return move_by<Nesterov>(task, all, c.count, rates);
  return move_by<Sgd>(task, all, c.count, rates);
}

}  // namespace
}  // namespace eft
