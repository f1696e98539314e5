"""Attention: who looks at whom inside a transformer, and what that adds up to over the layers.

Read `attention_maps` first: it gets the weights out of any transformer, also out of one whose
kernel hands out none. `rollout`, `flow` and `relevance` follow them through the layers; `cls_map`
turns the row of a vision transformer's CLS token into a picture; `entropy` and `distance` say how
wide a head looks, and how far. The machinery is in `xai_lab.attending`.

An attention weight says what a head mixes, not what the output depends on. Compare with `relevance`
and with methods that change the input before you believe one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_flow
from torch import Tensor, nn
from tqdm.auto import tqdm

from xai_lab.attending import (
    Attending,
    Inputs,
    bare_transformer,
    call,
    chosen,
    eager,
    heads_first,
    in_range,
    prepared,
    real_tokens,
)
from xai_lab.core import Target, class_scores, in_batches, per_sample, run, taken, untouched
from xai_lab.layers import Layer, token_grid

#: One tensor ``(layers, N, heads, T, T)``, or one ``(N, heads, T, T)`` a layer.
Attention: TypeAlias = Tensor | Sequence[Tensor]


def attention_maps(
    model: nn.Module,
    inputs: Inputs,
    *,
    layers: int | Layer | Sequence[int | Layer] | None = None,
    batch_size: int | None = None,
) -> Tensor:
    r"""Attention weights of all heads, whatever kernel computes them.

    .. math:: A = \operatorname{softmax} \Big( \frac{Q K^\top}{\sqrt d} + \text{mask} \Big)

    Row i of A says where token i looks: it is not negative and sums to one.

    Parameters
    ----------
    model : Module
        A transformer of Hugging Face (its attention is set to eager for the call), torchvision or
        timm, ``nn.MultiheadAttention``, ``nn.TransformerEncoder``, or one of your own that calls
        ``softmax`` or the fused kernel of torch.
    inputs : Tensor or mapping of str to Tensor
        Pictures ``(N, C, H, W)``; what a tokenizer returned (``input_ids``, ``attention_mask``, …)
        or the numbers of tokens alone, ``(N, T)``; vectors ``(N, T, C)`` for a transformer without
        an embedding, also for one whose ``batch_first`` is false.
    layers : int, str, Module or a sequence of them, optional
        Numbers, counted from 0 or from the end, or dotted names, of the attention or of a block
        around it; `attention_layers` lists them. All by default, in the order in which they run.
    batch_size : int, optional
        Samples on the device at once; the result does not depend on it.

    Returns
    -------
    Tensor
        A, ``(layers, N, heads, T, T)``, detached, in float32 at least. Heads that share keys and
        values have a matrix each. Where an ``attention_mask`` marks padding, the columns of
        padding are 0, and the rows of padding are set to 0, on either side.

    Raises
    ------
    TypeError, ValueError
        If the model has no attention or none that can be seen, attends in windows (Swin), is an
        encoder and a decoder in one, or if a layer is not there or the inputs do not fit.

    Notes
    -----
    Cost: one forward pass a sample, without a graph. ``softmax`` and the fused kernel are watched
    while it runs, and the kernel is replaced by its formula.

    References
    ----------
    Vaswani et al., *Attention is all you need*, NeurIPS 2017.
    """
    module = bare_transformer(model)
    batch, like = prepared(module, inputs)

    def captured(i: Tensor) -> list[Tensor]:
        part = {name: value[i.to(value.device)] for name, value in batch.items()}
        with Attending(module) as attending:
            call(module, part)
        found = chosen(attending.found, layers, module)
        return [heads_first(A, len(i), name, module).detach() for name, A in found]

    with untouched(module, like), eager(module), torch.no_grad():
        batches = list(in_batches(captured, range(len(like)), batch_size, like))
    maps = [torch.cat(parts) if parts[1:] else parts[0] for parts in zip(*batches, strict=True)]
    if len(shapes := {tuple(A.shape[1:]) for A in maps}) > 1:
        raise ValueError(
            f"the layers have attention of different shapes (heads, T, T), {sorted(shapes)}; name "
            "layers that go together with `layers`; `attention_layers` lists their names"
        )
    A = torch.stack(maps)
    real = real_tokens(batch, A)
    # Rows of padding look somewhere as well, but nobody asked them.
    return A if real is None else A.mul_(real[:, None, :, None])


def attention_layers(model: nn.Module, inputs: Inputs) -> list[str]:
    """Dotted names of the modules that attend, in the order in which they run.

    Parameters
    ----------
    model, inputs
        As in `attention_maps`; the first sample is used.

    Returns
    -------
    list of str
        One a layer; a module that runs twice is there twice.

    Notes
    -----
    Cost: one forward pass of one sample.
    """
    module = bare_transformer(model)
    batch, like = prepared(module, inputs)
    with untouched(module, like), eager(module), torch.no_grad(), Attending(module) as attending:
        call(module, {name: value[:1] for name, value in batch.items()})
    return [name for name, _ in chosen(attending.found, None, module)]


def rollout(
    attention: Attention,
    *,
    fusion: str = "mean",
    discard: float = 0.0,
    residual: float = 0.5,
) -> Tensor:
    r"""Attention rollout: the share of each input token in each token of the last layer.

    .. math::
        M_l = (1 - r) \, \operatorname{fusion}_h A_{lh} + r \, I, \quad
        \text{rows scaled to sum 1}, \qquad
        R = M_L \cdots M_2 M_1

    r I is the residual connection, which hands a token on as it is. Later layers stand on the left.

    Parameters
    ----------
    attention : Tensor or sequence of Tensor
        ``(layers, N, heads, T, T)``, or one ``(N, heads, T, T)`` a layer, first layer first.
    fusion : {"mean", "max", "min"}
        What becomes of the heads.
    discard : float
        Share, 0 to below 1, of the smallest links of each token that are cut before the rows are
        scaled. Links of weight 0 (a mask) do not count, and the strongest always stays.
    residual : float
        Share r of the residual connection, 0 to 1.

    Returns
    -------
    Tensor
        R, ``(N, T, T)``: row i is a distribution over the input tokens. Rows of padding are 0.

    Raises
    ------
    TypeError, ValueError
        If this is no attention, ``()`` or ``None`` among it, or an option is out of range.

    Notes
    -----
    Cost: one product of T × T matrices a layer; no pass through the model.

    References
    ----------
    Abnar and Zuidema, *Quantifying attention flow in transformers*, ACL 2020, with the mean of the
    heads, nothing discarded and r = 1/2. Max, min and the discarding are from practice with vision
    transformers; there a share of the whole matrix is cut, here of each row, so that no row is
    emptied.
    """
    A = as_attention(attention)
    M = mixing(A, fusion, discard, residual)
    # M[0] is the first layer: each next one is multiplied from the left.
    return reduce(lambda R, later: later @ R, M) * real_rows(A)[..., None]


def mixing(A: Tensor, fusion: str, discard: float, residual: float) -> Tensor:
    """Matrices M of `rollout` and `flow`, ``(layers, N, T, T)``: heads fused, residual added."""
    fusions: dict[str, Callable[[Tensor], Tensor]] = {
        "mean": lambda A: A.mean(dim=2),
        "max": lambda A: A.amax(dim=2),
        "min": lambda A: A.amin(dim=2),
    }
    if fusion not in fusions:
        raise ValueError(f"fusion is {fusion!r}, expected one of {', '.join(fusions)}")
    if not 0 <= discard < 1:
        raise ValueError(f"discard is {discard}, expected a share of the links, 0 to below 1")
    if not 0 <= residual <= 1:
        raise ValueError(f"residual is {residual}, expected a share, 0 to 1 (the paper's is 0.5)")
    M = fusions[fusion](A)
    if discard:
        links = (M > 0).sum(dim=-1, keepdim=True)
        rank = M.argsort(dim=-1, descending=True).argsort(dim=-1)
        M = M * (rank < links - (links * discard).floor())
    M = (1 - residual) * M + residual * torch.eye(M.shape[-1], dtype=M.dtype, device=M.device)
    return M / M.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(M.dtype).tiny)


def flow(
    attention: Attention,
    token: int = 0,
    *,
    fusion: str = "mean",
    discard: float = 0.0,
    residual: float = 0.5,
    progress: bool = False,
) -> Tensor:
    r"""Attention flow: how much could pass from each input token to one token of the last layer.

    .. math::
        \Phi_j = \max \text{ flow from } (L, \text{token}) \text{ to } (0, j), \quad
        \text{capacity of } (l, i) \to (l - 1, k) = M_{l, ik}

    The matrices M are those of `rollout`, read as pipes. Rollout adds up the products along all
    paths; a flow is as thin as the thinnest pipe on its way, and each input is asked alone, so the
    Φ need not sum to one.

    Parameters
    ----------
    attention, fusion, discard, residual
        As in `rollout`.
    token : int
        Token of the last layer, counted from 0 or from the end; 0 is CLS.
    progress : bool
        Show a bar.

    Returns
    -------
    Tensor
        Φ, ``(N, T)``, between 0 and 1; 0 everywhere for a token of padding.

    Raises
    ------
    TypeError, ValueError
        As in `rollout`; and for a token out of range.

    Notes
    -----
    Cost: T maximum flows a sample (Dinic's algorithm, by SciPy, on the CPU), each over L T² pipes
    whose capacities are rounded to whole billionths. 12 layers take about 0.01 s for 16 tokens,
    2.5 s for 197. No pass through the model.

    References
    ----------
    Abnar and Zuidema, *Quantifying attention flow in transformers*, ACL 2020.
    """
    A = as_attention(attention)
    layers, n, _, tokens, _ = A.shape
    token = in_range("token", token, tokens)
    M = mixing(A, fusion, discard, residual).double().cpu().numpy()
    # What never reaches the token needs no pipe: of the last layer, only its own row does.
    M[-1, :, np.arange(tokens) != token] = 0.0
    real = real_rows(A).cpu().numpy()
    found = np.zeros((n, tokens))
    bar = tqdm(total=int(real.sum()), desc="attention flow", unit="token", disable=not progress)
    with bar:
        for sample in range(n):
            if real[sample, token] == 0:
                continue
            capacity = np.rint(M[:, sample] * UNITS).astype(np.int32)
            pipes = network(capacity)
            for j in real[sample].nonzero()[0]:
                pipes.data[:tokens] = capacity[0, :, j]
                source = (layers - 1) * tokens + 1 + token
                found[sample, j] = maximum_flow(pipes, source, 0).flow_value / UNITS
                bar.update()
    # Each pipe is rounded, so their sum may pass 1 by a billionth.
    return torch.from_numpy(found).clamp_max(1.0).to(A)


#: Whole units of flow that make 1; SciPy counts them in 32 bits.
UNITS = 10**9


def network(capacity: np.ndarray) -> csr_array:
    """Pipes from token i of each layer to token k of the one before, of whole capacities.

    Node 0 is the input token that is asked about; the first T pipes lead there, from the first
    layer, and their capacities are still to be filled in. Token i of layer l is node
    (l − 1) T + 1 + i.
    """
    layers, tokens, _ = capacity.shape
    layer, i, k = capacity[1:].nonzero()
    begins = np.concatenate([1 + np.arange(tokens), (layer + 1) * tokens + 1 + i])
    ends = np.concatenate([np.zeros(tokens, dtype=int), layer * tokens + 1 + k])
    sizes = np.concatenate([np.ones(tokens, dtype=np.int32), capacity[1:][layer, i, k]])
    nodes = layers * tokens + 1
    return csr_array((sizes, (begins, ends)), shape=(nodes, nodes))


def relevance(
    model: nn.Module,
    inputs: Inputs,
    target: Target = None,
    *,
    start_layer: int = 0,
    batch_size: int | None = None,
) -> Tensor:
    r"""Relevance of each input token for a class: attention where it moves the score.

    .. math::
        \bar A_l = \operatorname{mean}_h \operatorname{relu} \Big(
            \frac{\partial S}{\partial A_{lh}} \odot A_{lh} \Big), \qquad
        R \leftarrow R + \bar A_l R, \quad R_0 = I

    Unlike `rollout` it depends on the class. It keeps what speaks *for* the class and drops the
    rest, and it does not see what happens outside of attention.

    Parameters
    ----------
    model, inputs
        As in `attention_maps`; the model returns class scores ``(N, K)`` or an object with
        ``.logits``. Wrap another one in a module that picks them, such as those of one position of
        a language model.
    target : int, sequence of int, Tensor, callable or None
        Class to explain; see `xai_lab.core.class_scores`.
    start_layer : int
        Number of the first layer that counts, from 0; below it there is no graph.
    batch_size : int, optional
        Samples on the device at once; the result does not depend on it.

    Returns
    -------
    Tensor
        R, ``(N, T, T)``. The row of the token that the class is read from (CLS: row 0) is the
        explanation; its own column also holds the 1 of the start. Rows of padding are 0.

    Raises
    ------
    TypeError, ValueError
        As in `attention_maps`; if the score does not depend on the attention; or if
        ``start_layer`` is out of range.

    Notes
    -----
    Cost: one forward and one backward pass a sample, the latter down to the first matrix only.

    References
    ----------
    Chefer, Gur and Wolf, *Generic attention-model explainability for interpreting bi-modal and
    encoder-decoder transformers*, ICCV 2021: the case of self-attention alone.
    """
    module = bare_transformer(model)
    batch, like = prepared(module, inputs)
    target = per_sample(target, len(like))
    if isinstance(start_layer, bool) or not isinstance(start_layer, int) or start_layer < 0:
        raise ValueError(f"start_layer is {start_layer!r}, expected a number from 0")

    def explained(i: Tensor) -> Tensor:
        part = {name: value[i.to(value.device)] for name, value in batch.items()}
        # The graph starts at the first matrix, see `Attending.keep`.
        with torch.no_grad():
            with Attending(module, start=start_layer) as attending:
                outputs = run(lambda _: call(module, part), like[i.to(like.device)])
            found = chosen(attending.found, None, module)
            matrices = found[in_range("start_layer", start_layer, len(found)) :]
            S = class_scores(outputs, taken(target, i)).sum()
            A = [A for _, A in matrices]
            g = torch.autograd.grad(S, A, allow_unused=True) if S.requires_grad else [None]
        if all(one is None for one in g):
            raise ValueError(
                "the score does not depend on the attention: something in the model cuts the graph "
                "(detach, no_grad, argmax), or the target is a constant"
            )
        n = len(i)
        both = [
            (heads_first(A, n, name, module).detach(), heads_first(one, n, name, module))
            for (name, A), one in zip(matrices, g, strict=True)
            if one is not None
        ]
        return reduce(relevant, both, torch.eye(both[0][0].shape[-1]).to(both[0][0]))

    with untouched(module, like), eager(module):
        R = torch.cat(list(in_batches(explained, range(len(like)), batch_size, like)))
    if not torch.isfinite(R).all():
        raise ValueError("the relevance is NaN or infinite; use `model.float()` for precision")
    real = real_tokens(batch, R[None])
    return R if real is None else R * real[..., None]


def relevant(R: Tensor, layer: tuple[Tensor, Tensor]) -> Tensor:
    """Relevance one layer further up, from that layer's A and the gradient there."""
    A, g = layer
    return R + (g * A).relu().mean(dim=1) @ R


def cls_map(
    attention: Attention,
    size: Sequence[int],
    *,
    layer: int = -1,
    head: int | None = None,
    upsample: bool = True,
) -> Tensor:
    """Row of the CLS token as a picture: how much of each patch it takes.

    Parameters
    ----------
    attention : Tensor or sequence of Tensor
        Attention ``(layers, N, heads, T, T)``; a rollout or relevance ``(N, T, T)``; or the row
        itself ``(N, T)``, as `flow` returns it. Class, distillation and register tokens come first
        and are dropped, the others are the patches row by row.
    size : (int, int)
        H and W of the pictures.
    layer : int
        Which layer of an attention, counted from 0 or from the end; the last by default.
    head : int, optional
        Which head of an attention; all by default.
    upsample : bool
        ``False`` gives the grid of the patches.

    Returns
    -------
    Tensor
        ``(N, H, W)``, or ``(N, heads, H, W)`` for all heads of an attention. The weights are as
        they were, not scaled: they sum to one less what CLS gives to itself and its like.

    Raises
    ------
    TypeError, ValueError
        If there is no CLS token, the tokens are no grid over the picture, or layer or head are
        out of range.

    Notes
    -----
    Cost: none but the interpolation, which is bilinear.
    """
    height, width = size
    rows = cls_rows(attention, layer, head)
    prefix, h, w = token_grid(rows.shape[-1], (height, width))
    if prefix == 0:
        raise ValueError(
            f"all {rows.shape[-1]} tokens are patches of a picture of {height} × {width}: there is "
            "no CLS token whose row could be shown. For a transformer that pools its patches, the "
            "mean over the rows says what all of them look at: `attention.mean(dim=-2)`"
        )
    grid = rows[..., prefix:].unflatten(-1, (h, w))
    if not upsample:
        return grid
    maps = grid.flatten(0, -3)[:, None]
    return F.interpolate(maps, (height, width), mode="bilinear").unflatten(0, grid.shape[:-2])[
        ..., 0, :, :
    ]


def cls_rows(attention: Attention, layer: int, head: int | None) -> Tensor:
    """First row of the matrices of one layer, ``(N, T)`` or ``(N, heads, T)``."""
    if isinstance(attention, Tensor) and attention.ndim == 2:
        return attention
    if isinstance(attention, Tensor) and attention.ndim == 3:
        if attention.shape[-1] != attention.shape[-2]:
            raise ValueError(
                f"a matrix of shape {tuple(attention.shape)} was given, expected (N, T, T)"
            )
        return attention[:, 0]
    A = as_attention(attention)
    rows = A[in_range("layer", layer, A.shape[0])][:, :, 0]
    return rows if head is None else rows[:, in_range("head", head, A.shape[2])]


def entropy(attention: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Entropy of each row: how widely a token looks.

    .. math:: H_i = -\sum_j a_{ij} \ln a_{ij}

    Parameters
    ----------
    attention : Tensor
        ``(…, T, T)``, such as ``(layers, N, heads, T, T)``.
    mask : Tensor, optional
        ``(N, T)``, 1 for a token and 0 for padding, as a tokenizer returns it. Not needed for
        what `attention_maps` returned, where rows of padding are 0.

    Returns
    -------
    Tensor
        H, ``(…, T)``, in nats: 0 for one token, ln T for all alike. NaN for rows of padding, so
        ``.nanmean(-1)`` is the mean over the tokens.

    Raises
    ------
    TypeError, ValueError
        If this is no attention, or the mask does not fit.

    Notes
    -----
    Cost: no pass through the model.
    """
    A = as_rows(attention, mask)
    return padding_as_nan(torch.special.entr(A).sum(dim=-1), A)


def distance(
    attention: Tensor, mask: Tensor | None = None, *, grid: Sequence[int] | None = None
) -> Tensor:
    r"""Mean distance of what each token looks at.

    .. math:: D_i = \sum_j a_{ij} \, |i - j|

    Parameters
    ----------
    attention, mask
        As in `entropy`.
    grid : (int, int), optional
        Rows and columns of a vision transformer's patches. The distance is then the straight line
        between patches, in patches (times the size of a patch: in pixels), over patches alone:
        other tokens have no place, so their weight is left out and the rest scaled to one.

    Returns
    -------
    Tensor
        D, ``(…, T)`` in tokens, or ``(…, h · w)`` in patches; NaN for rows of padding.

    Raises
    ------
    TypeError, ValueError
        If this is no attention, the mask does not fit, or there are fewer tokens than patches.

    Notes
    -----
    Cost: no pass through the model.

    References
    ----------
    Dosovitskiy et al., *An image is worth 16 × 16 words*, ICLR 2021, figure 7.
    """
    A = as_rows(attention, mask)
    if grid is None:
        place = torch.arange(A.shape[-1], device=A.device, dtype=A.dtype)[:, None]
    else:
        h, w = grid
        prefix = A.shape[-1] - h * w
        if h < 1 or w < 1 or prefix < 0:
            raise ValueError(f"a grid of {h} × {w} patches was given for {A.shape[-1]} tokens")
        A = A[..., prefix:, prefix:]
        A = A / A.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(A.dtype).tiny)
        place = torch.cartesian_prod(torch.arange(h), torch.arange(w)).to(A)
    # Whole coordinates: the exact formula, not the one by products, which loses digits.
    between = torch.cdist(place, place, compute_mode="donot_use_mm_for_euclid_dist")
    return padding_as_nan((A * between).sum(dim=-1), A)


def as_attention(attention: Attention | None) -> Tensor:
    """Attention as one tensor ``(layers, N, heads, T, T)``, refused if it is none."""
    if attention is None or (not isinstance(attention, Tensor) and len(attention) == 0):
        raise ValueError(
            f"the attention is {attention!r}: the kernel never returned any. Fused kernels (sdpa, "
            "flash) do not; `attention_maps(model, inputs)` gets it out of them, or load the model "
            'with `attn_implementation="eager"`'
        )
    if not isinstance(attention, Tensor):
        if any(A is None for A in attention):
            raise ValueError(
                "the attention of some layers is None: their kernel never returned any; "
                "`attention_maps(model, inputs)` gets it out of them"
            )
        shapes = {tuple(A.shape) for A in attention}
        if len(shapes) > 1:
            raise ValueError(
                f"the layers have attention of different shapes, {shapes}, expected the same "
                "tokens in all of them; choose layers that go together"
            )
        attention = torch.stack(list(attention))
    if attention.ndim != 5 or attention.shape[-1] != attention.shape[-2]:
        raise ValueError(
            f"an attention of shape {tuple(attention.shape)} was given, expected "
            "(layers, N, heads, T, T); `attention_maps(model, inputs)` returns it, and "
            "`attention[None]` makes one layer of (N, heads, T, T)"
        )
    check_weights(attention)
    return attention.detach()


def check_weights(A: Tensor) -> None:
    """Refuse what cannot be attention."""
    if not A.is_floating_point():
        raise TypeError(f"the attention is {A.dtype}, expected floating point")
    if not torch.isfinite(A).all() or (A < 0).any():
        raise ValueError(
            "the attention has weights that are negative, NaN or infinite, expected a softmax's; "
            "are these scores before the softmax, or a half-precision overflow?"
        )


def as_rows(attention: Tensor, mask: Tensor | None) -> Tensor:
    """Attention ``(…, T, T)`` with the rows and columns of padding at 0."""
    if not isinstance(attention, Tensor):
        attention = as_attention(attention)
    if attention.ndim < 2 or attention.shape[-1] != attention.shape[-2]:
        raise ValueError(
            f"an attention of shape {tuple(attention.shape)} was given, expected (…, T, T)"
        )
    check_weights(attention)
    A = attention.detach()
    if mask is None:
        return A
    tokens = A.shape[-1]
    if (
        mask.shape[-1] != tokens
        or mask.ndim > 2
        or (A.ndim < 4 and len(mask.reshape(-1, tokens)) > 1)
    ):
        raise ValueError(
            f"a mask of shape {tuple(mask.shape)} was given for attention {tuple(A.shape)}, "
            f"expected (N, {tokens}): one row a sample, 1 for a token and 0 for padding"
        )
    real = mask.to(A).reshape(-1, 1, tokens) if A.ndim >= 4 else mask.to(A).reshape(tokens)
    return A * real[..., :, None] * real[..., None, :]


def padding_as_nan(values: Tensor, A: Tensor) -> Tensor:
    """Values a row, with NaN where the row holds no attention at all."""
    return values.masked_fill(A.sum(dim=-1) == 0, math.nan)


def real_rows(A: Tensor) -> Tensor:
    """1 for a token and 0 for padding, ``(N, T)``, by the rows that hold anything."""
    return (A.sum(dim=(0, 2, 4)) > 0).to(A.dtype)
