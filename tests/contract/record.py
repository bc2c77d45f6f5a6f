"""Records the contract suite's cases, with what the reference device makes of them, in a file.

`replay.cpp` reads it: digest, T; then for each command its 32 words, the number of operands, and
for each operand its slot, whether it is written, its size in words, its words before and after.
"""

import struct
import sys
from pathlib import Path
from typing import Any

import contract_rig
import numpy as np
import test_contract_conv as conv
import test_contract_learn as learn
import test_contract_maps as maps
import test_contract_norm as norm
import test_contract_rest as rest
from contract_rig import F32, SLOTS, Case, Kind, guarded, run

from eftraind.accel.reference import ReferenceDevice
from eftraind.isa import digest


def judged(out: Any, case: Case, written: tuple[str, ...], t: int) -> dict[str, F32]:
    """In place of `contract_rig.judge`: writes the case to `out`."""
    expected = run(ReferenceDevice(t), case)
    out.write(np.array(case.placed().encode(), dtype="<i4").tobytes())
    out.write(struct.pack("<i", len(case.operands)))
    found = {}
    for name, before in case.operands.items():
        words = guarded(before)
        out.write(struct.pack("<3i", SLOTS[name], name in written, words.size))
        out.write(words.astype("<u4").tobytes() + expected[name].astype("<u4").tobytes())
        inside = expected[name][contract_rig.GUARD_WORDS : -contract_rig.GUARD_WORDS]
        found[name] = inside.view(np.float32)
    return found


def cases(kind: Kind) -> None:
    for phase in conv.PHASES:
        conv.test_listed_shapes(kind, phase)
    for stride in (1, 2):
        maps.test_depthwise_listed(kind, stride)
    for flags in maps.BACKWARD:
        maps.test_max_pool_backward_rules(kind, flags)
    for flags in maps.ACTIVATIONS[1:]:
        maps.test_nan_passes_through_activations(kind, flags)
    maps.test_nan_passes_through_max_pooling(kind, (2, 2))
    for module, names in (
        (maps, "depthwise_any_shape average add_and_pass concat dropout"),
        (norm, "statistics forward sums backward bias_gradient"),
        (rest, "pool_any_shape"),
    ):
        for name in names.split():
            getattr(module, "test_" + name)(kind=kind)
    norm.test_a_small_spread_around_a_large_mean_survives(kind, 1e6)
    for u8 in (False, True):
        rest.test_load_gathers_and_normalises(kind, 6, u8)
    for rule in learn.RULES:
        learn.test_update(kind, rule, 1000, 0.5)
    learn.test_norm(kind, 100_003, True)
    learn.test_loss(kind, 0.1, True, 17)
    rest.test_copy(kind, 4099)


def record(target: Path, t: int) -> None:
    with target.open("wb") as out:
        out.write(struct.pack("<Ii", digest(), t))
        for module in (conv, learn, maps, norm, rest):

            def judge(kind: Kind, case: Case, written: tuple[str, ...] = ("dst",)) -> Any:
                return judged(out, case, written, kind.lanes)

            module.judge = judge
        cases(Kind("recorded", t, lambda: ReferenceDevice(t)))


if __name__ == "__main__":
    record(Path(sys.argv[1]), int(sys.argv[2]))
