"""The SDK needs numpy and pyzmq and nothing of the daemon but its words."""

import json
import subprocess
import sys
from pathlib import Path

import eftraind.client

ALLOWED = ("errors", "keys", "clock", "wire", "wire_decode", "wire_records", "client")
PROBE = """
import json, sys
import numpy, zmq
before = set(sys.modules)
import eftraind.client
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_what_is_imported():
    run = subprocess.run(
        [sys.executable, "-c", PROBE],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    loaded = json.loads(run.stdout)
    ours = [name.partition(".")[2] for name in loaded if name.startswith("eftraind.")]
    assert {name.partition(".")[0] for name in ours} <= set(ALLOWED)
    foreign = {name.partition(".")[0] for name in loaded} - set(sys.stdlib_module_names)
    assert foreign <= {"eftraind", "numpy", "zmq"}


def test_what_is_exported():
    public = {name for name in vars(eftraind.client) if name[0].isupper()}
    assert public == set(eftraind.client.__all__)
    assert list(eftraind.client.__all__) == sorted(eftraind.client.__all__)
