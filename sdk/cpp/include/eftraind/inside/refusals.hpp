/// What was refused for good: counted, told to the user once, and thrown once by a flush.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "eftraind/errors.hpp"
#include "eftraind/results.hpp"

namespace eftraind::inside {

class Refusals {
  public:
    void add(Refusal refusal) {
        counts_[refusal.code] += refusal.count;
        unreported_.push_back(refusal);
        if (unreported_.size() > most_unreported) {
            unreported_.pop_front();
        }
        notices_.push_back(std::move(refusal));
    }
    /// The policy's choice, which the user made: told, but no flush fails of it.
    void add_dropped(std::vector<Refusal> dropped) {
        for (Refusal& refusal : dropped) {
            notices_.push_back(std::move(refusal));
        }
    }

    /// Operations by the code of their refusal.
    const std::map<std::string, std::uint64_t>& counts() const { return counts_; }
    /// What the user was not told yet.
    std::vector<Refusal> take_notices() { return std::exchange(notices_, {}); }

    /// Throws Refused if something was refused since the last report.
    void report() {
        const std::deque<Refusal> refusals = std::exchange(unreported_, {});
        if (refusals.empty()) {
            return;
        }
        std::uint64_t count = 0;
        for (const Refusal& refusal : refusals) {
            count += refusal.count;
        }
        const Refusal& first = refusals.front();
        raise({FaultKind::refused,
               std::to_string(count) + " operations were refused, the first because " +
                   first.message,
               first.remedy, first.code});
    }

  private:
    static constexpr std::size_t most_unreported = 1000;

    std::map<std::string, std::uint64_t> counts_;
    std::deque<Refusal> unreported_;
    std::vector<Refusal> notices_;
};

}  // namespace eftraind::inside
