import pytest
import sdk_build


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """The folder of the SDK's test programs, built with sanitizers and without warnings."""
    lacking = sdk_build.missing()
    if lacking:
        pytest.skip(lacking)
    build = tmp_path_factory.mktemp("sdk")
    sdk_build.cmake(sdk_build.SDK, build, "-DEFTRAIND_BUILD_TESTS=ON", "-DEFTRAIND_SANITIZE=ON")
    return build / "tests"
