# ruff: noqa: D103 (what is said about a wrong function stands beside it in the catalogue)
"""Exercises of chapter 4, first part: attention by hand, and rollout.

Each exercise is a block: the right function under its exercise's name, the cases, the mistakes,
the hints. `EXERCISES` at the end is what `check` finds. What one asks of single heads is in
`xai_lab.checks.heads` and `xai_lab.checks.copying`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from xai_lab.checks.exercise import Case, Exercise, catalogue
from xai_lab.checks.small import WHERE, on_device, random

Change = Callable[[Tensor], Tensor]

# ------------------------------------------------------------------------- 1. the weights


def seen_by(s: Tensor, diagonal: int = 0) -> Tensor:
    """Which keys a query may look at: those up to itself, or some further."""
    return torch.ones_like(s, dtype=torch.bool).tril(diagonal)


def hidden(s: Tensor, value: float = -math.inf, diagonal: int = 0) -> Tensor:
    """Scores with another value where a query may not look."""
    return s.masked_fill(~seen_by(s, diagonal), value)


def share(A: Tensor, dim: int = -1) -> Tensor:
    """Values as shares of their sum."""
    return A / A.sum(dim, keepdim=True)


def weighing(
    product: Callable[[Tensor, Tensor], Tensor] = lambda q, k: q @ k.mT,
    scale: Callable[[Tensor, Tensor], Tensor] = lambda s, q: s / q.shape[-1] ** 0.5,
    mask: Change = hidden,
    normal: Change = lambda s: s.softmax(-1),
    after: Callable[[Tensor, Tensor], Tensor] = lambda A, q: A,
    after_if_causal: Change = lambda A: A,
    causal_if: Callable[[bool], bool] = lambda causal: causal,
) -> Callable:
    """Attention weights with one ingredient exchanged; all in their place, the right ones."""

    def function(q, k, causal=False):
        s = scale(product(q, k), q)
        s = mask(s) if causal_if(causal) else s
        A = after(normal(s), q)
        return after_if_causal(A) if causal_if(causal) else A

    return function


def attention_weights(q: Tensor, k: Tensor, causal: bool = False) -> Tensor:
    """Softmax(QKᵀ/√d), with -inf before it where a causal mask hides something."""
    return weighing()(q, k, causal)


def by_size(size: Callable[[Tensor], float]) -> Callable:
    """Attention weights with another number in place of √d."""
    return weighing(scale=lambda s, q: s / size(q))


def turned_product(q: Tensor, k: Tensor) -> Tensor:
    """Product with k whose dimensions are all turned round."""
    return q @ k.permute(*reversed(range(k.ndim)))


def exp_by_rows(s: Tensor) -> Tensor:
    """Softmax by hand without keepdim."""
    e = s.exp()
    return e / e.sum(-1)


def changed_in_place(q, k, causal=False):
    q /= q.shape[-1] ** 0.5
    return weighing(scale=lambda s, q: s)(q, k, causal)


def hardest(s: Tensor) -> Tensor:
    """All the weight on the best key."""
    return torch.nn.functional.one_hot(s.argmax(-1), s.shape[-1]).to(s)


def queries_and_keys(q: tuple[int, ...], k: tuple[int, ...], seed: int = 0, **more: Any) -> dict:
    """Draw queries and keys, of the size at which mistakes show."""
    return dict(q=1.3 * random(*q, seed=seed), k=1.3 * random(*k, seed=seed + 50), **more)


WRONG_AXIS = (
    "Your columns sum to one, and the rows should: the softmax ran over those who look. Row i is "
    "where token i looks, so it runs over the keys, `softmax(dim=-1)`."
)
MULTIPLIED = (
    "You set the hidden scores to 0 before the softmax, by multiplying with the mask or by filling "
    "in 0. But exp(0) is 1, and the future is seen as before. Fill in minus infinity: exp(−∞) is 0."
)
NOT_RENORMALISED = (
    "You set the hidden weights to 0 after the softmax, and what was there is missing: rows no "
    "longer sum to one. Hide the scores before it, with −∞; the softmax then shares out the rest."
)
WRONG_SIDE = (
    "Your mask hides the wrong side: token i sees itself and what comes *after* it. It may see "
    "0, …, i: the lower triangle stays, `tril`, and the upper one is hidden."
)
DIAGONAL = (
    "Your mask hides the diagonal too. Token i may see itself; and the first token has nothing "
    "else, so that its row has no weight at all."
)
SOFT_MASK = (
    "What your mask adds to the hidden scores is too small: the future still gets some weight. "
    "It has to be minus infinity."
)
HAND_KEEPDIM = (
    "A softmax by hand needs `keepdim=True` in its sum: (T,) lines up with the last dimension, so "
    "each column was divided by another row's sum."
)
ATTENTION_WEIGHTS = Exercise(
    reference=attention_weights,
    cases=(
        Case("four tokens", lambda: queries_and_keys((4, 4), (4, 4), seed=1)),
        Case("a causal mask, three heads",
             lambda: queries_and_keys((3, 3, 3), (3, 3, 3), seed=2, causal=True)),
        Case("one head with a causal mask",
             lambda: queries_and_keys((5, 3), (5, 3), seed=6, causal=True)),
        Case("three queries and five keys", lambda: queries_and_keys((3, 4), (5, 4), seed=3)),
        Case("two heads at once", lambda: queries_and_keys((2, 5, 3), (2, 5, 3), seed=4)),
        Case(f"two samples with three heads each, causal{WHERE}", lambda: on_device(
            queries_and_keys((2, 3, 5, 8), (2, 3, 5, 8), seed=5, causal=True))),
    ),
    mistakes=catalogue(
        over_the_queries=(weighing(normal=lambda s: s.softmax(-2)), WRONG_AXIS),
        over_dimension_zero=(weighing(normal=lambda s: s.softmax(0)),
            "The softmax ran over dimension 0, which is the queries of one matrix and the heads or "
            "samples of several. Count from the end: the keys are `dim=-1`."),
        over_dimension_one=(weighing(normal=lambda s: s.softmax(1)),
            "The softmax ran over dimension 1. In one matrix those are the keys, with heads in "
            "front they are not. Count from the end: `dim=-1`."),
        over_both=(weighing(normal=lambda s: s.flatten(-2).softmax(-1).reshape(s.shape)),
            "The whole matrix sums to one. Each row has to: a softmax over the last dimension "
            "alone."),
        over_everything=(weighing(normal=lambda s: s.flatten().softmax(0).reshape(s.shape)),
            "Everything together sums to one. Each row has to, by itself: `softmax(dim=-1)`, or by "
            "hand a sum with `dim=-1, keepdim=True`."),
        no_scale=(by_size(lambda q: 1.0),
            "The division by √d is missing. Without it long vectors make large scores, and the "
            "softmax puts everything on one key."),
        by_d=(by_size(lambda q: q.shape[-1]),
            "You divided by d. It is by √d: a sum of d products spreads like √d."),
        by_d_squared=(by_size(lambda q: q.shape[-1] ** 2), "You divided by d²; it is by √d."),
        times_root_d=(by_size(lambda q: q.shape[-1] ** -0.5),
            "You multiplied by √d; divide, so that long vectors do not make larger scores."),
        times_d=(by_size(lambda q: 1 / q.shape[-1]), "You multiplied by d; divide by √d."),
        by_root_of_tokens=(by_size(lambda q: q.shape[-2] ** 0.5),
            "You divided by the root of the number of tokens. d is the length of a query, "
            "`q.shape[-1]`."),
        by_root_of_dimension_one=(by_size(lambda q: q.shape[1] ** 0.5),
            "d is taken from `shape[1]`, which is the length of a query only where there is no "
            "dimension in front. It is the last one, `q.shape[-1]`."),
        by_root_of_dimension_zero=(by_size(lambda q: len(q) ** 0.5),
            "d is taken from `len(q)`, the size of the first dimension. It is the length of a "
            "query, the last one: `q.shape[-1]`."),
        by_tokens=(by_size(lambda q: q.shape[-2]),
            "You divided by the number of tokens. It is by √d, with d the length of a query, "
            "`q.shape[-1]`."),
        by_root_of_keys=(weighing(scale=lambda s, q: s / s.shape[-1] ** 0.5),
            "You divided by the root of the number of keys. d is the length of a query, "
            "`q.shape[-1]`."),
        by_root_of_first_size_of_k=(weighing(product=lambda q, k: q @ k.mT / len(k) ** 0.5,
                                             scale=lambda s, q: s),
            "d is taken from `len(k)`, the size of its first dimension. It is the length of a "
            "query or key, the last one: `q.shape[-1]`."),
        by_root_of_all=(by_size(lambda q: q.numel() ** 0.5),
            "d is the length of one query, `q.shape[-1]`, not the number of all values."),
        always_8=(by_size(lambda q: 8.0),
            "You divided by 8, which is √64. Take d from the queries: `q.shape[-1]`."),
        always_root_32=(by_size(lambda q: 32**0.5),
            "You divided by √32, which fits MiniLM alone. Take d from the queries: "
            "`q.shape[-1]`."),
        by_lengths=(weighing(product=lambda q, k: torch.nn.functional.normalize(q, dim=-1)
                    @ torch.nn.functional.normalize(k, dim=-1).mT, scale=lambda s, q: s),
            "You took the cosine: each query and key was divided by its own length. Here all "
            "scores are divided by the same √d."),
        cosine_and_root=(weighing(product=lambda q, k: torch.nn.functional.normalize(q, dim=-1)
                         @ torch.nn.functional.normalize(k, dim=-1).mT),
            "You took the cosine: queries and keys were divided by their own lengths. Leave them "
            "as long as they are; √d is all that is divided by."),
        scaled_after=(weighing(scale=lambda s, q: s, after=lambda A, q: A / q.shape[-1] ** 0.5),
            "You divided by √d after the softmax, and rows no longer sum to one. It belongs before "
            "the softmax: it is the scores that grow with d."),
        scaled_after_and_masked_last=(weighing(
                product=lambda q, k: (q @ k.mT).softmax(-1) / q.shape[-1] ** 0.5,
                scale=lambda s, q: s, normal=lambda s: s, mask=lambda s: hidden(s, 0)),
            "You divided by √d after the softmax, and hid the future after it. Both belong before: "
            "the scores are divided, what is hidden gets −∞, and then comes the softmax."),
        no_scale_multiplied_mask=(weighing(scale=lambda s, q: s, mask=lambda s: hidden(s, 0)),
            "Two things: the division by √d is missing; and what is hidden gets minus infinity, "
            "not 0, because exp(0) is 1."),
        no_scale_masked_after=(weighing(scale=lambda s, q: s, mask=lambda s: s,
                                        after_if_causal=lambda A: hidden(A, 0)),
            "Two things: the division by √d is missing; and hidden weights were set to 0 after the "
            "softmax, so that rows no longer sum to one."),
        scaled_twice=(weighing(after=lambda A, q: A / q.shape[-1] ** 0.5),
            "You divided by √d twice, before the softmax and after it. After it the rows should "
            "sum to one and stay as they are."),
        divided_after_by_d=(weighing(scale=lambda s, q: s, after=lambda A, q: A / q.shape[-1]),
            "You divided after the softmax, and by d. Divide the scores by √d, before it."),
        keys_ask=(weighing(product=lambda q, k: k @ q.mT),
            "You computed K Qᵀ: rows are keys and columns queries. It is Q Kᵀ, a row for each "
            "query."),
        transposed_after=(weighing(after=lambda A, q: A.mT),
            "The weights are right but lie on their side: rows are those who look, columns "
            "what they look at."),
        queries_alone=(weighing(product=lambda q, k: q @ q.mT),
            "You multiplied the queries with themselves; the keys never came in: `q @ k.mT`."),
        keys_alone=(weighing(product=lambda q, k: k @ k.mT),
            "You multiplied the keys with themselves; the queries never came in: `q @ k.mT`."),
        value_by_value=(weighing(product=lambda q, k: q * k),
            "You multiplied value by value, with `*`. A score is the product of a whole query and "
            "a whole key, summed: `q @ k.mT`."),
        not_transposed=(weighing(product=lambda q, k: q @ k),
            "The keys have to be turned on their side: `q @ k.mT`, (T, d) times (d, S)."),
        turned_round=(weighing(product=turned_product),
            "`.T` and `.transpose(0, 1)` turn round the dimensions of one matrix; with heads or "
            "samples in front they touch those. The last two are exchanged by `k.mT`, or "
            "`k.transpose(-2, -1)`."),
        negative=(weighing(scale=lambda s, q: -s / q.shape[-1] ** 0.5),
            "The scores have the wrong sign: the worst key gets the most weight."),
        distance=(weighing(product=lambda q, k: -((q[..., :, None, :] - k[..., None, :, :]) ** 2)
                           .sum(-1)),
            "You took a distance of query and key. A score is their product, `q @ k.mT`."),
        no_softmax=(weighing(normal=lambda s: s),
            "These are the scores; the softmax is missing."),
        no_softmax_masked_by_zero=(weighing(normal=lambda s: s, mask=lambda s: hidden(s, 0)),
            "These are the scores; the softmax is missing. (And what is hidden is −∞ before it, "
            "not 0.)"),
        only_exp=(weighing(normal=torch.exp),
            "These are the exponentials, and nothing divides them by their sum. Each row has to "
            "sum to one."),
        log_softmax=(weighing(normal=lambda s: s.log_softmax(-1)),
            "You took `log_softmax`, whose values are logarithms. The weights are its "
            "exponential: `softmax`."),
        sigmoid=(weighing(normal=torch.sigmoid),
            "You took a sigmoid, which asks about each key by itself. The softmax lets the keys "
            "compete for one sum."),
        linear=(weighing(normal=share, mask=lambda s: hidden(s, 0)),
            "You divided the scores by their sum, without the exponential. Scores may be negative, "
            "and so may your weights."),
        relu=(weighing(normal=lambda s: share(s.relu()), mask=lambda s: hidden(s, 0)),
            "You took a relu in place of the exponential: every key below 0 is lost."),
        twice=(weighing(normal=lambda s: s.softmax(-1).softmax(-1)),
            "The softmax was taken twice, which makes the weights nearly even."),
        hardest_only=(weighing(normal=hardest),
            "You gave everything to the best key (an argmax). The softmax shares it out."),
        without_keepdim=(weighing(normal=exp_by_rows), HAND_KEEPDIM),
        by_the_largest=(weighing(normal=lambda s: (s - s.amax(-1, keepdim=True)).exp()),
            "You subtracted the largest score and stopped there: the exponentials have still to be "
            "divided by their sum."),
        multiplied_mask=(weighing(mask=lambda s: hidden(s, 0)), MULTIPLIED),
        masked_after=(weighing(mask=lambda s: s, after_if_causal=lambda A: hidden(A, 0)),
            NOT_RENORMALISED),
        infinite_after=(weighing(mask=lambda s: s, after_if_causal=hidden),
            "You put −∞ into the weights, after the softmax. It belongs into the scores, before "
            "it."),
        masked_after_softmax_again=(weighing(
                mask=lambda s: s, after_if_causal=lambda A: hidden(A).softmax(-1)),
            "The softmax was taken twice under the mask. Hide the scores before the first one."),
        minus_one=(weighing(mask=lambda s: hidden(s, -1.0)), SOFT_MASK),
        minus_ten=(weighing(mask=lambda s: hidden(s, -10.0)), SOFT_MASK),
        one_added=(weighing(mask=lambda s: s + seen_by(s).float()),
            "Your mask moves the scores by 1 and no more: the future still gets some weight. What "
            "is hidden gets minus infinity."),
        smallest_positive=(weighing(mask=lambda s: hidden(s, torch.finfo(s.dtype).max)),
            "You filled in a very *large* number: everything goes to what should be hidden. It is "
            "minus infinity."),
        plus_infinity=(weighing(mask=lambda s: hidden(s, math.inf)),
            "You filled in *plus* infinity. It is minus infinity: exp(−∞) is 0."),
        nothing_times_infinity=(weighing(mask=lambda s: s + (~seen_by(s)).float() * -math.inf),
            "0 times infinity is NaN: you multiplied the mask by −∞, also where it is 0. "
            "`s.masked_fill(mask, -torch.inf)` puts it only where it belongs."),
        future_only=(weighing(mask=lambda s: s.masked_fill(seen_by(s, -1), -math.inf)), WRONG_SIDE),
        strict_future=(weighing(mask=lambda s: s.masked_fill(seen_by(s), -math.inf)),
            WRONG_SIDE + " (And it hides the diagonal too: the last row is NaN.)"),
        future_only_multiplied=(weighing(mask=lambda s: s.masked_fill(seen_by(s, -1), 0.0)),
            WRONG_SIDE + " (And 0 before the softmax does not hide: it takes −∞.)"),
        future_only_after=(weighing(mask=lambda s: s, after_if_causal=lambda A: A.masked_fill(
                seen_by(A, -1), 0.0)),
            WRONG_SIDE + " (And what is hidden after the softmax is missing in the sum: it takes "
            "−∞, before.)"),
        without_itself=(weighing(mask=lambda s: hidden(s, diagonal=-1)), DIAGONAL),
        without_itself_zeros=(weighing(mask=lambda s: hidden(s, diagonal=-1),
                                       normal=lambda s: s.softmax(-1).nan_to_num(0.0)), DIAGONAL),
        one_too_far=(weighing(mask=lambda s: hidden(s, diagonal=1)),
            "Your mask lets each token see one of the future: the diagonal stays, and what lies "
            "above it is hidden, from `triu(1)` on."),
        mask_of_values=(weighing(mask=lambda s: s.tril().masked_fill(s.tril() == 0, -math.inf)
                                 .masked_fill(s < 0, -math.inf)),
            "You hid negative scores. What is hidden depends on the places alone."),
        never_causal=(weighing(causal_if=lambda causal: False),
            "`causal` is not used: with it, token i sees only tokens 0, …, i."),
        always_causal=(weighing(mask=lambda s: s.masked_fill(
                torch.ones_like(s, dtype=torch.bool).triu(1), -math.inf),
                causal_if=lambda causal: True),
            "The mask is there also when it was not asked for: only with `causal=True`."),
        causal_turned_round=(weighing(mask=lambda s: s.masked_fill(
                torch.ones_like(s, dtype=torch.bool).triu(1), -math.inf),
                causal_if=lambda causal: not causal),
            "`causal` is understood the wrong way round: the mask is there when it is False."),
        mean_of_heads=(weighing(after=lambda A, q: A.flatten(0, -3).mean(0) if A.ndim > 2 else A),
            "The heads were averaged. Whatever stands in front of the last two dimensions stays."),
        first_head=(weighing(after=lambda A, q: A.flatten(0, -3)[0] if A.ndim > 2 else A),
            "Only the first head came back. Whatever stands in front of the last two dimensions "
            "stays."),
        one_more_dimension=(weighing(after=lambda A, q: A[None]),
            "The values are right, in a dimension too many in front."),
        rounded_in_place=(changed_in_place,
            "The values are right, but `q` itself was changed: `q /= …` writes into the caller's "
            "tensor; write `q / …`."),
    ),
    hints=(
        "Four steps: all products of a query and a key, the division, the mask if it is asked for, "
        "the softmax. Only the softmax cares which axis is which.",
        "`q @ k.mT` is (…, T, S), one row a query. `masked_fill(where, -torch.inf)` hides, and "
        "`torch.ones(T, T, dtype=torch.bool).triu(1)` is true above the diagonal.",
        "`s = q @ k.mT / q.shape[-1] ** 0.5`; with `causal`, −∞ into what lies above the diagonal; "
        "`return s.softmax(-1)`.",
    ),
)  # fmt: skip


# ------------------------------------------------------------------------- 2. what is copied


def attending(
    weights: Callable = attention_weights,
    mix: Callable[[Tensor, Tensor], Tensor] = lambda A, v: A @ v,
    finish: Callable[[Tensor, Tensor, Tensor], Any] = lambda y, q, v: y,
) -> Callable:
    """Outputs of attention with one ingredient exchanged; all in their place, the right ones."""

    def function(q, k, v, causal=False):
        return finish(mix(weights(q, k, causal), v), q, v)

    return function


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool = False) -> Tensor:
    """Values, averaged with the attention weights."""
    return attending()(q, k, v, causal)


def three_parts(q: tuple[int, ...], k: tuple[int, ...], width: int, seed: int, **more: Any) -> dict:
    """Draw queries, keys and values."""
    return dict(**queries_and_keys(q, k, seed), v=random(*k[:-1], width, seed=seed + 90), **more)


def with_values_transposed(A: Tensor, v: Tensor) -> Tensor:
    """Product with the values on their side."""
    return A @ v.mT


def weighted_once(A: Tensor, v: Tensor) -> Tensor:
    """Values times the weight that all queries together give them."""
    return A.sum(-2)[..., None] * v


def as_self(y: Tensor, other: Tensor) -> Tensor:
    """Sum with a tensor of the same shape, as in a block of a transformer."""
    return y + other


def values_before(q, k, v, causal=False):
    return weighing(normal=lambda s: s)(q, k, False) @ v


def softmax_at_the_end(q, k, v, causal=False):
    s = weighing(normal=lambda s: s, mask=lambda s: hidden(s, 0.0))(q, k, causal)
    return (s @ v).softmax(-1)


ALSO_OF_WEIGHTS = (
    "over_the_queries", "over_dimension_zero", "over_dimension_one", "over_both",
    "over_everything", "no_scale", "by_d", "by_d_squared", "times_root_d", "times_d",
    "by_root_of_tokens", "by_root_of_dimension_one", "by_root_of_dimension_zero", "by_tokens",
    "by_root_of_all", "always_8", "always_root_32", "by_lengths", "cosine_and_root",
    "scaled_after", "divided_after_by_d", "queries_alone",
    "keys_alone", "value_by_value", "not_transposed", "turned_round", "negative", "distance",
    "only_exp", "log_softmax", "sigmoid", "linear", "relu", "twice",
    "without_keepdim", "by_the_largest", "multiplied_mask",
    "masked_after", "masked_after_softmax_again", "minus_one", "minus_ten",
    "one_added", "smallest_positive", "plus_infinity", "nothing_times_infinity", "future_only",
    "strict_future", "future_only_multiplied", "future_only_after", "without_itself",
    "without_itself_zeros", "one_too_far", "always_causal",
    "causal_turned_round",
)  # fmt: skip
ATTEND = Exercise(
    reference=attend,
    cases=(
        Case("four tokens", lambda: three_parts((4, 4), (4, 4), 4, seed=1)),
        Case("a causal mask, three heads",
             lambda: three_parts((3, 3, 3), (3, 3, 3), 3, seed=2, causal=True)),
        Case("three queries, five keys and values",
             lambda: three_parts((3, 4), (5, 4), 2, seed=3)),
        Case("two heads at once", lambda: three_parts((2, 5, 3), (2, 5, 3), 4, seed=4)),
        Case(f"two samples with three heads each, causal{WHERE}",
             lambda: on_device(three_parts((2, 3, 5, 8), (2, 3, 5, 8), 8, seed=5, causal=True))),
    ),
    mistakes=catalogue(
        who_is_asked=(attending(mix=lambda A, v: A.mT @ v),
            "You multiplied by Aᵀ: each value went to those it looks at. Token i collects from "
            "whom *it* looks at: `A @ v`."),
        weights_only=(attending(mix=lambda A, v: A),
            "These are the weights. The output is the mean of the values with them: `A @ v`."),
        values_only=(attending(mix=lambda A, v: v),
            "These are the values as they came. Each query takes a mean of them: `A @ v`."),
        even=(attending(mix=lambda A, v: torch.ones_like(A) / A.shape[-1] @ v),
            "All values count alike in your mean; the weights are to say how much: `A @ v`."),
        values_on_their_side=(attending(mix=with_values_transposed),
            "The values are not turned on their side: `A @ v`, (T, S) times (S, width)."),
        values_times_weights=(attending(mix=lambda A, v: v @ A),
            "The order of the product: the weights stand on the left, `A @ v`."),
        value_by_value_of_v=(attending(mix=lambda A, v: A * v),
            "You multiplied value by value, with `*`. Each query takes a sum over all keys: "
            "`A @ v`."),
        weighted_where_they_stand=(attending(mix=weighted_once),
            "Each value was multiplied by the sum of its column and stayed where it was. A query "
            "takes a sum over all values: `A @ v`."),
        best_only=(attending(mix=lambda A, v: hardest(A) @ v),
            "You took the value of the best key alone. It is a mean of all, `A @ v`."),
        keys_for_values=(lambda q, k, v, causal=False: attention_weights(q, k, causal) @ k,
            "You averaged the keys. The keys are what is looked for, the values what is taken: "
            "`A @ v`."),
        queries_for_values=(lambda q, k, v, causal=False: attention_weights(q, k, causal) @ q,
            "You averaged the queries. What is taken are the values: `A @ v`."),
        asked_by_values=(lambda q, k, v, causal=False: attention_weights(q, v, causal) @ v,
            "The values were compared with the queries; that is what the keys are for."),
        keys_and_queries_exchanged=(lambda q, k, v, causal=False:
                                    attention_weights(k, q, causal) @ v,
            "Queries and keys are exchanged: `attention_weights(q, k, causal) @ v`."),
        mask_not_passed_on=(lambda q, k, v, causal=False: attention_weights(q, k) @ v,
            "`causal` is not passed on: the weights are those without a mask."),
        divided_again=(attending(finish=lambda y, q, v: y / q.shape[-1] ** 0.5),
            "You divided the output by √d. That belongs to the scores; the weights sum to one, so "
            "their mean has the size of a value."),
        divided_by_keys=(attending(mix=lambda A, v: A @ v / A.shape[-1]),
            "You divided by the number of keys. The weights sum to one already: `A @ v` is a "
            "mean."),
        by_root_of_width=(lambda q, k, v, causal=False: weighing(
                scale=lambda s, q: s / v.shape[-1] ** 0.5)(q, k, causal) @ v,
            "d is taken from the values. It is the length of a query or key, `q.shape[-1]`; values "
            "may have another."),
        with_residual=(attending(finish=lambda y, q, v: as_self(y, v)),
            "You added the values. What a token keeps of itself (the residual connection) comes "
            "after attention and is no part of it."),
        with_residual_of_queries=(attending(finish=lambda y, q, v: as_self(y, q)),
            "You added the queries. What a token keeps of itself (the residual connection) comes "
            "after attention and is no part of it."),
        softmax_of_the_output=(attending(finish=lambda y, q, v: y.softmax(-1)),
            "There is a softmax over the output. It belongs to the scores alone."),
        no_softmax=(attending(weighing(normal=lambda s: s, mask=lambda s: hidden(s, 0.0))),
            "The softmax is missing: the values were added up with the scores."),
        no_softmax_no_mask=(values_before,
            "The softmax is missing: the values were added up with the scores."),
        no_softmax_infinite=(attending(weighing(normal=lambda s: s)),
            "The softmax is missing: the values were added up with the scores."),
        softmax_last=(softmax_at_the_end,
            "The softmax comes before the values: it makes weights of the scores. You took it of "
            "the sum."),
        mean_over_keys=(attending(mix=lambda A, v: (A @ v).mean(-2)),
            "You averaged over the queries: each of them has an output of its own."),
        summed_over_queries=(attending(mix=lambda A, v: (A @ v).sum(-2)),
            "You summed over the queries: each of them has an output of its own."),
        mean_of_heads=(attending(mix=lambda A, v: (A @ v).flatten(0, -3).mean(0)
                                 if A.ndim > 2 else A @ v),
            "The heads were averaged; whatever stands in front stays."),
        first_head=(attending(mix=lambda A, v: (A @ v).flatten(0, -3)[0] if A.ndim > 2 else A @ v),
            "Only the first head came back; whatever stands in front stays."),
        heads_side_by_side=(attending(mix=lambda A, v: (A @ v).transpose(-3, -2).flatten(-2)
                                      if A.ndim > 2 else A @ v),
            "The heads were put side by side, as the layer does afterwards. Here each keeps its "
            "place: (…, T, width)."),
        both=(attending(finish=lambda y, q, v: (y, v)),
            "Return the output alone, without a second thing beside it."),
    ) + catalogue(**{
        f"weights_{m.name}": (attending(m.function), m.sentence)
        for m in ATTENTION_WEIGHTS.mistakes if m.name in ALSO_OF_WEIGHTS
    }),
    hints=(
        "Row i of the weights says how much of each value token i takes. A weighted mean of rows "
        "is a product of matrices.",
        "`attention_weights(q, k, causal)` is (…, T, S), the values are (…, S, width).",
        "`return attention_weights(q, k, causal) @ v`",
    ),
)  # fmt: skip


# ------------------------------------------------------------------------- 3. rollout


FUSIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "mean": lambda A, dim: A.mean(dim),
    "max": lambda A, dim: A.amax(dim),
}


def eye_of(A: Tensor) -> Tensor:
    """Identity of the size of a matrix."""
    return torch.eye(A.shape[-1]).to(A)


def ordered(M: Tensor) -> Tensor:
    """Product of the layers, later ones on the left."""
    return reduce(lambda R, later: later @ R, M)


def reversed_order(M: Tensor) -> Tensor:
    """Product of the layers, later ones on the right."""
    return reduce(lambda R, later: R @ later, M)


def rolling(
    fuse: Callable[[Tensor, str], Tensor] = lambda A, fusion: FUSIONS[fusion](A, 2),
    residual: Change = lambda F: 0.5 * F + 0.5 * eye_of(F),
    normal: Change = share,
    product: Change = ordered,
    finish: Callable[[Tensor], Any] = lambda R: R,
) -> Callable:
    """Rollout with one ingredient exchanged; all in their place, the right ones."""

    def function(attention, fusion="mean"):
        return finish(product(normal(residual(fuse(attention, fusion)))))

    return function


def rollout(attention: Tensor, fusion: str = "mean") -> Tensor:
    """Product over the layers of the fused heads, with half of the residual."""
    return rolling()(attention, fusion)


def each_head(attention, fusion="mean"):
    M = share(0.5 * attention + 0.5 * eye_of(attention))
    return FUSIONS[fusion](ordered(M), 1)


def each_head_in_a_row(attention, fusion="mean"):
    heads = attention.transpose(1, 2).flatten(0, 1)  # (layers · heads, N, T, T)
    return ordered(share(0.5 * heads + 0.5 * eye_of(heads)))


def identity_at_the_end(attention, fusion="mean"):
    R = ordered(share(FUSIONS[fusion](attention, 2)))
    return share(0.5 * R + 0.5 * eye_of(R))


def changed_attention(attention, fusion="mean"):
    attention *= 0.5
    attention += 0.5 * eye_of(attention)
    return ordered(share(FUSIONS[fusion](attention, 2)))


def soft(*shape: int, seed: int = 0, causal: bool = False, sharp: float = 2.0) -> Tensor:
    """Draw attention: rows that sum to one, of a decoder if ``causal``."""
    s = sharp * random(*shape, seed=seed)
    return (hidden(s) if causal else s).softmax(-1)


NORMALISED_BY_HALF = (
    "Your rows do not sum to one. Half of the heads and half of the identity do so by themselves "
    "for the mean, and not for the maximum: divide each row by its sum before you multiply."
)
ROLLOUT = Exercise(
    reference=rollout,
    cases=(
        Case("one layer of one head", lambda: dict(attention=soft(1, 1, 1, 3, 3, seed=1))),
        Case("two layers of one head", lambda: dict(attention=soft(2, 1, 1, 3, 3, seed=2))),
        Case("two layers, two texts, three heads",
             lambda: dict(attention=soft(2, 2, 3, 4, 4, seed=3))),
        Case("three layers, the maximum over the heads",
             lambda: dict(attention=soft(3, 2, 4, 5, 5, seed=4), fusion="max")),
        Case(f"four layers of a decoder{WHERE}",
             lambda: on_device(dict(attention=soft(4, 3, 2, 5, 5, seed=5, causal=True)))),
    ),
    mistakes=catalogue(
        no_residual=(rolling(residual=lambda F: F),
            "The residual connection is missing: a token also keeps what it had. Mix in the "
            "identity, half and half, in every layer."),
        no_residual_not_normalised=(rolling(residual=lambda F: F, normal=lambda M: M),
            "The residual connection is missing: a token also keeps what it had. Mix in the "
            "identity, half and half, in every layer. (Then scale the rows to sum to one.)"),
        not_halved=(rolling(residual=lambda F: F + eye_of(F), normal=lambda M: M),
            "The identity was added without halving, and the rows sum to 2, then to 4, and so on. "
            "It is ½ of the heads and ½ of the identity."),
        not_normalised=(rolling(normal=lambda M: M), NORMALISED_BY_HALF),
        normalised_early=(lambda attention, fusion="mean": ordered(
                0.5 * share(FUSIONS[fusion](attention, 2)) + 0.5 * eye_of(attention)),
            "You scaled the rows before mixing in the identity. It comes after: first half of "
            "the heads and half of the identity, then the sum of each row."),
        normalised_late=(rolling(normal=lambda M: M, finish=share),
            "You scaled the rows once, at the end. Each layer's matrix is scaled before it is "
            "multiplied."),
        columns_normalised=(rolling(normal=lambda M: share(M, -2)),
            "You scaled the columns. Rows are the distributions: `.sum(-1, keepdim=True)`."),
        by_the_largest=(rolling(normal=lambda M: M / M.amax(-1, keepdim=True)),
            "You divided each row by its largest value; divide it by its sum."),
        by_the_whole=(rolling(normal=lambda M: M / M.sum((-2, -1), keepdim=True)),
            "You divided by the sum of the whole matrix; each row has a sum of its own."),
        by_softmax=(rolling(normal=lambda M: M.softmax(-1)),
            "You scaled the rows by a softmax, which makes them nearly even. Divide each by its "
            "sum."),
        without_keepdim=(rolling(normal=lambda M: M / M.sum(-1)[..., None, :]),
            "Each column was divided by another row's sum: `.sum(-1, keepdim=True)`."),
        later_on_the_right=(rolling(product=reversed_order),
            "The order of the product: yours has later layers on the right. Row i of the last "
            "layer says what token i takes from the layer below, so it comes first: M_L ⋯ M₂ M₁, "
            "`R = M @ R`."),
        later_on_the_right_no_residual=(rolling(residual=lambda F: F, product=reversed_order),
            "Two things: later layers belong on the left, `R = M @ R`; and the residual "
            "connection, half of the identity, is missing."),
        later_on_the_right_not_normalised=(rolling(normal=lambda M: M, product=reversed_order),
            "Two things: later layers belong on the left, `R = M @ R`; and the rows are to be "
            "scaled to sum to one."),
        value_by_value=(rolling(product=lambda M: M.prod(0)),
            "You multiplied the layers value by value, with `*`. Paths through the layers are "
            "followed by the product of matrices, `@`."),
        value_by_value_of_heads=(rolling(residual=lambda F: F, normal=lambda M: M,
                                         product=lambda M: M.prod(0)),
            "You multiplied the layers value by value, with `*`, and without the identity. Paths "
            "are followed by `@`; the residual is half of each matrix."),
        added=(rolling(product=lambda M: M.sum(0)),
            "You added the layers up. What a token took from another that had taken it from a "
            "third is a product of matrices, `@`."),
        averaged_layers=(rolling(product=lambda M: M.mean(0)),
            "You averaged the layers. What a token took from another that had taken it from a "
            "third is a product of matrices, `@`."),
        last_layer=(rolling(product=lambda M: M[-1]),
            "This is the last layer alone. The layers are multiplied, later ones on the left."),
        first_layer=(rolling(product=lambda M: M[0]),
            "This is the first layer alone. The layers are multiplied, later ones on the left."),
        without_first=(rolling(product=lambda M: ordered(torch.cat([eye_of(M).expand_as(M[:1]),
                                                                    M[1:]]))),
            "The first layer is left out: the loop begins with the second, and the result with the "
            "identity."),
        without_last=(rolling(product=lambda M: ordered(torch.cat([eye_of(M).expand_as(M[:1]),
                                                                   M[:-1]]))),
            "The last layer is left out of the product."),
        first_twice=(rolling(product=lambda M: ordered(torch.cat([M[:1], M]))),
            "The first layer is in the product twice: begin with it and loop over the others, or "
            "begin with the identity."),
        matrices_transposed=(rolling(product=lambda M: ordered(M.mT)),
            "Each layer's matrix lies on its side in your product: `R = M @ R`, without a "
            "transpose."),
        last_layer_first=(rolling(product=lambda M: ordered(torch.cat([M[-1:], M[:-1]]))),
            "You began with the last layer. Begin with the first, and multiply the later ones from "
            "the left."),
        residual_in_the_product_too=(rolling(
                product=lambda M: reduce(lambda R, later: 0.5 * later @ R + 0.5 * R, M)),
            "The residual is mixed in twice: half of the identity in M, and half of R in the "
            "product. Once is enough."),
        residual_for_identity=(rolling(residual=lambda F: F, product=lambda M: reduce(
                lambda R, later: 0.5 * later @ R + 0.5 * eye_of(R), M)),
            "In each step you added half of the identity to the product. What a token keeps is "
            "what it had by then: the identity belongs into M, before the product."),
        last_to_the_power=(rolling(product=lambda M: torch.linalg.matrix_power(M[-1], len(M))),
            "You multiplied the last layer with itself. Each factor is another layer."),
        only_two=(rolling(product=lambda M: ordered(M[-2:])),
            "Only the last two layers are in your product; there may be more."),
        identity_not_in_every_layer=(identity_at_the_end,
            "You mixed in the identity once, at the end. Tokens keep half of themselves in every "
            "layer."),
        identity_at_the_start=(rolling(
                product=lambda M: ordered(torch.cat([0.5 * M[:1] + 0.5 * eye_of(M), M[1:]])),
                residual=lambda F: F),
            "You mixed in the identity in the first layer only. Tokens keep half of themselves in "
            "every layer."),
        added_after_the_product=(rolling(residual=lambda F: F, finish=lambda R: R + eye_of(R)),
            "You added the identity once, at the end. Tokens keep half of themselves in every "
            "layer: ½ of the heads and ½ of the identity."),
        ones=(rolling(residual=lambda F: 0.5 * F + 0.5),
            "You added a number to every weight. The identity has ones on the diagonal only: "
            "`torch.eye(T)`."),
        quarter=(rolling(residual=lambda F: F + 0.5 * eye_of(F)),
            "Only the identity was halved. It is ½ of the heads and ½ of the identity, so that a "
            "token keeps as much as it takes."),
        heads_halved=(rolling(residual=lambda F: 0.5 * F + eye_of(F)),
            "Only the heads were halved. It is ½ of the heads and ½ of the identity."),
        times_identity=(rolling(residual=lambda F: F * eye_of(F)),
            "You multiplied by the identity value by value, and only the diagonal is left. It is "
            "*added*."),
        heads_last=(each_head,
            "You rolled out each head by itself and fused the results. A layer's heads are fused "
            "first: the next layer reads from all of them."),
        heads_in_a_row=(each_head_in_a_row,
            "You multiplied the heads with one another, as if they came one after the other. They "
            "work side by side: fuse them first (`mean` or `amax` over dim=2)."),
        product_over_heads=(rolling(fuse=lambda A, fusion: A.prod(2)),
            "You multiplied the heads value by value. They work side by side: take their mean, or "
            "their maximum."),
        summed_heads=(rolling(fuse=lambda A, fusion: A.sum(2) if fusion == "mean" else A.amax(2)),
            "You summed the heads where their mean is asked for. The identity then counts for far "
            "less than one half."),
        summed_heads_always=(rolling(fuse=lambda A, fusion: A.sum(2)),
            "You summed the heads. It is their mean, or their maximum; the identity then counts "
            "for one half."),
        always_mean=(rolling(fuse=lambda A, fusion: A.mean(2)),
            "`fusion` is not used: you took the mean of the heads also when the maximum was asked "
            "for."),
        always_max=(rolling(fuse=lambda A, fusion: A.amax(2)),
            "`fusion` is not used: you took the maximum of the heads also when the mean was asked "
            "for."),
        exchanged_fusion=(rolling(fuse=lambda A, fusion: A.amax(2) if fusion == "mean"
                                  else A.mean(2)),
            "The two fusions are exchanged."),
        min_for_max=(rolling(fuse=lambda A, fusion: A.mean(2) if fusion == "mean" else A.amin(2)),
            "You took the smallest value over the heads where the largest is asked for."),
        first_head=(rolling(fuse=lambda A, fusion: A[:, :, 0]),
            "You took the first head of each layer. All of them are fused."),
        last_head=(rolling(fuse=lambda A, fusion: A[:, :, -1]),
            "You took the last head of each layer. All of them are fused."),
        batch_averaged=(rolling(finish=lambda R: R.mean(0, keepdim=True).expand_as(R)),
            "The texts were averaged together; each has a rollout of its own."),
        over_the_batch=(rolling(fuse=lambda A, fusion: FUSIONS[fusion](A, 1)),
            "You fused dimension 1, the texts. The heads are dimension 2 of "
            "(layers, N, heads, T, T)."),
        over_the_layers=(rolling(fuse=lambda A, fusion: FUSIONS[fusion](A, 0), product=lambda M:
                                 ordered(M.transpose(0, 1))),
            "You fused dimension 0, the layers, and multiplied the heads. The heads are dimension "
            "2 of (layers, N, heads, T, T); the layers are multiplied."),
        first_of_the_batch=(rolling(finish=lambda R: R[:1]),
            "Only the first text came back. The result is (N, T, T)."),
        first_without_batch=(rolling(finish=lambda R: R[0]),
            "Only the first text came back. The result is (N, T, T)."),
        only_cls=(rolling(finish=lambda R: R[:, 0]),
            "This is the row of token 0 alone. Return the whole matrix, (N, T, T)."),
        transposed=(rolling(finish=lambda R: R.mT),
            "It lies on its side: row i says what token i is made of. Is the product or the "
            "residual transposed on the way?"),
        only_cls_to_patches=(rolling(finish=lambda R: R[:, 0, 1:]),
            "This is the row of token 0 alone, without itself. Return the whole matrix, "
            "(N, T, T)."),
        mean_of_rows=(rolling(finish=lambda R: R.mean(1)),
            "The rows were averaged. Return the whole matrix, (N, T, T)."),
        all_layers=(rolling(product=lambda M: torch.stack(
                [ordered(M[: n + 1]) for n in range(len(M))])),
            "You returned the product up to every layer; only the last is wanted, (N, T, T)."),
        without_itself=(rolling(finish=lambda R: R * (1 - eye_of(R))),
            "The diagonal was set to 0 at the end. What a token keeps of itself belongs to it."),
        residual_taken_away=(rolling(finish=lambda R: R - eye_of(R)),
            "The identity was subtracted at the end. Leave it in: rows sum to one."),
        in_place=(changed_attention,
            "The values are right, but the caller's `attention` itself was changed (`*=`, `+=`), "
            "and it is needed again. Make a new tensor: `0.5 * attention + …`."),
    ),
    hints=(
        "Three steps for each layer: fuse the heads, mix in the identity, scale the rows. Then one "
        "product over the layers; think which end the output is at.",
        "`attention.mean(2)` or `.amax(2)` is (layers, N, T, T). `torch.eye(T)` broadcasts over "
        "it. Begin with the first layer and multiply the next ones from the left.",
        "`M = 0.5 * F + 0.5 * torch.eye(T)`; `M = M / M.sum(-1, keepdim=True)`; "
        "`R = M[0]`, then `R = later @ R` for each later layer.",
    ),
)  # fmt: skip


EXERCISES = (ATTENTION_WEIGHTS, ATTEND, ROLLOUT)
