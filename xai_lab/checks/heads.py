# ruff: noqa: D103 (what is said about a wrong function stands beside it in the catalogue)
"""Exercises of chapter 4, second part: what single heads look at, how widely, and by which rule.

Each exercise is a block: the right function under its exercise's name, the cases, the mistakes,
the hints. `EXERCISES` at the end is what `check` finds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from xai_lab.checks.attention import Change, eye_of, share, soft
from xai_lab.checks.exercise import Case, Exercise, Mistake, catalogue
from xai_lab.checks.small import WHERE, on_device

# --------------------------------------------------------------- 1. who looks at whom most


def hidden_columns(A: Tensor, special: Tensor) -> Tensor:
    """Attention without what falls on special tokens."""
    return A.masked_fill(special, 0.0)


def choosing(
    mask: Callable[[Tensor, Tensor], Tensor] = hidden_columns,
    pick: Change = lambda A: A.argmax(-1),
    fuse: Change = lambda A: A.mean(0),
    finish: Callable[[Tensor, Tensor], Any] = lambda heads, mean: (heads, mean),
) -> Callable:
    """Positions looked at most, with one ingredient exchanged."""

    def function(attention, special):
        A = mask(attention, special)
        return finish(pick(A), pick(fuse(A)))

    return function


def strongest(attention: Tensor, special: Tensor) -> tuple[Tensor, Tensor]:
    """Position that each token looks at most: for each head, and for the heads' mean."""
    return choosing()(attention, special)


def columns_removed(attention, special):
    A = attention[..., ~special]
    return A.argmax(-1), A.mean(0).argmax(-1)


def rows_and_columns_removed(attention, special):
    A = attention[:, ~special][:, :, ~special]
    return A.argmax(-1), A.mean(0).argmax(-1)


def hidden_for_heads_only(attention, special):
    return hidden_columns(attention, special).argmax(-1), attention.mean(0).argmax(-1)


def hidden_for_mean_only(attention, special):
    return attention.argmax(-1), hidden_columns(attention, special).mean(0).argmax(-1)


def mean_of_positions(attention, special):
    heads = hidden_columns(attention, special).argmax(-1)
    return heads, heads.float().mean(0).round().long()


def mean_of_positions_down(attention, special):
    heads = hidden_columns(attention, special).argmax(-1)
    return heads, heads.float().mean(0).long()


def mean_of_positions_as_it_is(attention, special):
    heads = hidden_columns(attention, special).argmax(-1)
    return heads, heads.float().mean(0)


def votes(attention, special):
    heads = hidden_columns(attention, special).argmax(-1)
    return heads, heads.mode(0).values


def median_of_positions(attention, special):
    heads = hidden_columns(attention, special).argmax(-1)
    return heads, heads.median(0).values


def special_rows_left_out(attention, special):
    heads, mean = strongest(attention, special)
    return heads[:, ~special], mean[~special]


def special_rows_left_out_and_counted(attention, special):
    return attention.argmax(-1)[:, ~special], attention.mean(0).argmax(-1)[~special]


def second_best(A: Tensor) -> Tensor:
    """Position of the second largest."""
    return A.topk(2).indices[..., 1]


def chosen(*heads: tuple[int, ...], seed: int, special: tuple[int, ...]) -> dict[str, Any]:
    """Draw the attention of a layer, the special tokens the brightest, as they are in BERT."""
    (shape,) = heads
    marked = torch.zeros(shape[-1], dtype=torch.bool)
    marked[list(special)] = True
    A = soft(*shape, seed=seed)
    return dict(attention=share(A + 0.8 * marked.float()), special=marked)


def two_parts(result: object, arguments: dict) -> object:
    """Two tensors by their names."""
    if isinstance(result, tuple) and len(result) == 2:
        return {"by head": torch.as_tensor(result[0]), "averaged": torch.as_tensor(result[1])}
    return result


def case_of_strongest(label: str, arguments: Callable[[], dict[str, Any]]) -> Case:
    """Case whose result is looked at in its two parts."""
    return Case(label, arguments, observe=two_parts)


SPECIALS_COUNT = (
    "[CLS] and its like are still in the race, and win it nearly everywhere. Set their *columns* "
    "to 0 before you ask for the largest."
)
WHO_LOOKS = (
    "You asked who looks at each token most (`argmax(-2)`, down the columns). Asked is whom each "
    "token looks at: along its row, `argmax(-1)`."
)
STRONGEST = Exercise(
    reference=strongest,
    cases=(
        case_of_strongest("two heads, three tokens", lambda: dict(
            attention=torch.tensor([[[.6, .1, .3], [.5, .3, .2], [.4, .35, .25]],
                                    [[.1, .7, .2], [.8, .05, .15], [.2, .1, .7]]]),
            special=torch.tensor([True, False, False]))),
        case_of_strongest("special tokens at both ends",
                          lambda: chosen((3, 6, 6), seed=12, special=(0, 5))),
        case_of_strongest("two texts, with a special token between them",
                          lambda: chosen((4, 9, 9), seed=22, special=(0, 4, 8))),
        case_of_strongest("no special tokens at all",
                          lambda: chosen((6, 6, 6), seed=39, special=())),
        case_of_strongest(f"twelve heads{WHERE}",
                          lambda: on_device(chosen((12, 8, 8), seed=44, special=(0, 7)))),
    ),
    mistakes=catalogue(
        special_counted=(choosing(mask=lambda A, s: A), SPECIALS_COUNT),
        special_counted_in_the_mean=(hidden_for_heads_only,
            "In the average the special tokens are still in the race. Set their columns to 0 "
            "there, too."),
        special_counted_by_head=(hidden_for_mean_only,
            "Head by head the special tokens are still in the race. Set their columns to 0 there, "
            "too."),
        only_special=(choosing(mask=lambda A, s: A.masked_fill(~s, 0.0)),
            "It is the other way round: `special` is true for the tokens that do not count, and "
            "yours are the only ones left."),
        rows_hidden=(choosing(mask=lambda A, s: A.masked_fill(s[:, None], 0.0)),
            "The *rows* of special tokens are hidden. They may look; it is their columns, in which "
            "they are looked at, that must not win: a mask (T,) meets the last dimension."),
        rows_and_columns_hidden=(choosing(mask=lambda A, s: A.masked_fill(s[:, None] | s, 0.0)),
            "You set rows and columns of special tokens to 0. They may look; only their columns, "
            "in which they are looked at, do not count."),
        first_hidden=(choosing(mask=lambda A, s: A.masked_fill(
                torch.arange(len(s), device=s.device) == 0, 0.0)),
            "Only column 0 is hidden. `special` says which tokens do not count; [SEP] is among "
            "them."),
        ends_hidden=(choosing(mask=lambda A, s: A.masked_fill(
                (torch.arange(len(s), device=s.device) % (len(s) - 1)) == 0, 0.0)),
            "The first and the last column are hidden, whatever `special` says."),
        columns_removed=(columns_removed,
            "You took the special columns out, and the positions moved up: position 0 is now "
            "the first word. Set them to 0 instead, so that each column keeps its number."),
        rows_and_columns_removed=(rows_and_columns_removed,
            "You took special rows and columns out. Each token has a row in the result, and "
            "positions count all tokens: set the columns to 0 instead."),
        rows_left_out=(choosing(finish=lambda h, m: (h[:, 1:-1], m[1:-1])),
            "The first and the last row are left out. Special tokens look as well: a row for each "
            "token."),
        who_looks=(choosing(pick=lambda A: A.argmax(-2)), WHO_LOOKS),
        who_looks_special_counted=(choosing(pick=lambda A: A.argmax(-2), mask=lambda A, s: A),
            WHO_LOOKS + " (And special columns are to be set to 0 first.)"),
        who_looks_rows_hidden=(choosing(pick=lambda A: A.argmax(-2),
                               mask=lambda A, s: A.masked_fill(s[:, None], 0.0)),
            WHO_LOOKS + " (Columns are hidden then, not rows.)"),
        which_head=(choosing(pick=lambda A: A.argmax(0)),
            "You took the argmax over dimension 0, the heads. Asked is the position, `dim=-1`."),
        exchanged=(choosing(finish=lambda h, m: (m, h)),
            "The two are exchanged: first the positions for each head, (heads, T), then those of "
            "the mean, (T,)."),
        averaged_for_all=(choosing(finish=lambda h, m: (m.expand_as(h), m)),
            "Every head got the answer of their mean: you averaged before you asked the heads."),
        averaged_alone=(choosing(finish=lambda h, m: m),
            "Only the positions of the mean came back: heads first, then their mean, as a tuple."),
        by_head_alone=(choosing(finish=lambda h, m: h),
            "Only the positions by head came back: heads first, then their mean, as a tuple."),
        one_under_the_other=(choosing(finish=lambda h, m: torch.cat([h, m[None]])),
            "You put both into one tensor. Return two: the heads', (heads, T), and the mean's, "
            "(T,)."),
        mean_of_positions=(mean_of_positions,
            "You averaged positions. Between token 1 and token 5 lies token 3, at which nobody "
            "looked: average the *attention*, then ask for the largest."),
        mean_of_positions_down=(mean_of_positions_down,
            "You averaged positions. Between token 1 and token 5 lies token 3, at which nobody "
            "looked: average the *attention*, then ask for the largest. "),
        mean_of_positions_as_it_is=(mean_of_positions_as_it_is,
            "You averaged positions, and they are no longer whole. Average the *attention*, then "
            "ask for the largest."),
        median_of_positions=(median_of_positions,
            "You took the median of positions. Positions are names, not sizes: average the "
            "*attention*, then ask for the largest."),
        special_rows_left_out=(special_rows_left_out,
            "The rows of special tokens are left out. They look as well: a row for each token."),
        special_rows_left_out_and_counted=(special_rows_left_out_and_counted,
            "You left out the rows of special tokens. They may look; what must not win is their "
            "columns: set those to 0 before the argmax."),
        votes=(votes,
            "You let the heads vote. The mean is asked for: average the *attention*, in which a "
            "head that is sure counts for more, then ask for the largest."),
        largest_over_heads=(choosing(fuse=lambda A: A.amax(0)),
            "You took the maximum over the heads; the mean is asked for."),
        median=(choosing(fuse=lambda A: A.median(0).values),
            "You took the median over the heads; the mean is asked for."),
        smallest_over_heads=(choosing(fuse=lambda A: A.amin(0)),
            "You took the minimum over the heads; the mean is asked for."),
        product_of_heads=(choosing(fuse=lambda A: A.prod(0)),
            "You multiplied the heads; their mean is asked for."),
        mean_over_rows=(choosing(fuse=lambda A: A.mean(1)),
            "You averaged over dimension 1, those who look. The heads are dimension 0."),
        mean_over_columns=(choosing(fuse=lambda A: A.mean(-1)),
            "You averaged over the last dimension, what is looked at. The heads are dimension 0."),
        first_head_for_the_mean=(choosing(finish=lambda h, m: (h, h[0])),
            "For the mean you gave the first head's answer."),
        last_head_for_the_mean=(choosing(finish=lambda h, m: (h, h[-1])),
            "For the mean you gave the last head's answer."),
        weights=(choosing(pick=lambda A: A.amax(-1)),
            "These are the largest *weights*. Asked is where they are: `argmax`."),
        smallest=(choosing(mask=lambda A, s: A.masked_fill(s, 2.0), pick=lambda A: A.argmin(-1)),
            "These are the positions looked at *least*: `argmax`, not `argmin`."),
        smallest_special=(choosing(pick=lambda A: A.argmin(-1)),
            "These are the positions looked at *least*: `argmax`, not `argmin`."),
        smallest_special_counted=(choosing(mask=lambda A, s: A, pick=lambda A: A.argmin(-1)),
            "These are the positions looked at *least*: `argmax`, not `argmin`."),
        second_largest=(choosing(pick=second_best),
            "These are the second largest. With the special columns at 0 the largest is what is "
            "asked for."),
        second_largest_special_counted=(choosing(mask=lambda A, s: A, pick=second_best),
            "You took the second largest, since the largest is [CLS]. Not everywhere: set the "
            "special columns to 0 and take the largest."),
        not_itself=(choosing(mask=lambda A, s: hidden_columns(A, s) * (1 - eye_of(A))),
            "You hid the diagonal too. A token may look at itself; that is an answer."),
        counted_from_one=(choosing(finish=lambda h, m: (h + 1, m + 1)),
            "Your positions count from 1; they count from 0, and 0 is [CLS]."),
        counted_from_the_words=(choosing(finish=lambda h, m: (h - 1, m - 1)),
            "Your positions are one too small: they count all tokens, and 0 is [CLS]."),
        over_the_matrix=(choosing(pick=lambda A: A.flatten(-2).argmax(-1)),
            "You asked for the largest of the whole matrix. Each row has one: `argmax(dim=-1)`."),
    ),
    hints=(
        "Hide what must not win, then ask for the largest in each row; once for the heads as they "
        "are, once for their mean.",
        "`attention.masked_fill(special, 0)` sets columns to 0, because (T,) meets the last "
        "dimension. The heads are dimension 0.",
        "`A = attention.masked_fill(special, 0)`; `return A.argmax(-1), A.mean(0).argmax(-1)`",
    ),
)  # fmt: skip


# ------------------------------------------------------------------------- 2. entropy


def spreading(
    entropies: Change = lambda A: -torch.special.xlogy(A, A).sum(-1),
    average: Callable[[Tensor, Tensor], Tensor] = lambda H, real: (
        (H * real[:, None]).sum(-1) / real.sum(-1)[:, None]
    ),
    before: Change = lambda A: A,
) -> Callable:
    """Mean entropy with one ingredient exchanged. Real: (N, T), 1 for a token."""

    def function(attention, mask):
        return average(entropies(before(attention)), mask.to(attention))

    return function


def head_entropy(attention: Tensor, mask: Tensor) -> Tensor:
    """Mean entropy of the rows that are no padding, (layers, N, heads)."""
    return spreading()(attention, mask)


def with_log(log: Change) -> Callable:
    """Mean entropy with another logarithm."""
    return spreading(lambda A: -(A * log(A.clamp_min(1e-30))).sum(-1))


def padded(*shape: int, real: tuple[int, ...], seed: int, rows: bool = True, **more: Any) -> dict:
    """Draw attention whose columns of padding are 0; its rows too, unless ``rows``."""
    mask = (torch.arange(shape[-1]) < torch.tensor(real)[:, None]).long()
    A = soft(*shape, seed=seed, **more) * mask[:, None, None]
    A = share(A)
    return dict(attention=A if rows else A * mask[:, None, :, None], mask=mask)


def of_mean_row(attention, mask):
    real = mask.to(attention)[:, None, :, None]
    row = (attention * real).sum(-2) / real.sum(-2)
    return -torch.special.xlogy(row, row).sum(-1)


def of_mean_head(attention, mask):
    mean = attention.mean(2, keepdim=True)
    return head_entropy(mean.expand_as(attention), mask)


def of_everything(attention, mask):
    return -torch.special.xlogy(attention, attention).mean((-2, -1))


NAN = (
    "There are NaNs: 0 · log 0 is 0 · (−∞). A weight of zero, of a mask or of padding, adds "
    "nothing to the entropy: `torch.special.xlogy(a, a)`, or `a.clamp_min(1e-12).log()`."
)
PADDING = (
    "Rows of padding are in your mean. Nobody asked them: sum over the tokens that `mask` marks, "
    "and divide by their number."
)
HEAD_ENTROPY = Exercise(
    reference=head_entropy,
    cases=(
        Case("weights ½, ¼, ¼ in every row", lambda: dict(
            attention=torch.tensor([.5, .25, .25]).expand(1, 1, 1, 3, 3).clone(),
            mask=torch.ones(1, 3, dtype=torch.long))),
        Case("two layers, two texts, three heads",
             lambda: padded(2, 2, 3, 4, 4, real=(4, 4), seed=1)),
        Case("texts of different lengths, their padding's rows left as they are",
             lambda: padded(2, 3, 2, 5, 5, real=(5, 3, 4), seed=2)),
        Case("a decoder, in which half of the weights are 0",
             lambda: padded(3, 2, 4, 4, 4, real=(4, 4), seed=3, causal=True)),
        Case(f"texts of different lengths, their padding's rows at 0{WHERE}",
             lambda: on_device(padded(2, 2, 3, 6, 6, real=(2, 6), seed=4, rows=False))),
    ),
    mistakes=catalogue(
        in_bits=(with_log(torch.log2),
            "You took log2: your entropies are in bits. Here they are in nats, with `log`, and "
            "ln T is the largest."),
        log10=(with_log(torch.log10), "You took log10; the natural logarithm is `log`."),
        log1p=(with_log(torch.log1p), "You took log1p, which is ln(1 + a); it is ln a, `log`."),
        without_minus=(spreading(lambda A: torch.special.xlogy(A, A).sum(-1)),
            "The minus is missing: logarithms of shares are negative, entropies are not."),
        absolute_bits_without_minus=(spreading(lambda A: torch.special.xlogy(A, A).sum(-1)
                                               / math.log(2)),
            "The minus is missing, and you took log2: nats, with `log`."),
        nan=(spreading(lambda A: -(A * A.log()).sum(-1)), NAN),
        nan_in_bits=(spreading(lambda A: -(A * A.log2()).sum(-1)), NAN + " (And it is `log`.)"),
        nan_without_minus=(spreading(lambda A: (A * A.log()).sum(-1)),
            NAN + " (And the minus is missing.)"),
        nan_rows_to_zero=(spreading(lambda A: (-(A * A.log()).sum(-1)).nan_to_num(0.0)),
            "A whole row was set to 0 because one of its weights is 0. Only that weight's part, "
            "0 · log 0, is 0: use `torch.special.xlogy(a, a)` or clamp before the logarithm."),
        nan_rows_left_out=(spreading(lambda A: -(A * A.log()).sum(-1),
                lambda H, real: H.masked_fill(real[:, None] == 0, math.nan).nanmean(-1)),
            "Rows with a weight of 0 fell out of your mean as NaN. Only that weight's part, "
            "0 · log 0, is 0: use `torch.special.xlogy(a, a)` or clamp before the logarithm."),
        large_epsilon=(spreading(lambda A: -(A * (A + 1e-2).log()).sum(-1)),
            "What you add inside the logarithm is too large and moves the result; 1e-12 is enough "
            "to be safe."),
        epsilon_of_a_thousandth=(spreading(lambda A: -(A * (A + 1e-3).log()).sum(-1)),
            "What you add inside the logarithm is too large and moves the result; 1e-12 is enough "
            "to be safe. "),
        padding_counted=(spreading(average=lambda H, real: H.mean(-1)), PADDING),
        padding_at_zero=(spreading(average=lambda H, real: (H * real[:, None]).mean(-1)),
            "Rows of padding count as 0 in your mean: you divided by all T. Divide by the number "
            "of tokens, `mask.sum(-1)`."),
        padding_in_the_sum=(spreading(average=lambda H, real: H.sum(-1) / real.sum(-1)[:, None]),
            "You divided by the number of tokens, but rows of padding are still in the sum: "
            "multiply by the mask first, and sum along the rows, `.sum(-1)`, not down the "
            "columns."),
        only_padding=(spreading(average=lambda H, real: (H * (1 - real)[:, None]).sum(-1)
                                / real.sum(-1)[:, None]),
            "The mask is the wrong way round: it is 1 for a token and 0 for padding."),
        divided_by_all_tokens=(spreading(average=lambda H, real: (H * real[:, None]).sum(-1)
                                         / real.sum()),
            "You divided by the number of tokens of all texts together. Each text has its own: "
            "`mask.sum(-1)`."),
        first_text_s_mask=(spreading(average=lambda H, real: (H * real[0]).sum(-1)
                                     / real[0].sum()),
            "Every text got the first one's mask."),
        of_the_mean_head=(of_mean_head,
            "You averaged the heads first. The mean of two sharp heads is wide: the entropy "
            "of a mean is not the mean of entropies."),
        of_the_mean_head_alone=(lambda attention, mask: head_entropy(
                attention.mean(2, keepdim=True), mask)[:, :, 0],
            "You averaged the heads. Each has an entropy of its own: (layers, N, heads)."),
        heads_averaged_after=(lambda attention, mask: head_entropy(attention, mask).mean(2),
            "You averaged over the heads at the end. Each has an entropy of its own: "
            "(layers, N, heads)."),
        of_the_mean_row=(of_mean_row,
            "You averaged the rows first. A head that looks at one token from each row has "
            "entropy 0, whichever token that is: entropy of each row, then the mean."),
        of_everything=(of_everything,
            "You averaged over rows and columns. Along a row the entropy is a *sum*; the mean is "
            "over the rows."),
        mean_for_sum=(spreading(lambda A: -torch.special.xlogy(A, A).mean(-1)),
            "You averaged along the row. The entropy is the sum of −a ln a over the row."),
        summed_rows=(spreading(average=lambda H, real: (H * real[:, None]).sum(-1)),
            "You summed the rows' entropies; their mean is asked for."),
        largest_row=(spreading(average=lambda H, real: (H * real[:, None]).amax(-1)),
            "You took the widest row; the mean over the rows is asked for."),
        first_row=(spreading(average=lambda H, real: H[..., 0]),
            "You took the row of token 0 alone; the mean over the rows is asked for."),
        rows_not_averaged=(spreading(average=lambda H, real: H),
            "One number for each row came back. The mean over the rows is asked for: "
            "(layers, N, heads)."),
        rows_not_averaged_at_zero=(spreading(average=lambda H, real: H * real[:, None]),
            "One number for each row came back. The mean over the rows is asked for: "
            "(layers, N, heads). "),
        without_weight=(spreading(lambda A: -A.clamp_min(1e-30).log().sum(-1)),
            "The logarithms are summed without their weights: −a ln a."),
        largest_weight=(spreading(lambda A: -A.amax(-1).clamp_min(1e-30).log()),
            "You took the logarithm of the largest weight alone; the entropy sums −a ln a over "
            "the row."),
        gini=(spreading(lambda A: 1 - (A**2).sum(-1)),
            "This is 1 − Σa², another measure of width. The entropy is −Σ a ln a."),
        perplexity=(spreading(lambda A: (-torch.special.xlogy(A, A).sum(-1)).exp()),
            "You took the exponential of the entropy (the perplexity). Leave it in nats."),
        of_ln_T=(spreading(lambda A: -torch.special.xlogy(A, A).sum(-1) / math.log(A.shape[-1])),
            "You divided by ln T. Leave it in nats: 0 for one token, ln T for all alike."),
        of_ln_of_tokens=(lambda attention, mask: head_entropy(attention, mask)
                         / mask.sum(-1).clamp_min(2).log()[:, None],
            "You divided by the logarithm of the number of tokens. Leave it in nats: 0 for one "
            "token, ln T for all alike."),
        pooled=(lambda attention, mask: (-torch.special.xlogy(attention, attention).sum(-1)
                                         * mask[:, None]).sum((1, 3)) / mask.sum(),
            "You averaged over the texts too. Each has a number of its own: (layers, N, heads)."),
        softmax_again=(spreading(before=lambda A: A.softmax(-1)),
            "You took a softmax of the attention, which is one already."),
        all_texts=(lambda attention, mask: head_entropy(attention, mask).mean(1),
            "You averaged over the texts. Each has a number of its own: (layers, N, heads)."),
        all_texts_and_heads=(lambda attention, mask: head_entropy(attention, mask).mean((1, 2)),
            "You averaged over texts and heads. Each has a number of its own: (layers, N, heads)."),
        first_text=(lambda attention, mask: head_entropy(attention, mask)[:, 0],
            "Only the first text came back: (layers, N, heads)."),
        last_layer=(lambda attention, mask: head_entropy(attention, mask)[-1],
            "Only the last layer came back: (layers, N, heads)."),
        order=(lambda attention, mask: head_entropy(attention, mask).transpose(1, 2),
            "Texts and heads are exchanged: (layers, N, heads)."),
    ),
    hints=(
        "First one number for each row, the sum of −a ln a. Then the mean over those rows that "
        "belong to a token.",
        "`torch.special.xlogy(A, A)` is A ln A, and 0 where A is 0. The mask is (N, T), the "
        "entropies are (layers, N, heads, T): `mask[:, None]` makes them meet.",
        "`H = -torch.special.xlogy(A, A).sum(-1)`; "
        "`(H * mask[:, None]).sum(-1) / mask.sum(-1)[:, None]`",
    ),
)  # fmt: skip


# ------------------------------------------------------------------------- 3. previous token


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
        Case(f"two tokens{WHERE}", lambda: on_device(dict(attention=soft(2, 4, 3, 2, 2, seed=3)))),
    ),
    mistakes=catalogue(
        next_token=(scoring(along(1)),
            "You took the diagonal above the main one: j = i + 1 is the *next* token. The one "
            "before is `diagonal(-1, …)`."),
        itself=(scoring(along(0)),
            "You took the main diagonal: j = i is the token itself. The one before is "
            "`diagonal(-1, …)`."),
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
        two_back=(scoring(lambda A: along(-2)(A) if A.shape[-1] > 2 else 0 * A[..., 0, 0]),
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


# ------------------------------------------------------------------------- 4. induction


def behind_a_copy(t: Tensor) -> Tensor:
    """Places behind an earlier copy, (N, T, T): j ≤ i with the token before j equal to token i."""
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
    where: Change = behind_a_copy,
    told: Change = lambda t: copies(t).any(-1),
    mean: Callable[[Tensor, Tensor, Tensor], Tensor] = shared,
    finish: Change = lambda s: s,
) -> Callable:
    """Induction score with one ingredient exchanged."""

    def function(attention, tokens):
        return finish(mean(attention, where(tokens), told(tokens)))

    return function


def induction(attention: Tensor, tokens: Tensor) -> Tensor:
    """Share of attention behind an earlier copy of the token itself, (layers, heads)."""
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
    "what came *behind* the copy: t_{j−1} = t_i."
)
ANY = (
    "Places behind *any* copy count in yours, also behind later ones, and behind the token itself. "
    "The copy must be an earlier one: j ≤ i."
)
SIDE = (
    "i and j are exchanged, or your matrix lies on its side: row i looks, and column j, behind an "
    "earlier copy, is looked at."
)
ROLLED = (
    "A `roll`, or an index of −1, brings the last token to the front: the first has none before "
    "it, so column 0 is never behind a copy."
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
        "You looked in *front* of the earlier copy, t_{j+1} = t_i. What comes next is behind it: "
        "t_{j−1} = t_i.",
    ),
    "two_behind": (
        lambda t: alike(t, before(before(t))).tril(),
        "You looked two places behind the earlier copy; what came next is one behind it, "
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
        "that one; it knows where token i stood, and looks behind: t_{j−1} = t_i.",
    ),
    "last_copy": (
        lambda t: last_of(behind_a_copy(t)),
        "Only the last earlier copy counts in yours. Any of them does.",
    ),
    "first_copy": (
        lambda t: first_of(behind_a_copy(t)),
        "Only the first copy counts in yours. Any earlier one does.",
    ),
    "strictly_before": (
        lambda t: behind_a_copy(t).tril(-1),
        "You left out j = i. If the token before is the same word, then the place behind that copy "
        "is token i itself: j ≤ i.",
    ),
    "behind_any": (lambda t: alike(t, before(t)), ANY),
    "behind_any_other": (
        lambda t: alike(t, before(t)) & ~torch.eye(
            t.shape[-1], dtype=torch.bool, device=t.device).roll(1, 1),
        ANY,
    ),
    "one_too_far": (lambda t: alike(t, before(t)).tril(1), ANY),
    "rolled": (wrapped, ROLLED),
    "rolled_and_any": (lambda t: alike(t, t.roll(1, -1)), ROLLED + " (And later ones count.)"),
    "zero_in_front": (
        lambda t: alike(t, before(t, 0)).tril(),
        "Before the first token you put a 0, and 0 is a token too. Column 0 is never behind a "
        "copy.",
    ),
    "half_a_text": (half_a_text_back(1), HALF),
    "half_a_text_copy": (
        half_a_text_back(0),
        HALF + " (And it is the place *behind* the earlier copy.)",
    ),
    "previous": (
        lambda t: everywhere(t, torch.ones(t.shape[-1], t.shape[-1]).tril(-1).triu(-1).bool()),
        "You looked at the token before. That is the other head, on which this one builds: here it "
        "is the place behind an earlier copy.",
    ),
    "transposed": (
        lambda t: behind_a_copy(t).mT,
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
        Case(f"a word that comes four times{WHERE}",
             lambda: on_device(texts([[3, 1, 3, 2, 3, 4, 3, 1]], 2, 4, seed=4, causal=True))),
    ),
    mistakes=WRONG_PLACES
    + catalogue(
        all_rows_counted=(inducing(mean=mean_over_rows),
            "You divided by all rows. A row without an earlier copy of its token has nowhere to "
            "look, and says nothing about the head: leave it out of the mean."),
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
        first_text_s_tokens=(inducing(of_first_tokens(behind_a_copy),
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
        "token i; the place behind each is one column further: those weights are "
        "`attention[..., 1:]`. `tril` keeps earlier ones.",
        "`copy = (tokens[:, :, None] == tokens[:, None, :-1]).tril(-1)`; "
        "`share = (attention[..., 1:] * copy[:, None]).sum(-1)`; "
        "then the mean of `share` over the rows with `copy.any(-1)`.",
    ),
)  # fmt: skip


# ------------------------------------------------------------------------- 5. CLS maps


def before_patches(A: Tensor, grid: tuple[int, int]) -> int:
    """How many tokens stand before the patches."""
    return A.shape[-1] - grid[0] * grid[1]


def folding(
    row: Change = lambda A: A[:, :, 0],
    cut: Callable[[Tensor, int, int], Tensor] = lambda r, special, patches: r[..., special:],
    fold: Callable[[Tensor, tuple[int, int]], Tensor] = lambda r, g: r.unflatten(-1, g),
    finish: Callable[[Tensor], Any] = lambda m: m,
) -> Callable:
    """Maps of CLS with one ingredient exchanged. The row is (N, heads, T)."""

    def function(attention, grid):
        special = before_patches(attention, grid)
        return finish(fold(cut(row(attention), special, grid[0] * grid[1]), grid))

    return function


def cls_maps(attention: Tensor, grid: tuple[int, int]) -> Tensor:
    """Row of CLS, its patches folded to their grid, (N, heads, h, w)."""
    return folding()(attention, grid)


def rows_of_patches(attention, grid):
    special = before_patches(attention, grid)
    return attention[:, :, special:, special:].mean(2).unflatten(-1, grid)


def columns_of_patches(attention, grid):
    special = before_patches(attention, grid)
    return attention[:, :, special:, special:].mean(3).unflatten(-1, grid)


def last_special(attention, grid):
    special = before_patches(attention, grid)
    return attention[:, :, special - 1, special:].unflatten(-1, grid)


def all_special(attention, grid):
    special = before_patches(attention, grid)
    return attention[:, :, :special, special:].mean(2).unflatten(-1, grid)


def first_patch(attention, grid):
    special = before_patches(attention, grid)
    return attention[:, :, special, special:].unflatten(-1, grid)


def down_the_columns(r: Tensor, grid: tuple[int, int]) -> Tensor:
    """Patches laid out column by column."""
    return r.unflatten(-1, grid[::-1]).mT


def seen_patches(n: int, heads: int, grid: tuple[int, int], special: int, seed: int) -> dict:
    """Draw attention of a vision transformer's layer."""
    T = special + grid[0] * grid[1]
    return dict(attention=soft(n, heads, T, T, seed=seed), grid=grid)


SIZES = (
    "the sizes do not fit. A row has T numbers: first T − h·w special tokens (CLS, perhaps "
    "registers too), then h·w patches, which need be no square"
)


def with_a_word(function: Callable, arguments: dict) -> Tensor:
    """Call a function; where its sizes do not fit, say what the likely reason is."""
    try:
        return function(arguments["attention"], arguments["grid"])
    except RuntimeError as error:
        if re.search("invalid for input of size|multiply up to", str(error)):
            error.args = (SIZES,)  # the traceback stays the student's own
        raise


def case_of_maps(label: str, arguments: Callable[[], dict[str, Any]]) -> Case:
    """Case in which sizes that do not fit are spoken of in terms of tokens."""
    return Case(label, arguments, play=with_a_word)


def finishing(finish: Change) -> Callable:
    """Right maps with something done to them."""
    return folding(finish=finish)


CLS_KEPT = (
    "The CLS token is still in your picture and every patch has moved one place on. What stands "
    "before the patches is dropped: T − h·w tokens, `row[..., T - h * w:]`."
)
CLS_MAPS = Exercise(
    reference=cls_maps,
    cases=(
        case_of_maps("one picture, two heads, 2 × 2 patches",
                     lambda: seen_patches(1, 2, (2, 2), 1, seed=1)),
        case_of_maps("a grid of 2 × 3", lambda: seen_patches(2, 3, (2, 3), 1, seed=2)),
        case_of_maps("two special tokens before 3 × 3 patches",
                     lambda: seen_patches(2, 3, (3, 3), 2, seed=3)),
        case_of_maps("CLS and four registers before 3 × 2 patches",
                     lambda: seen_patches(3, 2, (3, 2), 5, seed=4)),
        case_of_maps(f"a grid of 4 × 4{WHERE}",
                     lambda: on_device(seen_patches(2, 4, (4, 4), 1, seed=5))),
    ),
    mistakes=catalogue(
        column=(folding(row=lambda A: A[..., 0]),
            "You took the *column* of CLS: which patches look at it. Where CLS looks is its row, "
            "`attention[:, :, 0]`."),
        column_kept=(folding(row=lambda A: A[..., 0], cut=lambda r, s, p: r[..., :p]),
            "You took the *column* of CLS, with CLS in it. Where it looks is its row, "
            "`attention[:, :, 0]`, from the first patch on."),
        column_one_dropped=(folding(row=lambda A: A[..., 0], cut=lambda r, s, p: r[..., 1:]),
            "You took the *column* of CLS: which patches look at it. Where CLS looks is its row, "
            "`attention[:, :, 0]`; and there may be several special tokens to drop."),
        cls_kept=(folding(cut=lambda r, s, p: r[..., :p]), CLS_KEPT),
        one_dropped_and_cut=(folding(cut=lambda r, s, p: r[..., 1 : 1 + p]),
            "You dropped one token. There may be registers and others behind CLS: all T − h·w "
            "tokens before the patches go."),
        last_dropped=(folding(cut=lambda r, s, p: r[..., :-1]),
            "You dropped the last token. CLS is the first."),
        by_columns=(folding(fold=down_the_columns),
            "You laid the patches out column by column. They come row by row, as one reads: "
            "`.reshape(…, h, w)` does that."),
        on_their_side=(folding(finish=lambda m: m.mT),
            "Your maps lie on their side (transposed): h rows of w patches."),
        width_first=(folding(fold=lambda r, g: r.unflatten(-1, g[::-1])),
            "h and w are exchanged: the grid is (h, w), rows first, as in (N, C, H, W)."),
        not_folded=(folding(fold=lambda r, g: r),
            "The patches are right, in a line. Fold them: `.unflatten(-1, grid)`."),
        last_row=(folding(row=lambda A: A[:, :, -1]),
            "You took the row of the last token, a patch. CLS is token 0."),
        row_one=(folding(row=lambda A: A[:, :, 1]),
            "You took row 1. CLS is token 0."),
        last_special=(last_special,
            "You took the row of the last special token. CLS is the first, token 0."),
        all_special_summed=(lambda attention, grid: before_patches(attention, grid)
                            * all_special(attention, grid),
            "You summed the rows of all special tokens. The class is read from CLS, token 0, "
            "alone."),
        heads_and_pictures_in_one=(folding(finish=lambda m: m.flatten(0, 1)),
            "Pictures and heads were put into one dimension. Keep them apart: (N, heads, h, w)."),
        first_patch=(first_patch, "You took the row of the first patch. CLS is token 0."),
        all_special=(all_special,
            "You averaged the rows of all special tokens. The class is read from CLS, token 0, "
            "alone."),
        all_rows=(folding(row=lambda A: A.mean(2)),
            "You averaged over all rows: what everybody looks at. Asked is CLS, row 0."),
        all_rows_summed=(folding(row=lambda A: A.sum(2)),
            "You summed the columns: what everybody looks at. Asked is CLS, row 0."),
        all_columns=(folding(row=lambda A: A.mean(3)),
            "You averaged along the rows, which gives 1/T for everything. Asked is CLS, row 0."),
        rows_of_patches=(rows_of_patches,
            "You averaged the rows of the patches: what *they* look at. Asked is CLS, row 0."),
        columns_of_patches=(columns_of_patches,
            "You averaged the patches' rows along themselves. Asked is CLS, row 0."),
        themselves=(folding(row=lambda A: A.diagonal(0, -2, -1)),
            "You took the diagonal: what each patch gives itself. Asked is CLS, row 0."),
        first_head=(folding(row=lambda A: A[:, 0]),
            "You indexed the heads in place of the rows: `attention[:, 0]` is head 0. The row of "
            "CLS is `attention[:, :, 0]`."),
        first_picture=(folding(finish=lambda m: m[0]),
            "Only the first picture came back: (N, heads, h, w)."),
        first_picture_for_all=(folding(finish=lambda m: m[:1].expand_as(m)),
            "Every picture got the first one's maps."),
        heads_averaged=(folding(finish=lambda m: m.mean(1)),
            "You averaged over the heads. Each has a map of its own: (N, heads, h, w)."),
        heads_averaged_kept=(folding(finish=lambda m: m.mean(1, keepdim=True)),
            "You averaged over the heads. Each has a map of its own: (N, heads, h, w). "),
        heads_summed=(folding(finish=lambda m: m.sum(1)),
            "You summed over the heads. Each has a map of its own: (N, heads, h, w)."),
        heads_maximum=(folding(finish=lambda m: m.amax(1)),
            "You took the maximum over the heads. Each has a map of its own: (N, heads, h, w)."),
        pictures_averaged=(folding(finish=lambda m: m.mean(0)),
            "You averaged over the pictures. Each has maps of its own: (N, heads, h, w)."),
        heads_in_front=(folding(finish=lambda m: m.transpose(0, 1)),
            "Pictures and heads are exchanged: (N, heads, h, w)."),
        scaled_to_one=(finishing(lambda m: m / m.sum((-2, -1), keepdim=True)),
            "You scaled each map to sum to one. What CLS gives to itself and its like is then no "
            "longer missing, and heads cannot be compared: leave the weights as they are."),
        scaled_by_largest=(finishing(lambda m: m / m.amax((-2, -1), keepdim=True)),
            "You divided each map by its largest value. That belongs to the picture; leave the "
            "weights as they are."),
        stretched=(finishing(lambda m: (m - m.amin((-2, -1), keepdim=True))
                             / (m.amax((-2, -1), keepdim=True) - m.amin((-2, -1), keepdim=True))),
            "You stretched each map to 0 … 1 (min–max). That belongs to the picture; leave the "
            "weights as they are."),
        softmax_again=(folding(row=lambda A: A[:, :, 0].softmax(-1)),
            "You took a softmax of the row, which is one already."),
        softmax_of_patches=(folding(cut=lambda r, s, p: r[..., s:].softmax(-1)),
            "You took a softmax of the patches' weights; leave them as they are."),
        rows_from_below=(finishing(lambda m: m.flip(-2)),
            "Your maps are upside down: the first patch is at the top left."),
        rows_from_right=(finishing(lambda m: m.flip(-1)),
            "Your maps are mirrored: the first patch is at the top left."),
        enlarged=(finishing(lambda m: m.repeat_interleave(8, -2).repeat_interleave(8, -1)),
            "You enlarged the maps. Here they keep the grid's size, (N, heads, h, w)."),
    ),
    hints=(
        "Three steps: one row of each matrix, the patches in it, and their places in the picture.",
        "`attention[:, :, 0]` is (N, heads, T). The patches are its last h·w numbers, row by row.",
        "`h, w = grid`; `return attention[:, :, 0, -h * w:].unflatten(-1, (h, w))`",
    ),
)  # fmt: skip


EXERCISES = (STRONGEST, HEAD_ENTROPY, PREVIOUS_TOKEN, INDUCTION, CLS_MAPS)
