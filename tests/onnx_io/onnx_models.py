"""Classifiers as people write them in torch, small, with weights and statistics drawn by seed."""

from collections.abc import Callable

import torch
import torch.nn.functional as functional
from torch import Tensor, nn


class LeNet(nn.Module):
    """Both orders of pool and ReLU, a view over a dynamic batch, dropout, log-softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.drop = nn.Dropout(0.4)
        self.fc1, self.fc2 = nn.Linear(256, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.relu(functional.max_pool2d(self.conv2(x), 2))
        x = functional.relu(self.fc1(x.view(x.size(0), -1)))
        return functional.log_softmax(self.fc2(self.drop(x)), dim=1)


class Residual(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        projection = nn.Conv2d(before, after, 1, stride, bias=False)
        self.short = (
            nn.Sequential(projection, nn.BatchNorm2d(after)) if stride > 1 else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.short(x))


class ResNet(nn.Module):
    """Blocks with and without projection, the mean over rows and columns."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1)
        self.blocks = nn.Sequential(Residual(8, 8, 1), Residual(8, 12, 2))
        self.fc = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(functional.relu(self.stem(x))).mean([2, 3]))


class Inception(nn.Module):
    """Branches of conv and average pool, ReLU after the concatenation, softmax at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 5, 2, 2)
        self.left, self.right = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, (1, 3), padding=(0, 1))
        self.pooled = nn.Conv2d(8, 3, 1)
        self.fc = nn.Linear(11 * 2 * 3, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.leaky_relu(self.stem(x), 0.1)
        pooled = functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        parts = [self.left(x), self.right(x), self.pooled(pooled)]
        x = functional.max_pool2d(functional.relu(torch.cat(parts, 1)), 3, 2, 1)
        x = functional.avg_pool2d(x, (3, 2), 2, 1 if x.shape[2] > 99 else 0)
        return functional.softmax(self.fc(x.reshape(x.shape[0], -1)), dim=-1)


def vgg() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)),
        *(nn.AvgPool2d(3, 1, 1), nn.Flatten(), nn.Linear(8 * 3 * 3, 16, bias=False)),
        *(nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 10)),
    )


def mobilenet() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
        *(nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
        *(nn.Conv2d(8, 12, 1), nn.LeakyReLU(0.2), nn.AdaptiveAvgPool2d(1)),
        *(nn.Conv2d(12, 7, 1), nn.Flatten()),
    )


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "lenet": (LeNet, (1, 28, 28)),
    "vgg": (vgg, (3, 12, 12)),
    "resnet": (ResNet, (3, 12, 10)),
    "mobilenet": (mobilenet, (3, 13, 16)),
    "inception": (Inception, (3, 18, 22)),
}
"""Name -> how to make it, (channels, rows, cols) of its images."""


def make(name: str) -> nn.Module:
    """A model in eval mode; no two of its tensors are alike, as after training."""
    torch.manual_seed(len(name))
    model = MODELS[name][0]()
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return model.eval()
