"""Every test that takes `kind` runs for all devices, instruction sets and thread counts."""

import contract_rig
import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kind" in metafunc.fixturenames:
        kinds = contract_rig.kinds()
        metafunc.parametrize("kind", kinds, ids=[kind.name for kind in kinds])
