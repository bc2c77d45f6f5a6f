"""Machines made of a few files: a healthy PYNQ board, and what may be wrong with one."""

from pathlib import Path
from typing import Any

from eftraind import config as configuration
from eftraind.clock import Clock, FakeClock
from eftraind.config import Config
from eftraind.doctor import report
from eftraind.doctor.findings import Finding, Machine
from eftraind.fsio import FileOps

NOW_S = 1_795_000_000.0
STATUS = "Name:\tpython\nCapBnd:\t0000000000824000\nNoNewPrivs:\t1\nSeccomp:\t2\n"
ENVIRON = "PATH=/usr/bin\0WATCHDOG_USEC=30000000\0SECRET=x\0"
FILES = {
    "proc/device-tree/model": "TUL PYNQ-Z2\0",
    "proc/device-tree/chosen/pynq_board": "Pynq-Z2\0",
    "proc/meminfo": "MemTotal: 500000 kB\nCmaTotal: 131072 kB\nCmaFree: 126976 kB\n",
    "proc/mounts": "/dev/mmcblk0p2 / ext4 ro,relatime 0 0\n"
    "/dev/mmcblk1p1 /var/lib/eftraind ext4 rw,noatime 0 0\n",
    "proc/fs/jbd2/mmcblk1p1-8/info": "",
    "proc/sys/kernel/seccomp/actions_avail": "kill_process",
    "proc/self/ns/mnt": "", "proc/self/ns/net": "", "proc/self/ns/user": "",
    "proc/11/status": STATUS, "proc/11/environ": ENVIRON,
    "proc/11/cgroup": "0::/eftraind.slice/eftraind-front.service\n",
    "proc/12/status": STATUS, "proc/12/environ": ENVIRON,
    "proc/12/cgroup": "0::/eftraind.slice/eftraind-engine.service\n",
    "sys/fs/cgroup/cgroup.controllers": "cpu memory pids",
    "sys/fs/cgroup/eftraind.slice/eftraind-front.service/memory.max": "104857600",
    "sys/fs/cgroup/eftraind.slice/eftraind-engine.service/memory.max": "209715200",
    "sys/class/fpga_manager/fpga0/state": "operating\n",
    "sys/class/watchdog/watchdog0/state": "active\n",
    "sys/class/rtc/rtc0/since_epoch": f"{NOW_S + 2:.0f}\n",
    "sys/block/mmcblk1/device/life_time": "0x01 0x02\n",
    "dev/mem": "", "dev/uio0": "", "dev/dri/renderD128": "",
    "run/systemd/timesync/synchronized": "", "run/eftraind/lock": "",
    "var/lib/eftraind/journal/ring.json": "{}",
    "etc/eftraind/credentials/eftraind.server.key": "",
}  # fmt: skip


class Board:
    """The healthy board in a directory; `change` spoils it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings: dict[str, Any] = {
            "device": {"kind": "reference", "overlay": "/opt/bitstreams/eftrain.bit"}
        }
        self.pids = {"front": 11, "engine": 12}
        self.clock: Clock = FakeClock(wall_s=NOW_S)
        self.free_bytes = 1 << 40
        for name, text in FILES.items():
            self.change(name, text)
        for path, mode in (("run/eftraind", 0o750), ("var/lib/eftraind", 0o770),
                           ("etc/eftraind/credentials/eftraind.server.key", 0o400)):  # fmt: skip
            (root / path).chmod(mode)

    def change(self, name: str, text: str | None) -> None:
        path = self.root / name
        if text is None:
            path.unlink()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    @property
    def config(self) -> Config:
        return configuration.from_mapping(self.settings)

    @property
    def machine(self) -> Machine:
        return Machine(self.root, free_bytes=lambda path: self.free_bytes)

    def examine(self) -> dict[str, Finding]:
        findings = report.examine(
            self.config, self.machine, pids=self.pids, ops=FileOps(), clock=self.clock
        )
        names = [finding.check for finding in findings]
        assert len(names) == len(set(names))
        return {finding.check: finding for finding in findings}
