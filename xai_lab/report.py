"""Explanations laid out: one picture, or one page that needs nothing else.

`picture` draws prediction and maps as a PNG. `page` writes the same as HTML, with the images inside
it, beside a text that says how to read them. Both take `Explained`, and know no method.
"""

from __future__ import annotations

import base64
import html
import io
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from string import Template

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import SubFigure
from PIL import Image, ImageDraw
from torch import Tensor

import xai_lab
from xai_lab import plot
from xai_lab.faithfulness import rank_correlation
from xai_lab.methods import Account, Method
from xai_lab.models import Guess, Loaded

THIRDS = [
    *("upper left", "top", "upper right"),
    *("left", "centre", "right"),
    *("lower left", "bottom", "lower right"),
]

#: Least width of a frame of an animation, and height of the strip below it.
FRAME, STRIP = 224, 20


@dataclass(frozen=True)
class Map:
    """One map.

    Attributes
    ----------
    name : str
        Of the method, as on the command line.
    method : Method
        Its title, its text, its sign.
    attribution : Tensor
        As the method returned it.
    picture : Tensor
        What the network saw, ``(1, C, H, W)`` in [0, 1].
    layer : str
        Whose map it is; empty for a map of pixels.
    several : bool
        Whether maps of other layers stand beside it.
    remarks : tuple of str
        What the method had to say about it.
    account : Account, optional
        Whether its parts add up.
    """

    name: str
    method: Method
    attribution: Tensor
    picture: Tensor
    layer: str = ""
    several: bool = False
    remarks: tuple[str, ...] = ()
    account: Account | None = None

    @property
    def title(self) -> str:
        """Method, and its layer where there are several."""
        return f"{self.method.title}, {self.layer}" if self.several else self.method.title

    @property
    def grid(self) -> str:
        """Cells of the layer's map."""
        return "{} × {} cells".format(*self.attribution.shape[-2:])

    @cached_property
    def flat(self) -> np.ndarray:
        """``(H, W)``, channels merged as the sign asks for, cells enlarged to the picture."""
        return flat(self.attribution, self.method, self.picture.shape[-2:])

    @property
    def over_photo(self) -> np.ndarray:
        """Its colours over the photo in grey, ``(H, W, 3)`` bytes."""
        return overlaid(self.flat, self.picture, self.limit, self.method.signed)

    @property
    def limit(self) -> float:
        """Value at the end of the colour scale."""
        return plot.limit(self.flat)

    @property
    def norm(self) -> Normalize:
        """From values to colours."""
        return Normalize(-self.limit if self.method.signed else 0.0, self.limit, clip=True)

    @property
    def colours(self) -> str:
        """Name of the colour map."""
        return plot.SIGNED if self.method.signed else plot.UNSIGNED


@dataclass(frozen=True)
class Explained:
    """A photo with what the network said and what the methods made of it.

    Attributes
    ----------
    name, credit : str
        What the photo is called, and whose it is.
    inputs : Tensor
        ``(1, 3, H, W)``, what the network got.
    guesses : list of Guess
        Best first.
    targets : list of Guess
        Classes that were asked about.
    maps : dict
        From class number, method and layer to `Map`.
    """

    name: str
    credit: str
    inputs: Tensor
    guesses: list[Guess]
    targets: list[Guess]
    maps: dict[tuple[int, str, str], Map]

    @property
    def listed(self) -> list[Guess]:
        """Best guesses, and below them what was asked about besides."""
        return [*self.guesses, *(t for t in self.targets if t not in self.guesses)]

    def of(self, target: Guess) -> list[Map]:
        """Return the maps for one class."""
        return [one for (index, *_), one in self.maps.items() if index == target.index]


def picture(explained: Sequence[Explained], net: Loaded, settings: Mapping) -> bytes:
    """PNG of one photo: what the network sees and says, and a row of maps for each class."""
    (one,) = explained
    groups = [(target, one.of(target)) for target in one.targets]
    count = len(groups[0][1])
    columns = count if count in (2, 3, 4) else 3 if count > 4 else 2
    rows = -(-count // columns)
    heights = [2.5, *[rows * (6.6 / columns + 0.5) + 0.4 for _ in groups], 0.3]
    with plot.style():
        figure = plt.figure(figsize=(7.2, sum(heights)))
        parts = list(np.atleast_1d(figure.subfigures(len(heights), 1, height_ratios=heights)))  # type: ignore[arg-type]
        draw_prediction(parts[0], one, net)
        for part, (target, maps) in zip(parts[1:-1], groups, strict=True):
            draw_maps(part, one, net, target, maps, columns, rows)
        footer = " · ".join(
            filter(None, [net.name, looked_at(one), drawn(one, settings), one.credit])
        )
        parts[-1].text(0.01, 0.3, footer, fontsize=7.5, color="#6b6e7b")
        plot.closed(figure)
        return plot.png(figure)


def draw_prediction(part: SubFigure, one: Explained, net: Loaded) -> None:
    """Photo and guesses side by side."""
    left, right = part.subplots(1, 2, width_ratios=[1, 1.5])
    left.imshow(rgb(one, net))
    left.set_title(shortened(f"what the network sees of {one.name}", 34))
    left.set_axis_off()
    asked = {target.index for target in one.targets}
    rows = one.listed
    bars = right.barh(
        range(len(rows)),
        [guess.probability for guess in rows],
        color=[plot.HIGHLIGHT if guess.index in asked else plot.QUIET for guess in rows],
    )
    right.bar_label(bars, [percent(guess.probability) for guess in rows], padding=4)
    right.set_yticks(range(len(rows)), labels=[shortened(guess.label, 28) for guess in rows])
    right.invert_yaxis()
    right.set(xlim=(0, rows[0].probability * 1.2 or 1.0), xticks=[])
    right.spines[["bottom", "left"]].set_visible(False)
    right.tick_params(length=0)


def draw_maps(
    part: SubFigure,
    one: Explained,
    net: Loaded,
    target: Guess,
    maps: Sequence[Map],
    columns: int,
    rows: int,
) -> None:
    """Draw the maps of one class; a single one also laid over the photo."""
    heading = f"What moves the score for {target.label} ({percent(target.probability)})"
    part.suptitle(heading, x=0.012, ha="left", fontweight="bold")
    axes = part.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    for ax, found in zip(axes, maps, strict=False):
        if not found.method.cells:
            ax.imshow(found.flat, cmap=found.colours, norm=found.norm)
        elif len(maps) == 1:  # as the layer has it, beside what is made of it for the eye
            raw = plot.flat(found.attribution, found.method.signed)
            ax.imshow(raw, cmap=found.colours, norm=found.norm)
        else:
            ax.imshow(found.over_photo)
        title = f"{found.title}, {found.grid}" if found.layer and len(maps) == 1 else found.title
        title = f"{title} (cautionary)" if found.method.warning else title
        ax.set_title(shortened(title, 96 // columns))
        scale = part.colorbar(
            ScalarMappable(found.norm, found.colours),
            ax=ax,
            orientation="horizontal",
            shrink=0.6,
            aspect=30,
            pad=0.02,
        )
        scale.outline.set_visible(False)
        scale.set_ticks(
            list(ends(found)), labels=list(ends(found).values()), fontsize=7.5, color="#6b6e7b"
        )
        scale.ax.tick_params(length=0)
        if found.account is not None:
            scale.set_label(
                shortened(found.account.short, 132 // columns), fontsize=7.5, color="#6b6e7b"
            )
    if len(maps) == 1:
        axes[1].imshow(maps[0].over_photo)
        axes[1].set_title("over the photo")


def flat(attribution: Tensor, method: Method, size: Sequence[int]) -> np.ndarray:
    """Map for the eye, ``(H, W)``: channels merged, the cells of a layer enlarged to ``size``."""
    if method.cells:
        maps = attribution.detach().float().cpu()[:, None]
        attribution = F.interpolate(maps, tuple(size), mode="bilinear")[0]
    return plot.flat(attribution, method.signed)


def overlaid(values: np.ndarray, picture: Tensor, limit: float, signed: bool) -> np.ndarray:
    """Map over the photo in grey, the more opaque the larger its value: ``(H, W, 3)`` bytes."""
    grey = picture[0].float().mean(0).cpu().numpy()[..., None]
    share = np.clip(values / limit, -1, 1)
    ramp = matplotlib.colormaps[plot.SIGNED if signed else plot.UNSIGNED]
    colour = ramp((share + 1) / 2 if signed else share)[..., :3]
    opacity = 0.8 * np.abs(share)[..., None]
    return (255 * (opacity * colour + (1 - opacity) * grey)).round().astype(np.uint8)


def captioned(over: np.ndarray, label: str, probability: float) -> Image.Image:
    """Frame of an animation: the overlay, below it the class, and its probability as a bar."""
    image = Image.fromarray(over)
    times = -(-FRAME // image.width)  # small ones are enlarged, pixel by pixel
    image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    frame = Image.new("RGB", (image.width, image.height + STRIP), "white")
    frame.paste(image)
    draw, chance = ImageDraw.Draw(frame), percent(probability)
    right = image.width - 4 - draw.textlength(chance)
    while draw.textlength(label) > right - 8:
        label = shortened(label, len(label) - 1)
    draw.text((4, image.height + 2), label, fill="black")
    draw.text((right, image.height + 2), chance, fill="black")
    foot = (0, frame.height - 4, round(frame.width * probability) - 1, frame.height - 1)
    draw.rectangle((0, foot[1], frame.width - 1, foot[3]), fill=plot.QUIET)
    if foot[2] >= 0:
        # Black is in every palette; a colour of few pixels would change from frame to frame.
        draw.rectangle(foot, fill="black")
    return frame


def ends(found: Map) -> dict[float, str]:
    """Words at the colour scale."""
    if found.method.signed:
        return {-found.limit: "against", 0.0: "0", found.limit: "for"}
    return {0.0: "0", found.limit: "99%"}


def page(explained: Sequence[Explained], net: Loaded, settings: Mapping, command: str) -> bytes:
    """HTML of any number of photos, with everything inside the one file."""
    template = (Path(__file__).parent / "report.html").read_text(encoding="utf-8")
    methods = {found.name: found.method for one in explained for found in one.maps.values()}
    names = [one.name for one in explained]
    title = f"{names[0]}, explained" if len(names) == 1 else f"{len(names)} photos, explained"
    one = explained[0]
    best = one.guesses[0]
    summary = (
        f"{html.escape(net.name)} says <strong>{html.escape(best.label)}</strong>, with a "
        f"probability of {html.escape(percent(best.probability))}. The maps show what moves "
        "its score for a class."
        if len(names) == 1
        else f"What {html.escape(net.name)} says about each of them, and what moves its score for "
        "a class."
    )
    text = Template(template).substitute(
        title=html.escape(title),
        summary=summary,
        photos="\n".join(
            photo_section(each, net, number, many=len(explained) > 1)
            for number, each in enumerate(explained)
        ),
        readings="\n".join(reading(name, method) for name, method in methods.items()),
        command=html.escape(command),
        made=html.escape(made(explained, net, settings)),
    )
    return text.encode()


def photo_section(one: Explained, net: Loaded, number: int, many: bool) -> str:
    """One photo: what is seen, what is said, and the maps."""
    name, height, width = html.escape(one.name), *one.inputs.shape[-2:]
    credit = f" {html.escape(one.credit)}." if one.credit else ""
    seen = Image.fromarray((rgb(one, net) * 255).round().astype(np.uint8))
    sections = [
        f"""<section aria-labelledby="photo-{number}">
<h2 id="photo-{number}">{name if many else "What it sees, and what it says"}</h2>
<div class="top">
<figure>
<img{small(width)} src="{data_uri(seen)}" width="{width}" height="{height}"
 alt="{name}, as the network gets it.">
<figcaption>All that the network sees: {width} × {height} pixels.{credit}</figcaption>
</figure>
{prediction_table(one.listed, one.targets)}
</div>"""
    ]
    for target in one.targets:
        maps = one.of(target)
        sections.append(
            f'<h3>What moves the score for {html.escape(target.label)}</h3>\n<div class="maps">'
        )
        sections += [map_figure(found, one, target) for found in maps]
        sections.append("</div>")
    return "\n".join([*sections, "</section>"])


def prediction_table(listed: Sequence[Guess], targets: Sequence[Guess]) -> str:
    """Guesses with bars."""
    asked = {target.index for target in targets}
    largest = max(guess.probability for guess in listed) or 1.0
    rows = "\n".join(
        f'<tr{" class=asked" if guess.index in asked else ""}><th scope="row">'
        f'{html.escape(guess.label)}</th><td class="bar"><i style="width: '
        f'{100 * guess.probability / largest:.1f}%"></i></td>'
        f'<td class="number">{html.escape(percent(guess.probability))}</td>'
        f'<td class="number">{round(guess.score, 1) + 0:.1f}</td></tr>'
        for guess in listed
    )
    return f"""<table>
<caption>Its best guesses. The classes in bold are explained below.</caption>
<thead><tr><th scope="col">class</th><td></td><th scope="col" class="number">probability</th>
<th scope="col" class="number">score</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>"""


def map_figure(found: Map, one: Explained, target: Guess) -> str:
    """One map with its scale and its caption."""
    height, width = found.flat.shape
    title = html.escape(found.title)
    stops = matplotlib.colormaps[found.colours](np.linspace(0, 1, 9))
    ramp = ", ".join(matplotlib.colors.to_hex(stop) for stop in stops)
    low, *_, high = ends(found).values()
    first = one.maps[one.targets[0].index, found.name, found.layer]
    alike = ""
    if first is not found:
        correlation = rank_correlation(
            *(torch.from_numpy(np.abs(each.flat))[None] for each in (first, found))
        ).item()
        alike = (
            ""
            if np.isnan(correlation)
            else f" Likeness to the map for {html.escape(one.targets[0].label)}: {correlation:.2f}."
        )
    image = Image.fromarray(found.over_photo) if found.method.cells else coloured(found)
    alt = f"{found.title} map of {one.name} for {target.label}; {where(found.flat)}."
    warned = found.method.warning and (
        f' <span class="warning">{html.escape(found.method.warning)}</span>'
    )
    noted = "".join(f'<br><span class="note">{html.escape(said)}</span>' for said in found.remarks)
    added = f"<br>{html.escape(found.account.sentence)}" if found.account else ""
    return f"""<figure>
<img{small(width)} src="{data_uri(image)}" width="{width}" height="{height}"
 alt="{html.escape(alt)}">
<div class="ramp"><span>{low}</span><i style="background: linear-gradient(to right, {ramp})"></i>
<span>{high}</span></div>
<figcaption><a href="#{found.name}">{title}</a>{warned}{alike}{added}{noted}</figcaption>
</figure>"""


def reading(name: str, method: Method) -> str:
    """How to read the maps of one method."""
    warned = f'<p class="warning">{html.escape(method.warning)}</p>' if method.warning else ""
    return f"""<section id="{name}">
<h3>{html.escape(method.title)}</h3>
{warned}<dl>
<dt>How to read it</dt><dd>{html.escape(method.shows)}</dd>
<dt>What it cannot show</dt><dd>{html.escape(method.hides)}</dd>
</dl>
</section>"""


def made(explained: Sequence[Explained], net: Loaded, settings: Mapping) -> str:
    """Tell settings and versions, for somebody who wants to make the same again."""
    details = "; ".join(filter(None, [looked_at(explained[0]), drawn(explained[0], settings)]))
    return (
        f"Network {net.name} on {net.device.type}{f'; {details}' if details else ''}. Unsigned "
        "maps show the largest absolute value of a pixel's channels, signed ones their sum; the "
        f"scale ends at the 99th percentile. {versions('torch', 'torchvision', 'timm')}."
    )


def versions(*packages: str) -> str:
    """Versions of the course, of Python, and of the packages that are installed."""
    found = [f"xai-lab {xai_lab.__version__}", f"Python {platform.python_version()}"]
    for package in packages:
        with suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return ", ".join(found)


def looked_at(one: Explained) -> str:
    """Tell the layers that the maps come from, and how coarse they are."""
    layers = {found.layer: found.grid for found in one.maps.values() if found.layer}
    return ", ".join(f"layer {name} with {grid}" for name, grid in layers.items())


def drawn(one: Explained, settings: Mapping) -> str:
    """Tell the settings of noise and path, where a method used them."""
    maps, said = one.maps.values(), []
    if any(found.method.draws for found in maps):
        said.append(f"{settings['samples']} noisy copies, noise {settings['noise']:g}")
    if any(found.account for found in maps):
        said.append(f"baseline {', '.join(settings['baseline'])}")
        if "noise" in settings["baseline"]:
            said[-1] += f" ({settings['starts']} draws)"
        tol, steps = settings["tol"], settings["steps"]
        said.append(
            f"{steps} steps" if tol is None else f"tol {tol:g} in at most {settings['most']} steps"
        )
    if any(found.method.draws for found in maps) or "noise" in settings.get("baseline", ()):
        said.append(f"seed {settings['seed']}")
    return ", ".join(said)


def where(values: np.ndarray) -> str:
    """Where a map is strong, in words, for those who do not see it."""
    strength = np.abs(values).astype(float)
    if not strength.any():
        return "zero everywhere"
    parts = [
        piece.sum() / strength.sum()
        for band in np.array_split(strength, 3, axis=0)
        for piece in np.array_split(band, 3, axis=1)
    ]
    order = np.argsort(parts)[::-1]
    first, second = (f"{parts[i]:.0%} of it at the {THIRDS[i]}" for i in order[:2])
    if parts[order[0]] < 0.17:
        return "spread over the whole photo"
    return f"of nine parts of the photo, {first} and {second}"


def rgb(one: Explained, net: Loaded) -> np.ndarray:
    """Picture that the network sees, ``(H, W, 3)`` in [0, 1]."""
    picture = net.pixels(one.inputs)[0].permute(1, 2, 0).float().cpu().numpy()
    return np.broadcast_to(picture, (*picture.shape[:2], 3))  # a network may look in grey


def coloured(found: Map) -> Image.Image:
    """Map in its colours, one byte a pixel."""
    steps = (found.norm(found.flat).data * 255).round().astype(np.uint8)
    image = Image.fromarray(steps, mode="P")
    ramp = matplotlib.colormaps[found.colours](np.arange(256), bytes=True)[:, :3]
    image.putpalette(ramp.tobytes())
    return image


def data_uri(image: Image.Image) -> str:
    """PNG inside an address."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def small(width: int) -> str:
    """Class of an image whose pixels are to be seen, rather than smoothed, when it is enlarged."""
    return " class=small" if width < FRAME // 2 else ""


def percent(probability: float) -> str:
    """Probability for a reader: whole per cent, or that it is less than one."""
    return "<1%" if 0 < probability < 0.005 else f"{probability:.0%}"


def shortened(text: str, length: int) -> str:
    """Text that fits, with its end cut off."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
