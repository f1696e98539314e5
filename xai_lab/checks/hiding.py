# ruff: noqa: D103 (what is said about a wrong function stands beside it in the catalogue)
"""Exercises of chapter 5, first part: hide an area, ask again, and say what the answer is worth.

Each exercise is a block: the right function under its exercise's name, the cases, the mistakes,
the hints. `EXERCISES` at the end is what `check` finds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from xai_lab.checks.exercise import Case, Exercise, catalogue
from xai_lab.checks.small import WHERE, classes, on_device, random, seeded, with_gradients

# --------------------------------------------------------------------------- 1. hide an area

Change = Callable[[Tensor], Tensor]


def as_colour(fill: Tensor) -> Tensor:
    """One colour a picture, (N, C), in the shape that meets pictures."""
    return fill[:, :, None, None]


def hiding(
    mask: Change = lambda m: m[:, None],
    colour: Change = as_colour,
    put: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda m, f, x: torch.where(m, f, x),
) -> Callable:
    """Hide an area, with one ingredient exchanged."""

    def function(images, masks, fill):
        return put(mask(masks), colour(fill), images)

    return function


def occluded(images: Tensor, masks: Tensor, fill: Tensor) -> Tensor:
    """Pictures with a colour in place of an area."""
    return hiding()(images, masks, fill)


def written_into(images, masks, fill):
    return images.copy_(occluded(images, masks, fill))


def first_channel_only(images, masks, fill):
    result = images.clone()
    result[:, 0] = occluded(images, masks, fill)[:, 0]
    return result


def own_mean(visible: bool) -> Callable:
    """Hide behind the picture's own mean colour, of all or of what stays visible."""

    def function(images, masks, fill):
        counted = ~masks[:, None] if visible else torch.ones_like(masks[:, None])
        mean = (images * counted).sum((2, 3)) / counted.sum((2, 3))
        return occluded(images, masks, mean)

    return function


def bounding_box(images, masks, fill):
    boxes = torch.zeros_like(masks)
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = mask.nonzero(as_tuple=True)
        box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    return occluded(images, boxes, fill)


def last_of_all(images, masks, fill):
    return occluded(images, masks[-1:].expand_as(masks), fill[-1:].expand_as(fill))


def mean_of_the_hidden(images, masks, fill):
    m = masks[:, None]
    return occluded(images, masks, (images * m).sum((2, 3)) / m.sum((2, 3)))


def spots(*shape: int, seed: int) -> Tensor:
    """Masks of which about a third is true."""
    return random(*shape, seed=seed) > 0.4


def pictures_to_hide(*shape: int, seed: int) -> dict[str, Any]:
    """Pictures, an area in each, and a colour for each."""
    return dict(images=random(*shape, seed=seed), masks=spots(shape[0], *shape[2:], seed=seed + 1),
                fill=random(*shape[:2], seed=seed + 2))  # fmt: skip


LINED_UP = (
    "`fill` is (N, C), a colour for each picture, and you let it meet {}. It has to meet the "
    "first two dimensions: `fill[:, :, None, None]`. (Where all sizes are alike nothing complains.)"
)
OCCLUDED = Exercise(
    reference=occluded,
    cases=(
        Case("three pictures of three by three pixels",
             lambda: pictures_to_hide(3, 3, 3, 3, seed=501)),
        Case("two wide pictures", lambda: pictures_to_hide(2, 3, 4, 6, seed=511)),
        Case("one channel", lambda: pictures_to_hide(2, 1, 5, 4, seed=521),
             alone="Pictures may have any number of channels: write no 3."),
        Case("pictures that are a view of others, as `x.permute(…)` makes them",
             lambda: (made := pictures_to_hide(2, 3, 5, 4, seed=531))
             | dict(images=made["images"].permute(0, 1, 3, 2), masks=made["masks"].mT),
             alone="These pictures do not lie in memory in the order of their dimensions: "
             "`.reshape` can deal with that where `.view` cannot; neither is needed here."),
        Case(f"a batch of one{WHERE}", lambda: on_device(pictures_to_hide(1, 3, 4, 4, seed=541))),
    ),
    mistakes=catalogue(
        inverted=(hiding(mask=lambda m: ~m[:, None]),
            "It is the other way round: you hid everything *but* the area. The mask is true where "
            "something is to be hidden."),
        written_into=(written_into,
            "The values are right, but you wrote into the caller's pictures: whoever compares "
            "before and after now compares after with after. `torch.where` makes new ones."),
        zeros=(hiding(colour=lambda f: torch.zeros_like(as_colour(f))),
            "The area is filled with zeros, whatever `fill` says. Zero is a colour too, black or "
            "the mean of the data, and a network may have its opinion of it."),
        added=(hiding(put=lambda m, f, x: x + m * f),
            "You added the colour to what was there, and the area still shows through. It takes "
            "its place: (1 − m) x + m f."),
        only_the_fill=(hiding(put=lambda m, f, x: m * f),
            "The rest of the picture is gone: (1 − m) x is missing."),
        multiplied=(hiding(put=lambda m, f, x: torch.where(m, f * x, x)),
            "You multiplied the area by the colour. It takes the place of what was there."),
        half=(hiding(put=lambda m, f, x: torch.where(m, (f + x) / 2, x)),
            "Your area is half transparent. Nothing of what was there may stay."),
        along_the_pixels=(hiding(colour=lambda f: f),
            LINED_UP.format("the last two dimensions, rows and columns")),
        along_the_columns=(hiding(colour=lambda f: f[:, None, None]),
            LINED_UP.format("the pictures and the columns")),
        along_the_rows=(hiding(colour=lambda f: f[:, None, :, None]),
            LINED_UP.format("the pictures and the rows")),
        along_the_channels_and_columns=(hiding(colour=lambda f: f[None, :, None].mT),
            LINED_UP.format("the channels and the rows")),
        exchanged=(hiding(colour=lambda f: as_colour(f.mT)),
            "Pictures and channels of `fill` are exchanged: it is (N, C) already."),
        first_colour=(hiding(colour=lambda f: as_colour(f[:1])),
            "Every picture got the first one's colour. Each has its own row in `fill`."),
        mean_colour=(hiding(colour=lambda f: as_colour(f.mean(0, keepdim=True))),
            "Every picture got the mean of all colours. Each has its own row in `fill`."),
        grey=(hiding(colour=lambda f: as_colour(f.mean(1, keepdim=True))),
            "You averaged the colour over its channels, which leaves a grey."),
        first_channel=(hiding(colour=lambda f: as_colour(f[:, :1])),
            "All channels got the first one's number. A colour has one for each."),
        first_channel_only=(first_channel_only,
            "Only the first channel is hidden. The mask (N, H, W) holds for all of them: "
            "`masks[:, None]`."),
        first_mask=(hiding(mask=lambda m: m[:1, None]),
            "The first picture's area was hidden in all of them. Each has its own mask."),
        any_mask=(hiding(mask=lambda m: m.any(0)[None, None]),
            "What is hidden in one picture is hidden in all. Each has its own mask."),
        turned=(hiding(mask=lambda m: m[:, None].mT),
            "Rows and columns of the mask are exchanged."),
        own_mean=(own_mean(visible=False),
            "You filled the area with the picture's own mean colour. `fill` says what stands "
            "there; that colour is one possible choice of the caller's."),
        own_visible_mean=(own_mean(visible=True),
            "You filled the area with the mean colour of the rest. `fill` says what stands there; "
            "that colour is one possible choice of the caller's."),
        mean_of_the_hidden=(mean_of_the_hidden,
            "You filled the area with its own mean colour, so that it still tells what it was. "
            "`fill` says what stands there."),
        reshaped=(hiding(colour=lambda f: as_colour(f.t().reshape(f.shape))),
            "`reshape` after a transposition deals the numbers out anew: the colours are mixed up "
            "between pictures. `fill` is (N, C) already: `fill[:, :, None, None]`."),
        backwards=(hiding(colour=lambda f: as_colour(f.flip(1))),
            "The channels of the colour are in reverse order (blue, green, red). Those of "
            "`images` are in the same order as those of `fill`."),
        clamped=(hiding(put=lambda m, f, x: torch.where(m, f, x).clamp(0, 1)),
            "You cut everything to 0…1. Pictures may be normalised, and then have negative values "
            "and values above 1: what is not hidden stays as it is."),
        rounded=(hiding(colour=lambda f: as_colour(f.round())),
            "You rounded the colour to whole numbers. It stays as `fill` says."),
        bounding_box=(bounding_box,
            "You hid the rectangle around the area. Only where the mask is true is anything to be "
            "hidden."),
        last_of_all=(last_of_all,
            "Every picture has the last one's area and colour: in your loop each round writes over "
            "what the round before it made. Picture n gets `masks[n]` and `fill[n]`."),
        noise=(hiding(put=lambda m, f, x: torch.where(m, f + 0.1 * random(*x.shape).to(x), x)),
            "The area is noisy: it should have one colour, that of `fill`."),
    ),
    hints=(
        "Each pixel is either the old one or the colour, as the mask says. Which shape must mask "
        "and colour have to meet (N, C, H, W)?",
        "`masks[:, None]` is (N, 1, H, W), `fill[:, :, None, None]` is (N, C, 1, 1). "
        "`torch.where(condition, a, b)` takes a where the condition is true.",
        "`return torch.where(masks[:, None], fill[:, :, None, None], images)`",
    ),
)  # fmt: skip


# ------------------------------------------------------------------------------ 2. log-odds


def without(outputs: Tensor, target: Tensor, value: float = -torch.inf) -> Tensor:
    """Scores in which the target's column holds something else."""
    return outputs.scatter(1, target[:, None], value)


def own(outputs: Tensor, target: Tensor) -> Tensor:
    """Score of each sample's own class, (N,)."""
    return outputs.gather(1, target[:, None])[:, 0]


def others_of(outputs: Tensor, target: Tensor) -> Tensor:
    """Scores of all other classes, (N, K − 1)."""
    kept = torch.arange(outputs.shape[1], device=outputs.device) != target[:, None]
    return outputs[kept].reshape(len(outputs), -1)


def against(rest: Callable[[Tensor, Tensor], Tensor]) -> Callable:
    """Score less something else that is made of the scores and the target."""

    def function(outputs, target):
        return own(outputs, target) - rest(outputs, target)

    return function


def log_odds(outputs: Tensor, target: Tensor) -> Tensor:
    """How far a class is ahead of all others together, (N,)."""
    return against(lambda S, c: without(S, c).logsumexp(1))(outputs, target)


def of_p(value: Change) -> Callable:
    """Something made of the class's probability."""

    def function(outputs, target):
        return value(own(outputs.softmax(1), target))

    return function


def of_p_kept_off(epsilon: float, how: str) -> Callable:
    """Logarithm of p / (1 − p) with a small number against infinities."""

    def value(p: Tensor) -> Tensor:
        if how == "clamp":
            p = p.clamp(epsilon, 1 - epsilon)
            return p.log() - (1 - p).log()
        if how == "below":
            return (p / (1 - p + epsilon)).log()
        return (p + epsilon).log() - (1 - p + epsilon).log()

    return of_p(value)


def written_in_place(outputs, target):
    score = own(outputs, target)
    outputs[torch.arange(len(outputs)), target] = -torch.inf
    return score - outputs.logsumexp(1)


def of_the_best(outputs, target):
    return log_odds(outputs, outputs.argmax(1))


def off_by_one(outputs, target):
    rows = zip(outputs, target.tolist(), strict=True)
    return torch.stack([S[c] - torch.cat([S[:c], S[c + 2 :]]).logsumexp(0) for S, c in rows])


def after_a_shift(outputs, target):
    """Right until the exponentials of all others round to zero."""
    S = outputs - outputs.amax(1, keepdim=True)
    return own(S, target) - without(S, target).exp().sum(1).log()


def of_all_but_p(outputs, target):
    p = outputs.softmax(1)
    return own(p, target).log() - p.scatter(1, target[:, None], 0.0).sum(1).log()


def over_the_batch(outputs, target):
    return own(outputs - without(outputs, target).logsumexp(0), target)


def scores(*shape: int, seed: int, target: tuple[int, ...], shift: float = 0.0) -> dict[str, Any]:
    """Logits, and a class for each sample."""
    return dict(outputs=2 * random(*shape, seed=seed) + shift, target=classes(*target))


ROUNDED = (
    "There are infinities: where the network is sure, p rounds to 1, and log(1 − p) is log 0. "
    "The log-odds there are a plain number, 40 or so. Stay with the logits: S − logsumexp of the "
    "others."
)
EPSILON = (
    "Right, until the network is sure. There p rounds to 1, and what you report is your own small "
    "number: two answers that are 30 apart come out the same. Stay with the logits: S − logsumexp "
    "of the others."
)
UNDERFLOW = (
    "Right, until the network is very sure. Then the others' exponentials round to 0, and log 0 is "
    "−∞. Leave the class out first, and take `logsumexp` of the others alone: it takes *their* "
    "largest out."
)
LOG_ODDS = Exercise(
    reference=log_odds,
    cases=(
        Case("three classes and a batch of three",
             lambda: scores(3, 3, seed=551, target=(0, 2, 1))),
        Case("five classes and a batch of two", lambda: scores(2, 5, seed=552, target=(4, 1))),
        Case("two classes, where it is the difference of two logits",
             lambda: scores(3, 2, seed=553, target=(1, 0, 1)),
             alone="With two classes the others are one: the log-odds are S_c − S of the other."),
        Case("a network that is sure, with logits of 40 and 70",
             lambda: dict(outputs=torch.tensor([[40.0, 1.0, -2.0, 0.5], [3.0, 0.0, 70.0, 1.0]]),
                          target=classes(0, 2)),
             alone="Where the network is sure, p rounds to 1 and 1 − p to 0. Stay with the logits: "
             "`logsumexp`."),
        Case("logits around 200", lambda: scores(2, 4, seed=554, target=(3, 0), shift=200.0),
             alone="exp(200) is too large a number for a float. `torch.logsumexp` takes the "
             "largest score out before it exponentiates."),
        Case("200 and −200 in one row, and a row that is −200 throughout",
             lambda: dict(outputs=torch.tensor([[200.0, -200.0, -199.0], [-200.0, -203.0, -201.5]]),
                          target=classes(0, 0)),
             alone="What is not to count has to be −∞, not a low number: logits of −200 occur. "
             "And exp(−400) is 0 for a float, whose logarithm is −∞: `logsumexp` of the others "
             "alone takes *their* largest out first."),
        Case(f"a batch of one{WHERE}",
             lambda: on_device(scores(1, 4, seed=555, target=(2,)))),
    ),
    mistakes=catalogue(
        log_p=(against(lambda S, c: S.logsumexp(1)),
            "The sum runs over *all* classes, the class itself among them: that is log p. It can "
            "never rise above 0, and hardly moves while a sure network loses its reasons. Leave "
            "class c out of the sum."),
        odds=(of_p(lambda p: p / (1 - p)),
            "These are the odds, p/(1 − p); their logarithm is asked for."),
        odds_from_logits=(lambda S, c: log_odds(S, c).exp(),
            "These are the odds; their logarithm is asked for."),
        by_probability=(of_p(lambda p: p.log() - (1 - p).log()), ROUNDED),
        **{f"kept_off_{how}_{e:g}": (of_p_kept_off(e, how), EPSILON)
           for how in ("clamp", "added", "below") for e in (1e-6, 1e-8, 1e-10, 1e-12)
           if (how, e) not in (("clamp", 1e-8), ("clamp", 1e-10), ("clamp", 1e-12))},
        probability=(of_p(lambda p: p), "That is the probability. The log-odds go from −∞ to ∞."),
        logit=(own,
            "That is the logit alone. All logits may sink together, and the answer stays: compare "
            "with the others."),
        minus_mean=(against(lambda S, c: others_of(S, c).mean(1)),
            "You compared with the *mean* of the others. A class that is out of the question "
            "counts in it as much as the rival: log Σ exp is led by the strongest."),
        minus_max=(against(lambda S, c: others_of(S, c).amax(1)),
            "You compared with the best of the others, which is the margin. Ten rivals that are "
            "nearly as good count too: log Σ exp adds them up."),
        minus_sum=(against(lambda S, c: others_of(S, c).sum(1)),
            "You subtracted the sum of the other logits. Logits cannot be added up, their "
            "exponentials can: log Σ exp."),
        without_log=(against(lambda S, c: others_of(S, c).exp().sum(1)),
            "The logarithm of the sum is missing: S is a logarithm already, Σ exp is not."),
        log_mean_exp=(against(lambda S, c: others_of(S, c).logsumexp(1)
                              - math.log(S.shape[1] - 1)),
            "You took the logarithm of the *mean* of the exponentials; it is their sum. (It "
            "differs by log(K − 1).)"),
        overflow=(against(lambda S, c: others_of(S, c).exp().sum(1).log()),
            "Right for small logits. exp(200) is infinite for a float; `torch.logsumexp` takes the "
            "largest out first: log Σ exp(S − max) + max."),
        overflow_elsewhere=(lambda S, c: (own(S.exp(), c) / others_of(S, c).exp().sum(1)).log(),
            "Right for small logits. exp(200) is infinite for a float, and ∞/∞ is not a number; "
            "`torch.logsumexp` takes the largest out first."),
        taken_off=(against(lambda S, c: (S.exp().sum(1) - own(S, c).exp()).log()),
            "You added up all exponentials and took the class's own off again. Where the network "
            "is sure nothing is left of the difference (cancellation), and exp(200) is infinite. "
            "Leave the class out before the sum."),
        zeroed=(against(lambda S, c: without(S, c, 0.0).logsumexp(1)),
            "You set the class's own logit to 0, and exp(0) = 1 is in the sum. What is not to "
            "count gets −∞."),
        low_number=(against(lambda S, c: without(S, c, -100.0).logsumexp(1)),
            "You put −100 in the class's place, and logits of −200 occur: your −100 then leads the "
            "sum. What is not to count gets −∞."),
        lowered=(against(lambda S, c: S.scatter_add(
                1, c[:, None], torch.full_like(S[:, :1], -100.0)).logsumexp(1)),
            "You lowered the class's own logit by 100, and with logits of 200 and −200 it still "
            "leads the sum. What is not to count gets −∞."),
        after_a_shift=(after_a_shift, UNDERFLOW),
        of_all_but_p=(of_all_but_p, UNDERFLOW),
        off_by_one=(off_by_one,
            "You left out two classes, the one asked about and the next: `S[c + 1:]` begins behind "
            "class c."),
        without_the_best=(against(lambda S, c: S.sort(1).values[:, :-1].logsumexp(1)),
            "You left the *best* class out of the sum, whatever `target` says. Leave out class c."),
        turned_round=(lambda S, c: -log_odds(S, c),
            "The sign is turned round: a class that is ahead has positive log-odds."),
        one_target=(lambda S, c: log_odds(S, c[:1].expand_as(c)),
            "Every sample was asked about the first one's class. Each has its own: "
            "`outputs.gather(1, target[:, None])`."),
        of_the_best=(of_the_best,
            "You took the best class whatever `target` says. With something hidden another class "
            "may be the best, and the question would have changed."),
        over_the_batch=(over_the_batch,
            "Your sum runs over the batch (dimension 0); the classes are dimension 1."),
        all_classes=(lambda S, c: torch.stack(
                [log_odds(S, torch.full_like(c, k)) for k in range(S.shape[1])], 1),
            "These are the log-odds of all classes; one number a sample is asked for, that of "
            "`target`."),
        bits=(lambda S, c: log_odds(S, c) / math.log(2),
            "These are bits (log₂). Take the natural logarithm, as log p does."),
        decimal=(lambda S, c: log_odds(S, c) / math.log(10),
            "This is the decimal logarithm. Take the natural one, as log p does."),
        against_the_rest=(of_p(lambda p: 2 * p - 1),
            "You subtracted 1 − p from p. The log-odds are log p − log(1 − p)."),
        written_in_place=(written_in_place,
            "The values are right, but you wrote −∞ into the caller's outputs: the next one who "
            "looks at them finds a class ruled out. Work on a clone."),
        table=(lambda S, c: S[:, c] - without(S, c).logsumexp(1)[:, None],
            "`outputs[:, target]` takes *every* target's column for every sample. Each needs one: "
            "`outputs.gather(1, target[:, None])[:, 0]`."),
    ),
    hints=(
        "log p − log(1 − p) is the same in exact numbers. Write p as exp(S_c)/Σ exp(S_k): what is "
        "left of the common denominator?",
        "S_c is `outputs.gather(1, target[:, None])[:, 0]`. For the others set the class's own "
        "column to −∞ in a copy (`scatter`, or `masked_fill`); then `logsumexp(dim=1)`.",
        "`rest = outputs.scatter(1, target[:, None], -torch.inf).logsumexp(1)`; subtract it from "
        "the class's own logit.",
    ),
)  # fmt: skip


# ------------------------------------------------------------------------------ 3. evidence


def chance_of(fall: Tensor, elsewhere: Tensor) -> float:
    """Share of areas, the one in question among them, whose hiding costs as much."""
    return (1 + (elsewhere >= fall).sum().item()) / (1 + len(elsewhere))


def weighing(
    value: Callable[[Tensor, Tensor], Tensor] = log_odds,
    chance: Callable[[Tensor, Tensor], Any] = chance_of,
    hide: Callable[[Tensor, Tensor, Tensor], Tensor] = occluded,
    falls: Callable[[Tensor, Tensor], Tensor] = lambda before, after: before - after,
    finish: Callable[[Any, Any], Any] = lambda fall, chance: (fall, chance),
    target_of: Callable[[Tensor, int], Tensor] = lambda S, c: torch.full_like(S[:, 0], c).long(),
) -> Callable:
    """Evidence with one ingredient exchanged."""

    def function(model, x, mask, others, fill, target):
        areas = torch.cat([mask[None], others])
        many = x.expand(len(areas), -1, -1, -1)
        with torch.no_grad():
            before, after = model(x), model(hide(many, areas, fill.expand(len(areas), -1)))
        fell = falls(value(before, target_of(before, target)),
                     value(after, target_of(after, target)))  # fmt: skip
        return finish(fell[0].item(), chance(fell[0], fell[1:]))

    return function


def evidence(
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    mask: Tensor,
    others: Tensor,
    fill: Tensor,
    target: int,
) -> tuple[float, float]:
    """Fall of the log-odds when an area is hidden, and the chance of as large a one elsewhere."""
    return weighing()(model, x, mask, others, fill, target)


def counted(count: Callable[[Tensor, Tensor], Tensor], add: tuple[int, int] = (1, 1)) -> Callable:
    """Chance by another count, or with other numbers added above and below."""

    def chance(fall, elsewhere):
        return (add[0] + count(fall, elsewhere).sum().item()) / (add[1] + len(elsewhere))

    return chance


def as_much(fall: Tensor, elsewhere: Tensor) -> Tensor:
    return elsewhere >= fall


def beyond_the_mean(fall, elsewhere):
    return float(fall > elsewhere.mean())


def normal(fall, elsewhere):
    z = (fall - elsewhere.mean()) / elsewhere.std().clamp_min(1e-9)
    return 0.5 * torch.special.erfc(z / math.sqrt(2)).item()


def nearly(fall: Tensor, elsewhere: Tensor) -> Tensor:
    return elsewhere >= fall - 0.1


def as_much_from_there(turned: Callable[[Tensor], Tensor]) -> Callable:
    """Chance in which the falls elsewhere are measured another way."""

    def function(model, x, mask, others, fill, target):
        with torch.no_grad():
            many = x.expand(len(others), -1, -1, -1)
            S = [
                model(p)
                for p in (
                    x,
                    occluded(x, mask[None], fill[None]),
                    occluded(many, others, fill.expand(len(others), -1)),
                )
            ]
            before, hidden, after = (log_odds(s, torch.full_like(s[:, 0], target).long())
                                     for s in S)  # fmt: skip
        fall = before - hidden
        return fall.item(), chance_of(fall, turned(torch.stack([
            before.expand_as(after), hidden.expand_as(after), after])))  # fmt: skip

    return function


def hidden_as_well(model, x, mask, others, fill, target):
    fall, _ = evidence(model, x, mask, others, fill, target)
    _, chance = evidence(model, x, mask, others | mask, fill, target)
    return fall, chance


def own_colours(model, x, mask, others, fill, target):
    seen = ~others[:, None]
    colours = (x * seen).sum((2, 3)) / seen.sum((2, 3))
    fall, _ = evidence(model, x, mask, others, fill, target)
    alike = [evidence(model, x, o, others, c, target)[0]
             for o, c in zip(others, colours, strict=True)]  # fmt: skip
    return fall, chance_of(torch.tensor(fall), torch.tensor(alike))


def best_of_the_whole(model, x, mask, others, fill, target):
    with torch.no_grad():
        best = int(model(x)[0].argmax())
    return evidence(model, x, mask, others, fill, best)


def all_at_once(model, x, mask, others, fill, target):
    together = others.any(0, keepdim=True)
    fall, chance = evidence(model, x, mask, together, fill, target)
    return fall, (2 * chance) / (1 + len(others))


def one_after_the_other(model, x, mask, others, fill, target):
    """Never put back what was hidden."""
    areas = torch.cat([mask[None], others])
    so_far = torch.stack([areas[: n + 1].any(0) for n in range(len(areas))])
    return evidence(model, x, so_far[0], so_far[1:], fill, target)


def counted_by_p(model, x, mask, others, fill, target):
    fall, _ = evidence(model, x, mask, others, fill, target)
    return fall, weighing(value=of_p_own)(model, x, mask, others, fill, target)[1]


def in_eval_mode(model, x, mask, others, fill, target):
    if isinstance(model, nn.Module):
        model.eval()
    return evidence(model, x, mask, others, fill, target)


def of_p_own(outputs: Tensor, target: Tensor) -> Tensor:
    return own(outputs.softmax(1), target)


def sums(shape: tuple[int, int], *weights: Tensor) -> Callable[[Tensor], Tensor]:
    """Linear network of whole numbers: each class adds up the pixels with its own weights."""
    w = torch.stack(weights)

    def model(pictures: Tensor) -> Tensor:
        return torch.einsum("nchw,khw->nk", pictures, w.to(pictures))

    return model


def one_of(*shape: int, at: tuple[int, ...]) -> Tensor:
    """Mask (H, W) that is true at some of its cells, counted row by row."""
    m = torch.zeros(shape, dtype=torch.bool)
    m.view(-1)[list(at)] = True
    return m


def cells(*shape: int, at: tuple[tuple[int, ...], ...]) -> Tensor:
    """Several such masks."""
    return torch.stack([one_of(*shape, at=one) for one in at])


PIXELS = torch.tensor([[3.0, 1.0, 2.0], [0.0, 2.0, 1.0]])
FIRST = torch.tensor([[1.0, 2.0, 0.0], [1.0, -1.0, 2.0]])


def by_hand(mask: tuple[int, ...], others: tuple[tuple[int, ...], ...], target: int = 0) -> dict:
    """Six pixels in whole numbers, two classes: every fall can be worked out, and falls may tie."""
    return dict(model=sums((2, 3), FIRST, torch.zeros(2, 3)), x=PIXELS[None, None].clone(),
                mask=one_of(2, 3, at=mask), others=cells(2, 3, at=others),
                fill=torch.zeros(1), target=target)  # fmt: skip


def network(seed: int) -> nn.Module:
    """Small network with a bend."""
    return seeded(seed, nn.Flatten(), nn.Linear(2 * 4 * 5, 6), nn.Tanh(), nn.Linear(6, 4))


def asked(seed: int, count: int, target: int, model: Any = None) -> dict[str, Any]:
    """Picture, an area of two pixels, and others of the same size."""
    rng = torch.Generator().manual_seed(seed)
    order = [torch.randperm(20, generator=rng)[:3].tolist() for _ in range(count + 1)]
    masks = cells(4, 5, at=tuple(map(tuple, order)))
    return dict(model=model or network(seed), x=random(1, 2, 4, 5, seed=seed + 1), mask=masks[0],
                others=masks[1:], fill=random(2, seed=seed + 2), target=target)  # fmt: skip


def surely(seed: int, target: int) -> dict[str, Any]:
    """Arguments with a network that is sure of the class."""
    made = asked(seed, 9, target)
    inner = made["model"]

    def sure(pictures: Tensor) -> Tensor:
        scores = inner(pictures)
        bonus = torch.zeros_like(scores)
        bonus[:, target] = 25.0
        return scores + bonus

    return made | dict(model=sure)


def as_two(result: object, _arguments: dict) -> object:
    """Fall and chance under their names."""
    if isinstance(result, tuple | list) and len(result) == 2:
        return {name: float(value) for name, value in zip(("fall", "chance"), result, strict=True)}
    return result


def weighed(label: str, arguments: Callable[[], dict[str, Any]], alone: str = "") -> Case:
    """Case whose two results are looked at one by one."""
    return Case(label, arguments, observe=as_two, alone=alone)


TOO_FEW = (
    "A chance of 0 says that it cannot be chance, and {} tries cannot know that. The area itself "
    "is one of the areas that cost as much: (1 + r)/(1 + n)."
)
NOT_LOG_ODDS = "The fall is that of {}. {} Take the fall of the log-odds."
SURE = "Near p = 1 it hardly moves while the network loses its reasons."
EVIDENCE = Exercise(
    reference=evidence,
    cases=(
        weighed("six pixels, worked out by hand",
                lambda: by_hand((0,), ((1,), (2,), (3,), (4,)))),
        weighed("three areas that cost as much as the one in question",
                lambda: by_hand((1,), ((5,), (0,), (4,), (2,), (1,))),
                alone="Some areas elsewhere cost *exactly* as much. They count: as much is ≥, not "
                "only more."),
        weighed("falls that differ by a sixty-fourth",
                lambda: (made := by_hand((0,), ((1,), (2,), (3,), (4,), (5,))))
                | dict(x=made["x"] / 64),
                alone="Some areas elsewhere cost a *little* less than the one in question. They "
                "do not count: as much is ≥, without a tolerance."),
        weighed("an area that speaks against the class",
                lambda: by_hand((4,), ((0,), (1,), (2,), (3,), (5,)))),
        weighed("four classes and eleven areas", lambda: asked(561, 11, 2)),
        weighed("a network that is sure", lambda: surely(571, 1)),
        weighed("the class that is not the best one, and a network in the middle of its training",
                lambda: asked(584, 6, 3, with_gradients(network(584)).train())),
        weighed(f"one area elsewhere{WHERE}", lambda: on_device(asked(591, 1, 0))),
    ),
    mistakes=catalogue(
        share=(weighing(chance=counted(as_much, (0, 0))),
            "You divided r by n. " + TOO_FEW.format("n")),
        one_below=(weighing(chance=counted(as_much, (0, 1))),
            "There is a 1 below and none above. " + TOO_FEW.format("n")),
        one_above=(weighing(chance=counted(as_much, (1, 0))),
            "There is a 1 above and none below, so that the chance may exceed 1: the area itself "
            "is one of 1 + n."),
        more=(weighing(chance=counted(lambda f, e: e > f)),
            "You counted areas that cost *more*. One that costs exactly as much speaks against "
            "the map just as well: ≥."),
        more_share=(weighing(chance=counted(lambda f, e: e > f, (0, 0))),
            "You counted areas that cost *more*, and divided by n. One that costs exactly as much "
            "counts too (≥), and so does the area itself: (1 + r)/(1 + n)."),
        less=(weighing(chance=counted(lambda f, e: e <= f)),
            "You counted the areas that cost at *most* as much (or compared what is *left*, where "
            "less means that more was lost). A small chance has to mean that few others matter as "
            "much: count those whose fall is ≥ this one."),
        less_share=(weighing(chance=counted(lambda f, e: e < f, (0, 0))),
            "That is the share of areas that cost less. Asked is the chance that another area "
            "costs as much: (1 + r)/(1 + n) with e ≥ fall."),
        complement=(weighing(chance=lambda f, e: 1 - chance_of(f, e)),
            "That is one minus the chance. A small number is to speak for the map."),
        count=(weighing(chance=lambda f, e: 1 + (e >= f).sum().item()),
            "You counted and did not divide: (1 + r)/(1 + n)."),
        nearly_as_much=(weighing(chance=counted(nearly)),
            "You counted areas that cost *nearly* as much. Without a tolerance: ≥."),
        **{f"counts_itself_{below}": (weighing(chance=counted(as_much, (2, below))),
            "The area itself is counted twice: it is among the falls of which you counted those "
            "that are ≥, and in the 1 of 1 + r as well. Count the others only: `falls[1:]`.")
           for below in (1, 2)},
        at_least_one=(weighing(chance=lambda f, e: max((e >= f).sum().item(), 1) / len(e)),
            "You divided r by n, and kept it from 0. The area itself is one of the areas: "
            "(1 + r)/(1 + n)."),
        from_the_hidden=(as_much_from_there(lambda odds: odds[1] - odds[2]),
            "The falls elsewhere start from the picture with the area *hidden*. Each fall starts "
            "from the whole picture: `odds[0] - odds[1:]`."),
        turned_elsewhere=(as_much_from_there(lambda odds: odds[2] - odds[0]),
            "The sign of the falls *elsewhere* is turned round: before − after for all of them."),
        hidden_as_well=(hidden_as_well,
            "You hid the others *in addition to* the area. Each is hidden alone, in a picture that "
            "is otherwise whole."),
        one_after_the_other=(one_after_the_other,
            "What was hidden was never put back: each area is hidden on top of the ones before "
            "it. (`y = x` is another name for x, not a copy.) Hide each in a copy of the whole "
            "picture."),
        all_at_once=(all_at_once,
            "You hid all the others at once. Each is an area to compare with: hide one at a time."),
        own_colours=(own_colours,
            "You hid the others behind colours of their own. Then two things differ, the place and "
            "the colour: `fill` is for all."),
        grey=(weighing(hide=lambda x, m, f: occluded(x, m, f.mean(1, keepdim=True).expand_as(f))),
            "You averaged the colour over its channels, which leaves a grey. Hide behind `fill`."),
        relative=(weighing(falls=lambda b, a: (b - a) / b.abs().where(b != 0, torch.ones_like(b))),
            "You divided the fall by the log-odds of the whole picture. They may be 0, or below. "
            "The fall is a difference: before − after."),
        counted_by_p=(counted_by_p,
            "The fall is that of the log-odds, and the *count* compares probabilities, which "
            "hardly move near 1. Count with the same falls."),
        best_of_the_whole=(best_of_the_whole,
            "You asked about the class that the network says to the whole picture. The question "
            "is about `target`, which may be another."),
        in_eval_mode=(in_eval_mode,
            "The values are right, but you left the model in eval mode: leave it as it was."),
        sizes=(weighing(chance=counted(lambda f, e: e.abs() >= f.abs())),
            "You compared sizes. An area whose hiding *raises* the class is no rival of one whose "
            "hiding lowers it: keep the signs."),
        beyond_the_mean=(weighing(chance=beyond_the_mean),
            "You compared with the mean of the others. Half of all areas exceed the mean; how "
            "many reach *this* fall is what makes it a surprise."),
        minus_mean=(weighing(finish=lambda f, c: (f, c),
                             falls=lambda b, a: (b - a) - (b - a)[1:].mean()),
            "The fall is that of the area itself. You subtracted the mean of the others; those "
            "have their say in the chance."),
        normal=(weighing(chance=normal),
            "You took the others for a normal distribution. A handful of them are not, and there "
            "is no need: count how many reach the fall."),
        wrong_sign=(weighing(falls=lambda b, a: a - b),
            "The sign is turned round, and with it the count: the fall is before − after, "
            "positive where hiding costs something."),
        wrong_sign_of_the_fall=(weighing(finish=lambda f, c: (-f, c)),
            "The sign of the fall is turned round: before − after."),
        absolute=(weighing(falls=lambda b, a: (b - a).abs()),
            "You took absolute values. An area that speaks *against* the class, whose hiding "
            "raises it, then passes for evidence."),
        cut_off=(weighing(falls=lambda b, a: (b - a).clamp(min=0)),
            "You cut negative falls to zero. Hiding what speaks against the class raises it, and "
            "that is a finding."),
        probability=(weighing(value=of_p_own), NOT_LOG_ODDS.format("the probability", SURE)),
        log_probability=(weighing(value=lambda S, c: own(S.log_softmax(1), c)),
            NOT_LOG_ODDS.format("log p", SURE)),
        logit=(weighing(value=own),
            NOT_LOG_ODDS.format("the logit", "All logits may sink together, and the answer "
                                "stays.")),
        margin=(weighing(value=lambda S, c: own(S, c) - others_of(S, c).amax(1)),
            NOT_LOG_ODDS.format("the margin over the best rival", "The rival may change with "
                                "what is hidden, and the many small ones count too.")),
        best_class=(weighing(target_of=lambda S, c: S.argmax(1)),
            "You asked each picture about its own best class. The question is about `target`, also "
            "where hiding makes another class the best."),
        kept_alone=(weighing(hide=lambda x, m, f: occluded(x, ~m, f)),
            "You hid everything *but* the area. That is another experiment (is the area enough?); "
            "here the area goes and the rest stays (is it needed?)."),
        black=(weighing(hide=lambda x, m, f: occluded(x, m, torch.zeros_like(f))),
            "You hid behind zeros, whatever `fill` says."),
        exchanged=(weighing(finish=lambda f, c: (c, f)),
            "The two are exchanged: the fall first, then the chance."),
        fall_alone=(weighing(finish=lambda f, c: f),
            "Only the fall came back. How much it is worth depends on what hiding an equal area "
            "elsewhere does: return the chance too."),
        chance_alone=(weighing(finish=lambda f, c: c),
            "Only the chance came back: the fall first, then the chance."),
        all_falls=(weighing(chance=lambda f, e: e.mean().item()),
            "The second number is the mean fall elsewhere. Asked is how often another area costs "
            "as much: (1 + r)/(1 + n)."),
        ratio=(weighing(falls=lambda b, a: b / a.where(a != 0, torch.ones_like(a))),
            "You divided before by after. Log-odds are logarithms already: their difference says "
            "by which factor the odds fell."),
    ),
    hints=(
        "Ask the model about 2 + n pictures: as it is, with the area hidden, with each other area "
        "hidden. What do you do with the n + 1 falls?",
        "`occluded(x.expand(n, -1, -1, -1), others, fill.expand(n, -1))` hides each of the others "
        "in a copy of x. Falls are log-odds before minus after; r counts those of the others that "
        "are ≥ the fall of the area itself.",
        "`areas = torch.cat([mask[None], others])`, and `S = model(torch.cat([x, hidden]))` under "
        "`torch.no_grad()`; `l = log_odds(S, …)`; `falls = l[0] - l[1:]`; then `falls[0].item()`, "
        "`(1 + (falls[1:] >= falls[0]).sum().item()) / (1 + len(others))`",
    ),
)  # fmt: skip

EXERCISES = (OCCLUDED, LOG_ODDS, EVIDENCE)
