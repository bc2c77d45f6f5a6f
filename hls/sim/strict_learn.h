// Updates, the loss, and the gather of samples, element by element in the kernel's order of roundings.
// exp, log and roots are the kernel's own functions: test_functions.cpp holds them to their bounds.
#pragma once
#include <cstdint>
#include <vector>

#include "functions.h"

namespace strict {

struct Hyper {
  float rate, momentum, decay, clip, beta2, epsilon, correction1, correction2;
};

// What gradients are multiplied by so that their norm is at most `clip`.
inline float clip_scale(float sum_of_squares, float clip) {
  const float scale = clip / (eft::root(sum_of_squares) + 1e-6f);
  return scale < 1.0f ? scale : 1.0f;
}

struct Weight {
  float w, v, s;  // s: Adam's second moment
};

inline Weight sgd(const Hyper& h, Weight k, float gradient) {
  k.v = h.momentum * k.v + (gradient + h.decay * k.w);
  k.w = k.w - h.rate * k.v;
  return k;
}

inline Weight nesterov(const Hyper& h, Weight k, float gradient) {
  const float slope = gradient + h.decay * k.w;
  k.v = h.momentum * k.v + slope;
  k.w = k.w - h.rate * (slope + h.momentum * k.v);
  return k;
}

inline Weight adam(const Hyper& h, Weight k, float gradient) {
  const float g = gradient + h.decay * k.w;
  k.v = h.momentum * k.v + (1.0f - h.momentum) * g;
  k.s = h.beta2 * k.s + ((1.0f - h.beta2) * g) * g;
  const float deviation = eft::root(k.s / h.correction2) + h.epsilon;
  k.w = k.w - (h.rate * (k.v / h.correction1)) / deviation;
  return k;
}

struct Loss {
  float loss;
  int predicted;
  std::vector<float> gradient;
};

// Softmax cross-entropy of one image; sums run over the classes in order.
inline Loss cross_entropy(const std::vector<float>& logits, int label, float smoothing, const std::vector<float>& weights,
                          float divisor) {
  const int classes = int(logits.size());
  Loss out = {0.0f, 0, std::vector<float>(classes)};
  for (int k = 1; k < classes; ++k)
    if (logits[k] > logits[out.predicted]) out.predicted = k;
  const float top = logits[out.predicted], even = smoothing / float(classes);
  std::vector<float> powers(classes), targets(classes);
  float sum = 0.0f, target = 0.0f;
  for (int k = 0; k < classes; ++k) {
    powers[k] = eft::exp_of(logits[k] - top);
    sum = sum + powers[k];
    targets[k] = weights[k] * even + (k == label ? (1.0f - smoothing) * weights[k] : 0.0f);
    target = target + targets[k];
  }
  const float log_sum = eft::log_of(sum);
  for (int k = 0; k < classes; ++k) {
    out.loss = out.loss - targets[k] * ((logits[k] - top) - log_sum);
    out.gradient[k] = (target * (powers[k] / sum) - targets[k]) / divisor;
  }
  return out;
}

inline float loaded(float value, float scale, float shift) { return value * scale + shift; }

}  // namespace strict
