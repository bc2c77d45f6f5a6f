// Updates, the loss, the gather of samples and copies: bit for bit against the strict model.
#include "cases.h"
#include "strict_learn.h"

using namespace bench;

namespace {

using Rule = strict::Weight (*)(const strict::Hyper&, strict::Weight, float);

bool finite_weight(const strict::Weight& k) { return std::isfinite(k.w) && std::isfinite(k.v) && std::isfinite(k.s); }

Floats hyper_words(const strict::Hyper& h) {
  Floats out(HYPER_CORRECTION2 + 1);
  out[HYPER_RATE] = h.rate;
  out[HYPER_MOMENTUM] = h.momentum;
  out[HYPER_DECAY] = h.decay;
  out[HYPER_CLIP] = h.clip;
  out[HYPER_BETA2] = h.beta2;
  out[HYPER_EPSILON] = h.epsilon;
  out[HYPER_CORRECTION1] = h.correction1;
  out[HYPER_CORRECTION2] = h.correction2;
  return out;
}

// `spoil` puts something in the gradient that makes a weight infinite: it stays, the others move, and the
// command says so.
void update(std::mt19937& random, int flags, Rule rule, int count, Mood mood, bool clips, bool spoil) {
  const strict::Hyper h = {0.1f, 0.9f, 0.01f, 0.5f, 0.99f, 1e-8f, 0.271f, 0.03f};
  const bool moments = flags & FLAG_ADAM;
  const int distance = (count + 7) / 4 * 4;  // words between the moments; what lies between them stays
  Case k = {command(OP_UPDATE, flags), values(random, count, mood), {}, values(random, count, mood), hyper_words(h), {}};
  k.c.count = count;
  if (spoil) k.src[random() % count] = INFINITE;
  if (clips) k.weights = {17.5f};
  k.extra = values(random, moments ? distance + count : count, mood);
  if (moments) k.c.axis = distance;
  for (int i = 0; i < count && moments; ++i) k.extra[distance + i] = std::fabs(k.extra[distance + i]);
  Floats dst = k.dst, extra = k.extra;
  const float scale = clips ? strict::clip_scale(17.5f, h.clip) : 1.0f;
  bool good = true;
  for (int i = 0; i < count; ++i) {
    float& s = extra[moments ? distance + i : i];
    const strict::Weight next = rule(h, {dst[i], extra[i], moments ? s : 0.0f}, k.src[i] * scale);
    if (!finite_weight(next)) {
      good = false;
      continue;
    }
    dst[i] = next.w;
    extra[i] = next.v;
    if (moments) s = next.s;
  }
  CHECK(good != spoil);
  expect(k, dst, extra, good ? STATUS_OK : STATUS_NONFINITE);
}

void loss(std::mt19937& random, int images, int classes, Mood mood, float smoothing, bool weighted) {
  const Sizes s = {images, classes, 1, 1};
  Floats logits = values(random, s.words(), mood, 9.0f), gradient(s.words()), weights(classes, 1.0f);
  if (mood == ROUGH)
    for (int k = 0; k < classes; ++k) logits[k] = 1e4f * float(k == classes - 1);  // exp alone would overflow
  Case k = {command(OP_LOSS), packed(logits, s), {}, {}, {}, {}};
  k.c.images = images;
  k.c.m = classes;
  k.c.count = images + 3;
  k.c.scalar = smoothing;
  float divisor = float(k.c.count);
  if (weighted) {
    for (float& w : weights) w = std::fabs(noise(random, 1)[0]);
    k.weights = packed_vector(weights);
    divisor = 7.25f;
    k.weights.push_back(divisor);
  }
  k.dst.assign(k.src.size(), UNTOUCHED);
  k.extra.assign(2 * images, UNTOUCHED);
  Floats extra(2 * images);
  for (int b = 0; b < images; ++b) {
    const int label = int(random() % classes);
    k.aux.push_back(as_float(label));
    const Floats row(logits.begin() + b * classes, logits.begin() + (b + 1) * classes);
    const strict::Loss one = strict::cross_entropy(row, label, smoothing, weights, divisor);
    extra[b] = one.loss;
    extra[images + b] = as_float(one.predicted);
    for (int c = 0; c < classes; ++c) gradient[b * classes + c] = one.gradient[c];
  }
  expect(k, packed(gradient, s), extra);
  k.src[0] = INFINITE;
  expect_refusal(k, STATUS_NONFINITE);
  k.src[0] = 0.0f;
  k.aux[images - 1] = as_float(classes);
  expect_refusal(k, STATUS_OUT_OF_RANGE);
}

// Words of a sample: `lanes` a pixel and channel tile, as float32 or four bytes in a word.
Floats stored(const Floats& plain, const Sizes& s, int lanes, bool bytes) {
  const Floats words = packed(plain, s, lanes);
  if (!bytes) return words;
  Floats out(words.size() / 4);
  for (size_t i = 0; i < out.size(); ++i) {
    uint32_t word = 0;
    for (int e = 0; e < 4; ++e) word |= uint32_t(words[4 * i + e]) << 8 * e;
    out[i] = as_float(int32_t(word));
  }
  return out;
}

void load(std::mt19937& random, const Sizes& pool, int lanes, bool bytes, Mood mood) {
  Floats samples = values(random, pool.words(), mood);
  if (bytes)
    for (float& v : samples) v = float(random() % 256);
  const Floats scale = values(random, pool.channels), shift = values(random, pool.channels);
  const Sizes got = {4, pool.channels, pool.rows, pool.cols}, vector = {1, pool.channels, 1, 1};
  Case k = {command(OP_LOAD, bytes ? FLAG_U8 : 0), stored(samples, pool, lanes, bytes), {}, {}, {}, {}};
  k.c.images = got.images;
  k.c.n = got.channels;
  k.c.rows_in = got.rows;
  k.c.cols_in = got.cols;
  k.c.lanes = lanes;
  k.weights = packed(scale, vector, lanes);
  append(k.weights, packed(shift, vector, lanes));
  for (float& v : k.weights) v = v == 0.0f ? 5.0f : v;  // padded lanes stay 0 whatever is said there
  Floats out(got.words());
  for (int i = 0; i < got.images; ++i) {
    const int index = i == 0 ? pool.images - 1 : int(random() % pool.images);
    k.aux.push_back(as_float(index));
    for (int c = 0; c < got.channels; ++c)
      for (int p = 0; p < got.pixels(); ++p)
        out[got.at(i, c, 0, p)] = strict::loaded(samples[pool.at(index, c, 0, p)], scale[c], shift[c]);
  }
  k.dst.assign(packed(out, got, lanes).size(), UNTOUCHED);
  expect(k, packed(out, got, lanes));
  k.aux[2] = as_float(-1);
  expect_refusal(k, STATUS_OUT_OF_RANGE);
}

// Words are moved, not calculated with: NaN payloads, -0 and subnormals arrive as they are.
void copy(std::mt19937& random, int count) {
  Case k = {command(OP_COPY), values(random, count, ODD), {}, Floats(count, UNTOUCHED), {}, {}};
  k.c.count = count;
  expect(k, k.src);
}

}  // namespace

int main() {
  const FlushSubnormals flush;
  std::mt19937 random(14);
  const int chunk = (X_DEPTH < Y_DEPTH ? X_DEPTH : Y_DEPTH) * T;  // words of a pass
  const int counts[] = {1, 7, 16, 1000, chunk, 2 * chunk + 5};
  int updates = 0, losses = 0;
  for (int count : counts)
    for (Mood mood : {SMOOTH, ROUGH})
      for (int i = 0; i < 3; ++i, updates += 3) {
        update(random, 0, strict::sgd, count, mood, i == 1, i == 2);
        update(random, FLAG_NESTEROV, strict::nesterov, count, mood, i == 1, i == 2);
        update(random, FLAG_ADAM, strict::adam, count, mood, i == 1, i == 2);
      }
  for (int classes : {2, T, 2 * T + 1, 100})
    for (Mood mood : {SMOOTH, ROUGH})
      for (float smoothing : {0.0f, 0.1f, 1.0f})
        for (int images : {1, 5}) loss(random, images, classes, mood, smoothing, ++losses % 2);
  for (bool bytes : {false, true})
    for (Mood mood : {SMOOTH, ROUGH}) {
      for (int channels : {1, 3, 4}) load(random, {7, channels, 5, 3}, 4, bytes, mood);
      load(random, {3, 2 * T + 1, 3, 7}, T, bytes, mood);
      load(random, {2, 3, 21, 31}, 4, bytes, mood);
      load(random, {2, T, 9, 8}, T, bytes, mood);
    }
  for (int count : {1, 15, 4099, chunk + 2}) copy(random, count);
  std::printf("%d updates and %d losses bit for bit\n", updates, losses);
}
