// CONV_WU with STEP: the gradient is summed in scratch as ever, then the weights step by it.
#pragma once
#include "conv_wu.hpp"
#include "learn.hpp"

namespace eft {
namespace {

inline Command without_step(const Command& c) {
  Command plain = c;
  plain.flags &= ~FLAG_STEP;
  plain.dst_slot = SLOT_NONE;  // scratch, while it runs
  plain.dst_offset = 0;
  return plain;
}

inline int64_t gradient_words(const Command& c) {
  const int64_t kernel = c.groups > 1 ? tiles(c.m) * kernel_words(c) : weight_words(c);
  return kernel + (c.flags & FLAG_BIAS ? tiles(c.m) * T : 0);
}

inline int conv_wu_step(const Task& task, int64_t summing_words) {
  const Command& c = *task.command;
  const Command plain = without_step(c);
  float* slots[SLOT_COUNT];
  memcpy(slots, task.slots, sizeof slots);
  slots[SLOT_NONE] = task.shared + summing_words;
  Task summing = task;
  summing.command = &plain;
  summing.slots = slots;
  const int status = conv_wu(summing);
  if (status != STATUS_OK) return status;
  const Learnt all = {slots[SLOT_NONE], operand(task, c.dst_slot, c.dst_offset),
                      operand(task, c.extra_slot, c.extra_offset), nullptr};
  const Rates rates = rates_of(operand(task, c.weights_slot, c.weights_offset), nullptr);
  if (c.flags & FLAG_NESTEROV) return move_by<Nesterov>(task, all, gradient_words(c), rates);
  return move_by<Sgd>(task, all, gradient_words(c), rates);
}

}  // namespace
}  // namespace eft
