// What happens to an element on its way to memory, as isa.Op's docstring says it: bias, activation, or
// mask, then the old value.
#pragma once
#include "isa.h"

namespace strict {

// Forward. Leaky slopes come in where a value is not above 0; NaN stays.
inline float activated(float v, int flags, float slope) {
  if (flags & eft::FLAG_RELU6) return v < 0.0f ? 0.0f : v > 6.0f ? 6.0f : v;
  if (flags & eft::FLAG_LEAKY) return v > 0.0f ? v : slope * v;
  if (flags & eft::FLAG_RELU) return v < 0.0f ? 0.0f : v;
  return v;
}

// Backward, of a sum that every element is to be multiplied by `scale` of: x is what the activation made.
inline float undone(float v, int flags, float x, float slope, float scale = 1.0f) {
  if (!(flags & eft::FLAG_MASK)) return v * scale;
  if (flags & eft::FLAG_RELU6) return x > 0.0f && x < 6.0f ? v * scale : 0.0f;
  if (flags & eft::FLAG_LEAKY) return x > 0.0f ? v * scale : v * (slope * scale);
  return x > 0.0f ? v * scale : 0.0f;
}

inline float joined(float v, int flags, float old) { return flags & eft::FLAG_ACCUMULATE ? old + v : v; }

// A sum leaves as v + 0, or plus its bias: no result is -0 unless a slope or an addition makes it so. (A BN_FP has
// had its beta added.)
inline float leaving(float v, float bias = 0.0f) { return v + bias; }

}  // namespace strict
