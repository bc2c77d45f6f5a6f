/// The part of the session that listens: what each message of the daemon, and time, brings about.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "eftraind/inside/session.hpp"

namespace eftraind::inside {

inline void Session::receive(const std::vector<wire::View>& frames, double now) {
    if (!connected()) {
        return;
    }
    pulse_.heard(now);
    std::optional<wire::Reply> reply;
    try {
        reply = wire::decode_reply(frames);
    } catch (const WireError&) {
        broken(now);
        return;
    }
    if (auto* welcome = std::get_if<wire::Welcome>(&*reply)) {
        welcomed(std::move(*welcome), now);
    } else if (auto* error = std::get_if<wire::Error>(&*reply)) {
        hear_error(*error, now);
    } else if (phase() != Phase::ready) {
        return;
    } else if (auto* prediction = std::get_if<wire::Prediction>(&*reply)) {
        requests_.answer(std::move(*prediction));
    } else if (std::holds_alternative<wire::Bye>(*reply)) {
        broken(now);
    } else if (auto* ack = std::get_if<wire::Ack>(&*reply)) {
        outbox_.apply(ack->ledger);
    } else if (auto* pong = std::get_if<wire::Pong>(&*reply)) {
        outbox_.apply(pong->ledger);
        if (ping_mark_ == std::pair(pong->token, outbox_.attempt())) {
            outbox_.lost(pong->token);
        }
    }
}

/// Everything that time alone brings about.
inline void Session::tick(double now) {
    if (pulse_.lost(now)) {
        broken(now);
    } else if (pulse_.ping_due(now)) {
        ping_mark_ = {outbox_.chain_end(), outbox_.attempt()};
        control_.push_back(wire::ping(outbox_.chain_end()));
        pulse_.pinged(now);
    }
    waits_.settle(now);
    requests_.expire(
        now, [this](const std::string& what) { return late(what, FaultKind::disconnected); });
}

inline void Session::welcomed(wire::Welcome&& welcome, double now) {
    if (phase() != Phase::greeting) {
        return;
    }
    if (welcome.ledger.received_seq >= max_seq) {
        broken(now);  // no daemon counts that far; our own numbers would wrap around
        return;
    }
    pulse_.welcomed(now, welcome.heartbeat_s);
    trouble_.reset();
    ++welcomes_;
    const wire::Ledger ledger = welcome.ledger;
    welcome_ = std::move(welcome);
    if (!outbox_.resume(ledger)) {
        supersede("another client has numbered operations as producer '" + welcome_->producer +
                  "'");
    }
}

inline void Session::hear_error(const wire::Error& error, double now) {
    if (error.code == "superseded") {
        supersede(error.message);
    } else if (phase() == Phase::greeting) {
        if (!error.retryable) {
            end(Fault{FaultKind::refused, error.message, error.remedy, error.code});
        } else if (error.code != "hello_required") {
            broken(now);
        }
    } else if (error.request_id != 0) {
        requests_.refused(error, now);
    } else if (error.count != 0 && error.retryable) {
        last_refusal_ = error;
        outbox_.retry(error, now);
    } else if (error.count != 0) {
        outbox_.apply(error.ledger);
        const std::uint32_t count = outbox_.refuse(error.first_seq);
        if (count != 0) {
            refusals_.add({error.code, error.message, error.remedy, error.first_seq, count});
        }
    } else {
        if (error.code == "forbidden") {  // the daemon's list of keys was changed
            trouble_ = Fault{FaultKind::refused, error.message, error.remedy, error.code};
        }
        broken(now);
    }
}

}  // namespace eftraind::inside
