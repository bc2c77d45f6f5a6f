/// Batches in the order of their numbers: received (but not durable), sent, unsent. Going back
/// moves them to the unsent ones again. Counts nothing and decides nothing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>

#include "eftraind/inside/batch.hpp"
#include "eftraind/results.hpp"

namespace eftraind::inside {

class Queues {
  public:
    bool all_sent() const { return unsent_.empty(); }
    /// The batch that is sent next; there must be one.
    const Batch& next() const { return unsent_.front(); }
    void add(Batch batch) { unsent_.push_back(std::move(batch)); }

    /// `next` is sent now.
    Batch& send_next() { return move_front(unsent_, sent_); }

    /// The first batch sent, if the daemon has received it: it is moved on.
    Batch* take_received(Seq received_seq) {
        return ends_by(sent_, received_seq) ? &move_front(sent_, received_) : nullptr;
    }

    /// The first batch received, if it is durable: it is not kept any longer.
    std::optional<Batch> take_durable(Seq durable_seq) {
        return ends_by(received_, durable_seq) ? std::optional(erase(received_, received_.begin()))
                                               : std::nullopt;
    }

    /// The batch that begins with this number, wherever it is.
    std::optional<Batch> take(Seq first_seq) {
        for (auto* queue : {&sent_, &received_, &unsent_}) {
            const auto found =
                std::find_if(queue->begin(), queue->end(), [first_seq](const Batch& batch) {
                    return batch.first_seq == first_seq;
                });
            if (found != queue->end()) {
                return erase(*queue, found);
            }
        }
        return std::nullopt;
    }

    /// The oldest unsent batch, rather one that was never sent.
    std::optional<Batch> take_oldest() {
        if (unsent_.empty()) {
            return std::nullopt;
        }
        const auto fresh = std::find_if(unsent_.begin(), unsent_.end(),
                                        [](const Batch& batch) { return batch.times_sent == 0; });
        return erase(unsent_, fresh == unsent_.end() ? unsent_.begin() : fresh);
    }

    /// Everything beyond received_seq is unsent again.
    void go_back(Seq received_seq) {
        for (auto* queue : {&sent_, &received_}) {
            while (!queue->empty() && queue->back().last_seq() > received_seq) {
                unsent_.push_front(std::move(queue->back()));
                queue->pop_back();
            }
        }
    }

    /// What the daemon had received before this connection counts as sent. False if that is more
    /// than was ever sent.
    bool resume(Seq received_seq) {
        while (ends_by(unsent_, received_seq)) {
            if (unsent_.front().times_sent == 0) {
                return false;
            }
            move_front(unsent_, sent_);
        }
        return true;
    }

    /// Something up to last_seq is sent and not received.
    bool lacks(Seq last_seq) const { return ends_by(sent_, last_seq); }

    /// Nothing numbered up to `seq` is still below the level.
    bool settled(Seq seq, Level level) const {
        const auto beyond = [seq](const std::deque<Batch>& queue) {
            return queue.empty() || queue.front().first_seq > seq;
        };
        return beyond(sent_) && beyond(unsent_) && (level == Level::received || beyond(received_));
    }

    /// (first sequence number, count) of what was in here; nothing is any more.
    std::pair<Seq, std::uint64_t> clear() {
        std::pair<Seq, std::uint64_t> gone{0, 0};
        for (auto* queue : {&received_, &sent_, &unsent_}) {
            for (const Batch& batch : *queue) {
                gone.first = gone.second == 0 ? batch.first_seq : gone.first;
                gone.second += batch.count;
            }
            queue->clear();
        }
        return gone;
    }

  private:
    static bool ends_by(const std::deque<Batch>& queue, Seq seq) {
        return !queue.empty() && queue.front().last_seq() <= seq;
    }
    static Batch& move_front(std::deque<Batch>& from, std::deque<Batch>& to) {
        to.push_back(std::move(from.front()));
        from.pop_front();
        return to.back();
    }
    static Batch erase(std::deque<Batch>& queue, std::deque<Batch>::iterator at) {
        Batch batch = std::move(*at);
        queue.erase(at);
        return batch;
    }

    std::deque<Batch> unsent_, sent_, received_;
};

}  // namespace eftraind::inside
