"""Networks that look at scenes, and the vision transformer of the hub.

`SceneCNN` ends in global average pooling and one linear layer, so that class activation maps are
exact for it; three networks have its form and differ in what they were trained on. `scene_vit` is
Hugging Face's own class in small. Both take pictures in [0, 1] and normalise inside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from xai_lab.data.scenes import SHAPES
from xai_lab.models import Parts, bundled, fetched

HUB_VIT = "google/vit-base-patch16-224"


def build(name: str, pretrained: bool) -> Parts:
    """Network by name, with what `xai_lab.load` needs of it."""
    if name == "vit-base":
        return vit_base(pretrained)
    model: nn.Module = scene_vit() if name == "scenes-vit" else SceneCNN()
    if pretrained:
        model.load_state_dict(bundled.read_weights(name))
    return model, picture_transform(64), (0.0,) * 3, (1.0,) * 3, list(SHAPES)


class SceneCNN(nn.Module):
    r"""Convolutions, then the mean over the map of each channel, then one linear layer.

    .. math:: y_c = b_c + \sum_k w_{ck} \frac{1}{HW} \sum_{ij} A_{kij}

    with the last feature map A = ``features(normalise(x))``, a quarter of the picture's height and
    width, after its ReLU.
    """

    def __init__(self, classes: int = len(SHAPES)) -> None:
        super().__init__()
        self.normalise = nn.BatchNorm2d(3, affine=False)
        self.features = nn.Sequential(
            *block(3, 24, stride=2),
            *block(24, 32),
            *block(32, 64, stride=2),
            *block(64, 64),
            *block(64, 64),
            *block(64, 64),
        )
        self.classifier = nn.Linear(64, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Class scores ``(N, K)`` of pictures ``(N, 3, H, W)`` in [0, 1], 64 pixels or more."""
        A = self.features(self.normalise(pictures))
        return self.classifier(A.mean(dim=(2, 3)))


def block(before: int, after: int, stride: int = 1) -> list[nn.Module]:
    """Convolution, batch normalisation, ReLU."""
    convolution = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(after), nn.ReLU()]


def scene_vit() -> nn.Module:
    """Vision transformer with a CLS token for 64 pixels: 8 × 8 patches of 8, Hugging Face's class.

    Its code path is that of ``google/vit-base-patch16-224``: ``outputs.logits``, and
    ``output_attentions=True`` gives ``(N, heads, 65, 65)`` a layer.
    """
    from transformers import ViTConfig, ViTForImageClassification

    names = dict(enumerate(SHAPES))
    config = ViTConfig(
        image_size=64,
        patch_size=8,
        hidden_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=192,
        # Of the order of 1/√96, as wide networks have 0.02; a smaller one learns late.
        initializer_range=0.07,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label=names,
        label2id={name: index for index, name in names.items()},
    )
    return ViTForImageClassification(config)


def normalise_inside(vit: Any, mean: float, std: float) -> None:
    r"""Let a vision transformer take pictures in [0, 1] that took (x − mean) / std before.

    .. math:: w \cdot \frac{x - m}{s} + b = \frac{w}{s} \cdot x + b - m \sum \frac{w}{s}

    The cut into patches is linear and has no padding, so this is exact.
    """
    projection = vit.vit.embeddings.patch_embeddings.projection
    with torch.no_grad():
        projection.weight /= std
        projection.bias -= mean * projection.weight.sum(dim=(1, 2, 3))


def vit_base(pretrained: bool) -> Parts:
    """ViT-B/16 of the hub (Dosovitskiy et al. 2021), 1,000 ImageNet classes."""
    from transformers import ViTConfig, ViTForImageClassification

    from xai_lab.models import imagenet_labels

    def fetch(**where: Any) -> Any:
        return ViTForImageClassification.from_pretrained(HUB_VIT, use_safetensors=True, **where)

    if not pretrained:
        config = ViTConfig()
        config.num_labels = 1000
        model = ViTForImageClassification(config)
    else:
        try:
            model = fetch(local_files_only=True)
        except OSError:  # not in the cache yet
            model = fetched("vit-base", fetch)
    half = (0.5, 0.5, 0.5)
    return model, picture_transform(224, half, half), half, half, imagenet_labels()


def picture_transform(
    size: int, mean: tuple[float, ...] = (0.0,) * 3, std: tuple[float, ...] = (1.0,) * 3
) -> Callable[[Image.Image], Tensor]:
    """Resize the shorter side, crop to the middle, normalise."""
    from torchvision import transforms

    return transforms.Compose(
        [
            transforms.Resize(size),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )
