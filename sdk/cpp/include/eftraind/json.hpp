/// JSON as the daemon sends it: read-only values and a strict, bounded parser (RFC 8259).
///
/// Small on purpose: WELCOME, ERROR and events need it, and the SDK shall depend on libzmq alone.
/// Nesting is limited to 64 levels, so hostile text cannot exhaust the stack.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eftraind/errors.hpp"

namespace eftraind {

class Json {
  public:
    enum class Type { null, boolean, integer, real, string, array, object };
    using Array = std::vector<Json>;
    using Object = std::map<std::string, Json, std::less<>>;

    Json() = default;
    static Json of(bool value) {
        Json json(Type::boolean);
        json.boolean_ = value;
        return json;
    }
    /// An integer of -(2^64 - 1) to 2^64 - 1; anything larger is a real.
    static Json of(std::uint64_t magnitude, bool negative) {
        Json json(Type::integer);
        json.magnitude_ = magnitude;
        json.negative_ = negative && magnitude != 0;
        return json;
    }
    static Json of(double value) {
        Json json(Type::real);
        json.real_ = value;
        return json;
    }
    static Json of(std::string value) {
        Json json(Type::string);
        json.string_ = std::move(value);
        return json;
    }
    static Json of(Array value) {
        Json json(Type::array);
        json.array_ = std::move(value);
        return json;
    }
    static Json of(Object value) {
        Json json(Type::object);
        json.object_ = std::move(value);
        return json;
    }

    /// Throws WireError (code "malformed") for anything but one JSON value in UTF-8.
    static Json parse(std::string_view text);

    Type type() const noexcept { return type_; }
    bool is(Type type) const noexcept { return type_ == type; }
    bool is_number() const noexcept { return is(Type::integer) || is(Type::real); }

    // Each throws WireError if the value has another type, or does not fit.
    bool boolean() const { return of_type(Type::boolean).boolean_; }
    std::int64_t integer() const {
        of_type(Type::integer);
        const std::uint64_t limit = (std::uint64_t{1} << 63) - 1;
        if (magnitude_ > limit) {
            fail("an integer is out of range");
        }
        const auto value = static_cast<std::int64_t>(magnitude_);
        return negative_ ? -value : value;
    }
    std::uint64_t unsigned_integer() const {
        of_type(Type::integer);
        if (negative_) {
            fail("an integer is negative");
        }
        return magnitude_;
    }
    double number() const {
        if (is(Type::integer)) {
            const auto value = static_cast<double>(magnitude_);
            return negative_ ? -value : value;
        }
        return of_type(Type::real).real_;
    }
    const std::string& string() const { return of_type(Type::string).string_; }
    const Array& array() const { return of_type(Type::array).array_; }
    const Object& object() const { return of_type(Type::object).object_; }

    /// The member `name` of an object, or nullptr.
    const Json* find(std::string_view name) const {
        const Object& members = object();
        const auto found = members.find(name);
        return found == members.end() ? nullptr : &found->second;
    }
    /// The member `name` of an object; WireError if there is none.
    const Json& operator[](std::string_view name) const {
        const Json* found = find(name);
        if (found == nullptr) {
            fail("member '" + std::string(name) + "' is missing");
        }
        return *found;
    }

    [[noreturn]] static void fail(std::string message) {
        raise({FaultKind::wire, std::move(message), "see docs/protocol.md", "malformed"});
    }

  private:
    explicit Json(Type type) : type_(type) {}
    const Json& of_type(Type wanted) const {
        if (type_ != wanted) {
            fail("a JSON value has another type than expected");
        }
        return *this;
    }

    Type type_ = Type::null;
    bool boolean_ = false;
    bool negative_ = false;
    std::uint64_t magnitude_ = 0;
    double real_ = 0.0;
    std::string string_;
    Array array_;
    Object object_;
};

}  // namespace eftraind

#include "eftraind/wire/json_parser.hpp"
