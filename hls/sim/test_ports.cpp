// Each operand through the port that README.md's table names: every port has a mapping of its own of the one
// memory, where only the pages of its operands may be touched. What it must not read or write ends the
// test with the port's name.
#include <csignal>
#include <sys/mman.h>
#include <unistd.h>

#include "cases.h"

using namespace bench;

namespace {

enum Port { FEATURES_PORT = 1, WEIGHTS_PORT = 2, RESULTS_PORT = 4, CONTROL_PORT = 8 };
const char* const PORT_NAMES[] = {"features", "weights", "results", "control"};
const char* const OPERANDS[] = {"src", "weights", "dst", "aux", "extra"};

// Ports that may read an operand, and write it, from a word on.
struct Way {
  int operand, reads, writes, from;
};

struct View {
  char *memory[4], *host;
  size_t bytes;
  int operand_page[5], pages[5];
} view;

// Async-signal-safe as far as a test that ends needs it.
void trapped(int, siginfo_t* info, void*) {
  const char* at = static_cast<char*>(info->si_addr);
  for (int p = 0; p < 4; ++p) {
    if (at < view.memory[p] || at >= view.memory[p] + view.bytes) continue;
    const int page = int((at - view.memory[p]) / sysconf(_SC_PAGESIZE));
    const char* name = "the command's block";
    for (int i = 0; i < 5; ++i)
      if (view.pages[i] && page >= view.operand_page[i] && page < view.operand_page[i] + view.pages[i]) name = OPERANDS[i];
    std::fprintf(stderr, "port %s may not touch %s\n", PORT_NAMES[p], name);
    _exit(1);
  }
  std::fprintf(stderr, "fault outside the window\n");
  _exit(1);
}

void map_memory(size_t bytes) {
  const int file = memfd_create("window", 0);
  CHECK(file >= 0 && ftruncate(file, off_t(bytes)) == 0);
  view.bytes = bytes;
  char** const all[] = {&view.memory[0], &view.memory[1], &view.memory[2], &view.memory[3], &view.host};
  for (char** one : all) {
    void* const found = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(found != MAP_FAILED);
    *one = static_cast<char*>(found);
  }
  close(file);
}

void unmap_memory() {
  for (char* one : view.memory) munmap(one, view.bytes);
  munmap(view.host, view.bytes);
}

void permit(int page, int pages, int reads, int writes) {
  const size_t size = sysconf(_SC_PAGESIZE);
  for (int p = 0; p < 4; ++p) {
    if (!((reads | writes) & 1 << p) || pages <= 0) continue;
    const int access = writes & 1 << p ? PROT_READ | PROT_WRITE : PROT_READ;
    CHECK(mprotect(view.memory[p] + page * size, pages * size, access) == 0);
  }
}

// Runs the command on mapped memory and returns all of it. No ways: every port may do anything.
std::vector<char> run(Case k, const std::vector<Way>& ways) {
  const int size = int(sysconf(_SC_PAGESIZE)), page_words = size / 4;
  const Floats* const operands[] = {&k.src, &k.weights, &k.dst, &k.aux, &k.extra};
  int32_t* const slots[] = {&k.c.src_slot, &k.c.weights_slot, &k.c.dst_slot, &k.c.aux_slot, &k.c.extra_slot};
  int page = (FIRST_BUFFER * int(sizeof(Word)) + size - 1) / size;
  const int first = page;
  for (int i = 0; i < 5; ++i) {
    view.operand_page[i] = page;
    view.pages[i] = int(operands[i]->size() + page_words - 1) / page_words;
    page += view.pages[i] + 1;
  }
  map_memory(size_t(page) * size);
  float* const words = reinterpret_cast<float*>(view.host);
  for (int i = 0; i < 5; ++i) {
    if (operands[i]->empty()) continue;
    slots[i][0] = i + 1;
    float* const entry = words + (HOST_BLOCK + i + 1) * BEAT_WORDS;
    entry[SLOT_WORD_BEAT] = as_float(view.operand_page[i] * page_words / BEAT_WORDS);
    entry[SLOT_WORD_WORDS] = as_float(int(operands[i]->size()));
    std::memcpy(words + view.operand_page[i] * page_words, operands[i]->data(), operands[i]->size() * 4);
  }
  std::memcpy(words + PROGRAM * BEAT_WORDS, &k.c, sizeof k.c);
  if (!ways.empty()) {
    for (char* one : view.memory) CHECK(mprotect(one, view.bytes, PROT_NONE) == 0);
    permit(0, first, 0, CONTROL_PORT);
    for (const Way& way : ways) {
      CHECK(way.from % page_words == 0);
      const int skipped = way.from / page_words;
      permit(view.operand_page[way.operand] + skipped, view.pages[way.operand] - skipped, way.reads, way.writes);
    }
  }
  Word* ports[4];
  for (int p = 0; p < 4; ++p) ports[p] = reinterpret_cast<Word*>(view.memory[p]);
  const volatile int clock = 0;
  eftrain(ports[0], ports[1], ports[2], ports[3], page * page_words / BEAT_WORDS, HOST_BLOCK, PROGRAM, 1, REPORT, 5,
          &clock);
  CHECK(as_int(words[REPORT * BEAT_WORDS + HEADER_TICKET]) == 5);
  CHECK(as_int(words[REPORT * BEAT_WORDS + HEADER_STATUS]) == STATUS_OK);
  std::vector<char> out(view.host, view.host + view.bytes);
  unmap_memory();
  return out;
}

int ran = 0;

void through(const Case& k, const std::vector<Way>& ways) {
  CHECK(run(k, ways) == run(k, {}));
  ++ran;
}

enum { SRC, WEIGHTS, DST, AUX, EXTRA };
constexpr int F = FEATURES_PORT, W = WEIGHTS_PORT, R = RESULTS_PORT, C = CONTROL_PORT;
const Way MAP = {SRC, F, 0, 0}, OUT = {DST, 0, R, 0};

// T - 1 channels; a kernel of 8 x 8, so that its words are whole pages and the bias begins a page of its own.
Command windows(int op, int flags) {
  Command c = command(op, flags);
  c.images = 2;
  c.m = c.n = T - 1;
  c.rows_in = c.cols_in = 9;
  c.rows_out = c.cols_out = 2;
  c.kernel_rows = c.kernel_cols = 8;
  c.scalar = 0.125f;
  c.count = 7;
  return c;
}

struct Data {
  Floats x, y, kernel, vectors, one;
};

Floats and_more(Floats a, size_t words) {
  a.resize(a.size() + words, 0.5f);
  return a;
}

void convolutions(const Data& d) {
  const int bias = int(d.kernel.size());
  const Floats weights = and_more(d.kernel, T), rates(HYPER_CORRECTION2 + 1, 0.5f);
  through({windows(OP_CONV_FP, FLAG_BIAS), d.x, weights, d.y, {}, {}}, {MAP, {WEIGHTS, W, 0, 0}, {WEIGHTS, R, 0, bias}, OUT});
  through({windows(OP_CONV_BP, FLAG_MASK | FLAG_ACCUMULATE), d.y, d.kernel, d.x, d.x, {}},
          {MAP, {WEIGHTS, W, 0, 0}, OUT, {AUX, R, 0, 0}});
  through({windows(OP_CONV_WU, FLAG_BIAS | FLAG_ACCUMULATE), d.x, {}, weights, d.y, {}}, {MAP, OUT, {AUX, W, 0, 0}});
  through({windows(OP_CONV_WU, FLAG_BIAS | FLAG_STEP), d.x, rates, weights, d.y, weights},
          {MAP, {WEIGHTS, C, 0, 0}, OUT, {AUX, W, 0, 0}, {EXTRA, 0, R, 0}});
}

void pools(const Data& d) {
  for (int op : {OP_POOL_FP, OP_AVG_FP}) through({windows(op, 0), d.x, {}, d.y, {}, {}}, {MAP, OUT});
  Command c = windows(OP_POOL_BP, 0);  // a window of 2 x 2: half of the smallest buffers holds it
  c.kernel_rows = c.kernel_cols = 2;
  c.rows_out = c.cols_out = 2;
  through({c, d.y, {}, d.x, d.x, {}}, {MAP, OUT, {AUX, F, 0, 0}});
  c.flags = FLAG_MASK;
  through({c, d.y, {}, d.x, d.x, {}}, {MAP, OUT, {AUX, F | R, 0, 0}});
  through({windows(OP_AVG_BP, FLAG_MASK | FLAG_ACCUMULATE), d.y, {}, d.x, d.x, {}}, {MAP, OUT, {AUX, R, 0, 0}});
}

void norms(const Data& d) {
  const Floats two = and_more(d.vectors, 0), four = and_more(d.vectors, d.vectors.size());
  through({windows(OP_BN_STAT, 0), d.x, {}, two, d.one, two}, {MAP, OUT, {AUX, C, 0, 0}, {EXTRA, 0, R, 0}});
  through({windows(OP_BN_STAT, FLAG_FROZEN), {}, {}, two, d.one, two}, {{DST, F, 0, 0}, {EXTRA, 0, R, 0}});
  through({windows(OP_BN_FP, 0), d.x, two, d.x, two, {}}, {MAP, {WEIGHTS, W, 0, 0}, OUT, {AUX, W, 0, 0}});
  through({windows(OP_BN_SUM, FLAG_ACCUMULATE), d.x, {}, two, d.x, four}, {MAP, OUT, {AUX, W, 0, 0}, {EXTRA, F, R, 0}});
  through({windows(OP_BN_BP, FLAG_ACCUMULATE), d.x, two, d.x, d.x, four},
          {MAP, {WEIGHTS, W, 0, 0}, OUT, {AUX, W, 0, 0}, {EXTRA, W, 0, 0}});
  through({windows(OP_BN_BP, FLAG_FROZEN | FLAG_MASK), d.x, two, d.x, d.x, four},
          {MAP, {WEIGHTS, W, 0, 0}, OUT, {AUX, R, 0, 0}, {EXTRA, W, 0, 0}});
  through({windows(OP_BIAS_WU, FLAG_ACCUMULATE), d.x, {}, two, {}, {}}, {MAP, OUT});
}

void elements(const Data& d) {
  through({windows(OP_ADD_FP, 0), d.x, {}, d.x, d.x, {}}, {MAP, OUT, {AUX, W, 0, 0}});
  for (int op : {OP_PASS_BP, OP_CONCAT_BP})
    through({windows(op, FLAG_MASK), d.x, {}, d.x, d.x, {}}, {MAP, OUT, {AUX, R, 0, 0}});
  through({windows(OP_CONCAT_FP, 0), d.x, {}, d.x, {}, {}}, {MAP, OUT});
  through({windows(OP_DROP_FP, 0), d.x, {}, d.x, d.one, {}}, {MAP, OUT, {AUX, C, 0, 0}});
  through({windows(OP_DROP_BP, FLAG_MASK), d.x, {}, d.x, d.x, d.one}, {MAP, OUT, {AUX, R, 0, 0}, {EXTRA, C, 0, 0}});
}

void words(const Data& d) {
  const Floats labels(2, as_float(1)), rates(HYPER_CORRECTION2 + 1, 0.5f), pair(4, 0.0f);
  through({windows(OP_LOAD, 0), d.x, d.vectors, d.x, labels, {}}, {MAP, {WEIGHTS, W, 0, 0}, OUT, {AUX, C, 0, 0}});
  through({windows(OP_LOSS, 0), d.vectors, and_more(d.vectors, 1), d.vectors, labels, pair},
          {MAP, {WEIGHTS, C, 0, 0}, OUT, {AUX, C, 0, 0}, {EXTRA, 0, C, 0}});
  Command c = command(OP_COPY);
  c.count = 1000;
  const Floats some(1000, 0.25f);
  through({c, some, {}, some, {}, {}}, {MAP, OUT});
  c.op = OP_NORM;
  through({c, some, {}, d.one, {}, {}}, {MAP, {DST, 0, C, 0}});
  c.op = OP_UPDATE;
  const std::vector<Way> step = {MAP, {WEIGHTS, C, 0, 0}, OUT, {AUX, C, 0, 0}, {EXTRA, 0, R, 0}};
  through({c, some, d.one, some, rates, some}, step);
  c.flags = FLAG_NESTEROV;
  through({c, some, d.one, some, rates, some}, step);
}

// Adam reads its weights by the weights port and its second moments, a page behind, by the features port.
void adam(const Data& d) {
  const int page_words = int(sysconf(_SC_PAGESIZE)) / 4;
  Command c = command(OP_UPDATE, FLAG_ADAM);
  c.count = 1000;
  c.axis = page_words;
  const Floats some(1000, 0.25f), rates(HYPER_CORRECTION2 + 1, 0.5f), both(page_words + 1000, 0.25f);
  through({c, some, d.one, some, rates, both},
          {MAP, {WEIGHTS, C, 0, 0}, {DST, W, R, 0}, {AUX, C, 0, 0}, {EXTRA, 0, R, 0}, {EXTRA, F, R, page_words}});
}

}  // namespace

int main() {
  struct sigaction action;
  std::memset(&action, 0, sizeof action);
  action.sa_sigaction = trapped;
  action.sa_flags = SA_SIGINFO;
  CHECK(sigaction(SIGSEGV, &action, nullptr) == 0 && sigaction(SIGBUS, &action, nullptr) == 0);
  const FlushSubnormals flush;
  std::mt19937 random(15);
  const Sizes x = {2, T - 1, 9, 9}, y = {2, T - 1, 2, 2};
  const Data d = {packed(noise(random, x.words()), x), packed(noise(random, y.words()), y), noise(random, 64 * T * T),
                  Floats(2 * T, 0.75f), {1.0f}};
  convolutions(d);
  pools(d);
  norms(d);
  elements(d);
  words(d);
  adam(d);
  std::printf("%d commands through their ports\n", ran);
}
