/// What users hand over without copying it: samples, labels and sids, borrowed for one call.
///
/// Each is made from a pointer and a count, or from anything contiguous with data() and size():
/// std::vector, std::array, a span.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <type_traits>
#include <vector>

#include "eftraind/wire/messages.hpp"

namespace eftraind {

/// The type of a container's elements, and no type at all for what is no container.
template <typename Container>
using ElementOf = std::remove_cv_t<std::remove_pointer_t<decltype(
    std::declval<const Container&>().data() + std::declval<const Container&>().size())>>;

/// Samples in C order: sample, row, column, channel (NHWC). Their element type is the model's:
/// std::uint8_t or float; nothing is converted.
class Samples {
  public:
    /// `elements` counts numbers, not samples.
    Samples(const std::uint8_t* data, std::size_t elements)
        : data_(data), elements_(elements), dtype_(Dtype::uint8) {}
    Samples(const float* data, std::size_t elements)
        : data_(reinterpret_cast<const std::uint8_t*>(data)),
          elements_(elements),
          dtype_(Dtype::float32) {}
    template <typename Container,
              typename = std::enable_if_t<std::is_same_v<ElementOf<Container>, std::uint8_t> ||
                                          std::is_same_v<ElementOf<Container>, float>>>
    Samples(const Container& values) : Samples(values.data(), values.size()) {}

    const std::uint8_t* bytes() const noexcept { return data_; }
    std::size_t elements() const noexcept { return elements_; }
    Dtype dtype() const noexcept { return dtype_; }

  private:
    const std::uint8_t* data_;
    std::size_t elements_;
    Dtype dtype_;
};

/// Many values of one type.
template <typename Value>
class ManyOf {
  public:
    ManyOf() = default;
    ManyOf(const Value* data, std::size_t count) : data_(data), count_(count) {}
    template <typename Container,
              typename = std::enable_if_t<std::is_same_v<ElementOf<Container>, Value>>>
    ManyOf(const Container& values) : ManyOf(values.data(), values.size()) {}

    const Value* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return count_; }
    const Value* begin() const noexcept { return data_; }
    const Value* end() const noexcept { return data_ + count_; }

  private:
    const Value* data_ = nullptr;
    std::size_t count_ = 0;
};

/// One class per sample; -1 means that it comes later. Empty: all come later.
using Labels = ManyOf<std::int32_t>;
/// Sids as push and push_batch returned them.
using Sids = ManyOf<Seq>;

/// The sids of a batch, in order: first, first + 1, and so on.
struct SidRange {
    Seq first = 0;
    std::size_t count = 0;

    Seq operator[](std::size_t index) const { return first + index; }
    std::size_t size() const { return count; }
    std::vector<Seq> all() const {
        std::vector<Seq> sids(count);
        for (std::size_t at = 0; at < count; ++at) {
            sids[at] = first + at;
        }
        return sids;
    }
};

}  // namespace eftraind
