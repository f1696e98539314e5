"""Patterns of attention: which heads look at the word before, which ones complete what was said.

Read `head_patterns`: each pattern is a set of places that a token could look at, and its score is
the share of attention that lies there, less what chance puts there. `name_heads` makes a table of
names out of the scores, `window_widths` says how wide a local head looks.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from xai_lab.attention import Attention, as_attention
from xai_lab.core import check_count

#: ``(N, T)`` numbers of tokens, or the tokens as strings, of one sample or of each.
Tokens = Tensor | Sequence[str] | Sequence[Sequence[str]]
#: ``[CLS]``, ``<s>``, ``<|endoftext|>`` and punctuation alone, also behind the marks of a new word.
DELIMITER = re.compile(r"^[Ġ▁]?(\[[A-Z]+\]|<[^<>]+>|[^\w\s#]+)$")
#: Largest step of a dilated head.
STEPS = (2, 3, 4)
#: Patterns that contain others; they name a head only if none of the others does.
WIDE = ("broadcast", "local", "dilated", "causal")


def head_patterns(
    attention: Attention,
    tokens: Tokens | None = None,
    *,
    window: int = 4,
    delimiters: Collection[str | int] | None = None,
) -> dict[str, Tensor]:
    r"""How much of each head's attention follows a pattern, beyond chance.

    .. math::
        s = \frac{\sum_i \big( \sum_{j \in P_i} a_{ij} - c_i \big)}{\sum_i (1 - c_i)}, \qquad
        c_i = \frac{|P_i|}{|J_i|}

    P is where token i looks in an ideal head, J all that it may look at: the tokens that are no
    padding, and in a decoder those up to i. The chance c is the share of an even row, and the mean
    share of a row whose weights are shuffled. So an ideal head scores 1, an even one and a shuffled
    one 0 (negative values are set to 0). Rows with an empty P, or one that holds all of J, tell
    nothing and are left out.

    Parameters
    ----------
    attention : Tensor or sequence of Tensor
        ``(layers, N, heads, T, T)``, from `xai_lab.attention_maps`; rows of padding are 0.
    tokens : Tensor, sequence of str, or sequence of sequences of str, optional
        ``input_ids`` ``(N, T)``, or the tokens as strings. Without them there is no
        ``same token``, ``induction`` and ``delimiter``.
    window : int
        Largest width of ``local``.
    delimiters : collection of str or int, optional
        Tokens that separate, in the form of ``tokens``. By default, of tokens that are strings:
        special tokens such as [SEP], and punctuation; of numbers none, and no ``delimiter``.

    Returns
    -------
    dict of str to Tensor
        Scores from 0 to 1, ``(layers, heads)``, over all samples:

        - ``previous``, ``next``, ``same``: the token at i − 1, i + 1, i;
        - ``first``: the first token that is no padding;
        - ``delimiter``: any of the delimiters;
        - ``same token``: another token with the same number;
        - ``induction``: the token *behind* an earlier copy of token i;
        - ``broadcast``: one token that all look at, whichever it is: the chance that two rows look
          at the same token, so :math:`\sum_j a_{ij} a_{kj}` stands for the share;
        - ``local``: up to w tokens away, the best w up to ``window``, see `window_widths`;
        - ``dilated``: every second, third or fourth token, itself not counted, the best of them;
        - ``causal``: nothing behind i, of all T tokens; every head of a decoder has 1.

        NaN where no row can tell, such as ``same token`` in a text without repetitions.

    Raises
    ------
    TypeError, ValueError
        If this is no attention, tokens and matrix are of different lengths, or the window is
        smaller than 1.

    Notes
    -----
    Cost: no pass through the model. One short text says little; give several, and for
    ``induction`` a text that repeats itself.

    References
    ----------
    Clark et al., *What does BERT look at?*, BlackboxNLP 2019 (previous, next, delimiter,
    broadcast); Kovaleva et al., *Revealing the dark secrets of BERT*, EMNLP 2019; Olsson et al.,
    *In-context learning and induction heads*, 2022.
    """
    A = as_attention(attention)
    check_count("window", window)
    may, i, j = allowed(A)
    both = may | may.transpose(1, 2)
    real = both.any(dim=-1)
    first = real.to(torch.uint8).argmax(dim=-1)[:, None, None]

    def score(where: Tensor) -> Tensor:
        return beyond_chance(A, where.expand_as(may), may)

    scores = {
        "previous": score(j == i - 1),
        "next": score(j == i + 1),
        "same": score(j == i),
        "first": score(j == first),
    }
    if tokens is not None:
        ids, separates = numbered(tokens, A, delimiters)
        alike = ids[:, :, None] == ids[:, None, :]
        if separates is not None:
            scores["delimiter"] = score(separates[:, None, :])
        scores["same token"] = score(alike & (j != i))
        # Column j is right if the token before it is a copy of token i, and stands before i.
        behind = torch.cat([torch.zeros_like(alike[:, :, :1]), alike[:, :, :-1]], dim=2)
        scores["induction"] = score(behind & (j <= i))
    scores["broadcast"] = together(A, may)
    scores["local"] = torch.stack([score((i - j).abs() <= w) for w in range(1, window + 1)]).amax(0)
    others = A.masked_fill(i == j, 0.0)
    scores["dilated"] = torch.stack(
        [beyond_chance(others, ((i - j) % d == 0).expand_as(may), may & (i != j)) for d in STEPS]
    ).amax(0)
    everywhere = real[:, :, None] & real[:, None, :]
    scores["causal"] = beyond_chance(A, (j <= i).expand_as(may), everywhere)
    return scores


def window_widths(attention: Attention, *, window: int = 4) -> Tensor:
    """Width of each head's best local window: 1 is the neighbours and the token itself.

    Parameters
    ----------
    attention, window
        As in `head_patterns`.

    Returns
    -------
    Tensor
        ``(layers, heads)`` whole numbers from 1 to ``window``; of use where the ``local`` score of
        `head_patterns` is high.

    Raises
    ------
    TypeError, ValueError
        As in `head_patterns`.
    """
    A = as_attention(attention)
    check_count("window", window)
    may, i, j = allowed(A)
    widths = range(1, window + 1)
    scores = [beyond_chance(A, ((i - j).abs() <= w).expand_as(may), may) for w in widths]
    # The narrowest of those that are as good: a window twice as wide holds the same attention.
    best = torch.stack(scores)
    return (best >= best.amax(dim=0) - 1e-6).to(torch.uint8).argmax(dim=0) + 1


def name_heads(scores: Mapping[str, Tensor], *, least: float = 0.5) -> list[list[str]]:
    """Name of each head: its strongest pattern, or ``"none"``.

    Parameters
    ----------
    scores : mapping of str to Tensor
        What `head_patterns` returned.
    least : float
        Score that a pattern needs to name a head.

    Returns
    -------
    list of list of str
        A list a layer, a name a head. A pattern that contains others, such as ``local``, names a
        head only if none of the others does; ``causal`` does so only where not all heads are.
    """
    scores = dict(scores)
    if "causal" in scores and (scores["causal"] > 1 - 1e-6).all():
        del scores["causal"]
    narrow = [name for name in scores if name not in WIDE]
    table = torch.stack([scores[name].nan_to_num(0.0) for name in scores])

    def name(layer: int, head: int) -> str:
        values = dict(zip(scores, table[:, layer, head].tolist(), strict=True))
        for group in (narrow, [one for one in WIDE if one in values]):
            best = max(group, key=values.__getitem__, default="none")
            if values.get(best, 0.0) >= least:
                return best
        return "none"

    layers, heads = table.shape[1:]
    return [[name(layer, head) for head in range(heads)] for layer in range(layers)]


def allowed(A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What each token may look at ``(N, T, T)``, and the numbers i of rows and j of columns."""
    real = A.sum(dim=(0, 2, 4)) > 0
    i = torch.arange(A.shape[-1], device=A.device)[:, None]
    j = i.T
    may = real[:, :, None] & real[:, None, :]
    causal = not A.triu(1).any()
    return (may & (j <= i) if causal else may), i, j


def beyond_chance(A: Tensor, where: Tensor, may: Tensor) -> Tensor:
    """Share of attention in ``where``, less that of an even row, ``(layers, heads)``."""
    real = may.any(dim=-1)
    wanted = (where & real[:, :, None] & real[:, None, :]).any()
    where = where & may
    chance = where.sum(dim=-1).to(A) / may.sum(dim=-1).clamp_min(1)
    tells = (chance > 0) & (chance < 1)
    share = torch.einsum("lnhij,nij->lnhi", A, where.to(A))
    # What a row gives elsewhere than to ``may`` (to itself, for dilated) has no chance to be right.
    possible = torch.einsum("lnhij,nij->lnhi", A, may.to(A))
    excess = ((share - chance[:, None] * possible) * tells[:, None]).sum(dim=(1, 3))
    most = ((1 - chance) * tells).sum()
    if most == 0:  # nobody may look there, or there is no such place at all
        return torch.full_like(excess, 0.0 if wanted else float("nan"))
    return (excess / most).clamp(0, 1)


def together(A: Tensor, may: Tensor) -> Tensor:
    """How often two rows look at the same token, beyond chance, ``(layers, heads)``."""
    even = may.to(A) / may.sum(dim=-1, keepdim=True).clamp_min(1)
    real = may.any(dim=-1)
    pairs = (real[:, :, None] & real[:, None, :]).to(A).triu(1)
    chance = even @ even.transpose(1, 2)
    same = torch.einsum("lnhij,lnhkj->lnhik", A, A)
    excess = ((same - chance[:, None]) * pairs[:, None]).sum(dim=(1, 3, 4))
    return (excess / ((1 - chance) * pairs).sum()).clamp(0, 1)


def numbered(
    tokens: Tokens, A: Tensor, delimiters: Collection[str | int] | None
) -> tuple[Tensor, Tensor | None]:
    """Tokens as numbers ``(N, T)``, and which of them are delimiters."""
    n, length = A.shape[1], A.shape[-1]
    if isinstance(tokens, Tensor):
        rows = tokens.reshape(-1, tokens.shape[-1]).tolist()
    elif len(tokens) and isinstance(tokens[0], str):
        rows = [list(tokens)]
    else:
        rows = [list(row) for row in tokens]
    lengths = sorted({len(row) for row in rows})
    if len(rows) != n or lengths != [length]:
        raise ValueError(
            f"{len(rows)} rows of {' or '.join(map(str, lengths))} tokens were given for attention "
            f"of {n} samples with {length} tokens each; special tokens and padding count as well"
        )
    numbers: dict[object, int] = {}
    ids = [[numbers.setdefault(token, len(numbers)) for token in row] for row in rows]
    if delimiters is None and isinstance(rows[0][0], str):
        delimiters = [token for token in numbers if DELIMITER.match(str(token))]  # type: ignore[misc]
    separates = None
    if delimiters is not None:
        separates = torch.tensor([[t in delimiters for t in row] for row in rows], device=A.device)
    return torch.tensor(ids, device=A.device), separates
