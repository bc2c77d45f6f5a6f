"""The designs that boards are emulated with, and the files that pynq wants of each.

Owns addresses, and a .hwh just large enough for pynq's parser. The .bit holds a header and no
configuration: it programs nothing.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

from eftraind.registers import REGISTER_SPACE_BYTES

KERNEL = "eftrain_0"
CONTROLLER = "axi_intc_0"


@dataclass(frozen=True)
class Design:
    """One family of boards, as its processing system shows itself."""

    name: str
    arch: str
    """As `platform.machine()` says there; pynq chooses the clock registers by it."""
    part: str
    processing_system: str
    irq_port: str
    raw_irq: int
    """Of the first interrupt from the fabric, as the kernel of Linux counts."""
    kernel_address: int
    controller_address: int
    memory_address: int
    """Where CMA begins."""


ZYNQ = Design(
    name="zynq",
    arch="armv7l",
    part="xc7z020clg400-1",
    processing_system="processing_system7",
    irq_port="IRQ_F2P",
    raw_irq=61,
    kernel_address=0x43C0_0000,
    controller_address=0x4180_0000,
    memory_address=0x1000_0000,
)
ULTRASCALE = Design(
    name="ultrascale",
    arch="aarch64",
    part="xczu9eg-ffvb1156-2-e",
    processing_system="zynq_ultra_ps_e",
    irq_port="pl_ps_irq0",
    raw_irq=121,
    kernel_address=0xA000_0000,
    controller_address=0xA001_0000,
    memory_address=0x8_7000_0000,  # needs the upper half of an address
)
DESIGNS = {design.name: design for design in (ZYNQ, ULTRASCALE)}


def write_files(folder: Path, design: Design, clock_mhz: float) -> Path:
    """The .bit and beside it the .hwh; the .bit's path."""
    bit = folder / f"eftrain-{design.name}.bit"
    bit.write_bytes(_bit(design))
    bit.with_suffix(".hwh").write_text(_hwh(design, clock_mhz), encoding="utf-8")
    return bit


def _bit(design: Design) -> bytes:
    """The header of a .bit file: its fields a to d by name, e the length of nothing."""
    out = bytes.fromhex("0009 0ff0 0ff0 0ff0 0ff0 00 0001".replace(" ", ""))
    for tag, text in (
        (b"a", "emulated;no configuration inside"),
        (b"b", design.part),
        (b"c", "2026/01/01"),
        (b"d", "00:00:00"),
    ):
        field = text.encode() + b"\0"
        out += tag + struct.pack(">H", len(field)) + field
    return out + b"e" + struct.pack(">I", 0)


def _hwh(design: Design, clock_mhz: float) -> str:
    modules = [_system(design, clock_mhz), _kernel(design), _controller(design)]
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<EDKSYSTEM EDWVERSION="1.2">\n'
        f'<SYSTEMINFO NAME="eftrain" ARCH="{design.arch}" PART="{design.part}"/>\n'
        "<EXTERNALPORTS/>\n"
        f"<MODULES>\n{''.join(modules)}</MODULES>\n</EDKSYSTEM>\n"
    )


def _module(
    name: str, vlnv: str, body: str, parameters: dict[str, object], blocks: str = ""
) -> str:
    kind = vlnv.split(":")[2]
    lines = "".join(f'<PARAMETER NAME="{k}" VALUE="{v}"/>\n' for k, v in parameters.items())
    return (
        f'<MODULE FULLNAME="/{name}" INSTANCE="{name}" MODTYPE="{kind}" VLNV="{vlnv}"'
        f' IPTYPE="PERIPHERAL" IS_ENABLE="1" HWVERSION="1.0">\n{blocks}'
        f"<PARAMETERS>\n{lines}</PARAMETERS>\n{body}</MODULE>\n"
    )


def _port(name: str, direction: str, sense: str, other: str, pin: str) -> str:
    return (
        f'<PORT DIR="{direction}" NAME="{name}" SIGIS="INTERRUPT" SENSITIVITY="{sense}">'
        f'<CONNECTIONS><CONNECTION INSTANCE="{other}" PORT="{pin}"/></CONNECTIONS></PORT>\n'
    )


def _clocks(design: Design, clock_mhz: float) -> dict[str, object]:
    """Dividers as Vivado would have computed them for the PLL that the design names."""
    out: dict[str, object] = {}
    for index in range(4):
        enabled = int(index == 0)
        if design.arch == "armv7l":
            out[f"PCW_FPGA_FCLK{index}_ENABLE"] = enabled
            out[f"PCW_FCLK{index}_PERIPHERAL_DIVISOR0"] = round(1000 / clock_mhz)
            out[f"PCW_FCLK{index}_PERIPHERAL_DIVISOR1"] = 1
            out[f"PCW_FCLK{index}_PERIPHERAL_CLKSRC"] = "IO PLL"
        else:
            out[f"PSU__FPGA_PL{index}_ENABLE"] = enabled
            unit = f"PSU__CRL_APB__PL{index}_REF_CTRL__"
            out |= {f"{unit}DIVISOR0": round(1200 / clock_mhz), f"{unit}DIVISOR1": 1}
            out |= {f"{unit}SRCSEL": "RPLL", f"{unit}ACT_FREQMHZ": clock_mhz}
    return out


def _system(design: Design, clock_mhz: float) -> str:
    ranges = "".join(
        f'<MEMRANGE ADDRESSBLOCK="Reg" BASENAME="C_BASEADDR" BASEVALUE="0x{base:08X}"'
        f' HIGHVALUE="0x{base + size - 1:08X}" INSTANCE="{name}" IS_DATA="TRUE"'
        f' MASTERBUSINTERFACE="M_AXI_GP0" MEMTYPE="REGISTER" SLAVEBUSINTERFACE="{bus}"/>\n'
        for name, base, size, bus in (
            (KERNEL, design.kernel_address, 0x10000, "s_axi_control"),
            (CONTROLLER, design.controller_address, 0x10000, "s_axi"),
        )
    )
    bus = (
        '<BUSINTERFACE BUSNAME="control" DATAWIDTH="32" NAME="M_AXI_GP0" TYPE="MASTER"'
        ' VLNV="xilinx.com:interface:aximm:1.0"/>\n'
    )
    ports = _port(design.irq_port, "I", "LEVEL_HIGH", CONTROLLER, "irq")
    body = (
        f"<PORTS>\n{ports}</PORTS>\n<BUSINTERFACES>\n{bus}</BUSINTERFACES>\n"
        f"<MEMORYMAP>\n{ranges}</MEMORYMAP>\n"
    )
    vlnv = f"xilinx.com:ip:{design.processing_system}:1.0"
    return _module("ps_0", vlnv, body, _clocks(design, clock_mhz))


def _registers(names: dict[str, int], interface: str) -> str:
    rows = "".join(
        f'<REGISTER NAME="{name}"><PROPERTY NAME="ADDRESS_OFFSET" VALUE="{offset}"/>'
        '<PROPERTY NAME="SIZE" VALUE="32"/><PROPERTY NAME="ACCESS" VALUE="read-write"/>'
        "</REGISTER>\n"
        for name, offset in names.items()
    )
    return (
        f'<ADDRESSBLOCKS><ADDRESSBLOCK ACCESS="" INTERFACE="{interface}" NAME="Reg"'
        f' RANGE="{REGISTER_SPACE_BYTES}" USAGE="register">\n<REGISTERS>\n{rows}</REGISTERS>\n'
        "</ADDRESSBLOCK></ADDRESSBLOCKS>\n"
    )


def _slave(name: str) -> str:
    return (
        f'<BUSINTERFACES><BUSINTERFACE BUSNAME="control" DATAWIDTH="32" NAME="{name}"'
        ' TYPE="SLAVE" VLNV="xilinx.com:interface:aximm:1.0"/></BUSINTERFACES>\n'
    )


def _kernel(design: Design) -> str:
    ports = _port("interrupt", "O", "LEVEL_HIGH", CONTROLLER, "intr")
    return _module(
        KERNEL,
        "xilinx.com:hls:eftrain:1.0",
        f"<PORTS>\n{ports}</PORTS>\n{_slave('s_axi_control')}",
        {},
        _registers({"CTRL": 0}, "s_axi_control"),
    )


def _controller(design: Design) -> str:
    ports = _port("intr", "I", "LEVEL_HIGH", KERNEL, "interrupt")
    ports += _port("irq", "O", "LEVEL_HIGH", "ps_0", design.irq_port)
    return _module(
        CONTROLLER,
        "xilinx.com:ip:axi_intc:4.1",
        f"<PORTS>\n{ports}</PORTS>\n{_slave('s_axi')}",
        {"C_IRQ_CONNECTION": 1},
        _registers({"ISR": 0}, "s_axi"),
    )
