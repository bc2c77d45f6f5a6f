"""PyTorch's side of a network is that of tests/oracle; devices are what this machine has."""

import sys
from pathlib import Path

import pytest
import torch

from eftraind.accel import open_device
from eftraind.errors import DeviceUnavailable
from eftraind.isa import Op

sys.path.insert(0, str(Path(__file__).parent.parent / "oracle"))
torch.set_num_threads(1)  # small tensors; other tests share the machine


@pytest.fixture(params=["reference", "cpu"])
def device(request):
    try:
        opened = open_device(request.param, 1)
    except DeviceUnavailable as error:
        pytest.skip(str(error))
    if missing := set(Op) - opened.capabilities.ops:
        pytest.skip(f"{request.param} lacks {sorted(op.name for op in missing)}")
    yield opened
    opened.close()
