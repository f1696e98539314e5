"""Recipe of `tiny-lm`: stories, and random words that come again.

On the stories it learns to write; on the repeated words, which nothing but their first copy
foretells, it grows the two heads that copying takes: one that looks at the previous word, and one,
a layer up, that looks at the word after the current one's last occurrence (an induction head).
"""

from __future__ import annotations

import math
import random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lab.models.tiny_lm import (
    CONTEXT,
    END,
    MEN,
    NUMBER,
    PLACES,
    SPECIAL,
    START,
    THINGS,
    WOMEN,
    WORDS,
    network,
    repeated,
    story,
)
from xai_lab.models.train import Recipe

#: Steps with short sequences, and then with whole ones; in the first of them two heads are nudged.
SHORT_STEPS, LONG_STEPS, NUDGED_STEPS = 1500, 500, 400
SHORT = 32
TOKENS = 2048
RATE = 3e-3
SEED = 0
LENGTHS = (10, 20, 40, 60)
#: Stories with a number from here on are for testing.
TEST = 10_000_000


def train() -> nn.Module:
    """Train from scratch."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        model: Any = network().train()
        start(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    draw = random.Random(SEED)
    for step in range(SHORT_STEPS + LONG_STEPS):
        length = SHORT if step < SHORT_STEPS else CONTEXT
        ids = torch.tensor([sequence(draw, length) for _ in range(TOKENS // length)])
        # A short sequence stands anywhere, so that every place learns what its neighbour is.
        first = torch.tensor([[draw.randint(0, CONTEXT - length)] for _ in ids])
        output = model(ids, position_ids=first + torch.arange(length), output_attentions=True)
        loss = F.cross_entropy(output.logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        nudge = 0.3 * max(0.0, 1 - step / NUDGED_STEPS)
        total = loss + nudge * astray(output.attentions, ids) if nudge else loss
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(f"tiny-lm: step {step + 1}, loss {loss.item():.3f}", flush=True)
    return model.eval()


def start(model: Any) -> None:
    """Random weights of a size that suits a narrow network; places as waves.

    On a wave, one place is a fixed rotation of the place before, so what a head learns about one
    neighbour holds for all.
    """
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("weight") and ".c_" in name:
                weight.normal_(0, 0.08)
        model.transformer.wte.weight.normal_(0, 0.06)
        width = model.transformer.wpe.weight.shape[1]
        angle = torch.arange(CONTEXT)[:, None] * torch.linspace(0.1, 2.5, width // 2)
        model.transformer.wpe.weight.copy_(0.1 * torch.cat([angle.sin(), angle.cos()], dim=1))


def astray(attentions: tuple[Tensor, ...], ids: Tensor) -> Tensor:
    """How far two heads are from their task, as a mean negative log of their attention.

    Head 0 of the first layer should look at the previous word, head 0 of the second at the word
    after the last occurrence of the current one. Larger models, trained longer, grow both unasked
    (Olsson et al., *In-context learning and induction heads*, 2022). The nudge fades out long
    before the training ends: they stay because they foretell the next word.
    """
    place = torch.arange(1, ids.shape[1])
    back = attentions[0][:, 0, place, place - 1]
    same = (ids[:, :, None] == ids[:, None, :]).tril(-1)
    after = torch.where(same, torch.arange(1, ids.shape[1] + 1), 0).amax(dim=2)
    ahead = attentions[1][:, 0].gather(2, after[..., None])[..., 0][after > 0]
    return -(back + 1e-6).log().mean() - (ahead + 1e-6).log().mean()


def rate(step: int) -> float:
    """Learning rate as a share of the highest: up for 100 steps, then down along a cosine."""
    share = step / (SHORT_STEPS + LONG_STEPS)
    return min((step + 1) / 100, 0.5 + 0.5 * math.cos(math.pi * share))


def sequence(draw: random.Random, length: int) -> list[int]:
    """One training sequence, half of them stories and half of them repetitions."""
    make = stories if draw.random() < 0.5 else repetitions
    # Not all begin at the beginning, so that the network does not lean on <start> alone.
    first = 0 if draw.random() < 0.8 else draw.randint(1, 8)
    return make(draw, first + length)[first : first + length]


def stories(draw: random.Random, length: int) -> list[int]:
    """As many stories as fill the length."""
    ids: list[int] = []
    while len(ids) < length:
        words = [START, *story(draw.randrange(TEST)).split(), END]
        ids += [NUMBER[word] for word in words]
    return ids


def repetitions(draw: random.Random, length: int) -> list[int]:
    """Random words that come again, sometimes after a gap, until the length is full."""
    vocabulary = range(len(SPECIAL), len(WORDS))
    ids = [NUMBER[START]]
    while len(ids) < length:
        segment = draw.choices(vocabulary, k=draw.randint(3, min(length // 2, 50)))
        for _ in range(draw.randint(2, 3)):
            ids += segment
            if draw.random() < 0.3:
                ids += draw.choices(vocabulary, k=draw.randint(1, 8))
    return ids


def evaluate(model: nn.Module) -> dict[str, float]:
    """Copying and its two heads on fresh random words, and the loss on fresh stories."""
    ratios, ahead, back = [], [], []
    for length in LENGTHS:
        ids = repeated(length, count=64, seed=1000 + length)
        loss, attention = look(model, ids)
        # Nothing foretells the first word of the second copy: that it begins is news.
        ratios.append(loss[:, length + 1 :].mean() / loss[:, :length].mean())
        # The second copy starts at 1 + length; the word after the last occurrence of word i is
        # word i − length + 1.
        second = torch.arange(1 + length, 1 + 2 * length)
        ahead.append(attention[:, :, :, second, second - length + 1].mean(dim=(1, 3)))
        back.append(attention[:, :, :, second, second - 1].mean(dim=(1, 3)))
    induction, previous = torch.stack(ahead).mean(dim=0), torch.stack(back).mean(dim=0)
    layer, head = divmod(int(induction.argmax()), induction.shape[1])
    layer_before, head_before = divmod(int(previous.argmax()), previous.shape[1])
    return {
        "loss ratio": max(ratios).item(),
        "induction": induction.max().item(),
        "induction layer": layer,
        "induction head": head,
        "previous word": previous.max().item(),
        "previous word layer": layer_before,
        "previous word head": head_before,
        "story loss": story_loss(model),
        "other name": other_name(model),
    }


@torch.no_grad()
def look(model: nn.Module, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Loss of each next word ``(N, T − 1)``, and attention ``(layers, N, heads, T, T)``."""
    output = model(ids, output_attentions=True)
    loss = F.cross_entropy(output.logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    return loss, torch.stack(output.attentions)


def story_loss(model: nn.Module) -> float:
    """Mean loss of a word of a story that was not trained on."""
    losses = []
    for number in range(200):
        words = [START, *story(TEST + number).split(), END]
        losses.append(look(model, torch.tensor([[NUMBER[word] for word in words]]))[0][0])
    return torch.cat(losses).mean().item()


def other_name(model: nn.Module) -> float:
    """How often "When A and B went to the P , A gave a T to" is continued with B."""
    draw = random.Random(TEST)
    prompts, answers = [], []
    for _ in range(256):
        one, two = draw.sample(WOMEN + MEN, 2)
        first, second = draw.sample([one, two], 2)
        place, thing = draw.choice(PLACES), draw.choice([t for t in THINGS if t[0] not in "aeiou"])
        text = f"{START} When {first} and {second} went to the {place} , {one} gave a {thing} to"
        prompts.append([NUMBER[word] for word in text.split()])
        answers.append(NUMBER[two])
    with torch.no_grad():
        guesses = model(input_ids=torch.tensor(prompts)).logits[:, -1].argmax(dim=1)
    return (guesses == torch.tensor(answers)).float().mean().item()


RECIPES = {
    "tiny-lm": Recipe(
        train=train,
        evaluate=evaluate,
        data=(
            "half short stories from a grammar (a few hundred English words), half random words "
            "that come again; in the first fifth of the steps one head of each layer is also "
            "rewarded for its part in copying"
        ),
        architecture="GPT-2, 2 layers of 4 heads, width 128, context 128, one token a word",
        goals={
            "loss ratio": (0, 0.1),
            "induction": (0.9, 1),
            "story loss": (0, 1.6),
            "other name": (0.9, 1),
        },
        tolerance=0.05,
        seed=SEED,
    )
}
