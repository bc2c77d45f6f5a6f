// Tiles and sweeps against the definition: every pair of pixels that a tap joins is met exactly once, in
// buffers that hold it, whatever the shape.
#include <map>
#include <tuple>

#include "bench.h"
#include "steps.h"

using namespace bench;

namespace {

using Join = std::tuple<int, int, int>;  // output, tap, input

// All that an axis joins, by its equation.
std::map<Join, int> joins_of(const Axis& a) {
  std::map<Join, int> all;
  for (int out = 0; out < a.out; ++out)
    for (int tap = 0; tap < a.taps; ++tap) {
      const int up = a.back ? out - tap + a.pad : out * a.stride + tap * a.fold - a.pad;
      if (a.back && modulo(up, a.stride) != 0) continue;
      const int in = a.back ? floor_div(up, a.stride) : up;
      if (a.fold > 1 || (in >= 0 && in < a.in)) all[Join(out, tap, in)] = 1;
    }
  return all;
}

// The same by spans and lines, for tiles of `outs` outputs and `taps` taps.
std::map<Join, int> joins_by_lines(const Axis& a, int outs, int taps) {
  std::map<Join, int> all;
  for (int out = 0; out < a.out; out += outs)
    for (int tap = 0; tap < a.taps; tap += taps) {
      const Span s = span_of(a, out, least(outs, a.out - out), tap, least(taps, a.taps - tap));
      CHECK(s.ins <= inputs_of(a, s.outs, s.taps));
      Line l = first_line(a, s);
      for (int i = 0; i < s.taps; ++i) {
        for (int k = 0; k < l.count; ++k) {
          const int to = l.out + k * l.out_step, from = l.in + k * l.in_step;
          CHECK(to >= 0 && to < s.outs);
          if (from >= 0 && from < s.ins) ++all[Join(s.out + to, s.tap + i, s.in + from)];
        }
        next_line(a, l);
      }
    }
  return all;
}

Axis random_axis(std::mt19937& random) {
  const auto pick = [&](int low, int high) { return low + int(random() % unsigned(high - low + 1)); };
  Axis a;
  a.back = pick(0, 1);
  a.stride = pick(1, 4);
  a.taps = pick(1, 7);
  a.pad = pick(0, 6);
  a.fold = a.back ? 1 : pick(1, 3) == 1 ? 4 : 1;
  const int large = pick(1, 30), reach = large + 2 * a.pad - a.taps * a.fold;
  const int small = reach < 0 ? 1 : reach / a.stride + 1;
  a.in = a.back ? small : large;
  a.out = a.back ? large : small;
  return a;
}

void lines(std::mt19937& random) {
  const Axis a = random_axis(random);
  const int outs = 1 + int(random() % unsigned(a.out)), taps = 1 + int(random() % unsigned(a.taps));
  CHECK(joins_by_lines(a, outs, taps) == joins_of(a));
  const int room = 1 + int(random() % 40), fit = outputs_for(a, room, taps);
  CHECK(fit >= 0 && fit <= a.out && (fit == 0 || inputs_of(a, fit, taps) <= room));
}

// Which pixel of a tile lies at each place of an output buffer: all in places of their own, that it has.
std::map<int, int> places_of(const Axis& cols, const Tiling& t) {
  std::map<int, int> places;
  Spot at = first_spot(undone(cols), t.rows, t.cols);
  for (int i = 0; i < t.images * t.rows * t.cols; ++i) {
    CHECK(at.seat.bank < PIXELS && word_of(at) < Y_WORDS);
    CHECK(places.emplace(word_of(at) * PIXELS + at.seat.bank, i).second);
    advance(at);
  }
  return places;
}

// What a tile needs fits, and the single loop over taps meets what the lines meet,
// where the tile's pixels lie.
void tiling(std::mt19937& random) {
  const Axis rows = random_axis(random), cols = random_axis(random);
  if (cols.back != rows.back || rows.fold > 1) return;  // only columns fold
  const int images = 1 + int(random() % 5);
  const Tiling t = tiling_of(rows, cols, images, X_DEPTH, Y_WORDS, W_DEPTH);
  CHECK(t.fits && t.images <= images);
  CHECK(t.tap_rows * t.tap_cols <= W_DEPTH && t.images * t.rows * row_words(undone(cols), t.cols) <= Y_WORDS);
  CHECK(t.images * inputs_of(rows, t.rows, t.tap_rows) * inputs_of(cols, t.cols, t.tap_cols) <= X_DEPTH);
  const Span row = span_of(rows, 0, t.rows, 0, t.tap_rows), col = span_of(cols, 0, t.cols, 0, t.tap_cols);
  const std::map<int, int> places = places_of(cols, t);
  const int pace = random() % 2 ? PIXELS : 1, steps = steps_of(rows, cols, row, col, t.images, pace);
  Taps at = taps_of(rows, cols, row, col, t.images, pace);
  int met = 0;
  for (int i = 0; i < steps; ++i) {
    CHECK(at.tap < row.taps * col.taps);
    const int word = word_of(at);
    for (int lane = 0; lane < pace && word >= 0; ++lane) {
      CHECK(input_of(at, lane) < X_DEPTH);
      if (!has_pixel(at.sweep, at.at, lane)) continue;
      const int r = at.sweep.rows.out + at.at.row * at.sweep.rows.out_step;
      const int c = at.sweep.cols.out + (at.at.col * pace + lane) * at.sweep.cols.out_step;
      const int bank = at.seat.bank + lane;
      CHECK(places.at(word * PIXELS + bank) == (at.at.image * t.rows + r) * t.cols + c);
      ++met;
    }
    advance(at);
  }
  CHECK(at.tap == row.taps * col.taps);
  int expected = 0;
  Line r = first_line(rows, row);
  for (int i = 0; i < row.taps; ++i, next_line(rows, r)) {
    Line c = first_line(cols, col);
    for (int j = 0; j < col.taps; ++j, next_line(cols, c)) expected += t.images * r.count * c.count;
  }
  CHECK(met == expected);
}

}  // namespace

int main() {
  std::mt19937 random(2);
  for (int i = 0; i < 6000; ++i) lines(random);
  for (int i = 0; i < 1000; ++i) tiling(random);
  CHECK(floor_div(-7, 3) == -3 && floor_div(6, 3) == 2 && modulo(-7, 3) == 2 && even_part(33, 32) == 17);
  std::puts("7000 shapes");
}
