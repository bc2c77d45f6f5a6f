// Depthwise convolution and pooling in plain loops over plain arrays [image][channel][row][col], in the
// kernel's order, which README.md states: each channel by itself, taps in the order of passes.
#pragma once
#include "strict.h"

namespace strict {

// Output rows and columns are given: the last windows may hang over the edge.
struct Windowed {
  int images, channels, rows, cols;
  int kernel_rows, kernel_cols, stride_rows, stride_cols, pad_top, pad_left;
  int out_rows, out_cols;

  int row(int r, int i) const { return r * stride_rows + i - pad_top; }
  int col(int c, int j) const { return c * stride_cols + j - pad_left; }
  bool inside(int r, int c) const { return r >= 0 && r < rows && c >= 0 && c < cols; }
  float x(const Floats& v, int b, int n, int r, int c) const { return v[((b * channels + n) * rows + r) * cols + c]; }
  float y(const Floats& v, int b, int n, int r, int c) const {
    return v[((b * channels + n) * out_rows + r) * out_cols + c];
  }
  float w(const Floats& v, int n, int i, int j) const { return v[(n * kernel_rows + i) * kernel_cols + j]; }
};

template <class Visit>
void each_tap(const Windowed& s, const eft::Tiling& t, Visit visit) {
  for (int i0 = 0; i0 < s.kernel_rows; i0 += t.tap_rows)
    for (int j0 = 0; j0 < s.kernel_cols; j0 += t.tap_cols)
      for (int i = i0; i < s.kernel_rows && i < i0 + t.tap_rows; ++i)
        for (int j = j0; j < s.kernel_cols && j < j0 + t.tap_cols; ++j) visit(i, j);
}

// The sum over a window's pixels, each times its weight; no weights: each by itself.
inline float gathered(const Windowed& s, const eft::Tiling& t, const Floats& x, const Floats* w, int b, int n, int r,
                      int c) {
  float sum = 0.0f;
  each_tap(s, t, [&](int i, int j) {
    if (!s.inside(s.row(r, i), s.col(c, j))) return;
    const float v = s.x(x, b, n, s.row(r, i), s.col(c, j));
    sum = sum + (w ? v * s.w(*w, n, i, j) : v);
  });
  return sum;
}

// Calls visit(i, j, window row, window column) for the taps by which windows saw pixel (r, c).
template <class Visit>
void each_window(const Windowed& s, const eft::Tiling& t, int r, int c, Visit visit) {
  each_tap(s, t, [&](int i, int j) {
    const int row = r + s.pad_top - i, col = c + s.pad_left - j;
    if (row < 0 || col < 0 || row % s.stride_rows || col % s.stride_cols) return;
    if (row / s.stride_rows < s.out_rows && col / s.stride_cols < s.out_cols)
      visit(i, j, row / s.stride_rows, col / s.stride_cols);
  });
}

inline float depthwise_back(const Windowed& s, const eft::Tiling& t, const Floats& dy, const Floats& w, int b, int n,
                            int r, int c) {
  float sum = 0.0f;
  each_window(s, t, r, c, [&](int i, int j, int row, int col) { sum = sum + s.y(dy, b, n, row, col) * s.w(w, n, i, j); });
  return sum;
}

// What one element counts for in the mean of a window: 1 by all its places, or by those inside the map.
inline float window_share(const Windowed& s, bool inside_only, int r, int c) {
  int count = 0;
  for (int i = 0; i < s.kernel_rows; ++i)
    for (int j = 0; j < s.kernel_cols; ++j) count += !inside_only || s.inside(s.row(r, i), s.col(c, j));
  return 1.0f / float(count > 0 ? count : 1);
}

// Forward a sum is divided as a whole; so it is backward, but for windows of different sizes.
inline float average_back(const Windowed& s, const eft::Tiling& t, bool inside_only, const Floats& dy, int b, int n,
                          int r, int c) {
  float sum = 0.0f;
  each_window(s, t, r, c, [&](int, int, int row, int col) {
    const float d = s.y(dy, b, n, row, col);
    sum = sum + (inside_only ? d * window_share(s, true, row, col) : d);
  });
  return sum;
}

// The first maximum of a window and its place; NaN is above all, places beyond the map hold -infinity.
struct Peak {
  float value;
  int i, j;
};

inline Peak peak_of(const Windowed& s, const Floats& x, int b, int n, int r, int c) {
  Peak best = {-eft::INFINITE, 0, 0};
  for (int i = 0; i < s.kernel_rows; ++i)
    for (int j = 0; j < s.kernel_cols; ++j) {
      if (!s.inside(s.row(r, i), s.col(c, j))) continue;
      const float v = s.x(x, b, n, s.row(r, i), s.col(c, j));
      const bool nan = v != v, best_nan = best.value != best.value;
      if (!best_nan && (nan || v > best.value)) best = {v, i, j};
    }
  return best;
}

inline float maximum_back(const Windowed& s, const eft::Tiling& t, const Floats& x, const Floats& dy, int b, int n, int r,
                          int c) {
  float sum = 0.0f;
  each_window(s, t, r, c, [&](int i, int j, int row, int col) {
    const Peak peak = peak_of(s, x, b, n, row, col);
    if (peak.i == i && peak.j == j) sum = sum + s.y(dy, b, n, row, col);
  });
  return sum;
}

}  // namespace strict
