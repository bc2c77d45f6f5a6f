"""The whole cost model `ef_train`: a network on a board becomes a Schedule, every entry modelled.

Convolutions after the paper, all else after `additions`. Never rounds an unknown layer to zero:
`work.check` refuses it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from eftraind.errors import ConfigError
from eftraind.graph import Graph, Layer
from eftraind.plan.ef_train import additions, buffers, schedule
from eftraind.plan.ef_train.buffers import Buffers
from eftraind.plan.ef_train.cycles import Kernel, Times, ceil_div, phase_cycles, times
from eftraind.plan.ef_train.work import (
    Work,
    check,
    convolutions,
    needs_bp,
    of_layer,
)
from eftraind.plan.outcome import LayerCost, Phase, Resources, Schedule, Tile

NAME = "ef_train"
CLOCK_MHZ = 100.0
"""Of both of the paper's boards."""
DSP_SHARE, BRAM_SHARE = 0.82, 0.78
"""Of the board, at most, for convolution: what the paper's PYNQ-Z1 design takes (180 of 220, 108
of 140), a little more than the 80 % and 75 % that its text advises."""
LARGEST_T = 16
"""The largest array the authors built."""
WORD_BYTES = 4
INDICES_PER_BLOCK = 2048
"""16-bit words of a block RAM of 36 Kbit."""


@dataclass(frozen=True)
class Target:
    """What this model must know of a board."""

    board: str
    dsp: int
    bram36: int
    memory_bytes: int
    stream_words: int


@dataclass(frozen=True)
class Design:
    """One bitstream of the paper's kernel."""

    kernel: Kernel
    buffer: Buffers
    clock_mhz: float = CLOCK_MHZ

    def at_clock(self, clock_mhz: float) -> "Design":
        """The same with a faster array: what the ARM core does takes as long as before, so that
        starting a DMA takes more cycles."""
        cycles = round(self.kernel.start_cycles * clock_mhz / self.clock_mhz)
        return replace(self, kernel=replace(self.kernel, start_cycles=cycles), clock_mhz=clock_mhz)


ZCU102 = Target("zcu102", dsp=2520, bram36=912, memory_bytes=1 << 31, stream_words=4)
"""As the paper uses it: 128-bit streams, and of its DRAM the lower bank of 2 GB."""
PYNQ_Z1 = Target("pynq-z1", dsp=220, bram36=140, memory_bytes=1 << 29, stream_words=1)
"""32-bit streams (p. 23)."""


def largest_t(target: Target) -> int:
    """Even, within the DSP budget, no larger than what the authors built.

    >>> largest_t(ZCU102), largest_t(PYNQ_Z1)
    (16, 6)
    """
    for t in range(LARGEST_T, 1, -2):
        if buffers.conv_dsp(t) <= DSP_SHARE * target.dsp:
            return t
    raise ConfigError(
        f"board {target.board} has {target.dsp} DSP slices, the smallest array of kernel "
        f"{NAME} needs {buffers.conv_dsp(2)} within {DSP_SHARE:.0%} of them",
        remedy="take a larger board",
    )


def design_for(graph: Graph, target: Target, batch: int) -> Design:
    """Algorithm 1 under the board's budget, with the largest T whose buffers fit. Raises
    ConfigError, GraphError."""
    check(graph)
    works = convolutions(graph)
    top = largest_t(target)
    for t in range(top, 1, -2):
        kernel = Kernel(t, target.stream_words, additions.EFFECTIVE_START_CYCLES)
        rest = beyond_convolution(graph, t)
        left = max(0, target.bram36 - rest.bram36)
        blocks = min(int(BRAM_SHARE * target.bram36), left)
        if buffers.conv_dsp(t) + rest.dsp > target.dsp:
            continue
        try:
            return Design(kernel, schedule.for_budget(works, kernel, batch, blocks))
        except ConfigError:
            if t == 2:
                raise
    raise ConfigError(
        f"board {target.board} has {target.dsp} DSP slices, kernel {NAME} needs "
        f"{buffers.conv_dsp(2) + beyond_convolution(graph, 2).dsp} for network {graph.name}",
        remedy="take a larger board",
    )


def plan(graph: Graph, target: Target, batch: int, design: Design | None = None) -> Schedule:
    """One training step of `batch` images. Raises GraphError for a layer without a formula and
    ConfigError for what does not fit."""
    check(graph)
    if batch < 1:
        raise ConfigError(f"batch is {batch}", remedy="give at least 1")
    memory = memory_bytes(graph, batch)
    if memory > target.memory_bytes:
        raise ConfigError(
            f"network {graph.name} at batch {batch} needs {memory / 1e6:.0f} MB of DRAM, kernel "
            f"{NAME} has {target.memory_bytes / 1e6:.0f} MB on {target.board}",
            remedy="take a smaller batch",
        )
    chosen = design or design_for(graph, target, batch)
    layers = tuple(_costs(graph, chosen, batch))
    return Schedule(
        kernel=NAME,
        board=target.board,
        network=graph.name,
        batch=batch,
        t=chosen.kernel.t,
        clock_mhz=chosen.clock_mhz,
        resources=resources(graph, chosen),
        layers=(*layers, _host(graph, chosen, batch, len(layers))),
        memory_bytes=memory,
    )


def resources(graph: Graph, design: Design) -> Resources:
    """Convolution after equations 28-32, and what the builds take beyond it."""
    t = design.kernel.t
    rest = beyond_convolution(graph, t)
    blocks = design.buffer.total_blocks(t)
    return Resources(buffers.conv_dsp(t) + rest.dsp, blocks + rest.bram36)


def beyond_convolution(graph: Graph, t: int) -> Resources:
    """Read off the paper's tables, which do not explain it: 32 DSP and 15 blocks on PYNQ-Z1, 35
    and 36 on ZCU102 for 32 x 32 images, 228 and 115 for 224 x 224, and 172 and 25 more with BN.

    An array smaller than 8 x 8 is taken to need what PYNQ-Z1 does, and the pool indices of one
    image, which the kernel keeps on the chip.
    """
    small = max(graph.input.shape[:2]) <= 32
    if t < 8:
        index = max((additions.pool_index_words(layer) for layer in graph.layers), default=0)
        dsp, bram = 32, 15 + (0 if small else ceil_div(index, INDICES_PER_BLOCK))
    else:
        dsp, bram = (35, 36) if small else (228, 115)
    if any(layer.kind == "batchnorm" for layer in graph.layers):
        dsp, bram = dsp + 172, bram + 25
    return Resources(dsp, bram)


def memory_bytes(graph: Graph, batch: int) -> int:
    """DRAM: each map and its loss, what BN keeps for BP, pool indices, weights (updated in
    place)."""
    rows, cols, channels = graph.input.shape
    image = rows * cols * ceil_div(channels, 4) * 4
    weights = 0
    for layer in graph.layers:
        image += 2 * _map_words(layer) if layer.kind != "batchnorm" else _map_words(layer)
        image += additions.pool_index_words(layer)
        if layer.convolves:
            weights += layer.macs // (layer.output_shape[1] * layer.output_shape[2])
    return WORD_BYTES * (batch * image + weights)


def _map_words(layer: Layer) -> int:
    channels, rows, cols = layer.output_shape
    return channels * rows * cols


def _costs(graph: Graph, design: Design, batch: int) -> Iterator[LayerCost]:
    """In the order of a step: all FP, then BP and WU from the last layer to the first."""
    for index, _ in enumerate(graph.layers):
        yield from _of(graph, index, Phase.FP, design, batch)
    for index in reversed(range(len(graph.layers))):
        if needs_bp(graph, index) or graph.layers[index].kind == "batchnorm":
            yield from _of(graph, index, Phase.BP, design, batch)
        yield from _of(graph, index, Phase.WU, design, batch)


def _of(graph: Graph, index: int, phase: Phase, design: Design, batch: int) -> Iterator[LayerCost]:
    layer = graph.layers[index]
    if layer.kind == "conv":
        yield from (
            convolution(work, design, batch)
            for work in of_layer(graph, index)
            if work.phase is phase
        )
    elif layer.kind == "linear":
        yield _linear(layer, phase, design.kernel, batch)
    elif phase is not Phase.WU:  # BN updates its few parameters within BP
        yield _streamed(layer, phase, design, batch)


def convolution(work: Work, design: Design, batch: int, tile: Tile | None = None) -> LayerCost:
    """With the best tile, or with the one given."""
    kernel = design.kernel
    tile = tile or schedule.best_tile(work, design.buffer, kernel, batch)
    cycles = phase_cycles(work, tile, batch, kernel)
    reads, writes = _words(work, tile, batch)
    return LayerCost(
        work.layer,
        "conv",
        work.phase,
        cycles,
        2 * work.macs * batch,
        WORD_BYTES * reads,
        WORD_BYTES * writes,
        _bound(work, tile, batch, kernel, cycles),
        tile,
    )


def _words(work: Work, tile: Tile, batch: int) -> tuple[int, int]:
    """Words read and written: inputs, whole rows of them, once for each tile of outputs."""
    inputs, outputs = ceil_div(work.n, tile.tn), ceil_div(work.m, tile.tm)
    tiles = ceil_div(work.r, tile.tr)
    source = batch * outputs * work.n * work.rows_read(tile.tr) * work.source[1]
    weights = work.m * work.n * work.taps
    result = batch * work.m * work.r * work.c
    if work.phase is Phase.WU:
        loss = result * (inputs if tiles > 1 else 1)
        return source + loss + weights, weights
    return source + weights + (result if work.masked else 0), result


def _bound(work: Work, tile: Tile, batch: int, kernel: Kernel, cycles: int) -> str:
    t: Times = times(work, tile, kernel, min(tile.m_on, work.m))
    inputs, outputs = ceil_div(work.n, tile.tn), ceil_div(work.m, tile.tm)
    computing = batch * inputs * outputs * ceil_div(work.r, tile.tr) * t.compute
    load = max(t.ifm, t.loss) if work.phase is Phase.WU and tile.tr < work.r else t.ifm
    if load > t.compute and inputs > 1:
        return "ifm"
    if work.phase is Phase.WU and inputs * outputs * t.out > computing:
        return "weights"
    if work.phase is not Phase.WU and t.out > inputs * t.compute:
        return "ofm"
    return "compute" if computing >= 0.75 * cycles else "drain"


def _linear(layer: Layer, phase: Phase, kernel: Kernel, batch: int) -> LayerCost:
    cycles = additions.linear(layer, phase, batch, kernel)
    outs, ins = layer.output_shape[0], layer.macs // layer.output_shape[0]
    if phase is Phase.BP:
        outs, ins = ins, outs
    vectors = batch * ins * ceil_div(outs, kernel.t)
    weights = outs * ins
    reads, writes = vectors + weights, batch * outs
    if phase is Phase.WU:
        reads, writes = reads + batch * outs, weights
    streamed = weights // kernel.stream_words
    bound = "weights" if 2 * streamed > cycles else "ifm"
    return LayerCost(
        layer.name,
        layer.kind,
        phase,
        cycles,
        2 * layer.macs * batch,
        WORD_BYTES * reads,
        WORD_BYTES * writes,
        bound,
    )


def _streamed(layer: Layer, phase: Phase, design: Design, batch: int) -> LayerCost:
    """Pools and BN."""
    source = layer.input_shape[0] * layer.input_shape[1] * layer.input_shape[2]
    out, index = _map_words(layer), additions.pool_index_words(layer)
    if layer.kind == "batchnorm":
        cycles = additions.batchnorm(layer, batch, design.kernel)
        reads, writes = (2 * out, 2 * out) if phase is Phase.FP else (4 * out, out)
        bound = "compute"
    else:
        cycles = additions.pool(layer, phase, batch, design.kernel, design.buffer)
        forward = phase is Phase.FP
        # BP also reads the activation in front of the pool, to mask by ReLU
        reads, writes = (source, out + index) if forward else (out + index + source, source)
        bound = "ifm" if forward else "ofm"
    sizes = (WORD_BYTES * batch * reads, WORD_BYTES * batch * writes)
    return LayerCost(layer.name, layer.kind, phase, cycles, 0, *sizes, bound)


def _host(graph: Graph, design: Design, batch: int, launches: int) -> LayerCost:
    scale = design.clock_mhz / CLOCK_MHZ
    cycles = round(additions.host(graph.classes, launches, batch) * scale)
    return LayerCost("host", "loss and launches", Phase.OTHER, cycles, 0, 0, 0, "host")
