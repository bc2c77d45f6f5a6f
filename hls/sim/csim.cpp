// The kernel behind its registers, compiled for this machine: what a host sees of the hardware, but for
// time. A write of START runs the kernel to its end before it returns.
// One kernel has one set of buffers: runs of one library take turns.
#include <mutex>
#include <new>

#include "eftrain.h"
#include "subnormals.h"

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace eft {
namespace {

std::mutex taking_turns;
volatile const int no_clock = 0;

constexpr int WORDS = REGISTER_SPACE_BYTES / 4;

struct Machine {
  uint64_t base;
  uint64_t size;
  char* memory;
  uint32_t registers[WORDS];
};

uint32_t& word(Machine& m, int offset) { return m.registers[offset / 4]; }

// The window as a port sees it, or null: an address that no memory answers.
Word* port(Machine& m, int offset) {
  const uint64_t address = word(m, offset) | uint64_t(word(m, offset + 4)) << 32;
  const uint64_t bytes = uint64_t(word(m, ARG_WINDOW_BEATS)) * sizeof(Word);
  const bool answers = address >= m.base && address % sizeof(Word) == 0 && address - m.base <= m.size &&
                       bytes <= m.size - (address - m.base) && word(m, ARG_WINDOW_BEATS) <= 0x7fffffffu;
  return answers ? reinterpret_cast<Word*>(m.memory + (address - m.base)) : nullptr;
}

// False: the bus never answers and the kernel hangs.
bool start(Machine& m) {
  Word* ports[4];
  const int arguments[4] = {ARG_FEATURES, ARG_WEIGHTS, ARG_RESULTS, ARG_CONTROL};
  for (int i = 0; i < 4; ++i) {
    ports[i] = port(m, arguments[i]);
    if (!ports[i]) return false;
  }
  const std::lock_guard<std::mutex> turn(taking_turns);
  const FlushSubnormals flush;
  eftrain(ports[0], ports[1], ports[2], ports[3], int(word(m, ARG_WINDOW_BEATS)), int(word(m, ARG_HOST_BLOCK)),
          int(word(m, ARG_PROGRAM)), int(word(m, ARG_COUNT)), int(word(m, ARG_REPORT)), int(word(m, ARG_TICKET)),
          &no_clock);
  return true;
}

}  // namespace
}  // namespace eft

using eft::Machine;

EXPORT uint32_t eft_csim_digest() { return eft::KERNEL_DIGEST; }

// `memory` holds `size` bytes, which the kernel sees at physical address `base`; it stays the caller's.
EXPORT void* eft_csim_open(uint64_t base, uint64_t size, void* memory) {
  Machine* m = new (std::nothrow) Machine();
  if (!m) return nullptr;
  m->base = base;
  m->size = size;
  m->memory = static_cast<char*>(memory);
  word(*m, eft::REG_CTRL) = eft::CTRL_IDLE;
  return m;
}

// Reading CTRL clears DONE.
EXPORT uint32_t eft_csim_read(void* machine, uint32_t offset) {
  Machine& m = *static_cast<Machine*>(machine);
  if (offset % 4 || offset >= uint32_t(eft::REGISTER_SPACE_BYTES)) return 0;
  const uint32_t value = word(m, int(offset));
  if (offset == eft::REG_CTRL) word(m, eft::REG_CTRL) &= ~uint32_t(eft::CTRL_DONE | eft::CTRL_READY);
  return value;
}

EXPORT void eft_csim_write(void* machine, uint32_t offset, uint32_t value) {
  Machine& m = *static_cast<Machine*>(machine);
  if (offset % 4 || offset >= uint32_t(eft::REGISTER_SPACE_BYTES)) return;
  if (offset == eft::REG_INTERRUPT_STATUS) {
    word(m, eft::REG_INTERRUPT_STATUS) ^= value;
  } else if (offset != eft::REG_CTRL) {
    word(m, int(offset)) = value;
  } else if (value & eft::CTRL_START) {
    if (!eft::start(m)) {
      word(m, eft::REG_CTRL) = eft::CTRL_START;
      return;
    }
    word(m, eft::REG_CTRL) = eft::CTRL_DONE | eft::CTRL_IDLE | eft::CTRL_READY;
    if (word(m, eft::REG_INTERRUPT_ENABLE) & eft::INTERRUPT_DONE) {
      word(m, eft::REG_INTERRUPT_STATUS) |= eft::INTERRUPT_DONE;
    }
  }
}

// The level of the interrupt line.
EXPORT int eft_csim_interrupt(void* machine) {
  Machine& m = *static_cast<Machine*>(machine);
  return (word(m, eft::REG_GLOBAL_INTERRUPT_ENABLE) & 1) && word(m, eft::REG_INTERRUPT_STATUS) != 0;
}

EXPORT void eft_csim_close(void* machine) { delete static_cast<Machine*>(machine); }
