"""Does the default layer work? Asked of every architecture of two libraries, with random weights.

`python -m benchmarks.architectures` goes through every classification model of torchvision and the
smallest variant of each family of timm, needs no network, and takes about an hour. It writes
`architectures.json` as it goes, begins where it was stopped, and ends with the book's page.

A map passes if it is finite, not the same everywhere and of the picture's shape. Where tokens or
channels-last outputs were folded to a map it must also be *in place*: quarters of the picture that
change one after the other show in the same quarters of the map. torch-cam and pytorch-grad-cam are
asked the same, in their documented default use.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import re
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import xai_lab
from benchmarks.measure import say

HERE = Path(__file__).parent
RESULTS = HERE / "architectures.json"
PAGE = HERE.parent / "book" / "architectures.md"
MOST_PARAMETERS = 100e6
MOST_SECONDS = 60
#: Grad-CAM may rightly be zero for a class that nothing speaks for; it is asked about several.
CLASSES = {f"class {k}": k for k in range(5)}
#: Beside the smallest vision transformers, some with more than one token that is no patch.
OTHER_TOKENS = (
    "deit_tiny_distilled_patch16_224",
    "vit_small_patch14_reg4_dinov2",
    "vit_pwee_patch16_reg1_gap_256",
)
CONTESTANTS = ("ours", "torch-cam", "pytorch-grad-cam")


class Failure(Exception):  # noqa: N818
    """What is wrong with a map, in words."""


def architectures() -> list[tuple[str, str]]:
    """Library and name of every model to be asked."""
    import timm
    import torchvision

    names = torchvision.models.list_models(module=torchvision.models)
    found = [("torchvision", name) for name in names]
    # The modules that hold no classifiers fall out when they are built.
    families: dict[tuple[str, str], list[str]] = {}
    for module in timm.list_modules():
        for name in timm.list_models(module=module):
            word = re.match(r"[a-z]+", name)
            families.setdefault((module, word[0] if word else name), []).append(name)
    for number, members in enumerate(families.values(), 1):
        say(f"family {number}/{len(families)}: {len(members)} models")
        found.append(("timm", min(members, key=lambda name: (parameters("timm", name), name))))
    return found + [("timm", name) for name in OTHER_TOKENS]


def parameters(library: str, name: str) -> float:
    """Number of weights, counted without making them; infinite where that does not work."""
    if library == "torchvision":
        import torchvision

        return torchvision.models.get_model_weights(name).DEFAULT.meta["num_params"]
    try:
        with torch.device("meta"):
            return sum(p.numel() for p in made(library, name).parameters())
    except Exception:
        return float("inf")


def made(library: str, name: str) -> nn.Module:
    """Model with random weights."""
    if library == "torchvision":
        import torchvision

        # These two would spend minutes on an initialisation that says nothing here.
        more = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        return torchvision.models.get_model(name, weights=None, **more)
    import timm

    return timm.create_model(name, pretrained=False)


def side(model: nn.Module) -> int:
    """Side of the pictures: what the model was made for, or 224 where that is large and may be."""
    cfg = getattr(model, "pretrained_cfg", None) or {}
    native = cfg.get("input_size", (3, 224, 224))[-1]
    return native if cfg.get("fixed_input_size") or native <= 288 else 224


def wake(model: nn.Module) -> bool:
    """Small random weights for a head of zeros, whose score is flat; whether there was one."""
    flat = [m for m in model.modules() if isinstance(m, nn.Linear) and not m.weight.any()]
    for layer in flat:
        nn.init.normal_(layer.weight, std=0.02)
    return bool(flat)


def settle(model: nn.Module, pictures: Tensor) -> None:
    """Give the batch norms the statistics of some pictures.

    As they are made they normalise nothing in eval mode, and the signal dies on the way up.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = None  # the average of what comes
        norm.reset_running_stats()
        norm.train()
    with torch.no_grad():
        model(pictures)
    model.eval()


def drawn(size: int) -> Tensor:
    """Picture of random patches of colour."""
    return nn.functional.interpolate(torch.randn(1, 3, 8, 8), (size, size), mode="nearest")


def ours(model: nn.Module, x: Tensor, changed: Tensor) -> dict[str, Any]:
    """Grad-CAM without naming a layer."""
    maps = xai_lab.grad_cam(model, x, CLASSES)
    layer = xai_lab.layers.last_spatial_layer(model, x)
    A, B = (xai_lab.activations(model, z, layer)[layer] for z in (x, changed))
    folded = A.shape != xai_lab.layers.record(model, x, layer)[layer].shape
    if any(m.shape != x[:, 0].shape for m in maps.values()):
        raise Failure("the map has another size than the picture")
    return {
        "layer": layer,
        "maps": torch.cat(list(maps.values())),
        "A": A,
        "B": B if folded else None,
    }


def torch_cam(model: nn.Module, x: Tensor, _changed: Tensor) -> dict[str, Any]:
    """`GradCAM(model)`: the layer is found automatically."""
    from torchcam.methods import GradCAM

    logging.getLogger("torchcam").setLevel(logging.ERROR)
    with GradCAM(model, input_shape=tuple(x.shape[1:])) as extractor:
        outputs = model(x)
        (A,) = extractor.hook_a
        maps = [
            extractor(k, outputs, normalized=False, retain_graph=True)[0] for k in CLASSES.values()
        ]
        return {"layer": extractor.target_names[0], "maps": torch.cat(maps), "A": A, "B": None}


def pytorch_grad_cam(model: nn.Module, x: Tensor, changed: Tensor) -> dict[str, Any]:
    """`GradCAM(model, target_layers)` with the layer that its README names for the family."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    layer, reshape = documented(model)
    with_layer = {"target_layers": [model.get_submodule(layer)], "reshape_transform": reshape}
    with GradCAM(model, **with_layer) as extractor:
        maps = []
        for k in CLASSES.values():
            maps.append(torch.from_numpy(extractor(x, [ClassifierOutputTarget(k)])))
            if maps[-1].amax() > maps[-1].amin():
                break
        (A,) = extractor.activations_and_grads.activations
        extractor.activations_and_grads(changed)
        (B,) = extractor.activations_and_grads.activations
        return {"layer": layer, "maps": torch.cat(maps), "A": A, "B": B if reshape else None}


def documented(model: nn.Module) -> tuple[str, Callable[[Tensor], Tensor] | None]:
    """Layer and reshaping that pytorch-grad-cam's README gives for this family of models.

    README, "Choosing the layer(s)": ResNet ``layer4[-1]``; VGG, DenseNet and MobileNet
    ``features[-1]``; MNASNet ``layers[-1]``; ViT ``blocks[-1].norm1``; Swin
    ``layers[-1].blocks[-1].norm1``; for the last two with its reshape functions.
    """
    from pytorch_grad_cam.utils.reshape_transforms import (
        swinT_reshape_transform,
        vit_reshape_transform,
    )

    family = type(model).__name__
    paths = {
        "ResNet": ("layer4", None),
        "VGG": ("features", None),
        "DenseNet": ("features", None),
        "MobileNet": ("features", None),
        "MNASNet": ("layers", None),
        "VisionTransformer": ("blocks.norm1", vit_reshape_transform),
        "SwinTransformer": ("layers.blocks.norm1", swinT_reshape_transform),
    }
    for start, (path, reshape) in paths.items():
        if not family.startswith(start):
            continue
        module, name = model, []
        for word in path.split("."):
            module = getattr(module, word, None)
            name.append(word)
            if isinstance(module, nn.Sequential | nn.ModuleList):
                name.append(next(reversed(dict(module.named_children()))))
                module = module[-1]
        if isinstance(module, nn.Module):
            return ".".join(name), reshape
    raise Failure("no documented default")


def judge(found: dict[str, Any], x: Tensor) -> None:
    """Raise what is wrong with the maps."""
    maps, A, B = found["maps"], found["A"], found["B"]
    if not torch.isfinite(maps).all():
        raise Failure("NaN or infinity in the map")
    h, w = maps.shape[1:]
    grid = A.shape[2:] if A.ndim == 4 else A.shape[1:]
    for rows, columns in ((h, w), grid):
        if not 0.8 < rows * x.shape[3] / (columns * x.shape[2]) < 1.25:
            raise Failure(f"a map of {rows} × {columns} over a square picture")
    if (maps.flatten(1).amax(1) - maps.flatten(1).amin(1)).max() <= 0:
        raise Failure("the map is the same everywhere")
    if B is None:
        return
    # How much each quarter of the map (columns) changes with each quarter of the picture (rows).
    # Of products over an assignment, none may be larger than that of each quarter to itself;
    # which quarters are livelier than others does not matter to that.
    D = (B - A).abs().double().mean(dim=1)
    rows, columns = D.shape[1] // 2, D.shape[2] // 2
    parts = [D[:, y, x].mean(dim=(1, 2)) for y, x in quarters(rows, columns)]
    D = torch.stack(parts, dim=1).log()
    best = max(itertools.permutations(range(4)), key=lambda p: float(D[range(4), p].sum()))
    if best != (0, 1, 2, 3):
        raise Failure("the map's quarters are not the picture's")


def quarters(rows: int, columns: int) -> list[tuple[slice, slice]]:
    """Top left, top right, bottom left and bottom right of a picture or a map."""
    tops, lefts = (slice(rows), slice(-rows, None)), (slice(columns), slice(-columns, None))
    return [(y, x) for y in tops for x in lefts]


def traces(model: nn.Module) -> dict[str, list[object]]:
    """What a call must leave as it was."""
    return {
        "training flags": [m.training for m in model.modules()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()],
        "requires_grad": [p.requires_grad for p in model.parameters()],
        "gradients": [p.grad is None for p in model.parameters()],
        "buffers": [b._version for b in model.buffers()],
    }


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Give up after so many seconds of computing, however busy the machine is."""

    def stop(_number: int, _frame: object) -> None:
        raise Failure(f"more than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def asked(contestant: str, model: nn.Module, x: Tensor, changed: Tensor) -> dict[str, Any]:
    """Verdict: the layer, the problem if any, whether it is the network's first convolution."""
    method = {"ours": ours, "torch-cam": torch_cam, "pytorch-grad-cam": pytorch_grad_cam}
    found: dict[str, Any] = {"layer": ""}
    # Ours must cope with a model in training mode; the others are told to be given eval mode.
    model.train(contestant == "ours")
    model.zero_grad(set_to_none=True)
    before, problem = traces(model), ""
    try:
        with at_most(MOST_SECONDS):
            found = method[contestant](model, x, changed)
            judge(found, x)
        if contestant == "ours":
            after = traces(model)
            left = [what for what in before if before[what] != after[what]]
            problem = f"left behind: {', '.join(left)}" if left else ""
    except Failure as error:
        problem = str(error)
    except Exception as error:
        problem = in_words(error)
    stem = next((name for name, m in model.named_modules() if isinstance(m, nn.Conv2d)), "")
    return {"layer": found["layer"], "problem": problem, "first": found["layer"] == stem}


def in_words(error: Exception) -> str:
    """Kind of error and the beginning of what it says."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:160]


def ask(library: str, name: str, contestants: tuple[str, ...] = CONTESTANTS) -> dict[str, Any]:
    """Everything about one architecture."""
    row: dict[str, Any] = {"library": library, "name": name}
    torch.manual_seed(0)
    start = time.perf_counter()
    try:
        with at_most(MOST_SECONDS):
            if MOST_PARAMETERS < parameters(library, name) < float("inf"):
                raise Failure(f"more than {MOST_PARAMETERS / 1e6:.0f} million weights")
            model = made(library, name).eval()
            row["parameters"] = sum(p.numel() for p in model.parameters())
            row["zero head"] = wake(model)
            # Patches of colour: fine noise would average out on the way up.
            x, other = (drawn(side(model)) for _ in range(2))
            settle(model, torch.cat([x, other]))
            with torch.no_grad():
                outputs = model(x)
            if not isinstance(outputs, Tensor) or outputs.ndim != 2:
                raise Failure("no classifier")
    except Exception as error:
        problem = str(error) if isinstance(error, Failure) else in_words(error)
        return row | {"skipped": problem}
    changed, half = x.repeat(4, 1, 1, 1), x.shape[-1] // 2
    for one, (y, across) in zip(changed, quarters(half, half), strict=True):
        one[:, y, across] = other[0, :, y, across]
    for contestant in contestants:
        row[contestant] = asked(contestant, model, x, changed)
    return row | {"side": side(model), "seconds": round(time.perf_counter() - start, 1)}


def passed(rows: list[dict[str, Any]], contestant: str) -> str:
    """How many architectures gave a contestant a map that passes, of how many."""
    rows = [row for row in rows if contestant in row]
    return f"{sum(not row[contestant]['problem'] for row in rows)} of {len(rows)}"


def page(results: dict[str, Any]) -> str:
    """Book's page: how many of how many, what fails and why, and every architecture."""
    rows = list(results["rows"].values())
    asked_of = [row for row in rows if "ours" in row]
    skipped = Counter(row["skipped"] for row in rows if "skipped" in row)
    by_library = [
        [row for row in asked_of if row["library"] == library]
        for library in ("torchvision", "timm")
    ]
    woken = sum(row.get("zero head", False) for row in asked_of)
    said = [row.get("torch-cam", {}) for row in asked_of]
    first = sum(one.get("first", False) and not one["problem"] for one in said)
    said = [row.get("pytorch-grad-cam", {}) for row in asked_of]
    undocumented = sum(one.get("problem") == "no documented default" for one in said)
    lines = [
        "# Architectures",
        "",
        "<!-- Written by `make architectures`; do not edit. -->",
        "",
        "Does Grad-CAM find a layer by itself? Asked of every classification model of torchvision, "
        "and of the smallest model of each family of timm, with random weights. "
        "A map passes if it is finite, not the same everywhere and of the picture's shape. Where "
        "tokens or channels-last outputs were folded to a map it must also be *in place*: quarters "
        "of the picture that change one after the other show in the same quarters of the map. Of "
        "ours it is also asked that nothing is left behind: training flags, hooks, "
        "`requires_grad`, gradients and buffers are as they were.",
        "",
        "The test of place was first asked of all maps. Twelve convolutional networks failed it: "
        "untrained, they mix the whole picture, and nobody folds their maps. It is now asked of "
        "folded maps only. So a pass says that a layer is found and read rightly, and not that an "
        "untrained map means anything.",
        "",
        "| | torchvision | timm | both |",
        "|---|---|---|---|",
    ]
    for c in CONTESTANTS:
        counts = [passed(part, c) for part in (*by_library, asked_of)]
        lines.append(f"| {c} | {' | '.join(counts)} |")
    lines += [
        "",
        "The others are used as their documentation says. `torchcam.methods.GradCAM(model)` finds "
        f"a layer by itself; {first} times that is the first convolution, and passes. "
        "pytorch-grad-cam is told the layer, and its README names one for a few families; "
        f"{undocumented} of these architectures are of none of them.",
        "",
        f"{woken} of the networks are made with a linear layer of zeros, mostly the head. Their "
        "score is flat until they are trained, so that layer was given small random weights.",
        "",
        "## What does not work, and why",
        "",
    ]
    failures = [row for row in asked_of if row["ours"]["problem"]]
    if failures:
        lines += ["| architecture | layer | reason |", "|---|---|---|"]
        lines += [
            f"| {row['name']} | {code(row['ours']['layer'])} | {cell(row['ours']['problem'])} |"
            for row in failures
        ]
    else:
        lines.append("Of ours, nothing that was asked.")
    if skipped:
        lines += ["", "Not asked:", "", "| reason | architectures |", "|---|---|"]
        lines += [f"| {cell(reason)} | {count} |" for reason, count in skipped.most_common()]
    lines += [
        "",
        "## Every architecture",
        "",
        "```{dropdown} The layer that was found, and what the others say",
        "| architecture | our layer | ours | torch-cam | pytorch-grad-cam |",
        "|---|---|---|---|---|",
    ]
    for row in asked_of:
        verdicts = [cell(row[c]["problem"]) or "✓" if c in row else "" for c in CONTESTANTS]
        lines.append(f"| {row['name']} | {code(row['ours']['layer'])} | {' | '.join(verdicts)} |")
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    return "\n".join([*lines, "```", "", f"Versions: {versions}.", ""])


def code(name: str) -> str:
    """Name of a layer as code, and nothing for none."""
    return f"`{name}`" if name else ""


def cell(text: str) -> str:
    """Text that cannot break a table."""
    return text.replace("|", "/").replace("<", "‹").replace(">", "›").replace("`", "'")


def main() -> None:
    """Ask them all, or those that are named, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.architectures")
    parser.add_argument("names", nargs="*", help="only these (timm/vgg11 …), printed, not kept")
    parser.add_argument("--afresh", action="store_true", help="forget what was found before")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    os.nice(10)  # an hour in the background
    for name in options.names:
        print(json.dumps(ask(*name.split("/")), indent=1, ensure_ascii=False))
    if options.names:
        return
    packages = ("xai-lab", "torch", "torchvision", "timm", "torchcam", "grad-cam")
    versions = {name: version(name) for name in packages}
    known = RESULTS.exists() and not options.afresh
    results: dict[str, Any] = json.loads(RESULTS.read_text("utf-8")) if known else {}
    if results.get("versions") != versions:
        # To choose the smallest of each family takes minutes; then they are known by name.
        rows: dict[str, Any] = {f"{library}/{name}": {} for library, name in architectures()}
        results = {"versions": versions, "rows": rows}
    for number, (key, row) in enumerate(results["rows"].items(), 1):
        missing = tuple(c for c in CONTESTANTS if c not in row and "skipped" not in row)
        if missing:
            row.update(ask(*key.split("/"), missing))
            say(f"{number}/{len(results['rows'])} {key} {row.get('skipped') or row['ours']}")
            RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", "utf-8")
    PAGE.write_text(page(results), encoding="utf-8")
    say(f"the table is in {PAGE}")


if __name__ == "__main__":
    main()
