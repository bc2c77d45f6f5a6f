/// Inference requests: sent before any sample, again after a reconnect, until their deadline.
///
/// A prediction changes nothing in the daemon, so asking twice is harmless. No sockets, no clock.
#pragma once

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eftraind/inside/checks.hpp"
#include "eftraind/inside/outbox.hpp"
#include "eftraind/results.hpp"

namespace eftraind::inside {

/// Called exactly once: with the answer, or with what went wrong.
using Answered = std::function<void(Prediction, const std::optional<Fault>&)>;

class Requests {
  public:
    void add(Question question, double deadline, Answered done) {
        const std::uint64_t number = next_number_++;
        Request request;
        request.question = std::move(question);
        request.deadline = deadline;
        request.done = std::move(done);
        open_.emplace(number, std::move(request));
        unsent_.push_back(number);
    }

    std::optional<wire::Frames> take(double now) {
        const auto ready = std::find_if(unsent_.begin(), unsent_.end(), [&](std::uint64_t number) {
            return open_.at(number).retry_at <= now;
        });
        if (ready == unsent_.end()) {
            return std::nullopt;
        }
        const std::uint64_t number = *ready;
        unsent_.erase(ready);
        const Request& request = open_.at(number);
        const double left_ms = std::min((request.deadline - now) * 1000.0, 4294967295.0);
        return wire::infer(number, static_cast<std::uint32_t>(std::max(left_ms, 1.0)),
                           request.question.count, request.question.stream,
                           request.question.samples);
    }

    void answer(wire::Prediction message) {
        const auto found = open_.find(message.request_id);
        if (found == open_.end() || message.count != found->second.question.count) {
            return;  // too late: its caller has been told
        }
        Prediction prediction;
        prediction.logits = std::move(message.logits);
        prediction.count = message.count;
        prediction.classes = message.classes;
        prediction.version = message.version;
        for (const std::uint8_t byte : message.weights_hash) {
            constexpr char digits[] = "0123456789abcdef";
            prediction.weights_hash += {digits[byte >> 4], digits[byte & 0xF]};
        }
        close(found)(std::move(prediction), std::nullopt);
    }

    void refused(const wire::Error& error, double now) {
        const auto found = open_.find(error.request_id);
        if (found == open_.end()) {
            return;
        }
        if (!error.retryable) {
            close(found)({}, Fault{FaultKind::refused, error.message, error.remedy, error.code});
            return;
        }
        Request& request = found->second;
        request.retry_at = now + std::min(0.01 * std::exp2(std::min(request.strikes, 10)), 0.5);
        ++request.strikes;
        request.refusal = error;
        if (std::find(unsent_.begin(), unsent_.end(), found->first) == unsent_.end()) {
            unsent_.push_back(found->first);
        }
    }

    /// After a broken connection nobody will answer what was sent on it.
    void resend_all() {
        unsent_.clear();
        for (const auto& numbered : open_) {
            unsent_.push_back(numbered.first);
        }
    }

    void expire(double now, const std::function<Fault(const std::string&)>& late) {
        for (auto at = open_.begin(); at != open_.end();) {
            const auto request = at++;
            if (now < request->second.deadline) {
                continue;
            }
            const std::optional<wire::Error> refusal = request->second.refusal;
            close(request)({}, refusal ? Fault{FaultKind::disconnected,
                                               "no prediction came in time: " + refusal->message,
                                               refusal->remedy, refusal->code}
                                       : late("no prediction came"));
        }
    }

    void fail(const Fault& fault) {
        while (!open_.empty()) {
            close(open_.begin())({}, fault);
        }
    }

    double deadline() const {
        double first = never;
        for (const auto& numbered : open_) {
            first = std::min(first, numbered.second.deadline);
        }
        return first;
    }

    double wake_at() const {
        double first = never;
        for (const std::uint64_t number : unsent_) {
            first = std::min(first, open_.at(number).retry_at);
        }
        return first;
    }

  private:
    struct Request {
        Question question;
        double deadline = 0.0;
        Answered done;
        double retry_at = 0.0;
        int strikes = 0;
        std::optional<wire::Error> refusal;
    };
    using Open = std::map<std::uint64_t, Request>;

    /// Forget the request; whom to tell.
    Answered close(Open::iterator request) {
        unsent_.erase(std::remove(unsent_.begin(), unsent_.end(), request->first), unsent_.end());
        Answered done = std::move(request->second.done);
        open_.erase(request);
        return done;
    }

    Open open_;
    std::deque<std::uint64_t> unsent_;
    std::uint64_t next_number_ = 1;
};

}  // namespace eftraind::inside
