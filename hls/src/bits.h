// Floats as the words they are. Nothing is converted.
#pragma once
#include <cstdint>

namespace eft {

union Bits {
  float f;
  int32_t i;
};

inline int32_t as_int(float f) {
  Bits b;
  b.f = f;
  return b.i;
}

inline float as_float(int32_t i) {
  Bits b;
  b.i = i;
  return b.f;
}

inline bool finite(float f) { return (as_int(f) & 0x7f800000) != 0x7f800000; }

}  // namespace eft
