// The bench for RTL: one convolution through the top function, small enough for a simulator
// of hardware, compared with ==.
#include "bench.h"

using namespace bench;

int main() {
  const FlushSubnormals flush;
  Machine m(512);
  Floats x(T * 9), w(T * T), y(T * 9, 0.0f);
  for (int i = 0; i < int(x.size()); ++i) x[i] = float(i % 7) - 3.0f;
  for (int i = 0; i < int(w.size()); ++i) w[i] = float(i % 5) - 2.0f;
  m.bind(1, x);
  m.bind(2, w);
  m.bind(3, y);
  Command c = command(OP_CONV_FP, FLAG_RELU);
  c.m = c.n = T;
  c.rows_in = c.cols_in = c.rows_out = c.cols_out = 3;
  c.src_slot = 1;
  c.weights_slot = 2;
  c.dst_slot = 3;
  CHECK(m.one(c) == STATUS_OK);
  // Small integers: exact in any order of additions.
  for (int p = 0; p < 9; ++p)
    for (int o = 0; o < T; ++o) {
      float sum = 0.0f;
      for (int n = 0; n < T; ++n) sum += x[p * T + n] * w[n * T + o];
      y[p * T + o] = sum > 0 ? sum : 0.0f;
    }
  CHECK(same_bits(m.read(3), y));
  std::puts("1 convolution");
}
