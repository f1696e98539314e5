# ruff: noqa: D103 (what is said about a wrong function stands beside it in the catalogue)
"""Exercises of chapter 4, second part: what single heads look at, how widely, and on which patches.

Each exercise is a block: the right function under its exercise's name, the cases, the mistakes,
the hints. `EXERCISES` at the end is what `check` finds. The two heads that copy are in
`xai_lab.checks.copying`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from xai_lab.checks.attention import Change, eye_of, share, soft
from xai_lab.checks.exercise import Case, Exercise, catalogue
from xai_lab.checks.small import WHERE, on_device

# --------------------------------------------------------------- 1. who looks at whom most


def hidden_columns(A: Tensor, special: Tensor) -> Tensor:
    """Attention in which no special token can be the largest."""
    return A.masked_fill(special, -math.inf)


def zeroed_columns(A: Tensor, special: Tensor) -> Tensor:
    """Attention whose special tokens are at 0, the largest there is in a row without any other."""
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


def also_of_one_word(function: Callable, arguments: dict) -> tuple[object, object]:
    """Result, and that for one word which nobody looks at, between two special tokens."""
    A = torch.tensor([1.0, 0, 0]).expand(2, 3, 3)
    special = torch.tensor([True, False, True])
    return function(arguments["attention"], arguments["special"]), function(A.clone(), special)


def special_wins(result: tuple[object, object], arguments: dict) -> str:
    """Whether a special token was chosen where the only word has a weight of 0."""
    one = two_parts(result[1], arguments)
    chosen = isinstance(one, dict) and all((p == 1).all() for p in one.values())
    return "" if chosen else ZERO_WINS


ZERO_WINS = (
    "where a row gives its words nothing at all, a special token is chosen: set to 0 it is as "
    "large as they are, and argmax takes the first. Set the special columns to −∞"
)
SPECIALS_COUNT = (
    "[CLS] and its like are still in the race, and win it nearly everywhere. Set their *columns* "
    "to −∞ before you ask for the largest."
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
        Case("special tokens at both ends",
             lambda: chosen((3, 6, 6), seed=12, special=(0, 5)), play=also_of_one_word,
             observe=lambda result, arguments: two_parts(result[0], arguments),
             fault=special_wins),
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
            "In the average the special tokens are still in the race. Set their columns to −∞ "
            "there, too."),
        special_counted_by_head=(hidden_for_mean_only,
            "Head by head the special tokens are still in the race. Set their columns to −∞ "
            "there, too."),
        zeros_for_special=(choosing(mask=zeroed_columns),
            "In a row that gives its words nothing at all, your special tokens win: at 0 they are "
            "as large as all others, and argmax takes the first. Set their columns to −∞."),
        only_special=(choosing(mask=lambda A, s: A.masked_fill(~s, 0.0)),
            "It is the other way round: `special` is true for the tokens that do not count, and "
            "yours are the only ones left."),
        rows_hidden=(choosing(mask=lambda A, s: A.masked_fill(s[:, None], 0.0)),
            "The *rows* of special tokens are hidden. They may look; it is their columns, in which "
            "they are looked at, that must not win: a mask (T,) meets the last dimension."),
        rows_and_columns_hidden=(choosing(mask=lambda A, s: A.masked_fill(s[:, None] | s, 0.0)),
            "You hid rows and columns of special tokens. They may look; only their columns, "
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
            "the first word. Set them to −∞ instead, so that each column keeps its number."),
        rows_and_columns_removed=(rows_and_columns_removed,
            "You took special rows and columns out. Each token has a row in the result, and "
            "positions count all tokens: set the columns to −∞ instead."),
        rows_left_out=(choosing(finish=lambda h, m: (h[:, 1:-1], m[1:-1])),
            "The first and the last row are left out. Special tokens look as well: a row for each "
            "token."),
        who_looks=(choosing(pick=lambda A: A.argmax(-2)), WHO_LOOKS),
        who_looks_special_counted=(choosing(pick=lambda A: A.argmax(-2), mask=lambda A, s: A),
            WHO_LOOKS + " (And special columns are to be set to −∞ first.)"),
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
            "columns: set those to −∞ before the argmax."),
        votes=(votes,
            "You let the heads vote. The mean is asked for: average the *attention*, in which a "
            "head that is sure counts for more, then ask for the largest."),
        largest_over_heads=(choosing(fuse=lambda A: A.amax(0)),
            "You took the maximum over the heads; the mean is asked for."),
        median=(choosing(fuse=lambda A: A.median(0).values),
            "You took the median over the heads; the mean is asked for."),
        smallest_over_heads=(choosing(fuse=lambda A: A.amin(0)),
            "You took the minimum over the heads; the mean is asked for."),
        product_of_heads=(choosing(mask=zeroed_columns, fuse=lambda A: A.prod(0)),
            "You multiplied the heads; their mean is asked for."),
        mean_over_rows=(choosing(mask=zeroed_columns, fuse=lambda A: A.mean(1)),
            "You averaged over dimension 1, those who look. The heads are dimension 0."),
        mean_over_columns=(choosing(mask=zeroed_columns, fuse=lambda A: A.mean(-1)),
            "You averaged over the last dimension, what is looked at. The heads are dimension 0."),
        first_head_for_the_mean=(choosing(finish=lambda h, m: (h, h[0])),
            "For the mean you gave the first head's answer."),
        last_head_for_the_mean=(choosing(finish=lambda h, m: (h, h[-1])),
            "For the mean you gave the last head's answer."),
        weights=(choosing(pick=lambda A: A.amax(-1)),
            "These are the largest *weights*. Asked is where they are: `argmax`."),
        smallest=(choosing(mask=lambda A, s: A.masked_fill(s, 2.0), pick=lambda A: A.argmin(-1)),
            "These are the positions looked at *least*: `argmax`, not `argmin`."),
        smallest_special=(choosing(mask=zeroed_columns, pick=lambda A: A.argmin(-1)),
            "These are the positions looked at *least*: `argmax`, not `argmin`."),
        smallest_special_counted=(choosing(mask=lambda A, s: A, pick=lambda A: A.argmin(-1)),
            "These are the positions looked at *least*: `argmax`, not `argmin`."),
        second_largest=(choosing(pick=second_best),
            "These are the second largest. With the special columns hidden the largest is what is "
            "asked for."),
        second_largest_special_counted=(choosing(mask=lambda A, s: A, pick=second_best),
            "You took the second largest, since the largest is [CLS]. Not everywhere: set the "
            "special columns to −∞ and take the largest."),
        not_itself=(choosing(mask=lambda A, s: zeroed_columns(A, s) * (1 - eye_of(A))),
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
        "`attention.masked_fill(special, -torch.inf)` hides columns, because (T,) meets the last "
        "dimension. The heads are dimension 0.",
        "`A = attention.masked_fill(special, -torch.inf)`; "
        "`return A.argmax(-1), A.mean(0).argmax(-1)`",
    ),
)  # fmt: skip


# ------------------------------------------------------------------------- 2. entropy


def without_padding(H: Tensor, real: Tensor) -> Tensor:
    """Values of rows (layers, N, heads, T), those of padding at 0, whatever they were."""
    return H.masked_fill(real[:, None] == 0, 0.0)


def spreading(
    entropies: Change = lambda A: -torch.special.xlogy(A, A).sum(-1),
    average: Callable[[Tensor, Tensor], Tensor] = lambda H, real: (
        without_padding(H, real).sum(-1) / real.sum(-1)[:, None]
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


def also_beside_rubbish(function: Callable, arguments: dict) -> tuple[object, object]:
    """Result, and that with NaN and negative numbers in the rows of padding."""
    A, mask = arguments["attention"], arguments["mask"]
    rubbish = A.masked_fill(mask[:, None, :, None] == 0, -1.0)
    rubbish[..., -1, :].masked_fill_(mask[:, None, -1:] == 0, math.nan)
    return function(A, mask), function(rubbish, mask)


def rubbish_counts(result: tuple[object, object], arguments: dict) -> str:
    """Whether it mattered what stands in the rows of padding."""
    one, two = map(torch.as_tensor, result)
    alike = one.shape == two.shape and torch.allclose(one, two, equal_nan=True)
    return "" if alike else NAN_IN_PADDING


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
NAN_IN_PADDING = (
    "rows of padding are multiplied by the mask, and they may hold NaN or anything else: NaN × 0 "
    "is NaN. Replace them, `H.masked_fill(mask[:, None] == 0, 0)`"
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
             lambda: padded(2, 3, 2, 5, 5, real=(5, 3, 4), seed=2),
             play=also_beside_rubbish, observe=lambda result, arguments: result[0],
             fault=rubbish_counts),
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
        padding_multiplied=(spreading(average=lambda H, real: (H * real[:, None]).sum(-1)
                                      / real.sum(-1)[:, None]),
            "Right, as long as rows of padding hold numbers. They may hold anything, and NaN × 0 "
            "is NaN: replace them, `H.masked_fill(mask[:, None] == 0, 0)`."),
        padding_counted=(spreading(average=lambda H, real: H.mean(-1)), PADDING),
        padding_at_zero=(spreading(average=lambda H, real: without_padding(H, real).mean(-1)),
            "Rows of padding count as 0 in your mean: you divided by all T. Divide by the number "
            "of tokens, `mask.sum(-1)`."),
        padding_in_the_sum=(spreading(average=lambda H, real: H.sum(-1) / real.sum(-1)[:, None]),
            "You divided by the number of tokens, but rows of padding are still in the sum: "
            "multiply by the mask first, and sum along the rows, `.sum(-1)`, not down the "
            "columns."),
        only_padding=(spreading(average=lambda H, real: (H * (1 - real)[:, None]).sum(-1)
                                / real.sum(-1)[:, None]),
            "The mask is the wrong way round: it is 1 for a token and 0 for padding."),
        divided_by_all_tokens=(spreading(average=lambda H, real: without_padding(H, real).sum(-1)
                                         / real.sum()),
            "You divided by the number of tokens of all texts together. Each text has its own: "
            "`mask.sum(-1)`."),
        divided_by_mean_count=(spreading(average=lambda H, real: without_padding(H, real).sum(-1)
                                         / real.sum(-1).mean()),
            "You divided by the mean number of tokens of the texts. Each text has its own: "
            "`mask.sum(-1)`, lined up with (layers, N, heads) by `[:, None]`."),
        first_text_s_mask=(spreading(average=lambda H, real: without_padding(
                H, real[:1].expand_as(real)).sum(-1) / real[0].sum()),
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
        summed_rows=(spreading(average=lambda H, real: without_padding(H, real).sum(-1)),
            "You summed the rows' entropies; their mean is asked for."),
        largest_row=(spreading(average=lambda H, real: without_padding(H, real).amax(-1)),
            "You took the widest row; the mean over the rows is asked for."),
        first_row=(spreading(average=lambda H, real: H[..., 0]),
            "You took the row of token 0 alone; the mean over the rows is asked for."),
        rows_not_averaged=(spreading(average=lambda H, real: H),
            "One number for each row came back. The mean over the rows is asked for: "
            "(layers, N, heads)."),
        rows_not_averaged_at_zero=(spreading(average=without_padding),
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
        "entropies of the rows are (layers, N, heads, T): `mask[:, None]`, (N, 1, T), makes them "
        "meet.",
        "`H = -torch.special.xlogy(A, A).sum(-1)`, one number for each row; "
        "`H = H.masked_fill(mask[:, None] == 0, 0)`; "
        "`return H.sum(-1) / mask.sum(-1)[:, None]`",
    ),
)  # fmt: skip


# ------------------------------------------------------------------------- 3. CLS maps


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


def square_at_the_end(attention, grid):
    side = int((attention.shape[-1] - 1) ** 0.5)
    return attention[:, :, 0, -side * side :].unflatten(-1, (side, side))


def square_after_cls(attention, grid):
    side = int((attention.shape[-1] - 1) ** 0.5)
    return attention[:, :, 0, 1 : 1 + side * side].unflatten(-1, (side, side))


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


SQUARE = (
    "You took the grid for a square, with a side from the number of tokens. `grid` says how many "
    "rows of how many patches there are: `h, w = grid`."
)
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
        one_early=(folding(cut=lambda r, s, p: r[..., s - 1 : -1]),
            "Your maps begin one token early: the last special token is in the first corner, and "
            "the last patch is lost. The patches are the last h·w tokens, `row[..., T - h * w:]`."),
        square=(square_at_the_end, SQUARE),
        square_after_one=(square_after_cls, SQUARE + " (And several tokens may stand before "
            "the patches.)"),
        one_dropped_and_cut=(folding(cut=lambda r, s, p: r[..., 1 : 1 + p]),
            "You dropped one token. There may be registers and others after CLS: all T − h·w "
            "tokens before the patches go."),
        last_dropped=(folding(cut=lambda r, s, p: r[..., :-1]),
            "You dropped the last token. CLS is the first."),
        by_columns=(folding(fold=down_the_columns),
            "You laid the patches out column by column. They come row by row, as one reads: "
            "`.reshape(…, h, w)` does that."),
        by_columns_width_first=(folding(fold=lambda r, g: down_the_columns(r, g).reshape(
                *r.shape[:-1], *g[::-1])),
            "You laid the patches out column by column, and exchanged h and w. They come row by "
            "row, as one reads: `.unflatten(-1, (h, w))` does that, rows first."),
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


EXERCISES = (STRONGEST, HEAD_ENTROPY, CLS_MAPS)
