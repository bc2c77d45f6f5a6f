"""Examples in docstrings of the planner's modules are true."""

import doctest
import importlib
import pkgutil

import pytest

import eftraind.plan
import eftraind.planner

MODULES = sorted(
    module.name
    for package in (eftraind.plan, eftraind.planner)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not module.name.endswith(".picture")  # needs matplotlib
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
