/// The codec for tests/sdk/test_sdk_codec.py: `decode HEADER BODY ...` prints what a client reads,
/// the other commands print what it writes.

#include <limits>

#include "eftraind/wire/decode.hpp"
#include "eftraind/wire/encode.hpp"
#include "lines.hpp"

namespace {

using namespace eftraind;

/// The members of one reply as JSON, so that a test can compare them with Python's.
class Printer {
  public:
    std::string operator()(const wire::Welcome& welcome) {
        text_ << "\"kind\":\"Welcome\",\"producer\":" << wire::json_string(welcome.producer)
              << ",\"shape\":[" << welcome.stream.shape.height << ',' << welcome.stream.shape.width
              << ',' << welcome.stream.shape.channels << "],\"dtype\":\""
              << name_of(welcome.stream.dtype) << "\",\"classes\":" << welcome.stream.classes
              << ",\"max_message_bytes\":" << welcome.stream.max_message_bytes
              << ",\"heartbeat_s\":" << welcome.heartbeat_s
              << ",\"model_version\":" << welcome.model_version
              << ",\"weights_hash\":" << wire::json_string(welcome.weights_hash)
              << ",\"events\":" << wire::json_string(welcome.events)
              << ",\"version\":" << welcome.version;
        return end(&welcome.ledger);
    }
    std::string operator()(const wire::Ack& ack) {
        text_ << "\"kind\":\"Ack\"";
        return end(&ack.ledger);
    }
    std::string operator()(const wire::Error& error) {
        text_ << "\"kind\":\"Error\",\"code\":" << wire::json_string(error.code)
              << ",\"message\":" << wire::json_string(error.message)
              << ",\"remedy\":" << wire::json_string(error.remedy)
              << ",\"retryable\":" << (error.retryable ? "true" : "false")
              << ",\"first_seq\":" << error.first_seq << ",\"count\":" << error.count
              << ",\"attempt\":" << error.attempt << ",\"request_id\":" << error.request_id;
        return end(&error.ledger);
    }
    std::string operator()(const wire::Prediction& prediction) {
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(prediction.logits.data());
        const wire::Bytes logits(bytes, bytes + 4 * prediction.logits.size());
        text_ << "\"kind\":\"Prediction\",\"request_id\":" << prediction.request_id
              << ",\"version\":" << prediction.version << ",\"weights_hash\":\""
              << driver::hex(prediction.weights_hash) << "\",\"shape\":[" << prediction.count << ','
              << prediction.classes << "],\"logits\":\"" << driver::hex(logits) << '"';
        return end(nullptr);
    }
    std::string operator()(const wire::Pong& pong) {
        text_ << "\"kind\":\"Pong\",\"token\":" << pong.token;
        return end(&pong.ledger);
    }
    std::string operator()(const wire::Bye&) {
        text_ << "\"kind\":\"Bye\"";
        return end(nullptr);
    }

  private:
    std::string end(const wire::Ledger* ledger) {
        if (ledger != nullptr) {
            text_ << ",\"ledger\":[" << ledger->received_seq << ',' << ledger->durable_seq << ','
                  << ledger->credit_total << ']';
        }
        return "{" + text_.str() + "}";
    }
    std::ostringstream text_ = [] {
        std::ostringstream text;
        text.precision(std::numeric_limits<double>::max_digits10);
        return text;
    }();
};

std::string decode(driver::Line& line) {
    std::vector<wire::Bytes> frames(line.number<std::size_t>());
    std::vector<wire::View> views;
    for (wire::Bytes& frame : frames) {
        frame = line.bytes();
        frame.shrink_to_fit();  // so that the sanitizer sees a read past the end
        views.push_back({frame.data(), frame.size()});
    }
    try {
        return std::visit(Printer(), wire::decode_reply(views));
    } catch (const WireError& error) {
        return "{\"kind\":\"WireError\",\"code\":" + wire::json_string(error.code()) + "}";
    }
}

Stream stream_of(driver::Line& line) {
    Stream stream;
    stream.dtype = static_cast<Dtype>(line.number<unsigned>());
    stream.shape.height = line.number<std::uint16_t>();
    stream.shape.width = line.number<std::uint16_t>();
    stream.shape.channels = line.number<std::uint16_t>();
    return stream;
}

/// put OP FIRST FOLLOWS ATTEMPT DTYPE H W C SAMPLES COUNT TARGETS... LABELS...
std::string put(driver::Line& line) {
    const auto op = static_cast<wire::Op>(line.number<unsigned>());
    const auto first_seq = line.number<Seq>();
    const auto follows = line.number<Seq>();
    const auto attempt = line.number<std::uint32_t>();
    const Stream stream = stream_of(line);
    const wire::Bytes samples = line.bytes();
    std::vector<Seq> targets(line.number<std::size_t>());
    for (Seq& target : targets) {
        target = line.number<Seq>();
    }
    const auto labels = line.numbers<std::int32_t>();
    const std::size_t count = op == wire::Op::withdrawals ? targets.size() : labels.size();
    const auto body = [&] {
        switch (op) {
            case wire::Op::samples:
                return wire::samples_body(labels.data(), count, samples.data(), samples.size());
            case wire::Op::labels: return wire::labels_body(targets.data(), labels.data(), count);
            case wire::Op::withdrawals: break;
        }
        return wire::withdrawals_body(targets.data(), count);
    };
    const auto header = wire::put_header(op, first_seq, follows, static_cast<std::uint32_t>(count),
                                         attempt, stream);
    return driver::hex(wire::Frames{header, std::make_shared<const wire::Bytes>(body())});
}

std::string infer(driver::Line& line) {
    const auto request_id = line.number<std::uint64_t>();
    const auto deadline_ms = line.number<std::uint32_t>();
    const auto count = line.number<std::uint32_t>();
    const Stream stream = stream_of(line);
    auto samples = std::make_shared<const wire::Bytes>(line.bytes());
    return driver::hex(wire::infer(request_id, deadline_ms, count, stream, std::move(samples)));
}

std::string answer(driver::Line& line) {
    const std::string command = line.word();
    if (command == "decode") {
        return decode(line);
    }
    if (command == "hello") {
        const wire::Bytes producer = line.bytes();
        const wire::Bytes client = line.bytes();
        return driver::hex(wire::hello(std::string(producer.begin(), producer.end()),
                                       std::string(client.begin(), client.end())));
    }
    if (command == "put") {
        return put(line);
    }
    if (command == "infer") {
        return infer(line);
    }
    if (command == "ping") {
        return driver::hex(wire::ping(line.number<std::uint64_t>()));
    }
    if (command == "bye") {
        return driver::hex(wire::bye());
    }
    throw std::runtime_error("unknown command " + command);
}

}  // namespace

int main() { return driver::serve(answer); }
