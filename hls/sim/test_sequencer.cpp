// What the sequencer refuses, reports and leaves alone. Random commands may do what they like inside
// bound slots; no word outside them may change, and the address sanitizer watches the window's ends.
#include "bench.h"

using namespace bench;

namespace {

Command copy_of(int count) {
  Command c = command(OP_COPY);
  c.count = count;
  c.src_slot = 1;
  c.dst_slot = 2;
  return c;
}

Machine two_slots() {
  Machine m(1024);
  m.bind(1, Floats(30, 1.5f));
  m.bind(2, Floats(30, 2.5f));
  return m;
}

void header_names_the_build() {
  Machine m = two_slots();
  CHECK(m.run(0) == STATUS_OK && m.index() == 0);
  CHECK(m.get(REPORT, HEADER_DIGEST) == int32_t(KERNEL_DIGEST) && m.get(REPORT, HEADER_LANES) == (T | PIXELS << 16));
  CHECK(m.get(REPORT, HEADER_DEPTH) == (X_DEPTH | Y_DEPTH << 16) && m.get(REPORT, HEADER_WEIGHT_TILES) == W_DEPTH);
  CHECK(m.get(REPORT, HEADER_FEATURES) == FEATURES);
}

void commands_run_in_order_until_one_fails() {
  Machine m = two_slots();
  m.put(0, copy_of(5));
  m.put(1, copy_of(31));
  m.put(2, copy_of(6));
  CHECK(m.run(3) == STATUS_OUT_OF_RANGE && m.index() == 1);
  CHECK(m.entry(0, ENTRY_STATUS) == STATUS_OK && m.entry(0, ENTRY_PASSES) == 1);
  CHECK(m.entry(1, ENTRY_STATUS) == STATUS_OUT_OF_RANGE && m.get(REPORT + HEADER_BEATS + 2, 0) == as_int(UNTOUCHED));
  const Floats after = m.read(2);
  CHECK(after[4] == 1.5f && after[5] == 2.5f);
}

void abort_ends_a_run_before_its_next_command() {
  Machine m = two_slots();
  m.put(0, copy_of(5));
  m.set(HOST_BLOCK + ABORT_BEAT, 0, 1);
  CHECK(m.run(1) == FAULT_ABORTED && m.index() == 0 && m.read(2)[0] == 2.5f);
  m.set(HOST_BLOCK + ABORT_BEAT, 0, 0);
  CHECK(m.run(1) == STATUS_OK && m.index() == 1);
}

int status_of(void (*change)(Command&)) {
  Machine m = two_slots();
  Command c = copy_of(8);
  change(c);
  return m.one(c);
}

void each_fault_has_its_code() {
  CHECK(status_of([](Command& c) { c.op = 99; }) == STATUS_BAD_OP);
  CHECK(status_of([](Command& c) { c.op = 0; }) == STATUS_BAD_OP);
  CHECK(status_of([](Command& c) { c.count = 0; }) == STATUS_BAD_SHAPE);
  CHECK(status_of([](Command& c) { c.src_slot = 7; }) == STATUS_BAD_SLOT);
  CHECK(status_of([](Command& c) { c.src_slot = 32; }) == STATUS_BAD_SLOT);
  CHECK(status_of([](Command& c) { c.dst_slot = -1; }) == STATUS_BAD_SLOT);
  CHECK(status_of([](Command& c) { c.dst_offset = 24; }) == STATUS_OUT_OF_RANGE);
  CHECK(status_of([](Command& c) { c.dst_offset = -4; }) == STATUS_OUT_OF_RANGE);
  CHECK(status_of([](Command& c) { c.dst_offset = 2147483647; }) == STATUS_OUT_OF_RANGE);
  CHECK(status_of([](Command& c) { c.dst_offset = 2; }) == FAULT_MISALIGNED);
  CHECK(status_of([](Command& c) {
    c.op = OP_UPDATE;
    c.flags = FLAG_ADAM;
    c.axis = 6;
  }) == FAULT_MISALIGNED);
}

void slots_program_and_report_lie_in_the_window() {
  Machine m = two_slots();
  m.put(0, copy_of(8));
  m.set(HOST_BLOCK + 2, SLOT_WORD_BEAT, 1020);
  CHECK(m.run(1) == FAULT_BAD_WINDOW);
  m.set(HOST_BLOCK + 2, SLOT_WORD_BEAT, -5);
  CHECK(m.run(1) == FAULT_BAD_WINDOW);
  Word* w = m.memory.data();
  eftrain(w, w, w, w, 1024, HOST_BLOCK, 1020, 1, REPORT, 77, &m.clock);
  CHECK(m.get(REPORT, HEADER_TICKET) == 77 && m.get(REPORT, HEADER_STATUS) == FAULT_BAD_WINDOW);
  eftrain(w, w, w, w, 1024, 1000, PROGRAM, 1, REPORT, 78, &m.clock);
  CHECK(m.get(REPORT, HEADER_TICKET) == 78 && m.get(REPORT, HEADER_STATUS) == FAULT_BAD_WINDOW);
  const int reports[] = {1022, -1, 2147483647};
  for (int report : reports) eftrain(w, w, w, w, 1024, HOST_BLOCK, PROGRAM, 1, report, 79, &m.clock);
  eftrain(w, w, w, w, 1024, HOST_BLOCK, PROGRAM, -2, REPORT, 79, &m.clock);
  CHECK(m.get(REPORT, HEADER_TICKET) == 78);
}

// Values that commands are made of, and a few that nobody would write.
int odd_value(std::mt19937& random) {
  const int odd[] = {0, 1, -1, 2, 3, T, T + 1, 33, 100, 4096, 1 << 20, 1 << 30, 2147483647, -2147483647 - 1};
  return random() % 4 ? int(random() % 9) : odd[random() % (sizeof odd / sizeof *odd)];
}

Command random_command(std::mt19937& random) {
  int32_t words[COMMAND_WORDS];
  for (int32_t& word : words) word = odd_value(random);
  Command c;
  std::memcpy(&c, words, sizeof c);
  c.op = 1 + int(random() % 23);
  c.flags = int(random() % 2048);
  c.scalar = float(random() % 9) / 8;
  if (random() % 8) c.groups = 1;
  if (random() % 8) c.lanes = T;
  int32_t* operands[] = {&c.src_slot, &c.weights_slot, &c.dst_slot, &c.aux_slot, &c.extra_slot};
  for (int32_t* slot : operands) {
    if (random() % 16) *slot = 1 + int(random() % 5);
    if (random() % 2) slot[1] = 4 * int(random() % 4);
  }
  if (random() % 2) {  // a shape that hangs together, or nearly
    c.m = c.n = 1 + int(random() % 9);
    c.rows_in = c.cols_in = 1 + int(random() % 6);
    c.kernel_rows = c.kernel_cols = 1 + int(random() % 3);
    c.stride_rows = c.stride_cols = 1 + int(random() % 2);
    c.pad_top = c.pad_left = int(random() % 2);
    c.rows_out = c.cols_out = 1 + int(random() % 6);
    c.images = 1 + int(random() % 3);
  }
  return c;
}

// Returns how many ran. What is dst, extra or weights of another command is the same memory, so only
// words outside all slots can be judged.
int random_commands_stay_in_their_slots(std::mt19937& random, int count) {
  Machine m(8192);
  std::vector<bool> bound(m.memory.size(), false);
  for (int slot = 1; slot <= 5; ++slot) {
    Floats words = noise(random, 256 + random() % 2000);
    for (size_t i = 0; i < words.size(); i += 2) words[i] = as_float(int(random() % 4));
    m.bind(slot, words);
    const int first = m.get(HOST_BLOCK + slot, SLOT_WORD_BEAT);
    for (size_t i = 0; i < (words.size() + 3) / 4; ++i) bound[first + i] = true;
  }
  int ran = 0;
  for (int i = 0; i < count; ++i) ran += m.one(random_command(random)) == STATUS_OK;
  for (int beat = FIRST_BUFFER; beat < int(m.memory.size()); ++beat)
    for (int e = 0; e < BEAT_WORDS && !bound[beat]; ++e) CHECK(as_int(m.memory[beat].v[e]) == as_int(UNTOUCHED));
  for (int beat = 0; beat < HOST_BLOCK; ++beat) CHECK(as_int(m.memory[beat].v[0]) == as_int(UNTOUCHED));
  return ran;
}

}  // namespace

int main() {
  const FlushSubnormals flush;
  header_names_the_build();
  commands_run_in_order_until_one_fails();
  abort_ends_a_run_before_its_next_command();
  each_fault_has_its_code();
  slots_program_and_report_lie_in_the_window();
  std::mt19937 random(4);
  int ran = 0;
  for (int i = 0; i < 40; ++i) ran += random_commands_stay_in_their_slots(random, 500);
  std::printf("20000 random commands, %d ran\n", ran);
  CHECK(ran > 200);
}
