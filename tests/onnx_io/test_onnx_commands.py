"""`eftraind import` and `eftraind export` as a user runs them; what they leave behind."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import need_onnx  # noqa: F401
import numpy as np
import pytest
from onnx_models import MODELS
from onnx_rig import assert_close, images, judge, perturbed, run

from eftraind import cli, fsio, networks
from eftraind.errors import StorageError
from eftraind.onnx_io import importing, options
from eftraind.store import weights

Exported = Callable[[str, str], bytes]


@pytest.fixture
def resnet(exported: Exported, tmp_path: Path) -> Path:
    path = tmp_path / "resnet.onnx"
    path.write_bytes(exported("resnet", "kept"))
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_there_and_back(resnet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    flags = ["--scale", "1/255", "--mean", "0.5", "--std", "0.2", "0.25", "0.3", "--dtype", "uint8"]
    assert cli.main(["import", str(resnet), "--output", f"{out}/", *flags]) == 0
    shown = capsys.readouterr().out
    assert names(out) == ["resnet.onnx", "resnet.safetensors", "resnet.yaml"]
    assert "blocks_1_short_0" in shown and "'/fc/Gemm' (Gemm)" in shown
    graph = networks.load(str(out / "resnet.yaml"))
    assert graph.input.dtype == "uint8" and graph.input.mean == (0.5,) * 3
    assert graph.input.scale == 1 / 255 and graph.input.std == (0.2, 0.25, 0.3)

    tensors = weights.read_weights(fsio.FileOps(), out / "resnet.safetensors")
    adapted = perturbed(tensors)
    (out / "new.safetensors").write_bytes(weights.encode_weights(adapted))
    given = ["export", "--network", str(out / "resnet.yaml")]
    given += ["--weights", str(out / "new.safetensors"), "--output", str(out / "home.onnx")]
    assert cli.main([*given, "--like", str(out / "resnet.onnx")]) == 0
    assert "home.onnx: " in capsys.readouterr().out
    raw = np.random.default_rng(0).integers(0, 256, (2, *MODELS["resnet"][1])).astype(np.float32)
    std = np.array(graph.input.std, np.float32)[:, None, None]
    x = ((raw / 255 - np.float32(0.5)) / std).astype(np.float32)
    assert_close(run((out / "home.onnx").read_bytes(), x), judge(graph, adapted, raw))

    assert cli.main(given) == cli.EXIT_CONFIG  # it exists now
    assert cli.main([*given, "--force"]) == 0
    assert_close(run((out / "home.onnx").read_bytes(), x), judge(graph, adapted, raw))


def test_a_prefix_beside_the_model(resnet: Path, tmp_path: Path) -> None:
    assert cli.main(["import", str(resnet), "--output", str(tmp_path / "resnet")]) == 0
    assert names(tmp_path) == ["resnet.onnx", "resnet.safetensors", "resnet.yaml"]
    assert networks.load(str(tmp_path / "resnet.yaml")).name == "resnet"


def test_nothing_is_overwritten_unasked(
    resnet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["import", str(resnet), "--output", str(tmp_path / "out")]
    (tmp_path / "out.yaml").write_text("mine")
    assert cli.main(given) == cli.EXIT_CONFIG
    assert "out.yaml exists" in capsys.readouterr().err
    assert names(tmp_path) == ["out.yaml", "resnet.onnx"]
    assert cli.main([*given, "--force"]) == 0
    assert (tmp_path / "out.yaml").read_text().startswith("# Imported from resnet.onnx")


@pytest.mark.parametrize("output", ["/", ".", "..", "a*b", "x/.hidden"])
def test_outputs_that_name_no_file(resnet: Path, output: str, tmp_path: Path) -> None:
    given = str(tmp_path / output) if output not in ("/", ".", "..") else output
    if output in (".", "..", "/"):  # folders: the name comes from the model, which is odd here
        odd = tmp_path / "a*b.onnx"
        odd.write_bytes(resnet.read_bytes())
        assert cli.main(["import", str(odd), "--output", given]) == cli.EXIT_CONFIG
    else:
        assert cli.main(["import", str(resnet), "--output", given]) == cli.EXIT_CONFIG


def test_a_refused_model_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"\x08\x07 nothing of the kind")
    assert cli.main(["import", str(bad), "--output", f"{tmp_path}/out/"]) == cli.EXIT_CONFIG
    assert "bad.onnx is not an ONNX model" in capsys.readouterr().err
    assert names(tmp_path) == ["bad.onnx"]
    missing = ["import", str(tmp_path / "no.onnx"), "--output", str(tmp_path / "out")]
    assert cli.main(missing) == cli.EXIT_ERROR
    assert "cannot read" in capsys.readouterr().err


def test_a_huge_file_is_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    huge = tmp_path / "huge.onnx"
    with huge.open("wb") as file:
        file.truncate((1 << 30) + 1)  # sparse
    assert cli.main(["import", str(huge), "--output", str(tmp_path / "out")]) == cli.EXIT_CONFIG
    assert "1073741825 bytes" in capsys.readouterr().err


@pytest.mark.parametrize("failing", range(3))
def test_a_failing_disk_leaves_all_or_nothing(
    failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []

    def write(ops: fsio.FileOps, path: Path, chunks: Any) -> None:
        if len(written) == failing:
            raise StorageError("disk full", remedy="free space")
        written.append(path)
        path.write_bytes(b"".join(chunks))

    monkeypatch.setattr(importing, "atomic_write", write)
    contents = {tmp_path / "out" / name: b"x" for name in ("a", "b", "c")}
    with pytest.raises(StorageError):
        importing.write_all(contents, tmp_path / "source")
    assert len(written) == failing and names(tmp_path / "out") == []


def test_weights_or_networks_of_another_model_are_refused(
    exported: Exported, resnet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "vgg.onnx"
    other.write_bytes(exported("vgg", "folded"))
    for path in (resnet, other):
        assert cli.main(["import", str(path), "--output", str(path.with_suffix(""))]) == 0

    def export(network: str, tensors: str, like: str) -> str:
        out = tmp_path / "new.onnx"
        given = ["--network", f"{tmp_path}/{network}.yaml", "--output", str(out)]
        given += [
            "--weights",
            f"{tmp_path}/{tensors}.safetensors",
            "--like",
            f"{tmp_path}/{like}.onnx",
        ]
        assert cli.main(["export", *given]) != 0 and not out.exists()
        return capsys.readouterr().err

    capsys.readouterr()
    assert "weights do not belong" in export("resnet", "vgg", "resnet")
    assert "layers, vgg.onnx has" in export("resnet", "resnet", "vgg")
    text = (tmp_path / "resnet.yaml").read_text()
    (tmp_path / "resnet.yaml").write_text(text.replace(", relu: true", "", 1))
    assert "differs" in export("resnet", "resnet", "resnet")


def test_the_copy_is_enough(resnet: Path, tmp_path: Path) -> None:
    """Bit for bit the file that was imported."""
    cli.main(["import", str(resnet), "--output", f"{tmp_path}/out/"])
    assert (tmp_path / "out" / "resnet.onnx").read_bytes() == resnet.read_bytes()
    data = (tmp_path / "out" / "resnet.onnx").read_bytes()
    assert run(data, images(MODELS["resnet"][1])).shape == (2, 10)


def test_without_onnx_the_command_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["import", "x.onnx", "--output", "y"]) == cli.EXIT_CONFIG
    given = ["--network", "digits", "--weights", "w", "--output", "y"]
    assert cli.main(["export", *given]) == cli.EXIT_CONFIG


def test_the_daemon_does_not_load_onnx() -> None:
    code = (
        "import sys, eftraind.cli as cli, eftraind.service.engine, eftraind.service.front;"
        "cli.parser(); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert not {"onnx", "google.protobuf", "torch"} & set(done.stdout.split())
