# ruff: noqa: D103 (what is said about a wrong function stands beside it in the catalogue)
"""Exercises of chapter 3: Integrated Gradients, and the gap that shows whether it adds up.

Each exercise is a block: the right function under its exercise's name, the cases, the mistakes,
the hints. `EXERCISES` at the end is what `check` finds. What chapter 3 asks about integrals is in
`xai_lab.checks.sums`, about where a path starts in `baselines`, about text in `words`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from xai_lab.checks.exercise import ATTACHED, Case, Exercise, catalogue
from xai_lab.checks.saliency import LEFT, WRONG_SCORE, gradient
from xai_lab.checks.saliency import saliency as gradient_at
from xai_lab.checks.small import (
    WHERE,
    classes,
    on_device,
    own_scores,
    random,
    seeded,
    spread_over,
    with_gradients,
)
from xai_lab.checks.sums import along, evenly, interpolate, legendre

# ---------------------------------------------------------------- 1. Integrated Gradients


def integrated_gradients(
    model: nn.Module, x: Tensor, baseline: Tensor, target: Tensor, steps: int = 32
) -> Tensor:
    """(x − x′) times the mean gradient at the midpoints of the path."""
    return collected()(model, x, baseline, target, steps)


def between(x: Tensor, b: Tensor, a: Tensor) -> Tensor:
    return b + a * (x - b)


def collected(
    points: Callable[[int], Tensor] = lambda n: evenly(n, 0.5),
    place: Callable[[Tensor, Tensor, Tensor], Tensor] = between,
    at: Callable = gradient_at,
    mean: Callable[[Tensor, Tensor, int], Tensor] = lambda g, a, n: g.sum(0) / n,
    finish: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda g, x, b: (x - b) * g,
) -> Callable:
    """Integrated Gradients with one ingredient exchanged; all in their place, the right ones.

    ``points(steps)`` are the α, ``place(x, x′, α)`` is where ``at(model, point, target)`` takes the
    gradient, ``mean(gradients, α, steps)`` sums them, ``finish(mean, x, x′)`` multiplies.
    """

    def function(model, x, baseline, target, steps=32):
        x, b = x.detach(), baseline.detach()
        alphas = points(steps).to(x)
        g = torch.stack([at(model, place(x, b, a), target) for a in alphas])
        return finish(mean(g, alphas, steps), x, b)

    return function


def by_rule(nodes: Callable[[int], tuple[Tensor, Tensor]]) -> Callable:
    """Integrated Gradients by another rule's points and weights."""
    return collected(
        points=lambda n: nodes(n)[0],
        mean=lambda g, a, n: torch.einsum("j,j...->...", nodes(n)[1].to(g), g),
    )


def ends_half(n: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the trapezoid rule with n points."""
    w = torch.full((n,), 1 / (n - 1))
    w[0] = w[-1] = 0.5 / (n - 1)
    return torch.linspace(0, 1, n), w


def walked_on(model, x, baseline, target, steps=32):
    z, total = baseline, torch.zeros_like(x)
    for a in evenly(steps, 0.5).to(x):
        z = between(x, z, a)
        total = total + gradient_at(model, z, target)
    return (x - baseline) * total / steps


def with_path(change: Callable, way: bool = True) -> Callable:
    """Mean of a function of (model, x, x′, target, α) at the midpoints, times the way or not."""

    def function(model, x, baseline, target, steps=32):
        x, b = x.detach(), baseline.detach()
        parts = [change(model, x, b, target, a) for a in evenly(steps, 0.5).to(x)]
        return ((x - b) if way else 1) * torch.stack(parts).mean(0)

    return function


def with_target(choose: Callable) -> Callable:
    """Integrated Gradients of a class that the function chooses itself."""

    def function(model, x, baseline, target, steps=32):
        with torch.no_grad():
            chosen = choose(model, x.detach(), baseline.detach(), target)
        return integrated_gradients(model, x, baseline, chosen, steps)

    return function


def from_nothing(finish: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable:
    """Integrated Gradients on the path from zeros, whatever the baseline."""
    return collected(place=lambda x, b, a: a * x, finish=finish)


def mixed_up(arrange: Callable[[Tensor, int], Tensor], back: Callable = lambda g, n: g.reshape(
        n, -1, *g.shape[1:])) -> Callable:  # fmt: skip
    """Integrated Gradients with all points in one batch, the targets in another order."""

    def function(model, x, baseline, target, steps=32):
        x, b = x.detach(), baseline.detach()
        points = interpolate(x, b, evenly(steps, 0.5).to(x)).flatten(0, 1)
        g = gradient_at(model, points, arrange(target, steps))
        return (x - b) * back(g, steps).mean(0)

    return function


def left_asking(model, x, baseline, target, steps=32):
    result = integrated_gradients(model, x, baseline, target, steps)
    x.requires_grad_()
    return result


def left_attached(model, x, baseline, target, steps=32):
    return integrated_gradients(model, x, baseline, target, steps).requires_grad_()


def written_into_baseline(model, x, baseline, target, steps=32):
    result = integrated_gradients(model, x, baseline, target, steps)
    baseline += 0.5 / steps * (x - baseline)
    return result


def fixed_steps(count: int) -> Callable:
    """Integrated Gradients with so many steps, whatever is asked for."""
    return lambda model, x, baseline, target, steps=32: integrated_gradients(
        model, x, baseline, target, count
    )


def built(size: int, last: type[nn.Module] = nn.Tanh) -> nn.Module:
    """Network for inputs of so many numbers, bent everywhere or in places."""
    return seeded(7, nn.Flatten(), nn.Linear(size, 5), last(), nn.Linear(5, 4), nn.Tanh(),
                  nn.Linear(4, 4))  # fmt: skip


def walk(*shape: int, seed: int, **more: object) -> dict[str, Any]:
    """Input and baseline, near enough to zero for a network to bend between them."""
    return dict(x=0.6 * random(*shape, seed=seed), baseline=0.4 * random(*shape, seed=seed + 1),
                **more)  # fmt: skip


ANY_SHAPE = (
    "Inputs may have any number of dimensions behind the first, such as (N, tokens, D) for a "
    "sentence: write nothing that counts on four."
)
IG_CASES = (
    Case("a curved network and a batch of two",
         lambda: dict(model=built(24), **walk(2, 3, 2, 4, seed=1, target=classes(2, 0), steps=5))),
    Case("a ReLU network with frozen weights",
         lambda: dict(model=built(24, nn.ReLU).requires_grad_(False),
                      **walk(3, 2, 3, 4, seed=3, target=classes(3, 1, 0), steps=4))),
    Case("a network in the middle of its training, and three steps",
         lambda: dict(model=with_gradients(built(16)),
                      **walk(2, 1, 4, 4, seed=5, target=classes(1, 3), steps=3))),
    Case("inputs of another shape, (N, tokens, D)",
         lambda: dict(model=built(15), **walk(2, 5, 3, seed=7, target=classes(0, 2), steps=6)),
         alone=ANY_SHAPE),
    Case(f"a batch of one, as many steps as by default{WHERE}",
         lambda: on_device(dict(model=built(18), **walk(1, 2, 3, 3, seed=9, target=classes(2))))),
)  # fmt: skip

WHICH_CLASS = (
    " The class stays the same on the whole path, or the parts do not add up to anything: "
    "use `target`."
)


def of_channels(change: Callable[[Tensor], Tensor]) -> Callable:
    """Right result with something done to dimension 1."""
    return collected(finish=lambda g, x, b: change((x - b) * g))


RESULT_IS_SIGNED = "Every number of x has a signed part of its own; merge them when you draw."
INTEGRATED_GRADIENTS = Exercise(
    reference=integrated_gradients,
    cases=IG_CASES,
    mistakes=catalogue(
        without_difference=(collected(finish=lambda g, x, b: g),
            "(x − x′) is missing: that is the mean gradient along the path. Multiplied by the way "
            "that each pixel went it becomes a part of the score."),
        wrong_sign=(collected(finish=lambda g, x, b: (b - x) * g),
            "The sign is turned round: you multiplied by x′ − x, or went from the input to the "
            "baseline. The way goes from x′ to x, and the factor is x − x′."),
        times_x=(collected(finish=lambda g, x, b: x * g),
            "You multiplied by x alone. What counts is the way from the baseline, x − x′; the two "
            "are the same only for a baseline of zeros."),
        times_absolute=(collected(finish=lambda g, x, b: (x - b).abs() * g),
            "You multiplied by |x − x′|. A pixel that got darker on its way counts with the other "
            "sign: x − x′."),
        times_squared=(collected(finish=lambda g, x, b: (x - b) ** 2 * g),
            "(x − x′) is in it twice. A slope along the path has it already; a gradient by the "
            "input needs it once."),
        times_baseline=(collected(finish=lambda g, x, b: b * g),
            "You multiplied by the baseline; the formula has the way from it to the input, "
            "x − x′."),
        times_alpha_difference=(collected(mean=lambda g, a, n: (g * along(a, g[0])).mean(0)),
            "Each gradient was multiplied by its α. Either you differentiated by x, through the "
            "line that makes the point (the point moves only α as far as x), or you multiplied by "
            "the way gone so far. Make the point a leaf of its own, "
            "`point.detach().requires_grad_()`, and differentiate by *it*."),
        by_the_baseline=(collected(mean=lambda g, a, n: (g * (1 - along(a, g[0]))).mean(0)),
            "Each gradient was multiplied by 1 − α: you differentiated by the baseline, or the "
            "weights run backwards. Differentiate by the point itself, "
            "`point.detach().requires_grad_()`."),
        both_ends=(collected(points=lambda n: torch.linspace(0, 1, n)),
            "`linspace(0, 1, n)` includes both ends, so its n points do not stand for n intervals: "
            "the ends weigh twice what they should. The midpoints are (j + ½)/n."),
        both_ends_and_n_intervals=(collected(points=lambda n: torch.linspace(0, 1, n + 1)),
            "`linspace(0, 1, n + 1)` has n + 1 points and you divided by n, so the weights sum to "
            "more than 1. The midpoints are (j + ½)/n, n of them."),
        both_ends_mean=(collected(points=lambda n: torch.linspace(0, 1, n + 1),
                                  mean=lambda g, a, n: g.mean(0)),
            "You took n + 1 points with both ends, and their mean: the ends weigh as much as the "
            "others and stand for half as much. The midpoints are (j + ½)/n."),
        without_start=(collected(points=lambda n: torch.linspace(0, 1, n + 1)[1:]),
            "You took the right end of each interval, (j + 1)/n. The formula asks in the middle, "
            "(j + ½)/n: with as many passes the error is far smaller on a curve."),
        without_end=(collected(points=lambda n: torch.linspace(0, 1, n + 1)[:-1]),
            "You took the left end of each interval, j/n. The formula asks in the middle, "
            "(j + ½)/n: with as many passes the error is far smaller on a curve."),
        inner_points=(collected(points=lambda n: torch.linspace(0, 1, n + 2)[1:-1]),
            "Your points are j/(n + 1), the inner ones of a `linspace`. The midpoints of n "
            "intervals are half an interval from each end: (j + ½)/n."),
        midpoints_over_n_plus_one=(collected(points=lambda n: (torch.arange(n) + 0.5) / (n + 1)),
            "The points are divided by n + 1, so the path ends before x. The midpoints are "
            "(j + ½)/n."),
        midpoints_over_n_minus_one=(collected(points=lambda n: (torch.arange(n) + 0.5) / (n - 1)),
            "The points are divided by n − 1, so the path goes beyond x. The midpoints are "
            "(j + ½)/n."),
        one_too_far=(collected(points=lambda n: evenly(n, 1.5)),
            "j starts at 1, so the last point lies beyond x. With j from 0 the midpoints are "
            "(j + ½)/n."),
        half_a_step_back=(collected(points=lambda n: evenly(n, -0.5)),
            "Your points lie half a step before the left ends, the first of them before the "
            "baseline. The midpoints are (j + ½)/n, with j from 0."),
        n_minus_one_points=(collected(points=lambda n: evenly(n - 1, 0.5),
                                      mean=lambda g, a, n: g.mean(0)),
            "You took n − 1 points. There are n intervals, and each has a midpoint."),
        n_plus_one_midpoints=(collected(points=lambda n: evenly(n + 1, 0.5),
                                        mean=lambda g, a, n: g.mean(0)),
            "You took n + 1 points. There are n intervals, and each has one midpoint."),
        legendre=(by_rule(legendre),
            "Those are Gauss's nodes and weights, which are better. Here the midpoint rule is "
            "asked for; Gauss has a task of his own."),
        trapezoid=(by_rule(ends_half),
            "That is the trapezoid rule. Here the midpoint rule is asked for: one point in the "
            "middle of each interval, (j + ½)/n, all with the weight 1/n."),
        trapezoid_of_n=(by_rule(lambda n: ends_half(n + 1)),
            "That is the trapezoid rule, with n + 1 points. Here the midpoint rule is asked for: "
            "one point in the middle of each interval, (j + ½)/n."),
        not_divided=(collected(mean=lambda g, a, n: g.sum(0)),
            "You added the gradients up and did not divide by n: the map grows with the number of "
            "steps. An integral over [0, 1] is a mean."),
        divided_twice=(collected(mean=lambda g, a, n: g.mean(0) / n),
            "You divided by n twice: a mean has done it already."),
        divided_by_n_plus_one=(collected(mean=lambda g, a, n: g.sum(0) / (n + 1)),
            "You divided by n + 1. There are n points, each with the weight 1/n."),
        divided_by_n_minus_one=(collected(mean=lambda g, a, n: g.sum(0) / (n - 1)),
            "You divided by n − 1. There are n points, each with the weight 1/n."),
        overwritten=(collected(mean=lambda g, a, n: g[-1]),
            "Only the gradient at the last point is left. In a loop, each one is added: `+=` "
            "where `=` stands."),
        overwritten_and_divided=(collected(mean=lambda g, a, n: g[-1] / n),
            "Only the gradient at the last point is left, divided by n. In a loop, each one is "
            "added: `+=` where `=` stands."),
        only_first_point=(collected(mean=lambda g, a, n: g[0]),
            "Only the gradient at the first point is left. Is the `return` inside the loop?"),
        first_point_divided=(collected(mean=lambda g, a, n: g[0] / n),
            "Only the gradient at the first point is left, divided by n. Is the `return` inside "
            "the loop?"),
        accumulated=(collected(mean=lambda g, a, n: g.cumsum(0).mean(0)),
            "The gradients were counted again and again: `.backward()` *adds* to `.grad`, and you "
            "added that sum at every step. `torch.autograd.grad` returns each by itself (or set "
            "`.grad` to None before each)."),
        at_x=(collected(place=lambda x, b, a: x),
            "Every gradient was taken at x, so this is gradient × (x − x′) and no integral. The "
            "model must be run at the points of the path."),
        at_the_baseline=(collected(place=lambda x, b, a: b),
            "Every gradient was taken at the baseline. The model must be run at the points of the "
            "path."),
        at_the_middle=(collected(place=lambda x, b, a: between(x, b, 0.5 + 0 * a)),
            "You took the gradient at a single point, half way (or averaged the points and not the "
            "gradients). The integral needs one in each of the n intervals."),
        only_the_way=(collected(place=lambda x, b, a: a * (x - b)),
            "You ran the model on α(x − x′), the way gone so far. The path begins at the baseline: "
            "x′ + α(x − x′)."),
        added_whole=(collected(place=lambda x, b, a: b + a * x),
            "You ran the model on x′ + αx, which ends at x′ + x. The path is x′ + α(x − x′)."),
        starts_at_x=(collected(place=lambda x, b, a: x + a * (x - b)),
            "Your path starts at x and leads away from the baseline: it is x′ + α(x − x′)."),
        from_zero=(from_nothing(lambda g, x, b: (x - b) * g),
            "You ran the model on αx, the path from zeros. The path begins at the baseline that "
            "is given: x′ + α(x − x′)."),
        baseline_ignored=(from_nothing(lambda g, x, b: x * g),
            "The baseline has no part in it: you integrated from zeros to x. It stands in two "
            "places, in the path and in the factor x − x′."),
        baseline_of_ones=(collected(place=lambda x, b, a: between(x, torch.ones_like(x), a),
                                    finish=lambda g, x, b: (x - 1) * g),
            "You made a baseline of ones of your own; use the one that is given."),
        first_baseline=(collected(place=lambda x, b, a: between(x, b[:1], a),
                                  finish=lambda g, x, b: (x - b[:1]) * g),
            "Every sample got the first one's baseline. Row n of `baseline` belongs to sample n."),
        walked_on=(walked_on,
            "Each point starts where the last one ended: the baseline was overwritten on the way. "
            "Every point is x′ + α(x − x′), measured from x′ itself."),
        not_scaled=(collected(points=lambda n: torch.arange(n) + 0.5),
            "Your α are j + ½, far beyond the input. α runs from 0 to 1: (j + ½)/n."),
        ends_cut_off=(collected(points=lambda n: torch.linspace(0, 1, n)[1:-1]),
            "You took the inner points of a `linspace`, n − 2 of them, and divided by n. The "
            "midpoints are (j + ½)/n, n of them."),
        times_sum=(collected(finish=lambda g, x, b: (x + b) * g),
            "You multiplied by x + x′; the way from the baseline to the input is x − x′."),
        times_sign=(collected(finish=lambda g, x, b: (x - b).sign() * g),
            "Only the sign of x − x′ is left. A pixel that went far has the larger part."),
        times_spread=(collected(finish=lambda g, x, b: (x - b) / (x - b).std() * g),
            "You divided x − x′ by its spread. Leave it as it is, or the parts do not add up."),
        divided_by_the_way=(collected(finish=lambda g, x, b: g / (x - b)),
            "You divided by x − x′; the gradient is multiplied by it."),
        times_the_point=(with_path(lambda m, x, b, t, a: gradient_at(m, between(x, b, a), t) *
                                   between(x, b, a), way=False),
            "Each gradient was multiplied by its own point of the path (gradient × input, along "
            "the way). The factor is the whole way, x − x′, once."),
        of_scores=(with_path(lambda m, x, b, t, a: spread_over(
                own_scores(m(between(x, b, a)), t), x).expand_as(x).detach()),
            "You averaged the *scores* along the path. It is the gradients, ∂S/∂x at each point, "
            "that are averaged."),
        always_class_0=(with_target(lambda m, x, b, t: torch.zeros_like(t)),
            "You explained class 0 in every sample; use `target`."),
        positive_gradients=(collected(mean=lambda g, a, n: g.relu().mean(0)),
            "You cut the negative gradients off. Gradients of both signs belong in the mean."),
        signs_of_gradients=(collected(mean=lambda g, a, n: g.sign().mean(0)),
            "Only the signs of the gradients are left. Their sizes belong in the mean."),
        unit_gradients=(collected(mean=lambda g, a, n: (g / spread_over(
                g.flatten(0, 1).flatten(1).norm(dim=1), g.flatten(0, 1)).reshape(
                *g.shape[:2], *[1] * (g.ndim - 2))).mean(0)),
            "You brought every gradient to the length 1. Where the score is flat the gradient is "
            "small, and has to stay so, or the parts do not add up."),
        largest_gradient=(collected(mean=lambda g, a, n: g.amax(0)),
            "You took the largest gradient along the path; the integral is their mean."),
        median_gradient=(collected(mean=lambda g, a, n: g.median(0).values),
            "You took the median along the path; the integral is the mean."),
        weighted_by_alpha=(collected(mean=lambda g, a, n: torch.einsum(
                "j,j...->...", a / a.sum(), g)),
            "You weighed the gradients by α. All intervals are equally wide: 1/n each."),
        absolute_gradients=(collected(mean=lambda g, a, n: g.abs().mean(0)),
            "You averaged |∇S| along the path. Gradients of both signs must be allowed to cancel, "
            "or nothing adds up; take absolute values when you draw."),
        absolute=(collected(finish=lambda g, x, b: ((x - b) * g).abs()),
            "You took the absolute value of the result. Its sign says whether a pixel raised or "
            "lowered the score, and without it the parts do not add up. Take it when you draw."),
        positive=(collected(finish=lambda g, x, b: ((x - b) * g).relu()),
            "You cut the negative parts off. What lowered the score belongs in the sum, or the "
            "parts do not add up."),
        squared_gradients=(collected(mean=lambda g, a, n: (g**2).mean(0)),
            "You averaged the squares of the gradients; the integral has them as they are."),
        rechosen=(collected(at=lambda m, z, t: gradient(lambda z: m(z).amax(1), z)),
            "You explained the highest score at each point, whichever class that was: the target "
            "was chosen anew along the path." + WHICH_CLASS),
        of_the_prediction=(with_target(lambda m, x, b, t: m(x).argmax(1)),
            "You explained the class that is predicted for x, and were told which class to "
            "explain." + WHICH_CLASS),
        of_the_baselines_prediction=(with_target(lambda m, x, b, t: m(b).argmax(1)),
            "You explained the class that is predicted for the baseline, which is no picture of "
            "anything." + WHICH_CLASS),
        **{m.name: (collected(at=m.function), m.sentence) for m in WRONG_SCORE
           if m.name not in ("of_the_predicted_class", "of_minus_the_score")},
        summed_channels=(of_channels(lambda t: t.sum(1)),
            "You added up dimension 1 (the channels, or the tokens). " + RESULT_IS_SIGNED),
        summed_channels_kept=(of_channels(lambda t: t.sum(1, keepdim=True)),
            "You added up dimension 1 (the channels, or the tokens). " + RESULT_IS_SIGNED),
        averaged_channels=(of_channels(lambda t: t.mean(1)),
            "You averaged over dimension 1 (the channels, or the tokens). " + RESULT_IS_SIGNED),
        averaged_channels_kept=(of_channels(lambda t: t.mean(1, keepdim=True)),
            "You averaged over dimension 1 (the channels, or the tokens). " + RESULT_IS_SIGNED),
        already_a_picture=(of_channels(lambda t: t.abs().amax(1)),
            "That is the picture already, the largest absolute value over the channels. "
            + RESULT_IS_SIGNED),
        absolute_summed=(of_channels(lambda t: t.abs().sum(1)),
            "You added up absolute values over dimension 1. " + RESULT_IS_SIGNED),
        gradient_summed_too_early=(collected(finish=lambda g, x, b: (x - b) * g.sum(1, True)),
            "You added the gradient up over the channels *before* multiplying. Each channel has a "
            "way of its own, x − x′: multiply first, and add up when you draw."),
        gradient_averaged_too_early=(collected(finish=lambda g, x, b: (x - b) * g.mean(1, True)),
            "You averaged the gradient over the channels *before* multiplying. Each channel has a "
            "way of its own, x − x′: multiply first, and merge when you draw."),
        difference_summed_too_early=(collected(finish=lambda g, x, b: (x - b).sum(1, True) * g),
            "You added x − x′ up over the channels before multiplying. Multiply number by "
            "number, and add up when you draw."),
        products_summed_too_early=(collected(
                finish=lambda g, x, b: (x - b).sum(1) * g.sum(1)),
            "You added up the channels of both before multiplying. Multiply number by number, and "
            "add up when you draw."),
        over_the_batch=(collected(finish=lambda g, x, b: (x - b) * g.mean(0, keepdim=True)),
            "The gradients were averaged over the batch as well as over the path. Each sample "
            "keeps its own: only the dimension of the α goes."),
        summed_over_the_batch=(collected(finish=lambda g, x, b: (x - b) * g.sum(0, keepdim=True)),
            "The gradients were added up over the batch as well. Each sample keeps its own: only "
            "the dimension of the α goes."),
        first_sample=(collected(finish=lambda g, x, b: ((x - b) * g)[0]),
            "Only the first sample came back. Keep the batch, in the shape of x."),
        numbers_summed=(collected(finish=lambda g, x, b: ((x - b) * g).flatten(1).sum(1)),
            "You added up each sample's parts. That is what they explain in all; the parts "
            "themselves are asked for, in the shape of x."),
        targets_in_another_order=(mixed_up(lambda t, n: t.repeat_interleave(n)),
            "All points are in one batch, and the targets stand in another order than the points. "
            "Where the points come α by α, (n, N, …), the targets are `target.repeat(n)`; "
            "`repeat_interleave` is for points sample by sample, (N, n, …)."),
        points_in_another_order=(mixed_up(lambda t, n: t.repeat(n),
                lambda g, n: g.reshape(-1, n, *g.shape[1:]).movedim(1, 0)),
            "All points are in one batch, and the gradients were sorted back in another order than "
            "the points went in: samples and α are mixed up. What came α by α is "
            "`reshape(n, N, …)`, then the mean over dimension 0."),
        times_midpoints=(with_path(lambda m, x, b, t, a: a * gradient_at(m, a * x, t)),
            "You differentiated by x through αx: the path from zeros, and each gradient α times "
            "too small. Make the point x′ + α(x − x′) a leaf of its own and differentiate by it."),
        **{f"always_{n}": (fixed_steps(n), f"You always take {n} steps; use `steps`.")
           for n in (10, 20, 25, 32, 50, 100)},
        normalised=(collected(finish=lambda g, x, b: (p := (x - b) * g) / spread_over(
                p.abs().flatten(1).amax(1), p)),
            "You divided each map by its largest value. Then the parts do not add up to the "
            "score; normalising belongs to the picture."),
        rescaled_to_add_up=(lambda model, x, baseline, target, steps=32: made_to_fit(
                model, x, baseline, target, steps),
            "You stretched the parts until they add up. The sum is then right by force, and tells "
            "nothing any more about how well the integral was taken: leave the gap to be seen."),
        left_behind=(collected(at=LEFT[0].function),
            "The values are right, but `.backward()` also filled the `.grad` of every weight, "
            "which costs time and stays there. `torch.autograd.grad(score, point)` computes what "
            "you ask and leaves nothing."),
        wiped=(collected(at=LEFT[1].function),
            "The values are right, but `zero_grad()` wiped the weights' gradients, also those that "
            "were there before you came. `torch.autograd.grad(score, point)` leaves nothing to "
            "wipe."),
        callers_x=(left_asking,
            "The values are right, but the caller's x now has `requires_grad=True`. Make the "
            "points of the path leaves, and leave x alone."),
        still_attached=(left_attached, "The values are right, but " + ATTACHED),
        written_into=(written_into_baseline,
            "The values are right, but `baseline` was written into: an in-place `+=` walked the "
            "caller's own tensor along the path. Make a new one for each point."),
    ),
    hints=(
        "At each of n points of the path you need a gradient, as in chapter 1. What is their mean "
        "multiplied by?",
        "For j = 0 … n − 1: the point x′ + (j + ½)/n · (x − x′), as a leaf "
        "(`.detach().requires_grad_()`); each sample's own logit, summed over the batch; "
        "`torch.autograd.grad` by the point. Add the gradients up, divide by n.",
        "`for a in (torch.arange(steps) + 0.5) / steps:` `z = (baseline + a * (x - baseline))"
        ".detach().requires_grad_()`, `S = model(z).gather(1, target[:, None]).sum()`, "
        "`total += torch.autograd.grad(S, z)[0]`. Then `(x - baseline) * total / steps`.",
    ),
)  # fmt: skip


def made_to_fit(model, x, baseline, target, steps):
    phi = integrated_gradients(model, x, baseline, target, steps)
    with torch.no_grad():
        rise = own_scores(model(x), target) - own_scores(model(baseline), target)
    return phi * spread_over(rise / phi.flatten(1).sum(1), phi)


# ------------------------------------------------------------------------------- 2. the gap


def gap_of(model: nn.Module, phi: Tensor, x: Tensor, baseline: Tensor, target: Tensor) -> Tensor:
    """ΣΦ − (S(x) − S(x′)), one number a sample."""
    return gap_from(lambda p, s, b: p - (s - b))(model, phi, x, baseline, target)


def gap_from(
    formula: Callable[[Tensor, Tensor, Tensor], Tensor],
    total: Callable[[Tensor], Tensor] = lambda phi: phi.flatten(1).sum(1),
    score: Callable[[Tensor, Tensor], Tensor] = own_scores,
    start: Callable[[Tensor], Tensor] = lambda b: b,
) -> Callable:
    """Gap from ΣΦ, S(x) and S(x′), with one of them exchanged."""

    def function(model, phi, x, baseline, target):
        with torch.no_grad():
            s, b = score(model(x), target), score(model(start(baseline)), target)
        return formula(total(phi), s, b)

    return function


def right_gap(p: Tensor, s: Tensor, b: Tensor) -> Tensor:
    return p - (s - b)


def baselines_own_class(model, phi, x, baseline, target):
    with torch.no_grad():
        return phi.flatten(1).sum(1) - own_scores(model(x), target) + model(baseline).amax(1)


def of_the_difference(model, phi, x, baseline, target):
    with torch.no_grad():
        return phi.flatten(1).sum(1) - own_scores(model(x - baseline), target)


def multiplied_again(model, phi, x, baseline, target):
    return gap_of(model, phi * (x - baseline), x, baseline, target)


def of_the_inputs_prediction(model, phi, x, baseline, target):
    with torch.no_grad():
        return gap_of(model, phi, x, baseline, model(x).argmax(1))


def every_class(model, phi, x, baseline, target):
    with torch.no_grad():
        return phi.flatten(1).sum(1)[:, None] - (model(x) - model(baseline))


def asked(*shape: int, seed: int, model: nn.Module, target: Tensor) -> dict[str, Any]:
    """Arguments of `gap_of`, with parts that do not add up."""
    return dict(model=model, phi=random(*shape, seed=seed + 2),
                **walk(*shape, seed=seed, target=target))  # fmt: skip


IN_ORDER = "The gap is ΣΦ − (S(x) − S(x′))"
TABLE = next(m.sentence for m in WRONG_SCORE if m.name == "of_all_targets")
GAP_OF = Exercise(
    reference=gap_of,
    cases=(
        Case("a batch of two",
             lambda: asked(2, 3, 2, 4, seed=21, model=built(24), target=classes(2, 0))),
        Case("a ReLU network and a batch of three, in the middle of its training",
             lambda: asked(3, 2, 3, 4, seed=24, model=with_gradients(built(24, nn.ReLU)),
                           target=classes(3, 1, 0))),
        Case("inputs of another shape, (N, tokens, D)",
             lambda: asked(2, 5, 3, seed=27, model=built(15), target=classes(0, 3)),
             alone=ANY_SHAPE),
        Case(f"a batch of one{WHERE}",
             lambda: on_device(asked(1, 2, 3, 3, seed=30, model=built(18), target=classes(2)))),
    ),
    mistakes=catalogue(
        turned_round=(gap_from(lambda p, s, b: s - b - p),
            "It is the right number with the sign turned round. " + IN_ORDER + ": positive where "
            "the map promises too much."),
        baseline_forgotten=(gap_from(lambda p, s, b: p - s),
            "You compared ΣΦ with S(x) alone. The parts explain the *rise* from the baseline's "
            "score, which need not be zero: subtract S(x′)."),
        baseline_only=(gap_from(lambda p, s, b: p - b),
            "You compared ΣΦ with S(x′) alone. The parts explain the rise from there to S(x)."),
        added=(gap_from(lambda p, s, b: p - s - b),
            "S(x′) has the wrong sign: ΣΦ − (S(x) − S(x′)) is ΣΦ − S(x) *plus* S(x′). Look at the "
            "brackets."),
        scores_exchanged=(gap_from(lambda p, s, b: p - (b - s)),
            "S(x) and S(x′) are exchanged. The rise goes from the baseline *to* x: S(x) − S(x′)."),
        sum_of_three=(gap_from(lambda p, s, b: p + s + b), IN_ORDER + ": two minus signs."),
        sum_only=(gap_from(lambda p, s, b: p),
            "That is ΣΦ. Subtract what it should be: S(x) − S(x′)."),
        rise_only=(gap_from(lambda p, s, b: s - b),
            "That is S(x) − S(x′). It is subtracted from ΣΦ."),
        absolute=(gap_from(lambda p, s, b: right_gap(p, s, b).abs()),
            "You took the absolute value. The sign says whether the map promises too much or too "
            "little."),
        squared=(gap_from(lambda p, s, b: right_gap(p, s, b) ** 2),
            "You squared the gap; leave it in the units of the score."),
        relative=(gap_from(lambda p, s, b: right_gap(p, s, b) / (s - b)),
            "You divided by the rise; leave the gap in the units of the score."),
        relative_to_size=(gap_from(lambda p, s, b: right_gap(p, s, b) / (s - b).abs()),
            "You divided by the rise; leave the gap in the units of the score."),
        absolute_and_relative=(gap_from(lambda p, s, b: (right_gap(p, s, b) / (s - b)).abs()),
            "You made the gap a share of the rise, without a sign. Leave the sign, and the units "
            "of the score."),
        relative_to_the_score=(gap_from(lambda p, s, b: right_gap(p, s, b) / s),
            "You divided by the score; leave the gap in its units."),
        sizes=(gap_from(lambda p, s, b: p.abs() - (s - b).abs()),
            "You compared sizes, |ΣΦ| and |S(x) − S(x′)|. Two of opposite sign would pass: keep "
            "the signs."),
        multiplied_again=(multiplied_again,
            "You multiplied Φ by x − x′. It has that factor already: add its parts up as they "
            "are."),
        rise_of_the_batch=(gap_from(lambda p, s, b: p - (s - b).sum()),
            "You added up the rises of the whole batch. Each sample has its own."),
        mean_rise_of_the_batch=(gap_from(lambda p, s, b: p - (s - b).mean()),
            "You averaged the rises of the whole batch. Each sample has its own."),
        of_the_inputs_prediction=(of_the_inputs_prediction,
            "You used the class that is predicted for x, at both ends. Φ explains `target`."),
        sigmoids=(gap_from(right_gap, score=lambda y, t: own_scores(y.sigmoid(), t)),
            "You put a sigmoid on the scores; Φ explains the logit, the model's output as it is."),
        every_class=(every_class,
            "You subtracted the rise of every class, an (N, classes) table. S is the score of "
            "`target`: `.gather(1, target[:, None])[:, 0]`."),
        first_row=(gap_from(right_gap, score=lambda y, t: y[0, t]),
            "All scores were taken from the first row, `[0, target]`. Row n belongs to sample n: "
            "`.gather(1, target[:, None])[:, 0]`."),
        ratio=(gap_from(lambda p, s, b: p / (s - b)),
            "You divided the two; the gap is their difference."),
        absolute_sum=(gap_from(right_gap, total=lambda phi: phi.abs().flatten(1).sum(1)),
            "You summed |Φ|. What speaks for and what speaks against must be allowed to cancel: "
            "sum the signed parts."),
        sum_without_sign=(gap_from(right_gap, total=lambda phi: phi.flatten(1).sum(1).abs()),
            "You took |ΣΦ|. If the score falls on the way, the parts sum to something negative: "
            "keep the sign."),
        positive_sum=(gap_from(right_gap, total=lambda phi: phi.relu().flatten(1).sum(1)),
            "You summed the positive parts only; what lowers the score counts too."),
        mean_for_sum=(gap_from(right_gap, total=lambda phi: phi.flatten(1).mean(1)),
            "You averaged Φ. Contributions add up: it is their sum."),
        length=(gap_from(right_gap, total=lambda phi: phi.flatten(1).norm(dim=1)),
            "You took the length of Φ (its norm). Contributions add up, with their signs."),
        largest=(gap_from(right_gap, total=lambda phi: phi.flatten(1).amax(1)),
            "You took the largest part; the sum of all of them is compared."),
        of_the_batch=(gap_from(right_gap, total=lambda phi: phi.sum()),
            "Φ was summed over the whole batch. Each sample has a sum of its own: "
            "`phi.flatten(1).sum(1)`."),
        in_one_number=(lambda *a: gap_of(*a).sum(),
            "You added up the whole batch; one number a sample is wanted, (N,)."),
        mean_of_the_batch=(lambda *a: gap_of(*a).mean(),
            "You averaged over the batch; one number a sample is wanted, (N,)."),
        over_dimension_one=(gap_from(lambda p, s, b: p - spread_over(s - b, p),
                                     total=lambda phi: phi.sum(1)),
            "You summed over dimension 1 only. Every number of a sample counts: "
            "`phi.flatten(1).sum(1)`, one number a sample."),
        over_the_last_dimension=(gap_from(lambda p, s, b: p - spread_over(s - b, p),
                                          total=lambda phi: phi.sum(-1)),
            "You summed over the last dimension only. Every number of a sample counts: "
            "`phi.flatten(1).sum(1)`, one number a sample."),
        not_summed=(gap_from(lambda p, s, b: p - spread_over(s - b, p), total=lambda phi: phi),
            "Φ was not summed: `phi.flatten(1).sum(1)`, one number a sample."),
        zeros=(gap_from(right_gap, start=torch.zeros_like),
            "You took the score of zeros. The path began at `baseline`, and S(x′) is the score "
            "there."),
        ones=(gap_from(right_gap, start=torch.ones_like),
            "You took the score of ones. The path began at `baseline`, and S(x′) is the score "
            "there."),
        of_the_difference=(of_the_difference,
            "You asked for the score of x − x′, a picture that nobody meant. Two scores are "
            "subtracted, S(x) − S(x′), and not the inputs."),
        predicted=(gap_from(right_gap, score=lambda y, t: y.amax(1)),
            "You used the highest score, of whichever class, for x and for x′. Φ explains "
            "`target`: the same class in both."),
        baselines_own_class=(baselines_own_class,
            "S(x′) is the score of `target` too: you took the baseline's highest score, which is "
            "another class's."),
        probabilities=(gap_from(right_gap, score=lambda y, t: own_scores(y.softmax(1), t)),
            "You compared with probabilities; Φ explains the logit. Leave the softmax out."),
        log_probabilities=(gap_from(right_gap, score=lambda y, t: own_scores(y.log_softmax(1), t)),
            "You compared with the logarithm of probabilities; Φ explains the logit, the model's "
            "output as it is."),
        all_classes=(gap_from(right_gap, score=lambda y, t: y.sum(1)),
            "You added up the scores of all classes; S is that of `target`."),
        mean_of_classes=(gap_from(right_gap, score=lambda y, t: y.mean(1)),
            "You averaged the scores of all classes; S is that of `target`."),
        first_target=(gap_from(right_gap, score=lambda y, t: y[:, t[0]]),
            "Every sample was asked about the first one's class. `target` holds one class a "
            "sample."),
        first_score=(gap_from(right_gap, score=lambda y, t: y[0, t[0]]),
            "Every sample was compared with the first one's rise. Row n belongs to sample n."),
        table=(gap_from(right_gap, score=lambda y, t: y[:, t]), TABLE),
        table_by_rows=(gap_from(lambda p, s, b: p[:, None] - (s - b), score=lambda y, t: y[:, t]),
            TABLE),
        column=(gap_from(lambda p, s, b: right_gap(p, s, b)[:, None]),
            "The values are right, in a column (N, 1); (N,) is wanted: `[:, 0]`."),
        column_minus_row=(gap_from(lambda p, s, b: p - (s - b)[:, None]),
            "You subtracted an (N, 1) from an (N,), which makes an (N, N) table. Take the scores "
            "as (N,): `.gather(1, target[:, None])[:, 0]`."),
        still_attached=(lambda *a: gap_of(*a).requires_grad_(),
            "The values are right, but " + ATTACHED),
    ),
    hints=(
        "Three numbers for each sample: the sum of its parts, and its class's score at both ends "
        "of the path.",
        "Sum over everything but the batch, `.flatten(1).sum(1)`, and the same class at both ends: "
        "`model(…).gather(1, target[:, None])[:, 0]`, under `torch.no_grad()`.",
        "`S = lambda z: model(z).gather(1, target[:, None])[:, 0]`, then, in a block "
        "`with torch.no_grad():`, `return phi.flatten(1).sum(1) - (S(x) - S(baseline))`.",
    ),
)  # fmt: skip


EXERCISES = (INTEGRATED_GRADIENTS, GAP_OF)
