"""Measured time of commands is held against what was predicted, in a metric."""

import numpy as np

from eftraind import networks
from eftraind.accel.device import Nanoseconds
from eftraind.accel.reference import ReferenceDevice
from eftraind.engine.executor import Executor
from eftraind.isa import Op
from eftraind.metrics import Metrics
from eftraind.plan.lower import Plan


class Timed(ReferenceDevice):
    """Takes 1,000 ns a command, times `slow` for convolutions backwards."""

    slow = 1.0

    def run(self, handle: int, first: int, count: int) -> Nanoseconds:
        super().run(handle, first, count)
        commands = self._programs[handle].commands[first : first + count]
        times = [1000 * (self.slow if c.op is Op.CONV_BP else 1) for c in commands]
        return np.array(times, dtype=np.int64)


def test_a_command_that_takes_longer_than_predicted_shows() -> None:
    device, metrics = Timed(16), Metrics(owner="engine")
    executor = Executor(
        device, networks.load("digits"), metrics, plan=Plan(4, 2), pool_rows=4, slice_s=2.5e-6
    )

    def ratio(operation: str) -> float | None:
        name, labels = "eftraind_plan_error_ratio", {"operation": operation}
        return metrics.registry.get_sample_value(name, labels)

    assert ratio("conv_bp") is None  # nothing has run yet
    device.slow = 3.0
    executor.training.begin(np.arange(4), np.zeros(4, dtype=np.int64))
    slices = 1
    while not executor.training.run_slice():
        slices += 1
    assert slices > 5
    assert ratio("conv_bp") == 3.0 and ratio("conv_fp") == 1.0
