// A fixed team of threads that do the same work side by side and meet between commands. The thread
// that calls `run` is number 0. Waiting spins briefly, as the next command is usually microseconds
// away, and then sleeps, as the next program may be minutes away.
#pragma once
#include <pthread.h>

#include <atomic>
#include <cstdint>

namespace eft {

class Team {
 public:
  using Work = void (*)(void* argument, int thread);

  static constexpr int MOST_THREADS = 64;

  // Fewer threads than asked for if the system refuses more.
  void start(int threads);
  void stop();
  void run(Work work, void* argument);
  int threads() const { return threads_; }

  // Returns when all threads have called it: the first status that is not 0, or 0.
  int meet(int thread, int status);

  // Units of work that nobody has taken since the last meeting: this one and the `grain` - 1 after.
  int64_t next(int64_t grain) { return next_.fetch_add(grain, std::memory_order_relaxed); }

 private:
  static void* member(void* seat);
  void wait(uint32_t turn);

  struct Seat {
    Team* team;
    int thread;
  };
  int threads_ = 1;
  bool leave_ = false;
  Work work_ = nullptr;
  void* argument_ = nullptr;
  pthread_t handles_[MOST_THREADS];
  Seat seats_[MOST_THREADS];
  int status_[2][MOST_THREADS] = {};
  alignas(64) std::atomic<int> missing_{0};
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<uint32_t> turn_{0};
  std::atomic<int> sleepers_{0};
  pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t woken_ = PTHREAD_COND_INITIALIZER;
};

}  // namespace eft
