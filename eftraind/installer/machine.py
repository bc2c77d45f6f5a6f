"""Installing and removing: files below a root directory, and systemd told about them.

Owns what is written and what is removed. Doing it twice changes nothing the second time. On a
staged root (an image, a package) systemd is not told anything.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eftraind.errors import ConfigError
from eftraind.installer import units

FIRST_CONFIG = """\
# What is not named here is the default: eftraind reference defaults
model:
  network: digits
"""
WANTED = "systemd/system/multi-user.target.wants/eftraind.target"
HIDDEN = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")
STATE = "var/lib/eftraind"
Run = Callable[[Sequence[str]], None]


def run(command: Sequence[str]) -> None:
    """Run one of systemd's commands. Raises ConfigError with what it said."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())
        raise ConfigError(f"{' '.join(command)} failed: {said}", remedy="mend that and try again")


@dataclass
class Installer:
    """`tell` runs systemd's commands, None on a staged root. `done` lists what was changed."""

    root: Path
    python: str = units.PYTHON
    config: str = units.CONFIG
    vendor: bool = False
    """for packages: units below /usr/lib, and nothing enabled"""
    tell: Run | None = None
    done: list[str] = field(default_factory=list)

    def install(self) -> None:
        """Put everything in place, and enable it. Raises ConfigError where that cannot work."""
        self._check()
        for name, place in units.places().items():
            self._write(self._base / place, units.render(name, self.python, self.config))
        config = self._below(self.config)
        if not config.exists() and not self.vendor:
            self._write(config, FIRST_CONFIG, mode=0o640)
        if self.vendor:
            return
        wanted = self._below("/etc") / WANTED
        if not wanted.is_symlink():
            wanted.parent.mkdir(parents=True, exist_ok=True)
            wanted.symlink_to(f"/etc/{units.places()['eftraind.target']}")
            self.done.append(f"enabled {wanted.name}")
        if self.tell is not None:
            self.tell(["systemd-sysusers", "/etc/sysusers.d/eftraind.conf"])
            self.tell(["systemd-tmpfiles", "--create", "/etc/tmpfiles.d/eftraind.conf"])
            self.tell(["systemctl", "daemon-reload"])

    def uninstall(self, *, purge: bool = False) -> None:
        """Stop and remove the services; configuration, keys and state only with `purge`."""
        target = self._base / units.places()["eftraind.target"]
        if self.tell is not None and target.exists():
            services = [name for name in units.UNITS if name.endswith(".service")]
            self.tell(["systemctl", "stop", "eftraind.target", *services])
        for place in [*units.places().values(), *([] if self.vendor else [WANTED])]:
            path = self._base / place
            if path.is_symlink() or path.exists():
                path.unlink()
                self.done.append(f"removed {path}")
        if purge:
            for path in (self._below("/etc/eftraind"), self.root / STATE):
                if path.exists():
                    shutil.rmtree(path)
                    self.done.append(f"removed {path} and all in it")
        if self.tell is not None:
            self.tell(["systemctl", "daemon-reload"])

    @property
    def _base(self) -> Path:
        return self._below("/usr/lib" if self.vendor else "/etc")

    def _below(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def _check(self) -> None:
        places = [("the interpreter", self.python), ("the configuration", self.config)]
        if self.root == Path("/"):  # an environment's interpreter is a link to another
            places.append(("the interpreter's target", os.path.realpath(self.python)))
        for name, path in places:
            if not path.startswith("/") or path.startswith(HIDDEN):
                raise ConfigError(
                    f"{name} is {path}, which the services cannot see",
                    remedy="install into /opt/eftraind, as scripts/install does",
                )
            if any(character.isspace() or character in "%\\\"'$;" for character in path):
                raise ConfigError(
                    f"{name} is {path}, which a unit cannot hold", remedy="use a plain path"
                )
        if not self._below(self.python).exists() and not self._below(self.python).is_symlink():
            raise ConfigError(
                f"there is no interpreter {self._below(self.python)}",
                remedy="install eftraind there first, or give its path with --python",
            )

    def _write(self, path: Path, text: str, mode: int = 0o644) -> None:
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            path.chmod(mode)
        except OSError as error:
            raise ConfigError(
                f"cannot write {path}: {error.strerror}", remedy="run as root, or give --root"
            ) from error
        self.done.append(f"wrote {path}")
