/// Bytes of the daemon back into messages. Whatever comes in, nothing but WireError comes out;
/// every size is checked before anything is allocated for it.
#pragma once

#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eftraind/errors.hpp"
#include "eftraind/json.hpp"
#include "eftraind/wire/messages.hpp"

namespace eftraind::wire {

[[noreturn]] inline void refuse(std::string code, std::string message) {
    raise({FaultKind::wire, std::move(message), "see docs/protocol.md", std::move(code)});
}

/// The value at `at`, little endian, as wide as its type.
template <typename Unsigned>
Unsigned load(const Header& header, std::size_t at) {
    std::uint64_t value = 0;
    for (std::size_t byte = 0; byte < sizeof(Unsigned); ++byte) {
        value |= std::uint64_t{header[at + byte]} << (8 * byte);
    }
    return static_cast<Unsigned>(value);
}

/// One bit for each header byte from `from` to before `to`.
constexpr std::uint64_t span(unsigned from, unsigned to) {
    return (to == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << to) - 1) &
           ~((std::uint64_t{1} << from) - 1);
}

/// The bytes that may be anything but zero, by the tables of docs/protocol.md section 2.
inline std::uint64_t used_bytes(Kind kind) {
    constexpr std::uint64_t common = span(0, 6);
    switch (kind) {
        case Kind::hello:
        case Kind::bye: return common;
        case Kind::welcome:
        case Kind::ack:
        case Kind::error: return common | span(16, 40);
        case Kind::pong: return common | span(16, 48);
        case Kind::ping: return common | span(40, 48);
        case Kind::put: return common | span(8, 40);
        case Kind::infer: return common | span(9, 28) | span(32, 36);
        case Kind::prediction: return common | span(16, 56);
    }
    return 0;
}

inline Header checked_header(View frame) {
    if (frame.size != header_bytes) {
        refuse("malformed", "the header has " + std::to_string(frame.size) + " bytes");
    }
    Header header;
    std::memcpy(header.data(), frame.data, header_bytes);
    if (std::memcmp(header.data(), "EFT1", 4) != 0) {
        refuse("malformed", "the header does not begin with EFT1");
    }
    if (header[4] != version) {
        refuse("version", "version " + std::to_string(header[4]) + " is not spoken here");
    }
    if (header[5] < 1 || header[5] > 10) {
        refuse("kind", "message kind " + std::to_string(header[5]) + " is unknown");
    }
    const std::uint64_t used = used_bytes(static_cast<Kind>(header[5]));
    for (std::size_t at = 0; at < header_bytes; ++at) {
        if (header[at] != 0 && (used >> at & 1U) == 0) {
            refuse("malformed", "flags or reserved bytes are not zero");
        }
    }
    return header;
}

/// Members of a JSON body, each with its type and range checked.
class Fields {
  public:
    explicit Fields(View body) {
        if (body.size > max_json_bytes) {
            refuse("too_large", "a JSON body of " + std::to_string(body.size) + " bytes");
        }
        const auto* text = reinterpret_cast<const char*>(body.data);
        json_ = Json::parse(std::string_view(text, body.size));
        if (!json_.is(Json::Type::object)) {
            refuse("malformed", "the body is not a JSON object");
        }
    }
    explicit Fields(Json json) : json_(std::move(json)) {}

    bool boolean(const char* name) const { return need(name).boolean(); }
    std::string string(const char* name) const { return need(name).string(); }
    std::string string_or_empty(const char* name) const {
        const Json* found = json_.find(name);
        return found == nullptr ? std::string() : found->string();
    }
    std::uint64_t integer(const char* name) const { return need(name).unsigned_integer(); }
    std::uint64_t integer_or_zero(const char* name) const {
        const Json* found = json_.find(name);
        return found == nullptr ? 0 : found->unsigned_integer();
    }
    double number(const char* name) const {
        const double value = need(name).number();
        if (!(value >= 0.0 && value < 18446744073709551616.0)) {
            refuse("malformed", std::string("field '") + name + "' is out of range");
        }
        return value;
    }
    Fields object(const char* name) const { return Fields(Json::of(need(name).object())); }
    Fields object_or_empty(const char* name) const {
        const Json* found = json_.find(name);
        return Fields(Json::of(found == nullptr ? Json::Object() : found->object()));
    }
    const Json::Array& array(const char* name) const { return need(name).array(); }

  private:
    const Json& need(const char* name) const { return json_[name]; }
    Json json_;
};

inline Ledger ledger_of(const Header& header) {
    return {load<std::uint64_t>(header, 16), load<std::uint64_t>(header, 24),
            load<std::uint64_t>(header, 32)};
}

inline Shape shape_of(const Json::Array& sides) {
    std::array<std::uint16_t, 3> shape{};
    if (sides.size() != shape.size()) {
        refuse("malformed", "the sample shape is not three sides");
    }
    for (std::size_t at = 0; at < shape.size(); ++at) {
        const std::uint64_t side = sides[at].unsigned_integer();
        if (side < 1 || side > 65'535) {
            refuse("malformed", "a side of the sample shape is out of range");
        }
        shape[at] = static_cast<std::uint16_t>(side);
    }
    return {shape[0], shape[1], shape[2]};
}

inline Welcome welcome_of(const Header& header, View body) {
    const Fields fields(body);
    const Fields sample = fields.object("sample");
    const Fields model = fields.object_or_empty("model");
    Welcome welcome;
    welcome.ledger = ledger_of(header);
    welcome.stream.shape = shape_of(sample.array("shape"));
    const std::string dtype = sample.string("dtype");
    if (dtype != "uint8" && dtype != "float32") {
        refuse("dtype", "the sample dtype is unknown: update this client");
    }
    welcome.stream.dtype = dtype == "uint8" ? Dtype::uint8 : Dtype::float32;
    welcome.stream.max_message_bytes = fields.integer("max_message_bytes");
    welcome.producer = fields.string("producer");
    welcome.stream.classes = fields.integer("classes");
    welcome.heartbeat_s = fields.number("heartbeat_s");
    welcome.model_version = model.integer_or_zero("version");
    welcome.weights_hash = model.string_or_empty("hash");
    welcome.events = fields.string_or_empty("events");
    welcome.version = fields.integer("version");
    return welcome;
}

inline Error error_of(const Header& header, View body) {
    const Fields fields(body);
    Error error;
    error.ledger = ledger_of(header);
    error.code = fields.string("code");
    error.message = fields.string("message");
    error.remedy = fields.string_or_empty("remedy");
    error.retryable = fields.boolean("retryable");
    error.first_seq = fields.integer_or_zero("first_seq");
    error.count = fields.integer_or_zero("count");
    error.attempt = fields.integer_or_zero("attempt");
    error.request_id = fields.integer_or_zero("request_id");
    return error;
}

inline Prediction prediction_of(const Header& header, View body) {
    Prediction prediction;
    prediction.request_id = load<std::uint64_t>(header, 16);
    prediction.version = load<std::uint64_t>(header, 24);
    prediction.count = load<std::uint32_t>(header, 32);
    prediction.classes = load<std::uint32_t>(header, 36);
    for (const std::uint32_t count : {prediction.count, prediction.classes}) {
        if (count < 1 || count > max_count) {
            refuse("count", "a count of " + std::to_string(count) + " is out of range");
        }
    }
    const std::uint64_t logits = std::uint64_t{prediction.count} * prediction.classes;
    if (body.size != 4 * logits) {
        refuse("size", "the body has " + std::to_string(body.size) +
                           " bytes, its header describes " + std::to_string(4 * logits));
    }
    std::memcpy(prediction.weights_hash.data(), header.data() + 40, 16);
    prediction.logits.resize(static_cast<std::size_t>(logits));
    std::memcpy(prediction.logits.data(), body.data, body.size);
    return prediction;
}

/// A message from the daemon.
inline Reply decode_reply(const std::vector<View>& frames) {
    if (frames.size() != 2) {
        refuse("malformed", "the message has " + std::to_string(frames.size()) + " parts");
    }
    const Header header = checked_header(frames[0]);
    const View body = frames[1];
    const auto empty = [&body] {
        if (body.size != 0) {
            refuse("size", "a body of " + std::to_string(body.size) + " bytes should be empty");
        }
    };
    switch (static_cast<Kind>(header[5])) {
        case Kind::welcome: return welcome_of(header, body);
        case Kind::ack: return empty(), Ack{ledger_of(header)};
        case Kind::error: return error_of(header, body);
        case Kind::prediction: return prediction_of(header, body);
        case Kind::pong: return empty(), Pong{ledger_of(header), load<std::uint64_t>(header, 40)};
        case Kind::bye: return empty(), Bye{};
        case Kind::hello:
        case Kind::put:
        case Kind::infer:
        case Kind::ping: break;
    }
    refuse("kind", "this is a message of clients: the daemon never sends it");
}

}  // namespace eftraind::wire
