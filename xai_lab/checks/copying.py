"""Exercises of chapter 4, third part: the two heads that copy, by which rule a head looks.

Each exercise is a block: the right function under its exercise's name, the cases, the mistakes,
the hints. `EXERCISES` at the end is what `check` finds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from xai_lab.checks.attention import Change, soft
from xai_lab.checks.exercise import Case, Exercise, Mistake, catalogue
from xai_lab.checks.small import WHERE, on_device

# ------------------------------------------------------------------------- 1. previous token


def along(offset: int) -> Change:
    """Mean of a diagonal, over the rows that have it, for each sample."""
    return lambda A: A.diagonal(offset, -2, -1).mean(-1)


def scoring(part: Change, over: Change = lambda s: s.mean(1)) -> Callable:
    """Score of each head: a number a sample, and what becomes of the samples."""

    def function(attention):
        return over(part(attention))

    return function


def previous_token(attention: Tensor) -> Tensor:
    """Share of attention on the token before, over all rows but the first, (layers, heads)."""
    return scoring(along(-1))(attention)


def hits(A: Tensor) -> Tensor:
    """How often the previous token is looked at most."""
    T = A.shape[-1]
    place = torch.arange(T - 1, device=A.device)
    return (A[..., 1:, :].argmax(-1) == place).float().mean(-1)


def hits_of_all(A: Tensor) -> Tensor:
    """How often the previous token is looked at most, by a mean over all rows."""
    return hits(A) * (A.shape[-1] - 1) / A.shape[-1]


PREVIOUS_TOKEN = Exercise(
    reference=previous_token,
    cases=(
        Case("one head, three tokens", lambda: dict(attention=torch.tensor(
            [[.2, .5, .3], [.7, .1, .2], [.1, .6, .3]])[None, None, None])),
        Case("two layers, three texts, four heads",
             lambda: dict(attention=soft(2, 3, 4, 5, 5, seed=1))),
        Case("a decoder", lambda: dict(attention=soft(3, 2, 2, 6, 6, seed=2, causal=True))),
        Case(f"four tokens{WHERE}", lambda: on_device(dict(attention=soft(2, 4, 3, 4, 4, seed=3)))),
    ),
    mistakes=catalogue(
        next_token=(scoring(along(1)),
            "You took the diagonal above the main one: j = i + 1 is the *next* token. The one "
            "before is `diagonal(-1, …)`."),
        itself=(scoring(along(0)),
            "You took the main diagonal: j = i is the token itself. The one before is "
            "`diagonal(-1, …)`."),
        itself_but_for_the_first=(scoring(lambda A: A.diagonal(0, -2, -1)[..., 1:].mean(-1)),
            "You took the main diagonal, from the second row on: j = i is the token itself. The "
            "one before is `diagonal(-1, …)`, which has no first row anyway."),
        second_row_left_out=(scoring(lambda A: A.diagonal(-1, -2, -1)[..., 1:].mean(-1)),
            "The row of token 1 is left out as well: it has a token before it, token 0. "
            "`diagonal(-1, …)` begins with it, and all of it counts."),
        second_row_left_out_and_counted=(scoring(
                lambda A: A.diagonal(-1, -2, -1)[..., 1:].sum(-1) / (A.shape[-1] - 1)),
            "The row of token 1 is left out of your sum: it has a token before it, token 0. A loop "
            "begins at 1, `range(1, T)`."),
        last_row_left_out=(scoring(lambda A: A.diagonal(-1, -2, -1)[..., :-1].mean(-1)),
            "The last row is left out: `range(1, T)` and `diagonal(-1, …)` have it."),
        first_row_counted=(scoring(lambda A: A.diagonal(-1, -2, -1).sum(-1) / A.shape[-1]),
            "You divided by all T rows. The first token has none before it and cannot look there: "
            "T − 1 rows count."),
        first_row_wraps=(scoring(lambda A: (A.roll(1, -1).diagonal(0, -2, -1)).mean(-1)),
            "Your first row looks at the last token: an index of −1, or a `roll`, wraps around. "
            "The first token has none before it: leave its row out."),
        first_row_itself=(scoring(lambda A: (A.diagonal(-1, -2, -1).sum(-1) + A[..., 0, 0])
                                  / A.shape[-1]),
            "For the first row you took the token itself. It has none before it: leave the row "
            "out."),
        summed=(scoring(lambda A: A.diagonal(-1, -2, -1).sum(-1)),
            "You summed over the rows. A score that does not depend on the length of the text is "
            "their mean."),
        two_back=(scoring(along(-2)),
            "You took the token two places back: `diagonal(-1, …)` is the one before."),
        column_zero=(scoring(lambda A: A[..., 1:, 0].mean(-1)),
            "You took column 0, the first token. The token before i is i − 1."),
        all_before=(scoring(lambda A: A.tril(-1)[..., 1:, :].sum(-1).mean(-1)),
            "You added up everything before the token. Only the one place i − 1 counts."),
        all_before_over_all_rows=(scoring(lambda A: A.tril(-1).sum(-1).mean(-1)),
            "You added up everything before the token, and averaged over all rows. Only the one "
            "place i − 1 counts, and the first row has none."),
        up_to_itself=(scoring(lambda A: (along(-1)(A) + along(0)(A))),
            "You added the token itself. Only the place i − 1 counts."),
        before_and_after=(scoring(lambda A: along(-1)(A) + along(1)(A)),
            "You added the next token. Only the place i − 1 counts."),
        largest=(scoring(lambda A: A.diagonal(-1, -2, -1).amax(-1)),
            "You took the best row. A head that always looks there has a high *mean*."),
        smallest=(scoring(lambda A: A.diagonal(-1, -2, -1).amin(-1)),
            "You took the worst row; the mean over the rows is asked for."),
        last_row=(scoring(lambda A: A[..., -1, -2]),
            "You took the last row alone; the mean over the rows is asked for."),
        counted=(scoring(hits),
            "You counted how often the token before is looked at *most*. Asked is how much: the "
            "mean weight."),
        counted_of_all=(scoring(hits_of_all),
            "You counted how often the token before is looked at *most*. Asked is how much: the "
            "mean weight, over the rows that have a token before."),
        above_half=(scoring(lambda A: (A.diagonal(-1, -2, -1) > 0.5).float().mean(-1)),
            "You counted the weights over one half. Asked is how much: the mean weight."),
        mean_of_everything=(scoring(lambda A: A.tril(-1).mean((-2, -1))),
            "You averaged a whole triangle of zeros and weights. Take one diagonal, and its mean."),
        masked_mean=(scoring(lambda A: A.diagonal(-1, -2, -1).sum(-1) / A.shape[-1] ** 2),
            "You divided by T², the number of places in the matrix. Only T − 1 of them are "
            "asked about."),
        less_than_chance=(scoring(lambda A: along(-1)(A) - 1 / A.shape[-1]),
            "You subtracted what chance puts there. That is done in the package, here not: the "
            "mean weight itself."),
        heads_averaged=(scoring(along(-1), lambda s: s.mean(2)),
            "You averaged over the heads, and kept the texts. Each head has a score: "
            "(layers, heads), the mean over the texts."),
        heads_averaged_too=(scoring(along(-1), lambda s: s.mean((1, 2))),
            "You averaged over the heads too. Each has a score of its own: (layers, heads)."),
        layers_averaged=(scoring(along(-1), lambda s: s.mean((0, 1))),
            "You averaged over the layers too. Each has its own heads: (layers, heads)."),
        over_the_layers=(scoring(along(-1), lambda s: s.mean(0)),
            "You averaged over dimension 0, the layers. The texts are dimension 1 of "
            "(layers, N, heads, T, T)."),
        mean_head_first=(lambda attention: previous_token(
                attention.mean(2, keepdim=True).expand_as(attention)),
            "You averaged the heads first, and all of them got the same score. Choose the head, "
            "then there is nothing to average."),
        texts_kept=(scoring(along(-1), lambda s: s),
            "The texts are still there: average over them, (layers, heads)."),
        texts_summed=(scoring(along(-1), lambda s: s.sum(1)),
            "You summed over the texts; the mean is asked for."),
        best_text=(scoring(along(-1), lambda s: s.amax(1)),
            "You took the best text; the mean over them is asked for."),
        first_text=(scoring(along(-1), lambda s: s[:, 0]),
            "Only the first text is in your score: take the mean over all of them."),
        last_text=(scoring(along(-1), lambda s: s[:, -1]),
            "Only the last text is in your score: take the mean over all of them."),
        last_layer=(scoring(along(-1), lambda s: s.mean(1)[-1]),
            "Only the last layer came back. A previous-token head is often in the first: "
            "(layers, heads)."),
        first_layer=(scoring(along(-1), lambda s: s.mean(1)[0]),
            "Only the first layer came back: (layers, heads)."),
        transposed=(scoring(along(-1), lambda s: s.mean(1).T),
            "Layers and heads are exchanged: a row for each layer, (layers, heads)."),
        one_number=(scoring(along(-1), lambda s: s.mean()),
            "Everything was averaged to one number. Each head has a score: (layers, heads)."),
        which=(scoring(along(-1), lambda s: s.mean(1).flatten().argmax()),
            "You returned the best head already. Return the score of each, (layers, heads); the "
            "best is chosen afterwards."),
        best_of_each_layer=(scoring(along(-1), lambda s: s.mean(1).argmax(-1)),
            "You returned the best head of each layer. Return the score of each head, "
            "(layers, heads)."),
        wrong_dimensions=(lambda attention: attention.diagonal(-1).mean(-1).mean(1),
            "`diagonal` takes dimensions 0 and 1 unless told: `diagonal(-1, -2, -1)` is that of "
            "the matrices."),
        wrong_dimensions_and_texts=(lambda attention: attention.diagonal(-1).mean(-1),
            "`diagonal` takes dimensions 0 and 1 unless told: `diagonal(-1, -2, -1)` is that of "
            "the matrices. (And the mean over the texts is missing.)"),
        block=(scoring(lambda A: A[..., 1:, :-1].mean((-2, -1))),
            "You averaged a whole block of the matrix: rows from 1 on, columns up to the last but "
            "one. Only its diagonal, a_{i, i−1}, is asked for."),
    ),
    hints=(
        "The weights a_{i, i−1} lie on the diagonal below the main one. The first row has none.",
        "`attention.diagonal(offset, -2, -1)` is (layers, N, heads, T − 1). Two means remain.",
        "`return attention.diagonal(-1, -2, -1).mean(-1).mean(1)`",
    ),
)  # fmt: skip


# ------------------------------------------------------------------------- 2. induction


def after_a_copy(t: Tensor) -> Tensor:
    """Places after an earlier copy, (N, T, T): j ≤ i with the token before j equal to token i."""
    T = t.shape[-1]
    i, j = torch.arange(T, device=t.device)[:, None], torch.arange(T, device=t.device)
    before = torch.cat([torch.full_like(t[:, :1], -1), t[:, :-1]], dim=1)
    return (t[:, :, None] == before[:, None, :]) & (j <= i)


def copies(t: Tensor) -> Tensor:
    """Places of earlier copies, (N, T, T): j < i with token j equal to token i."""
    return (t[:, :, None] == t[:, None, :]).tril(-1)


def before_a_copy(t: Tensor) -> Tensor:
    """Places in front of an earlier copy."""
    return torch.cat([copies(t)[:, :, 1:], torch.zeros_like(copies(t)[:, :, :1])], dim=2)


def last_of(where: Tensor) -> Tensor:
    """Only the last place of each row."""
    return where & (where.flip(-1).cumsum(-1).flip(-1) == 1)


def first_of(where: Tensor) -> Tensor:
    """Only the first place of each row."""
    return where & (where.cumsum(-1) == 1)


def shared(A: Tensor, where: Tensor, told: Tensor) -> Tensor:
    """Mean weight in places (N, T, T) over rows that tell (N, T), all texts together."""
    weight = (A * where[:, None]).sum(-1)
    return (weight * told[:, None]).sum((1, 3)) / told.sum()


def inducing(
    where: Change = after_a_copy,
    told: Change = lambda t: copies(t).any(-1),
    mean: Callable[[Tensor, Tensor, Tensor], Tensor] = shared,
    finish: Change = lambda s: s,
) -> Callable:
    """Induction score with one ingredient exchanged."""

    def function(attention, tokens):
        return finish(mean(attention, where(tokens), told(tokens)))

    return function


def induction(attention: Tensor, tokens: Tensor) -> Tensor:
    """Share of attention after an earlier copy of the token itself, (layers, heads)."""
    return inducing()(attention, tokens)


def half_a_text_back(shift: int) -> Change:
    """Places half a text back, as if every text said everything twice."""

    def where(t: Tensor) -> Tensor:
        T = t.shape[-1]
        i, j = torch.arange(T, device=t.device)[:, None], torch.arange(T, device=t.device)
        return (j == i - T // 2 + shift).expand(len(t), T, T)

    return where


def weights_for_each_place(A: Tensor, where: Tensor, told: Tensor) -> Tensor:
    """Mean weight of a place, where a row may have several."""
    return (A * where[:, None]).sum((1, 3, 4)) / where.sum()


def looked_at_most(A: Tensor, where: Tensor, told: Tensor) -> Tensor:
    """How often the strongest place is one of these."""
    hit = where[:, None].expand_as(A[0]).expand_as(A).gather(-1, A.argmax(-1, keepdim=True))[..., 0]
    return (hit * told[:, None]).sum((1, 3)) / told.sum()


def best_place(A: Tensor, where: Tensor, told: Tensor) -> Tensor:
    """Mean of the largest weight in places."""
    return ((A * where[:, None]).amax(-1) * told[:, None]).sum((1, 3)) / told.sum()


def mean_of_places(A: Tensor, where: Tensor, told: Tensor) -> Tensor:
    """Mean over the rows of the mean weight of a row's places."""
    weight = (A * where[:, None]).sum(-1) / where.sum(-1).clamp_min(1)[:, None]
    return (weight * told[:, None]).sum((1, 3)) / told.sum()


def mean_over_rows(A: Tensor, where: Tensor, told: Tensor) -> Tensor:
    """Mean of the sums of all rows, also of those that have no place."""
    return (A * where[:, None]).sum(-1).mean((1, 3))


def mean_of_texts(A: Tensor, where: Tensor, told: Tensor, least: int = 0) -> Tensor:
    """Mean over the texts of each one's mean; NaN for a text that has no row to average."""
    weight = (A * where[:, None]).sum(-1)
    rows = told.sum(-1).clamp_min(least)
    return ((weight * told[:, None]).sum(-1) / rows[:, None]).mean(1)


def mean_of_texts_with_copies(A: Tensor, where: Tensor, told: Tensor) -> Tensor:
    """Mean over those texts that have a row to average."""
    some = told.any(-1)
    return mean_of_texts(A[:, some], where[some], told[some])


def told_by(where: Change, t: Tensor) -> Tensor:
    """Rows that have a place."""
    return where(t).any(-1)


def wrapped(t: Tensor) -> Tensor:
    """Behind copies, with a `roll` that brings the last token to the front."""
    return (t[:, :, None] == t.roll(1, -1)[:, None, :]).tril()


def of_first_tokens(part: Callable) -> Change:
    """Places by the first text's tokens, for all texts."""
    return lambda t: part(t[:1]).expand(len(t), *[-1] * (part(t[:1]).ndim - 1))


def texts(tokens: list[list[int]], layers: int, heads: int, seed: int, **more: Any) -> dict:
    """Tokens, and attention drawn for them."""
    t = torch.tensor(tokens)
    T = t.shape[-1]
    return dict(attention=soft(layers, len(t), heads, T, T, seed=seed, **more), tokens=t)


def before(t: Tensor, first: int = -1) -> Tensor:
    """Token before each one; in front of the first stands a number that no token has."""
    return torch.cat([torch.full_like(t[:, :1], first), t[:, :-1]], dim=1)


def alike(one: Tensor, two: Tensor) -> Tensor:
    """Where token i of one is token j of the other, (N, T, T)."""
    return one[:, :, None] == two[:, None, :]


def everywhere(t: Tensor, where: Tensor) -> Tensor:
    """Places (T, T) in every text."""
    return where.to(t.device).expand(len(t), -1, -1)


HALF = (
    "You count half a text back. That fits a text said twice, and no other: compare the tokens, "
    "t_{j−1} = t_i."
)
COPY = (
    "You looked at the earlier copy itself, t_j = t_i. An induction head looks one further, at "
    "what came *after* the copy: t_{j−1} = t_i."
)
ANY = (
    "Places after *any* copy count in yours, also after later ones, and after the token itself. "
    "The copy must be an earlier one: j ≤ i."
)
SIDE = (
    "i and j are exchanged, or your matrix lies on its side: row i looks, and column j, after an "
    "earlier copy, is looked at."
)
MEANS = (
    "You averaged within each text first, and then over the texts. In I are the rows of all texts "
    "alike: sum over all of them, and divide once by their number."
)
ROLLED = (
    "A `roll`, or an index of −1, brings the last token to the front: the first has none before "
    "it, so column 0 is never after a copy."
)
# Wrong places, each of which a student may average over the right rows, over those that have such
# a place, or over all.
PLACES: dict[str, tuple[Change, str]] = {
    "copy": (copies, COPY),
    "copy_or_itself": (lambda t: alike(t, t).tril(), COPY + " (And the token itself is no copy.)"),
    "any_copy": (
        lambda t: alike(t, t) & ~torch.eye(t.shape[-1], dtype=torch.bool, device=t.device),
        COPY + " (And later copies do not count.)",
    ),
    "all_alike": (lambda t: alike(t, t), COPY + " (And only earlier ones count, not itself.)"),
    "in_front": (
        before_a_copy,
        "You looked in *front* of the earlier copy, t_{j+1} = t_i. What comes next is after it: "
        "t_{j−1} = t_i.",
    ),
    "two_after": (
        lambda t: alike(t, before(before(t))).tril(),
        "You looked two places after the earlier copy; what came next is one after it, "
        "t_{j−1} = t_i.",
    ),
    "same_before": (
        lambda t: alike(before(t), before(t)).tril(-1) & (before(t) >= 0)[:, :, None],
        "You compared what stands before i with what stands before j. It is token i itself that "
        "has stood before j: t_{j−1} = t_i.",
    ),
    "same_before_or_itself": (
        lambda t: alike(before(t), before(t)).tril() & (before(t) >= 0)[:, :, None],
        "You compared what stands before i with what stands before j, also for j = i. It is token "
        "i itself that has stood before j: t_{j−1} = t_i.",
    ),
    "same_as_before": (
        lambda t: alike(before(t), t).tril(),
        "You looked for copies of the token *before* i, t_j = t_{i−1}. It is the other way round: "
        "t_{j−1} = t_i.",
    ),
    "same_as_next": (
        lambda t: alike(torch.cat([t[:, 1:], torch.full_like(t[:, :1], -1)], 1), t).tril(),
        "You looked for copies of the token that comes next, t_j = t_{i+1}. The head cannot know "
        "that one; it knows where token i stood, and looks one further: t_{j−1} = t_i.",
    ),
    "last_copy": (
        lambda t: last_of(after_a_copy(t)),
        "Only the last earlier copy counts in yours. Any of them does.",
    ),
    "first_copy": (
        lambda t: first_of(after_a_copy(t)),
        "Only the first copy counts in yours. Any earlier one does.",
    ),
    "strictly_before": (
        lambda t: after_a_copy(t).tril(-1),
        "You left out j = i. If the token before is the same word, then the place after that copy "
        "is token i itself: j ≤ i.",
    ),
    "after_any": (lambda t: alike(t, before(t)), ANY),
    "after_any_other": (
        lambda t: alike(t, before(t)) & ~torch.eye(
            t.shape[-1], dtype=torch.bool, device=t.device).roll(1, 1),
        ANY,
    ),
    "one_too_far": (lambda t: alike(t, before(t)).tril(1), ANY),
    "rolled": (wrapped, ROLLED),
    "rolled_and_any": (lambda t: alike(t, t.roll(1, -1)), ROLLED + " (And later ones count.)"),
    "zero_in_front": (
        lambda t: alike(t, before(t, 0)).tril(),
        "Before the first token you put a 0, and 0 is a token too. Column 0 is never after a "
        "copy.",
    ),
    "half_a_text": (half_a_text_back(1), HALF),
    "half_a_text_copy": (
        half_a_text_back(0),
        HALF + " (And it is the place *after* the earlier copy.)",
    ),
    "previous": (
        lambda t: everywhere(t, torch.ones(t.shape[-1], t.shape[-1]).tril(-1).triu(-1).bool()),
        "You looked at the token before. That is the other head, on which this one builds: here it "
        "is the place after an earlier copy.",
    ),
    "transposed": (
        lambda t: after_a_copy(t).mT,
        SIDE,
    ),
}  # fmt: skip
IN_EVERY_ROW = ("copy_or_itself", "all_alike", "rolled_and_any")  # has a place


def averaged_three_ways(name: str, where: Change, sentence: str) -> tuple[Mistake, ...]:
    """Mistakes of a wrong place: over the right rows, over its own, over all."""
    over_all = (
        {}
        if name in IN_EVERY_ROW
        else {
            f"{name}_over_all_rows": (
                inducing(where, mean=mean_over_rows),
                sentence + " (And rows without one are left out of the mean.)",
            ),
        }
    )
    return catalogue(**{
        name: (inducing(where), sentence),
        f"{name}_over_its_rows": (inducing(where, partial(told_by, where)), sentence),
    }, **over_all)  # fmt: skip


WRONG_PLACES = tuple(
    mistake
    for name, (where, sentence) in PLACES.items()
    for mistake in averaged_three_ways(name, where, sentence)
)
INDUCTION = Exercise(
    reference=induction,
    cases=(
        Case("three words said twice",
             lambda: texts([[5, 7, 9, 5, 7, 9]], 1, 2, seed=1, causal=True)),
        Case("two texts with words that come again",
             lambda: texts([[1, 2, 1, 3, 1, 2], [4, 4, 5, 6, 5, 4]], 2, 3, seed=2, causal=True)),
        Case("an encoder, which also looks ahead",
             lambda: texts([[0, 8, 3, 0, 2, 0, 8], [6, 1, 6, 2, 6, 2, 9]], 3, 2, seed=3)),
        Case("two texts of which one repeats more",
             lambda: texts([[5, 7, 5, 7, 5, 7], [1, 2, 3, 4, 1, 6]], 2, 2, seed=6, causal=True)),
        Case("two texts of which one repeats nothing",
             lambda: texts([[7, 8, 7, 9, 8], [1, 2, 3, 4, 5]], 2, 3, seed=7, causal=True)),
        Case(f"a word that comes four times{WHERE}",
             lambda: on_device(texts([[3, 1, 3, 2, 3, 4, 3, 1]], 2, 4, seed=4, causal=True))),
    ),
    mistakes=WRONG_PLACES
    + catalogue(
        all_rows_counted=(inducing(mean=mean_over_rows),
            "You divided by all rows. A row without an earlier copy of its token has nowhere to "
            "look, and says nothing about the head: leave it out of the mean."),
        mean_of_texts_counting_zeros=(inducing(mean=partial(mean_of_texts, least=1)),
            f"{MEANS} (And a text without a copy has no mean that could be 0.)"),
        mean_of_texts_with_nan=(inducing(mean=mean_of_texts),
            f"{MEANS} (And a text without a copy made yours NaN, as 0 / 0.)"),
        mean_of_texts_skipping=(inducing(mean=mean_of_texts_with_copies), MEANS),
        later_copies_counted=(inducing(told=lambda t: alike(t, t).sum(-1) > 1),
            "Your places are right, and rows whose only copy comes *later* are in your mean, too. "
            "The copy must be an earlier one: `tril(-1)` before `any`."),
        all_rows_but_the_first=(inducing(mean=lambda A, w, told: mean_over_rows(
                A[..., 1:, :], w[:, 1:], told)),
            "You divided by all rows but the first. A row without an earlier copy of its token "
            "has nowhere to look, and says nothing about the head: leave it out of the mean."),
        half_a_text_for_its_rows=(inducing(half_a_text_back(1), lambda t: (
                torch.arange(t.shape[-1], device=t.device) >= t.shape[-1] // 2).expand_as(t)),
            HALF),
        each_place=(inducing(mean=weights_for_each_place),
            "You took the mean over the places. A row may have several, and a head may share out "
            "its attention among them: sum along the row, then the mean over the rows."),
        best_place=(inducing(mean=best_place),
            "You took the largest weight of a row's places. A head may share out its attention "
            "among several: sum along the row."),
        mean_of_places=(inducing(mean=mean_of_places),
            "You averaged over the places of a row. A head may share out its attention among them: "
            "sum along the row, then the mean over the rows."),
        looked_at_most=(inducing(mean=looked_at_most),
            "You counted how often such a place is looked at *most*. Asked is how much attention "
            "lies there."),
        above_half=(inducing(mean=lambda A, w, told: (
                ((A * w[:, None]).sum(-1) > 0.5) * told[:, None]).sum((1, 3)) / told.sum()),
            "You counted the rows with more than one half. Asked is how much attention lies "
            "there."),
        summed=(inducing(mean=lambda A, w, told: (A * w[:, None]).sum((1, 3, 4))),
            "You summed over the rows; their mean is asked for."),
        everything=(inducing(mean=lambda A, w, told: (A * w[:, None]).mean((1, 3, 4))),
            "You averaged over all places of the matrix. Sum along each row, then take the mean "
            "over the rows that have an earlier copy."),
        second_half=(inducing(told=lambda t: (torch.arange(t.shape[-1], device=t.device)
                              >= t.shape[-1] // 2).expand_as(t)),
            "You took the second half of the rows. Which rows have an earlier copy is said by the "
            "tokens."),
        who_looks=(lambda attention, tokens: induction(attention.mT, tokens),
            SIDE),
        less_chance=(inducing(finish=lambda s: s - s.mean()),
            "You subtracted a mean. The score here is the share itself."),
        first_text_s_tokens=(inducing(of_first_tokens(after_a_copy),
                             of_first_tokens(lambda t: copies(t).any(-1))),
            "Every text was read with the first one's tokens."),
        first_text=(lambda attention, tokens: induction(attention[:, :1], tokens[:1]),
            "Only the first text is in your score: take all of them."),
        last_text=(lambda attention, tokens: induction(attention[:, -1:], tokens[-1:]),
            "Only the last text is in your score: take all of them."),
        heads_averaged=(inducing(finish=lambda s: s.mean(1)),
            "You averaged over the heads. Each has a score of its own: (layers, heads)."),
        layers_averaged=(inducing(finish=lambda s: s.mean(0)),
            "You averaged over the layers. Each has its own heads: (layers, heads)."),
        mean_head_first=(lambda attention, tokens: induction(
                attention.mean(2, keepdim=True).expand_as(attention), tokens),
            "You averaged the heads first, and all of them got the same score. Choose the head, "
            "then there is nothing to average."),
        last_layer=(inducing(finish=lambda s: s[-1]),
            "Only the last layer came back: (layers, heads)."),
        last_layer_with_dimension=(inducing(finish=lambda s: s[-1:]),
            "Only the last layer came back: (layers, heads). "),
        first_layer=(inducing(finish=lambda s: s[0]),
            "Only the first layer came back: (layers, heads)."),
        result_transposed=(inducing(finish=lambda s: s.T),
            "Layers and heads are exchanged: a row for each layer, (layers, heads)."),
        each_text=(lambda attention, tokens: torch.stack([
                induction(attention[:, n : n + 1], tokens[n : n + 1])
                for n in range(len(tokens))], dim=1),
            "The texts are still there: average over them, (layers, heads)."),
        texts_summed=(lambda attention, tokens: len(tokens) * induction(attention, tokens),
            "You summed over the texts; the mean is asked for."),
        which=(inducing(finish=lambda s: s.flatten().argmax()),
            "You returned the best head already. Return the score of each, (layers, heads)."),
        one_number=(inducing(finish=lambda s: s.mean()),
            "Everything was averaged to one number. Each head has a score: (layers, heads)."),
    ),
    hints=(
        "Two comparisons for a place (i, j): is the token *before* j the same as token i, and is "
        "that copy an earlier one?",
        "`tokens[:, :, None] == tokens[:, None, :-1]` says for columns 0 … T − 2 whether they hold "
        "token i; the place after each is one column further: those weights are "
        "`attention[..., 1:]`. `tril` keeps earlier ones.",
        "`copy = (tokens[:, :, None] == tokens[:, None, :-1]).tril(-1)`; "
        "`share = (attention[..., 1:] * copy[:, None]).sum(-1)`; "
        "then the mean of `share` over the rows with `copy.any(-1)`.",
    ),
)  # fmt: skip


EXERCISES = (PREVIOUS_TOKEN, INDUCTION)
