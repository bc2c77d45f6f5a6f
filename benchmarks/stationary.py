"""Do no harm: a stream whose world does not change must not make the served model worse.

Feeds an engine in this process with digits it may learn from, and after every swap asks the served
model about held-out digits. Reports the worst difference to the frozen model there, and in the
windowed accuracies on the stream itself.

    python benchmarks/stationary.py [--json F] [--seeds N] [--samples N]
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from eftraind import config, networks, wire, wire_records
from eftraind.accel import open_device
from eftraind.clock import Clock
from eftraind.demo.data import load
from eftraind.engine import offline
from eftraind.engine.boot import boot
from eftraind.fsio import FileOps
from eftraind.metrics import Metrics

BATCH = 30
SETTLED = 400
"""Samples before the windows say anything."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what a stationary stream does.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--samples", type=int, default=18_000)
    options = parser.parse_args()
    rows = [run(seed, options.samples) for seed in range(options.seeds)]
    for row in rows:
        print(row)
    figures = {
        "runs": rows,
        "worst_held_out_difference": min(row["worst_held_out_difference"] for row in rows),
        "worst_window_difference": min(row["worst_window_difference"] for row in rows),
    }
    print({name: value for name, value in figures.items() if name != "runs"})
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


def run(seed: int, samples: int) -> dict[str, Any]:
    digits, graph = load("digits"), networks.load("digits")
    x, y = digits.x_train, digits.y_train.astype(np.int64)
    half = len(x) // 2
    weights = offline.fit(
        graph, x[:half], y[:half], epochs=20, batch=32, learning_rate=0.02, momentum=0.9,
        seed=seed, device=open_device("cpu", 1),
    )  # fmt: skip
    held_out: list[float] = []
    windows: list[float] = [0.0]

    def accuracy() -> float:
        classes = engine.infer(engine.pack(digits.x_test)).argmax(axis=1)
        return float((classes == digits.y_test).mean())

    def emit(topic: str, data: Any) -> None:
        if topic in ("swapped", "rolled_back"):
            held_out.append(accuracy())
        elif topic == "score" and data["samples"] > SETTLED:
            windows.append(data["serving"] - data["golden"])

    with tempfile.TemporaryDirectory(prefix="eft") as box:
        path = f"{box}/weights.safetensors"
        safetensors.numpy.save_file(weights, path)
        settings = config.from_mapping(
            {"state_dir": box, "run_dir": box, "model": {"network": "digits", "weights": path},
             "device": {"threads": 1}, "replay": {"seed": seed}}
        )  # fmt: skip
        engine = boot(
            settings, metrics=Metrics(owner="engine"), clock=Clock(), emit=emit, ops=FileOps(),
            graph=graph,
        )  # fmt: skip
        frozen = accuracy()
        stream(engine, x[half:], y[half:], np.random.default_rng(seed), samples)
        engine.close()
    return {
        "seed": seed,
        "frozen": frozen,
        "swaps": len(held_out),
        "worst_held_out_difference": round(min([frozen, *held_out]) - frozen, 4),
        "worst_window_difference": round(min(windows), 4),
    }


def stream(engine: Any, x: Any, y: Any, rng: np.random.Generator, samples: int) -> None:
    spec = wire.Stream(x.shape[1:], "uint8", 10, 1 << 20)
    for seq in range(1, samples // BATCH + 1):
        pick = rng.integers(0, len(x), BATCH)
        first = (seq - 1) * BATCH
        header = wire.put_header(wire.Op.SAMPLES, first + 1, first, BATCH, 0, spec)
        body = wire.samples_body(y[pick], np.ascontiguousarray(x[pick]))
        record = wire_records.encode_record("camera", header, body)
        engine.feed(seq, b"".join(bytes(part) for part in record))
        while engine.has_work or engine.promoter.writing:
            engine.work()


if __name__ == "__main__":
    sys.exit(main())
