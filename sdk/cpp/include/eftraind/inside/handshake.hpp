/// What a connection's monitor says when keys do not fit, in words.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include <zmq.h>

#include "eftraind/errors.hpp"
#include "eftraind/wire/messages.hpp"

namespace eftraind::inside {

/// How a connection ended, as libzmq tells it.
struct Ending {
    static constexpr int events = ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |
                                  ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                                  ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL;
    std::uint16_t event = ZMQ_EVENT_DISCONNECTED;
    std::uint32_t value = 0;

    /// From the first frame of a monitor's message.
    static Ending of(wire::View frame) {
        Ending ending;
        if (frame.size >= sizeof ending.event + sizeof ending.value) {
            std::memcpy(&ending.event, frame.data, sizeof ending.event);
            std::memcpy(&ending.value, frame.data + sizeof ending.event, sizeof ending.value);
        }
        return ending;
    }
};

/// Why the handshake failed, and whether trying again cannot help.
inline std::pair<Fault, bool> explain(const Ending& ending, bool has_keys) {
    constexpr std::uint32_t not_listed = 400;  // of ZAP, RFC 27
    if (ending.event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) {
        return {{FaultKind::refused, "the daemon does not list this client's key",
                 "give its public key to the daemon's operator, or use the right file",
                 "key_not_listed"},
                ending.value == not_listed};
    }
    if (ending.event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL && !has_keys) {
        return {{FaultKind::refused, "the daemon wants keys at this endpoint",
                 "set Options::keys, or EFTRAIND_KEYS to a key file", "keys_wanted"},
                true};
    }
    if (ending.event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL) {
        return {{FaultKind::refused, "the other end speaks without keys, or is no eftraind",
                 "check the endpoint; nothing was sent", "keys_not_wanted"},
                true};
    }
    // libzmq's server just hangs up on a client that has another key of it than its own.
    return {{FaultKind::disconnected, "the daemon hung up during the handshake",
             "most likely the server key in the client's keys is not this daemon's", "handshake"},
            false};
}

}  // namespace eftraind::inside
