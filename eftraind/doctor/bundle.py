"""The support bundle: one .tar.gz with what somebody elsewhere needs to help, and no secrets.

Owns what is in it: never a sample, a weight or a key. Every text passes `secrets.scrub`.
"""

import io
import json
import os
import platform
import tarfile
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from eftraind import config as configuration
from eftraind.clock import Clock
from eftraind.config import Config
from eftraind.doctor import report
from eftraind.doctor.findings import Finding, Machine
from eftraind.doctor.secrets import known, scrub, without_secrets
from eftraind.errors import ConfigError, StorageError
from eftraind.fsio import storage_errors

TOP = "eftraind-support"
PACKAGES = ("eftraind", "numpy", "pyzmq", "PyYAML", "prometheus-client", "safetensors", "pynq")
TEXT_MAX_BYTES = 4 << 20
MANIFESTS_MAX = 200
Texts = dict[str, str]


def collect(
    config_path: Path,
    machine: Machine,
    *,
    clock: Clock,
    examine: Callable[[Config], list[Finding]],
    ask: Callable[[Config, str], Mapping[str, Any]],
    outputs: Mapping[str, Callable[[], str]],
) -> Texts:
    """File name -> text, without secrets. `ask` sends a command to the running daemon;
    `outputs` are further files and what writes their text."""
    raw, config, complaint = _read(config_path)
    texts = {"about.json": _json(_about(clock))}
    if config is None:
        texts["config-error.txt"] = complaint
    else:
        texts["config.json"] = _json(without_secrets(configuration.to_mapping(config)))
        findings = examine(config)
        texts["doctor.txt"], texts["doctor.json"] = (
            report.as_text(findings),
            report.as_json(findings),
        )
        texts["status.json"] = _json(ask(config, "status"))
        texts["metrics.txt"] = str(ask(config, "metrics").get("text", "the daemon gave none"))
        texts["state.json"] = _json(_state(machine, config.state_dir))
    texts.update({name: output() for name, output in outputs.items()})
    secrets = known(raw, machine)
    return {name: scrub(text[-TEXT_MAX_BYTES:], secrets) for name, text in texts.items()}


def write(path: Path, texts: Mapping[str, str], clock: Clock) -> None:
    """A new archive that only its owner may read. Raises StorageError, also if there is one."""
    with storage_errors("write", path):
        try:
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            raise StorageError(f"{path} exists", remedy="give another name") from None
        with os.fdopen(fd, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, text in texts.items():
                data = text.encode()
                member = tarfile.TarInfo(f"{TOP}/{name}")
                member.size, member.mode, member.mtime = len(data), 0o600, int(clock.wall_s())
                archive.addfile(member, io.BytesIO(data))


def _read(path: Path) -> tuple[Any, Config | None, str]:
    """(plain data, configuration, complaint) as far as the file can be read."""
    try:
        raw = configuration.load_yaml(path)
    except ConfigError:
        # The error may quote a line, and nothing says which of its words are secret.
        return None, None, f"{path} cannot be read as YAML; see: eftraind check-config"
    try:
        return raw, configuration.load(path), ""
    except ConfigError as error:
        return raw, None, str(error)


def _about(clock: Clock) -> dict[str, Any]:
    def installed(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return "not installed"

    return {
        "wall_s": clock.wall_s(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "packages": {name: installed(name) for name in PACKAGES},
    }


def _state(machine: Machine, state_dir: str) -> dict[str, Any]:
    """What is on the disk: names and sizes of all files, the text of small manifests."""
    top = machine.place(state_dir)
    files: dict[str, Any] = {}
    manifests: dict[str, Any] = {}
    for path in sorted(top.rglob("*")) if top.is_dir() else []:
        name = str(path.relative_to(top))
        try:
            status = path.lstat()
            files[name] = {"size_bytes": status.st_size, "mode": f"{status.st_mode:o}"}
            if path.suffix == ".json" and not path.is_symlink() and len(manifests) < MANIFESTS_MAX:
                manifests[name] = json.loads(path.read_bytes()[:TEXT_MAX_BYTES])
        except (OSError, ValueError) as error:
            files[name] = {"unreadable": str(error)}
    return {"state_dir": state_dir, "files": files, "manifests": without_secrets(manifests)}


def _json(plain: Any) -> str:
    return json.dumps(plain, indent=1, default=str)
