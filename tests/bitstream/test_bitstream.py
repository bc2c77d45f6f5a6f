"""Manifests: what is refused, one clear error each; and what the two commands say."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eftraind import boards, cli, isa
from eftraind.boards.manifest import check_files, check_lanes, load_manifest
from eftraind.errors import ConfigError

ROOT = Path(__file__).parents[2]


def write(folder: Path, **changes: Any) -> Path:
    """Stand-ins for .bit and .hwh and a manifest that is right about them, but for `changes`; a
    change to None leaves the key out."""
    folder.mkdir(parents=True, exist_ok=True)
    bit, hwh = b"not a bitstream", b"<EDKSYSTEM/>"
    (folder / "eftrain.bit").write_bytes(bit)
    (folder / "eftrain.hwh").write_bytes(hwh)
    keys = {
        "format": 1,
        "board": "pynq-z2",
        "part": "xc7z020clg400-1",
        "isa_digest": isa.digest(),
        "t": 8,
        "clock_hz": 100_000_000,
        "bit_sha256": hashlib.sha256(bit).hexdigest(),
        "hwh_sha256": hashlib.sha256(hwh).hexdigest(),
        "resources": {"lut": 40_000, "ff": 50_000, "dsp": 200, "bram36": 100.5, "uram": 0},
        "tool": "a test",
        **changes,
    }
    path = folder / "eftrain.json"
    path.write_text(json.dumps({key: value for key, value in keys.items() if value is not None}))
    return path


def test_a_good_manifest(tmp_path: Path) -> None:
    manifest = load_manifest(write(tmp_path))
    assert manifest.bit_path == tmp_path / "eftrain.bit"
    assert manifest.hwh_path == tmp_path / "eftrain.hwh"
    assert (manifest.t, manifest.resources.bram36) == (8, 100.5)
    check_files(manifest)
    check_lanes(manifest, 8)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"board": "pynq-z3"}, ("no board 'pynq-z3'", "did you mean pynq-z2?")),
        ({"part": "xczu9eg-ffvb1156-2-e"}, ("xczu9eg", "pynq-z2 has xc7z020clg400-1")),
        ({"isa_digest": isa.digest() ^ 1}, (f"{isa.digest() ^ 1:08x}", f"{isa.digest():08x}")),
        ({"format": 2}, ("format is 2", "from 1 to 1")),
        ({"t": None}, ("t is missing",)),
        ({"t": "8"}, ('t is "8", not a whole number',)),
        ({"clock_hz": 100}, ("clock_hz is 100", "from 1000000")),
        ({"bit_sha256": "00"}, ("bit_sha256 is no SHA-256",)),
        ({"resources": {"lut": 1}}, ("resources.ff is missing",)),
        ({"resources": [1]}, ("resources is [1]",)),
        ({"tools": "Vivado"}, ("unknown key tools", "did you mean tool?")),
    ],
)
def test_a_manifest_that_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        load_manifest(path)
    assert all(word in str(caught.value) for word in (str(path), *words)), caught.value
    assert caught.value.remedy


def _damage(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize("name", ["eftrain.bit", "eftrain.hwh"])
@pytest.mark.parametrize("harm", [_damage, Path.unlink])
def test_files_that_are_not_those_that_were_built(
    tmp_path: Path, name: str, harm: Callable[[Path], None]
) -> None:
    manifest = load_manifest(write(tmp_path))
    harm(tmp_path / name)
    with pytest.raises(ConfigError, match=f"{name} .*make -C hls BOARD=pynq-z2 bit"):
        check_files(manifest)


def test_another_t_than_the_program(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has T = 8, the program T = 16 \(plan with T = 8"):
        check_lanes(load_manifest(write(tmp_path)), 16)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[]", b"x" * (1 << 17)])
def test_a_file_that_is_no_manifest(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "eftrain.json"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match="eftrain.json"):
        load_manifest(path)
    with pytest.raises(ConfigError, match=r"no such file .see bitstreams/README.md"):
        load_manifest(tmp_path / "none.json")


def test_verify_and_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--folder", str(tmp_path)]
    path = write(tmp_path / "pynq-z2")
    assert cli.main(["bitstream", "verify", *folder]) == 0
    assert cli.main(["bitstream", "verify", str(path), "--lanes", "8"]) == 0
    assert cli.main(["bitstream", "list", *folder]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all("T = 8, 100 MHz, 200 DSP, 100.5 BRAM36" in x for x in lines)

    assert cli.main(["bitstream", "verify", "--lanes", "16", *folder]) == 78
    write(tmp_path / "kv260")  # says it is for another board than its folder
    write(tmp_path / "zcu104", isa_digest=1)
    (tmp_path / "pynq-z2" / "eftrain.bit").write_bytes(b"")
    assert cli.main(["bitstream", "verify", *folder]) == 78
    assert cli.main(["bitstream", "list", *folder]) == 0
    out = capsys.readouterr().out
    assert out.count("BAD: ") == 4 and "for command set 00000001" in out
    assert out.count("unusable: ") == 2


def test_with_none_in_place_it_says_how_to_get_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bitstream", "verify", "--folder", str(tmp_path)]) == 78
    assert "make -C hls BOARD=pynq-z2 bit" in capsys.readouterr().err
    assert cli.main(["bitstream", "list", "--folder", str(tmp_path)]) == 0
    assert "none is shipped; make one" in capsys.readouterr().out


def test_every_manifest_of_the_repository_is_good() -> None:
    """None yet; whoever adds one is held to it."""
    for path in (ROOT / "bitstreams").glob("*/*"):
        manifest = load_manifest(path.with_suffix(".json"))
        check_files(manifest)
        assert manifest.board in boards.names()
