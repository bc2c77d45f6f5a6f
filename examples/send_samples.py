"""Send labelled samples, some with their label later: python examples/send_samples.py ENDPOINT"""

import sys

import numpy as np

from eftraind.client import Client

endpoint = sys.argv[1] if len(sys.argv) > 1 else "ipc:///run/eftraind/eft.sock"
rng = np.random.default_rng(0)

with Client(endpoint, producer="example-camera", on_refused=print) as client:
    images = rng.integers(0, 17, (64, 8, 8, 1), dtype=np.uint8)
    labels = rng.integers(0, 10, 64)

    client.push(images[0], label=3)  # one sample
    sids = client.push_batch(images, labels)  # many, in one message

    later = client.push(images[1])  # the label is not known yet ...
    client.label(later, 7)  # ... now it is
    client.withdraw(sids[5])  # and this one was wrong

    client.flush("durable")  # from here on a power cut loses nothing
    print(client.stats())
