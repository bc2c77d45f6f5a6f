// The C interface: opens a team on one set of kernels and walks command lists.
// Callers have checked every extent (plan.tiles, accel.host); only sample indices and labels, which
// are data, are checked here.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <new>

#include "subnormals.hpp"
#include "task.hpp"
#include "team.hpp"

#if defined(__x86_64__) && !defined(EFT_PORTABLE)
#define EFT_X86
#include <cpuid.h>
#elif defined(__aarch64__) && !defined(EFT_PORTABLE)
#define EFT_NEON
#elif defined(EFT_ARM32) && !defined(EFT_PORTABLE)  // build.py says so: the compiler's default has no NEON
#include <sys/auxv.h>
#endif

#define EFT_EXPORT extern "C" __attribute__((visibility("default")))

namespace eft {

#if defined(EFT_X86)
extern const Kernels avx512, avx2, sse2;
#elif defined(EFT_NEON)
extern const Kernels neon;
#elif defined(EFT_ARM32)
extern const Kernels neonfma, neon;
#else
extern const Kernels portable;
#endif

namespace {

#if defined(EFT_X86)
uint64_t saved_registers() {
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t(high) << 32 | low;
}

struct Machine {
  bool avx2 = false, avx512 = false;
  Machine() {
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return;
    const bool saves = c >> 27 & 1, fma = c >> 12 & 1;
    if (!saves || !fma || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return;
    const uint64_t saved = saved_registers();
    avx2 = (b >> 5 & 1) && (saved & 0x06) == 0x06;
    const bool f = b >> 16 & 1, dq = b >> 17 & 1, bw = b >> 30 & 1, vl = b >> 31 & 1;
    avx512 = avx2 && f && dq && bw && vl && (saved & 0xe6) == 0xe6;
  }
};
#endif

// Sets that this machine runs, widest first; null ends the list.
struct Sets {
  const Kernels* list[4] = {};
  Sets() {
    int count = 0;
#if defined(EFT_X86)
    const Machine machine;
    if (machine.avx512) list[count++] = &avx512;
    if (machine.avx2) list[count++] = &avx2;
    list[count++] = &sse2;
#elif defined(EFT_NEON)
    list[count++] = &neon;
#elif defined(EFT_ARM32)
    // A Cortex-A9, as on Zynq-7000 boards, has NEON but no fused multiply-add.
    const unsigned long found = getauxval(AT_HWCAP);
    const bool has_neon = found >> 12 & 1, has_vfpv4 = found >> 16 & 1;
    if (has_neon) list[count++] = has_vfpv4 ? &neonfma : &neon;
#else
    list[count++] = &portable;
#endif
  }
};

const Kernels* find(int lanes) {
  const Sets sets;
  for (const Kernels* const* k = sets.list; *k; ++k) {
    if (lanes == 0 || (*k)->lanes == lanes) return *k;
  }
  return nullptr;
}

struct Engine {
  const Kernels* kernels;
  Team team;
  float* slots[SLOT_COUNT] = {};
  int64_t slot_words[SLOT_COUNT] = {};
  Scratch scratch = {0, 0};
  float* memory = nullptr;  // shared scratch, then each thread's
};

int64_t aligned(int64_t words) { return (words + 31) / 32 * 32; }

bool grow(Engine& e, const Command* commands, int count) {
  Scratch need = e.scratch;
  for (int i = 0; i < count; ++i) {
    const Scratch one = e.kernels->scratch(commands[i]);
    if (one.own_words > need.own_words) need.own_words = aligned(one.own_words);
    if (one.shared_words > need.shared_words) need.shared_words = aligned(one.shared_words);
  }
  if (need.own_words == e.scratch.own_words && need.shared_words == e.scratch.shared_words) return true;
  void* memory = nullptr;
  const size_t words = size_t(need.shared_words + need.own_words * e.team.threads());
  if (posix_memalign(&memory, 128, 4 * words) != 0) return false;
  memset(memory, 0, 4 * words);
  free(e.memory);
  e.memory = static_cast<float*>(memory);
  e.scratch = need;
  return true;
}

int64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return int64_t(t.tv_sec) * 1000000000 + t.tv_nsec;
}

void spread(void* team, int64_t total, int64_t grain, Body body, const void* context) {
  static_cast<Team*>(team)->spread(total, grain, body, context);
}

int run(Engine& e, const Command* commands, int count, int32_t* status, int64_t* nanoseconds) {
  const FlushSubnormals flush;
  Task task = {nullptr, e.slots, e.slot_words, e.team.threads(), e.memory,
               e.memory + e.scratch.shared_words, e.scratch.own_words, &e.team, spread};
  int64_t start = now_ns();
  for (int i = 0; i < count; ++i) {
    task.command = commands + i;
    *status = e.kernels->run(task);
    const int64_t end = now_ns();
    nanoseconds[i] = end - start;
    start = end;
    if (*status != STATUS_OK) return i;
  }
  *status = STATUS_OK;
  return count;
}

}  // namespace
}  // namespace eft

EFT_EXPORT uint32_t eft_digest() { return eft::ISA_DIGEST; }

// Lanes of the sets that this machine runs, widest first; returns how many.
EFT_EXPORT int eft_sets(int32_t* lanes, int room) {
  const eft::Sets sets;
  int count = 0;
  for (; sets.list[count] && count < room; ++count) lanes[count] = sets.list[count]->lanes;
  return count;
}

// lanes 0: the widest. Null if the machine lacks the set or memory.
EFT_EXPORT void* eft_open(int lanes, int threads) {
  const eft::Kernels* kernels = eft::find(lanes);
  void* memory = nullptr;
  if (!kernels || posix_memalign(&memory, 128, sizeof(eft::Engine)) != 0) return nullptr;
  eft::Engine* e = new (memory) eft::Engine{};
  e->kernels = kernels;
  e->team.start(threads);
  return e;
}

EFT_EXPORT int eft_lanes(void* engine) { return static_cast<eft::Engine*>(engine)->kernels->lanes; }
EFT_EXPORT int eft_threads(void* engine) { return static_cast<eft::Engine*>(engine)->team.threads(); }
EFT_EXPORT const char* eft_set_name(void* engine) { return static_cast<eft::Engine*>(engine)->kernels->name; }
EFT_EXPORT int eft_implements(void* engine, int op) {
  return static_cast<eft::Engine*>(engine)->kernels->implements(op);
}
EFT_EXPORT double eft_peak_gflops(void* engine) { return static_cast<eft::Engine*>(engine)->kernels->peak_gflops(); }

EFT_EXPORT void eft_bind(void* engine, int slot, void* memory, int64_t words) {
  eft::Engine* e = static_cast<eft::Engine*>(engine);
  e->slots[slot] = static_cast<float*>(memory);
  e->slot_words[slot] = words;
}

// Takes the scratch that a program needs, so that running it never allocates. 0, or -1 without memory.
EFT_EXPORT int eft_prepare(void* engine, const int32_t* words, int count) {
  return eft::grow(*static_cast<eft::Engine*>(engine), reinterpret_cast<const eft::Command*>(words), count) ? 0 : -1;
}

// Runs prepared commands until one fails; returns how many went well, writes the last one's status and
// each one's time.
EFT_EXPORT int eft_run(void* engine, const int32_t* words, int count, int32_t* status, int64_t* nanoseconds) {
  return eft::run(*static_cast<eft::Engine*>(engine), reinterpret_cast<const eft::Command*>(words), count, status,
                  nanoseconds);
}

EFT_EXPORT void eft_close(void* engine) {
  eft::Engine* e = static_cast<eft::Engine*>(engine);
  e->team.stop();
  free(e->memory);
  e->~Engine();
  free(e);
}
