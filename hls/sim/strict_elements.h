// Commands on elements: batch normalisation both ways, dropout. Additions, copies and pieces of maps need
// no model but what `strict_finish.h` says.
#pragma once
#include <cstdint>
#include <vector>

namespace strict {

// Of one channel.
struct Channel {
  float gamma, beta, mean, inverse;
  float along, plain;  // sums over the batch of dy * xhat, and of dy
};

// A beta of -0 counts as 0.
inline float normalised(const Channel& k, float x) {
  return (k.gamma * k.inverse) * (x - k.mean) + (k.beta + 0.0f);
}

// Of `count` values a channel: gamma * inverse * (dy - plain / count) - ... * (x - mean), shares first.
inline float normalised_back(const Channel& k, float dy, float x, int count) {
  const float share = 1.0f / float(count), scale = k.gamma * k.inverse;
  const float bend = -(scale * k.inverse) * (k.along * share);
  return scale * (dy - k.plain * share) + bend * (x - k.mean);
}

inline float frozen_back(const Channel& k, float dy) { return (k.gamma * k.inverse) * dy; }

// As nn.pointwise.dropout_keep says it, in unsigned arithmetic that wraps.
inline uint32_t lowbias32(uint32_t h) {
  h ^= h >> 16;
  h *= 0x7feb352du;
  h ^= h >> 15;
  h *= 0x846ca68bu;
  return h ^ h >> 16;
}

inline bool kept(uint32_t seed, int layer, float rate, uint64_t index) {
  const uint32_t key = lowbias32(seed ^ uint32_t(layer + 1) * 0x9e3779b9u);
  return double(lowbias32(key + uint32_t(index))) >= std::floor(double(rate) * 4294967296.0);
}

}  // namespace strict
