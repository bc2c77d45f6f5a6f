// exp, log and roots against double precision: the bounds that functions.h states.
#include <cmath>

#include "bench.h"
#include "functions.h"

using namespace bench;

namespace {

double error(float found, double exact) { return std::fabs(found - exact) / std::fabs(exact); }

float from(std::mt19937& random, float low, float high) {
  return std::uniform_real_distribution<float>(low, high)(random);
}

}  // namespace

int main() {
  const FlushSubnormals flush;
  std::mt19937 random(3);
  double exps = 0, logs = 0, roots = 0, inverses = 0;
  for (int i = 0; i < 300000; ++i) {
    const float x = from(random, -87, 0), small = from(random, -1, 0);
    exps = std::fmax(exps, std::fmax(error(exp_of(x), std::exp(double(x))), error(exp_of(small), std::exp(double(small)))));
    const float y = std::exp(from(random, 0, 80)), near = from(random, 1, 3);
    logs = std::fmax(logs, std::fabs(log_of(y) - std::log(double(y))) / std::fmax(1, std::log(double(y))));
    logs = std::fmax(logs, std::fabs(log_of(near) - std::log(double(near))));
    const float z = std::exp(from(random, -85, 85));
    roots = std::fmax(roots, error(root(z), std::sqrt(double(z))));
    inverses = std::fmax(inverses, error(inverse_root(z), 1 / std::sqrt(double(z))));
  }
  std::printf("largest errors: exp %.2e, log %.2e, root %.2e, inverse root %.2e\n", exps, logs, roots, inverses);
  CHECK(exps < 1.2e-7 && logs < 1.5e-7 && roots < 1.5e-7 && inverses < 1.5e-7);
  CHECK(exp_of(0.0f) == 1.0f && exp_of(-200.0f) == 0.0f && exp_of(-INFINITE) == 0.0f && log_of(1.0f) == 0.0f);
  CHECK(root(0.0f) == 0.0f && root(INFINITE) == INFINITE && inverse_root(INFINITE) == 0.0f);
  CHECK(inverse_root(0.0f) == INFINITE);
  const float nan = as_float(0x7fc00000);
  CHECK(!finite(exp_of(nan)) && !finite(root(nan)) && !finite(inverse_root(-1.0f)) && !finite(root(-1.0f)));
  CHECK(mixed(0) == 0 && mixed(1) == 0x688990c0u && mixed(12345) == 0x912efcf7u);
}
