"""Whatever is given as a network, the answer is a graph or one GraphError."""

import copy
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from eftraind import graph_build
from eftraind.errors import GraphError

GOOD: dict[str, Any] = {
    "name": "branches",
    "input": {"shape": [9, 8, 3], "dtype": "float32"},
    "classes": 4,
    "layers": [
        {"name": "stem", "kind": "conv", "channels": 6, "kernel": 3, "padding": [0, 0, 1, 1],
         "stride": 2, "bias": False},
        {"name": "norm", "kind": "batchnorm", "activation": "leaky", "slope": 0.2},
        {"name": "wise", "kind": "conv", "groups": 6, "kernel": [3, 1], "activation": "relu6"},
        {"name": "sum", "kind": "add", "from": ["wise", "norm"], "relu": True},
        {"name": "mean", "kind": "avgpool", "window": 3, "stride": 1, "padding": 1,
         "count_padding": False},
        {"name": "both", "kind": "concat", "from": ["mean", "sum"]},
        {"name": "drop", "kind": "dropout", "rate": 0.5},
        {"name": "all", "kind": "globalpool"},
        {"name": "head", "kind": "linear", "channels": 4},
    ],
}  # fmt: skip


def changed(path: list[Any], value: Any) -> dict[str, Any]:
    data = copy.deepcopy(GOOD)
    place: Any = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return data


def paths(value: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys: list[Any] = []
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    return [p for key in keys for p in [(*before, key), *paths(value[key], (*before, key))]]


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.sampled_from([10**400, -1, 0.5, float("nan"), float("inf"), "", "input", "head", "relu"]),
    st.lists(st.integers(-1, 4), max_size=5),
    st.just({}),
    st.just([[]]),
)


@settings(max_examples=400, deadline=None, derandomize=True)
@example(path=("layers", 3, "from"), junk=[])
@example(path=("layers", 1, "kind"), junk=[])
@example(path=("input", "scale"), junk=10**400)
@given(path=st.sampled_from(paths(GOOD)), junk=JUNK)
def test_junk_anywhere_is_a_graph_or_a_graph_error(path: tuple[Any, ...], junk: Any) -> None:
    try:
        graph = graph_build.from_mapping(changed(list(path), junk))
    except GraphError as error:
        assert error.remedy
    else:
        assert graph.macs > 0
