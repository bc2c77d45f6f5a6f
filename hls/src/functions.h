// exp, log, square roots and dropout's hash, in the kernel's own fixed arithmetic: the same bits
// wherever it is compiled. Relative errors below are the largest found by sim/test_functions.cpp.
#pragma once
#include "word.h"

namespace eft {

constexpr float INFINITE = __builtin_huge_valf();

// e^x for x <= 0, within 1.2e-7; below -87, where the result is subnormal, 0. Cody-Waite reduction,
// Taylor's polynomial on |r| <= ln 2 / 2.
inline float exp_of(float x) {
  if (!(x >= -87.0f)) return x < -87.0f ? 0.0f : x;
  const int n = static_cast<int>(x * 1.44269504f - 0.5f);
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  float p = 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * as_float((n + 127) << 23);
}

// ln x for finite x >= 1, within 1.5e-7 of max(1, ln x): 2 atanh((m - 1) / (m + 1)), m in [0.7, 1.42).
inline float log_of(float x) {
  const int above = as_int(x) - as_int(0.70710678f);
  const int e = above >> 23;
  const float m = as_float(as_int(x) - e * (1 << 23));
  const float s = (m - 1.0f) / (m + 1.0f);
  const float z = s * s;
  float p = 1.0f / 9;
  p = p * z + 1.0f / 7;
  p = p * z + 1.0f / 5;
  p = p * z + 1.0f / 3;
  p = p * z + 1.0f;
  return e * 0.693359375f + (2.0f * s * p - e * 2.12194440e-4f);
}

// 1 / sqrt(x) within 1.5e-7, by four Newton steps; 0 for infinity, NaN below 0, infinity for 0 and
// subnormals.
inline float inverse_root(float x) {
  if (!(x >= 1.17549435e-38f)) return x >= 0.0f ? INFINITE : as_float(0x7fc00000);
  if (!finite(x)) return 0.0f;
  float y = as_float(0x5f3759df - (as_int(x) >> 1));
  const float half = 0.5f * x;
newton:
  for (int i = 0; i < 4; ++i) {
    HLS(UNROLL)
    y = y * (1.5f - half * y * y);
  }
  return y;
}

// sqrt(x) within 1.5e-7; 0 for subnormals.
inline float root(float x) {
  if (x >= 0.0f && x < 1.17549435e-38f) return 0.0f;
  return finite(x) || !(x > 0.0f) ? x * inverse_root(x) : x;
}

// lowbias32 (Wellons), as nn.pointwise.dropout_keep says it.
inline uint32_t mixed(uint32_t h) {
  h = (h ^ (h >> 16)) * 0x7feb352du;
  h = (h ^ (h >> 15)) * 0x846ca68bu;
  return h ^ (h >> 16);
}

}  // namespace eft
