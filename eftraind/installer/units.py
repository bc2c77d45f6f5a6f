"""The units and their companions as they are installed: from templates in `units/`.

Owns which files there are, where they go, and their two variables: the interpreter and the
configuration file. Writes nothing.
"""

from importlib.resources import files

PYTHON = "/opt/eftraind/bin/python"
CONFIG = "/etc/eftraind/config.yaml"
UNITS = (
    "eftraind.target",
    "eftraind.slice",
    "eftraind-front.service",
    "eftraind-engine.service",
    "eftraind-engine-degraded.service",
    "eftraind-overlay.service",
)
COMPANIONS = {
    "sysusers.conf": "sysusers.d/eftraind.conf",
    "tmpfiles.conf": "tmpfiles.d/eftraind.conf",
}
HEAD = "# Written by `eftraind install-service`. Your changes: systemctl edit UNIT\n"


def places() -> dict[str, str]:
    """File name -> where it goes, below /etc or /usr/lib."""
    return {**{name: f"systemd/system/{name}" for name in UNITS}, **COMPANIONS}


def render(name: str, python: str = PYTHON, config: str = CONFIG) -> str:
    """The text of one file."""
    text = files("eftraind.installer").joinpath("units", name).read_text(encoding="utf-8")
    return HEAD + text.replace("@PYTHON@", python).replace("@CONFIG@", config)
