// The sequencer: fetches commands, checks them, has them done, reports. See docs/kernel.md.
#include "eftrain.h"

#include "check.h"
#include "learn.h"
#include "norm.h"

namespace eft {

static Command fetch(const Word* control, int beat) {
  float words[COMMAND_WORDS];
fetch_beat:
  for (int i = 0; i < COMMAND_BEATS; ++i) {
    HLS(PIPELINE II=1)
    const Word word = control[beat + i];
  fetch_word:
    for (int e = 0; e < BEAT_WORDS; ++e) {
      HLS(UNROLL)
      words[i * BEAT_WORDS + e] = word.v[e];
    }
  }
  return decode(words);
}

static void read_table(const Word* control, int host_block, Table& table) {
table_slot:
  for (int i = 0; i < SLOT_COUNT; ++i) {
    HLS(PIPELINE II=1)
    const Word word = control[host_block + i];
    table.beat[i] = as_int(word.v[SLOT_WORD_BEAT]);
    table.words[i] = as_int(word.v[SLOT_WORD_WORDS]);
  }
}

static int norm(const Word* features, Word* control, const Command& c, const Places& at, Count& count) {
  const float before = has(c, FLAG_ACCUMULATE) ? peek(control, at.dst, 0) : 0.0f;
  const float total = before + sum_of_squares(features, c, at, count);
  if (!finite(total)) return STATUS_NONFINITE;
  poke(control, at.dst, 0, total);
  return STATUS_OK;
}

static int walk(const Word* features, const Word* weights, Word* results, const Word* control, const Command& c,
                const Places& at, Count& count) {
  const bool drops = c.op == OP_DROP_FP || c.op == OP_DROP_BP;
  const uint32_t seed = drops ? as_int(peek(control, c.op == OP_DROP_FP ? at.aux : at.extra, 0)) : 0;
  const bool updates = c.op == OP_UPDATE, clips = updates && c.weights_slot != SLOT_NONE;
  Work work = work_of(c, at, seed);
  if (work.step.on) work.step.rates = rates_of(control, updates ? at.aux : at.weights, clips, at.weights);
  if (!work.tiling.fits) return FAULT_TOO_LARGE;
  if (work.kind == GRADIENT) count = walk_gradient(features, weights, results, work);
  else if (work.kind == WORDS) count = walk_words(features, weights, results, work);
  else count = walk_maps(features, weights, results, work);
  return count.finite ? STATUS_OK : STATUS_NONFINITE;
}

static int run(const Word* features, const Word* weights, Word* results, Word* control, const Table& table,
               const Command& c, const Places& at, Count& count) {
  HLS(INLINE off)
  const bool named = c.dst_slot != SLOT_NONE, weighted = c.weights_slot != SLOT_NONE;
  switch (c.op) {
    case OP_LOAD:
      return gather(features, weights, results, control, c, at, samples_of(table, c), count);
    case OP_LOSS:
      if (c.m > MOST_CLASSES) return FAULT_TOO_LARGE;
      return loss(features, results, control, c, at, weighted, count);
    case OP_UPDATE:
      if (!has(c, FLAG_ADAM)) return walk(features, weights, results, control, c, at, count);
      return update_adam(features, weights, results, c, at, rates_of(control, at.aux, weighted, at.weights), count);
    case OP_NORM:
      return norm(features, control, c, at, count);
    case OP_COPY:
      copy(features, results, c, at, count);
      return STATUS_OK;
    case OP_BN_STAT: {
      if (tiles(c.n) > MOST_NORM_TILES) return FAULT_TOO_LARGE;
      const bool follows = named && !has(c, FLAG_FROZEN);
      return statistics(features, weights, results, c, at, follows, follows ? peek(control, at.aux, 0) : 0.0f, count);
    }
    case OP_BN_SUM:
    case OP_BIAS_WU:
      channel_sums(features, weights, results, c, at, named, count);
      return STATUS_OK;
    default:
      return walk(features, weights, results, control, c, at, count);
  }
}

static void write_entry(Word* control, int beat, int status, const Count& count, int cycles) {
  Word word;
  word.v[ENTRY_STATUS] = as_float(status);
  word.v[ENTRY_STEPS] = as_float(count.steps);
  word.v[ENTRY_PASSES] = as_float(count.passes);
  word.v[ENTRY_CYCLES] = as_float(cycles);
  control[beat] = word;
}

static void write_header(Word* control, int beat, int ticket, int status, int index) {
  const int digest = static_cast<int>(KERNEL_DIGEST), lanes = T | PIXELS << 16, depth = X_DEPTH | Y_DEPTH << 16;
  const int words[HEADER_BEATS * BEAT_WORDS] = {ticket, status, index, FEATURES, digest, lanes, depth, W_DEPTH};
header_beat:
  for (int i = HEADER_BEATS - 1; i >= 0; --i) {  // the ticket last
    HLS(PIPELINE off)
    Word word;
  header_word:
    for (int e = 0; e < BEAT_WORDS; ++e) {
      HLS(UNROLL)
      word.v[e] = as_float(words[i * BEAT_WORDS + e]);
    }
    control[beat + i] = word;
  }
}

// Beats [first, first + beats) lie inside the window.
static bool inside(int window_beats, int first, int64_t beats) {
  return first >= 0 && beats >= 0 && first + beats <= window_beats;
}

}  // namespace eft

using namespace eft;

extern "C" void eftrain(const Word* features, const Word* weights, Word* results, Word* control, int window_beats,
                        int host_block, int program, int count, int report, int ticket, volatile const int* clock) {
#ifdef __BAMBU__
#pragma HLS interface mode=m_axi port=features offset=direct bundle=features
#pragma HLS interface mode=m_axi port=weights offset=direct bundle=weights
#pragma HLS interface mode=m_axi port=results offset=direct bundle=results
#pragma HLS interface mode=m_axi port=control offset=direct bundle=commands
#endif
  HLS(INTERFACE m_axi port=features offset=slave bundle=features max_read_burst_length=16 num_read_outstanding=8)
  HLS(INTERFACE m_axi port=weights offset=slave bundle=weights max_read_burst_length=16 num_read_outstanding=8)
  HLS(INTERFACE m_axi port=results offset=slave bundle=results max_read_burst_length=16 max_write_burst_length=16)
  HLS(INTERFACE m_axi port=control offset=slave bundle=commands)
  HLS(INTERFACE s_axilite port=features bundle=control)
  HLS(INTERFACE s_axilite port=weights bundle=control)
  HLS(INTERFACE s_axilite port=results bundle=control)
  HLS(INTERFACE s_axilite port=control bundle=control)
  HLS(INTERFACE s_axilite port=window_beats bundle=control)
  HLS(INTERFACE s_axilite port=host_block bundle=control)
  HLS(INTERFACE s_axilite port=program bundle=control)
  HLS(INTERFACE s_axilite port=count bundle=control)
  HLS(INTERFACE s_axilite port=report bundle=control)
  HLS(INTERFACE s_axilite port=ticket bundle=control)
  HLS(INTERFACE s_axilite port=return bundle=control)
  HLS(INTERFACE ap_none port=clock)
  HLS(ARRAY_PARTITION variable=x0 complete dim=1)
  HLS(ARRAY_PARTITION variable=x0 complete dim=3)
  HLS(ARRAY_PARTITION variable=x1 complete dim=1)
  HLS(ARRAY_PARTITION variable=x1 complete dim=3)
  HLS(ARRAY_PARTITION variable=y0 complete dim=1)
  HLS(ARRAY_PARTITION variable=y0 complete dim=3)
  HLS(ARRAY_PARTITION variable=y1 complete dim=1)
  HLS(ARRAY_PARTITION variable=y1 complete dim=3)
  HLS(ARRAY_PARTITION variable=g0 complete dim=1)
  HLS(ARRAY_PARTITION variable=g0 complete dim=3)
  HLS(BIND_STORAGE variable=g0 type=ram_2p impl=EFT_GRADIENT_RAM)
  HLS(ARRAY_PARTITION variable=c0 complete dim=1)
  HLS(ARRAY_PARTITION variable=c0 complete dim=2)
  HLS(ARRAY_PARTITION variable=c1 complete dim=1)
  HLS(ARRAY_PARTITION variable=c1 complete dim=2)
  HLS(ARRAY_PARTITION variable=w0 complete dim=2)
  HLS(ARRAY_PARTITION variable=w0 complete dim=3)
  HLS(ARRAY_PARTITION variable=w1 complete dim=2)
  HLS(ARRAY_PARTITION variable=w1 complete dim=3)

  if (count < 0 || !inside(window_beats, report, HEADER_BEATS + int64_t(count))) return;
  int status = STATUS_OK, index = 0;
  Table table;
  if (!inside(window_beats, host_block, HOST_BLOCK_BEATS) ||
      !inside(window_beats, program, COMMAND_BEATS * int64_t(count))) {
    status = FAULT_BAD_WINDOW;
  } else {
    read_table(control, host_block, table);
  }
command:
  for (index = 0; index < count && status == STATUS_OK; ++index) {
    HLS(PIPELINE off)
    HLS(LOOP_TRIPCOUNT min=1 max=64)
    const uint32_t began = static_cast<uint32_t>(*clock);
    Count spent = {0, 0, true};
    Places at;
    if (as_int(control[host_block + ABORT_BEAT].v[0]) != 0) {
      status = FAULT_ABORTED;
    } else {
      const Command c = fetch(control, program + index * COMMAND_BEATS);
      status = check(table, window_beats, c, at);
      if (status == STATUS_OK) status = run(features, weights, results, control, table, c, at, spent);
    }
    write_entry(control, report + HEADER_BEATS + index, status, spent,
                static_cast<int>(static_cast<uint32_t>(*clock) - began));
    if (status != STATUS_OK) break;
  }
  write_header(control, report, ticket, status, index);
}
