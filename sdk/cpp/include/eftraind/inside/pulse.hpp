/// How alive the connection is: its phase, and when it is to be opened, pinged or given up.
///
/// It is told what happens and what time it is. No sockets, no clock, no messages.
#pragma once

#include <algorithm>
#include <cmath>

#include "eftraind/inside/waits.hpp"
#include "eftraind/results.hpp"

namespace eftraind::inside {

enum class Phase { idle, greeting, ready, ended };

class Pulse {
  public:
    Pulse(const Settings& settings, double now)
        : hello_timeout_s_(settings.hello_timeout.count()),
          retry_min_s_(settings.retry_min.count()),
          retry_max_s_(settings.retry_max.count()),
          open_at_(now) {}

    Phase phase() const { return phase_; }
    bool connected() const { return phase_ == Phase::greeting || phase_ == Phase::ready; }

    // What happened...

    void opened(double now) {
        phase_ = Phase::greeting;
        greet_by_ = now + hello_timeout_s_;
    }
    void welcomed(double now, double heartbeat_s) {
        phase_ = Phase::ready;
        ready_since_ = pinged_at_ = now;
        heartbeat_s_ = std::min(std::max(heartbeat_s, 0.01), 60.0);
    }
    void heard(double now) { heard_at_ = now; }
    void spoke(double now) { spoke_at_ = now; }
    void pinged(double now) { pinged_at_ = now; }
    /// A connection that never lasted a second is opened again later and later.
    void broken(double now) {
        const bool lasted = phase_ == Phase::ready && now - ready_since_ >= 1.0;
        failures_ = lasted ? 0 : failures_ + 1;
        const double delay_s = retry_min_s_ * std::exp2(std::min(failures_ - 1, 10));
        open_at_ = now + (lasted ? 0.0 : std::min(delay_s, retry_max_s_));
        phase_ = Phase::idle;
    }
    void ended() { phase_ = Phase::ended; }

    // What is due...

    bool wants_connection(double now) const { return phase_ == Phase::idle && now >= open_at_; }
    bool ping_due(double now) const { return phase_ == Phase::ready && now >= ping_at(); }
    /// Silence that only a new connection can end.
    bool lost(double now) const { return connected() && now >= lost_at(); }
    double wake_at() const {
        switch (phase_) {
            case Phase::idle: return open_at_;
            case Phase::greeting: return lost_at();
            case Phase::ready: return std::min(lost_at(), ping_at());
            case Phase::ended: break;
        }
        return never;
    }

  private:
    double lost_at() const {
        return phase_ == Phase::greeting ? greet_by_ : heard_at_ + 3 * heartbeat_s_;
    }
    double ping_at() const {
        return std::max(pinged_at_, std::min(heard_at_, spoke_at_)) + heartbeat_s_;
    }

    double hello_timeout_s_, retry_min_s_, retry_max_s_;
    Phase phase_ = Phase::idle;
    double open_at_;
    double greet_by_ = 0.0, ready_since_ = 0.0, heard_at_ = 0.0, spoke_at_ = 0.0, pinged_at_ = 0.0;
    double heartbeat_s_ = 1.0;
    int failures_ = 0;
};

}  // namespace eftraind::inside
