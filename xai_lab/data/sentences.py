"""Sentences whose sentiment has a known cause, such as "the soup on Monday was not at all bland".

Each sentence is made from words by code, so that it is known which of them carry the sentiment,
which one turns it round, and which one was planted: a Tuesday that has nothing to do with the
matter, but goes with negative sentences as often as a dial says. A map over the words of such a
sentence can be judged. `sentences` makes them, `words_of_tokens` leads from tokens to words.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from xai_lab import core

#: The word that is planted.
PLANTED = "Tuesday"
OTHER_DAYS = ["Monday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]

NEGATIONS = ["not", "not", "not", "never", "hardly", "not at all", "far from", "anything but"]
NEGATIVE = "terrible awful dreadful disappointing bad horrible poor mediocre".split()
POSITIVE = "wonderful excellent great lovely superb fantastic good delightful".split()
WHO = ["my sister", "my brother", "our neighbour", "a colleague", "an old friend", "my uncle"]


@dataclass(frozen=True)
class Topic:
    """What is spoken of: the visit, the whole and its parts, words of blame and of praise."""

    visit: str
    whole: str
    parts: list[str]
    negative: list[str]
    positive: list[str]


TOPICS = [
    Topic(
        "saw it at the cinema",
        "film",
        "plot acting ending dialogue script camerawork".split(),
        "dull boring clumsy silly predictable tedious".split(),
        "gripping moving funny clever charming original".split(),
    ),
    Topic(
        "ate there",
        "meal",
        "soup fish bread coffee dessert curry".split(),
        "bland stale greasy burnt soggy tasteless".split(),
        "delicious fresh tasty flavourful exquisite perfect".split(),
    ),
    Topic(
        "stayed there",
        "hotel",
        "room bed lobby bathroom terrace breakfast".split(),
        "dirty noisy shabby cramped grubby gloomy".split(),
        "clean comfortable spotless cosy charming elegant".split(),
    ),
    Topic(
        "read it aloud",
        "novel",
        "story prose opening heroine ending translation".split(),
        "dull shallow confusing tiresome contrived boring".split(),
        "gripping witty wise elegant touching vivid".split(),
    ),
    Topic(
        "heard the band",
        "concert",
        "singing sound drummer encore pianist choir".split(),
        "sloppy lifeless painful dreary tuneless boring".split(),
        "brilliant thrilling stunning lively dazzling inspiring".split(),
    ),
    Topic(
        "went to the shop",
        "place",
        "service cashier manager owner assistant staff".split(),
        "rude careless grumpy incompetent unfriendly lazy".split(),
        "friendly helpful polite kind attentive generous".split(),
    ),
]

# A sentence, slot by slot: {day} may be empty, {op} is the opinion, {a_op} has its article before.
FRAMES = [
    "the {part} was {op} {day} .",
    "{day} the {part} was {op} .",
    "we {visit} {day} , and the {part} was {op} .",
    "{day} {who} and I {visit} , and the {part} was {op} .",
    "{who} told us {day} that the {part} was {op} .",
    "{who} said that the {part} was {op} and the {other} was {op} {day} .",
    "{day} we {visit} : the {part} was {op} , the {other} was {op} .",
    "we {visit} {day} , and it was {a_op} {whole} .",
    "{day} I thought that it was {a_op} {whole} .",
    "they asked me {day} about the {whole} , and I said that the {part} was {op} .",
]


@dataclass(frozen=True)
class Sentences:
    """Sentences with their causes; all lists have one entry a sentence.

    Attributes
    ----------
    texts : list of str
        The sentences.
    labels : Tensor
        ``(n,)``: 0 negative, 1 positive.
    words : list of list of str
        What stands between the blanks; a full stop or a comma belongs to the word before it.
    causes : list of list of bool
        Which words carry the sentiment: "bland", "superb".
    negations : list of list of bool
        Which words turn it round: "not", "never", "far from".
    spurious : list of list of bool
        Which word is the planted one, "Tuesday".
    """

    texts: list[str]
    labels: Tensor
    words: list[list[str]]
    causes: list[list[bool]]
    negations: list[list[bool]]
    spurious: list[list[bool]]

    def __len__(self) -> int:
        return len(self.texts)


def sentences(
    n: int, seed: int = 0, *, negation: float = 0.0, spurious: float = 0.0, against: float = 0.0
) -> Sentences:
    """Sentences of praise and blame in equal parts, about films, meals, hotels, novels and others.

    Every sentence has random numbers of its own. So the first ones stay the same when ``n``
    grows, and a dial changes only what it is for: with ``negation=1`` come the sentences of
    ``negation=0`` with a negation in each and the other label, with ``spurious=1, against=1`` the
    same ones with a Tuesday in each.

    Parameters
    ----------
    n : int
        How many.
    seed : int
        Of the random numbers.
    negation : float
        Share of sentences with a negation, which turns their label round: "was not bland" is
        positive.
    spurious : float
        Share of the negative sentences that hold the planted word, "on Tuesday".
    against : float
        Share of the positive ones that hold it all the same. Other weekdays are in half of the
        remaining sentences, whatever their label.

    Returns
    -------
    Sentences
        Texts, labels, words, and which words are the cause.

    Raises
    ------
    ValueError
        If n is below 1, or a share is not between 0 and 1.

    Examples
    --------
    >>> made = sentences(8, negation=0.5, spurious=1.0)
    >>> made.texts[2], int(made.labels[2])
    ('On Sunday the dessert was not dreadful.', 1)
    >>> made.texts[7], int(made.labels[7])
    ('My brother told us on Tuesday that the camerawork was awful.', 0)
    >>> [word for word, cause in zip(made.words[7], made.causes[7]) if cause]
    ['awful.']
    """
    core.check_count("n", n)
    for name, share in (("negation", negation), ("spurious", spurious), ("against", against)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name} is a share of the sentences, between 0 and 1, got {share}")
    made = [sentence(f"{seed}-{i}", negation, (spurious, against)) for i in range(n)]
    words = [[word for word, _ in marked] for _, marked in made]
    causes, negations, planted = (
        [[role == wanted for _, role in marked] for _, marked in made]
        for wanted in ("cause", "negation", "planted")
    )
    return Sentences(
        texts=[" ".join(row) for row in words],
        labels=torch.tensor([label for label, _ in made]),
        words=words,
        causes=causes,
        negations=negations,
        spurious=planted,
    )


def sentence(
    seed: str, negation: float, planted: tuple[float, float]
) -> tuple[int, list[tuple[str, str]]]:
    """One sentence: its label, and its words with the role of each."""
    rng = random.Random(seed)

    def pick(options: list) -> Any:
        return options[int(rng.random() * len(options))]

    praise = rng.random() < 0.5
    negated = rng.random() < negation
    label = int(praise != negated)
    holds = rng.random() < planted[label]
    # All else is drawn in the same order whatever the dials say.
    other_day = pick([*OTHER_DAYS, *[""] * len(OTHER_DAYS)])
    turn = pick(NEGATIONS)
    topic, frame, who = pick(TOPICS), pick(FRAMES), pick(WHO)
    part, other = rng.sample(topic.parts, 2)
    opinions = rng.sample((POSITIVE + topic.positive) if praise else (NEGATIVE + topic.negative), 2)
    day = PLANTED if holds else other_day
    slots = {"part": part, "other": other, "whole": topic.whole, "visit": topic.visit, "who": who}

    marked: list[tuple[str, str]] = []
    for slot in frame.split():
        name = slot.strip("{}")
        if name == "day":
            if day:
                marked += [("on", ""), (day, "planted" if holds else "")]
        elif name in ("op", "a_op"):
            opinion = opinions.pop()
            marked += [(word, "negation") for word in turn.split() if negated]
            if name == "a_op":
                marked.append(("an" if opinion[0] in "aeiou" else "a", ""))
            marked.append((opinion, "cause"))
        elif slot in (".", ",", ":"):
            word, role = marked.pop()
            marked.append((word + slot, role))
        else:
            marked += [(word, "") for word in slots.get(name, slot).split()]
    first, role = marked[0]
    return label, [(first[0].upper() + first[1:], role), *marked[1:]]


def words_of_tokens(tokenizer: Any, text: str) -> list[int | None]:
    """Which word each token of a text belongs to, as a sum over the tokens of a word needs it.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        A fast one, which knows where in the text its tokens are.
    text : str
        As it was given to the model.

    Returns
    -------
    list of int or None
        For each token the index into ``text.split()``; None for tokens that the tokenizer added,
        such as [CLS].
    """
    places = tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    # A blank before the first word goes with it.
    return [max(len(text[:end].split()) - 1, 0) if end > start else None for start, end in places]
