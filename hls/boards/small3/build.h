// Generated from a board's build description: do not edit.
#pragma once
namespace eft {
// planned clock: 100 MHz
constexpr int T = 4;
constexpr int PIXELS = 3;
constexpr int X_DEPTH = 128;
constexpr int Y_DEPTH = 80;
constexpr int W_DEPTH = 32;
constexpr int REVISIT = 16;
constexpr int FEATURES = 2;
}  // namespace eft
#define EFT_FMUL maxdsp
#define EFT_FADD_TREE fulldsp
#define EFT_FADD_SUM fulldsp
#define EFT_GRADIENT_RAM lutram
