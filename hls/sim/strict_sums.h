// Sums over a map per channel, and over words, in the kernel's order, which README.md states: dealt to
// shares within a pass, shares in order, then passes in order.
#pragma once
#include "geometry.h"
#include "strict.h"

namespace strict {

// The least power of two whose shares come round after REVISIT iterations, a beat of 4 lanes each.
inline int shares() {
  int n = 1;
  while (n * (T / 4) < eft::REVISIT) n *= 2;
  return n;
}

struct Batch {
  int images, channels, rows, cols;
  int values() const { return images * rows * cols; }
  size_t at(int b, int c, int r, int k) const { return ((size_t(b) * channels + c) * rows + r) * cols + k; }
};

// `term(index)` summed over one channel, index into a plain map.
template <class Term>
float channel_sum(const Batch& s, const eft::Tiling& t, int channel, Term term) {
  float total = 0.0f;
  for (int b0 = 0; b0 < s.images; b0 += t.images)
    for (int r0 = 0; r0 < s.rows; r0 += t.rows)
      for (int c0 = 0; c0 < s.cols; c0 += t.cols) {
        Floats parts(shares(), 0.0f);
        int pixel = 0;
        for (int b = b0; b < eft::least(b0 + t.images, s.images); ++b)
          for (int r = r0; r < eft::least(r0 + t.rows, s.rows); ++r)
            for (int c = c0; c < eft::least(c0 + t.cols, s.cols); ++c, ++pixel) {
              float& part = parts[pixel % parts.size()];
              part = part + term(s.at(b, channel, r, c));
            }
        float all = parts[0];
        for (size_t i = 1; i < parts.size(); ++i) all = all + parts[i];
        total = total + all;
      }
  return total;
}

struct Moments {
  float mean, variance;
};

// Of differences from the first pixel, as shares; the variance corrected by how far the mean is off.
inline Moments moments(const Batch& s, const eft::Tiling& t, const Floats& x, int channel) {
  const float share = 1.0f / float(s.values()), first = x[s.at(0, channel, 0, 0)];
  const float mean = first + channel_sum(s, t, channel, [&](size_t i) { return share * (x[i] - first); });
  const float off = channel_sum(s, t, channel, [&](size_t i) { return share * (x[i] - mean); });
  const float squares = channel_sum(s, t, channel, [&](size_t i) { return (x[i] - mean) * (share * (x[i] - mean)); });
  const float variance = squares - off * off;
  return {mean, variance < 0.0f ? 0.0f : variance};
}

// A running statistic that moves by `share` towards a batch's.
inline float followed(float running, float batch, float share) { return running + share * (batch - running); }

inline float unbiased(float variance, int values) {
  return variance * (float(values) / (values > 1 ? float(values) - 1.0f : 1.0f));
}

// Of plain words in rows of T lanes, `most` rows a pass: each lane by itself, lanes at last.
inline float sum_of_squares(const Floats& words, int most) {
  float lanes[T] = {}, all = 0.0f;
  const int rows = int((words.size() + T - 1) / T);
  for (int lane = 0; lane < T; ++lane) {
    for (int row0 = 0; row0 < rows; row0 += most) {
      Floats parts(shares(), 0.0f);
      for (int row = row0; row < eft::least(row0 + most, rows); ++row) {
        const size_t i = size_t(row) * T + lane;
        float& part = parts[(row - row0) % parts.size()];
        if (i < words.size()) part = part + words[i] * words[i];
      }
      float pass = parts[0];
      for (size_t i = 1; i < parts.size(); ++i) pass = pass + parts[i];
      lanes[lane] = lanes[lane] + pass;
    }
    all = all + lanes[lane];
  }
  return all;
}

}  // namespace strict
