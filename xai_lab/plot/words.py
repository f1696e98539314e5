"""Words in colour, and the strongest of them as bars.

The colours are those of signed maps: yellow speaks for the class, blue against it, grey neither.
Every word brings its own ink, so that a sentence reads the same on a light and on a dark page.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from torch import Tensor

from xai_lab.plot.images import HIGHLIGHT, SIGNED, UNSIGNED, closed, style

#: Words and one number for each.
Coloured: TypeAlias = tuple[Sequence[str], Sequence[float] | Tensor]


def sentences(
    texts: Mapping[str, Coloured], *, signed: bool = True, shared: bool = False, caption: str = ""
) -> Sentences:
    """Sentences whose words are coloured by what they contributed.

    Parameters
    ----------
    texts : mapping of str to (words, values)
        Title, the words, and a number for each: ``{"Integrated Gradients": (a.words,
        a.word_values)}``.
    signed : bool
        Diverging colours centred on zero; else from zero up.
    shared : bool
        One scale for all sentences; else the strongest word of each has the strongest colour.
    caption : str
        What to notice.

    Returns
    -------
    Sentences
        Shows itself as HTML that wraps, and has `figure` for print.
    """
    if not texts:
        raise ValueError(
            "there is no sentence to draw; give at least one: {title: (words, values)}"
        )
    rows = {}
    for title, (words, values) in texts.items():
        numbers = as_numbers(values)
        if len(words) != len(numbers):
            raise ValueError(
                f"{title!r} has {len(words)} words and {len(numbers)} values, expected as many; "
                "tokens go with `values`, words with `word_values`"
            )
        rows[title] = (list(words), numbers)
    tops = {title: float(np.abs(v).max(initial=0)) or 1.0 for title, (_, v) in rows.items()}
    if shared:
        tops = dict.fromkeys(tops, max(tops.values()))
    return Sentences(rows, tops, signed, caption)


@dataclass(frozen=True)
class Sentences:
    """Coloured sentences, see `sentences`.

    Attributes
    ----------
    rows : dict
        Title to words and values.
    tops : dict
        Title to the value of the strongest colour.
    signed : bool
        Whether the colours are centred on zero.
    caption : str
        Below them.
    """

    rows: dict[str, tuple[list[str], np.ndarray]]
    tops: dict[str, float]
    signed: bool
    caption: str = ""

    def _repr_html_(self) -> str:
        lines = []
        for title, (words, values) in self.rows.items():
            spans = " ".join(
                f'<span title="{value:+.2f}" style="padding:.1em .25em;border-radius:.2em;'
                f'line-height:1.9{f";background:{paper};color:{ink}" if paper else ""}">'
                f"{html.escape(word)}</span>"
                for word, value, (paper, ink) in zip(
                    words, values, self.colours(title), strict=True
                )
            )
            lines.append(
                f'<p style="margin:.4em 0"><strong>{html.escape(title)}</strong><br>{spans}'
                f'<span style="{UNSEEN}"> {html.escape(self.spoken(title))}</span></p>'
            )
        said = f"<figcaption>{html.escape(self.caption)}</figcaption>" if self.caption else ""
        return f'<figure class="xai-sentences">{"".join(lines)}{said}</figure>'

    def __repr__(self) -> str:
        return "\n".join(f"{title}: {self.spoken(title)}" for title in self.rows)

    def spoken(self, title: str, top: int = 3) -> str:
        """Strongest words of a sentence in words, for readers who do not see the colours."""
        words, values = self.rows[title]
        order = np.argsort(-np.abs(values), kind="stable")[:top]
        return "Strongest: " + ", ".join(f"{words[k]} {values[k]:+.2f}" for k in order) + "."

    def colours(self, title: str) -> list[tuple[str, str]]:
        """Paper and ink of each word; a word with next to nothing keeps those of the page."""
        _, values = self.rows[title]
        # Rounded, so that the last bits of a sum do not change a page.
        share = np.round(np.clip(values / self.tops[title], -1, 1), 2)
        ramp = plt.get_cmap(SIGNED if self.signed else UNSIGNED)
        papers = ramp((share + 1) / 2 if self.signed else np.abs(share))[:, :3]
        return [
            ("", "")
            if abs(part) < 0.1
            else (to_hex(paper), "#000000" if luminance(paper) > 0.18 else "#ffffff")
            for part, paper in zip(share, papers, strict=True)
        ]

    @property
    def figure(self) -> Figure:
        """The sentences as a figure, for print: words set in lines that fit the page."""
        width, size, step = 7.2, 10, 0.3
        with style():
            figure = plt.figure(figsize=(width, 1))
            renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
            placed: list[tuple[float, int, str, dict]] = []
            line = 0
            for title, (words, _) in self.rows.items():
                placed.append((0.0, line, title, {"weight": "bold"}))
                line, x = line + 1, 0.0
                for word, (paper, ink) in zip(words, self.colours(title), strict=True):
                    text = figure.text(0, 0, word, fontsize=size)
                    wide = text.get_window_extent(renderer).width / figure.dpi + 0.14
                    text.remove()
                    if x and x + wide > width:
                        line, x = line + 1, 0.0
                    box = {"facecolor": paper or "none", "edgecolor": "none", "pad": 2}
                    placed.append((x, line, word, {"bbox": box, **({"color": ink} if ink else {})}))
                    x += wide
                line += 1
            height = line * step
            figure.set_size_inches(width, height)
            for x, row, word, look in placed:
                where = ((x + 0.05) / width, 1 - (row + 0.55) * step / height)
                figure.text(*where, word, fontsize=size, va="center", **look)
        return closed(figure)


#: Read aloud, and not shown.
UNSEEN = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)"


def as_numbers(values: Sequence[float] | Tensor) -> np.ndarray:
    """Values for the eye, from whichever device."""
    if isinstance(values, Tensor):
        values = values.detach().double().cpu()
    return np.asarray(values, dtype=float)


def luminance(colour: np.ndarray) -> float:
    """Relative luminance of an sRGB colour, as contrast is measured (WCAG 2)."""
    linear = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def bars(
    words: Sequence[str],
    values: Sequence[float] | Tensor,
    *,
    top: int = 8,
    xlabel: str = "share of the score",
) -> Figure:
    """Strongest words as bars, the strongest first.

    Parameters
    ----------
    words : sequence of str
        Any names.
    values : sequence of float or Tensor
        One each, signed.
    top : int
        How many.
    xlabel : str
        With its unit.

    Returns
    -------
    matplotlib.figure.Figure
    """
    numbers = as_numbers(values)
    order = np.argsort(-np.abs(numbers), kind="stable")[:top]
    with style():
        figure, ax = plt.subplots(figsize=(6.4, 0.3 * len(order) + 0.8))
        colours = [HIGHLIGHT if numbers[k] > 0 else "#232a5c" for k in order]
        shown = ax.barh(range(len(order)), numbers[order], color=colours)
        ax.bar_label(shown, [f"{numbers[k]:+.2f}" for k in order], padding=4)
        ax.set_yticks(range(len(order)), labels=[words[k] for k in order])
        ax.invert_yaxis()
        ax.axvline(0, color="black", linewidth=0.8)
        ax.margins(x=0.15)
        ax.set(xlabel=xlabel)
        ax.tick_params(axis="y", length=0)
    return closed(figure)
