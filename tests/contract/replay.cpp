// Replays recorded commands on the library it is linked with, and compares the memory they leave.
// No Python: it runs where only a C++ library does, or under an emulator. Format: record.py.
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <algorithm>
#include <cmath>
#include <vector>

extern "C" {
uint32_t eft_digest();
void* eft_open(int lanes, int threads);
const char* eft_set_name(void* engine);
void eft_bind(void* engine, int slot, void* memory, int64_t words);
int eft_prepare(void* engine, const int32_t* words, int count);
void eft_run(void* engine, const int32_t* words, int count, int32_t* status, int64_t* nanoseconds);
void eft_close(void* engine);
}

namespace {

struct Operand {
  int32_t slot, written;
  std::vector<uint32_t> memory, expected;
};

float as_float(uint32_t word) {
  float f;
  memcpy(&f, &word, 4);
  return f;
}

bool same(const Operand& o) {
  float scale = 0;
  for (uint32_t word : o.expected) {
    if (std::isfinite(as_float(word))) scale = std::max(scale, std::fabs(as_float(word)));
  }
  const float allowed = 2e-5f * scale + 1e-7f;
  for (size_t i = 0; i < o.expected.size(); ++i) {
    if (o.memory[i] == o.expected[i]) continue;
    const float have = as_float(o.memory[i]), want = as_float(o.expected[i]);
    if (!o.written || !(std::fabs(have - want) <= allowed || (std::isnan(have) && std::isnan(want)))) {
      printf("slot %d word %zu: %g (%08x), not %g (%08x)\n", o.slot, i, have, o.memory[i], want, o.expected[i]);
      return false;
    }
  }
  return true;
}

bool read_words(FILE* file, std::vector<uint32_t>& words) {
  return fread(words.data(), 4, words.size(), file) == words.size();
}

bool replay(FILE* file, const int32_t* command, int lanes, int threads) {
  int32_t count;
  std::vector<Operand> operands;
  if (fread(&count, 4, 1, file) != 1) return false;
  for (int i = 0; i < count; ++i) {
    int32_t head[3];
    if (fread(head, 4, 3, file) != 3) return false;
    operands.push_back({head[0], head[1], std::vector<uint32_t>(head[2]), std::vector<uint32_t>(head[2])});
    if (!read_words(file, operands.back().memory) || !read_words(file, operands.back().expected)) return false;
  }
  void* engine = eft_open(lanes, threads);
  for (Operand& o : operands) eft_bind(engine, o.slot, o.memory.data(), int64_t(o.memory.size()));
  int32_t status = 0;
  int64_t nanoseconds = 0;
  if (eft_prepare(engine, command, 1) != 0) return false;
  eft_run(engine, command, 1, &status, &nanoseconds);
  eft_close(engine);
  return status == 0 && std::all_of(operands.begin(), operands.end(), same);
}

}  // namespace

int main(int argc, char** argv) {
  FILE* file = argc == 2 ? fopen(argv[1], "rb") : nullptr;
  int32_t head[2];
  if (!file || fread(head, 4, 2, file) != 2) return puts("usage: replay FILE"), 2;
  if (uint32_t(head[0]) != eft_digest()) return puts("recorded for another command set"), 2;
  void* engine = eft_open(head[1], 1);
  if (!engine) return puts("no instruction set of that tile width"), 2;
  printf("%s, T = %d: ", eft_set_name(engine), head[1]);
  eft_close(engine);
  int passed = 0, failed = 0;
  int32_t command[32];
  while (fread(command, 4, 32, file) == 32) {
    // The same words for one thread and two.
    const long at = ftell(file);
    const bool one = replay(file, command, head[1], 1);
    fseek(file, at, SEEK_SET);
    const bool two = replay(file, command, head[1], 2);
    ++(one && two ? passed : failed);
    if (!(one && two)) printf("command %d (op %d) failed\n", passed + failed, command[0]);
  }
  printf("%d commands agree, %d do not\n", passed, failed);
  return failed || !passed;
}
