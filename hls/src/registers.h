// Generated from eftraind/registers.py: do not edit.
#pragma once
#include "bits.h"
#include "isa.h"
namespace eft {
constexpr uint32_t KERNEL_DIGEST = 0x4bb6658au;
constexpr int32_t BEAT_WORDS = 4;
constexpr int32_t COMMAND_BEATS = 8;
constexpr int32_t REGISTER_SPACE_BYTES = 128;
constexpr int32_t INTERRUPT_DONE = 1;
constexpr int32_t ABORT_BEAT = 32;
constexpr int32_t HOST_BLOCK_BEATS = 33;
constexpr int32_t HEADER_BEATS = 2;
constexpr int32_t REG_CTRL = 0;
constexpr int32_t REG_GLOBAL_INTERRUPT_ENABLE = 4;
constexpr int32_t REG_INTERRUPT_ENABLE = 8;
constexpr int32_t REG_INTERRUPT_STATUS = 12;
constexpr int32_t CTRL_START = 1;
constexpr int32_t CTRL_DONE = 2;
constexpr int32_t CTRL_IDLE = 4;
constexpr int32_t CTRL_READY = 8;
constexpr int32_t FAULT_MISALIGNED = 16;
constexpr int32_t FAULT_TOO_LARGE = 17;
constexpr int32_t FAULT_BAD_WINDOW = 18;
constexpr int32_t FAULT_ABORTED = 19;
constexpr int32_t SLOT_WORD_BEAT = 0;
constexpr int32_t SLOT_WORD_WORDS = 1;
constexpr int32_t HEADER_TICKET = 0;
constexpr int32_t HEADER_STATUS = 1;
constexpr int32_t HEADER_INDEX = 2;
constexpr int32_t HEADER_FEATURES = 3;
constexpr int32_t HEADER_DIGEST = 4;
constexpr int32_t HEADER_LANES = 5;
constexpr int32_t HEADER_DEPTH = 6;
constexpr int32_t HEADER_WEIGHT_TILES = 7;
constexpr int32_t ENTRY_STATUS = 0;
constexpr int32_t ENTRY_STEPS = 1;
constexpr int32_t ENTRY_PASSES = 2;
constexpr int32_t ENTRY_CYCLES = 3;
constexpr int32_t FEATURE_COUNTER = 1;
constexpr int32_t FEATURE_ADAM = 2;
constexpr int32_t ARG_FEATURES = 16;
constexpr int32_t ARG_WEIGHTS = 28;
constexpr int32_t ARG_RESULTS = 40;
constexpr int32_t ARG_CONTROL = 52;
constexpr int32_t ARG_WINDOW_BEATS = 64;
constexpr int32_t ARG_HOST_BLOCK = 72;
constexpr int32_t ARG_PROGRAM = 80;
constexpr int32_t ARG_COUNT = 88;
constexpr int32_t ARG_REPORT = 96;
constexpr int32_t ARG_TICKET = 104;
// A command from its words, as they come from a port.
inline Command decode(const float w[]) {
  Command c;
  c.op = as_int(w[0]);
  c.flags = as_int(w[1]);
  c.layer = as_int(w[2]);
  c.images = as_int(w[3]);
  c.m = as_int(w[4]);
  c.n = as_int(w[5]);
  c.rows_in = as_int(w[6]);
  c.cols_in = as_int(w[7]);
  c.rows_out = as_int(w[8]);
  c.cols_out = as_int(w[9]);
  c.kernel_rows = as_int(w[10]);
  c.kernel_cols = as_int(w[11]);
  c.stride_rows = as_int(w[12]);
  c.stride_cols = as_int(w[13]);
  c.pad_top = as_int(w[14]);
  c.pad_left = as_int(w[15]);
  c.groups = as_int(w[16]);
  c.lanes = as_int(w[17]);
  c.count = as_int(w[18]);
  c.axis = as_int(w[19]);
  c.scalar = w[20];
  c.src_slot = as_int(w[21]);
  c.src_offset = as_int(w[22]);
  c.weights_slot = as_int(w[23]);
  c.weights_offset = as_int(w[24]);
  c.dst_slot = as_int(w[25]);
  c.dst_offset = as_int(w[26]);
  c.aux_slot = as_int(w[27]);
  c.aux_offset = as_int(w[28]);
  c.extra_slot = as_int(w[29]);
  c.extra_offset = as_int(w[30]);
  return c;
}
}  // namespace eft
