"""The work of `xai-lab attention`: who looks at whom, for a text or a photo, as one page.

Read `attend`, then `of_text` and `of_picture`, each of which gathers an `Attended`; `page` lays it
out. What attention is stands in `attention.py` and `patterns.py`, how it is drawn in `plot`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import html
import io
import platform
import re
import shlex
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from string import Template
from typing import Any

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

import xai_lab
from xai_lab import cli, plot
from xai_lab.attention import attention_maps, cls_map, distance, entropy, rollout
from xai_lab.data import PHOTOS
from xai_lab.layers import token_grid
from xai_lab.models import TEXTS, Loaded, LoadedText
from xai_lab.report import percent, shortened

#: More make a page of several megabytes that no browser scrolls well.
MOST_TOKENS = 100
TEXT_MODEL, PICTURE_MODEL = "minilm", "scenes-vit"
IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".heic")
SCENE = re.compile(r"scene(?::(\d+))?")

#: What a pattern's name in `xai_lab.patterns` means.
READ_TEXT = {
    "The lines": "Each token on the left looks at the tokens on the right, the stronger the line "
    "the more. What leaves a token sums to one in every head.",
    "The pattern": "Of the patterns that have a name, the one that the head follows in this text. "
    "Its score is 1 for the pure pattern and 0 for chance; below 0.5 a head gets no name, but the "
    "nearest. One short text says little: a head may do something else in the next.",
    "Their names": "previous, next, same: the token before, behind, itself. first, delimiter: the "
    "first token, special tokens and punctuation. same token: another copy of it. induction: what "
    "stood behind an earlier copy. broadcast: one token for all. local: within a few tokens. "
    "dilated: every second to fourth token. causal: nothing that comes later.",
    "Entropy and distance": "Entropy says how widely the tokens look, in nats: 0 is at one token, "
    "ln of the number of tokens at all alike. Distance says how far, in tokens. Both are means "
    "over the tokens.",
}
READ_PICTURE = {
    "The maps": "Where the class token looks, whose vector the prediction is read from. A patch is "
    "drawn as coarse as it is.",
    "Rollout": "The layers multiplied, with half of each token left as it is (Abnar and Zuidema "
    "2020): through which patches information can have come. It knows no class.",
    "Entropy and distance": "Entropy says how widely the tokens look, in nats. Distance says how "
    "far a patch looks, in patches. Both are means over the tokens. “Kept” is what the class token "
    "gives to itself.",
}


@dataclass(frozen=True)
class Attended:
    """What a page shows, gathered from a text or a photo.

    Attributes
    ----------
    title, summary, note : str
        What was looked at, in plain text; ``note`` is a doubt, or empty.
    figures : list of (heading, View or Figure, alt, caption)
        In order.
    columns : tuple of str
        Of the table of heads, after layer and head.
    rows : list of (layer, head, cells)
        Its rows.
    readings : dict
        Heading and text of how to read it.
    said : list of str
        Lines for the terminal.
    following : str
        Best next step.
    """

    title: str
    summary: str
    note: str
    figures: list[tuple[str, Any, str, str]]
    columns: tuple[str, ...]
    rows: Sequence[tuple[int, int, tuple[str, ...]]]
    readings: dict[str, str]
    said: list[str]
    following: str


def attend(options: argparse.Namespace, command: str) -> int:
    """Write the attention of a text or a photo as a page; say what is in it, and what comes next.

    Parameters
    ----------
    options : Namespace
        As `cli.add_attention` reads them.
    command : str
        As it was typed, for the page.

    Returns
    -------
    int
        Exit code.
    """
    text = is_text(options)
    if options.head is not None and options.layer is None:
        raise cli.MisuseError("--head needs --layer: heads are numbered anew in every layer")
    if text:
        check_text(options.what)
    elif not SCENE.fullmatch(options.what) and not cli.can_be_read(options.what):
        return 1
    sources = [] if text or SCENE.fullmatch(options.what) else [options.what]
    out = cli.where_to(options.out, sources, (".html", ".htm"), "a file that ends in .html")
    name = options.model or (TEXT_MODEL if text else PICTURE_MODEL)
    cli.status(f"loading {name} …")
    net: Any = xai_lab.load(name, device=cli.chosen_device(options.device))
    found = of_text(net, options) if text else of_picture(net, options)
    print("\n".join(found.said), flush=True)
    if out is None or out.is_dir():
        out = cli.free_name(file_stem(options.what), out or Path(), ".html")
    cli.save(out, page(found, net, command))
    print(found.following)
    return 0


def is_text(options: argparse.Namespace) -> bool:
    """Whether words are to be read rather than a file: by the model, else by what there is."""
    what, model = options.what, options.model
    is_file = False
    with suppress(OSError, ValueError):  # a sentence may be longer than a file's name can be
        is_file = Path(what).is_file()
    looks_like = is_file or (Path(what).suffix.lower() in IMAGES and " " not in what.strip())
    if model in TEXTS:
        if looks_like:
            raise cli.MisuseError(
                f"--model {model} reads text, and {what} is a picture; leave --model away, or "
                "name a vision transformer, such as vit-base"
            )
        return True
    return model is None and not (looks_like or what in PHOTOS or SCENE.fullmatch(what))


def check_text(text: str) -> None:
    """Refuse an empty text before a model is loaded."""
    if not text.strip():
        raise cli.MisuseError(
            'the text is empty; give a sentence: xai-lab attention "The cat sat on the mat"'
        )


def of_text(net: LoadedText, options: argparse.Namespace) -> Attended:
    """Attention of a text: BertViz's head view, a picture of all heads, and a table of them."""
    from xai_lab.patterns import WIDE, head_patterns, name_heads

    inputs = tokens_of(net, options.what)
    tokens = net.tokenizer.convert_ids_to_tokens(inputs["input_ids"][0].tolist())
    A = attention_maps(net.model, inputs)
    layers, heads = numbers(A, options, net.name)
    scores = {name: values.cpu() for name, values in head_patterns(A, tokens).items()}
    H, D = spread(A, None)
    named = name_heads(scores)
    rows = []
    for layer in range(len(A)):
        for head in range(A.shape[2]):
            of_head = {n: float(values[layer, head].nan_to_num(0)) for n, values in scores.items()}
            nearest = max((n for n in of_head if n not in WIDE), key=of_head.__getitem__)
            name = named[layer][head]
            pattern = f"none, nearest {nearest}" if name == "none" else name
            score = of_head[nearest if name == "none" else name]
            numbers_of = (f"{score:.2f}", f"{H[layer, head]:.2f}", f"{D[layer, head]:.2f}")
            rows.append((layer, head, (pattern, *numbers_of)))
    shown = shortened(" ".join(options.what.split()), 60)
    summary = (
        f"{net.name} reads {len(tokens)} tokens, with {heads_of(A)}. Each head lets every token "
        "look at the others; this page shows who looks at whom."
    )
    figures: list[tuple[str, Any, str, str]] = [
        ("Head by head", *head_by_head(A, tokens, layers or 0, heads))
    ]
    if layers is not None and heads is not None:
        figures.append(
            (
                f"Layer {layers}, head {heads}",
                plot.head(A[layers, 0, heads], tokens),
                f"Matrix of {len(tokens)} by {len(tokens)} tokens. {strongest(A, tokens, layers)}",
                "A row looks, a column is looked at. Each row sums to one.",
            )
        )
    figures.append(
        (
            "All heads at once",
            plot.all_heads(A, marked=[] if heads is None else [(layers, heads)]),
            f"{heads_of(A)}, a small matrix each, all on one scale.",
            "A bright diagonal one below the main one is a head that looks at the token before; a "
            "bright column is a token that many look at.",
        )
    )
    unknown = tokens.count(net.tokenizer.unk_token)
    note = (
        f"{unknown} of the {len(tokens)} tokens are unknown to {net.name}, which reads the same "
        f"sign, {net.tokenizer.unk_token}, for all of them; choose other words, or another --model."
        if net.tokenizer.unk_token != net.tokenizer.eos_token and unknown
        else ""
    )
    if note:
        cli.complain(note)
    leading = leaders({name: values for name, values in scores.items() if name not in WIDE})
    width = max(len(name) for _, _, name, _ in leading)
    said = [
        f"“{shown}”: {len(tokens)} tokens; {net.name} has {heads_of(A)}",
        "  the purest head of each pattern:",
        *(
            f"  {name:{width}s}  {score:.2f}  layer {layer} head {head}"
            for layer, head, name, score in leading
        ),
    ]
    layer, head, *_ = leading[0]
    if options.layer is None:
        following = f"{again(options)} --layer {layer} --head {head}\n      draws that head large."
        following += " What a head looks at need not be what decides."
    else:
        following = (
            "Next: open the page. Then change the word that is looked at most, and run it again."
        )
    return Attended(
        title=f"“{shown}”: who looks at whom",
        summary=summary,
        note=note,
        figures=figures,
        columns=("strongest pattern", "score", "entropy", "distance"),
        rows=rows,
        readings=READ_TEXT,
        said=said,
        following=following,
    )


def head_by_head(
    A: Tensor, tokens: Sequence[str], layer: int, head: int | None
) -> tuple[Any, str, str]:
    """BertViz's head view; where BertViz is not installed, the matrices of one layer."""
    on = None if head is None else [head]
    digits = 3 if A.numel() <= 500_000 else 2  # a page of bert-base would else outgrow 3 MB
    try:
        return plot.head_view(A, tokens, layer=layer, heads=on, digits=digits), "", ""
    except ModuleNotFoundError as error:
        cli.complain(f"{error}; until then the page has a still picture in its place")
        alt = f"Matrices of the {A.shape[2]} heads of layer {layer}. {strongest(A, tokens, layer)}"
        return plot.heads(A[layer], tokens), alt, f"Layer {layer}. A row looks, a column is seen."


def tokens_of(net: LoadedText, text: str) -> Any:
    """Tokens of a text, refused where a page cannot hold them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a text that would be cut is refused just below
        inputs = net.preprocess(text)
    whole = len(net.tokenizer(text)["input_ids"])
    if whole > MOST_TOKENS:
        raise cli.MisuseError(
            f"the text has {whole} tokens, a page shows {MOST_TOKENS} at most; give it in parts"
        )
    return inputs


def of_picture(net: Loaded | LoadedText, options: argparse.Namespace) -> Attended:
    """Attention of a vision transformer: where its class token looks, head by head."""
    if isinstance(net, LoadedText):  # a name that is not in the list, such as a stand-in
        raise cli.MisuseError(f"--model {net.name} reads text, and {options.what} is a picture")
    scene = SCENE.fullmatch(options.what)
    image, name = opened(options.what)
    inputs = net.preprocess(image)
    guess = net.predict(inputs, top=1)[0][0]
    A = attention_maps(net.model, inputs)
    layers, heads = numbers(A, options, net.name)
    size = inputs.shape[-2:]
    prefix, *grid = token_grid(A.shape[-1], size)
    cells = torch.stack([cls_map(A, size, layer=n, upsample=False)[0] for n in range(len(A))])
    picture = net.pixels(inputs)
    H, D = spread(A, grid)
    rows = []
    for layer, of_layer in enumerate(cells):
        for head, one in enumerate(of_layer):
            row, column = divmod(int(one.argmax()), grid[1])
            kept = A[layer, 0, head, 0, :prefix].sum().item()
            where = f"row {row}, column {column}"
            weight = f"{one.max().item():.2f}"
            spreads = (f"{H[layer, head]:.2f}", f"{D[layer, head]:.2f}")
            rows.append((layer, head, (f"{kept:.2f}", where, weight, *spreads)))
    figures: list[tuple[str, Any, str, str]] = [
        (
            "What it sees, and what it says",
            plot.predictions(net, inputs, top=min(5, len(net.labels))),
            f"{name}, as the network gets it, beside its best guesses; first {guess.label}.",
            f"All that the network sees: {size[1]} × {size[0]} pixels, in {grid[0]} × {grid[1]} "
            f"patches. {PHOTOS[name][1] if name in PHOTOS else ''}",
        )
    ]
    if layers is not None:
        chosen = {
            f"layer {layers}, head {number}": cells[layers, number]
            for number in (range(A.shape[2]) if heads is None else [heads])
        }
        figures.append(
            (
                f"Layer {layers}" + ("" if heads is None else f", head {heads}"),
                plot.maps(chosen, picture, overlay=True, shared=True),
                f"Where the class token looks in layer {layers}: {', '.join(chosen)}.",
                "One scale for all: the share of a head's attention that falls on a patch.",
            )
        )
    last = cls_map(A, size, upsample=False)[0].mean(0)
    rolled = cls_map(rollout(A), size, upsample=False)[0]
    figures += [
        (
            "All heads over the photo",
            plot.cls_maps(cells, picture),
            f"{heads_of(A)}, each with the patches that its class token looks at.",
            "A row a layer, a column a head, all on one scale. Heads differ: their mean would hide "
            "that.",
        ),
        (
            "The last layer, and all layers together",
            plot.maps({"last layer, mean of the heads": last, "rollout": rolled}, picture),
            "The photo, the mean over the heads of the last layer, and the rollout of all layers.",
            "Each map has its own scale. Neither of them knows a class: they are the same whatever "
            "is asked.",
        ),
        (
            "Layer by layer",
            plot.by_layer({"entropy (nats)": H, "distance (patches)": D}),
            f"Entropy and distance of each head in {len(A)} layers, with the mean of the heads.",
            "A dot is a head. Heads that look close by are low on the right.",
        ),
    ]
    note = (
        f"{net.name} was trained on drawn scenes of 64 × 64 pixels. On a photo its attention shows "
        "what it does with something it has never seen. --model vit-base, which is fetched the "
        "first time, knows photos."
        if net.name == PICTURE_MODEL and not scene
        else ""
    )
    low = min(rows, key=lambda row: float(row[2][3]))
    said = [
        f"{name}: {guess.label} ({percent(guess.probability)}); {net.name} has {heads_of(A)} over "
        f"{grid[0]} × {grid[1]} patches",
        f"  the head that looks most narrowly: layer {low[0]} head {low[1]}, with {low[2][2]} of "
        f"the class token's attention on one patch ({low[2][1]})",
    ]
    if note:
        cli.complain(note)
    following = (
        f"{again(options)} --layer {low[0]} --head {low[1]}\n      draws that head large."
        if options.layer is None
        else "Next: open the page."
    )
    following += " Then cover what it looks at, and see whether the answer moves."
    return Attended(
        title=f"{name}: where {net.name} looks",
        summary=f"{net.name} says {guess.label}, with a probability of "
        f"{percent(guess.probability)}. It has {heads_of(A)}; this page shows at which patches its "
        "class token looks.",
        note=note,
        figures=figures,
        columns=("kept", "strongest patch", "its share", "entropy", "distance"),
        rows=rows,
        readings=READ_PICTURE,
        said=said,
        following=following,
    )


def opened(what: str) -> tuple[Any, str]:
    """Picture and its name, for ``scene``, ``scene:7``, a photo of the course or a file."""
    scene = SCENE.fullmatch(what)
    if scene is None:
        return what, what if what in PHOTOS else Path(what).name
    from xai_lab.data.scenes import SHAPES, scenes

    seed = int(scene[1] or 0)
    if seed >= 2**63:
        raise cli.MisuseError(f"{what}: the seed is a number below 2⁶³")
    one = scenes(1, seed=seed)
    pixels = (one.images[0].permute(1, 2, 0) * 255).round().byte().numpy()
    return Image.fromarray(pixels), f"scene {seed} ({SHAPES[int(one.labels[0])]})"


def again(options: argparse.Namespace) -> str:
    """Begin a next step with the same command; a long text is not repeated."""
    if len(options.what) > 80:
        return "Next: the same with"
    model = f" --model {options.model}" if options.model else ""
    return f"Next: xai-lab attention {shlex.quote(options.what)}{model}"


def numbers(A: Tensor, options: argparse.Namespace, name: str) -> tuple[int | None, int | None]:
    """Layer and head that were asked for, checked."""
    for what, given, count in (
        ("layer", options.layer, len(A)),
        ("head", options.head, A.shape[2]),
    ):
        if given is not None and given >= count:
            raise cli.MisuseError(f"--{what} {given}: {name} has {what}s 0 to {count - 1}")
    return options.layer, options.head


def spread(A: Tensor, grid: Sequence[int] | None) -> tuple[Tensor, Tensor]:
    """Entropy and distance of each head, ``(layers, heads)``, the mean over the tokens."""
    H = entropy(A)[:, 0].nanmean(-1).cpu()
    D = distance(A, grid=grid)[:, 0].nanmean(-1).cpu()
    return H, D


def leaders(scores: dict[str, Tensor], most: int = 6) -> list[tuple[int, int, str, float]]:
    """Layer, head, pattern and score of the purest head of each pattern, the highest first."""
    found = []
    for name, values in scores.items():
        flat = values.nan_to_num(0).flatten()
        layer, head = divmod(int(flat.argmax()), values.shape[1])
        found.append((layer, head, name, float(flat.max())))
    found.sort(key=lambda one: -one[3])
    return [found[0], *(one for one in found[1:most] if one[3] >= 0.3)]


def strongest(A: Tensor, tokens: Sequence[str], layer: int) -> str:
    """Say the largest weight of a layer, for those who do not see it."""
    of_layer = A[layer, 0].max(dim=0).values
    row, column = divmod(int(of_layer.argmax()), len(tokens))
    return (
        f"The largest weight of the layer, {of_layer.max().item():.2f}, goes from {tokens[row]} "
        f"({row}) to {tokens[column]} ({column})."
    )


def heads_of(A: Tensor) -> str:
    """Layers and heads in words."""
    return f"{len(A)} layers × {A.shape[2]} heads"


def file_stem(what: str) -> str:
    """Name for the page of a text or a photo: its first words, with nothing that a path minds."""
    name = Path(what).name if Path(what).suffix.lower() in IMAGES else what
    words = re.findall(r"\w+", Path(name).stem if name != what else name)
    return "-".join(words[:4]).lower()[:40] or "text"


def page(found: Attended, net: Any, command: str) -> bytes:
    """HTML with everything inside the one file; only scripts of ours may run in it."""
    here = Path(__file__).parent
    style = (here / "report.html").read_text(encoding="utf-8")
    style = style.partition("<style>")[2].partition("</style>")[0]
    allowed = [
        f"'sha256-{base64.b64encode(hashlib.sha256(shown.script.encode()).digest()).decode()}'"
        for _, shown, _, _ in found.figures
        if isinstance(shown, plot.View)
    ]
    sections = []
    for number, (heading, shown, alt, caption) in enumerate(found.figures):
        body = shown.html if isinstance(shown, plot.View) else still(shown, alt, caption)
        sections.append(f'<h2 id="figure-{number}">{html.escape(heading)}</h2>\n{body}')
    sections.append(table(found))
    text = Template((here / "attention.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(found.title),
        summary=html.escape(found.summary),
        note=f'<p class="note">{html.escape(found.note)}</p>' if found.note else "",
        sections="\n".join(sections),
        readings="\n".join(
            f"<section>\n<h3>{html.escape(heading)}</h3>\n<p>{html.escape(words)}</p>\n</section>"
            for heading, words in found.readings.items()
        ),
        allowed=" ".join(allowed) or "'none'",
        style=style,
        command=html.escape(command),
        made=html.escape(made(net)),
    )
    return text.encode()


def still(figure: Figure, alt: str, caption: str) -> str:
    """Figure as an image inside the page."""
    content = plot.png(figure)
    with Image.open(io.BytesIO(content)) as image:
        width, height = image.size
    # Twice the pixels of the page: sharp on dense screens.
    scale = min(1.0, 1040 / width)
    return f"""<figure class="sheet">
<img src="data:image/png;base64,{base64.b64encode(content).decode()}"
 width="{round(width * scale * 0.9)}" height="{round(height * scale * 0.9)}"
 alt="{html.escape(alt)}">
<figcaption>{html.escape(caption)}</figcaption>
</figure>"""


def table(found: Attended) -> str:
    """All heads, a row each."""
    kinds = [" class=number" if cell[0].isdigit() else "" for cell in found.rows[0][2]]
    headings = "".join(
        f'<th scope="col"{kind}>{html.escape(name)}</th>'
        for name, kind in zip(found.columns, kinds, strict=True)
    )
    rows = "\n".join(
        f'<tr><td class="number">{layer}</td><td class="number">{head}</td>'
        + "".join(
            f"<td{kind}>{html.escape(cell)}</td>" for kind, cell in zip(kinds, cells, strict=True)
        )
        + "</tr>"
        for layer, head, cells in found.rows
    )
    return f"""<h2 id="heads">Every head in numbers</h2>
<div class="wide" tabindex="0" role="region" aria-labelledby="heads">
<table>
<thead><tr><th scope="col" class="number">layer</th><th scope="col" class="number">head</th>
{headings}</tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>"""


def made(net: Any) -> str:
    """Tell versions, for somebody who wants to make the same again."""
    versions = [f"Python {platform.python_version()}"]
    for package in ("torch", "transformers", "timm", "bertviz"):
        with suppress(PackageNotFoundError):
            versions.append(f"{package} {version(package)}")
    return (
        f"Network {net.name} on {net.device.type}. Weights are rounded: to three digits where "
        "they can be pointed at (two on a large page), to two in the table. "
        f"xai-lab {xai_lab.__version__}, {', '.join(versions)}."
    )
