"""Grids: pictures of different classes in the cells of one, for pointing games.

The class whose score is explained has its cell; a map that points elsewhere is wrong. A grid has
two cells, side by side, or four, in two rows. Its borders run through the middle of the picture, so
that a resize and a centred crop, which is what preprocessing does, leave them there: `cell_masks`
fits the network's input whatever its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

import torch
from PIL import Image, ImageOps
from torch import Tensor

from xai_lab import core
from xai_lab.data import photo
from xai_lab.data.scenes import SHAPES, Scenes, scenes


@dataclass(frozen=True)
class SceneGrids:
    """Grids of scenes.

    Attributes
    ----------
    images : Tensor
        ``(n, 3, H, W)`` in [0, 1].
    labels : Tensor
        ``(n, cells)``, the class in each cell, all different within a grid.
    cells : Tensor
        ``(cells, H, W)``, bool, the same for all grids.
    masks : Tensor
        ``(n, cells, H, W)``, bool: the object of each cell.
    """

    images: Tensor
    labels: Tensor
    cells: Tensor
    masks: Tensor


def scene_grids(
    n: int, cells: int = 4, seed: int = 0, *, size: int = 64, **dials: float
) -> SceneGrids:
    """Grids of scenes of different classes.

    Parameters
    ----------
    n : int
        How many grids.
    cells : int
        2, side by side, or 4, in two rows.
    seed : int
        Another seed, other grids.
    size : int
        Pixels a side of each cell.
    dials : float
        As `scenes` takes them, such as ``background_bias=0.9``.

    Returns
    -------
    SceneGrids
        Its images are ``size`` × ``2 size`` with two cells, ``2 size`` square with four.
    """
    shape = arrangement(cells)
    core.check_count("n", n)
    core.check_count("seed", seed, least=0)
    # The order of some random numbers is a random order, here of the shapes.
    drawn = torch.rand(n, len(SHAPES), generator=torch.Generator().manual_seed(seed))
    labels = drawn.argsort(dim=1)[:, :cells]
    made: Scenes = scenes(n * cells, seed, size=size, shape=labels.flatten(), **dials)  # type: ignore[arg-type]
    images = tiled(made.images.unflatten(0, (n, cells)), shape)
    height, width = images.shape[-2:]
    where = cell_masks(cells, height, width)
    masks = tiled(made.masks.unflatten(0, (n, cells))[:, :, None], shape)
    return SceneGrids(images, labels, where, masks & where)


def photo_grid(
    sources: Sequence[str | PathLike[str] | Image.Image], size: int = 256
) -> Image.Image:
    """Two or four photos in the cells of one square picture.

    Parameters
    ----------
    sources : sequence of str, path or PIL.Image.Image
        As in `photo`: two, side by side, or four, in two rows. Each is cropped to its middle.
    size : int
        Pixels a side.

    Returns
    -------
    PIL.Image.Image
        RGB, ``size`` square; ``net.preprocess`` takes it, and ``cell_masks(len(sources), H, W)``
        says where each photo is then.
    """
    rows, columns = arrangement(len(sources))
    picture = Image.new("RGB", (size, size))
    for k, source in enumerate(sources):
        left, right = (size * c // columns for c in (k % columns, k % columns + 1))
        top, bottom = (size * r // rows for r in (k // columns, k // columns + 1))
        cell = (right - left, bottom - top)
        picture.paste(ImageOps.fit(photo(source), cell, Image.Resampling.BICUBIC), (left, top))
    return picture


def cell_masks(cells: int, height: int, width: int) -> Tensor:
    """Where each cell of a grid is, in a picture of any size.

    Parameters
    ----------
    cells : int
        2 or 4.
    height, width : int
        Of the network's input, or of a map.

    Returns
    -------
    Tensor
        ``(cells, height, width)``, bool; the masks tile the picture.
    """
    rows, columns = arrangement(cells)
    row = torch.arange(height) * rows // height
    column = torch.arange(width) * columns // width
    return row[:, None] * columns + column == torch.arange(cells)[:, None, None]


def arrangement(cells: int) -> tuple[int, int]:
    """Rows and columns of a grid."""
    if cells not in (2, 4):
        raise ValueError(f"a grid has 2 or 4 cells, got {cells}")
    return cells // 2, 2


def tiled(pictures: Tensor, shape: tuple[int, int]) -> Tensor:
    """Pictures ``(n, rows · columns, C, h, w)`` as one each, ``(n, C, rows · h, columns · w)``."""
    rows = pictures.unflatten(1, shape).movedim(3, 1)  # (n, C, rows, columns, h, w)
    return rows.transpose(3, 4).flatten(4, 5).flatten(2, 3)
