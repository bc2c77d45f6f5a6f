/// Operations from the moment they are pushed until they are durable: batches, credit, resending.
///
/// A batch keeps its sequence numbers and its body bytes for life; only `follows` in its header
/// changes when something before it was refused. No sockets, no clock.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eftraind/inside/batch.hpp"
#include "eftraind/inside/queues.hpp"
#include "eftraind/inside/waits.hpp"
#include "eftraind/results.hpp"

namespace eftraind::inside {

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
            Batch batch{offer.op, next_seq_, part.count, part.body, offer.stream};
            count(part.count, batch.bytes());
            queues_.add(std::move(batch));
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
        queues_.add(std::move(batch));
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
            const std::optional<Batch> victim = queues_.take_oldest();
            if (!victim) {
                break;  // the rest is on its way already, and the daemon's credit bounds it
            }
            forget(*victim);
            counts_.dropped += victim->count;
            dropped.push_back({"dropped", "dropped to make room for newer data",
                               "policy drop_oldest", victim->first_seq, victim->count});
        }
        return dropped;
    }

    // Sending...

    /// The next PUT that credit allows, counted as sent.
    std::optional<wire::Frames> take(double now) {
        if (now < paused_until_) {
            return std::nullopt;
        }
        if (queues_.all_sent() && open_ && now >= open_->send_at()) {
            close_open();
        }
        if (queues_.all_sent() || starved()) {
            return std::nullopt;
        }
        Batch& batch = queues_.send_next();
        spent_bytes_ += batch.bytes();
        (batch.times_sent == 0 ? counts_.sent : counts_.resent) += batch.count;
        ++batch.times_sent;
        wire::Frames frames{wire::put_header(batch.op, batch.first_seq, chain_end_, batch.count,
                                             attempt_, batch.stream),
                            batch.body};
        chain_end_ = batch.last_seq();
        return frames;
    }

    /// When `take` may have something that it does not have now.
    double wake_at() const {
        if (!queues_.all_sent()) {
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
        if (!queues_.resume(ledger.received_seq)) {
            return false;
        }
        apply(ledger);
        return true;
    }

    /// Cumulative acknowledgement; numbers never go backwards here.
    void apply(const wire::Ledger& ledger) {
        ledger_ = {std::max(ledger.received_seq, ledger_.received_seq),
                   std::max(ledger.durable_seq, ledger_.durable_seq),
                   std::max(ledger.credit_total, ledger_.credit_total)};
        while (Batch* batch = queues_.take_received(ledger_.received_seq)) {
            counts_.received += batch->counted ? 0 : batch->count;
            batch->counted = true;
            strikes_ = 0;
            waiting_for_.clear();
        }
        while (const auto batch = queues_.take_durable(ledger_.durable_seq)) {
            counts_.durable += batch->count;
            forget(*batch);
        }
    }

    /// The daemon has judged everything up to last_seq; what it does not have got lost.
    void lost(Seq last_seq) {
        if (queues_.lacks(last_seq)) {
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
        const std::optional<Batch> batch = queues_.take(first_seq);
        if (!batch) {
            return 0;
        }
        forget(*batch);
        go_back(ledger_.received_seq);
        return batch->count;
    }

    /// Forget everything: (first sequence number, count) of what was pending.
    std::pair<Seq, std::uint64_t> abandon() {
        close_open();
        counts_.pending = counts_.pending_bytes = 0;
        return queues_.clear();
    }

    /// Nothing numbered up to `seq` is still below the level.
    bool settled(Seq seq, Level level) const {
        return (!open_ || open_->first_seq() > seq) && queues_.settled(seq, level);
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
        return spent_bytes_ + queues_.next().bytes() > ledger_.credit_total;
    }

    /// Everything beyond received_seq is unsent again.
    void go_back(Seq received_seq) {
        ++attempt_;
        queues_.go_back(received_seq);
        chain_end_ = received_seq;
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
    Queues queues_;
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
