"""The networks that are served: one of 5,500 parameters for 20 floats, and one of 256,000 (1 MB) for an image."""

import torch
from torch import nn


class Net(nn.Module):
    """Two hidden layers of 64 on 20 floats."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits: (rows, 20) → (rows, 1)."""
        return self.layers(x)


class Image(nn.Module):
    """Two convolutions and two layers on 28 × 28 points."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        )
        self.told = nn.Sequential(nn.Linear(32 * 7 * 7, 160), nn.ReLU(), nn.Linear(160, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits: (rows, 784) → (rows, 1)."""
        return self.told(self.seen(x.reshape(-1, 1, 28, 28)).flatten(1))


def fitted(net: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int = 30) -> nn.Module:
    """Return the network after some steps of training: x (rows, width), y (rows,)."""
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(net(x)[:, 0], y).backward()
        optimizer.step()
    return net.eval()
