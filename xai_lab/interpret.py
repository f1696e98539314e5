"""Interpreters: a prediction, several maps of it, and for each map whether it can be relied on.

`ImageInterpreter` and `TextInterpreter` hold a model and settings; called on inputs they return
one `Interpretation` or `TextInterpretation` a sample, which are plain data with a table, a figure
and a page. The measurements themselves are in `xai_lab.evidence`. A prediction known to be wrong
is the business of `xai_lab.diagnose`.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from xai_lab import pages
from xai_lab.baselines import Normalisation
from xai_lab.cam import grad_cam
from xai_lab.core import Target, check_count, check_inputs, per_sample, predict, untouched
from xai_lab.edits import Fill, check_pictures, softened
from xai_lab.evidence import (
    RULES,
    Evidence,
    agreement,
    elsewhere,
    hidden,
    highlighted,
    log_odds,
    smoothed,
    stability,
    weigh,
)
from xai_lab.gradients import gradient_x_input, smooth_grad
from xai_lab.integrated import integrated_gradients
from xai_lab.models import Guess, encode, guesses
from xai_lab.words import text_attributions

#: From (model, pictures, target) to ``(N, H, W)``, or ``(N, C, H, W)``, which is summed over C.
Explain: TypeAlias = Callable[[Any, Tensor, Any], Tensor]


def grad_cam_map(model: nn.Module, inputs: Tensor, target: Target) -> Tensor:
    """Grad-CAM of the last layer with a map."""
    return grad_cam(model, inputs, target)


def integrated_map(model: nn.Module, inputs: Tensor, target: Target) -> Tensor:
    """Integrated Gradients from a blur, in 24 steps."""
    blur = softened(inputs.detach(), min(inputs.shape[2:]) / 10)
    return integrated_gradients(model, inputs, target, baseline=blur, steps=24)


def smooth_map(model: nn.Module, inputs: Tensor, target: Target) -> Tensor:
    """SmoothGrad of 24 draws, the largest absolute value of a pixel's channels."""
    return smooth_grad(model, inputs, target, samples=24).abs().amax(dim=1)


#: What an interpreter asks by default.
METHODS: dict[str, Explain] = {
    "Grad-CAM": grad_cam_map,
    "Integrated Gradients": integrated_map,
    "SmoothGrad": smooth_map,
}


@dataclass(frozen=True)
class ImageInterpreter:
    """A network that looks at pictures, and how to ask it for reasons.

    Calling it costs, for each picture, the maps (1 + 24 + 24 forward and backward passes for the
    three of `METHODS`), each of them twice more for stability, and (1 + samples) forward passes
    for each fill and map: with the defaults some 150 of the former and 130 of the latter.

    Attributes
    ----------
    model : Module or Loaded
        Maps ``(N, C, H, W)`` to logits ``(N, K)``. What `xai_lab.load` returns brings labels and
        normalisation along.
    labels : sequence of str, optional
        Names of the K classes.
    methods : sequence of str or mapping of str to callable
        Names out of `METHODS`, or names and functions from (model, pictures, target) to maps
        ``(N, H, W)`` or attributions ``(N, C, H, W)``.
    normalisation : (mean, std), optional
        Of the inputs; only for showing the picture.
    share : float
        Of the picture that counts as what a map marks.
    fills : sequence of str or mapping of str to fill
        What stands where something is hidden, see `xai_lab.occlude`. Evidence has to hold with
        each of them.
    samples : int
        Equal areas elsewhere to compare with; fewer than 19 can never come to a chance of 1 in 20.
    seed : int
        Of the areas elsewhere, and of the noise that stability is tried with.
    batch_size : int, optional
        Covered pictures on the device at once; the result does not depend on it.

    Examples
    --------
    >>> import xai_lab
    >>> from xai_lab.data.scenes import scenes
    >>> interpreter = xai_lab.ImageInterpreter(xai_lab.load("scenes-cnn"), methods=["Grad-CAM"])
    >>> found = interpreter(scenes(1, seed=1).images)[0]
    >>> found.evidence["Grad-CAM"].verdict
    'holds'
    """

    model: Any
    labels: Sequence[str] | None = None
    methods: Sequence[str] | Mapping[str, Explain] = tuple(METHODS)
    normalisation: Normalisation | None = None
    share: float = 0.15
    fills: Sequence[str] | Mapping[str, Fill] = ("blur", "inpaint")
    samples: int = 20
    seed: int = 0
    batch_size: int | None = None

    def __call__(self, inputs: Tensor, target: Target = None) -> list[Interpretation]:
        """Interpretation of each picture, for the class that is predicted or asked for.

        Parameters
        ----------
        inputs : Tensor
            ``(N, C, H, W)``.
        target : int, sequence of int, Tensor or None
            As in `xai_lab.saliency`, but not a function: evidence is about one class.
        """
        model, labels, normalisation = unpacked(self.model, self.labels, self.normalisation)
        check_inputs(inputs, model)
        check_pictures(inputs)
        outputs = predict(model, inputs, batch_size=self.batch_size)
        labels = named_classes(labels, outputs.shape[1])
        targets = per_sample(outputs.argmax(dim=1) if target is None else target, len(inputs))
        if not isinstance(targets, Tensor):
            raise TypeError("evidence is about one class: give its number, not a function")
        check_classes(targets, outputs.shape[1])
        return [
            self.one(model, inputs[i : i + 1].detach(), int(c), outputs[i], labels, normalisation)
            for i, c in enumerate(targets)
        ]

    def one(
        self,
        model: Any,
        x: Tensor,
        c: int,
        outputs: Tensor,
        labels: Sequence[str],
        normalisation: Normalisation | None,
    ) -> Interpretation:
        """Interpretation of one picture ``(1, C, H, W)`` and one class."""
        maps, evidence, steady = {}, {}, {}
        for name, explain in chosen_methods(self.methods).items():

            def area(pictures: Tensor, explain: Explain = explain) -> Tensor:
                return smoothed(as_maps(explain(model, pictures, c)))

            with warnings.catch_warnings():
                # That a map is empty is said in the evidence.
                warnings.filterwarnings("ignore", message="the map of sample")
                maps[name] = as_maps(explain(model, x, c))[0].cpu()
                own = smoothed(maps[name][None].to(x.device))
                steady[name] = stability(area, x, own, seed=self.seed)
            evidence[name] = self.weighed(model, x, c, outputs, highlighted(own, self.share)[0])
        return Interpretation(
            guesses=tuple(guesses(outputs[None].float().cpu(), labels, 5)[0]),
            target=guess_of(outputs, c, labels),
            picture=shown(x, normalisation)[0],
            maps=maps,
            marked={
                name: highlighted(smoothed(m[None]), self.share)[0] for name, m in maps.items()
            },
            evidence=evidence,
            agreement=agreement({name: smoothed(m[None])[0] for name, m in maps.items()}),
            stability=steady,
            settings={"share": self.share, "samples": self.samples, "seed": self.seed},
        )

    def weighed(self, model: Any, x: Tensor, c: int, outputs: Tensor, marked: Tensor) -> Evidence:
        """Evidence for one marked area ``(H, W)``."""
        if not marked.any():
            return Evidence(0.0, {}, "nothing marked")
        masks = torch.cat([marked[None], elsewhere(marked, self.samples, self.seed)])
        after = hidden(model, x, masks, self.fills, batch_size=self.batch_size)
        return weigh(outputs, after, c, marked.float().mean().item())


@dataclass(frozen=True)
class Interpretation:
    """What was found about one picture and one class.

    Attributes
    ----------
    guesses : tuple of Guess
        The five best.
    target : Guess
        The class that is explained.
    picture : Tensor
        What the network saw, ``(C, H, W)`` in [0, 1].
    maps : dict of str to Tensor
        ``(H, W)``, by method, as it came, channels merged.
    marked : dict of str to Tensor
        The area that was hidden, bool ``(H, W)``.
    evidence : dict of str to Evidence
        By method.
    agreement : dict of str to dict of str to float
        Rank correlation of each two maps.
    stability : dict of str to dict of str to float
        Rank correlation of each map with itself after ``"noise"`` and ``"shift"``.
    settings : dict
        What it was made with.
    """

    guesses: tuple[Guess, ...]
    target: Guess
    picture: Tensor = field(repr=False)
    maps: dict[str, Tensor] = field(repr=False)
    marked: dict[str, Tensor] = field(repr=False)
    evidence: dict[str, Evidence]
    agreement: dict[str, dict[str, float]]
    stability: dict[str, dict[str, float]]
    settings: dict[str, Any]

    @property
    def conclusion(self) -> str:
        """What follows, in one sentence, and no more than what was measured."""
        return concluded(self.evidence, self.target, "the picture", "equal areas elsewhere")

    def to_dict(self, *, maps: bool = False) -> dict[str, Any]:
        """Everything that was measured as numbers and words that JSON takes; maps if asked for."""
        found: dict[str, Any] = {
            "conclusion": self.conclusion,
            "guesses": [asdict(one) for one in self.guesses],
            "target": asdict(self.target),
            "evidence": {name: evidence_dict(one) for name, one in self.evidence.items()},
            "agreement": pages.finite(self.agreement),
            "stability": pages.finite(self.stability),
            "settings": dict(self.settings),
        }
        if maps:
            found["maps"] = {name: one.tolist() for name, one in self.maps.items()}
        return found

    def rows(self) -> list[dict[str, str]]:
        """Table: a row for each method and fill."""
        return [
            {
                "map": name,
                **hiding_row(fill, hiding),
                "evidence": one.verdict,
                "stable (noise, shift)": ", ".join(
                    pages.number(value) for value in self.stability[name].values()
                ),
            }
            for name, one in self.evidence.items()
            for fill, hiding in one.hidings.items() or [("", None)]
        ]

    def table(self) -> str:
        """Rows as Markdown."""
        return pages.markdown(self.rows())

    def figure(self) -> Any:
        """Maps with what they mark, and below them what hiding it did."""
        from xai_lab.plot import evidence

        return evidence.evidence(self.picture, self.maps, self.marked, self.evidence)

    def html(self) -> str:
        """Page that needs nothing else."""
        best = self.guesses[0]
        alike = [
            {"map": a, **{b: pages.number(row.get(b, 1.0)) for b in self.agreement}}
            for a, row in self.agreement.items()
        ]
        return pages.document(
            f"{best.label}: does the evidence hold?",
            self.conclusion,
            [
                ("What it says", pages.table(pages.guess_rows(self.guesses))),
                (
                    "Maps, and what hiding their area does",
                    pages.image(self.figure(), alt=self.seen),
                ),
                ("The numbers", pages.table(self.rows())),
                ("Do the maps agree?", pages.table(alike)),
            ],
            made=", ".join(f"{name} {value}" for name, value in self.settings.items()),
        )

    @property
    def seen(self) -> str:
        """The figure in words."""
        told = [f"{name}: {one.verdict}" for name, one in self.evidence.items()]
        return (
            f"The picture and {len(self.maps)} maps for {self.target.label}, the area that each "
            f"marks outlined; below, how far hiding it lowers the score. {'; '.join(told)}."
        )

    def _repr_html_(self) -> str:
        return pages.table(self.rows(), caption=self.conclusion)


# -------------------------------------------------------------------------------------------- text

#: What is done to words: left out, or something put in their place.
MISSING = "deleted"


@dataclass(frozen=True)
class TextInterpreter:
    """A network that reads, and how to ask it for reasons.

    Words are hidden in three ways: left out, replaced by the tokenizer's mask, and replaced by
    another word. Calling it costs, for each text, the maps (24 forward and backward passes for
    Integrated Gradients, 1 for gradient × input), and (1 + samples) forward passes for each way
    and map, and one for each word and way.

    Attributes
    ----------
    model : Module or LoadedText
        A classifier of Hugging Face. What `xai_lab.load` returns brings the rest along.
    tokenizer : transformers.PreTrainedTokenizerBase, optional
        The model's own.
    labels : sequence of str, optional
        Names of the classes.
    methods : mapping of str to callable
        Each as `xai_lab.text_attributions` takes it.
    share : float
        Of the words that count as what a map marks, at least one.
    neutral : str
        The word that is put in the place of others.
    samples : int
        Equal numbers of other words to compare with; a short text may have fewer.
    seed : int
        Of their choice.
    batch_size : int, optional
        Texts on the device at once.
    """

    model: Any
    tokenizer: Any = None
    labels: Sequence[str] | None = None
    methods: Mapping[str, Callable[..., Tensor]] = field(
        default_factory=lambda: {
            "Integrated Gradients": integrated_gradients,
            "gradient × input": gradient_x_input,
        }
    )
    share: float = 0.15
    neutral: str = "something"
    samples: int = 20
    seed: int = 0
    batch_size: int | None = None

    def __call__(
        self, texts: str | Sequence[str], target: Target = None
    ) -> list[TextInterpretation]:
        """Interpretation of each text, for the class that is predicted or asked for."""
        model, labels, tokenizer = self.model, self.labels, self.tokenizer
        if hasattr(model, "tokenizer"):
            model, labels, tokenizer = model.model, labels or model.labels, model.tokenizer
        if tokenizer is None:
            raise ValueError("the tokenizer is missing: TextInterpreter(model, tokenizer)")
        lines = [texts] if isinstance(texts, str) else list(texts)
        outputs = self.scores(model, tokenizer, lines)
        labels = named_classes(labels, outputs.shape[1])
        targets = per_sample(outputs.argmax(dim=1) if target is None else target, len(lines))
        if not isinstance(targets, Tensor):
            raise TypeError("evidence is about one class: give its number, not a function")
        check_classes(targets, outputs.shape[1])
        return [
            self.one(model, tokenizer, line, int(c), outputs[i], labels)
            for i, (line, c) in enumerate(zip(lines, targets, strict=True))
        ]

    def one(
        self, model: Any, tokenizer: Any, text: str, c: int, outputs: Tensor, labels: Sequence[str]
    ) -> TextInterpretation:
        """Interpretation of one text and one class."""
        found = {}
        for name, method in self.methods.items():
            more: dict[str, Any] = {"steps": 24} if method is integrated_gradients else {}
            seen = text_attributions(model, [text], c, tokenizer=tokenizer, method=method, **more)
            words, found[name] = seen[0].words, seen[0].word_values.cpu()
        ways = self.ways(tokenizer)

        def asked(choices: Sequence[Sequence[int]]) -> dict[str, Tensor]:
            return {
                way: self.scores(
                    model, tokenizer, [without(words, one, instead) for one in choices]
                )
                for way, instead in ways.items()
            }

        start = log_odds(outputs[None], c)[0]
        singles = {
            way: (start - log_odds(scores, c)).tolist()
            for way, scores in asked([[k] for k in range(len(words))]).items()
        }
        marked, evidence = {}, {}
        for name, values in found.items():
            count = max(1, round(self.share * len(words)))
            best = values.argsort(descending=True, stable=True)[:count].tolist()
            marked[name] = sorted(k for k in best if values[k] > 0)
            others = list(draw_others(len(words), marked[name], self.samples, self.seed))
            if not marked[name]:
                evidence[name] = Evidence(0.0, {}, "nothing marked")
            elif not others:
                evidence[name] = Evidence(1.0, {}, "undecided")
            else:
                part = len(marked[name]) / len(words)
                evidence[name] = self.judged(
                    weigh(outputs, asked([marked[name], *others]), c, part), len(others)
                )
        return TextInterpretation(
            text=text,
            words=words,
            guesses=tuple(guesses(outputs[None].float().cpu(), labels, 5)[0]),
            target=guess_of(outputs, c, labels),
            values={name: one.tolist() for name, one in found.items()},
            marked=marked,
            alone=singles,
            evidence=evidence,
            settings={"share": self.share, "samples": self.samples, "seed": self.seed},
        )

    def judged(self, evidence: Evidence, others: int) -> Evidence:
        """Evidence, called undecided where a text has too few other words to compare with."""
        if evidence.verdict == "holds" or others >= 1 / RULES.chance - 1:
            return evidence
        # A short text cannot reach 1 in 20: there it has to be the greatest of all.
        held = [
            one.drop >= RULES.drop and one.drop > max(one.elsewhere) and others >= 3
            for one in evidence.hidings.values()
        ]
        verdict = "holds" if all(held) else "undecided" if any(held) else evidence.verdict
        return Evidence(evidence.share, evidence.hidings, verdict)

    def ways(self, tokenizer: Any) -> dict[str, str | None]:
        """What stands in the place of a word, by name."""
        mask = getattr(tokenizer, "mask_token", None)
        masked: dict[str, str | None] = {mask: mask} if mask else {}
        return {MISSING: None, **masked, f"“{self.neutral}”": self.neutral}

    def scores(self, model: Any, tokenizer: Any, texts: Sequence[str]) -> Tensor:
        """Logits ``(N, K)`` of texts, on the CPU."""
        size = self.batch_size or 16
        check_count("batch_size", size)
        if getattr(tokenizer, "pad_token_id", None) is None:
            size = 1  # nothing to fill shorter texts up with
        rows: list[Tensor] = []
        for i in range(0, len(texts), size):
            tokens = encode(model, tokenizer, texts[i : i + size])
            with untouched(model, tokens["attention_mask"]), torch.no_grad():
                scores = getattr(model(**tokens), "logits", None)
            if scores is None or scores.ndim != 2:
                raise TypeError(
                    f"{type(model).__name__} gives no class scores (N, K); interpret a classifier "
                    "(…ForSequenceClassification)"
                )
            rows.append(scores.float().cpu())
        return torch.cat(rows)


@dataclass(frozen=True)
class TextInterpretation:
    """What was found about one text and one class.

    Attributes
    ----------
    text : str
        As it was given.
    words : list of str
        What stands between its blanks.
    guesses : tuple of Guess
        The best ones.
    target : Guess
        The class that is explained.
    values : dict of str to list of float
        What each word contributed, by method.
    marked : dict of str to list of int
        The words that were hidden.
    alone : dict of str to list of float
        Fall of the log-odds when one word alone is hidden, by way of hiding.
    evidence : dict of str to Evidence
        By method.
    settings : dict
        What it was made with.
    """

    text: str
    words: list[str]
    guesses: tuple[Guess, ...]
    target: Guess
    values: dict[str, list[float]]
    marked: dict[str, list[int]]
    alone: dict[str, list[float]]
    evidence: dict[str, Evidence]
    settings: dict[str, Any]

    @property
    def conclusion(self) -> str:
        """What follows, in one sentence."""
        said = concluded(self.evidence, self.target, "the words", "as many other words")
        first = next((name for name, one in self.evidence.items() if one.verdict == "holds"), None)
        if first is None:
            return said
        words = ", ".join(f"“{word}”" for word in self.marked_words(first))
        return f"{said} The words that {first} marks: {words}."

    def marked_words(self, name: str) -> list[str]:
        """Words that a map marks, without the punctuation at their ends."""
        return [self.words[k].strip(".,;:") or self.words[k] for k in self.marked[name]]

    def to_dict(self) -> dict[str, Any]:
        """Everything as numbers and words that JSON takes."""
        return {
            "text": self.text,
            "conclusion": self.conclusion,
            "words": list(self.words),
            "guesses": [asdict(one) for one in self.guesses],
            "target": asdict(self.target),
            "values": self.values,
            "marked": self.marked,
            "alone": self.alone,
            "evidence": {name: evidence_dict(one) for name, one in self.evidence.items()},
            "settings": dict(self.settings),
        }

    def rows(self) -> list[dict[str, str]]:
        """Table: a row for each method and way of hiding."""
        return [
            {
                "map": name,
                "words": ", ".join(self.marked_words(name)),
                **hiding_row(way, hiding),
                "evidence": one.verdict,
            }
            for name, one in self.evidence.items()
            for way, hiding in one.hidings.items() or [("", None)]
        ]

    def table(self) -> str:
        """Rows as Markdown."""
        return pages.markdown(self.rows())

    def figure(self) -> Any:
        """What each word contributed, and what hiding it alone did."""
        from xai_lab.plot import evidence

        return evidence.words(self.words, self.values, self.alone)

    def html(self) -> str:
        """Page that needs nothing else."""
        return pages.document(
            f"{self.guesses[0].label}: does the evidence hold?",
            self.conclusion,
            [
                ("The text", pages.quoted(self.text)),
                ("What it says", pages.table(pages.guess_rows(self.guesses))),
                (
                    "Word by word",
                    pages.image(
                        self.figure(),
                        alt="For each word, what each method gives it, and how far the log-odds "
                        "fall when it is hidden.",
                    ),
                ),
                ("The numbers", pages.table(self.rows())),
            ],
            made=", ".join(f"{name} {value}" for name, value in self.settings.items()),
        )

    def _repr_html_(self) -> str:
        return pages.table(self.rows(), caption=self.conclusion)


def without(words: Sequence[str], hidden_words: Sequence[int], instead: str | None) -> str:
    """Text without some words, or with another in the place of each; punctuation stays."""
    kept = []
    for k, word in enumerate(words):
        tail = word[len(word.rstrip(".,;:!?")) :]
        if k not in hidden_words:
            kept.append(word)
        elif instead is not None:
            kept.append(instead + tail)
        elif tail and kept:
            kept[-1] += tail
    # A text without any word is one of nothing but a full stop.
    return " ".join(kept) or "."


def draw_others(
    words: int, marked: Sequence[int], samples: int, seed: int
) -> Iterator[tuple[int, ...]]:
    """As many other words as are marked, drawn without repetition, never the same choice twice."""
    others = [k for k in range(words) if k not in marked]
    drawn, seen = random.Random(seed), set()
    if not marked or len(others) < len(marked):
        return
    for _ in range(20 * samples):
        one = tuple(sorted(drawn.sample(others, len(marked))))
        if one not in seen:
            seen.add(one)
            yield one
        if len(seen) == samples:
            return


# ----------------------------------------------------------------------------------------- helpers


def concluded(evidence: Mapping[str, Evidence], target: Guess, whole: str, others: str) -> str:
    """Sentence about which maps are borne out, and by which numbers."""
    held = [name for name, one in evidence.items() if one.verdict == "holds"]
    if not held:
        open_ = [name for name, one in evidence.items() if one.verdict == "undecided"]
        if open_:
            return (
                f"Undecided: for {', '.join(open_)} it depends on what stands in the place of what "
                "is hidden."
            )
        if not any(one.hidings for one in evidence.values()):
            return f"None of these maps marks anything for {target.label}, so nothing was hidden."
        return (
            f"None of these maps marks what {target.label} rests on: hiding it costs little, or no "
            f"more than hiding {others}."
        )
    hidings = [hiding for name in held for hiding in evidence[name].hidings.values()]
    share = max(evidence[name].share for name in held)
    return (
        f"{pages.listed(held)} {'mark' if len(held) > 1 else 'marks'} what the network goes by: "
        f"hiding {share:.0%} of {whole} takes {target.label} from "
        f"{pages.percent(target.probability)} to {pages.percent(max(h.after for h in hidings))} or "
        f"less, {others} leave {pages.percent(min(h.elsewhere_after for h in hidings))} or more on "
        "average."
    )


def unpacked(
    model: Any, labels: Sequence[str] | None, normalisation: Normalisation | None
) -> tuple[Any, Sequence[str] | None, Normalisation | None]:
    """Model, labels and normalisation; `xai_lab.load` returns them in one."""
    if not isinstance(model, nn.Module) and hasattr(model, "transform"):
        return model.model, labels or model.labels, normalisation or model.normalisation
    return model, labels, normalisation


def named_classes(labels: Sequence[str] | None, count: int) -> list[str]:
    """Names of the classes, or numbers in their place."""
    if labels is None:
        return [f"class {c}" for c in range(count)]
    if len(labels) != count:
        raise ValueError(f"there are {len(labels)} labels, the model has {count} classes")
    return [str(label) for label in labels]


def check_classes(targets: Tensor, count: int) -> None:
    """Refuse a class that the model does not have."""
    if targets.min() < 0 or targets.max() >= count:
        raise ValueError(
            f"target {targets.tolist()} is out of range: the model has classes 0 to {count - 1}"
        )


def guess_of(outputs: Tensor, c: int, labels: Sequence[str]) -> Guess:
    """One class of the outputs ``(K,)`` with its name."""
    return Guess(c, labels[c], outputs.float().softmax(dim=0)[c].item(), outputs[c].item())


def chosen_methods(methods: Sequence[str] | Mapping[str, Explain]) -> dict[str, Explain]:
    """Methods by name."""
    if isinstance(methods, Mapping):
        return dict(methods)
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        raise ValueError(
            f"no method {unknown}: there are {', '.join(METHODS)}; others go in as a mapping of "
            "names to functions of (model, pictures, target)"
        )
    return {name: METHODS[name] for name in methods}


def as_maps(attribution: Tensor) -> Tensor:
    """What speaks for the class, pixel by pixel, ``(N, H, W)``."""
    maps = attribution.sum(dim=1) if attribution.ndim == 4 else attribution
    return maps.detach().float().clamp_min(0)


def shown(x: Tensor, normalisation: Normalisation | None) -> Tensor:
    """Inputs as pictures in [0, 1], on the CPU."""
    mean, std = (
        torch.as_tensor(numbers, device="cpu").to(x).reshape(-1, 1, 1)
        for numbers in normalisation or (0.0, 1.0)
    )
    return (x * std + mean).clamp(0, 1).float().cpu()


def evidence_dict(one: Evidence) -> dict[str, Any]:
    """Evidence with what follows from its numbers."""
    hidings = {
        fill: {**asdict(hiding), "elsewhere": list(hiding.elsewhere), "chance": hiding.chance}
        for fill, hiding in one.hidings.items()
    }
    return {"verdict": one.verdict, "share": one.share, "hidings": hidings}


def hiding_row(fill: str, hiding: Any) -> dict[str, str]:
    """One fill as cells of a table."""
    if hiding is None:
        return dict.fromkeys(("hidden by", "before", "after", "elsewhere", "as much"), "")
    return {
        "hidden by": fill,
        "before": pages.percent(hiding.before),
        "after": pages.percent(hiding.after),
        "elsewhere": pages.percent(hiding.elsewhere_after),
        "as much": f"{round(hiding.chance * (1 + len(hiding.elsewhere))) - 1} of "
        f"{len(hiding.elsewhere)}",
    }
