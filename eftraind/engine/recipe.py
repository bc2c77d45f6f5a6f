"""From the `train` keys of a configuration to a plan for the compiler and rates for the device.

Also says which keys may change while the engine runs. Compiles and runs nothing.
"""

import difflib
import math
from collections.abc import Mapping
from typing import Any

from eftraind import config as configuration
from eftraind.config import TrainConfig
from eftraind.errors import ConfigError
from eftraind.graph import Graph
from eftraind.isa import Hyper
from eftraind.plan import trainable
from eftraind.plan.lower import Plan

RATES = {
    "train.learning_rate": Hyper.RATE,
    "train.momentum": Hyper.MOMENTUM,
    "train.beta2": Hyper.BETA2,
    "train.weight_decay": Hyper.DECAY,
    "train.clip_norm": Hyper.CLIP,
    "train.norm_share": Hyper.BN_SHARE,
}
"""Keys that may change at any step, and the word of each."""


MOST_STEPS_PER_SAMPLE = 4.0
"""More would only fit replay again."""


def plan_for(graph: Graph, config: TrainConfig, chunk: int | None) -> Plan:
    """What the training program does; a batch or chunk left open is 1 until it is chosen.

    Raises ConfigError for layers that are not there.
    """
    learns = trainable.resolve(graph, config.trainable)
    batch = config.batch or 1
    return Plan(
        batch=batch,
        chunk=min(chunk or 1, batch),
        trainable=learns,
        frozen_norms=config.freeze_norms,
        optimizer=config.optimizer,
        clip=config.clip_norm > 0,
        smoothing=config.label_smoothing,
        class_weights=config.class_weights is not None,
        cut=trainable.freeze_point(graph, learns) if config.latent else None,
    )


def steps_per_sample(config: TrainConfig, step_s: float) -> float:
    """As configured, or what the device affords if a step takes so long. Rounded down to a power
    of two, so that another measurement at the next start seldom changes it."""
    if config.steps_per_sample is not None:
        return config.steps_per_sample
    affordable = config.device_share / (step_s * config.samples_per_s)
    return min(MOST_STEPS_PER_SAMPLE, 2.0 ** math.floor(math.log2(affordable)))


def rates_of(config: TrainConfig) -> dict[Hyper, float]:
    """The words of every rate."""
    return {
        word: _word(word, getattr(config, name.partition(".")[2])) for name, word in RATES.items()
    }


def changed_rates(plan: Plan, given: Mapping[str, Any]) -> dict[Hyper, float]:
    """The words of rates that an operator gives while the engine runs. Raises ConfigError for
    a value out of bounds and for every other key."""
    if not given:
        raise ConfigError("nothing to set", remedy="give KEY=VALUE, as train.learning_rate=0.01")
    out = {}
    for name, value in given.items():
        if name not in RATES:
            raise _not_a_rate(name)
        checked = configuration.value_of(name, value)
        if name == "train.clip_norm" and not plan.clip:
            raise ConfigError(
                "train.clip_norm was 0 when the program was compiled",
                remedy="restart with a value above 0; a very large one never clips",
            )
        out[RATES[name]] = _word(RATES[name], checked)
    return out


def _word(word: Hyper, value: float) -> float:
    return math.inf if word is Hyper.CLIP and value == 0 else value


def _not_a_rate(name: str) -> ConfigError:
    near = difflib.get_close_matches(name, [*RATES, *(n.partition(".")[2] for n in RATES)], n=1)
    if near:
        full = near[0] if near[0] in RATES else f"train.{near[0]}"
        return ConfigError(f"{name} is no rate", remedy=f"did you mean {full}?")
    return ConfigError(
        f"{name} cannot change while the engine runs",
        remedy=f"change the configuration file and restart; rates: {', '.join(RATES)}",
    )
