"""The units as text: one source, valid, hardened, and nothing that systemd 249 does not know."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from eftraind.installer import units

ROOT = Path(__file__).parents[2]
SERVICES = [name for name in units.UNITS if name.endswith(".service")]
EXPOSURE = {  # in tenths, as systemd-analyze takes it
    "eftraind-front.service": 20,
    "eftraind-engine.service": 25,
    "eftraind-engine-degraded.service": 25,
    "eftraind-overlay.service": 65,  # it programs the FPGA through sysfs and /lib/firmware
}
NEWER_THAN_249 = (
    "LoadCredentialEncrypted SetCredentialEncrypted ImportCredential ConditionCredential "
    "ExecSearchPath RestrictFileSystems RestrictNetworkInterfaces ExtensionDirectories "
    "LogFilterPatterns OpenFile ReloadSignal MemoryZSwapMax MemoryPressureWatch "
    "MemoryPressureThresholdSec RestartSteps RestartMaxDelaySec RestartMode RootEphemeral "
    "FileDescriptorStorePreserve DelegateSubgroup CoredumpReceive SurviveFinalKillSignal "
    "StartupAllowedCPUs StartupMemoryMax PrivatePIDs StateDirectoryQuota"
).split()

needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def written(tmp_path: Path) -> Path:
    for name in units.UNITS:
        (tmp_path / name).write_text(units.render(name, sys.executable))
    return tmp_path


def test_the_directory_shows_what_is_installed() -> None:
    shown = {path.name: path.read_text() for path in (ROOT / "systemd").iterdir()}
    rendered = {name: units.render(name) for name in units.places()}
    assert shown == rendered, "run: eftraind install-service --render systemd"


@needs_analyze
def test_systemd_finds_no_fault(written: Path) -> None:
    paths = [str(written / name) for name in units.UNITS]
    done = analyze("verify", *paths)
    assert done.returncode == 0 and done.stderr == ""
    bad = written / "eftraind-front.service"
    bad.write_text(bad.read_text().replace("[Service]", "[Service]\nWatchdogSecs=3"))
    assert "WatchdogSecs" in analyze("verify", str(bad)).stderr


@needs_analyze
@pytest.mark.parametrize("name", SERVICES)
def test_exposure_is_below_its_threshold(written: Path, name: str) -> None:
    if "--offline" not in analyze("--help").stdout:
        pytest.skip("this systemd-analyze judges no files (before 250)")
    gate = ["security", "--offline=true", f"--threshold={EXPOSURE[name]}"]
    done = analyze(*gate, str(written / name))
    assert done.returncode == 0, done.stdout
    text = (written / name).read_text()
    bare = re.sub(r"(?m)^(Protect|Capab|System|Restrict|Private|Device).*\n", "", text)
    (written / name).write_text(bare)
    assert analyze(*gate, str(written / name)).returncode != 0


@pytest.mark.parametrize("name", units.UNITS)
def test_nothing_newer_than_systemd_249(name: str) -> None:
    text = units.render(name)
    used = set(re.findall(r"(?m)^(\w+)=", text))
    assert not used & set(NEWER_THAN_249)
    assert "Type=notify-reload" not in text and "%d" not in text
    assert not re.search(r"@[A-Z]+@", text), "a variable is left"


@pytest.mark.parametrize("name", SERVICES[:3])
def test_what_every_process_of_the_daemon_has(name: str) -> None:
    lines = units.render(name).splitlines()
    for line in ("Type=notify", "NotifyAccess=main", "WatchdogSignal=SIGABRT", "Restart=always",
                 "RestartPreventExitStatus=78", "Slice=eftraind.slice", "LimitCORE=0"):  # fmt: skip
        assert line in lines
    assert any(line.startswith("WatchdogSec=") for line in lines)
