"""Predicted time of commands: it ends slices, is held against what was measured, and follows it."""

import numpy as np
import pytest
from enginerig import Rig, labelled_images
from hypothesis import given
from hypothesis import strategies as st

from eftraind import config, networks
from eftraind.accel import open_device
from eftraind.accel.device import Nanoseconds
from eftraind.accel.reference import ReferenceDevice
from eftraind.engine import calibrate, settle
from eftraind.engine.executor import Executor
from eftraind.engine.pacing import FARTHEST, Pacing
from eftraind.isa import Command, Op, Program
from eftraind.metrics import Metrics
from eftraind.plan import lower
from eftraind.plan.lower import Plan
from eftraind.plan.predict import seconds

DIGITS = networks.load("digits")


class Timed(ReferenceDevice):
    """Takes 1,000 ns a command, times `slow` for convolutions backwards."""

    slow = 1.0

    def run(self, handle: int, first: int, count: int) -> Nanoseconds:
        super().run(handle, first, count)
        commands = self._programs[handle].commands[first : first + count]
        times = [1000 * (self.slow if c.op is Op.CONV_BP else 1) for c in commands]
        return np.array(times, dtype=np.int64)


class Equal:
    """Predicts the same for every command."""

    def seconds(self, c: Command) -> float:
        return 1e-6


def calibrated(device):
    return calibrate.predictor_for(device, lower.training(DIGITS, 16, Plan(4, 1)))


def test_a_command_that_takes_longer_than_predicted_shows_and_is_followed() -> None:
    device, metrics = Timed(16), Metrics(owner="engine")
    executor = Executor(
        device, DIGITS, metrics, plan=Plan(4, 2), pool_rows=4, slice_s=2.5e-6,
        predictor=calibrated(Timed(16)),
    )  # fmt: skip

    def ratio(operation: str, which: str = "error") -> float | None:
        name, labels = f"eftraind_plan_{which}_ratio", {"operation": operation}
        return metrics.registry.get_sample_value(name, labels)

    def step() -> int:
        executor.training.begin(np.arange(4), np.zeros(4, dtype=np.int64))
        slices = 1
        while not executor.training.run_slice():
            slices += 1
        return slices

    assert ratio("conv_bp") is None  # nothing has run yet: absent, not 0
    device.slow = 3.0
    assert step() > 5
    error = ratio("conv_bp")
    assert error is not None and 2.0 < error <= 3.0
    assert ratio("conv_fp") == pytest.approx(1.0) and ratio("bn_fp") is None
    for _ in range(30):
        step()
    assert ratio("conv_bp") == pytest.approx(1.0, abs=0.01)
    assert ratio("conv_bp", "drift") == pytest.approx(3.0, abs=0.03)
    assert ratio("conv_fp", "drift") == pytest.approx(1.0)


def test_without_a_predictor_nothing_is_predicted_and_a_step_is_one_slice() -> None:
    metrics = Metrics(owner="engine")
    executor = Executor(Timed(16), DIGITS, metrics, plan=Plan(4, 2), pool_rows=4, slice_s=2e-6)
    executor.training.begin(np.arange(4), np.zeros(4, dtype=np.int64))
    assert executor.training.run_slice()
    name, labels = "eftraind_plan_error_ratio", {"operation": "conv_fp"}
    assert metrics.registry.get_sample_value(name, labels) is None


@given(off=st.lists(st.floats(0.5, 2.0), min_size=60, max_size=60), bound=st.floats(0.5e-6, 30e-6))
def test_a_slice_exceeds_its_bound_by_no_more_than_commands_were_mispredicted(off, bound):
    program = lower.training(DIGITS, 16, Plan(4, 2))
    pacing = Pacing(program, Equal(), bound)
    first, spent = 0, 1e-6 * np.resize(off, len(program.commands))
    while first < len(program.commands):
        predicted = pacing.predicted_s
        last = pacing.end_of_slice(first)
        assert last > first
        worst = max(spent[first:last] / predicted[first:last])
        alone = last == first + 1
        assert alone or spent[first:last].sum() <= bound * worst * (1 + 1e-6)
        if last < len(program.commands):  # and no slice is shorter than it must be
            assert predicted[first : last + 1].sum() > bound
        pacing.learn(first, spent[first:last])
        first = last


@given(times=st.lists(st.floats(1e-9, 1.0), min_size=1, max_size=40))
def test_one_odd_run_moves_a_prediction_only_a_little(times):
    program = Program("one", 16, (Command(Op.COPY, count=4),), {}, ())
    pacing = Pacing(program, Equal(), 1.0)
    for spent in times:
        before = pacing.predicted_s[0]
        pacing.learn(0, np.array([spent]))
        after = pacing.predicted_s[0]
        assert 0.79 * before < after < 1.01 * (1 + 0.2 * (FARTHEST - 1)) * before
        if before / FARTHEST <= spent <= before * FARTHEST:
            assert abs(after - spent) <= abs(before - spent) * (1 + 1e-9)


@pytest.mark.parametrize("kind", ["cpu", "csim", "reference"])
@pytest.mark.parametrize("network", ["digits", "resnet20"])
def test_a_device_is_measured_in_bounded_time_and_every_command_has_a_prediction(kind, network):
    if (kind, network) in (("csim", "resnet20"), ("reference", "resnet20")):
        pytest.skip("a slow device and a large network")
    given = config.from_mapping({"model": {"network": network}, "device": {"kind": kind}})
    graph = networks.load(network)
    device = open_device(kind, 1)
    predictor, choice = settle.settled(given, graph, device)
    times = seconds(predictor, choice.program.commands)
    assert (times > 0).all() and np.isfinite(times).all()
    assert choice.step_s == pytest.approx(times.sum())
    assert choice.longest_s <= given.device.slice_s or choice.plan.chunk == 1
    assert choice.plan.fuse == (kind == "csim")


def test_probes_stop_when_their_time_is_over():
    """One of each operation runs all the same: none is without a prediction."""

    class Slow(Timed):
        ran = 0

        def run(self, handle, first, count):
            Slow.ran += count
            return 10**9 * np.ones(count, dtype=np.int64)

    graph = networks.load("resnet20")
    program = lower.training(graph, 16, Plan(8, 1))
    predictor = calibrate.predictor_for(Slow(16), program)
    assert Slow.ran == len({c.op for c in program.commands})
    assert (seconds(predictor, program.commands) > 0).all()


def test_an_engine_left_to_the_planner_trains_and_says_what_it_chose(tmp_path):
    rig = Rig(
        tmp_path,
        train={"batch": "auto", "steps_per_sample": "auto", "samples_per_s": 1000.0},
        device={"chunk": "auto"},
    )
    try:
        rig.stream(np.random.default_rng(1), 6)
        chosen = rig.engine.status()["plan"]
        assert chosen["batch"] in (8, 16, 32, 64, 128) and 1 <= chosen["chunk"] <= chosen["batch"]
        assert 0 < chosen["longest_command_s"] <= chosen["step_s"]
        share = chosen["steps_per_sample"] * 1000.0 * chosen["step_s"]
        assert 0 < chosen["steps_per_sample"] <= 4 and share <= 4 * 0.5
        assert rig.value("train_steps_total") > 0
        assert rig.value("plan_error_ratio", operation="conv_fp") > 0
    finally:
        rig.close()


def test_what_is_given_wins(tmp_path):
    rig = Rig(tmp_path, train={"batch": 12, "steps_per_sample": 0.5}, device={"chunk": 5})
    try:
        rig.samples(*labelled_images(np.random.default_rng(1), 40))
        chosen = rig.engine.status()["plan"]
        assert (chosen["batch"], chosen["chunk"], chosen["steps_per_sample"]) == (12, 5, 0.5)
    finally:
        rig.close()
