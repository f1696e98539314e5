"""Scenes: pictures drawn by code, so that the right explanation is known.

A scene is one object on a ground: shape × texture × colour × background × place, size and turn.
The *shape* is the class. With every picture come exact masks of the object, of its texture and of
every planted cue, a caption in words, and the factors as numbers. Dials plant short cuts: the
background can give the class away, a watermark can, and a second object can stand beside the first.

Picture i depends on ``(seed, i)`` and the dials, and each factor on a number of its own. A dial
that is turned therefore changes what it names and leaves the rest of the picture as it was.

Read `scenes` first, then `Scenes`. `draw` paints, `place` decides what to paint; below them is the
material: outlines, patterns and grounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from xai_lab import core
from xai_lab.data import bundled

#: The classes. Neighbours are alike: five sides and six, points and petals, a heart and a drop.
SHAPES = ("pentagon", "hexagon", "star", "flower", "heart", "drop")
TEXTURES = ("plain", "striped", "dotted", "checked")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple")
#: As many as shapes, so that each shape can have one of its own.
BACKGROUNDS = ("grass", "sand", "snow", "water", "gravel", "brick")

#: Names of each factor that has names.
NAMES = {"shape": SHAPES, "texture": TEXTURES, "colour": COLOURS, "background": BACKGROUNDS}

SMALLEST = 64


@dataclass(frozen=True)
class Scenes:
    """Pictures and all that is known about them; ``scenes[3:8]`` is a part of them.

    A pixel belongs to a mask if at least half of it is covered. Shadows belong to the ground.

    Attributes
    ----------
    images : Tensor
        ``(n, 3, size, size)`` in [0, 1].
    labels : Tensor
        ``(n,)``, the shape of the (first) object: an index into `SHAPES`.
    masks : Tensor
        ``(n, size, size)``, bool: the object.
    texture_masks : Tensor
        ``(n, size, size)``, bool: the dark parts of the object's pattern; empty if it is plain.
    cue_masks : Tensor
        ``(n, size, size)``, bool: the watermark; empty where there is none. No object touches it.
    second_masks : Tensor
        ``(n, size, size)``, bool: the second object; empty where there is none.
    second_labels : Tensor
        ``(n,)``, its shape, −1 where there is none.
    factors : dict of str to Tensor
        Each ``(n,)``: ``shape``, ``texture``, ``colour``, ``background`` (indices into `NAMES`);
        ``x``, ``y``, ``radius`` in shares of the picture's side, from its upper left, the radius
        being that of a disc of the object's area; ``angle`` in degrees, clockwise; ``watermark``,
        bool.
    captions : tuple of str
        ``"a striped red star on snow"``.
    """

    images: Tensor
    labels: Tensor
    masks: Tensor
    texture_masks: Tensor
    cue_masks: Tensor
    second_masks: Tensor
    second_labels: Tensor
    factors: dict[str, Tensor]
    captions: tuple[str, ...]

    @property
    def background_masks(self) -> Tensor:
        """Everything but the objects, the watermark included: ``(n, size, size)``, bool."""
        return ~(self.masks | self.second_masks)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice) -> Scenes:
        if not isinstance(part, slice):
            raise TypeError(f"scenes are cut by slices, such as scenes[3:8]; got {part!r}")
        kept = {f.name: getattr(self, f.name) for f in fields(self)}
        factors = {name: values[part] for name, values in kept.pop("factors").items()}
        return Scenes(factors=factors, **{name: values[part] for name, values in kept.items()})

    def to(self, device: torch.device | str) -> Scenes:
        """Scenes with their pictures, labels and masks on a device; the factors stay."""
        moved: dict[str, Any] = {
            f.name: value.to(device)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)


def scenes(
    n: int,
    seed: int = 0,
    *,
    size: int = 64,
    background_bias: float = 0.0,
    watermark: float = 0.0,
    watermark_elsewhere: float = 0.0,
    watermark_class: int | str = 0,
    second: float = 0.0,
    shape: int | str | Sequence[int | str] | Tensor | None = None,
    texture: int | str | Sequence[int | str] | Tensor | None = None,
    colour: int | str | Sequence[int | str] | Tensor | None = None,
    background: int | str | Sequence[int | str] | Tensor | None = None,
) -> Scenes:
    """Draw n pictures whose explanation is known.

    Parameters
    ----------
    n : int
        How many. ``scenes(10, seed=3)`` begins with the pictures of ``scenes(5, seed=3)``.
    seed : int
        Another seed, other pictures. The same scene is drawn at every size.
    size : int
        Pixels a side, at least 64.
    background_bias : float
        Probability that the background is the one with the class's own number; else it is drawn
        from all, so that a bias of 0 leaves class and background independent.
    watermark : float
        Probability that a picture of ``watermark_class`` carries a watermark in a corner.
    watermark_elsewhere : float
        The same for pictures of all other classes.
    watermark_class : int or str
        The class that ``watermark`` is about.
    second : float
        Probability of a second object, of another class, beside the first. The first, which the
        label names, then moves and shrinks to make room.
    shape, texture, colour, background : int, str or a sequence of n of these, optional
        Fixes a factor, by index or name, for all pictures or for each; all else stays as it was.

    Returns
    -------
    Scenes

    Raises
    ------
    ValueError, TypeError
        If a dial is not a probability, a factor has no such value, or the size is too small.

    Notes
    -----
    An object covers 7 to 20% of its picture, 5 to 8% if there is a second one. Some 2,000 pictures
    of 64 pixels a second, 200 of 224, on one core.

    Examples
    --------
    >>> pictures = scenes(5, seed=3, texture="striped")
    >>> pictures.captions[0]
    'a striped blue pentagon on grass'
    """
    core.check_count("n", n)
    core.check_count("seed", seed, least=0)
    core.check_count("size", size, least=SMALLEST)
    dials = {
        "background_bias": background_bias,
        "watermark": watermark,
        "watermark_elsewhere": watermark_elsewhere,
        "second": second,
    }
    for name, value in dials.items():
        if not isinstance(value, Real) or not 0 <= value <= 1:
            raise ValueError(f"{name} is {value!r}, expected a probability between 0 and 1")
    wanted = {"shape": shape, "texture": texture, "colour": colour, "background": background}
    fixed = {k: indices(k, v, n) for k, v in wanted.items() if v is not None}
    marked = int(indices("shape", watermark_class, 1))
    plan = place(n, seed, dials, marked, fixed)
    # A few hundred thousand pixels at a time stay in the processor's cache.
    chunk = max(1, 2**18 // size**2)
    parts = [
        draw({name: values[i : i + chunk] for name, values in plan.items()}, size)
        for i in range(0, n, chunk)
    ]
    images, masks, texture_masks, cue_masks, second_masks = map(torch.cat, zip(*parts, strict=True))
    own = ("shape", "texture", "colour", "background", "x", "y", "radius", "angle", "watermark")
    return Scenes(
        images=images,
        labels=plan["shape"].clone(),
        masks=masks,
        texture_masks=texture_masks,
        cue_masks=cue_masks,
        second_masks=second_masks,
        second_labels=plan["second_shape"].where(plan["second"], -1),
        factors={name: plan[name] for name in own},
        captions=tuple(caption(plan, i) for i in range(n)),
    )


def indices(factor: str, values: object, n: int) -> Tensor:
    """Values of a factor, given by index or name, as n indices."""
    names = NAMES[factor]
    given: Any = values.tolist() if isinstance(values, Tensor) else values
    rows = (
        list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given] * n
    )
    if len(rows) != n:
        raise ValueError(f"{factor} has {len(rows)} values for {n} pictures; give one, or {n}")
    for value in rows:
        known = isinstance(value, Integral) and value in range(len(names))
        if not known and value not in names:
            raise ValueError(
                f"no {factor} {value!r}: give one of {', '.join(names)}, "
                f"or its index, 0 to {len(names) - 1}"
            )
    return torch.tensor([names.index(v) if isinstance(v, str) else int(v) for v in rows])


def caption(plan: dict[str, Tensor], i: int) -> str:
    """Scene i in words."""

    def noun(prefix: str) -> str:
        words = [NAMES[k][plan[prefix + k][i]] for k in ("texture", "colour", "shape")]
        return "a " + " ".join(words)

    both = f"{noun('')} and {noun('second_')}" if plan["second"][i] else noun("")
    return f"{both} on {BACKGROUNDS[plan['background'][i]]}"


def place(
    n: int, seed: int, dials: dict[str, float], marked: int, fixed: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Decide everything about n scenes, from 32 numbers between 0 and 1 for each."""
    draws = np.stack([np.random.default_rng([seed, i]).random(32) for i in range(n)])
    u = iter(torch.from_numpy(draws).float().clamp(max=1 - 2**-24).T)

    def one_of(factor: str) -> Tensor:
        drawn = (next(u) * len(NAMES[factor])).long()
        return fixed.get(factor, drawn)

    plan = {"shape": one_of("shape"), "texture": one_of("texture"), "colour": one_of("colour")}
    tied = next(u) < dials["background_bias"]
    drawn = (next(u) * len(BACKGROUNDS)).long()
    plan["background"] = fixed.get("background", plan["shape"].where(tied, drawn))
    plan["second"] = next(u) < dials["second"]
    # A shape other than the first: 1 to 5 steps further on.
    step = 1 + (next(u) * (len(SHAPES) - 1)).long()
    plan["second_shape"] = (plan["shape"] + step) % len(SHAPES)
    plan["second_texture"] = (next(u) * len(TEXTURES)).long()
    plan["second_colour"] = (next(u) * len(COLOURS)).long()

    # The radius is that of a disc with the object's area; `reach` goes to its furthest point.
    reach = outlines()[1]
    low, high = torch.where(plan["second"], 0.126, 0.150), torch.where(plan["second"], 0.158, 0.25)
    for prefix in ("", "second_"):
        plan[prefix + "radius"] = low + (high - low) * next(u)
        plan[prefix + "angle"] = 80 * next(u) - 40
    R1 = plan["radius"] * reach[plan["shape"]] + 0.01
    R2 = plan["second_radius"] * reach[plan["second_shape"]] + 0.01
    alone = [R1 + (1 - 2 * R1) * next(u) for _ in "xy"]
    # Two objects share one axis, left to right or top to bottom, in either order, and what is left
    # of it is divided at random; across it each is free.
    cuts = torch.stack([next(u), next(u)]).sort(dim=0).values
    free = 1 - 2 * R1 - 2 * R2
    first, last = next(u) < 0.5, next(u) < 0.5
    along = torch.where(first, cuts[0] * free + R1, 1 - cuts[0] * free - R1)
    along2 = torch.where(first, 1 - (1 - cuts[1]) * free - R2, (1 - cuts[1]) * free + R2)
    across, across2 = (R + (1 - 2 * R) * next(u) for R in (R1, R2))
    plan["x"] = alone[0].where(~plan["second"], torch.where(last, along, across))
    plan["y"] = alone[1].where(~plan["second"], torch.where(last, across, along))
    plan["second_x"] = torch.where(last, along2, across2)
    plan["second_y"] = torch.where(last, across2, along2)

    carries = torch.where(plan["shape"] == marked, dials["watermark"], dials["watermark_elsewhere"])
    plan["watermark"] = next(u) < carries
    plan["corner"] = free_corner(plan)
    for name in ("ground_x", "ground_y", "flip", "bright", "pattern"):
        plan[name] = next(u)
    return plan


def free_corner(plan: dict[str, Tensor]) -> Tensor:
    """Corner that is furthest from all objects, ``(n, 2)`` of 0 (left, top) and 1."""
    corners = torch.tensor([(0.0, 1.0), (1.0, 1.0), (0.0, 0.0), (1.0, 0.0)])

    def room(prefix: str) -> Tensor:
        centre = torch.stack([plan[prefix + "x"], plan[prefix + "y"]], dim=1)
        return (corners - centre[:, None]).norm(dim=2) - plan[prefix + "radius"][:, None]

    rooms = torch.where(plan["second"][:, None], torch.minimum(room(""), room("second_")), room(""))
    return corners[rooms.argmax(dim=1)].long()


def draw(plan: dict[str, Tensor], size: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Paint scenes: images, and masks of object, texture, watermark and second object."""
    n = len(plan["shape"])
    picture = ground(plan, size)
    axis = (torch.arange(size) + 0.5) / size
    prefixes = ["", "second_"] if plan["second"].any() else [""]
    layers = []
    for prefix in prefixes:
        layers.append(object_layer(plan, prefix, axis))
        picture *= 1 - 0.5 * layers[-1][3][:, None]
    masks, texture_masks = [], []
    for colour, cover, dark, _ in layers:
        picture = torch.lerp(picture, colour, cover[:, None])
        masks.append(cover >= 0.5)
        texture_masks.append(masks[-1] & (dark >= 0.5))
    second = masks[1] if len(masks) == 2 else torch.zeros(n, size, size, dtype=torch.bool)
    cue = torch.zeros(n, size, size, dtype=torch.bool)
    if plan["watermark"].any():
        alpha, tint = watermark_layer(size)
        height, width = alpha.shape
        margin = max(1, size // 64)
        for i in plan["watermark"].nonzero()[:, 0].tolist():
            right, bottom = plan["corner"][i].tolist()
            x = size - margin - width if right else margin
            y = size - margin - height if bottom else margin
            region = picture[i, :, y : y + height, x : x + width]
            region.lerp_(tint.expand_as(region), alpha.expand_as(region))
            cue[i, y : y + height, x : x + width] = True
    return picture.clamp_(0, 1), masks[0], texture_masks[0], cue, second


def object_layer(
    plan: dict[str, Tensor], prefix: str, axis: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Colour ``(n, 3, H, W)``, cover, dark parts of the texture, and shadow, ``(n, H, W)``."""
    n, size = len(plan["shape"]), len(axis)
    x, y, radius, angle = (plan[prefix + k][:, None, None] for k in ("x", "y", "radius", "angle"))
    shape = plan[prefix + "shape"]
    present = plan["second"] if prefix else torch.ones(n, dtype=torch.bool)
    turn = angle * (torch.pi / 180)
    cos, sin = turn.cos() / radius, turn.sin() / radius

    def own(shift: float) -> tuple[Tensor, Tensor]:
        """Pixels in the object's own frame, in radii."""
        dx = (axis - x) - shift * radius
        dy = (axis[:, None] - y) - shift * radius
        return cos * dx + sin * dy, cos * dy - sin * dx

    field = outlines()[0]
    u, v = own(0)
    distance, slope_u, slope_v = lookup(field, shape, u, v)
    pixel = 1 / (size * radius)
    cover = (0.5 - distance / pixel).clamp(0, 1) * present[:, None, None]

    # Light from the upper left, turned into the object's frame; it comes from above as well.
    lu, lv = -(turn.cos() + turn.sin()), -(turn.cos() - turn.sin())
    steep = (slope_u**2 + slope_v**2 + 1).rsqrt()
    facing = (0.45 * (slope_u * lu + slope_v * lv) + 0.78) * steep
    light = (0.30 + 0.90 * facing).clamp(0.2, 1.4)
    shine = 0.65 * ((facing - 0.86) / 0.14).clamp(0, 1) ** 2

    dark = pattern(plan, prefix, u, v, pixel)
    paint = torch.tensor(PAINT)[plan[prefix + "colour"]][:, :, None, None]
    colour = paint * ((1 - 0.68 * dark) * light)[:, None]
    colour = colour + (1 - colour) * (shine * (1 - 0.5 * dark))[:, None]

    # The shadow is the outline again, moved away from the light and softened.
    below = lookup(field[:, :1], shape, *own(0.16))[0]
    shadow = (0.62 - below / 0.42).clamp(0, 1) * present[:, None, None]
    shadow = shadow * shadow * (3 - 2 * shadow)
    return colour, cover, dark, shadow


# Of each colour of `COLOURS`.
PAINT = [
    (0.88, 0.16, 0.18),
    (0.98, 0.52, 0.10),
    (0.99, 0.83, 0.16),
    (0.10, 0.64, 0.34),
    (0.13, 0.40, 0.88),
    (0.53, 0.26, 0.74),
]


def pattern(plan: dict[str, Tensor], prefix: str, u: Tensor, v: Tensor, pixel: Tensor) -> Tensor:
    """How dark the texture is at each point of the object's frame, 0 to 1, ``(n, H, W)``."""
    dark = torch.zeros_like(u)
    for i, kind in enumerate(plan[prefix + "texture"].tolist()):
        if kind == 0:
            continue
        a, b, p = u[i], v[i], float(pixel[i])
        if kind == 1:  # stripes across a diagonal
            s, c = (0.82, 0.57) if plan["pattern"][i] < 0.5 else (0.57, -0.82)
            dark[i] = edge(torch.sin((s * a + c * b) * (2 * torch.pi / 0.52)), 0.52, p)
        elif kind == 2:  # dots, every other row moved by half a step
            row = torch.floor(b / 0.5)
            da = torch.remainder(a + 0.29 * torch.remainder(row, 2), 0.58) - 0.29
            db = b - (row + 0.5) * 0.5
            dark[i] = (0.5 + (0.175 - (da * da + db * db).sqrt()) / p).clamp(0, 1)
        else:  # checks
            wave = torch.pi / 0.42
            dark[i] = edge(torch.sin(a * wave) * torch.sin(b * wave), 0.84, p)
    return dark


def edge(wave: Tensor, period: float, pixel: float) -> Tensor:
    """Where a wave is positive, with a rim one pixel wide."""
    return (0.5 + wave * (period / (2 * torch.pi * pixel))).clamp(0, 1)


def lookup(field: Tensor, shape: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, ...]:
    """Read the outlines' field at points ``(n, H, W)`` of each object's frame."""
    # The six fields lie side by side in one picture: choosing among copies of them is slower.
    edge = EXTENT * (1 - 1 / CELLS)
    across = (u.clamp(-edge, edge) / EXTENT + 2 * shape[:, None, None] + 1) / len(SHAPES) - 1
    grid = torch.stack([across, v.clamp(-edge, edge) / EXTENT], dim=3).flatten(0, 1)
    read = F.grid_sample(field, grid[None], align_corners=False)[0]
    return read.unflatten(1, u.shape[:2]).unbind()


# The outlines' field covers [−2.4, 2.4]² in steps of 0.021.
EXTENT, CELLS = 2.4, 224


@lru_cache(maxsize=1)
def outlines() -> tuple[Tensor, Tensor]:
    """Fields of all shapes side by side, ``(1, 3, 224, 6 · 224)``, and how far each shape reaches.

    The first channel is the signed distance to the outline, negative inside; the others are the
    slopes of a cushion over it. All shapes have the area of a disc of radius 1.
    """
    t = np.linspace(0, 2 * np.pi, 480, endpoint=False)
    upright = np.exp(1j * (t - np.pi / 2))
    heart = 16 * np.sin(t) ** 3 - 1j * (
        13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    )
    drop = np.sin(t) * np.sin(t / 2) ** 1.4 - 1.05j * np.cos(t)
    curves = [
        polygon(np.ones(5)),
        polygon(np.ones(6)),
        polygon(np.tile([1, 0.52], 5)),
        blurred((upright * (1 + 0.55 * np.abs(np.cos(2.5 * t))))[None], (0, 4.0))[0],
        heart,
        drop,
    ]
    axis = ((np.arange(CELLS) + 0.5) / CELLS * 2 - 1) * EXTENT
    points = (axis + 1j * axis[:, None]).ravel()
    made, reach = [], []
    for curve in curves:
        curve = unit_area(curve)
        distance = signed_distance(points, curve).reshape(CELLS, CELLS)
        # The height of a cushion: round at the rim, level 0.75 from it.
        depth = np.clip(-distance / 0.75, 0, 1)
        height = blurred(0.62 * np.sqrt(1 - (1 - depth) ** 2), 2.8)
        slope_v, slope_u = np.gradient(height, axis[1] - axis[0])
        # Lighting is u·l − ∇h·l; the minus is taken here.
        made.append(np.stack([distance, -slope_u, -slope_v]))
        reach.append(np.abs(curve).max())
    atlas = np.concatenate(made, axis=2)[None]
    return torch.from_numpy(atlas).float(), torch.tensor(reach, dtype=torch.float32)


def polygon(radii: np.ndarray) -> np.ndarray:
    """Closed outline through corners at equal angles, the first at the top; corners rounded."""
    angle = np.arange(len(radii) + 1) * 2 * np.pi / len(radii) - np.pi / 2
    corners = np.append(radii, radii[0]) * np.exp(1j * angle)
    dense = np.interp(np.arange(480) * len(radii) / 480, np.arange(len(radii) + 1), corners)
    return blurred(dense[None], (0, 5.0))[0]


def blurred(values: np.ndarray, sigma: float | tuple[float, float]) -> np.ndarray:
    """Periodic Gaussian blur of a 2-D array, by its spectrum."""
    sy, sx = np.broadcast_to(sigma, 2)
    fy = np.fft.fftfreq(values.shape[0])[:, None] * sy
    fx = np.fft.fftfreq(values.shape[1]) * sx
    smooth = np.fft.ifft2(np.fft.fft2(values) * np.exp(-2 * np.pi**2 * (fy**2 + fx**2)))
    return smooth if np.iscomplexobj(values) else smooth.real


def unit_area(curve: np.ndarray) -> np.ndarray:
    """Outline moved and scaled so that its centroid is 0 and its area π."""
    after = np.roll(curve, -1)
    cross = (curve.conj() * after).imag
    area = cross.sum() / 2
    curve = curve - ((curve + after) * cross).sum() / (6 * area)
    return curve * np.sqrt(np.pi / abs(area))


def signed_distance(points: np.ndarray, curve: np.ndarray) -> np.ndarray:
    """Distance of points to a closed outline that is seen whole from 0; negative inside."""
    nearest = np.abs(points[:, None] - curve[None, ::4]).argmin(axis=1) * 4
    best = np.full(len(points), np.inf)
    for step in range(-3, 4):
        a, b = curve[(nearest + step - 1) % 480], curve[(nearest + step) % 480]
        along = ((points - a) * (b - a).conj()).real / np.abs(b - a) ** 2
        best = np.minimum(best, np.abs(points - a - np.clip(along, 0, 1) * (b - a)))
    order = np.argsort(np.angle(curve))
    rim = np.interp(
        np.angle(points), np.angle(curve)[order], np.abs(curve)[order], period=2 * np.pi
    )
    return np.where(np.abs(points) < rim, -best, best)


def ground(plan: dict[str, Tensor], size: int) -> Tensor:
    """Piece of ground for each scene, ``(n, 3, size, size)``, in a light from the upper left."""
    bank = grounds(size)
    room = bank.shape[-1] - size
    starts = [(plan[k] * (room + 1)).long().tolist() for k in ("ground_x", "ground_y")]
    pieces = torch.stack(
        [
            bank[b, :, y : y + size, x : x + size]
            for b, x, y in zip(plan["background"].tolist(), *starts, strict=True)
        ]
    )
    pieces = torch.where(plan["flip"][:, None, None, None] < 0.5, pieces, pieces.flip(3))
    axis = (torch.arange(size) + 0.5) / size
    falloff = 1.10 - 0.11 * (axis + axis[:, None])
    return pieces * (falloff * (0.92 + 0.16 * plan["bright"])[:, None, None])[:, None]


@lru_cache(maxsize=4)
def grounds(size: int) -> Tensor:
    """All grounds for pictures of a size, ``(6, 3, S, S)``: 2.4 times as wide as a picture."""
    wide = round(2.4 * size)
    masters = torch.from_numpy(ground_masters())
    return F.interpolate(masters, (wide, wide), mode="bicubic", antialias=True).clamp(0, 1)


@lru_cache(maxsize=1)
def ground_masters() -> np.ndarray:
    """Grounds at 512 pixels, ``(6, 3, 512, 512)``: three photos in colour, three made of noise.

    The photos are scikit-image's ``grass``, ``gravel`` and ``brick``, all CC0.
    """
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:512, :512] / 512

    def noise(power: float, low: float = 0) -> np.ndarray:
        """Periodic noise whose amplitude falls with frequency, mean 0, deviation 1."""
        f = np.hypot(np.fft.fftfreq(512)[:, None], np.fft.fftfreq(512)) * 512
        spectrum = np.fft.fft2(rng.standard_normal((512, 512)))
        made = np.fft.ifft2(spectrum * (f > low) / np.maximum(f, 1) ** power).real
        return (made - made.mean()) / made.std()

    def photo(name: str) -> np.ndarray:
        path = bundled("astronaut").with_name(f"{name}.png")
        grey = np.asarray(Image.open(path).convert("L"), dtype=float)
        return (grey - grey.mean()) / grey.std()

    sand = 0.8 * np.sin(2 * np.pi * (9 * y + 2 * x) + 1.6 * noise(2.2)) + 0.55 * noise(0.1)
    drift = noise(2.4)
    snow = 1.1 * np.sin(2.2 * drift + 4 * np.pi * (x - y)) + 0.35 * noise(0.6)
    ripples = [(1 - np.abs(noise(2.9, low)) / 1.6).clip(0, 1) for low in (4, 6)]
    water = 3.4 * np.maximum(*ripples) ** 5 - 1.3 + 0.3 * noise(2)
    ramps = {
        "grass": (photo("grass"), [(0.16, 0.25, 0.07), (0.42, 0.53, 0.20), (0.74, 0.80, 0.48)]),
        "sand": (sand, [(0.62, 0.49, 0.32), (0.84, 0.72, 0.52), (0.96, 0.88, 0.71)]),
        "snow": (snow, [(0.68, 0.76, 0.88), (0.86, 0.90, 0.96), (0.98, 0.985, 1.00)]),
        "water": (water, [(0.06, 0.36, 0.49), (0.20, 0.58, 0.68), (0.58, 0.84, 0.86)]),
        "gravel": (photo("gravel"), [(0.16, 0.16, 0.17), (0.47, 0.46, 0.45), (0.82, 0.81, 0.78)]),
        "brick": (photo("brick"), [(0.38, 0.18, 0.13), (0.56, 0.30, 0.23), (0.84, 0.78, 0.70)]),
    }
    stops = [-2.0, 0.0, 2.0]
    made = [
        [np.interp(values, stops, [c[i] for c in ramp]) for i in range(3)]
        for values, ramp in (ramps[name] for name in BACKGROUNDS)
    ]
    return np.array(made, np.float32)


def watermark_layer(size: int) -> tuple[Tensor, Tensor]:
    """Opacity and grey of the watermark: "XAI" in pale letters on a dark plate."""
    rows = ("#.#..#..###", "#.#.#.#..#.", ".#..###..#.", "#.#.#.#..#.", "#.#.#.#.###")
    letters = torch.tensor([[float(c == "#") for c in row] for row in rows])
    plate = F.pad(letters, (1, 1, 1, 1))[None, None]
    height, width = round(7 * size / 64), round(13 * size / 64)
    drawn = F.interpolate(plate, (height, width), mode="bilinear")[0, 0]
    tint = 0.08 + 0.90 * ((drawn - 0.5) * (size / 64) + 0.5).clamp(0, 1)
    return torch.full_like(tint, 0.88), tint
