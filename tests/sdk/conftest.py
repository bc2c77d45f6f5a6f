import os
import sys
from pathlib import Path

import pytest
import sdk_build
from cppclient import CppClient

from eftraind.client import FakeDaemon

for folder in ("client", "system"):  # their worlds, proxies and daemons judge this SDK too
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
    build = tmp_path_factory.mktemp("sdk")
    sdk_build.cmake(sdk_build.SDK, build, "-DEFTRAIND_BUILD_TESTS=ON", "-DEFTRAIND_SANITIZE=ON")
    return build / "tests"


@pytest.fixture
def daemon():
    with FakeDaemon(heartbeat_s=0.2) as fake:
        yield fake


@pytest.fixture
def client(programs, daemon):
    with CppClient(programs, daemon.endpoint) as client:
        yield client
