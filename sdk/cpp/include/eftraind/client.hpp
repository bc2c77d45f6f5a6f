/// Client: sends labelled samples to a daemon and asks it for predictions. Every decision is the
/// session's, all socket work the carrier's.
#pragma once

#include <chrono>
#include <cstdlib>
#include <exception>
#include <future>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "eftraind/errors.hpp"
#include "eftraind/inside/carrier.hpp"
#include "eftraind/inside/checks.hpp"
#include "eftraind/options.hpp"
#include "eftraind/results.hpp"
#include "eftraind/views.hpp"

namespace eftraind {

/// Safe to share by threads: every call locks. One thread of its own carries the messages.
///
/// Calls throw the errors of errors.hpp; the destructor throws nothing.
class Client {
  public:
    /// Connects; Disconnected if no daemon answers within Options::connect_timeout.
    explicit Client(const std::string& endpoint, Options options = {})
        : options_(checked(std::move(options), endpoint)),
          carrier_(std::make_unique<inside::Carrier>(endpoint, options_, random_hex())),
          exceptions_(std::uncaught_exceptions()) {
        wait(options_.connect_timeout, [](Session& session, double deadline, inside::Done done) {
            session.when_ready(deadline, std::move(done));
        });
    }
    /// A named producer: numbering continues after a restart of this program.
    Client(const std::string& endpoint, const std::string& producer)
        : Client(endpoint, named(producer)) {}
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    /// Closes, after waiting for durability (Options::close_timeout; not during an exception). What
    /// could not be stored is told to on_refused and the log: call close() to have it thrown.
    /// Never destroy a client in one of its own callbacks.
    ~Client() {
        const bool unwinding = std::uncaught_exceptions() > exceptions_;
        inside::guarded(options_.log, "closing", [&] {
            close(unwinding ? Seconds(0.0) : options_.close_timeout);
        });
    }

    /// Send one sample; returns its sid, for `label` and `withdraw`. No label: it comes later.
    ///
    /// Returning means taken over, not stored: `flush` and `on_refused` tell about that.
    Seq push(const Samples& sample, std::optional<std::int32_t> label = std::nullopt) {
        return put(inside::offer_sample(stream(), sample, label));
    }

    /// Send many samples in one message (or as few as fit); their sids.
    SidRange push_batch(const Samples& samples, Labels labels = {}) {
        inside::Offer offer = inside::offer_batch(stream(), options_, samples, labels);
        SidRange sids;
        for (const inside::Offer::Part& part : offer.parts) {
            sids.count += part.count;
        }
        sids.first = put(std::move(offer));
        return sids;
    }

    /// Tell the label of a sample pushed before.
    void label(Seq sid, std::int32_t label) { this->label({&sid, 1}, {&label, 1}); }
    /// Tell the labels of many.
    void label(Sids sids, Labels labels) { target(wire::Op::labels, sids, labels); }

    /// Take back the label of a sample: it will no longer be trained on.
    void withdraw(Seq sid) { withdraw(Sids(&sid, 1)); }
    void withdraw(Sids sids) { target(wire::Op::withdrawals, sids, {}); }

    /// Predictions for one sample or a batch, or Disconnected after `timeout`.
    Prediction infer(const Samples& samples, Seconds timeout = std::chrono::seconds(1)) {
        const auto question =
            std::make_shared<inside::Question>(inside::question(stream(), samples));
        const auto answer = std::make_shared<Prediction>();
        wait(timeout, [=](Session& session, double deadline, inside::Done done) {
            session.infer(*question, deadline,
                          [=](Prediction prediction, const std::optional<Fault>& fault) {
                              *answer = std::move(prediction);
                              done(fault);
                          });
        });
        return std::move(*answer);
    }

    /// Wait until everything pushed so far is stored; throws Refused if something never is.
    void flush(Level level = Level::durable, Seconds timeout = std::chrono::seconds(10)) {
        wait(timeout, [level](Session& session, double deadline, inside::Done done) {
            session.flush(level, deadline, std::move(done));
        });
    }

    /// Call `callback` for each event of the daemon with this topic; "" means all.
    void on_event(const std::string& topic, EventCallback callback) {
        carrier_->subscribe(topic, std::move(callback));
    }

    Stats stats() const {
        return carrier_->call([](Session& session, double) { return session.stats(); });
    }

    /// Wait for durability, say goodbye and free everything. Idempotent.
    ///
    /// Throws what `flush` throws if something could not be stored; all is freed even then.
    void close(Seconds flush_timeout = std::chrono::seconds(5)) {
        std::exception_ptr failure;
        if (flush_timeout.count() > 0) {
            try {
                const bool ended = carrier_->call([](Session& session, double) {
                    session.report();
                    return session.phase() == inside::Phase::ended;
                });
                if (!ended) {
                    flush(Level::durable, flush_timeout);
                }
            } catch (...) {
                failure = std::current_exception();
            }
        }
        carrier_->close();
        if (failure) {
            std::rethrow_exception(failure);
        }
    }

  private:
    using Session = inside::Session;

    static Options named(const std::string& producer) {
        Options options;
        options.producer = producer;
        return options;
    }

    /// 16 hex digits that nobody else has.
    static std::string random_hex() {
        std::random_device random;
        constexpr char digits[] = "0123456789abcdef";
        std::string text;
        for (int digit = 0; digit < 16; ++digit) {
            text += digits[random() & 0xF];
        }
        return text;
    }

    static Options checked(Options options, const std::string& endpoint) {
        if (options.producer.empty()) {
            options.producer = "anon-" + random_hex();
        }
        constexpr const char* letters =
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
        if (options.producer.size() > 64 ||
            options.producer.find_first_not_of(letters) != std::string::npos) {
            raise({FaultKind::client, "this is no producer name", "1 to 64 of A-Z a-z 0-9 . _ -",
                   "client"});
        }
        const char* file = std::getenv("EFTRAIND_KEYS");
        const bool network = endpoint.rfind("tcp://", 0) == 0;
        if (!options.keys && network && file != nullptr && *file != '\0') {
            options.keys = read_keys(file);
        }
        if (options.keys) {
            inside::check_keys(*options.keys);
            if (zmq_has("curve") == 0) {
                inside::refuse_keys("this libzmq was built without CURVE",
                                    "use one with libsodium, as Debian's has");
            }
        }
        return options;
    }

    Stream stream() const {
        return carrier_->call([](Session& session, double) { return session.usable_stream(); });
    }

    void target(wire::Op op, Sids sids, Labels labels) {
        const Stream now = stream();
        const Seq next_seq =
            carrier_->call([](Session& session, double) { return session.next_seq(); });
        put(inside::offer_targets(now, options_, op, sids, labels, next_seq));
    }

    Seq put(inside::Offer given) {
        const auto offer = std::make_shared<const inside::Offer>(std::move(given));
        const std::optional<Seq> taken = carrier_->call(
            [&](Session& session, double now) { return session.offer(*offer, now); });
        if (taken) {
            return *taken;
        }
        const auto first_seq = std::make_shared<Seq>(0);
        wait(options_.push_timeout, [=](Session& session, double deadline, inside::Done done) {
            session.when_taken(offer, first_seq, deadline, std::move(done));
        });
        return *first_seq;
    }

    /// Start something that waits, wait for it, throw what went wrong. The session keeps the time.
    template <typename Start>
    void wait(Seconds timeout, Start start) {
        const auto finished = std::make_shared<std::promise<std::optional<Fault>>>();
        carrier_->ask(
            [&](Session& session, double deadline) {
                start(session, deadline, [finished](const std::optional<Fault>& fault) {
                    finished->set_value(fault);
                });
            },
            timeout);
        const std::optional<Fault> fault = finished->get_future().get();
        if (fault) {
            raise(*fault);
        }
    }

    const Options options_;
    std::unique_ptr<inside::Carrier> carrier_;
    const int exceptions_;
};

}  // namespace eftraind
