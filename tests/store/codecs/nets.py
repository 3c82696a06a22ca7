"""Modules as a project would define them; the tests of the torch codec import this file as theirs."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width: int = 4, tied: bool = False) -> None:
        super().__init__()
        self.config = {"width": width, "tied": tied}
        self.into = nn.Linear(3, width)
        self.norm = nn.BatchNorm1d(width)
        self.out = nn.Linear(width, width)
        self.again = nn.Linear(width, width)
        if tied:
            self.again.weight = self.out.weight

    def forward(self, x: torch.Tensor) -> Any:
        return self.again(self.out(self.norm(self.into(x))))


@dataclass
class Shape:
    width: int
    shares: tuple[float, ...] = (0.5,)


class Shaped(nn.Module):
    def __init__(self, config: Shape) -> None:
        super().__init__()
        self.config = config
        self.layer = nn.Linear(config.width, 1)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)


class Forgetful(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, 1)


class Untrue(nn.Module):
    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.config = {"width": 2}
        self.layer = nn.Linear(width, 1)
