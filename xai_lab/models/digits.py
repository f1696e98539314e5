"""A small network that reads handwritten digits: `load("digits-cnn")`, and the digits themselves.

The digits are scikit-learn's, 1,797 of 8 × 8 pixels, light ink on dark ground. They stand in for
MNIST: they come with the installation, and a whole data set trains in seconds.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from xai_lab.models import Parts

SIZE = 8
MEAN, STD = 0.305, 0.376


def build(name: str, pretrained: bool) -> Parts:
    """Network, transform and labels; pictures are in [0, 1], so mean and std are 0 and 1."""
    from xai_lab.models.bundled import read_weights

    model = DigitsCNN()
    if pretrained:
        weights = read_weights(name)
        model.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
        )
    return model, as_digit, (0.0,), (1.0,), [str(digit) for digit in range(10)]


class DigitsCNN(nn.Module):
    """Four convolutions, the mean over places, one linear layer, so that CAM is exact."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(*block(1, 32), *block(32, 32), *block(32, 64), *block(64, 64))
        self.head = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, 10)`` of digits ``(N, 1, 8, 8)`` in [0, 1]."""
        return self.head(self.features((images - MEAN) / STD).mean(dim=(2, 3)))


def block(before: int, after: int) -> list[nn.Module]:
    """3 × 3 convolution, batch normalisation and ReLU, at the same size."""
    return [
        nn.Conv2d(before, after, 3, padding=1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    ]


def as_digit(photo: Image.Image) -> Tensor:
    """Photo of one digit as the data have them, ``(1, 8, 8)`` in [0, 1].

    The digit should fill the middle square from top to bottom, as the data do. A light picture is
    turned dark: ink on paper becomes light on dark.
    """
    side = min(photo.size)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    square = photo.convert("L").crop((left, top, left + side, top + side))
    grey = torch.from_numpy(np.asarray(square.resize((SIZE, SIZE), Image.Resampling.BOX)) / 255)
    return (1 - grey if grey.mean() > 0.5 else grey).float()[None]


def digits(part: str = "test") -> tuple[Tensor, Tensor]:
    """Handwritten digits and what they say.

    Parameters
    ----------
    part : str
        ``"train"`` for the two thirds that `digits-cnn` was trained on, ``"test"`` for the rest.

    Returns
    -------
    images : Tensor
        ``(N, 1, 8, 8)`` in [0, 1].
    labels : Tensor
        ``(N,)``, 0 to 9.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    if part not in ("train", "test"):
        raise ValueError(f"part is {part!r}, expected 'train' or 'test'")
    data = load_digits()
    rows = np.arange(len(data.target))
    train, test = train_test_split(rows, test_size=1 / 3, random_state=0, stratify=data.target)
    chosen = np.sort(train if part == "train" else test)
    images = torch.from_numpy(data.images[chosen] / 16).float()[:, None]
    return images, torch.from_numpy(data.target[chosen]).long()
