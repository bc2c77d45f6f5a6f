/// A client for the tests of tests/sdk that use sockets: one call a line, its outcome as JSON.

#include <atomic>
#include <memory>
#include <mutex>
#include <thread>

#include "eftraind/eftraind.hpp"
#include "eftraind/wire/encode.hpp"
#include "faults.hpp"
#include "lines.hpp"

namespace {

using namespace eftraind;

/// Samples as bytes of the type that the test names: u1 or f4.
class Pixels {
  public:
    explicit Pixels(driver::Line& line) : floats_(line.word() == "f4"), bytes_(line.bytes()) {
        if (floats_) {
            numbers_.resize(bytes_.size() / 4);
            std::memcpy(numbers_.data(), bytes_.data(), 4 * numbers_.size());
        }
    }
    Samples view() const { return floats_ ? Samples(numbers_) : Samples(bytes_); }

  private:
    bool floats_;
    wire::Bytes bytes_;
    std::vector<float> numbers_;
};

const char* class_of(const Error& error) {
    if (dynamic_cast<const Refused*>(&error) != nullptr) return "Refused";
    if (dynamic_cast<const Backpressure*>(&error) != nullptr) return "Backpressure";
    if (dynamic_cast<const Disconnected*>(&error) != nullptr) return "Disconnected";
    if (dynamic_cast<const Closed*>(&error) != nullptr) return "Closed";
    if (dynamic_cast<const ClientError*>(&error) != nullptr) return "ClientError";
    return "Error";
}

class Server {
  public:
    std::string operator()(driver::Line& line) {
        try {
            return "{\"result\":" + obey(line) + "}";
        } catch (const Error& error) {
            return std::string("{\"error\":\"") + class_of(error) +
                   "\",\"code\":" + wire::json_string(error.code()) +
                   ",\"message\":" + wire::json_string(error.what()) + "}";
        }
    }

  private:
    std::string obey(driver::Line& line) {
        const std::string command = line.word();
        if (command == "open") return open(line);
        if (command == "events") {
            const std::string named = line.word();
            return wire::json_string(inside::events_endpoint(named, line.word()));
        }
        if (command == "push") {
            const Pixels sample(line);
            const auto labels = line.numbers<std::int32_t>();
            return std::to_string(client_->push(
                sample.view(), labels.empty() ? std::nullopt : std::optional(labels[0])));
        }
        if (command == "batch") {
            const Pixels samples(line);
            const SidRange sids = client_->push_batch(samples.view(), line.numbers<std::int32_t>());
            return "[" + std::to_string(sids.first) + "," + std::to_string(sids.count) + "]";
        }
        if (command == "label" || command == "withdraw") return target(command, line);
        if (command == "infer") return infer(line);
        if (command == "flush") {
            const Level level = line.word() == "durable" ? Level::durable : Level::received;
            return client_->flush(level, Seconds(line.number<double>())), "null";
        }
        if (command == "listen") return listen(line), "null";
        if (command == "heard") return heard();
        if (command == "stats") return stats();
        if (command == "storm") return storm(line), "null";
        if (command == "faults") {
            faults::interrupt_every = line.number<int>();
            faults::drop_bodies = line.number<int>();
            faults::fail_sockets = line.number<int>();
            return std::to_string(faults::interrupted.exchange(0));
        }
        if (command == "close") return client_->close(Seconds(line.number<double>())), "null";
        if (command == "destroy") return client_.reset(), "null";
        if (command == "leave") return leave(line);
        if (command == "unwind") return unwind(), "null";
        throw std::runtime_error("unknown command " + command);
    }

    /// open ENDPOINT PRODUCER POLICY MAX_PENDING_BYTES CONNECT_S PUSH_S EVENTS [KEYS]
    ///
    /// "-" where there is nothing; KEYS is a file, or SERVER PUBLIC SECRET.
    std::string open(driver::Line& line) {
        const std::string endpoint = line.word();
        Options options;
        options.producer = line.word_or_none();
        options.policy = static_cast<Policy>(line.number<int>());
        options.max_pending_bytes = line.number<std::uint64_t>();
        options.connect_timeout = Seconds(line.number<double>());
        options.push_timeout = Seconds(line.number<double>());
        options.events = line.word_or_none();
        options.hello_timeout = Seconds(0.3);
        options.retry_min = Seconds(0.01);
        options.retry_max = Seconds(0.05);
        options.on_refused = [this](const Refusal& refusal) {
            tell("refused " + refusal.code + " " + std::to_string(refusal.first_seq) + " " +
                 std::to_string(refusal.count));
        };
        options.log = [this](const std::string& words) { tell("log " + words); };
        const auto keys = line.words();
        if (keys.size() == 1) {
            options.keys = read_keys(keys[0]);
        } else if (keys.size() == 3) {
            options.keys = Keys{keys[0], keys[1], keys[2]};
        }
        client_ = std::make_unique<Client>(endpoint, std::move(options));
        return "null";
    }

    std::string target(const std::string& command, driver::Line& line) {
        std::vector<Seq> sids(line.number<std::size_t>());
        for (Seq& sid : sids) {
            sid = line.number<Seq>();
        }
        const auto labels = line.numbers<std::int32_t>();
        if (command == "label") {
            client_->label(sids, labels);
        } else {
            client_->withdraw(sids);
        }
        return "null";
    }

    std::string infer(driver::Line& line) {
        const Seconds timeout(line.number<double>());
        const Pixels samples(line);
        const Prediction answer = client_->infer(samples.view(), timeout);
        const auto bytes = [](const std::vector<float>& numbers) {
            const auto* first = reinterpret_cast<const std::uint8_t*>(numbers.data());
            return driver::hex(wire::Bytes(first, first + 4 * numbers.size()));
        };
        std::string labels;
        for (const std::int32_t label : answer.labels()) {
            labels += (labels.empty() ? "" : ",") + std::to_string(label);
        }
        return "{\"version\":" + std::to_string(answer.version) + ",\"weights_hash\":\"" +
               answer.weights_hash + "\",\"logits\":\"" + bytes(answer.logits) +
               "\",\"probabilities\":\"" + bytes(answer.probabilities()) + "\",\"labels\":[" +
               labels + "]}";
    }

    /// listen TOPIC ("-": all) [throw|wait]: what the callback does besides being told.
    void listen(driver::Line& line) {
        const std::string topic = line.word();
        const std::string habit = line.word();
        client_->on_event(topic == "-" ? "" : topic, [this, habit](const Event& event) {
            tell("event " + event.topic + " " + event.text);
            if (habit == "throw") {
                throw std::runtime_error("a callback that throws");
            }
            if (habit == "wait") {
                try {
                    client_->flush();
                } catch (const ClientError& error) {
                    tell(std::string("callback ") + error.what());
                }
            }
        });
    }

    std::string heard() {
        const std::lock_guard<std::mutex> lock(mutex_);
        std::string text;
        for (const std::string& words : std::exchange(heard_, {})) {
            text += (text.empty() ? "" : ",") + wire::json_string(words);
        }
        return "[" + text + "]";
    }

    void tell(const std::string& words) {
        const std::lock_guard<std::mutex> lock(mutex_);
        heard_.push_back(words);
    }

    std::string stats() {
        const Stats stats = client_->stats();
        std::ostringstream text;
        text << "{\"pushed\":" << stats.pushed << ",\"sent\":" << stats.sent
             << ",\"resent\":" << stats.resent << ",\"received\":" << stats.received
             << ",\"durable\":" << stats.durable << ",\"dropped\":" << stats.dropped
             << ",\"pending\":" << stats.pending << ",\"pending_bytes\":" << stats.pending_bytes
             << ",\"reconnects\":" << stats.reconnects
             << ",\"connected\":" << (stats.connected ? "true" : "false") << ",\"waiting_for\":"
             << wire::json_string(stats.waiting_for) << ",\"refused\":{";
        const char* comma = "";
        for (const auto& [code, count] : stats.refused) {
            text << comma << wire::json_string(code) << ':' << count;
            comma = ",";
        }
        return text.str() + "}}";
    }

    /// storm THREADS ROUNDS SAMPLE: everything at once, from many threads.
    void storm(driver::Line& line) {
        const auto count = line.number<int>();
        const auto rounds = line.number<int>();
        const Pixels sample(line);
        std::vector<std::thread> threads;
        for (int thread = 0; thread < count; ++thread) {
            threads.emplace_back([&] {
                for (int round = 0; round < rounds; ++round) {
                    const Seq sid = client_->push(sample.view());
                    client_->label(sid, round % 10);
                    client_->push_batch(sample.view(), std::vector<std::int32_t>{1});
                    client_->infer(sample.view(), Seconds(20.0));
                    client_->stats();
                }
                client_->flush(Level::durable, Seconds(20.0));
            });
        }
        for (std::thread& thread : threads) {
            thread.join();
        }
    }

    /// leave THREADS SAMPLE: close while threads wait, or begin to; how many of them heard of it.
    std::string leave(driver::Line& line) {
        const auto count = line.number<int>();
        const Pixels sample(line);
        std::atomic<int> closed{0};
        std::vector<std::thread> threads;
        for (int thread = 0; thread < count; ++thread) {
            threads.emplace_back([&, thread] {
                try {
                    if (thread % 2 == 0) {
                        client_->infer(sample.view(), Seconds(60.0));
                    } else {
                        client_->push(sample.view());
                        client_->flush(Level::durable, Seconds(60.0));
                    }
                } catch (const Closed&) {
                    ++closed;
                }
            });
        }
        client_->close(Seconds(0.0));
        for (std::thread& thread : threads) {
            thread.join();
        }
        return std::to_string(closed);
    }

    /// Leave a scope that holds the client by an exception.
    void unwind() {
        try {
            const std::unique_ptr<Client> dying = std::move(client_);
            throw std::runtime_error("the user's own trouble");
        } catch (const std::runtime_error&) {
        }
    }

    std::mutex mutex_;
    std::vector<std::string> heard_;
    std::unique_ptr<Client> client_;
};

}  // namespace

int main() {
    Server server;
    return driver::serve([&server](driver::Line& line) { return server(line); });
}
