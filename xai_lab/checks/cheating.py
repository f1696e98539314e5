# ruff: noqa: D103 (what is said about a wrong function stands beside it in the catalogue)
"""Exercises of chapter 5, second part: other grounds, three networks without names, and groups.

Each exercise is a block: the right function under its exercise's name, the cases, the mistakes,
the hints. `EXERCISES` at the end is what `check` finds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from xai_lab.checks.exercise import Case, Exercise, catalogue
from xai_lab.checks.hiding import Change, spots
from xai_lab.checks.small import WHERE, classes, on_device, random, seeded, with_gradients

# ---------------------------------------------------------------------- 1. other grounds


def mean_outside(x: Tensor, m: Tensor) -> Tensor:
    """Mean colour of what is not the object, (N, C, 1, 1)."""
    return (x * ~m).sum((2, 3), keepdim=True) / (~m).sum((2, 3), keepdim=True)


def next_one(grounds: Tensor) -> Tensor:
    """Ground of the next picture; the last gets the first one's."""
    return grounds.roll(-1, 0)


def exchanging(
    colour: Callable[[Tensor, Tensor], Tensor] = mean_outside,
    paint: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda x, m, c: torch.where(m, c, x),
    move: Change = next_one,
    put: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda x, m, g: torch.where(m, x, g),
) -> Callable:
    """Objects on other pictures' grounds, with one ingredient exchanged."""

    def function(images, masks):
        m = masks[:, None]
        return put(images, m, move(paint(images, m, colour(images, m))))

    return function


def swapped(images: Tensor, masks: Tensor) -> Tensor:
    """Each object on the ground of the next picture, whose own object is painted over."""
    return exchanging()(images, masks)


def not_around(x: Tensor) -> Tensor:
    """The next one's; nothing for the last."""
    return torch.cat([x[1:], torch.zeros_like(x[:1])])


def last_stays(x: Tensor) -> Tensor:
    """The next one's; the last keeps its own."""
    return torch.cat([x[1:], x[-1:]])


def swapped_in_place(images, masks):
    return images.copy_(swapped(images, masks))


def other_pixels_only(images, masks):
    """Put the object on the next picture where that one's object is not."""
    m = masks[:, None]
    moved = images.roll(-1, 0)
    return torch.where(m | m.roll(-1, 0), images, moved)


def objects_of_the_next(images, masks):
    m = masks[:, None]
    grounds = torch.where(m, mean_outside(images, m), images)
    return torch.where(next_one(m), next_one(images), grounds)


def from_changed_ones(images, masks):
    """Write each result over its picture, so that the last one gets a ground that has moved."""
    result, m = images.clone(), masks[:, None]
    for n in range(len(images)):
        k = (n + 1) % len(images)
        one = result[k : k + 1]
        ground = torch.where(m[k], mean_outside(one, m[k : k + 1]), one)
        result[n] = torch.where(m[n], images[n], ground[0])
    return result


def median_outside(x: Tensor, m: Tensor) -> Tensor:
    """Median of what is not the object, by channel."""
    rows = [one[:, ~mask[0]].median(1).values for one, mask in zip(x, m, strict=True)]
    return torch.stack(rows)[:, :, None, None]


def objects(*shape: int, seed: int) -> dict[str, Any]:
    """Pictures and an object in each."""
    return dict(images=random(*shape, seed=seed), masks=spots(shape[0], *shape[2:], seed=seed + 1))


GHOST = (
    "The next picture's *object* came along with its ground: there are two objects now, and the "
    "network may go by either. Paint it over first, with *its own* mask and the mean colour of its "
    "ground; after the roll mask n no longer belongs to what is picture n."
)
SWAPPED = Exercise(
    reference=swapped,
    cases=(
        Case("three pictures", lambda: objects(3, 3, 4, 5, seed=601)),
        Case("four pictures of one channel, as wide as high",
             lambda: objects(4, 1, 4, 4, seed=611)),
        Case("two pictures, which exchange their grounds",
             lambda: objects(2, 3, 5, 3, seed=621)),
        Case(f"five pictures{WHERE}", lambda: on_device(objects(5, 2, 3, 4, seed=631))),
    ),
    mistakes=catalogue(
        ghost=(exchanging(paint=lambda x, m, c: x), GHOST),
        other_pixels_only=(other_pixels_only,
            "Where the next picture has its object you kept this one's ground. Then some of the "
            "ground that is to be exchanged stays. Paint over the other object, with the mean "
            "colour of *its* ground."),
        previous=(exchanging(move=lambda g: g.roll(1, 0)),
            "These are the *previous* pictures' grounds: `roll(-1, dims=0)` brings the next one's "
            "to each."),
        not_around=(exchanging(move=not_around),
            "The last picture has no ground. It gets the first one's: `roll` goes round."),
        last_stays=(exchanging(move=last_stays),
            "The last picture kept its own ground. It gets the first one's: `roll` goes round."),
        own_ground=(exchanging(move=lambda g: g),
            "Every object is back on its own ground. Take the next picture's."),
        flipped=(exchanging(move=lambda g: g.flip(0)),
            "You reversed the order of the grounds. In the middle of an odd number of pictures one "
            "then keeps its own: `roll(-1, dims=0)` moves all."),
        wrong_dimension=(exchanging(move=lambda g: g.roll(-1, -1)),
            "You rolled along the columns (`dims=-1`): the ground moved by a pixel. The pictures "
            "are dimension 0."),
        rolled_flat=(exchanging(move=lambda g: g.roll(-1)),
            "`roll(-1)` without `dims` rolls the numbers of the whole batch by one. Pictures are "
            "dimension 0: `roll(-1, dims=0)`."),
        inverted=(exchanging(put=lambda x, m, g: torch.where(m, g, x)),
            "It is the other way round: the ground stayed, and the *object* is gone."),
        inverted_paint=(exchanging(paint=lambda x, m, c: torch.where(m, x, c)),
            "You painted over the ground and kept the object: what moves on is the next picture's "
            "object."),
        mask_of_the_ground=(exchanging(put=lambda x, m, g: torch.where(m.roll(-1, 0), x, g)),
            "You cut out the object with the *next* picture's mask. The mask stays with its own "
            "picture; the ground moves."),
        objects_moved=(lambda x, m: swapped(x.roll(1, 0), m.roll(1, 0)),
            "The result is a picture late: picture n should hold object n, on the ground of "
            "n + 1."),
        black_hole=(exchanging(colour=lambda x, m: torch.zeros_like(x)),
            "Where the next picture's object was there is zero, a black hole in its shape. Fill it "
            "with the mean colour of its ground."),
        with_the_object=(exchanging(colour=lambda x, m: x.mean((2, 3), keepdim=True)),
            "The hole has the mean colour of the *whole* picture, the object among it: a trace of "
            "its colour stays. Average outside of the mask."),
        of_the_object=(exchanging(colour=lambda x, m: mean_outside(x, ~m)),
            "The hole has the mean colour of the *object*, and shows where it was. Average outside "
            "of the mask."),
        too_pale=(exchanging(colour=lambda x, m: (x * ~m).mean((2, 3), keepdim=True)),
            "You divided by all pixels, the hidden zeros among them. The mean of the ground is its "
            "sum over the number of *its* pixels."),
        not_divided=(exchanging(colour=lambda x, m: (x * ~m).sum((2, 3), keepdim=True)),
            "The hole has the sum of the ground's pixels; divide by their number."),
        grey=(exchanging(colour=lambda x, m: mean_outside(x, m).mean(1, keepdim=True)),
            "You averaged over the channels too, which leaves a grey."),
        of_the_batch=(exchanging(colour=lambda x, m: (x * ~m).sum((0, 2, 3), keepdim=True)
                                 / (~m).sum((0, 2, 3), keepdim=True)),
            "You averaged over the batch too: each ground has a mean colour of its own."),
        grey_of_three=(exchanging(colour=lambda x, m: mean_outside(x, m).sum(1, keepdim=True) / 3),
            "You averaged over the channels too, which leaves one grey for all of them (and "
            "divided by 3, whatever their number). Each channel has its own mean."),
        one_number_too_large=(exchanging(
                colour=lambda x, m: mean_outside(x, m).sum(1, keepdim=True)),
            "You added the channels up as well, so that the hole has one number for all of them. "
            "Each channel has its own mean: sum over `(2, 3)`, keep dimension 1."),
        divided_by_all_channels=(exchanging(colour=lambda x, m: mean_outside(x, m) / x.shape[1]),
            "You divided by the pixels of all channels together, so that the colour is too dark "
            "by their number. The mask has one channel: count its pixels once."),
        median=(exchanging(colour=median_outside),
            "The hole has the median of the ground; the formula has its mean."),
        two_on=(exchanging(move=lambda g: g.roll(-2, 0)),
            "These are the grounds of the picture after the next: `roll(-1, dims=0)`."),
        only_grounds=(exchanging(put=lambda x, m, g: g),
            "The objects are missing: these are the grounds alone. Put each object back: "
            "`torch.where(m, images, grounds)`."),
        added=(exchanging(put=lambda x, m, g: m * x + g),
            "You added the object to the ground, which shines through it. It takes its place: "
            "m x + (1 − m) g."),
        all_inverted=(lambda x, m: swapped(x, ~m),
            "The mask is the wrong way round throughout: it is true on the *object*. You cut out "
            "the grounds and put them around other objects."),
        objects_of_the_next=(objects_of_the_next,
            "The objects moved and the grounds stayed: picture n should hold object n, on the "
            "ground of n + 1."),
        from_changed_ones=(from_changed_ones,
            "The last picture got a ground that had already moved: you write results over the "
            "pictures that later ones need. Read from `images`, write into another tensor."),
        painted_late=(exchanging(paint=lambda x, m, c: torch.where(m, c.roll(1, 0), x)),
            "The hole has the colour of another picture's ground. Paint first, then roll."),
        flat_ground=(exchanging(paint=lambda x, m, c: c.expand_as(x)),
            "The whole ground is one colour. Only the hole is to be filled; grass keeps its "
            "blades."),
        mixed=(exchanging(put=lambda x, m, g: torch.where(m, x, (x + g) / 2)),
            "Half of the old ground is still there."),
        swapped_in_place=(swapped_in_place,
            "The values are right, but you wrote into the caller's pictures: they are needed to "
            "compare with."),
    ),
    hints=(
        "Three steps: paint over each object, move the painted grounds on by one picture, put each "
        "object back onto what arrived.",
        "With m = `masks[:, None]`, the mean colour of the ground is `(x * ~m).sum((2, 3), "
        "keepdim=True)` over `(~m).sum((2, 3), keepdim=True)`. `torch.where` paints, "
        "`roll(-1, dims=0)` moves.",
        "`colour = …`; `grounds = torch.where(m, colour, images).roll(-1, dims=0)`; "
        "`return torch.where(m, images, grounds)`",
    ),
)  # fmt: skip


# ------------------------------------------------------------------------- 2. changed answers


def answers(scores: Tensor) -> Tensor:
    """Best class of each sample."""
    return scores.argmax(1)


def comparing(
    compare: Callable[[Tensor, Tensor], Any] = lambda a, b: (
        (answers(a) != answers(b)).float().mean()
    ),
) -> Callable:
    """Compare the scores before and after."""

    def function(model, images, edited):
        with torch.no_grad():
            return compare(model(images), model(edited))

    return function


def flip_rate(model: Callable[[Tensor], Tensor], images: Tensor, edited: Tensor) -> float:
    """Share of pictures whose answer changes."""
    return comparing()(model, images, edited).item()


def in_training_mode(model, images, edited):
    was = getattr(model, "training", None)
    kept = {k: v.clone() for k, v in model.state_dict().items()} if was is not None else {}
    if was is not None:
        model.train()
    rate = flip_rate(model, images, edited)
    if was is not None:
        model.load_state_dict(kept)
        model.train(was)
    return rate


def in_eval_mode(model, images, edited):
    if isinstance(model, nn.Module):
        model.eval()
    return flip_rate(model, images, edited)


def whole_batch(model, images, edited):
    with torch.no_grad():
        return float(model(images).argmax() != model(edited).argmax())


def by_first(model, images, edited):
    with torch.no_grad():
        return (model(images[:1]).argmax(1) != model(edited).argmax(1)).float().mean()


def set_of_changes(a: Tensor, b: Tensor) -> Tensor:
    """Classes that are an answer in one of the two only."""
    return torch.tensor(len({*answers(a).tolist()} ^ {*answers(b).tolist()}) / len(a))


def edited_twice(seed: int, n: int, strength: float, model: Any = None) -> dict[str, Any]:
    """Pictures, and the same with something added, as strong as said."""
    images = random(n, 2, 3, 4, seed=seed)
    return dict(model=model or mild(seed), images=images,
                edited=images + strength * random(n, 2, 3, 4, seed=seed + 1))  # fmt: skip


def mild(seed: int) -> nn.Module:
    """Small network with batch norm, in eval mode."""
    model = seeded(seed, nn.Flatten(), nn.Linear(24, 6), nn.BatchNorm1d(6), nn.Tanh(),
                   nn.Linear(6, 4))  # fmt: skip
    model[2].running_mean.fill_(0.3)  # type: ignore[index]
    return model


def plain(seed: int) -> nn.Module:
    """Small network that answers the same in training mode and in eval mode."""
    model = mild(seed)
    model[2] = nn.Identity()  # type: ignore[operator]
    return model


def as_is(pictures: Tensor) -> Tensor:
    """Network whose scores are the means of the channels: answers can be read off."""
    return pictures.mean((2, 3))


def by_eye() -> dict[str, Any]:
    """Four pictures of three channels; the answers are 0, 1, 2, 0, and then 0, 2, 2, 1."""
    before = torch.tensor([[3.0, 1, 0], [0, 2, 1], [1, 0, 4], [2, 1, 1]])
    after = torch.tensor([[1.0, 0, 0], [0, 2, 3], [1, 0, 2], [1, 2, 0]])
    ones = torch.ones(1, 1, 2, 2)
    return dict(model=as_is, images=before[:, :, None, None] * ones,
                edited=after[:, :, None, None] * ones)  # fmt: skip


def number(result: object, _arguments: dict) -> object:
    """One number, whatever it came in."""
    return float(result) if isinstance(result, Tensor) and result.ndim == 0 else result


def rated(label: str, arguments: Callable[[], dict[str, Any]], alone: str = "") -> Case:
    """Case whose result is a number, also as a tensor."""
    return Case(label, arguments, observe=number, alone=alone)


FLIP_RATE = Exercise(
    reference=flip_rate,
    cases=(
        rated("four pictures whose answers can be read off", by_eye),
        rated("ten pictures, much changed", lambda: edited_twice(641, 10, 1.5)),
        rated("eleven pictures, hardly changed", lambda: edited_twice(652, 11, 0.5)),
        rated("pictures that stay as they are", lambda: edited_twice(661, 5, 0.0)),
        rated("a network in the middle of its training",
              lambda: edited_twice(679, 9, 1.0, with_gradients(plain(672)).train())),
        rated(f"a batch of one{WHERE}", lambda: on_device(edited_twice(682, 1, 4.0))),
    ),
    mistakes=catalogue(
        same=(comparing(lambda a, b: (answers(a) == answers(b)).float().mean()),
            "That is the share of answers that *stay*. A high flip rate is to say that they "
            "change."),
        number_of=(comparing(lambda a, b: (answers(a) != answers(b)).sum()),
            "That is a number of pictures; divide by how many there are."),
        per_cent=(comparing(lambda a, b: 100 * (answers(a) != answers(b)).float().mean()),
            "You return per cent; a share goes from 0 to 1."),
        any_score=(comparing(lambda a, b: (a != b).float().mean()),
            "You compared the scores, which change in some digit whatever is done. Compare the "
            "answers: `argmax(dim=1)`."),
        any_score_of_a_picture=(comparing(lambda a, b: (a != b).any(1).float().mean()),
            "You asked whether any score has changed, and some digit always does. Compare the "
            "answers: `argmax(dim=1)`."),
        change_of_probability=(comparing(
                lambda a, b: (a.softmax(1) - b.softmax(1)).abs().mean()),
            "You averaged the change of the probabilities. Asked is how many *answers* change."),
        change_of_the_best=(comparing(
                lambda a, b: (a.softmax(1) - b.softmax(1)).gather(1, answers(a)[:, None]).mean()),
            "You averaged how much probability the first answer lost. Asked is how many answers "
            "change."),
        over_the_batch=(comparing(lambda a, b: (a.argmax(0) != b.argmax(0)).float().mean()),
            "`argmax(dim=0)` looks for the best picture of each class; the best class of each "
            "picture is `argmax(dim=1)`."),
        distance=(comparing(lambda a, b: (answers(a) - answers(b)).abs().float().mean()),
            "You subtracted class numbers. They are names: 5 is no further from 0 than 1 is."),
        largest_score=(comparing(lambda a, b: (a.amax(1) != b.amax(1)).float().mean()),
            "You compared the largest *scores*; compare whose they are: `argmax`."),
        lower=(comparing(lambda a, b: (b.gather(1, answers(a)[:, None])[:, 0]
                                       < a.amax(1)).float().mean()),
            "You counted where the score of the first answer fell. It may fall and still win."),
        counts=(comparing(lambda a, b: (answers(a).bincount(minlength=a.shape[1])
                                        - answers(b).bincount(minlength=a.shape[1]))
                          .abs().sum() / (2 * len(a))),
            "You compared how *often* each answer is given. Two pictures that exchange their "
            "answers cancel: compare picture by picture."),
        larger_number=(comparing(lambda a, b: (answers(b) > answers(a)).float().mean()),
            "You counted where the number of the class has *grown*. Class numbers are names; any "
            "other answer is a change: `!=`."),
        lost_probability=(comparing(lambda a, b: (a.softmax(1) - b.softmax(1)).gather(
                1, answers(a)[:, None]).abs().mean()),
            "You averaged by how much the probability of the first answer changed. Asked is how "
            "many *answers* change."),
        below_one_half=(comparing(lambda a, b: (b.softmax(1).gather(
                1, answers(a)[:, None]) < 0.5).float().mean()),
            "You counted where the first answer's probability is below one half. With more than "
            "two classes it may be that low and still be the answer."),
        ranks=(comparing(lambda a, b: (a.argsort(1) != b.argsort(1)).any(1).float().mean()),
            "You compared the whole order of the classes. Only the best one is the answer: "
            "`argmax(dim=1)`."),
        all_pairs=(comparing(
                lambda a, b: (answers(a)[:, None] != answers(b)[None]).float().mean()),
            "You compared every picture with every other one. Each is to be compared with itself, "
            "before and after."),
        first_two=(comparing(lambda a, b: ((a[:, 1] > a[:, 0]) != (b[:, 1] > b[:, 0]))
                             .float().mean()),
            "You looked at two classes only; there may be any number: `argmax(dim=1)`."),
        one_more=(comparing(lambda a, b: (1 + (answers(a) != answers(b)).sum()) / (1 + len(a))),
            "You added 1 above and below, as for a chance. A share is the number of changes over "
            "the number of pictures."),
        one_less=(comparing(
                lambda a, b: (answers(a) != answers(b)).sum() / max(len(a) - 1, 1)),
            "You divided by N − 1; divide by the number of pictures."),
        whole_number=(comparing(lambda a, b: (answers(a) != answers(b)).sum() // len(a)),
            "`//` rounds down, to 0 nearly always: divide with `/`."),
        two_places=(comparing(lambda a, b: ((answers(a) != answers(b)).double().mean() * 100)
                              .round() / 100),
            "You rounded the rate to two places. Round when you print."),
        whole_batch=(whole_batch,
            "`argmax()` without `dim` looks for the largest score of the whole batch, and gives "
            "one number. Each picture has its own answer: `argmax(dim=1)`."),
        by_first=(by_first,
            "You compared every answer with that to the *first* picture. Each is to be compared "
            "with itself, before and after."),
        edited_with_itself=(comparing(lambda a, b: 0 * a.mean()),
            "The rate is always 0: you compared the same pictures with themselves."),
        set_of_changes=(comparing(set_of_changes),
            "You compared the *sets* of answers. Two pictures that exchange their answers leave "
            "the set as it was: compare picture by picture."),
        in_eval_mode=(in_eval_mode,
            "The values are right, but you left the model in eval mode: leave it as it was."),
        worst_score=(comparing(lambda a, b: (a.argmin(1) != b.argmin(1)).float().mean()),
            "You compared the *worst* class of each picture: `argmax`, not `argmin`."),
        each=(comparing(lambda a, b: (answers(a) != answers(b)).float()),
            "One number is asked for: average over the pictures."),
        in_training_mode=(in_training_mode,
            "The model ran in training mode, so batch norm used this batch's statistics, and a "
            "picture's answer depended on the others. Leave it in the mode in which it came."),
        first=(comparing(lambda a, b: (answers(a) != answers(b)).float()[0]),
            "That is the first picture alone; average over all."),
        at_all=(comparing(lambda a, b: (answers(a) != answers(b)).any().float()),
            "You asked whether *any* answer changes; the share of them is asked for."),
        spread=(comparing(lambda a, b: (answers(a) != answers(b)).float().sum() / a.numel()),
            "You divided by the number of scores; divide by the number of pictures."),
    ),
    hints=(
        "What does the network answer before, what after, and for which share of the pictures are "
        "the two different?",
        "An answer is the class with the largest score, `argmax(dim=1)`. Comparing two of them "
        "with `!=` gives booleans, whose mean (as floats) is the rate.",
        "`with torch.no_grad(): a, b = model(images).argmax(1), model(edited).argmax(1)`; then "
        "`return (a != b).float().mean().item()`",
    ),
)  # fmt: skip


# ---------------------------------------------------------------------- 3. who goes by what


#: What each of the three goes by, as an answer says it.
CAUSES = {
    "scenes-cnn": "object",
    "scenes-cnn-background": "ground",
    "scenes-cnn-watermark": "mark",
}
ORDER = 5  # of the shuffle; nobody learns anything from it


def lineup() -> list[str]:
    """Names of the three networks in an order that is always the same."""
    names = sorted(CAUSES)
    shuffle = torch.randperm(len(names), generator=torch.Generator().manual_seed(ORDER))
    return [names[i] for i in shuffle.tolist()]


def suspects() -> list[nn.Module]:
    """Three trained networks of the same build, without their names."""
    import xai_lab

    return [xai_lab.load(name).model for name in lineup()]


def cheaters() -> dict[str, str]:
    """Say what each of the three networks goes by."""
    return {str(number): CAUSES[name] for number, name in enumerate(lineup())}


# Where the answer shows that the word is wrong, as one sentence that ends the message.
EXPERIMENT = {
    "object": "One that does keeps its answers when the ground is exchanged and when the mark is "
    "hidden, and changes them when the object is hidden.",
    "ground": "One that does keeps its answers when the object is hidden, and changes nearly all "
    "of them when the ground is exchanged, with and without a mark.",
    "mark": "One that does changes its answers on marked pictures when the mark, and only the "
    "mark, is hidden.",
}
WORD = 0.5  # stands for something that is none of the words; the next ones for other forms
FORMS = {
    0.6: 'Return a dict with the numbers as keys: `{"0": …, "1": …, "2": …}`.',
    0.7: "It is the other way round: the network's number is the key, and the word the value.",
    0.8: "The networks are numbered from 0: the keys are 0, 1 and 2.",
}


def form(number: float) -> dict[str, float]:
    """An answer in another form: one number to complain about, and nothing about the words."""
    right = {k: float([*CAUSES.values()].index(word)) for k, word in cheaters().items()}
    return right | {"0": number}


def causes_as_numbers(given: object, _arguments: dict) -> object:
    """Answers by number; a number of its own where they are something else."""
    words = list(CAUSES.values())
    if isinstance(given, list | tuple | set) and len(given) == len(words):
        return form(0.6)
    if not isinstance(given, dict):
        return given
    plain = {str(k).lower().replace("network", "").strip(): v for k, v in given.items()}
    if plain.keys() <= {*words}:
        return form(0.7)
    if plain.keys() == {"1", "2", "3"}:
        return form(0.8)
    return {k: float(words.index(said)) if (said := tidy(v)) in words else WORD
            for k, v in plain.items()}  # fmt: skip


def tidy(word: object) -> object:
    """A word without capitals and blanks."""
    return str(word).strip().lower() if isinstance(word, str) else word


def about(number: str) -> Callable[[Tensor, Tensor], str]:
    """Feedback on one network."""

    def say(got: Tensor, want: Tensor) -> str:
        words = list(CAUSES.values())
        if (shape := round(got.item(), 1)) in FORMS:
            return FORMS[shape]
        if got == WORD:
            return f"Network {number} needs one of the words {', '.join(map(repr, words))}."
        said = words[int(got)]
        return f"Network {number} does not go by the {said}. {EXPERIMENT[said]}"

    return say


CHEATERS = Exercise(
    reference=cheaters,
    cases=(Case("the three networks", dict, observe=causes_as_numbers,
                says={str(number): about(str(number)) for number in range(3)}),),
    mistakes=(),
    hints=(
        "A network goes by what changes its answers when it changes, and it alone. Which edit "
        "leaves the object as it is?",
        "Exchanged grounds move one network's answers nearly always. Hidden marks move nothing in "
        "two of them, and on pictures that have a mark everything in the third.",
        "Look at the rows *ground exchanged* (the numbers outside the brackets) and *mark hidden* "
        "(those in the brackets), and at nothing else: the column of the largest number of the row "
        "is the network that goes by what the row is called after.",
    ),
)  # fmt: skip


# -------------------------------------------------------------------------- 4. the worst group


def groups_of(labels: Tensor, grounds: Tensor) -> Tensor:
    """Number of each sample's group, one for every pair that occurs."""
    return torch.stack([labels, grounds], 1).unique(dim=0, return_inverse=True)[1]


def shares(right: Tensor, group: Tensor) -> Tensor:
    """Share of right answers in each group that has a member."""
    return torch.stack([right[group == one].mean() for one in group.unique()])


def grouping(
    group: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda p, y, g: groups_of(y, g),
    right: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda p, y, g: (p == y).float(),
    reduce: Callable[[Tensor], Any] = lambda found: found.min(),
) -> Callable:
    """Accuracy by groups, with one ingredient exchanged."""

    def function(predictions, labels, grounds):
        given = predictions, labels, grounds
        return reduce(shares(right(*given), group(*given)))

    return function


def worst_group(predictions: Tensor, labels: Tensor, cues: Tensor) -> float:
    """Accuracy in the group of the same class and cue where it is lowest."""
    return grouping()(predictions, labels, cues).item()


def table_of(empty: float) -> Callable:
    """Worst of the whole table of classes and grounds, with a number for empty groups."""

    def function(predictions, labels, grounds):
        right, worst = (predictions == labels).float(), float("inf")
        for c in range(int(labels.max()) + 1):
            for b in range(int(grounds.max()) + 1):
                these = right[(labels == c) & (grounds == b)]
                value = these.mean().item() if len(these) else empty
                worst = float("nan") if value != value or worst != worst else min(worst, value)
        return worst

    return function


def counted_numbers(p: Tensor, y: Tensor, g: Tensor) -> Tensor:
    """Group numbers c · (number of grounds that occur) + b, which collide where b is larger."""
    return y * len(g.unique()) + g


def coded(base: int) -> Callable:
    """Group numbers that are right as long as no cue has a number as large as the base."""
    return grouping(group=lambda p, y, g: y * base + g)


def pairs_that(keep: Callable[[Tensor, int, int], bool], join: Callable = torch.logical_and,
               last: Callable[[list[float]], float] = min) -> Callable:  # fmt: skip
    """Worst group of some of the pairs of the classes and cues that occur."""

    def function(predictions, labels, cues):
        right, found = (predictions == labels).float(), []
        for c in labels.unique():
            for b in cues.unique():
                these = right[join(labels == c, cues == b)]
                if len(these) and keep(these, c, b):
                    found.append(these.mean().item())
        return last(found)

    return function


def of_those_that_occur(empty: float) -> Callable:
    """Worst of all pairs of a class and a cue that occur, each by itself."""

    def function(predictions, labels, cues):
        right, found = (predictions == labels).float(), []
        for c in labels.unique():
            for b in cues.unique():
                these = right[(labels == c) & (cues == b)]
                found.append(these.mean().item() if len(these) else empty)
        return float("nan") if any(f != f for f in found) else min(found)

    return function


def over_the_class(predictions, labels, cues):
    right = (predictions == labels).float()
    return min((right[(labels == c) & (cues == b)].sum() / (labels == c).sum()).item()
               for c in labels.unique() for b in cues[labels == c].unique())  # fmt: skip


def in_ranges(cut: Callable[[Tensor], int]) -> Callable:
    """Classes and cues from 0 up to a number that is not the largest."""

    def function(predictions, labels, cues):
        right = (predictions == labels).float()
        here = [(labels == c) & (cues == b) for c in range(cut(labels)) for b in range(cut(cues))]
        return min(right[h].mean().item() for h in here if h.any())

    return function


def diagonal(predictions, labels, cues):
    right, pairs = (predictions == labels).float(), zip(labels.unique(), cues.unique())  # noqa: B905
    here = [(labels == c) & (cues == b) for c, b in pairs]
    return min(right[h].mean().item() for h in here if h.any())


def numbered(*rows: tuple[int, int, int]) -> dict[str, Any]:
    """Samples as (predicted, label, ground)."""
    columns = zip(*rows, strict=True)
    return dict(zip(("predictions", "labels", "cues"), map(lambda c: classes(*c), columns),
                    strict=True))  # fmt: skip


def guessed(seed: int, n: int, count: int, kinds: int, shift: int = 0) -> dict[str, Any]:
    """Draw answers of which about two thirds are right."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(count, (n,), generator=rng)
    other = torch.randint(count, (n,), generator=rng)
    grounds = torch.randint(kinds, (n,), generator=rng) + shift
    right = torch.rand(n, generator=rng) < 0.66
    return dict(predictions=torch.where(right, labels, other), labels=labels, cues=grounds)


EMPTY = (
    "Some pairs of class and ground do not occur, and {}. Only groups that exist can be bad: skip "
    "the empty ones."
)
WORST_GROUP = Exercise(
    reference=worst_group,
    cases=(
        rated("three groups, counted by hand", lambda: numbered(
            (0, 0, 0), (0, 0, 0), (1, 0, 0), (0, 0, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1), (0, 1, 1),
            (1, 1, 1))),
        rated("forty pictures, four classes and two grounds, all groups there",
              lambda: guessed(691, 40, 4, 2)),
        rated("few pictures, so that groups are missing", lambda: numbered(
            (1, 1, 0), (1, 1, 0), (1, 1, 0), (0, 1, 0), (2, 2, 3), (1, 2, 3), (2, 2, 3), (0, 0, 1),
            (0, 0, 1), (2, 0, 1), (0, 0, 1)),
            alone="Some pairs of class and ground do not occur. Only groups that exist can be "
            "bad."),
        rated("grounds numbered 4 and 6", lambda: numbered(
            (0, 0, 4), (0, 0, 4), (0, 0, 4), (1, 0, 6), (0, 0, 6), (0, 0, 6), (1, 1, 6), (1, 1, 6),
            (1, 1, 4), (1, 1, 4), (1, 1, 4), (1, 1, 4), (2, 2, 6), (2, 2, 4)),
            alone="Grounds are numbered as they like; go through those that occur."),
        rated("grounds numbered 0, 6, 10 and 100", lambda: numbered(
            (1, 1, 0), (0, 1, 0), (2, 1, 0), (0, 0, 6), (0, 0, 6), (0, 0, 6), (0, 0, 10),
            (0, 0, 10), (0, 0, 10), (1, 0, 100), (0, 0, 100), (0, 0, 100), (0, 0, 100), (0, 0, 0),
            (0, 0, 0), (2, 2, 6), (2, 2, 0)),
            alone="Two groups got the same number: a ground may have a larger one than you counted "
            "on. Ask for pairs: `(labels == c) & (cues == b)`."),
        rated("a group in which nothing is right", lambda: numbered(
            (0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 0), (1, 0, 1), (1, 0, 1), (1, 1, 1)),
            alone="One group exists and has nothing right. It is the worst, with 0; only groups "
            "without a *member* are left out."),
        rated("a group of one", lambda: numbered(
            (0, 0, 0), (0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 0), (0, 1, 1)),
            alone="A group of one exists, and may be the worst."),
        rated("a network that is always right", lambda: numbered(
            (0, 0, 0), (1, 1, 1), (1, 1, 0), (2, 2, 1))),
        rated("one ground for each class", lambda: numbered(
            (0, 0, 0), (0, 0, 0), (1, 0, 0), (1, 1, 1), (2, 1, 1), (0, 1, 1), (1, 1, 1), (2, 2, 2),
            (2, 2, 2))),
        rated(f"a hundred pictures, six classes and six grounds{WHERE}",
              lambda: on_device(guessed(693, 130, 6, 4))),
    ),
    mistakes=catalogue(
        overall=(grouping(group=lambda p, y, g: 0 * y),
            "That is the overall accuracy. A large group hides a small one in it: look at each "
            "group, and report the worst."),
        mean_of_groups=(grouping(reduce=lambda found: found.mean()),
            "You averaged over the groups. One that fails altogether costs a sixth or less then: "
            "report the worst."),
        best=(grouping(reduce=lambda found: found.max()), "That is the *best* group."),
        median=(grouping(reduce=lambda found: found.median()),
            "That is the median over the groups; report the worst."),
        by_ground=(grouping(group=lambda p, y, g: g),
            "Your groups are the grounds alone. On each ground there is one class for which it is "
            "the usual one, and it hides the others: a group is a class *on* a ground."),
        by_class=(grouping(group=lambda p, y, g: y),
            "Your groups are the classes alone. Each is mostly seen on its usual ground, which "
            "hides the others: a group is a class *on* a ground."),
        by_class_or_ground=(lambda p, y, g: min(
                shares((p == y).float(), y).min(), shares((p == y).float(), g).min()),
            "You took the worst class or the worst ground, whichever is worse. The worst *pair* "
            "may be worse than both."),
        by_prediction=(grouping(group=lambda p, y, g: groups_of(p, g)),
            "Your groups are made of the *predicted* class: of what it calls a heart, how much is "
            "one? Asked is of the hearts, how many it finds: group by the label."),
        by_all_three=(grouping(group=lambda p, y, g: groups_of(groups_of(p, y), g)),
            "You grouped by the answer as well. In such a group all are right or none is."),
        by_sum=(grouping(group=lambda p, y, g: y + g),
            "Your groups are numbered label + ground, and 0 + 1 is also 1 + 0: different groups "
            "fall into one."),
        by_product=(grouping(group=lambda p, y, g: y * g),
            "Your groups are numbered label × ground: everything with a 0 falls into one."),
        numbers_collide=(grouping(group=counted_numbers),
            "Your groups are numbered label × (number of grounds) + ground, and you counted the "
            "grounds that *occur*. With grounds 4 and 6 two groups get the same number: count up "
            "to the largest, or ask for pairs: `(labels == c) & (cues == b)`."),
        only_usual=(grouping(reduce=lambda found: found.max() if len(found) == 1 else found.min(),
                             group=lambda p, y, g: torch.where(y == g, y, -torch.ones_like(y))),
            "You put all unusual pairs into one group. Each class on each ground is one of its "
            "own."),
        empty_is_zero=(table_of(0.0), EMPTY.format("you counted them as 0 % right")),
        empty_is_nan=(table_of(float("nan")),
            EMPTY.format("the mean of nothing is not a number, which you passed on")),
        occurring_empty_is_zero=(of_those_that_occur(0.0),
            EMPTY.format("you counted them as 0 % right")),
        occurring_empty_is_nan=(of_those_that_occur(float("nan")),
            EMPTY.format("the mean of nothing is not a number, which you passed on")),
        **{f"coded_{base}": (coded(base),
            "Your groups are numbered label × (a fixed number) + ground, and a ground may have a "
            "larger number: two groups then fall into one. Ask for pairs: "
            "`(labels == c) & (cues == b)`.")
           for base in (6, 10, 100)},
        by_largest=(grouping(group=lambda p, y, g: y * g.max() + g),
            "Your groups are numbered label × (largest ground) + ground, and the largest ground of "
            "one class falls together with ground 0 of the next. Count from 0, so one more; or ask "
            "for pairs: `(labels == c) & (cues == b)`."),
        how_many=(in_ranges(lambda t: len(t.unique())),
            "You counted how *many* classes and grounds occur, and went from 0 up to that. With "
            "grounds 4 and 6 none is met: go through `unique()` itself."),
        up_to_the_last=(in_ranges(lambda t: max(int(t.max()), 1)),
            "`range(t.max())` leaves out the last class and the last ground: go through "
            "`unique()`."),
        over_the_class=(over_the_class,
            "You divided by the size of the class. Divide by the size of the group: a share goes "
            "up to 1 in each."),
        nothing_right=(pairs_that(lambda these, c, b: bool(these.any()), last=lambda f: min(
                [1.0, *f])),
            "You left out groups in which nothing is right, and those are the worst. Leave out "
            "only groups without a member: `here.any()`."),
        more_than_one=(pairs_that(lambda these, c, b: len(these) > 1,
                                  last=min),
            "You left out groups of one. They are small, and they exist."),
        either=(pairs_that(lambda these, c, b: True, torch.logical_or),
            "You joined with *or*: everything of the class and everything on the ground. A group "
            "is the class *on* the ground: `&`."),
        unusual_only=(pairs_that(lambda these, c, b: bool(c != b),
                                 last=min),
            "You left out pairs in which class and ground have the same number. Those are groups, "
            "too."),
        second=(pairs_that(lambda these, c, b: True, last=lambda f: sorted(f)[min(1, len(f) - 1)]),
            "That is the second worst group."),
        diagonal=(diagonal,
            "You went through classes and grounds *together* (`zip`), the first with the first. "
            "Every class may stand on every ground: two loops, one in the other."),
        as_the_cue=(grouping(right=lambda p, y, g: (p == g).float()),
            "You counted how often the answer is the number of the *cue*. Right is what equals "
            "the label."),
        errors=(grouping(right=lambda p, y, g: (p != y).float()),
            "You took the lowest *error* rate, which is the best group's: count right answers."),
        largest_error=(grouping(right=lambda p, y, g: (p != y).float(), reduce=lambda f: f.max()),
            "That is the error rate of the worst group; its accuracy is one minus that."),
        per_cent=(grouping(reduce=lambda found: 100 * found.min()),
            "You return per cent; a share goes from 0 to 1."),
        number_right=(lambda p, y, g: float(min(
                (p == y)[groups_of(y, g) == k].sum() for k in groups_of(y, g).unique())),
            "You counted right answers and did not divide by the size of the group: a small group "
            "looks bad for being small."),
        by_all=(lambda p, y, g: float(min(
                (p == y)[groups_of(y, g) == k].sum() / len(y) for k in groups_of(y, g).unique())),
            "You divided by the number of all pictures; divide by the size of the group."),
        smallest=(lambda p, y, g: (lambda k: shares((p == y).float(), k)[k.bincount().argmin()])(
                groups_of(y, g)),
            "That is the accuracy of the *smallest* group. The worst may be another."),
        all_of_them=(grouping(reduce=lambda found: found),
            "These are the accuracies of all groups; report the worst."),
        gap=(grouping(reduce=lambda found: found.max() - found.min()),
            "That is the gap between the best group and the worst. The worst one's accuracy is "
            "asked for."),
    ),
    hints=(
        "For each pair (class, ground) that occurs: which samples are in it, and how many of them "
        "are right? Then the smallest.",
        "`here = (labels == c) & (cues == b)` says who is in the group; `here.any()` whether "
        "there is anybody; `(predictions == labels)[here].float().mean()` how many are right.",
        "Loop over `labels.unique()` and `cues.unique()`, collect the accuracies of groups with "
        "`here.any()`, and return the `min` of them as a float.",
    ),
)  # fmt: skip

EXERCISES = (SWAPPED, FLIP_RATE, CHEATERS, WORST_GROUP)
