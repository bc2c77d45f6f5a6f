// Convolutions, forward, backward and weight gradients, bit for bit against the strict model: through
// the top function, with tiles, layout, masks and additions.
#include "bench.h"
#include "setup.h"
#include "strict.h"

using namespace bench;
using strict::Shape;

namespace {

enum { X = 1, W = 2, Y = 3 };

Floats pack(const Floats& plain, int images, int channels, int rows, int cols, int lanes) {
  const int n = tiles(channels);
  Floats out(size_t(images) * n * rows * cols * lanes, 0.0f);
  for (int b = 0; b < images; ++b)
    for (int c = 0; c < channels; ++c)
      for (int p = 0; p < rows * cols; ++p)
        out[((size_t(b) * n + c / T) * rows * cols + p) * lanes + c % T] = plain[(size_t(b) * channels + c) * rows * cols + p];
  return out;
}

size_t weight_at(const Shape& s, int m, int n, int r, int c) {
  const size_t tile = (size_t(m / T) * tiles(s.n) + n / T) * s.kernel_rows * s.kernel_cols + r * s.kernel_cols + c;
  return (tile * s.lanes + n % T) * T + m % T;
}

size_t bias_at(const Shape& s) { return size_t(tiles(s.m)) * tiles(s.n) * s.kernel_rows * s.kernel_cols * s.lanes * T; }

Floats pack_weights(const Shape& s, const Floats& w, const Floats& bias) {
  Floats out(bias_at(s) + tiles(s.m) * T, 0.0f);
  for (int m = 0; m < s.m; ++m) {
    out[bias_at(s) + m] = bias[m];
    for (int n = 0; n < s.n; ++n)
      for (int r = 0; r < s.kernel_rows; ++r)
        for (int c = 0; c < s.kernel_cols; ++c) out[weight_at(s, m, n, r, c)] = s.w(w, m, n, r, c);
  }
  return out;
}

Command command_of(const Shape& s, int op, int flags) {
  Command c = command(op, flags);
  c.images = s.images;
  c.m = s.m;
  c.n = s.n;
  c.rows_in = s.rows;
  c.cols_in = s.cols;
  c.rows_out = s.out_rows();
  c.cols_out = s.out_cols();
  c.kernel_rows = s.kernel_rows;
  c.kernel_cols = s.kernel_cols;
  c.stride_rows = s.stride_rows;
  c.stride_cols = s.stride_cols;
  c.pad_top = s.pad_top;
  c.pad_left = s.pad_left;
  c.lanes = s.lanes;
  c.scalar = 0.125f;
  return c;
}

// How the kernel cuts the command; the strict model adds in the same order.
Tiling tiling(const Command& c) { return work_of(c, Places(), 0).tiling; }

void forward(std::mt19937& random, const Shape& s, int flags) {
  const Floats x = noise(random, size_t(s.images) * s.n * s.rows * s.cols);
  const Floats w = noise(random, size_t(s.m) * s.n * s.kernel_rows * s.kernel_cols), bias = noise(random, s.m);
  Floats y(size_t(s.images) * s.m * s.out_rows() * s.out_cols());
  Command c = command_of(s, OP_CONV_FP, flags);
  c.src_slot = X;
  c.weights_slot = W;
  c.dst_slot = Y;
  size_t i = 0;
  for (int b = 0; b < s.images; ++b)
    for (int m = 0; m < s.m; ++m)
      for (int r = 0; r < s.out_rows(); ++r)
        for (int k = 0; k < s.out_cols(); ++k) {
          const float sum = strict::forward(s, tiling(c), x, w, b, m, r, k);
          const float v = flags & FLAG_BIAS ? sum + bias[m] : sum;
          y[i++] = flags & FLAG_RELU && v < 0 ? 0.0f : flags & FLAG_LEAKY && !(v > 0) ? c.scalar * v : v;
        }
  Machine machine(1 << 16);
  machine.bind(X, pack(x, s.images, s.n, s.rows, s.cols, s.lanes));
  machine.bind(W, pack_weights(s, w, bias));
  const Floats expected = pack(y, s.images, s.m, s.out_rows(), s.out_cols(), T);
  machine.bind(Y, Floats(expected.size(), UNTOUCHED));
  CHECK(machine.one(c) == STATUS_OK);
  CHECK(same_bits(machine.read(Y), expected));
}

void backward(std::mt19937& random, Shape s, int flags) {
  s.lanes = T;
  const size_t words = size_t(s.images) * s.n * s.rows * s.cols;
  const Floats x = noise(random, words), before = noise(random, words);
  const Floats dy = noise(random, size_t(s.images) * s.m * s.out_rows() * s.out_cols());
  const Floats w = noise(random, size_t(s.m) * s.n * s.kernel_rows * s.kernel_cols), bias = noise(random, s.m);
  Floats dx(words);
  Command c = command_of(s, OP_CONV_BP, flags);
  c.src_slot = Y;
  c.weights_slot = W;
  c.dst_slot = X;
  c.aux_slot = 4;
  size_t i = 0;
  for (int b = 0; b < s.images; ++b)
    for (int n = 0; n < s.n; ++n)
      for (int r = 0; r < s.rows; ++r)
        for (int k = 0; k < s.cols; ++k, ++i) {
          float v = strict::backward(s, tiling(c), dy, w, b, n, r, k);
          if ((flags & FLAG_MASK) && !(x[i] > 0)) v = flags & FLAG_LEAKY ? v * c.scalar : 0.0f;
          dx[i] = flags & FLAG_ACCUMULATE ? before[i] + v : v;
        }
  Machine machine(1 << 16);
  machine.bind(Y, pack(dy, s.images, s.m, s.out_rows(), s.out_cols(), T));
  machine.bind(W, pack_weights(s, w, bias));
  machine.bind(X, pack(before, s.images, s.n, s.rows, s.cols, T));
  machine.bind(4, pack(x, s.images, s.n, s.rows, s.cols, T));
  CHECK(machine.one(c) == STATUS_OK);
  CHECK(same_bits(machine.read(X), pack(dx, s.images, s.n, s.rows, s.cols, T)));
}

void gradient(std::mt19937& random, const Shape& s, int flags) {
  const Floats x = noise(random, size_t(s.images) * s.n * s.rows * s.cols);
  const Floats dy = noise(random, size_t(s.images) * s.m * s.out_rows() * s.out_cols());
  Floats before = noise(random, bias_at(s) + tiles(s.m) * T);
  Command c = command_of(s, OP_CONV_WU, flags);
  c.src_slot = X;
  c.aux_slot = Y;
  c.dst_slot = W;
  const Tiling t = tiling(c);
  const bool biased = flags & FLAG_BIAS, adds = flags & FLAG_ACCUMULATE;
  Floats expected(before.size(), 0.0f);
  if (adds) expected = before;
  const int cols = ceil_div(s.kernel_cols, s.fold());
  for (int m = 0; m < s.m; ++m) {
    for (int n = 0; n < s.n; ++n)
      for (int r = 0; r < s.kernel_rows; ++r)
        for (int k = 0; k < s.kernel_cols; ++k) {
          const int i0 = r / t.tap_rows * t.tap_rows, j0 = k / s.fold() / t.tap_cols * t.tap_cols;
          const int taps = least(t.tap_rows, s.kernel_rows - i0) * least(t.tap_cols, cols - j0);
          const bool bias = biased && n < T && i0 == 0 && j0 == 0;
          const float v = strict::gradient(s, t, taps + bias, x, dy, m, n, r, k);
          float& to = expected[weight_at(s, m, n, r, k)];
          to = adds ? to + v : v;
        }
    const int taps = least(t.tap_rows, s.kernel_rows) * least(t.tap_cols, cols) + 1;
    const float v = strict::gradient(s, t, taps, x, dy, m, 0, -1, 0);
    float& to = expected[bias_at(s) + m];
    if (biased) to = adds ? to + v : v;
  }
  if (!biased) {
    before.resize(bias_at(s));
    expected.resize(bias_at(s));
  }
  Machine machine(1 << 16);
  machine.bind(X, pack(x, s.images, s.n, s.rows, s.cols, s.lanes));
  machine.bind(Y, pack(dy, s.images, s.m, s.out_rows(), s.out_cols(), T));
  machine.bind(W, before);
  CHECK(machine.one(c) == STATUS_OK);
  const Floats found = machine.read(W);
  for (size_t i = 0; i < found.size(); ++i) {
    // Padded lanes gain zeros of either sign.
    CHECK(found[i] == expected[i]);
  }
}

const Shape SHAPES[] = {
    {2, 5, 6, 7, 9, 3, 3, 1, 1, 1, 1, T},     {1, 17, 9, 12, 5, 3, 3, 1, 1, 1, 1, T},
    {3, 6, 3, 9, 11, 3, 3, 1, 1, 1, 1, 4},    {2, 4, 2, 13, 10, 5, 5, 1, 1, 2, 2, 4},
    {2, 5, 4, 11, 13, 7, 7, 2, 2, 3, 3, 4},   {1, 3, 3, 23, 23, 11, 11, 4, 4, 5, 5, 4},
    {2, 5, 9, 13, 11, 3, 5, 2, 3, 1, 2, T},   {2, 9, 5, 8, 8, 1, 1, 2, 2, 0, 0, T},
    {5, 10, 12, 4, 4, 4, 4, 1, 1, 0, 0, T},   {9, 6, 17, 1, 1, 1, 1, 1, 1, 0, 0, T},
    {3, 5, 9, 2, 2, 3, 3, 1, 1, 1, 1, T},     {1, 4, 6, 3, 40, 2, 4, 1, 1, 0, 3, T},
    {2, 3, 4, 6, 5, 2, 2, 4, 4, 0, 0, T},
};

}  // namespace

int main() {
  const FlushSubnormals flush;
  std::mt19937 random(1);
  const int forwards[] = {0, FLAG_BIAS | FLAG_RELU, FLAG_BIAS, FLAG_LEAKY};
  const int backwards[] = {0, FLAG_MASK, FLAG_ACCUMULATE | FLAG_BIAS, FLAG_MASK | FLAG_LEAKY | FLAG_ACCUMULATE};
  const int gradients[] = {0, FLAG_BIAS, FLAG_ACCUMULATE, FLAG_ACCUMULATE | FLAG_BIAS};
  int cases = 0;
  for (const Shape& s : SHAPES) {
    for (int i = 0; i < 4; ++i, cases += 3) {
      forward(random, s, forwards[i]);
      backward(random, s, backwards[i]);
      gradient(random, s, gradients[i]);
    }
  }
  std::printf("%d convolutions bit for bit\n", cases);
}
