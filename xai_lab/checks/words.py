# ruff: noqa: D103 (what is said about a wrong function stands beside it in the catalogue)
"""Exercises of chapter 3 about text: Integrated Gradients for tokens, and their words.

Each exercise is a block: the right function under its exercise's name, the cases, the mistakes,
the hints. `EXERCISES` at the end is what `check` finds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xai_lab.checks.exercise import Case, Exercise, catalogue
from xai_lab.checks.integrated import (
    INTEGRATED_GRADIENTS,
    built,
    evenly,
    integrated_gradients,
)
from xai_lab.checks.saliency import saliency as gradient_at
from xai_lab.checks.small import WHERE, on_device, random, with_gradients

# ----------------------------------------------------------------- 1. Integrated Gradients

Start = Callable[[Tensor, Tensor, Tensor], Tensor]


def kept_special(x: Tensor, pad: Tensor, special: Tensor) -> Tensor:
    """Pad's embedding for every token but the special ones."""
    return torch.where(special[:, None], x, pad)


def of_tokens(
    start: Start = kept_special,
    method: Callable = integrated_gradients,
    finish: Callable[[Tensor], Tensor] = lambda phi: phi.sum(1),
) -> Callable:
    """Attributions of tokens with one ingredient exchanged; all in their place, the right ones.

    ``start(x, pad, special)`` is the baseline, ``method`` works as `integrated_gradients` does, and
    ``finish`` makes one number a token of (tokens, D).
    """

    def function(read, embed, ids, pad, special, target, steps=32):
        with torch.no_grad():
            x, blank = embed(ids), embed(torch.tensor(pad, device=ids.device))
        b, c = start(x, blank, special), torch.tensor([target], device=ids.device)
        return finish(method(read, x[None], b[None], c, steps)[0])

    return function


def token_attributions(
    read: Callable[[Tensor], Tensor],
    embed: nn.Module,
    ids: Tensor,
    pad: int,
    special: Tensor,
    target: int,
    steps: int = 32,
) -> Tensor:
    """Integrated Gradients of the embeddings, summed over each token's numbers."""
    return of_tokens()(read, embed, ids, pad, special, target, steps)


def through_ids(whole: Callable[[Tensor], Tensor], times: str = "embeddings") -> Callable:
    """Attributions on the path of token *numbers*, made whole again."""

    def function(read, embed, ids, pad, special, target, steps=32):
        with torch.no_grad():
            ids_b = torch.where(special, ids, pad)
            total = torch.zeros_like(embed(ids))
            c = torch.tensor([target], device=ids.device)
            for a in evenly(steps, 0.5):
                z = embed(whole(ids_b + a.to(ids.device) * (ids - ids_b)).long())
                with torch.enable_grad():
                    total = total + gradient_at(read, z[None], c)[0] / steps  # type: ignore[arg-type]
            x, b = embed(ids), embed(ids_b)
        way = (ids - ids_b)[:, None] if times == "ids" else x - b
        return (way * total).sum(1)

    return function


def times_ids(read, embed, ids, pad, special, target, steps=32):
    mean = by_name("without_difference")(read, embed, ids, pad, special, target, steps)
    return mean * torch.where(special, 0, ids - pad)


def by_name(name: str) -> Callable:
    """Attributions of tokens by a wrong `integrated_gradients`."""
    return of_tokens(method=next(m.function for m in INTEGRATED_GRADIENTS.mistakes
                                 if m.name == name))  # fmt: skip


def special_left_out(read, embed, ids, pad, special, target, steps=32):
    found = token_attributions(read, embed, ids, pad, special, target, steps)
    return found[~special]


def all_moved_then_hidden(read, embed, ids, pad, special, target, steps=32):
    found = of_tokens(lambda x, pad, special: pad.expand_as(x))(
        read, embed, ids, pad, special, target, steps)  # fmt: skip
    return found * ~special


def plain(read, embed, ids, target, finish):
    with torch.no_grad():
        x = embed(ids)
    return finish(x, gradient_at(read, x[None], torch.tensor([target], device=ids.device))[0])


def each_alone(read, embed, ids, pad, special, target, of):
    """What ``of(x, x with token t replaced, class)`` says of each token t."""
    with torch.no_grad():
        x, blank = embed(ids)[None], embed(torch.tensor(pad, device=ids.device))
    found = []
    for t, stays in enumerate(special.tolist()):
        b = x.clone()
        b[0, t] = x[0, t] if stays else blank
        found.append(of(x, b, torch.tensor([target], device=ids.device)))
    return torch.stack(found)


def one_by_one(read, embed, ids, pad, special, target, steps=32):
    return each_alone(read, embed, ids, pad, special, target,
                      lambda x, b, c: integrated_gradients(read, x, b, c, steps).sum())  # fmt: skip


def taken_away(read, embed, ids, pad, special, target, steps=32):
    return each_alone(read, embed, ids, pad, special, target,
                      lambda x, b, c: (read(x) - read(b)).detach()[0, target])  # fmt: skip


def by_the_table(read, embed, ids, pad, special, target, steps=32):
    found = token_attributions(read, embed, ids, pad, special, target, steps)
    return torch.stack([found[ids == number].sum() for number in ids])


def padded_with_row_zero(read, embed, ids, pad, special, target, steps=32):
    return token_attributions(read, embed, ids, 0, special, target, steps)


def sentence(*ids: int, special: Sequence[int], seed: int, **more: Any) -> dict[str, Any]:
    """Small model of text, and a sentence for it."""
    embed = nn.Embedding(12, 3)
    embed.weight.data = 0.7 * random(12, 3, seed=seed)
    marked = torch.zeros(len(ids), dtype=torch.bool)
    marked[list(special)] = True
    return dict(read=built(3 * len(ids)), embed=embed, ids=torch.tensor(ids), special=marked,
                **more)  # fmt: skip


SAME_IN_IG = (
    "without_difference", "wrong_sign", "times_x", "times_absolute", "times_squared",
    "times_alpha_difference", "by_the_baseline", "both_ends", "both_ends_and_n_intervals",
    "both_ends_mean", "without_start", "without_end", "inner_points", "legendre", "trapezoid",
    "not_divided", "divided_twice", "divided_by_n_plus_one", "divided_by_n_minus_one",
    "overwritten", "only_first_point", "accumulated", "at_x", "at_the_baseline", "at_the_middle",
    "only_the_way", "added_whole", "from_zero", "absolute_gradients",
    "rechosen", "of_the_prediction", "of_the_baselines_prediction", "of_the_probability",
    "of_the_log_probability", "of_the_loss", "of_all_classes", "always_10", "always_20",
    "always_32", "always_50", "always_100", "rescaled_to_add_up", "left_behind", "wiped",
)  # fmt: skip
PATH_OF_IDS = (
    "Your path leads through token *numbers*, made whole again. Half way between 2003 ('film') "
    "and 0 stands 1002, another word that has nothing to do with either. A number cannot move by "
    "a little, its embedding can: interpolate `embed(ids)`."
)
SPECIAL_MOVE = (
    "The special tokens moved too. [CLS] and [SEP] are in every text, also in one without a word: "
    "in the baseline they keep their own embedding, and so get nothing."
)
TOKEN_ATTRIBUTIONS = Exercise(
    reference=token_attributions,
    cases=(
        Case("a sentence of six tokens",
             lambda: sentence(1, 5, 7, 3, 9, 2, special=(0, 5), seed=1, pad=4, target=1, steps=5)),
        Case("two parts, with a special token between them",
             lambda: sentence(1, 6, 2, 8, 10, 11, 2, special=(0, 2, 6), seed=2, pad=3, target=0,
                              steps=4),
             alone="There may be special tokens in the middle, too: `special` says which they are, "
             "and not their being first and last."),
        Case("a word that stands there twice, in the middle of the model's training",
             lambda: (made := sentence(1, 5, 7, 5, 2, special=(0, 4), seed=3, pad=6, target=3,
                                       steps=3)) | dict(embed=with_gradients(made["embed"]),
                                                        read=with_gradients(made["read"]))),
        Case(f"as many tokens as numbers in each, and steps as by default{WHERE}",
             lambda: on_device(sentence(1, 8, 2, special=(0, 2), seed=4, pad=5, target=2))),
    ),
    mistakes=catalogue(
        special_moved=(of_tokens(lambda x, pad, special: pad.expand_as(x)), SPECIAL_MOVE),
        special_moved_then_hidden=(all_moved_then_hidden,
            SPECIAL_MOVE + " (To set their values to zero afterwards is too late: the path was "
            "another one.)"),
        only_special_moved=(of_tokens(lambda x, pad, special: torch.where(
                special[:, None], pad, x)),
            "It is the other way round: only the special tokens moved. `special` is true for those "
            "that stay as they are."),
        zeros=(of_tokens(lambda x, pad, special: kept_special(x, 0 * pad, special)),
            "Your baseline is zeros. That is one choice; here each word's place is taken by the "
            "embedding of the token `pad`, `embed(torch.tensor(pad))`."),
        zeros_everywhere=(of_tokens(lambda x, pad, special: torch.zeros_like(x)),
            "Your baseline is zeros for all tokens, the special ones too. Words become the "
            "embedding of `pad`; special tokens stay what they are."),
        special_zero=(of_tokens(lambda x, pad, special: torch.where(
                special[:, None], 0.0, pad)),
            "In your baseline the special tokens are zeros. They stay what they are."),
        row_zero=(padded_with_row_zero,
            "Your baseline is the embedding of token 0. `pad` says which one is meant."),
        mean_of_words=(of_tokens(lambda x, pad, special: kept_special(x, x.mean(0), special)),
            "Your baseline is the sentence's mean embedding; take that of the token `pad`."),
        path_of_ids=(through_ids(torch.round), PATH_OF_IDS),
        path_of_ids_down=(through_ids(torch.floor), PATH_OF_IDS),
        path_of_ids_times_ids=(through_ids(torch.round, "ids"), PATH_OF_IDS),
        path_of_ids_down_times_ids=(through_ids(torch.floor, "ids"), PATH_OF_IDS),
        times_ids=(times_ids,
            "You multiplied by the difference of token *numbers*. They are names and have no "
            "size: x − x′ is the difference of the embeddings."),
        length=(of_tokens(finish=lambda phi: phi.norm(dim=1)),
            "You took the length of each token's Φ (its norm). Its numbers are shares of the "
            "score: they add up, signs and all, `phi.sum(-1)`."),
        squared_length=(of_tokens(finish=lambda phi: (phi**2).sum(1)),
            "You added up squares. A token's numbers are shares of the score: they add up as they "
            "are, `phi.sum(-1)`."),
        absolute_before=(of_tokens(finish=lambda phi: phi.abs().sum(1)),
            "You added up |Φ|. A token's numbers are shares of the score: they add up, signs and "
            "all, `phi.sum(-1)`."),
        absolute_after=(of_tokens(finish=lambda phi: phi.sum(1).abs()),
            "You took the absolute value of each token's sum. The sign says whether the word "
            "speaks for the class or against it."),
        mean=(of_tokens(finish=lambda phi: phi.mean(1)),
            "You averaged over a token's numbers; shares of the score add up: `phi.sum(-1)`."),
        largest=(of_tokens(finish=lambda phi: phi.amax(1)),
            "You took the largest of each token's numbers; they add up: `phi.sum(-1)`."),
        largest_size=(of_tokens(finish=lambda phi: phi.abs().amax(1)),
            "You took the largest size among each token's numbers; they add up: `phi.sum(-1)`."),
        not_summed=(of_tokens(finish=lambda phi: phi),
            "Those are the numbers of each embedding. Add them up: one a token, `phi.sum(-1)`."),
        over_the_tokens=(of_tokens(finish=lambda phi: phi.sum(0)),
            "You added up over the tokens, and kept the numbers of the embedding. It is the other "
            "way round: `phi.sum(-1)`, one number a token."),
        a_batch=(of_tokens(finish=lambda phi: phi.sum(1)[None]),
            "The batch dimension is still there: (tokens,) is wanted, `[0]`."),
        in_all=(of_tokens(finish=lambda phi: phi.sum()),
            "You added up everything. One number a token is wanted: `phi.sum(-1)`."),
        summed_before=(of_tokens(method=lambda m, x, b, t, n: (
                by_parts(m, x, b, t, n))),
            "You added up the gradient over the embedding *before* multiplying. Multiply number by "
            "number with x − x′, then add up."),
        softmax=(of_tokens(finish=lambda phi: phi.sum(1).softmax(0)),
            "A softmax was taken over the tokens. Leave the sums as they are: they add up to the "
            "rise of the score."),
        normalised=(of_tokens(finish=lambda phi: phi.sum(1) / phi.sum(1).abs().max()),
            "You divided by the largest value. Leave the sums as they are: they add up to the rise "
            "of the score."),
        length_of_unit=(of_tokens(finish=lambda phi: phi.sum(1) / phi.sum(1).norm()),
            "You divided by the length of the result, as some tutorials do. Leave the sums as they "
            "are: they add up to the rise of the score."),
        one_by_one=(one_by_one,
            "You moved one token at a time, with all others in place. On the path all words move "
            "together, from the baseline to the sentence: one path for all tokens."),
        taken_away=(taken_away,
            "You replaced one token after another and looked how far the score falls. That is "
            "occlusion; Integrated Gradients collects the gradient along a path."),
        first_number=(of_tokens(finish=lambda phi: phi[:, 0]),
            "You took the first number of each embedding; all of them are added up: "
            "`phi.sum(-1)`."),
        ends_left_out=(of_tokens(finish=lambda phi: phi.sum(1)[1:-1]),
            "The first and the last token are missing from the result. One number for *each* token "
            "is wanted; those of the special ones are zero."),
        gradient_x_input=(lambda read, embed, ids, pad, special, target, steps=32: plain(
                read, embed, ids, target, lambda x, g: (x * g).sum(1)),
            "That is gradient × embedding at the sentence itself, without a path and without a "
            "baseline."),
        gradient_length=(lambda read, embed, ids, pad, special, target, steps=32: plain(
                read, embed, ids, target, lambda x, g: g.norm(dim=1)),
            "That is the length of the gradient at the sentence itself, which is saliency: no "
            "path, no baseline, no sign."),
        mean_gradient_length=(of_tokens(
                method=next(m.function for m in INTEGRATED_GRADIENTS.mistakes
                            if m.name == "without_difference"),
                finish=lambda phi: phi.norm(dim=1)),
            "You took the length of the mean gradient. It is multiplied by x − x′, number by "
            "number, and then added up: that has a sign and a unit."),
        filled_with_the_number=(lambda read, embed, ids, pad, special, target, steps=32: of_tokens(
                lambda x, _, special: kept_special(x, torch.full_like(x[0], pad), special))(
                read, embed, ids, pad, special, target, steps),
            "Your baseline holds the *number* of the token `pad` in every place. Its embedding is "
            "meant, `embed(torch.tensor(pad))`."),
        mean_number=(of_tokens(lambda x, pad, special: kept_special(
                x, x.mean().expand_as(x[0]), special)),
            "Your baseline is the mean of all numbers of the sentence; take the embedding of the "
            "token `pad`."),
        special_left_out=(special_left_out,
            "The special tokens are missing from the result. One number for *each* token is "
            "wanted; those of the special ones are zero."),
        by_the_table=(by_the_table,
            "A word that stands there twice got both its shares in both places: you differentiated "
            "by the embedding *table*, in which it has one row. Differentiate by what was looked "
            "up, a point of its own for each token."),
        **{m.name: (by_name(m.name), m.sentence) for m in INTEGRATED_GRADIENTS.mistakes
           if m.name in SAME_IN_IG},
    ),
    hints=(
        "What takes the place of the picture here, what that of black, and which tokens should not "
        "move?",
        "`x = embed(ids).detach()` is (tokens, D). The baseline has pad's embedding in every row "
        "but the special ones: `torch.where(special[:, None], x, …)`. `read` wants a batch: "
        "`x[None]`.",
        "`phi = integrated_gradients(read, x[None], b[None], torch.tensor([target]), steps)`, then "
        "`phi.sum(-1)[0]`.",
    ),
)  # fmt: skip


def by_parts(model, x, baseline, target, steps):
    mean = next(m.function for m in INTEGRATED_GRADIENTS.mistakes
                if m.name == "without_difference")(model, x, baseline, target, steps)  # fmt: skip
    return (x - baseline) * mean.sum(2, keepdim=True)


# --------------------------------------------------------------------------------- 2. words


def word_sums(values: Tensor, places: list[int | None], count: int) -> Tensor:
    """Sum of the tokens' values in each word."""
    return merged(lambda v: v.sum())(values, places, count)


Places = list[int | None]


def merged(
    one: Callable[[Tensor], Tensor],
    where: Callable[[Places], Places] = lambda places: places,
    first: Callable[[Tensor], Tensor] = lambda values: values,
) -> Callable:
    """Words from their tokens, with one ingredient exchanged."""

    def function(values, places, count):
        v, found = first(values), where(places)
        total = torch.zeros(count).to(v)
        for word in range(count):
            own = v[torch.tensor([place == word for place in found], device=v.device)]
            if len(own):
                total[word] = one(own)
        return total

    return function


def special_in(word: int) -> Callable[[Places], Places]:
    """Places in which what belongs to no word belongs to one."""
    return lambda places: [
        (word if word >= 0 else max(p for p in places if p is not None) + 1 + word)
        if p is None else p
        for p in places
    ]  # fmt: skip


def pieces(*places: int | None, count: int, seed: int, double: bool = False) -> dict[str, Any]:
    """Arguments of `word_sums`."""
    values = random(len(places), seed=seed)
    return dict(values=values.double() if double else values, places=list(places), count=count)


def special_at_the_end(values, places, count):
    total = torch.zeros(count).to(values)
    for value, place in zip(values, places, strict=True):
        total[-1 if place is None else place] += value
    return total


def counted(values, places, count):
    return torch.tensor([float(places.count(k)) for k in range(count)]).to(values)


def special_in_all(values, places, count):
    outside = sum(v for v, p in zip(values, places, strict=True) if p is None)
    return word_sums(values, places, count) + outside


def out_of_step(values, places, count):
    inside = [p for p in places if p is not None]
    return word_sums(values[: len(inside)], inside, count)


def evenly_shared(values, places, count):
    outside = sum(v for v, p in zip(values, places, strict=True) if p is None)
    return word_sums(values, places, count) + outside / count


def of_all(change: Callable[[Tensor], Tensor]) -> Callable:
    return lambda values, places, count: change(word_sums(values, places, count))


def without_special(values, places, count):
    return values[torch.tensor([p is not None for p in places], device=values.device)]


def written_into(values, places, count):
    result = word_sums(values, places, count)
    values[0] = 0
    return result


WORD_SUMS = Exercise(
    reference=word_sums,
    cases=(
        Case("four words, one of them in three pieces",
             lambda: pieces(None, 0, 1, 1, 1, 2, 3, None, count=4, seed=41)),
        Case("a first word in two pieces, in double precision",
             lambda: pieces(None, 0, 0, 1, 2, 2, None, count=3, seed=42, double=True)),
        Case("a last word that was cut off, so that it has no token",
             lambda: pieces(None, 0, 1, 1, None, count=3, seed=43),
             alone="A word without a token gets zero: make the result `count` long."),
        Case(f"text without special tokens{WHERE}",
             lambda: on_device(pieces(0, 1, 1, 2, count=3, seed=44)),
             alone="A text may come without special tokens. What belongs to no word has the place "
             "None; first and last have nothing to do with it."),
    ),
    mistakes=catalogue(
        mean=(merged(lambda v: v.mean()),
            "You averaged over a word's tokens. Each has its share of the score, and a word has "
            "them all: add them up, or the words no longer add up to the rise."),
        largest=(merged(lambda v: v.max()),
            "You took the largest of a word's tokens; a word has all their shares: add them up."),
        largest_size=(merged(lambda v: v[v.abs().argmax()]),
            "You took the token with the largest size; a word has all their shares: add them up."),
        last=(merged(lambda v: v[-1]),
            "Only the last token of each word is left. In a loop, each one is added: `+=` where "
            "`=` stands. Without a loop, `total[index] += values` adds only once where a word's "
            "number comes twice in `index`: `total.index_add_(0, index, values)` adds each."),
        first=(merged(lambda v: v[0]),
            "Only the first token of each word counts; add its other pieces to it."),
        absolute=(merged(lambda v: v.abs().sum()),
            "You added up absolute values. Pieces of a word may disagree: keep the signs."),
        absolute_after=(merged(lambda v: v.sum().abs()),
            "You took the absolute value of each word's sum. The sign says whether it speaks for "
            "the class or against it."),
        length=(merged(lambda v: v.norm()),
            "You took the length (the norm) of a word's values; shares of the score add up, signs "
            "and all."),
        product=(merged(lambda v: v.prod()), "You multiplied a word's values; they are added."),
        squares=(merged(lambda v: (v**2).sum()), "You added up squares; add up the values."),
        positive=(merged(lambda v: v.relu().sum()),
            "You added up the positive values only; what speaks against the class counts too."),
        special_at_the_end=(special_at_the_end,
            "What belongs to no word (`None`, such as [CLS]) was added to the last word. Leave it "
            "out: as an index, −1 is the last."),
        special_in_the_first=(merged(lambda v: v.sum(), special_in(0)),
            "What belongs to no word (`None`, such as [CLS]) was added to the first word. "
            "`None` is not 0: write `if place is not None`, since `if place` is false for both."),
        first_word_lost=(merged(lambda v: v.sum(), lambda places: [p or None for p in places]),
            "The first word got nothing: `if place` is false for place 0 as well as for None. "
            "Write `if place is not None`."),
        one_on=(merged(lambda v: v.sum(), lambda places: [
                None if p is None else p + 1 for p in places]),
            "Every word's sum stands one word too late. Places count from 0, as the result does."),
        one_back=(merged(lambda v: v.sum(), lambda places: [
                None if p is None else p - 1 for p in places]),
            "Every word's sum stands one word too early. Places count from 0, as the result does."),
        one_back_and_round=(of_all(lambda t: t.roll(-1)),
            "Every word's sum stands one word too early, and the first word's at the end: "
            "`total[place - 1]`. Places count from 0, as the result does: `total[place]`."),
        shifted=(merged(lambda v: v.sum(), first=lambda values: values.roll(-1)),
            "Values and places are out of step by one: `places` has an entry for every token, also "
            "for [CLS] (it is None)."),
        shifted_back=(merged(lambda v: v.sum(), first=lambda values: values.roll(1)),
            "Values and places are out of step by one: `places` has an entry for every token, also "
            "for [CLS] (it is None)."),
        special_in_all=(special_in_all,
            "What belongs to no word was added to *every* word: indexing with None, `total[None]`, "
            "means all of them. Write `if place is not None`."),
        by_the_words_number=(lambda values, places, count: word_sums(
                torch.stack([values[0 if p is None else p] for p in places]), places, count),
            "You added `values[place]`, the value of the token that has the *word's* number. Take "
            "the token's own: `for value, place in zip(values, places)`."),
        out_of_step=(out_of_step,
            "You took the None out of `places` and left `values` as they are, so the two are out "
            "of step. Go through both together."),
        mean_with_gaps=(lambda values, places, count: (
                word_sums(values, places, count) / counted(values, places, count)),
            "You divided by the number of a word's tokens, which may be none. Each token has its "
            "share of the score: add them up."),
        as_many_as_tokens=(lambda values, places, count: word_sums(values, places, len(values)),
            "The result is as long as there are tokens; one number a word is wanted, `count` of "
            "them."),
        special_behind=(lambda values, places, count: special_at_the_end(
                values, places, count + 1),
            "The result has a place too many at the end, with what belongs to no word in it. Leave "
            "that out: `count` numbers are wanted."),
        shared=(evenly_shared,
            "What belongs to no word was shared out among the words. Leave it out."),
        token_by_token=(without_special,
            "Those are the tokens still, without the special ones. Pieces of one word have the "
            "same place: add them up."),
        running=(of_all(lambda t: t.cumsum(0)),
            "Every word also has the sums of those before it. Begin each word at zero."),
        normalised=(of_all(lambda t: t / t.abs().max()),
            "You divided by the largest value; leave the sums as they are."),
        shares=(of_all(lambda t: t / t.sum()),
            "You divided by the whole sum; leave the sums as they are."),
        shares_of_size=(of_all(lambda t: t / t.abs().sum()),
            "You divided by the sum of sizes; leave the sums as they are."),
        backwards=(of_all(lambda t: t.flip(0)), "The words stand in reverse order."),
        by_rank=(of_all(lambda t: t.sort(descending=True).values),
            "The words were sorted by their value. Place k of the result belongs to word k."),
        counted=(counted,
            "You counted each word's tokens; add up their values."),
        column=(of_all(lambda t: t[:, None]),
            "The values are right, in a column; (count,) is wanted."),
        written_into=(written_into,
            "The values are right, but `values` itself was changed. Begin with "
            "`torch.zeros(count)`, a tensor of your own."),
    ),
    hints=(
        "A result of `count` zeros, and one walk along the tokens. What happens at a token that "
        "belongs to no word?",
        "`for value, place in zip(values, places)`: if the place is not None, add the value "
        "there.",
        "`total = torch.zeros(count).to(values)`; in the loop, "
        "`if place is not None: total[place] += value`.",
    ),
)  # fmt: skip


EXERCISES = (TOKEN_ATTRIBUTIONS, WORD_SUMS)
