"""What a single-precision operator costs in DSP slices, look-up tables and latency.

The names are those of the vendor's tool (UG1399, BIND_OP). Figures are estimates for planning, to
be trusted within 30 %: none of our designs was placed and routed. Sources:

- fmul fulldsp, fadd fabric: our own operators through Yosys on xc7 and xcup, 2 DSP and about 75
  LUT, 0 DSP and about 360 LUT; public Vitis HLS reports say 338 LUT for the latter.
- fadd fulldsp: public Vitis HLS reports, 2 DSP and 226 LUT.
- fmul maxdsp, meddsp, fabric: the vendor's floating-point core (PG060) as remembered, not re-read:
  3, 1 and 0 DSP.
- latencies: registers a tool inserts near 200 MHz on UltraScale+ or 100 MHz and more on 7-series.
"""

from dataclasses import dataclass

from eftraind.errors import ConfigError


@dataclass(frozen=True)
class Operator:
    """One pipelined operator that takes a new pair of operands each cycle."""

    dsp: int
    lut: int
    latency: int
    """Cycles from operands to result."""


FMUL = {
    "maxdsp": Operator(3, 65, 4),
    "fulldsp": Operator(2, 75, 4),
    "meddsp": Operator(1, 280, 5),
    "fabric": Operator(0, 640, 6),
}
FADD = {
    "fulldsp": Operator(2, 226, 5),
    "fabric": Operator(0, 360, 5),
}


def fmul(implementation: str) -> Operator:
    return _known(FMUL, "fmul", implementation)


def fadd(implementation: str) -> Operator:
    return _known(FADD, "fadd", implementation)


def _known(table: dict[str, Operator], what: str, implementation: str) -> Operator:
    if implementation not in table:
        raise ConfigError(
            f"no {what} implementation {implementation!r}", remedy=f"one of: {', '.join(table)}"
        )
    return table[implementation]
