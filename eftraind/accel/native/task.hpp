// What one thread of the team is given to run one command, and what a set of kernels offers.
// Shared by the engine and by the kernels, which are compiled once per instruction set: so no
// inline function of a library may appear here (the linker keeps one copy for all of them).
#pragma once
#include <stdint.h>

#include "isa.h"

namespace eft {

struct Scratch {
  int64_t own_words;     // of each thread
  int64_t shared_words;  // of the whole team
};

struct Range {
  int64_t begin, end;
};

struct Task {
  const Command* command;
  float* const* slots;
  const int64_t* slot_words;
  int thread, threads;
  float* own;
  float* shared;
  void* team;
  // All threads meet; returns the first status that one of them reported. A phase of work ends so.
  int (*meet)(void* team, int thread, int status);
  // The next `grain` units of this phase that nobody has taken; results never depend on who takes them.
  int64_t (*next)(void* team, int64_t grain);

  int agree(int status) const { return meet(team, thread, status); }

  bool take(int64_t total, int64_t grain, Range* units) const {
    units->begin = next(team, grain);
    units->end = units->begin + grain < total ? units->begin + grain : total;
    return units->begin < total;
  }
  // For units of equal and small work: a few takes per thread even out their speeds.
  bool take(int64_t total, Range* units) const { return take(total, total / (6 * threads) + 1, units); }
};

struct Kernels {
  int lanes;
  const char* name;
  int (*run)(const Task&);                            // a Status; the same in all threads
  Scratch (*scratch)(const Command&, int threads);    // what `run` will need
  double (*peak_gflops)();                            // multiply-adds of one core, measured
};

}  // namespace eft
