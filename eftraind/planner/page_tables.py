"""The tables of docs/reproduction.md, each as lines of Markdown. Renders only."""

from collections.abc import Iterable, Sequence

from eftraind.plan import energy
from eftraind.plan.ef_train import parallel as parallelism
from eftraind.plan.ef_train import published
from eftraind.plan.ef_train.cycles import START_CYCLES
from eftraind.plan.ef_train.model import CLOCK_MHZ
from eftraind.plan.outcome import gflops
from eftraind.planner import reproduction
from eftraind.planner.reproduction import Row, network

FAMILIES = {"zcu102": "zynqmp", "pynq-z1": "zynq7000"}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def rows(rows: Iterable[Row]) -> str:
    """Printed figures beside the model's."""
    return _table(
        ("", "printed", "model", "difference", "limit", ""),
        (
            (
                row.what,
                f"{_number(row.printed)} {row.unit}",
                f"{_number(row.modelled)} {row.unit}",
                f"{100 * row.difference + 0.0:+.2f} %".replace("-0.00", "+0.00"),
                f"{100 * row.allowed:.0f} %",
                "" if row.within else "**outside**",
            )
            for row in rows
        ),
    )


def _number(value: float) -> str:
    """
    >>> _number(69295691), _number(46.99), _number(0.33426)
    ('69,295,691', '46.99', '0.3343')
    """
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def table6() -> str:
    """AlexNet's convolutions with the paper's tiles and with those of Algorithm 1 here."""
    return _table(
        ("layer", "phase", "Tr", "M_on", "cycles", "own Tr", "own M_on", "cycles"),
        (
            (
                work.layer,
                work.phase.value,
                f"{tile.tr}",
                f"{tile.m_on}",
                f"{cycles:,}",
                f"{own.tr}",
                f"{own.m_on}",
                f"{own_cycles:,}",
            )
            for work, tile, cycles, own, own_cycles in reproduction.table6()
        ),
    )


def script() -> str:
    """VGG-16's convolutions by layer and phase, as the released script costs them."""
    cells: dict[str, dict[str, str]] = {}
    for cost in reproduction.script(16, 64):
        assert cost.tile is not None
        rate = gflops([cost], CLOCK_MHZ)
        cell = f"{rate:.1f} ({cost.tile.m_on}, {cost.tile.tr})"
        cells.setdefault(cost.layer, {})[cost.phase.value] = cell
    return _table(
        ("layer", "FP", "BP", "WU"),
        (
            (name, *(row.get(phase, "-") for phase in ("FP", "BP", "WU")))
            for name, row in cells.items()
        ),
    )


def shares() -> str:
    """Milliseconds an image by kind of layer, for each printed build."""
    kinds = ("conv", "maxpool", "avgpool", "batchnorm", "linear", "host")

    def line(build: published.Build) -> tuple[str, ...]:
        outcome = reproduction.step(build.network, build.board, build.batch or 128)
        spent = dict.fromkeys(kinds, 0)
        for cost in outcome.layers:
            spent[cost.kind if cost.layer != "host" else "host"] += cost.cycles
        per_ms = outcome.batch * outcome.clock_mhz * 1e3
        return (
            f"{build.network} on {build.board}",
            *(f"{spent[kind] / per_ms:.2f}" if spent[kind] else "-" for kind in kinds),
            f"{1e3 * outcome.seconds_per_image:.2f}",
        )

    return _table(("", *kinds, "all"), (line(build) for build in published.BUILDS))


def batch_one() -> str:
    """Throughput at batch 1 beside that at the batch the paper reports."""

    def line(build: published.Build) -> tuple[str, ...]:
        largest = build.batch or 128
        one, many = (
            reproduction.step(build.network, build.board, batch).gflops for batch in (1, largest)
        )
        name = f"{build.network} on {build.board}"
        return (name, f"{one:.2f}", f"{many:.2f} at {largest}", f"{100 * one / many:.0f} %")

    head = ("", "GFLOPS at batch 1", "at the paper's batch", "share")
    return _table(head, (line(build) for build in published.BUILDS))


def blocks() -> str:
    """Depths of the buffers and their block RAMs."""

    def line(build: published.Build) -> tuple[str, ...]:
        design = reproduction.design(build.network, build.board, START_CYCLES)
        t, buffer = design.kernel.t, design.buffer
        return (
            f"{build.network} on {build.board}",
            f"{t}",
            f"{buffer.ifm_words} / {buffer.ofm_words} / {buffer.weight_words}",
            f"{buffer.ifm_blocks(t):g}",
            f"{buffer.ofm_blocks(t):g}",
            f"{buffer.weight_blocks(t):g}",
        )

    head = ("", "T", "IFM / OFM / weights", "B_IFM", "B_OFM", "B_WEI")
    return _table(head, (line(build) for build in published.BUILDS if build.conv_dsp))


def parallel() -> str:
    """Share of an array of 256 that works, by which loops run in parallel."""
    lines = []
    for name in ("cifar1x", "alexnet", "vgg16"):
        for batch in (1, 16, 256):
            shares = parallelism.utilisation(network(name), batch)
            lines.append((name, f"{batch}", *(f"{share:.1%}" for share in shares.values())))
    return _table(("network", "batch", "by batch", "by map", "by channel"), lines)


def power() -> str:
    """Printed watts beside the fit."""

    def line(build: published.Build) -> tuple[str, ...]:
        drawn = energy.power(
            FAMILIES[build.board], CLOCK_MHZ, dsp=build.dsp, bram36=build.bram36
        ).total_watts
        return (
            f"{build.network} on {build.board}",
            f"{build.dsp}",
            f"{build.bram36}",
            f"{build.power_watts:.2f} W",
            f"{drawn:.2f} W",
            f"{100 * (drawn / build.power_watts - 1):+.1f} %",
            f"{build.gflops_per_watt:.2f}",
            f"{_modelled_efficiency(build, drawn):.2f}",
        )

    head = ("", "DSP", "BRAM36", "printed", "model", "residual", "printed GFLOPS/W", "model")
    return _table(head, (line(build) for build in published.BUILDS))


def _modelled_efficiency(build: published.Build, watts: float) -> float:
    outcome = reproduction.step(build.network, build.board, build.batch or 128)
    return outcome.gflops / watts
