// The commands around the convolutions: LOAD, LOSS, UPDATE, COPY. Each looks at everything that
// could be wrong before it writes its first word.
#pragma once
#include "convolve.hpp"

extern "C" float expf(float);
extern "C" float logf(float);

namespace eft {
namespace {

EFT_INLINE bool finite(float f) { return f - f == 0; }

typedef float Quad __attribute__((vector_size(16), aligned(4), may_alias));
typedef uint8_t Bytes __attribute__((vector_size(4), aligned(1), may_alias));

EFT_INLINE Quad quad(const float* p) { return *reinterpret_cast<const Quad*>(p); }
EFT_INLINE Quad quad(const uint8_t* p) {
  return __builtin_convertvector(*reinterpret_cast<const Bytes*>(p), Quad);
}

// One sample: four lanes of all pixels of a tile at a time. Padded lanes get neither scale nor shift.
template <class Sample>
void load_sample(const Command& c, const Sample* from, const float* scale, float* to) {
  const int64_t pixels = int64_t(c.rows_in) * c.cols_in;
  const float* shift = scale + tiles(c.n) * c.lanes;
  for (int tile = 0; tile < tiles(c.n); ++tile) {
    for (int lane = 0; lane < c.lanes; lane += 4) {
      Quad a{}, b{};
      for (int i = 0; i < 4 && tile * c.lanes + lane + i < c.n; ++i) {
        a[i] = scale[tile * c.lanes + lane + i];
        b[i] = shift[tile * c.lanes + lane + i];
      }
      const int64_t at = tile * pixels * c.lanes + lane;
      for (int64_t p = 0; p < pixels; ++p) {
        *reinterpret_cast<Quad*>(to + at + p * c.lanes) = quad(from + at + p * c.lanes) * a + b;
      }
    }
  }
}

inline int load_batch(const Task& task) {
  const Command& c = *task.command;
  const bool bytes = c.flags & FLAG_U8;
  const int64_t words = int64_t(tiles(c.n)) * c.rows_in * c.cols_in * c.lanes;
  const int64_t sample = bytes ? words / 4 : words;
  const int64_t samples = (task.slot_words[c.src_slot] - c.src_offset) / sample;
  const float* src = operand(task, c.src_slot, c.src_offset);
  const int32_t* index = reinterpret_cast<const int32_t*>(operand(task, c.aux_slot, c.aux_offset));
  const float* scale = operand(task, c.weights_slot, c.weights_offset);
  float* dst = operand(task, c.dst_slot, c.dst_offset);
  for (int64_t i = 0; i < c.images; ++i) {
    if (index[i] < 0 || index[i] >= samples) return STATUS_OUT_OF_RANGE;
  }
  const Range mine = share(c.images, task.thread, task.threads);
  for (int64_t i = mine.begin; i < mine.end; ++i) {
    const float* from = src + index[i] * sample;
    if (bytes) {
      load_sample(c, reinterpret_cast<const uint8_t*>(from), scale, dst + i * words);
    } else {
      load_sample(c, from, scale, dst + i * words);
    }
  }
  return STATUS_OK;
}

inline void loss_of(const Command& c, const float* logits, int32_t label, float* grad, float* loss,
                    int32_t* predicted) {
  int best = 0;
  for (int k = 1; k < c.m; ++k) {
    if (logits[k] > logits[best]) best = k;
  }
  float sum = 0;
  for (int k = 0; k < c.m; ++k) sum += grad[k] = expf(logits[k] - logits[best]);
  *loss = logf(sum) - (logits[label] - logits[best]);
  for (int k = 0; k < c.m; ++k) grad[k] = (grad[k] / sum - (k == label)) / c.count;
  for (int k = c.m; k < tiles(c.m) * T; ++k) grad[k] = 0;
  *predicted = best;
}

inline int loss(const Task& task) {
  const Command& c = *task.command;
  const float* logits = operand(task, c.src_slot, c.src_offset);
  const int32_t* labels = reinterpret_cast<const int32_t*>(operand(task, c.aux_slot, c.aux_offset));
  float* dst = operand(task, c.dst_slot, c.dst_offset);
  float* losses = operand(task, c.extra_slot, c.extra_offset);
  int32_t* predicted = reinterpret_cast<int32_t*>(losses + c.images);
  const int64_t words = tiles(c.m) * T;
  int status = STATUS_OK;
  for (int64_t i = 0; i < c.images; ++i) {
    if (labels[i] < 0 || labels[i] >= c.m) return STATUS_OUT_OF_RANGE;
  }
  const Range mine = share(c.images, task.thread, task.threads);
  for (int64_t i = mine.begin; i < mine.end; ++i) {
    for (int k = 0; k < c.m; ++k) {
      if (!finite(logits[i * words + k])) status = STATUS_NONFINITE;
    }
  }
  status = task.agree(status);
  if (status != STATUS_OK) return status;
  for (int64_t i = mine.begin; i < mine.end; ++i) {
    loss_of(c, logits + i * words, labels[i], dst + i * words, losses + i, predicted + i);
  }
  return STATUS_OK;
}

struct Moved {
  float velocity, weight;
};
EFT_INLINE Moved moved(float g, float w, float v, const float* hypers) {
  const float velocity = hypers[1] * v + g + hypers[2] * w;
  return {velocity, w - hypers[0] * velocity};
}

inline int update(const Task& task) {
  const Command& c = *task.command;
  const float* g = operand(task, c.src_slot, c.src_offset);
  float* w = operand(task, c.dst_slot, c.dst_offset);
  float* v = operand(task, c.extra_slot, c.extra_offset);
  const float* aux = operand(task, c.aux_slot, c.aux_offset);
  const float hypers[3] = {aux[0], aux[1], aux[2]};
  const Range mine = share(c.count, task.thread, task.threads);
  float check = 0;  // stays 0 unless something is Inf or NaN
  for (int64_t i = mine.begin; i < mine.end; ++i) {
    const Moved to = moved(g[i], w[i], v[i], hypers);
    check += (to.weight - to.weight) + (to.velocity - to.velocity);
  }
  const int status = task.agree(check == 0 ? STATUS_OK : STATUS_NONFINITE);
  if (status != STATUS_OK) return status;
  for (int64_t i = mine.begin; i < mine.end; ++i) {
    const Moved to = moved(g[i], w[i], v[i], hypers);
    v[i] = to.velocity;
    w[i] = to.weight;
  }
  return STATUS_OK;
}

inline int copy(const Task& task) {
  const Command& c = *task.command;
  const Range mine = share(c.count, task.thread, task.threads);
  memmove(operand(task, c.dst_slot, c.dst_offset) + mine.begin,
          operand(task, c.src_slot, c.src_offset) + mine.begin, (mine.end - mine.begin) * 4);
  return STATUS_OK;
}

}  // namespace
}  // namespace eft
