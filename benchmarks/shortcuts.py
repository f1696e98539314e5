"""How often `find_shortcuts` finds a planted short cut, and how often it claims one that is none.

`python -m benchmarks.shortcuts --folder weights` trains small networks, four a seed, and looks at
each with pictures it has not seen; `--shipped` takes the networks of the course instead, `--time`
measures minutes and memory, `--dask` compares who did the work. Finished networks and results stay
in the folder, so a run that broke off goes on.

Three cues are planted: the background goes with the class, a watermark with the first class alone,
or a striped ball lies beside the objects of the first class alone. The honest network of a seed saw
all three, but independent of the class; it is looked at with the pictures of each cue.

**What is true** is asked of each network directly, with fresh scenes whose factors are turned: a
class *goes by* a cue if the cue brings scenes of other classes to it in half of the cases or more,
over and above those that get it without. This is asked of the planted cue, and of each of the six
backgrounds, for a network that learned little takes up short cuts that nobody planted. A class is
*honest* if nothing of all this brings a tenth; what lies between is counted apart, and so is a cue
that was planted and not taken up, which is no miss. A detection is a class that goes by the planted
cue and has a confirmed group; a false alarm is an honest class that has one.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import torch.nn.functional as F
from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky import get_reusable_executor
from torch import Tensor, nn

import xai_lab
from benchmarks.measure import machine, peak_megabytes, say
from xai_lab.core import predict
from xai_lab.data.scenes import SHAPES, Scenes, scenes
from xai_lab.faithfulness import grown, randomize
from xai_lab.models.vision import block

CUES = ("background", "watermark", "ball")
#: Pictures that `find_shortcuts` is given.
COUNT = 240
#: Scenes for each class of the direct test come from so many.
ASKED = 200
#: A class goes by its cue from here on, and does not up to there.
YES, NO = 0.5, 0.1
#: Modules of the first three convolutions.
STEM = 10

# --------------------------------------------------------------------------------- the pictures


def drawn(
    n: int,
    seed: int,
    watermark: tuple[float, float] = (0.0, 0.0),
    ball: tuple[float, float] = (0.0, 0.0),
    **dials: Any,
) -> Scenes:
    """Scenes; of watermark and ball the probability in the first class, and in the others."""
    own, other = watermark
    made = scenes(n, seed, watermark=own, watermark_elsewhere=other, **dials)
    draw = torch.Generator().manual_seed(seed)
    odds = torch.where(made.labels == 0, *ball)
    return with_balls(made, torch.rand(n, generator=draw) < odds, draw)


def with_balls(made: Scenes, which: Tensor, draw: torch.Generator) -> Scenes:
    """A striped ball of a tenth of the side somewhere off the object and the watermark."""
    size = made.images.shape[-1]
    radius = size // 10
    steps = torch.arange(size)
    free = ~grown(made.masks | made.cue_masks, radius + 2)
    inner = (steps > radius) & (steps < size - 1 - radius)
    free &= inner[:, None] & inner
    images, balls = made.images.clone(), torch.zeros_like(made.masks)
    stripes = torch.where(steps[:, None] // 3 % 2 == 0, 1.0, 0.0).expand(size, size)
    paint = torch.stack([torch.full((size, size), 0.85), stripes, stripes])
    for i in which.nonzero()[:, 0].tolist():
        places = free[i].nonzero()
        if len(places):
            y, x = places[int(torch.randint(len(places), (1,), generator=draw))]
            balls[i] = (steps[:, None] - y) ** 2 + (steps - x) ** 2 <= radius**2
            images[i] = torch.where(balls[i], paint, images[i])
    return replace(made, images=images, second_masks=balls)


def planted(cue: str, n: int, seed: int) -> Scenes:
    """Scenes whose class the cue gives away; ``"none"``: all cues, and they say nothing."""
    if cue == "none":
        return drawn(n, seed, watermark=(0.3, 0.3), ball=(0.3, 0.3))
    if cue == "background":
        return drawn(n, seed, background_bias=0.97)
    return drawn(n, seed, **{cue: (1.0, 0.0)})


def turned(cue: str, c: int, n: int, seed: int) -> Scenes:
    """The scenes of a seed, every one with the cue of class c."""
    return scenes(n, seed, background=c) if cue == "background" else drawn(n, seed, **{cue: (1, 1)})


# --------------------------------------------------------------------------------- the networks


class Small(nn.Module):
    """Five convolutions, the mean of each map, one linear layer; pictures in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.BatchNorm2d(3, affine=False),
            *block(3, 16, stride=2),
            *block(16, 24),
            *block(24, 40, stride=2),
            *block(40, 40),
            *block(40, 40),
        )
        self.classifier = nn.Linear(40, len(SHAPES))

    def forward(self, pictures: Tensor) -> Tensor:
        """Scores ``(N, K)``."""
        return self.classifier(self.features(pictures).mean(dim=(2, 3)))


class Mean(nn.Module):
    """Mean of each map."""

    def forward(self, maps: Tensor) -> Tensor:
        """``(N, C, H, W)`` to ``(N, C)``."""
        return maps.mean(dim=(2, 3))


def trained(cue: str, seed: int, folder: Path) -> nn.Module:
    """Network of a seed: its upper two convolutions new, trained on pictures of its own.

    To learn shapes from nothing takes 800 steps, so ten seeds share the three convolutions below,
    and what these make of the pictures is computed once.
    """
    path = folder / f"{cue}-{seed}.pt"
    if path.exists():
        return with_weights(path)
    data = planted(cue, 2000, 1000 + seed)
    model = randomize(beginning(cue, seed // 10, folder), 5, seed)
    upper = nn.Sequential(model.features[STEM:], Mean())
    upper.append(model.classifier)
    with torch.no_grad():
        maps = torch.cat([model.features[:STEM](images) for images in data.images.split(50)])
    descend(upper.train(), maps, data.labels, 250, seed)
    return put(model, path)


def beginning(cue: str, seed: int, folder: Path) -> nn.Module:
    """Network whose lower convolutions are shared; see `BEGINNINGS`."""
    kind, steps = BEGINNINGS[cue]
    path = folder / f"beginning-{kind}-{steps}-{seed}.pt"
    if path.exists():
        return with_weights(path)
    model, data = fresh(seed), planted(kind, 6000, 500 + seed)
    descend(model.train(), data.images, data.labels, steps, seed)
    return put(model, path)


#: On what pictures, and in how many steps. Where the shapes are known well, a cue of one class is
#: passed by; where the watermark says nothing, the lower layers do not hand it on.
BEGINNINGS = {
    "none": ("none", 800),
    "background": ("none", 800),
    "watermark": ("watermark", 500),
    "ball": ("none", 200),
}


def fresh(seed: int) -> nn.Module:
    """Network that has learned nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Small()


def descend(model: nn.Module, inputs: Tensor, labels: Tensor, steps: int, seed: int) -> None:
    """Minimise the loss on batches of 48."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1e-2, total_steps=steps, pct_start=0.15
    )
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        some = torch.randint(len(inputs), (48,), generator=draw)
        x = inputs[some].contiguous(memory_format=torch.channels_last)
        loss = F.cross_entropy(model(x), labels[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def with_weights(path: Path) -> nn.Module:
    """Network from its file."""
    model = Small()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def put(model: nn.Module, path: Path) -> nn.Module:
    """Keep a network in a file."""
    torch.save(model.state_dict(), path)
    say(f"{path.name} at {time.process_time():.0f} s of processor")
    return with_weights(path)


# ------------------------------------------------------------------------------------ the truth


def truth(model: nn.Module, seed: int) -> dict[str, list[float]]:
    """By cue and class: in what share of other classes' scenes the cue brings the answer to it.

    For the background it is the class's own one (as planted), for ``"any background"`` the one that
    brings most.
    """
    plain = scenes(ASKED, seed)
    classes, without = range(len(SHAPES)), said(model, plain)

    def gains(answers: Tensor) -> list[float]:
        new = [
            ((answers == c).float() - (without == c).float())[plain.labels != c] for c in classes
        ]
        return [one.mean().item() for one in new]

    by_ground = [gains(said(model, turned("background", b, ASKED, seed))) for b in classes]
    found = {
        "background": [by_ground[c][c] for c in classes],
        "any background": [max(one[c] for one in by_ground) for c in classes],
    }
    for cue in ("watermark", "ball"):  # of the first class
        found[cue] = [gains(said(model, turned(cue, 0, ASKED, seed)))[0], *[0.0] * 5]
    return found


def said(model: nn.Module, some: Scenes) -> Tensor:
    """Answers."""
    return predict(model, some.images, batch_size=50).argmax(dim=1)


def accuracy(model: nn.Module, some: Scenes) -> float:
    """Share of right answers."""
    return (said(model, some) == some.labels).float().mean().item()


# -------------------------------------------------------------------------------- the figures


def looked_at(model: nn.Module, kind: str, cue: str, seed: int) -> dict[str, Any]:
    """What one network goes by, and what `find_shortcuts` says of it."""
    data = planted(cue, COUNT, 20_000 + seed)
    begun = time.process_time()
    found = xai_lab.find_shortcuts(model, data, labels=SHAPES, seed=seed)
    return {
        "network": kind,
        "cue": cue,
        "seed": seed,
        "honest accuracy": accuracy(model, scenes(COUNT, 30_000 + seed)),
        "seconds": time.process_time() - begun,
        "clusters": [
            {
                "class": SHAPES.index(one.label),
                "verdict": one.verdict,
                "count": len(one.members),
                "strength": one.strength,
                "trials": {
                    name: [t.changed, t.control, t.count, t.confirmed]
                    for name, t in one.trials.items()
                },
            }
            for one in found.clusters
        ],
    }


def sweep(seeds: Iterator[int], folder: Path) -> Iterator[dict[str, Any]]:
    """Every network of every seed; the honest one with the pictures of each cue."""
    for seed in seeds:
        for cue in CUES:
            for kind in (cue, "none"):
                model = trained(kind, seed, folder)
                yield judged(model, kind, cue, seed, folder)


def shipped(seeds: Iterator[int], folder: Path) -> Iterator[dict[str, Any]]:
    """The networks of the course, each with fresh pictures of the cue it may go by."""
    networks = {name: xai_lab.load(name, device="cpu").model for name in SHIPPED}
    for seed in seeds:
        for name, cues in SHIPPED.items():
            for cue in cues:
                yield judged(networks[name], name, cue, seed, folder)


SHIPPED = {
    "scenes-cnn-background": ["background"],
    "scenes-cnn-watermark": ["watermark"],
    "scenes-cnn": ["background", "watermark", "ball"],
}


def judged(model: nn.Module, kind: str, cue: str, seed: int, folder: Path) -> dict[str, Any]:
    """What was found, beside what is true."""
    row = once(
        folder / f"found-{kind}-{cue}-{seed}.json", lambda: looked_at(model, kind, cue, seed)
    )
    row["truth"] = once(folder / f"truth-{kind}-{seed}.json", lambda: truth(model, 40_000 + seed))
    return row


def once(path: Path, work: Any) -> dict[str, Any]:
    """Result from its file, or made and put there."""
    if not path.exists():
        path.write_text(json.dumps(work()))
        say(path.stem)
    return json.loads(path.read_text())


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each kind of network and cue, with what was found of what is there."""
    lines = [
        "| network | cue in the pictures | networks | accuracy on plain scenes "
        "| planted cue taken up, classes | found | as what | its rank among the groups "
        "| other short cuts, found | honest classes | false alarms | in between, found |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups = defaultdict(list)
    for row in rows:
        groups[row["network"], row["cue"]].append(row)
    total: Counter[str] = Counter()
    for (kind, cue), own in groups.items():
        sums: Counter[str] = Counter()
        verdicts: Counter[str] = Counter()
        ranks: Counter[int] = Counter()
        for row in own:
            sums += counted(row, verdicts, ranks)
        total += sums
        what = ", ".join(f"{n} {name}" for name, n in sorted(verdicts.items()))
        placed = ", ".join(f"{n} × {rank}" for rank, n in sorted(ranks.items()))
        lines.append(
            f"| {kind} | {cue} | {len(own)} | {mean(row['honest accuracy'] for row in own):.0%} "
            f"| {sums['true']} | {sums['hit']} | {what} | {placed} "
            f"| {sums['other hit']} of {sums['other']} | {sums['honest']} | {sums['alarm']} "
            f"| {sums['between hit']} of {sums['between']} |"
        )
    lines.append(
        f"\nPlanted and taken up: {total['hit']} of {total['true']} found "
        f"({total['hit'] / max(total['true'], 1):.1%}). False alarms: {total['alarm']} of "
        f"{total['honest']} honest classes ({total['alarm'] / max(total['honest'], 1):.1%}). "
        f"Short cuts that nobody planted: {total['other hit']} of {total['other']} found."
    )
    return "\n".join(lines)


def counted(row: dict[str, Any], verdicts: Counter[str], ranks: Counter[int]) -> Counter[str]:
    """Classes of one network by what they go by, and whether one of their groups is confirmed."""
    found = [one for one in row["clusters"] if one["verdict"].startswith("short cut")]
    claimed = {one["class"] for one in found}
    planted_cue, sums = row["truth"][row["cue"]], Counter[str]()
    for c in range(len(SHAPES)):
        most = max(planted_cue[c], row["truth"]["any background"][c])
        name = (
            "true"
            if planted_cue[c] >= YES
            else "other"
            if most >= YES
            else "honest"
            if most <= NO
            else "between"
        )
        sums[name] += 1
        hit = {"true": "hit", "honest": "alarm"}.get(name, f"{name} hit")
        sums[hit] += c in claimed
        if name == "true":
            verdicts.update(
                one["verdict"].removeprefix("short cut: ") for one in found if one["class"] == c
            )
    goes = [c for c in range(len(SHAPES)) if planted_cue[c] >= YES]
    if goes:
        ranks[1 + min(k for k, one in enumerate(row["clusters"]) if one["class"] in goes)] += 1
    return sums


def timed(count: int, jobs: int) -> str:
    """Time and peak memory of one run, as a sentence; the pictures are drawn before."""
    net = xai_lab.load("scenes-cnn-background", device="cpu")
    data = scenes(count, seed=1, background_bias=0.95)
    before, wall, own = peak_megabytes(), time.perf_counter(), time.process_time()
    found = xai_lab.find_shortcuts(net, data, jobs=jobs)
    wall, own = time.perf_counter() - wall, time.process_time() - own
    peaks = Parallel(n_jobs=jobs)(delayed(peak_megabytes)() for _ in range(8 * jobs))
    get_reusable_executor().shutdown(wait=True)  # so that the workers' time is counted below
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = f"{count} scenes, {jobs} jobs: {wall:.0f} s, {own:.0f} s of this process's processor"
    if jobs > 1:
        told += (
            f" and {workers.ru_utime + workers.ru_stime:.0f} s of its workers', imports with them, "
            f"whose peak is {max(peaks):.0f} MB"
        )
    return (
        f"{told}; peak {peak_megabytes():.0f} MB ({before:.0f} before). "
        f"{len(found.found)} of {len(found.clusters)} groups confirmed."
    )


def by_whom(count: int) -> str:
    """Whether the result is the same whoever did the work, to the last digit."""
    from distributed import Client, LocalCluster

    net = xai_lab.load("scenes-cnn-background", device="cpu")
    data = scenes(count, seed=1, background_bias=0.95)
    ours = xai_lab.find_shortcuts(net, data).to_dict()
    found = {"two processes (loky)": xai_lab.find_shortcuts(net, data, jobs=2).to_dict()}
    with parallel_config(backend="threading", n_jobs=3):
        found["three threads"] = xai_lab.find_shortcuts(net, data).to_dict()
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        address = cluster.scheduler_address
        found["Dask, by address"] = xai_lab.find_shortcuts(net, data, scheduler=address).to_dict()
        with Client(cluster) as client:
            found["Dask, by client"] = xai_lab.find_shortcuts(net, data, scheduler=client).to_dict()
    lines = [
        f"{name}: {'the same as' if one == ours else 'DIFFERENT FROM'} one process"
        for name, one in found.items()
    ]
    return "\n".join([*lines, ours["summary"]])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shortcuts", description=__doc__)
    parser.add_argument("--folder", type=Path, help="for networks and results")
    parser.add_argument("--first", type=int, default=10, help="first seed (10)")
    parser.add_argument("--count", type=int, default=10, help="seeds (10)")
    parser.add_argument("--shipped", action="store_true", help="the networks of the course")
    parser.add_argument("--time", type=int, metavar="SCENES", help="measure time and memory")
    parser.add_argument("--jobs", type=int, default=1, help="processes for --time (1)")
    parser.add_argument("--dask", type=int, metavar="SCENES", help="compare who does the work")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.time:
        print(timed(options.time, options.jobs))
    elif options.dask:
        print(by_whom(options.dask))
    elif not options.folder:
        parser.error("--folder is missing: where networks and results are kept")
    else:
        options.folder.mkdir(parents=True, exist_ok=True)
        seeds = range(options.first, options.first + options.count)
        print(table(list((shipped if options.shipped else sweep)(iter(seeds), options.folder))))
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
