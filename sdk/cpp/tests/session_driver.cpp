/// The session for tests/sdk/test_sdk_session.py: what the carrier and users would call, by lines,
/// with the time as an argument. Each answer is a JSON object: the result and the state after it.

#include <limits>
#include <memory>

#include "eftraind/inside/handshake.hpp"
#include "eftraind/inside/session.hpp"
#include "eftraind/json.hpp"
#include "lines.hpp"

namespace {

using namespace eftraind;
using inside::Session;

class Server {
  public:
    std::string operator()(driver::Line& line) {
        std::string result;
        try {
            result = obey(line);
        } catch (const ClientError& error) {
            result = wire::json_string("error " + error.code());
        }
        return "{\"result\":" + result + ",\"state\":" + state() + "}";
    }

  private:
    std::string obey(driver::Line& line) {
        const std::string command = line.word();
        if (command == "new") {
            settings_ = Settings();
            settings_.producer = line.word();
            settings_.policy = static_cast<Policy>(line.number<int>());
            settings_.max_pending_bytes = line.number<std::uint64_t>();
            session_ = std::make_unique<Session>(settings_, line.word(), 0.0);
            told_.clear();
            return "null";
        }
        const auto now = line.number<double>();
        if (command == "receive") {
            std::vector<wire::Bytes> frames(line.number<std::size_t>());
            std::vector<wire::View> views;
            for (wire::Bytes& frame : frames) {
                frame = line.bytes();
                views.push_back({frame.data(), frame.size()});
            }
            session_->receive(views, now);
        } else if (command == "tick") {
            session_->tick(now);
        } else if (command == "opened") {
            session_->opened(now);
        } else if (command == "broken") {
            session_->broken(now);
        } else if (command == "handshake") {
            const auto event = line.number<std::uint16_t>();
            const inside::Ending ending{event, line.number<std::uint32_t>()};
            const auto [trouble, for_good] = inside::explain(ending, line.number<int>() != 0);
            session_->cannot_connect(trouble, for_good, now);
        } else if (command == "wants") {
            return session_->wants_connection(now) ? "true" : "false";
        } else if (command == "next") {
            const auto message = session_->next_message(now);
            return message ? wire::json_string(driver::hex(*message)) : "null";
        } else if (command == "end") {
            const auto last_word = session_->end();
            return last_word ? wire::json_string(driver::hex(*last_word)) : "null";
        } else if (command == "infer") {
            ask(line);
        } else if (command == "flush") {
            flush(line);
        } else {
            const auto first_seq = session_->offer(offer(command, line), now);
            return first_seq ? std::to_string(*first_seq) : "null";
        }
        return "null";
    }

    inside::Offer offer(const std::string& command, driver::Line& line) {
        const Stream& stream = session_->usable_stream();
        if (command == "one" || command == "batch") {
            const wire::Bytes samples = line.bytes();
            const auto labels = line.numbers<std::int32_t>();
            if (command == "one") {
                return inside::offer_sample(
                    stream, samples, labels.empty() ? std::nullopt : std::optional(labels[0]));
            }
            return inside::offer_batch(stream, settings_, samples, labels);
        }
        const auto op = command == "label" ? wire::Op::labels : wire::Op::withdrawals;
        std::vector<Seq> sids(line.number<std::size_t>());
        for (Seq& sid : sids) {
            sid = line.number<Seq>();
        }
        return inside::offer_targets(stream, settings_, op, sids, line.numbers<std::int32_t>(),
                                     session_->next_seq());
    }

    void ask(driver::Line& line) {
        const std::string name = line.word();
        const auto deadline = line.number<double>();
        auto question = inside::question(session_->usable_stream(), line.bytes());
        session_->infer(std::move(question), deadline,
                        [this, name](const Prediction& answer, const std::optional<Fault>& fault) {
                            tell(name, fault ? fault->code
                                             : std::to_string(answer.version) + ":" +
                                                   std::to_string(answer.labels()[0]));
                        });
    }

    void flush(driver::Line& line) {
        const std::string name = line.word();
        const auto deadline = line.number<double>();
        const Level level = line.word() == "durable" ? Level::durable : Level::received;
        session_->flush(level, deadline, [this, name](const std::optional<Fault>& fault) {
            tell(name, fault ? fault->code : "done");
        });
    }

    void tell(const std::string& name, const std::string& outcome) {
        told_ += (told_.empty() ? "" : ",") + wire::json_string(name + " " + outcome);
    }

    std::string state() {
        constexpr const char* phases[] = {"IDLE", "GREETING", "READY", "ENDED"};
        const Stats stats = session_->stats();
        std::ostringstream text;
        text.precision(std::numeric_limits<double>::max_digits10);
        text << "{\"phase\":\"" << phases[static_cast<int>(session_->phase())] << "\",\"wake_at\":";
        if (session_->wake_at() == inside::never) {
            text << "null";
        } else {
            text << session_->wake_at();
        }
        text << ",\"stats\":[" << stats.pushed << ',' << stats.sent << ',' << stats.resent << ','
             << stats.received << ',' << stats.durable << ',' << stats.dropped << ','
             << stats.pending << ',' << stats.pending_bytes << ',' << stats.reconnects << ",\""
             << stats.waiting_for << "\"],\"refused\":{";
        const char* comma = "";
        for (const auto& [code, count] : stats.refused) {
            text << comma << wire::json_string(code) << ':' << count;
            comma = ",";
        }
        text << "},\"notices\":[";
        comma = "";
        for (const Refusal& refusal : session_->take_notices()) {
            text << comma << '[' << wire::json_string(refusal.code) << ',' << refusal.first_seq
                 << ',' << refusal.count << ']';
            comma = ",";
        }
        text << "],\"told\":[" << std::exchange(told_, {}) << "]}";
        return text.str();
    }

    Settings settings_;
    std::unique_ptr<Session> session_;
    std::string told_;
};

}  // namespace

int main() {
    Server server;
    return driver::serve([&server](driver::Line& line) { return server(line); });
}
