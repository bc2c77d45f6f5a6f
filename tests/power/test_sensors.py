"""Power of each board on a fake sysfs whose files have the kernel's names, units and formats.

Drivers: ina2xx (hwmon: power1_input uW, curr1_input mA, in0 shunt and in1 bus mV), iio-hwmon (the
same units), ina2xx-adc and xilinx-xadc (IIO: raw times scale is mW, mA, mV).
"""

from pathlib import Path

import pytest

from eftraind import boards
from eftraind.clock import FakeClock
from eftraind.config import from_mapping
from eftraind.errors import ConfigError
from eftraind.power import PowerMeter, find_rails


def put(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text + "\n")
    return folder


def hwmon(root: Path, number: int, **files: str) -> Path:
    return put(root / "class/hwmon" / f"hwmon{number}", **files)


def iio(root: Path, number: int, **files: str) -> Path:
    return put(root / "bus/iio/devices" / f"iio:device{number}", **files)


def xadc(root: Path) -> None:
    iio(root, 0, name="xadc", in_temp0_raw="2610", in_temp0_offset="-2219",
        in_temp0_scale="123.040771484", in_voltage0_vccint_raw="1365",
        in_voltage0_vccint_scale="0.732421875", in_voltage1_vccaux_raw="2456",
        in_voltage1_vccaux_scale="0.732421875", sampling_frequency="961538")  # fmt: skip


def ina2xx(root: Path, number: int, name: str, milliwatts: int) -> Path:
    return hwmon(
        root, number, name=name, in0_input="5", in1_input="12000",
        curr1_input=f"{milliwatts // 12}", power1_input=f"{milliwatts * 1000}",
        shunt_resistor="5000", update_interval="35",
    )  # fmt: skip


def powers(root: Path, board: str) -> dict[str, float | None]:
    return {rail.name: rail.read_w() for rail in find_rails(root, boards.load(board).power.rails)}


@pytest.mark.parametrize("board", ["pynq-z1", "pynq-z2"])
def test_a_board_without_a_sensor_of_power_has_no_power(tmp_path: Path, board: str) -> None:
    xadc(tmp_path)
    ina2xx(tmp_path, 0, "ina226", 5000)  # somebody's own, on a header: not the board's
    rails = find_rails(tmp_path, boards.load(board).power.rails)
    assert rails == [] and PowerMeter(rails, FakeClock()).read() == []


def test_the_xadc_alone_is_no_rail(tmp_path: Path) -> None:
    xadc(tmp_path)
    assert find_rails(tmp_path) == []


def test_zcu104_has_the_board_s_total_and_not_its_parts(tmp_path: Path) -> None:
    ina2xx(tmp_path, 0, "ina226", 14050)
    hwmon(tmp_path, 1, name="irps5401", power1_input="3500000", power1_label="pout1",
          curr1_input="4000", curr1_label="iout1", in1_input="850", in1_label="vout1")  # fmt: skip
    assert powers(tmp_path, "zcu104") == {"board": pytest.approx(14.05)}


def test_zcu102_knows_some_of_its_eighteen_rails_by_name(tmp_path: Path) -> None:
    places = ["u76", "u77", "u78", "u79", "u80", "u81"]
    for number, place in enumerate(places):
        ina2xx(tmp_path, number, f"ina226_{place}", 1000 + number)
    ina2xx(tmp_path, 9, "ina260_u1", 9000)
    assert powers(tmp_path, "zcu102") == {
        "ina226_u76_power1": pytest.approx(1.0),
        "ina226_u77_power1": pytest.approx(1.001),
        "ina226_u78_power1": pytest.approx(1.002),
        "vccint": pytest.approx(1.003),
        "vccaux": pytest.approx(1.004),
        "vccbram": pytest.approx(1.005),
    }


def test_kv260_s_module(tmp_path: Path) -> None:
    path = ina2xx(tmp_path, 3, "ina260_u14", 4210) / "power1_input"
    assert powers(tmp_path, "kv260") == {"som": pytest.approx(4.21)}
    path.unlink()
    assert powers(tmp_path, "kv260") == {"som": pytest.approx(4.2)}, "350 mA times 12,000 mV"


def test_a_board_s_chip_that_is_not_there_is_absent(tmp_path: Path) -> None:
    hwmon(tmp_path, 0, name="cpu_thermal", temp1_input="51234")
    for board in boards.names():
        assert powers(tmp_path, board) == {}


def test_a_chip_in_iio_alone(tmp_path: Path) -> None:
    folder = iio(
        tmp_path, 1, name="ina226", in_voltage1_raw="9600", in_voltage1_scale="1.250000000",
        in_power2_raw="1124", in_power2_scale="12.500000000", in_current3_raw="2341",
        in_current3_scale="0.500000000", in_shunt_resistor="0.005000000",
    )  # fmt: skip
    assert powers(tmp_path, "zcu104") == {"board": pytest.approx(14.05)}
    (rail,) = find_rails(tmp_path)
    assert (rail.name, rail.read_w()) == ("ina226_power2", pytest.approx(14.05))
    (folder / "in_power2_scale").unlink()
    assert find_rails(tmp_path) == [], "raw counts without a unit"


def test_a_chip_that_iio_and_hwmon_both_show_counts_once(tmp_path: Path) -> None:
    iio(tmp_path, 0, name="ina226", in_power2_raw="400", in_power2_scale="12.500000000")
    hwmon(tmp_path, 0, name="ina226_u79", power1_input="5000000", curr1_input="5882",
          in1_input="850", in2_input="5")  # fmt: skip
    assert powers(tmp_path, "zcu102") == {"vccint": pytest.approx(5.0)}


def test_a_name_for_a_chip_of_several_rails_tells_them_apart(tmp_path: Path) -> None:
    hwmon(tmp_path, 0, name="irps5401", power1_input="1000000", power1_label="pout1",
          power2_input="2000000", power2_label="pout2")  # fmt: skip
    rails = find_rails(tmp_path, ["pl = irps*"])
    assert {rail.name: rail.read_w() for rail in rails} == {"pl_pout1": 1.0, "pl_pout2": 2.0}


def test_a_board_that_does_not_exist_is_refused_by_name() -> None:
    assert from_mapping({"power": {"board": "zcu102"}}).power.board == "zcu102"
    with pytest.raises(ConfigError, match="no board 'zcu103'"):
        boards.load("zcu103")
