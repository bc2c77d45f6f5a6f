// Sums that must not depend on the number of threads, nor lose digits over many terms: in double
// precision, over parts of a fixed size that are added up in order.
#pragma once
#include "convolve.hpp"

namespace eft {
namespace {

EFT_INLINE bool finite(float f) { return f - f == 0; }
// 0 where finite: x - x is NaN for Inf and NaN.
EFT_INLINE Lanes not_finite(Vec x) { return (x - x) != 0; }

typedef float HalfInMemory __attribute__((vector_size(2 * EFT_LANES), aligned(4), may_alias));
typedef double HalfWide __attribute__((vector_size(4 * EFT_LANES)));
typedef double HalfWideInMemory __attribute__((vector_size(4 * EFT_LANES), aligned(8), may_alias));

// T lanes in double precision, in two registers.
struct Wide {
  HalfWide low, high;

  EFT_INLINE double operator[](int i) const { return i < T / 2 ? low[i] : high[i - T / 2]; }
  EFT_INLINE void add(const Wide& a) { low += a.low, high += a.high; }
  EFT_INLINE void add_product(const Wide& a, const Wide& b) {
    low += a.low * b.low, high += a.high * b.high;
  }
};

EFT_INLINE Wide widened(const float* p) {
  const auto half = [](const float* q) {
    return __builtin_convertvector(*reinterpret_cast<const HalfInMemory*>(q), HalfWide);
  };
  return {half(p), half(p + T / 2)};
}
EFT_INLINE Wide widened(Vec v) {
  float lanes[T];
  store(lanes, v);
  return widened(lanes);
}
EFT_INLINE Wide load_wide(const double* p) {
  return {*reinterpret_cast<const HalfWideInMemory*>(p),
          *reinterpret_cast<const HalfWideInMemory*>(p + T / 2)};
}
EFT_INLINE void store_wide(double* p, const Wide& v) {
  *reinterpret_cast<HalfWideInMemory*>(p) = v.low;
  *reinterpret_cast<HalfWideInMemory*>(p + T / 2) = v.high;
}

}  // namespace
}  // namespace eft
