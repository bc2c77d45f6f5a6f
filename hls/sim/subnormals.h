// Numbers below the normal range count as 0, read or written, as in the hardware's operators.
#pragma once
#include <cstdint>

namespace eft {

// For the calling thread, until the end of a scope. On processors not named here subnormals stay.
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
#elif defined(__arm__) && defined(__ARM_FP)
  FlushSubnormals() {
    asm volatile("vmrs %0, fpscr" : "=r"(before_));
    asm volatile("vmsr fpscr, %0" : : "r"(before_ | uint32_t(1) << 24));
  }
  ~FlushSubnormals() { asm volatile("vmsr fpscr, %0" : : "r"(before_)); }
#else
  FlushSubnormals() : before_(0) {}
#endif
  FlushSubnormals(const FlushSubnormals&) = delete;

 private:
#if defined(__aarch64__)
  uint64_t before_;
#else
  uint32_t before_;
#endif
};

}  // namespace eft
