// One vector is one channel tile of T lanes. GCC and Clang vector extensions, no intrinsics:
// the same source serves every instruction set, and the compiler flags choose it.
#pragma once
#include <stdint.h>
#include <string.h>

#include "task.hpp"

#ifndef EFT_LANES
#error "EFT_LANES: channel lanes of a tile"
#endif
#ifndef EFT_ACCUMULATORS
#error "EFT_ACCUMULATORS: vectors that a convolution keeps in registers"
#endif

#define EFT_INLINE inline __attribute__((always_inline))
#if defined(__clang__)
#define EFT_UNROLL _Pragma("clang loop unroll(full)")
#else
#define EFT_UNROLL _Pragma("GCC unroll 16")
#endif

// Everything is in an unnamed namespace, so that no copy compiled for a larger instruction set
// can be linked in place of one for a smaller.
namespace eft {
namespace {

constexpr int T = EFT_LANES;
constexpr int ACCUMULATORS = EFT_ACCUMULATORS;

typedef float Vec __attribute__((vector_size(4 * EFT_LANES)));
typedef int32_t Lanes __attribute__((vector_size(4 * EFT_LANES)));
typedef float VecInMemory __attribute__((vector_size(4 * EFT_LANES), aligned(4), may_alias));

EFT_INLINE Vec load(const float* p) { return *reinterpret_cast<const VecInMemory*>(p); }
EFT_INLINE void store(float* p, Vec v) { *reinterpret_cast<VecInMemory*>(p) = v; }
// A pixel of a narrow network input, or of any other map.
EFT_INLINE Vec load_pixel(const float* p, int64_t lanes) {
  if (lanes == T) return load(p);
  Vec v{};
  memcpy(&v, p, lanes * 4);
  return v;
}
EFT_INLINE Vec splat(float f) { return f - Vec{}; }
EFT_INLINE Vec where(Lanes mask, Vec v) { return (Vec)((Lanes)v & mask); }
EFT_INLINE Vec choose(Lanes mask, Vec a, Vec b) {
  return (Vec)(((Lanes)a & mask) | ((Lanes)b & ~mask));
}
EFT_INLINE Vec maximum(Vec a, Vec b) { return choose(a > b, a, b); }

constexpr int tiles(int channels) { return (channels + T - 1) / T; }
EFT_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
EFT_INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
EFT_INLINE int64_t ceil_div(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }
EFT_INLINE int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// The part of `total` that is number `index` of `count` contiguous ones.
EFT_INLINE Range share(int64_t total, int64_t index, int64_t count) {
  return {total * index / count, total * (index + 1) / count};
}

template <int... I>
struct Indices {};
template <int N, int... I>
struct FirstIndices : FirstIndices<N - 1, N - 1, I...> {};
template <int... I>
struct FirstIndices<0, I...> {
  using Type = Indices<I...>;
};

// T lanes picked from those of a and then b, by indices known at compile time.
template <int... I>
EFT_INLINE Vec pick(Vec a, Vec b) {
#if defined(__clang__) || __GNUC__ >= 12
  return __builtin_shufflevector(a, b, I...);
#else
  return __builtin_shuffle(a, b, Lanes{I...});
#endif
}

}  // namespace
}  // namespace eft
