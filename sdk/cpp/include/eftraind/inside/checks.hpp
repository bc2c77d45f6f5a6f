/// What users hand over, turned into offers or refused on the spot.
///
/// One bad sample would make the daemon refuse the whole batch it travels in, so the daemon's
/// checks of content are made here first, in the caller's thread, before any lock is held.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <string>
#include <utility>

#include "eftraind/errors.hpp"
#include "eftraind/inside/batch.hpp"
#include "eftraind/results.hpp"
#include "eftraind/views.hpp"

namespace eftraind::inside {

[[noreturn]] inline void refuse(std::string code, std::string message, std::string remedy) {
    raise({FaultKind::refused, std::move(message), std::move(remedy), std::move(code)});
}

inline std::string shape_text(const Shape& shape) {
    return std::to_string(shape.height) + " x " + std::to_string(shape.width) + " x " +
           std::to_string(shape.channels);
}

/// How many operations of this size fit one message.
inline std::uint32_t batch_limit(const Stream& stream, const Settings& settings,
                                 std::uint64_t operation_bytes) {
    const std::uint64_t limit = std::min(stream.max_message_bytes, settings.batch_bytes);
    const std::uint64_t room = limit > wire::header_bytes ? limit - wire::header_bytes : 0;
    const std::uint64_t fitting = std::min<std::uint64_t>(room / operation_bytes, wire::max_count);
    return static_cast<std::uint32_t>(std::max<std::uint64_t>(fitting, 1));
}

/// The number of samples, after every check of their type, size and values.
inline std::size_t checked_samples(const Samples& samples, const Stream& stream) {
    if (samples.dtype() != stream.dtype) {
        refuse("dtype", std::string("samples are ") + name_of(samples.dtype()),
               std::string("this model takes ") + name_of(stream.dtype));
    }
    if (samples.elements() == 0) {
        refuse("count", "the batch is empty", "push at least one sample");
    }
    if (samples.elements() % stream.sample_elements() != 0) {
        refuse("shape", std::to_string(samples.elements()) + " numbers are no whole samples",
               "a sample has " + shape_text(stream.shape) + " (H x W x C)");
    }
    if (samples.dtype() == Dtype::float32) {
        for (std::size_t at = 0; at < samples.elements(); ++at) {
            float value;
            std::memcpy(&value, samples.bytes() + 4 * at, 4);
            if (!std::isfinite(value)) {
                refuse("nonfinite", "a sample holds NaN or infinity",
                       "check the sensor's conversion");
            }
        }
    }
    return static_cast<std::size_t>(samples.elements() / stream.sample_elements());
}

inline void check_labels(Labels labels, std::int32_t lowest, const Stream& stream) {
    for (const std::int32_t label : labels) {
        if (label < lowest || (label >= 0 && static_cast<std::uint64_t>(label) >= stream.classes)) {
            refuse("label", "label " + std::to_string(label) + " is out of range",
                   std::to_string(lowest) + " to " + std::to_string(stream.classes - 1));
        }
    }
}

inline void check_targets(Sids sids, Seq next_seq) {
    if (sids.size() == 0) {
        refuse("target", "there are no sids", "pass what push returned");
    }
    for (const Seq sid : sids) {
        if (sid < 1 || sid >= next_seq) {
            refuse("target", "sid " + std::to_string(sid) + " was never returned by push",
                   "pass what push returned");
        }
    }
}

inline Offer offer_sample(const Stream& stream, const Samples& sample,
                          std::optional<std::int32_t> label) {
    if (checked_samples(sample, stream) != 1) {
        refuse("shape", "this is more than one sample", "call push_batch");
    }
    if (label) {
        check_labels({&*label, 1}, 0, stream);
    }
    Offer offer;
    offer.stream = stream;
    offer.label = label.value_or(wire::no_label);
    offer.sample.assign(sample.bytes(), sample.bytes() + stream.sample_bytes());
    offer.bytes = offer.sample.size() + 12;
    return offer;
}

/// Many samples, in as few messages as the limits allow.
inline Offer offer_batch(const Stream& stream, const Settings& settings, const Samples& samples,
                         Labels labels) {
    const std::size_t count = checked_samples(samples, stream);
    const std::vector<std::int32_t> none(labels.size() == 0 ? count : 0, wire::no_label);
    if (labels.size() == 0) {
        labels = none;
    }
    if (labels.size() != count) {
        refuse("label",
               std::to_string(labels.size()) + " labels for " + std::to_string(count) + " samples",
               "give one to each; -1: it comes later");
    }
    check_labels(labels, wire::no_label, stream);
    const auto sample_bytes = static_cast<std::size_t>(stream.sample_bytes());
    const std::uint32_t most = batch_limit(stream, settings, 4 + stream.sample_bytes());
    Offer offer;
    offer.stream = stream;
    offer.bytes = wire::header_bytes + count * (4 + stream.sample_bytes());
    for (std::size_t at = 0; at < count; at += most) {
        const std::size_t part = std::min<std::size_t>(most, count - at);
        offer.parts.push_back({static_cast<std::uint32_t>(part),
                               std::make_shared<const wire::Bytes>(wire::samples_body(
                                   labels.data() + at, part, samples.bytes() + at * sample_bytes,
                                   part * sample_bytes))});
    }
    return offer;
}

/// Late labels (one for each sid), or withdrawals (`labels` is empty then).
inline Offer offer_targets(const Stream& stream, const Settings& settings, Op op, Sids sids,
                           Labels labels, Seq next_seq) {
    check_targets(sids, next_seq);
    if (op == Op::labels) {
        if (labels.size() != sids.size()) {
            refuse("label",
                   std::to_string(labels.size()) + " labels for " + std::to_string(sids.size()) +
                       " sids",
                   "give one to each");
        }
        check_labels(labels, 0, stream);
    }
    Offer offer;
    offer.op = op;
    offer.stream = stream;
    if (sids.size() == 1) {
        offer.target = *sids.begin();
        offer.label = op == Op::labels ? *labels.begin() : wire::no_label;
        offer.bytes = 12;
        return offer;
    }
    const std::uint32_t most = batch_limit(stream, settings, 12);
    offer.bytes = wire::header_bytes + 12 * std::uint64_t{sids.size()};
    for (std::size_t at = 0; at < sids.size(); at += most) {
        const std::size_t part = std::min<std::size_t>(most, sids.size() - at);
        offer.parts.push_back(
            {static_cast<std::uint32_t>(part),
             std::make_shared<const wire::Bytes>(
                 op == Op::labels
                     ? wire::labels_body(sids.data() + at, labels.data() + at, part)
                     : wire::withdrawals_body(sids.data() + at, part))});
    }
    return offer;
}

/// Samples for `infer`, which travel in one message.
struct Question {
    Stream stream;
    std::uint32_t count = 0;
    wire::Body samples;
};

inline Question question(const Stream& stream, const Samples& samples) {
    const std::size_t count = checked_samples(samples, stream);
    const std::uint64_t size_bytes = count * stream.sample_bytes();
    const std::uint64_t limit = stream.max_message_bytes;
    if (limit < wire::header_bytes || size_bytes > limit - wire::header_bytes ||
        count > wire::max_count) {
        const std::uint64_t room = limit < wire::header_bytes ? 0 : limit - wire::header_bytes;
        const auto most = std::min<std::uint64_t>(room / stream.sample_bytes(), wire::max_count);
        refuse("too_large", std::to_string(count) + " samples do not fit one message",
               "ask for at most " + std::to_string(most) + " at a time");
    }
    return {stream, static_cast<std::uint32_t>(count),
            std::make_shared<const wire::Bytes>(
                samples.bytes(), samples.bytes() + static_cast<std::size_t>(size_bytes))};
}

}  // namespace eftraind::inside
