"""A small GPT-2 that reads short stories and repeats what it has seen: `load("tiny-lm")`.

`WORDS` is all it knows. `story` writes what it was trained on, `repeated` the sequences on which an
induction head shows itself. `build` puts the network together.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

PAD, START, END, UNKNOWN = SPECIAL = ["<pad>", "<start>", "<end>", "<unk>"]
WOMEN = "Mary Anna Clara Emma Grace Iris Kate Mia Olga Rosa Tina Zoe".split()
MEN = "John Ben David Felix Henry Jack Leo Noah Paul Sam Tom Will".split()
PLACES = (
    "garden kitchen market library school station harbour museum bakery park forest beach castle "
    "farm tower bridge village theatre hospital office square church field tent"
).split()
THINGS = (
    "lamp book key ball letter hat coat map drum kite clock ring rope basket bottle camera candle "
    "carpet box cup spoon knife mirror needle paper pencil pillow stone shoe ticket umbrella "
    "violin flute coin apple egg orange"
).split()
FIXTURES = "tree table door bed chair wall window stairs".split()
QUALITIES = (
    "red blue green yellow black white old new small big heavy light round broken clean dirty "
    "strange pretty wet dry warm cold cheap golden wooden"
).split()
FOODS = "bread cheese soup rice fish cake honey butter fruit salad tea milk coffee juice".split()
FEELINGS = "happy sad tired angry proud hungry thirsty afraid calm lonely surprised busy".split()
GOOD = {"happy", "proud", "calm"}
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
#: An animal, more than one of it, what it does, where it lives.
ANIMALS = {
    "dog": ("dogs", "barks", "bark", "kennel"),
    "cat": ("cats", "purrs", "purr", "house"),
    "bird": ("birds", "sings", "sing", "nest"),
    "bee": ("bees", "hums", "hum", "hive"),
    "horse": ("horses", "gallops", "gallop", "stable"),
    "frog": ("frogs", "croaks", "croak", "pond"),
    "lion": ("lions", "roars", "roar", "desert"),
    "wolf": ("wolves", "howls", "howl", "cave"),
    "duck": ("ducks", "swims", "swim", "lake"),
    "mouse": ("mice", "hides", "hide", "hole"),
    "snake": ("snakes", "hisses", "hiss", "grass"),
    "monkey": ("monkeys", "climbs", "climb", "jungle"),
}
OPPOSITES = [
    *[("hot", "cold"), ("big", "small"), ("old", "new"), ("wet", "dry"), ("happy", "sad")],
    *[("heavy", "light"), ("black", "white"), ("clean", "dirty"), ("day", "night"), ("up", "down")],
]
OTHERS = (
    ". , ? The the a an and but When went walked ran came home to in at near On with of under "
    "for by gave showed sold sent took found lost wanted carried kept thanked met looked "
    "called saw She He she he her his was is It Then So because likes like had not did very "
    "Where Who lives live opposite One That There morning evening"
).split()
WORDS = list(
    dict.fromkeys(
        [
            *SPECIAL,
            *OTHERS,
            *WOMEN,
            *MEN,
            *PLACES,
            *FIXTURES,
            *THINGS,
            *QUALITIES,
            *FOODS,
            *FEELINGS,
            *DAYS,
        ]
        + [word for name, about in ANIMALS.items() for word in (name, *about)]
        + [word for pair in OPPOSITES for word in pair]
    )
)
NUMBER = {word: number for number, word in enumerate(WORDS)}
CONTEXT = 128


def build(name: str, pretrained: bool) -> tuple[GPT2LMHeadModel, PreTrainedTokenizerFast, list]:
    """Network, tokenizer and vocabulary."""
    from xai_lab.models.bundled import read_weights

    model = network()
    if pretrained:
        model.load_state_dict({k: v.float() for k, v in read_weights(name).items()})
    return model, tokenizer(), list(WORDS)


def network() -> GPT2LMHeadModel:
    """GPT-2 in small, with random weights: 2 layers of 4 heads, eager attention."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=len(WORDS),
        n_positions=CONTEXT,
        n_embd=128,
        n_layer=2,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=NUMBER[START],
        eos_token_id=NUMBER[END],
        pad_token_id=NUMBER[PAD],
    )
    return GPT2LMHeadModel._from_config(config, attn_implementation="eager")


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word or punctuation mark; a text begins with ``<start>``."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel(NUMBER, unk_token=UNKNOWN))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, NUMBER[START])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        unk_token=UNKNOWN,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=True,
    )


def repeated(length: int, count: int = 1, seed: int = 0) -> Tensor:
    """Random words, twice over: nothing but the first copy tells what comes next.

    Parameters
    ----------
    length : int
        Words of one copy, all different.
    count : int
        Sequences.
    seed : int
        Of the draw.

    Returns
    -------
    Tensor
        Token numbers ``(count, 1 + 2 · length)``: ``<start>``, the words, the same words again.
    """
    most = (CONTEXT - 1) // 2
    if not 1 <= length <= most:
        raise ValueError(f"length is {length}, expected 1 to {most}: two copies fit in {CONTEXT}")
    generator = torch.Generator().manual_seed(seed)
    words = torch.rand(count, len(WORDS) - len(SPECIAL), generator=generator).argsort(dim=1)
    words = words[:, :length] + len(SPECIAL)
    start = torch.full((count, 1), NUMBER[START])
    return torch.cat([start, words, words], dim=1)


def story(seed: int) -> str:
    """Two to four short sentences about two people, in which names and things come back."""
    return tell(random.Random(seed))


def tell(draw: random.Random) -> str:
    """Story from a random source."""
    one, two = draw.sample(WOMEN + MEN, 2)
    place, other_place = draw.sample(PLACES, 2)
    thing, quality = draw.choice(THINGS), draw.choice(QUALITIES)
    near = draw.choice(FIXTURES)
    animal = draw.choice(list(ANIMALS))
    told = [opening(draw, one, two, place, thing)]
    told += draw.sample(
        [
            f"{one} found {a(quality, thing)} near the {place} .",
            f"{one} {draw.choice(['gave', 'showed', 'sold', 'sent'])} the {thing} to {two} .",
            f"{two} {draw.choice(['took', 'carried'])} the {thing} home .",
            f"{one} lost the {thing} at the {other_place} . "
            f"Then {two} found the {thing} at the {other_place} .",
            f"The {thing} was very {quality} . {one} did not like {a(quality, thing)} .",
            f"{they(one)} was {draw.choice(FEELINGS)} because {two} had the {thing} .",
            f"Where is the {thing} ? It is at the {other_place} .",
            f"{draw.choice(['One morning', 'That evening'])} {two} thanked {one} .",
            f"Who {draw.choice(['found', 'wanted', 'kept'])} the {thing} ? {two} did .",
            f"{two} looked for the {thing} {draw.choice(['under', 'in', 'by'])} the {near} .",
            f"There was {a(animal)} near the {near} . {two} {draw.choice(['saw', 'called'])} "
            f"the {animal} .",
            favourites(draw, one, two),
            nature(draw),
            nature(draw),
            mood(draw, one, two, thing),
        ],
        draw.randint(1, 3),
    )
    return " ".join(told)


def opening(draw: random.Random, one: str, two: str, place: str, thing: str) -> str:
    """Who is there, and where."""
    first, second = draw.sample([one, two], 2)
    verb = draw.choice(["gave", "showed", "sold", "sent"])
    given = f"{one} {verb} {a(thing)} to {two} ."
    return draw.choice(
        [
            # Only the order of the names tells who gets the thing: the other one.
            f"When {first} and {second} went to the {place} , {given}",
            f"When {first} and {second} came to the {place} , {given}",
            f"Then {first} and {second} walked to the {place} , and {given}",
            f"On {draw.choice(DAYS)} {one} met {two} at the {place} .",
            f"{one} and {two} {draw.choice(['walked', 'ran'])} to the {place} .",
            f"{one} {draw.choice(['went', 'came'])} to the {place} with {two} .",
        ]
    )


def favourites(draw: random.Random, one: str, two: str) -> str:
    """What each of them likes, then what each of them had."""
    here, there = draw.sample(FOODS, 2)
    return (
        f"{one} likes {here} , but {two} likes {there} . "
        f"So {one} had {here} and {two} had {there} ."
    )


def mood(draw: random.Random, one: str, two: str, thing: str) -> str:
    """A feeling, and the reason, which fits it."""
    feeling = draw.choice(FEELINGS)
    verb = "found" if feeling in GOOD else "lost"
    return f"{one} was {feeling} because {they(one).lower()} {verb} {their(one)} {thing} ."


def nature(draw: random.Random) -> str:
    """Something that is always so."""
    animal = draw.choice(list(ANIMALS))
    many, does, do, home = ANIMALS[animal]
    other = draw.choice(list(ANIMALS))
    left, right = draw.sample(draw.choice(OPPOSITES), 2)
    return draw.choice(
        [
            f"The {animal} lives in the {home} .",
            f"The {many} live in the {home} .",
            # The verb follows its own noun, not the nearer one.
            f"The {animal} near the {ANIMALS[other][0]} {does} .",
            f"The {many} near the {other} {do} .",
            f"The opposite of {left} is {right} .",
        ]
    )


def a(*words: str) -> str:
    """Words with their article."""
    return " ".join(["an" if words[0][0] in "aeiou" else "a", *words])


def they(name: str) -> str:
    """Pronoun of a person."""
    return "She" if name in WOMEN else "He"


def their(name: str) -> str:
    """Possessive of a person."""
    return "her" if name in WOMEN else "his"
