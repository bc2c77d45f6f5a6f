/// Users' callbacks: for events, with the SUB socket they need, and how any callback is run.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eftraind/inside/sockets.hpp"
#include "eftraind/options.hpp"

namespace eftraind::inside {

/// Run `action`; what it throws is logged. A user's callback must not end the thread that carries
/// their data.
template <typename Action>
void guarded(const std::function<void(const std::string&)>& log, const char* what,
             Action action) noexcept {
    try {
        try {
            action();
        } catch (const std::exception& error) {
            log(std::string(what) + " failed: " + error.what());
        }
    } catch (...) {  // no std::exception, or the log failed: nobody is left to tell
    }
}

/// Where to listen: `named`, at the daemon's own host if that is bound to all addresses.
inline std::string events_endpoint(const std::string& named, const std::string& daemon) {
    for (const std::string everywhere : {"tcp://*:", "tcp://0.0.0.0:", "tcp://[::]:"}) {
        if (named.rfind(everywhere, 0) == 0) {
            const bool remote = daemon.rfind("tcp://", 0) == 0;
            const std::string host = remote ? daemon.substr(0, daemon.rfind(':'))
                                            : std::string("tcp://127.0.0.1");
            return host + ":" + named.substr(everywhere.size());
        }
    }
    return named;
}

class Listeners {
  public:
    /// From any thread.
    void add(const std::string& topic, EventCallback callback) {
        const std::lock_guard<std::mutex> lock(mutex_);
        callbacks_.emplace_back(topic, std::make_shared<const EventCallback>(std::move(callback)));
    }

    // From the client's thread...

    /// Subscribe to what was added, or to everything again where the daemon came back with another
    /// endpoint; `prepare(socket)` sets options before a socket connects.
    template <typename Prepare>
    void update(const Context& context, const std::string& endpoint, Prepare prepare,
                const std::function<void(const std::string&)>& log) {
        std::vector<std::string> topics;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (endpoint != endpoint_) {
                endpoint_ = endpoint;
                socket_.reset();
                subscribed_ = 0;
            }
            for (; subscribed_ < callbacks_.size(); ++subscribed_) {
                topics.push_back(callbacks_[subscribed_].first);
            }
        }
        if (topics.empty() || endpoint.empty()) {
            return;
        }
        guarded(log, "listening for events", [&] {  // samples go on without
            if (!socket_) {
                socket_.emplace(context, ZMQ_SUB);
                prepare(*socket_);
                socket_->connect(endpoint);
            }
            for (const std::string& topic : topics) {
                socket_->set(ZMQ_SUBSCRIBE, topic);
            }
        });
    }

    /// What to poll, or nullptr.
    void* handle() const { return socket_ ? socket_->handle() : nullptr; }

    void hear(int most, const std::function<void(const std::string&)>& log) {
        for (int heard = 0; socket_ && heard < most; ++heard) {
            auto frames = socket_->receive();
            if (!frames) {
                return;
            }
            guarded(log, "reading an event", [&] { tell(event_of(*frames), log); });
        }
    }

    void close() { socket_.reset(); }

  private:
    static constexpr std::size_t most_event_bytes = 1U << 20;  // parsed it takes a hundredfold

    static Event event_of(std::vector<Message>& frames) {
        if (frames.size() != 2) {
            Json::fail("an event has " + std::to_string(frames.size()) + " parts");
        }
        if (frames[1].view().size > most_event_bytes) {
            Json::fail("an event has " + std::to_string(frames[1].view().size) + " bytes");
        }
        Event event{frames[0].text(), frames[1].text(), {}};
        if (!wire::is_utf8(event.topic)) {
            Json::fail("the topic of an event is not UTF-8");
        }
        event.data = Json::parse(event.text);
        return event;
    }

    void tell(const Event& event, const std::function<void(const std::string&)>& log) {
        std::vector<std::shared_ptr<const EventCallback>> wanted;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            for (const auto& [topic, callback] : callbacks_) {
                if (topic.empty() || topic == event.topic) {
                    wanted.push_back(callback);
                }
            }
        }
        for (const auto& callback : wanted) {
            guarded(log, "an event's callback", [&] { (*callback)(event); });
        }
    }

    std::mutex mutex_;
    std::vector<std::pair<std::string, std::shared_ptr<const EventCallback>>> callbacks_;
    std::size_t subscribed_ = 0;
    std::string endpoint_;
    std::optional<Socket> socket_;
};

}  // namespace eftraind::inside
