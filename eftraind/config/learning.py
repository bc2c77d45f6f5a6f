"""Keys of the engine: model, device, replay, training, gate, checkpoints.

Owns their defaults, bounds, units and explanations; reads nothing.
"""

from dataclasses import dataclass

from eftraind.config.fields import option


@dataclass(frozen=True)
class ModelConfig:
    network: str = option("digits", "name of a shipped network, or path of a network YAML file")
    weights: str | None = option(
        None, "safetensors file to start from when no checkpoint exists yet; null starts untrained"
    )
    seed: int = option(0, "seed of the initial weights", low=0, high=2**63 - 1)


@dataclass(frozen=True)
class DeviceConfig:
    kind: str = option(
        "cpu",
        "cpu: native SIMD code; reference: slow numpy; csim: the FPGA kernel, run as a program; "
        "board: the FPGA, through pynq; emulated-board: the same, without an FPGA",
        choices=("cpu", "reference", "csim", "board", "emulated-board"),
    )
    manifest: str | None = option(
        None, "of the bitstream that kind board loads: its JSON file (see bitstreams/README.md)"
    )
    emulate: str = option(
        "ultrascale", "design of an emulated-board", choices=("zynq", "ultrascale")
    )
    deadline_s: float = option(
        5.0,
        "a board that has not ended a slice after this many seconds is given up: the engine ends "
        "and is started again",
        low=0.01,
        high=600.0,
    )
    fallback: str = option(
        "none",
        "what serves and trains while a board cannot be opened; cpu is seen in "
        "eftraind_device_fallback and as an alarm",
        choices=("none", "cpu"),
    )
    threads: int = option(
        0,
        "threads of the cpu device; 0: one core fewer than the machine has, at least 1",
        low=0,
        high=1024,
    )
    chunk: int | None = option(
        None,
        "images that pass through all layers together in a training step; auto: as many as pay, "
        "while the longest command is predicted to fit `slice_s` and memory suffices",
        low=1,
        high=1024,
        auto=True,
    )
    slice_s: float = option(
        0.002,
        "longest uninterrupted piece of training, in seconds, as predicted: an inference waits "
        "about this long at most, or as long as the longest command if that is longer",
        low=1e-4,
        high=10.0,
    )
    overlay: str | None = option(
        None,
        "bitstream (.bit, its .hwh beside it) that eftraind-overlay.service loads at boot for "
        "other programs; not with kind board, which loads its own",
    )
    memory_bytes: int = option(
        0,
        "memory that all buffers of the device together may take; what does not fit is refused "
        "at start with the figures; 0: no limit",
        low=0,
        high=2**50,
    )


@dataclass(frozen=True)
class ReplayConfig:
    policy: str = option(
        "balanced",
        "what is kept: equal shares per class, a uniform sample, or only the newest",
        choices=("balanced", "uniform", "fresh"),
    )
    capacity: int = option(10_000, "samples kept in memory", low=1, high=2**31)
    pending_capacity: int = option(
        2_000, "samples kept in memory that wait for their label", low=0, high=2**31
    )
    seed: int = option(0, "seed of what is kept and drawn", low=0, high=2**63 - 1)


@dataclass(frozen=True)
class TrainConfig:
    batch: int | None = option(
        32,
        "samples per training step; auto: the smallest whose update is predicted to take at most "
        "a tenth of the step, and that fits in memory",
        low=1,
        high=4096,
        auto=True,
    )
    fresh_fraction: float = option(
        0.5, "share of a batch taken from the newest samples, 0 to 1", low=0.0, high=1.0
    )
    steps_per_sample: float | None = option(
        0.25,
        "training steps per labelled sample received; auto: what `device_share` affords at "
        "`samples_per_s`, at most 4",
        low=0.0,
        high=1000.0,
        auto=True,
    )
    device_share: float = option(
        0.5,
        "share of the device's time that training may take, if `steps_per_sample` is auto",
        low=0.001,
        high=1.0,
    )
    samples_per_s: float = option(
        10.0,
        "labelled samples a second to expect, if `steps_per_sample` is auto",
        low=1e-4,
        high=1e6,
    )
    min_samples: int = option(
        64, "labelled samples needed before the first step", low=1, high=2**31
    )
    optimizer: str = option(
        "sgd",
        "how a gradient changes the weights; adam is often given a learning_rate of 0.001",
        choices=("sgd", "nesterov", "adam"),
    )
    learning_rate: float = option(0.01, "step size", low=0.0, high=100.0)
    momentum: float = option(0.9, "momentum of SGD, beta1 of Adam", low=0.0, high=0.9999)
    beta2: float = option(0.999, "decay of Adam's second moment", low=0.0, high=0.999999)
    weight_decay: float = option(1e-4, "L2 penalty", low=0.0, high=1.0)
    clip_norm: float = option(
        0.0, "gradients of a larger norm are scaled down to it; 0: never", low=0.0, high=1e6
    )
    label_smoothing: float = option(
        0.0, "share of the target spread over all classes", low=0.0, high=0.999
    )
    class_weights: tuple[float, ...] | None = option(
        None, "weight of each class in the loss; null: all the same", low=0.0, high=1e6
    )
    trainable: tuple[str, ...] = option(
        ("all",),
        "what learns: all, last-K (the last K convolutions and linear layers), "
        "norms-and-biases, or names of layers or tensors; several are united",
    )
    freeze_norms: bool = option(
        False, "batch normalisation keeps its running statistics and uses them in training too"
    )
    norm_share: float = option(
        0.1, "how far running statistics move towards those of each batch", low=0.0, high=1.0
    )
    latent: bool = option(
        False,
        "keep for replay what the frozen first layers make of a sample, not the sample: "
        "they run once per sample, not in every step",
    )
    max_lag_samples: int = option(
        4096,
        "samples training may fall behind before older ones are only stored, not trained on",
        low=1,
        high=2**31,
    )


@dataclass(frozen=True)
class GateConfig:
    candidate_steps: int = option(
        50, "training steps from one candidate to the next", low=1, high=2**31
    )
    alpha: float = option(
        0.05, "chance of promoting a candidate that is not better", low=1e-9, high=0.5
    )
    min_samples: int = option(
        64, "labelled samples a candidate is scored on before it may be promoted", low=1, high=2**31
    )
    max_samples: int = option(
        500, "labelled samples after which an undecided candidate is rejected", low=1, high=2**31
    )
    probation_samples: int = option(
        200, "labelled samples during which a promoted model can be rolled back", low=0, high=2**31
    )
    window_samples: int = option(
        200, "labelled samples the reported accuracies are averaged over", low=1, high=2**31
    )
    max_norm_ratio: float = option(
        4.0,
        "a candidate whose weight norm grew by more than this factor is rejected",
        low=1.0,
        high=1e6,
    )
    min_class_share: float = option(
        0.1,
        "a candidate that predicts a class less often than this share of its labels is rejected",
        low=0.0,
        high=1.0,
    )


@dataclass(frozen=True)
class CheckpointConfig:
    keep: int = option(5, "generations kept on disk", low=2, high=10_000)
