"""How fast the gap of Integrated Gradients falls, and how fast the map's error does.

`python -m benchmarks.gaps` prints a table for each network; `--count 6` takes fewer samples. What
captum does by default is the row of 50 steps: its rule and ours have the same points and weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import torch
from PIL import ImageOps
from PIL.Image import Image
from torch import Tensor

import xai_lab
from benchmarks.gradients import relative_error
from benchmarks.measure import machine, say
from xai_lab import words
from xai_lab.baselines import baselines
from xai_lab.data.scenes import scenes
from xai_lab.data.sentences import sentences

CAPTUM = 50
STEPS = (8, 16, 24, 32, 48, CAPTUM, 100, 200)
TOLERANCES = (0.05, 0.01)
GOAL = 0.01
#: Of the networks on which a pass costs more.
FEWER_STEPS = (16, 32, CAPTUM, 100)
#: Steps of the run with which maps are compared.
LONG = 384

Network = Callable[[Tensor], object]
Sample = tuple[Network, Tensor, Tensor]


@dataclass
class Found:
    """One integral: its passes, |gap| as a share of the difference, the map's error if known."""

    passes: int
    gap: float
    error: float | None


def photos(net: xai_lab.models.Loaded, count: int) -> Iterator[Sample]:
    """Six photos; the same mirrored; their middle, their upper left corner."""

    def part(photo: Image, left: float, right: float) -> Image:
        w, h = photo.size
        return photo.crop((int(left * w), int(left * h), int(right * w), int(right * h)))

    ways: list[Callable[[Image], Image]] = [
        lambda photo: photo,
        ImageOps.mirror,
        lambda photo: part(photo, 0.2, 0.8),
        lambda photo: part(photo, 0.0, 0.6),
    ]
    names = [(way, name) for way in ways for name in xai_lab.data.PHOTOS]
    for way, name in names[:count]:
        x = net.preprocess(way(xai_lab.data.photo(name)))
        yield net.model, x, baselines("black", x, normalisation=net.normalisation)[0]


def drawn(net: xai_lab.models.Loaded, count: int) -> Iterator[Sample]:
    """Scenes, from black."""
    for x in scenes(count, seed=1).images.split(1):
        x = x.to(net.device)
        yield net.model, x, torch.zeros_like(x)


def written(net: xai_lab.models.LoadedText, count: int) -> Iterator[Sample]:
    """Sentences, from padding between the special tokens."""
    embeddings = words.word_embeddings(net.model)
    for text in sentences(count, seed=1, negation=0.5).texts:
        inputs = dict(net.preprocess(text))
        x = words.embedded(embeddings, inputs["input_ids"])
        (pad,) = words.text_baselines("pad", x, inputs["input_ids"], embeddings, net.tokenizer)
        yield words.reader(net.model, inputs, embeddings), x, pad


def integrals(sample: Sample, steps: tuple[int, ...], compare: bool) -> dict[str, Found]:
    """Every way to the integral of one sample, by name."""
    network, x, start = sample
    target = xai_lab.predict(network, x).argmax(dim=1)
    reference = None
    if compare:
        reference = xai_lab.path_integral(
            network, x, target, baseline=start, steps=LONG, rule="midpoint"
        ).attribution
    found = {}
    for name, dials in [
        *[(f"{n} steps", {"steps": n}) for n in steps],
        *[(f"tol={tol}", {"tol": tol}) for tol in TOLERANCES],
    ]:
        seen = xai_lab.path_integral(network, x, target, baseline=start, **dials)
        error = None if reference is None else relative_error(seen.attribution, reference)
        share = (seen.gap.abs() / seen.difference.abs()).item()
        found[name] = Found(seen.passes[0], share, error)
    return found


def needed(found: dict[str, Found]) -> int | None:
    """Fewest steps of the even rule from which its gap stays below the goal."""
    fixed = [one for name, one in found.items() if name.endswith("steps")]
    least = None
    for one in reversed(fixed):
        if one.gap > GOAL:
            break
        least = one.passes
    return least


def table(all_found: list[dict[str, Found]]) -> str:
    """Medians over the samples, with the range of what varies."""
    lines = [
        "| rule | passes | gap, median (range) | gap ≤ 1% | error of the map, median |",
        "|---|---|---|---|---|",
    ]
    for name in all_found[0]:
        own = [found[name] for found in all_found]
        passes, gaps = [one.passes for one in own], [one.gap for one in own]
        taken = f"{median(passes):g}"
        if len(set(passes)) > 1:
            taken += f" ({min(passes)}–{max(passes)})"
        errors = [one.error for one in own if one.error is not None]
        error = f"{median(errors):.3f}" if errors else ""
        label = f"{name}, captum's default" if name == f"{CAPTUM} steps" else name
        lines.append(
            f"| {label} | {taken} | {median(gaps):.2%} ({min(gaps):.2%}–{max(gaps):.1%}) "
            f"| {sum(gap <= GOAL for gap in gaps)} of {len(gaps)} | {error} |"
        )
    return "\n".join(lines)


def verdict(all_found: list[dict[str, Found]]) -> str:
    """Passes for a gap of 1%: ours beside the even rule's."""
    last = max(one.passes for name, one in all_found[0].items() if name.endswith("steps"))
    theirs = [needed(found) or 2 * last for found in all_found]
    ours = [found[f"tol={GOAL}"].passes for found in all_found]
    word = f"{median(theirs):g}" if median(theirs) <= last else f"more than {last}"
    never = sum(steps > last for steps in theirs)
    shares = [a / b for a, b in zip(ours, theirs, strict=True)]
    return (
        f"To stay below a gap of 1%: captum's rule takes {word} steps in the median ({never} of "
        f"{len(theirs)} samples need more than {last}, and are counted as {2 * last}), ours "
        f"{median(ours):g} passes; median of ours / theirs {median(shares):.2f}."
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gaps", description=__doc__)
    parser.add_argument("--count", type=int, default=20, help="samples of each network (20)")
    parser.add_argument("--only", nargs="*", help="networks, such as scenes-cnn")
    options = parser.parse_args()
    count, only = options.count, options.only
    load = xai_lab.load
    # The last number: samples whose map is compared with a long run.
    networks: list[tuple[str, Iterator[Sample], tuple[int, ...], int]] = [
        ("scenes-cnn, black", drawn(load("scenes-cnn"), count), STEPS, 6),
        ("minilm-sentiment, padding", written(load("minilm-sentiment"), count), STEPS, 6),
        ("efficientnet-lite0, black", photos(load("efficientnet-lite0"), count), FEWER_STEPS, 6),
        (
            "resnet50, random weights, black",
            photos(load("resnet50", pretrained=False), min(count, 3)),
            FEWER_STEPS,
            0,
        ),
    ]
    for name, samples, steps, compared in networks:
        if only and name.partition(",")[0] not in only:
            continue
        start, all_found = time.perf_counter(), []
        for i, sample in enumerate(samples):
            all_found.append(integrals(sample, steps, compare=i < compared))
            say(f"{name}: {i + 1} done, {time.perf_counter() - start:.0f} s")
        print(f"\n## {name}, {len(all_found)} samples\n\n{table(all_found)}\n", flush=True)
        print(verdict(all_found), flush=True)
    print(
        f"\nGap: |ΣΦ − ΔS| / |ΔS|. Error: relative L2 distance to a run of {LONG} midpoints, "
        f"for the first samples of each.\n{machine()}"
    )


if __name__ == "__main__":
    main()
