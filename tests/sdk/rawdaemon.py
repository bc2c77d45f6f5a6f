"""A daemon that says what a test wants it to say: a bare ROUTER, and one client of it."""

import threading

import zmq
from client_helpers import SHAPE

from eftraind import wire
from eftraind.errors import ClientError
from eftraind.wire_decode import decode_request

STREAM = wire.Stream(SHAPE, "uint8", 10, 10**6)


class RawDaemon:
    def __init__(self, endpoint, heartbeat_s=0.1):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.ipv6 = "[" in endpoint
        self.socket.bind(endpoint)
        self.endpoint = self.socket.last_endpoint.decode()
        self.welcome = wire.Welcome("cam", wire.Ledger(0, 0, 10**6), STREAM, heartbeat_s)

    def receive_any(self):
        assert self.socket.poll(10_000), "the client fell silent"
        self.peer, *frames = self.socket.recv_multipart()
        return decode_request(frames)

    def receive(self, kind):
        """The next message of this kind; others are passed over, but for a HELLO: a client that
        has to wait, on a busy machine, comes again on a new connection."""
        while not isinstance(request := self.receive_any(), kind):
            if isinstance(request, wire.Hello):
                self.send(*self.welcome.frames())
        return request

    def send(self, *frames):
        self.socket.send_multipart([self.peer, *frames])

    def greet(self):
        hello = self.receive(wire.Hello)
        self.send(*self.welcome.frames())
        return hello

    def admit(self, opening):
        """The client that is being made, as soon as it is content; or what its maker raised."""
        return self.reply(opening, self.welcome)

    def reply(self, opening, message):
        """As `admit`, with another answer to each HELLO."""
        while opening.is_alive():
            if self.socket.poll(20) and isinstance(self.receive_any(), wire.Hello):
                self.send(*message.frames())
        return opening.result()

    def close(self):
        self.socket.close(0)
        self.context.term()


class Opening:
    """A client that is being made in a thread, while the test plays its daemon."""

    def __init__(self, make, endpoint):
        self._made = self._error = None
        self._thread = threading.Thread(target=self._open, args=(make, endpoint))
        self._thread.start()

    def is_alive(self):
        return self._thread.is_alive()

    def result(self):
        """The client, or what its constructor raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._made

    def _open(self, make, endpoint):
        try:
            self._made = make(endpoint)
        except ClientError as error:
            self._error = error
