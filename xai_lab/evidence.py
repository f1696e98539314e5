"""Is what a map marks what the network goes by? Measurements; they know no method.

`highlighted` is the area that a map marks, `elsewhere` are equal areas that it does not. `hidden`
covers both and asks the network again, `weigh` makes `Evidence` of the answers, by the rules in
`Rules`. `agreement` and `stability` ask whether maps resemble each other, and themselves.

Scores are compared as **log-odds**, S − log Σ exp(other scores): a probability near 1 hardly moves
while the network loses its reasons, and logits may all sink together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from xai_lab.core import Model, check_count, predict
from xai_lab.edits import Fill, occlude, softened
from xai_lab.faithfulness import rank_correlation


@dataclass(frozen=True)
class Rules:
    """When hiding an area counts as evidence that the network goes by it.

    Attributes
    ----------
    drop : float
        Log-odds have to fall by this: log 2, the odds are halved. Less is within what hiding
        anything does.
    chance : float
        Share of equal areas elsewhere, the area itself counted with them, that may matter as much:
        1 in 20.
    """

    drop: float = log(2)
    chance: float = 0.05


RULES = Rules()


@dataclass(frozen=True)
class Hiding:
    """What one fill did to the score.

    Attributes
    ----------
    before, after : float
        Probability of the class, as it was and with the area hidden.
    drop : float
        Fall of the log-odds.
    elsewhere : tuple of float
        The same fall for equal areas elsewhere.
    elsewhere_after : float
        Mean probability with an equal area elsewhere hidden.
    """

    before: float
    after: float
    drop: float
    elsewhere: tuple[float, ...]
    elsewhere_after: float

    @property
    def chance(self) -> float:
        """Share of areas, this one among them, whose hiding costs as much: (1 + r) / (1 + n)."""
        as_much = sum(drop >= self.drop for drop in self.elsewhere)
        return (1 + as_much) / (1 + len(self.elsewhere))

    def holds(self, rules: Rules = RULES) -> bool:
        """Whether the fall is large, and larger than elsewhere."""
        return self.drop >= rules.drop and self.chance <= rules.chance


@dataclass(frozen=True)
class Evidence:
    """Whether the network goes by the area that a map marks.

    Attributes
    ----------
    share : float
        Of the picture (or the text) that is marked.
    hidings : dict of str to Hiding
        By the name of the fill.
    verdict : str
        ``"holds"`` if it does with every fill, ``"does not hold"`` if with none, ``"undecided"``
        if that depends on the fill, ``"nothing marked"`` for a map without an area.
    """

    share: float
    hidings: dict[str, Hiding]
    verdict: str


def highlighted(maps: Tensor, share: float = 0.15) -> Tensor:
    """Area that a map marks: its highest values, as many as a share of the picture.

    Parameters
    ----------
    maps : Tensor
        ``(N, H, W)``; only what is above zero can be marked.
    share : float
        Of the picture.

    Returns
    -------
    Tensor
        bool ``(N, H, W)``, on the maps' device. Empty for a map that is the same everywhere, which
        marks nothing.
    """
    if not 0 < share < 1:
        raise ValueError(f"share is {share}, expected a part of the picture, such as 0.15")
    flat = maps.detach().flatten(1)
    count = max(1, round(share * flat.shape[1]))
    top = flat.argsort(dim=1, descending=True, stable=True)[:, :count]
    marked = torch.zeros_like(flat, dtype=torch.bool).scatter_(1, top, True)
    varied = flat.amax(dim=1, keepdim=True) > flat.amin(dim=1, keepdim=True)
    return (marked & (flat > 0) & varied).reshape(maps.shape)


def elsewhere(
    mask: Tensor, samples: int = 20, seed: int = 0, *, avoid: Tensor | None = None
) -> Tensor:
    """Equal areas in other places: the same shape, shifted; what leaves one side enters opposite.

    Parameters
    ----------
    mask : Tensor
        bool ``(H, W)``.
    samples : int
        How many, all different.
    seed : int
        Of a generator of its own.
    avoid : Tensor, optional
        bool ``(H, W)``: what else they should not cover.

    Returns
    -------
    Tensor
        bool ``(samples, H, W)``. They are drawn from the twentieth of all shifts that cover least
        of the mask and of what is to be avoided, and from all that cover nothing of it.
    """
    check_count("samples", samples)
    m = mask.cpu().double()
    taken = m if avoid is None else (mask.cpu() | avoid.cpu()).double()
    # Circular correlation: how much of `taken` each shift of the mask would cover.
    covered = torch.fft.irfft2(torch.fft.rfft2(taken) * torch.fft.rfft2(m).conj(), s=m.shape)
    covered = covered.round().flatten()
    order = covered.argsort(stable=True)
    fair = max((covered == 0).sum().item(), len(order) // 20, min(samples, len(order) - 1))
    generator = torch.Generator().manual_seed(seed)
    drawn = order[torch.randperm(fair, generator=generator)[:samples]]
    shifts = [divmod(int(one), m.shape[1]) for one in drawn]
    return torch.stack([mask.roll(shift, (0, 1)) for shift in shifts])


def hidden(
    model: Model,
    inputs: Tensor,
    masks: Tensor,
    fills: Mapping[str, Fill] | Sequence[str] = ("blur", "inpaint"),
    *,
    batch_size: int | None = None,
) -> dict[str, Tensor]:
    """Scores of one picture with each of several areas hidden, by fill.

    Parameters
    ----------
    model : callable
        Maps ``(N, C, H, W)`` to ``(N, K)``.
    inputs : Tensor
        ``(1, C, H, W)``.
    masks : Tensor
        bool ``(M, H, W)``.
    fills : sequence of str or mapping of str to fill
        See `xai_lab.occlude`.
    batch_size : int, optional
        Pictures on the device at once.

    Returns
    -------
    dict of str to Tensor
        ``(M, K)`` for each fill.

    Notes
    -----
    Cost: M forward passes for each fill.
    """
    named = fills if isinstance(fills, Mapping) else {fill: fill for fill in fills}
    step = 64  # pictures in memory at once; what is on the device is `predict`'s business
    return {
        name: torch.cat(
            [
                predict(
                    model,
                    occlude(inputs.expand(len(some), -1, -1, -1), some, fill),
                    batch_size=batch_size,
                )
                for some in masks.split(step)
            ]
        )
        for name, fill in named.items()
    }


def weigh(before: Tensor, after: Mapping[str, Tensor], target: int, share: float) -> Evidence:
    """Evidence from scores: as they were ``(K,)``, and by fill with areas hidden ``(1 + n, K)``.

    The first row of each is the area that is in question, the others are those elsewhere.
    """
    start, sure = log_odds(before[None], target)[0], before.softmax(dim=0)[target].item()
    hidings = {}
    for fill, outputs in after.items():
        drops = (start - log_odds(outputs, target)).tolist()
        probabilities = outputs.softmax(dim=1)[:, target]
        hidings[fill] = Hiding(
            before=sure,
            after=probabilities[0].item(),
            drop=drops[0],
            elsewhere=tuple(drops[1:]),
            elsewhere_after=probabilities[1:].mean().item(),
        )
    held = [one.holds() for one in hidings.values()]
    verdict = "holds" if all(held) else "undecided" if any(held) else "does not hold"
    return Evidence(share, hidings, verdict)


def log_odds(outputs: Tensor, target: int) -> Tensor:
    r"""How far a class is ahead of all others together.

    .. math:: \log \frac{p_c}{1 - p_c} = S_c - \log \sum_{k \ne c} e^{S_k}

    Parameters
    ----------
    outputs : Tensor
        Logits ``(N, K)``.
    target : int
        Class c.

    Returns
    -------
    Tensor
        ``(N,)``.
    """
    if outputs.shape[1] < 2:
        raise ValueError("the model has one class, so there is nothing that it could say instead")
    others = outputs.float().clone()
    others[:, target] = -torch.inf
    return outputs[:, target].float() - others.logsumexp(dim=1)


#: Cells a side on which maps are compared: noise from pixel to pixel is no disagreement.
CELLS = 14


def coarse(maps: Tensor) -> Tensor:
    """Maps ``(N, H, W)`` as means of at most `CELLS` × `CELLS` cells."""
    height, width = (min(CELLS, side) for side in maps.shape[1:])
    return F.adaptive_avg_pool2d(maps[:, None].float(), (height, width))[:, 0]


def agreement(maps: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    """Rank correlation of each pair of maps ``(H, W)``, over `coarse` cells; NaN for a flat one."""
    cells = {name: coarse(one[None]) for name, one in maps.items()}
    return {
        a: {b: rank_correlation(cells[a], cells[b]).item() for b in cells if b != a} for a in cells
    }


def stability(
    explain: Callable[[Tensor], Tensor],
    inputs: Tensor,
    own: Tensor,
    *,
    noise: float = 0.02,
    seed: int = 0,
) -> dict[str, float]:
    """Rank correlation of a map with itself after changes that nobody would see.

    Parameters
    ----------
    explain : callable
        From pictures ``(1, C, H, W)`` to maps ``(1, H, W)``, for a fixed class.
    inputs : Tensor
        ``(1, C, H, W)``.
    own : Tensor
        ``explain(inputs)``.
    noise : float
        Standard deviation, as a share of the picture's range.
    seed : int
        Of a generator of its own.

    Returns
    -------
    dict of str to float
        ``"noise"``, and ``"shift"`` by one pixel to the right, the map shifted back.

    Notes
    -----
    Cost: that of two maps.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(inputs.shape, generator=generator).to(inputs)
    noisy = inputs + noise * (inputs.max() - inputs.min()) * draws
    shifted = F.pad(inputs, (1, 0, 0, 0), mode="replicate")[..., :-1]
    back = F.pad(explain(shifted)[..., 1:], (0, 1, 0, 0), mode="replicate")
    return {
        "noise": rank_correlation(coarse(own), coarse(explain(noisy))).item(),
        "shift": rank_correlation(coarse(own), coarse(back)).item(),
    }


def smoothed(maps: Tensor) -> Tensor:
    """Maps of pixels ``(N, H, W)`` as areas: under a Gaussian of a 32nd of the side."""
    return softened(maps[:, None].float(), min(maps.shape[1:]) / 32)[:, 0]
