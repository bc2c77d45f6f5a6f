// All commands for one instruction set. Compiled once per set with its own flags and these macros:
// EFT_SET (name of the exported table), EFT_LANES, EFT_ACCUMULATORS.
#include <time.h>

#include "average.hpp"
#include "descend.hpp"
#include "norm.hpp"
#include "step.hpp"

namespace eft {
namespace {

using Handler = int (*)(const Task&);

// Null: not implemented.
Handler handler_of(int32_t op) {
  switch (op) {
    case OP_LOAD: return load_batch;
    case OP_CONV_FP: return conv_fp;
    case OP_CONV_BP: return conv_bp;
    case OP_CONV_WU: return conv_wu;
    case OP_POOL_FP: return pool_fp;
    case OP_POOL_BP: return pool_bp;
    case OP_AVG_FP: return avg_fp;
    case OP_AVG_BP: return avg_bp;
    case OP_BN_STAT: return bn_stat;
    case OP_BN_FP: return bn_fp;
    case OP_BN_SUM: return bn_sum;
    case OP_BN_BP: return bn_bp;
    case OP_BIAS_WU: return bias_wu;
    case OP_ADD_FP: return add_fp;
    case OP_PASS_BP: return pass_bp;
    case OP_CONCAT_FP: return concat_fp;
    case OP_CONCAT_BP: return concat_bp;
    case OP_DROP_FP: return drop_fp;
    case OP_DROP_BP: return drop_bp;
    case OP_LOSS: return loss;
    case OP_NORM: return norm;
    case OP_UPDATE: return update;
    case OP_COPY: return copy;
    default: return nullptr;
  }
}

bool implements(int32_t op) { return handler_of(op) != nullptr; }

// What a command needs beside the gradient that CONV_WU with STEP keeps behind it.
Scratch working(const Command& c) {
  const bool depthwise = c.groups > 1;
  if (depthwise && c.op == OP_CONV_WU) return {0, tiles(c.m) * depthwise_parts(c) * depthwise_words(c)};
  if (depthwise) return {0, 0};
  switch (c.op) {
    case OP_CONV_FP: return {scratch_words(forward(c)), 0};
    case OP_CONV_BP: return {backward_scratch_words(c), weight_words(c)};
    case OP_CONV_WU: return gradient_scratch(gradient_of(c));
    case OP_BN_STAT: return {0, statistics_words(c)};
    case OP_BN_SUM: return {0, parts_words(c, 2)};
    case OP_BIAS_WU: return {0, parts_words(c, 1)};
    case OP_NORM: return {0, 2 * norm_parts(c)};
    default: return {0, 0};
  }
}

bool steps(const Command& c) { return c.op == OP_CONV_WU && (c.flags & FLAG_STEP); }

Scratch scratch(const Command& c) {
  const Scratch need = working(c);
  return {need.own_words, need.shared_words + (steps(c) ? gradient_words(c) : 0)};
}

int run(const Task& task) {
  const Command& c = *task.command;
  if (steps(c)) return conv_wu_step(task, working(c).shared_words);
  const Handler handler = handler_of(c.op);
  return handler ? handler(task) : STATUS_BAD_OP;
}

double seconds() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

// Independent multiply-adds in registers: what the convolutions are measured against.
double peak_gflops() {
  constexpr int CHAINS = 10;
  constexpr int64_t TURNS = 2000000;
  Vec chain[CHAINS] = {}, factor = splat(0.5f), term = splat(0.25f);
  asm volatile("" : "+m"(factor), "+m"(term));
  const double start = seconds();
  for (int64_t i = 0; i < TURNS; ++i) {
    EFT_UNROLL
    for (int k = 0; k < CHAINS; ++k) chain[k] = chain[k] * factor + term;
  }
  const double taken = seconds() - start;
  for (int k = 0; k < CHAINS; ++k) asm volatile("" : : "m"(chain[k]));
  return 2.0 * T * CHAINS * double(TURNS) / taken * 1e-9;
}

}  // namespace

#define EFT_TEXT(name) #name
#define EFT_QUOTED(name) EFT_TEXT(name)
extern const Kernels EFT_SET;
const Kernels EFT_SET = {T, EFT_QUOTED(EFT_SET), implements, run, scratch, peak_gflops};

}  // namespace eft
