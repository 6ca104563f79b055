"""A network small enough to certify in every test, named by `--model tests.quanterr.tiny:network`."""

import torch
from torch import Tensor, nn


def network(width: int = 8, poison: bool = False) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, groups=width), nn.Flatten(),
        nn.Linear(width * 36, 5), nn.Linear(5, 5),
    )  # fmt: skip
    if poison:
        with torch.no_grad():
            model[4].weight[2, 7] = float("nan")
    return model


class Unreached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(4, 4)
        self.spare = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x)


def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(16, 3, 8, 8, generator=generator) for _ in range(3)]


def poisoned_batches() -> list[Tensor]:
    good = batches()
    good[1][3, 0, 0, 0] = float("nan")
    return good


def vectors() -> list[Tensor]:
    return [torch.randn(64, 4, generator=torch.Generator().manual_seed(2))]


def heavy_network() -> nn.Module:
    """A few large weights, so that the scale of the largest is a bad one."""
    model = nn.Linear(24, 6)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        model.weight.copy_(torch.randn(6, 24, generator=generator))
        model.weight[0, 0] = 9.0
    return nn.Sequential(model)


def slow_network() -> nn.Module:
    """Enough rows to be killed in the middle."""
    torch.manual_seed(0)
    return nn.Linear(24, 6000)


def slow_vectors() -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    mixing = torch.randn(24, 24, generator=generator)
    return [torch.randn(4000, 24, generator=generator) @ mixing]
