"""The work of `xai-lab debug` and `xai-lab shortcuts`: why this is wrong, and whether it is a rule.

Read `debug`, then `shortcuts`. What is measured stands in `diagnosis.py` and `shortcuts.py`, which
lay out their pages as well. `from_factory` gets a network that somebody brings along.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from traceback import extract_tb
from typing import Any

import torch
from torch import nn

import xai_lab
from xai_lab import cli, pages
from xai_lab.attention_report import SCENE, opened
from xai_lab.diagnosis import class_number
from xai_lab.models import Loaded

ENDINGS = (".html", ".htm", ".json")
MEANT = "a file that ends in .html (a page) or .json (the numbers)"

#: What to do after each verdict.
ON_A_DATA_SET = (
    "Next: is it this picture, or a rule? Put pictures into a folder for each class:\n"
    "      xai-lab shortcuts FOLDER{model}"
)
NEXT = {
    "correct": "Next: right for the wrong reason is right as well. With pictures in a folder for\n"
    "      each class, xai-lab shortcuts FOLDER{model} finds that.",
    "off the object": ON_A_DATA_SET,
    "background": ON_A_DATA_SET,
    "part of the object": ON_A_DATA_SET,
    "region": ON_A_DATA_SET,
    "object": "Next: look at pictures of both classes that it learned from. Would you have told\n"
    "      them apart at this size?",
    "unrecognised": "Next: diagnose a photo of the same thing from nearer. What is hidden here "
    "speaks\n      for the wrong class; why the right one is not seen is another question.",
    "fragile": "Next: diagnose other photos of the same thing. One that hangs on details says\n"
    "      little about the next.",
    "undecided": "Next: diagnose other photos of the same thing; or, in Python, give the object's\n"
    "      outline, which settles more than a guess: xai_lab.diagnose(…, mask=…)",
}


def debug(options: argparse.Namespace, command: str) -> int:
    """Diagnose one photo; write the page, say the verdict and what comes next.

    Parameters
    ----------
    options : Namespace
        As `cli.add_debug` reads them.
    command : str
        As it was typed, for the page.

    Returns
    -------
    int
        Exit code.
    """
    source = options.photo
    drawn = SCENE.fullmatch(source) is not None
    if not drawn and not cli.can_be_read(source):
        return 1
    out = cli.where_to(options.out, [] if drawn else [source], ENDINGS, MEANT)
    net = cli.network(options)
    image, name = opened(source)
    x = net.preprocess(image)
    right = true_class(options.true, net.labels)
    cli.status(f"diagnosing {name} …")
    found = xai_lab.diagnose(net, x, right, seed=options.seed)
    listed = [*found.guesses, *([] if found.true in found.guesses else [found.true])]
    is_right = found.cause == "correct"
    claim = found.true.label if is_right else f"{found.predicted.label}, not {found.true.label}"
    print(
        "\n".join(
            [
                f"{name}: {claim}",
                *cli.bars(listed),
                *cli.indented(found.verdict),
                *cli.indented(doubt_of(found.outlined)),
            ]
        ),
        flush=True,
    )
    if not is_right or options.out is not None:
        write(found, out, source.replace(":", "-"), "diagnosed", name, net, command)
    model = f" --model {shlex.quote(options.model)}" if options.model != cli.DEFAULT_MODEL else ""
    print(NEXT[found.cause].format(model=model))
    return 0


def doubt_of(outlined: str) -> str:
    """What is to be known about the object's outline."""
    return {
        "guessed": "Where the object is was guessed from its colours; its outline is on the page.",
        "unknown": "Where the object is could not be guessed, so nothing is said about background.",
    }.get(outlined, "")


def true_class(text: str, labels: Sequence[str]) -> int:
    """Class that ``--true`` names, by label or number."""
    same = [c for c, label in enumerate(labels) if cli.plain(label) == cli.plain(text)]
    if len(same) == 1:
        return same[0]
    try:
        by_number = not same and text.strip().isdecimal()
        return class_number(int(text) if by_number else text, labels)
    except ValueError as error:
        raise cli.MisuseError(f"--true: {error}") from error


def shortcuts(options: argparse.Namespace, command: str) -> int:
    """Look for short cuts in a folder of class folders; write the page, say what was found.

    Parameters
    ----------
    options : Namespace
        As `cli.add_shortcuts` reads them.
    command : str
        As it was typed, for the page.

    Returns
    -------
    int
        Exit code; 1 also if some pictures could not be read.
    """
    from xai_lab.shortcuts import find_shortcuts

    folder = Path(options.folder)
    if not folder.is_dir():
        raise cli.ProblemError(f"there is no folder {folder}; name one that holds class folders")
    out = cli.where_to(options.out, [], ENDINGS, MEANT)
    where = (out or Path()) if out is None or out.is_dir() else out.parent
    for name, place in (("keep", options.keep), ("out", where)):
        # What is written among the pictures would be taken for one the next time.
        if place and folder.resolve() in Path(place).resolve().parents:
            raise cli.MisuseError(f"--{name} {place} lies inside {folder}; choose another place")
    net = cli.network(options)
    try:
        found = find_shortcuts(
            net,
            folder,
            folder=options.keep,
            jobs=options.jobs,
            seed=options.seed,
            progress=sys.stderr.isatty(),
        )
    except KeyboardInterrupt:
        if options.keep:
            cli.complain(f"what is done lies in {options.keep}; the same command goes on from it")
        raise
    if found.broken:
        some = [f"{name}: {why}" for name, why in list(found.broken.items())[:5]]
        more = len(found.broken) - len(some)
        cli.complain(
            f"{len(found.broken)} of {found.count + len(found.broken)} pictures cannot be read and "
            f"are left out: {' | '.join(some)}{f' | and {more} more' if more else ''}"
        )
    pictures = f"{found.count} picture{'s' * (found.count != 1)}"
    title = f"{folder}: {pictures}, {net.name} is right in {found.accuracy:.0%}"
    print("\n".join([title, *cli.indented(found.summary), *groups_of(found)]), flush=True)
    write(found, out, folder.resolve().name or "pictures", "shortcuts", str(folder), net, command)
    print(
        "Next: open the page, and look at the pictures of each group. Mend what was confirmed\n"
        "      in what the network learns from, train it, and run this again."
        if found.found
        else "Next: open the page. What no group shows may still be there: try more pictures,\n"
        "      and pictures from elsewhere."
    )
    return 1 if found.broken else 0


def groups_of(found: Any) -> list[str]:
    """Groups as lines of a terminal, columns under their names; the page has all numbers."""
    rows = [("class", "pictures", "right", "verdict")] + [
        (one.label, str(len(one.members)), f"{one.accuracy:.0%}", one.verdict)
        for one in found.clusters
    ]
    wide = [max(len(row[k]) for row in rows) for k in range(3)]
    return [
        f"  {row[0]:{wide[0]}s}  {row[1]:>{wide[1]}s}  {row[2]:>{wide[2]}s}  {row[3]}"
        for row in rows
    ]


def write(
    found: Any, out: Path | None, source: str, what: str, name: str, net: Loaded, command: str
) -> None:
    """Page or numbers, under the name that was asked for or one that is free."""
    if out is None or out.is_dir():
        out = cli.free_name(source, out or Path(), ".html", what)
    if out.suffix.lower() == ".json":
        told = {"command": command, "source": name, "model": net.name, **found.to_dict()}
        content = json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False)
    else:
        content = pages.signed(found.html(), f"Of {name}.", command, made(net))
    cli.save(out, content.encode())


def made(net: Loaded) -> str:
    """Tell versions, for somebody who wants to make the same again."""
    return (
        f"Network {net.name} on {net.device.type}. xai-lab {xai_lab.__version__}, "
        f"Python {platform.python_version()}, torch {version('torch')}."
    )


# --------------------------------------------------------------------- a network of the user's own


def from_factory(name: str, device: torch.device) -> Loaded:
    """Network that a function of somebody's own returns, imported as from the current folder.

    Parameters
    ----------
    name : str
        ``package.module:factory``; the function takes nothing and returns what `xai_lab.load`
        returns.
    device : torch.device
        Where to put it.

    Returns
    -------
    Loaded
        In eval mode.
    """
    module, _, factory = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # and stays there, for what is imported later
    try:
        found = import_module(module)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
            raise cli.MisuseError(
                f"--model {name}: there is no module {error.name!r} in this folder or among what "
                "is installed; name it as in `import`, without .py"
            ) from error
        raise cli.MisuseError(f"--model {name}: importing {module} {raised(error)}") from error
    try:
        one = attrgetter(factory)(found)
    except AttributeError as error:
        near = ", ".join(each for each in vars(found) if not each.startswith("_"))
        raise cli.MisuseError(
            f"--model {name}: {module} has no {factory!r}; it has {near[:200] or 'nothing'}"
        ) from error
    try:
        net = one() if callable(one) and not isinstance(one, nn.Module) else one
    except (Exception, SystemExit) as error:
        raise cli.MisuseError(f"--model {name}: {factory} {raised(error)}") from error
    if not isinstance(net, Loaded):
        raise cli.MisuseError(
            f"--model {name}: {factory} gives {a_kind(net)}, expected what `xai_lab.load` returns: "
            "xai_lab.models.Loaded(name, model, labels, transform, mean, std), with the names of "
            "the classes, a function from an RGB image to a (3, H, W) tensor, and the mean and "
            "std that it normalises by (three times 0 and three times 1 if it does not)"
        )
    net.model.eval().to(device)
    return net


def raised(error: BaseException) -> str:
    """What an error in somebody's own code says, and where it happened."""
    last = extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    where = f"{Path(last.filename).name}, line {last.lineno}"
    return f"raised {type(error).__name__}{f': {text}' if text else ''} ({where})"


def a_kind(thing: Any) -> str:
    """What kind of thing it is, with an article."""
    if isinstance(thing, nn.Module):
        return f"a plain network ({type(thing).__name__})"
    return "nothing (None)" if thing is None else f"a {type(thing).__name__}"
