import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "oracle"))  # its torch_graph judges here too


@pytest.fixture(scope="session")
def exported() -> Callable[[str, str], bytes]:
    """The bytes of a model of `onnx_models` as an exporter of `onnx_rig` writes it, made once."""
    import onnx_rig

    return onnx_rig.Exports().get
