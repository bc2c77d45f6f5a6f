// Activations at the end of forward commands, their derivatives at the end of backward ones, and the
// rules that all backward commands share (MASK, ACCUMULATE). NaN passes through forward.
#pragma once
#include "simd.hpp"

namespace eft {
namespace {

enum Kind { LINEAR, RELU, RELU6, LEAKY };

struct Activation {
  int kind;
  float slope;

  EFT_INLINE Vec of(Vec v) const {
    switch (kind) {
      case RELU: return choose(v < 0, Vec{}, v);
      case RELU6: return choose(v > 6, splat(6), choose(v < 0, Vec{}, v));
      case LEAKY: return choose(v > 0, v, v * splat(slope));
      default: return v;
    }
  }
  // grad times the derivative where the activation's output is y.
  EFT_INLINE Vec undone(Vec grad, Vec y) const {
    switch (kind) {
      case RELU: return where(y > 0, grad);
      case RELU6: return where((y > 0) & (y < 6), grad);
      case LEAKY: return choose(y > 0, grad, grad * splat(slope));
      default: return grad;
    }
  }
};

EFT_INLINE Activation activation_of(const Command& c) {
  const int kind = c.flags & FLAG_RELU6   ? RELU6
                   : c.flags & FLAG_LEAKY ? LEAKY
                   : c.flags & FLAG_RELU  ? RELU
                                          : LINEAR;
  return {kind, c.scalar};
}
// Whose derivative a backward command applies: ReLU's unless it names another.
EFT_INLINE Activation masked_of(const Command& c) {
  Activation a = activation_of(c);
  if (!(c.flags & FLAG_MASK)) return {LINEAR, 0};
  if (a.kind == LINEAR) a.kind = RELU;
  return a;
}

EFT_INLINE float* operand(const Task& t, int32_t slot, int32_t offset) {
  return t.slots[slot] + offset;
}

// Where a gradient goes: dst, by the rules of MASK and ACCUMULATE.
struct Sink {
  float* to;
  const float* x;  // the map that the activation made; read only if there is one
  Activation activation;
  bool add;

  EFT_INLINE void put(int64_t at, Vec grad) const {
    if (activation.kind != LINEAR) grad = activation.undone(grad, load(x + at));
    if (add) grad = load(to + at) + grad;
    store(to + at, grad);
  }
};

EFT_INLINE Sink sink_of(const Task& task) {
  const Command& c = *task.command;
  return {operand(task, c.dst_slot, c.dst_offset), operand(task, c.aux_slot, c.aux_offset),
          masked_of(c), (c.flags & FLAG_ACCUMULATE) != 0};
}

}  // namespace
}  // namespace eft
