/// A sensor app: labelled batches, labels that come late, predictions with a deadline, events.
///
///     sensor [ENDPOINT] [ROUNDS]
///
/// examples/sensor.py is the same in Python and sends the same samples.

#include <cstdint>
#include <exception>
#include <iostream>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "eftraind/eftraind.hpp"

namespace {

using namespace std::chrono_literals;

constexpr int batch = 16;

/// What a camera would see: a pattern of 8 x 8 pixels that moves from frame to frame.
void camera(int frame, std::vector<std::uint8_t>& pixels) {
    for (int row = 0; row < 8; ++row) {
        for (int column = 0; column < 8; ++column) {
            pixels.push_back(static_cast<std::uint8_t>((7 * frame + 3 * row + 5 * column) % 17));
        }
    }
}

/// What a callback notes and the main loop prints.
class Alarms {
  public:
    void add(const std::string& words) {
        const std::lock_guard<std::mutex> lock(mutex_);
        words_.push_back(words);
    }
    std::vector<std::string> take() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return std::exchange(words_, {});
    }

  private:
    std::mutex mutex_;
    std::vector<std::string> words_;
};

void run(const std::string& endpoint, int rounds) {
    Alarms alarms;  // before the client, whose callbacks use it until the client is gone
    eftraind::Options options;
    options.producer = "example-sensor";
    options.on_refused = [](const eftraind::Refusal& refusal) {
        std::cout << "samples " << refusal.first_seq << " and on are lost: " << refusal.message
                  << std::endl;
    };
    eftraind::Client client(endpoint, options);

    // Callbacks run in the client's thread: note what happened, leave the work to the loop below.
    client.on_event("alarm", [&](const eftraind::Event& event) { alarms.add(event.text); });
    client.on_event("swapped", [](const eftraind::Event& event) {
        std::cout << "weights " << event.data["version"].integer() << std::endl;
    });

    int answered = 0;
    int late = 0;
    for (int frame = 0; frame < rounds * batch; frame += batch) {
        std::vector<std::uint8_t> images;
        std::vector<std::int32_t> labels;
        for (int offset = 0; offset < batch - 1; ++offset) {
            camera(frame + offset, images);
            labels.push_back((frame + offset) % 10);
        }
        const eftraind::SidRange sids = client.push_batch(images, labels);

        std::vector<std::uint8_t> image;
        camera(frame + batch - 1, image);
        const eftraind::Seq unlabelled = client.push(image);  // nobody knows what this is ...
        try {
            client.infer(image, 200ms);  // ... what does the network say, in time?
            ++answered;
        } catch (const eftraind::Disconnected&) {
            ++late;  // the robot goes on without
        }
        client.label(unlabelled, (frame + batch - 1) % 10);  // ... now somebody does
        if (frame == 0) {
            client.withdraw(sids[0]);  // the first label was wrong
        }
        for (const std::string& alarm : alarms.take()) {
            std::cout << "alarm: " << alarm << std::endl;
        }
    }

    client.flush(eftraind::Level::durable);  // from here on a power cut loses nothing
    std::cout << client.stats().durable << " operations durable, " << answered << " predictions, "
              << late << " too late" << std::endl;
    client.close();
}

}  // namespace

int main(int count, char** words) {
    try {
        run(count > 1 ? words[1] : "ipc:///run/eftraind/eft.sock",
            count > 2 ? std::stoi(words[2]) : 100);
        return 0;
    } catch (const std::exception& error) {
        std::cerr << "sensor: " << error.what() << std::endl;
        return 1;
    }
}
