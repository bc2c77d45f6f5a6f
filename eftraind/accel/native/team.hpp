// A thread that calls `spread`, and members who help it if they are there: nobody waits for a member
// that the system has put aside, unless it holds a unit of work. Each begins with its own share of the
// units, the same part of every job, so that what it wrote is in its cache when it reads it; then it
// helps the others. Members spin briefly between pieces of work, as the next is usually microseconds
// away, and then sleep.
#pragma once
#include <pthread.h>

#include <atomic>
#include <cstdint>

#include "task.hpp"

namespace eft {

class Team {
 public:
  static constexpr int MOST_THREADS = 64;

  // Fewer threads than asked for if the system refuses more.
  void start(int threads);
  void stop();
  int threads() const { return threads_; }

  // Returns when body has done all units, `grain` at a time, in whatever threads.
  void spread(int64_t total, int64_t grain, Body body, const void* context);

 private:
  static void* member(void* seat);
  void help(int thread);
  void work(int thread);
  uint64_t wait(uint64_t seen);
  void announce(uint64_t stage);

  struct Seat {
    Team* team;
    int thread;
  };
  int threads_ = 1;
  pthread_t handles_[MOST_THREADS];
  Seat seats_[MOST_THREADS];

  struct alignas(64) Share {
    std::atomic<int64_t> next{0};  // first unit that nobody has taken
    int64_t end = 0;
  };

  // The job: written while `stage_` is even and nobody is inside.
  Share shares_[MOST_THREADS];
  int64_t grain_ = 1;
  Body body_ = nullptr;
  const void* context_ = nullptr;
  bool leave_ = false;

  alignas(64) std::atomic<uint64_t> stage_{0};   // odd: the job is open
  alignas(64) std::atomic<int> inside_{0};       // members that may be at work
  alignas(64) std::atomic<int> sleepers_{0};
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t woken_ = PTHREAD_COND_INITIALIZER;
};

}  // namespace eft
