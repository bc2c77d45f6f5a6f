// CONV_WU: chooses how the gradient is summed, and adds up the sections it was summed in.
#pragma once
#include "winograd_gradient.hpp"

namespace eft {
namespace {

// Words of the sections, where there are several; and of each thread.
inline Scratch gradient_scratch(const Gradient& g) {
  const bool winograd = suits_winograd(g);
  const int64_t sections = winograd ? winograd_of(g).sections : g.sections;
  return {winograd ? winograd_of(g).words() : 0, sections > 1 ? sections * g.words() : 0};
}

inline void add_sections(const Gradient& g, int64_t sections, const Task& task, float* dst, bool add) {
  task.each(g.words() / T, [&](Range r, int) {
    for (int64_t i = r.begin * T; i < r.end * T; i += T) {
      Vec sum = add ? load(dst + i) : Vec{};
      for (int64_t s = 0; s < sections; ++s) sum += load(task.shared + s * g.words() + i);
      store(dst + i, sum);
    }
  });
}

inline int conv_wu(const Task& task) {
  const Command& c = *task.command;
  if (c.groups > 1) return depthwise_wu(task);
  Gradient g = gradient_of(c);
  g.x = operand(task, c.src_slot, c.src_offset);
  g.dy = operand(task, c.aux_slot, c.aux_offset);
  float* dst = operand(task, c.dst_slot, c.dst_offset);
  const bool add = c.flags & FLAG_ACCUMULATE;
  const bool winograd = suits_winograd(g);
  const int64_t sections = winograd ? winograd_of(g).sections : g.sections;
  if (winograd) {
    winograd_wu(g, task, dst, add);
  } else {
    direct_wu(g, task, dst, add);
  }
  if (sections > 1) add_sections(g, sections, task, dst, add);
  return STATUS_OK;
}

}  // namespace
}  // namespace eft
