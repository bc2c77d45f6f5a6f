"""What a training program is to do: which tensors learn, by which rule, how many images at a time.

Owns the choices that a program is compiled from; compiles nothing.
"""

from dataclasses import dataclass

from eftraind.graph import Layer
from eftraind.isa import Flag

RULES = {"sgd": Flag.NONE, "nesterov": Flag.NESTEROV, "adam": Flag.ADAM}
"""Optimizers, and how a command is told."""


@dataclass(frozen=True)
class Plan:
    """What a training program does; rates are not part of it, they may change at any step."""

    batch: int
    chunk: int
    trainable: frozenset[str] | None = None
    """Tensors that learn, as `params` names them; None: all."""
    frozen_norms: bool = False
    """Batch normalisation uses its running statistics and leaves them alone."""
    optimizer: str = "sgd"
    """sgd, nesterov or adam."""
    clip: bool = False
    smoothing: float = 0.0
    class_weights: bool = False
    keep_norms: bool = False
    """Outputs of batch normalisation stay for the way back, instead of being computed again: one
    map more in memory, one command less."""
    fuse: bool = False
    """Weights step as their gradient is made, where one command makes the whole of it."""
    cut: int | None = None
    """Latent replay: POOL holds the output of this layer, and training begins behind it."""

    def learns(self, layer: Layer, part: str) -> bool:
        name = f"{layer.name}.{part}"
        return layer.has_weights and (self.trainable is None or name in self.trainable)

    def learns_any(self, layer: Layer) -> bool:
        return self.learns(layer, "weight") or (layer.bias and self.learns(layer, "bias"))

    def steps_at_once(self, layer: Layer) -> bool:
        """The layer's CONV_WU steps its weights: it is the only one, and nothing has to be known
        of other gradients first."""
        simple = self.optimizer in ("sgd", "nesterov") and not self.clip
        whole = self.learns(layer, "weight") and (not layer.bias or self.learns(layer, "bias"))
        return self.fuse and simple and self.chunk >= self.batch and layer.convolves and whole

    def norm_trains(self, layer: Layer) -> bool:
        """Batch statistics are used and followed."""
        return layer.kind == "batchnorm" and not self.frozen_norms
