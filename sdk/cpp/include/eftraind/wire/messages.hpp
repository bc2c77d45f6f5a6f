/// The words of protocol EFT/1 (docs/protocol.md) as plain structs. Bytes: encode.hpp, decode.hpp.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "bodies are copied as they lie in memory: this SDK is for little-endian machines"
#endif

namespace eftraind {

/// A sequence number; that of a sample is also its sid.
using Seq = std::uint64_t;

enum class Dtype : std::uint8_t { uint8 = 1, float32 = 2 };

inline const char* name_of(Dtype dtype) { return dtype == Dtype::uint8 ? "uint8" : "float32"; }

/// Rows, columns and channels of a sample.
struct Shape {
    std::uint16_t height = 0;
    std::uint16_t width = 0;
    std::uint16_t channels = 0;
};

/// What the daemon takes.
struct Stream {
    Shape shape;
    Dtype dtype = Dtype::uint8;
    std::uint64_t classes = 0;
    std::uint64_t max_message_bytes = 0;

    /// In 64 bits on every machine: a hostile shape must not wrap around.
    std::uint64_t sample_elements() const {
        return std::uint64_t{shape.height} * shape.width * shape.channels;
    }
    std::uint64_t sample_bytes() const {
        return sample_elements() * (dtype == Dtype::uint8 ? 1U : 4U);
    }
    bool operator!=(const Stream& other) const {
        return shape.height != other.shape.height || shape.width != other.shape.width ||
               shape.channels != other.shape.channels || dtype != other.dtype ||
               classes != other.classes || max_message_bytes != other.max_message_bytes;
    }
};

namespace wire {

constexpr std::size_t header_bytes = 64;
constexpr std::uint8_t version = 1;
constexpr std::uint32_t max_count = 65'536;
constexpr std::size_t max_json_bytes = 16'384;
constexpr std::int32_t no_label = -1;

enum class Kind : std::uint8_t {
    hello = 1,
    welcome = 2,
    put = 3,
    ack = 4,
    error = 5,
    infer = 6,
    prediction = 7,
    ping = 8,
    pong = 9,
    bye = 10
};

enum class Op : std::uint8_t { samples = 1, labels = 2, withdrawals = 3 };

using Bytes = std::vector<std::uint8_t>;
using Header = std::array<std::uint8_t, header_bytes>;
/// Shared with libzmq while it sends, so that resending copies nothing.
using Body = std::shared_ptr<const Bytes>;

struct Frames {
    Header header{};
    Body body = std::make_shared<const Bytes>();
};

/// Borrowed bytes of a frame that arrived.
struct View {
    const std::uint8_t* data = nullptr;
    std::size_t size = 0;
};

/// The daemon's cumulative truth about one producer.
struct Ledger {
    Seq received_seq = 0;
    Seq durable_seq = 0;
    std::uint64_t credit_total = 0;
};

struct Welcome {
    Ledger ledger;
    std::string producer;
    Stream stream;
    double heartbeat_s = 1.0;
    std::uint64_t model_version = 0;
    std::string weights_hash;
    std::string events;
    std::uint64_t version = 0;
};

struct Ack {
    Ledger ledger;
};

/// A refusal: of a PUT (first_seq, count, attempt), of an INFER (request_id), or of neither.
struct Error {
    Ledger ledger;
    std::string code;
    std::string message;
    std::string remedy;
    bool retryable = false;
    Seq first_seq = 0;
    std::uint64_t count = 0;
    std::uint64_t attempt = 0;
    std::uint64_t request_id = 0;
};

/// logits: count x classes, one row per sample.
struct Prediction {
    std::uint64_t request_id = 0;
    std::uint64_t version = 0;
    std::array<std::uint8_t, 16> weights_hash{};
    std::uint32_t count = 0;
    std::uint32_t classes = 0;
    std::vector<float> logits;
};

struct Pong {
    Ledger ledger;
    std::uint64_t token = 0;
};

struct Bye {};

using Reply = std::variant<Welcome, Ack, Error, Prediction, Pong, Bye>;

}  // namespace wire
}  // namespace eftraind
