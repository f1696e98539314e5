"""Does a network go by the object, or by what happens to stand beside it? A whole data set at once.

`find_shortcuts` works in three steps. `survey` makes a map for every picture, part by part, and
each part is on disk before the next begins. `spectral_clusters` sorts the maps of each predicted
class into groups that look at the same places (spectral relevance analysis). `counterfactuals`
tries each group: its objects on other backgrounds, its backgrounds behind other objects, the
marked place hidden, the marked place pasted elsewhere, each beside a control that makes the same
cut and changes no class. Only what these tests confirm is called a short cut.

Everything is done in the order of a hash of the pictures, so the result depends neither on the
order of the data set nor on how the work was divided.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from xai_lab import pages
from xai_lab.baselines import Normalisation
from xai_lab.core import check_count, predict
from xai_lab.diagnosis import class_number
from xai_lab.edits import SURE, keep_only, occlude, outline, paste_cue
from xai_lab.evidence import elsewhere, highlighted, smoothed
from xai_lab.faithfulness import area, grown, mass_inside
from xai_lab.interpret import Explain, as_maps, grad_cam_map, named_classes, shown, unpacked


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
        from scipy.stats import fisher_exact

        if self.count < RULES.least or self.effect < RULES.effect:
            return False
        rows = [[n, self.count - n] for n in (self.changed, self.control)]
        return bool(fisher_exact(rows, alternative="greater").pvalue <= RULES.chance)


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
        pairs = (("leaves", "joins"), ("hide", "paste"))
        return max((min(t.get(a, 0.0), t.get(b, 0.0)) for a, b in pairs), default=0.0)


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
        seen = f"{self.count} pictures in {len(self.clusters)} groups.{skipped}"
        if self.found:
            told = "; ".join(f"{one.label}: {one.reason}" for one in self.found)
            return f"Short cuts confirmed for {len(self.found)} groups. {told}. {seen}"
        open_ = sum(one.verdict in ("undecided", "suspected") for one in self.clusters)
        left = f", {open_} groups are undecided or only suspected" if open_ else ""
        return f"No short cut was confirmed{left}. {seen}"

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
        ``(image, label, mask)``, the image ``(C, H, W)`` as the model wants it. A worker is sent
        all of such a data set, of tensors only its part. Without masks the objects are outlined
        by a guess, and pictures where that is not sure are left out of the tests.
    labels, normalisation
        As in `xai_lab.diagnose`.
    method : callable
        From (model, pictures, target) to maps. With several jobs it must be a function that a
        process can be sent: one of a module, no lambda of a notebook that only loky can send.
    folder : path, optional
        Where finished parts are kept. A run that broke off goes on from there.
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
        For an empty data set, or one without a picture that can be read; a class folder that the
        model has no class for; a folder that may not be read, or that holds the parts of another
        run.
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
    parts = [range(i, min(i + chunk, len(data))) for i in range(0, len(data), chunk)]
    asked = {"cells": cells, "batch_size": batch_size}
    store = Store(folder, fingerprint(net, data, method, cells, chunk))
    jobs_of = [(survey, net, data.part(part), method, asked) for part in parts]
    done = list(carried_out(jobs_of, "part", store, jobs, scheduler, progress))
    table, broken = joined(done, [data.name(i) for i in range(len(data))])
    if not len(table["index"]):
        told = "; ".join(f"{name}: {why}" for name, why in list(broken.items())[:3])
        raise ValueError(f"none of the {len(data)} pictures could be read. {told}")
    names = named_classes(names, int(table["classes"][0]))
    grouped = [
        (c, rows) for c in np.unique(table["said"]) for rows in members_of(table, int(c), groups)
    ]
    plans = [plan(table, int(c), rows, samples, seed) for c, rows in grouped]
    settings = {"share": share, "batch_size": batch_size}
    work = [
        (
            counterfactuals,
            net,
            data.part(sorted(set(pairs.ravel().tolist()))),
            method,
            int(c),
            pairs,
            settings,
        )
        for (c, _), (pairs, _) in zip(grouped, plans, strict=True)
    ]
    tag = hashlib.blake2b(repr([share, samples, seed, groups]).encode(), digest_size=4).hexdigest()
    trials = carried_out(work, f"tests-{tag}", store, jobs, scheduler, progress)
    clusters = [
        described(table, data, int(c), rows, made, why, names, scale)
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


# ----------------------------------------------------------------------------------- step 1: maps


def survey(model: Any, data: Pictures, method: Explain, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Answers and maps of some pictures, as arrays; pictures that cannot be read are listed."""
    own = copy.deepcopy(model) if isinstance(model, nn.Module) else model  # threads share theirs
    rows: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    broken: list[tuple[int, str]] = []
    for indices, x, labels, masks in batches(data, asked["batch_size"] or 16, broken):
        x = x.to(device_of(own))
        outputs = predict(own, x, batch_size=asked["batch_size"])
        said = outputs.argmax(dim=1)
        maps = explained(own, x, said, method)
        masks, sure = outlines(x, masks)
        known = masks.flatten(1).any(dim=1)
        inside = torch.full((len(x),), torch.nan)
        inside[known.cpu()] = (
            mass_inside(maps[known], masks[known]).cpu() if known.any() else inside[:0]
        )
        pooled = F.adaptive_avg_pool2d(maps[:, None].double(), asked["cells"])[:, 0]
        pooled /= pooled.sum(dim=(1, 2), keepdim=True).clamp_min(1e-300)
        new = {
            "index": indices,
            "key": [key_of(one, label) for one, label in zip(x.cpu(), labels, strict=True)],
            "label": labels,
            "said": said.tolist(),
            "classes": [outputs.shape[1]] * len(x),
            "inside": inside.tolist(),
            "area": area(masks).tolist(),
            "sure": sure.tolist(),
            "map": pooled.cpu().numpy().round(6),
        }
        for name, values in new.items():
            rows[name].extend(values)
    return {**{k: np.array(v) for k, v in rows.items()}, "broken": np.array(broken, dtype=object)}


COLUMNS = ("index", "key", "label", "said", "classes", "inside", "area", "sure", "map")


def explained(model: Any, x: Tensor, said: Tensor, method: Explain) -> Tensor:
    """Maps ``(N, H, W)`` for the predicted classes; one that is empty stays so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the map of sample")
        return as_maps(method(model, x, said))


def outlines(x: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor]:
    """Objects ``(N, H, W)`` and how sure they are; a guess that is not sure is no mask."""
    if masks is not None:
        given = masks.to(x.device)
        return given, given.flatten(1).any(dim=1).float().cpu()
    found, sure = outline(x)
    return found & (sure >= SURE).to(x.device)[:, None, None], sure


def joined(
    done: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Parts as one table, in the order of the pictures' hashes, and what could not be read."""
    full = [part for part in done if len(part["index"])]
    table = {
        name: np.concatenate([part[name] for part in full]) if full else np.array([])
        for name in COLUMNS
    }
    order = np.argsort(table["key"], kind="stable")
    broken = {names[int(i)]: str(why) for part in done for i, why in part["broken"]}
    return {name: values[order] for name, values in table.items()}, broken


# -------------------------------------------------------------------------------- step 2: clusters


def members_of(table: Mapping[str, np.ndarray], c: int, groups: int) -> list[np.ndarray]:
    """Rows of the table that are given class c, cluster by cluster, the largest first."""
    rows = np.flatnonzero(table["said"] == c)
    found = spectral_clusters(table["map"][rows], groups)
    parts = [rows[found == k] for k in np.unique(found)]
    return sorted(parts, key=lambda part: (-len(part), int(part[0])))


def spectral_clusters(maps: np.ndarray, most: int = 4) -> np.ndarray:
    r"""Clusters of maps: spectral embedding of their neighbourhood graph, cut at the eigengap.

    .. math:: L = I - D^{-1/2} W D^{-1/2}

    W joins each map to its nearest ones, both ways; distances are Euclidean between the roots of
    the maps (Hellinger), so that a few strong cells do not decide alone. L has as many eigenvalues
    near zero as there are separate groups: their number is where the next eigenvalue is furthest
    away. The rows of those eigenvectors, scaled to length one, are clustered by k-means.

    Parameters
    ----------
    maps : ndarray
        ``(n, cells, cells)``, not negative.
    most : int
        Clusters at most.

    Returns
    -------
    ndarray
        Number of the cluster, ``(n,)``. Fewer than 12 maps are one cluster.
    """
    from sklearn.cluster import KMeans
    from sklearn.neighbors import kneighbors_graph

    n = len(maps)
    if n < 12 or most == 1:
        return np.zeros(n, int)
    points = np.sqrt(maps.reshape(n, -1))
    near = kneighbors_graph(points, min(n - 1, 3 + int(np.ceil(np.log2(n)))), include_self=False)
    W = near.maximum(near.T).toarray()
    d = 1 / np.sqrt(W.sum(axis=1))
    values, vectors = np.linalg.eigh(np.eye(n) - d[:, None] * W * d)
    k = 1 + int(np.diff(values[: most + 1]).argmax())
    if k == 1:
        return np.zeros(n, int)
    rows = vectors[:, :k]
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
    return KMeans(k, n_init=10, random_state=0).fit(rows).labels_


# ------------------------------------------------------------------------- step 3: counterfactuals


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

    def told(a: str, b: str) -> str:
        one, two = trials[a], trials[b]
        return (
            f"{one.changed} of {one.count} against {one.control} in the control, "
            f"{two.changed} of {two.count} against {two.control}"
        )

    if {"hide", "paste"} <= held:
        return (
            "short cut: cue",
            "what is marked off the object decides: hiding it takes the class away and pasting it "
            f"gives the class ({told('hide', 'paste')})",
        )
    if {"leaves", "joins"} <= held:
        return (
            "short cut: background",
            "the background decides: objects lose the class on others and get it on these "
            f"({told('leaves', 'joins')})",
        )
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


# ------------------------------------------------------------------------------ the pictures


class Pictures:
    """Pictures by number, whatever holds them: items ``(image, label, mask or None)``."""

    def __init__(self, items: Any, indices: Sequence[int] | None = None) -> None:
        self.items = items
        self.indices = list(range(len(items)) if indices is None else indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> tuple[Tensor, int, Tensor | None]:
        image, label, *mask = self.items[i]
        if not isinstance(image, Tensor) or image.ndim != 3 or not image.is_floating_point():
            kind = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
            raise ValueError(f"the picture is {kind}, expected a float tensor (C, H, W)")
        if not torch.isfinite(image).all():
            raise ValueError("the picture holds NaN or infinity")
        return image, int(label), mask[0] if mask else None

    def name(self, i: int) -> str:
        """What to call a picture."""
        return self.items.names[i] if hasattr(self.items, "names") else f"picture {i}"

    def part(self, indices: Sequence[int]) -> Pictures:
        """Some of them, under their own numbers; what is sent to a worker."""
        items = self.items.some(indices) if isinstance(self.items, Tensors) else self.items
        return Pictures(items, indices)


@dataclass(frozen=True)
class Tensors:
    """Images, labels and perhaps masks in memory; ``places`` says where a number is found."""

    images: Tensor
    labels: Tensor
    masks: Tensor | None = None
    places: Mapping[int, int] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Any, ...]:
        k = i if self.places is None else self.places[i]
        one = (self.images[k], int(self.labels[k]))
        return one if self.masks is None else (*one, self.masks[k])

    def some(self, indices: Sequence[int]) -> Tensors:
        """Only those, so that no worker is sent the rest."""
        chosen = list(indices)
        masks = None if self.masks is None else self.masks[chosen]
        places = {i: k for k, i in enumerate(chosen)}
        return Tensors(self.images[chosen], self.labels[chosen], masks, places)


@dataclass(frozen=True)
class Folder:
    """Files of class folders: names relative to the folder, their classes, and the transform."""

    root: Path
    names: list[str]
    labels: list[int]
    transform: Any

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        from xai_lab.data import photo

        return self.transform(photo(self.root / self.names[i])), self.labels[i]


def pictures_of(dataset: Any, model: Any, labels: Sequence[str] | None) -> Pictures:
    """Pictures of any kind of data set that `find_shortcuts` takes."""
    if isinstance(dataset, str | os.PathLike):
        return Pictures(class_folders(Path(dataset), model, labels))
    if hasattr(dataset, "images") and hasattr(dataset, "labels"):
        dataset = (dataset.images, dataset.labels, dataset.masks)
    if isinstance(dataset, tuple) and 2 <= len(dataset) <= 3 and isinstance(dataset[0], Tensor):
        lengths = {len(one) for one in dataset}
        if len(lengths) != 1:
            raise ValueError(f"images, labels and masks have lengths {sorted(lengths)}")
        return Pictures(Tensors(*dataset))
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise TypeError(
            f"the data set is a {type(dataset).__name__}, expected a folder, (images, labels), or "
            "something with a length whose items are (image, label)"
        )
    return Pictures(dataset)


def class_folders(root: Path, model: Any, labels: Sequence[str] | None) -> Folder:
    """Files of a folder of class folders, in the order of their names."""
    if not hasattr(model, "transform") or labels is None:
        raise ValueError("a folder needs a model from `xai_lab.load`, for its transform and labels")
    if not root.is_dir():
        raise ValueError(f"there is no folder {str(root)!r}")
    names, classes = [], []
    for one in listed(root):
        if not one.is_dir():
            continue
        try:
            c = class_number(one.name.replace("_", " "), labels)
        except ValueError as error:
            raise ValueError(f"the folder {one.name!r} is none of the classes: {error}") from error
        for file in listed(one):
            if file.is_file():
                names.append(f"{one.name}/{file.name}")
                classes.append(c)
    return Folder(root, names, classes, model.transform)


def listed(folder: Path) -> list[Path]:
    """What is in a folder, hidden files left out, or a sentence."""
    try:
        return sorted(one for one in folder.iterdir() if not one.name.startswith("."))
    except PermissionError as error:
        raise ValueError(f"{folder} may not be read by you; change its permissions") from error


def batches(
    data: Pictures, size: int, broken: list[tuple[int, str]]
) -> Iterator[tuple[list[int], Tensor, list[int], Tensor | None]]:
    """Stacks of pictures that can be read; the others are added to ``broken``."""
    waiting: list[tuple[int, Tensor, int, Tensor | None]] = []
    for i in data.indices:
        try:
            one = (i, *data[i])
        except (OSError, ValueError, RuntimeError, SyntaxError, TypeError) as error:
            broken.append((i, str(error) or type(error).__name__))
            continue
        if waiting and (one[1].shape != waiting[0][1].shape or len(waiting) == size):
            yield stacked(waiting)
            waiting = []
        waiting.append(one)
    if waiting:
        yield stacked(waiting)


def stacked(
    some: Sequence[tuple[int, Tensor, int, Tensor | None]],
) -> tuple[list[int], Tensor, list[int], Tensor | None]:
    """Numbers, pictures, labels and masks of some items."""
    indices, images, labels, masks = zip(*some, strict=True)
    drawn = None if masks[0] is None else torch.stack(masks)
    return list(indices), torch.stack(images), list(labels), drawn


def device_of(model: Any) -> torch.device:
    """Where a model computes."""
    weight = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if weight is None else weight.device


def key_of(image: Tensor, label: int) -> str:
    """Hash of a picture and its label: what it is ordered by."""
    data = image.contiguous().numpy().tobytes() + str(label).encode()
    return hashlib.blake2b(data, digest_size=12).hexdigest()


# ---------------------------------------------------------------------------- who does the work


def carried_out(
    work: Sequence[tuple[Any, ...]],
    kind: str,
    store: Store,
    jobs: int | None,
    scheduler: Any,
    progress: bool,
) -> list[dict[str, Any]]:
    """Results of some calls (function, arguments), those in the store taken from there."""
    from joblib import Parallel, delayed

    found = {k: old for k in range(len(work)) if (old := store.read(f"{kind}-{k:05d}")) is not None}
    missing = [k for k in range(len(work)) if k not in found]
    bar = tqdm(total=len(work), initial=len(found), desc=kind, disable=not progress)
    with bar, backend(scheduler):
        # In order, each as soon as it is there, so that all that is done is on disk.
        run = Parallel(n_jobs=jobs, return_as="generator")
        for k, new in zip(
            missing, run(delayed(work[k][0])(*work[k][1:]) for k in missing), strict=True
        ):
            store.write(f"{kind}-{k:05d}", new)
            found[k] = new
            bar.update()
    return [found[k] for k in range(len(work))]


def backend(scheduler: Any) -> Any:
    """Dask for joblib, where a scheduler is given; else whatever joblib is set to."""
    from contextlib import nullcontext

    from joblib import parallel_config

    if scheduler is None:
        return nullcontext()
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "a scheduler needs Dask, which is not installed: pip install distributed; or leave "
            "`scheduler` out and set `jobs`"
        ) from error
    if isinstance(scheduler, str):
        return parallel_config(backend="dask", scheduler_host=scheduler)
    return parallel_config(backend="dask", client=scheduler)


class Store:
    """Folder of finished parts, each written whole or not at all; without a folder, nothing."""

    def __init__(self, folder: str | os.PathLike[str] | None, mark: str) -> None:
        self.folder, self.mark = None if folder is None else Path(folder), mark
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            old = self.folder / "run.json"
            if not old.exists():
                self.put(old, json.dumps({"mark": mark}).encode())
            if json.loads(old.read_text()).get("mark") != mark:
                raise ValueError(
                    f"{self.folder} holds parts of another run: other pictures, another model or "
                    "other settings. Name another folder, or empty this one"
                )
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            raise ValueError(f"{self.folder} cannot be written to: {error.strerror}") from error

    def put(self, path: Path, data: bytes) -> None:
        """Write a file whole: beside its place first, then moved there."""
        assert self.folder is not None
        handle, beside = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(beside, path)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise

    def write(self, name: str, values: Mapping[str, Any]) -> None:
        """Keep arrays; text goes in as JSON, so that nothing has to be unpickled."""
        if self.folder is None:
            return
        import io

        buffer = io.BytesIO()
        plain = {k: v for k, v in values.items() if k != "broken"}
        told = [[int(i), str(why)] for i, why in values.get("broken", ())]
        np.savez_compressed(buffer, broken=np.array(json.dumps(told)), **plain)
        self.put(self.folder / f"{name}.npz", buffer.getvalue())

    def read(self, name: str) -> dict[str, Any] | None:
        """Arrays that were kept, or None: a part that is not there or damaged is done again."""
        if self.folder is None:
            return None
        try:
            with np.load(self.folder / f"{name}.npz", allow_pickle=False) as kept:
                values = {k: kept[k] for k in kept.files if k != "broken"}
                return {**values, "broken": json.loads(str(kept["broken"]))}
        except Exception:  # a damaged file fails in many ways, and all have one remedy
            return None


def fingerprint(model: Any, data: Pictures, method: Any, cells: int, chunk: int) -> str:
    """Mark of a run: the same for the same weights, pictures and settings."""
    mark = hashlib.blake2b(digest_size=12)
    mark.update(repr([cells, chunk, len(data), getattr(method, "__qualname__", "")]).encode())
    if isinstance(model, nn.Module):
        for name, weight in model.state_dict().items():
            mark.update(name.encode() + weight.detach().cpu().float().numpy().tobytes())
    items = data.items
    if isinstance(items, Tensors):
        for one in (items.images, items.labels, items.masks):
            if one is not None:
                mark.update(one.detach().cpu().contiguous().numpy().tobytes())
    elif isinstance(items, Folder):
        mark.update(json.dumps([items.names, items.labels]).encode())
    return mark.hexdigest()
