"""Small networks and inputs that the exercises of every chapter are tried on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xai_lab.core import device


def random(*shape: int, seed: int = 0) -> Tensor:
    """Draw standard normal numbers, always the same."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int, *layers: nn.Module) -> nn.Module:
    """Network of these layers in eval mode, with weights that are always the same."""
    model = nn.Sequential(*layers).eval()
    for i, weight in enumerate(model.parameters()):
        weight.data = 0.7 * random(*weight.shape, seed=100 * seed + i)
    return model


def classes(*targets: int) -> Tensor:
    """Target of each sample."""
    return torch.tensor(targets)


def on_device(arguments: dict[str, object]) -> dict[str, object]:
    """Move the arguments to the GPU, where there is one."""
    return {k: v.to(device()) if isinstance(v, Tensor | nn.Module) else v
            for k, v in arguments.items()}  # fmt: skip


WHERE = "" if device().type == "cpu" else f", on {device().type}"  # no GPU is named without one


def with_gradients(model: nn.Module) -> nn.Module:
    """Model in the middle of its training: every weight has a gradient that must stay."""
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    return model


def own_scores(outputs: Tensor, target: Tensor) -> Tensor:
    """Score of each sample's own class, (N,)."""
    return outputs.gather(1, target[:, None])[:, 0]


class Recorder(nn.Module):
    """Model that keeps every picture it is handed."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.handed: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the model inside."""
        self.handed.append(x.detach().cpu().clone())
        return self.model(x)


def spread_over(values: Tensor, x: Tensor) -> Tensor:
    """One number a sample, (N,), in the shape (N, 1, …, 1) that meets x."""
    return values.reshape(-1, *[1] * (x.ndim - 1))
