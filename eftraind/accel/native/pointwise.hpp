// Commands that look at one pixel at a time: ADD_FP, PASS_BP, DROP_FP, DROP_BP, CONCAT_FP, CONCAT_BP.
#pragma once
#include "convolve.hpp"

namespace eft {
namespace {

EFT_INLINE int64_t pixels_in(const Command& c) { return int64_t(c.rows_in) * c.cols_in; }
EFT_INLINE int64_t vectors_in(const Command& c) { return c.images * int64_t(tiles(c.n)) * pixels_in(c); }

inline int add_fp(const Task& task) {
  const Command& c = *task.command;
  const float* a = operand(task, c.src_slot, c.src_offset);
  const float* b = operand(task, c.aux_slot, c.aux_offset);
  float* dst = operand(task, c.dst_slot, c.dst_offset);
  const Activation activation = activation_of(c);
  task.each(vectors_in(c), [=](Range r, int) {  // copies: stores cannot change them
    for (int64_t i = r.begin * T; i < r.end * T; i += T) {
      store(dst + i, activation.of(load(a + i) + load(b + i)));
    }
  });
  return STATUS_OK;
}

inline int pass_bp(const Task& task) {
  const Command& c = *task.command;
  const float* dy = operand(task, c.src_slot, c.src_offset);
  const Sink sink = sink_of(task);
  task.each(vectors_in(c), [=](Range r, int) {
    for (int64_t i = r.begin * T; i < r.end * T; i += T) sink.put(i, load(dy + i));
  });
  return STATUS_OK;
}

typedef uint32_t Hashes __attribute__((vector_size(4 * EFT_LANES)));

// lowbias32, as nn.pointwise.dropout_keep defines it.
template <class Word>
EFT_INLINE Word mixed(Word h) {
  h = (h ^ (h >> 16)) * 0x7feb352du;
  h = (h ^ (h >> 15)) * 0x846ca68bu;
  return h ^ (h >> 16);
}

struct Dropout {
  uint32_t key, threshold, first;
  float scale;
};

inline Dropout dropout_of(const Command& c, const float* seed) {
  uint32_t word;
  memcpy(&word, seed, 4);
  const uint32_t key = mixed(word ^ ((static_cast<uint32_t>(c.layer) + 1) * 0x9e3779b9u));
  const auto threshold = static_cast<uint32_t>(static_cast<double>(c.scalar) * 4294967296.0);
  return {key, threshold, static_cast<uint32_t>(c.axis), 1.0f / (1.0f - c.scalar)};
}

// put(offset, kept and grown vector) for every pixel.
template <class Put>
void drop(const Task& task, const Dropout& d, const Put& put) {
  const Command& c = *task.command;
  const float* src = operand(task, c.src_slot, c.src_offset);
  const int64_t count = tiles(c.n);
  const auto pixels = static_cast<uint32_t>(pixels_in(c));
  Hashes lane{};
  for (int i = 0; i < T; ++i) lane[i] = static_cast<uint32_t>(i) * pixels;
  task.each(vectors_in(c), [&](Range r, int) {
    for (int64_t i = r.begin; i < r.end; ++i) {
      const int64_t plane = i / pixels, pixel = i % pixels, image = plane / count, tile = plane % count;
      // In uint32, wrapping.
      const uint32_t channel = (d.first + static_cast<uint32_t>(image)) * static_cast<uint32_t>(c.n) +
                               static_cast<uint32_t>(tile * T);
      const Hashes hash = mixed(lane + (channel * pixels + static_cast<uint32_t>(pixel) + d.key));
      put(i * T, where((Lanes)(hash >= d.threshold), load(src + i * T) * splat(d.scale)));
    }
  });
}

inline int drop_fp(const Task& task) {
  const Command& c = *task.command;
  float* dst = operand(task, c.dst_slot, c.dst_offset);
  const Dropout d = dropout_of(c, operand(task, c.aux_slot, c.aux_offset));
  drop(task, d, [=](int64_t at, Vec v) __attribute__((always_inline)) { store(dst + at, v); });
  return STATUS_OK;
}

inline int drop_bp(const Task& task) {
  const Command& c = *task.command;
  const Dropout d = dropout_of(c, operand(task, c.extra_slot, c.extra_offset));
  const Sink sink = sink_of(task);
  drop(task, d, [=](int64_t at, Vec v) __attribute__((always_inline)) { sink.put(at, v); });
  return STATUS_OK;
}

// All ones in lanes of channels [begin, end) of a tile that starts at channel `first`.
inline Lanes lanes_of(int64_t first, int64_t begin, int64_t end) {
  Lanes mask{};
  for (int i = 0; i < T; ++i) mask[i] = first + i >= begin && first + i < end ? -1 : 0;
  return mask;
}

// T channels from `channel` on (which may be negative) of a map of `count` tiles: what lies before
// its first and behind its last tile reads as 0.
struct Shifted {
  const float *low, *high;  // planes of the two tiles that these channels lie in, or null
  int lane;

  Shifted(const float* image, int64_t plane, int64_t count, int64_t channel) {
    const int64_t tile = floor_div(channel, T);
    lane = static_cast<int>(channel - tile * T);
    low = tile >= 0 && tile < count ? image + tile * plane : nullptr;
    high = lane > 0 && tile + 1 >= 0 && tile + 1 < count ? image + (tile + 1) * plane : nullptr;
  }
  EFT_INLINE Vec at(int64_t word) const {
    if (lane == 0) return low ? load(low + word) : Vec{};
    float both[2 * T];
    store(both, low ? load(low + word) : Vec{});
    store(both + T, high ? load(high + word) : Vec{});
    return load(both + lane);
  }
};

// One image's tile of dst at a time: lanes of this piece come from src, lanes behind channel m become
// 0, the others are other pieces' and stay.
inline int concat_fp(const Task& task) {
  const Command& c = *task.command;
  const float* src = operand(task, c.src_slot, c.src_offset);
  float* dst = operand(task, c.dst_slot, c.dst_offset);
  const int64_t plane = pixels_in(c) * T, from = tiles(c.n), to = tiles(c.m);
  task.each(c.images * to, 1, [&](Range unit, int) {
    const int64_t image = unit.begin / to, tile = unit.begin % to;
    const Lanes mine = lanes_of(tile * T, c.axis, c.axis + c.n);
    const Lanes kept = ~mine & lanes_of(tile * T, 0, c.m);
    const bool touches = tile * T < c.axis + c.n && (tile + 1) * T > c.axis;
    if (!touches && tile + 1 < to) return;
    const Shifted piece(src + image * from * plane, plane, from, tile * T - c.axis);
    float* out = dst + (image * to + tile) * plane;
    for (int64_t i = 0; i < plane; i += T) {
      store(out + i, (Vec)(((Lanes)piece.at(i) & mine) | ((Lanes)load(out + i) & kept)));
    }
  });
  return STATUS_OK;
}

inline int concat_bp(const Task& task) {
  const Command& c = *task.command;
  const float* src = operand(task, c.src_slot, c.src_offset);
  const Sink sink = sink_of(task);
  const int64_t plane = pixels_in(c) * T, from = tiles(c.m), to = tiles(c.n);
  const int axis = c.axis, channels = c.n;
  task.each(c.images * to, 1, [=](Range unit, int) {
    const int64_t image = unit.begin / to, tile = unit.begin % to;
    const Shifted piece(src + image * from * plane, plane, from, tile * T + axis);
    const Lanes mine = lanes_of(tile * T, 0, channels);
    const int64_t out = (image * to + tile) * plane;
    for (int64_t i = 0; i < plane; i += T) sink.put(out + i, where(mine, piece.at(i)));
  });
  return STATUS_OK;
}

}  // namespace
}  // namespace eft
