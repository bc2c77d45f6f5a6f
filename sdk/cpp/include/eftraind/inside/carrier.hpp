/// The one thread that owns a client's sockets and carries messages between them and the session.
///
/// As in Python: heartbeats and resending must not stop because a user's code is busy. It decides
/// nothing; every decision is the session's.
#pragma once

#include <atomic>
#include <cmath>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <pthread.h>

#include "eftraind/inside/connection.hpp"
#include "eftraind/inside/listeners.hpp"
#include "eftraind/inside/session.hpp"
#include "eftraind/inside/sockets.hpp"
#include "eftraind/inside/threads.hpp"
#include "eftraind/options.hpp"

namespace eftraind::inside {

class Carrier {
  public:
    Carrier(std::string endpoint, const Options& options, const std::string& instance)
        : endpoint_(std::move(endpoint)),
          options_(options),
          session_(options, instance, options_.clock()) {
        thread_ = without_signals([this] { run(); });
    }
    Carrier(const Carrier&) = delete;
    Carrier& operator=(const Carrier&) = delete;
    ~Carrier() {
        guarded(options_.log, "closing", [this] { close(); });
    }

    // For the client, from any thread...

    /// Run `method(session, now)`.
    template <typename Method>
    auto call(Method method) {
        const std::lock_guard<std::mutex> lock(mutex_);
        auto result = method(session_, options_.clock());
        if (session_.send_at() < sleeps_until_) {
            wake();
        }
        return result;
    }

    /// Start something that waits, with `method(session, deadline)`.
    template <typename Method>
    void ask(Method method, Seconds timeout) {
        not_here();
        const std::lock_guard<std::mutex> lock(mutex_);
        method(session_, options_.clock() + timeout.count());
        wake();
    }

    void subscribe(const std::string& topic, EventCallback callback) {
        const std::lock_guard<std::mutex> lock(mutex_);
        if (events_at().empty()) {
            raise({FaultKind::client, "this daemon names no endpoint for events",
                   "set Options::events when making the client", "client"});
        }
        listeners_.add(topic, std::move(callback));
        wake();
    }

    /// Idempotent; safe in any thread but the carrier's own.
    void close() {
        not_here();
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (session_.phase() != Phase::ended) {
                last_word_ = session_.end();
            }
            wake();
        }
        const std::lock_guard<std::mutex> joining(join_mutex_);
        if (thread_.joinable()) {
            thread_.join();
        }
    }

  private:
    static constexpr int messages_per_turn = 64;  // so that neither direction starves the other
    static constexpr double stalled_s = 0.05;
    static constexpr int linger_ms = 200;

    void not_here() const {
        if (std::this_thread::get_id() == thread_id_.load()) {
            raise({FaultKind::client, "a callback cannot wait for the thread that called it",
                   "hand the work to another thread; push and label are fine here", "client"});
        }
    }

    /// With the lock held.
    void wake() {
        if (!std::exchange(wake_sent_, true)) {
            waker_.wake();
        }
    }

    // The thread...

    void run() {
        thread_id_ = std::this_thread::get_id();
        pthread_setname_np(pthread_self(), "eftraind-client");
        try {
            context_.emplace();
            while (!ended()) {
                turn();
            }
        } catch (const Error& error) {
            fail(error.message(), error.remedy());
        } catch (const std::exception& error) {
            fail(error.what(), "make a new one");
        }
        tell();
        say_goodbye();
        listeners_.close();
        context_.reset();  // waits for the goodbye
        thread_id_ = std::thread::id();  // the next thread may get the same
    }

    void fail(const std::string& why, const std::string& remedy) {
        const std::lock_guard<std::mutex> lock(mutex_);
        session_.end(Fault{FaultKind::client, "the client failed: " + why, remedy, "internal"});
    }

    bool ended() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return session_.phase() == Phase::ended;
    }

    void turn() {
        bool wants = false;
        bool connected = false;
        std::string events;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            const double now = options_.clock();
            session_.tick(now);
            wants = session_.wants_connection(now);
            connected = session_.connected();
            events = events_at();
        }
        if (!connected) {
            connection_.reset();
        }
        if (wants) {
            connect();
        }
        const auto prepared = [&](Socket& socket) {
            prepare(socket, events, options_, options_.keys && events.rfind("tcp://", 0) == 0);
        };
        listeners_.update(*context_, events, prepared, options_.log);
        const bool more = send();
        poll(more);
        hear();
        tell();  // before the next tick lets a flush fail of it
    }

    void connect() {
        std::optional<Fault> trouble;
        try {
            connection_.emplace(*context_, endpoint_, options_, ++connections_);
        } catch (const ClientError& error) {
            trouble = error.fault();
        }
        const std::lock_guard<std::mutex> lock(mutex_);
        if (trouble) {
            session_.cannot_connect(*trouble, true, options_.clock());
        } else {
            session_.opened(options_.clock());
        }
    }

    void say_goodbye() {
        if (connection_ && last_word_) {
            guarded(options_.log, "goodbye", [this] {
                connection_->say_last(*last_word_, linger_ms);
            });
        }
        connection_.reset();
    }

    /// Send until the session or the socket has had enough. True: there may be more.
    bool send() {
        return connection_ && connection_->send(messages_per_turn, [this] {
            const std::lock_guard<std::mutex> lock(mutex_);
            return session_.next_message(options_.clock());
        });
    }

    /// Sleep until something happens.
    void poll(bool more) {
        std::vector<zmq_pollitem_t> items{{nullptr, waker_.descriptor(), ZMQ_POLLIN, 0}};
        if (connection_) {
            connection_->poll_items(items);
        }
        if (listeners_.handle() != nullptr) {
            items.push_back({listeners_.handle(), 0, ZMQ_POLLIN, 0});
        }
        double wait_s = 0.0;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            sleeps_until_ = session_.wake_at();
            if (!more && session_.phase() != Phase::ended) {
                wait_s = std::max(sleeps_until_ - options_.clock(), 0.0);
            }
        }
        if (connection_ && connection_->stalled()) {
            wait_s = std::max(wait_s, stalled_s);  // the socket wakes us when it can take more
        }
        // An hour at most: libzmq counts milliseconds, in 32 bits on some machines.
        const long wait_ms = static_cast<long>(std::ceil(std::min(wait_s, 3600.0) * 1000.0));
        if (zmq_poll(items.data(), static_cast<int>(items.size()), wait_ms) < 0 &&
            zmq_errno() != EINTR) {
            fail_zmq("cannot wait for messages");
        }
        const std::lock_guard<std::mutex> lock(mutex_);
        sleeps_until_ = 0.0;  // awake: nobody needs to wake us
        if (std::exchange(wake_sent_, false)) {
            waker_.rest();
        }
    }

    void hear() {
        if (connection_) {
            connection_->receive(messages_per_turn, [this](const std::vector<wire::View>& frames) {
                const std::lock_guard<std::mutex> lock(mutex_);
                session_.receive(frames, options_.clock());
            });
            if (const auto ending = connection_->ending()) {
                const std::lock_guard<std::mutex> lock(mutex_);
                lost(*ending, options_.clock());
            }
        }
        listeners_.hear(messages_per_turn, options_.log);
    }

    void lost(const Ending& ending, double now) {
        if (ending.event == ZMQ_EVENT_DISCONNECTED) {
            session_.broken(now);
        } else {
            const auto [trouble, for_good] = explain(ending, options_.keys.has_value());
            session_.cannot_connect(trouble, for_good, now);
        }
    }

    std::string events_at() const {
        const auto& welcome = session_.welcome();
        const std::string named = welcome ? welcome->events : std::string();
        return events_endpoint(options_.events.empty() ? named : options_.events, endpoint_);
    }

    void tell() {
        std::vector<Refusal> notices;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            notices = session_.take_notices();
        }
        if (options_.on_refused) {
            for (const Refusal& refusal : notices) {
                guarded(options_.log, "on_refused", [&] { options_.on_refused(refusal); });
            }
        }
    }

    const std::string endpoint_;
    const Options options_;
    std::mutex mutex_;  // guards the session and what follows, up to the waker
    std::mutex join_mutex_;
    Session session_;
    std::optional<wire::Frames> last_word_;
    double sleeps_until_ = 0.0;
    bool wake_sent_ = false;
    Waker waker_;
    // Only the thread touches these; sockets must be gone before their context.
    std::optional<Context> context_;
    Listeners listeners_;
    std::optional<Connection> connection_;
    std::uint64_t connections_ = 0;
    std::atomic<std::thread::id> thread_id_{};
    std::thread thread_;
};

}  // namespace eftraind::inside
