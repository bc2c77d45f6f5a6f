/// How a client is made: settings, callbacks, time-outs, keys. Data only.
#pragma once

#include <cstdint>
#include <functional>
#include <iostream>
#include <optional>
#include <string>

#include "eftraind/keys.hpp"
#include "eftraind/results.hpp"

namespace eftraind {

/// Callbacks run in the client's own thread: they may push, but not wait (infer, flush, close).
using EventCallback = std::function<void(const Event&)>;

struct Options : Settings {
    /// Hears of every operation that will not be stored.
    std::function<void(const Refusal&)> on_refused;
    /// Where events are published; empty: where WELCOME says.
    std::string events;
    /// For tcp://: `read_keys(path)`, or your own. None: the file that $EFTRAIND_KEYS names.
    std::optional<Keys> keys;
    Seconds connect_timeout{10.0};
    /// How long push waits for room with Policy::block.
    Seconds push_timeout{60.0};
    /// How long the destructor waits for durability; it waits not at all during an exception.
    Seconds close_timeout{5.0};
    /// Larger messages of the daemon break the connection: a bound on this client's memory.
    std::uint64_t max_reply_bytes = 64U << 20;
    /// Hears what a callback threw, what event could not be read, what a destructor did not store.
    std::function<void(const std::string&)> log = [](const std::string& words) {
        std::cerr << "eftraind: " << words << '\n';
    };
    Clock clock = steady_clock_s;
};

}  // namespace eftraind
