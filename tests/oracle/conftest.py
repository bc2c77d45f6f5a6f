"""Every test that takes `device` runs for each of them."""

from pathlib import Path

import oracle_rig
import pytest
import torch

from eftraind.accel import kernel
from eftraind.accel.cpu import CpuDevice, available_lanes
from eftraind.accel.csim import CsimDevice
from eftraind.accel.host import HostDevice
from eftraind.accel.reference import ReferenceDevice

torch.set_num_threads(1)  # small tensors; other tests share the machine

DEVICES = {
    **{f"reference-T{t}": lambda t=t: ReferenceDevice(t) for t in (4, 16)},
    # The widest vectors and the narrowest.
    **{f"cpu-T{t}": lambda t=t: CpuDevice(2, t) for t in sorted({*available_lanes()[::2]})},
    **{f"csim-T{t}": lambda t=t: CsimDevice(t, memory_bytes=1 << 26) for t in kernel.SIZES},
}


@pytest.fixture(scope="session", params=DEVICES)
def device(request: pytest.FixtureRequest) -> "oracle_rig.OpenDevice":
    """Opens a fresh device: buffers live as long as it does."""

    def opened() -> HostDevice:
        return DEVICES[request.param]()

    return opened


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernel that takes 2 pixels an iteration, T = 8."""
    library = tmp_path_factory.mktemp("wide") / "kernel.so"
    kernel.build(library, kernel.TESTED["wide"])
    return library
