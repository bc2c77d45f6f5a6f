/// The parser behind Json::parse: one pass, at most 64 levels deep, nothing read past the end.
#pragma once

#include <cstddef>
#include <limits>
#include <locale>
#include <optional>
#include <sstream>

#include "eftraind/json.hpp"

namespace eftraind::wire {

/// True for well-formed UTF-8 (RFC 3629: no overlong forms, no surrogates).
inline bool is_utf8(std::string_view text) {
    std::size_t at = 0;
    while (at < text.size()) {
        const auto lead = static_cast<unsigned char>(text[at++]);
        if (lead < 0x80) {
            continue;
        }
        const std::size_t more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
        if (lead < 0xC2 || lead > 0xF4 || text.size() - at < more) {
            return false;
        }
        const auto next = static_cast<unsigned char>(text[at]);
        if ((lead == 0xE0 && next < 0xA0) || (lead == 0xED && next > 0x9F) ||
            (lead == 0xF0 && next < 0x90) || (lead == 0xF4 && next > 0x8F)) {
            return false;
        }
        for (std::size_t byte = 0; byte < more; ++byte, ++at) {
            if ((static_cast<unsigned char>(text[at]) & 0xC0) != 0x80) {
                return false;
            }
        }
    }
    return true;
}

class JsonParser {
  public:
    explicit JsonParser(std::string_view text) : text_(text) {}

    Json whole() {
        if (!is_utf8(text_)) {
            Json::fail("the text is not UTF-8");
        }
        Json json = value(0);
        skip_space();
        if (at_ != text_.size()) {
            refuse();
        }
        return json;
    }

  private:
    static constexpr int max_depth = 64;

    [[noreturn]] void refuse() const {
        Json::fail("not JSON at byte " + std::to_string(at_));
    }

    /// The next byte, or 0 at the end (0 itself is valid nowhere in JSON).
    char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

    void skip_space() {
        while (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r') {
            ++at_;
        }
    }

    bool take(char wanted) {
        if (at_ == text_.size() || text_[at_] != wanted) {
            return false;
        }
        ++at_;
        return true;
    }

    void need(std::string_view word) {
        if (text_.substr(at_, word.size()) != word) {
            refuse();
        }
        at_ += word.size();
    }

    Json value(int depth) {
        if (depth > max_depth) {
            Json::fail("JSON is nested too deeply");
        }
        skip_space();
        switch (peek()) {
            case '{': return object(depth);
            case '[': return array(depth);
            case '"': return Json::of(string());
            case 't': return need("true"), Json::of(true);
            case 'f': return need("false"), Json::of(false);
            case 'n': return need("null"), Json();
            default: return number();
        }
    }

    Json object(int depth) {
        Json::Object members;
        need("{");
        skip_space();
        if (take('}')) {
            return Json::of(std::move(members));
        }
        do {
            skip_space();
            std::string name = string();
            skip_space();
            need(":");
            members.insert_or_assign(std::move(name), value(depth + 1));
            skip_space();
        } while (take(','));
        need("}");
        return Json::of(std::move(members));
    }

    Json array(int depth) {
        Json::Array items;
        need("[");
        skip_space();
        if (take(']')) {
            return Json::of(std::move(items));
        }
        do {
            items.push_back(value(depth + 1));
            skip_space();
        } while (take(','));
        need("]");
        return Json::of(std::move(items));
    }

    std::string string() {
        need("\"");
        std::string result;
        while (!take('"')) {
            if (at_ == text_.size() || static_cast<unsigned char>(peek()) < 0x20) {
                refuse();
            }
            if (take('\\')) {
                escape(result);
            } else {
                result += text_[at_++];
            }
        }
        return result;
    }

    void escape(std::string& result) {
        constexpr std::string_view letters = "\"\\/bfnrt";
        constexpr std::string_view meanings = "\"\\/\b\f\n\r\t";
        if (take('u')) {
            unsigned point = hex4();
            const bool high = point >= 0xD800 && point < 0xDC00;
            if (high && text_.substr(at_, 2) == "\\u") {
                const std::size_t before = at_;
                at_ += 2;
                const unsigned low = hex4();
                if (low >= 0xDC00 && low < 0xE000) {
                    point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00);
                } else {
                    at_ = before;  // not its partner: read it again as a letter of its own
                }
            }
            append_utf8(result, point);
            return;
        }
        const std::size_t found = peek() == '\0' ? letters.npos : letters.find(peek());
        if (found == letters.npos) {
            refuse();
        }
        ++at_;
        result += meanings[found];
    }

    unsigned hex4() {
        unsigned point = 0;
        for (int digit = 0; digit < 4; ++digit, ++at_) {
            const char letter = peek();
            point <<= 4;
            if (letter >= '0' && letter <= '9') {
                point += static_cast<unsigned>(letter - '0');
            } else if (letter >= 'a' && letter <= 'f') {
                point += static_cast<unsigned>(letter - 'a') + 10;
            } else if (letter >= 'A' && letter <= 'F') {
                point += static_cast<unsigned>(letter - 'A') + 10;
            } else {
                refuse();
            }
        }
        return point;
    }

    static void append_utf8(std::string& result, unsigned point) {
        if (point >= 0xD800 && point < 0xE000) {
            point = 0xFFFD;  // half a surrogate pair is no letter
        }
        const auto put = [&result](unsigned byte) { result += static_cast<char>(byte); };
        if (point < 0x80) {
            put(point);
        } else if (point < 0x800) {
            put(0xC0 | (point >> 6));
            put(0x80 | (point & 0x3F));
        } else {
            if (point < 0x10000) {
                put(0xE0 | (point >> 12));
            } else {
                put(0xF0 | (point >> 18));
                put(0x80 | ((point >> 12) & 0x3F));
            }
            put(0x80 | ((point >> 6) & 0x3F));
            put(0x80 | (point & 0x3F));
        }
    }

    bool digit() const { return peek() >= '0' && peek() <= '9'; }

    void digits() {
        if (!digit()) {
            refuse();
        }
        while (digit()) {
            ++at_;
        }
    }

    Json number() {
        const std::size_t start = at_;
        const bool negative = take('-');
        const std::size_t first = at_;
        if (!take('0')) {
            digits();
        }
        const std::size_t end = at_;
        bool whole = true;
        if (take('.')) {
            whole = false;
            digits();
        }
        if (take('e') || take('E')) {
            whole = false;
            take('+') || take('-');
            digits();
        }
        if (whole) {
            if (const auto magnitude = exact(text_.substr(first, end - first))) {
                return Json::of(*magnitude, negative);
            }
        }
        return Json::of(real(text_.substr(start, at_ - start)));
    }

    /// The digits as an integer, if it fits 64 bits.
    static std::optional<std::uint64_t> exact(std::string_view digits) {
        constexpr std::uint64_t most = std::numeric_limits<std::uint64_t>::max();
        std::uint64_t value = 0;
        for (const char letter : digits) {
            const auto digit = static_cast<std::uint64_t>(letter - '0');
            if (value > (most - digit) / 10) {
                return std::nullopt;
            }
            value = value * 10 + digit;
        }
        return value;
    }

    /// By a stream with the classic locale: strtod would obey the program's, and from_chars for
    /// doubles is missing from older C++17 libraries. Too large becomes the largest double.
    static double real(std::string_view digits) {
        std::istringstream stream{std::string(digits)};
        stream.imbue(std::locale::classic());
        double value = 0.0;
        stream >> value;
        return value;
    }

    std::string_view text_;
    std::size_t at_ = 0;
};

}  // namespace eftraind::wire

namespace eftraind {

inline Json Json::parse(std::string_view text) { return wire::JsonParser(text).whole(); }

}  // namespace eftraind
