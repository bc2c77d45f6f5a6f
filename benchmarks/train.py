"""Training steps per second on the cpu device against PyTorch, and each command's share of peak.

    python benchmarks/train.py [--network cifar1x] [--batch 1 8 32 128] [--threads 2] [--json F]

A step is forward, loss, backward, weight gradients and SGD with momentum and weight decay; ours
also gathers and normalises uint8 samples, which PyTorch here gets ready made.
"""

import json

from _versus import arguments, measure, row, shares


def main() -> None:
    parser = arguments(__doc__, batches=[1, 8, 32, 128], turn_s=0.2)
    options = parser.parse_args()
    rows = []
    for batch in options.batch:
        seconds = measure("train", batch, options)
        rows.append(row(options.network, batch, options.threads, seconds))
        print(
            "{network} train batch {batch:4} on {threads} threads: ours {ours_img_s:8.1f} img/s,"
            " torch {torch_img_s:8.1f} ({torch_format}), ratio {ratio:.2f}"
            " (quickest steps {ratio_of_quickest:.2f})".format(**rows[-1]),
            flush=True,
        )
    commands = shares(options.network, max(options.batch), options.threads, options.chunk, runs=9)
    print(f"commands of a step of {max(options.batch)} images:")
    for entry in commands:
        print(
            "  {command:9} {layer:9} {us:9.1f} us {gflops:7.1f} GFLOPS {peak_share:6.1%}".format(
                **entry
            )
        )
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "commands": commands}, indent=2) + "\n")


if __name__ == "__main__":
    main()
