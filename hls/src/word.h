// What every part of the kernel shares: bus words, the pragma macro, integer helpers.
#pragma once
#include "bits.h"
#include "build.h"
#include "isa.h"
#include "registers.h"

// Pragmas of Vitis HLS reach it through this macro alone, in the positional spelling that is valid
// from 2020.2 on; g++ and bambu never see them. PIPELINE and UNROLL stand first inside a loop's body:
// before the loop they would be ignored, or taken for the whole function.
#if defined(__SYNTHESIS__) && !defined(__BAMBU__)
#define HLS_TEXT(text) _Pragma(#text)
#define HLS(...) HLS_TEXT(HLS __VA_ARGS__)
#else
#define HLS(...)
#endif

// What a DEPENDENCE pragma promises the scheduler, checked where the kernel runs as a program built with
// EFT_WATCH (the unit tests): no accumulator is used again within REVISIT iterations of its loop, no bank of
// an output buffer twice in one iteration, none of a feature buffer more often than its ports allow.
#if defined(EFT_WATCH)
#include "../sim/watch.h"
#else
#define WATCH_START(buffer)
#define WATCH(buffer, bank, index, iteration) ((void)0)
#define WATCH_READ(buffer, bank, index, iteration) ((void)0)
#endif

namespace eft {

static_assert(T % BEAT_WORDS == 0 && T <= 16, "T is 4, 8, 12 or 16 lanes");
static_assert((T & (T - 1)) == 0, "the adder tree halves T");
static_assert(W_DEPTH >= 2 * REVISIT, "partial sums of one tap fit the weight buffer");
static_assert(X_DEPTH >= 2 * W_DEPTH && X_DEPTH % 2 == 0, "one output's taps fit half a feature buffer");
static_assert(Y_DEPTH >= 2 * T && Y_DEPTH >= 2 * PIXELS, "a tap's gradient, with a bias, fits an output buffer");
static_assert(PIXELS >= 1 && PIXELS <= 4, "an iteration takes 1 to 4 pixels");
static_assert(X_DEPTH < 65536 && Y_DEPTH < 65536, "the report has 16 bits for each");

// One beat of a port: 128 bits, element 0 in the lowest. Only ports are made of it; on chip there are
// plain arrays whose last dimension is the lanes.
struct alignas(16) Word {
  float v[BEAT_WORDS];
};

constexpr int QUADS = T / BEAT_WORDS;  // beats of a pixel of T lanes

// Two pixels are read from a feature buffer through its two ports; more take a copy of it.
constexpr int COPIES = (PIXELS + 1) / 2;
// An output buffer has a bank for each pixel, at one address in an iteration.
constexpr int Y_WORDS = (Y_DEPTH + PIXELS - 1) / PIXELS;
// Where the second of two operands begins in it.
constexpr int HALF = Y_WORDS / 2;

inline int least(int a, int b) { return a < b ? a : b; }
inline int most(int a, int b) { return a > b ? a : b; }
inline int ceil_div(int a, int b) { return (a + b - 1) / b; }
inline int tiles(int channels) { return ceil_div(channels, T); }
// Towards minus infinity, where / goes towards 0.
inline int floor_div(int a, int b) { return a >= 0 ? a / b : -ceil_div(-a, b); }
inline int modulo(int a, int b) { return a - floor_div(a, b) * b; }

// Of an equal number of parts, none larger than `part`, the largest.
inline int even_part(int whole, int part) { return ceil_div(whole, ceil_div(whole, part)); }

inline bool has(const Command& c, int flag) { return (c.flags & flag) != 0; }

// What a command cost: iterations of compute loops, and tiles loaded; and whether all weights could step.
struct Count {
  int steps, passes;
  bool finite;
};

}  // namespace eft
