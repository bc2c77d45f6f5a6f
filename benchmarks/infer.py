"""Latency and throughput of inference on the cpu device against PyTorch.

python benchmarks/infer.py [--network cifar1x] [--batch 1 8 32] [--threads 2] [--json F]
"""

import json

import numpy as np
from _versus import arguments, forms_of, measure, row


def main() -> None:
    parser = arguments(__doc__, batches=[1, 8, 32], turn_s=0.1)
    options = parser.parse_args()
    forms = forms_of(options)
    rows = []
    for batch in options.batch:
        seconds = measure("infer", batch, options)
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
