"""Attention: who looks at whom, head by head.

`head` draws one matrix, `heads` those of a layer, `all_heads` a thumbnail for each head of a model,
`from_token` where one token looks, layer by layer, `by_layer` a number a head, `cls_maps` attention
that falls on patches of a photo. Rows look, columns are looked at; each row sums to one. Matrices
share one scale, 0 to 1, so that two heads can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import matplotlib.font_manager
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.patches import Rectangle
from torch import Tensor

from xai_lab.plot.images import HIGHLIGHT, UNSIGNED, closed, draw_map, limit, style

#: Inches that a token's label needs: 7 points and a little air.
LINE = 0.107
#: Characters of a token that are shown.
LONGEST = 14


def head(attention: Tensor, tokens: Sequence[str], *, title: str = "") -> Figure:
    """One head: the token of a row looks at the tokens of the columns.

    Parameters
    ----------
    attention : Tensor
        ``(tokens, tokens)``, each row a distribution.
    tokens : sequence of str
        Their names, at both sides; of more than fifty every second or third is named.
    title : str
        Over the matrix.

    Returns
    -------
    matplotlib.figure.Figure
    """
    A = matrices(attention, tokens, 2)
    side = min(max(0.24 * len(tokens), 1.8), 5.4)
    with style():
        figure, ax = plt.subplots(figsize=(side + 1.8, side + (1.2 if title else 0.95)))
        shown = draw_matrix(ax, A)
        step = -(-len(tokens) * LINE // side)
        name_tokens(ax, tokens, int(step), size=9 if side / len(tokens) > 0.17 else 7.5)
        ax.set(xlabel="is looked at", ylabel="looks", title=title)
        scale_of_attention(figure, [ax], shown)
    return closed(figure)


def heads(
    attention: Tensor,
    tokens: Sequence[str],
    *,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
) -> Figure:
    """All heads of a layer, or any few matrices, side by side.

    Parameters
    ----------
    attention : Tensor
        ``(heads, tokens, tokens)``.
    tokens : sequence of str
        Their names; their positions are written where the names would be too small to read.
    titles : sequence of str, optional
        Over the matrices; ``head 0``, ``head 1`` and so on by default.
    columns : int, optional
        Matrices a row; by default as many, up to 4, as leave the names legible.

    Returns
    -------
    matplotlib.figure.Figure
    """
    A = matrices(attention, tokens, 3)
    titles = titles or [f"head {number}" for number in range(len(A))]
    if len(titles) != len(A):
        raise ValueError(f"{len(titles)} titles were given for {len(A)} matrices")
    fitting = [c for c in (4, 3, 2) if 5.6 / c >= LINE * len(tokens)]
    columns = columns or min(len(A), fitting[0] if fitting else 4)
    rows, side = -(-len(A) // columns), min(5.6 / columns, max(0.24 * len(tokens), 1.4))
    legible = side >= LINE * len(tokens)
    with style():
        size = (min(columns * side + 1.6, 7.2), rows * (side + 0.25) + 0.8)
        figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
        for number, ax in enumerate(axes.ravel()):
            if number >= len(A):
                ax.set_axis_off()
                continue
            shown = draw_matrix(ax, A[number])
            ax.set_title(titles[number], fontsize=9, pad=3)
            if legible:
                name_tokens(ax, tokens, size=7.5)
            ax.tick_params(
                labelleft=number % columns == 0,
                labelbottom=number + columns >= len(A),
                labelsize=7.5,
            )
        first, last = label(tokens[0]), label(tokens[-1])
        positions = f": position, from 0 {first} to {len(tokens) - 1} {last}"
        figure.supxlabel(f"is looked at{'' if legible else positions}", fontsize=9)
        figure.supylabel("looks", fontsize=9)
        scale_of_attention(figure, axes, shown)
    return closed(figure)


def all_heads(
    attention: Tensor, *, layers: Sequence[int] | None = None, marked: Sequence[tuple] = ()
) -> Figure:
    """Every head of a model as a thumbnail, a row for each layer.

    Parameters
    ----------
    attention : Tensor
        ``(layers, heads, tokens, tokens)``, or with a batch of one after the layers.
    layers : sequence of int, optional
        Numbers of the layers, where these are not all.
    marked : sequence of (int, int)
        Layer and head of those that are framed.

    Returns
    -------
    matplotlib.figure.Figure
    """
    A = matrices(attention, None, 4)
    layers = list(range(len(A))) if layers is None else list(layers)
    if len(layers) != len(A):
        raise ValueError(f"{len(layers)} layers were named, attention has {len(A)}")
    for layer, number in marked:
        if layer not in layers or not 0 <= number < A.shape[1]:
            raise ValueError(
                f"there is no layer {layer} head {number} to mark: expected one of layers "
                f"{layers} and a head from 0 to {A.shape[1] - 1}"
            )
    side = min(6.2 / A.shape[1], 1.2)
    with style():
        size = (side * A.shape[1] + 1.0, side * len(A) + 0.6)
        figure, axes = plt.subplots(*A.shape[:2], figsize=size, squeeze=False)
        set_close(figure)
        for layer, line, row in zip(layers, axes, A, strict=True):
            line[0].set_ylabel(layer, rotation=0, ha="right", va="center", fontsize=9)
            for number, (ax, values) in enumerate(zip(line, row, strict=True)):
                shown = draw_matrix(ax, values)
                ax.set(xticks=[], yticks=[])
                if (layer, number) in {tuple(pair) for pair in marked}:
                    frame(ax)
        for number, ax in enumerate(axes[0]):
            ax.set_title(number, fontsize=9, pad=3)
        figure.suptitle("head", fontsize=9.5)
        figure.supylabel("layer", fontsize=9.5)
        scale_of_attention(figure, axes, shown)
    return closed(figure)


def from_token(attention: Tensor, tokens: Sequence[str], position: int) -> Figure:
    """Where one token looks, layer by layer: the mean over the heads, and the head that does most.

    Two pictures of the same numbers, because a mean hides what one head of twelve does.

    Parameters
    ----------
    attention : Tensor
        ``(layers, heads, tokens, tokens)``, or with a batch of one after the layers.
    tokens : sequence of str
        Their names.
    position : int
        Which of them looks; from the end if it is negative.

    Returns
    -------
    matplotlib.figure.Figure
        Above the mean over the heads; below the largest value of any head, with the head's number
        where it is 0.3 or more and there is room.
    """
    A = matrices(attention, tokens, 4)
    if not -len(tokens) <= position < len(tokens):
        raise ValueError(f"position is {position}, expected 0 to {len(tokens) - 1}")
    position %= len(tokens)
    row = A[:, :, position]
    largest, which = row.max(axis=1), row.argmax(axis=1)
    width = min(max(0.3 * len(tokens), 2.6), 5.9)
    height = max(min(0.26 * len(A), 3.0), 0.5)
    with style():
        figure, axes = plt.subplots(
            2, 1, sharex=True, figsize=(width + 1.3, 2 * height + 1.4), squeeze=False
        )
        above, below = axes[:, 0]
        for ax, values, title in (
            (above, row.mean(axis=1), "mean over the heads"),
            (below, largest, "the head that looks there most, and its number"),
        ):
            shown = draw_matrix(ax, values, square=False)
            ax.set_title(title, fontsize=9, pad=3)
            ax.set_ylabel("layer")
            step = -(-len(A) // 12)
            ax.set_yticks(range(0, len(A), step))
        if width / len(tokens) >= 0.2:
            for layer, column in zip(*np.nonzero(largest >= 0.3), strict=True):
                below.text(
                    column,
                    layer,
                    which[layer, column],
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color="black" if largest[layer, column] > 0.6 else "white",
                )
        names = [label(token) for token in tokens]
        step = int(-(-len(tokens) * LINE // width))
        below.set_xticks(
            range(0, len(names), step), labels=names[::step], rotation=90, fontsize=8.5
        )
        for ax in (above, below):
            column = Rectangle((position - 0.5, -0.5), 1, len(A), fill=False, lw=1.2, ec="white")
            ax.add_patch(column)
        figure.suptitle(f"where “{label(tokens[position])}” (position {position}) looks")
        scale_of_attention(figure, axes, shown)
    return closed(figure)


def by_layer(values: Mapping[str, Tensor]) -> Figure:
    """A number a head, layer by layer: a dot for each head, a line for their mean.

    Parameters
    ----------
    values : mapping of str to Tensor
        Name with its unit, such as ``"entropy (nats)"``, and values ``(layers, heads)``.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if not values:
        raise ValueError("there is nothing to draw: give a name and values (layers, heads)")
    with style():
        figure, axes = plt.subplots(1, len(values), figsize=(7.2, 2.7), squeeze=False)
        for ax, (name, given) in zip(axes[0], values.items(), strict=True):
            v = given.detach().float().cpu().numpy()
            if v.ndim != 2:
                raise ValueError(f"{name}: shape {v.shape} was given, expected (layers, heads)")
            layers, count = v.shape
            # Heads lie side by side, in their order, so that no dot covers another.
            aside = np.linspace(-0.28, 0.28, count) if count > 1 else np.zeros(1)
            along = np.arange(layers)[:, None] + aside
            ax.scatter(along, v, s=14, color="#1687a0", label="one head", clip_on=False)
            ax.plot(range(layers), v.mean(axis=1), "o-", color=HIGHLIGHT, label="mean")
            ax.set(xlabel="layer", ylabel=name)
            ax.set_xticks(range(0, layers, -(-layers // 12)))
            if v.min() >= 0:
                ax.set_ylim(bottom=min(0, v.min()))
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return closed(figure)


def cls_maps(
    maps: Tensor, picture: Tensor, *, layers: Sequence[int] | None = None, shared: bool = True
) -> Figure:
    """Attention on the patches of a photo, for all heads, over the photo.

    Parameters
    ----------
    maps : Tensor
        ``(layers, heads, h, w)``, at the size of the grid or of the picture.
    picture : Tensor
        What the network saw, ``(1, 3, H, W)`` or ``(3, H, W)`` in [0, 1].
    layers : sequence of int, optional
        Numbers of the layers, where these are not all.
    shared : bool
        One scale for all maps, from 0 to the 99th percentile of all values, with an arrow for what
        is above; else each has its own.

    Returns
    -------
    matplotlib.figure.Figure
    """
    values = maps.detach().float().cpu().numpy()
    if values.ndim != 4 or 0 in values.shape:
        raise ValueError(
            f"maps have shape {values.shape}, expected (layers, heads, h, w); one layer is "
            "maps[None]"
        )
    layers = list(range(len(values))) if layers is None else list(layers)
    if len(layers) != len(values):
        raise ValueError(f"{len(layers)} layers were named, the maps have {len(values)}")
    photo = picture.detach().reshape(picture.shape[-3:]).float().cpu()
    top = limit(values)
    side = min(6.0 / values.shape[1], 1.5)
    with style():
        size = (side * values.shape[1] + 1.1, side * len(values) + 0.6)
        figure, axes = plt.subplots(*values.shape[:2], figsize=size, squeeze=False)
        set_close(figure)
        for layer, line, row in zip(layers, axes, values, strict=True):
            line[0].set_ylabel(layer, rotation=0, ha="right", va="center", fontsize=9)
            for ax, one in zip(line, row, strict=True):
                shown = draw_map(ax, one, top if shared else limit(one), False, photo)
                ax.set(xticks=[], yticks=[])
                ax.spines[:].set_visible(False)
        for number, ax in enumerate(axes[0]):
            ax.set_title(number, fontsize=9, pad=3)
        figure.suptitle("head", fontsize=9.5)
        figure.supylabel("layer", fontsize=9.5)
        more = "max" if shared and values.max() > top else "neither"
        bar = figure.colorbar(
            shown, ax=list(axes.ravel()), shrink=0.8, aspect=30, pad=0.02, extend=more
        )
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=8)
        if shared:
            bar.set_label("attention on a patch", fontsize=9)
        else:
            bar.set_ticks([0, shown.get_clim()[1]], labels=["0", "99%"])
    return closed(figure)


def matrices(attention: Tensor, tokens: Sequence[str] | None, ndim: int) -> np.ndarray:
    """Attention as numbers of ``ndim`` dimensions, checked against the tokens.

    A batch of one is taken out: after the layers in ``(layers, 1, heads, tokens, tokens)``, in
    front in ``(1, heads, tokens, tokens)``.
    """
    form = "layers, heads, tokens, tokens".split(", ")[4 - ndim :]
    given = tuple(attention.shape)
    A = attention.detach().float().cpu()
    batch = 1 if ndim == 4 else 0
    if A.ndim == ndim + 1 and A.shape[batch] == 1:
        A = A.squeeze(batch)
    if A.ndim != ndim:
        batched = A.ndim == ndim + 1
        raise ValueError(
            f"attention has shape {given}, expected ({', '.join(form)})"
            + ("; draw a batch one sample at a time" if batched else "")
        )
    if A.shape[-1] != A.shape[-2] or 0 in A.shape:
        raise ValueError(
            f"attention has shape {given}, expected as many rows as columns, and at least one"
        )
    if tokens is not None and len(tokens) != A.shape[-1]:
        raise ValueError(
            f"{len(tokens)} tokens were given, attention is over {A.shape[-1]}: name each of them, "
            "special ones such as [CLS] among them"
        )
    if not A.isfinite().all():
        raise ValueError("attention holds NaN or infinity: nothing can be drawn of it")
    return A.numpy()


def draw_matrix(ax: plt.Axes, values: np.ndarray, square: bool = True) -> ScalarMappable:
    """One matrix on the common scale."""
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0, pad=2)
    return ax.imshow(values, cmap=UNSIGNED, vmin=0, vmax=1, aspect="equal" if square else "auto")


def name_tokens(ax: plt.Axes, tokens: Sequence[str], step: int = 1, size: float = 7.5) -> None:
    """Write the tokens at both sides, every ``step``-th of them."""
    names = [label(token) for token in tokens][::step]
    places = range(0, len(tokens), step)
    ax.set_xticks(places, labels=names, rotation=90, fontsize=size)
    ax.set_yticks(places, labels=names, fontsize=size)


def set_close(figure: Figure) -> None:
    """Leave little room between panels."""
    figure.set_layout_engine("constrained", w_pad=0.015, h_pad=0.015, wspace=0, hspace=0)


def frame(ax: plt.Axes) -> None:
    """Frame around a thumbnail."""
    for spine in ax.spines.values():
        spine.set(visible=True, color="#e6733a", linewidth=2.5)


def scale_of_attention(figure: Figure, axes: Sequence | np.ndarray, shown: ScalarMappable) -> None:
    """One colour bar from 0 to 1 for all matrices."""
    bar = figure.colorbar(shown, ax=list(np.ravel(axes)), shrink=0.8, aspect=30, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_ticks([0, 0.25, 0.5, 0.75, 1], labels=["0", "¼", "½", "¾", "1"])
    bar.ax.tick_params(labelsize=8)
    bar.set_label("attention", fontsize=9)


def label(token: str) -> str:
    """Token as it can be written: short, with its blanks seen, and no sign that the font lacks."""
    text = readable(token)
    if len(text) > LONGEST:
        text = f"{text[: LONGEST - 1]}…"
    known = glyphs()
    return "".join(c if ord(c) in known else "□" for c in text).replace("$", r"\$")


def readable(token: str) -> str:
    """Token without its tokenizer's own signs: a blank that it starts with, the end of a word."""
    for sign in ("Ġ", "▁"):  # a word's first piece: the blank before it says nothing by itself
        token = token[1:] if token.startswith(sign) and len(token) > 1 else token
        token = token.replace(sign, "␣")
    token = token.replace("</w>", "").replace("Ċ", "⏎").replace("\n", "⏎").replace("\t", "⇥")
    return token if token.strip() else "␣" * max(len(token), 1)


@lru_cache(maxsize=1)
def glyphs() -> frozenset[int]:
    """Characters that the course's font can draw."""
    return frozenset(FT2Font(matplotlib.font_manager.findfont("DejaVu Sans")).get_charmap())
