"""The configuration: one YAML file becomes one tree of frozen dataclasses.

Owns reading; this is the only package that reads YAML. An unknown key, a value of another type or
out of bounds is a ConfigError that names the key's full path. It opens no sockets and creates no
directories.
"""

import dataclasses
import difflib
import json
from pathlib import Path
from typing import Any

import yaml

from eftraind.config.changes import CHANGEABLE, changes
from eftraind.config.fields import checked, optional, record, required, walk
from eftraind.config.learning import TrainConfig
from eftraind.config.reference import default_yaml, reference_table
from eftraind.config.rules import check_together
from eftraind.config.serving import IngestConfig, SuperviseConfig
from eftraind.config.tree import Config
from eftraind.errors import ConfigError

__all__ = [
    "CHANGEABLE",
    "Config",
    "IngestConfig",
    "SuperviseConfig",
    "TrainConfig",
    "changes",
    "default_yaml",
    "from_mapping",
    "load",
    "load_yaml",
    "optional",
    "record",
    "reference_table",
    "required",
    "to_mapping",
    "value_of",
]

MAX_YAML_BYTES = 1 << 20


def load_yaml(path: str | Path) -> Any:
    """Plain data of a YAML file; only safe tags, at most one MiB."""
    try:
        size_bytes = Path(path).stat().st_size
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}", remedy="check the path") from error
    if size_bytes > MAX_YAML_BYTES:
        raise ConfigError(
            f"{path} has {size_bytes} bytes", remedy=f"keep it below {MAX_YAML_BYTES}"
        )
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        detail = " ".join(str(error).split())
        raise ConfigError(f"{path} is not YAML: {detail}", remedy="mend its syntax") from error


def load(path: str | Path) -> Config:
    """The configuration in a YAML file; an empty file is all defaults."""
    data = load_yaml(path)
    try:
        return from_mapping({} if data is None else data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}", remedy=error.remedy) from error


def from_mapping(data: Any) -> Config:
    """The configuration that plain data of nested keys describes."""
    config: Config = record(Config, data)
    check_together(config)
    return config


def value_of(full: str, value: Any) -> Any:
    """A value for the key called `full` (such as train.momentum), with its type, or a ConfigError.

    What several keys must satisfy together is not looked at.
    """
    for name, entry, hint in walk(Config):
        if name == full and not dataclasses.is_dataclass(hint):
            return checked(value, hint, entry.metadata, full)
    known = [name for name, _, hint in walk(Config) if not dataclasses.is_dataclass(hint)]
    near = difflib.get_close_matches(full, known, n=1, cutoff=0.5)
    remedy = f"did you mean {near[0]}?" if near else "see docs/config.md"
    raise ConfigError(f"unknown key {full}", remedy=remedy)


def to_mapping(config: Any) -> dict[str, Any]:
    """Plain data that `from_mapping` turns into the same configuration."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain
