// Generated from a board's build description: do not edit.
#pragma once
namespace eft {
// planned clock: 100 MHz
constexpr int T = 8;
constexpr int PIXELS = 1;
constexpr int X_DEPTH = 2048;
constexpr int Y_DEPTH = 1024;
constexpr int W_DEPTH = 64;
constexpr int REVISIT = 16;
constexpr int FEATURES = 2;
}  // namespace eft
#define EFT_FMUL maxdsp
#define EFT_FADD_TREE fulldsp
#define EFT_FADD_SUM fulldsp
#define EFT_GRADIENT_RAM bram
