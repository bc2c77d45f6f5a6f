// LOAD and COPY. LOAD looks at every index before it writes its first word.
#pragma once
#include "convolve.hpp"

namespace eft {
namespace {

typedef uint8_t VecBytes __attribute__((vector_size(EFT_LANES), aligned(1), may_alias));
EFT_INLINE Vec vector(const float* p) { return load(p); }
EFT_INLINE Vec vector(const uint8_t* p) {
  return __builtin_convertvector(*reinterpret_cast<const VecBytes*>(p), Vec);
}

// Scale or shift of one tile, repeated over the pixels of a vector; padded lanes get neither.
EFT_INLINE Vec repeated(const Command& c, const float* values, int tile) {
  Vec v{};
  for (int i = 0; i < T; ++i) {
    const int channel = tile * c.lanes + i % c.lanes;
    if (channel < c.n) v[i] = values[channel];
  }
  return v;
}

// One sample, a vector (one pixel or several narrow ones) at a time.
template <class Sample>
void load_sample(const Command& c, const Sample* from, const float* scale, float* to) {
  const int64_t words = int64_t(c.rows_in) * c.cols_in * c.lanes;
  const float* shift = scale + tiles(c.n) * c.lanes;
  for (int tile = 0; tile < tiles(c.n); ++tile, from += words, to += words) {
    const Vec a = repeated(c, scale, tile), b = repeated(c, shift, tile);
    int64_t i = 0;
    if (T % c.lanes == 0) {
      for (; i + T <= words; i += T) store(to + i, vector(from + i) * a + b);
    }
    for (; i < words; ++i) {
      const int64_t lane = i % c.lanes;
      to[i] = static_cast<float>(from[i]) * a[lane] + b[lane];
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
  task.each(c.images, [&](Range mine, int) {
    for (int64_t i = mine.begin; i < mine.end; ++i) {
      const float* from = src + index[i] * sample;
      if (bytes) {
        load_sample(c, reinterpret_cast<const uint8_t*>(from), scale, dst + i * words);
      } else {
        load_sample(c, from, scale, dst + i * words);
      }
    }
  });
  return STATUS_OK;
}

inline int copy(const Task& task) {
  const Command& c = *task.command;
  memmove(operand(task, c.dst_slot, c.dst_offset), operand(task, c.src_slot, c.src_offset),
          size_t(c.count) * 4);
  return STATUS_OK;
}

}  // namespace
}  // namespace eft
