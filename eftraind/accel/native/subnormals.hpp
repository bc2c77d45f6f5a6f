// Numbers below the normal range count as 0 while kernels run: velocities of channels that have died
// decay into them, and a processor takes a hundred cycles for each. The FPGA kernel does the same.
#pragma once
#include <stdint.h>

namespace eft {

// For the calling thread, until the end of a scope.
class FlushSubnormals {
 public:
#if defined(__SSE__)
  FlushSubnormals() : before_(__builtin_ia32_stmxcsr()) { __builtin_ia32_ldmxcsr(before_ | 0x8040); }
  ~FlushSubnormals() { __builtin_ia32_ldmxcsr(before_); }
#elif defined(__aarch64__)
  FlushSubnormals() {
    asm volatile("mrs %0, fpcr" : "=r"(before_));
    asm volatile("msr fpcr, %0" : : "r"(before_ | uint64_t(1) << 24));
  }
  ~FlushSubnormals() { asm volatile("msr fpcr, %0" : : "r"(before_)); }
#else
  // 32-bit NEON always does; elsewhere the processor's way is kept.
  FlushSubnormals() {}
  ~FlushSubnormals() {}
#endif
  FlushSubnormals(const FlushSubnormals&) = delete;

 private:
#if defined(__aarch64__)
  uint64_t before_;
#elif defined(__SSE__)
  uint32_t before_;
#endif
};

}  // namespace eft
