"""Watts and joules per rail, from the kernel's hwmon and IIO trees under a root that is passed in.

Owns finding the sensors, reading them and integrating energy (trapezoid, monotonic clock). A rail
is a power*_input (microwatts) of hwmon, or a current and a voltage of one chip that belong
together, where the chip reports no power; or, without hwmon, an in_power*_raw of IIO. A machine
without sensors has no rails; nothing is ever estimated here.
"""

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from eftraind.clock import Clock

MAX_GAP_S = 5.0  # a longer hole between two readings is not integrated over: nobody knows


@dataclass(frozen=True)
class Rail:
    """One thing that draws power, and the files that tell how much."""

    name: str
    source: str
    paths: tuple[Path, ...]
    scale: float
    """watts per product of the raw readings"""

    def read_w(self) -> float | None:
        """Power now; None if the sensor does not answer."""
        value = self.scale
        for path in self.paths:
            try:
                value *= int(path.read_text())
            except (OSError, ValueError):
                return None
        return value


@dataclass(frozen=True)
class Reading:
    """Latest power of a rail, and the energy since the reading before."""

    rail: str
    source: str
    power_w: float | None
    energy_j: float


def find_rails(sysfs_root: str | Path, table: Sequence[str] | None = None) -> list[Rail]:
    """All rails of all chips, with unique names.

    `table` has the sensors that a board is known to have (`eftraind.plan.board.Sensors`), the only
    ones that are then taken. IIO is asked where hwmon has none of them: a chip of IIO that the
    device tree exports to hwmon is in both.
    """
    root = Path(sysfs_root)
    chips = [_hwmon_rails(chip) for chip in sorted((root / "class" / "hwmon").glob("hwmon*"))]
    rails = _told_apart(chips, table)
    if not rails:
        devices = sorted((root / "bus" / "iio" / "devices").glob("iio:device*"))
        rails = _told_apart([_iio_rails(device) for device in devices], table)
    return rails


def _told_apart(chips: Sequence[tuple[str, list[Rail]]], table: Sequence[str] | None) -> list[Rail]:
    """The rails of chips (by directory) that the table takes, each under a name of its own."""
    rails: list[Rail] = []
    for directory, found in chips:
        taken = {rail.name for rail in rails}
        for rail in _named(found, table):
            name = rail.name
            if name in taken:
                name = f"{rail.source}:{rail.name}"
            if name in taken:
                name = f"{directory}:{rail.name}"
            taken.add(name)
            rails.append(replace(rail, name=name))
    return rails


def _named(found: list[Rail], table: Sequence[str] | None) -> list[Rail]:
    if table is None or not found:
        return found
    for entry in table:
        name, _, pattern = (word.strip() for word in entry.rpartition("="))
        if not fnmatchcase(found[0].source, pattern):
            continue
        if name and len(found) == 1:
            return [replace(found[0], name=name)]
        return [replace(rail, name=f"{name}_{rail.name}") if name else rail for rail in found]
    return []


def _hwmon_rails(chip: Path) -> tuple[str, list[Rail]]:
    source = _text(chip / "name") or chip.name
    return chip.name, _power_inputs(chip, source) or _pairs(chip, source)


def _iio_rails(device: Path) -> tuple[str, list[Rail]]:
    """in_powerN_raw times in_powerN_scale is milliwatts (kernel: testing/sysfs-bus-iio). Without a
    scale nobody knows the unit: no rail. The XADC of Zynq-7000 has voltages only: no rail."""
    source = _text(device / "name") or device.name
    rails = []
    for path in sorted(device.glob("in_power*_raw")):
        stem = path.name.removesuffix("_raw")
        try:
            scale = float(_text(device / f"{stem}_scale"))
        except ValueError:
            continue
        name = f"{source}_{stem.removeprefix('in_')}"
        rails.append(Rail(name, source, (path,), scale * 1e-3))
    return device.name, rails


def _power_inputs(chip: Path, source: str) -> list[Rail]:
    rails = []
    for path in sorted(chip.glob("power*_input")):
        stem = path.name.removesuffix("_input")
        name = _text(chip / f"{stem}_label") or f"{source}_{stem}"
        rails.append(Rail(name, source, (path,), 1e-6))
    return rails


def _pairs(chip: Path, source: str) -> list[Rail]:
    """Milliamperes times millivolts. Labels decide which belong together (iout1 with vout1), else
    equal numbers do (ina3221: curr2 with in2)."""
    volts = {path.name.removesuffix("_input"): path for path in chip.glob("in*_input")}
    by_label = {_text(chip / f"{stem}_label"): stem for stem in volts}
    rails = []
    for path in sorted(chip.glob("curr*_input")):
        stem = path.name.removesuffix("_input")
        label = _text(chip / f"{stem}_label")
        partner = by_label.get(re.sub("^i", "v", label)) if label.startswith("i") else None
        partner = partner or stem.replace("curr", "in")
        if partner not in volts:
            continue
        name = label or _text(chip / f"{partner}_label") or f"{source}_{stem}"
        rails.append(Rail(name, source, (path, volts[partner]), 1e-6))
    return rails


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


class PowerMeter:
    """Integrates the rails' energy from one reading to the next."""

    def __init__(self, rails: Sequence[Rail], clock: Clock) -> None:
        self._rails = list(rails)
        self._clock = clock
        self._last: dict[str, tuple[float, float]] = {}

    def read(self) -> list[Reading]:
        """One reading per rail. A rail that does not answer has power None and adds no energy."""
        readings = []
        for rail in self._rails:
            power_w = rail.read_w()
            now_s = self._clock.monotonic_s()
            before = self._last.pop(rail.name, None)
            energy_j = 0.0
            if power_w is not None:
                if before is not None and now_s - before[0] <= MAX_GAP_S:
                    energy_j = max(0.0, (now_s - before[0]) * (power_w + before[1]) / 2)
                self._last[rail.name] = (now_s, power_w)
            readings.append(Reading(rail.name, rail.source, power_w, energy_j))
        return readings


class PowerSampler:
    """Reads the meter at an interval from its own thread: a sensor on a slow bus blocks for
    milliseconds, which must not delay the sockets."""

    def __init__(
        self, meter: PowerMeter, interval_s: float, on_reading: Callable[[list[Reading]], None]
    ) -> None:
        self._meter = meter
        self._interval_s = interval_s
        self._on_reading = on_reading
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="power", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._on_reading(self._meter.read())
            self._stop.wait(self._interval_s)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
