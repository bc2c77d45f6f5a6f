// Convolutions in plain loops over plain arrays [image][channel][row][col] and [m][n][row][col]: no
// tiles, no buffers, no layout. They add in the kernel's order, which README.md states, so the kernel
// must give the same bits.
#pragma once
#include <vector>

#include "geometry.h"

namespace strict {

using eft::T;
using Floats = std::vector<float>;

struct Shape {
  int images, m, n, rows, cols;  // of the input map
  int kernel_rows, kernel_cols, stride_rows, stride_cols, pad_top, pad_left;
  int lanes;
  int out_rows() const { return (rows + 2 * pad_top - kernel_rows) / stride_rows + 1; }
  int out_cols() const { return (cols + 2 * pad_left - kernel_cols) / stride_cols + 1; }
  int fold() const { return T / lanes; }
  float x(const Floats& v, int b, int c, int r, int k) const {
    const bool inside = c < n && r >= 0 && r < rows && k >= 0 && k < cols;
    return inside ? v[((b * n + c) * rows + r) * cols + k] : 0.0f;
  }
  float y(const Floats& v, int b, int c, int r, int k) const {
    return c < m ? v[((b * m + c) * out_rows() + r) * out_cols() + k] : 0.0f;
  }
  float w(const Floats& v, int o, int i, int r, int k) const {
    return o < m && i < n && k < kernel_cols ? v[((o * n + i) * kernel_rows + r) * kernel_cols + k] : 0.0f;
  }
};

inline float tree(const float* a, const float* b, int count) {
  return count == 1 ? a[0] * b[0] : tree(a, b, count / 2) + tree(a + count / 2, b + count / 2, count / 2);
}

// Calls visit(row, folded column) for all taps in the order of passes.
template <class Visit>
void each_tap(const Shape& s, const eft::Tiling& t, bool folds, Visit visit) {
  const int cols = folds ? eft::ceil_div(s.kernel_cols, s.fold()) : s.kernel_cols;
  for (int i0 = 0; i0 < s.kernel_rows; i0 += t.tap_rows)
    for (int j0 = 0; j0 < cols; j0 += t.tap_cols)
      for (int i = i0; i < eft::least(i0 + t.tap_rows, s.kernel_rows); ++i)
        for (int j = j0; j < eft::least(j0 + t.tap_cols, cols); ++j) visit(i, j);
}

// Channels of a tile, then kernel columns that share its lanes.
inline float forward(const Shape& s, const eft::Tiling& t, const Floats& x, const Floats& w, int b, int m, int r,
                     int c) {
  float sum = 0.0f;
  for (int tile = 0; tile < eft::tiles(s.n); ++tile) {
    each_tap(s, t, true, [&](int i, int j) {
      const int row = r * s.stride_rows + i - s.pad_top, col = c * s.stride_cols + j * s.fold() - s.pad_left;
      if (row < 0 || row >= s.rows || (s.fold() == 1 && (col < 0 || col >= s.cols))) return;
      float a[T] = {}, k[T] = {};
      for (int f = 0; f < s.fold(); ++f)
        for (int l = 0; l < s.lanes; ++l) {
          a[f * s.lanes + l] = s.x(x, b, tile * T + l, row, col + f);
          k[f * s.lanes + l] = s.w(w, m, tile * T + l, i, j * s.fold() + f);
        }
      sum = sum + tree(a, k, T);
    });
  }
  return sum;
}

inline float backward(const Shape& s, const eft::Tiling& t, const Floats& dy, const Floats& w, int b, int n, int r,
                      int c) {
  float sum = 0.0f;
  for (int tile = 0; tile < eft::tiles(s.m); ++tile) {
    each_tap(s, t, false, [&](int i, int j) {
      const int row = r + s.pad_top - i, col = c + s.pad_left - j;
      if (row < 0 || col < 0 || row % s.stride_rows || col % s.stride_cols) return;
      if (row / s.stride_rows >= s.out_rows() || col / s.stride_cols >= s.out_cols()) return;
      float a[T], k[T];
      for (int l = 0; l < T; ++l) {
        a[l] = s.y(dy, b, tile * T + l, row / s.stride_rows, col / s.stride_cols);
        k[l] = s.w(w, tile * T + l, n, i, j);
      }
      sum = sum + tree(a, k, T);
    });
  }
  return sum;
}

// The products of PIXELS neighbours of a row, halves first.
inline float pixel_tree(const float* products, int count) {
  if (count == 1) return products[0];
  return pixel_tree(products, count / 2) + pixel_tree(products + count / 2, count - count / 2);
}

// One weight's gradient (row < 0: the bias's). `taps` is how many the pass of this tap has, the bias
// included; PIXELS neighbours of a row at a time, the last of a row perhaps fewer, are added up and dealt to
// partial sums in turn.
inline float gradient(const Shape& s, const eft::Tiling& t, int taps, const Floats& x, const Floats& dy, int m, int n,
                      int row, int col) {
  int partials = 1;
  while (partials * taps < eft::REVISIT) partials *= 2;
  Floats sums(partials, 0.0f);
  for (int b0 = 0; b0 < s.images; b0 += t.images)
    for (int r0 = 0; r0 < s.out_rows(); r0 += t.rows)
      for (int c0 = 0; c0 < s.out_cols(); c0 += t.cols) {
        const int cols = eft::least(t.cols, s.out_cols() - c0);
        int step = 0;
        for (int b = b0; b < eft::least(b0 + t.images, s.images); ++b)
          for (int r = r0; r < eft::least(r0 + t.rows, s.out_rows()); ++r)
            for (int c = 0; c < cols; c += eft::PIXELS, ++step) {
              float products[eft::PIXELS] = {};
              bool any = false;
              for (int p = 0; p < eft::least(eft::PIXELS, cols - c); ++p) {
                const int k = c0 + c + p;
                const float d = s.y(dy, b, m, r, k);
                const int at_row = r * s.stride_rows + row - s.pad_top, at_col = k * s.stride_cols + col - s.pad_left;
                const bool across = s.fold() > 1 || (at_col >= 0 && at_col < s.cols);
                const bool inside = at_row >= 0 && at_row < s.rows && across;
                any = any || row < 0 || inside;
                if (row < 0) products[p] = 1.0f * d;
                else if (inside) products[p] = s.x(x, b, n, at_row, at_col) * d;
              }
              float& sum = sums[step % partials];
              if (any) sum = sum + pixel_tree(products, eft::PIXELS);
            }
      }
  for (int half = partials / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) sums[i] = sums[i] + sums[i + half];
  return sums[0];
}

}  // namespace strict
