"""Integrated Gradients: the gradient collected along a path from nothing to the input.

Read `integrated_gradients`, then `fixed` and `adaptive`, the two ways to take the integral: with a
number of steps, or until the parts add up. `path_integral` returns what was seen on the way as
well. Where a path starts is decided in `xai_lab.baselines`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from xai_lab.baselines import Baseline, Normalisation, baselines
from xai_lab.core import (
    Model,
    Target,
    check_attribution,
    check_count,
    check_inputs,
    class_scores,
    in_batches,
    per_sample,
    predict,
    taken,
    untouched,
)
from xai_lab.gradients import score_and_gradient

Rule: TypeAlias = Literal["gauss-legendre", "midpoint", "left", "right", "trapezoid"]
#: From points α of a path ``(n,)`` to scores ``(n,)``, slopes ``(n,)``, gradients ``(n, …)``.
Look: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
#: Points α of a path, the scores and the slopes there.
Path: TypeAlias = tuple[Tensor, Tensor, Tensor]


def integrated_gradients(
    model: Model,
    inputs: Tensor,
    target: Target = None,
    *,
    baseline: Baseline = "black",
    normalisation: Normalisation | None = None,
    steps: int = 48,
    rule: Rule = "gauss-legendre",
    tol: float | None = None,
    most: int = 200,
    samples: int = 8,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
) -> Tensor:
    r"""Integrated Gradients: what each input contributed on the way from the baseline to x.

    .. math:: \Phi_i = (x_i - x'_i) \int_0^1
        \frac{\partial S}{\partial x_i}\bigl(x' + \alpha (x - x')\bigr) \, d\alpha

    The parts add up to what is to be explained: ΣΦ = S(x) − S(x′) (completeness). How well they do
    measures the integration, see `completeness_gap`.

    Parameters
    ----------
    model, inputs, target
        As in `xai_lab.saliency`. With ``target=None`` the class is the one predicted for x, and
        stays it along the path.
    baseline : str, Tensor or a sequence of them
        x′, see `xai_lab.baselines.baselines`: ``"black"``, ``"white"``, ``"mean"``, ``"blur"``,
        ``"noise"``, a tensor, or several, over which the attribution is averaged. With
        several that are drawn from the data this is the method of expected gradients.
    normalisation : (mean, std), optional
        Of the inputs, for a baseline by name: ``net.normalisation``.
    steps : int
        Points n on each path.
    rule : str
        Where they lie and what they weigh: ``"gauss-legendre"``, ``"midpoint"``, and for teaching
        ``"left"``, ``"right"`` and ``"trapezoid"``.
    tol : float, optional
        In place of ``steps`` and ``rule``: look closer where the parts do not add up, until the
        gap is this share of the difference, such as 0.01. A warning says if it is not reached.
    most : int
        With ``tol``, points on a path at most.
    samples, seed
        Draws of the baseline ``"noise"``.
    batch_size : int, optional
        Points on the device at once; the result does not depend on it.
    progress : bool
        Show a bar.

    Returns
    -------
    Tensor
        Φ in the inputs' shape, signed, in units of the score.

    Raises
    ------
    TypeError, ValueError
        As in `xai_lab.saliency`; for a baseline that does not fit, fewer than one step, an unknown
        rule, a tolerance that is not above zero.

    Notes
    -----
    Cost: n forward and backward passes a sample and baseline, and 2 forward passes. Memory does not
    grow with ``steps``; with ``tol`` the gradients of one path are kept.

    References
    ----------
    Sundararajan, Taly and Yan, *Axiomatic attribution for deep networks*, ICML 2017.

    Examples
    --------
    >>> S = torch.nn.Linear(2, 1, bias=False)
    >>> S.weight.data = torch.tensor([[3.0, -1.0]])
    >>> x = torch.tensor([[0.5, 0.5]])
    >>> integrated_gradients(S, x, baseline=torch.zeros(1, 2), steps=1)
    tensor([[ 1.5000, -0.5000]])
    """
    found = path_integral(
        model,
        inputs,
        target,
        baseline=baseline,
        normalisation=normalisation,
        steps=steps,
        rule=rule,
        tol=tol,
        most=most,
        samples=samples,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
    )
    tell(found, tol)
    judged = found.attribution
    if found.same:  # their zeros have been spoken of
        judged = judged.clone()
        judged[found.same] = 1
    check_attribution(judged)
    return found.attribution


@dataclass(frozen=True)
class PathIntegral:
    """Integrated Gradients with what was seen along the paths.

    Attributes
    ----------
    attribution : Tensor
        Φ in the inputs' shape.
    difference : Tensor
        S(x) − S(x′), ``(N,)``; for several baselines the mean.
    gap : Tensor
        ΣΦ − (S(x) − S(x′)), ``(N,)``.
    passes : list of int
        Forward and backward passes that each sample took.
    reached : Tensor
        Whether the gap stayed within the tolerance, ``(N,)``; without one, true.
    alphas, scores, slopes : list of Tensor
        Points α of each path in order, the scores S there, and the slopes dS/dα. Paths come sample
        by sample, and within a sample baseline by baseline.
    same : list of int
        Samples that equal their baseline.
    """

    attribution: Tensor
    difference: Tensor
    gap: Tensor
    passes: list[int]
    reached: Tensor
    alphas: list[Tensor]
    scores: list[Tensor]
    slopes: list[Tensor]
    same: list[int]


def path_integral(
    model: Model,
    inputs: Tensor,
    target: Target = None,
    *,
    baseline: Baseline = "black",
    normalisation: Normalisation | None = None,
    steps: int = 48,
    rule: Rule = "gauss-legendre",
    tol: float | None = None,
    most: int = 200,
    samples: int = 8,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
) -> PathIntegral:
    r"""Integrated Gradients, its gap, its cost, and the score along the path.

    Parameters
    ----------
    model, inputs, target, baseline, normalisation, steps, rule, tol, most, samples, seed
        As in `integrated_gradients`.
    batch_size, progress
        As in `integrated_gradients`.

    Returns
    -------
    PathIntegral
        The slopes dS/dα = Σ_i (x_i − x′_i) ∂S/∂x_i are what is integrated: their integral up to α
        is S(α) − S(0).

    Raises
    ------
    TypeError, ValueError
        As in `integrated_gradients`; nothing is warned of.

    Notes
    -----
    Cost: as `integrated_gradients`.

    References
    ----------
    Sundararajan, Taly and Yan, *Axiomatic attribution for deep networks*, ICML 2017.
    """
    check_inputs(inputs, model)
    alphas, weights = nodes(steps, rule)
    check_tolerance(tol, most)
    starts = baselines(baseline, inputs, normalisation=normalisation, samples=samples, seed=seed)
    at_x = predict(model, inputs, batch_size=batch_size)
    target = per_sample(at_x.argmax(dim=1) if target is None else target, len(inputs))
    at_x = class_scores(at_x, target).double()
    at_starts = [class_scores(predict(model, b, batch_size=batch_size), target) for b in starts]
    difference = at_x - torch.stack(at_starts).double().mean(dim=0)
    precise = torch.promote_types(inputs.dtype, torch.float32)
    seen: list[Path] = []
    passes = [0] * len(inputs)
    bar = tqdm(
        total=len(inputs) * len(starts), desc="Integrated Gradients", unit="path",
        disable=not progress,
    )  # fmt: skip
    with untouched(model, inputs), bar:
        total = torch.zeros_like(inputs, dtype=precise)
        reached = torch.ones(len(inputs), dtype=torch.bool, device=inputs.device)
        for i, x in enumerate(inputs.detach()):
            own = taken(target, torch.tensor([i], device="cpu"))
            for b in starts:
                look = along(model, x, b[i], own)
                if tol is None:
                    mean_gradient, path = fixed(look, alphas, weights, batch_size, x)
                else:
                    mean_gradient, path, within = adaptive(look, tol, most, batch_size, x)
                    reached[i] &= within
                total[i] += (x - b[i]).to(precise) * mean_gradient / len(starts)
                passes[i] += len(path[0])
                seen.append(path)
                bar.update()
    same = [i for i, x in enumerate(inputs) if all(torch.equal(x, b[i]) for b in starts)]
    return PathIntegral(
        attribution=total,
        difference=difference,
        gap=total.double().flatten(1).sum(dim=1) - difference,
        passes=passes,
        reached=reached,
        alphas=[path[0] for path in seen],
        scores=[path[1] for path in seen],
        slopes=[path[2] for path in seen],
        same=same,
    )


def tell(found: PathIntegral, tol: float | None, name: str = "sample {}") -> None:
    """Warn of gaps that stayed, and of inputs that equal their baseline."""
    several = len(found.alphas) > len(found.gap)
    for i in (~found.reached).nonzero()[:, 0].tolist():
        warnings.warn(
            f"{name.format(i)}: the gap is not below tol={tol:g}{' on every path' * several} after "
            f"{found.passes[i]} passes; it is {found.gap[i].item():+.3g} of a difference of "
            f"{found.difference[i].item():.3g}. Raise `most`, or choose a baseline with another "
            "score",
            stacklevel=3,
        )
    for i in found.same:
        warnings.warn(
            f"{name.format(i)} equals its baseline, so there is nothing to explain and its map is "
            "zero; choose another baseline",
            stacklevel=3,
        )


def along(
    model: Model, x: Tensor, b: Tensor, target: Tensor | Callable[[Tensor], Tensor] | None
) -> Look:
    """Look at the model at points of the straight line from b to x, in one pass."""

    def look(alphas: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # Between the two, and not b plus a part of the way: the ends are then exact.
        # In half precision α itself would be rounded.
        a = alphas.to(x.device, torch.promote_types(x.dtype, torch.float32))
        a = a.reshape(-1, *[1] * x.ndim)
        points = ((1 - a) * b + a * x).to(x)
        same = target.expand(len(points)) if isinstance(target, Tensor) else target
        scores, gradients = score_and_gradient(model, points, same)
        slopes = ((x - b) * gradients).double().flatten(1).sum(dim=1)
        return scores.double().cpu(), slopes.cpu(), gradients

    return look


def fixed(
    look: Look, alphas: Tensor, weights: Tensor, batch_size: int | None, x: Tensor
) -> tuple[Tensor, Path]:
    r"""Mean gradient of a path by a rule, Σ_j w_j ∇S(α_j), summed as it comes."""
    mean = torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))
    seen, weight = [], iter(weights.tolist())
    for scores, slopes, gradients in in_batches(look, alphas, batch_size, x):
        for g in gradients:
            mean += next(weight) * g
        seen.append((scores, slopes))
    scores, slopes = (torch.cat(parts) for parts in zip(*seen, strict=True))
    return mean, (alphas, scores, slopes)


def adaptive(
    look: Look, tol: float, most: int, batch_size: int | None, x: Tensor
) -> tuple[Tensor, Path, bool]:
    r"""Mean gradient of a path, looked at more closely where its parts do not add up.

    Between two neighbouring points the trapezoid gives (slope + slope′)/2 · width, and the scores
    say what it ought to be: S′ − S. The intervals with the largest difference are halved, four at a
    time, and every gradient is used again. The sum of the differences is the gap. It can be small
    by chance, so it has to be small twice, unless the points run out.
    """
    new, held = torch.linspace(0, 1, 9, dtype=torch.float64, device="cpu"), 0
    alphas = scores = slopes = new[:0]
    gradients: list[Tensor] = []
    while True:
        found = list(in_batches(look, new, batch_size, x))
        gradients += [g for _, _, batch in found for g in batch]
        alphas = torch.cat([alphas, new])
        scores = torch.cat([scores, *[s for s, _, _ in found]])
        slopes = torch.cat([slopes, *[s for _, s, _ in found]])
        order = alphas.argsort()
        a, S, slope = alphas[order], scores[order], slopes[order]
        off = a.diff() * (slope[1:] + slope[:-1]) / 2 - S.diff()
        held = held + 1 if off.sum().abs() <= tol * (S[-1] - S[0]).abs() else 0
        if held == 2 or len(a) >= most:
            break
        # The first time everywhere: an interval can look right because both ends are flat.
        worst = off.abs().argsort(descending=True, stable=True)[: 4 if len(a) > 9 else 8]
        new = ((a[1:] + a[:-1]) / 2)[worst.sort().values][: most - len(a)]
    mean = torch.zeros_like(x, dtype=torch.promote_types(x.dtype, torch.float32))
    for weight, k in zip(trapezoid(a).tolist(), order.tolist(), strict=True):
        mean += weight * gradients[k]
    return mean, (a, S, slope), held > 0


def trapezoid(alphas: Tensor) -> Tensor:
    """Weights of the trapezoid rule for points in order."""
    half = alphas.diff() / 2
    return torch.cat([half, half.new_zeros(1)]) + torch.cat([half.new_zeros(1), half])


def nodes(steps: int, rule: str) -> tuple[Tensor, Tensor]:
    r"""Points α_j in [0, 1] and weights w_j that sum to one.

    Parameters
    ----------
    steps : int
        How many, n.
    rule : str
        ``"left"``: j/n; ``"right"``: (j+1)/n; ``"midpoint"``: (j+½)/n; all with the weight 1/n.
        ``"trapezoid"``: j/(n−1), the two ends with half the weight of the others.
        ``"gauss-legendre"``: exact for polynomials up to the degree 2n − 1.

    Returns
    -------
    alphas, weights : Tensor
        ``(n,)`` each, float64, on the CPU.
    """
    check_count("steps", steps, least=2 if rule == "trapezoid" else 1)
    j = torch.arange(steps, dtype=torch.float64, device="cpu")
    even = torch.full_like(j, 1 / steps)
    if rule == "gauss-legendre":
        points, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(steps))
        return (points + 1) / 2, weights / 2
    if rule == "trapezoid":
        return j / (steps - 1), trapezoid(j / (steps - 1))
    shifts = {"left": 0.0, "midpoint": 0.5, "right": 1.0}
    if rule not in shifts:
        raise ValueError(
            f"there is no rule {rule!r}; there are gauss-legendre, {', '.join(shifts)} and "
            "trapezoid"
        )
    return (j + shifts[rule]) / steps, even


def check_tolerance(tol: float | None, most: int) -> None:
    """Refuse a tolerance that no sum can meet."""
    check_count("most", most, least=9)
    if tol is not None and not 0 < tol < float("inf"):
        raise ValueError(f"tol is {tol}, expected a share of S(x) − S(x′) above zero, such as 0.01")


def completeness_gap(
    model: Model,
    inputs: Tensor,
    attribution: Tensor,
    target: Target = None,
    *,
    baseline: Baseline = "black",
    normalisation: Normalisation | None = None,
    samples: int = 8,
    seed: int = 0,
    batch_size: int | None = None,
) -> Tensor:
    r"""What an attribution explains too much or too little, for any method.

    .. math:: \text{gap} = \sum_i \Phi_i - \bigl(S(x) - S(x')\bigr)

    Parameters
    ----------
    model, inputs, target, baseline, normalisation, samples, seed, batch_size
        As in `integrated_gradients`; for several baselines S(x′) is the mean of theirs.
    attribution : Tensor
        Φ, in the inputs' shape.

    Returns
    -------
    Tensor
        ``(N,)``, in units of the score. A small gap does not make a map right: errors cancel in a
        sum.

    Raises
    ------
    TypeError, ValueError
        As in `integrated_gradients`; for an attribution of another shape than the inputs.

    Notes
    -----
    Cost: one forward pass a sample, and one a baseline.

    References
    ----------
    Sundararajan, Taly and Yan, *Axiomatic attribution for deep networks*, ICML 2017.
    """
    check_inputs(inputs, model)
    if attribution.shape != inputs.shape:
        raise ValueError(
            f"the attribution has shape {tuple(attribution.shape)}, the inputs "
            f"{tuple(inputs.shape)}; give the method's own result, before any merging or scaling"
        )
    starts = baselines(baseline, inputs, normalisation=normalisation, samples=samples, seed=seed)
    at_x = predict(model, inputs, batch_size=batch_size)
    target = per_sample(at_x.argmax(dim=1) if target is None else target, len(inputs))
    at_starts = [class_scores(predict(model, b, batch_size=batch_size), target) for b in starts]
    rise = class_scores(at_x, target).double() - torch.stack(at_starts).double().mean(dim=0)
    return attribution.detach().double().flatten(1).sum(dim=1) - rise
