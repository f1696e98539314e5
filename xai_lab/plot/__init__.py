"""Draws maps; knows no method.

`images` draws photos, maps and curves, `words` coloured sentences and paths, `heads` attention,
`evidence` what hiding did.
All are called by one name: `xai_lab.plot.maps`, `xai_lab.plot.sentences`.
"""

from xai_lab.plot.bertviz_view import View, head_view, model_view
from xai_lab.plot.evidence import contact_sheet, groups
from xai_lab.plot.heads import all_heads, by_layer, cls_maps, from_token, head, heads
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
from xai_lab.plot.words import Sentences, bars, sentences

__all__ = [
    "HIGHLIGHT",
    "QUIET",
    "SIGNED",
    "UNSIGNED",
    "Sentences",
    "Slider",
    "View",
    "all_heads",
    "bars",
    "by_layer",
    "closed",
    "cls_maps",
    "contact_sheet",
    "curves",
    "draw_map",
    "flat",
    "from_token",
    "gallery",
    "groups",
    "head",
    "head_view",
    "heads",
    "limit",
    "maps",
    "model_view",
    "pairs",
    "pictures",
    "png",
    "predictions",
    "ramps",
    "sentences",
    "slider",
    "style",
]
