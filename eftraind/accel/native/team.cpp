#include "team.hpp"

#include <time.h>

namespace eft {
namespace {

constexpr int64_t SPIN_NS = 50000;

int64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return int64_t(t.tv_sec) * 1000000000 + t.tv_nsec;
}

inline void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  asm volatile("yield");
#endif
}

}  // namespace

void Team::start(int threads) {
  threads_ = threads < 1 ? 1 : threads > MOST_THREADS ? MOST_THREADS : threads;
  missing_ = threads_;
  for (int i = 1; i < threads_; ++i) {
    seats_[i] = {this, i};
    if (pthread_create(&handles_[i], nullptr, member, &seats_[i]) != 0) {
      // Members that already wait count on this number: take the missing ones' part.
      missing_ -= threads_ - i;
      threads_ = i;
    }
  }
}

void Team::stop() {
  if (threads_ > 1) {
    leave_ = true;
    meet(0, 0);
    for (int i = 1; i < threads_; ++i) pthread_join(handles_[i], nullptr);
  }
  threads_ = 1;
}

void Team::run(Work work, void* argument) {
  if (threads_ > 1) {
    work_ = work;
    argument_ = argument;
    meet(0, 0);
  }
  work(argument, 0);
  if (threads_ > 1) meet(0, 0);
}

void* Team::member(void* seat) {
  Team* team = static_cast<Seat*>(seat)->team;
  const int thread = static_cast<Seat*>(seat)->thread;
  for (;;) {
    team->meet(thread, 0);
    if (team->leave_) return nullptr;
    team->work_(team->argument_, thread);
    team->meet(thread, 0);
  }
}

int Team::meet(int thread, int status) {
  if (threads_ == 1) {
    next_.store(0, std::memory_order_relaxed);
    return status;
  }
  const uint32_t turn = turn_.load(std::memory_order_relaxed);
  // Two rows in turn: nobody writes a row again before everybody has left it.
  int* statuses = status_[turn & 1];
  statuses[thread] = status;
  if (missing_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    missing_.store(threads_, std::memory_order_relaxed);
    next_.store(0, std::memory_order_relaxed);
    turn_.store(turn + 1);
    if (sleepers_.load() > 0) {
      pthread_mutex_lock(&mutex_);
      pthread_cond_broadcast(&woken_);
      pthread_mutex_unlock(&mutex_);
    }
  } else {
    wait(turn);
  }
  for (int i = 0; i < threads_; ++i) {
    if (statuses[i] != 0) return statuses[i];
  }
  return 0;
}

void Team::wait(uint32_t turn) {
  const int64_t deadline = now_ns() + SPIN_NS;
  do {
    for (int i = 0; i < 32; ++i) {
      if (turn_.load(std::memory_order_acquire) != turn) return;
      relax();
    }
  } while (now_ns() < deadline);
  pthread_mutex_lock(&mutex_);
  ++sleepers_;
  while (turn_.load() == turn) pthread_cond_wait(&woken_, &mutex_);
  --sleepers_;
  pthread_mutex_unlock(&mutex_);
}

}  // namespace eft
