"""A slice of the contract on the kernel in the sizes that the planner gives it for a board."""

from pathlib import Path

import numpy as np
import pytest
import test_contract_conv as conv
import test_contract_learn as learn
import test_contract_maps as maps
import test_contract_norm as norm
from contract_rig import Kind

from eftraind import boards, networks
from eftraind.accel import kernel
from eftraind.accel.csim import CsimDevice
from eftraind.planner.kernels import KERNELS


@pytest.mark.parametrize("board", ["pynq-z2", "zcu102"])
def test_a_board_s_design_keeps_the_contract(board: str, tmp_path: Path) -> None:
    planned = KERNELS["hls"].plan(networks.load("cifar1x"), boards.load(board), 128, "throughput")
    assert planned.build is not None
    sizes, library = kernel.sizes_of(planned.build), tmp_path / "kernel.so"
    kernel.build(library, sizes)
    kind = Kind(
        board, sizes.lanes, lambda: CsimDevice(sizes.lanes, memory_bytes=1 << 26, library=library)
    )
    for phase in conv.PHASES:
        conv.test_listed_shapes(kind, phase)
    maps.test_depthwise_listed(kind, 2)
    maps.test_max_pool_backward_rules(kind, maps.BACKWARD[1])
    maps.test_nan_passes_through_max_pooling(kind, (2, 2))
    maps.test_a_channel_by_itself_keeps_what_is_no_number_to_itself(kind, True, np.nan)
    norm.test_a_small_spread_around_a_large_mean_survives(kind, 1e6)
    for rule in learn.RULES:
        learn.test_update(kind, rule, 1000, 0.5)
    learn.test_loss(kind, 0.1, True, 17)
