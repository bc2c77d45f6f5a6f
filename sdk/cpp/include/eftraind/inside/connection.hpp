/// One connection to the daemon: its DEALER, and the monitor that tells when it broke. Never used
/// again after that: a new socket has nothing of the old one in its queues.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eftraind/inside/handshake.hpp"
#include "eftraind/inside/sockets.hpp"
#include "eftraind/options.hpp"

namespace eftraind::inside {

/// What every socket to the daemon needs before it connects.
inline void prepare(Socket& socket, const std::string& endpoint, const Options& options,
                    bool encrypted) {
    socket.set_64(ZMQ_MAXMSGSIZE, static_cast<std::int64_t>(options.max_reply_bytes));
    socket.set(ZMQ_IPV6, endpoint.find('[') != std::string::npos ? 1 : 0);
    if (encrypted) {
        socket.set(ZMQ_CURVE_SERVERKEY, options.keys->server_public);
        socket.set(ZMQ_CURVE_PUBLICKEY, options.keys->client_public);
        socket.set(ZMQ_CURVE_SECRETKEY, options.keys->client_secret);
    }
}

class Connection {
  public:
    /// `number` tells this connection's monitor from those before it.
    Connection(const Context& context, const std::string& endpoint, const Options& options,
               std::uint64_t number)
        : dealer_(context, ZMQ_DEALER), monitor_(context, ZMQ_PAIR) {
        const std::pair<int, int> values[] = {
            {ZMQ_IMMEDIATE, 1},
            {ZMQ_SNDHWM, 16},
            {ZMQ_RCVHWM, 1000},
            {ZMQ_RECONNECT_IVL, 100},
            {ZMQ_RECONNECT_IVL_MAX, 1000},
            {ZMQ_HEARTBEAT_IVL, 1000},
            {ZMQ_HEARTBEAT_TIMEOUT, 3000},
            {ZMQ_HEARTBEAT_TTL, 3000},
        };
        for (const auto& [option, value] : values) {
            dealer_.set(option, value);
        }
        prepare(dealer_, endpoint, options, options.keys.has_value());
        const std::string watch = "inproc://monitor-" + std::to_string(number);
        dealer_.monitor(watch, Ending::events);
        monitor_.connect(watch);
        dealer_.connect(endpoint);
    }
    ~Connection() { dealer_.end_monitor(); }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    void poll_items(std::vector<zmq_pollitem_t>& items) const {
        const int events = ZMQ_POLLIN | (stalled_ ? ZMQ_POLLOUT : 0);
        items.push_back({dealer_.handle(), 0, static_cast<short>(events), 0});
        items.push_back({monitor_.handle(), 0, ZMQ_POLLIN, 0});
    }

    /// A message waits until the socket can take it.
    bool stalled() const { return stalled_.has_value(); }

    /// Send what `next()` gives, `most` messages at most. True: there may be more.
    template <typename Next>
    bool send(int most, Next next) {
        for (int sent = 0; sent < most; ++sent) {
            if (!stalled_) {
                stalled_ = next();
            }
            if (!stalled_ || !dealer_.send(*stalled_)) {
                return false;
            }
            stalled_.reset();
        }
        return true;
    }

    /// Send if that is possible now, and give it `linger_ms` to leave before the socket is gone.
    void say_last(const wire::Frames& word, int linger_ms) {
        if (!stalled_ && dealer_.send(word)) {
            dealer_.set(ZMQ_LINGER, linger_ms);
        }
    }

    /// Hand what arrived to `heard(frames)`, `most` messages at most.
    template <typename Heard>
    void receive(int most, Heard heard) {
        for (int received = 0; received < most; ++received) {
            auto frames = dealer_.receive();
            if (!frames) {
                return;
            }
            std::vector<wire::View> views;
            for (Message& frame : *frames) {
                views.push_back(frame.view());
            }
            heard(views);
        }
    }

    /// How it ended, if it did.
    std::optional<Ending> ending() {
        auto frames = monitor_.receive();
        return frames ? std::optional(Ending::of(frames->front().view())) : std::nullopt;
    }

  private:
    Socket dealer_;
    Socket monitor_;
    std::optional<wire::Frames> stalled_;
};

}  // namespace eftraind::inside
