"""Draws maps; knows no method.

`images` draws photos, maps and curves, `words` coloured sentences and paths, `heads` attention.
All are called by one name: `xai_lab.plot.maps`, `xai_lab.plot.sentences`.
"""

from xai_lab.plot.images import (
    HIGHLIGHT,
    QUIET,
    SIGNED,
    UNSIGNED,
    Slider,
    closed,
    curves,
    draw_map,
    flat,
    gallery,
    limit,
    maps,
    pairs,
    pictures,
    png,
    predictions,
    ramps,
    slider,
    style,
)

__all__ = [
    "HIGHLIGHT",
    "QUIET",
    "SIGNED",
    "UNSIGNED",
    "Slider",
    "closed",
    "curves",
    "draw_map",
    "flat",
    "gallery",
    "limit",
    "maps",
    "pairs",
    "pictures",
    "png",
    "predictions",
    "ramps",
    "slider",
    "style",
]
