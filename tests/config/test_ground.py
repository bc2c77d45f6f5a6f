"""Power, systemd messages and the link's vocabulary."""

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from eftraind import cli, link
from eftraind.clock import FakeClock
from eftraind.power import PowerMeter, PowerSampler, find_rails
from eftraind.sdnotify import Notifier


def chip(root: Path, number: int, name: str, **files: str) -> Path:
    path = root / "class" / "hwmon" / f"hwmon{number}"
    path.mkdir(parents=True)
    (path / "name").write_text(name + "\n")
    for key, value in files.items():
        (path / key).write_text(value + "\n")
    return path


def test_rails_by_power_input_and_by_label(tmp_path: Path) -> None:
    chip(tmp_path, 0, "ina226_u76", power1_input="2500000", power1_label="VCCINT",
         curr1_input="1", in1_input="1")  # fmt: skip
    chip(tmp_path, 1, "ina226_u77", power1_input="1000000")
    rails = {rail.name: (rail.source, rail.read_w()) for rail in find_rails(tmp_path)}
    assert rails == {"VCCINT": ("ina226_u76", 2.5), "ina226_u77_power1": ("ina226_u77", 1.0)}


def test_current_and_voltage_pairs_where_there_is_no_power(tmp_path: Path) -> None:
    chip(tmp_path, 0, "ina3221", curr1_input="500", in1_input="5000", in1_label="5V",
         curr2_input="100", in2_input="3300", curr3_input="7")  # fmt: skip
    chip(tmp_path, 1, "irps5401", curr2_input="2000", curr2_label="iout1", in3_input="900",
         in3_label="vout1", in2_input="12000", in2_label="vin")  # fmt: skip
    rails = {rail.name: rail.read_w() for rail in find_rails(tmp_path)}
    assert rails == {
        "5V": pytest.approx(2.5),
        "ina3221_curr2": pytest.approx(0.33),
        "iout1": pytest.approx(1.8),
    }


def test_equal_labels_stay_apart(tmp_path: Path) -> None:
    for number in range(3):
        chip(tmp_path, number, "pmic", power1_input="1000000", power1_label="VDD")
    assert [rail.name for rail in find_rails(tmp_path)] == ["VDD", "pmic:VDD", "hwmon2:VDD"]


def test_no_sensor_no_rail(tmp_path: Path) -> None:
    chip(tmp_path, 0, "cpu_thermal", temp1_input="40000")
    assert find_rails(tmp_path) == find_rails(tmp_path / "none") == []


def test_energy_is_the_area_under_the_power(tmp_path: Path) -> None:
    path = chip(tmp_path, 0, "ina226", power1_input="1000000") / "power1_input"
    clock = FakeClock()
    meter = PowerMeter(find_rails(tmp_path), clock)
    total_j = meter.read()[0].energy_j
    for power_uw in ("3000000", "3000000", "0"):
        clock.advance(0.5)
        path.write_text(power_uw)
        total_j += meter.read()[0].energy_j
    assert total_j == pytest.approx(1.0 + 1.5 + 0.75)
    clock.step_wall(1e6)  # the wall clock does not matter
    assert meter.read()[0].energy_j == 0.0


def test_a_rail_that_stops_answering_adds_nothing(tmp_path: Path) -> None:
    path = chip(tmp_path, 0, "ina226", power1_input="1000000") / "power1_input"
    clock = FakeClock()
    meter = PowerMeter(find_rails(tmp_path), clock)
    meter.read()
    path.write_text("garbage")
    clock.advance(1)
    assert meter.read()[0].power_w is None
    path.write_text("1000000")
    clock.advance(1)
    assert meter.read()[0].energy_j == 0.0
    clock.advance(3600)
    assert meter.read()[0].energy_j == 0.0, "an hour that nobody watched"


def test_the_sampler_reads_until_closed(tmp_path: Path) -> None:
    chip(tmp_path, 0, "ina226", power1_input="1000000")
    read = threading.Semaphore(0)
    meter = PowerMeter(find_rails(tmp_path), FakeClock())
    sampler = PowerSampler(meter, 0.001, lambda readings: read.release())
    assert all(read.acquire(timeout=10) for _ in range(3))
    sampler.close()


def heard(tmp_path: Path, address: str, say: Any) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.settimeout(5)
        say()
        return listener.recv(1000)


def test_systemd_hears(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    notifier = Notifier.from_environ({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000"})
    assert notifier.watchdog_s == 3.0
    assert heard(tmp_path, address, lambda: notifier.ready("up")) == b"READY=1\nSTATUS=up"
    abstract = "\0eftraind-test-" + tmp_path.name
    other = Notifier("@" + abstract[1:])
    assert heard(tmp_path, abstract, lambda: other.status("a\nb")) == b"STATUS=a b"


def test_no_systemd_no_harm() -> None:
    for notifier in (Notifier.from_environ({}), Notifier("/nonexistent/socket")):
        notifier.ready()
        notifier.watchdog()
        notifier.stopping()
        notifier.extend_timeout(1.5)


MESSAGES: list[link.Message] = [
    link.Hello(1, "cpu", 16, "digits", "ab", 3, "cd", [8, 8, 1], "uint8", 10),
    link.Fetch(1, 1 << 20),
    link.Consumed(9),
    link.Prediction(4, 3, "ab", 1, b"\0" * 40),
    link.InferError(4, "device", "broke", "mend"),
    link.Event("swapped", {"version": 4}),
    link.Lost("device_lost", "broke"),
    link.MetricsSnapshot([["a", "gauge", "h", [["", {}, 1.0]]]]),
    link.Reply(2, False, error={"code": "x"}),
    link.Heartbeat(),
    link.Welcome(1, 9),
    link.Identify(),
    link.Records(1, 4, 9, [1, 3], [2, 1], b"abc"),
    link.Infer(4, 1, b"x" * 64),
    link.Control(2, "pause"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.kind)
def test_the_link_encodes_and_decodes(message: link.Message) -> None:
    frames = link.encode(message)
    assert len(frames) == 2
    assert link.decode(frames) == message


def test_every_message_of_the_link_is_tested() -> None:
    assert {type(message).kind for message in MESSAGES} == set(link._KINDS)


@pytest.mark.parametrize(
    "frames",
    [
        [b"{}"],
        [b"{nope", b""],
        [b"[]", b""],
        [b'{"kind": "nonsense"}', b""],
        [b'{"kind": ["hello"]}', b""],
        [b'{"kind": "heartbeat"}', b"body"],
        [b'{"kind": "fetch", "from_seq": 1}', b""],
        [b'{"kind": "fetch", "from_seq": "1", "max_bytes": 2}', b""],
        [b'{"kind": "heartbeat", "more": 1}', b""],
    ],
)
def test_the_link_refuses_anything_else(frames: list[bytes]) -> None:
    with pytest.raises(link.LinkError):
        link.decode(frames)


def test_records_hand_out_views() -> None:
    records = link.Records(1, 4, 9, [1, 3], [2, 1], b"abc")
    assert [(seq, bytes(view)) for seq, view in records.payloads()] == [(1, b"ab"), (3, b"c")]
    with pytest.raises(link.LinkError, match="add up"):
        list(link.Records(1, 4, 9, [1], [2], b"abc").payloads())


def test_the_version_is_told_in_both_usual_ways_and_nothing_asked_is_help(capsys):
    assert cli.main(["--version"]) == cli.main(["version"]) == 0
    assert len(set(capsys.readouterr().out.split())) == 1
    assert cli.main([]) == 2
    assert "start and supervise" in capsys.readouterr().err
