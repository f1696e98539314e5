"""Photos, maps and curves.

`maps` sets a photo and its maps side by side or one over the other, `pictures` shows pictures,
`predictions` what the network said, `curves` and `pairs` draw numbers, `slider` turns a row of
figures into one that the reader moves. A map is scaled *here*, to the 99th percentile of its
absolute value: scaling is for the eye, and methods never scale.

Unsigned maps are drawn in magma, signed ones in cividis centred on zero: both grow evenly in
lightness, so that they survive colour-blindness and greyscale.
"""

from __future__ import annotations

import base64
import html
import io
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator
from torch import Tensor

from xai_lab.models import Loaded

UNSIGNED, SIGNED = "magma", "cividis"
HIGHLIGHT, QUIET = "#a02c6e", "#c9c9c4"


@contextmanager
def style() -> Iterator[None]:
    """The course's matplotlib style, for as long as the block lasts."""
    with plt.style.context("xai_lab.xai_lab"):
        yield


def flat(attribution: Tensor, signed: bool = False) -> np.ndarray:
    """Map for the eye: channels merged, the first sample of a batch of one.

    Parameters
    ----------
    attribution : Tensor
        ``(H, W)``, ``(C, H, W)`` or ``(1, C, H, W)``.
    signed : bool
        Sum over the channels if true, else the largest absolute value.

    Returns
    -------
    ndarray
        ``(H, W)``.
    """
    picture = attribution.detach().float().cpu()
    if picture.ndim == 4 and len(picture) == 1:
        picture = picture[0]
    if picture.ndim == 3:
        picture = picture.sum(0) if signed else picture.abs().amax(0)
    if picture.ndim != 2:
        raise ValueError(
            f"a map of shape {tuple(attribution.shape)} cannot be drawn, expected (H, W), "
            "(C, H, W) or (1, C, H, W); draw a batch one sample at a time"
        )
    return (picture if signed else picture.abs()).numpy()


def limit(values: np.ndarray) -> float:
    """Where the colours of a map end: the 99th percentile of its absolute value.

    A few extreme pixels would else leave the rest of the map dark. Where fewer than one in a
    hundred are not zero, the largest; 1 for a map of zeros.
    """
    size = np.abs(values)
    return float(np.quantile(size, 0.99) or size.max() or 1.0)


def maps(
    attributions: Mapping[str, Tensor],
    picture: Tensor | None = None,
    *,
    signed: bool = False,
    shared: bool = False,
    overlay: bool = False,
    columns: int | None = None,
) -> Figure:
    """Photo and maps side by side, or maps over the photo.

    Parameters
    ----------
    attributions : mapping of str to Tensor
        Title and map, each as `flat` takes it; a coarse map is drawn as coarse as it is.
    picture : Tensor, optional
        What the network saw, ``(1, 3, H, W)`` or ``(3, H, W)`` in [0, 1]: ``net.pixels(x)``.
    signed : bool
        Diverging colours centred on zero, channels summed.
    shared : bool
        One scale for all maps, with its numbers at the colour bar; else each map has its own,
        from 0 to the 99th percentile of its absolute value.
    overlay : bool
        Each map over the picture in grey, the more opaque the larger its value.
    columns : int, optional
        Panels a row; as many as fit a page, by default.

    Returns
    -------
    matplotlib.figure.Figure
    """
    flats = {title: flat(a, signed) for title, a in attributions.items()}
    limits = {title: limit(a) for title, a in flats.items()}
    if shared:
        limits = dict.fromkeys(limits, max(limits.values()))
    if overlay and picture is None:
        raise ValueError("overlay=True needs the picture: plot.maps(maps, net.pixels(x), …)")
    photo = None if picture is None else picture.detach().reshape(picture.shape[-3:]).float().cpu()
    panels = len(flats) + (picture is not None)
    columns = columns or min(panels, 4)
    rows = -(-panels // columns)
    with style():
        figure, axes = plt.subplots(rows, columns, figsize=(7.2, rows * (7.0 / columns + 0.25)))
        axes = np.atleast_1d(axes).ravel()
        for ax in axes:
            ax.set_axis_off()
        if photo is not None:
            axes[0].imshow(photo.permute(1, 2, 0).numpy())
            axes[0].set_title("what the network sees")
        for ax, (title, values) in zip(axes[panels - len(flats) :], flats.items(), strict=False):
            shown = draw_map(ax, values, limits[title], signed, photo if overlay else None)
            ax.set_title(title)
        scale_bar(figure, axes, shown, signed, shared)
    return closed(figure)


def draw_map(
    ax: plt.Axes, values: np.ndarray, top: float, signed: bool, photo: Tensor | None = None
) -> ScalarMappable:
    """One map, alone or over a photo ``(3, H, W)`` in grey, the more opaque the larger its value.

    Returns what a colour bar needs: the colours themselves, not those over grey.
    """
    colours: dict[str, Any] = {
        "cmap": SIGNED if signed else UNSIGNED,
        "vmin": -top if signed else 0,
        "vmax": top,
    }
    if photo is None:
        return ax.imshow(values, **colours)
    extent = (0, photo.shape[2], photo.shape[1], 0)
    ax.imshow(photo.mean(0).numpy(), cmap="gray", vmin=0, vmax=1, extent=extent)
    opacity = np.clip(np.abs(values) / top, 0, 1) * 0.8
    shown = ax.imshow(values, alpha=opacity, extent=extent, **colours)
    return ScalarMappable(shown.norm, shown.cmap)


def gallery(
    images: Tensor,
    rows: Mapping[str, Tensor],
    titles: Sequence[str] | None = None,
    *,
    signed: bool = False,
    overlay: bool = True,
) -> Figure:
    """Several pictures in a row, and below each the maps that belong to it, over the picture.

    Parameters
    ----------
    images : Tensor
        ``(n, 3, H, W)`` in [0, 1].
    rows : mapping of str to Tensor
        Name of each row and its maps, ``(n, h, w)``; each map has a scale of its own.
    titles : sequence of str, optional
        Over the pictures, n of them.
    signed : bool
        As in `maps`.
    overlay : bool
        False draws the maps alone.

    Returns
    -------
    matplotlib.figure.Figure
    """
    photos = images.detach().float().cpu()
    n, side = len(photos), 6.6 / len(photos)
    with style():
        size = (7.2, (len(rows) + 1) * side + 0.35)
        figure, axes = plt.subplots(len(rows) + 1, n, figsize=size, squeeze=False)
        for ax in axes.ravel():
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(False)
        for ax, photo, title in zip(axes[0], photos, titles or [""] * n, strict=True):
            ax.imshow(photo.permute(1, 2, 0).numpy())
            ax.set_title(textwrap.fill(title, 60 // n), fontsize=9)
        for line, (name, maps_of_row) in zip(axes[1:], rows.items(), strict=True):
            line[0].set_ylabel(name)
            for ax, photo, attribution in zip(line, photos, maps_of_row, strict=True):
                values = flat(attribution, signed)
                draw_map(ax, values, limit(values), signed, photo if overlay else None)
    return closed(figure)


def pictures(images: Mapping[str, Tensor], *, columns: int | None = None) -> Figure:
    """Pictures side by side, each under its title.

    Parameters
    ----------
    images : mapping of str to Tensor
        Title and picture, ``(3, H, W)`` or ``(1, 3, H, W)`` in [0, 1]; two titles must differ, and
        may do so in spaces.
    columns : int, optional
        Pictures a row; 4 or fewer by default.

    Returns
    -------
    matplotlib.figure.Figure
    """
    columns = columns or min(len(images), 4)
    rows = -(-len(images) // columns)
    with style():
        figure, axes = plt.subplots(rows, columns, figsize=(7.2, rows * (7.2 / columns + 0.25)))
        axes = np.atleast_1d(axes).ravel()
        for ax in axes:
            ax.set_axis_off()
        for ax, (title, image) in zip(axes, images.items(), strict=False):
            ax.imshow(image.detach().reshape(image.shape[-3:]).permute(1, 2, 0).cpu().numpy())
            ax.set_title(textwrap.fill(title.strip(), 72 // columns), fontsize=9)
    return closed(figure)


def scale_bar(
    figure: Figure, axes: np.ndarray, shown: ScalarMappable, signed: bool, shared: bool
) -> None:
    """Colour bar: in numbers where the maps share a scale, else in words."""
    bar = figure.colorbar(shown, ax=list(axes), shrink=0.8, aspect=30, pad=0.02)
    bar.outline.set_visible(False)
    if not shared:
        low, top = shown.get_clim()
        ticks, names = ([low, 0, top], ["−", "0", "+"]) if signed else ([0, top], ["0", "99%"])
        bar.set_ticks(ticks, labels=names)
        bar.ax.yaxis.set_minor_locator(NullLocator())


def predictions(net: Loaded, inputs: Tensor, top: int = 5, *, scale: float | None = None) -> Figure:
    """Photo as the network sees it, and its best guesses as bars.

    Parameters
    ----------
    net : Loaded
        From `xai_lab.load`.
    inputs : Tensor
        ``(1, 3, H, W)`` from ``net.preprocess``.
    top : int
        How many guesses.
    scale : float, optional
        Probability that fills the width, to compare figures; the first guess's by default.

    Returns
    -------
    matplotlib.figure.Figure
    """
    guesses = net.predict(inputs, top)[0]
    names = [guess.label for guess in guesses]
    values = [guess.probability for guess in guesses]
    with style():
        figure, (left, right) = plt.subplots(1, 2, width_ratios=[1, 1.4], figsize=(7.2, 2.9))
        left.imshow(net.pixels(inputs)[0].permute(1, 2, 0).cpu().numpy())
        left.set_axis_off()
        bars = right.barh(names, values, color=[HIGHLIGHT, *[QUIET] * (len(guesses) - 1)])
        right.bar_label(bars, [f"{value:.0%}" for value in values], padding=4)
        right.invert_yaxis()
        right.set(xlim=(0, (scale or max(values)) * 1.15), xticks=[])
        right.spines[["bottom", "left"]].set_visible(False)
        right.tick_params(length=0, labelsize=10)
    return closed(figure)


def curves(
    x: Sequence[float] | Tensor,
    series: Mapping[str, Sequence[float] | Tensor],
    *,
    xlabel: str,
    ylabel: str,
    log: bool = False,
    markers: bool = False,
) -> Figure:
    """Lines over a common x, each named at its right end rather than in a legend.

    Parameters
    ----------
    x : sequence of float or Tensor
        Common abscissa, ``(n,)``.
    series : mapping of str to sequence
        Name and values of each line, ``(n,)``.
    xlabel, ylabel : str
        With units.
    log : bool
        Both axes logarithmic.
    markers : bool
        A dot at each value.

    Returns
    -------
    matplotlib.figure.Figure
    """
    along = np.asarray(x)
    with style():
        figure, ax = plt.subplots(figsize=(6.4, 2.8))
        styles = ["-", "--", "-.", ":"]
        ends = []
        for number, (name, y) in enumerate(series.items()):
            heights = np.asarray(y)
            (line,) = ax.plot(along, heights, styles[number % 4], marker="o" if markers else None)
            ends.append((float(heights[-1]), name, str(line.get_color())))
        if log:
            ax.set(xscale="log", yscale="log")
            ax.set_xticks(along, labels=[f"{value:g}" for value in along])
            ax.xaxis.set_minor_locator(NullLocator())
            low, high = ax.get_ylim()
            ax.yaxis.set_major_formatter("{x:g}")
            ax.yaxis.set_minor_formatter("{x:g}" if high < 10 * low else NullFormatter())
        ax.set(xlabel=xlabel, ylabel=ylabel)
        for height, name, colour in apart(ends, ax):
            ax.annotate(name, (1.02, height), xycoords="axes fraction", va="center", color=colour)
    return closed(figure)


def pairs(
    rows: Mapping[str, tuple[float, float]],
    names: tuple[str, str],
    *,
    xlabel: str,
    ideal: bool = True,
) -> Figure:
    """Two numbers a row, joined: how far a map moves when the question changes.

    Parameters
    ----------
    rows : mapping of str to (float, float)
        Two shares in [0, 1] for each method.
    names : (str, str)
        What the filled and the hollow dot stand for.
    xlabel : str
        What is measured.
    ideal : bool
        Add a first row with the filled dot at 1 and the hollow one at 0.

    Returns
    -------
    matplotlib.figure.Figure
    """
    if ideal:
        rows = {"a perfect map": (1.0, 0.0), **rows}
    with style():
        figure, ax = plt.subplots(figsize=(7.2, 0.32 * len(rows) + 1.1))
        for height, (filled, hollow) in enumerate(rows.values()):
            ax.plot([filled, hollow], [height, height], color=QUIET, linewidth=3, zorder=1)
            first = ax.scatter(filled, height, s=60, color=HIGHLIGHT, zorder=2)
            second = ax.scatter(
                hollow,
                height,
                s=60,
                facecolor="white",
                edgecolor="#232a5c",
                linewidth=1.8,
                zorder=3,
            )
        ax.set_yticks(range(len(rows)), labels=list(rows))
        ax.invert_yaxis()
        ax.set(xlim=(-0.03, 1.03), xlabel=xlabel)
        ax.tick_params(axis="y", length=0)
        ax.legend([first, second], names, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    return closed(figure)


def ramps(names: Sequence[str]) -> Figure:
    """Colour maps as a reader sees them: the ramp in colour, in grey, and its lightness.

    Parameters
    ----------
    names : sequence of str
        Matplotlib colour maps.

    Returns
    -------
    matplotlib.figure.Figure
    """
    ramp = np.linspace(0, 1, 256)
    with style():
        figure, axes = plt.subplots(
            3, len(names), figsize=(7.2, 2.4), height_ratios=[1, 1, 3], sharey="row"
        )
        for (top, middle, bottom), name in zip(axes.T, names, strict=True):
            colours = plt.get_cmap(name)(ramp)[:, :3]
            lightness = colours @ [0.299, 0.587, 0.114]
            top.imshow(colours[None], aspect="auto")
            middle.imshow(lightness[None], aspect="auto", cmap="gray", vmin=0, vmax=1)
            bottom.plot(ramp, lightness)
            bottom.set(xlabel="value", ylim=(0, 1))
            top.set_title(name)
            top.set_axis_off()
            middle.set_axis_off()
        axes[2, 0].set_ylabel("lightness")
    return closed(figure)


def apart(ends: list[tuple[float, str, str]], ax: plt.Axes) -> Iterator[tuple[float, str, str]]:
    """Labels at the heights where lines end, pushed apart until none covers another."""
    to_axes = ax.transAxes.inverted()
    lowest = -1.0
    for value, name, colour in sorted(ends):
        height = to_axes.transform(ax.transData.transform((ax.get_xlim()[1], value)))[1]
        lowest = max(height, lowest + 0.11)
        yield lowest, name, colour


def closed(figure: Figure) -> Figure:
    """Figure taken out of pyplot's list, so that a notebook shows it once and memory is freed."""
    plt.close(figure)
    return figure


def png(figure: Figure) -> bytes:
    """Figure as PNG, the same bytes every time."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


@dataclass(frozen=True)
class Slider:
    """Figures in a row of which one is seen; the reader chooses with a slider or the arrow keys.

    Plain HTML, no server, no network. Without scripts the frame ``start`` stays visible.

    Attributes
    ----------
    frames : mapping of str to Figure
        Setting, such as ``"8 draws"``, and its figure; all of one size.
    label : str
        What the slider changes.
    alt : str
        What is seen; the setting is put in front of it.
    caption : str
        What to notice.
    start : int
        Frame shown first.
    """

    frames: Mapping[str, Figure]
    label: str
    alt: str
    caption: str
    start: int = 0

    def _repr_html_(self) -> str:
        settings = list(self.frames)
        images = "\n".join(
            f'<img alt="{html.escape(f"{setting}: {self.alt}")}" '
            f'src="data:image/png;base64,{base64.b64encode(png(figure)).decode()}"'
            f"{'' if number == self.start else ' hidden'}>"
            for number, (setting, figure) in enumerate(self.frames.items())
        )
        names = html.escape("|".join(settings))
        chosen = html.escape(settings[self.start])
        return f"""<figure class="xai-slider">
{images}
<label hidden>{html.escape(self.label)}
<input type="range" min="0" max="{len(settings) - 1}" value="{self.start}" step="1"
 data-settings="{names}" aria-valuetext="{chosen}" oninput="
  const box = this.closest('figure'), name = this.dataset.settings.split('|')[this.value];
  box.querySelectorAll('img').forEach((image, i) => image.hidden = i != this.value);
  box.querySelector('output').textContent = name;
  this.setAttribute('aria-valuetext', name);">
<output>{chosen}</output></label>
<figcaption>{html.escape(self.caption)}</figcaption>
<script>document.currentScript.parentElement.querySelector('label').hidden = false;</script>
</figure>"""


def slider(
    frames: Mapping[str, Figure], *, label: str, alt: str, caption: str, start: int = 0
) -> Slider:
    """Figure that the reader moves, see `Slider`.

    Parameters
    ----------
    frames : mapping of str to Figure
        Setting and figure.
    label, alt, caption : str
        What the slider changes, what is seen, what to notice.
    start : int
        Frame shown first, and the only one where scripts are off.

    Returns
    -------
    Slider
    """
    if not frames:
        raise ValueError("a slider needs at least one frame")
    if not 0 <= start < len(frames):
        raise ValueError(f"start is {start}, expected 0 to {len(frames) - 1}")
    return Slider(dict(frames), label, alt, caption, start)
