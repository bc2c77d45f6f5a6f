/// Calls that wait: each is tried at every tick until it succeeds, fails or runs out of time.
#pragma once

#include <algorithm>
#include <functional>
#include <limits>
#include <list>
#include <optional>
#include <utility>

#include "eftraind/errors.hpp"

namespace eftraind::inside {

constexpr double never = std::numeric_limits<double>::infinity();

/// Called exactly once, with nothing when all went well.
using Done = std::function<void(const std::optional<Fault>&)>;

class Waits {
  public:
    /// `attempt(now)` returns false to go on waiting; `late()` says who was waited for.
    void add(std::function<bool(double)> attempt, std::function<Fault()> late, double deadline,
             Done done) {
        waits_.push_back({std::move(attempt), std::move(late), deadline, std::move(done)});
    }

    void settle(double now) {
        for (auto at = waits_.begin(); at != waits_.end();) {
            std::optional<Fault> fault;
            try {
                if (!at->attempt(now)) {
                    if (now < at->deadline) {
                        ++at;
                        continue;
                    }
                    fault = at->late();
                }
            } catch (const ClientError& error) {
                fault = error.fault();
            }
            const Done done = std::move(at->done);
            at = waits_.erase(at);
            done(fault);
        }
    }

    void fail(const Fault& fault) {
        for (const Wait& wait : std::exchange(waits_, {})) {
            wait.done(fault);
        }
    }

    double deadline() const {
        double first = never;
        for (const Wait& wait : waits_) {
            first = std::min(first, wait.deadline);
        }
        return first;
    }

  private:
    struct Wait {
        std::function<bool(double)> attempt;
        std::function<Fault()> late;
        double deadline;
        Done done;
    };
    std::list<Wait> waits_;
};

}  // namespace eftraind::inside
