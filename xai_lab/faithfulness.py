"""Judges of maps; they know no method.

Where the right answer is known, because it was planted, a map is judged by it: `mass_inside` and
`mass_over_chance` ask how much of the map lies on the cue, `pointing_game` where its highest point
lies, `cue_rank` where the true words come in a list of scored ones. `random_map` is what to beat.

Where it is not known, `randomize` makes a network forget, layer by layer from the top, and
`rank_correlation` says how much of a map is left. A map that survives was not about what the
network had learned.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lab.core import check_count


def mass_inside(maps: Tensor, masks: Tensor) -> Tensor:
    r"""Share of a map that lies inside a mask (the energy-based pointing game).

    .. math::
        \frac{\sum_{p \in \text{mask}} \max(M_p, 0)}{\sum_p \max(M_p, 0)}

    Parameters
    ----------
    maps : Tensor
        ``(N, H, W)``. Negative values speak against the class and are no mass; pass ``maps.abs()``
        for a method whose sign is not to count.
    masks : Tensor
        Where the right answer is, bool ``(N, H, W)``.

    Returns
    -------
    Tensor
        ``(N,)``, between 0 and 1; on average the mask's share of the picture (`area`) for a map
        that knows nothing. NaN for a map without any positive value: it has no mass to place, so
        count such maps, then take ``nanmean`` over the others.

    References
    ----------
    Wang et al., *Score-CAM: score-weighted visual explanations for convolutional neural networks*,
    CVPR Workshops 2020.
    """
    maps, masks = check_judged(maps, masks)
    mass = maps.clamp(min=0).flatten(1)
    # Scaled first, so that no map is too faint or too strong to be summed.
    mass = mass / mass.amax(dim=1, keepdim=True)
    return (mass * masks.flatten(1)).sum(dim=1) / mass.sum(dim=1)


def mass_over_chance(maps: Tensor, masks: Tensor) -> Tensor:
    r"""How many times as much of a map lies inside a mask as chance would put there.

    .. math:: \frac{\text{share of the mass inside}}{\text{share of the picture inside}}

    Parameters
    ----------
    maps, masks : Tensor
        As for `mass_inside`.

    Returns
    -------
    Tensor
        ``(N,)``: 1 is chance, below 1 the map avoids the place, and ``1 / area`` is the most.
        NaN where `mass_inside` is.
    """
    return mass_inside(maps, masks) / area(masks).to(maps.device)


def area(masks: Tensor) -> Tensor:
    """Share of the picture that a mask covers, ``(N,)``: the chance level of the scores here."""
    return masks.flatten(1).float().mean(dim=1)


def pointing_game(maps: Tensor, masks: Tensor, tolerance: int = 0) -> Tensor:
    r"""Whether a map's highest point lies inside a mask.

    .. math::
        \frac{|\text{Top} \cap \text{mask}|}{|\text{Top}|}, \qquad
        \text{Top} = \{p : M_p = \max_q M_q\}

    Parameters
    ----------
    maps, masks : Tensor
        As for `mass_inside`.
    tolerance : int
        Pixels by which a miss still counts as a hit: the mask grows by a disk of this radius. The
        paper allows 15 on photos of several hundred pixels.

    Returns
    -------
    Tensor
        ``(N,)``: 1 for a hit, 0 for a miss. If several points are highest, the share of them that
        hit, which is what picking one at random would score; a constant map, also one of zeros,
        scores the area of the (grown) mask, no more than guessing would.

    References
    ----------
    Zhang et al., *Top-down neural attention by excitation backprop*, IJCV 2018.
    """
    maps, masks = check_judged(maps, masks)
    check_count("tolerance", tolerance, least=0)
    top = maps == maps.amax(dim=(1, 2), keepdim=True)
    hits = top & grown(masks, tolerance)
    return hits.sum(dim=(1, 2)) / top.sum(dim=(1, 2))


def grown(masks: Tensor, radius: int) -> Tensor:
    """Masks and all pixels within a radius of them."""
    if radius == 0:
        return masks
    steps = torch.arange(-radius, radius + 1, device=masks.device)
    disk = (steps[:, None] ** 2 + steps**2 <= radius**2).float()
    return F.conv2d(masks[:, None].float(), disk[None, None], padding=radius)[:, 0] > 0.5


def cue_rank(scores: Tensor, cues: Tensor, which: Literal["first", "mean"] = "first") -> Tensor:
    """Rank of the words that truly decide, among all words by score; 1 is the strongest.

    Parameters
    ----------
    scores : Tensor
        Attribution of each word, ``(N, T)``. Minus infinity for padding, which then comes last.
    cues : Tensor
        Which words truly decide, bool ``(N, T)``.
    which : str
        ``"first"`` for the best-ranked cue, so that 1 means that the strongest word is a true one;
        ``"mean"`` for the mean rank of all cues.

    Returns
    -------
    Tensor
        ``(N,)``; ties share their mean rank. Random scores of T words with k cues give
        (T + 1) / (k + 1) for the first and (T + 1) / 2 for the mean.
    """
    if which not in ("first", "mean"):
        raise ValueError(f"which is {which!r}, expected 'first' or 'mean'")
    if scores.ndim != 2 or scores.shape != cues.shape:
        raise ValueError(
            f"scores have shape {tuple(scores.shape)} and cues {tuple(cues.shape)}, expected both "
            "(N, T): one row a text, one score a word"
        )
    if scores.isnan().any():
        raise ValueError("the scores hold NaN, which cannot be ranked; padding is minus infinity")
    check_masks(cues, "cue")
    pairs = zip(scores.detach(), cues.to(scores.device), strict=True)
    found = [ranks(-row)[cue] for row, cue in pairs]
    return torch.stack([r.min() if which == "first" else r.mean() for r in found]).float()


def random_map(maps: Tensor, seed: int = 0) -> Tensor:
    """Uniform noise of the maps' shape: a map that knows nothing, to try a judge on."""
    noise = torch.rand(maps.shape, generator=torch.Generator().manual_seed(seed))
    return noise.to(maps.device)


def weighted_layers(model: nn.Module) -> list[str]:
    """Names of the layers that hold weights of their own and can start anew, input side first."""
    return [
        name
        for name, module in model.named_modules()
        if callable(getattr(module, "reset_parameters", None))
        and any(True for _ in module.parameters(recurse=False))
    ]


def randomize(model: nn.Module, layers: int | None = None, seed: int = 0) -> nn.Module:
    """Copy of a network whose top layers have fresh random weights.

    Parameters
    ----------
    model : Module
        Left as it is.
    layers : int, optional
        How many of `weighted_layers` to re-initialise, counted from the output; all by default.
    seed : int
        Layer k from the top gets seed + k, so a longer cascade begins with the shorter one.

    Returns
    -------
    Module
        The copy.

    References
    ----------
    Adebayo et al., *Sanity checks for saliency maps*, NeurIPS 2018.
    """
    names = weighted_layers(model)
    if not names:
        raise ValueError("the model has no layer that can be re-initialised (reset_parameters)")
    count = len(names) if layers is None else layers
    check_count("layers", count, least=0)
    if count > len(names):
        raise ValueError(f"layers is {count}, but the model has {len(names)} layers with weights")
    forgetful = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for k, name in enumerate(reversed(names[len(names) - count :])):
            # torch.manual_seed would seed every GPU as well, and leave them so.
            torch.default_generator.manual_seed(seed + k)
            layer: Any = forgetful.get_submodule(name)
            home = next(layer.parameters(recurse=False)).device
            # Drawn on the CPU, so that every device gets the same weights.
            layer.cpu().reset_parameters()
            layer.to(home)
    return forgetful


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    r"""Spearman's rank correlation of two maps, one a sample.

    .. math:: \rho = \operatorname{corr}(\operatorname{rank} a, \operatorname{rank} b)

    Parameters
    ----------
    a, b : Tensor
        ``(N, …)``, the same shape. Pass absolute values if the sign is not to count.

    Returns
    -------
    Tensor
        ``(N,)``, between −1 and 1; 0 for unrelated maps. Ties share their mean rank; a constant
        map gives NaN, because it ranks nothing.
    """
    if a.shape != b.shape:
        raise ValueError(
            f"the maps have shapes {tuple(a.shape)} and {tuple(b.shape)}, expected the same"
        )
    pairs = zip(a.flatten(1), b.flatten(1), strict=True)
    return torch.stack([torch.corrcoef(torch.stack([ranks(x), ranks(y)]))[0, 1] for x, y in pairs])


def ranks(values: Tensor) -> Tensor:
    """Rank of each value, ties sharing their mean."""
    _, group, size = torch.unique(values, return_inverse=True, return_counts=True)
    last = size.cumsum(0).double()
    return (last - (size - 1) / 2)[group]


def check_judged(maps: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Maps ``(N, H, W)`` and their masks on one device, or a sentence."""
    if maps.ndim == 4:
        raise ValueError(
            f"maps have shape {tuple(maps.shape)}, expected (N, H, W): merge the colours first, "
            "`maps.sum(dim=1)` for signed attributions that add up, `maps.abs().amax(dim=1)` for "
            "saliency"
        )
    if maps.ndim != 3 or maps.shape != masks.shape:
        raise ValueError(
            f"maps have shape {tuple(maps.shape)} and masks {tuple(masks.shape)}, expected both "
            "(N, H, W) at the same size"
        )
    if not torch.isfinite(maps).all():
        raise ValueError("a map holds NaN or infinity, so there is nothing to judge")
    check_masks(masks, "mask")
    return maps.detach().float(), masks.to(maps.device)


def check_masks(masks: Tensor, kind: str) -> None:
    """Refuse masks that are not yes or no, and those where nothing is to be found."""
    if masks.dtype != torch.bool:
        raise TypeError(f"the {kind}s are {masks.dtype}, expected bool: `{kind}s > 0.5` makes them")
    empty = (~masks.flatten(1).any(dim=1)).nonzero()[:, 0].tolist()
    if empty:
        raise ValueError(
            f"sample {', '.join(map(str, empty))} has no {kind}: there is nothing to find in it; "
            "leave it out"
        )
