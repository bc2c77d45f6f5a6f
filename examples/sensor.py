"""A sensor app: labelled batches, labels that come late, predictions with a deadline, events.

    python examples/sensor.py [ENDPOINT] [ROUNDS]

sdk/cpp/examples/sensor.cpp is the same in C++ and sends the same samples.
"""

import sys

import numpy as np

from eftraind.client import Client, Disconnected, Refusal

BATCH = 16


def camera(frame: int) -> np.ndarray:
    """What a camera would see: a pattern of 8 x 8 pixels that moves from frame to frame."""
    rows, columns = np.mgrid[0:8, 0:8]
    return ((7 * frame + 3 * rows + 5 * columns) % 17).astype(np.uint8)[:, :, None]


def on_refused(refusal: Refusal) -> None:
    print(f"samples {refusal.first_seq} and on are lost: {refusal.message}", flush=True)


endpoint = sys.argv[1] if len(sys.argv) > 1 else "ipc:///run/eftraind/eft.sock"
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 100
answered = late = 0
alarms: list[str] = []

with Client(endpoint, producer="example-sensor", on_refused=on_refused) as client:
    # Callbacks run in the client's thread: note what happened, leave the work to the loop below.
    client.on_event("alarm", lambda topic, data: alarms.append(str(data)))
    client.on_event("swapped", lambda topic, data: print(f"weights {data['version']}", flush=True))

    for frame in range(0, rounds * BATCH, BATCH):
        images = np.stack([camera(frame + offset) for offset in range(BATCH)])
        sids = client.push_batch(images[:-1], [(frame + i) % 10 for i in range(BATCH - 1)])
        unlabelled = client.push(images[-1])  # nobody knows what this is ...
        try:
            client.infer(images[-1], timeout_s=0.2)  # ... what does the network say, in time?
            answered += 1
        except Disconnected:
            late += 1  # the robot goes on without
        client.label(unlabelled, (frame + BATCH - 1) % 10)  # ... now somebody does
        if frame == 0:
            client.withdraw(sids[0])  # the first label was wrong
        while alarms:
            print(f"alarm: {alarms.pop()}", flush=True)

    client.flush("durable")  # from here on a power cut loses nothing
    print(f"{client.stats().durable} operations durable, {answered} predictions, {late} too late")
