/// What the SDK takes and gives: settings, predictions, refusals, statistics. Data only.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "eftraind/errors.hpp"
#include "eftraind/json.hpp"
#include "eftraind/wire/messages.hpp"

namespace eftraind {

/// Every duration of the API; `500ms` of std::chrono_literals converts by itself.
using Seconds = std::chrono::duration<double>;

/// Monotonic time in seconds. Tests pass one of their own.
using Clock = std::function<double()>;

inline double steady_clock_s() {
    return Seconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// What push does while more than max_pending_bytes wait for the daemon.
enum class Policy {
    block,        ///< wait for room
    drop_oldest,  ///< the newest data counts; losses are told to on_refused
    refuse        ///< throw Backpressure at once
};

/// How far an operation has come: into the daemon's memory, or onto its disk.
enum class Level { received, durable };

/// How a client behaves. Only `producer` and `policy` matter to most users.
struct Settings {
    std::string producer;  ///< empty: a name that nobody else has
    Policy policy = Policy::block;
    std::uint64_t max_pending_bytes = 64U << 20;
    Seconds coalesce{0.002};  ///< how long a single operation waits for company
    std::uint64_t coalesce_bytes = 256U << 10;
    std::uint64_t batch_bytes = 4U << 20;
    Seconds hello_timeout{2.0};
    Seconds retry_min{0.05};
    Seconds retry_max{2.0};
};

/// Operations first_seq .. first_seq + count - 1 will never be stored, and why.
struct Refusal {
    std::string code;
    std::string message;
    std::string remedy;
    Seq first_seq = 0;
    std::uint64_t count = 0;
};

/// What the daemon does. `data` is `text`, parsed.
struct Event {
    std::string topic;
    std::string text;
    Json data;
};

/// Counts of operations (samples, late labels, withdrawals) since the client was made.
struct Stats {
    std::uint64_t pushed = 0;
    std::uint64_t sent = 0;
    std::uint64_t resent = 0;
    std::uint64_t received = 0;
    std::uint64_t durable = 0;
    std::uint64_t dropped = 0;
    std::map<std::string, std::uint64_t> refused;
    std::uint64_t pending = 0;
    std::uint64_t pending_bytes = 0;
    std::uint64_t reconnects = 0;
    bool connected = false;
    std::string waiting_for;
};

/// The answer to `infer`, all of it from one version of the weights.
struct Prediction {
    std::vector<float> logits;  ///< count rows of `classes` numbers
    std::size_t count = 0;
    std::size_t classes = 0;
    std::uint64_t version = 0;
    std::string weights_hash;  ///< 32 hex digits

    /// The most likely class of each sample.
    std::vector<std::int32_t> labels() const {
        std::vector<std::int32_t> best;
        for (const float* row = logits.data(); row != logits.data() + logits.size();
             row += classes) {
            best.push_back(static_cast<std::int32_t>(std::max_element(row, row + classes) - row));
        }
        return best;
    }

    /// The class of the only sample asked about.
    std::int32_t label() const {
        if (count != 1) {
            raise({FaultKind::client, "this prediction has " + std::to_string(count) + " samples",
                   "call labels()", "client"});
        }
        return labels()[0];
    }

    /// Softmax over the classes, laid out as the logits are.
    std::vector<float> probabilities() const {
        std::vector<float> shares(logits);
        for (float* row = shares.data(); row != shares.data() + shares.size(); row += classes) {
            const float largest = *std::max_element(row, row + classes);
            float sum = 0.0F;
            for (float* share = row; share != row + classes; ++share) {
                *share = std::exp(*share - largest);
                sum += *share;
            }
            for (float* share = row; share != row + classes; ++share) {
                *share /= sum;
            }
        }
        return shares;
    }
};

}  // namespace eftraind
