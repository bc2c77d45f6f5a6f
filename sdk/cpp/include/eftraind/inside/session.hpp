/// Everything a client knows and decides, without sockets, threads or a clock of its own.
///
/// A carrier feeds it what arrives (`receive`), what time it is (`tick`) and what the network does
/// (`opened`, `broken`), and sends what `next_message` gives. Users' calls land here too; those
/// that wait take a `done` that is called exactly once. Not thread-safe: the carrier locks.
#pragma once

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eftraind/errors.hpp"
#include "eftraind/inside/checks.hpp"
#include "eftraind/inside/outbox.hpp"
#include "eftraind/inside/pulse.hpp"
#include "eftraind/inside/refusals.hpp"
#include "eftraind/inside/requests.hpp"
#include "eftraind/inside/waits.hpp"
#include "eftraind/results.hpp"
#include "eftraind/wire/decode.hpp"

namespace eftraind::inside {

class Session {
  public:
    /// `instance` tells this client from another one of the same producer name.
    Session(const Settings& settings, std::string instance, double now)
        : settings_(settings),
          instance_(std::move(instance)),
          outbox_(settings),
          pulse_(settings, now) {}

    Phase phase() const { return pulse_.phase(); }
    bool connected() const { return pulse_.connected(); }
    const std::optional<wire::Welcome>& welcome() const { return welcome_; }
    /// What was refused or dropped since the last call.
    std::vector<Refusal> take_notices() { return refusals_.take_notices(); }

    // What users ask for...

    const Stream& usable_stream() const {
        if (failure_) {
            raise(*failure_);
        }
        if (!welcome_) {
            raise({FaultKind::disconnected, "no daemon has answered yet", "wait for the connection",
                   "disconnected"});
        }
        return welcome_->stream;
    }

    Seq next_seq() const { return outbox_.next_seq(); }

    /// Take it; the first sequence number, or nothing: the policy is to wait for room.
    std::optional<Seq> offer(const Offer& offer, double now) {
        usable_stream();
        auto dropped = outbox_.make_room(offer.bytes);
        if (!dropped) {
            return std::nullopt;
        }
        refusals_.add_dropped(std::move(*dropped));
        return outbox_.add(offer, now);
    }

    /// Take it when there is room to spare: waking somebody for each gap costs too much.
    void when_taken(std::shared_ptr<const Offer> waiting, std::shared_ptr<Seq> first_seq,
                    double deadline, Done done) {
        const std::uint64_t needed_bytes = waiting->bytes + settings_.max_pending_bytes / 8;
        wait(
            [this, waiting, first_seq, needed_bytes](double now) {
                const auto taken =
                    outbox_.has_room(needed_bytes) ? offer(*waiting, now) : std::nullopt;
                *first_seq = taken.value_or(0);
                return taken.has_value();
            },
            [this] {
                return late(std::to_string(outbox_.counts().pending_bytes) +
                                " bytes wait for the daemon",
                            FaultKind::backpressure);
            },
            deadline, std::move(done));
    }

    void infer(Question question, double deadline, Answered done) {
        if (failure_) {
            done({}, failure_);
        } else {
            requests_.add(std::move(question), deadline, std::move(done));
        }
    }

    /// `done` when everything pushed so far has reached the level or was refused.
    void flush(Level level, double deadline, Done done) {
        usable_stream();
        outbox_.close_open();
        const Seq seq = outbox_.next_seq() - 1;
        wait(
            [this, seq, level](double) {
                const bool settled = outbox_.settled(seq, level);
                if (settled) {
                    refusals_.report();
                }
                return settled;
            },
            [this, level] {
                return late(std::to_string(outbox_.counts().pending) + " operations are not " +
                                (level == Level::durable ? "durable" : "received"),
                            FaultKind::disconnected);
            },
            deadline, std::move(done));
    }

    /// Throws what no flush has told of a client that failed; who closes one knows.
    void report() {
        if (failure_ && failure_->kind != FaultKind::closed) {
            refusals_.report();
        }
    }

    /// `done` after the first WELCOME.
    void when_ready(double deadline, Done done) {
        wait([this](double) { return welcome_.has_value(); },
             [this] {
                 return trouble_.value_or(Fault{FaultKind::disconnected,
                                                "the daemon did not answer",
                                                "is eftraind running there?", "disconnected"});
             },
             deadline, std::move(done));
    }

    Stats stats() const {
        const Outbox::Counts& box = outbox_.counts();
        Stats stats;
        stats.pushed = box.pushed;
        stats.sent = box.sent;
        stats.resent = box.resent;
        stats.received = box.received;
        stats.durable = box.durable;
        stats.dropped = box.dropped;
        stats.refused = refusals_.counts();
        stats.pending = box.pending;
        stats.pending_bytes = box.pending_bytes;
        stats.reconnects = welcomes_ == 0 ? 0 : welcomes_ - 1;
        stats.connected = phase() == Phase::ready;
        stats.waiting_for = box.pending != 0 ? outbox_.waiting_for() : std::string();
        return stats;
    }

    /// No more work: everything waiting fails. What to send as a last word, if anything.
    std::optional<wire::Frames> end(const std::optional<Fault>& failure = std::nullopt) {
        const bool goodbye = phase() == Phase::ready && !failure;
        pulse_.ended();
        failure_ = failure.value_or(
            Fault{FaultKind::closed, "the client was closed", "make a new one", "closed"});
        const auto gone = outbox_.abandon();
        if (gone.second != 0) {
            refusals_.add(
                {failure_->code, failure_->message, failure_->remedy, gone.first, gone.second});
        }
        waits_.fail(*failure_);
        requests_.fail(*failure_);
        return goodbye ? std::optional<wire::Frames>(wire::bye()) : std::nullopt;
    }

    // What the carrier reports...

    bool wants_connection(double now) const { return pulse_.wants_connection(now); }

    /// A new socket was made (libzmq connects it when it can).
    void opened(double now) {
        if (phase() == Phase::ended) {
            return;  // by another thread, since this one was wanted
        }
        pulse_.opened(now);
        control_.assign({wire::hello(settings_.producer, "eftraind for C++", instance_)});
    }

    /// The socket is to be thrown away; everything unanswered will be sent again.
    void broken(double now) {
        if (phase() == Phase::ended) {
            return;
        }
        pulse_.broken(now);
        control_.clear();
        requests_.resend_all();
    }

    /// Keys did not fit, or no socket could be made. A client that was welcome before goes on
    /// trying: the daemon's list may be mended, and samples wait here.
    void cannot_connect(const Fault& trouble, bool for_good, double now) {
        trouble_ = trouble;
        if (for_good && !welcome_) {
            end(trouble);
        } else {
            broken(now);
        }
    }

    void receive(const std::vector<wire::View>& frames, double now);
    void tick(double now);

    /// What to send now; the caller has to send it or report `broken`.
    std::optional<wire::Frames> next_message(double now) {
        std::optional<wire::Frames> message;
        if (connected() && !control_.empty()) {
            message = std::move(control_.front());
            control_.pop_front();
        } else if (phase() == Phase::ready) {
            message = requests_.take(now);
            message = message ? std::move(message) : outbox_.take(now);
        }
        if (message) {
            pulse_.spoke(now);
        }
        return message;
    }

    /// When the outbox has something to send; the part of `wake_at` that a push changes.
    double send_at() const { return phase() == Phase::ready ? outbox_.wake_at() : never; }

    /// When `tick` or `next_message` should be called again if nothing happens.
    double wake_at() const {
        const double asked_for = phase() == Phase::ready ? requests_.wake_at() : never;
        return std::min({pulse_.wake_at(), waits_.deadline(), requests_.deadline(), send_at(),
                         asked_for});
    }

  private:
    void welcomed(wire::Welcome&& welcome, double now);
    void hear_error(const wire::Error& error, double now);

    void supersede(std::string message) {
        end(Fault{FaultKind::refused, std::move(message), "give each client its own producer name",
                  "superseded"});
    }

    void wait(std::function<bool(double)> attempt, std::function<Fault()> late_fault,
              double deadline, Done done) {
        if (failure_) {
            done(failure_);
        } else {
            waits_.add(std::move(attempt), std::move(late_fault), deadline, std::move(done));
        }
    }

    /// Why something took too long: no connection, or a daemon that cannot take more.
    Fault late(const std::string& what, FaultKind slow) const {
        if (phase() != Phase::ready) {
            if (trouble_) {
                return {FaultKind::disconnected, what + ": " + trouble_->message, trouble_->remedy,
                        trouble_->code};
            }
            return {FaultKind::disconnected, what + ": no connection", "is eftraind running there?",
                    "disconnected"};
        }
        if (!outbox_.waiting_for().empty() && last_refusal_) {
            return {FaultKind::backpressure, what + ": " + last_refusal_->message,
                    last_refusal_->remedy, last_refusal_->code};
        }
        return {slow, what + ": no answer in time", "allow more time", "deadline"};
    }

    Settings settings_;
    std::string instance_;
    Outbox outbox_;
    Requests requests_;
    Waits waits_;
    Refusals refusals_;
    Pulse pulse_;
    std::deque<wire::Frames> control_;
    std::pair<Seq, std::uint32_t> ping_mark_{0, 0};  // (last number sent, attempt) of the PING
    std::uint64_t welcomes_ = 0;
    std::optional<wire::Error> last_refusal_;
    std::optional<wire::Welcome> welcome_;
    std::optional<Fault> trouble_;  // why there is no connection, where that is known
    std::optional<Fault> failure_;
};

}  // namespace eftraind::inside

#include "eftraind/inside/hearing.hpp"
