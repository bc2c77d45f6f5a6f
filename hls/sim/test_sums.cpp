// Statistics and gradients of batch normalisation, bias gradients, sums of squares: bit for bit against
// the strict model.
#include "cases.h"
#include "setup.h"
#include "strict_finish.h"
#include "strict_sums.h"

using namespace bench;
using strict::Batch;

namespace {

Command command_of(const Sizes& s, int op, int flags) {
  Command c = command(op, flags);
  c.images = s.images;
  c.m = c.n = s.channels;
  c.rows_in = c.rows_out = s.rows;
  c.cols_in = c.cols_out = s.cols;
  return c;
}

Batch batch_of(const Sizes& s) { return {s.images, s.channels, s.rows, s.cols}; }

// How the kernel cuts a map that is summed: both operands share a feature buffer.
Tiling tiling(const Sizes& s) {
  const Axis rows = axis_of(s.rows, s.rows, 1, 1, 0, 1, false), cols = axis_of(s.cols, s.cols, 1, 1, 0, 1, false);
  return tiling_of(rows, cols, s.images, X_DEPTH / 2, X_DEPTH / 2, 1);
}

template <class Value>
Floats vector_of(const Sizes& s, Value value) {
  Floats out(s.channels);
  for (int c = 0; c < s.channels; ++c) out[c] = value(c);
  return packed_vector(out);
}

Floats joined(Floats a, const Floats& b) {
  append(a, b);
  return a;
}

// 1 / sqrt by the kernel's own function, whose bound test_functions.cpp holds.
float inverse_of(float variance, float epsilon) { return inverse_root(variance + epsilon); }

void statistics(std::mt19937& random, const Sizes& s, const Floats& x, bool named, float share) {
  Case k = {command_of(s, OP_BN_STAT, 0), packed(x, s), {}, {}, {}, {}};
  k.c.scalar = 1e-5f;
  Floats mean(s.channels), variance(s.channels);
  bool good = true;
  for (int c = 0; c < s.channels; ++c) {
    const strict::Moments m = strict::moments(batch_of(s), tiling(s), x, c);
    mean[c] = m.mean;
    variance[c] = m.variance;
    good = good && std::isfinite(m.mean) && std::isfinite(m.variance);
  }
  const Floats found = joined(packed_vector(mean), vector_of(s, [&](int c) { return inverse_of(variance[c], 1e-5f); }));
  k.extra.assign(found.size(), UNTOUCHED);
  Floats running;
  if (named) {
    const Floats before = values(random, s.channels), spread = values(random, s.channels);
    k.aux = {share};
    k.dst = joined(packed_vector(before), packed_vector(spread));
    running = vector_of(s, [&](int c) { return strict::followed(before[c], mean[c], share); });
    append(running, vector_of(s, [&](int c) {
             return strict::followed(spread[c], strict::unbiased(variance[c], batch_of(s).values()), share);
           }));
  }
  if (good) expect(k, running, found);
  else expect_refusal(k, STATUS_NONFINITE);
}

void frozen_statistics(std::mt19937& random, const Sizes& s) {
  const Floats mean = values(random, s.channels, ROUGH);
  Floats variance = values(random, s.channels, ROUGH);
  for (float& v : variance) v = std::fabs(v);
  Case k = {command_of(s, OP_BN_STAT, FLAG_FROZEN), {}, {}, joined(packed_vector(mean), packed_vector(variance)), {1.0f}, {}};
  k.c.scalar = 1e-3f;
  // A vector that is only read leaves as it is, subnormals and -0 included.
  const Floats found = joined(packed_vector(mean), vector_of(s, [&](int c) { return inverse_of(variance[c], 1e-3f); }));
  k.extra.assign(found.size(), UNTOUCHED);
  expect(k, k.dst, found);
}

void norm_gradients(std::mt19937& random, const Sizes& s, const Floats& x, const Floats& dy, bool named, int flags) {
  const Batch batch = batch_of(s);
  const Floats mean = values(random, s.channels), inverse = values(random, s.channels);
  const Floats gamma = values(random, s.channels), beta = values(random, s.channels);
  Case k = {command_of(s, OP_BN_SUM, flags), packed(x, s), {}, {}, packed(dy, s), {}};
  k.extra = joined(packed_vector(mean), packed_vector(inverse));
  const Floats kept = k.extra;
  k.extra.resize(2 * kept.size(), UNTOUCHED);
  const Floats along = vector_of(s, [&](int c) {
    return strict::channel_sum(batch, tiling(s), c, [&](size_t i) { return dy[i] * (inverse[c] * (x[i] - mean[c])); });
  });
  const Floats plain = vector_of(s, [&](int c) {
    return strict::channel_sum(batch, tiling(s), c, [&](size_t i) { return dy[i]; });
  });
  Floats dst;
  if (named) {
    k.dst = joined(packed_vector(gamma), packed_vector(beta));
    dst = joined(along, plain);
    for (size_t i = 0; i < dst.size(); ++i) dst[i] = strict::joined(dst[i], flags, k.dst[i]);
  }
  expect(k, dst, joined(kept, joined(along, plain)));
}

void bias_gradient(std::mt19937& random, const Sizes& s, const Floats& dy, int flags) {
  Case k = {command_of(s, OP_BIAS_WU, flags), packed(dy, s), {}, packed_vector(values(random, s.channels)), {}, {}};
  Floats dst = vector_of(s, [&](int c) {
    return strict::channel_sum(batch_of(s), tiling(s), c, [&](size_t i) { return dy[i]; });
  });
  for (size_t i = 0; i < dst.size(); ++i) dst[i] = strict::joined(dst[i], flags, k.dst[i]);
  expect(k, dst);
}

void squares(std::mt19937& random, int count, Mood mood, int flags) {
  Case k = {command(OP_NORM, flags), values(random, count, mood), {}, {12.5f}, {}, {}};
  k.c.count = count;
  const float total = (flags & FLAG_ACCUMULATE ? 12.5f : 0.0f) + strict::sum_of_squares(k.src, X_DEPTH / 2);
  if (std::isfinite(total)) expect(k, {total});
  else expect_refusal(k, STATUS_NONFINITE);
}

const Sizes SHAPES[] = {
    {2, 2 * T + 1, 7, 9}, {3, T - 1, 5, 4},  {1, T, 1, 1},   {9, T + 2, 2, 3},
    {2, 1, 3, 150},       {1, 3, 41, 53},    {40, 2, 6, 5},  {3, 2, 1, 1100},
};

}  // namespace

int main() {
  const FlushSubnormals flush;
  std::mt19937 random(13);
  int round = 0;
  for (const Sizes& s : SHAPES)
    for (Mood mood : MOODS)
      for (int i = 0; i < 2; ++i, ++round) {
        const int flags = i ? FLAG_ACCUMULATE : 0;
        Floats x = values(random, s.words(), mood);
        const Floats dy = values(random, s.words(), mood);
        norm_gradients(random, s, x, dy, round % 3 > 0, flags);
        bias_gradient(random, s, dy, flags);
        for (int c = 0; c < s.channels && c < 2 && mood == SMOOTH; ++c)  // far from 0, or constant
          for (size_t k = 0; k < x.size(); ++k)
            if (int(k / s.pixels() % s.channels) == c) x[k] = c ? -2.5f : 1e6f + x[k];
        statistics(random, s, x, i, round % 4 ? 0.25f : 0.0f);
        frozen_statistics(random, s);
      }
  for (int count : {1, 3, T, 4 * T + 3, 1000, X_DEPTH / 2 * T, X_DEPTH * T + 7})
    for (Mood mood : MOODS) {
      squares(random, count, mood, FLAG_ACCUMULATE);
      squares(random, count, mood, 0);
    }
  std::printf("%d rounds of sums bit for bit\n", round);
}
