/// What the drivers speak: one command a line, words between blanks, bytes as hex ("-": none).
#pragma once

#include <cstdint>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "eftraind/wire/messages.hpp"

namespace driver {

using Bytes = eftraind::wire::Bytes;

class Line {
  public:
    explicit Line(const std::string& text) : words_(text) {}

    std::string word() {
        std::string word;
        if (!(words_ >> word)) {
            throw std::runtime_error("a word is missing");
        }
        return word;
    }
    std::string word_or_none() {
        const std::string given = word();
        return given == "-" ? std::string() : given;
    }
    /// The rest of the line.
    std::vector<std::string> words() {
        std::vector<std::string> rest;
        for (std::string word; words_ >> word;) {
            rest.push_back(word);
        }
        return rest;
    }
    template <typename Value>
    Value number() {
        Value value{};
        if (!(words_ >> value)) {
            throw std::runtime_error("a number is missing");
        }
        return value;
    }
    /// The rest of the line as numbers.
    template <typename Value>
    std::vector<Value> numbers() {
        std::vector<Value> values;
        for (Value value{}; words_ >> value;) {
            values.push_back(value);
        }
        return values;
    }
    Bytes bytes() {
        const std::string text = word();
        Bytes bytes;
        for (std::size_t at = 0; text != "-" && at + 1 < text.size(); at += 2) {
            bytes.push_back(static_cast<std::uint8_t>(std::stoul(text.substr(at, 2), nullptr, 16)));
        }
        return bytes;
    }

  private:
    std::istringstream words_;
};

template <typename Container>
std::string hex(const Container& bytes) {
    constexpr char digits[] = "0123456789abcdef";
    std::string text;
    for (const std::uint8_t byte : bytes) {
        text += digits[byte >> 4];
        text += digits[byte & 0xF];
    }
    return text.empty() ? "-" : text;
}

inline std::string hex(const eftraind::wire::Frames& frames) {
    return hex(frames.header) + " " + hex(*frames.body);
}

/// Answer each line of standard input with one line.
template <typename Answer>
int serve(Answer answer) {
    std::string text;
    while (std::getline(std::cin, text)) {
        Line line(text);
        std::cout << answer(line) << std::endl;
    }
    return 0;
}

}  // namespace driver
