"""`eftraind plan` as its user runs it: tables, figures, pictures, comparisons, refusals."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from eftraind import boards, networks, params
from eftraind.cli import main
from eftraind.onnx_io import describe
from eftraind.plan import build
from eftraind.plan.outcome import Phase
from eftraind.planner import kernels

PLAN = ["plan", "--network", "cifar1x", "--kernel", "ef_train"]
BOARD = ["--board", "pynq-z1"]


def ask(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    """What the command says, on standard output or, if it fails, on standard error."""
    assert main(list(arguments)) == status
    captured = capsys.readouterr()
    return captured.err if status else captured.out


def figures(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_the_table_has_every_layer_and_says_that_it_is_modelled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = ask(capsys, *PLAN, *BOARD, "--batch", "128")
    assert "modelled, never run on this board" in shown
    graph = networks.load("cifar1x")
    schedule = kernels.ef_train(graph, boards.load("pynq-z1"), 128, "throughput").schedule
    rows = [line.split()[:2] for line in shown.splitlines()]
    for cost in schedule.layers:
        assert [cost.layer, cost.phase.value] in rows
    assert f"{schedule.gflops:.2f} GFLOPS" in shown
    assert re.search(r"DSP +212 of 220 \(96 %\)", shown)


def test_json_holds_the_totals_and_they_add_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plan.json"
    ask(capsys, *PLAN, *BOARD, "--batch", "8", "--steps", "7", "--json", str(path))
    plan = figures(path)
    totals, layers = plan["totals"], plan["layers"]
    assert plan["kind"] == "modelled"
    assert totals.keys() >= {
        "cycles", "seconds_per_image", "gflops", "watts", "gflops_per_watt", "dsp", "bram36",
        "lut", "clock_mhz", "t",
    }  # fmt: skip
    assert totals["lut"] is None  # the paper does not say: not zero
    assert totals["cycles"] == sum(layer["cycles"] for layer in layers)
    seconds = totals["cycles"] / (totals["clock_mhz"] * 1e6)
    assert totals["seconds_per_image"] == pytest.approx(seconds / 8)
    assert totals["gflops"] == pytest.approx(totals["operations"] / seconds / 1e9)
    assert totals["gflops_per_watt"] == pytest.approx(totals["gflops"] / totals["watts"])
    assert totals["joules_per_adaptation"] == pytest.approx(7 * totals["watts"] * seconds)
    assert {layer["phase"] for layer in layers} == {phase.value for phase in Phase}


def test_our_kernel_is_the_default_and_says_what_hls_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes, path = tmp_path / "build.json", tmp_path / "plan.json"
    asked = ["plan", "--network", "cifar1x", "--board", "zcu102", "--batch", "1"]
    shown = ask(capsys, *asked, "--json", str(path))
    plan, hls = figures(path), tmp_path / "hls.json"
    assert plan["kernel"] == "eftraind" and "our kernel as specified" in shown
    (line,) = [line for line in shown.splitlines() if line.startswith("not to be built today")]
    assert plan["build"] is None and plan["hls_lacks"]
    assert all(lack in line for lack in plan["hls_lacks"])
    for lack in ("traits streams", "ports of 8, 4, 8 words", "a window of 250,848 words"):
        assert lack in line
    ask(capsys, *asked, "--json", str(hls), "--kernel", "hls")
    assert f"--kernel hls reaches {figures(hls)['totals']['gflops']:.1f} GFLOPS" in line
    refused = ask(capsys, *asked, "--build-description", str(sizes), status=78)
    assert "hls lacks traits" in refused and "--kernel hls" in refused
    assert not sizes.exists()


def test_a_design_that_hls_can_be_built_for_comes_with_the_sizes_of_its_bitstream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes, path = tmp_path / "build.json", tmp_path / "plan.json"
    wanted = ["--build-description", str(sizes), "--json", str(path), "--kernel", "hls"]
    shown = ask(capsys, "plan", "--network", "cifar1x", *BOARD, "--batch", "8", *wanted)
    plan = figures(path)
    assert plan["hls_lacks"] == [] and "not to be built" not in shown
    found = build.from_json(sizes.read_text(encoding="utf-8"))
    assert plan["build"] == figures(sizes)
    totals = plan["totals"]
    assert (found.t, found.clock_mhz) == (totals["t"], totals["clock_mhz"])
    assert totals["lut"] > 0
    refused = ask(capsys, *PLAN, *BOARD, "--build-description", str(sizes), status=78)
    assert "kernel ef_train has no build description" in refused


def test_a_comparison_has_a_line_for_every_board_and_kernel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "all.json"
    shown = ask(
        capsys, "plan", "--network", "vgg16", "--batch", "4", "--compare", "--json", str(path)
    )
    plans = figures(path)["plans"]
    pairs = {(plan["board"], plan["kernel"]) for plan in plans}
    assert pairs == {(board, kernel) for board in boards.names() for kernel in kernels.KERNELS}
    refused = [plan for plan in plans if "refused" in plan]
    assert refused and all(plan["refused"] in shown for plan in refused)
    for plan in plans:
        assert ("totals" in plan) != ("refused" in plan)
    assert "modelled" in shown


def test_a_comparison_of_some_boards(capsys: pytest.CaptureFixture[str]) -> None:
    shown = ask(capsys, *PLAN, "--compare", "zcu102", "pynq-z1")
    lines = [line.split()[0] for line in shown.splitlines() if "ef_train" in line]
    assert lines == ["zcu102", "pynq-z1"]


def test_networks_may_be_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = networks.load("cifar1x")
    path = tmp_path / "mine.yaml"
    path.write_text(describe.yaml_text(graph, "a copy"), encoding="utf-8")
    named = ask(capsys, *PLAN, *BOARD)
    from_file = ask(
        capsys, "plan", "--network", str(path), "--kernel", "ef_train", "--board", "pynq-z1"
    )
    assert named == from_file


def test_networks_may_be_onnx_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    graph = networks.load("lenet5")
    weights, path = tmp_path / "w.safetensors", tmp_path / "mine.onnx"
    save_file(dict(params.initial(graph, np.random.default_rng(0))), weights)
    exported = ["export", "--network", "lenet5", "--weights", str(weights), "--output", str(path)]
    ask(capsys, *exported)
    shown = ask(capsys, "plan", "--network", str(path), "--kernel", "ef_train", *BOARD)
    named = ask(capsys, "plan", "--network", "lenet5", "--kernel", "ef_train", *BOARD)
    assert shown.startswith("mine on Digilent PYNQ-Z1")
    assert _cycles(shown) == _cycles(named)


def _cycles(table: str) -> list[str]:
    """The columns from the cycles on: layers of an imported model have other names."""
    return re.findall(r"[\d,]+ +[\d.]+ %.*", table)


def test_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    one, two = tmp_path / "one.svg", tmp_path / "two.svg"
    for path in (one, two):
        ask(capsys, *PLAN, *BOARD, "--plot", str(path))
    assert one.read_bytes() == two.read_bytes()
    text = one.read_text(encoding="utf-8")
    for word in ("modelled", "roofline", "conv6", "array: 7.2 GFLOPS", "DRAM: 1.57 GB/s"):
        assert word in text


def test_the_picture_of_the_reproduction(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "all.svg"
    ask(capsys, "reference", "reproduction", "--plot", str(path))
    text = path.read_text(encoding="utf-8")
    assert "VGG-16 with BN" in text and "modelled" in text
    assert "no picture" in ask(capsys, "reference", "config", "--plot", str(path), status=78)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--network", "vgg17", *BOARD], r"no network 'vgg17' .*did you mean vgg16\?.*cifar1x"),
        (["--network", "vgg16", "--board", "zcu120"], r"no board 'zcu120' .*pynq-z1"),
        (["--network", "vgg16", *BOARD, "--kernel", "ef-train"], "known: ef_train, eftraind, hls"),
        (["--network", "resnet20", "--board", "zcu102", "--kernel", "ef_train"], r"layer \w+: "),
        (["--network", "vgg16", "--kernel", "ef_train", *BOARD], r"needs 2016 MB .* has 537 MB"),
        (["--network", "vgg16"], r"--board must be given"),
        (["--network", "vgg16", *BOARD, "--compare"], "exclude each other"),
        (["--network", "vgg16", *BOARD, "--batch", "0"], r"--batch must be"),
        (["--network", "vgg16", *BOARD, "--steps", "0"], r"--steps must be"),
        (["--network", "vgg16", *BOARD, "--plot", "p.gif"], r"--plot must end in"),
        (["--network", "vgg16", *BOARD, "--json", "no/such/p.json"], r"directory of --json"),
        (["--network", "nothing.onnx", *BOARD], r"nothing\.onnx"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["plan", *arguments])
    captured = capsys.readouterr()
    assert status in (1, 78) and not captured.out
    assert re.search(complaint, captured.err), captured.err
    assert captured.err.count("\n") == 1
