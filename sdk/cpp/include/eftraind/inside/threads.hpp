/// A thread in which no signal of the program's is handled, but for those of a crash.
#pragma once

#include <thread>
#include <utility>

#include <csignal>
#include <pthread.h>

namespace eftraind::inside {

template <typename Body>
std::thread without_signals(Body body) {
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (const int crash : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS}) {
        sigdelset(&blocked, crash);
    }
    pthread_sigmask(SIG_SETMASK, &blocked, &before);  // a new thread starts with this mask
    std::thread thread;
    try {
        thread = std::thread(std::move(body));
    } catch (...) {
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        throw;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return thread;
}

}  // namespace eftraind::inside
