"""The real front over TCP, with keys that `eftraind keygen` made and the list that it told of."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from harness import Daemon, write_config

CLI = [sys.executable, "-m", "eftraind"]
ROLES = {"all": "ingest,infer", "cam": "ingest", "eye": "infer", "stranger": "ingest,infer"}


class KeyedFront:
    """`key(name)` is a client's file. All but the stranger are listed."""

    def __init__(self):
        self.box = Path(tempfile.mkdtemp(prefix="eft"))
        self._keygen("server").communicate()
        made = {name: self._keygen(name, "--roles", roles) for name, roles in ROLES.items()}
        self.lines = {name: made[name].communicate()[0].splitlines()[-1] for name in made}
        self.allow("all", "cam", "eye")
        self.daemon = Daemon(
            write_config(
                self.box,
                listen=["ipc://{run_dir}/eft.sock", "tcp://127.0.0.1:*"],
                events=["ipc://{run_dir}/events.sock", "tcp://0.0.0.0:*"],
                keys={"server": str(self.key("server")), "clients": str(self.box / "allow")},
            ),
            "front",
        )
        self.endpoint = self.daemon.ready()["endpoints"]["listen"][1]

    def key(self, name):
        return self.box / f"{name}.key"

    def allow(self, *names, **roles):
        """Write the list; `cam="infer"` gives a key other roles than it was made with."""
        lines = [self.lines[name] for name in names]
        lines += [" ".join([*self.lines[n].split()[:2], role]) for n, role in roles.items()]
        (self.box / "allow").write_text("\n".join(lines) + "\n")
        (self.box / "allow").chmod(0o640)

    def reload(self):
        command = [*CLI, "reload", "--config", str(self.box / "config.yaml")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def close(self):
        self.daemon.stop()
        shutil.rmtree(self.box, ignore_errors=True)

    def _keygen(self, name, *words):
        command = [*CLI, "keygen", name, "--out", str(self.key(name)), *words]
        if name != "server":
            command += ["--server", str(self.key("server"))]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
