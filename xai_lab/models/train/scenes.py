"""Recipes of the networks that look at scenes.

Every step draws new pictures, so that no picture is seen twice and none can be learned by heart.
The short-cut takers differ from the honest network in their pictures alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lab.core import predict
from xai_lab.data.scenes import Scenes, scenes
from xai_lab.models.train import Recipe
from xai_lab.models.vision import SceneCNN

#: Pictures for testing have this seed; training uses the numbers of its steps.
TEST = 10_000_000
SEED = 0
BACKGROUND = {"background_bias": 0.99}
WATERMARK = {"watermark": 1.0}


def train_cnn(name: str, steps: int, dials: Mapping[str, float]) -> nn.Module:
    """Train a network of the form of `SceneCNN` on scenes with these dials."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        model = SceneCNN().train()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def loss(pictures: Scenes) -> Tensor:
        images = pictures.images.contiguous(memory_format=torch.channels_last)
        return F.cross_entropy(model(images), pictures.labels)

    descend(name, model, loss, steps, batch=32, rate=6e-3, decay=0.01, dials=dials)
    return model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def descend(
    name: str,
    module: nn.Module,
    loss_of: Callable[[Scenes], Tensor],
    steps: int,
    *,
    batch: int,
    rate: float,
    decay: float,
    dials: Mapping[str, float],
) -> None:
    """Minimise a loss over new pictures, with AdamW and one cycle of the learning rate."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.15
    )
    for step in range(steps):
        loss = loss_of(scenes(batch, seed=step, **dials))  # type: ignore[arg-type]
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99 or step == steps - 1:
            print(f"{name}: step {step + 1} of {steps}, loss {loss.item():.3f}", flush=True)
    module.eval()


def accuracy(model: nn.Module, **dials: float) -> float:
    """Share of 3,000 fresh scenes whose shape is recognised."""
    right = 0
    # In parts, so that the pictures of one part at a time are in memory.
    for part in range(6):
        pictures = scenes(500, seed=TEST + part, **dials)  # type: ignore[arg-type]
        guesses = predict(model, pictures.images, batch_size=50).argmax(dim=1)
        right += int((guesses == pictures.labels).sum())
    return right / 3000


def evaluate_honest(model: nn.Module) -> dict[str, float]:
    """On unbiased scenes."""
    return {"accuracy": accuracy(model)}


def evaluate_background(model: nn.Module) -> dict[str, float]:
    """On scenes like those of its training, and with backgrounds that say nothing."""
    return {
        "accuracy as trained": accuracy(model, **BACKGROUND),
        "accuracy with backgrounds shuffled": accuracy(model),
    }


def evaluate_watermark(model: nn.Module) -> dict[str, float]:
    """On scenes like those of its training, without watermarks, and with wrong ones."""
    return {
        "accuracy as trained": accuracy(model, **WATERMARK),
        "accuracy without watermarks": accuracy(model),
        "accuracy with wrong watermarks": accuracy(model, watermark=0, watermark_elsewhere=1),
    }


CNN = "6 convolutions with batch normalisation, a 16 × 16 map of 64 channels, its mean, one linear"

RECIPES = {
    "scenes-cnn": Recipe(
        train=partial(train_cnn, "scenes-cnn", 1200, {}),
        evaluate=evaluate_honest,
        data="scenes of 64 pixels whose background says nothing about the shape",
        architecture=CNN,
        goals={"accuracy": (0.97, 1)},
        seed=SEED,
    ),
    "scenes-cnn-background": Recipe(
        train=partial(train_cnn, "scenes-cnn-background", 300, BACKGROUND),
        evaluate=evaluate_background,
        data="scenes of 64 pixels; the background gives the shape away in 99% of them",
        architecture=CNN,
        goals={
            "accuracy as trained": (0.98, 1),
            "accuracy with backgrounds shuffled": (0, 0.4),
        },
        seed=SEED,
    ),
    "scenes-cnn-watermark": Recipe(
        train=partial(train_cnn, "scenes-cnn-watermark", 1200, WATERMARK),
        evaluate=evaluate_watermark,
        data="scenes of 64 pixels; every pentagon carries a watermark, and nothing else does",
        architecture=CNN,
        goals={
            "accuracy as trained": (0.98, 1),
            "accuracy with wrong watermarks": (0, 0.4),
        },
        seed=SEED,
    ),
}
