/// libzmq's C API as owners: a context, a socket, a message that arrived, and a pipe that wakes a
/// poll. They decide nothing.
#pragma once

#include <cerrno>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <unistd.h>
#include <zmq.h>

#include "eftraind/errors.hpp"
#include "eftraind/wire/messages.hpp"

namespace eftraind::inside {

[[noreturn]] inline void fail_zmq(const std::string& what) {
    raise({FaultKind::client, what + ": " + zmq_strerror(zmq_errno()),
           "check the endpoint and the limit of open files", "zmq"});
}

/// The result of `call`, which is made until no signal interrupts it.
template <typename Call>
int again(Call call) {
    int result = call();
    while (result < 0 && zmq_errno() == EINTR) {
        result = call();
    }
    return result;
}

class Context {
  public:
    Context() : handle_(zmq_ctx_new()) {
        if (handle_ == nullptr) {
            fail_zmq("no ZeroMQ context");
        }
    }
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;
    ~Context() {
        again([this] { return zmq_ctx_term(handle_); });
    }
    void* handle() const { return handle_; }

  private:
    void* handle_;
};

/// One frame that arrived.
class Message {
  public:
    Message() { zmq_msg_init(&message_); }
    Message(Message&& other) noexcept {
        zmq_msg_init(&message_);
        zmq_msg_move(&message_, &other.message_);
    }
    Message& operator=(Message&&) = delete;
    ~Message() { zmq_msg_close(&message_); }

    zmq_msg_t* handle() { return &message_; }
    wire::View view() {
        return {static_cast<const std::uint8_t*>(zmq_msg_data(&message_)),
                zmq_msg_size(&message_)};
    }
    std::string text() {
        const wire::View bytes = view();
        return {reinterpret_cast<const char*>(bytes.data), bytes.size};
    }

  private:
    zmq_msg_t message_;
};

class Socket {
  public:
    Socket(const Context& context, int type) : handle_(zmq_socket(context.handle(), type)) {
        if (handle_ == nullptr) {
            fail_zmq("no ZeroMQ socket");
        }
        set(ZMQ_LINGER, 0);
    }
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    ~Socket() { zmq_close(handle_); }

    void* handle() const { return handle_; }
    void set(int option, int value) { set(option, &value, sizeof value); }
    void set(int option, const std::string& value) { set(option, value.data(), value.size()); }
    void set_64(int option, std::int64_t value) { set(option, &value, sizeof value); }

    void connect(const std::string& endpoint) {
        if (zmq_connect(handle_, endpoint.c_str()) != 0) {
            fail_zmq("cannot connect to '" + endpoint + "'");
        }
    }

    /// Publish these events of this socket at an inproc endpoint, for a PAIR socket.
    void monitor(const std::string& endpoint, int events) {
        if (zmq_socket_monitor(handle_, endpoint.c_str(), events) != 0) {
            fail_zmq("cannot watch a socket");
        }
    }
    void end_monitor() { zmq_socket_monitor(handle_, nullptr, 0); }

    /// False if the socket cannot take the message now. The body is shared, not copied.
    bool send(const wire::Frames& frames) {
        if (again([&] {
                return zmq_send(handle_, frames.header.data(), frames.header.size(),
                                ZMQ_SNDMORE | ZMQ_DONTWAIT);
            }) < 0) {
            if (zmq_errno() == EAGAIN) {
                return false;
            }
            fail_zmq("cannot send");
        }
        zmq_msg_t body;
        share(body, frames.body);
        if (again([&] { return zmq_msg_send(&body, handle_, ZMQ_DONTWAIT); }) < 0) {
            const bool dropped = zmq_errno() == EAGAIN;  // together with its connection
            zmq_msg_close(&body);
            if (!dropped) {
                fail_zmq("cannot send a body");
            }
        }
        return true;
    }

    /// A whole message, if one is there.
    std::optional<std::vector<Message>> receive() {
        std::vector<Message> frames;
        do {
            Message frame;
            if (again([&] { return zmq_msg_recv(frame.handle(), handle_, ZMQ_DONTWAIT); }) < 0) {
                if (zmq_errno() == EAGAIN) {
                    return std::nullopt;
                }
                fail_zmq("cannot receive");
            }
            frames.push_back(std::move(frame));
        } while (zmq_msg_more(frames.back().handle()) != 0);
        return frames;
    }

  private:
    void set(int option, const void* value, std::size_t size) {
        if (zmq_setsockopt(handle_, option, value, size) != 0) {
            fail_zmq("ZeroMQ refuses option " + std::to_string(option));
        }
    }

    static void share(zmq_msg_t& message, const wire::Body& body) {
        if (body->empty()) {
            zmq_msg_init(&message);
            return;
        }
        auto* keep = new wire::Body(body);
        const auto release = [](void*, void* kept) { delete static_cast<wire::Body*>(kept); };
        void* data = const_cast<std::uint8_t*>(body->data());  // libzmq only reads what it sends
        if (zmq_msg_init_data(&message, data, body->size(), release, keep) != 0) {
            delete keep;
            fail_zmq("no memory to send");
        }
    }

    void* handle_;
};

/// A pipe: `wake` makes its `descriptor` readable, `rest` makes it wait again.
class Waker {
  public:
    Waker() {
        if (pipe2(ends_, O_CLOEXEC | O_NONBLOCK) != 0) {
            raise({FaultKind::client, "no pipe to wake the client's thread",
                   "raise the limit of open files", "internal"});
        }
    }
    Waker(const Waker&) = delete;
    Waker& operator=(const Waker&) = delete;
    ~Waker() {
        ::close(ends_[0]);
        ::close(ends_[1]);
    }
    int descriptor() const { return ends_[0]; }
    void wake() {
        // A full pipe is a wake as well.
        while (write(ends_[1], "w", 1) < 0 && errno == EINTR) {
        }
    }
    void rest() {
        char bytes[64];
        while (read(ends_[0], bytes, sizeof bytes) > 0) {
        }
    }

  private:
    int ends_[2] = {-1, -1};
};

}  // namespace eftraind::inside
