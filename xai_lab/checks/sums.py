# ruff: noqa: D103 (what is said about a wrong function stands beside it in the catalogue)
"""Exercises of chapter 3 about integrals: Riemann's sums, the points of a path, Gauss's nodes.

Each exercise is a block: the right function under its exercise's name, the cases, the mistakes,
the hints. `EXERCISES` at the end is what `check` finds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xai_lab.checks.exercise import Case, Exercise, catalogue
from xai_lab.checks.small import WHERE, on_device, random

Curve = Callable[[Any], Tensor]

# ------------------------------------------------------------------------- 1. Riemann sums

SHIFT = {"left": 0.0, "midpoint": 0.5, "right": 1.0}


def curve(formula: Callable[[Tensor], Tensor]) -> Curve:
    """Curve over α that takes a tensor of points, or one number."""
    return lambda a: formula(torch.as_tensor(a, dtype=torch.float64))


def cubic(a: Tensor) -> Tensor:
    return 1 + 4 * a**3 - 3 * a


def bent(a: Tensor) -> Tensor:
    return 5 * F.relu(a - 0.3) - 2


def steep(a: Tensor) -> Tensor:
    return 6 * torch.exp(-5 * a) + 0.5


def evenly(n: int, s: float) -> Tensor:
    """Points (j + s) / n."""
    return (torch.arange(n) + s) / n


def both_ends(n: int, _s: float) -> Tensor:
    return torch.linspace(0, 1, n)


def one_more(n: int, _s: float) -> Tensor:
    return torch.linspace(0, 1, n + 1)


def steps_of(start: float, stop: float, step: float) -> Tensor:
    """Points that `arange` counts in steps that are rounded."""
    return torch.arange(start, stop, step)


def summed(
    points: Callable[[int, float], Tensor] = evenly,
    finish: Callable[[Tensor, int], Any] = lambda v, n: v.mean(),
) -> Callable:
    """Sum over a curve with other points, or with another end."""
    return lambda f, n, rule="midpoint": finish(f(points(n, SHIFT[rule])), n)


def riemann(f: Curve, n: int, rule: str = "midpoint") -> Tensor:
    """Mean of f at n points, one in each of n intervals."""
    return f(evenly(n, SHIFT[rule])).mean()


def only(rule: str, points: Callable, finish: Callable = lambda v, n: v.mean()) -> Callable:
    """Sum that goes wrong for one rule."""

    def function(f, n, rule=None, wrong=rule):
        rule = rule or "midpoint"
        return summed(points, finish)(f, n, rule) if rule == wrong else riemann(f, n, rule)

    return function


def divided_by_n_and(k: int) -> Callable[[Tensor, int], Tensor]:
    return lambda v, n: v.sum() / (n + k)


def always(s: float) -> Callable[[int, float], Tensor]:
    return lambda n, _s: evenly(n, s)


def weighed(v: Tensor, n: int) -> Tensor:
    """Trapezoid's sum of n points, ends included."""
    return (v.sum() - (v[0] + v[-1]) / 2) / (n - 1)


ONE_RULE = "The {0} rule {1}. With n intervals of the width 1/n, point j is at {2}: {3}."

COUNTED_IN_STEPS = (
    "`arange` with steps of 1/n counts rounded numbers: 1/49 is rounded down, and so 50 points fit "
    "where 49 are wanted. Count in whole numbers, then divide: `(torch.arange(n) + s) / n`."
)

RIEMANN = Exercise(
    reference=riemann,
    cases=tuple(
        Case(f"the {rule} rule, n = {n}, {label}",
             partial(dict, f=curve(f), n=n, rule=rule),
             alone=COUNTED_IN_STEPS if n == 49 else "")
        for rule, n, f, label in [
            ("left", 4, cubic, "a smooth curve"), ("right", 5, cubic, "a smooth curve"),
            ("midpoint", 3, steep, "a steep curve"), ("left", 3, bent, "a curve with a bend"),
            ("right", 7, steep, "a steep curve"), ("midpoint", 6, bent, "a curve with a bend"),
            ("left", 49, steep, "a steep curve"),
        ]
    ),
    mistakes=catalogue(
        not_divided=(summed(finish=lambda v, n: v.sum()),
            "You added the values up and did not multiply by the width of an interval, 1/n. An "
            "integral is height times width."),
        **{f"divided_by_n_{name}": (summed(finish=divided_by_n_and(k)),
            f"You divided by n {sign} 1. There are n intervals of the width 1/n, so the sum is "
            "divided by n.") for name, sign, k in (("plus_one", "+", 1), ("minus_one", "−", -1))},
        both_ends=(summed(both_ends),
            "`linspace(0, 1, n)` has both ends in it: n points with n − 1 intervals between them, "
            "one off. Whatever the rule, point j lies in interval j of n: (j + s)/n."),
        **{f"n_plus_one_points{k}": (summed(one_more, finish),
            "You took n + 1 points, from 0 to 1 with both ends. n intervals have n points, one in "
            f"each{more}: leave out the last for the left rule, the first for the right one.")
           for k, finish, more in (("", lambda v, n: v.mean(), ""),
                                   ("_over_n", lambda v, n: v.sum() / n,
                                    ", and n + 1 values over n weigh more than 1"))},
        trapezoid=(summed(one_more, lambda v, n: weighed(v, n + 1)),
            "That is the trapezoid rule, whatever rule is asked for: both ends, each with half "
            "the weight. Take one point in each interval."),
        exchanged=(summed(lambda n, s: evenly(n, 1 - s)),
            "Left and right are exchanged. The left end of interval j is j/n, with j from 0; the "
            "right end is (j + 1)/n."),
        **{f"always_{rule}": (summed(always(s)),
            f"You took the {rule} points whatever `rule` says. Look at `rule`: the three differ "
            "by where in its interval a point lies.") for rule, s in SHIFT.items()},
        left_from_one=(only("left", lambda n, s: evenly(n, 1)),
            "Your left rule is the right one: j starts at 0, so that the first point is 0."),
        left_with_both_ends=(only("left", both_ends),
            ONE_RULE.format("left", "takes `linspace(0, 1, n)`, which includes the end 1", "j/n",
                            "0, 1/n, …, (n − 1)/n")),
        right_with_both_ends=(only("right", both_ends),
            ONE_RULE.format("right", "takes `linspace(0, 1, n)`, which includes the end 0",
                            "(j + 1)/n", "1/n, 2/n, …, 1")),
        right_from_zero=(only("right", lambda n, s: evenly(n, 0)),
            "Your right rule is the left one: its points are (j + 1)/n, the last of them 1."),
        right_with_n_plus_one=(only("right", one_more, lambda v, n: v.sum() / n),
            ONE_RULE.format("right", "counts the point 0 too", "(j + 1)/n", "1/n, 2/n, …, 1")),
        left_with_n_plus_one=(only("left", one_more, lambda v, n: v.sum() / n),
            ONE_RULE.format("left", "counts the point 1 too", "j/n", "0, 1/n, …, (n − 1)/n")),
        midpoint_with_both_ends=(only("midpoint", both_ends),
            ONE_RULE.format("midpoint", "takes `linspace(0, 1, n)`, with both ends", "(j + ½)/n",
                            "½/n, …, (n − ½)/n")),
        midpoint_as_trapezoid=(only("midpoint", one_more, lambda v, n: weighed(v, n + 1)),
            "For the midpoint rule you averaged the values at the two ends of each interval. That "
            "is the trapezoid rule; ask for the value in the middle, f((j + ½)/n)."),
        midpoint_one_on=(only("midpoint", lambda n, s: evenly(n, 1.5)),
            ONE_RULE.format("midpoint", "starts with j = 1, so its last point is beyond 1",
                            "(j + ½)/n with j from 0", "½/n, …, (n − ½)/n")),
        midpoint_one_back=(only("midpoint", lambda n, s: evenly(n, -0.5)),
            ONE_RULE.format("midpoint", "goes half a step back, to a first point below 0",
                            "(j + ½)/n", "½/n, …, (n − ½)/n")),
        midpoint_half_added=(only("midpoint", lambda n, s: evenly(n, 0) + 0.5),
            "For the midpoint rule you added ½ to α. Half an interval is ½/n: (j + ½)/n."),
        midpoint_inner=(only("midpoint", lambda n, s: one_more(n + 1, s)[1:-1]),
            ONE_RULE.format("midpoint", "takes j/(n + 1), which leaves the two ends more room",
                            "(j + ½)/n", "half an interval from each end")),
        midpoint_over_n_plus_one=(only("midpoint", lambda n, s: (torch.arange(n) + 0.5) / (n + 1)),
            ONE_RULE.format("midpoint", "divides by n + 1", "(j + ½)/n", "½/n, …, (n − ½)/n")),
        midpoint_of_n_minus_one=(only("midpoint", lambda n, s: evenly(n - 1, 0.5)),
            ONE_RULE.format("midpoint", "has one point too few: n *points* of a `linspace` have "
                            "n − 1 middles", "(j + ½)/n", "n of them")),
        n_minus_one_points=(summed(lambda n, s: evenly(n - 1, s)),
            "You took n − 1 points; n are asked for, one in each of n intervals."),
        first_is_missing=(summed(lambda n, s: evenly(n, s)[1:], lambda v, n: v.sum() / n),
            "The first bar is missing: your loop starts at 1. With n pieces j runs from 0 to "
            "n − 1, which is `range(n)`."),
        last_is_missing=(summed(lambda n, s: evenly(n, s)[:-1], lambda v, n: v.sum() / n),
            "The last bar is missing: your loop ends at n − 2. With n pieces j runs from 0 to "
            "n − 1, which is `range(n)`."),
        one_too_far=(summed(lambda n, s: evenly(n, s + 1)),
            "Your loop runs from 1 to n, so every point lies one piece too far to the right. j "
            "starts at 0: `range(n)`."),
        **{f"right_without_the_end{k}": (summed(lambda n, s: steps_of(s / n, 1, 1 / n), finish),
            "`arange` leaves its end out, so your right rule has lost its last point, which is 1. "
            "Count the intervals in whole numbers, whatever the rule: `(torch.arange(n) + s) / n`.")
           for k, finish in (("", lambda v, n: v.mean()), ("_over_n", lambda v, n: v.sum() / n))},
        on_a_linspace=(summed(lambda n, s: both_ends(n, s) + s / n),
            "Your left ends are `linspace(0, 1, n)`, which ends with 1: n points with n − 1 "
            "intervals between them, so the last one lies outside. The left ends are j/n: "
            "`torch.arange(n) / n`."),
        on_a_linspace_of_n_minus_one=(summed(lambda n, s: both_ends(n, s) + s / (n - 1)),
            "Your left ends are `linspace(0, 1, n)`, which ends with 1: n points with n − 1 "
            "intervals between them, so the last one lies outside. The left ends are j/n: "
            "`torch.arange(n) / n`."),
        s_not_divided=(summed(lambda n, s: evenly(n, 0) + s),
            "You moved the points by s where s/n is meant: s is a part of an interval, and that "
            "is 1/n wide. There are brackets missing: (j + s)/n."),
        trapezoid_of_n=(summed(both_ends, weighed),
            "That is the trapezoid rule, whatever rule is asked for: both ends, each with half "
            "the weight. Take one point in each interval."),
        midpoint_is_left=(only("midpoint", always(0.0)),
            "Your midpoint rule is the left one: the half has got lost. Its points are "
            "(j + ½)/n."),
        midpoint_is_right=(only("midpoint", always(1.0)),
            "Your midpoint rule is the right one. Its points are (j + ½)/n."),
        not_scaled=(summed(lambda n, s: evenly(n, s) * n),
            "You asked f at j + s. α runs from 0 to 1: (j + s)/n."),
        times_alpha=(lambda f, n, rule="midpoint": (f(a := evenly(n, SHIFT[rule])) * a).mean(),
            "You multiplied each value by its α. All intervals are equally wide: 1/n each."),
        absolute=(lambda f, n, rule="midpoint": f(evenly(n, SHIFT[rule])).abs().mean(),
            "You added up |f|. What lies below zero counts against: keep the sign."),
        absolute_last=(lambda f, n, rule="midpoint": riemann(f, n, rule).abs(),
            "You took the absolute value of the sum; an integral has a sign."),
        only_last=(summed(finish=lambda v, n: v[-1] / n),
            "Only the last value is left. In a loop, each one is added: `+=` where `=` stands."),
        not_added=(summed(finish=lambda v, n: v / n),
            "Those are the n parts, height times width. Add them up."),
        values=(summed(finish=lambda v, n: v),
            "Those are the values of f. Add them up, times the width 1/n."),
        only_one=(summed(lambda n, s: evenly(1, s)),
            "You asked at a single point. There are n intervals, and each has a point."),
        at_the_mean_point=(lambda f, n, rule="midpoint": f(evenly(n, SHIFT[rule]).mean()),
            "You averaged the points, then asked f once. Ask f at each point, then average."),
        median=(summed(finish=lambda v, n: v.median()),
            "You took the median of the values. The sum is their mean."),
    ),
    hints=(
        "Cut [0, 1] into n pieces of the same width. In which place of its piece does each rule "
        "look, and what is the area of one bar?",
        "With `j = torch.arange(n)` the points are `(j + s) / n`, and s is 0, ½ or 1. The area "
        "is the sum of the heights times 1/n, which is their mean.",
        "`s = {\"left\": 0, \"midpoint\": 0.5, \"right\": 1}[rule]`, then "
        "`f((torch.arange(n) + s) / n).mean()`.",
    ),
)  # fmt: skip


# ---------------------------------------------------------------------- 2. points of a path


def interpolate(x: Tensor, baseline: Tensor, alphas: Tensor) -> Tensor:
    """x′ + α (x − x′) for each α, the α first."""
    return baseline + along(alphas, x) * (x - baseline)


def along(alphas: Tensor, x: Tensor) -> Tensor:
    """Alphas (n,) in the shape (n, 1, …, 1) that meets (n, *x.shape)."""
    return alphas.reshape(-1, *[1] * x.ndim)


def turned(result: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable:
    """Points of a path from another formula; α comes in the right shape."""
    return lambda x, baseline, alphas: (
        result(x, baseline, along(alphas, x)) + 0 * interpolate(x, baseline, alphas)
    )


def for_dimensions(k: int) -> Callable:
    """Points of a path for inputs of so many dimensions."""
    return lambda x, baseline, alphas: baseline + alphas.reshape(-1, *[1] * k) * (x - baseline)


FIXED = (
    "You made α fit an x of {} dimensions, `(-1, {})`. Here x may have any number of them, such as "
    "a batch of pictures or a row of numbers: `alphas.reshape(-1, *[1] * x.ndim)`, or one α after "
    "another and `torch.stack`."
)


def walked_on(x, baseline, alphas):
    points = [baseline]
    for a in alphas:
        points.append(points[-1] + a * (x - points[-1]))
    return torch.stack(points[1:])


def path(*shape: int, seed: int, alphas: Sequence[float], double: bool = False) -> Callable:
    """Arguments of `interpolate`."""

    def arguments() -> dict[str, object]:
        made = dict(x=random(*shape, seed=seed), baseline=random(*shape, seed=seed + 1),
                    alphas=torch.tensor(alphas))  # fmt: skip
        return {k: v.double() if double else v for k, v in made.items()}

    return arguments


INTERPOLATE = Exercise(
    reference=interpolate,
    cases=(
        Case("as many points as channels, rows and columns",
             path(3, 3, 3, seed=3, alphas=(0.1, 0.5, 0.6))),
        Case("a picture and four points", path(3, 4, 5, seed=1, alphas=(0.0, 0.2, 0.7, 1.0))),
        Case("a row of numbers, in double precision",
             path(6, seed=7, alphas=(0.25, 0.5), double=True)),
        Case("a batch of two, and points in no order",
             path(2, 3, 2, 4, seed=5, alphas=(0.9, 0.0, 0.3))),
        Case(f"a single point{WHERE}",
             lambda: on_device(path(2, 4, 3, seed=9, alphas=(0.4,))())),
    ),
    mistakes=catalogue(
        reversed_alpha=(turned(lambda x, b, a: x + a * (b - x)),
            "Your path runs the wrong way: α = 0 gives x. At α = 0 stands the baseline x′, at "
            "α = 1 the input x."),
        without_subtraction=(turned(lambda x, b, a: b + a * x),
            "You added αx to the baseline, so the path ends at x′ + x. The way from x′ to x is "
            "x − x′: x′ + α(x − x′)."),
        scaled=(turned(lambda x, b, a: a * x),
            "You scaled x by α. That is the path from zero; the baseline has no part in it."),
        without_start=(turned(lambda x, b, a: a * (x - b)),
            "That is the way gone so far, α(x − x′). Begin at the baseline: x′ + α(x − x′)."),
        wrong_sign=(turned(lambda x, b, a: b + a * (b - x)),
            "The difference is turned round: your path leads away from x. x′ + α(x − x′)."),
        from_x=(turned(lambda x, b, a: x + a * (x - b)),
            "You started at x. The path starts at the baseline: x′ + α(x − x′)."),
        sum_of_both=(turned(lambda x, b, a: b + a * (x + b)),
            "The sign between x and x′ is lost: the way is their difference, x − x′, and the "
            "weights of the two are α and 1 − α."),
        weights_on_both=(turned(lambda x, b, a: a * x + a * b),
            "Both have the weight α. What x gains x′ loses: αx + (1 − α)x′."),
        product=(turned(lambda x, b, a: b * (1 - a) * a * x),
            "You multiplied the two; a point of the path is their weighted sum."),
        squared=(turned(lambda x, b, a: b + a**2 * (x - b)),
            "You squared α. The path is walked at an even pace: x′ + α(x − x′)."),
        own_points=(turned(lambda x, b, a: interpolate(x, b, torch.linspace(0, 1, len(a)).to(a))),
            "You made points of your own with `linspace`. `alphas` says which ones are wanted, in "
            "which order."),
        middle_points=(turned(lambda x, b, a: interpolate(x, b, evenly(len(a), 0.5).to(a))),
            "You made points of your own. `alphas` says which ones are wanted, in which order."),
        sorted_points=(lambda x, baseline, alphas: interpolate(x, baseline, alphas.sort().values),
            "You put the points in order. Point j of the result belongs to `alphas[j]`."),
        only_last=(lambda x, baseline, alphas: interpolate(x, baseline, alphas[-1:])[0],
            "Only the last point came back. In a loop, collect each one, then `torch.stack`."),
        first_point=(lambda x, baseline, alphas: interpolate(x, baseline, alphas[:1])[0],
            "Only the first point came back. One for each α is wanted, the α first: "
            "(n, *x.shape)."),
        mean_point=(lambda x, baseline, alphas: interpolate(x, baseline, alphas).mean(0),
            "You averaged the points; keep them all, the α first: (n, *x.shape)."),
        stacked_behind=(lambda x, baseline, alphas: interpolate(x, baseline, alphas).movedim(0, 1),
            "The points stand in dimension 1. The α comes first: (n, *x.shape)."),
        stacked_last=(lambda x, baseline, alphas: interpolate(x, baseline, alphas).movedim(0, -1),
            "The points stand in the last dimension. The α comes first: (n, *x.shape)."),
        extra_dimension=(lambda x, baseline, alphas: interpolate(x, baseline, alphas)[:, None],
            "There is a dimension of size 1 too many behind the α: (n, *x.shape) is wanted."),
        joined=(lambda x, baseline, alphas: interpolate(x, baseline, alphas).flatten(0, 1),
            "You joined the points with `torch.cat`, so α and x's first dimension are one. "
            "`torch.stack` gives the α a dimension of its own: (n, *x.shape)."),
        walked_on=(walked_on,
            "Each point starts where the last one ended: the baseline was overwritten on the way. "
            "Every point is measured from x′ itself."),
        left_points=(turned(lambda x, b, a: interpolate(x, b, evenly(len(a), 0).to(a))),
            "You made points of your own, j/n. `alphas` says which ones are wanted, in which "
            "order."),
        brackets=(turned(lambda x, b, a: (b + a) * (x - b)),
            "There are brackets where none belong: α multiplies x − x′, and x′ is added to that."),
        alpha_added=(turned(lambda x, b, a: b + a + (x - b)),
            "α is added where it multiplies: x′ + α(x − x′)."),
        mean_baseline=(turned(lambda x, b, a: b.mean() + a * (x - b.mean())),
            "You took one number, the mean, for the baseline. Each pixel has an x′ of its own."),
        along_columns=(for_dimensions(0),
            "(n,) lines up with x's *last* dimension, so each column got an α. Give it a "
            "dimension of size 1 for each dimension of x, however many there are: "
            "`alphas.reshape(-1, *[1] * x.ndim)`."),
        **{f"for_{k}_dimensions": (for_dimensions(k), FIXED.format(k, "1, " * (k - 1) + "1"))
           for k in (1, 2, 3, 4)},
        one_dimension_short=(lambda x, b, alphas: b + along(alphas, x[0]) * (x - b),
            "Your α has as many dimensions as x, and needs one more: the α come first, "
            "(n, *x.shape), so behind n stands a 1 for each dimension of x: "
            "`alphas.reshape(-1, *[1] * x.ndim)`."),
        clamped=(turned(lambda x, b, a: (b + a * (x - b)).clamp(0, 1)),
            "You cut the points to [0, 1], as if they were pixels. These are normalised numbers, "
            "or a sentence's: below 0 and above 1 they mean something too. Leave the clamp out."),
        endpoints=(turned(lambda x, b, a: torch.where(a > 0.5, x, b)),
            "You jump from x′ to x. Between them the path passes through mixtures of both."),
    ),
    hints=(
        "Where are you at α = 0, and where at α = 1? Half way, what is each pixel?",
        "Alphas of shape (n,) must meet x: give them one dimension of size 1 for each dimension of "
        "x. Or take one α after another and `torch.stack` the results.",
        "`torch.stack([baseline + a * (x - baseline) for a in alphas])`.",
    ),
)  # fmt: skip


# ------------------------------------------------------------------- 3. Gauss and Legendre


def gauss(f: Curve, n: int) -> Tensor:
    """Σ w_j f(α_j) with Gauss's nodes and weights on [0, 1]."""
    alphas, weights = legendre(n)
    return (weights * f(alphas)).sum()


def legendre(n: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of Gauss and Legendre on [0, 1]."""
    p, w = on_minus_one_to_one(n)
    return (p + 1) / 2, w / 2


def on_minus_one_to_one(n: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights as NumPy gives them."""
    p, w = np.polynomial.legendre.leggauss(n)
    return torch.from_numpy(p), torch.from_numpy(w)


def by_nodes(
    nodes: Callable[[Tensor], Tensor] = lambda p: (p + 1) / 2,
    part: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda v, w, p: v * w / 2,
    table: Callable[[int], tuple[Tensor, Tensor]] = on_minus_one_to_one,
) -> Callable:
    """Gauss's sum with one ingredient exchanged; all in their place, the right one."""

    def function(f, n):
        p, w = table(n)
        return part(f(nodes(p)), w, p).sum()

    return function


def of_numpy(rule: Callable) -> Callable[[int], tuple[Tensor, Tensor]]:
    """Nodes and weights of another of NumPy's rules."""
    return lambda n: tuple(torch.from_numpy(a) for a in rule(n))  # type: ignore[return-value]


def simpson(f, n):
    v = f(one_more(2 * n, 0))
    return (v[0] + v[-1] + 4 * v[1::2].sum() + 2 * v[2:-1:2].sum()) / (6 * n)


def slanted(a: Tensor) -> Tensor:
    return 7 * a**5 - 3 * a**2 + 2 * a - 1


MAPPED = (
    "The nodes that NumPy gives lie in [−1, 1], and α in [0, 1]: {}. A node p belongs to "
    "α = (p + 1)/2, and an interval half as wide has weights half as large."
)
ANOTHER_RULE = "That is the {} rule; Gauss's nodes lie closer together towards both ends."
GAUSS = Exercise(
    reference=gauss,
    cases=tuple(
        Case(f"{label}, n = {n}", partial(dict, f=curve(f), n=n))
        for f, n, label in [
            (slanted, 3, "a polynomial of degree 5"), (steep, 2, "a steep curve"),
            (bent, 4, "a curve with a bend"), (slanted, 2, "a polynomial of degree 5"),
            (steep, 5, "a steep curve"),
        ]
    ),
    mistakes=catalogue(
        weights_not_halved=(by_nodes(part=lambda v, w, p: v * w),
            MAPPED.format("you moved the nodes and left the weights, which sum to 2")),
        nodes_not_moved=(by_nodes(nodes=lambda p: p),
            MAPPED.format("you halved the weights and left the nodes, half of which are below "
                          "zero")),
        nothing_moved=(by_nodes(nodes=lambda p: p, part=lambda v, w, p: v * w),
            MAPPED.format("you used nodes and weights as they come")),
        nodes_only_shifted=(by_nodes(nodes=lambda p: p + 1),
            MAPPED.format("you added 1, so they lie in [0, 2]")),
        nodes_shifted_weights_left=(by_nodes(nodes=lambda p: p + 1, part=lambda v, w, p: v * w),
            MAPPED.format("you added 1, so they lie in [0, 2], and left the weights")),
        nodes_only_halved=(by_nodes(nodes=lambda p: p / 2),
            MAPPED.format("you halved them, so they lie in [−½, ½]")),
        nodes_halved_then_shifted=(by_nodes(nodes=lambda p: p / 2 + 1),
            MAPPED.format("p/2 + 1 lies in [½, 1½]; there are brackets missing")),
        brackets_missing=(by_nodes(nodes=lambda p: p + 1 / 2),
            MAPPED.format("p + 1 / 2 is p + ½, which lies in [−½, 1½]; there are brackets "
                          "missing")),
        brackets_missing_weights_left=(by_nodes(nodes=lambda p: p + 1 / 2,
                                                part=lambda v, w, p: v * w),
            MAPPED.format("p + 1 / 2 is p + ½, which lies in [−½, 1½]; there are brackets "
                          "missing, and the weights are left as they come")),
        nodes_turned=(by_nodes(nodes=lambda p: (p - 1) / 2),
            MAPPED.format("(p − 1)/2 lies in [−1, 0]")),
        nodes_absolute=(by_nodes(nodes=lambda p: p.abs()),
            MAPPED.format("|p| folds one half onto the other")),
        weights_doubled=(by_nodes(part=lambda v, w, p: v * w * 2),
            "You doubled the weights; an interval half as wide has weights half as large."),
        weights_shifted=(by_nodes(part=lambda v, w, p: v * (w + 1) / 2),
            "You mapped the weights as if they were nodes, (w + 1)/2. They are widths: w/2."),
        mean=(by_nodes(part=lambda v, w, p: v / len(v)),
            "The weights are missing: you averaged the values at the nodes as if they were evenly "
            "spaced. They stand closer at the ends, and count for less there."),
        mean_of_unmoved=(by_nodes(nodes=lambda p: p, part=lambda v, w, p: v / len(v)),
            "Two things. " + MAPPED.format("you used the nodes as they come") + " And the weights "
            "are missing: the values do not all count alike."),
        summed_up=(by_nodes(part=lambda v, w, p: v),
            "The weights are missing: you added up the values at the nodes."),
        divided_too=(by_nodes(part=lambda v, w, p: v * w / 2 / len(v)),
            "You divided by n as well. The weights sum to 1 already: they are the widths."),
        divided_for_halving=(by_nodes(part=lambda v, w, p: v * w / len(v)),
            "You divided by n where the weights are to be halved. Gauss's weights on [−1, 1] sum "
            "to 2, whatever n is; on [0, 1] they sum to 1."),
        weighted_twice=(by_nodes(part=lambda v, w, p: v * (w / 2) ** 2),
            "The weights are in it twice."),
        times_alpha=(by_nodes(part=lambda v, w, p: v * w / 2 * (p + 1) / 2),
            "You multiplied by α too. Each value has its weight and nothing else."),
        nodes_as_weights=(by_nodes(part=lambda v, w, p: v * p),
            "Nodes and weights are exchanged: `leggauss` returns the nodes first."),
        moved_nodes_as_weights=(by_nodes(nodes=lambda p: p, table=lambda n: (
                legendre(n)[1], 2 * legendre(n)[0])),
            "Nodes and weights are exchanged: `leggauss` returns the nodes first."),
        exchanged=(by_nodes(table=lambda n: on_minus_one_to_one(n)[::-1]),
            "Nodes and weights are exchanged: `leggauss` returns the nodes first."),
        too_few=(lambda f, n: gauss(f, n - 1) if n > 1 else 0 * gauss(f, 1),
            "You took n − 1 nodes; n are asked for."),
        too_many=(lambda f, n: gauss(f, n + 1), "You took n + 1 nodes; n are asked for."),
        twice_as_many=(lambda f, n: gauss(f, 2 * n),
            "You took 2n nodes. n of them are exact up to the degree 2n − 1: n are asked for."),
        degree=(lambda f, n: gauss(f, 2 * n - 1),
            "You took 2n − 1 nodes. That is the *degree* up to which n nodes are exact."),
        **{f"always_{k}": (lambda f, n, k=k: gauss(f, k),
            "You take the same number of nodes whatever n is (so does `leggauss(16)`): n of them "
            "are asked for, `leggauss(n)`.")
           for k in (*range(2, 8), *range(9, 13), 16, 20, 24, 32, 50, 64, 100)},
        half_as_many=(lambda f, n: gauss(f, max(n // 2, 1)),
            "You took n/2 nodes; n are asked for."),
        nodes_cut=(by_nodes(nodes=lambda p: p.clamp(0, 1)),
            MAPPED.format("you cut off those below zero")),
        weights_made_of_one=(by_nodes(part=lambda v, w, p: v * w.softmax(0)),
            "You took a softmax of the weights. They sum to 2 on [−1, 1]; halve them."),
        one_is_missing=(by_nodes(part=lambda v, w, p: (v * w / 2)[:-1]),
            "The last node is missing. Look at the range of the loop."),
        first_is_missing=(by_nodes(part=lambda v, w, p: (v * w / 2)[1:]),
            "The first node is missing. Python counts from 0."),
        only_last=(by_nodes(part=lambda v, w, p: (v * w / 2)[-1:]),
            "Only the last part is left. In a loop, each one is added: `+=` where `=` stands."),
        not_summed=(lambda f, n: legendre(n)[1] * f(legendre(n)[0]),
            "Those are the n parts, weight times height. Add them up."),
        absolute=(by_nodes(part=lambda v, w, p: v.abs() * w / 2),
            "You added up |f|. What lies below zero counts against: keep the sign."),
        in_one_point=(lambda f, n: f((legendre(n)[0] * legendre(n)[1]).sum()),
            "You averaged the nodes, then asked f once. Ask f at each node, then sum."),
        **{name: (lambda f, n, s=s: f(evenly(n, s)).mean(), ANOTHER_RULE.format(name))
           for name, s in SHIFT.items()},
        trapezoid=(lambda f, n: weighed(f(one_more(n, 0)), n + 1),
            ANOTHER_RULE.format("trapezoid")),
        trapezoid_of_n=(lambda f, n: weighed(f(both_ends(n, 0)), n),
            ANOTHER_RULE.format("trapezoid")),
        even_nodes=(lambda f, n: (legendre(n)[1] * f(evenly(n, 0.5))).sum(),
            "Gauss's weights, on evenly spaced points. Weights and nodes belong together: take "
            "both from `leggauss`."),
        ends=(lambda f, n: (legendre(n)[1] * f(both_ends(n, 0))).sum(),
            "Gauss's weights, on the points of a `linspace`. Weights and nodes belong together: "
            "take both from `leggauss`."),
        simpson=(simpson, "That is Simpson's rule, on 2n + 1 evenly spaced points."),
        chebyshev=(by_nodes(table=of_numpy(np.polynomial.chebyshev.chebgauss)),
            "Those are Chebyshev's nodes (`chebgauss`), for another integral. Legendre's are "
            "`np.polynomial.legendre.leggauss(n)`."),
        hermite=(by_nodes(table=of_numpy(np.polynomial.hermite.hermgauss)),
            "Those are Hermite's nodes (`hermgauss`), for the whole line. Legendre's are "
            "`np.polynomial.legendre.leggauss(n)`."),
        laguerre=(by_nodes(table=of_numpy(np.polynomial.laguerre.laggauss)),
            "Those are Laguerre's nodes (`laggauss`), for a half line. Legendre's are "
            "`np.polynomial.legendre.leggauss(n)`."),
    ),
    hints=(
        "`np.polynomial.legendre.leggauss(n)` gives nodes and weights for an integral from −1 to "
        "1. What do you have to do to them, so that the integral goes from 0 to 1?",
        "A node p in [−1, 1] becomes (p + 1)/2. The new interval is half as wide, so each weight "
        "is halved; then they sum to 1. NumPy's arrays become tensors, which f wants, by "
        "`torch.from_numpy`.",
        "`p, w = map(torch.from_numpy, np.polynomial.legendre.leggauss(n))`, then "
        "`(w / 2 * f((p + 1) / 2)).sum()`.",
    ),
)  # fmt: skip


EXERCISES = (RIEMANN, INTERPOLATE, GAUSS)
