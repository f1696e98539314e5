"""The methods by name, and what their maps do and do not show.

One table for the command and its report. A new method is one entry of `METHODS`: its title, how to
compute it, how to read its map, what the map cannot show. `Account` is what Integrated Gradients
says of itself. Cheap to import, because `xai-lab --help` reads it: the methods load when called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import xai_lab

if TYPE_CHECKING:
    from torch import Tensor, nn

    from xai_lab.baselines import Normalisation
    from xai_lab.gradients import SmoothGradStatistics
    from xai_lab.integrated import PathIntegral


#: Maps of one method by class and layer; the layer of a map of pixels is ``""``.
Maps: TypeAlias = "dict[tuple[int, str], Tensor]"


@dataclass(frozen=True)
class Question:
    """One photo, some classes, and the settings of the methods.

    Attributes
    ----------
    model : torch.nn.Module
        What is explained.
    inputs : Tensor
        ``(1, C, H, W)``.
    targets : tuple of int
        The classes.
    layers : tuple of str
        Where class activation methods look; empty for the last layer with a map.
    channels : int, optional
        As in `xai_lab.score_cam`.
    samples, noise, seed, progress
        As in `xai_lab.smooth_grad`.
    baseline, normalisation, steps, tol, most
        As in `xai_lab.integrated_gradients`; the names of several baselines are averaged over.
    starts : int
        Draws of the baseline ``"noise"``.
    """

    model: nn.Module
    inputs: Tensor
    targets: tuple[int, ...]
    layers: tuple[str, ...] = ()
    channels: int | None = None
    samples: int = 50
    noise: float = 0.15
    seed: int = 0
    progress: bool = False
    baseline: tuple[str, ...] = ("black",)
    normalisation: Normalisation | None = None
    steps: int = 48
    tol: float | None = 0.01
    most: int = 200
    starts: int = 8

    @cached_property
    def draws(self) -> dict[int, SmoothGradStatistics]:
        """Noisy gradients of each class, drawn once for all the maps that are made of them."""
        return {
            target: xai_lab.smooth_grad_statistics(
                self.model,
                self.inputs,
                target,
                samples=self.samples,
                noise=self.noise,
                seed=self.seed,
                progress=self.progress,
            )
            for target in self.targets
        }

    @cached_property
    def paths(self) -> dict[int, PathIntegral]:
        """Integral of each class along the paths from the baselines."""
        return {
            target: xai_lab.path_integral(
                self.model,
                self.inputs,
                target,
                baseline=self.baseline,
                normalisation=self.normalisation,
                steps=self.steps,
                tol=self.tol,
                most=self.most,
                samples=self.starts,
                seed=self.seed,
                progress=self.progress,
            )
            for target in self.targets
        }

    @cached_property
    def blind(self) -> float:
        """Share of the pixels that differ from no baseline by more than a grey level."""
        import torch

        from xai_lab.baselines import baselines

        starts = baselines(
            self.baseline,
            self.inputs,
            normalisation=self.normalisation,
            samples=self.starts,
            seed=self.seed,
        )
        std = self.inputs.new_tensor(self.normalisation[1] if self.normalisation else 1.0)
        level = 1.001 / 255 / std.reshape(-1, 1, 1)
        same = [((self.inputs - start).abs() <= level).all(dim=1) for start in starts]
        return torch.stack(same).all(dim=0).float().mean().item()

    @cached_property
    def last(self) -> str:
        """Last layer with a map that the score depends on."""
        from xai_lab.layers import last_spatial_layer

        return last_spatial_layer(self.model, self.inputs)

    @property
    def looked_at(self) -> tuple[str, ...]:
        """Layers that were named, or the last one."""
        return self.layers or (self.last,)


@dataclass(frozen=True)
class Account:
    """Whether the parts of one explanation add up, and what that took.

    Attributes
    ----------
    baseline : tuple of str
        Where the paths started.
    score, difference, gap : float
        S(x); S(x) − S(x′); what the parts add up to beyond that.
    passes : int
        Forward and backward passes.
    tol : float, optional
        The gap that was asked for, as a share of the difference.
    reached : bool
        Whether it was reached for sure.
    same : bool
        Whether what is explained is its own baseline.
    blind : float
        Share of the pixels that have the baseline's own colour.
    """

    baseline: tuple[str, ...]
    score: float
    difference: float
    gap: float
    passes: int
    tol: float | None = None
    reached: bool = True
    same: bool = False
    blind: float = 0.0

    @classmethod
    def of(
        cls,
        found: PathIntegral,
        score: float,
        baseline: tuple[str, ...],
        tol: float | None,
        blind: float = 0.0,
    ) -> Account:
        """Account of the one sample of an integral."""
        return cls(
            baseline=baseline,
            score=score,
            difference=found.difference.item(),
            gap=found.gap.item(),
            passes=found.passes[0],
            tol=tol,
            reached=bool(found.reached.item()),
            same=bool(found.same),
            blind=blind,
        )

    @property
    def start(self) -> str:
        """Baselines in words."""
        *others, last = self.baseline
        return f"the mean of {', '.join(others)} and {last}" if others else last

    @property
    def share(self) -> float:
        """Gap as a share of the difference; infinite where there is none."""
        if self.difference == 0:
            return 0.0 if self.gap == 0 else float("inf")
        return abs(self.gap / self.difference)

    @property
    def short(self) -> str:
        """Baseline, cost and gap, for the foot of a map."""
        S = number(self.score - self.difference)
        # The gap first: where there is little room, the end is cut off.
        return f"gap {shared(self.share)}, {self.passes} passes, from {self.start} (S = {S})"

    @property
    def sentence(self) -> str:
        """Everything in one line for the terminal and two for the page."""
        said = (
            f"From {self.start}: S(x) = {number(self.score)}, S(baseline) = "
            f"{number(self.score - self.difference)}, a difference of {number(self.difference)}. "
            f"The parts add up to {number(self.difference + self.gap)} after {self.passes} "
            f"pass{'es' * (self.passes != 1)}, a gap of {shared(self.share)} of the difference."
        )
        if self.difference < 0:
            said += (
                " The baseline has the higher score, so the parts show what takes the score down."
            )
        if self.blind >= 0.01:
            said += (
                f" {self.blind:.0%} of the pixels have the baseline's own colour and get next to "
                "nothing, whatever they do."
            )
        return said

    @property
    def doubt(self) -> str:
        """What is wrong, and what to do; empty if nothing is."""
        if self.same:
            return "this is its own baseline, so there is nothing to explain; choose another"
        if self.difference == 0:
            return (
                "the baseline has the very same score, so there is no difference to explain; "
                "choose another"
            )
        if self.tol is not None and not self.reached:
            wanted = f"the gap of {self.tol:.2g} of the difference that was asked for"
            how = "raise --most, or choose a --baseline whose score is further away"
            if self.share <= self.tol:
                return f"{wanted} was not reached from every baseline, only on average; {how}"
            return f"{wanted} could not be reached in {self.passes} passes; {how}"
        if self.tol is None and self.share > 0.05:
            return (
                f"the gap is {shared(self.share)} of the difference; --tol 0.01 in place of "
                "--steps looks closer where the score changes"
            )
        return ""


def number(value: float) -> str:
    """Score for a reader."""
    return f"{round(value, 2) + 0:.2f}"


def shared(share: float) -> str:
    """Share in per cent, for a reader."""
    if share == float("inf"):
        return "all"
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


@dataclass(frozen=True)
class Method:
    """A method as the command knows it.

    Attributes
    ----------
    title : str
        Over its map.
    compute : callable
        From a `Question` to its maps: of pixels ``(1, C, H, W)``, of a layer's cells
        ``(1, h, w)``.
    shows, hides : str
        How to read the map; what it cannot show. Plain sentences.
    signed : bool
        Whether the map is drawn with its sign.
    draws : bool
        Whether it depends on ``samples``, ``noise`` and ``seed``.
    cells : bool
        Whether the map is that of a layer, and so is drawn over the photo.
    layered : bool
        Whether the layer can be chosen.
    warning : str
        Said wherever the map appears, for a method that misleads.
    short : str
        Another name on the command line.
    account : callable, optional
        From a `Question` and a class to the `Account` of its map.
    words : tuple of (shows, hides), optional
        The same two texts for words, where the method can be asked about them.
    """

    title: str
    compute: Callable[[Question], Maps]
    shows: str
    hides: str
    signed: bool = False
    draws: bool = False
    cells: bool = False
    layered: bool = False
    warning: str = ""
    short: str = ""
    account: Callable[[Question, int], Account] | None = None
    words: tuple[str, str] | None = None


def each(one: Callable[[Question, int], Tensor]) -> Callable[[Question], Maps]:
    """Every class by itself: for maps of pixels, whose passes no two classes share."""
    return lambda q: {(target, ""): one(q, target) for target in q.targets}


def together(name: str) -> Callable[[Question], Maps]:
    """All classes and layers from one forward pass: for the methods of `xai_lab.cam`."""

    def compute(q: Question) -> Maps:
        maps = getattr(xai_lab, name)(
            q.model, q.inputs, by_name(q.targets), layer=list(q.looked_at), upsample=False
        )
        return {(c, layer): maps[str(c)][layer] for c in q.targets for layer in q.looked_at}

    return compute


def masked(q: Question) -> Maps:
    """Score-CAM, which takes one layer at a time."""
    found: Maps = {}
    for layer in q.looked_at:
        maps = xai_lab.score_cam(
            q.model,
            q.inputs,
            by_name(q.targets),
            layer=layer,
            channels=q.channels,
            upsample=False,
            progress=q.progress,
        )
        found |= {(c, layer): maps[str(c)] for c in q.targets}
    return found


def exact(q: Question) -> Maps:
    """CAM, which reads the last layer and no other."""
    from xai_lab.cam import cam

    maps = cam(q.model, q.inputs, by_name(q.targets), upsample=False)
    return {(c, q.last): maps[str(c)] for c in q.targets}


def named(name: str) -> str | None:
    """Name in `METHODS` of what may be called otherwise: ``ig``, ``grad_cam_plus_plus``."""
    name = name.strip().lower().replace("_", "-").replace("-plus-plus", "++")
    if name in METHODS:
        return name
    return next((key for key, method in METHODS.items() if method.short == name), None)


def integrated(q: Question, target: int) -> Tensor:
    """Integrated Gradients; NaNs are refused, and an empty map is said."""
    from xai_lab.core import check_attribution

    found = q.paths[target]
    return found.attribution if found.same else check_attribution(found.attribution)


def accounted(q: Question, target: int) -> Account:
    """Whether the parts of its map add up."""
    score = xai_lab.predict(q.model, q.inputs)[0, target].item()
    return Account.of(q.paths[target], score, q.baseline, q.tol, q.blind)


def by_name(targets: tuple[int, ...]) -> dict[str, int]:
    """Classes as a mapping, so that they share a pass."""
    return {str(target): target for target in targets}


METHODS = {
    "saliency": Method(
        "Saliency",
        each(lambda q, c: xai_lab.saliency(q.model, q.inputs, c)),
        "Bright pixels are where the score is steep: a tiny change there moves it most. Neighbours "
        "disagree, so read patches and leave single dots alone.",
        "It holds for changes of less than one grey level. Dark does not mean unused: where the "
        "score has levelled off, the slope is zero at the very pixels that brought it there.",
        words=(
            "The length of the gradient: words with much colour are where a small step of the "
            "word's embedding, in the best direction, moves the score most.",
            "Whether a word speaks for the class or against it. A small step from one word leads "
            "to no other word, and where the score has levelled off every word looks weak.",
        ),
    ),
    "gradient-x-input": Method(
        "Gradient × input",
        each(lambda q, c: xai_lab.gradient_x_input(q.model, q.inputs, c)),
        "Yellow pixels raise the score, blue ones lower it, grey ones do neither, if the score is "
        "extended in a straight line from this photo.",
        "The parts add up to the score only for a linear network, which this is not. Zero means "
        "the average colour that the network was set up with, so a pixel of that colour gets "
        "nothing, whatever it does.",
        signed=True,
        words=(
            "Yellow words raise the score, blue ones lower it, if the score is extended in a "
            "straight line from these embeddings to zero.",
            "A network of many layers is no straight line, so the parts need not add up to the "
            "score. Zero is no word: nobody knows what the network would read there.",
        ),
    ),
    "smooth-grad": Method(
        "SmoothGrad",
        each(lambda q, c: q.draws[c].mean),
        "The mean slope over noisy copies of the photo. Bright places are steep in most of them, "
        "so what is left is broader and less grainy than one gradient.",
        "It answers for photos with that much noise, and the network may call those something "
        "else. Part of the grain is chance: four times the draws leave half of it.",
        draws=True,
        words=(
            "The length of the mean gradient over noisy copies of the embeddings. Words with much "
            "colour are steep in most of them.",
            "Whether a word speaks for the class or against it. An embedding with noise on it is "
            "no word, and the network may read something else there.",
        ),
    ),
    "smooth-grad-squared": Method(
        "SmoothGrad-Squared",
        each(lambda q, c: q.draws[c].square),
        "Bright places react strongly to noise, in whichever direction. Where two photos lie side "
        "by side (chapter 1), this map tells them apart best of its family.",
        "It has no sign, so evidence for the class and evidence against it look the same. A place "
        "that reacts to noise need not be one that the answer rests on.",
        draws=True,
    ),
    "var-grad": Method(
        "VarGrad",
        each(lambda q, c: q.draws[c].variance),
        "Bright places are where the slope differs most from one noisy copy to the next.",
        "It has no sign, and a slope that is steep but the same in every copy is invisible. Where "
        "the mean is small against the noise it is the squared map over again.",
        draws=True,
    ),
    "guided-backprop": Method(
        "Guided backprop",
        each(lambda q, c: xai_lab.guided_backprop(q.model, q.inputs, c)),
        "As a warning. Bright lines are edges that the first layers respond to; the picture is "
        "sharp because it is close to a copy of the photo.",
        "The decision. With random weights in the upper layers, the ones that decide, the map "
        "stays nearly the same.",
        warning="A cautionary tale, not an explanation.",
    ),
    "cam": Method(
        "CAM",
        exact,
        "The score itself, cell by cell: the mean over the cells, with the class's bias, is the "
        "score. Yellow cells raise it, blue ones lower it.",
        "What a cell has seen: its field of view is far wider than the patch it is drawn on. Only "
        "the last layer can be asked, and only in a network that ends in a mean and one linear "
        "layer.",
        signed=True,
        cells=True,
    ),
    "grad-cam": Method(
        "Grad-CAM",
        together("grad_cam"),
        "Bright cells hold what raises the score on average over the whole layer. Read regions: "
        "the map has a few cells a side, and is smoothed between them.",
        "Evidence against the class, which is cut off at zero. Averaged gradients can light a cell "
        "that the score does not use. The smooth outline is interpolated, and follows no edge.",
        cells=True,
        layered=True,
    ),
    "grad-cam++": Method(
        "Grad-CAM++",
        together("grad_cam_plus_plus"),
        "As Grad-CAM, but a cell counts only where its gradient is positive, and rare features "
        "count more. It was made to cover all of several things of one class.",
        "Which class is meant: without the negative gradients, maps for different classes look "
        "more alike. Ask for a class that is not there, and compare.",
        cells=True,
        layered=True,
    ),
    "score-cam": Method(
        "Score-CAM",
        masked,
        "Each channel was laid over the photo as a mask. Bright cells lie in the channels that "
        "keep the score high when little else is left. No gradient is used.",
        "What the network needs in the whole photo: a masked photo is a kind of picture that it "
        "has never seen. Its strength is a mean activation, and not in units of the score.",
        cells=True,
        layered=True,
    ),
    "layer-cam": Method(
        "LayerCAM",
        together("layer_cam"),
        "Every cell is weighted by its own gradient, so that early layers, which have finer "
        "cells, give a map that can be read. Bright cells speak for the class.",
        "Evidence against the class. In an early layer bright means an edge or a texture that "
        "helps, and not yet an object.",
        cells=True,
        layered=True,
    ),
    "hires-cam": Method(
        "HiResCAM",
        together("hires_cam"),
        "Gradient times activation in each cell, with its sign. Yellow cells raise the score, "
        "blue ones lower it. At the last layer of many networks they add up to the score less its "
        "bias.",
        "What happens in layers behind this one that are not linear: there it is a straight line "
        "drawn from this photo. It is as coarse as its layer.",
        signed=True,
        cells=True,
        layered=True,
    ),
    "integrated-gradients": Method(
        "Integrated Gradients",
        each(integrated),
        "Yellow pixels raise the score, blue ones lower it, on the way from the baseline to this "
        "photo. The parts add up to S(x) − S(baseline); the gap says how well.",
        "What has the baseline's own colour gets nothing, whatever it does: black pixels from a "
        "black baseline. Another baseline asks another question. The way leads through pictures "
        "that the network has never seen, and single dots may come from there.",
        signed=True,
        short="ig",
        account=accounted,
        words=(
            "Yellow words raise the score, blue ones lower it, on the way from the baseline to "
            "this text. The parts add up to S(x) − S(baseline); the gap says how well.",
            "How words work together: “not” and the word behind it share what they do as a pair, "
            "and the split depends on the baseline. The way leads through embeddings that are no "
            "words. The baseline is no text without content; the network has a score for it too.",
        ),
    ),
}
