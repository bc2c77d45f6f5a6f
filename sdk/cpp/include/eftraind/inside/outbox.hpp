/// Operations from the moment they are pushed until they are durable: batches, credit, resending.
///
/// A batch keeps its sequence numbers and its body bytes for life; only `follows` in its header
/// changes when something before it was refused. Three queues hold the batches in order: unsent,
/// sent, received. Going back means moving them to the left again. No sockets, no clock.
#pragma once

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eftraind/inside/batch.hpp"
#include "eftraind/results.hpp"

namespace eftraind::inside {

constexpr double never = std::numeric_limits<double>::infinity();
/// Sequence numbers stay below, so that adding a count to one cannot wrap around.
constexpr Seq max_seq = (Seq{1} << 63) - 1;

class Outbox {
  public:
    explicit Outbox(const Settings& settings) : settings_(settings) {}

    /// Operations counted since the client was made; `pending` of them are not durable yet.
    struct Counts {
        std::uint64_t pushed = 0, sent = 0, resent = 0, received = 0, durable = 0, dropped = 0;
        std::uint64_t pending = 0, pending_bytes = 0;
    };
    const Counts& counts() const { return counts_; }
    /// The number the next operation gets.
    Seq next_seq() const { return next_seq_; }
    /// The number the next PUT must follow.
    Seq chain_end() const { return chain_end_; }
    std::uint32_t attempt() const { return attempt_; }
    /// The code of the refusal that sending waits for, or nothing.
    const std::string& waiting_for() const { return waiting_for_; }

    // Adding...

    /// Take checked operations; the first one's sequence number.
    Seq add(const Offer& offer, double now) {
        const Seq first_seq = next_seq_;
        if (offer.parts.empty()) {
            add_one(offer, now);
            return first_seq;
        }
        close_open();
        for (const Offer::Part& part : offer.parts) {
            unsent_.push_back({offer.op, next_seq_, part.count, part.body, offer.stream});
            count(part.count, unsent_.back().bytes());
        }
        return first_seq;
    }

    /// Single operations that wait for company leave now.
    void close_open() {
        if (!open_) {
            return;
        }
        Batch batch = open_->close();
        counts_.pending_bytes += batch.bytes();
        counts_.pending_bytes -= open_->bytes() - wire::header_bytes;
        open_.reset();
        unsent_.push_back(std::move(batch));
    }

    bool has_room(std::uint64_t bytes) const {
        return counts_.pending == 0 || counts_.pending_bytes + bytes <= settings_.max_pending_bytes;
    }

    /// Apply the policy. Nothing: wait for room. Otherwise what was dropped for it, if anything.
    std::optional<std::vector<Refusal>> make_room(std::uint64_t bytes) {
        std::vector<Refusal> dropped;
        while (!has_room(bytes)) {
            if (settings_.policy == Policy::block) {
                return std::nullopt;
            }
            if (settings_.policy == Policy::refuse) {
                raise({FaultKind::backpressure,
                       std::to_string(counts_.pending_bytes) + " bytes are waiting for the daemon",
                       "push less often, raise max_pending_bytes or use another policy",
                       "backpressure"});
            }
            close_open();
            if (unsent_.empty()) {
                break;  // the rest is on its way already, and the daemon's credit bounds it
            }
            auto victim = std::find_if(unsent_.begin(), unsent_.end(),
                                       [](const Batch& batch) { return batch.times_sent == 0; });
            victim = victim == unsent_.end() ? unsent_.begin() : victim;
            forget(*victim);
            counts_.dropped += victim->count;
            dropped.push_back({"dropped", "dropped to make room for newer data",
                               "policy drop_oldest", victim->first_seq, victim->count});
            unsent_.erase(victim);
        }
        return dropped;
    }

    // Sending...

    /// The next PUT that credit allows, counted as sent.
    std::optional<wire::Frames> take(double now) {
        if (now < paused_until_) {
            return std::nullopt;
        }
        if (unsent_.empty() && open_ && now >= open_->send_at()) {
            close_open();
        }
        if (unsent_.empty() || starved()) {
            return std::nullopt;
        }
        Batch batch = std::move(unsent_.front());
        unsent_.pop_front();
        spent_bytes_ += batch.bytes();
        (batch.times_sent == 0 ? counts_.sent : counts_.resent) += batch.count;
        ++batch.times_sent;
        wire::Frames frames{wire::put_header(batch.op, batch.first_seq, chain_end_, batch.count,
                                             attempt_, batch.stream),
                            batch.body};
        chain_end_ = batch.last_seq();
        sent_.push_back(std::move(batch));
        return frames;
    }

    /// When `take` may have something that it does not have now.
    double wake_at() const {
        if (!unsent_.empty()) {
            return starved() ? never : paused_until_;
        }
        return open_ ? std::max(paused_until_, open_->send_at()) : never;
    }

    // Hearing from the daemon...

    /// A new connection. False if another client has numbered operations under our name.
    bool resume(const wire::Ledger& ledger) {
        close_open();
        if (!welcomed_) {
            next_seq_ = ledger.received_seq + 1;
            welcomed_ = true;
        }
        go_back(0);
        ledger_ = ledger;
        spent_bytes_ = 0;
        chain_end_ = ledger.received_seq;
        if (ledger.received_seq >= next_seq_) {
            return false;
        }
        while (!unsent_.empty() && unsent_.front().last_seq() <= ledger.received_seq) {
            if (unsent_.front().times_sent == 0) {
                return false;
            }
            move_front(unsent_, sent_);
        }
        apply(ledger);
        return true;
    }

    /// Cumulative acknowledgement; numbers never go backwards here.
    void apply(const wire::Ledger& ledger) {
        ledger_ = {std::max(ledger.received_seq, ledger_.received_seq),
                   std::max(ledger.durable_seq, ledger_.durable_seq),
                   std::max(ledger.credit_total, ledger_.credit_total)};
        while (!sent_.empty() && sent_.front().last_seq() <= ledger_.received_seq) {
            move_front(sent_, received_);
            Batch& batch = received_.back();
            counts_.received += batch.counted ? 0 : batch.count;
            batch.counted = true;
            strikes_ = 0;
            waiting_for_.clear();
        }
        while (!received_.empty() && received_.front().last_seq() <= ledger_.durable_seq) {
            counts_.durable += received_.front().count;
            forget(received_.front());
            received_.pop_front();
        }
    }

    /// The daemon has judged everything up to last_seq; what it does not have got lost.
    void lost(Seq last_seq) {
        if (!sent_.empty() && sent_.front().last_seq() <= last_seq) {
            go_back(ledger_.received_seq);
        }
    }

    /// A refusal for now. Echoes of an earlier attempt say nothing new.
    void retry(const wire::Error& error, double now) {
        if (error.attempt != attempt_) {
            apply(error.ledger);
            return;
        }
        ledger_.received_seq = error.ledger.received_seq;
        go_back(error.ledger.received_seq);
        apply(error.ledger);
        if (error.code != "sequence" || strikes_ != 0) {
            const double delay_s = settings_.retry_min.count() * std::exp2(std::min(strikes_, 10));
            paused_until_ = now + std::min(delay_s, settings_.retry_max.count());
        }
        ++strikes_;
        waiting_for_ = error.code;
    }

    /// A refusal for good: forget that batch, resend what came after. The count it held.
    std::uint32_t refuse(Seq first_seq) {
        for (auto* queue : {&sent_, &received_, &unsent_}) {
            const auto found =
                std::find_if(queue->begin(), queue->end(), [first_seq](const Batch& batch) {
                    return batch.first_seq == first_seq;
                });
            if (found != queue->end()) {
                const std::uint32_t count = found->count;
                forget(*found);
                queue->erase(found);
                go_back(ledger_.received_seq);
                return count;
            }
        }
        return 0;
    }

    /// Forget everything: (first sequence number, count) of what was pending.
    std::pair<Seq, std::uint64_t> abandon() {
        close_open();
        std::pair<Seq, std::uint64_t> gone{0, 0};
        for (auto* queue : {&received_, &sent_, &unsent_}) {
            for (const Batch& batch : *queue) {
                gone.first = gone.second == 0 ? batch.first_seq : gone.first;
                gone.second += batch.count;
                forget(batch);
            }
            queue->clear();
        }
        return gone;
    }

    /// Nothing numbered up to `seq` is still below the level.
    bool settled(Seq seq, Level level) const {
        const auto beyond = [seq](const std::deque<Batch>& queue) {
            return queue.empty() || queue.front().first_seq > seq;
        };
        return (!open_ || open_->first_seq() > seq) && beyond(sent_) && beyond(unsent_) &&
               (level == Level::received || beyond(received_));
    }

  private:
    void add_one(const Offer& offer, double now) {
        if (!open_ || open_->op() != offer.op || open_->stream() != offer.stream) {
            close_open();
            open_.emplace(offer.op, next_seq_, now + settings_.coalesce.count(), offer.stream);
        }
        open_->add(offer);
        count(1, offer.bytes);
        const std::uint64_t limit =
            std::min({settings_.coalesce_bytes, offer.stream.max_message_bytes,
                      settings_.batch_bytes});
        if (open_->bytes() + offer.bytes > limit || open_->count() >= wire::max_count) {
            close_open();
        }
    }

    /// The next batch costs more credit than is left; only the daemon can change that.
    bool starved() const {
        return spent_bytes_ + unsent_.front().bytes() > ledger_.credit_total;
    }

    /// Everything beyond received_seq is unsent again.
    void go_back(Seq received_seq) {
        ++attempt_;
        for (auto* queue : {&sent_, &received_}) {
            while (!queue->empty() && queue->back().last_seq() > received_seq) {
                unsent_.push_front(std::move(queue->back()));
                queue->pop_back();
            }
        }
        chain_end_ = received_seq;
    }

    static void move_front(std::deque<Batch>& from, std::deque<Batch>& to) {
        to.push_back(std::move(from.front()));
        from.pop_front();
    }

    void count(std::uint32_t operations, std::uint64_t bytes) {
        next_seq_ += operations;
        counts_.pushed += operations;
        counts_.pending += operations;
        counts_.pending_bytes += bytes;
    }

    void forget(const Batch& batch) {
        counts_.pending -= batch.count;
        counts_.pending_bytes -= batch.bytes();
    }

    Settings settings_;
    bool welcomed_ = false;
    std::optional<OpenBatch> open_;
    std::deque<Batch> unsent_, sent_, received_;
    Counts counts_;
    Seq next_seq_ = 1;
    Seq chain_end_ = 0;
    std::uint32_t attempt_ = 0;
    std::uint64_t spent_bytes_ = 0;
    wire::Ledger ledger_;
    double paused_until_ = 0.0;
    int strikes_ = 0;  // retryable refusals since something was last accepted
    std::string waiting_for_;
};

}  // namespace eftraind::inside
