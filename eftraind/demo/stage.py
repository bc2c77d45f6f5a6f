"""The demo's daemon: a config written for it, the real `eftraind run`, and a clean end.

Owns the temporary directories and the daemon's process. Everything asked of the daemon goes
through what any user has: the SDK, the control command and the event publisher.
"""

import json
import os
import queue
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from eftraind.demo.children import Child, Inbox, Message
from eftraind.demo.options import Options
from eftraind.service.request import request

MIB = 1 << 20
STOP_TIMEOUT_S = 15.0
REPLAY_IMAGES = 2000
BATCH = 32


class Stage:
    """Directories and daemon of one run; leaving the context ends and removes both."""

    def __init__(self, keep: Path | None, inbox: Inbox) -> None:
        self._keep = keep
        self._inbox = inbox
        # Sockets need a short path, wherever the state is kept.
        self._run = Path(tempfile.mkdtemp(prefix="eft", dir="/tmp"))
        self.state = Path(keep) if keep else self._run / "state"
        self.state.mkdir(parents=True, exist_ok=True)
        self.batch = BATCH
        self._children: list[Child] = []

    def __enter__(self) -> "Stage":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

    @property
    def endpoint(self) -> str:
        return f"ipc://{self._run}/eft.sock"

    @property
    def run_dir(self) -> Path:
        return self._run

    def start_daemon(self, config: Mapping[str, Any]) -> Child:
        path = self.state / "config.yaml"
        # JSON is YAML, so the demo needs no YAML writer.
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        return self.start("daemon", ["-m", "eftraind", "run", "--config", str(path)])

    def start(self, name: str, arguments: list[str]) -> Child:
        child = Child(
            name,
            arguments,
            inbox=self._inbox,
            log=self.state / f"{name}.log",
            environment={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._children.append(child)
        return child

    def check_exit(self, name: str, status: int) -> None:
        """ChildFailed if a child ended that should not have."""
        child = next(child for child in self._children if child.name == name)
        if not child.stopping and (status != 0 or name == "daemon"):
            raise child.failure(status)

    def status(self) -> Mapping[str, Any]:
        """What `eftraind status` says."""
        return request(f"ipc://{self._run}/control.sock", "status", timeout_s=5.0)

    def clear(self) -> None:
        """End what is left, the daemon last, and remove what is not to be kept."""
        for child in reversed(self._children):
            child.stop(terminate=True, timeout_s=STOP_TIMEOUT_S)
        self._children.clear()
        shutil.rmtree(self._run, ignore_errors=True)


def heard(inbox: Inbox, timeout_s: float) -> Message | None:
    """The next message, or None when none comes in time."""
    try:
        return inbox.get(timeout=timeout_s) if timeout_s > 0 else inbox.get_nowait()
    except queue.Empty:
        return None


def settings(stage: Stage, weights: Path, options: Options) -> dict[str, Any]:
    """The daemon's configuration for this run; what is not named here is the default."""
    return {
        "state_dir": str(stage.state),
        "run_dir": str(stage.run_dir),
        "model": {"network": options.network, "weights": str(weights), "seed": options.seed},
        "device": {"kind": options.device},
        "ingest": {"max_message_bytes": MIB},
        "journal": {"size_bytes": 32 * MIB, "segment_bytes": 4 * MIB},
        "replay": {"capacity": REPLAY_IMAGES, "seed": options.seed},
        "train": {"batch": stage.batch, "learning_rate": options.learning_rate},
        "metrics": {"listen": "127.0.0.1:0"},
    }
