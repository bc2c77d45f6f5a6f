// The vector unit: all arithmetic on words on their way to memory, 4 lanes of two multipliers and three adders.
// What they do in a sweep over a run of words is an Act; `store.h` has the one loop that calls them.
#pragma once
#include "functions.h"
#include "maps.h"

namespace eft {

// What a step reads at run time; `scale` clips the gradient.
struct Rates {
  float rate, momentum, decay, beta2, epsilon, correction1, correction2, scale;
};

static Rates rates_of(const Word* control, const Place& hyper, bool clips, const Place& norm) {
  Rates r;
  r.rate = peek(control, hyper, HYPER_RATE);
  r.momentum = peek(control, hyper, HYPER_MOMENTUM);
  r.decay = peek(control, hyper, HYPER_DECAY);
  r.beta2 = peek(control, hyper, HYPER_BETA2);
  r.epsilon = peek(control, hyper, HYPER_EPSILON);
  r.correction1 = peek(control, hyper, HYPER_CORRECTION1);
  r.correction2 = peek(control, hyper, HYPER_CORRECTION2);
  r.scale = 1.0f;
  if (clips) {
    const float scale = peek(control, hyper, HYPER_CLIP) / (root(peek(control, norm, 0)) + 1e-6f);
    r.scale = scale >= 1.0f ? 1.0f : scale;
  }
  return r;
}

// How weights step as their gradient leaves the chip.
struct Step {
  bool on, ahead;  // ahead: Nesterov's
  Rates rates;
  Place velocity;  // of the first weight
};

inline Step no_step() {
  const Rates none = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 1.0f};
  const Step s = {false, false, none, {0, 0}};
  return s;
}

// Whether dropout keeps elements: nn.pointwise.dropout_keep says how.
struct Dropout {
  bool on;
  uint32_t key, threshold;
  float scale;
  int image;  // number of the command's first
};

inline Dropout dropout_of(const Command& c, uint32_t seed) {
  Dropout d;
  d.on = c.op == OP_DROP_FP || c.op == OP_DROP_BP;
  d.key = mixed(seed ^ ((static_cast<uint32_t>(c.layer) + 1u) * 0x9e3779b9u));
  d.threshold = d.on ? static_cast<uint32_t>(c.scalar * 4294967296.0f) : 0u;
  d.scale = d.on ? 1.0f / (1.0f - c.scalar) : 1.0f;
  d.image = c.axis;
  return d;
}

// Per channel: what is added to the first operand and to the second, what each is multiplied by, and what a
// product is added to. Means are taken away before anything is scaled: a large one costs no digits.
enum Coefficient { SHIFT_A, SCALE_A, SHIFT_B, SCALE_B, OFFSET, COEFFICIENTS };

constexpr float NOTHING = -0.0f;  // added to any number, it leaves the same bits

// How a tile is finished on its way out.
struct Finish {
  Map map;
  Place bias, mask;
  bool add_bias, masks, adds;
  bool joins, crosses;  // a second operand is added (ADD_FP), or both are scaled first (BN_BP)
  int turn;             // CONCAT: the first lane comes from this one, lanes behind the last from the second operand
  Dropout drop;
  int flags;  // of the activation
  float scale, slope;         // of every element; of those where a leaky activation bends
  bool by_window;             // scale is the share of a window that lies inside the map
  Axis rows, cols;            // for that
  int undone;                 // the stride that the tile's layout is for
  int from, until, channels;  // channels written; others of the map stay, those behind it are 0
};

// What an element is multiplied by: forward, told from its value; backward, from x, which the activation
// that is undone made.
inline float factor_of(const Finish& f, float v, float x, float scale) {
  if (f.flags & FLAG_LEAKY) return (f.masks ? x : v) > 0.0f ? scale : f.slope;
  return scale;
}

// Where an activation that is undone was flat: the gradient is 0 there, even one that is NaN or infinite.
inline bool flat(const Finish& f, float x) {
  if (!f.masks) return false;
  if (f.flags & FLAG_RELU6) return !(x > 0.0f && x < 6.0f);
  return !(f.flags & FLAG_LEAKY) && !(x > 0.0f);
}

inline float clamped(const Finish& f, float v) {
  const bool six = (f.flags & FLAG_RELU6) != 0, below = six || (f.flags & (FLAG_RELU | FLAG_LEAKY)) == FLAG_RELU;
  if (f.masks) return v;
  if (below && v < 0.0f) return 0.0f;
  return six && v > 6.0f ? 6.0f : v;
}

// What one sweep over a run does. CROSS and AGAIN share a gradient of batch normalisation that is also multiplied or
// added to something; weights step by SPEED and WEIGHT, behind SCALED if their gradient is clipped.
enum Act {
  FINISH,  // ((a + shift) * scale + offset) * factor, activated or masked, + old
  CROSS,   // (a + shift a) * scale a + (b + shift b) * scale b, masked
  AGAIN,   // what CROSS made, finished
  SCALED,  // gradient * scale
  SPEED,   // slope = decay * weight + gradient; momentum * velocity + slope
  WEIGHT   // weight - rate * velocity; Nesterov's: - rate * (momentum * velocity + slope)
};

// The acts of a run, in order.
struct Acts {
  int count;
  Act one, two, three;
};

inline Act act_of(const Acts& a, int index) { return index == 0 ? a.one : index == 1 ? a.two : a.three; }

inline Acts acts_of(const Finish& f, const Step& s) {
  const bool twice = f.adds || (f.masks && (f.flags & FLAG_LEAKY)), clips = s.rates.scale != 1.0f;
  if (s.on) {
    const Acts plain = {2, SPEED, WEIGHT, WEIGHT}, clipped = {3, SCALED, SPEED, WEIGHT};
    return clips ? clipped : plain;
  }
  const Acts finish = {1, FINISH, FINISH, FINISH}, cross = {twice ? 2 : 1, CROSS, AGAIN, AGAIN};
  return f.crosses ? cross : finish;
}

// What lies on chip for one word: of the tile; old words or weights; mask or velocity; what earlier acts left.
struct Given {
  float a, b, before, second, kept, slope;
};

// What an act leaves: `middle` is the slope of a SPEED.
struct Made {
  float word, middle;
};

// One lane, an act. `scale`: of every element that is finished; `keeps`: dropout's.
inline Made unit(Act act, const Finish& f, const Step& s, const Given& g, const float k[COEFFICIENTS], float scale,
                 bool keeps) {
  HLS(INLINE)
  const Rates& r = s.rates;
  const bool tile = act == FINISH || act == CROSS, chain = act == FINISH || act == AGAIN;
  const float first = tile || act == SCALED ? g.a : act == SPEED ? g.before : g.kept;
  const float shift = act == FINISH && f.joins ? g.b : tile ? k[SHIFT_A] : act == AGAIN ? 0.0f : NOTHING;
  const float times = tile               ? k[SCALE_A]
                      : act == SCALED    ? r.scale
                      : act == SPEED     ? r.decay
                      : act == WEIGHT && s.ahead ? r.momentum
                                                 : 1.0f;
  const float gradient = r.scale != 1.0f ? g.kept : g.a;
  const float offset = act == FINISH  ? k[OFFSET]
                       : act == CROSS ? k[SHIFT_B]
                       : act == SPEED ? gradient
                       : act == WEIGHT && s.ahead ? g.slope
                                                  : NOTHING;
  const float moved = first + shift;
  HLS(BIND_OP variable=moved op=fadd impl=fabric)
  const float product = moved * times;
  HLS(BIND_OP variable=product op=fmul impl=meddsp)
  const float total = (act == CROSS ? g.b : product) + offset;
  HLS(BIND_OP variable=total op=fadd impl=fabric)
  const float middle = keeps ? total : 0.0f;
  const float factor = chain           ? factor_of(f, middle, g.second, scale)
                       : act == CROSS  ? k[SCALE_B]
                       : act == SPEED  ? r.momentum
                       : act == WEIGHT ? -r.rate
                                       : 1.0f;
  const float scaled = (act == SPEED ? g.second : middle) * factor;
  HLS(BIND_OP variable=scaled op=fmul impl=meddsp)
  const bool zero = (chain || act == CROSS) && flat(f, g.second);
  const float last = zero ? 0.0f : chain ? clamped(f, scaled) : scaled;
  const float sum = (act == CROSS ? product : act == SPEED ? middle : g.before) + last;
  HLS(BIND_OP variable=sum op=fadd impl=fabric)
  const bool crossed = act == CROSS && (zero || sum == 0.0f);  // 0, not -0
  const Made made = {crossed ? 0.0f : (chain && !f.adds) || act == SCALED ? last : sum, middle};
  return made;
}

}  // namespace eft
