"""Does a network go by the object, or by what happens to stand beside it? A whole data set at once.

`find_shortcuts` works in three steps. `survey` makes a map for every picture, and `members_of`
sorts the maps of each predicted class into groups that look at the same places (spectral relevance
analysis; both in `xai_lab.survey`). `counterfactuals` tries each group: its objects on other
backgrounds, its backgrounds behind other objects, the marked place hidden, the marked place pasted
elsewhere, each beside a control that makes the same cut and changes no class. Only what these tests
confirm is called a short cut. Who does the work, and what is kept of it, is the business of
`xai_lab.parts`; what a data set may be, that of `xai_lab.pictures`.

Everything is done in the order of a hash of the pictures, so the result depends neither on the
order of the data set nor on how the work was divided.
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import comb
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xai_lab import pages
from xai_lab.baselines import Normalisation
from xai_lab.core import check_count, predict
from xai_lab.edits import SURE, keep_only, occlude, paste_cue
from xai_lab.evidence import elsewhere, highlighted, smoothed
from xai_lab.faithfulness import grown
from xai_lab.interpret import Explain, grad_cam_map, named_classes, shown, unpacked
from xai_lab.parts import Store, carried_out, function_mark, run_mark
from xai_lab.pictures import Pictures, pictures_of
from xai_lab.survey import check_kept, device_of, explained, joined, members_of, outlines, survey


@dataclass(frozen=True)
class Rules:
    """When a test confirms that a place off the object decides.

    Attributes
    ----------
    effect : float
        The rate of changed answers has to exceed that of the control by 30 points: a cue that
        decides less often than that is no rule of the network's.
    chance : float
        One-sided Fisher test of the two rates.
    least : int
        Pictures that a group must have to be tested: with fewer, no test could reach that chance.
    """

    effect: float = 0.3
    chance: float = 0.01
    least: int = 6


RULES = Rules()


@dataclass(frozen=True)
class Trial:
    """One counterfactual test: how often the answer changed, and how often in the control.

    Attributes
    ----------
    changed, control : int
        Pictures whose answer changed, in the test and in its control.
    count : int
        Pictures tried.
    """

    changed: int
    control: int
    count: int

    @property
    def effect(self) -> float:
        """Difference of the two rates."""
        return (self.changed - self.control) / self.count if self.count else 0.0

    @property
    def confirmed(self) -> bool:
        """Whether the difference is large, and no accident."""
        if self.count < RULES.least or self.effect < RULES.effect:
            return False
        return self.chance <= RULES.chance

    @property
    def chance(self) -> float:
        """One-sided Fisher test: how often so many of all changes fall to the test by accident."""
        n, m = self.count, self.changed + self.control
        as_many = (comb(n, k) * comb(n, m - k) for k in range(self.changed, min(n, m) + 1))
        return sum(as_many) / comb(2 * n, m)


#: What each trial does, and what its control does.
TRIALS = {
    "leaves": "objects on backgrounds of other classes no longer get this class "
    "(control: backgrounds of this class)",
    "joins": "objects of other classes on these backgrounds get this class "
    "(control: backgrounds of other classes)",
    "hide": "with what is marked off the object hidden, they no longer get this class "
    "(control: as much hidden elsewhere)",
    "paste": "what is marked off the object, pasted into pictures of other classes, gives them "
    "this class (control: the same place of a picture of another class)",
}


#: Pairs of trials that confirm a short cut together, and what follows if they do.
PAIRS = {
    "short cut: cue": (
        ("hide", "paste"),
        "what is marked off the object decides: hiding it takes the class away and pasting it "
        "gives the class",
    ),
    "short cut: background": (
        ("leaves", "joins"),
        "the background decides: objects lose the class on others and get it on these",
    ),
}


def against(trials: Mapping[str, Trial]) -> str:
    """Two trials beside their controls, in words."""
    one, two = trials.values()
    return (
        f"{one.changed} of {one.count} against {one.control} in the control, "
        f"{two.changed} of {two.count} against {two.control}"
    )


def counted(count: int, noun: str) -> str:
    """Number and noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


@dataclass(frozen=True)
class Cluster:
    """Pictures with the same answer whose maps are alike.

    Attributes
    ----------
    label : str
        The class that they are given.
    members : tuple of str
        Names of the pictures.
    accuracy : float
        Share of them that is right.
    inside : float
        Mean share of the map that lies on the object; NaN where no object could be outlined.
    chance : float
        Mean share of the picture that the object covers.
    map : ndarray
        Mean map, ``(cells, cells)``, of sum 1.
    trials : dict of str to Trial
        By the names of `TRIALS`.
    verdict : str
        ``"short cut: cue"`` for a place off the object whose hiding and pasting changes answers,
        ``"short cut: background"`` where swapping the background does, ``"suspected"`` where only
        one test of a pair confirms it, ``"none found"``, or ``"undecided"``.
    reason : str
        Why, in one sentence.
    pictures, maps : ndarray
        Some members ``(n, 3, H, W)`` in [0, 1] and their maps ``(n, cells, cells)``.
    """

    label: str
    members: tuple[str, ...]
    accuracy: float
    inside: float
    chance: float
    map: np.ndarray = field(repr=False)
    trials: dict[str, Trial]
    verdict: str
    reason: str
    pictures: np.ndarray = field(repr=False)
    maps: np.ndarray = field(repr=False)

    @property
    def strength(self) -> float:
        """Effect of the weaker test of the stronger pair: what clusters are ranked by."""
        t = {name: trial.effect for name, trial in self.trials.items()}
        return max(min(t.get(a, 0.0), t.get(b, 0.0)) for (a, b), _ in PAIRS.values())


@dataclass(frozen=True)
class Shortcuts:
    """What was found in a data set.

    Attributes
    ----------
    clusters : tuple of Cluster
        The strongest first.
    count : int
        Pictures that could be read.
    broken : dict of str to str
        Name of each picture that could not be, and why.
    accuracy : float
        Of the network on those that could.
    settings : dict
        What it was made with.
    """

    clusters: tuple[Cluster, ...]
    count: int
    broken: dict[str, str]
    accuracy: float
    settings: dict[str, Any]

    @property
    def found(self) -> tuple[Cluster, ...]:
        """Clusters whose short cut was confirmed."""
        return tuple(one for one in self.clusters if one.verdict.startswith("short cut"))

    @property
    def summary(self) -> str:
        """What was found, in a sentence or two."""
        skipped = f" {len(self.broken)} could not be read." if self.broken else ""
        seen = f"{counted(self.count, 'picture')} in {counted(len(self.clusters), 'group')}."
        if self.found:
            told = " ".join(self.told(verdict) for verdict in PAIRS)
            return f"Short cuts confirmed. {told.strip()} {seen}{skipped}"
        open_ = sum(one.verdict in ("undecided", "suspected") for one in self.clusters)
        left = f"; undecided or only suspected: {counted(open_, 'group')}" if open_ else ""
        return f"No short cut was confirmed{left}. {seen}{skipped}"

    def told(self, verdict: str) -> str:
        """One sentence for all groups of one verdict, with the sums of their tests."""
        groups = [one for one in self.clusters if one.verdict == verdict]
        if not groups:
            return ""
        (first, second), reason = PAIRS[verdict]
        labels = pages.listed(sorted({one.label for one in groups}))
        sums = {
            name: Trial(
                *(
                    sum(getattr(one.trials[name], k) for one in groups)
                    for k in Trial.__annotations__
                )
            )
            for name in (first, second)
        }
        return f"{labels} ({counted(len(groups), 'group')}): {reason} ({against(sums)})."

    def to_dict(self) -> dict[str, Any]:
        """Everything as numbers and words that JSON takes."""
        groups = [
            {
                "label": one.label,
                "verdict": one.verdict,
                "reason": one.reason,
                "members": list(one.members),
                "accuracy": one.accuracy,
                "inside": one.inside,
                "chance": one.chance,
                "strength": one.strength,
                "map": one.map.tolist(),
                "trials": {
                    name: {**asdict(t), "effect": t.effect, "confirmed": t.confirmed}
                    for name, t in one.trials.items()
                },
            }
            for one in self.clusters
        ]
        return pages.finite(
            {
                "summary": self.summary,
                "clusters": groups,
                "count": self.count,
                "broken": self.broken,
                "accuracy": self.accuracy,
                "settings": self.settings,
            }
        )

    def rows(self) -> list[dict[str, str]]:
        """Table: a row for each cluster; of each trial its rate, and that of its control."""
        return [
            {
                "class": one.label,
                "pictures": str(len(one.members)),
                "right": f"{one.accuracy:.0%}",
                "map on object": pages.number(one.inside),
                "object covers": pages.number(one.chance),
                **{
                    name: f"{t.changed} ({t.control}) of {t.count}"
                    if (t := one.trials.get(name))
                    else "–"
                    for name in TRIALS
                },
                "verdict": one.verdict,
            }
            for one in self.clusters
        ]

    def table(self) -> str:
        """Rows as Markdown."""
        return pages.markdown(self.rows())

    def figure(self) -> Any:
        """Contact sheet: a row for each cluster, some pictures with their maps, the mean map."""
        from xai_lab.plot import evidence

        return evidence.contact_sheet(self.clusters)

    def html(self) -> str:
        """Page that needs nothing else."""
        alt = "; ".join(
            f"{one.label}, {len(one.members)} pictures: {one.verdict}" for one in self.clusters
        )
        broken = [{"picture": name, "why": why} for name, why in self.broken.items()]
        return pages.document(
            "Short cuts" if self.found else "No short cut confirmed",
            self.summary,
            [
                ("Contact sheet", pages.image(self.figure(), alt=f"Groups of pictures. {alt}.")),
                ("Groups", pages.table(self.rows())),
                (
                    "What the tests do",
                    pages.table([{"test": k, "counts how often": v} for k, v in TRIALS.items()]),
                ),
                *([("Pictures that could not be read", pages.table(broken))] if broken else []),
            ],
            made=", ".join(f"{name} {value}" for name, value in self.settings.items()),
        )

    def _repr_html_(self) -> str:
        return pages.table(self.rows(), caption=self.summary)


def find_shortcuts(
    model: Any,
    dataset: Any,
    *,
    labels: Sequence[str] | None = None,
    normalisation: Normalisation | None = None,
    method: Explain = grad_cam_map,
    folder: str | os.PathLike[str] | None = None,
    cells: int = 8,
    groups: int = 4,
    samples: int = 16,
    share: float = 0.15,
    chunk: int = 64,
    jobs: int | None = None,
    scheduler: Any = None,
    batch_size: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Shortcuts:
    """Short cuts that a network takes on a data set, each confirmed by counterfactual pictures.

    Parameters
    ----------
    model : Module or Loaded
        Maps ``(N, C, H, W)`` to logits ``(N, K)``.
    dataset : path, tuple of Tensor, Scenes or a sequence
        A folder of class folders, named like the model's classes (needs a model from
        `xai_lab.load`, for its transform); ``(images, labels)`` or ``(images, labels, masks)``;
        scenes; or anything with a length whose items are ``(image, label)`` or
        ``(image, label, mask)``, the image ``(C, H, W)`` as the model wants it (a torchvision
        ``ImageFolder`` needs a transform, its classes the model's order). A worker is sent all of
        such a data set, of tensors only its part. Without masks the objects are outlined by a
        guess, and pictures where that is not sure are left out of the tests.
    labels, normalisation
        As in `xai_lab.diagnose`.
    method : callable
        From (model, pictures, target) to maps. With several jobs it must be a function that a
        process can be sent: one of a module, no lambda of a notebook that only loky can send.
    folder : path, optional
        Where finished parts are kept. A run that broke off goes on from there, if model, settings
        and pictures are what they were: of files the size and time are compared, of a data set
        that has to be read two pictures of each part.
    cells : int
        Maps are compared on so many cells a side.
    groups : int
        Clusters a class, at most.
    samples : int
        Pictures of a cluster that are tested.
    share : float
        Of the picture that a map marks.
    chunk : int
        Pictures in a part.
    jobs : int, optional
        Processes, as in joblib; by default what `joblib.parallel_config` says, or this one.
    scheduler : str or Client, optional
        Address of a Dask scheduler, or its client: the parts are done by its workers.
    batch_size : int, optional
        Pictures on the device at once.
    seed : int
        Of the choice of partners for the tests.
    progress : bool
        Show bars.

    Returns
    -------
    Shortcuts
        The same whatever the batch size, the order of the data set, and who did the work.

    Raises
    ------
    TypeError, ValueError
        For an empty data set, or one without a picture that can be read; items that are no
        (image, label), or pictures of several sizes; a class folder that the model has no class
        for; a folder that may not be read, or that holds the parts of another run.
    ImportError
        For a scheduler where Dask is not installed.

    Notes
    -----
    Cost: a forward pass and a map for each picture; a map and 10 forward passes for each of
    ``samples`` pictures of each cluster. One part's pictures are in memory at a time.

    References
    ----------
    Lapuschkin et al., *Unmasking Clever Hans predictors and assessing what machines really learn*,
    Nature Communications 2019 (spectral relevance analysis); Ng, Jordan and Weiss, *On spectral
    clustering*, NeurIPS 2001; Ribeiro, Singh and Guestrin, *"Why should I trust you?"*, KDD 2016
    (the wolf and the snow).
    """
    for name, value in {
        "cells": cells,
        "groups": groups,
        "samples": samples,
        "chunk": chunk,
    }.items():
        check_count(name, value)
    net, names, scale = unpacked(model, labels, normalisation)
    data = pictures_of(dataset, model, names)
    if len(data) == 0:
        raise ValueError("the data set is empty: there is no picture to look at")
    starts = range(0, len(data), chunk)
    asked = {"cells": cells, "batch_size": batch_size}
    store = Store(folder, run_mark(net, [data.mark(), cells, chunk, function_mark(method)]))
    check_kept(store, data, "part", len(starts))

    def part(k: int) -> tuple[Any, ...]:
        numbers = range(starts[k], min(starts[k] + chunk, len(data)))
        return survey, net, data.part(numbers), method, asked

    done = carried_out(len(starts), part, "part", store, jobs, scheduler, progress)
    table, broken = joined(done, [data.name(i) for i in range(len(data))])
    if not len(table["index"]):
        told = "; ".join(f"{name}: {why}" for name, why in list(broken.items())[:3])
        raise ValueError(f"none of the {len(data)} pictures could be read. {told}")
    classes = int(table["classes"][0])
    strange = sorted({int(one) for one in table["label"]} - set(range(classes)))
    if strange:
        raise ValueError(
            f"the data set has the labels {strange[:5]}, the model the classes 0 to {classes - 1}"
        )
    names = named_classes(names, classes)
    grouped = [
        (int(c), rows)
        for c in np.unique(table["said"])
        for rows in members_of(table, int(c), groups)
    ]
    plans = [plan(table, c, rows, samples, seed) for c, rows in grouped]
    settings = {"share": share, "batch_size": batch_size}

    def tests(k: int) -> tuple[Any, ...]:
        pairs = plans[k][0]
        some = data.part(sorted(set(pairs.ravel().tolist())))
        return counterfactuals, net, some, method, grouped[k][0], pairs, settings

    tag = hashlib.blake2b(repr([share, samples, seed, groups]).encode(), digest_size=4).hexdigest()
    trials = carried_out(len(plans), tests, f"tests-{tag}", store, jobs, scheduler, progress)
    clusters = [
        described(table, data, c, rows, made, why, names, scale)
        for (c, rows), (_, why), made in zip(grouped, plans, trials, strict=True)
    ]
    clusters.sort(key=lambda one: (-one.strength, -len(one.members), one.label))
    return Shortcuts(
        clusters=tuple(clusters),
        count=len(table["index"]),
        broken=broken,
        accuracy=float((table["said"] == table["label"]).mean()),
        settings={
            "cells": cells,
            "groups": groups,
            "samples": samples,
            "share": share,
            "seed": seed,
        },
    )


# --------------------------------------------------------------------------------- counterfactuals


def plan(
    table: Mapping[str, np.ndarray], c: int, rows: np.ndarray, samples: int, seed: int
) -> tuple[np.ndarray, str]:
    """Which pictures to try together, and why not if there are none.

    Each line has a member of the cluster, another picture of its class, and two that are neither
    of class c nor taken for it: ``(n, 4)`` indices of the data set.
    """
    nothing = np.zeros((0, 4), int)
    sure = table["sure"] >= SURE
    usable = rows[sure[rows]]
    same = np.flatnonzero(sure & (table["said"] == c))
    others = np.flatnonzero(sure & (table["said"] != c) & (table["label"] != c))
    if len(rows) < RULES.least:
        return nothing, f"{len(rows)} pictures are too few to test"
    if len(usable) < RULES.least:
        return nothing, "the objects cannot be told from their backgrounds; give masks"
    if len(others) < 2:
        return nothing, "there are no pictures of another class to compare with"
    draw = np.random.default_rng([seed, c])
    tried = usable[np.unique(np.linspace(0, len(usable) - 1, samples).round().astype(int))]
    lines = []
    for row in tried:
        k = draw.choice(same[same != row])
        j, m = draw.choice(others, 2, replace=False)
        lines.append(table["index"][[row, k, j, m]])
    return np.array(lines, int), ""


def counterfactuals(
    model: Any,
    data: Pictures,
    method: Explain,
    c: int,
    pairs: np.ndarray,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Counts of changed answers for each of `TRIALS`: (changed, control, tried)."""
    if not len(pairs):
        return {}
    with torch.inference_mode(False):  # as in `survey`
        own = copy.deepcopy(model) if isinstance(model, nn.Module) else model
    (x, m), (same, m_same), (other, m_other), (third, m_third) = (
        loaded(data, column, device_of(own)) for column in pairs.T
    )

    def said(pictures: Tensor) -> Tensor:
        return predict(own, pictures, batch_size=settings["batch_size"]).argmax(dim=1).cpu()

    def ground(pictures: Tensor, masks: Tensor) -> Tensor:
        return occlude(pictures, masks, "inpaint")

    marked = highlighted(
        smoothed(explained(own, x, torch.full((len(x),), c), method)), settings["share"]
    )
    marked &= ~m
    large = marked.float().mean(dim=(1, 2)) >= 0.01  # less than a hundredth is no place
    away = torch.stack(
        [
            elsewhere(one, 1, k, avoid=mask)[0]
            for k, (one, mask) in enumerate(zip(marked, m, strict=True))
        ]
    )

    def gone(masks: Tensor) -> Tensor:
        """Whether the class is gone with the place hidden, by either fill."""
        return (said(occlude(x, masks, "blur")) != c) & (said(occlude(x, masks, "inpaint")) != c)

    large = large.cpu()
    free = marked & ~m_other
    answers = {
        "leaves": (
            said(keep_only(x, m, ground(other, m_other))) != c,
            said(keep_only(x, m, ground(same, m_same))) != c,
        ),
        "joins": (
            said(keep_only(other, m_other, ground(x, m))) == c,
            said(keep_only(other, m_other, ground(third, m_third))) == c,
        ),
        "hide": (gone(marked) & large, gone(away) & large),
        "paste": (
            (said(paste_cue(other, x, free)) == c) & large,
            (said(paste_cue(other, third, free)) == c) & large,
        ),
    }
    count = {"leaves": len(x), "joins": len(x), "hide": int(large.sum()), "paste": int(large.sum())}
    return {
        name: np.array([int(test.sum()), int(control.sum()), count[name]])
        for name, (test, control) in answers.items()
    }


def loaded(data: Pictures, indices: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pictures ``(n, C, H, W)`` and their objects, with a rim: an outline is not that exact."""
    items = [data[int(i)] for i in indices]
    x = torch.stack([one[0] for one in items]).to(device)
    given = [one[2] for one in items if one[2] is not None]
    masks = torch.stack(given) if len(given) == len(items) else None
    return x, grown(outlines(x, masks)[0], max(1, min(x.shape[2:]) // 32))


def judged(trials: Mapping[str, Trial], why: str) -> tuple[str, str]:
    """Verdict and its reason, from the tests alone."""
    if why:
        return "undecided", why
    held = {name for name, trial in trials.items() if trial.confirmed}

    for verdict, (pair, reason) in PAIRS.items():
        if held.issuperset(pair):
            return verdict, f"{reason} ({against({name: trials[name] for name in pair})})"
    if held:
        return "suspected", f"only {pages.listed(sorted(held))} changed the answers"
    return "none found", "no test changed the answers more than its control"


def described(
    table: Mapping[str, np.ndarray],
    data: Pictures,
    c: int,
    rows: np.ndarray,
    made: Mapping[str, Any],
    why: str,
    names: Sequence[str],
    scale: Normalisation | None,
) -> Cluster:
    """One cluster, with some of its pictures."""
    trials = {name: Trial(*(int(n) for n in made[name])) for name in TRIALS if name in made}
    verdict, reason = judged(trials, why)
    examples = rows[np.unique(np.linspace(0, len(rows) - 1, 6).round().astype(int))]
    pictures = [
        shown(data[int(i)][0].cpu()[None], scale)[0].expand(3, -1, -1)
        for i in table["index"][examples]
    ]
    inside = table["inside"][rows]
    return Cluster(
        label=names[c],
        members=tuple(data.name(int(i)) for i in table["index"][rows]),
        accuracy=float((table["label"][rows] == c).mean()),
        inside=float(np.nanmean(inside)) if np.isfinite(inside).any() else float("nan"),
        chance=float(table["area"][rows].mean()),
        map=table["map"][rows].mean(axis=0),
        trials=trials,
        verdict=verdict,
        reason=reason,
        pictures=torch.stack(pictures).numpy(),
        maps=table["map"][examples],
    )
