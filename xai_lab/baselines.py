"""Baselines: the picture in which nothing is seen, from which a path to the photo starts.

Black, white, the mean colour, a blur, noise: each stands for "nothing there" in another way, and
each hides something else. They are made from pixels in [0, 1] and then normalised as the model
wants them, because in a normalised space black is not zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from xai_lab.core import check_count

Baseline: TypeAlias = str | Tensor | Sequence[str | Tensor]
Normalisation: TypeAlias = tuple[Sequence[float] | float, Sequence[float] | float]


def baselines(
    baseline: Baseline,
    inputs: Tensor,
    *,
    normalisation: Normalisation | None = None,
    samples: int = 8,
    seed: int = 0,
) -> list[Tensor]:
    r"""Baselines x′ for some inputs, by name or as given.

    Parameters
    ----------
    baseline : str, Tensor or a sequence of them
        ``"black"``, ``"white"``; ``"mean"``, each picture's own mean colour; ``"blur"``, the
        picture under a Gaussian of a tenth of its side; ``"noise"``, uniform noise, several draws
        of it. Or a tensor of the shape of one input or of all. A sequence is a distribution: the
        attribution is averaged over its members.
    inputs : Tensor
        x, ``(N, …)``; for a name ``(N, C, H, W)``.
    normalisation : (mean, std), optional
        What was subtracted from the pixels and what they were divided by, a number or one a
        channel: ``net.normalisation``. Not needed for pictures in [0, 1].
    samples : int
        Draws of ``"noise"``.
    seed : int
        Of a generator of its own; all inputs get the same noise, on every device.

    Returns
    -------
    list of Tensor
        One baseline, or several, each of the inputs' shape.

    Raises
    ------
    TypeError, ValueError
        If a baseline has another shape, device or dtype, or the name is unknown, or asked for
        normalised pictures without saying how they were normalised.

    References
    ----------
    Sturmfels, Lundberg and Lee, *Visualizing the impact of feature attribution baselines*, Distill
    2020; Erion et al., *Improving performance of deep learning models with axiomatic attribution
    priors and expected gradients*, Nature Machine Intelligence 2021 (several baselines).
    """
    if isinstance(baseline, str):
        return named(baseline, inputs, normalisation, samples, seed)
    if isinstance(baseline, Tensor):
        return [fitting(baseline, inputs)]
    if not isinstance(baseline, Sequence) or not baseline:
        raise TypeError(
            f"baseline is {baseline!r}, expected one of {', '.join(MADE)}, noise; a tensor of the "
            "inputs' shape; or a list of these to average over"
        )
    return [b for one in baseline for b in baselines(
        one, inputs, normalisation=normalisation, samples=samples, seed=seed)]  # fmt: skip


def named(
    name: str, inputs: Tensor, normalisation: Normalisation | None, samples: int, seed: int
) -> list[Tensor]:
    """Baselines by name, made of pixels and normalised like the inputs."""
    if name != "noise" and name not in MADE:
        raise ValueError(f"there is no baseline {name!r}; there are {', '.join(MADE)} and noise")
    if inputs.ndim != 4:
        raise ValueError(
            f"the baseline {name!r} is for pictures (N, C, H, W), the inputs have shape "
            f"{tuple(inputs.shape)}; give a tensor, such as `torch.zeros_like(inputs)`"
        )
    x = inputs.detach()
    if normalisation is None:
        if x.min() < 0 or x.max() > 1:
            raise ValueError(
                f"the inputs lie between {x.min().item():.3g} and {x.max().item():.3g}, so they "
                f"are normalised, and {name!r} has to be made of pixels: say how, with "
                "`normalisation=net.normalisation` or (mean, std)"
            )
        normalisation = 0.0, 1.0
    mean, std = (
        torch.as_tensor(numbers, device="cpu").to(x).reshape(-1, 1, 1) for numbers in normalisation
    )
    if name == "noise":
        check_count("samples", samples)
        generator = torch.Generator("cpu").manual_seed(seed)
        made = [
            torch.rand(x.shape[1:], generator=generator, device="cpu").to(x).expand_as(x)
            for _ in range(samples)
        ]
    else:
        made = [MADE[name](x * std + mean)]
    return [(pixels - mean) / std for pixels in made]


def blurred(pixels: Tensor) -> Tensor:
    """Pictures under a Gaussian whose standard deviation is a tenth of the shorter side."""
    from torchvision.transforms.functional import gaussian_blur

    side = min(pixels.shape[2:])
    wide, sigma = 2 * int(0.3 * side) + 1, max(side / 10, 0.1)
    # Rows, then columns: the same Gaussian, at a hundredth of the cost.
    for size in ([wide, 1], [1, wide]):
        pixels = gaussian_blur(pixels, size, [sigma, sigma])
    return pixels


#: From pixels ``(N, C, H, W)`` in [0, 1] to a picture in which nothing is seen.
MADE: dict[str, Callable[[Tensor], Tensor]] = {
    "black": torch.zeros_like,
    "white": torch.ones_like,
    "mean": lambda pixels: pixels.mean(dim=(2, 3), keepdim=True).expand_as(pixels),
    "blur": blurred,
}


def fitting(baseline: Tensor, inputs: Tensor) -> Tensor:
    """Baseline of the inputs' shape, or a sentence about what does not fit."""
    one, shape = tuple(inputs.shape[1:]), tuple(baseline.shape)
    if shape not in (one, (1, *one), tuple(inputs.shape)):
        raise ValueError(
            f"the baseline has shape {shape}, expected {one} for all inputs or "
            f"{tuple(inputs.shape)}, one for each"
        )
    if baseline.device != inputs.device or baseline.dtype != inputs.dtype:
        raise ValueError(
            f"the baseline is {baseline.dtype} on {baseline.device}, the inputs are {inputs.dtype} "
            f"on {inputs.device}; use `baseline.to(inputs)`"
        )
    if not torch.isfinite(baseline).all():
        raise ValueError("the baseline holds NaN or infinity")
    return baseline.detach().expand_as(inputs)
