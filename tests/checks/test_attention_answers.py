"""Chapter 4: right answers in other words pass, wrong ones in other words are told apart."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from xai_lab import attention as taught
from xai_lab.checks import attention, check, copying, heads

EXERCISES = [e for module in (attention, heads, copying) for e in module.EXERCISES]

# ------------------------------------------------------------- right, written otherwise


def weights_by_loop(q, k, causal=False):
    d = q.shape[-1]
    rows = q.reshape(-1, *q.shape[-2:])
    keys = k.reshape(-1, *k.shape[-2:])
    A = torch.zeros(len(rows), q.shape[-2], k.shape[-2])
    for n in range(len(rows)):
        for i in range(q.shape[-2]):
            last = i + 1 if causal else k.shape[-2]
            e = [math.exp((rows[n, i] @ keys[n, j]).item() / math.sqrt(d)) for j in range(last)]
            A[n, i, :last] = torch.tensor(e) / sum(e)
    return A.reshape(*q.shape[:-1], k.shape[-2])


def weights_by_einsum(q, k, causal=False):
    s = torch.einsum("...id,...jd->...ij", q * q.size(-1) ** -0.5, k)
    if causal:
        s = s + torch.full_like(s, -1e9).triu(1)
    e = torch.exp(s - s.max())
    return e / e.sum(-1).unsqueeze(-1)


def attend_by_kernel(q, k, v, causal=False):
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal)


def attend_by_loop(q, k, v, causal=False):
    A = weights_by_loop(q, k, causal)
    return torch.stack([(A[..., i, :, None] * v).sum(-2) for i in range(q.shape[-2])], dim=-2)


def rollout_of_the_package(attention, fusion="mean"):
    return taught.rollout(attention, fusion=fusion) + 0


def rollout_by_numpy(attention, fusion="mean"):
    results = []
    for n in range(attention.shape[1]):
        R = np.eye(attention.shape[-1])
        for layer in attention[:, n].double().numpy():
            M = (layer.mean(0) if fusion == "mean" else layer.max(0)) + np.eye(len(R))
            R = (M / M.sum(1, keepdims=True)) @ R
        results.append(torch.from_numpy(R).float())
    return torch.stack(results)


def rollout_with_the_identity_in_each_head(attention, fusion="mean"):
    M = (attention + torch.eye(attention.shape[-1])) / 2
    M = M.mean(2) if fusion == "mean" else M.max(2).values
    R = torch.eye(M.shape[-1]).expand_as(M[0])
    for one in M:
        R = one / one.sum(-1, keepdim=True) @ R
    return R


def strongest_by_loop(attention, special):
    def one(rows):
        allowed = [j for j in range(len(special)) if not special[j]]
        return torch.tensor([max(allowed, key=lambda j: row[j].item()) for row in rows])

    return torch.stack([one(A) for A in attention]), one(attention.sum(0))


def strongest_by_infinity(attention, special):
    A = attention.clone()
    A[:, :, special] = -math.inf
    return torch.max(A, 2).indices, torch.max(A.mean(0), 1).indices


def entropy_by_loop(attention, mask):
    layers, n, count = attention.shape[:3]
    H = torch.zeros(layers, n, count)
    for i in range(n):
        rows = attention[:, i][:, :, mask[i].bool()]
        H[:, i] = torch.distributions.Categorical(probs=rows).entropy().mean(-1)
    return H


def entropy_of_the_package(attention, mask):
    rows = torch.nan_to_num(attention).clamp_min(0)  # the package refuses what is no attention
    return taught.entropy(rows, mask).nanmean(-1)


def entropy_by_epsilon(attention, mask):
    H = -(attention * torch.log(attention + 1e-9)).sum(-1)
    H = H.masked_fill(mask[None, :, None, :] == 0, float("nan"))
    return torch.nanmean(H, dim=-1)


def previous_by_loop(attention):
    T = attention.shape[-1]
    return sum(attention[..., i, i - 1] for i in range(1, T)).mean(1) / (T - 1)


def previous_by_mask(attention):
    T = attention.shape[-1]
    where = torch.eye(T)[1:].T @ torch.eye(T)[:-1]
    where = torch.zeros(T, T)
    where[range(1, T), range(T - 1)] = 1.0
    return torch.einsum("lnhij,ij->lh", attention, where) / (attention.shape[1] * (T - 1))


def induction_by_loop(attention, tokens):
    total, rows = 0, 0
    for n, text in enumerate(tokens.tolist()):
        for i, token in enumerate(text):
            places = [j + 1 for j in range(i) if text[j] == token]
            if places:
                total = total + sum(attention[:, n, :, i, j] for j in places)
                rows += 1
    return total / rows


def induction_by_shift(attention, tokens):
    T = tokens.shape[1]
    same = tokens.unsqueeze(2) == tokens.unsqueeze(1)
    earlier = same & torch.ones(T, T, dtype=torch.bool).tril(-1)
    behind = F.pad(earlier, (1, 0))[:, :, :T].float()
    weight = torch.einsum("lnhij,nij->lnhi", attention, behind)
    return weight.permute(0, 2, 1, 3)[:, :, earlier.any(-1)].mean(-1)


def maps_by_loop(attention, grid):
    h, w = grid
    start = attention.shape[-1] - h * w
    result = torch.zeros(*attention.shape[:2], h, w)
    for y in range(h):
        for x in range(w):
            result[..., y, x] = attention[:, :, 0, start + y * w + x]
    return result


def maps_by_reshape(attention, grid):
    row = attention.select(2, 0)
    return row[..., row.shape[-1] - math.prod(grid) :].reshape(*row.shape[:2], *grid)


RIGHT = {
    "attention_weights": [weights_by_loop, weights_by_einsum],
    "attend": [attend_by_kernel, attend_by_loop],
    "rollout": [rollout_of_the_package, rollout_by_numpy, rollout_with_the_identity_in_each_head],
    "strongest": [strongest_by_loop, strongest_by_infinity],
    "head_entropy": [entropy_by_loop, entropy_of_the_package, entropy_by_epsilon],
    "cls_maps": [maps_by_loop, maps_by_reshape],
    "previous_token": [previous_by_loop, previous_by_mask],
    "induction": [induction_by_loop, induction_by_shift],
}


def test_every_exercise_has_two_other_right_answers():
    assert [e.name for e in EXERCISES] == list(RIGHT)
    assert all(len(answers) >= 2 for answers in RIGHT.values())


@pytest.mark.parametrize(
    ("name", "function"),
    [pytest.param(n, f, id=f.__name__) for n, functions in RIGHT.items() for f in functions],
)
def test_another_right_answer_passes(name, function):
    result = check(function, name=name)
    assert result, result


# ------------------------------------------------------------- wrong, in other words


def weights(
    scores=lambda q, k: q @ k.transpose(-2, -1) / math.sqrt(q.size(-1)),
    mask=lambda s: s.masked_fill(torch.ones_like(s).triu(1).bool(), float("-inf")),
    after=lambda A: A,
    softmax=lambda s: torch.softmax(s, dim=-1),
):
    """Attention weights as a student writes them, with these lines exchanged."""

    def attention_weights(q, k, causal=False):
        s = scores(q, k)
        if causal:
            s = mask(s)
        A = softmax(s)
        return after(A) if causal else A

    return attention_weights


def rolled(
    start=lambda M: torch.eye(M.shape[-1]).expand(M.shape[1:]).clone(),
    heads=lambda A, fusion: A.mean(2) if fusion == "mean" else A.max(dim=2)[0],
    mix=lambda F: 0.5 * F + 0.5 * torch.eye(F.shape[-1]),
    scale=lambda M: M / M.sum(dim=-1, keepdim=True),
    step=lambda R, M: M @ R,
    layers=lambda M: M,
    end=lambda R: R,
):
    """Rollout as a student writes it, with these lines exchanged."""

    def rollout(attention, fusion="mean"):
        M = scale(mix(heads(attention, fusion)))
        R = start(M)
        for one in layers(M):
            R = step(R, one)
        return end(R)

    return rollout


def log_of_zero(A):
    return -(A * torch.log(A)).sum(-1)


def at_zero(H, m):
    return torch.where(m[None, :, None].bool(), H, torch.zeros_like(H))


def entropies(rows=None, mean=None):
    """Entropy as a student writes it, with these lines exchanged."""
    rows = rows or (lambda A: -(A * torch.log(A + 1e-12)).sum(dim=-1))
    mean = mean or (lambda H, m: at_zero(H, m).sum(-1) / m.sum(-1)[None, :, None])
    return lambda attention, mask: mean(rows(attention), mask)


def copied(place, rows="with a place", step=0):
    """Induction by a loop, with another rule for the place."""

    def induction(attention, tokens):
        total, count = 0, 0
        for n, text in enumerate(tokens.tolist()):
            for i in range(step, len(text)):
                places = [j for j in range(len(text)) if place(text, i, j)]
                if places or rows == "all":
                    total = total + sum(attention[:, n, :, i, j] for j in places)
                    count += 1
        return total / count

    return induction


def of_texts(mean):
    """Induction text by text, and a mean over what the texts gave; NaN for one without copies."""

    def induction(attention, tokens):
        nothing = torch.full(attention.shape[:1] + attention.shape[2:3], torch.nan)
        return mean([nothing if len(t.unique()) == len(t) else induction_by_loop(
            attention[:, n : n + 1], t[None]) for n, t in enumerate(tokens)])  # fmt: skip

    return induction


def with_later_copies(attention, tokens):
    total, rows = 0, 0
    for n, text in enumerate(tokens.tolist()):
        for i, token in enumerate(text):
            if text.count(token) > 1:
                rows += 1
                for j in range(1, i + 1):
                    if text[j - 1] == token:
                        total = total + attention[:, n, :, i, j]
    return total / rows


def squared(attention, grid):
    side = math.isqrt(attention.shape[-1] - 1)
    row = attention[:, :, 0, attention.shape[-1] - side**2 :]
    return row.reshape(*row.shape[:2], side, side)


def folded(row=lambda A: A[:, :, 0], cut=None, fold=None):
    """Maps as a student writes them, with these lines exchanged."""

    def cls_maps(attention, grid):
        h, w = grid
        start = attention.shape[-1] - h * w
        r = row(attention)
        r = cut(r, start, h * w) if cut else r[:, :, start:]
        n, count = r.shape[:2]
        return fold(r, n, count, h, w) if fold else r.reshape(n, count, h, w)

    return cls_maps


@pytest.mark.parametrize(
    ("name", "function", "words"),
    [
        ("attention_weights", weights(softmax=lambda s: torch.softmax(s, dim=-2)),
         "columns sum to one"),
        ("attention_weights", weights(softmax=lambda s: F.softmax(s, dim=1)), "dimension 1"),
        ("attention_weights", weights(softmax=lambda s: F.softmax(s, dim=0)), "dimension 0"),
        ("attention_weights", weights(scores=lambda q, k: q @ k.mT), "√d is missing"),
        ("attention_weights", weights(scores=lambda q, k: q @ k.mT / q.shape[-1]), "by d"),
        ("attention_weights", weights(scores=lambda q, k: q @ k.mT / q.shape[-2] ** 0.5),
         "number of tokens"),
        ("attention_weights", weights(scores=lambda q, k: q @ k.mT * q.shape[-1] ** 0.5),
         "multiplied by √d"),
        ("attention_weights", weights(scores=lambda q, k: k @ q.mT / q.shape[-1] ** 0.5),
         "rows are keys"),
        ("attention_weights", weights(scores=lambda q, k: q @ k.T / q.shape[-1] ** 0.5),
         "k.mT"),
        ("attention_weights", weights(mask=lambda s: s * torch.ones_like(s).tril()),
         "minus infinity"),
        ("attention_weights", weights(mask=lambda s: s.masked_fill(
            torch.ones_like(s).triu(1).bool(), 1e-9)), "minus infinity"),
        ("attention_weights", weights(mask=lambda s: s, after=lambda A: A.tril()),
         "no longer sum to one"),
        ("attention_weights", weights(mask=lambda s: s.masked_fill(
            torch.ones_like(s).tril(-1).bool(), float("-inf"))), "wrong side"),
        ("attention_weights", weights(mask=lambda s: s.masked_fill(
            torch.ones_like(s).triu().bool(), float("-inf"))), "hides the diagonal"),
        ("attention_weights", weights(mask=lambda s: s.masked_fill(
            torch.ones_like(s).triu(2).bool(), float("-inf"))), "one of the future"),
        ("attention_weights", weights(mask=lambda s: s), "`causal` is not used"),
        ("attention_weights", weights(softmax=lambda s: s.exp() / s.exp().sum(-1)), "keepdim"),
        ("attention_weights", weights(softmax=lambda s: s / s.sum(-1, keepdim=True),
         mask=lambda s: s.tril()), "without the exponential"),
        ("attend", lambda q, k, v, causal=False: weights()(q, k, causal).mT @ v, "*it* looks at"),
        ("attend", lambda q, k, v, causal=False: weights()(q, k) @ v, "not passed on"),
        ("attend", lambda q, k, v, causal=False: v @ weights()(q, k, causal), "on the left"),
        ("attend", lambda q, k, v, causal=False: weights()(q, k, causal), "These are the weights"),
        ("attend", lambda q, k, v, causal=False: weights(scores=lambda q, k: q @ k.mT)(
            q, k, causal) @ v, "√d is missing"),
        ("attend", lambda q, k, v, causal=False: weights(softmax=lambda s: F.softmax(s, -2))(
            q, k, causal) @ v, "columns sum to one"),
        ("attend", lambda q, k, v, causal=False: weights()(q, k, causal) @ k, "averaged the keys"),
        ("attend", lambda q, k, v, causal=False: weights()(q, k, causal) @ v
         / math.sqrt(q.shape[-1]), "divided the output"),
        ("attend", lambda q, k, v, causal=False: (q @ k.mT / q.shape[-1] ** 0.5) @ v,
         "softmax is missing"),
        ("rollout", rolled(mix=lambda F: F), "residual connection is missing"),
        ("rollout", rolled(scale=lambda M: M), "Your rows do not sum to one"),
        ("rollout", rolled(mix=lambda F: F + torch.eye(F.shape[-1]), scale=lambda M: M),
         "without halving"),
        ("rollout", rolled(step=lambda R, M: R @ M), "later layers on the right"),
        ("rollout", rolled(layers=lambda M: M.flip(0)), "later layers on the right"),
        ("rollout", rolled(step=lambda R, M: R * M, start=lambda M: torch.ones_like(M[0])),
         "value by value"),
        ("rollout", rolled(heads=lambda A, fusion: A.mean(2)), "`fusion` is not used"),
        ("rollout", rolled(heads=lambda A, fusion: A.prod(2)), "multiplied the heads"),
        ("rollout", rolled(heads=lambda A, fusion: A.mean(1) if fusion == "mean" else A.amax(1)),
         "dimension 1, the texts"),
        ("rollout", rolled(layers=lambda M: M[1:]), "first layer is left out"),
        ("rollout", rolled(start=lambda M: M[0]), "first layer is in the product twice"),
        ("rollout", rolled(layers=lambda M: M[-1:]), "last layer alone"),
        ("rollout", rolled(scale=lambda M: M / M.sum(-2, keepdim=True)), "scaled the columns"),
        ("rollout", rolled(end=lambda R: R[:, 0]), "row of token 0 alone"),
        ("rollout", rolled(heads=lambda A, fusion: A[:, :, 0]), "first head"),
        ("strongest", lambda A, s: (A.argmax(-1), A.mean(0).argmax(-1)), "still in the race"),
        ("strongest", lambda A, s: strongest_by_loop(A.mT, s), "who looks at each token"),
        ("strongest", lambda A, s: strongest_by_loop(A, s)[::-1], "exchanged"),
        ("strongest", lambda A, s: strongest_by_loop(A, s)[0], "Only the positions by head"),
        ("strongest", lambda A, s: ((A * ~s).argmax(-1), (A * ~s).mean(0).argmax(-1)),
         "gives its words nothing"),
        ("strongest", lambda A, s: ((A * ~s).argmax(-1), (A * ~s).argmax(-1).mode(0)[0]),
         "heads vote"),
        ("strongest", lambda A, s: (strongest_by_loop(A, s)[0], (A * ~s).mean(0).argmax(-1)),
         "gives its words nothing"),
        ("strongest", lambda A, s: ((A * s).argmax(-1), (A * s).mean(0).argmax(-1)),
         "other way round"),
        ("strongest", lambda A, s: (A[:, :, ~s].argmax(-1), A.mean(0)[:, ~s].argmax(-1)),
         "positions moved up"),
        ("strongest", lambda A, s: (strongest_by_loop(A, s)[0],
                                    strongest_by_loop(A, s)[0].mode(0)[0]), "heads vote"),
        ("strongest", lambda A, s: (strongest_by_loop(A, s)[0],
                                    strongest_by_loop(A, s)[0].float().mean(0)), "positions"),
        ("strongest", lambda A, s: ((B := A * ~s).max(-1)[0], B.mean(0).max(-1)[0]),
         "largest *weights*"),
        ("strongest", lambda A, s: (lambda m: (m.repeat(len(A), 1), m))(
            strongest_by_loop(A, s)[1]), "answer of their mean"),
        ("head_entropy", entropies(lambda A: -(A * torch.log2(A + 1e-12)).sum(-1)), "in bits"),
        ("head_entropy", entropies(lambda A: (A * torch.log(A + 1e-12)).sum(-1)), "minus"),
        ("head_entropy", entropies(log_of_zero), "0 · log 0"),
        ("head_entropy", entropies(mean=lambda H, m: H.mean(-1)), "Rows of padding are in"),
        ("head_entropy", entropies(mean=lambda H, m: (H * m[:, None]).mean(-1)), "count as 0"),
        ("head_entropy", entropies(mean=lambda H, m: (H * m[:, None]).sum(-1)), "summed the rows"),
        ("head_entropy", entropies(mean=lambda H, m: (H * m[:, None]).sum(-1)
                                   / m.sum(-1)[:, None]), "NaN × 0"),
        ("head_entropy", entropies(lambda A: -(A * torch.log2(A + 1e-12)).sum(-1),
                                   lambda H, m: (H * m[:, None]).sum(-1) / m.sum(-1)[:, None]),
         "in bits"),
        ("head_entropy", entropies(mean=lambda H, m: at_zero(H, m).sum(-1)
                                   / m.sum(-1).float().mean()), "mean number of tokens"),
        ("head_entropy", entropies(mean=lambda H, m: at_zero(H, m).sum(-1) / m.sum()),
         "all texts together"),
        ("head_entropy", entropies(lambda A: -(A * torch.log(A + 1e-12)).mean(-1)), "*sum*|row"),
        ("head_entropy", lambda A, m: entropy_by_loop(A, m).mean(2), "averaged over the heads"),
        ("head_entropy", lambda A, m: entropy_by_loop(A, m).mean(1), "averaged over the texts"),
        ("head_entropy", lambda A, m: entropies()(A.mean(2, keepdim=True), m)[:, :, 0],
         "averaged the heads"),
        ("head_entropy", entropies(lambda A: -(A * torch.log(A + 1e-12)).sum(-2)), "columns"),
        ("head_entropy", entropies(mean=lambda H, m: H), "One number for each row"),
        ("previous_token", lambda A: A.diagonal(1, -2, -1).mean(-1).mean(1), "*next* token"),
        ("previous_token", lambda A: A.diagonal(0, -2, -1).mean(-1).mean(1), "token itself"),
        ("previous_token", lambda A: A.diagonal(0, -2, -1)[..., 1:].mean(-1).mean(1),
         "token itself"),
        ("previous_token", lambda A: torch.stack([A[..., i, i - 1] for i in range(
            2, A.shape[-1])]).mean(0).mean(1), "row of token 1"),
        ("previous_token", lambda A: sum(A[..., i, i - 1] for i in range(2, A.shape[-1])).mean(1)
         / (A.shape[-1] - 1), "row of token 1"),
        ("previous_token", lambda A: A.diagonal(-1, -2, -1).sum(-1).mean(1) / A.shape[-1],
         "all T rows"),
        ("previous_token", lambda A: sum(A[..., i, i - 1] for i in range(A.shape[-1])).mean(1)
         / A.shape[-1], "wraps around"),
        ("previous_token", lambda A: A.diagonal(-1, -2, -1).mean(-1)[:, 0], "first text"),
        ("previous_token", lambda A: A.diagonal(-1, -2, -1).mean(-1), "texts are still there"),
        ("previous_token", lambda A: A.diagonal(-1, -2, -1).mean(-1).mean(1)[-1], "last layer"),
        ("previous_token", lambda A: A.diagonal(-1, -2, -1).mean((-1, 1, 2)), "over the heads"),
        ("previous_token", lambda A: A.diagonal(-1, -2, -1).amax(-1).mean(1), "best row"),
        ("previous_token", lambda A: A.diagonal(-1, -2, -1).sum(-1).mean(1), "summed over"),
        ("previous_token", lambda A: (A.argmax(-1)[..., 1:] == torch.arange(A.shape[-1] - 1))
         .float().mean(-1).mean(1), "how often"),
        ("induction", copied(lambda t, i, j: j < i and t[j] == t[i]), "copy itself"),
        ("induction", copied(lambda t, i, j: j < i - 1 and t[j + 1] == t[i]), "in *front*"),
        ("induction", copied(lambda t, i, j: 0 < j <= i and t[j - 1] == t[i], "all"), "all rows"),
        ("induction", copied(lambda t, i, j: 0 < j and t[j - 1] == t[i]), "*any* copy"),
        ("induction", copied(lambda t, i, j: 0 < j != i + 1 and t[j - 1] == t[i]), "*any* copy"),
        ("induction", copied(lambda t, i, j: 0 < j < i and t[j - 1] == t[i]), "left out j = i"),
        ("induction", copied(lambda t, i, j: j == i - len(t) // 2 + 1, step=1), "half a text"),
        ("induction", copied(lambda t, i, j: j <= i and t[j - 1] == t[i]), "wrap|brings"),
        ("induction", copied(lambda t, i, j: j == i - 1), "token before"),
        ("induction", lambda A, t: induction_by_loop(A[:, :1], t[:1]), "first text"),
        ("induction", of_texts(lambda s: torch.stack(s).nan_to_num().mean(0)), "each text first"),
        ("induction", of_texts(lambda s: torch.stack(s).nanmean(0)), "each text first"),
        ("induction", of_texts(lambda s: torch.stack(s).mean(0)), "each text first"),
        ("induction", with_later_copies, "*later*"),
        ("induction", lambda A, t: induction_by_loop(A, t).mean(1), "over the heads"),
        ("induction", lambda A, t: induction_by_loop(A, t)[-1], "last layer"),
        ("induction", lambda A, t: induction_by_loop(A.mT, t), "on its side"),
        ("cls_maps", folded(row=lambda A: A[:, :, :, 0]), "*column* of CLS"),
        ("cls_maps", folded(cut=lambda r, s, p: r[:, :, :p]), "CLS token is still"),
        ("cls_maps", folded(cut=lambda r, s, p: r[:, :, 1 : p + 1]), "dropped one token"),
        ("cls_maps", folded(cut=lambda r, s, p: r[:, :, 1:]), "the sizes do not fit"),
        ("cls_maps", folded(cut=lambda r, s, p: r), "the sizes do not fit"),
        ("cls_maps", folded(fold=lambda r, n, c, h, w: r.reshape(n, c, w, h).mT),
         "column by column"),
        ("cls_maps", folded(fold=lambda r, n, c, h, w: r.reshape(n, c, w, h)), "exchanged"),
        ("cls_maps", folded(fold=lambda r, n, c, h, w: r.reshape(n, c, w, h).mT.reshape(
            n, c, w, h)), "column by column"),
        ("cls_maps", folded(cut=lambda r, s, p: r[:, :, s - 1 : -1]), "begin one token early"),
        ("cls_maps", squared, "for a square"),
        ("cls_maps", folded(row=lambda A: A.mean(2)), "over all rows"),
        ("cls_maps", folded(row=lambda A: A[:, :, -1]), "last token"),
        ("cls_maps", folded(row=lambda A: A[:, :, 0] / A[:, :, 0].amax(-1, keepdim=True)),
         "cls_maps"),
        ("cls_maps", lambda A, grid: maps_by_loop(A, grid).mean(1), "over the heads"),
        ("cls_maps", lambda A, grid: maps_by_loop(A, grid).softmax(-1), "cls_maps"),
        ("cls_maps", lambda A, grid: maps_by_loop(A, grid)
         / maps_by_loop(A, grid).sum((2, 3), keepdim=True), "sum to one"),
    ],
)  # fmt: skip
def test_a_mistake_in_other_words_is_told(name, function, words):
    result = check(function, name=name)
    assert not result
    assert result.status != "not attempted"
    said = repr(result).lower()  # a sentence begins small, behind the name
    assert any(part.lower() in said for part in words.split("|")), result.message


def test_calling_wrong_weights_blames_those():
    attention_weights = weights(scores=lambda q, k: q @ k.mT)

    def attend(q, k, v, causal=False):
        return attention_weights(q, k, causal) @ v

    assert "Run `check(attention_weights)`" in check(attend).message


@pytest.mark.parametrize("name", ["rollout", "strongest", "head_entropy", "cls_maps"])
def test_a_changed_argument_is_told(name):
    def spoilt(attention, *arguments, **options):
        result = RIGHT[name][0](attention.clone(), *arguments, **options)
        attention.mul_(0.5)
        return result

    result = check(spoilt, name=name)
    assert not result
    assert "`attention` itself was changed" in result.message
