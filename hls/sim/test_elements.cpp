// Batch normalisation of elements, sums, pieces and copies of maps, dropout: bit for bit against the
// strict model.
#include "cases.h"
#include "strict_elements.h"
#include "strict_finish.h"

using namespace bench;

namespace {

constexpr float SLOPE = 0.125f;

Command command_of(const Sizes& s, int op, int flags) {
  Command c = command(op, flags);
  c.images = s.images;
  c.m = c.n = s.channels;
  c.rows_in = c.rows_out = s.rows;
  c.cols_in = c.cols_out = s.cols;
  c.scalar = SLOPE;
  return c;
}

// A map of the values that `value(channel, index)` gives.
template <class Value>
Floats filled(const Sizes& s, Value value) {
  Floats out(s.words());
  for (size_t i = 0; i < out.size(); ++i) out[i] = value(int(i / s.pixels() % s.channels), i);
  return out;
}

Floats blank(const Sizes& s) { return Floats(packed(Floats(s.words()), s).size(), UNTOUCHED); }

template <class Value>
void forward(const Sizes& s, Case k, const Floats& x, Value value) {
  k.src = packed(x, s);
  k.dst = blank(s);
  expect(k, packed(filled(s, [&](int c, size_t i) {
    return strict::activated(value(c, i), k.c.flags, k.c.scalar);
  }), s));
}

// x made the mask, dst holds `old`.
template <class Value>
void backward(const Sizes& s, Case k, const Floats& x, const Floats& old, float slope, Value value) {
  k.dst = packed(old, s);
  if (k.c.flags & FLAG_MASK && k.aux.empty()) k.aux = packed(x, s);
  expect(k, packed(filled(s, [&](int c, size_t i) {
    return strict::joined(strict::undone(strict::leaving(value(c, i)), k.c.flags, x[i], slope), k.c.flags, old[i]);
  }), s));
}

std::vector<strict::Channel> channels(std::mt19937& random, int count, Mood mood) {
  std::vector<strict::Channel> out(count);
  for (strict::Channel& k : out) {
    const Floats v = values(random, 6, mood == ODD ? ROUGH : mood);
    k = {v[0], v[1], v[2], v[3], v[4], v[5]};
  }
  return out;
}

template <class Member>
Floats vector_of(const std::vector<strict::Channel>& all, Member member) {
  Floats out;
  for (const strict::Channel& k : all) out.push_back(k.*member);
  return packed_vector(out);
}

struct Data {
  Floats x, dy, old;
};

void norms(std::mt19937& random, const Sizes& s, const Data& d, Mood mood, int activation, int back) {
  using strict::Channel;
  const std::vector<Channel> k = channels(random, s.channels, mood);
  Floats affine = vector_of(k, &Channel::gamma), statistics = vector_of(k, &Channel::mean);
  append(affine, vector_of(k, &Channel::beta));
  append(statistics, vector_of(k, &Channel::inverse));
  Case one = {command_of(s, OP_BN_FP, activation), {}, affine, {}, statistics, {}};
  forward(s, one, d.x, [&](int c, size_t i) { return strict::normalised(k[c], d.x[i]); });
  append(statistics, vector_of(k, &Channel::along));
  append(statistics, vector_of(k, &Channel::plain));
  Case two = {command_of(s, OP_BN_BP, back), packed(d.dy, s), affine, {}, packed(d.x, s), statistics};
  two.c.count = 3 * s.images + 1;
  backward(s, two, d.x, d.old, SLOPE,
           [&](int c, size_t i) { return strict::normalised_back(k[c], d.dy[i], d.x[i], two.c.count); });
  two.c.flags |= FLAG_FROZEN;
  backward(s, two, d.x, d.old, SLOPE, [&](int c, size_t i) { return strict::frozen_back(k[c], d.dy[i]); });
}

void sums_and_copies(const Sizes& s, const Data& d, int activation, int back) {
  Case add = {command_of(s, OP_ADD_FP, activation), {}, {}, {}, packed(d.dy, s), {}};
  forward(s, add, d.x, [&](int, size_t i) { return strict::leaving(d.x[i] + d.dy[i]); });
  const Case pass = {command_of(s, OP_PASS_BP, back), packed(d.dy, s), {}, {}, {}, {}};
  backward(s, pass, d.x, d.old, SLOPE, [&](int, size_t i) { return d.dy[i]; });
}

// Channels [axis, axis + n) of a wider map, into it and out of it.
void pieces(std::mt19937& random, const Sizes& s, const Data& d, Mood mood, int before, int behind, int back) {
  const Sizes wide = {s.images, before + s.channels + behind, s.rows, s.cols};
  Floats whole = values(random, wide.words(), mood);
  Case in = {command_of(s, OP_CONCAT_FP, 0), packed(d.x, s), {}, packed(whole, wide), {}, {}};
  in.c.m = wide.channels;
  in.c.axis = before;
  const auto place = [&](size_t i) {
    const size_t image = i / (s.channels * s.pixels()), rest = i % (s.channels * s.pixels());
    return (image * wide.channels + before) * s.pixels() + rest;
  };
  Case out = {command_of(s, OP_CONCAT_BP, back), packed(whole, wide), {}, {}, {}, {}};
  out.c.m = wide.channels;
  out.c.axis = before;
  backward(s, out, d.x, d.old, SLOPE, [&](int, size_t i) { return whole[place(i)]; });
  for (size_t i = 0; i < d.x.size(); ++i) whole[place(i)] = strict::leaving(d.x[i]);
  // Padded lanes behind the last channel become 0, in whichever tile they are.
  for (size_t i = 0; i < in.dst.size(); ++i) {
    const int lane = int(i % T), tile = int(i / T / s.pixels() % ((wide.channels + T - 1) / T));
    if (tile * T + lane >= wide.channels) in.dst[i] = UNTOUCHED;
  }
  expect(in, packed(whole, wide));
}

void dropout(std::mt19937& random, const Sizes& s, const Data& d, int round, int back) {
  const float rates[] = {0.0f, 0.1f, 0.5f, 0.9375f, 1.0f - 1.0f / (1 << 24)};
  const uint32_t seed = random();
  Case k = {command_of(s, OP_DROP_FP, 0), {}, {}, {}, {as_float(int32_t(seed))}, {}};
  k.c.scalar = rates[round % 5];
  k.c.layer = round;
  k.c.axis = round % 3 == 0 ? 1 << 30 : round;
  const float scale = 1.0f / (1.0f - k.c.scalar);
  const auto dropped = [&](const Floats& v, size_t i) {
    const uint64_t first = uint64_t(k.c.axis) * s.channels * s.pixels();
    return strict::kept(seed, k.c.layer, k.c.scalar, first + i) ? v[i] * scale : 0.0f;
  };
  forward(s, k, d.x, [&](int, size_t i) { return strict::leaving(dropped(d.x, i)); });
  Case b = {k.c, packed(d.dy, s), {}, {}, {}, k.aux};
  b.c.op = OP_DROP_BP;
  b.c.flags = back & ~FLAG_LEAKY;  // DROP_BP and LEAKY share no command
  backward(s, b, d.x, d.old, 0.0f, [&](int, size_t i) { return dropped(d.dy, i); });
}

const Sizes SHAPES[] = {
    {2, 2 * T + 1, 7, 9}, {3, T - 1, 5, 4}, {1, T, 1, 1}, {9, T + 2, 2, 3}, {2, 1, 3, 150}, {1, 3, 41, 53}, {4, 3, 16, 17},
};

}  // namespace

int main() {
  const FlushSubnormals flush;
  std::mt19937 random(12);
  const int activations[] = {0, FLAG_RELU, FLAG_RELU6, FLAG_LEAKY};
  const int backs[] = {0, FLAG_MASK, FLAG_MASK | FLAG_RELU6, FLAG_MASK | FLAG_LEAKY, FLAG_ACCUMULATE,
                       FLAG_MASK | FLAG_LEAKY | FLAG_ACCUMULATE, FLAG_MASK | FLAG_RELU6 | FLAG_ACCUMULATE};
  int round = 0;
  for (const Sizes& s : SHAPES)
    for (Mood mood : MOODS)
      for (int i = 0; i < 4; ++i, ++round) {
        const Data d = {values(random, s.words(), mood), values(random, s.words(), mood), values(random, s.words(), mood)};
        const int back = backs[round % 7];
        norms(random, s, d, mood, activations[i], back);
        sums_and_copies(s, d, activations[i], back);
        pieces(random, s, d, mood, round * 5 % (2 * T + 3), round % 3 * 7, back);
        dropout(random, s, d, round, back);
      }
  std::printf("%d rounds of commands on elements bit for bit\n", round);
}
