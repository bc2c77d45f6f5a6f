"""Python's client in the words of CppClient, so that one suite judges both."""

import threading

from client_helpers import quick

from eftraind.client import Client
from eftraind.errors import ClientError


class PyClient:
    def __init__(
        self,
        endpoint,
        producer="cam",
        policy="block",
        max_pending_bytes=64 << 20,
        connect_timeout_s=10.0,
        push_timeout_s=60.0,
        events=None,
        keys=None,
    ):
        self._lock = threading.Lock()
        self._words = []
        self._client = Client(
            endpoint,
            settings=quick(producer, policy=policy, max_pending_bytes=max_pending_bytes),
            on_refused=lambda r: self._tell(f"refused {r.code} {r.first_seq} {r.count}"),
            connect_timeout_s=connect_timeout_s,
            push_timeout_s=push_timeout_s,
            events=events,
            keys=keys,
        )

    def __getattr__(self, name):
        return getattr(self._client, name)  # push, label, infer, flush, stats ...

    def listen(self, topic="-", habit="-"):
        def heard(topic, data):
            self._tell(f"event {topic} {data}")
            if habit == "throw":
                raise RuntimeError("a callback that throws")
            if habit == "wait":
                try:
                    self._client.flush()
                except ClientError as error:
                    self._tell(f"callback {error}")

        self._client.on_event("" if topic == "-" else topic, heard)

    def heard(self):
        with self._lock:
            words, self._words = self._words, []
        return words

    def _tell(self, words):
        with self._lock:
            self._words.append(words)

    def __enter__(self):
        return self

    def __exit__(self, *outcome):
        self._client.close(flush_timeout_s=0)
