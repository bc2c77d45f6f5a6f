import fcntl
import os
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest
import sdk_build
from cppclient import CppClient

from eftraind.client import FakeDaemon

for folder in ("client", "service", "system"):  # their worlds, proxies and daemons judge both SDKs
    sys.path.append(str(Path(__file__).parents[1] / folder))


def pytest_collection_modifyitems(items):
    """Whichever test comes first waits for a compiler, on a machine that may be busy."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """The folder of the SDK's test programs, built with sanitizers and without warnings.

    Or of those that scripts/arm-sdk has built for another machine.
    """
    if built := os.environ.get("EFTRAIND_SDK_PROGRAMS"):
        return Path(built)
    lacking = sdk_build.missing()
    if lacking:
        pytest.skip(lacking)
    build = tmp_path_factory.getbasetemp() / "sdk"
    if "PYTEST_XDIST_WORKER" in os.environ:  # its neighbours use the same programs
        build = build.parents[1] / "sdk"
    build.mkdir(exist_ok=True)
    with (build / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sdk_build.cmake(sdk_build.SDK, build, "-DEFTRAIND_BUILD_TESTS=ON", "-DEFTRAIND_SANITIZE=ON")
    return build / "tests"


@pytest.fixture(params=["python", "cpp"])
def make(request):
    """How a client is made, of either SDK: `make(endpoint, producer, **options)`."""
    if request.param == "python":
        from pyclient import PyClient  # needs a folder from above

        return PyClient
    return partial(CppClient, request.getfixturevalue("programs"))


@pytest.fixture
def daemon():
    with FakeDaemon(heartbeat_s=0.2) as fake:
        yield fake


@pytest.fixture
def client(make, daemon):
    with make(daemon.endpoint) as client:
        yield client


@pytest.fixture
def raw():
    from rawdaemon import RawDaemon

    with tempfile.TemporaryDirectory(prefix="eft") as folder:
        daemon = RawDaemon(f"ipc://{folder}/s")
        yield daemon
        daemon.close()
