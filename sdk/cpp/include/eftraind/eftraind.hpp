/// The C++ SDK of eftraind: send labelled samples to a daemon, ask it for predictions, hear what it
/// does. See sdk/cpp/README.md; docs/protocol.md is what it speaks.
#pragma once

#include "eftraind/client.hpp"   // IWYU pragma: export
#include "eftraind/errors.hpp"   // IWYU pragma: export
#include "eftraind/json.hpp"     // IWYU pragma: export
#include "eftraind/keys.hpp"     // IWYU pragma: export
#include "eftraind/options.hpp"  // IWYU pragma: export
#include "eftraind/results.hpp"  // IWYU pragma: export
#include "eftraind/views.hpp"    // IWYU pragma: export
