"""Evidence: maps with the area they mark, and what hiding it did.

`evidence` and `disputed` are about one picture, `words` about one text, `contact_sheet` about a
whole data set; in all of them a filled dot is the area in question, hollow ones are equal areas
elsewhere. `groups` shows a table of accuracies.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from xai_lab.plot.heads import glyphs
from xai_lab.plot.images import HIGHLIGHT, QUIET, closed, draw_map, limit, style

DARK = "#232a5c"


def evidence(
    picture: Tensor,
    maps: Mapping[str, Tensor],
    marked: Mapping[str, Tensor],
    found: Mapping[str, Any],
) -> Figure:
    """Maps over the picture, what they mark outlined; below, the fall of the log-odds.

    Parameters
    ----------
    picture : Tensor
        ``(C, H, W)`` in [0, 1].
    maps, marked : mapping of str to Tensor
        ``(H, W)``, by method; the latter bool.
    found : mapping of str to Evidence
        By method.

    Returns
    -------
    matplotlib.figure.Figure
    """
    rows = {
        f"{name}, {fill}": (hiding.drop, hiding.elsewhere)
        for name, one in found.items()
        for fill, hiding in one.hidings.items()
    }
    panels = 1 + len(maps)
    with style():
        figure = plt.figure(figsize=(7.2, 7.2 / panels + 0.5 + 0.32 * len(rows) + 0.8))
        parts: Any = figure.subfigures(
            2, 1, height_ratios=[7.2 / panels + 0.5, 0.32 * len(rows) + 0.8]
        )
        top, below = parts
        axes = np.atleast_1d(top.subplots(1, panels))
        for ax in axes:
            ax.set_axis_off()
        axes[0].imshow(rgb(picture))
        axes[0].set_title("what it sees", fontsize=9)
        for ax, (name, values) in zip(axes[1:], maps.items(), strict=True):
            outlined(ax, picture, values, marked[name])
            ax.set_title(titled(name, values), fontsize=9)
        if rows:
            drops(below.subplots(), rows)
    return closed(figure)


def outlined(ax: plt.Axes, picture: Tensor, values: Tensor, marked: Tensor | None = None) -> None:
    """Map over the picture in grey, and the rim of an area."""
    flat = values.float().cpu().numpy()
    draw_map(ax, flat, limit(flat), False, picture.expand(3, -1, -1))
    if marked is not None:
        rim(ax, marked)


def rim(ax: plt.Axes, mask: Tensor) -> None:
    """Line around an area ``(H, W)``."""
    if not mask.any() or mask.all():
        return
    height, width = mask.shape
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    inside = mask.float().cpu().numpy()
    ax.contour(x, y, inside, levels=[0.5], colors=["white"], linewidths=1.2)


def drops(
    ax: plt.Axes,
    rows: Mapping[str, tuple[float, Sequence[float]]],
    xlabel: str = "fall of the log-odds when hidden",
) -> None:
    """Filled dots for what is in question, hollow ones for equal areas elsewhere."""
    for height, (drop, others) in enumerate(rows.values()):
        first = ax.scatter(
            others,
            [height] * len(others),
            s=26,
            facecolor="none",
            edgecolor=DARK,
            linewidth=0.8,
            zorder=2,
        )
        second = ax.scatter(drop, height, s=60, color=HIGHLIGHT, zorder=3)
    ax.axvline(0, color=QUIET, linewidth=1, zorder=1)
    ax.set_yticks(range(len(rows)), labels=[drawable(name) for name in rows])
    ax.set(xlabel=xlabel, ylim=(len(rows) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
    ax.legend(
        [second, first],
        ["what the map marks", "as much, elsewhere"],
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        ncols=2,
    )


def words(
    words: Sequence[str],
    values: Mapping[str, Sequence[float]],
    alone: Mapping[str, Sequence[float]],
) -> Figure:
    """What each word contributed by each method, and what hiding it alone did: bars, row by row.

    Parameters
    ----------
    words : sequence of str
        The words of one text.
    values : mapping of str to sequence of float
        By method; each in a scale of its own.
    alone : mapping of str to sequence of float
        Fall of the log-odds, by way of hiding; all in one scale.

    Returns
    -------
    matplotlib.figure.Figure
    """
    columns = len(values) + len(alone)
    reach = max((abs(x) for one in alone.values() for x in one), default=1.0) or 1.0
    with style():
        figure, axes = plt.subplots(
            1, columns, figsize=(7.2, 0.26 * len(words) + 0.9), sharey=True, squeeze=False
        )
        for number, (ax, (name, row)) in enumerate(
            zip(axes[0], [*values.items(), *alone.items()], strict=True)
        ):
            measured = number >= len(values)
            ax.barh(range(len(words)), row, color=DARK if measured else HIGHLIGHT)
            ax.axvline(0, color=QUIET, linewidth=1)
            ax.set_title(drawable(name.replace(" ", "\n", 1)), fontsize=9)
            ax.tick_params(axis="y", length=0)
            top = reach if measured else max(map(abs, row), default=1.0) or 1.0
            ax.set(xlim=(-1.1 * top, 1.1 * top))
            ax.set_xlabel("fall of log-odds" if measured else "share of score", fontsize=8)
            ax.tick_params(axis="x", labelsize=7)
        axes[0, 0].set_yticks(range(len(words)), labels=[drawable(word) for word in words])
        axes[0, 0].invert_yaxis()
    return closed(figure)


def disputed(found: Any) -> Figure:
    """Maps of two classes and their difference, and both probabilities after each experiment.

    Parameters
    ----------
    found : Diagnosis
        From `xai_lab.diagnose`.

    Returns
    -------
    matplotlib.figure.Figure
        Outlined in white what is disputed, on the picture the object.
    """
    answers, maps = found.answers(), list(found.maps.items())[:3]
    rows = 0.24 * len(answers) + 0.9
    with style():
        figure = plt.figure(figsize=(7.2, 2.4 + rows))
        parts: Any = figure.subfigures(2, 1, height_ratios=[2.4, rows])
        axes = np.atleast_1d(parts[0].subplots(1, 1 + len(maps)))
        for ax in axes:
            ax.set_axis_off()
        axes[0].imshow(rgb(found.picture))
        axes[0].set_title("what it sees", fontsize=9)
        if "object" in found.regions:
            rim(axes[0], found.regions["object"].mask)
        for ax, (name, values) in zip(axes[1:], maps, strict=True):
            area = found.regions.get("disputed") if "," in name else None
            outlined(ax, found.picture, values, area and area.mask)
            ax.set_title(titled(name, values), fontsize=9)
        both(parts[1].subplots(), answers, found.predicted.label, found.true.label)
    return closed(figure)


def both(ax: plt.Axes, answers: Mapping[str, Any], said: str, true: str) -> None:
    """Two probabilities a row: filled for the class that was said, hollow for the true one."""
    for height, one in enumerate(answers.values()):
        ax.plot([one.predicted, one.true], [height] * 2, color=QUIET, linewidth=2, zorder=1)
        first = ax.scatter(one.predicted, height, s=40, color=HIGHLIGHT, zorder=2)
        second = ax.scatter(
            one.true, height, s=70, facecolor="none", edgecolor=DARK, linewidth=1.5, zorder=3
        )
    ax.set_yticks(range(len(answers)), labels=[drawable(name) for name in answers], fontsize=8)
    ax.invert_yaxis()
    ax.set(xlim=(-0.03, 1.03), xlabel="probability")
    ax.tick_params(axis="y", length=0)
    ax.legend(
        [first, second],
        [f"{drawable(shortened(said, 40))} (said)", f"{drawable(shortened(true, 40))} (true)"],
        loc="lower center",
        bbox_to_anchor=(0.5, 1),
        ncols=2,
    )


def contact_sheet(clusters: Sequence[Any], most: int = 12) -> Figure:
    """A row for each cluster: its mean map, and some pictures, lit where their maps are high.

    Parameters
    ----------
    clusters : sequence of Cluster
        From `xai_lab.find_shortcuts`.
    most : int
        Rows; the strongest clusters come first, and how many were left out is said below.

    Returns
    -------
    matplotlib.figure.Figure
    """
    rows = list(clusters)[:most]
    told = [
        textwrap.wrap(
            f"{one.label}, {len(one.members)} pictures, {one.accuracy:.0%} right: {one.verdict}", 96
        )
        for one in rows
    ]
    left_out = len(clusters) - len(rows)
    # In inches, from the top: a title hangs on its row whatever its length.
    columns, gap, line, head, foot = 7, 0.07, 0.16, 0.24, 0.24 if left_out else 0.0
    side = (7.2 - gap * (columns - 1)) / columns
    heights = [line * len(lines) + side + 2.5 * gap for lines in told]
    total = head + sum(heights) + foot
    with style():
        figure = plt.figure(figsize=(7.2, total), layout="none")

        def text(x: float, top: float, words: str, **look: Any) -> None:
            figure.text(x / 7.2, 1 - top / total, words, va="top", **look)

        def panel(column: int, top: float) -> plt.Axes:
            place = (column * (side + gap) / 7.2, 1 - (top + side) / total)
            ax = figure.add_axes((*place, side / 7.2, side / total))
            ax.set_axis_off()
            return ax

        text(0, 0, "mean map", fontsize=8, color=DARK)
        text(side + gap, 0, "some pictures, lit where their maps are high", fontsize=8, color=DARK)
        top = head
        for one, lines, height in zip(rows, told, heights, strict=True):
            text(0, top, drawable("\n".join(lines)), fontsize=9)
            below = top + line * len(lines) + 0.5 * gap
            panel(0, below).imshow(one.map, vmin=0)
            for column, (picture, values) in enumerate(zip(one.pictures, one.maps, strict=True), 1):
                lit(panel(column, below), torch.from_numpy(picture), values)
            top += height
        if left_out:
            more = "1 weaker group is" if left_out == 1 else f"{left_out} weaker groups are"
            text(0, top, f"{more} not shown", fontsize=9)
    return closed(figure)


def lit(ax: plt.Axes, picture: Tensor, values: np.ndarray) -> None:
    """Picture in its colours, under a shadow where a map of cells is low."""
    ax.imshow(rgb(picture))
    dark = 1 - np.clip(values / limit(values), 0, 1)
    # A picture of which only the opacity varies; between cells it runs from one to the next.
    shadow = np.dstack([np.full((*values.shape, 3), 0.05), 0.8 * dark])
    extent = (-0.5, picture.shape[2] - 0.5, picture.shape[1] - 0.5, -0.5)
    ax.imshow(shadow, extent=extent, interpolation="bilinear")


def titled(name: str, values: Tensor) -> str:
    """Title of a map, on as many lines as it needs."""
    lines = textwrap.wrap(shortened(name, 80), 22) or [""]
    return drawable("\n".join([*lines, *(["(empty)"] if not values.any() else [])]))


def drawable(text: str) -> str:
    """Text without formulas, and without signs that the font lacks."""
    known = glyphs() | {ord("\n")}
    return "".join(c if ord(c) in known else "□" for c in text).replace("$", r"\$")


def shortened(text: str, length: int) -> str:
    """Text that fits, with its end cut off."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def groups(accuracy: Tensor, rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """Accuracy of each class with each value of an attribute, as a table of coloured cells.

    Parameters
    ----------
    accuracy : Tensor
        ``(rows, columns)``, from `xai_lab.groups.group_accuracy`; NaN where there is no picture.
    rows, columns : sequence of str
        Names of the classes, and of the attribute's values.

    Returns
    -------
    matplotlib.figure.Figure
    """
    values = accuracy.float().cpu().numpy()
    with style():
        figure, ax = plt.subplots(figsize=(0.9 * len(columns) + 1.8, 0.42 * len(rows) + 0.9))
        ax.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for (y, x), value in np.ndenumerate(values):
            told = "–" if np.isnan(value) else f"{value:.0%}"
            dark = not np.isnan(value) and value < 0.5
            ax.text(x, y, told, ha="center", va="center", color="white" if dark else "black")
        ax.set_xticks(range(len(columns)), labels=list(columns))
        ax.set_yticks(range(len(rows)), labels=list(rows))
        ax.xaxis.tick_top()
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    return closed(figure)


def rgb(picture: Tensor) -> np.ndarray:
    """Picture ``(C, H, W)`` as ``(H, W, 3)``, grey ones in three equal channels."""
    return picture.expand(3, -1, -1).permute(1, 2, 0).float().cpu().numpy()
