"""The command `xai-lab`: explain a photo, a film or a text, debug a network, check the set-up.

Read `main`, then `explain`, then `animate`. What a method is called and what its map shows stands
in `methods.py`, the picture and the page are laid out in `report.py`, frames are read and written
in `animation.py`, `text_report.py` explains text, `debug_report.py` looks into mistakes and
`doctor.py` after the installation.
Everything heavy is imported where it is used, so that `xai-lab --help` answers at once.
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from tempfile import TemporaryFile
from textwrap import wrap
from typing import IO, TYPE_CHECKING, Any

import xai_lab
from xai_lab.methods import METHODS, Method, Question, named, shared

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from xai_lab.models import Guess, Loaded
    from xai_lab.report import Explained

EXIT_CODES = """\
exit codes:
  0    done
  1    a photo, the model, a file or the installation stands in the way
  2    the command was not understood
  130  stopped with Ctrl-C
"""
DEFAULT_METHODS = ["saliency", "smooth-grad", "smooth-grad-squared"]
DEFAULT_FILM = ["grad-cam"]
DEFAULT_MODEL, DEFAULT_TEXT_MODEL = "efficientnet-lite0", "minilm-sentiment"
#: Baselines of pictures and of text; a test compares them with those that there are.
BASELINES = ("black", "white", "mean", "blur", "noise")
TEXT_BASELINES = ("pad", "mask", "unk", "zeros", "mean")
#: More are refused: a browser that plays a GIF holds all of its frames in memory.
MOST_FRAMES = 1000
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm")


class ProblemError(Exception):
    """What stands in the way, in one sentence for the reader: exit code 1."""


class MisuseError(Exception):
    """A command that asks for something that cannot be: exit code 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        What stands after ``xai-lab``; the process's own arguments by default.

    Returns
    -------
    int
        Exit code: 0 done, 1 a problem, 2 a usage error, 130 stopped.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without × is no reason to fail
            stream.reconfigure(errors="replace")
    try:
        code = run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has gone (`| head`): nobody is left to tell
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        complain("stopped")
        return 130
    return code


def run(arguments: list[str]) -> int:
    """Exit code of a command, after every error has become a sentence."""
    parser = build_parser()
    try:
        options = parser.parse_args(arguments)
    except SystemExit as end:  # argparse has printed help, a version or what was wrong
        return int(end.code or 0)
    if options.command is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        if options.command == "doctor":
            from xai_lab.doctor import doctor

            return doctor()
        if options.command == "attention":
            from xai_lab.attention_report import attend

            return attend(options, shlex.join(["xai-lab", *arguments]))
        if options.command in ("debug", "shortcuts"):
            from xai_lab import debug_report

            work = getattr(debug_report, options.command)
            return work(options, shlex.join(["xai-lab", *arguments]))
        return explain(options, shlex.join(["xai-lab", *arguments]))
    except MisuseError as error:
        complain(f"{error}; `xai-lab {options.command} --help` shows examples")
        return 2
    except ProblemError as error:
        complain(str(error))
        return 1
    except BrokenPipeError:
        raise
    except Exception as error:
        if os.environ.get("XAI_LAB_TRACEBACK"):
            raise
        complain(sentence(error))
        return 1


def sentence(error: Exception) -> str:
    """Any error in one line, with what to do where the error does not say it."""
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, ValueError | TypeError | ConnectionError | FileNotFoundError):
        return text
    if isinstance(error, MemoryError) or "out of memory" in text.lower():
        return f"the memory is full ({text[:120]}); close other programs, or add --device cpu"
    return (
        f"{type(error).__name__}: {text}. `xai-lab doctor` checks the installation; "
        "XAI_LAB_TRACEBACK=1 shows where this happened"
    )


def complain(text: str) -> None:
    """One line on stderr."""
    with suppress(OSError):
        print(f"xai-lab: {text}", file=sys.stderr, flush=True)


def build_parser() -> argparse.ArgumentParser:
    """Parser of the whole command."""
    parser = argparse.ArgumentParser(
        prog="xai-lab",
        description="Explain what a neural network sees in a photo, or reads in a text.",
        epilog="""\
examples:
  xai-lab explain astronaut                 a photo of the course, to try it out
  xai-lab explain holiday.jpg --out holiday.html
  xai-lab attention "The cat sat on the mat"
  xai-lab debug photo.jpg --true wolf       why is it taken for something else?
  xai-lab shortcuts photos/                 does it go by the background?
  xai-lab doctor                            is everything installed, and does it fit?

`xai-lab explain --help` and `xai-lab doctor --help` say more.

"""
        + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"xai-lab {xai_lab.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    add_explain(commands)
    add_attention(commands)
    add_debug(commands)
    add_shortcuts(commands)
    commands.add_parser(
        "doctor",
        help="check the installation, and say what to type where something is wrong",
        description="Check Python, torch and torchvision, the device, the networks and photos that "
        "come with the course, the disk and Jupyter. Nothing is changed.",
        epilog="""\
examples:
  xai-lab doctor
  XAI_LAB_DEVICE=cuda xai-lab doctor        would the GPU be used?

`ok` is fine, `note` is worth knowing, `BROKEN` has to be mended and makes the exit code 1.

"""
        + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return parser


def add_explain(commands: argparse._SubParsersAction) -> None:
    """Add the parser of `xai-lab explain`."""
    listing = "\n".join(
        f"  {name:21s} {method.warning or method.title}"
        + (f", or {method.short} for short" if method.short else "")
        for name, method in METHODS.items()
    )
    parser = commands.add_parser(
        "explain",
        help="write the maps of a photo as a PNG, or as a page that says how to read them; of a "
        "film as a GIF; of a text as a page",
        description="Predict what is in a photo, and draw what moves the prediction: which pixels "
        "it is sensitive to, or which cells of a layer speak for it. Or read a text, and colour "
        "the words that move the prediction.",
        epilog=f"""\
methods (--method, several with commas, or `all`):
{listing}

examples, a photo:
  xai-lab explain astronaut
  xai-lab explain holiday.jpg --out holiday.html
  xai-lab explain astronaut --target football-helmet,goldfish
  xai-lab explain cat --target top2 --method saliency,guided-backprop
  xai-lab explain cat --method grad-cam,layer-cam --layer blocks.3,bn2 --target top2,goldfish
  xai-lab explain a.jpg b.jpg c.jpg --out report.html
  xai-lab explain cat --method ig --baseline blur --tol 0.01
  xai-lab explain cat --method ig --baseline black,white --out cat.html   the mean of both
  xai-lab explain cat --model resnet50      fetched the first time

a film:
  xai-lab explain frames/ --out film.gif    a folder of frames, sorted by name
  xai-lab explain in.gif --method layer-cam --target goldfish --out out.gif

a text:
  xai-lab explain --text "The soup was not bland at all."
  xai-lab explain --text review.txt --target negative --out review.html
  xai-lab explain --text "The soup was not bland." --method ig,saliency --baseline mask
  xai-lab explain --text "Mary took the red lamp . Mary took the red" --model tiny-lm
  echo "The soup was cold." | xai-lab explain --text -

Integrated Gradients starts from a --baseline, in which nothing is to be seen: of a photo
{", ".join(BASELINES)}; of a text the embedding of [PAD], [MASK] or [UNK]
(pad, mask, unk), zeros, or the mean of the vocabulary. With --tol it looks more closely where the
score changes, until its parts add up; with --steps it takes that many steps, whatever comes of it.

Without --out a PNG (of a folder of frames a GIF, of a text a page) is written to this folder under
a name that is still free. A file that you name yourself is replaced; a photo or a text that is
being explained never is.

"""
        + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "photos",
        nargs="*",
        metavar="PHOTO",
        help="an image file, a folder of frames, or a photo of the course: astronaut, cat, "
        "coffee, rocket, china, flower (./cat is a file of that name)",
    )
    parser.add_argument(
        "--text",
        metavar="TEXT",
        help="in place of photos, a text in quotes, a file that holds one, or - for what is piped "
        "in",
    )
    parser.add_argument(
        "--model",
        help="efficientnet-lite0, scenes-cnn, scenes-vit, digits-cnn and others come with the "
        "course; a classifier of torchvision (resnet50, vgg16, …) or timm/NAME are fetched the "
        f"first time; package.module:factory is your own (default: {DEFAULT_MODEL}). Of text: "
        "minilm-sentiment, "
        "minilm-sentiment-spurious, tiny-lm, and distilbert-sst2 and gpt2, which are fetched "
        f"(default: {DEFAULT_TEXT_MODEL})",
    )
    parser.add_argument(
        "--method",
        type=methods,
        metavar="NAMES",
        help=f"default: {','.join(DEFAULT_METHODS)}; of frames {','.join(DEFAULT_FILM)}; of text "
        "ig",
    )
    parser.add_argument(
        "--layer",
        type=layers,
        default=(),
        metavar="NAMES",
        help="where the methods of class activation look, several with commas (default: the last "
        "layer with a map)",
    )
    parser.add_argument(
        "--baseline",
        action="append",
        type=baselines,
        metavar="NAMES",
        help="where Integrated Gradients starts, several with commas to average over (default: "
        "black; of text pad)",
    )
    parser.add_argument(
        "--tol",
        type=share,
        metavar="SHARE",
        help="look closer until its parts add up to this share (default: 0.01)",
    )
    parser.add_argument(
        "--most",
        type=whole(9),
        metavar="N",
        help="steps that --tol may take on a path at most (default: 200)",
    )
    parser.add_argument(
        "--steps",
        type=whole(1),
        metavar="N",
        help="in place of --tol, a number of steps (default of frames: 48)",
    )
    parser.add_argument(
        "--target",
        default="top1",
        metavar="CLASSES",
        help="what to explain: a class by name or number, several with commas, or topN for the N "
        "best guesses (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="FILE.png; FILE.html for one page that needs nothing else; FILE.gif for frames, or "
        "for all of an animated file; or a folder",
    )
    parser.add_argument(
        "--top", type=whole(1), default=5, metavar="N", help="guesses to list (default: 5)"
    )
    parser.add_argument(
        "--samples",
        type=whole(2),
        metavar="N",
        help="noisy copies, for the methods that draw them (default: 50), and draws of the "
        "baseline noise (default: 8)",
    )
    parser.add_argument(
        "--noise",
        type=fraction,
        default=0.15,
        metavar="SHARE",
        help="their noise, as a share of the photo's range (default: 0.15)",
    )
    parser.add_argument(
        "--seed", type=whole(0), default=0, metavar="N", help="of the noise (default: 0)"
    )
    parser.add_argument(
        "--channels",
        type=whole(1),
        metavar="N",
        help="let score-cam try only the N channels that vary most; it runs the network once for "
        "each (default: all)",
    )
    parser.add_argument(
        "--every",
        type=whole(1),
        default=1,
        metavar="N",
        help="of frames, take one in N and show it N times as long (default: 1)",
    )
    parser.add_argument(
        "--device",
        help="cpu, cuda, cuda:1, mps (default: XAI_LAB_DEVICE, else a GPU where there is one)",
    )


def add_attention(commands: argparse._SubParsersAction) -> None:
    """Add the parser of `xai-lab attention`."""
    parser = commands.add_parser(
        "attention",
        help="write a page on who looks at whom in a text, or where a vision transformer looks",
        description="Show what each head of a transformer attends to: between the words of a text, "
        "or over the patches of a photo.",
        epilog="""\
examples:
  xai-lab attention "The cat sat on the mat because it was tired"
  xai-lab attention "The cat sat on the mat" --layer 5 --head 11 --out cat.html
  xai-lab attention "Mary took the red lamp . Mary took the red" --model tiny-lm
  xai-lab attention scene:7                 a drawn scene, as scenes-vit was trained on
  xai-lab attention photo.jpg --model vit-base          fetched the first time
  xai-lab attention astronaut --model timm/deit_tiny_patch16_224

What is a file, a photo of the course or a scene is looked at, everything else is read. Without
--out the page is written to this folder under a name that is still free.

"""
        + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "what",
        metavar="TEXT|PHOTO",
        help="a text in quotes; or an image file, a photo of the course (astronaut, cat, coffee, "
        "rocket, china, flower), or a scene (scene, scene:7)",
    )
    parser.add_argument(
        "--model",
        help="minilm, tiny-lm, bert-base, gpt2 and others read; scenes-vit, vit-base and vision "
        "transformers of torchvision (vit_b_16) and timm (timm/NAME) look (default: minilm for a "
        "text, scenes-vit for a picture)",
    )
    parser.add_argument(
        "--layer", type=whole(0), metavar="N", help="layer to show first, counted from 0"
    )
    parser.add_argument(
        "--head", type=whole(0), metavar="N", help="head of that layer to show alone, and large"
    )
    parser.add_argument("--out", metavar="FILE", help="FILE.html, or a folder")
    parser.add_argument(
        "--device",
        help="cpu, cuda, cuda:1, mps (default: XAI_LAB_DEVICE, else a GPU where there is one)",
    )


OWN_MODEL = """\
A network of your own: --model package.module:factory imports the module, from this folder too, and
calls the function. It returns what xai_lab.load returns:

  from xai_lab.models import Loaded
  def factory():
      return Loaded("mine", model, labels, transform, mean, std)
"""


def add_debug(commands: argparse._SubParsersAction) -> None:
    """Add the parser of `xai-lab debug`."""
    parser = commands.add_parser(
        "debug",
        help="write a page on why a photo is misclassified",
        description="Compare what a network says with what is right: where the two classes part, "
        "what becomes of both when that is hidden or kept alone, whether the mistake survives "
        "small changes. The verdict follows from these numbers by stated rules.",
        epilog=f"""\
examples:
  xai-lab debug astronaut --true "space shuttle"
  xai-lab debug holiday.jpg --true "tabby cat" --model resnet50 --out why.html
  xai-lab debug scene:7 --true flower --model scenes-cnn-background
  xai-lab debug photo.jpg --true wolf --model mynet.zoo:factory --out why.json

{OWN_MODEL}
Without --out the page is written to this folder under a name that is still free.

"""
        + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "photo",
        metavar="PHOTO",
        help="an image file, a photo of the course (astronaut, cat, coffee, rocket, china, "
        "flower), or a drawn scene (scene, scene:7)",
    )
    parser.add_argument(
        "--true", required=True, metavar="LABEL", help="the right class, by name or number"
    )
    add_common(parser, "of the areas that are hidden for comparison")


def add_shortcuts(commands: argparse._SubParsersAction) -> None:
    """Add the parser of `xai-lab shortcuts`."""
    parser = commands.add_parser(
        "shortcuts",
        help="write a page on whether a network goes by the object, or by what stands beside it",
        description="Map every picture of a data set, group pictures whose maps are alike, and "
        "try each group: objects on other backgrounds, the marked place hidden, and pasted "
        "elsewhere. Only what these tests confirm is called a short cut.",
        epilog=f"""\
examples:
  xai-lab shortcuts photos/                 photos/husky/*.jpg, photos/wolf/*.jpg, …
  xai-lab shortcuts photos/ --jobs 4 --keep parts/ --out report.html
  xai-lab shortcuts photos/ --model mynet.zoo:factory

A class folder is named as the network names the class. With --keep a run that was stopped goes on
where it was. Pictures that cannot be read are listed and left out; the exit code is then 1.

{OWN_MODEL}
"""
        + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="FOLDER", help="holds a folder for each class")
    parser.add_argument(
        "--jobs", type=whole(1), metavar="N", help="processes that share the work (default: 1)"
    )
    parser.add_argument("--keep", metavar="FOLDER", help="where finished parts are kept")
    add_common(parser, "of the choice of pictures for the tests")


def add_common(parser: argparse.ArgumentParser, seeded: str) -> None:
    """Add what `xai-lab debug` and `xai-lab shortcuts` share."""
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help="as for `xai-lab explain`, or package.module:factory (default: %(default)s)",
    )
    parser.add_argument(
        "--out", metavar="FILE", help="FILE.html; FILE.json for the numbers; or a folder"
    )
    parser.add_argument(
        "--seed", type=whole(0), default=0, metavar="N", help=f"{seeded} (default: 0)"
    )
    parser.add_argument(
        "--device",
        help="cpu, cuda, cuda:1, mps (default: XAI_LAB_DEVICE, else a GPU where there is one)",
    )
    parser.set_defaults(layer=())


def methods(text: str) -> list[str]:
    """Names of methods from ``saliency,smooth_grad`` or ``all``."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if [name.lower() for name in names] == ["all"]:
        return list(METHODS)
    if not names:
        raise argparse.ArgumentTypeError("no method was named")
    found = []
    for name in names:
        if (key := named(name)) is None:
            short = [method.short for method in METHODS.values() if method.short]
            near = get_close_matches(name.lower().replace("_", "-"), [*METHODS, *short], n=1)
            raise argparse.ArgumentTypeError(
                f"no method {name!r}{f'; did you mean {near[0]}?' if near else ''} "
                f"(there are {', '.join(METHODS)}, and all)"
            )
        found.append(key)
    return list(dict.fromkeys(found))


def baselines(text: str) -> list[str]:
    """Names of baselines from ``black,blur``."""
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    if not names:
        raise argparse.ArgumentTypeError("no baseline was named")
    return names


def layers(text: str) -> tuple[str, ...]:
    """Names of layers from ``layer3,layer4``."""
    names = dict.fromkeys(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise argparse.ArgumentTypeError("no layer was named")
    return tuple(names)


def whole(least: int):
    """Parser of a whole number of at least ``least``."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not least <= value < 2**63:
            raise argparse.ArgumentTypeError(f"{text} was given, expected at least {least}")
        return value

    return number


def fraction(text: str) -> float:
    """Parser of a number of at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(
            f"{text!r} was given, expected a share of the photo's range, such as 0.15"
        )
    return value


def share(text: str) -> float:
    """Parser of a share above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} was given, expected a share between 0 and 1, such as 0.01"
        )
    return value


def explain(options: argparse.Namespace, command: str) -> int:
    """Write the maps of some photos; say what was predicted, what was written, what comes next."""
    if options.text is not None:
        from xai_lab.text_report import explain_text

        return explain_text(options, command)
    if not options.photos:
        raise MisuseError("nothing was given to explain; name a PHOTO, or add --text TEXT")
    options.model = options.model or DEFAULT_MODEL
    if is_film(options):
        return animate(options)
    chosen = {name: METHODS[name] for name in options.method or DEFAULT_METHODS}
    out = where_to(options.out, options.photos)
    check_layer_is_used(options, chosen)
    check_path(options, chosen, BASELINES)
    readable = [source for source in options.photos if can_be_read(source)]
    if not readable:
        return 1
    net = network(options)
    from xai_lab import animation, report

    settings = settings_of(options)
    explained, whole = [], True
    for number, source in enumerate(readable, start=1):
        if len(readable) > 1:
            status(f"{source} ({number} of {len(readable)})")
        one = explain_one(net, source, chosen, options.target, options.top, settings)
        explained.append(one)
        whole &= {name for _, name, _ in one.maps} == set(chosen)
        print(told(one), flush=True)
        if out is None or out.is_dir():
            save(free_name(source, out or Path()), report.picture([one], net, settings))
        if (many := animation.frames_in(source)) > 1:
            complain(f"{source} has {many} frames, this is the first; --out FILE.gif takes all")
    if out is not None and out.suffix.lower() == ".png":
        save(out, report.picture(explained, net, settings))
    elif out is not None and not out.is_dir():
        save(out, report.page(explained, net, settings, command))
    print(what_next(net, options, readable[0], explained[0]))
    return 0 if whole and len(readable) == len(options.photos) else 1


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Settings of the methods, as `Question` takes them."""
    return {
        "layers": options.layer,
        "channels": options.channels,
        "samples": options.samples or 50,
        "noise": options.noise,
        "seed": options.seed,
        "progress": sys.stderr.isatty(),
        "baseline": baseline_of(options, "black"),
        "steps": options.steps or 48,
        "tol": None if options.steps else options.tol or 0.01,
        "most": options.most or 200,
        "starts": options.samples or 8,
    }


def baseline_of(options: argparse.Namespace, default: str) -> tuple[str, ...]:
    """Names of the baselines, each once."""
    given = [name for names in options.baseline or [] for name in names]
    return tuple(dict.fromkeys(given or [default]))


def check_path(
    options: argparse.Namespace, chosen: dict[str, Method], known: Sequence[str]
) -> None:
    """Refuse a baseline that there is not, and settings that no method or not both can use."""
    given = [name for name in ("baseline", "tol", "most", "steps") if getattr(options, name)]
    if given and not any(method.account for method in chosen.values()):
        able = ", ".join(method.short or name for name, method in METHODS.items() if method.account)
        raise MisuseError(f"--{given[0]} is of no use to {', '.join(chosen)}; add --method {able}")
    for name in baseline_of(options, known[0]):
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise MisuseError(
                f"--baseline {name}: for a {'text' if options.text is not None else 'photo'} there "
                f"are {', '.join(known)}{meant}"
            )
    if options.steps and (options.tol or options.most):
        raise MisuseError(
            f"--{'tol' if options.tol else 'most'} and --steps exclude each other: one says how "
            "well the parts have to add up, the other how many steps are taken"
        )


def network(options: argparse.Namespace) -> Loaded:
    """Network that ``--model`` names, on its device, with the layers that ``--layer`` names."""
    from xai_lab.layers import find_layer
    from xai_lab.models import TEXTS

    if options.model in TEXTS:
        instead = ", or give a text with --text" if options.command == "explain" else ""
        raise MisuseError(
            f"--model {options.model} reads text, and a photo was given; leave it away, name a "
            f"network that looks, such as scenes-cnn or resnet50{instead}"
        )
    status(f"loading {options.model} …")
    device = chosen_device(options.device)
    if ":" in options.model and "/" not in options.model:  # a hub's names have a slash
        from xai_lab.debug_report import from_factory

        net = from_factory(options.model, device)
    else:
        net = xai_lab.load(options.model, device=device)
    for name in options.layer:
        try:
            find_layer(net.model, name)
        except ValueError as error:
            raise MisuseError(f"--layer: {error}") from error
    return net


def check_layer_is_used(options: argparse.Namespace, chosen: dict[str, Method]) -> None:
    """Refuse ``--layer`` where no method looks at one."""
    if options.layer and not any(method.layered for method in chosen.values()):
        able = ", ".join(name for name, method in METHODS.items() if method.layered)
        raise MisuseError(
            f"--layer is of no use to {', '.join(chosen)}; the methods that look at a layer of "
            f"your choice: {able}"
        )


def where_to(
    out: str | None,
    photos: Sequence[str],
    endings: Sequence[str] = (".png", ".html", ".htm"),
    meant: str = "a file that ends in .png (a picture) or .html (a page)",
) -> Path | None:
    """Path that ``--out`` names, checked before any work is done; ``None`` if it is not given."""
    if out is None:
        folder, path = Path(), None
    else:
        path = Path(out)
        folder = path if path.is_dir() else path.parent
        if not path.is_dir() and path.suffix.lower() not in endings:
            raise MisuseError(f"--out {out} is neither a folder that exists nor {meant}")
        if path.suffix.lower() == ".png" and not path.is_dir() and len(photos) > 1:
            raise MisuseError(
                f"--out {out} holds one photo, {len(photos)} were given; name a folder, or a "
                ".html file, which holds them all"
            )
        for photo in photos:
            if path.is_file() and Path(photo).exists() and path.samefile(photo):
                raise MisuseError(f"--out {out} is the photo itself, and would be overwritten")
    if not folder.is_dir():
        raise ProblemError(f"there is no folder {folder}; make it first: mkdir -p {folder}")
    if not os.access(folder, os.W_OK):
        raise ProblemError(
            f"nothing can be written to {folder.resolve()}; choose a place with --out"
        )
    return path


def can_be_read(source: str) -> bool:
    """Whether a photo can be opened; says why not, before time is spent on loading the network."""
    from xai_lab.data import photo

    if Path(source).suffix.lower() in VIDEOS and Path(source).is_file():
        complain(
            f"{source} is a video, which needs to be taken apart first: mkdir frames; "
            f"ffmpeg -i {shlex.quote(source)} frames/%04d.png; xai-lab explain frames"
        )
        return False
    try:
        photo(source)
    except (ValueError, OSError) as error:
        complain(sentence(error))
        return False
    return True


def chosen_device(name: str | None) -> torch.device:
    """Device of that name, or the default one."""
    import torch

    if name is None:
        return xai_lab.device()
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:
        why = " ".join(str(error).split()).partition(". ")[0]
        raise ProblemError(
            f"--device {name} cannot be used here ({why[:90]}); leave it away, or try cpu"
        ) from error
    return torch.device(name)


def explain_one(
    net: Loaded, source: str, chosen: dict[str, Method], target: str, top: int, settings: dict
) -> Explained:
    """Prediction and maps of one photo; a method that does not fit the network is left out."""
    from xai_lab import report
    from xai_lab.data import PHOTOS

    inputs = net.preprocess(source)
    guesses = net.predict(inputs, top=len(net.labels))[0]
    targets = asked_about(target, guesses)
    numbers = tuple(guess.index for guess in targets)
    question = Question(net.model, inputs, numbers, normalisation=net.normalisation, **settings)
    if "score-cam" in chosen:
        say_how_long(question)
    found: dict[str, tuple[dict, list[str]]] = {}
    for name, method in chosen.items():
        try:
            with remarks() as said:
                found[name] = method.compute(question), said
        except (ValueError, TypeError) as error:
            if len(chosen) == 1:
                raise
            complain(f"{source}, {method.title} is left out: {sentence(error)}")
    if not found:
        raise ProblemError(f"{source}: none of these methods fits {net.name}")
    picture = net.pixels(inputs)
    maps = {}
    for guess in targets:
        for name, (attributions, said) in found.items():
            several = len({layer for _, layer in attributions}) > 1
            for (index, layer), attribution in attributions.items():
                if index != guess.index:
                    continue
                noted = () if attribution.any() else tuple(dict.fromkeys(said))
                account = None
                if (asked := chosen[name].account) is not None:
                    account = asked(question, index)
                    noted = (account.doubt,) if account.doubt else noted
                one = report.Map(
                    name, chosen[name], attribution, picture, layer, several, noted, account
                )
                maps[index, name, layer] = one
                for remark in noted:
                    complain(f"{source}, {one.title}, {guess.label}: {remark}")
    return report.Explained(
        name=source if source in PHOTOS else Path(source).name,
        credit=PHOTOS[source][1] if source in PHOTOS else "",
        inputs=inputs,
        guesses=guesses[:top],
        targets=targets,
        maps=maps,
    )


def say_how_long(question: Question, frames: int = 1) -> None:
    """Tell somebody who watches what Score-CAM is going to cost, where that is much."""
    if not sys.stderr.isatty():
        return
    with suppress(ValueError, TypeError):  # the method itself says what does not fit
        found = xai_lab.activations(question.model, question.inputs, list(question.looked_at))
        channels = max(maps.shape[1] for maps in found.values())
        tried = sum(min(maps.shape[1], question.channels or channels) for maps in found.values())
        seconds = tried * frames * seconds_a_pass(question)
        if seconds > 10:
            fewer = max(10, min(tried // 10, 100) // 10 * 10)
            shorter = f"; --channels {fewer} tries only the {fewer} channels that vary most"
            complain(
                f"Score-CAM runs the network {tried * frames} times, which takes about "
                f"{lasting(seconds)}{shorter if fewer < tried else ''}"
            )


def seconds_a_pass(question: Question) -> float:
    """How long one picture takes in a batch; the faster of two tries, since the first warms up."""
    batch = question.inputs.expand(8, -1, -1, -1)
    times = []
    for _ in range(2):
        start = time.perf_counter()
        xai_lab.predict(question.model, batch).sum().item()  # a GPU is waited for
        times.append(time.perf_counter() - start)
    return min(times) / len(batch)


def lasting(seconds: float) -> str:
    """Time for a reader."""
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:.0f} minutes"


def asked_about(target: str, guesses: list[Guess]) -> list[Guess]:
    """Classes that ``--target`` names, from all guesses of a network, best first."""
    by_name: dict[str, Guess] = {}
    for guess in guesses:  # of tokens that look alike (" the", "The") the most probable is meant
        if plain(guess.label):
            by_name.setdefault(plain(guess.label), guess)
    by_number = {str(guess.index): guess for guess in guesses}
    found: list[Guess] = []
    for word in [target] if plain(target) in by_name else target.split(","):
        name = plain(word)
        if name.startswith("top") and name[3:].isdecimal() and name not in by_name:
            if not 1 <= int(name[3:]) <= len(guesses):
                raise MisuseError(f"--target {word.strip()}: expected top1 to top{len(guesses)}")
            found += guesses[: int(name[3:])]
        elif name in by_name:
            found.append(by_name[name])
        elif word.strip() in by_number:
            found.append(by_number[word.strip()])
        elif name.isdecimal():
            raise MisuseError(
                f"--target {word.strip()}: the network has classes 0 to {len(guesses) - 1}"
            )
        else:
            within = [label for label in by_name if name and name in label]
            near = within[:5] or get_close_matches(name, by_name, n=5, cutoff=0.5)
            hint = f"; near it: {', '.join(near)}" if near else ""
            raise MisuseError(f"--target {word.strip()!r}: the network knows no such class{hint}")
    return list(dict.fromkeys(found))


def plain(label: str) -> str:
    """Label as one may type it: lower case, with spaces for dashes and underscores."""
    return " ".join(label.lower().replace("-", " ").replace("_", " ").split())


@contextmanager
def remarks() -> Iterator[list[str]]:
    """List that the package's warnings are put into; those of other libraries are dropped."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield said
    for warning in caught:
        if warning.category is UserWarning and "map of sample" in str(warning.message):
            said.append(str(warning.message).replace(" of sample 0", ""))


def status(text: str) -> None:
    """Say what is being done, to somebody who watches."""
    if sys.stderr.isatty():
        complain(text)


def told(one: Explained) -> str:
    """Prediction of a photo as text with bars, and whether the parts of its maps add up."""
    lines = [f"{one.name}: {one.guesses[0].label}", *bars(one.listed)]
    for target in one.targets:
        for found in one.of(target):
            if found.account is not None:
                lines += [f"{found.title}, {target.label}:", *indented(found.account.sentence)]
    return "\n".join(lines)


def bars(rows: Sequence[Guess]) -> list[str]:
    """Guesses, a line each."""
    from xai_lab.report import percent

    width = max(len(guess.label) for guess in rows)
    block = "█" if encodable("█") else "#"
    largest = max(guess.probability for guess in rows) or 1.0
    lines = []
    for guess in rows:
        bar = block * round(24 * guess.probability / largest)
        lines.append(f"  {guess.label:{width}s}  {percent(guess.probability):>5s}  {bar}".rstrip())
    return lines


def indented(text: str) -> list[str]:
    """Lines of a terminal."""
    return wrap(text, 78, initial_indent="  ", subsequent_indent="  ")


def encodable(text: str) -> bool:
    """Whether stdout can show it."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def free_name(source: str, folder: Path, ending: str = ".png", what: str = "explained") -> Path:
    """Name for the picture of a photo that no file has yet: ``cat-explained.png``, ``…-2.png``."""
    path = Path(source)
    stem = f"{path.resolve().name if path.is_dir() else path.stem}-{what}"
    path, number = folder / f"{stem}{ending}", 1
    while path.exists() or path.is_symlink():
        number += 1
        path = folder / f"{stem}-{number}{ending}"
    return path


def save(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and say so."""
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """File to write to, which takes the place of ``path`` once it is whole."""
    replaced = path.exists()
    path = path.resolve() if path.is_symlink() else path
    unfinished = path.with_name(f".xai-lab-{os.getpid()}.tmp")
    try:
        yield unfinished
        size = unfinished.stat().st_size / 1024
        os.replace(unfinished, path)
    except OSError as error:
        raise ProblemError(f"{path} could not be written: {error.strerror or error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    print(f"{'Replaced' if replaced else 'Wrote'} {path} ({size:.0f} KB)", flush=True)


def what_next(net: Loaded, options: argparse.Namespace, source: str, first: Explained) -> str:
    """Best next step after this command."""
    photo = shlex.quote(source)
    if len(first.targets) == 1:
        asked = plain(first.targets[0].label).replace(" ", "-")
        known = [plain(label).replace(" ", "-") for label in net.labels]
        absurd = next(
            name
            for name in ("goldfish", "espresso", *known)
            if (name in known and name != asked) or len(known) == 1
        )
        same = f" --model {options.model}" if options.model != DEFAULT_MODEL else ""
        if options.baseline:
            names = ",".join(METHODS[name].short or name for name in options.method)
            same += f" --method {names} --baseline {','.join(baseline_of(options, 'black'))}"
        classes = shlex.quote(f"{asked},{absurd}")
        return (
            f"Next: xai-lab explain {photo}{same} --target {classes}\n"
            "      A map that is the same for a class that has no business there explains neither."
        )
    if options.out is None or not options.out.lower().endswith((".html", ".htm")):
        page = shlex.quote(f"{Path(source).stem}.html")
        return f"Next: add --out {page} for a page that says how to read the maps."
    if len(options.photos) == 1 and options.method == ["integrated-gradients"]:
        other = "white" if baseline_of(options, "black") == ("black",) else "black"
        return (
            f"Next: open the page. Then the same with --baseline {other}: what both baselines show "
            "is more likely the photo's doing, what only one shows the baseline's."
        )
    return "Next: open the page. Then cover the brightest place in the photo, and explain it again."


def is_film(options: argparse.Namespace) -> bool:
    """Whether frames are to become an animation: for a folder, or because the file to write is."""
    from xai_lab.animation import is_folder

    asked = options.out is not None and options.out.lower().endswith(".gif")
    return (asked and not Path(options.out).is_dir()) or any(map(is_folder, options.photos))


@dataclass
class Film:
    """What is known of all frames once their maps have been computed.

    Attributes
    ----------
    target : Guess, optional
        The class, as the network saw it in the first frame.
    probabilities : dict of int to float
        Of the class, by number of the frame; only frames that could be read.
    others : Counter
        Best guesses other than the class.
    broken : dict of int to str
        Which frames could not be read, and why.
    sizes : set
        Width and height of the frames.
    limit : float
        Value at the end of the colour scale.
    empty : int
        Maps that are zero everywhere.
    gaps : list of float
        Of Integrated Gradients, as shares of the difference, one a frame.
    """

    target: Guess | None = None
    probabilities: dict[int, float] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    broken: dict[int, str] = field(default_factory=dict)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    limit: float = 0.0
    empty: int = 0
    gaps: list[float] = field(default_factory=list)


def animate(options: argparse.Namespace) -> int:
    """Write one map over every frame, all for one class and on one colour scale."""
    from xai_lab import animation

    sources = options.photos
    out, method = film_out(options), film_method(options)
    if animation.is_one_file(sources) and not can_be_read(sources[0]):
        return 1
    total = animation.count(sources)
    if total == 0:
        raise ProblemError(
            f"there are no frames in {sources[0]}: expected image files, such as 0001.png; a "
            "video has to be taken apart first (ffmpeg)"
        )
    taken = -(-total // options.every)
    if taken > MOST_FRAMES:
        raise MisuseError(
            f"{taken} frames are more than a GIF can reasonably hold ({MOST_FRAMES}); add --every "
            f"{-(-total // MOST_FRAMES)} to take one in {-(-total // MOST_FRAMES)}"
        )
    net = network(options)
    with TemporaryFile(dir=out.parent, prefix=".xai-lab-") as spool:
        film = maps_of_film(net, options, method, taken, spool)
        print(told_film(film, options), flush=True)
        say_what_is_doubtful(film, taken)
        spool.seek(0)
        with replacing(out) as unfinished, unfinished.open("wb") as file:
            pictures = shown_frames(net, options, method, film, spool)
            animation.write_gif(file, pictures, animation.loops(sources))
    print(
        "Next: the same for a class that has no business there (--target).\n"
        "      A map that follows the same things for both explains neither."
    )
    return 1 if film.broken else 0


def film_out(options: argparse.Namespace) -> Path:
    """Where the animation goes, checked before any work is done."""
    from xai_lab.animation import is_folder

    sources = options.photos
    folders = [source for source in sources if is_folder(source)]
    if folders and len(sources) > 1:
        raise MisuseError(f"one folder of frames at a time, {len(sources)} sources were given")
    out = where_to(
        options.out,
        sources,
        (".gif",),
        "a file that ends in .gif, which a folder of frames becomes",
    )
    if out is None or out.is_dir():
        out = free_name(sources[0], out or Path(), ".gif")
    if folders and out.parent.resolve() == Path(folders[0]).resolve():
        raise MisuseError(
            f"{out} would lie among the frames, and be one of them the next time; choose another "
            "folder with --out"
        )
    return out


def film_method(options: argparse.Namespace) -> Method:
    """Return the one method of an animation."""
    names = options.method or DEFAULT_FILM
    for what, given in (("method", names), ("layer", options.layer)):
        if len(given) > 1:
            raise MisuseError(
                f"an animation shows one map, {len(given)} were asked for "
                f"(--{what} {','.join(given)}); name one, and run the command for each"
            )
    chosen = {name: METHODS[name] for name in names}
    check_layer_is_used(options, chosen)
    check_path(options, chosen, BASELINES)
    if options.tol or options.most:
        raise MisuseError(
            f"--{'tol' if options.tol else 'most'} is for photos and text: in an animation every "
            "frame takes the same steps, so that the maps can be compared; use --steps"
        )
    return METHODS[names[0]]


def maps_of_film(
    net: Loaded, options: argparse.Namespace, method: Method, taken: int, spool: IO[bytes]
) -> Film:
    """Map of every frame, written to a file, and what is to be known before the first is drawn."""
    import numpy as np
    from tqdm import tqdm

    from xai_lab import animation, plot, report

    film, settings = Film(), {**settings_of(options), "progress": False, "tol": None}
    sequence = animation.frames(options.photos, options.every)
    watched = tqdm(
        sequence, method.title, taken, unit="frame", leave=False, disable=not sys.stderr.isatty()
    )
    for frame in watched:
        if frame.image is None:
            film.broken[frame.number] = frame.error
            continue
        inputs = net.preprocess(frame.image)
        guesses = net.predict(inputs, top=len(net.labels))[0]
        if film.target is None:
            film.target = only_class(options.target, guesses)
        seen = next(guess for guess in guesses if guess.index == film.target.index)
        question = Question(
            net.model, inputs, (seen.index,), normalisation=net.normalisation, **settings
        )
        if method is METHODS["score-cam"] and not film.probabilities:
            watched.clear()  # so that the sentence does not end up behind the bar
            say_how_long(question, taken)
        with remarks():  # empty maps are counted
            (attribution,) = method.compute(question).values()
        if method.account is not None:
            film.gaps.append(method.account(question, seen.index).share)
        if not method.cells:
            attribution = attribution.sum(1) if method.signed else attribution.abs().amax(1)
        values = report.flat(attribution, method, inputs.shape[-2:])
        if values.any():
            film.limit = max(film.limit, plot.limit(values))
        else:
            film.empty += 1
        film.probabilities[frame.number] = seen.probability
        film.sizes.add(frame.image.size)
        if guesses[0] != seen:
            film.others[guesses[0].label] += 1
        np.save(spool, attribution.float().cpu().numpy())
    if film.target is None:
        first = next(iter(film.broken.values()))
        raise ProblemError(f"none of the {len(film.broken)} frames can be read; {first}")
    return film


def only_class(target: str, guesses: list[Guess]) -> Guess:
    """Return the one class of an animation."""
    asked = asked_about(target, guesses)
    if len(asked) > 1:
        raise MisuseError(
            f"an animation shows one class, --target {target} names {len(asked)}; name one, and "
            "run the command for each"
        )
    return asked[0]


def shown_frames(
    net: Loaded, options: argparse.Namespace, method: Method, film: Film, spool: IO[bytes]
) -> Iterator[tuple[Image.Image, float]]:
    """Frames as they go into the file, each with its time."""
    import numpy as np
    import torch

    from xai_lab import animation, report

    assert film.target is not None
    for frame in animation.frames(options.photos, options.every):
        if frame.number in film.broken:
            continue
        if frame.image is None or frame.number not in film.probabilities:
            raise ProblemError(f"{frame.name} has changed while it was read; try again")
        picture = net.pixels(net.preprocess(frame.image))
        values = report.flat(torch.from_numpy(np.load(spool)), method, picture.shape[-2:])
        over = report.overlaid(values, picture, film.limit or 1.0, method.signed)
        probability = film.probabilities[frame.number]
        yield report.captioned(over, film.target.label, probability), frame.duration


def told_film(film: Film, options: argparse.Namespace) -> str:
    """Class of an animation, and what the network made of it from frame to frame."""
    from xai_lab.report import percent

    assert film.target is not None
    chances = list(film.probabilities.values())
    chosen = options.target.strip().lower() == "top1"
    why = "the best guess for the first one; --target names another" if chosen else "as asked"
    lines = [
        f"{options.photos[0]}: {len(chances)} frames, all explained for {film.target.label} "
        f"({why})",
        f"  probability {percent(min(chances))} to {percent(max(chances))}",
    ]
    if film.others:
        label, _ = film.others.most_common(1)[0]
        lines[-1] += f"; in {film.others.total()} the best guess is another, mostly {label}"
    if film.gaps:
        lines.append(
            f"  from {' and '.join(baseline_of(options, 'black'))}, {options.steps or 48} steps a "
            f"frame; the parts add up but for {shared(sorted(film.gaps)[len(film.gaps) // 2])} in "
            f"the middle one of the frames, {shared(max(film.gaps))} in the worst"
        )
    return "\n".join(lines)


def say_what_is_doubtful(film: Film, taken: int) -> None:
    """Frames that were left out, cut or empty, on stderr."""
    if film.broken:
        listed = list(film.broken.values())[:5]
        more = len(film.broken) - len(listed)
        complain(
            f"{len(film.broken)} of {taken} frames cannot be read and are left out: "
            f"{' | '.join(listed)}{f' | and {more} more' if more else ''}"
        )
    if len(film.sizes) > 1:
        sizes = ", ".join(f"{width} × {height}" for width, height in sorted(film.sizes)[:4])
        complain(
            f"the frames have {len(film.sizes)} sizes ({sizes}{', …' * (len(film.sizes) > 4)}); "
            "of each the middle is shown, as the network sees it"
        )
    if film.empty:
        complain(
            f"{film.empty} of {taken} maps are zero everywhere: nothing there speaks for "
            f"{film.target.label if film.target else 'the class'}"
        )
