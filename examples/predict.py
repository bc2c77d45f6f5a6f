"""Ask for predictions while the daemon learns: python examples/predict.py ENDPOINT"""

import sys

import numpy as np

from eftraind.client import Client, Disconnected

endpoint = sys.argv[1] if len(sys.argv) > 1 else "ipc:///run/eftraind/eft.sock"
images = np.random.default_rng(1).integers(0, 17, (4, 8, 8, 1), dtype=np.uint8)

with Client(endpoint) as client:
    try:
        answer = client.infer(images, timeout_s=0.5)
    except Disconnected as error:
        raise SystemExit(f"no prediction: {error}") from error
    for label, shares in zip(answer.labels, answer.probabilities, strict=True):
        print(f"class {label} ({shares[label]:.0%})")
    print(f"weights version {answer.version}, {answer.weights_hash}")
