"""A TCP proxy on loopback that passes, swallows (black hole) or resets what goes through it."""

import select
import socket
import struct
import threading


class ChaosProxy:
    """Listens on `endpoint`, forwards to the port of a tcp:// endpoint. `mode` may change."""

    def __init__(self, target):
        self._target = ("127.0.0.1", int(target.rsplit(":", 1)[1]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.mode = "pass"
        self.accepted = 0
        self._pairs = {}  # a socket -> the socket its bytes go to
        self._lock = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def reset(self):
        """RST on every connection: what a pulled plug or a rebooted router looks like."""
        with self._lock:
            for side in self._pairs:
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                side.close()
            self._pairs.clear()

    def close(self):
        self._stopping = True
        self._thread.join()
        self.reset()
        self._listener.close()

    def _run(self):
        while not self._stopping:
            with self._lock:
                watched = [self._listener, *self._pairs]
                ready = select.select(watched, [], [], 0)[0]
                for side in ready:
                    self._serve(side)
            if not ready:
                select.select([self._listener], [], [], 0.002)

    def _serve(self, side):
        if side is self._listener:
            near = side.accept()[0]
            far = socket.create_connection(self._target)
            self._pairs.update({near: far, far: near})
            self.accepted += 1
            return
        other = self._pairs.get(side)
        try:
            data = side.recv(1 << 16)
            if data and self.mode == "pass":
                other.sendall(data)
        except OSError:
            data = b""
        if not data and other is not None:
            for end in (side, other):
                self._pairs.pop(end, None)
                end.close()
