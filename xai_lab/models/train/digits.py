"""Recipe of `digits-cnn`: scikit-learn's handwritten digits, nudged and turned a little."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lab.models.digits import DigitsCNN, digits
from xai_lab.models.train import Recipe

EPOCHS = 20
BATCH = 64
RATE = 3e-3
SEED = 0


def train() -> nn.Module:
    """Train from scratch."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        model = DigitsCNN().train()
    generator = torch.Generator().manual_seed(SEED)
    images, labels = digits("train")
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.01)
    batches = len(images) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * batches)
    for epoch in range(EPOCHS):
        order = torch.randperm(len(images), generator=generator)
        for rows in order[: batches * BATCH].split(BATCH):
            scores = model(jolted(images[rows], generator))
            loss = F.cross_entropy(scores, labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        if epoch % 10 == 9:
            print(f"digits-cnn: epoch {epoch + 1} of {EPOCHS}, loss {loss.item():.3f}", flush=True)
    return model.eval()


def jolted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures turned, sheared, scaled and moved at random, by up to a pixel or so."""
    changes = 0.12 * torch.randn(len(images), 2, 3, generator=generator)
    place = torch.eye(2, 3) + changes.clamp(-0.25, 0.25)
    grid = F.affine_grid(place, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def evaluate(model: nn.Module) -> dict[str, float]:
    """Accuracy on the third that was kept back."""
    images, labels = digits("test")
    with torch.no_grad():
        right = model(images).argmax(dim=1) == labels
    return {"accuracy": right.float().mean().item()}


RECIPES = {
    "digits-cnn": Recipe(
        train=train,
        evaluate=evaluate,
        data="scikit-learn's handwritten digits, 8 × 8; a third kept back for testing",
        architecture="four 3 × 3 convolutions, global average pooling, one linear layer",
        goals={"accuracy": (0.98, 1)},
        tolerance=0.005,
        seed=SEED,
    )
}
