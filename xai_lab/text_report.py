"""The work of `xai-lab explain --text`: which words move a prediction, as a page and in a terminal.

Read `explain_text`, then `explained`, which asks the methods, then `page` and `told`, which lay out
what they found. How a word gets its number stands in `words.py`, its colour in `plot/words.py`.
"""

from __future__ import annotations

import argparse
import html
import os
import shlex
import shutil
import sys
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from string import Template
from typing import Any

import matplotlib
import numpy as np
from torch import Tensor

import xai_lab
from xai_lab import cli, plot, words
from xai_lab.core import check_attribution
from xai_lab.data.sentences import words_of_tokens
from xai_lab.integrated import PathIntegral, path_integral
from xai_lab.methods import METHODS, Account, Method
from xai_lab.models import TEXTS, Guess, LoadedText
from xai_lab.report import percent, prediction_table, shortened, versions

DEFAULT = ["integrated-gradients"]
#: More is no text that a network of this course reads; it is left unread.
MOST_CHARACTERS = 100_000
#: Rows of the table of the strongest words.
STRONGEST = 10


@dataclass(frozen=True)
class Coloured:
    """Words of a text, with what one method found for one class.

    Attributes
    ----------
    name : str
        Of the method, as on the command line.
    method : Method
        Its title, its text, its sign.
    words : list of str
        As they are shown.
    values : list of float
        One a word.
    rest : float
        What tokens got that belong to no word, such as [CLS].
    remarks : tuple of str
        What is doubtful.
    account : Account, optional
        Whether the parts add up.
    """

    name: str
    method: Method
    words: list[str]
    values: list[float]
    rest: float
    remarks: tuple[str, ...]
    account: Account | None

    @cached_property
    def sentence(self) -> plot.Sentences:
        """The words in their colours."""
        shown = {self.method.title: (self.words, self.values)}
        return plot.sentences(shown, signed=self.method.signed)

    @property
    def strongest(self) -> list[int]:
        """Places of the words, the strongest first."""
        return sorted(range(len(self.words)), key=lambda k: -round(abs(self.values[k]), 6))

    @property
    def aside(self) -> str:
        """What belongs to no word, in a sentence; empty if that is nothing."""
        if not self.method.signed or abs(self.rest) < 0.005:
            return ""
        return f"Tokens that are no words, such as the one that ends a text, got {self.rest:+.2f}."


@dataclass(frozen=True)
class Read:
    """A text with what the network said and what the methods made of it.

    Attributes
    ----------
    text : str
        What was read.
    guesses, targets : list of Guess
        Best first; the classes that were asked about.
    found : dict
        From class number and method to its words.
    notes : tuple of str
        What is doubtful about the text itself.
    """

    text: str
    guesses: list[Guess]
    targets: list[Guess]
    found: dict[tuple[int, str], Coloured]
    notes: tuple[str, ...]

    @property
    def listed(self) -> list[Guess]:
        """Best guesses, and below them what was asked about besides."""
        return [*self.guesses, *(t for t in self.targets if t not in self.guesses)]

    def of(self, target: Guess) -> list[Coloured]:
        """Return the words for one class."""
        return [one for (index, _), one in self.found.items() if index == target.index]

    @property
    def title(self) -> str:
        """Its beginning."""
        return f"“{shortened(visible(' '.join(self.text.split())), 60)}”"


def explain_text(options: argparse.Namespace, command: str) -> int:
    """Colour the words of a text on a page and in the terminal, and say what comes next.

    Parameters
    ----------
    options : Namespace
        As `cli.add_explain` reads them.
    command : str
        As it was typed, for the page.

    Returns
    -------
    int
        Exit code.
    """
    chosen = check_asked(options)
    text, file = text_of(options.text)
    out = cli.where_to(
        options.out, [str(file)] if file else [], (".html", ".htm"), "a file that ends in .html"
    )
    net = network(options)
    one = explained(net, text, chosen, options)
    for remark in one.notes:
        cli.complain(remark)
    for target in one.targets:
        for found in one.of(target):
            for remark in found.remarks:
                cli.complain(f"{found.method.title}, {target.label}: {remark}")
    print(told(one), flush=True)
    if out is None or out.is_dir():
        from xai_lab.attention_report import file_stem

        out = cli.free_name(file_stem(file.stem if file else text), out or Path(), ".html")
    cli.save(out, page(one, net, options, command))
    print(what_next(one, options))
    return 0


def check_asked(options: argparse.Namespace) -> dict[str, Method]:
    """Return the methods that were asked for; refuse what no text can be asked, before any work."""
    if options.photos:
        raise cli.MisuseError(
            f"a text was given, and {shlex.join(options.photos)} besides; one or the other, and a "
            'text of several words in quotes: --text "The soup was cold."'
        )
    for name, given in (
        ("layer", options.layer), ("channels", options.channels), ("every", options.every > 1)
    ):  # fmt: skip
        if given:
            raise cli.MisuseError(f"--{name} is for photos, and a text was given")
    able = [name for name, method in METHODS.items() if method.words]
    names = options.method or DEFAULT
    if names == list(METHODS):  # all
        names = able
    for name in names:
        if name not in able:
            raise cli.MisuseError(
                f"{METHODS[name].title} is for photos; the methods for text are {', '.join(able)}"
            )
    chosen = {name: METHODS[name] for name in names}
    cli.check_path(options, chosen, cli.TEXT_BASELINES)
    options.model = options.model or cli.DEFAULT_TEXT_MODEL
    if options.model not in TEXTS:
        raise cli.MisuseError(
            f"--model {options.model} does not read text; leave it away, or name one of "
            f"{', '.join(TEXTS)}"
        )
    return chosen


def text_of(given: str) -> tuple[str, Path | None]:
    """Text that was given, and the file that it comes from."""
    path = Path(given)
    is_file = False
    with suppress(OSError, ValueError):  # a sentence may be longer than a file's name can be
        is_file = path.is_file()
    if given == "-":
        cli.status("reading the text; Ctrl-D ends it")
        stream = getattr(sys.stdin, "buffer", None)
        raw = sys.stdin.read(MOST_CHARACTERS + 1) if stream is None else stream.read(
            4 * MOST_CHARACTERS + 1
        )  # fmt: skip
        text = decoded(raw, "what was piped in")
    elif is_file:
        with path.open("rb") as file:
            text = decoded(file.read(4 * MOST_CHARACTERS + 1), given)
    elif len(given.split()) == 1 and path.suffix.lower() in (".txt", ".md", ".text"):
        raise cli.ProblemError(f"there is no file {given}")
    else:
        text = given
    if not text.strip():
        raise cli.MisuseError(
            'the text is empty; give a sentence: xai-lab explain --text "The soup was not bland."'
        )
    if len(text) > MOST_CHARACTERS:
        cli.complain(
            f"only the first {MOST_CHARACTERS:,} characters of the text are read; explain it in "
            "parts"
        )
    # What is no character, such as half of a pair, no tokenizer takes.
    text = text[:MOST_CHARACTERS].encode("utf-8", "replace").decode()
    return text, path if is_file and given != "-" else None


def decoded(raw: str | bytes, name: str) -> str:
    """Bytes as text; a character that was cut off at the end is left out."""
    if isinstance(raw, str):
        return raw
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(raw) - error.start > 3 or len(raw) <= 4 * MOST_CHARACTERS:
            raise cli.ProblemError(
                f"{name} is no text in UTF-8; save it as plain text, or give the words themselves"
            ) from None
        text = raw[: error.start].decode("utf-8-sig")
    if "\0" in text:
        raise cli.ProblemError(f"{name} is no plain text: there are zero bytes in it")
    return text


def network(options: argparse.Namespace) -> LoadedText:
    """Model that ``--model`` names, refused where it has no scores to explain."""
    cli.status(f"loading {options.model} …")
    net: Any = xai_lab.load(options.model, device=cli.chosen_device(options.device))
    if not net.labels:
        raise cli.MisuseError(
            f"--model {options.model} is an encoder: it has no class scores to explain; take "
            f"{cli.DEFAULT_TEXT_MODEL}, or tiny-lm for what comes next in a text"
        )
    for name in cli.baseline_of(options, cli.TEXT_BASELINES[0]):
        if name in ("pad", "mask", "unk") and getattr(net.tokenizer, f"{name}_token_id") is None:
            raise cli.MisuseError(
                f"--baseline {name}: the vocabulary of {options.model} has no such token; take "
                "zeros or mean"
            )
    return net


def explained(
    net: LoadedText, text: str, chosen: Mapping[str, Method], options: argparse.Namespace
) -> Read:
    """Prediction for a text, and what its words did in it."""
    with remarks() as notes:
        guesses = net.predict(text, top=len(net.labels))[0]
    targets = cli.asked_about(options.target, guesses)
    notes += unknown(net, text)
    settings = cli.settings_of(options)
    found = {}
    for target in targets:
        for name, method in chosen.items():
            with remarks() as said:
                one = coloured(net, text, target, name, method, settings, options)
            own = tuple(dict.fromkeys(remark for remark in said if "the model" not in remark))
            found[target.index, name] = replace(one, remarks=(*one.remarks, *own))
    return Read(
        text=text,
        guesses=[named(guess) for guess in guesses[: options.top]],
        targets=[named(target) for target in targets],
        found=found,
        notes=tuple(dict.fromkeys(notes)),
    )


def coloured(
    net: LoadedText,
    text: str,
    target: Guess,
    name: str,
    method: Method,
    settings: Mapping[str, Any],
    options: argparse.Namespace,
) -> Coloured:
    """What one method says about the words, for one class."""
    seen: list[PathIntegral] = []
    baseline = cli.baseline_of(options, cli.TEXT_BASELINES[0])

    def along_paths(model: Any, x: Tensor, c: Tensor, **dials: Any) -> Tensor:
        """Integrated Gradients that keep what they saw."""
        embeddings = words.word_embeddings(net.model)
        ids = net.preprocess(text)["input_ids"]
        starts = words.text_baselines(list(baseline), x, ids, embeddings, net.tokenizer)
        path = {key: settings[key] for key in ("steps", "tol", "most", "progress")}
        found = path_integral(model, x, c, baseline=starts, **path, **dials)
        seen.append(found)
        return found.attribution if found.same else check_attribution(found.attribution)

    dials = {key: settings[key] for key in ("samples", "noise", "seed", "progress")}
    function = along_paths if method.account else getattr(xai_lab, name.replace("-", "_"))
    (one,) = xai_lab.text_attributions(
        net.model,
        text,
        target.index,
        tokenizer=net.tokenizer,
        method=function,
        **(dials if method.draws else {}),
    )
    account = None
    if seen:
        others = {"zeros": "zeros", "mean": "the mean embedding"}
        tokens = [others.get(b) or getattr(net.tokenizer, f"{b}_token") for b in baseline]
        account = Account.of(seen[0], one.score, tuple(tokens), settings["tol"])
    return Coloured(
        name=name,
        method=method,
        words=[visible(word) for word in one.words],
        values=[round(value, 6) for value in one.word_values.tolist()],
        rest=(one.values.sum() - one.word_values.sum()).item(),
        remarks=(account.doubt,) if account and account.doubt else (),
        account=account,
    )


@contextmanager
def remarks() -> Iterator[list[str]]:
    """List that what the package warns of is put into; warnings of other libraries are dropped."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield said
    for warning in caught:
        message = str(warning.message)
        if warning.category is not UserWarning:
            continue
        if message.startswith("text 0 has") and "unknown" not in message:
            said.append(visible(message.replace("text 0", "the text")))
        elif "map of sample" in message:
            said.append(message.replace(" of sample 0", ""))


def unknown(net: LoadedText, text: str) -> list[str]:
    """Sentence about the words that a tokenizer does not know, if there are any."""
    token, number = net.tokenizer.unk_token, net.tokenizer.unk_token_id
    if number is None or token == net.tokenizer.eos_token:
        return []
    ids = net.tokenizer(text, verbose=False)["input_ids"]
    places = words_of_tokens(net.tokenizer, text)
    every = text.split()
    lost = dict.fromkeys(
        visible(every[place])
        for one, place in zip(ids, places, strict=True)
        if one == number and place is not None
    )
    if not lost:
        return []
    listed = ", ".join(list(lost)[:8]) + (", …" if len(lost) > 8 else "")
    return [f"{net.name} does not know {listed}, and reads {token} instead; choose other words"]


def visible(text: str) -> str:
    """Text in which nothing controls the terminal or turns the order of what follows."""
    return "".join(
        "�"
        if unicodedata.category(c) in ("Cc", "Cs") or c in "\u202a\u202b\u202c\u202d\u202e"
        or "\u2066" <= c <= "\u2069"
        else c
        for c in text
    )  # fmt: skip


def named(guess: Guess) -> Guess:
    """Guess whose label can be read: a token may be a space or a line break."""
    label = guess.label if guess.label.strip() and guess.label.isprintable() else repr(guess.label)
    return replace(guess, label=label.strip())


# In the terminal


def told(one: Read) -> str:
    """Prediction with bars, the words in their colours, and whether the parts add up."""
    lines = [f"{one.title}: {one.guesses[0].label}", *cli.bars(one.listed)]
    for target in one.targets:
        for found in one.of(target):
            lines += [f"{found.method.title}, {target.label}:", *lines_of(found)]
            if found.account is not None:
                lines += cli.indented(found.account.sentence)
            lines += cli.indented(found.aside)
    return "\n".join(lines)


def lines_of(found: Coloured) -> list[str]:
    """Words with colours where somebody sees them, else with numbers."""
    if in_colour():
        shown = [
            f"\x1b[48;5;{cube(paper)};38;5;{cube(ink)}m{word}\x1b[0m" if paper else word
            for word, (paper, ink) in zip(
                found.words, found.sentence.colours(found.method.title), strict=True
            )
        ]
        lengths = [len(word) for word in found.words]
        told = found.sentence.spoken(found.method.title)
        return [*wrapped(shown, lengths), *cli.indented(told)]
    form = "{}[{:+.2f}]" if found.method.signed else "{}[{:.2f}]"
    shown = [form.format(*pair) for pair in zip(found.words, found.values, strict=True)]
    return wrapped(shown, [len(word) for word in shown])


def in_colour() -> bool:
    """Whether stdout is a terminal that shows colours, and nobody minds (https://no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    if os.name == "nt" and "WT_SESSION" not in os.environ:  # older consoles print the codes
        return False
    return sys.stdout.isatty()


def cube(colour: str) -> int:
    """Number of the nearest of the 256 colours of terminals: ``"#ffffff"`` is 231."""
    wanted = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    levels = (0, 95, 135, 175, 215, 255)
    palette = [(r, g, b) for r in levels for g in levels for b in levels]
    palette += [(grey, grey, grey) for grey in range(8, 239, 10)]
    return 16 + int(np.square(np.subtract(palette, wanted)).sum(axis=1).argmin())


def wrapped(shown: Sequence[str], lengths: Sequence[int]) -> list[str]:
    """Words as lines; colours take no room."""
    width = min(shutil.get_terminal_size((80, 24)).columns, 100) - 2
    lines, room = [""], width
    for word, length in zip(shown, lengths, strict=True):
        if lines[-1] and length + 1 > room:
            lines.append("")
            room = width
        lines[-1] += f" {word}" if lines[-1] else f"  {word}"
        room -= length + 1
    return lines


def what_next(one: Read, options: argparse.Namespace) -> str:
    """Best next step: the text without the word that its answer rests on, if it does."""
    found = one.of(one.targets[0])[0]
    values = found.values if found.method.signed else [abs(value) for value in found.values]
    place = max(range(len(values)), key=values.__getitem__, default=-1)
    if found.account is not None and found.account.same:
        return "Next: the same with another --baseline, such as zeros."
    if place < 0 or values[place] <= 0:
        return "Next: open the page. Then the same with --target for another class."
    word = shortened(found.words[place], 30)
    rest = [given for k, given in enumerate(one.text.split()) if k != place]
    target = one.targets[0]
    if not rest or len(one.text) > 300 or options.text == "-":
        return f"Next: open the page. Then leave out “{word}”, its strongest word, and ask again."
    model = "" if options.model == cli.DEFAULT_TEXT_MODEL else f" --model {options.model}"
    label = str(target.index) if target.label[:1] in "'\"" else target.label.replace(" ", "-")
    return (
        f"Next: xai-lab explain --text {shlex.quote(visible(' '.join(rest)))}{model} "
        f"--target {shlex.quote(label)}\n"
        f"      is the text without “{word}”, the strongest word for {target.label}. If the score "
        "stays, the answer did not rest on it."
    )


# On the page


def page(one: Read, net: LoadedText, options: argparse.Namespace, command: str) -> bytes:
    """HTML with everything inside the one file; no script is in it, and none may run."""
    here = Path(__file__).parent
    style = (here / "report.html").read_text(encoding="utf-8")
    style = style.partition("<style>")[2].partition("</style>")[0]
    best = one.guesses[0]
    label = f"<strong>{html.escape(best.label)}</strong>"
    says = f"expects {label} next" if words.is_causal(net.model) else f"says {label}"
    methods = {found.name: found.method for found in one.found.values()}
    text = Template((here / "text.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(f"{one.title}, explained"),
        summary=f"{html.escape(net.name)} {says}, with a probability of "
        f"{html.escape(percent(best.probability))}. The colours show which words move its score.",
        notes="\n".join(f'<p class="note">{html.escape(note)}</p>' for note in one.notes),
        style=style,
        sections="\n".join(
            [
                '<h2 id="said">What it says</h2>',
                prediction_table(one.listed, one.targets).replace(
                    "<table>", '<table class="said">'
                ),
                *(section(one, target, number) for number, target in enumerate(one.targets)),
            ]
        ),
        readings="\n".join(reading(name, method) for name, method in methods.items()),
        command=html.escape(visible(command)),
        made=html.escape(made(one, net, options)),
    )
    return text.encode()


def section(one: Read, target: Guess, number: int) -> str:
    """Words of a text in their colours, for one class."""
    parts = [f'<h2 id="class-{number}">What moves the score for {html.escape(target.label)}</h2>']
    for found in one.of(target):
        parts.append(f'<div class="read">{found.sentence._repr_html_()}</div>')
        parts.append(scale(found))
        told = [found.account.sentence] if found.account else []
        told += [found.aside] if found.aside else []
        parts += [f'<p class="account">{html.escape(line)}</p>' for line in told]
        parts += [f'<p class="note">{html.escape(said)}</p>' for said in found.remarks]
        parts.append(table(found))
    return "\n".join(parts)


def scale(found: Coloured) -> str:
    """What the colours stand for."""
    top = found.sentence.tops[found.method.title]
    ramp = matplotlib.colormaps[plot.SIGNED if found.method.signed else plot.UNSIGNED]
    stops = ", ".join(matplotlib.colors.to_hex(stop) for stop in ramp(np.linspace(0, 1, 9)))
    low, high = (f"against -{top:.2f}", f"for +{top:.2f}") if found.method.signed else (
        "0", f"{top:.2f}"
    )  # fmt: skip
    return (
        f'<div class="ramp"><span>{low}</span><i style="background: linear-gradient(to right, '
        f'{stops})"></i><span>{high}</span></div>'
    )


def table(found: Coloured) -> str:
    """Strongest words with their numbers."""
    form = "{:+.2f}" if found.method.signed else "{:.2f}"
    top = max(map(abs, found.values)) or 1.0
    rows = "\n".join(
        f'<tr><th scope="row">{html.escape(found.words[k])}</th><td class="number">{k + 1}</td>'
        f'<td class="bar"><i style="width: {100 * abs(found.values[k]) / top:.0f}%"></i></td>'
        f'<td class="number">{form.format(found.values[k])}</td></tr>'
        for k in found.strongest[:STRONGEST]
    )
    return f"""<table class="strongest">
<caption>Its strongest words by {html.escape(found.method.title)}.</caption>
<thead><tr><th scope="col">word</th><th scope="col" class="number">place</th><td></td>
<th scope="col" class="number">{"share of the score" if found.method.signed else "steepness"}</th>
</tr></thead>
<tbody>
{rows}
</tbody>
</table>"""


def reading(name: str, method: Method) -> str:
    """How to read the words of one method."""
    shows, hides = method.words or ("", "")
    return f"""<section id="{name}">
<h3>{html.escape(method.title)}</h3>
<dl>
<dt>How to read it</dt><dd>{html.escape(shows)}</dd>
<dt>What it cannot show</dt><dd>{html.escape(hides)}</dd>
</dl>
</section>"""


def made(one: Read, net: LoadedText, options: argparse.Namespace) -> str:
    """Tell settings and versions, for somebody who wants to make the same again."""
    settings, said = cli.settings_of(options), [f"Network {net.name} on {net.device.type}"]
    if any(found.account for found in one.found.values()):
        names = cli.baseline_of(options, cli.TEXT_BASELINES[0])
        tol, steps = settings["tol"], settings["steps"]
        how = (
            f"{steps} steps" if tol is None else f"tol {tol:g} in at most {settings['most']} steps"
        )
        said.append(f"baseline {', '.join(names)}, {how}")
    if any(found.method.draws for found in one.found.values()):
        said.append(
            f"{settings['samples']} noisy copies, noise {settings['noise']:g}, seed "
            f"{settings['seed']}"
        )
    return (
        f"{'; '.join(said)}. A word's number is the sum over its tokens; each sentence has a scale "
        f"of its own. {versions('torch', 'transformers')}."
    )
