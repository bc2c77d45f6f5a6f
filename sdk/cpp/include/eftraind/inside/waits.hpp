/// Calls that wait: each is tried at every tick until it succeeds, fails or runs out of time.
#pragma once

#include <algorithm>
#include <functional>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "eftraind/errors.hpp"

namespace eftraind::inside {

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
        std::vector<Wait> still;
        for (Wait& wait : waits_) {
            try {
                if (wait.attempt(now)) {
                    wait.done(std::nullopt);
                } else if (now >= wait.deadline) {
                    wait.done(wait.late());
                } else {
                    still.push_back(std::move(wait));
                }
            } catch (const ClientError& error) {
                wait.done(error.fault());
            }
        }
        waits_ = std::move(still);
    }

    void fail(const Fault& fault) {
        for (const Wait& wait : std::exchange(waits_, {})) {
            wait.done(fault);
        }
    }

    double deadline() const {
        double first = std::numeric_limits<double>::infinity();
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
    std::vector<Wait> waits_;
};

}  // namespace eftraind::inside
