"""Gradients that are no numbers, through each activation: the definition against PyTorch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from eftraind.nn import pointwise

SLOPE = 0.25


@pytest.mark.parametrize(
    ("kind", "function"),
    [
        ("relu", torch.nn.functional.relu),
        ("relu6", torch.nn.functional.relu6),
        ("leaky", lambda x: torch.nn.functional.leaky_relu(x, SLOPE)),
    ],
)
def test_they_stop_where_the_activation_is_flat(kind: str, function: Callable[..., Any]) -> None:
    x, grad = np.meshgrid(
        np.float32([-np.inf, -1, 0, 3, 6, 7, np.inf]), np.float32([np.nan, np.inf, -np.inf, 2])
    )
    judge = torch.tensor(x, requires_grad=True)
    function(judge).backward(torch.tensor(grad))
    found = pointwise.undone(grad, pointwise.activate(x, kind, SLOPE), kind, SLOPE)
    np.testing.assert_array_equal(found, judge.grad.numpy())
