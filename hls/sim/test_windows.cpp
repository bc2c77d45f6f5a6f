// Depthwise convolution and pooling, bit for bit against the strict model.
#include "cases.h"
#include "setup.h"
#include "strict_finish.h"
#include "strict_windows.h"

using namespace bench;
using strict::Windowed;

namespace {

constexpr float SLOPE = 0.125f;

Sizes read_by(const Windowed& s) { return {s.images, s.channels, s.rows, s.cols}; }
Sizes made_by(const Windowed& s) { return {s.images, s.channels, s.out_rows, s.out_cols}; }

Command command_of(const Windowed& s, int op, int flags) {
  Command c = command(op, flags);
  c.images = s.images;
  c.m = c.n = s.channels;
  c.rows_in = s.rows;
  c.cols_in = s.cols;
  c.rows_out = s.out_rows;
  c.cols_out = s.out_cols;
  c.kernel_rows = s.kernel_rows;
  c.kernel_cols = s.kernel_cols;
  c.stride_rows = s.stride_rows;
  c.stride_cols = s.stride_cols;
  c.pad_top = s.pad_top;
  c.pad_left = s.pad_left;
  c.scalar = SLOPE;
  if (is_convolution(op)) c.groups = s.channels;
  return c;
}

// How the kernel cuts the command; the strict model adds in the same order.
Tiling tiling(const Command& c) { return work_of(c, Places(), 0).tiling; }

template <class Value>
Floats filled(const Sizes& s, Value value) {
  Floats out(s.words());
  for (int b = 0; b < s.images; ++b)
    for (int c = 0; c < s.channels; ++c)
      for (int r = 0; r < s.rows; ++r)
        for (int k = 0; k < s.cols; ++k) out[s.at(b, c, r, k)] = value(b, c, r, k);
  return out;
}

// Depthwise weights [channel][row][col], by tiles of channels, and the bias behind them.
Floats packed_weights(const Windowed& s, const Floats& w, const Floats& bias) {
  const int taps = s.kernel_rows * s.kernel_cols;
  Floats out = packed(w, {1, s.channels, s.kernel_rows, s.kernel_cols});
  CHECK(out.size() == size_t((s.channels + T - 1) / T * taps * T));
  append(out, packed_vector(bias));
  return out;
}

struct Data {
  Floats x, dy, w, bias, old;
};

Data data_of(std::mt19937& random, const Windowed& s, Mood mood) {
  Data d;
  d.x = values(random, read_by(s).words(), mood);
  d.dy = values(random, made_by(s).words(), mood);
  d.w = values(random, size_t(s.channels) * s.kernel_rows * s.kernel_cols, mood == ODD ? ROUGH : mood);
  d.bias = values(random, s.channels, mood);
  d.old = values(random, read_by(s).words(), mood);
  return d;
}

void depthwise_forward(const Windowed& s, const Data& d, int flags) {
  Case k = {command_of(s, OP_CONV_FP, flags), packed(d.x, read_by(s)), packed_weights(s, d.w, d.bias), {}, {}, {}};
  const Tiling t = tiling(k.c);
  const Floats y = filled(made_by(s), [&](int b, int n, int r, int c) {
    const float sum = strict::gathered(s, t, d.x, &d.w, b, n, r, c);
    return strict::activated(strict::leaving(sum, flags & FLAG_BIAS ? d.bias[n] : 0.0f), flags, SLOPE);
  });
  const Floats wanted = packed(y, made_by(s));
  k.dst.assign(wanted.size(), UNTOUCHED);
  expect(k, wanted);
}

// A backward command: `sum` gives an element, which `scale` multiplies.
template <class Sum>
void backward(const Windowed& s, const Data& d, Case k, float scale, Sum sum) {
  const int flags = k.c.flags;
  const Floats dx = filled(read_by(s), [&](int b, int n, int r, int c) {
    const size_t at = read_by(s).at(b, n, r, c);
    const float v = strict::undone(strict::leaving(sum(b, n, r, c)), flags, d.x[at], SLOPE, scale);
    return strict::joined(v, flags, d.old[at]);
  });
  k.src = packed(d.dy, made_by(s));
  k.dst = packed(d.old, read_by(s));
  if (flags & FLAG_MASK) k.aux = packed(d.x, read_by(s));
  expect(k, packed(dx, read_by(s)));
}

void depthwise_backward(const Windowed& s, const Data& d, int flags) {
  Case k;
  k.c = command_of(s, OP_CONV_BP, flags);
  k.weights = packed_weights(s, d.w, d.bias);
  const Tiling t = tiling(k.c);
  backward(s, d, k, 1.0f, [&](int b, int n, int r, int c) { return strict::depthwise_back(s, t, d.dy, d.w, b, n, r, c); });
}

// The order is that of a convolution whose channels meet themselves alone.
void depthwise_gradient(std::mt19937& random, const Windowed& s, const Data& d, int flags) {
  const strict::Shape shape = {s.images,    s.channels,    s.channels,    s.rows,    s.cols,     s.kernel_rows,
                               s.kernel_cols, s.stride_rows, s.stride_cols, s.pad_top, s.pad_left, T};
  if (shape.out_rows() != s.out_rows || shape.out_cols() != s.out_cols) return;
  const Command c = command_of(s, OP_CONV_WU, flags);
  const Tiling t = tiling(c);
  Floats dw = values(random, d.w.size()), db = values(random, s.channels);
  Case k = {c, packed(d.x, read_by(s)), {}, packed_weights(s, dw, db), packed(d.dy, made_by(s)), {}};
  for (int n = 0; n < s.channels; ++n) {
    for (int i = 0; i < s.kernel_rows; ++i)
      for (int j = 0; j < s.kernel_cols; ++j) {
        const bool first = i < t.tap_rows && j < t.tap_cols;  // of the passes: it sums the bias too
        const int taps = least(t.tap_rows, s.kernel_rows - i / t.tap_rows * t.tap_rows) *
                         least(t.tap_cols, s.kernel_cols - j / t.tap_cols * t.tap_cols);
        float& to = dw[(n * s.kernel_rows + i) * s.kernel_cols + j];
        to = strict::joined(
            strict::gradient(shape, t, taps + (first && flags & FLAG_BIAS ? 1 : 0), d.x, d.dy, n, n, i, j), flags, to);
      }
    const int taps = least(t.tap_rows, s.kernel_rows) * least(t.tap_cols, s.kernel_cols) + 1;
    if (flags & FLAG_BIAS)
      db[n] = strict::joined(strict::gradient(shape, t, taps, d.x, d.dy, n, n, -1, 0), flags, db[n]);
  }
  expect(k, packed_weights(s, dw, db));
}

void average(const Windowed& s, const Data& d, int excluded, int flags) {
  Case k = {command_of(s, OP_AVG_FP, excluded), packed(d.x, read_by(s)), {}, {}, {}, {}};
  const Tiling t = tiling(k.c);
  const Floats y = filled(made_by(s), [&](int b, int n, int r, int c) {
    return strict::leaving(strict::gathered(s, t, d.x, nullptr, b, n, r, c)) * strict::window_share(s, excluded, r, c);
  });
  const Floats wanted = packed(y, made_by(s));
  k.dst.assign(wanted.size(), UNTOUCHED);
  expect(k, wanted);
  Case back;
  back.c = command_of(s, OP_AVG_BP, excluded | flags);
  const Tiling u = tiling(back.c);
  const float scale = excluded ? 1.0f : 1.0f / float(s.kernel_rows * s.kernel_cols);
  backward(s, d, back, scale, [&](int b, int n, int r, int c) {
    return strict::average_back(s, u, excluded, d.dy, b, n, r, c);
  });
}

void maximum(const Windowed& s, const Data& d, int flags) {
  Case k = {command_of(s, OP_POOL_FP, 0), packed(d.x, read_by(s)), {}, {}, {}, {}};
  const Floats y = filled(made_by(s), [&](int b, int n, int r, int c) {
    return strict::leaving(strict::peak_of(s, d.x, b, n, r, c).value);
  });
  const Floats wanted = packed(y, made_by(s));
  k.dst.assign(wanted.size(), UNTOUCHED);
  expect(k, wanted);
  Case back;
  back.c = command_of(s, OP_POOL_BP, flags);
  back.aux = packed(d.x, read_by(s));
  const Tiling t = tiling(back.c);
  if (!t.fits) return;  // a window of more than half a buffer: the kernel refuses it
  backward(s, d, back, 1.0f, [&](int b, int n, int r, int c) {
    return strict::maximum_back(s, t, d.x, d.dy, b, n, r, c);
  });
}

const Windowed SHAPES[] = {
    // images, channels, rows, cols; kernel, stride, padding; output
    {2, 2 * T + 1, 7, 9, 3, 3, 1, 1, 1, 1, 7, 9},
    {3, T - 1, 13, 10, 3, 3, 2, 2, 1, 1, 7, 5},
    {1, T + 2, 12, 5, 5, 3, 1, 1, 2, 1, 12, 5},
    {2, 3, 11, 13, 3, 5, 2, 3, 1, 2, 6, 5},
    {5, T, 4, 4, 4, 4, 4, 4, 0, 0, 1, 1},
    {2, 5, 9, 8, 2, 2, 2, 2, 0, 0, 4, 4},
    {2, 5, 9, 7, 2, 2, 2, 2, 0, 0, 5, 4},  // the last windows hang over
    {1, 2, 6, 6, 2, 3, 4, 4, 0, 0, 2, 1},  // pixels that no window sees
    {1, 3, 3, 41, 2, 4, 1, 1, 0, 3, 2, 44},
    {1, 2, 41, 53, 3, 3, 1, 1, 1, 1, 41, 53},  // more than any build's buffers
    {1, 2, 9, 9, 7, 7, 1, 1, 3, 3, 9, 9},
};

}  // namespace

int main() {
  const FlushSubnormals flush;
  std::mt19937 random(11);
  const int forwards[] = {0, FLAG_BIAS | FLAG_RELU, FLAG_RELU6, FLAG_BIAS | FLAG_LEAKY};
  const int backwards[] = {0, FLAG_MASK, FLAG_MASK | FLAG_RELU6, FLAG_MASK | FLAG_LEAKY, FLAG_ACCUMULATE,
                           FLAG_MASK | FLAG_LEAKY | FLAG_ACCUMULATE, FLAG_MASK | FLAG_RELU6 | FLAG_ACCUMULATE};
  const int gradients[] = {0, FLAG_BIAS, FLAG_ACCUMULATE, FLAG_ACCUMULATE | FLAG_BIAS};
  int round = 0;
  for (const Windowed& s : SHAPES)
    for (Mood mood : MOODS)
      for (int i = 0; i < 2; ++i, ++round) {
        const Data d = data_of(random, s, mood);
        const int back = backwards[round % 7];
        depthwise_forward(s, d, forwards[round % 4]);
        depthwise_backward(s, d, back | (round % 2 ? FLAG_BIAS : 0));
        depthwise_gradient(random, s, d, gradients[round % 4]);
        average(s, d, round % 2 ? FLAG_EXCLUDE_PAD : 0, back);
        maximum(s, d, back);
      }
  std::printf("%d rounds of depthwise convolution and pooling bit for bit\n", round);
}
