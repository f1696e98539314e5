"""The methods by name, and what their maps do and do not show.

One table for the command and its report. A new method is one entry of `METHODS`: its title, how to
compute it, how to read its map, what the map cannot show. Cheap to import, because `xai-lab --help`
reads it: the methods themselves load when they are called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import xai_lab

if TYPE_CHECKING:
    from torch import Tensor, nn

    from xai_lab.gradients import SmoothGradStatistics


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
    def last(self) -> str:
        """Last layer with a map that the score depends on."""
        from xai_lab.layers import last_spatial_layer

        return last_spatial_layer(self.model, self.inputs)

    @property
    def looked_at(self) -> tuple[str, ...]:
        """Layers that were named, or the last one."""
        return self.layers or (self.last,)


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
    ),
    "smooth-grad": Method(
        "SmoothGrad",
        each(lambda q, c: q.draws[c].mean),
        "The mean slope over noisy copies of the photo. Bright places are steep in most of them, "
        "so what is left is broader and less grainy than one gradient.",
        "It answers for photos with that much noise, and the network may call those something "
        "else. Part of the grain is chance: four times the draws leave half of it.",
        draws=True,
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
}
