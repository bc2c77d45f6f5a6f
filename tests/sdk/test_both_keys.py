"""Each client over CURVE, against the real front: who gets in, who may do what, and who is told."""

import json
import re

import pytest
import zmq
from chaosproxy import ChaosProxy
from client_helpers import images, until
from harness import StubEngine
from keyedfront import KeyedFront
from sdk_build import Driver

from eftraind.client import FakeDaemon
from eftraind.client.curve import new_pair
from eftraind.client.listeners import events_endpoint
from eftraind.errors import ClientError, Disconnected, Refused
from eftraind.keys import KeyFile, read_key_file

pytestmark = pytest.mark.skipif(not zmq.has("curve"), reason="this libzmq has no CURVE")


@pytest.fixture(scope="module")
def front():
    front = KeyedFront()
    yield front
    front.close()


@pytest.fixture
def producer(request):
    """A name for this test alone: the front lives as long as the module."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", request.node.name)[-64:]


@pytest.fixture
def join(make, front, producer):
    """A client with the key file of this name."""
    return lambda name: make(front.endpoint, producer, keys=front.key(name))


def stores(client):
    client.push(images(1)[0], 1)
    client.flush(timeout_s=30)


def code_of(call):
    with pytest.raises(ClientError) as caught:
        call()
    return caught.value.code


def test_each_role_may_do_its_own_and_nothing_else(join):
    with join("cam") as cam:
        stores(cam)
        with pytest.raises(Refused, match="cam") as caught:
            cam.infer(images(1)[0], timeout_s=20)
        assert caught.value.code == "forbidden"
        # The same producer name: who may not ingest must not take it away.
        with join("eye") as eye:
            for act in (
                lambda: eye.push(images(1)[0], 1),
                lambda: eye.label(1, 2),
                lambda: eye.withdraw(1),
            ):
                act()
                assert code_of(lambda: eye.flush(timeout_s=30)) == "forbidden"
            assert [words.split()[1] for words in eye.heard()] == ["forbidden"] * 3
            # It may ask, but there is no engine.
            assert code_of(lambda: eye.infer(images(1)[0], timeout_s=0.3)) == "engine_down"
        stores(cam)
        assert cam.stats().reconnects == 0


def test_an_unlisted_key_is_told_so(join):
    with pytest.raises(Refused, match="does not list") as caught:
        join("stranger")
    assert caught.value.code == "key_not_listed"


def test_no_key_and_a_wrong_server_key_are_told_so(make, front):
    with pytest.raises(Refused) as caught:
        make(front.endpoint, connect_timeout_s=30)
    assert caught.value.code == "keys_wanted"
    mine = read_key_file(front.key("all"))
    wrong = KeyFile(mine.secret, mine.public, new_pair().public)
    with pytest.raises(Disconnected, match="server key") as late:
        make(front.endpoint, connect_timeout_s=1, keys=wrong)
    assert late.value.code == "handshake"


def test_keys_for_a_daemon_that_has_none(make, front):
    with FakeDaemon(endpoint="tcp://127.0.0.1:*") as daemon:
        with pytest.raises(Refused) as caught:
            make(daemon.endpoint, connect_timeout_s=30, keys=front.key("all"))
    assert caught.value.code == "keys_not_wanted"


def test_events_of_a_daemon_that_publishes_at_all_addresses(front, join):
    """WELCOME says tcp://0.0.0.0:PORT; the client goes to the host where it found the daemon."""
    assert front.daemon.config.events_endpoints[1] == "tcp://0.0.0.0:*"
    with join("eye") as eye:
        eye.listen()

        def engine_comes_and_goes():
            with zmq.Context() as context:
                engine = StubEngine(front.daemon.config, context)
                engine.hello()
                engine.turn(100)
                engine.close()
            return any(words.startswith("event engine ") for words in eye.heard())

        until(engine_comes_and_goes, 60)


def test_a_revoked_key_is_cut_at_once_and_others_lose_nothing(make, front, join):
    with join("cam") as cam, make(front.endpoint, "other", keys=front.key("all")) as other:
        stores(cam)
        stores(other)
        durable = other.stats().durable
        front.allow("cam", "eye")
        assert "2 client keys, 1 revoked" in front.reload()
        until(lambda: not other.stats().connected)
        other.push(images(1)[0], 1)
        until(lambda: code_of(lambda: other.flush(timeout_s=0.2)) == "key_not_listed")
        assert code_of(lambda: other.infer(images(1)[0], timeout_s=0.2)) == "key_not_listed"
        stores(cam)
        front.allow("all", "cam", "eye")
        front.reload()
        stores(other)  # what was pushed meanwhile is stored as well
        assert other.stats().durable == durable + 2


def test_changed_roles_hold_from_the_reload_on(front, join):
    with join("eye") as eye:
        front.allow("all", "cam", eye="ingest")
        front.reload()
        until(lambda: eye.stats().reconnects and eye.stats().connected)
        stores(eye)
        front.allow("all", "cam", "eye")
        front.reload()


def test_a_process_replaced_while_it_was_cut_off_is_told(make, front, producer):
    """Two live processes with one producer name, and a network that hides one from the other.

    The old one's batch has the number of the new one's: taken for stored, it would be lost.
    """
    proxy = ChaosProxy(front.endpoint)
    keys = front.key("all")
    with make(proxy.endpoint, producer, keys=keys) as old:
        stores(old)
        proxy.mode = "black hole"
        old.push_batch(images(3), [1, 1, 1])
        until(lambda: old.stats().sent == 4)
        with make(front.endpoint, producer, keys=keys) as new:
            new.push_batch(images(3, seed=1), [2, 2, 2])
            new.flush(timeout_s=30)
            proxy.mode = "pass"
            proxy.reset()
            assert code_of(lambda: old.flush(timeout_s=30)) == "superseded"
            until(lambda: old.heard() == ["refused superseded 2 3"])
            assert old.stats().durable == 1
            assert code_of(lambda: old.push(images(1)[0], 1)) == "superseded"
            stores(new)
            assert (new.stats().durable, new.stats().reconnects) == (4, 0)
    proxy.close()


@pytest.mark.parametrize(
    ("named", "daemon", "wanted"),
    [
        ("tcp://0.0.0.0:5558", "tcp://robot:5557", "tcp://robot:5558"),
        ("tcp://*:5558", "tcp://192.168.2.99:5557", "tcp://192.168.2.99:5558"),
        ("tcp://[::]:5558", "tcp://[fe80::1]:5557", "tcp://[fe80::1]:5558"),
        ("tcp://0.0.0.0:5558", "ipc:///run/eftraind/eft.sock", "tcp://127.0.0.1:5558"),
        ("tcp://10.0.0.1:5558", "tcp://robot:5557", "tcp://10.0.0.1:5558"),
        ("ipc:///run/events.sock", "tcp://robot:5557", "ipc:///run/events.sock"),
    ],
)
def test_where_events_are(programs, named, daemon, wanted):
    assert events_endpoint(named, daemon) == wanted
    with Driver(programs / "client_driver") as driver:
        assert json.loads(driver.ask("events", named, daemon)) == {"result": wanted}


# Key files, of which both clients say the same...


def test_a_key_file_by_variable(make, front, producer, monkeypatch):
    monkeypatch.setenv("EFTRAIND_KEYS", str(front.key("all")))
    with make(front.endpoint, producer) as client:
        stores(client)
    with FakeDaemon() as daemon, make(daemon.endpoint) as client:  # ipc:// has no keys
        stores(client)


KEY = "r#:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
FILE = f"# a comment\n\nsecret {KEY}  # mine\npublic {KEY}\nserver {KEY}\n"


@pytest.mark.parametrize(
    ("text", "mode", "words"),
    [
        (FILE, 0o644, "chmod 600"),
        (FILE.replace("secret", "secrets"), 0o600, "line 3"),
        (FILE.replace("public", "secret"), 0o600, "line 4"),
        (FILE.replace(f"server {KEY}", f"server {KEY}0"), 0o600, "line 5"),
        (FILE.replace(f"server {KEY}", f"server {KEY[:-1]}'"), 0o600, "line 5"),
        (FILE.replace(f"server {KEY}", "server"), 0o600, "line 5"),
        (FILE.replace(f"server {KEY}", ""), 0o600, "keygen"),
        (FILE.replace(f"secret {KEY}", ""), 0o600, "keygen"),
        ("", 0o600, "keygen"),
        (FILE.replace(f"server {KEY}", f"server {'#' * 40}"), 0o600, "no CURVE key|line 5"),
        (None, 0, "cannot read"),
    ],
)
def test_a_key_file_that_is_none(make, tmp_path, text, mode, words):
    file = tmp_path / "key"
    if text is not None:
        file.write_text(text)
        file.chmod(mode)
    with pytest.raises(ClientError, match=words) as caught:
        make("tcp://127.0.0.1:1", keys=file)
    assert caught.value.code == "keys"
    assert KEY not in str(caught.value)


def test_keys_that_are_none(make):
    keys = KeyFile(KEY, KEY, "short")
    with pytest.raises(ClientError, match="a key of 5 characters") as caught:
        make("tcp://127.0.0.1:1", keys=keys)
    assert caught.value.code == "keys"


def test_a_hash_within_a_key_begins_no_comment(make, tmp_path):
    file = tmp_path / "key"
    file.write_text(FILE)
    file.chmod(0o600)
    with pytest.raises(Disconnected):
        make("ipc:///tmp/eft-nobody-listens", keys=file, connect_timeout_s=0.1)
