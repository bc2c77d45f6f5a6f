"""Imported first by every test module here: skips it, with the reason, if a package is missing."""

import pytest

for _name in ("torch", "onnx", "onnxruntime"):
    pytest.importorskip(_name, reason=f"{_name} is not installed: pip install 'eftraind[dev]'")
