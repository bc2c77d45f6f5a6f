"""A machine in systemd-nspawn: this host's /usr, an /etc of its own, systemd as process 1.

Nothing is downloaded: the tree is empty but for a few files, and /usr, the interpreter and this
source are mounted into it read-only.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import eftraind

SOURCE = Path(eftraind.__file__).parent
TESTS = Path(__file__).parents[1]
PYTHON = "/opt/eftraind/bin/python"
MASKED = ("getty.target", "systemd-logind.service", "dbus.service", "dbus.socket")


def missing() -> str:
    """Why there can be no machine here; empty if there can."""
    if shutil.which("systemd-nspawn") is None:
        return "systemd-nspawn is not installed (Debian: systemd-container)"
    if os.geteuid() != 0:
        return "systemd-nspawn needs root"
    if not Path("/usr/lib/systemd/systemd").exists() or not Path("/bin").is_symlink():
        return "this host's /usr has no systemd, or is not merged"
    return ""


class Machine:
    """`boot`, then `run` commands in it, then `power_off`; the tree stays until `remove`."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="eftraind-machine-"))
        self.root = self.home / "root"
        self._process: Any = None
        self._leader = 0
        self._make_tree()

    def _make_tree(self) -> None:
        for name in ("usr", "etc/systemd/system", "var/lib", "var/log", "run", "tmp", "proc",
                     "sys", "dev", "root", "opt/python", "opt/site", "opt/source/eftraind",
                     "opt/tests", "opt/eftraind/bin"):  # fmt: skip
            (self.root / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            if Path(f"/{name}").is_symlink():
                (self.root / name).symlink_to(f"usr/{name}")
        for name in ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives"):
            copy = shutil.copytree if Path("/etc", name).is_dir() else shutil.copy
            copy(Path("/etc", name), self.root / "etc" / name, **(
                {"symlinks": True} if copy is shutil.copytree else {}
            ))  # fmt: skip
        self.write("/etc/os-release", Path("/etc/os-release").read_text())
        self.write("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        self.write("/etc/group", "root:x:0:\n")
        self.write("/etc/machine-id", "uninitialized\n")
        (self.root / "etc/systemd/system/default.target").symlink_to(
            "/usr/lib/systemd/system/multi-user.target"
        )
        for unit in (*MASKED, "systemd-firstboot.service"):
            (self.root / "etc/systemd/system" / unit).symlink_to("/dev/null")
        self._make_environment()

    def _make_environment(self) -> None:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        home = self.root / "opt/eftraind"
        base = "/usr" if sys.base_prefix == "/usr" else "/opt/python"
        (home / "bin/python").symlink_to(f"{base}/bin/{version}")
        # Its library is looked for where it was built, which is hidden from the services.
        libraries = "LD_LIBRARY_PATH=/opt/python/lib"
        self.write("/etc/systemd/system.conf", f"[Manager]\nDefaultEnvironment={libraries}\n")
        self.write("/opt/eftraind/pyvenv.cfg", f"home = {base}/bin\n")
        self.write(
            f"/opt/eftraind/lib/{version}/site-packages/machine.pth", "/opt/source\n/opt/site\n"
        )

    @property
    def _mounts(self) -> list[str]:
        site = next(path for path in sys.path if path.endswith("site-packages"))
        pairs = [("/usr", "/usr"), (site, "/opt/site"), (str(SOURCE), "/opt/source/eftraind"),
                 (str(TESTS), "/opt/tests")]  # fmt: skip
        if sys.base_prefix != "/usr":
            pairs.append((sys.base_prefix, "/opt/python"))
        return [f"--bind-ro={source}:{target}" for source, target in pairs]

    def write(self, path: str, text: str) -> None:
        """A file in the tree; while it runs, only below /etc and /var."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    @property
    def _command(self) -> list[str]:
        name = self.home.name.replace("_", "")
        return ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--settings=no",
                f"--directory={self.root}", f"--machine={name}", "--private-network",
                "--console=pipe", *self._mounts]  # fmt: skip

    def refused(self) -> str:
        """Why this host lets nothing run in the tree; empty if it does."""
        done = subprocess.run(
            [*self._command, "/bin/true"], capture_output=True, text=True, timeout=60
        )
        return " ".join((done.stderr or done.stdout).split()) if done.returncode else ""

    def boot(self) -> None:
        with (self.home / "console").open("ab") as console:
            self._process = subprocess.Popen(
                [*self._command, "--boot"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children")

        def leader() -> int:
            assert self._process.poll() is None, (self.home / "console").read_text()
            return int((children.read_text().split() or ["0"])[0])

        self._leader = until("systemd", leader)
        until("its socket", lambda: self.run("systemctl", "list-jobs", check=False).returncode == 0)

    def run(self, *command: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a command in the machine, as root."""
        done = subprocess.run(
            ["nsenter", "--all", f"--target={self._leader}", *command],
            capture_output=True, text=True, timeout=100,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LD_LIBRARY_PATH": "/opt/python/lib"},
        )  # fmt: skip
        if check:
            assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def python(self, code: str) -> str:
        return self.run(PYTHON, "-c", code).stdout.strip()

    def show(self, unit: str, field: str) -> str:
        return self.run("systemctl", "show", "--value", f"--property={field}", unit).stdout.strip()

    def journal(self, unit: str) -> str:
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}").stdout

    def power_off(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.run("systemctl", "poweroff", "--no-block", check=False)
            try:
                self._process.wait(60)
            finally:
                self._process.kill()
        self._process = None

    def remove(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
        shutil.rmtree(self.home, ignore_errors=True)


def until(what: str, check: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """The first true value of `check`, or a failure that says what was waited for."""
    deadline_s = time.monotonic() + timeout_s
    while not (value := check()):
        assert time.monotonic() < deadline_s, f"waited {timeout_s} s for {what}"
        time.sleep(0.05)
    return value
