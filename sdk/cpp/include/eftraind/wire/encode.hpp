/// A client's messages as bytes: one header of 64 bytes and one body each. No checks: they are made
/// where the caller still knows what was handed over (inside/checks.hpp).
#pragma once

#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "eftraind/wire/messages.hpp"

namespace eftraind::wire {

/// Write `value` at `at`, little endian, as wide as its type.
template <typename Unsigned>
void store(Header& header, std::size_t at, Unsigned value) {
    const std::uint64_t bits = value;
    for (std::size_t byte = 0; byte < sizeof(Unsigned); ++byte) {
        header[at + byte] = static_cast<std::uint8_t>(bits >> (8 * byte));
    }
}

inline Header plain_header(Kind kind) {
    Header header{};
    std::memcpy(header.data(), "EFT1", 4);
    header[4] = version;
    header[5] = static_cast<std::uint8_t>(kind);
    return header;
}

inline void store_sample_type(Header& header, const Stream& stream) {
    header[9] = static_cast<std::uint8_t>(stream.dtype);
    store(header, 10, stream.shape.height);
    store(header, 12, stream.shape.width);
    store(header, 14, stream.shape.channels);
}

/// `value` as a JSON string; it must be UTF-8 already.
inline std::string json_string(std::string_view value) {
    constexpr char digits[] = "0123456789abcdef";
    std::string text = "\"";
    for (const char letter : value) {
        const auto byte = static_cast<unsigned char>(letter);
        if (letter == '"' || letter == '\\') {
            text += '\\';
            text += letter;
        } else if (byte < 0x20) {
            text += "\\u00";
            text += digits[byte >> 4];
            text += digits[byte & 0xF];
        } else {
            text += letter;
        }
    }
    return text + '"';
}

inline Frames hello(std::string_view producer, std::string_view client,
                    std::string_view instance = {}) {
    std::string text = "{\"versions\":[1],\"producer\":" + json_string(producer) +
                       ",\"client\":" + json_string(client);
    if (!instance.empty()) {
        text += ",\"instance\":" + json_string(instance);
    }
    text += '}';
    return {plain_header(Kind::hello), std::make_shared<const Bytes>(text.begin(), text.end())};
}

/// The stream is written only into a PUT of samples.
inline Header put_header(Op op, Seq first_seq, Seq follows, std::uint32_t count,
                         std::uint32_t attempt, const Stream& stream) {
    Header header = plain_header(Kind::put);
    header[8] = static_cast<std::uint8_t>(op);
    if (op == Op::samples) {
        store_sample_type(header, stream);
    }
    store(header, 16, first_seq);
    store(header, 24, follows);
    store(header, 32, count);
    store(header, 36, attempt);
    return header;
}

inline Frames infer(std::uint64_t request_id, std::uint32_t deadline_ms, std::uint32_t count,
                    const Stream& stream, Body samples) {
    Header header = plain_header(Kind::infer);
    store_sample_type(header, stream);
    store(header, 16, request_id);
    store(header, 24, deadline_ms);
    store(header, 32, count);
    return {header, std::move(samples)};
}

inline Frames ping(std::uint64_t token) {
    Frames frames{plain_header(Kind::ping)};
    store(frames.header, 40, token);
    return frames;
}

inline Frames bye() { return {plain_header(Kind::bye)}; }

/// Append `count` values as they lie in memory.
template <typename Value>
void append(Bytes& body, const Value* values, std::size_t count) {
    if (count != 0) {
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(values);
        body.insert(body.end(), bytes, bytes + count * sizeof(Value));
    }
}

/// `count` labels, then `count` samples in the stream's type.
inline Bytes samples_body(const std::int32_t* labels, std::size_t count,
                          const std::uint8_t* samples, std::size_t samples_bytes) {
    Bytes body;
    body.reserve(4 * count + samples_bytes);
    append(body, labels, count);
    append(body, samples, samples_bytes);
    return body;
}

inline Bytes labels_body(const Seq* targets, const std::int32_t* labels, std::size_t count) {
    Bytes body;
    body.reserve(12 * count);
    append(body, targets, count);
    append(body, labels, count);
    return body;
}

inline Bytes withdrawals_body(const Seq* targets, std::size_t count) {
    Bytes body;
    append(body, targets, count);
    return body;
}

}  // namespace eftraind::wire
