"""CURVE in the C++ client, against a plain libzmq server: both sockets use the keys given."""

import json
import tempfile

import pytest
import zmq
from client_helpers import SHAPE, images, until
from cppclient import CppClient
from sdk_build import Driver, hexed

from eftraind import wire
from eftraind.errors import ClientError, Disconnected
from eftraind.wire_decode import decode_request

pytestmark = pytest.mark.skipif(not zmq.has("curve"), reason="this libzmq has no CURVE")


class Server:
    """A ROUTER and a PUB that know their own key and answer HELLO and PUT."""

    def __init__(self, folder):
        self.public, self.secret = zmq.curve_keypair()
        self.context = zmq.Context()
        self.endpoint, self.events = f"ipc://{folder}/s", f"ipc://{folder}/e"
        self.router = self._bind(zmq.ROUTER, self.endpoint)
        self.publisher = self._bind(zmq.PUB, self.events)

    def _bind(self, kind, endpoint):
        bound = self.context.socket(kind)
        bound.linger = 0
        bound.curve_server = True
        bound.curve_secretkey = self.secret
        bound.bind(endpoint)
        return bound

    def hear(self):
        assert self.router.poll(20_000), "nothing came"
        self.peer, *frames = self.router.recv_multipart()
        return decode_request(frames)

    def welcome(self):
        assert isinstance(self.hear(), wire.Hello)
        stream = wire.Stream(SHAPE, "uint8", 10, 10**6)
        ledger = wire.Ledger(0, 0, 10**6)
        welcome = wire.Welcome("cam", ledger, stream, 1.0, events=self.events)
        self.router.send_multipart([self.peer, *welcome.frames()])

    def close(self):
        self.router.close(0)
        self.publisher.close(0)
        self.context.term()


@pytest.fixture
def server():
    with tempfile.TemporaryDirectory(prefix="eft") as folder:
        server = Server(folder)
        yield server
        server.close()


def keys(server_public):
    public, secret = zmq.curve_keypair()
    return [key.decode() for key in (server_public, public, secret)]


def test_samples_and_events_over_curve(programs, server):
    with Driver(programs / "client_driver") as driver:
        driver.send("open", server.endpoint, "cam 0 1000000 60 1", *keys(server.public))
        server.welcome()
        assert driver.read() == '{"result":null}'
        driver.ask("push u1", hexed(images(1).tobytes()), 3)
        while not isinstance(put := server.hear(), wire.Put):
            pass
        assert put.labels.tolist() == [3]
        ack = wire.Ack(wire.Ledger(1, 1, 10**6)).frames()
        server.router.send_multipart([server.peer, *ack])
        driver.ask("listen - -")

        def heard():
            server.publisher.send_multipart([b"score", b"{}"])
            return json.loads(driver.ask("heard"))["result"]

        until(heard)
        driver.ask("destroy")


def test_a_wrong_server_key_gets_no_connection(programs, server):
    other, _ = zmq.curve_keypair()
    with pytest.raises(Disconnected):
        CppClient(programs, server.endpoint, connect_timeout_s=0.5, keys=keys(other))


def test_no_keys_get_no_connection(programs, server):
    with pytest.raises(Disconnected):
        CppClient(programs, server.endpoint, connect_timeout_s=0.5)


def test_a_key_that_is_none(programs, server):
    bad = "\x7f" * 40
    with pytest.raises(ClientError, match="refuses option"):
        CppClient(programs, server.endpoint, keys=(bad, bad, bad))
