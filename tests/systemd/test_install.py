"""Installing into a staged root: what is written, that twice is once, and what removing leaves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eftraind.errors import ConfigError
from eftraind.installer import machine, units
from eftraind.installer.machine import Installer

CLI = [sys.executable, "-m", "eftraind"]


def cli(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([*CLI, *arguments], capture_output=True, text=True, timeout=60)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    python = tmp_path / "opt/eftraind/bin/python"
    python.parent.mkdir(parents=True)
    python.touch()
    return tmp_path


def tree(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): os.readlink(path) if path.is_symlink() else path.read_text()
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_twice_is_once_and_removing_keeps_what_was_learnt(root: Path) -> None:
    before = tree(root)
    install = ["install-service", "--root", str(root), "--python", units.PYTHON]
    first = cli(*install)
    assert first.returncode == 0, first.stderr
    after = tree(root)
    assert set(after) - set(before) == {
        "etc/eftraind/config.yaml",
        "etc/systemd/system/multi-user.target.wants/eftraind.target",
        *(f"etc/{place}" for place in units.places().values()),
    }
    assert after["etc/systemd/system/eftraind-front.service"] == units.render(
        "eftraind-front.service"
    )
    assert cli(*install).stdout == "nothing to do\n" and tree(root) == after

    config = root / "etc/eftraind/config.yaml"
    config.write_text("model: {network: lenet5}\n")  # an operator's work is not overwritten ...
    unit = root / "etc/systemd/system/eftraind.slice"
    unit.write_text("an older one")  # ... an old unit is
    assert cli(*install).stdout == f"wrote {unit}\n"
    assert "lenet5" in config.read_text()

    state = root / "var/lib/eftraind/journal/segment"
    state.parent.mkdir(parents=True)
    state.touch()
    removed = cli("uninstall-service", "--root", str(root))
    assert removed.returncode == 0 and "kept: /etc/eftraind and /var/lib" in removed.stdout
    assert set(tree(root)) == {*before, "etc/eftraind/config.yaml",
                               "var/lib/eftraind/journal/segment"}  # fmt: skip
    assert cli("uninstall-service", "--root", str(root)).stdout.startswith("nothing to do")
    assert cli("uninstall-service", "--root", str(root), "--purge").returncode == 0
    assert tree(root) == before


def test_a_package_gets_units_and_nothing_enabled(root: Path) -> None:
    run = cli("install-service", "--vendor", "--root", str(root), "--python", units.PYTHON)
    assert run.returncode == 0
    files = {name for name in tree(root) if not name.startswith("opt/")}
    assert files == {f"usr/lib/{place}" for place in units.places().values()}


@pytest.mark.parametrize(
    ("python", "config", "cause"),
    [
        ("/home/me/venv/bin/python", units.CONFIG, "cannot see"),
        ("/opt/none/bin/python", units.CONFIG, "no interpreter"),
        (units.PYTHON, "/root/config.yaml", "cannot see"),
        (units.PYTHON, "config.yaml", "cannot see"),
        (units.PYTHON, "/etc/a b.yaml", "cannot hold"),
    ],
)
def test_what_could_not_run_is_not_installed(
    root: Path, python: str, config: str, cause: str
) -> None:
    before = tree(root)
    with pytest.raises(ConfigError, match=cause):
        Installer(root, python=python, config=config).install()
    assert tree(root) == before


def test_an_interpreter_that_links_into_a_hidden_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, target = tmp_path / "opt/python", tmp_path / "home/python"
    for path in (link, target):
        path.parent.mkdir()
    target.touch()
    link.symlink_to(target)
    monkeypatch.setattr(machine, "HIDDEN", (f"{target.parent}/",))
    with pytest.raises(ConfigError, match="interpreter's target is .*home/python.*cannot see"):
        Installer(Path("/"), python=str(link))._check()


def test_systemd_is_told_on_a_machine_and_a_failure_is_one_line(root: Path) -> None:
    told: list[str] = []
    installer = Installer(root, tell=lambda command: told.append(" ".join(command)))
    installer.install()
    assert told == [
        "systemd-sysusers /etc/sysusers.d/eftraind.conf",
        "systemd-tmpfiles --create /etc/tmpfiles.d/eftraind.conf",
        "systemctl daemon-reload",
    ]
    told.clear()
    installer.uninstall()
    assert told[0].startswith("systemctl stop eftraind.target eftraind-front.service")
    assert told[-1] == "systemctl daemon-reload"
    with pytest.raises(ConfigError, match="no such thing"):
        machine.run([sys.executable, "-c", "import sys; sys.exit('no such thing')"])


@pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="systemd runs here")
def test_without_systemd_it_says_so() -> None:
    refused = cli("install-service")
    assert refused.returncode == 78 and refused.stderr.count("\n") == 1
    assert "--root" in refused.stderr
