// What the kernels are given to run one command, and what a set of kernels offers.
// Shared by the engine and by the kernels, which are compiled once per instruction set: so no
// inline function of a library may appear here (the linker keeps one copy for all of them).
#pragma once
#include <stdint.h>

#include "isa.h"

namespace eft {

struct Range {
  int64_t begin, end;
};

struct Scratch {
  int64_t own_words;     // of each thread
  int64_t shared_words;  // of the whole team
};

// Does units [begin, end); thread says whose scratch it may use.
using Body = void (*)(const void* context, Range units, int thread);

struct Task {
  const Command* command;
  float* const* slots;
  const int64_t* slot_words;
  int threads;
  float* shared;
  float* own;
  int64_t own_words;
  void* team;
  void (*spread)(void* team, int64_t total, int64_t grain, Body body, const void* context);

  // Calls work(range, thread) until all units are done, `grain` of them at a time. Which thread does
  // which units is up to chance, so no result may depend on it.
  template <class Work>
  void each(int64_t total, int64_t grain, const Work& work) const {
    const Body body = [](const void* context, Range units, int thread) {
      (*static_cast<const Work*>(context))(units, thread);
    };
    spread(team, total, grain, body, &work);
  }
  // For units of equal and small work: a few takes per thread even out their speeds.
  template <class Work>
  void each(int64_t total, const Work& work) const {
    each(total, threads == 1 ? total : total / (6 * threads) + 1, work);
  }
  float* scratch_of(int thread) const { return own + thread * own_words; }
};

struct Kernels {
  int lanes;
  const char* name;
  bool (*implements)(int32_t op);
  int (*run)(const Task&);              // a Status
  Scratch (*scratch)(const Command&);   // what `run` will need
  double (*peak_gflops)();              // multiply-adds of one core, measured
};

}  // namespace eft
