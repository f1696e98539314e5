"""BertViz's head view and model view, in one piece of HTML that needs nothing else.

BertViz (Vig 2019) draws with JavaScript that asks the web for three libraries. Its renderer runs
here as it is in the installed package; the few functions it takes from those libraries stand in
`bertviz.js`, so that a view works offline, in a notebook, in the book and in a report.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from xai_lab.plot.heads import all_heads, heads, matrices, readable
from xai_lab.plot.images import png

#: Heads, or layers, in this order; the same hue comes back darker.
COLOURS = ["#1687a0", "#a02c6e", "#c4551c", "#232a5c", "#9a7d0a", "#5f6470"]
COLOURS += ["#0b4a59", "#5b1a49", "#7a3208", "#5a64b5", "#5e4c05", "#2b2e36"]
STYLE = """
.xai-bertviz { background: #fcfcfa; border: 1px solid #d8d8d4; border-radius: 0.35rem;
  color: #24262e; margin: 1rem 0; max-width: 100%; padding: 0.6rem; }
.xai-bertviz img { height: auto; max-width: 100%; }
.xai-bertviz [data-stage] { overflow-x: auto; padding: 3px; }
.xai-bertviz svg { display: block; max-width: none; min-width: 20rem; width: 100%; }
.xai-bertviz.model svg { height: auto; min-width: 37rem; }
.xai-bertviz.model text { font-size: 15px; }
.xai-bertviz text { font-family: system-ui, sans-serif; user-select: none; }
.xai-bertviz .attentionBoxes { opacity: 0.55; }
.xai-bertviz text.number { fill: #fff; font-size: 11px; pointer-events: none;
  text-anchor: middle; }
.xai-bertviz text.number.off { fill: #24262e; }
.xai-bertviz [aria-checked="false"] { outline: 1px solid #d8d8d4; outline-offset: -1px; }
.xai-bertviz select { background: #fff; border: 1px solid #6b6e7b; border-radius: 0.25rem;
  color: #24262e; font: inherit; margin-bottom: 0.5rem; padding: 0.1rem 0.4rem; }
.xai-bertviz :focus-visible { outline: 3px solid #1687a0; }
.xai-bertviz output { display: block; font-variant-numeric: tabular-nums; font-weight: 600;
  min-height: 3em; }
.xai-bertviz [hidden] { display: none; }
.xai-bertviz figcaption, .bd-article .xai-bertviz figcaption { color: #4b4e57;
  font-size: 0.95rem; margin-top: 0.4rem; }
"""


@dataclass(frozen=True)
class View:
    """A picture that the reader moves; a still one where scripts are off.

    Attributes
    ----------
    html : str
        All of it. Notebooks show it by themselves.
    script : str
        What stands between its script tags, for a page that allows only scripts it knows.
    """

    html: str
    script: str

    def _repr_html_(self) -> str:
        return self.html


def head_view(
    attention: Tensor,
    tokens: Sequence[str],
    *,
    layer: int | None = None,
    heads: Sequence[int] | None = None,
    layers: Sequence[int] | None = None,
    caption: str = "",
    digits: int = 3,
) -> View:
    """BertViz's head view: lines from each token to those it looks at, a colour for each head.

    The reader chooses the layer, switches heads on and off, and points at a token; its three
    largest weights are written out. The keyboard can do all of it.

    Parameters
    ----------
    attention : Tensor
        ``(layers, heads, tokens, tokens)``, or with a batch of one after the layers.
    tokens : sequence of str
        Their names.
    layer : int, optional
        Shown first; the first of ``layers`` by default.
    heads : sequence of int, optional
        Switched on at first; all by default.
    layers : sequence of int, optional
        To choose from; all by default. Fewer make a smaller page.
    caption : str
        What to notice.
    digits : int
        Decimals that are kept. Each costs a byte a number.

    Returns
    -------
    View

    Raises
    ------
    ValueError
        For a layer or head that is not there, or tokens that do not fit.
    ModuleNotFoundError
        If BertViz is not installed.
    """
    A = matrices(attention, tokens, 4)
    layers = among(layers, len(A), "layer")
    on = among(heads, A.shape[1], "head")
    first = layers[0] if layer is None else among([layer], len(A), "layer")[0]
    if first not in layers:
        raise ValueError(f"layer {first} is shown first, and not among the layers {layers}")
    still = few_heads(attention, tokens, first, on)
    return view(
        "head",
        A[layers],
        tokens,
        {"layer": first, "heads": on, "include_layers": layers},
        still,
        f"Attention of layer {first}, a matrix for each of {len(on)} heads",
        caption,
        "The squares switch heads on and off, a double click leaves one. With the keyboard: Tab, "
        "arrows, Enter, and Shift + Enter for the double click.",
        digits,
    )


def model_view(
    attention: Tensor,
    tokens: Sequence[str],
    *,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    caption: str = "",
    digits: int = 2,
) -> View:
    """BertViz's model view: a thumbnail of lines for each head, larger when it is chosen.

    Parameters
    ----------
    attention : Tensor
        ``(layers, heads, tokens, tokens)``, or with a batch of one after the layers.
    tokens : sequence of str
        Their names.
    layers, heads : sequence of int, optional
        Which are shown; all by default.
    caption : str
        What to notice.
    digits : int
        Decimals that are kept.

    Returns
    -------
    View

    Raises
    ------
    ValueError
        For a layer or head that is not there, or tokens that do not fit.
    ModuleNotFoundError
        If BertViz is not installed.
    """
    A = matrices(attention, tokens, 4)
    layers, chosen = among(layers, len(A), "layer"), among(heads, A.shape[1], "head")
    A = A[layers][:, chosen]
    return view(
        "model",
        A,
        tokens,
        {
            "display_mode": "light",
            "include_layers": layers,
            "include_heads": chosen,
            "total_heads": len(chosen),
        },
        all_heads(Tensor(A), layers=layers),
        f"Attention of {A.shape[0]} layers with {A.shape[1]} heads each, as thumbnails",
        caption,
        "Click a head to see its tokens; with the keyboard: Tab, arrows, Enter.",
        digits,
    )


def view(
    kind: str,
    A: np.ndarray,
    tokens: Sequence[str],
    params: dict[str, Any],
    still: Figure,
    alt: str,
    caption: str,
    how: str,
    digits: int,
) -> View:
    """One of BertViz's views, with a still picture for where scripts are off."""
    if not 1 <= digits <= 6:
        raise ValueError(f"digits is {digits}, expected 1 to 6")
    names = [readable(token) for token in tokens]
    unit = 10**digits
    numbers = np.rint(A.astype(np.float64) * unit).astype(int).tolist()
    parts = {"name": None, "attn": numbers, "left_text": names, "right_text": names}
    params |= {"attention": [parts], "default_filter": "0", "root_div_id": "view"}
    params |= {"unit": unit, "colours": COLOURS}
    # A text may hold "</script>" or "<!--": no "<" reaches the parser of the page.
    inside = json.dumps(params, separators=(",", ":")).replace("<", "\\u003c")
    shim = (Path(__file__).parent / "bertviz.js").read_text(encoding="utf-8")
    script = (
        f"(() => {{\nconst box = document.currentScript.parentElement;\n{shim}\n"
        f"look(box, {inside}, (requirejs, PARAMS, console) => {{\n{renderer(kind)}\n}});\n}})();"
    )
    picture = base64.b64encode(png(still)).decode()
    choice = said = ""
    if kind == "head":
        choice = '<label>Layer <select data-id="layer"></select></label>'
        said = '<output aria-live="polite" hidden>Point at a token to read its weights.</output>'
    page = f"""<figure class="xai-bertviz {kind}">
<style>{STYLE}</style>
<img alt="{html.escape(alt)}" src="data:image/png;base64,{picture}">
<div data-stage hidden>{choice}<div data-id="vis"></div></div>
{said}
<figcaption>{html.escape(caption)} <span hidden>{html.escape(how)}</span></figcaption>
<script>{script}</script>
</figure>"""
    return View(page, script)


def renderer(kind: str) -> str:
    """BertViz's own drawing code, without the lines that fetch libraries."""
    spec = find_spec("bertviz")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "attention views are drawn by BertViz, which is not installed: pip install bertviz"
        )
    path = Path(spec.submodule_search_locations[0]) / f"{kind}_view.js"
    source = path.read_text(encoding="utf-8")
    notice, found, rest = source.partition("require.config(")
    _, starts, body = rest.partition("requirejs(")
    if not (found and starts and "PYTHON_PARAMS" in body):
        raise ModuleNotFoundError(
            f"this BertViz is set up otherwise than 1.4.1 ({path.name}): pip install bertviz==1.4.1"
        )
    return notice + starts + body.replace("PYTHON_PARAMS", "PARAMS", 1)


def few_heads(attention: Tensor, tokens: Sequence[str], layer: int, on: Sequence[int]) -> Figure:
    """Still picture of a head view."""
    A = Tensor(matrices(attention, tokens, 4)[layer][list(on)])
    return heads(A, tokens, titles=[f"layer {layer}, head {number}" for number in on])


def among(given: Sequence[int] | None, count: int, what: str) -> list[int]:
    """Numbers of layers or heads, checked; all of them by default."""
    if given is None:
        return list(range(count))
    numbers = [int(number) for number in given]
    wrong = [number for number in numbers if not 0 <= number < count]
    if wrong or not numbers:
        asked = f"{what} {wrong[0]}" if wrong else f"no {what}"
        raise ValueError(f"{asked} was asked for, expected 0 to {count - 1}")
    return list(dict.fromkeys(numbers))
