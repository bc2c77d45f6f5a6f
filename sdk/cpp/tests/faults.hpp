/// What the system does to calls of libzmq at bad moments: these definitions stand before libzmq's
/// own. `interrupt_every` n: a signal interrupts each n-th call. `drop_bodies` n: libzmq says of so
/// many bodies that they went with their connection. `fail_sockets` n: so many cannot be made.
#pragma once

#include <atomic>
#include <cerrno>

#include <dlfcn.h>
#include <zmq.h>

namespace faults {

inline std::atomic<int> interrupt_every{0};
inline std::atomic<int> drop_bodies{0};
inline std::atomic<int> fail_sockets{0};
inline std::atomic<int> interrupted{0};

inline bool interrupts() {
    static std::atomic<int> calls{0};
    const int every = interrupt_every;
    if (every == 0 || ++calls % every != 0) {
        return false;
    }
    ++interrupted;
    errno = EINTR;
    return true;
}

template <typename Function>
Function* real(Function*, const char* name) {
    return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace faults

extern "C" {

int zmq_send(void* socket, const void* data, size_t size, int flags) {
    static auto* const call = faults::real(&zmq_send, "zmq_send");
    return faults::interrupts() ? -1 : call(socket, data, size, flags);
}

void* zmq_socket(void* context, int type) {
    static auto* const call = faults::real(&zmq_socket, "zmq_socket");
    if (faults::fail_sockets > 0) {
        --faults::fail_sockets;
        errno = EMFILE;
        return nullptr;
    }
    return call(context, type);
}

int zmq_msg_send(zmq_msg_t* message, void* socket, int flags) {
    static auto* const call = faults::real(&zmq_msg_send, "zmq_msg_send");
    if (faults::interrupts()) {
        return -1;
    }
    const int sent = call(message, socket, flags);
    if (sent >= 0 && faults::drop_bodies > 0) {
        --faults::drop_bodies;
        errno = EAGAIN;
        return -1;
    }
    return sent;
}

int zmq_msg_recv(zmq_msg_t* message, void* socket, int flags) {
    static auto* const call = faults::real(&zmq_msg_recv, "zmq_msg_recv");
    return faults::interrupts() ? -1 : call(message, socket, flags);
}

int zmq_poll(zmq_pollitem_t* items, int count, long timeout_ms) {
    static auto* const call = faults::real(&zmq_poll, "zmq_poll");
    return faults::interrupts() ? -1 : call(items, count, timeout_ms);
}

}  // extern "C"
