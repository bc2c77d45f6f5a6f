#include "team.hpp"

#include <sched.h>
#include <time.h>

#include "subnormals.hpp"

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
  for (int i = 1; i < threads_; ++i) {
    seats_[i] = {this, i};
    if (pthread_create(&handles_[i], nullptr, member, &seats_[i]) != 0) threads_ = i;
  }
}

void Team::stop() {
  if (threads_ == 1) return;
  leave_ = true;
  announce(stage_.load() + 1);
  for (int i = 1; i < threads_; ++i) pthread_join(handles_[i], nullptr);
  threads_ = 1;
}

void Team::spread(int64_t total, int64_t grain, Body body, const void* context) {
  if (threads_ == 1 || total <= grain) {
    for (int64_t i = 0; i < total; i += grain) {
      body(context, {i, i + grain < total ? i + grain : total}, 0);
    }
    return;
  }
  grain_ = grain, body_ = body, context_ = context;
  const int64_t takes = (total + grain - 1) / grain;
  for (int i = 0; i < threads_; ++i) {
    const int64_t end = takes * (i + 1) / threads_ * grain;
    shares_[i].next.store(takes * i / threads_ * grain, std::memory_order_relaxed);
    shares_[i].end = end < total ? end : total;
  }
  const uint64_t open = stage_.load(std::memory_order_relaxed) + 1;
  announce(open);
  work(0);
  // Either a member sees that the job is closed, or its presence is seen here: both orders are
  // sequentially consistent.
  stage_.store(open + 1);
  for (int turns = 0; inside_.load() != 0; ++turns) {
    // A member put aside with a unit in hand may need this very core.
    if (turns < 1000) relax(); else sched_yield();
  }
}

void Team::announce(uint64_t stage) {
  stage_.store(stage);
  if (sleepers_.load() == 0) return;
  pthread_mutex_lock(&mutex_);
  pthread_cond_broadcast(&woken_);
  pthread_mutex_unlock(&mutex_);
}

void Team::work(int thread) {
  for (int i = 0; i < threads_; ++i) {
    Share& share = shares_[(thread + i) % threads_];
    while (share.next.load(std::memory_order_relaxed) < share.end) {
      const int64_t begin = share.next.fetch_add(grain_, std::memory_order_relaxed);
      if (begin >= share.end) break;
      body_(context_, {begin, begin + grain_ < share.end ? begin + grain_ : share.end}, thread);
    }
  }
}

void* Team::member(void* seat) {
  static_cast<Seat*>(seat)->team->help(static_cast<Seat*>(seat)->thread);
  return nullptr;
}

void Team::help(int thread) {
  const FlushSubnormals flush;
  for (uint64_t seen = 0;;) {
    seen = wait(seen);
    inside_.fetch_add(1);
    const bool open = stage_.load() == seen;
    const bool leave = open && leave_;
    if (open && !leave) work(thread);
    inside_.fetch_sub(1);
    if (leave) return;
  }
}

// The number of an open job other than the one seen.
uint64_t Team::wait(uint64_t seen) {
  const auto opened = [&](uint64_t stage) { return (stage & 1) != 0 && stage != seen; };
  const int64_t deadline = now_ns() + SPIN_NS;
  do {
    for (int i = 0; i < 32; ++i) {
      const uint64_t stage = stage_.load(std::memory_order_acquire);
      if (opened(stage)) return stage;
      relax();
    }
  } while (now_ns() < deadline);
  pthread_mutex_lock(&mutex_);
  ++sleepers_;
  uint64_t stage;
  while (!opened(stage = stage_.load())) pthread_cond_wait(&woken_, &mutex_);
  --sleepers_;
  pthread_mutex_unlock(&mutex_);
  return stage;
}

}  // namespace eft
