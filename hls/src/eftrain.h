// The kernel's top function; eftraind/registers.py says what each argument is.
#pragma once
#include "word.h"

// extern "C": the name that block designs and simulators look for.
extern "C" void eftrain(const eft::Word* features, const eft::Word* weights, eft::Word* results, eft::Word* control,
                        int window_beats, int host_block, int program, int count, int report, int ticket,
                        volatile const int* clock);
