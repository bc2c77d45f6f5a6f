// Whether a command may run: sizes that can be, and every operand inside its slot. Nothing of the
// command's memory is touched before `check` has said yes; indices and labels, which are data, are
// looked at by the commands themselves.
#pragma once
#include "setup.h"

namespace eft {

// Words that a command touches from each operand's offset on; 0: it has none. `loose` operands may
// start at any word, the others start at a beat.
struct Needs {
  int64_t src, weights, dst, aux, extra;
  bool loose_src, loose_weights, loose_dst, loose_aux, loose_extra;
};

constexpr int64_t BEYOND = int64_t(1) << 31;  // more words than any slot has

inline int64_t times(int64_t a, int64_t b) { return a * b < BEYOND ? a * b : BEYOND; }

inline int64_t map_words(int images, int channels, int rows, int cols, int lanes) {
  return times(times(times(images, tiles(channels)), times(rows, cols)), lanes);
}

inline int64_t weight_words(const Command& c) {
  const int64_t taps = times(times(tiles(c.m), times(c.kernel_rows, c.kernel_cols)), T);
  return c.groups > 1 ? taps : times(taps, times(tiles(c.n), c.lanes));
}

inline Needs no_needs() {
  const Needs none = {0, 0, 0, 0, 0, false, false, false, false, false};
  return none;
}

static Needs map_needs(const Command& c) {
  Needs need = no_needs();
  const int64_t x = map_words(c.images, c.n, c.rows_in, c.cols_in, c.lanes);
  const int64_t vector = times(tiles(c.n), T), bias = times(tiles(c.m), T);
  const int64_t masked = has(c, FLAG_MASK) ? x : 0, biased = has(c, FLAG_BIAS) ? bias : 0;
  if (is_convolution(c.op)) {
    const int64_t y = map_words(c.images, c.m, c.rows_out, c.cols_out, T), w = weight_words(c) + biased;
    need.src = c.op == OP_CONV_BP ? y : x;
    need.weights = c.op == OP_CONV_WU ? 0 : w;
    need.dst = c.op == OP_CONV_FP ? y : c.op == OP_CONV_BP ? x : w;
    need.aux = c.op == OP_CONV_FP ? 0 : c.op == OP_CONV_BP ? masked : y;
    if (has(c, FLAG_STEP)) {
      need.weights = HYPER_CORRECTION2 + 1;
      need.loose_weights = true;
      need.extra = w;
    }
  } else if (is_pool(c.op)) {
    const int64_t y = map_words(c.images, c.n, c.rows_out, c.cols_out, T);
    const bool forward = c.op == OP_POOL_FP || c.op == OP_AVG_FP;
    need.src = forward ? x : y;
    need.dst = forward ? y : x;
    need.aux = forward ? 0 : c.op == OP_POOL_BP ? x : masked;
  } else if (c.op == OP_BN_STAT) {
    const bool named = c.dst_slot != SLOT_NONE;
    need.src = has(c, FLAG_FROZEN) ? 0 : x;
    need.dst = named ? 2 * vector : 0;
    need.extra = 2 * vector;
    need.aux = named ? 1 : 0;
    need.loose_aux = true;
  } else if (c.op == OP_BN_FP || c.op == OP_BN_BP) {
    need.src = need.dst = x;
    need.weights = 2 * vector;
    need.aux = c.op == OP_BN_FP ? 2 * vector : x;
    need.extra = c.op == OP_BN_FP ? 0 : 4 * vector;
  } else if (c.op == OP_BN_SUM) {
    need.src = need.aux = x;
    need.extra = 4 * vector;
    need.dst = c.dst_slot != SLOT_NONE ? 2 * vector : 0;
  } else if (c.op == OP_CONCAT_FP || c.op == OP_CONCAT_BP) {
    const int64_t whole = map_words(c.images, c.m, c.rows_in, c.cols_in, T);
    need.src = c.op == OP_CONCAT_FP ? x : whole;
    need.dst = c.op == OP_CONCAT_FP ? whole : x;
    need.aux = c.op == OP_CONCAT_FP ? 0 : masked;
  } else {
    const bool drops = c.op == OP_DROP_FP;
    need.src = x;
    need.dst = c.op == OP_BIAS_WU ? vector : x;
    need.aux = c.op == OP_ADD_FP ? x : drops ? 1 : c.op == OP_BIAS_WU ? 0 : masked;
    need.extra = c.op == OP_DROP_BP ? 1 : 0;
    need.loose_aux = drops;
    need.loose_extra = true;
  }
  return need;
}

static Needs needs_of(const Command& c) {
  Needs need = no_needs();
  if (c.op == OP_LOAD) {
    const int64_t x = map_words(1, c.n, c.rows_in, c.cols_in, c.lanes);
    need.src = has(c, FLAG_U8) ? x / 4 : x;
    need.loose_src = has(c, FLAG_U8);
    need.weights = times(2 * tiles(c.n), c.lanes);
    need.dst = times(c.images, x);
    need.aux = c.images;
    need.loose_aux = true;
  } else if (c.op == OP_LOSS) {
    need.src = need.dst = map_words(c.images, c.m, 1, 1, T);
    need.aux = c.images;
    need.extra = 2 * int64_t(c.images);
    need.weights = c.weights_slot != SLOT_NONE ? int64_t(tiles(c.m)) * T + 1 : 0;
    need.loose_aux = need.loose_extra = need.loose_weights = true;
  } else if (c.op == OP_NORM || c.op == OP_COPY || c.op == OP_UPDATE) {
    need.src = c.count;
    need.dst = c.op == OP_NORM ? 1 : c.count;
    need.loose_dst = c.op == OP_NORM;
    if (c.op == OP_UPDATE) {
      need.extra = int64_t(c.count) + (has(c, FLAG_ADAM) ? c.axis : 0);
      need.weights = c.weights_slot != SLOT_NONE ? 1 : 0;
      need.aux = HYPER_CORRECTION2 + 1;
      need.loose_weights = need.loose_aux = true;
    }
  } else {
    need = map_needs(c);
  }
  return need;
}

constexpr int MOST_SIDE = 4096;  // of a kernel, a stride, a padding

inline bool within(int value, int low, int high) { return value >= low && value <= high; }

static bool sizes_can_be(const Command& c) {
  const bool words = c.op == OP_UPDATE || c.op == OP_COPY || c.op == OP_NORM;
  if (words) return c.count > 0 && (c.op != OP_UPDATE || !has(c, FLAG_ADAM) || c.axis >= 0);
  const int most_channels = 1 << 24;
  if (c.images <= 0 || !within(c.m, 0, most_channels)) return false;
  if (c.op == OP_LOSS) return c.m > 0 && c.count > 0;
  const bool conv = is_convolution(c.op);
  if (!within(c.n, 1, most_channels) || c.rows_in <= 0 || c.cols_in <= 0 || (conv && c.m == 0)) return false;
  if (map_words(c.images, c.n, c.rows_in, c.cols_in, T) >= BEYOND) return false;
  const bool may_be_narrow = c.op == OP_LOAD || c.op == OP_CONV_FP || c.op == OP_CONV_WU || c.op == OP_POOL_FP;
  const bool narrow = may_be_narrow && c.n <= T && c.lanes == ceil_div(c.n, BEAT_WORDS) * BEAT_WORDS;
  if (c.lanes != T && !narrow) return false;
  if (has(c, FLAG_STEP) && (c.op != OP_CONV_WU || has(c, FLAG_ACCUMULATE) || has(c, FLAG_ADAM))) return false;
  if (!(c.groups == 1 || (conv && c.groups == c.n && c.groups == c.m))) return false;
  if ((c.op == OP_CONCAT_FP || c.op == OP_CONCAT_BP) && (c.axis < 0 || c.axis > c.m - c.n)) return false;
  if ((c.op == OP_DROP_FP || c.op == OP_DROP_BP) && !(c.scalar >= 0.0f && c.scalar < 1.0f)) return false;
  if (c.op == OP_BN_BP && !has(c, FLAG_FROZEN) && c.count <= 0) return false;
  if (!conv && !is_pool(c.op)) return true;
  const bool sides = within(c.kernel_rows, 1, MOST_SIDE) && within(c.kernel_cols, 1, MOST_SIDE) &&
                     within(c.stride_rows, 1, MOST_SIDE) && within(c.stride_cols, 1, MOST_SIDE) &&
                     within(c.pad_top, 0, MOST_SIDE) && within(c.pad_left, 0, MOST_SIDE);
  if (!sides || c.rows_out <= 0 || c.cols_out <= 0) return false;
  // No output row or column may lie wholly behind its input.
  return int64_t(c.rows_out - 1) * c.stride_rows - c.pad_top < c.rows_in &&
         int64_t(c.cols_out - 1) * c.stride_cols - c.pad_left < c.cols_in;
}

// The slot table, as the host block has it.
struct Table {
  int beat[SLOT_COUNT], words[SLOT_COUNT];
};

// Where an operand lies, if it lies inside its slot and the slot inside the window.
static int find(const Table& table, int window_beats, int slot, int offset, int64_t words, bool loose, Place& place) {
  place.beat = place.word = 0;
  if (words == 0) return STATUS_OK;
  if (!within(slot, 0, SLOT_COUNT - 1) || table.words[slot] <= 0) return STATUS_BAD_SLOT;
  const int64_t last = table.beat[slot] + (int64_t(table.words[slot]) + BEAT_WORDS - 1) / BEAT_WORDS;
  if (table.beat[slot] < 0 || last > window_beats) return FAULT_BAD_WINDOW;
  if (offset < 0 || offset + words > table.words[slot]) return STATUS_OUT_OF_RANGE;
  place.beat = table.beat[slot] + offset / BEAT_WORDS;
  place.word = offset % BEAT_WORDS;
  return place.word == 0 || loose ? STATUS_OK : FAULT_MISALIGNED;
}

inline int first_bad(int a, int b) { return a != STATUS_OK ? a : b; }

static int check(const Table& table, int window_beats, const Command& c, Places& at) {
  HLS(INLINE off)
  if (!within(c.op, OP_LOAD, OP_BIAS_WU)) return STATUS_BAD_OP;
  if (!sizes_can_be(c)) return STATUS_BAD_SHAPE;
  if (c.op == OP_UPDATE && has(c, FLAG_ADAM)) {
    if ((FEATURES & FEATURE_ADAM) == 0) return STATUS_UNSUPPORTED;
    if (c.axis % BEAT_WORDS != 0) return FAULT_MISALIGNED;
  }
  const Needs n = needs_of(c);
  int status = find(table, window_beats, c.src_slot, c.src_offset, n.src, n.loose_src, at.src);
  status = first_bad(
      status, find(table, window_beats, c.weights_slot, c.weights_offset, n.weights, n.loose_weights, at.weights));
  status = first_bad(status, find(table, window_beats, c.dst_slot, c.dst_offset, n.dst, n.loose_dst, at.dst));
  status = first_bad(status, find(table, window_beats, c.aux_slot, c.aux_offset, n.aux, n.loose_aux, at.aux));
  status = first_bad(status, find(table, window_beats, c.extra_slot, c.extra_offset, n.extra, n.loose_extra, at.extra));
  return status;
}

// Samples that LOAD may gather: the rest of its slot.
inline int samples_of(const Table& table, const Command& c) {
  const Needs n = needs_of(c);
  return static_cast<int>((int64_t(table.words[c.src_slot]) - c.src_offset) / n.src);
}

}  // namespace eft
