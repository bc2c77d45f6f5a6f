"""What the EF-Train paper, its authors' script and their released program say, and nothing else.

`reproduction` sets the model beside these figures.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Build:
    """One column of Tables 7-11: a bitstream for one network on one board, all at 100 MHz."""

    network: str
    board: str
    batch: int | None
    """None: not printed."""
    dsp: int
    bram36: int
    power_watts: float
    """An estimate of the vendor's tool, not a measurement."""
    gflops: float
    """Measured on the board, end to end."""
    gflops_per_watt: float
    conv_dsp: int | None = None
    conv_bram36: int | None = None


BUILDS = (
    Build("cifar1x", "pynq-z1", 128, 212, 123, 1.85, 4.08, 2.21, 180, 108),
    Build("cifar1x", "zcu102", 128, 1315, 324, 6.89, 28.15, 4.09, 1280, 288),
    Build("lenet10", "zcu102", None, 1315, 340, 7.14, 15.47, 2.17),
    Build("alexnet", "zcu102", 128, 1513, 857, 7.736, 34.52, 4.46, 1280, 672),
    Build("vgg16", "zcu102", 16, 1508, 787, 7.712, 46.99, 6.09, 1280, 672),
    Build("vgg16bn", "zcu102", 8, 1680, 812, 8.208, 40.08, 4.88, 1280, 672),
)

TABLE6_MODELLED, TABLE6_MEASURED = 69_295_691, 70_033_465
"""Cycles of AlexNet's convolutions at batch 4, all phases."""

TABLE6_TILES = {
    ("conv1", "FP"): (2, 96),
    ("conv1", "WU"): (2, 96),
    ("conv2", "FP"): (27, 112),
    ("conv2", "BP"): (27, 48),
    ("conv2", "WU"): (27, 112),
    **{(f"conv{n}", phase): (13, 112) for n in (3, 4, 5) for phase in ("FP", "BP", "WU")},
}
"""(Tr, M_on) of each layer and phase there; Tm = Tn = 16, Tc is the whole row."""

TABLE5_NO_REUSE = 72.53e6
"""The same measured without weight reuse: each image brings its weights along."""
FIGURE18_BATCH, FIGURE18_REUSE_SECONDS, FIGURE18_NO_REUSE_SECONDS = 128, 23.3, 25.2
"""AlexNet, one step with and without weight reuse, read off the figure to about 0.1 s."""

SCRIPT_VGG16 = {"all": 48.01, "FP": 47.13, "BP": 48.73, "WU": 48.22}
"""GFLOPS that the released script gives for VGG-16's convolutions at 16/16/64, batch 16."""
SCRIPT_SECONDS = 30.63

SCRIPT_BY_T = {4: 3.2, 6: 6.9, 8: 12.5, 12: 25.7, 16: 48.0, 20: 63.8, 22: 80.6}
"""The same by T, with 64 slots and 128-bit streams."""
SCRIPT_DEFAULT = (24, 55, 89.48)
"""(T, slots, GFLOPS): what the script says as it is released."""

FIGURE21 = {
    "alexnet": {2: 32.7, 4: 33.6, 8: 34.1, 16: 34.3, 128: 34.52},
    "vgg16": {2: 46.51, 4: 46.79, 8: 46.92, 16: 46.99},
    "vgg16bn": {2: 39.78, 4: 39.97, 8: 40.08},
}
"""GFLOPS by batch, read off the figure to 0.05 (the largest batch is printed)."""

FIGURE19 = {"FP": (9.2e6, 5.9e6), "BP": (7.3e6, 4.8e6), "WU": (7.1e6, 5.9e6)}
"""(cycles, of which MAC) of "1X" at batch 128 by phase, read off the figure."""

STEP_BYTES = 5.15e9
"""DRAM traffic of one step of the released VGG-16 program with BN at batch 2: counted by running
its host part on a PC."""
STEP_MEMORY_BYTES = 394 << 20
"""Its static arrays without a copy for printing and without scratch."""
