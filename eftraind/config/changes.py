"""What may change while the daemon runs, and what a file read again would change.

Owns the list of such keys; who applies them is decided by the processes. Reads nothing.
"""

from typing import Any

from eftraind.config.fields import walk
from eftraind.config.tree import Config
from eftraind.errors import ConfigError

CHANGEABLE = (
    "train.learning_rate",
    "train.momentum",
    "train.beta2",
    "train.weight_decay",
    "train.clip_norm",
    "train.norm_share",
    "log.level",
    "log.levels.service",
    "log.levels.engine",
    "log.levels.store",
    "log.levels.accel",
)


def changes(old: Config, new: Config) -> dict[str, Any]:
    """Key -> new value of all that differs. Raises ConfigError that names every key which cannot
    change in a running daemon; nothing may then be applied."""
    changed = {
        key: value
        for (key, before), (_, value) in zip(_values(old), _values(new), strict=True)
        if value != before
    }
    fixed = [key for key in changed if key not in CHANGEABLE]
    if "train.clip_norm" in changed and old.train.clip_norm == 0:
        fixed.append("train.clip_norm (it was 0 at start)")
    if fixed:
        raise ConfigError(
            f"cannot change while the daemon runs: {', '.join(fixed)}",
            remedy="restart it for these, or take them back and reload; nothing was changed",
        )
    return changed


def _values(config: Config) -> list[tuple[str, Any]]:
    """(full key, value) of every key that holds no others."""
    rows = []
    sections: dict[str, Any] = {"": config}
    for full, entry, _ in walk(Config):
        value = getattr(sections[full.rpartition(".")[0]], entry.name)
        if hasattr(value, "__dataclass_fields__"):
            sections[full] = value
        else:
            rows.append((full, value))
    return rows
