"""Why is this picture misclassified? Measurements first, then a verdict by stated rules.

`diagnose` runs the experiments and returns a `Diagnosis`. `RULES`, in the middle of this file, is
the list of verdicts: the first whose conditions hold is given, and the last one, *undecided*,
always holds. `Thresholds` has the numbers that they use, each with its reason.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from xai_lab import pages
from xai_lab.baselines import Normalisation
from xai_lab.core import check_inputs, predict
from xai_lab.edits import SURE, Fill, check_pictures, fitting_masks, outline, variations
from xai_lab.evidence import agreement, elsewhere, hidden, highlighted, smoothed
from xai_lab.faithfulness import grown
from xai_lab.interpret import (
    Explain,
    as_maps,
    grad_cam_map,
    guess_of,
    integrated_map,
    named_classes,
    shown,
    unpacked,
)
from xai_lab.models import Guess, guesses


@dataclass(frozen=True)
class Thresholds:
    """The numbers in the rules.

    Attributes
    ----------
    raised : float
        The true class has to gain 10 points of probability: less would not change what one thinks
        of the case.
    kept : float
        An answer has stayed if it keeps half of its probability, and is lost below that.
    most : float
        What has to happen on other backgrounds has to happen on 4 of 6: two carry the object's own
        colours and two are grey, and either pair can look like some class's ground.
    chance : float
        Share of equal areas elsewhere, the region counted with them, that may do as much: 1 in 20.
    survives : float
        If less than half of the small changes leave the error standing, it hangs on details.
    """

    raised: float = 0.10
    kept: float = 0.5
    most: float = 2 / 3
    chance: float = 0.05
    survives: float = 0.5


@dataclass(frozen=True)
class Answer:
    """What the network says to one altered picture: two probabilities, and the best class."""

    predicted: float
    true: float
    best: int


@dataclass(frozen=True)
class Region:
    """A part of the picture, and what hiding it or keeping it alone does.

    Attributes
    ----------
    share : float
        Of the picture.
    mask : Tensor
        bool ``(H, W)``.
    place : str
        In words: ``"the upper left"``.
    hidden, kept : dict of str to Answer
        By fill.
    elsewhere : dict of str to tuple of Answer
        With equal areas elsewhere hidden, by fill; empty where there can be none.
    """

    share: float
    mask: Tensor = field(repr=False)
    place: str
    hidden: dict[str, Answer]
    kept: dict[str, Answer]
    elsewhere: dict[str, tuple[Answer, ...]]


@dataclass(frozen=True)
class Diagnosis:
    """What was found about one picture and the class that it should have had.

    Attributes
    ----------
    cause : str
        Name of the rule that decided: one of those in `RULES`, or ``"correct"``.
    verdict : str
        The same in one sentence, with its numbers.
    predicted, true : Guess
        The class that the network says, and the right one.
    rank : int
        Place of the true class among all, 1 for the best.
    margin : float
        Probability of the predicted class less that of the next best.
    guesses : tuple of Guess
        The five best.
    maps : dict of str to Tensor
        ``(H, W)``: for both classes, and for each rather than the other.
    parting : dict of str to float
        ``"correlation"`` of the two classes' maps (ranks), ``"overlap"`` of the areas they mark
        (intersection over union), ``"second opinion"``: correlation of the difference's map with
        the one by Integrated Gradients.
    regions : dict of str to Region
        ``"disputed"``, what speaks for the wrong class rather than the true one; its parts ``"off
        the object"`` and ``"on the object"``; ``"object"``. Kept alone, the object stands on
        several other backgrounds.
    blanks : dict of str to Answer
        To flat pictures, without object and background.
    variations : dict of str to Answer
        After changes that should not matter, see `xai_lab.edits.variations`.
    survives : float
        Share of them that leave the error standing.
    outlined : str
        Where the object's mask came from: ``"given"``, ``"guessed"``, or ``"unknown"``.
    picture : Tensor
        ``(C, H, W)`` in [0, 1].
    labels : tuple of str
        Names of all classes.
    thresholds : Thresholds
        That the rules used.
    """

    cause: str
    verdict: str
    predicted: Guess
    true: Guess
    rank: int
    margin: float
    guesses: tuple[Guess, ...]
    maps: dict[str, Tensor] = field(repr=False)
    parting: dict[str, float]
    regions: dict[str, Region]
    blanks: dict[str, Answer]
    variations: dict[str, Answer]
    survives: float
    outlined: str
    picture: Tensor = field(repr=False)
    labels: tuple[str, ...] = field(repr=False)
    thresholds: Thresholds

    def to_dict(self, *, maps: bool = False) -> dict[str, Any]:
        """Everything that was measured as numbers and words that JSON takes; maps if asked for."""
        regions = {
            name: {k: v for k, v in asdict(one).items() if k != "mask"}
            for name, one in self.regions.items()
        }
        found: dict[str, Any] = {
            "cause": self.cause,
            "verdict": self.verdict,
            "predicted": asdict(self.predicted),
            "true": asdict(self.true),
            "rank": self.rank,
            "margin": self.margin,
            "guesses": [asdict(one) for one in self.guesses],
            "parting": self.parting,
            "regions": regions,
            "blanks": {name: asdict(one) for name, one in self.blanks.items()},
            "variations": {name: asdict(one) for name, one in self.variations.items()},
            "survives": self.survives,
            "outlined": self.outlined,
            "thresholds": asdict(self.thresholds),
        }
        if maps:
            found["maps"] = {name: one.tolist() for name, one in self.maps.items()}
            found["masks"] = {name: one.mask.tolist() for name, one in self.regions.items()}
        return pages.finite(found)

    def answers(self) -> dict[str, Answer]:
        """Every experiment by name, the untouched picture first."""
        start = Answer(self.predicted.probability, self.true.probability, self.predicted.index)
        found = {"as it is": start}
        for name, region in self.regions.items():
            found |= {f"{name} hidden ({fill})": one for fill, one in region.hidden.items()}
            found |= {f"{name} alone ({fill})": one for fill, one in region.kept.items()}
        return found | self.blanks | self.variations

    def rows(self) -> list[dict[str, str]]:
        """Table: a row for each experiment."""
        return [
            {
                "experiment": name,
                f"{self.predicted.label} (said)": pages.percent(one.predicted),
                f"{self.true.label} (true)": pages.percent(one.true),
                "answer": self.labels[one.best],
            }
            for name, one in self.answers().items()
        ]

    def table(self) -> str:
        """Rows as Markdown."""
        return pages.markdown(self.rows())

    def figure(self) -> Any:
        """Maps of both classes and of their difference, and below what each experiment did."""
        from xai_lab.plot import evidence

        return evidence.disputed(self)

    def html(self) -> str:
        """Page that needs nothing else."""
        right = self.cause == "correct"
        tried = [
            ("What was tried", pages.image(self.figure(), alt=self.seen)),
            ("Where the two classes part", pages.table(self.parting_rows())),
            ("The numbers", pages.table(self.rows())),
            ("How to read this", "\n".join(map(pages.paragraph, self.readings()))),
        ]
        return pages.document(
            f"{self.true.label}, rightly"
            if right
            else f"{self.true.label}, taken for {self.predicted.label}",
            self.verdict,
            [("What it says", pages.table(self.guess_rows())), *([] if right else tried)],
            made=f"The object's outline was {self.outlined}. Rule: {self.cause}; "
            + ", ".join(f"{name} {value:.2g}" for name, value in asdict(self.thresholds).items()),
        )

    def guess_rows(self) -> list[dict[str, str]]:
        """Table: the best guesses and, where it is none of them, the true class."""
        best = [one.index for one in self.guesses]
        listed = [*self.guesses, *([] if self.true.index in best else [self.true])]
        rows = pages.guess_rows(listed)
        for place, (row, one) in enumerate(zip(rows, listed, strict=True), start=1):
            is_true = one.index == self.true.index
            row["class"] += " (true)" if is_true else ""
            row["place"] = f"{self.rank if is_true else place} of {len(self.labels)}"
        return rows

    def parting_rows(self) -> list[dict[str, str]]:
        """Table: how far the two classes' maps are alike."""
        said, true = self.predicted.label, self.true.label
        told = {
            "correlation": f"rank correlation of the maps for {said} and {true}",
            "overlap": "overlap of the areas that they mark, 1 is the same area",
            "second opinion": "rank correlation of the map of the difference with Integrated "
            "Gradients of it",
        }
        return [
            {"measure": told[name], "value": pages.number(value)}
            for name, value in self.parting.items()
        ]

    def readings(self) -> list[str]:
        """What the words on the page mean."""
        said, true, region = self.predicted.label, self.true.label, self.regions.get("disputed")
        told = [
            "The rows of the figure are experiments, with the probabilities of both classes after "
            "each. Flipped, cropped, blurred, darker or brighter, the picture should be called the "
            f"same; {self.survives:.0%} of them leave the mistake standing. Blank pictures "
            "show what is said when there is nothing to see."
        ]
        if region is not None:
            count = min(map(len, region.elsewhere.values()))
            told.insert(
                0,
                f"Disputed is what speaks most for {said} rather than {true}, {region.share:.0%} "
                "of the picture, outlined in the last map. Hidden, a blur or the colours around it "
                "stand in its place; alone, everything else is replaced. It decides only if hiding "
                "it changes the answer with either, and more than equal areas elsewhere do, of "
                f"which {count} were tried.",
            )
        told.append(
            "All of this is about one picture. Whether it is a rule, only many pictures can tell."
        )
        return told

    @property
    def seen(self) -> str:
        """The figure in words."""
        return (
            f"The picture, the maps for {self.predicted.label} and {self.true.label} and for "
            "the one rather than the other; below, both probabilities after each experiment. "
            f"{self.verdict}"
        )

    def _repr_html_(self) -> str:
        return pages.table(self.rows(), caption=self.verdict)


def diagnose(
    model: Any,
    image: Tensor,
    true_label: str | int,
    *,
    labels: Sequence[str] | None = None,
    normalisation: Normalisation | None = None,
    mask: Tensor | None = None,
    backgrounds: Tensor | None = None,
    method: Explain = grad_cam_map,
    share: float = 0.15,
    samples: int = 20,
    seed: int = 0,
    batch_size: int | None = None,
    thresholds: Thresholds | None = None,
) -> Diagnosis:
    """Misclassification report of one picture.

    Parameters
    ----------
    model : Module or Loaded
        Maps ``(N, C, H, W)`` to logits ``(N, K)``. What `xai_lab.load` returns brings labels and
        normalisation along.
    image : Tensor
        ``(1, C, H, W)``, as the model wants it.
    true_label : str or int
        The right class, by name or number.
    labels : sequence of str, optional
        Names of the K classes.
    normalisation : (mean, std), optional
        Of the image; not needed for one in [0, 1].
    mask : Tensor, optional
        The object, bool ``(H, W)`` or ``(1, H, W)``. Without it `xai_lab.edits.outline` guesses;
        where that is not sure, nothing is said about object and background.
    backgrounds : Tensor, optional
        ``(M, C, H, W)`` in the image's space, to set the object on, beside black, grey, white,
        noise and the object's own colours, which are always tried.
    method : callable
        From (model, pictures, target) to maps; it is asked about the difference of two scores.
    share : float
        Of the picture that counts as disputed.
    samples, seed : int
        Equal areas elsewhere to compare with, and the seed of their choice.
    batch_size : int, optional
        Pictures on the device at once; the result does not depend on it.
    thresholds : Thresholds, optional
        Other numbers for the rules.

    Returns
    -------
    Diagnosis
        For a correct prediction with cause ``"correct"`` and no experiments.

    Raises
    ------
    TypeError, ValueError
        For a class that the model does not have (names near it are given), or several pictures.

    Notes
    -----
    Cost: five maps, and some 150 forward passes: for each of three regions 2 × (1 + samples)
    hidden and 2 kept, for the object 3 hidden and 6 backgrounds, 3 blanks and 9 variations.
    """
    model, labels, normalisation = unpacked(model, labels, normalisation)
    check_inputs(image, model)
    check_pictures(image)
    if len(image) != 1:
        raise ValueError(f"{len(image)} pictures were given; diagnose one at a time, `images[:1]`")
    rules, x = thresholds or Thresholds(), image.detach()
    outputs = predict(model, x)[0].float()
    labels = named_classes(labels, len(outputs))
    a, b = int(outputs.argmax()), class_number(true_label, labels)
    order = outputs.softmax(dim=0).sort(descending=True).values
    facts: dict[str, Any] = {
        "predicted": guess_of(outputs, a, labels),
        "true": guess_of(outputs, b, labels),
        "rank": 1 + int((outputs > outputs[b]).sum()),
        "margin": (order[0] - order[1]).item() if len(order) > 1 else 1.0,
        "guesses": tuple(guesses(outputs[None].cpu(), labels, 5)[0]),
        "picture": shown(x, normalisation)[0],
        "labels": tuple(labels),
        "thresholds": rules,
    }
    if a == b:
        return correct(facts)
    object_mask, outlined = object_of(x, mask)
    tried = Experiments(model, x, a, b, batch_size, share, samples, seed)
    maps, parting, disputed = tried.maps(method)
    regions = tried.regions(disputed, object_mask, normalisation, backgrounds)
    changed = {
        name: tried.answers(predict(model, one))[0]
        for name, one in variations(x, normalisation=normalisation).items()
    }
    found = Diagnosis(
        cause="",
        verdict="",
        maps={labels_of(name, a, b, labels): one for name, one in maps.items()},
        parting=parting,
        regions=regions,
        blanks=tried.blanks(normalisation),
        variations=changed,
        survives=sum(one.best == a for one in changed.values()) / len(changed),
        outlined=outlined,
        **facts,
    )
    for cause, rule in RULES.items():
        verdict = rule(found)
        if verdict:
            return Diagnosis(**{**vars(found), "cause": cause, "verdict": verdict})
    raise AssertionError("the last rule always holds")


# --------------------------------------------------------------------------------------- the rules


def off_the_object(d: Diagnosis) -> str | None:
    """Hiding only what is disputed *off* the object turns the answer to the true class."""
    return turned(d, "off the object", "off the object, at {place}")


def background(d: Diagnosis) -> str | None:
    """The answer stays with the object hidden, and goes on other backgrounds and with none.

    If the network said it to a blank picture too, the background would not *speak* for the class:
    it might only have swallowed the object.
    """
    region, limits = d.regions.get("object"), d.thresholds
    if region is None:
        return None
    without = [one.predicted for one in region.hidden.values()]
    stays = all(stayed(d, one) and one.best == d.predicted.index for one in region.hidden.values())
    lost = [not stayed(d, one) for one in region.kept.values()]
    blank = [stayed(d, one) for one in d.blanks.values()]
    if not stays or sum(lost) / len(lost) < limits.most or all(blank):
        return None
    true = max(one.true for one in region.kept.values())
    also = (
        f"and raises {d.true.label} from {pages.percent(d.true.probability)} to "
        f"{pages.percent(true)} at best"
        if true >= d.true.probability + limits.raised
        else f"but {d.true.label} is not recognised then either ({pages.percent(true)} at best)"
    )
    return (
        f"The deciding region is the background: with the object hidden the network still says "
        f"{d.predicted.label} ({pages.percent(min(without))}), and another background undoes that "
        f"in {sum(lost)} of {len(lost)} cases, {also}."
    )


def on_the_object(d: Diagnosis) -> str | None:
    """Hiding only what is disputed *on* the object turns the answer to the true class."""
    return turned(d, "on the object", "a part of the object, at {place}")


def anywhere(d: Diagnosis) -> str | None:
    """Hiding what is disputed, wherever it lies, turns the answer to the true class."""
    return turned(d, "disputed", "at {place}")


def whole_object(d: Diagnosis) -> str | None:
    """The answer goes with the object hidden, and stays with it on other backgrounds."""
    region, limits = d.regions.get("object"), d.thresholds
    if region is None or any(stayed(d, one) for one in region.hidden.values()):
        return None
    stays = sum(stayed(d, one) for one in region.kept.values())
    if stays / len(region.kept) < limits.most:
        return None
    gone = max(one.predicted for one in region.hidden.values())
    return (
        f"The object itself is taken for {d.predicted.label}: on {stays} of {len(region.kept)} "
        f"other backgrounds it still is, and hiding it lowers {d.predicted.label} from "
        f"{pages.percent(d.predicted.probability)} to {pages.percent(gone)}."
    )


def unrecognised(d: Diagnosis) -> str | None:
    """The answer goes when what is disputed is hidden, but the true class does not come."""
    region, limits = d.regions.get("disputed"), d.thresholds
    if region is None:
        return None
    for fill, one in region.hidden.items():
        others = region.elsewhere[fill]
        as_low = 1 + sum(other.predicted <= one.predicted for other in others)
        if stayed(d, one) or as_low / (1 + len(others)) > limits.chance:
            return None
    after = max(one.predicted for one in region.hidden.values())
    away = [one.predicted for others in region.elsewhere.values() for one in others]
    true = max(one.true for one in region.hidden.values())
    return (
        f"What speaks for {d.predicted.label} is at {region.place} ({region.share:.0%} of the "
        f"picture): hiding it lowers {d.predicted.label} from "
        f"{pages.percent(d.predicted.probability)} to {pages.percent(after)}, equal areas "
        f"elsewhere leave {pages.percent(sum(away) / len(away))} on average; but {d.true.label} is "
        f"not recognised then either ({pages.percent(true)})."
    )


def fragile(d: Diagnosis) -> str | None:
    """Most small changes undo the error."""
    if d.survives >= d.thresholds.survives:
        return None
    undone = [name for name, one in d.variations.items() if one.best != d.predicted.index]
    right = sum(one.best == d.true.index for one in d.variations.values())
    return (
        f"The answer hangs on details: {len(undone)} of {len(d.variations)} small changes undo it "
        f"({pages.listed(undone)}), {right} of them in favour of {d.true.label}, and no region "
        "decides it."
    )


def undecided(d: Diagnosis) -> str:
    """Nothing else holds."""
    looked = "region, object or background" if "object" in d.regions else "region"
    return (
        f"Undecided: no {looked} was found that decides between {d.predicted.label} and "
        f"{d.true.label} whatever is put in its place, and {d.survives:.0%} of small changes leave "
        "the error standing."
    )


#: Verdicts in the order in which they are tried: from the smallest cause to the largest, then what
#: is no region at all.
RULES: dict[str, Callable[[Diagnosis], str | None]] = {
    "off the object": off_the_object,
    "background": background,
    "part of the object": on_the_object,
    "region": anywhere,
    "object": whole_object,
    "unrecognised": unrecognised,
    "fragile": fragile,
    "undecided": undecided,
}


def stayed(d: Diagnosis, answer: Answer) -> bool:
    """Whether the wrong class keeps enough of its probability."""
    return answer.predicted >= d.thresholds.kept * d.predicted.probability


def turned(d: Diagnosis, name: str, where: str) -> str | None:
    """Sentence if hiding a region puts the true class ahead, with each fill, and not elsewhere."""
    region, limits = d.regions.get(name), d.thresholds
    if region is None:
        return None
    before = d.true.probability
    for fill, one in region.hidden.items():
        others = region.elsewhere[fill]
        as_much = 1 + sum(other.true >= one.true for other in others)
        if (
            one.true <= one.predicted
            or stayed(d, one)
            or one.true < before + limits.raised
            or as_much / (1 + len(others)) > limits.chance
        ):
            return None
    after = min(one.true for one in region.hidden.values())
    away = max(one.true for others in region.elsewhere.values() for one in others)
    alone = min(one.predicted for one in region.kept.values())
    said = f"; alone it still says {d.predicted.label} ({pages.percent(alone)})"
    return (
        f"The deciding region is {where.format(place=region.place)} ({region.share:.0%} of the "
        f"picture): hiding it raises {d.true.label} from {pages.percent(before)} to "
        f"{pages.percent(after)}, equal areas elsewhere to {pages.percent(away)} at most"
        f"{said if alone >= limits.kept * d.predicted.probability else ''}."
    )


def correct(facts: Mapping[str, Any]) -> Diagnosis:
    """Diagnosis of a prediction that is right."""
    first, *others = facts["guesses"]
    next_best = f" ahead of {others[0].label}" if others else ""
    return Diagnosis(
        cause="correct",
        verdict=f"Nothing to diagnose: {first.label} is right, with "
        f"{pages.percent(first.probability)}, {100 * facts['margin']:.0f} points{next_best}.",
        maps={},
        parting={},
        regions={},
        blanks={},
        variations={},
        survives=1.0,
        outlined="not needed",
        **facts,
    )


# --------------------------------------------------------------------------------- the experiments


@dataclass(frozen=True)
class Experiments:
    """One picture x, the class a that is said and the class b that is true."""

    model: Any
    x: Tensor
    a: int
    b: int
    batch_size: int | None
    share: float
    samples: int
    seed: int

    def answers(self, outputs: Tensor) -> list[Answer]:
        """Answer for each row of outputs ``(N, K)``."""
        p = outputs.float().softmax(dim=1)
        return [
            Answer(*pair)
            for pair in zip(
                p[:, self.a].tolist(), p[:, self.b].tolist(), p.argmax(dim=1).tolist(), strict=True
            )
        ]

    def maps(self, method: Explain) -> tuple[dict[str, Tensor], dict[str, float], Tensor]:
        """Maps of both classes and both differences, where they part, and the disputed area."""
        a, b = self.a, self.b
        targets: dict[str, Any] = {
            "a": a,
            "b": b,
            "a − b": lambda y: y[:, a] - y[:, b],
            "b − a": lambda y: y[:, b] - y[:, a],
        }
        with warnings.catch_warnings():
            # A map that is empty is one of the findings.
            warnings.filterwarnings("ignore", message="the map of sample")
            found = {name: as_maps(method(self.model, self.x, c)) for name, c in targets.items()}
            second = as_maps(integrated_map(self.model, self.x, targets["a − b"]))
        areas = {name: smoothed(one) for name, one in found.items()}
        marked = {name: highlighted(one, self.share)[0] for name, one in areas.items()}
        both, either = (marked["a"] & marked["b"]).sum(), (marked["a"] | marked["b"]).sum()
        alike = agreement(
            {**{name: one[0] for name, one in areas.items()}, "ig": smoothed(second)[0]}
        )
        parting = {
            "correlation": alike["a"]["b"],
            "overlap": (both / either).item() if either else 0.0,
            "second opinion": alike["a − b"]["ig"],
        }
        return {name: one[0].cpu() for name, one in found.items()}, parting, marked["a − b"]

    def regions(
        self,
        disputed: Tensor,
        object_mask: Tensor | None,
        normalisation: Normalisation | None,
        backgrounds: Tensor | None,
    ) -> dict[str, Region]:
        """Everything that is hidden and kept alone."""
        masks = {"disputed": disputed}
        if object_mask is not None:
            # The rim of an outline is uncertain, and an object's shadow is no background.
            near = grown(object_mask[None], max(1, min(disputed.shape) // 32))[0]
            masks |= {"off the object": disputed & ~near, "on the object": disputed & object_mask}
        found = {
            name: self.small(mask)
            for name, mask in masks.items()
            if mask.float().mean() >= 0.01  # less than a hundredth of the picture is no region
        }
        if object_mask is not None:
            others = other_backgrounds(self.x, normalisation, backgrounds, self.seed)
            found["object"] = self.large(object_mask, others)
        return found

    def small(self, mask: Tensor) -> Region:
        """Region that can be compared with equal areas elsewhere."""
        masks = torch.cat([mask[None], elsewhere(mask, self.samples, self.seed)])
        after = hidden(self.model, self.x, masks, batch_size=self.batch_size)
        answers = {fill: self.answers(outputs) for fill, outputs in after.items()}
        return Region(
            share=mask.float().mean().item(),
            mask=mask.cpu(),
            place=place_of(mask),
            hidden={fill: some[0] for fill, some in answers.items()},
            kept=self.alone(mask, {"mean": "mean", "inpaint": "inpaint"}),
            elsewhere={fill: tuple(some[1:]) for fill, some in answers.items()},
        )

    def large(self, mask: Tensor, others: Mapping[str, Fill]) -> Region:
        """The object: hidden, and alone on other backgrounds."""
        fills = ("blur", "inpaint", "mean")
        after = hidden(self.model, self.x, mask[None], fills, batch_size=self.batch_size)
        return Region(
            share=mask.float().mean().item(),
            mask=mask.cpu(),
            place=place_of(mask),
            hidden={fill: self.answers(outputs)[0] for fill, outputs in after.items()},
            kept=self.alone(mask, others),
            elsewhere={},
        )

    def blanks(self, normalisation: Normalisation | None) -> dict[str, Answer]:
        """Answers to flat pictures: what the network says when there is nothing to see."""
        mean, std = scale(self.x, normalisation)
        levels = {"blank, black": 0.0, "blank, grey": 0.5, "blank, white": 1.0}
        flat = [((level - mean) / std).expand_as(self.x) for level in levels.values()]
        return dict(zip(levels, self.answers(predict(self.model, torch.cat(flat))), strict=True))

    def alone(self, mask: Tensor, fills: Mapping[str, Fill]) -> dict[str, Answer]:
        """Answers to a region with all else replaced."""
        after = hidden(self.model, self.x, ~mask[None], fills, batch_size=self.batch_size)
        return {fill: self.answers(outputs)[0] for fill, outputs in after.items()}


def other_backgrounds(
    x: Tensor, normalisation: Normalisation | None, given: Tensor | None, seed: int
) -> dict[str, Fill]:
    """Backgrounds that no class owns, and those that were given."""
    mean, std = scale(x, normalisation)
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)).to(x)
    fills: dict[str, Fill] = {
        "its own mean": "mean",
        "its own colours": "inpaint",
        "grey": (0.5 - mean) / std,
        "noise": (noise - mean) / std,
        "black": (0.0 - mean) / std,
        "white": (1.0 - mean) / std,
    }
    return fills | {f"given {i}": one for i, one in enumerate(given if given is not None else ())}


def scale(x: Tensor, normalisation: Normalisation | None) -> tuple[Tensor, Tensor]:
    """Mean and std of a normalisation, ``(C, 1, 1)`` or ``(1, 1, 1)``, like x."""
    mean, std = (
        torch.as_tensor(numbers, device="cpu").to(x).reshape(-1, 1, 1)
        for numbers in normalisation or (0.0, 1.0)
    )
    return mean, std


def object_of(x: Tensor, mask: Tensor | None) -> tuple[Tensor | None, str]:
    """Mask of the object ``(H, W)`` and where it came from."""
    if mask is not None:
        given = fitting_masks(mask, x)[0]
        if not given.any() or given.all():
            raise ValueError("the mask holds all of the picture or nothing of it")
        return given, "given"
    masks, sure = outline(x)
    return (masks[0], "guessed") if sure.item() >= SURE else (None, "unknown")


def class_number(label: str | int, labels: Sequence[str]) -> int:
    """Number of a class given by name or number, or a sentence with names near it."""
    if isinstance(label, bool) or not isinstance(label, str | int):
        raise TypeError(f"the true label is {label!r}, expected the name or number of a class")
    if isinstance(label, int):
        if not 0 <= label < len(labels):
            raise ValueError(f"there is no class {label}: the model has 0 to {len(labels) - 1}")
        return label
    lower = [one.lower() for one in labels]
    same = [i for i, one in enumerate(lower) if one == label.strip().lower()]
    if len(same) == 1:
        return same[0]
    if same:
        raise ValueError(f"{len(same)} classes are called {label!r}: give a number, one of {same}")
    near = [one for one in labels if label and label.lower() in one.lower()][:5]
    near += difflib.get_close_matches(label, labels, n=5, cutoff=0.5)
    told = f"; near it: {', '.join(dict.fromkeys(near))}" if near else ""
    raise ValueError(f"the model has no class {label!r} among its {len(labels)}{told}")


def labels_of(name: str, a: int, b: int, labels: Sequence[str]) -> str:
    """Name of a map with the classes' names in it."""
    x, y = labels[a], labels[b]
    if x == y:
        x, y = f"{x} ({a})", f"{y} ({b})"
    return {"a": x, "b": y, "a − b": f"{x}, not {y}", "b − a": f"{y}, not {x}"}[name]


def place_of(mask: Tensor) -> str:
    """Where in the picture a mask lies, in words: the third of its centre."""
    rows, columns = mask.nonzero().float().mean(dim=0).tolist()
    y = ("upper ", "", "lower ")[min(2, int(3 * rows / mask.shape[0]))]
    x = ("left", "", "right")[min(2, int(3 * columns / mask.shape[1]))]
    if not x:
        return {"upper ": "the top", "": "the centre", "lower ": "the bottom"}[y]
    return f"the {y}{x}"
