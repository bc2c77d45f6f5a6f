import pytest
from client_helpers import quick

from eftraind.client import Client, FakeDaemon


@pytest.fixture
def daemon():
    with FakeDaemon(heartbeat_s=0.2) as fake:
        yield fake


@pytest.fixture
def client(daemon):
    client = Client(daemon.endpoint, settings=quick())
    yield client
    client.close(flush_timeout_s=0)
