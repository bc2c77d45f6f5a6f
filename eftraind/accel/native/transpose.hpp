// T x T floats, rows to columns.
#pragma once
#include "simd.hpp"

namespace eft {
namespace {

// Exchanges blocks of S lanes between registers S apart: log2(T) rounds of this transpose T x T.
template <int S, int... I>
EFT_INLINE void exchange(Vec* v, Indices<I...>) {
  EFT_UNROLL
  for (int i = 0; i < T; ++i) {
    if (i & S) continue;
    const Vec a = v[i], b = v[i + S];
    v[i] = pick<(I & S ? T + I - S : I)...>(a, b);
    v[i + S] = pick<(I & S ? T + I : I + S)...>(a, b);
  }
  if constexpr (S > 1) exchange<S / 2>(v, Indices<I...>{});
}

// to[m][n] = from[n][m]
EFT_INLINE void transpose(const float* from, float* to) {
  Vec v[T];
  EFT_UNROLL
  for (int i = 0; i < T; ++i) v[i] = load(from + i * T);
  exchange<T / 2>(v, FirstIndices<T>::Type{});
  EFT_UNROLL
  for (int i = 0; i < T; ++i) store(to + i * T, v[i]);
}

}  // namespace
}  // namespace eft
