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

struct Task {
  const Command* command;
  float* const* slots;
  const int64_t* slot_words;
  int thread, threads;
  float* own;
  float* shared;
  void* team;
  // All threads meet; returns the first status that one of them reported.
  int (*meet)(void* team, int thread, int status);

  int agree(int status) const { return threads == 1 ? status : meet(team, thread, status); }
};

struct Kernels {
  int lanes;
  const char* name;
  int (*run)(const Task&);                            // a Status; the same in all threads
  Scratch (*scratch)(const Command&, int threads);    // what `run` will need
  double (*peak_gflops)();                            // multiply-adds of one core, measured
};

}  // namespace eft
