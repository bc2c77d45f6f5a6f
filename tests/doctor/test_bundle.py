"""The support bundle: what is in it, and that planted secrets are not."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from trees import Board

from eftraind.clock import Clock
from eftraind.doctor import bundle, secrets
from eftraind.errors import StorageError

PLANTED = {
    "a credential": "D3adB33f-credential-0123456789",
    "a key file": "k}key{file+0123456789-of-forty-characters",
    "a directory of keys": "one-of-many-secret-keys-0042",
    "a token": "hunter2-hunter2",
    "said in a log": "spoken-by-a-robot",
}


def collect(board: Board, config: dict[str, Any], log: str) -> dict[str, str]:
    path = board.root / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return bundle.collect(
        path,
        board.machine,
        clock=Clock(),
        examine=lambda config: list(board.examine().values()),
        ask=lambda config, command: {"text": log, "note": log},
        outputs={"log.txt": lambda: log},
    )


def plant(board: Board) -> str:
    """Secrets on the machine's disk, and a log that leaks all of them."""
    board.change("etc/eftraind/credentials/eftraind.server.key", PLANTED["a credential"] + "\n")
    board.change("opt/server.key", f'secret-key = "{PLANTED["a key file"]}"\n')
    board.change("opt/keys/doc", f"# a server key\nsecret {'x' * 40}\npublic {'y' * 40}\n")
    board.change("opt/keys/camera", PLANTED["a directory of keys"])
    manifest = {"about": {"network": "digits", "api_key": PLANTED["a token"]}}
    board.change("var/lib/eftraind/checkpoints/generation-1.json", json.dumps(manifest))
    board.change("var/lib/eftraind/journal/segment-00000.ring", "samples " * 100)
    leaks = [text for name, text in PLANTED.items() if name != "said in a log"]
    leaks.append(f"password={PLANTED['said in a log']}")
    return "\n".join([*leaks, "all is well", "public server", "x" * 40])


def test_planted_secrets_are_absent_and_the_rest_is_there(tmp_path: Path) -> None:
    board = Board(tmp_path)
    log = plant(board)
    board.settings["api_token"] = PLANTED["a token"]  # no such key: the file is refused
    board.settings["keys"] = {"server": "/opt/server.key", "clients": "/opt/keys"}
    broken = collect(board, board.settings, log)
    assert set(broken) == {"about.json", "config-error.txt", "log.txt"}
    assert "unknown key" in broken["config-error.txt"]
    assert "x" * 40 not in broken["log.txt"]

    (tmp_path / "broken.yaml").write_text(f"passphrase {PLANTED['a token']}: [")
    unreadable = bundle._read(tmp_path / "broken.yaml")[2]
    assert "cannot be read as YAML" in unreadable and PLANTED["a token"] not in unreadable

    del board.settings["api_token"], board.settings["keys"]
    whole = collect(board, board.settings, log.replace(PLANTED["a token"], ""))
    for texts in (broken, whole):
        written = "\n".join(texts.values())
        assert "all is well\npublic server\n" in texts["log.txt"]
        for name, text in PLANTED.items():
            if texts is whole and name in ("a key file", "a directory of keys"):
                continue  # nothing says any more that these files are keys
            assert text not in written, name
    state = json.loads(whole["state.json"])
    assert state["files"]["journal/segment-00000.ring"]["size_bytes"] == 800
    assert state["manifests"]["checkpoints/generation-1.json"]["about"] == {
        "network": "digits", "api_key": secrets.REMOVED,
    }  # fmt: skip
    assert "samples samples" not in "\n".join(whole.values())
    assert json.loads(whole["config.json"])["device"]["kind"] == "reference"
    assert json.loads(whole["about.json"])["packages"]["numpy"][0].isdigit()
    assert json.loads(whole["doctor.json"])["status"] == 0


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('{"server_key": "abcdef"}', '{"server_key": "(removed)"}'),
        ("PASSWORD=abc next", "PASSWORD=(removed) next"),
        ("token: abc, other: 1", "token: (removed), other: 1"),
        ("unknown key train.foo", "unknown key train.foo"),
        ("xxPLANTEDxx", "xx(removed)xx"),
    ],
)
def test_scrubbing(text: str, left: str) -> None:
    assert secrets.scrub(text, {"PLANTED"}) == left


def test_names_decide_however_deep() -> None:
    plain = {"a": [{"SecretKey": "x", "port": 1}], "keys": {"file": "y"}, "pin_token": 3, "good": 4}
    assert secrets.without_secrets(plain) == {
        "a": [{"SecretKey": secrets.REMOVED, "port": 1}], "keys": {"file": "y"},
        "pin_token": secrets.REMOVED, "good": 4,
    }  # fmt: skip


def test_the_archive_is_private_and_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "b.tar.gz"
    bundle.write(path, {"a.txt": "text"}, Clock())
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as archive:
        member = archive.extractfile("eftraind-support/a.txt")
        assert member is not None and member.read() == b"text"
    with pytest.raises(StorageError, match="exists"):
        bundle.write(path, {}, Clock())
    with pytest.raises(StorageError, match="cannot write"):
        bundle.write(tmp_path / "none" / "b.tar.gz", {}, Clock())


def test_the_command(tmp_path: Path) -> None:
    config, output = tmp_path / "c.yaml", tmp_path / "out.tar.gz"
    config.write_text(f"state_dir: {tmp_path}\nrun_dir: {tmp_path}\ndevice: {{kind: reference}}\n")
    command = [sys.executable, "-m", "eftraind", "support-bundle", "--config", str(config)]
    done = subprocess.run([*command, str(output)], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    with tarfile.open(output) as archive:
        names = {name.rpartition("/")[2] for name in archive.getnames()}
    assert names == {"about.json", "config.json", "doctor.txt", "doctor.json", "status.json",
                     "metrics.txt", "state.json", "log.txt", "services.txt"}  # fmt: skip
