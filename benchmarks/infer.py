"""Latency and throughput of inference on the cpu device against PyTorch.

python benchmarks/infer.py [--network cifar1x] [--batch 1 8 32] [--threads 2] [--json F]
"""

import argparse
import json
from pathlib import Path

import numpy as np
from _versus import FORMATS, row, take_turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="cifar1x")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--chunk", type=int, default=8, help="images that pass the layers together")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--turn-s", type=float, default=0.1)
    parser.add_argument("--compile", action="store_true", help="torch.compile, too")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    forms = (*FORMATS, "compiled") if options.compile else FORMATS
    rows = []
    for batch in options.batch:
        seconds = take_turns(
            "infer",
            options.network,
            batch,
            options.threads,
            chunk=options.chunk,
            turns=options.turns,
            turn_s=options.turn_s,
            forms=forms,
        )
        entry = row(options.network, batch, options.threads, seconds)
        for percent in (50, 99):
            ours, *torch = (np.percentile(seconds[name], percent) for name in ("ours", *forms))
            entry[f"ours_p{percent}_us"] = round(float(ours) * 1e6, 1)
            entry[f"torch_p{percent}_us"] = round(float(min(torch)) * 1e6, 1)
        rows.append(entry)
        print(
            "{network} infer batch {batch:4} on {threads} threads: ours {ours_img_s:8.1f} img/s,"
            " torch {torch_img_s:8.1f}, ratio {ratio:.2f}; p50 {ours_p50_us:.0f} against"
            " {torch_p50_us:.0f} us, p99 {ours_p99_us:.0f} against {torch_p99_us:.0f} us".format(
                **entry
            ),
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
