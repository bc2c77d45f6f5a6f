/// One batch of operations: its sequence numbers and its body bytes, which never change.
///
/// A batch is the unit of sending, refusing and resending, because the daemon journals it as one
/// record. An Offer is checked but not yet taken; OpenBatch is where single operations wait a
/// moment for company.
#pragma once

#include <utility>
#include <vector>

#include "eftraind/wire/encode.hpp"

namespace eftraind::inside {

using wire::Op;

struct Batch {
    Op op = Op::samples;
    Seq first_seq = 0;
    std::uint32_t count = 0;
    wire::Body body;
    Stream stream;
    std::uint64_t times_sent = 0;
    bool counted = false;

    Seq last_seq() const { return first_seq + count - 1; }
    /// What the message costs in credit.
    std::uint64_t bytes() const { return wire::header_bytes + body->size(); }
};

/// Operations on their way into the outbox: one (`parts` is empty), or whole bodies.
struct Offer {
    struct Part {
        std::uint32_t count = 0;
        wire::Body body;
    };

    Op op = Op::samples;
    Stream stream;
    std::uint64_t bytes = 0;
    Seq target = 0;
    std::int32_t label = wire::no_label;
    wire::Bytes sample;
    std::vector<Part> parts;
};

class OpenBatch {
  public:
    OpenBatch(Op op, Seq first_seq, double send_at, const Stream& stream)
        : op_(op), first_seq_(first_seq), send_at_(send_at), stream_(stream) {}

    Op op() const { return op_; }
    Seq first_seq() const { return first_seq_; }
    double send_at() const { return send_at_; }
    const Stream& stream() const { return stream_; }
    std::uint32_t count() const { return count_; }
    /// An upper bound of what the message will have.
    std::uint64_t bytes() const { return bytes_; }

    void add(const Offer& offer) {
        if (op_ == Op::samples) {
            wire::append(samples_, offer.sample.data(), offer.sample.size());
        } else {
            targets_.push_back(offer.target);
        }
        if (op_ != Op::withdrawals) {
            labels_.push_back(offer.label);
        }
        ++count_;
        bytes_ += offer.bytes;
    }

    Batch close() const {
        return {op_, first_seq_, count_, std::make_shared<const wire::Bytes>(body()), stream_};
    }

  private:
    wire::Bytes body() const {
        switch (op_) {
            case Op::samples:
                return wire::samples_body(labels_.data(), count_, samples_.data(), samples_.size());
            case Op::labels: return wire::labels_body(targets_.data(), labels_.data(), count_);
            case Op::withdrawals: break;
        }
        return wire::withdrawals_body(targets_.data(), count_);
    }

    Op op_;
    Seq first_seq_;
    double send_at_;
    Stream stream_;
    std::uint32_t count_ = 0;
    std::uint64_t bytes_ = wire::header_bytes;
    std::vector<std::int32_t> labels_;
    std::vector<Seq> targets_;
    wire::Bytes samples_;
};

}  // namespace eftraind::inside
