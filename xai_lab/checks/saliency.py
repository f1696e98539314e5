# ruff: noqa: D103 (what is said about a wrong function stands beside it in the catalogue)
"""Exercises of chapter 1: saliency, gradient × input, SmoothGrad.

Each exercise is a block: the right function under its exercise's name, the cases, the mistakes,
the hints. The small models come first; `EXERCISES` at the end is what `check` finds.
"""

from __future__ import annotations

import math
import numbers
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lab.checks.exercise import Case, Exercise, Mistake
from xai_lab.checks.small import (
    WHERE,
    Recorder,
    classes,
    on_device,
    own_scores,
    random,
    seeded,
    with_gradients,
)

# ------------------------------------------------------------------------------ small models


def linear() -> nn.Module:
    """S(x) = w·x + b for each of four classes: its gradient is w, whatever x is."""
    return seeded(1, nn.Flatten(), nn.Linear(60, 4))


def relu_net() -> nn.Module:
    """Two layers with a ReLU between them."""
    return seeded(2, nn.Flatten(), nn.Linear(60, 16), nn.ReLU(), nn.Linear(16, 5))


def conv_net() -> nn.Module:
    """Convolution, batch norm and dropout, in eval mode."""
    model = seeded(
        3, nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip
    model[1].running_mean.fill_(0.3)  # type: ignore[index]
    model[1].running_var.fill_(2.0)  # type: ignore[index]
    return model


class Bends(nn.Module):
    """Three classes: two slopes, a unit that saturates at 1, and both."""

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, 3)."""
        x = x.flatten(1)
        slopes, saturated = 2 * F.relu(x) - 0.5 * F.relu(-x), 1 - F.relu(1 - x)
        return torch.stack([slopes.sum(1), -3 * saturated.sum(1), (slopes + saturated).mean(1)], 1)


def gradient(score: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """∂(sum of score(x)) / ∂x, for the wrong functions below."""
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(score(x).sum(), x)[0]


# ---------------------------------------------------- 1. saliency and class activation


def claims() -> dict[str, bool]:
    """Say of each statement whether it is true."""
    return dict(a=True, b=False, c=True, d=False, e=True, f=False, g=False, h=True)


FEEDBACK = {
    "a": "Saliency has one value for each number of the input; a class activation map has one for "
    "each place of its layer, and is enlarged to be drawn.",
    "b": "The gradient with respect to the input exists for any differentiable model; it is class "
    "activation that needs a layer whose units still have a place in the picture.",
    "c": "Saliency asks what *would* change; class activation adds up what the layer found there, "
    "weighted by how much the class uses it.",
    "d": "The first class activation maps needed such a head; the gradient needs nothing of the "
    "kind, and Grad-CAM was made to do without it.",
    "e": "Both start from the score of one class, so both change when the class does.",
    "f": "The picture shows the largest |∂S/∂x| over the channels. The sign is lost there, so a "
    "bright pixel may just as well lower the score when it grows.",
    "g": "The gradient speaks of small nudges. A saturated unit has gradient zero, and taking "
    "away what saturates it can still change everything.",
    "h": "Its last step is a relu: evidence against the class is cut off. Saliency keeps its sign "
    "until it is drawn.",
}  # fmt: skip


def stated(answers: object, _arguments: dict) -> object:
    """Truth values as numbers; one half where an answer is neither True nor False."""
    if not isinstance(answers, dict):
        return answers
    return {k: float(v) if v in (True, False) else 0.5 for k, v in answers.items()}


def about(letter: str) -> Callable[[Tensor, Tensor], str]:
    """Feedback on one statement."""

    def say(got: Tensor, _want: Tensor) -> str:
        if got == 0.5:
            return f"({letter}) needs True or False."
        truth = "true" if got == 0.0 else "false"
        return f"Your answer to ({letter}) is wrong: the statement is {truth}. {FEEDBACK[letter]}"

    return say


CLAIMS = Exercise(
    reference=claims,
    cases=(Case("the eight statements", dict, observe=stated,
                says={letter: about(letter) for letter in FEEDBACK}),),
    mistakes=(),
    hints=(
        "For each statement, ask what is differentiated by what: by the input, or by a layer?",
        "Class activation is relu(Σ weight × activation) at each place of a layer. Saliency is "
        "∂S/∂x at each number of the input. Which of the two is local, which one is coarse?",
        "Five are about what a map can show (its size, its sign, its class, saturation) and three "
        "about what a method needs. Four of the eight are true.",
    ),
)  # fmt: skip


# --------------------------------------------------------------------- 2. saliency by hand


def saliency(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Gradient of each sample's own class score."""
    x = x.detach().clone().requires_grad_()
    score = model(x).gather(1, target[:, None]).sum()
    return torch.autograd.grad(score, x)[0]


def by_output(score: Callable[[Tensor, Tensor], Tensor], name: str) -> Callable:
    """Saliency that differentiates another function of (outputs, target)."""

    def wrong(model, x, target):
        return gradient(lambda z: score(model(z), target), x)

    wrong.__name__ = name
    return wrong


def after(method: Callable, change: Callable, name: str) -> Callable:
    """Right method with something done to the result; ``change(result, x)``."""

    @wraps(method)
    def wrong(model, x, target, *arguments, **options):
        return change(method(model, x, target, *arguments, **options), x.detach())

    wrong.__name__ = name
    return wrong


def backward(model, x, target):
    x = x.detach().clone().requires_grad_()
    own_scores(model(x), target).sum().backward()
    return x.grad


def backward_and_zero_grad(model, x, target):
    result = backward(model, x, target)
    model.zero_grad()
    return result


def callers_tensor(model, x, target):
    return torch.autograd.grad(own_scores(model(x.requires_grad_()), target).sum(), x)[0]


def callers_backward(model, x, target):
    x.requires_grad_()
    own_scores(model(x), target).sum().backward()
    return x.grad


def attached(model, x, target):
    x = x.detach().clone().requires_grad_()
    score = own_scores(model(x), target).sum()
    return x * 0 + torch.autograd.grad(score, x, create_graph=True)[0]


def times_the_score(model, x, target):
    return saliency(model, x, target) * score_of(model, x, target)[:, None, None, None]


TIMES_THE_SCORE = (
    "You multiplied the gradient by the score. That is how the *square* of the score changes (but "
    "for a factor of 2), not the score."
)

WRONG_SCORE = (
    Mistake(by_output(lambda y, t: own_scores(y.softmax(1), t), "of_the_probability"),
            "You differentiated the probability, after the softmax. It also falls when another "
            "class rises, and it is flat where the network is sure. Explain the logit: the "
            "model's output as it is."),
    Mistake(by_output(lambda y, t: own_scores(y.log_softmax(1), t), "of_the_log_probability"),
            "You differentiated the logarithm of the probability, which mixes all classes. "
            "Explain the logit: the model's output as it is."),
    Mistake(by_output(lambda y, t: F.cross_entropy(y, t, reduction="sum"), "of_the_loss"),
            "You differentiated the loss. Its gradient says how to be *less wrong*, mixes all "
            "classes, and has the sign turned round. Explain the score of the class, a logit."),
    Mistake(by_output(lambda y, t: F.cross_entropy(y, t), "of_the_mean_loss"),
            "You differentiated the loss, averaged over the batch. Explain the score of the "
            "class, a logit, and sum over the batch."),
    Mistake(by_output(lambda y, t: y, "of_all_classes"),
            "You summed the scores of all classes before differentiating. The map should explain "
            "one: pick each sample's target with `outputs.gather(1, target[:, None])`."),
    Mistake(by_output(lambda y, t: y.amax(1), "of_the_predicted_class"),
            "You explained the class with the highest score. The function is told which class "
            "to explain: use `target`."),
    Mistake(by_output(lambda y, t: y.max(), "of_the_largest_output"),
            "You took the largest output of the whole batch, so one sample is explained and the "
            "others get zero. Each sample has a target of its own."),
    Mistake(by_output(lambda y, t: y[0, t[0]], "of_the_first_sample"),
            "Only the first sample was explained (`outputs[0, …]`); the others got a gradient of "
            "zero. Pick one score in every row, then sum them."),
    Mistake(by_output(lambda y, t: y[:, t[0]], "of_the_first_target"),
            "Every sample was explained for the first sample's class. `target` holds one class a "
            "sample: `outputs.gather(1, target[:, None])`."),
    Mistake(by_output(lambda y, t: y[:, t], "of_all_targets"),
            "`outputs[:, target]` takes *every* target's column for every sample, an (N, N) "
            "table. One score a row is wanted: `outputs.gather(1, target[:, None])`, or "
            "`outputs[range(N), target]`."),
    Mistake(by_output(lambda y, t: own_scores(y, t).mean(), "of_the_mean_score"),
            "You averaged the scores over the batch, so every map is divided by the number of "
            "samples and changes with the company it is in. Sum them: each sample still gets "
            "its own gradient."),
    Mistake(by_output(lambda y, t: y.softmax(1).amax(1), "of_the_predicted_probability"),
            "You explained the largest probability. Explain the logit, before the softmax, and of "
            "the class in `target`."),
    Mistake(by_output(lambda y, t: own_scores(y.softmax(0), t), "of_the_softmax_over_the_batch"),
            "You took a softmax over the batch (dimension 0), which lets the samples compete. "
            "Explain the logit: the model's output as it is."),
    Mistake(by_output(lambda y, t: y.amin(1), "of_the_least_likely_class"),
            "You explained the class with the lowest score; use `target`."),
    Mistake(by_output(lambda y, t: y.mean(1), "of_the_mean_of_all_classes"),
            "You averaged the scores of all classes before differentiating. The map should "
            "explain one: pick each sample's target with `outputs.gather(1, target[:, None])`."),
    Mistake(by_output(lambda y, t: -own_scores(y, t), "of_minus_the_score"),
            "The sign is the wrong way round: you differentiated −S."),
    Mistake(by_output(lambda y, t: own_scores(y, t) ** 2, "of_the_squared_score"),
            "You differentiated the square of the score; that multiplies the gradient by 2S."),
    Mistake(by_output(lambda y, t: own_scores(y, t).exp(), "of_the_exponential"),
            "You differentiated exp(S); that multiplies each map by exp(S)."),
    Mistake(by_output(lambda y, t: own_scores(y.sigmoid(), t), "of_the_sigmoid"),
            "You put a sigmoid on the score, which is flat where the network is sure. Explain the "
            "logit: the model's output as it is."),
    Mistake(by_output(lambda y, t: own_scores(y, t) - (y.sum(1) - own_scores(y, t)) /
                      (y.shape[1] - 1), "against_the_others"),
            "You subtracted the other classes' scores. That answers another question (why this "
            "class rather than those); here S is the one logit."),
)  # fmt: skip


def reduced(method: Callable) -> tuple[Mistake, ...]:
    """Mistakes that bring the picture's operations into a method."""
    picture = "The method returns every channel with its sign"
    return (
        Mistake(after(method, lambda g, x: g.abs(), "absolute"),
                "You took the absolute value. Keep the sign: it says whether more of this pixel "
                "raises or lowers the score. The absolute value belongs to the picture."),
        Mistake(after(method, lambda g, x: g.abs().amax(1), "already_a_picture"),
                f"You took the largest absolute value over the channels. {picture}; the picture "
                "is a step of its own."),
        Mistake(after(method, lambda g, x: g.mean(1, keepdim=True), "averaged_channels"),
                f"You averaged over the channels, where a red and a blue that disagree cancel. "
                f"{picture}."),
        Mistake(after(method, lambda g, x: g.sum(1), "summed_channels"),
                f"You added up the channels, where a red and a blue that disagree cancel. "
                f"{picture}."),
        Mistake(after(method, lambda g, x: g / g.abs().flatten(1).amax(1)[:, None, None, None],
                      "normalised"),
                "You divided each map by its largest value. Then no two maps can be compared; "
                "normalising belongs to the picture."),
    )  # fmt: skip


LEFT = (
    Mistake(backward, "The map is right, but `.backward()` also filled the `.grad` of every weight "
            "of the network, which costs time and stays there: the next `.backward()` adds to it. "
            "`torch.autograd.grad(score, x)` computes what you ask and leaves nothing."),
    Mistake(backward_and_zero_grad, "The map is right, but `zero_grad()` wiped the weights' "
            "gradients, also those that were there before you came: whoever is training this "
            "network has lost them. Use `torch.autograd.grad(score, x)`; it leaves nothing to "
            "wipe."),
    Mistake(callers_tensor, "The map is right, but the caller's x now has `requires_grad=True`: "
            "`x.requires_grad_()` changes the tensor you were handed. Work on a copy, "
            "`x.detach().clone().requires_grad_()`."),
    Mistake(callers_backward, "The map is right, but a good deal is left behind: the caller's x "
            "has `requires_grad` and a `.grad`, and so has every weight. Work on "
            "`x.detach().clone().requires_grad_()` and ask `torch.autograd.grad(score, x)`."),
    Mistake(attached, "The map is right, but it is still attached to the graph, and every "
            "activation stays in memory with it. Return it detached, without `create_graph`."),
)  # fmt: skip

MODEL_CASES = (
    Case("a linear model and a batch of two",
         lambda: dict(model=linear(), x=random(2, 3, 4, 5), target=classes(2, 0))),
    Case("a ReLU network and a batch of three",
         lambda: dict(model=relu_net(), x=random(3, 3, 4, 5, seed=5), target=classes(4, 1, 0))),
    Case("two slopes and a saturated unit",
         lambda: dict(model=Bends(), x=1.5 * random(3, 1, 2, 3, seed=6), target=classes(1, 2, 0))),
    Case("a network with batch norm and dropout, in eval mode",
         lambda: dict(model=with_gradients(conv_net()), x=random(2, 3, 6, 5, seed=7),
                      target=classes(1, 2))),
    Case(f"a batch of one{WHERE}",
         lambda: on_device(dict(model=relu_net(), x=random(1, 3, 4, 5, seed=8),
                                target=classes(3)))),
)  # fmt: skip

SALIENCY = Exercise(
    reference=saliency,
    cases=MODEL_CASES,
    mistakes=(
        *LEFT, *WRONG_SCORE, *reduced(saliency),
        Mistake(after(saliency, lambda g, x: g * x, "times_the_input"),
                "You multiplied by the input. That is gradient × input, the next task; saliency "
                "is the gradient alone."),
        Mistake(after(saliency, lambda g, x: g**2, "squared"),
                "You squared the gradient. Keep it as it is, with its sign."),
        Mistake(times_the_score, TIMES_THE_SCORE),
    ),
    hints=(
        "Which one number do you differentiate? Each sample has its own class, and the samples "
        "do not see each other, so the sum of their scores holds all you need.",
        "Make a copy of x that requires a gradient *before* the model sees it; pick one score in "
        "each row with `gather`; then `torch.autograd.grad(score, x)` returns a tuple of one.",
        "`x = x.detach().clone().requires_grad_()`, `score = model(x).gather(1, target[:, None])"
        ".sum()`, and the first element of `torch.autograd.grad(score, x)`.",
    ),
)  # fmt: skip


def picture(gradient: Tensor) -> Tensor:
    """Largest absolute value over the channels."""
    return gradient.abs().amax(dim=1)


def of_maps(function: Callable[[Tensor], object], name: str) -> Callable:
    """Name a wrong function of one tensor."""

    def wrong(gradient):
        return function(gradient)

    wrong.__name__ = name
    return wrong


PICTURE = Exercise(
    reference=picture,
    cases=(
        Case("a batch of two", lambda: dict(gradient=random(2, 3, 4, 5, seed=11))),
        Case("negative values only", lambda: dict(gradient=-random(2, 3, 2, 3, seed=12).abs())),
        Case("one picture with one channel", lambda: dict(gradient=random(1, 1, 3, 4, seed=13))),
        Case("a gradient of zero", lambda: dict(gradient=torch.zeros(2, 3, 2, 4))),
    ),
    mistakes=(
        Mistake(of_maps(lambda g: g.amax(1), "without_absolute"),
                "You took the largest signed value, so a channel with a strong negative gradient "
                "counts for nothing. Absolute value first, then the largest."),
        Mistake(of_maps(lambda g: g.gather(1, g.abs().argmax(1, keepdim=True))[:, 0],
                        "sign_kept"),
                "You picked the value of the largest size and kept its sign. A picture of "
                "brightness has no sign: take the absolute value."),
        Mistake(of_maps(lambda g: g.amax(1).abs(), "absolute_too_late"),
                "You took the largest value first and the absolute value after it; a strong "
                "negative gradient has lost by then. Absolute value first."),
        Mistake(of_maps(lambda g: g.abs().mean(1), "mean_of_absolute"),
                "You averaged over the channels; the formula takes the largest."),
        Mistake(of_maps(lambda g: g.abs().sum(1), "sum_of_absolute"),
                "You added up the channels; the formula takes the largest."),
        Mistake(of_maps(lambda g: g.mean(1).abs(), "absolute_of_mean"),
                "You averaged the channels first, where a red and a blue that disagree cancel; "
                "the formula takes the largest absolute value."),
        Mistake(of_maps(lambda g: g.sum(1).abs(), "absolute_of_sum"),
                "You added up the channels first, where a red and a blue that disagree cancel; "
                "the formula takes the largest absolute value."),
        Mistake(of_maps(lambda g: g.mean(1), "signed_mean"),
                "You averaged the signed channels; take absolute values, then the largest."),
        Mistake(of_maps(lambda g: g.sum(1), "signed_sum"),
                "You added up the signed channels; take absolute values, then the largest."),
        Mistake(of_maps(lambda g: g.norm(dim=1), "length"),
                "You took the length of the colour vector (its norm). A fair choice, and another "
                "one: the formula takes the largest absolute value."),
        Mistake(of_maps(lambda g: (g**2).amax(1), "squares"),
                "You squared instead of taking the absolute value, which exaggerates the peaks."),
        Mistake(of_maps(lambda g: g.abs().amax(0), "over_the_batch"),
                "You took the largest over the batch (dimension 0). The channels are dimension 1."),
        Mistake(of_maps(lambda g: g.abs().amax(-1), "over_the_columns"),
                "You took the largest over the last dimension, the columns. The channels are "
                "dimension 1."),
        Mistake(of_maps(lambda g: g.abs().amax(1, keepdim=True), "kept_dimension"),
                "The values are right, but the channel dimension is still there with size 1. "
                "Leave `keepdim` out: (N, H, W)."),
        Mistake(of_maps(lambda g: g.abs(), "not_reduced"),
                "The absolute value is right; the largest over the channels is still missing, so "
                "there are three values a pixel."),
        Mistake(of_maps(lambda g: g.abs().max(1), "with_indices"),
                "`max(dim=1)` returns two things, the values and where they were. Take `.values`, "
                "or use `amax`."),
        Mistake(of_maps(lambda g: g.abs().amax(1) / g.abs().amax(1).amax(), "normalised"),
                "You divided by the largest value. `xai_lab.plot` does that when it draws; the "
                "numbers should stay comparable, and a map of zeros would become NaN."),
        Mistake(of_maps(lambda g: g.abs().amax(1) / (
                    g.abs().amax((1, 2, 3), keepdim=True)[:, 0] + 1e-12), "each_normalised"),
                "You divided each map by its largest value. `xai_lab.plot` does that when it "
                "draws; the numbers should stay comparable."),
        Mistake(of_maps(lambda g: g.abs().amax(1) / g.abs().amax((1, 2, 3))[:, None, None],
                        "each_normalised_to_nan"),
                "You divided each map by its largest value. `xai_lab.plot` does that when it "
                "draws; the numbers should stay comparable, and a map of zeros would become NaN."),
        Mistake(of_maps(lambda g: g.amax(1) - g.amin(1), "range"),
                "You took the range over the channels, largest minus smallest; the formula takes "
                "the largest absolute value."),
        Mistake(of_maps(lambda g: (g.abs() * torch.tensor([0.299, 0.587, 0.114])[: g.shape[1], None,
                                                                                 None]).sum(1),
                        "luminance"),
                "You weighted the channels as the eye does (0.299, 0.587, 0.114). The formula "
                "takes the largest, and knows nothing of eyes."),
        Mistake(of_maps(lambda g: g.clamp(min=0).amax(1), "positive_only"),
                "You cut negative gradients off; a strong negative one counts as much as a "
                "positive one. Absolute value first, then the largest."),
        Mistake(of_maps(lambda g: (g**2).sum(1), "sum_of_squares"),
                "You added up squares over the channels; the formula takes the largest absolute "
                "value."),
        Mistake(of_maps(lambda g: (g**2).mean(1).sqrt(), "root_mean_square"),
                "You took the root of the mean square over the channels; the formula takes the "
                "largest absolute value."),
        Mistake(of_maps(lambda g: g.abs().amax(1).clamp(0, 1), "clamped"),
                "Values above 1 were cut off. The picture is not clipped and not normalised."),
        Mistake(of_maps(lambda g: g.abs().amin(1), "smallest"),
                "You took the smallest over the channels; the largest is wanted."),
        Mistake(of_maps(lambda g: g.abs().argmax(1), "which_channel"),
                "`argmax` says *which* channel is largest; its value is wanted: `amax`."),
        Mistake(of_maps(lambda g: g.abs().median(1).values, "median"),
                "You took the median over the channels; the largest is wanted."),
        Mistake(of_maps(lambda g: g.abs()[:, 0], "first_channel"),
                "You kept the first channel only; the largest of all is wanted."),
    ),
    hints=(
        "Two operations, and their order matters. What happens to a gradient of −5 in red beside "
        "0.1 in blue?",
        "The channels are dimension 1 of (N, C, H, W). `max(dim=1)` returns values *and* indices; "
        "`amax(dim=1)` only the values.",
        "`gradient.abs()`, and then `.amax(dim=1)`.",
    ),
)  # fmt: skip


# ------------------------------------------------------------------- 3. gradient × input


def gradient_x_input(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Gradient times input."""
    return x.detach() * saliency(model, x, target)


def multiplied(wrong: Callable, name: str) -> Callable:
    """Gradient × input from a wrong gradient."""

    def function(model, x, target):
        return x.detach() * wrong(model, x, target).detach()

    function.__name__ = name
    return function


def callers_product(model, x, target):
    return x * torch.autograd.grad(own_scores(model(x.requires_grad_()), target).sum(), x)[0]


def attached_product(model, x, target):
    x = x.detach().clone().requires_grad_()
    return x * torch.autograd.grad(own_scores(model(x), target).sum(), x)[0]


def gradient_at_zero(model, x, target):
    return saliency(model, torch.zeros_like(x), target)


def of_the_squared_input(model, x, target):
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad(own_scores(model(x * x), target).sum(), x)[0]


def by_sample(value: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """One number a sample, shaped to broadcast over it."""
    return lambda x: value(x.flatten(1)).reshape(-1, *[1] * (x.ndim - 1))


sample_mean, sample_std = by_sample(lambda x: x.mean(1)), by_sample(lambda x: x.std(1))
sample_low, sample_high = by_sample(lambda x: x.amin(1)), by_sample(lambda x: x.amax(1))


GRADIENT_X_INPUT = Exercise(
    reference=gradient_x_input,
    cases=MODEL_CASES,
    mistakes=(
        Mistake(callers_product, "The values are right, but the result is attached to the graph "
                "and the caller's x now has `requires_grad=True`. Work on a copy, and multiply by "
                "`x.detach()`."),
        Mistake(attached_product, "The values are right, but the result is still attached to the "
                "graph, because you multiplied by the x that requires a gradient. Multiply by "
                "`x.detach()`, or return the product detached."),
        Mistake(multiplied(backward, "backward"), LEFT[0].sentence),
        Mistake(multiplied(backward_and_zero_grad, "backward_and_zero_grad"), LEFT[1].sentence),
        *(Mistake(multiplied(m.function, m.name), m.sentence) for m in WRONG_SCORE),
        Mistake(after(saliency, lambda g, x: g, "not_multiplied"),
                "That is the gradient; multiply it by the input, value by value."),
        Mistake(after(saliency, lambda g, x: x * g.abs(), "absolute_gradient"),
                "You multiplied x by |g|. The signs of both matter: a negative weight on a "
                "positive input lowers the score."),
        Mistake(after(saliency, lambda g, x: x.abs() * g, "absolute_input"),
                "You multiplied |x| by g. The signs of both matter: two negatives raise the "
                "score."),
        Mistake(after(saliency, lambda g, x: (x * g).abs(), "absolute"),
                "You took the absolute value of the product. Keep the sign: it says whether the "
                "pixel speaks for or against the class, and without it nothing sums to S."),
        Mistake(after(saliency, lambda g, x: (x - sample_mean(x)) * g, "centred"),
                "You multiplied by x minus its mean. That explains the difference to a grey "
                "picture; gradient × input multiplies by x itself."),
        Mistake(after(saliency, lambda g, x: (x - x.mean()) * g, "centred_on_the_batch"),
                "You multiplied by x minus the mean of the batch; gradient × input multiplies "
                "by x itself."),
        Mistake(after(saliency, lambda g, x: (x - sample_low(x)) * g, "from_its_smallest"),
                "You counted the input from its smallest value; multiply by x itself, which is "
                "counted from zero."),
        Mistake(after(saliency, lambda g, x: x[:1] * g, "first_input_for_all"),
                "Every gradient was multiplied by the *first* sample's input; multiply each by "
                "its own."),
        Mistake(multiplied(gradient_at_zero, "gradient_at_zero"),
                "The gradient was taken at an input of zeros. Take it at x, then multiply."),
        Mistake(of_the_squared_input,
                "The model was handed x · x, and the gradient taken of that. Hand it x; multiply "
                "by x after the gradient is taken."),
        Mistake(after(saliency, lambda g, x: x**2 * g, "squared_input"),
                "You multiplied by the square of x. Each input counts once: x · g."),
        Mistake(after(saliency, lambda g, x: x * g**2, "squared_gradient"),
                "You multiplied x by the square of the gradient. Each counts once: x · g."),
        Mistake(after(saliency, lambda g, x: x * g.sign(), "sign_of_the_gradient"),
                "You multiplied x by the *sign* of the gradient; its size matters too."),
        Mistake(after(saliency, lambda g, x: g * x.sign(), "sign_of_the_input"),
                "You multiplied the gradient by the *sign* of x; its size matters too."),
        Mistake(after(saliency, lambda g, x: (x - x.min()) / (x.max() - x.min()) * g, "stretched"),
                "You stretched the input to 0 … 1 before multiplying. Multiply by the x that the "
                "model was given."),
        Mistake(after(saliency, lambda g, x: (x - sample_low(x)) / (sample_high(x) - sample_low(x))
                      * g, "each_stretched"),
                "You stretched the input to 0 … 1 before multiplying. Multiply by the x that the "
                "model was given."),
        Mistake(after(saliency, lambda g, x: (1 - x) * g, "from_ones"),
                "You multiplied by 1 − x; multiply by x."),
        Mistake(after(saliency, lambda g, x: x @ g.mT, "matrix_product"),
                "You multiplied as matrices (`@`, `matmul`); multiply value by value (`*`)."),
        Mistake(after(saliency, lambda g, x: (x * g).mean(1), "averaged_channels"),
                "You averaged over the channels. The method returns every channel."),
        Mistake(times_the_score, TIMES_THE_SCORE + " Multiply by the input x."),
        Mistake(after(saliency, lambda g, x: x + g, "added"),
                "You added x and the gradient; multiply them."),
        Mistake(after(saliency, lambda g, x: g / x, "divided"),
                "You divided by x; multiply by it."),
        Mistake(after(saliency, lambda g, x: x * g.abs().amax(1, keepdim=True), "with_the_picture"),
                "You multiplied the input by the picture of the gradient (its largest absolute "
                "value over the channels). Multiply each channel by its own, signed gradient."),
        Mistake(after(saliency, lambda g, x: (x * g).sum(1), "summed_channels"),
                "You added up the channels. The method returns every channel; adding them up is "
                "a step of its own."),
        Mistake(after(saliency, lambda g, x: (x * g).sum(1, keepdim=True), "summed_channels_kept"),
                "You added up the channels. The method returns every channel; adding them up is "
                "a step of its own."),
        Mistake(after(saliency, lambda g, x: (x * g).clamp(min=0), "positive_part"),
                "You cut the negative products off. Evidence against the class belongs to the "
                "sum."),
        Mistake(after(saliency, lambda g, x: (x * g).flatten(1).sum(1), "already_summed"),
                "You added up the whole picture. The method returns one value for each number of "
                "the input; their sum is the next task's."),
    ),
    hints=(
        "You have the gradient already. What does each input contribute if the score is w·x?",
        "Multiply value by value (`*`), not as matrices (`@`), and by the x that needs no "
        "gradient, so that the result has no graph.",
        "`return x.detach() * saliency(model, x, target)`.",
    ),
)  # fmt: skip


def completeness_gap(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """Σ gradient × input − (S(x) − S(0)), one number a sample."""
    total = gradient_x_input(model, x, target).flatten(1).sum(1)
    return total - (score_of(model, x, target) - score_of(model, torch.zeros_like(x), target))


def score_of(model: nn.Module, x: Tensor, target: Tensor) -> Tensor:
    """S(x) of each sample, without a graph."""
    with torch.no_grad():
        return own_scores(model(x.detach()), target)


def gap(formula: Callable[[Tensor, Tensor, Tensor], Tensor], name: str) -> Callable:
    """Wrong gap from Σφ, S(x) and S(0)."""

    def wrong(model, x, target):
        total = gradient_x_input(model, x, target).flatten(1).sum(1)
        return formula(
            total, score_of(model, x, target), score_of(model, torch.zeros_like(x), target)
        )

    wrong.__name__ = name
    return wrong


def without_the_product(model, x, target):
    return saliency(model, x, target).flatten(1).sum(1) - (
        score_of(model, x, target) - score_of(model, torch.zeros_like(x), target)
    )


def mean_for_sum(model, x, target):
    return gradient_x_input(model, x, target).flatten(1).mean(1) - (
        score_of(model, x, target) - score_of(model, torch.zeros_like(x), target)
    )


def absolute_sum(model, x, target):
    return gradient_x_input(model, x, target).abs().flatten(1).sum(1) - (
        score_of(model, x, target) - score_of(model, torch.zeros_like(x), target)
    )


def channels_only(model, x, target):
    difference = score_of(model, x, target) - score_of(model, torch.zeros_like(x), target)
    return gradient_x_input(model, x, target).sum(1) - difference[:, None, None]


def of_probabilities(model, x, target):
    def probability(z):
        with torch.no_grad():
            return own_scores(model(z).softmax(1), target)

    total = gradient_x_input(model, x, target).flatten(1).sum(1)
    return total - (probability(x) - probability(torch.zeros_like(x)))


def with_the_predicted(model, x, target):
    with torch.no_grad():
        difference = model(x).amax(1) - model(torch.zeros_like(x)).amax(1)
    return gradient_x_input(model, x, target).flatten(1).sum(1) - difference


def from_ones(model, x, target):
    total = gradient_x_input(model, x, target).flatten(1).sum(1)
    return total - (score_of(model, x, target) - score_of(model, torch.ones_like(x), target))


def from_the_mean(model, x, target):
    total = gradient_x_input(model, x, target).flatten(1).sum(1)
    grey = sample_mean(x).expand_as(x)
    return total - (score_of(model, x, target) - score_of(model, grey, target))


def compared_with(zero: Callable[[Tensor], Tensor], name: str) -> Callable:
    """Wrong gap whose 'nothing' is another input."""

    def wrong(model, x, target):
        total = gradient_x_input(model, x, target).flatten(1).sum(1)
        start = zero(x).expand_as(x).clone()
        return total - (score_of(model, x, target) - score_of(model, start, target))

    wrong.__name__ = name
    return wrong


NOT_ZEROS = (
    'You compared with {}: your "nothing" is not an input of zeros. Gradient × input starts from '
    "`torch.zeros_like(x)`."
)


def zero_of_another_class(model, x, target):
    total = gradient_x_input(model, x, target).flatten(1).sum(1)
    with torch.no_grad():
        return total - (score_of(model, x, target) - model(torch.zeros_like(x)).amax(1))


def batch_in_one_sum(model, x, target):
    difference = score_of(model, x, target) - score_of(model, torch.zeros_like(x), target)
    return gradient_x_input(model, x, target).sum() - difference


def table_of_targets(model, x, target):
    total = gradient_x_input(model, x, target).flatten(1).sum(1)
    with torch.no_grad():
        return total - (model(x)[:, target] - model(torch.zeros_like(x))[:, target])


def turned_table_of_targets(model, x, target):
    return table_of_targets(model, x, target).mT


def table_of_targets_by_rows(model, x, target):
    total = gradient_x_input(model, x, target).flatten(1).sum(1)[:, None]
    with torch.no_grad():
        return total - (model(x)[:, target] - model(torch.zeros_like(x))[:, target])


ALL_TARGETS = next(m.sentence for m in WRONG_SCORE if m.name == "of_all_targets")


def of_the_batch(model, x, target):
    return completeness_gap(model, x, target).sum()


def scores_of_all(model, x, target):
    total = gradient_x_input(model, x, target).flatten(1).sum(1)
    with torch.no_grad():
        return total - (model(x).sum(1) - model(torch.zeros_like(x)).sum(1))


COMPLETENESS_GAP = Exercise(
    reference=completeness_gap,
    cases=MODEL_CASES,
    mistakes=(
        Mistake(gap(lambda p, s, z: p - s, "forgot_zero"),
                "You compared Σφ with S(x). A black box with a bias has a score before it has "
                "seen anything: subtract S(0), the score of an input of zeros."),
        Mistake(gap(lambda p, s, z: p - s - z, "added_zero"),
                "S(0) has the wrong sign: Σφ − (S(x) − S(0)) is Σφ − S(x) *plus* S(0). Look at "
                "the brackets."),
        Mistake(gap(lambda p, s, z: s - z - p, "turned_round"),
                "It is the right number with the sign turned round: Σφ first, minus the "
                "difference of scores."),
        Mistake(gap(lambda p, s, z: (p - s + z).abs(), "absolute"),
                "You took the absolute value; the sign says whether the map promises too much or "
                "too little."),
        Mistake(gap(lambda p, s, z: (p - s + z) ** 2, "squared"),
                "You squared the gap; leave it in the units of the score."),
        Mistake(gap(lambda p, s, z: p - (z - s), "scores_exchanged"),
                "S(x) and S(0) are exchanged: the change is from zero *to* x, S(x) − S(0)."),
        Mistake(gap(lambda p, s, z: (p - s + z) / (s - z), "relative"),
                "You divided by the difference of scores; leave the gap in units of the score."),
        Mistake(gap(lambda p, s, z: (p - s + z) / s, "relative_to_the_score"),
                "You divided by the score; leave the gap in units of the score."),
        Mistake(gap(lambda p, s, z: p - (s - z)[:, None], "table"),
                "You subtracted an (N, 1) from an (N,), which makes an (N, N) table. Take the "
                "scores as (N,): `.gather(1, target[:, None])[:, 0]`."),
        Mistake(gap(lambda p, s, z: (p - s + z)[:, None], "column"),
                "The values are right, in a column (N, 1); (N,) is wanted: `[:, 0]`."),
        Mistake(gap(lambda p, s, z: p, "sum_only"),
                "That is Σφ. Subtract what it should be: S(x) − S(0)."),
        Mistake(gap(lambda p, s, z: s - z, "difference_only"),
                "That is S(x) − S(0). Subtract it from Σφ."),
        Mistake(gap(lambda p, s, z: p / (s - z), "ratio"),
                "You divided the two; the gap is their difference."),
        Mistake(without_the_product,
                "You summed the gradient alone; Σφ is the sum of gradient × input."),
        Mistake(mean_for_sum, "You averaged φ where its sum is wanted: contributions add up."),
        Mistake(absolute_sum, "You summed |φ|. Contributions for and against must be allowed to "
                "cancel: sum the signed values."),
        Mistake(channels_only, "You summed over the channels only. Every number of a sample "
                "counts: `.flatten(1).sum(1)`, one number a sample."),
        Mistake(of_probabilities, "The scores are probabilities in one half of the formula and "
                "logits in the other. Leave the softmax out."),
        Mistake(with_the_predicted, "You compared with the score of the predicted class. Use the "
                "same `target` as for φ, for S(x) and for S(0)."),
        Mistake(scores_of_all, "You added up the scores of all classes; S is the score of "
                "`target`."),
        Mistake(zero_of_another_class, "S(0) is the logit of `target` too: you took the largest "
                "logit of the zeros, which is another class's."),
        Mistake(batch_in_one_sum, "Σφ was summed over the whole batch. Sum each sample: "
                "`.flatten(1).sum(1)`."),
        Mistake(table_of_targets, ALL_TARGETS),
        Mistake(turned_table_of_targets, ALL_TARGETS),
        Mistake(table_of_targets_by_rows, ALL_TARGETS),
        Mistake(from_ones, NOT_ZEROS.format("an input of ones")),
        Mistake(from_the_mean, NOT_ZEROS.format("a picture of the mean colour")),
        Mistake(compared_with(lambda x: x.min(), "from_the_smallest"),
                NOT_ZEROS.format("the smallest value of x everywhere")),
        Mistake(compared_with(sample_low, "from_each_smallest"),
                NOT_ZEROS.format("the smallest value of each sample everywhere")),
        Mistake(compared_with(lambda x: x.max(), "from_the_largest"),
                NOT_ZEROS.format("the largest value of x everywhere")),
        Mistake(compared_with(lambda x: x.mean(), "from_the_mean_of_the_batch"),
                NOT_ZEROS.format("the mean of the batch")),
        Mistake(compared_with(lambda x: torch.full_like(x, 0.5), "from_one_half"),
                NOT_ZEROS.format("one half everywhere")),
        Mistake(compared_with(lambda x: -torch.ones_like(x), "from_minus_one"),
                NOT_ZEROS.format("−1 everywhere")),
        Mistake(of_the_batch, "You added up the whole batch; one number a sample is wanted."),
    ),
    hints=(
        "Three numbers for each sample: the sum of the map, the score at x, the score at zero.",
        "Sum over everything but the batch: `.flatten(1).sum(1)`. The same class in all three: "
        "`.gather(1, target[:, None])[:, 0]`.",
        "`total - (S(x) - S(torch.zeros_like(x)))`, where `S` runs the model under "
        "`torch.no_grad()` and picks each sample's target.",
    ),
)  # fmt: skip


# ------------------------------------------------------------------------- 4. SmoothGrad


def smooth_grad(
    model: nn.Module,
    x: Tensor,
    target: Tensor,
    samples: int = 50,
    noise: float = 0.15,
    seed: int = 0,
) -> Tensor:
    """Mean gradient over noisy copies."""
    rng = torch.Generator().manual_seed(seed)
    sigma = noise * (sample_high(x) - sample_low(x))
    total = torch.zeros_like(x)
    for _ in range(samples):
        epsilon = torch.randn(x.shape, generator=rng).to(x)
        total += saliency(model, x + sigma * epsilon, target)
    return total / samples


def smooth(
    name: str,
    average: Callable[[Tensor], Tensor] = lambda g: g.mean(0),
    sigma: Callable[[Tensor, float], Any] = lambda x, noise: (
        noise * (sample_high(x) - sample_low(x))
    ),
    draw: Callable[..., Tensor] = torch.randn,
    of: Callable[[nn.Module, Tensor, Tensor], Tensor] = saliency,
    count: Callable[[int], int] = lambda n: n,
) -> Callable:
    """SmoothGrad with one ingredient exchanged."""

    def wrong(model, x, target, samples=50, noise=0.15, seed=0):
        rng = torch.Generator().manual_seed(seed)
        return average(torch.stack([
            of(model, x + sigma(x, noise) * draw(x.shape, generator=rng).to(x), target)
            for _ in range(count(samples))
        ]))  # fmt: skip

    wrong.__name__ = name
    return wrong


def noise_on_the_gradient(model, x, target, samples=50, noise=0.15, seed=0):
    rng = torch.Generator().manual_seed(seed)
    g = saliency(model, x, target)
    sigma = noise * (sample_high(g) - sample_low(g))
    return g + sigma * torch.randn(samples, *x.shape, generator=rng).to(x).mean(0)


def same_noise(model, x, target, samples=50, noise=0.15, seed=0):
    epsilon = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x)
    sigma = noise * (sample_high(x) - sample_low(x))
    maps = [saliency(model, x + sigma * epsilon, target) for _ in range(samples)]
    return torch.stack(maps).mean(0)


def accumulated(model, x, target, samples=50, noise=0.15, seed=0):
    rng, total = torch.Generator().manual_seed(seed), torch.zeros_like(x)
    sigma = noise * (sample_high(x) - sample_low(x))
    for _ in range(samples):
        x = x + sigma * torch.randn(x.shape, generator=rng).to(x)
        total += saliency(model, x, target)
    return total / samples


def at_the_mean_picture(model, x, target, samples=50, noise=0.15, seed=0):
    rng = torch.Generator().manual_seed(seed)
    sigma = noise * (sample_high(x) - sample_low(x))
    epsilon = torch.randn(samples, *x.shape, generator=rng).to(x)
    return saliency(model, x + sigma * epsilon.mean(0), target)


def global_stream(model, x, target, samples=50, noise=0.15, seed=0):
    torch.manual_seed(seed)
    sigma = noise * (sample_high(x) - sample_low(x))
    maps = [saliency(model, x + sigma * torch.randn_like(x), target) for _ in range(samples)]
    return torch.stack(maps).mean(0)


def global_unseeded(model, x, target, samples=50, noise=0.15, seed=0):
    sigma = noise * (sample_high(x) - sample_low(x))
    maps = [saliency(model, x + sigma * torch.randn_like(x), target) for _ in range(samples)]
    return torch.stack(maps).mean(0)


def clamped(model, x, target, samples=50, noise=0.15, seed=0):
    rng = torch.Generator().manual_seed(seed)
    sigma, total = noise * (sample_high(x) - sample_low(x)), torch.zeros_like(x)
    for _ in range(samples):
        noisy = x + sigma * torch.randn(x.shape, generator=rng).to(x)
        total += saliency(model, noisy.clamp(0, 1), target)
    return total / samples


def clamped_to_its_range(model, x, target, samples=50, noise=0.15, seed=0):
    rng = torch.Generator().manual_seed(seed)
    low, high, total = sample_low(x), sample_high(x), torch.zeros_like(x)
    for _ in range(samples):
        noisy = x + noise * (high - low) * torch.randn(x.shape, generator=rng).to(x)
        total += saliency(model, torch.minimum(torch.maximum(noisy, low), high), target)
    return total / samples


def noise_alone(model, x, target, samples=50, noise=0.15, seed=0):
    rng = torch.Generator().manual_seed(seed)
    sigma, total = noise * (sample_high(x) - sample_low(x)), torch.zeros_like(x)
    for _ in range(samples):
        total += saliency(model, sigma * torch.randn(x.shape, generator=rng).to(x), target)
    return total / samples


def unseeded(model, x, target, samples=50, noise=0.15, seed=0):
    rng = torch.Generator()
    rng.seed()
    sigma = noise * (sample_high(x) - sample_low(x))
    maps = [
        saliency(model, x + sigma * torch.randn(x.shape, generator=rng).to(x), target)
        for _ in range(samples)
    ]
    return torch.stack(maps).mean(0)


def fixed_seed(model, x, target, samples=50, noise=0.15, seed=0):
    return smooth_grad(model, x, target, samples, noise, 0)


def fixed_samples(model, x, target, samples=50, noise=0.15, seed=0):
    return smooth_grad(model, x, target, 50, noise, seed)


def fixed_noise(model, x, target, samples=50, noise=0.15, seed=0):
    return smooth_grad(model, x, target, samples, 0.15, seed)


def one_noise_a_picture(shape: tuple, generator: torch.Generator) -> Tensor:
    """One number of noise for a whole picture."""
    return torch.randn(shape[0], *[1] * (len(shape) - 1), generator=generator).expand(shape)


class Cubic(nn.Module):
    """S = Σ ± x³/6 + Σ x²/2, each over a part of the picture.

    The gradient ± x²/2 of the first notices how large the noise is, the gradient x of the second
    changes sign with it.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, 2)."""
        x = x.flatten(1)
        cubic, square = x[:, 1:11] ** 3 / 6, x[:, 11:19] ** 2 / 2
        score = (cubic[:, ::2] - cubic[:, 1::2]).sum(1) + square.sum(1)
        return torch.stack([score, -2 * score], 1)


def cubic_input() -> Tensor:
    """Small values in the middle, ±2 in two corners that the model ignores: a range of 4."""
    x = 0.5 * torch.rand(1, 1, 4, 5, generator=torch.Generator().manual_seed(3)) - 0.25
    x[0, 0, 0, 0], x[0, 0, -1, -1] = -2, 2
    return x


class Undecided(nn.Module):
    """Two opposite classes, so near that noise changes the prediction."""

    def forward(self, x: Tensor) -> Tensor:
        """Scores (N, 2)."""
        score = (x.flatten(1) * random(20, seed=31)).sum(1)
        return torch.stack([score, -score], 1)


def undecided_input() -> Tensor:
    """Picture of range 2 whose score is small and positive."""
    w, x = random(20, seed=31), random(20, seed=32).clamp(-0.9, 0.9)
    x[0], x[1] = -1, 1
    x[2:] += w[2:] * (0.8 - (w * x).sum()) / (w[2:] ** 2).sum()
    return x.clamp(-1, 1).reshape(1, 1, 4, 5)


def handed(_result: object, arguments: dict) -> dict[str, object]:
    """Measure the noisy copies that the model was handed; see `NOISE_CASE`.

    What cannot be measured, because something before it is wrong, counts as right: one mistake,
    one sentence.
    """
    clean, samples = two_ranges(), arguments["samples"]
    found: dict[str, object] = dict(near=1.0, free=1.0, copies=float(samples), fresh=1.0,
                                    steady=1.0, pixels=1.0, channels=1.0, centre=1.0, bell=3.0,
                                    spread=torch.full((2,), NOISE))  # fmt: skip
    pictures = [p for p in arguments["model"].handed if p.numel() % clean[0].numel() == 0]
    rows = torch.cat([p.reshape(-1, clean[0].numel()) for p in pictures]) if pictures else clean[:0]
    second = rows.mean(1) > clean.mean() if len(rows) else torch.zeros(0, dtype=torch.bool)
    if len(rows) and (second.all() or not second.any()):
        return found | {"near": 0.0}
    draws, handed_over, beyond = [], 0, False
    for i, x in enumerate(clean.flatten(1)):
        copies = rows[second == bool(i)]
        beyond |= bool(((copies < x.min()) | (copies > x.max())).any())
        own = (copies - x) / (x.max() - x.min())
        noisy = [row for row in own if row.any()]
        handed_over = max(handed_over, len(noisy))
        # A copy that the model sees twice, once to predict and once for the gradient, is one draw.
        draws.append([*{row.numpy().tobytes(): row.double() for row in noisy}.values()])
    counts = [len(d) for d in draws]
    if handed_over >= samples and max(counts) < samples / 2:
        return found | {"fresh": 0.0}
    found["copies"] = sum(counts) / len(clean)
    if min(counts) < 6:
        return found
    if not beyond:
        return found | {"free": 0.0}
    third = min(counts) // 3
    stacks = [torch.stack(d) for d in draws]
    if max((d[-third:].std() / d[:third].std()).item() for d in stacks) > 2.5:
        return found | {"steady": 0.0}
    if min((d.std(1).mean() / d.std()).item() for d in stacks) < 0.5:
        return found | {"pixels": 0.0}
    two = torch.cat([d.reshape(len(d), 2, -1) for d in stacks]).transpose(0, 1).flatten(1)
    if torch.corrcoef(two)[0, 1] > 0.5:
        return found | {"channels": 0.0}
    found["spread"] = torch.stack([d.std() for d in stacks])
    found["centre"] = 1 + max(((d.mean() / d.std()).item() for d in stacks), key=abs)
    found["bell"] = torch.cat([((d - d.mean()) / d.std()) ** 4 for d in stacks]).mean().item()
    return found


NOISE = 0.2
LOST = (
    "What the model was handed is not the picture plus noise: either x is missing from the sum, or "
    "values were cut off (a clamp to 0 … 1, in a space that goes further). It is x + σ · ε."
)
CLAMPED = (
    "The noisy copies never leave the picture's own range: they were clamped to it. Hand the model "
    "x + σ · ε as it is; cutting it off makes the noise smaller where the picture is dark or light."
)
SAME = (
    "Every copy got the same noise, so there is only one draw, however often it is averaged. Draw "
    "inside the loop, and make the generator before it, not in it."
)
GROWING = (
    "The noise grows from draw to draw: each is added to the copy before it (`x = x + …`). Keep x "
    "clean and make every noisy copy from it."
)
SHIFTED = (
    "The noise is not centred: on average it makes the picture brighter or darker. "
    "`torch.rand` lies in 0 … 1; the formula's noise is normal with mean zero, `torch.randn`."
)


def wrong_spread(got: Tensor, _want: Tensor) -> str:
    """Sentence for noise of the wrong size."""
    shown = " and ".join(f"{v:.2g}" for v in got)
    return (
        f"the noise is of the wrong size: its standard deviation is {shown} of the range of "
        f"the first and the second picture, where noise={NOISE} asks for {NOISE} of (max − min) "
        "of each picture."
    )


def wrong_count(got: Tensor, want: Tensor) -> str:
    """Sentence for too few or too many noisy copies."""
    if got == 0:
        return (
            "the model was never handed a noisy picture. The noise goes into the input, before "
            "the model; then the gradient is taken there."
        )
    copies = "one noisy copy" if got == 1 else f"{got:.3g} noisy copies"
    return f"the model was handed {copies} of each picture, where `samples` asked for {want:.0f}."


def two_ranges() -> Tensor:
    """Two pictures of two channels, the first in 0 … 1, the second in 100 … 110."""
    x = torch.rand(2, 2, 4, 5, generator=torch.Generator().manual_seed(9))
    x[:, 0, 0, 0], x[:, 0, 0, 1] = 0, 1
    x[:, 1] *= 0.5  # so that the channels' ranges differ
    return torch.stack([x[0], 100 + 10 * x[1]])


def twice_and_another(function: Callable, arguments: dict) -> tuple:
    """Call with one seed twice, then with another one."""
    model, x, target = (arguments[k] for k in ("model", "x", "target"))
    return tuple(function(model, x, target, samples=6, noise=0.3, seed=s) for s in (1, 1, 2))


def seeds(results: tuple, _arguments: dict) -> dict[str, float]:
    """Whether the same seed gave the same, and another one something else."""
    one, same, other = results
    return dict(again=float(torch.equal(one, same)), other=float(not torch.equal(one, other)))


NOISE_CASE = Case(
    "the noisy copies that the model sees",
    lambda: dict(model=Recorder(seeded(4, nn.Flatten(), nn.Linear(40, 3))), x=two_ranges(),
                 target=classes(1, 0), samples=100, noise=NOISE),
    observe=handed,
    tol=dict(near=0.1, free=0.1, copies=1e-4, fresh=0.1, steady=0.1, pixels=0.1, channels=0.1,
             spread=0.1, centre=0.15, bell=0.2),
    says=dict(
        near=LOST, free=CLAMPED, copies=wrong_count, fresh=SAME, steady=GROWING, centre=SHIFTED,
        spread=wrong_spread,
        pixels="All pixels of a copy got the same noise. Every number of the picture gets its own: "
        "draw in the shape of x.",
        channels="The channels of a pixel all got the same noise. Every number of the picture "
        "gets its own: draw in the shape of x.",
        bell="The noise is not normal: its values are spread in another way (uniform, or only "
        "two values). The formula says N(0, σ²): `torch.randn`.",
    ),
)  # fmt: skip

SMOOTH_CASES = (
    Case("a linear model, where every draw has the same gradient",
         lambda: dict(model=linear(), x=random(2, 3, 4, 5, seed=21), target=classes(2, 1),
                      samples=7, noise=0.3)),
    Case("a single draw without noise",
         lambda: dict(model=relu_net(), x=random(2, 3, 4, 5, seed=22), target=classes(1, 3),
                      samples=1, noise=0.0)),
    NOISE_CASE,
    Case("a curved score, where the mean gradient is not the gradient at x",
         lambda: dict(model=Cubic(), x=cubic_input(), target=classes(0), samples=300, noise=0.5),
         tol=0.4),
    Case("a class that noise changes",
         lambda: dict(model=Undecided(), x=undecided_input(), target=classes(0), samples=300,
                      noise=0.15), tol=0.25),
    Case("one seed twice, and another one",
         lambda: dict(model=Cubic(), x=cubic_input(), target=classes(0)),
         play=twice_and_another, observe=seeds,
         says=dict(again="The same seed gave two different maps. Draw from a generator that is "
                   "made from `seed`: `torch.Generator().manual_seed(seed)`.",
                   other="Two different seeds gave exactly the same map: is `seed` used, and is "
                   "there noise at all?")),
    Case(f"a batch of one{WHERE}",
         lambda: on_device(dict(model=linear(), x=random(1, 3, 4, 5, seed=23), target=classes(3),
                                samples=4, noise=0.1))),
)  # fmt: skip

SMOOTH_GRAD = Exercise(
    reference=smooth_grad,
    cases=SMOOTH_CASES,
    mistakes=(
        Mistake(global_stream, "The map is right, but `torch.manual_seed` and the global stream "
                "were used, so whoever draws random numbers next gets others than before. Make a "
                "generator of your own: `rng = torch.Generator().manual_seed(seed)`, and draw "
                "with `torch.randn(x.shape, generator=rng)`."),
        Mistake(smooth("absolute", lambda g: g.abs().mean(0)),
                "Your map never has a negative value, the right one does: you took |∇S| of each "
                "draw and averaged those. Average the signed gradients; the absolute value "
                "belongs to the picture."),
        Mistake(smooth("absolute_of_mean", lambda g: g.mean(0).abs()),
                "You took the absolute value of the mean. Keep the sign; the absolute value "
                "belongs to the picture."),
        Mistake(smooth("squared", lambda g: (g**2).mean(0)),
                "You averaged the squares of the gradients. That is SmoothGrad-Squared, a method "
                "of its own; SmoothGrad averages the gradients."),
        Mistake(smooth("root_mean_square", lambda g: (g**2).mean(0).sqrt()),
                "You took the root of the mean square. SmoothGrad averages the gradients, signs "
                "and all."),
        Mistake(smooth("variance", lambda g: g.var(0, correction=0)),
                "You took the variance over the draws. That is VarGrad, a method of its own; "
                "SmoothGrad is the mean."),
        Mistake(smooth("summed", lambda g: g.sum(0)),
                "You added the gradients up and did not divide by `samples`: the map grows with "
                "the number of draws."),
        Mistake(smooth("one_too_few", lambda g: g.sum(0) / (len(g) - 1)),
                "You divided by samples − 1. That is for a variance; a mean is divided by the "
                "number of draws."),
        Mistake(smooth("one_too_many", lambda g: g.sum(0) / (len(g) + 1)),
                "You divided by samples + 1; there are `samples` gradients in the sum."),
        Mistake(smooth("unbiased_variance", lambda g: g.var(0)),
                "You took the variance over the draws. That is VarGrad, a method of its own; "
                "SmoothGrad is the mean."),
        Mistake(smooth("deviation", lambda g: g.std(0)),
                "You took the standard deviation over the draws; SmoothGrad is the mean."),
        Mistake(smooth("not_averaged", lambda g: g),
                "All the draws came back; average them over the draws, the first dimension."),
        Mistake(smooth("averaged_over_the_batch", lambda g: g.mean(1)),
                "You averaged over dimension 1 of the stack, which is the batch; the draws are "
                "dimension 0."),
        Mistake(smooth("median", lambda g: g.median(0).values),
                "You took the median over the draws; the formula is the mean."),
        Mistake(smooth("the_last_draw", lambda g: g[-1]),
                "Only the last draw came back; the mean of all is wanted. Is there an `=` where "
                "there should be a `+=`?"),
        Mistake(smooth("the_last_divided", lambda g: g[-1] / len(g)),
                "Only the last draw came back, divided by `samples`. Is there an `=` where there "
                "should be a `+=`?"),
        Mistake(smooth("largest", lambda g: g.amax(0)),
                "You took the largest value over the draws; the formula is the mean."),
        Mistake(smooth("each_normalised",
                       lambda g: (g / g.abs().flatten(2).amax(2)[..., None, None, None]).mean(0)),
                "You normalised each gradient before averaging, so that weak ones count as much "
                "as strong ones. Average them as they are."),
        Mistake(smooth("absolute_noise", sigma=lambda x, noise: noise),
                "You used `noise` as σ itself. It is a *fraction* of each picture's range: "
                "σ = noise · (max − min), so that 0.15 means the same for pixels in 0 … 1 and in "
                "0 … 255."),
        Mistake(smooth("range_of_the_batch", sigma=lambda x, noise: noise * (x.max() - x.min())),
                "You took max − min over the whole batch, so a picture's map depends on its "
                "neighbours. Each sample has a range of its own."),
        Mistake(smooth("as_variance",
                       sigma=lambda x, noise: (noise * (sample_high(x) - sample_low(x))).sqrt()),
                "You took a square root: noise · (max − min) is the standard deviation σ, not the "
                "variance. `torch.randn(…) * sigma` has standard deviation sigma."),
        Mistake(smooth("root_of_noise",
                       sigma=lambda x, noise: noise**0.5 * (sample_high(x) - sample_low(x))),
                "You took the square root of `noise`: it is the standard deviation as a fraction "
                "of the range, not the variance."),
        Mistake(smooth("sigma_squared",
                       sigma=lambda x, noise: (noise * (sample_high(x) - sample_low(x))) ** 2),
                "You multiplied the noise by σ². `torch.randn` has standard deviation 1; times σ "
                "it has standard deviation σ. The σ² in N(0, σ²) is the variance."),
        Mistake(smooth("noise_squared",
                       sigma=lambda x, noise: noise**2 * (sample_high(x) - sample_low(x))),
                "You squared `noise`. `torch.randn` has standard deviation 1; times σ it has "
                "standard deviation σ. The σ² in N(0, σ²) is the variance."),
        Mistake(smooth("fraction_of_deviation", sigma=lambda x, noise: noise * sample_std(x)),
                "You took a fraction of the picture's standard deviation; the formula takes one "
                "of its range, max − min."),
        Mistake(smooth("fraction_of_maximum", sigma=lambda x, noise: noise * sample_high(x)),
                "You took a fraction of the maximum; the formula takes one of the range, "
                "max − min, which does not change when the picture gets brighter."),
        Mistake(smooth("fraction_of_mean", sigma=lambda x, noise: noise * sample_mean(x)),
                "You took a fraction of the mean; the formula takes one of the range, max − min."),
        Mistake(smooth("fraction_of_pixel", sigma=lambda x, noise: noise * x.abs()),
                "You scaled the noise with each pixel's own value, so dark pixels get none. σ is "
                "one number a picture: noise · (max − min)."),
        Mistake(smooth("range_of_each_channel",
                       sigma=lambda x, noise: noise * (x.amax((2, 3), keepdim=True)
                                                       - x.amin((2, 3), keepdim=True))),
                "You took the range of each channel; the formula takes the picture's."),
        Mistake(smooth("positive_noise", draw=torch.rand), SHIFTED),
        Mistake(smooth("uniform_noise", draw=lambda s, generator: 2 * torch.rand(
                           s, generator=generator) - 1),
                "The noise is uniform; the formula says normal, N(0, σ²): `torch.randn`."),
        Mistake(smooth("uniform_noise_of_this_spread", draw=lambda s, generator: 12**0.5 * (
                           torch.rand(s, generator=generator) - 0.5)),
                "The noise is uniform; the formula says normal, N(0, σ²): `torch.randn`."),
        Mistake(smooth("uniform_noise_of_this_width", draw=lambda s, generator: torch.rand(
                           s, generator=generator) - 0.5),
                "The noise is uniform; the formula says normal, N(0, σ²): `torch.randn`."),
        Mistake(smooth("one_noise_a_picture", draw=one_noise_a_picture),
                "All pixels of a copy got the same noise. Every number of the picture gets its "
                "own: draw in the shape of x."),
        Mistake(noise_on_the_gradient,
                "The noise was added to the gradient; the model never saw a noisy picture. Add it "
                "to the input, then take the gradient there."),
        Mistake(smooth("without_noise", sigma=lambda x, noise: 0.0),
                "There is no noise in the pictures that the model is handed: every draw is the "
                "gradient at x."),
        Mistake(clamped, LOST),
        Mistake(clamped_to_its_range, CLAMPED),
        Mistake(noise_alone, LOST),
        Mistake(same_noise, SAME),
        Mistake(accumulated, GROWING),
        Mistake(at_the_mean_picture,
                "You averaged the noisy pictures and took one gradient there; the noise cancels "
                "and little is left but the gradient at x. Take a gradient at each noisy copy, and "
                "average those."),
        Mistake(smooth("predicted_again", of=lambda m, z, t: saliency(m, z, m(z).argmax(1))),
                "The class was chosen again for every noisy copy, so some draws explain another "
                "class. Keep the `target` you were given."),
        Mistake(smooth("times_the_copy", of=gradient_x_input),
                "You multiplied each gradient by its noisy input. SmoothGrad is the mean of the "
                "gradients alone."),
        Mistake(after(smooth_grad, lambda g, x: g * x, "times_the_input"),
                "You multiplied by the input. SmoothGrad is the mean of the gradients alone."),
        *(
            Mistake(smooth(m.name, of=m.function), m.sentence)
            for m in WRONG_SCORE
            if m.name != "of_the_predicted_class"  # here that is `predicted_again`
        ),
        *reduced(smooth_grad)[1:],
        Mistake(global_unseeded,
                "The draws come from the global random stream: `seed` is not used, "
                "and the same call gives another map each time. Make a generator of your own: "
                "`rng = torch.Generator().manual_seed(seed)`, and draw with "
                "`torch.randn(x.shape, generator=rng)`."),
        Mistake(unseeded, "The draws come from a generator without a seed: the same call gives "
                "another map each time. `torch.Generator().manual_seed(seed)`."),
        Mistake(fixed_seed, "`seed` is not used: every seed gives the same map."),
        Mistake(fixed_samples, "`samples` is not used: the number of draws is fixed inside."),
        Mistake(fixed_noise, "`noise` is not used: the fraction is fixed inside."),
        Mistake(smooth("one_draw_too_few", count=lambda n: max(n - 1, 1)),
                "One noisy draw is missing: the loop ends one short of `samples`, or the clean "
                "picture was counted as a draw."),
        Mistake(smooth("one_draw_too_many", count=lambda n: n + 1),
                "There is one draw too many: `range(samples)` already has `samples` steps."),
    ),
    hints=(
        "A loop around the function that you have. What changes from draw to draw, and what must "
        "not (the clean x, the class, σ)?",
        "σ is one number a sample: noise · (max − min) of that sample, shaped (N, 1, 1, 1) so that "
        "it broadcasts. Make the generator before the loop and draw in it.",
        "Before the loop: `rng = torch.Generator().manual_seed(seed)`, `sigma`, `total`. In it: "
        "`noisy = x + sigma * torch.randn(x.shape, generator=rng).to(x)` and `total += "
        "saliency(model, noisy, target)`. After it: divide by `samples`.",
    ),
)  # fmt: skip


# ------------------------------------------------------------------ 5. how many draws


def standard_error(gradients: Tensor) -> Tensor:
    """Divide the scatter of single draws by √n."""
    return gradients.std(dim=0, correction=1) / len(gradients) ** 0.5


def of_draws(function: Callable[[Tensor, int], Tensor], name: str) -> Callable:
    """Wrong standard error from the gradients and their number."""

    def wrong(gradients):
        return function(gradients, len(gradients))

    wrong.__name__ = name
    return wrong


STANDARD_ERROR = Exercise(
    reference=standard_error,
    cases=(
        Case("six draws", lambda: dict(gradients=random(6, 3, 4, 5, seed=41))),
        Case("two draws", lambda: dict(gradients=random(2, 3, 2, 3, seed=42))),
        Case("forty draws around a large mean",
             lambda: dict(gradients=5 + random(40, 2, 3, 4, seed=43)), tol=1e-3),
        Case("draws that are all alike", lambda: dict(gradients=torch.ones(5, 2, 3, 2))),
    ),
    mistakes=(
        Mistake(of_draws(lambda g, n: g.std(0), "deviation_of_a_draw"),
                "That is the standard deviation of a single draw. The mean of n draws is steadier "
                "by √n: divide."),
        Mistake(of_draws(lambda g, n: g.var(0) / n, "without_the_root"),
                "That is the *variance* of the mean. Its square root is the standard error, in "
                "the units of the gradient."),
        Mistake(of_draws(lambda g, n: g.std(0) / n, "divided_by_n"),
                "You divided the standard deviation by n. The variance is divided by n, so the "
                "standard deviation by √n."),
        Mistake(of_draws(lambda g, n: g.var(0) / n**0.5, "variance_by_root"),
                "You divided the variance by √n. The standard deviation is divided by √n, or the "
                "variance by n before the root is taken."),
        Mistake(of_draws(lambda g, n: g.var(0), "variance_of_a_draw"),
                "That is the variance of a single draw: take its root, and divide by √n."),
        Mistake(of_draws(lambda g, n: g.std(0, correction=0) / n**0.5, "wrong_ddof"),
                "The deviation was divided by n before the root, not by n − 1 (`correction=0` or "
                "NumPy's default). The mean was estimated from the same draws, which costs one."),
        Mistake(of_draws(lambda g, n: g.std(0) / (n - 1) ** 0.5, "root_of_n_minus_1"),
                "n − 1 was taken off twice: it is in the deviation already. Divide by √n."),
        Mistake(of_draws(lambda g, n: g.std(0) * n**0.5, "multiplied"),
                "You multiplied by √n; more draws make the mean *less* uncertain. Divide."),
        Mistake(of_draws(lambda g, n: (g**2).mean(0).sqrt() / n**0.5, "not_centred"),
                "You took the root mean square: the mean was not subtracted, so a large steady "
                "gradient counts as noise."),
        Mistake(of_draws(lambda g, n: g.mean(0) / n**0.5, "of_the_mean"),
                "You divided the mean by √n; it is the standard deviation over the draws that "
                "belongs there."),
        Mistake(of_draws(lambda g, n: (g - g.mean(0)).abs().mean(0) / n**0.5, "mean_deviation"),
                "You averaged absolute distances to the mean; a standard deviation squares them "
                "and takes the root."),
        Mistake(of_draws(lambda g, n: (g - g.mean(0)).abs().sum(0) / (n - 1) / n**0.5,
                         "mean_deviation_by_n_minus_1"),
                "You averaged absolute distances to the mean; a standard deviation squares them "
                "and takes the root."),
        Mistake(of_draws(lambda g, n: (((g - g.mean()) ** 2).sum(0) / (n - 1) / n).sqrt(),
                         "around_one_mean"),
                "You subtracted one mean over everything; each number of the map has its own: "
                "`gradients.mean(0)`."),
        Mistake(of_draws(lambda g, n: ((g - g.mean()) ** 2).mean(0).sqrt() / n**0.5,
                         "around_one_mean_by_n"),
                "You subtracted one mean over everything; each number of the map has its own: "
                "`gradients.mean(0)`."),
        Mistake(of_draws(lambda g, n: g.abs().std(0) / n**0.5, "of_absolute_values"),
                "You took absolute values before the standard deviation. The signed gradients "
                "are averaged, so it is their spread that counts."),
        Mistake(of_draws(lambda g, n: g.std(1) / n**0.5, "over_the_channels"),
                "You took the spread over dimension 1, the channels. The draws are dimension 0."),
        Mistake(of_draws(lambda g, n: g.std() / n**0.5, "over_everything"),
                "You took one standard deviation over all draws *and* all pixels, which mixes the "
                "pattern with the noise. Over the draws only: `dim=0`."),
        Mistake(of_draws(lambda g, n: g.std(0) / (n - 1), "divided_by_n_minus_1"),
                "You divided the standard deviation by n − 1. It is divided by √n (the n − 1 is "
                "inside it already)."),
        Mistake(of_draws(lambda g, n: g.std(0, correction=0) / n, "wrong_ddof_and_divisor"),
                "You divided by n where √n belongs, and the deviation itself by n where n − 1 "
                "belongs."),
        Mistake(of_draws(lambda g, n: g.std(0, correction=0), "population_deviation"),
                "That is the standard deviation of a single draw (divided by n rather than n − 1). "
                "The mean of n draws is steadier by √n: divide."),
        Mistake(of_draws(lambda g, n: g.var(0, correction=0) / n, "population_variance_of_mean"),
                "That is the *variance* of the mean, with n where n − 1 belongs. Its square root "
                "is the standard error."),
        Mistake(of_draws(lambda g, n: g.var(0, correction=0) / n**0.5, "population_by_root"),
                "You divided the variance by √n. The standard deviation is divided by √n."),
        Mistake(of_draws(lambda g, n: (g.std(0) / n).sqrt(), "root_of_deviation"),
                "You took the root of s/n; it is the *variance* s² that is divided by n before "
                "the root."),
        Mistake(of_draws(lambda g, n: g.std(0) / n**0.5 / g.mean(0), "relative"),
                "You divided by the mean. The relative error is something else, and infinite "
                "where the mean is zero."),
        Mistake(of_draws(lambda g, n: 1.96 * g.std(0) / n**0.5, "interval"),
                "You multiplied by 1.96; that is half the width of a 95 % interval."),
        Mistake(of_draws(lambda g, n: g.std(-1) / n**0.5, "over_the_columns"),
                "You took the spread over the last dimension, the columns. The draws are "
                "dimension 0."),
        Mistake(of_draws(lambda g, n: (g.std(0) / n**0.5).mean(), "averaged_over_pixels"),
                "You averaged over the pixels at the end; one value for each is wanted."),
        Mistake(of_draws(lambda g, n: g.std(0) / g[0].numel() ** 0.5, "counted_pixels"),
                "You divided by the root of the number of *pixels*; n is the number of draws."),
        Mistake(of_draws(lambda g, n: g.std(0) / g.shape[1] ** 0.5, "counted_channels"),
                "You divided by the root of the number of channels (`shape[1]`); n is the number "
                "of draws, `shape[0]`."),
        Mistake(of_draws(lambda g, n: g.std(0) / g.numel() ** 0.5, "counted_everything"),
                "You divided by the root of the number of *all* values; n is the number of draws, "
                "`len(gradients)`."),
        Mistake(of_draws(lambda g, n: g.mean(0), "mean_only"),
                "That is the mean itself; how uncertain it is, is asked."),
        Mistake(of_draws(lambda g, n: (g.amax(0) - g.amin(0)) / n**0.5, "of_the_range"),
                "You took the range over the draws; the standard deviation is wanted."),
    ),
    hints=(
        "Two steps: how far do single draws scatter, and how much steadier is the mean of n?",
        "The scatter is `gradients.std(dim=0)`, which divides by n − 1. Variances of independent "
        "draws add, so the mean's variance is n times smaller. And the standard deviation?",
        "`gradients.std(dim=0) / len(gradients) ** 0.5`.",
    ),
)  # fmt: skip


def draws_needed(error: float, samples: int, wanted: float) -> int:
    """Draws until the standard error has fallen from error to wanted."""
    return math.ceil(samples * (error / wanted) ** 2)


def draws(formula: Callable[[float, int, float], float], name: str) -> Callable:
    """Wrong number of draws."""

    def wrong(error, samples, wanted):
        return formula(error, samples, wanted)

    wrong.__name__ = name
    return wrong


def whole(result: Any, _arguments: dict) -> str:
    """Fault of a number of draws that cannot be counted with."""
    if isinstance(result, numbers.Integral):
        return ""
    sort = "tensor" if isinstance(result, Tensor) else type(result).__name__
    return (
        f"it is a {sort}, and an int is wanted: `range` counts with nothing else. `math.ceil` "
        "returns an int, `int(…)` makes one"
    )


def question(error: float, samples: int, wanted: float) -> Callable[[], dict]:
    """Arguments of `draws_needed`."""
    return lambda: dict(error=error, samples=samples, wanted=wanted)


# Whole results come from square numbers of draws and from powers of two, the others are far from
# whole: floating point then rounds the same way whatever is squared, rooted or divided first.
DRAWS_NEEDED = Exercise(
    reference=draws_needed,
    cases=(
        Case("half the noise of 16 draws", question(0.5, 16, 0.25), fault=whole),
        Case("a third more than is wanted, from 10 draws", question(0.5, 10, 0.375), fault=whole),
        Case("more noise allowed than there is", question(0.25, 36, 0.5), fault=whole),
        Case("a tenth of the noise of 7 draws", question(2.5, 7, 0.242), fault=whole),
        Case("an error that is small enough already", question(0.125, 25, 0.125), fault=whole),
    ),
    mistakes=(
        Mistake(draws(lambda e, n, w: math.ceil(n * e / w), "proportional"),
                "You took it that twice the draws have half the noise. The error falls as 1/√n: "
                "half the noise costs *four* times the draws."),
        Mistake(draws(lambda e, n, w: n * e / w, "proportional_unrounded"),
                "You took it that twice the draws have half the noise, and did not round up. The "
                "error falls as 1/√n: half the noise costs *four* times the draws."),
        Mistake(draws(lambda e, n, w: math.ceil(n * (w / e) ** 2), "upside_down"),
                "The fraction is upside down: to get *less* noise you would draw less often. "
                "error / wanted is above 1 when there is work to do."),
        Mistake(draws(lambda e, n, w: math.floor(n * (e / w) ** 2), "rounded_down"),
                "You rounded down, and the noise is then a little above what is wanted. Round up: "
                "`math.ceil`."),
        Mistake(draws(lambda e, n, w: round(n * (e / w) ** 2), "rounded"),
                "You rounded to the nearest number, which may be one draw too few. Round up: "
                "`math.ceil`."),
        Mistake(draws(lambda e, n, w: n * (e / w) ** 2, "unrounded"),
                "The formula is right; a number of draws is whole. Round up: `math.ceil`."),
        Mistake(draws(lambda e, n, w: math.ceil((e / w) ** 2), "forgot_samples"),
                "That is how many *times* as many draws are needed; multiply by the `samples` "
                "that the error was measured with."),
        Mistake(draws(lambda e, n, w: math.ceil(n * (e / w) ** 2) - n, "further_draws"),
                "That is how many *further* draws are needed; the total is asked."),
        Mistake(draws(lambda e, n, w: math.ceil(n * (e / w) ** 0.5), "root"),
                "You took the square root of error / wanted. The error falls as 1/√n, so n grows "
                "as the *square* of what the error is to fall by."),
        Mistake(draws(lambda e, n, w: math.ceil(4 * n), "always_four_times"),
                "Four times is right for half the noise only; `error` and `wanted` say how much "
                "it is to fall."),
        Mistake(draws(lambda e, n, w: math.ceil(n * e / w**2), "squared_wanted_only"),
                "Only `wanted` is squared; it is the whole fraction error / wanted."),
        Mistake(draws(lambda e, n, w: math.ceil(n * e**2 / w), "squared_error_only"),
                "Only `error` is squared; it is the whole fraction error / wanted."),
        Mistake(draws(lambda e, n, w: math.ceil((n * e / w) ** 2), "squared_samples"),
                "`samples` is inside the square; only error / wanted is squared."),
        Mistake(draws(lambda e, n, w: n * math.ceil((e / w) ** 2), "rounded_too_early"),
                "You rounded the factor up before multiplying by `samples`, which asks for too "
                "many. Multiply first, then round up."),
        Mistake(draws(lambda e, n, w: n * math.ceil(e / w) ** 2, "ratio_rounded"),
                "You rounded error / wanted up before squaring it, which asks for too many. Round "
                "once, at the end."),
        Mistake(draws(lambda e, n, w: math.ceil(n**0.5 * e / w) ** 2, "root_rounded"),
                "You rounded before squaring, which asks for too many. Round once, at the end."),
        Mistake(draws(lambda e, n, w: math.ceil(n * e / w) ** 2 // n, "rounded_inside"),
                "You rounded before squaring. Compute samples · (error / wanted)², then round up."),
        Mistake(draws(lambda e, n, w: math.ceil(n * (e / w) ** 2) + n, "added_to_samples"),
                "You added the draws that you have already; the formula gives the total."),
        Mistake(draws(lambda e, n, w: math.ceil((n - 1) * (e / w) ** 2), "one_sample_less"),
                "You took samples − 1; the error is s/√n with n itself."),
        Mistake(draws(lambda e, n, w: math.ceil(2 * n * e / w), "doubled_proportional"),
                "You took it that the noise falls in proportion to the draws (times 2). The error "
                "falls as 1/√n, so n grows as (error / wanted)²."),
        Mistake(draws(lambda e, n, w: math.ceil(n * 2 ** (e / w)), "exponential"),
                "You raised 2 to error / wanted; n grows as its *square*, (error / wanted) ** 2."),
        Mistake(draws(lambda e, n, w: n * 2 ** math.ceil(math.log2(e / w)), "doublings"),
                "You counted how often the noise halves and doubled the draws each time. Half the "
                "noise costs *four* times the draws."),
        Mistake(draws(lambda e, n, w: math.ceil(n * (e / w) ** 3), "cubed"),
                "You cubed error / wanted; the error falls as 1/√n, so n grows as its *square*."),
        Mistake(draws(lambda e, n, w: math.ceil(n * (e - w) ** 2), "difference"),
                "You took the difference error − wanted; it is their *ratio* that counts."),
        Mistake(draws(lambda e, n, w: math.ceil(n**0.5 * e / w), "solved_for_the_root"),
                "That is √n of the new number of draws; square it."),
        Mistake(draws(lambda e, n, w: math.ceil((e / w) ** 2 / n), "divided_by_samples"),
                "You divided by `samples`; multiply by it."),
        Mistake(draws(lambda e, n, w: max(n, math.ceil(n * (e / w) ** 2)), "never_fewer"),
                "When more noise is allowed than there is, fewer draws will do; yours never "
                "gives fewer than `samples`."),
        Mistake(draws(lambda e, n, w: math.floor(n * (e / w) ** 2) + 1, "one_more"),
                "You added one where the number is whole already; `math.ceil` rounds up only what "
                "is not."),
    ),
    hints=(
        "The error is s/√n, and s, the scatter of single draws, stays the same. Write it down for "
        "the draws you have and for those you need.",
        "error · √samples = wanted · √needed. Solve for needed.",
        "`samples * (error / wanted) ** 2`, rounded up with `math.ceil`.",
    ),
)  # fmt: skip


# -------------------------------------------------------------- 6. all moments in one pass


def running_moments(gradients: Iterable[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, mean square and variance in one pass (Welford)."""
    n, mean, spread = 0, torch.zeros(()), torch.zeros(())
    for g in gradients:
        n += 1
        delta = g - mean
        mean = mean + delta / n
        spread = spread + delta * (g - mean)
    return mean, spread / n + mean**2, spread / (n - 1)


class Stream:
    """Iterable of gradients that can be passed through once and counts how many are kept."""

    def __init__(self, gradients: Tensor) -> None:
        self.gradients, self.kept, self.passes, self.written = gradients, 0, 0, False
        self.alive: list[weakref.ref] = []

    def __iter__(self) -> Iterator[Tensor]:
        self.passes += 1
        if self.passes > 1:
            return
        for g in self.gradients:
            own = g.clone()
            self.alive.append(weakref.ref(own))
            yield own
            drawn = [draw for ref in self.alive if (draw := ref()) is not None]
            self.written |= any(draw._version for draw in drawn)
            del own, drawn
            self.kept = max(self.kept, sum(ref() is not None for ref in self.alive))


def three_moments(result: object, arguments: dict) -> object:
    """Mean, square and variance by name, and whether the stream was kept or read twice."""
    if isinstance(result, dict):
        raise TypeError("three things in a row are wanted")
    if not isinstance(result, tuple) or len(result) != 3:
        return result
    stream = arguments["gradients"]
    names = ("mean", "square", "variance")
    moments = dict(zip(names, result, strict=True))
    for name, value in moments.items():  # rounding decides whether 0/0 gives NaN or infinity
        if isinstance(value, Tensor):
            moments[name] = value.where(value.isfinite(), math.nan)
    draws, found = stream.gradients.double(), moments["variance"]
    if draws.mean() > 100 and isinstance(found, Tensor) and found.shape == draws[0].shape:
        # What rounding leaves is another number on every machine: only right or wrong is seen.
        right = draws.var(0)
        moments["variance"] = torch.tensor(float((found - right).abs().max() < 0.1 * right.max()))
    return moments | {
        "(kept)": float(stream.kept > 6), "(passes)": float(stream.passes)
    }  # fmt: skip


def welford(
    name: str,
    update: Callable = lambda g, old, new: (g - old) * (g - new),
    step: Callable = lambda old, g, n: old + (g - old) / n,
    end: Callable = lambda mean, spread, n: (mean, spread / n + mean**2, spread / (n - 1)),
) -> Callable:
    """Welford with one line exchanged."""

    def wrong(gradients):
        n, mean, spread = 0, torch.zeros(()), torch.zeros(())
        for g in gradients:
            n += 1
            old, mean = mean, step(mean, g, n)
            spread = spread + update(g, old, mean)
        return end(mean, spread, n)

    wrong.__name__ = name
    return wrong


def difference_of_squares(gradients):
    n, total, squares = 0, torch.zeros(()), torch.zeros(())
    for g in gradients:
        n, total, squares = n + 1, total + g, squares + g**2
    mean, square = total / n, squares / n
    return mean, square, (square - mean**2) * n / (n - 1)


def difference_without_n(gradients):
    n, total, squares = 0, torch.zeros(()), torch.zeros(())
    for g in gradients:
        n, total, squares = n + 1, total + g, squares + g**2
    mean, square = total / n, squares / n
    return mean, square, square - mean**2


def everything_kept(gradients):
    g = torch.stack(list(gradients))
    return g.mean(0), (g**2).mean(0), g.var(0)


def second_pass(gradients):
    n, total, spread = 0, torch.zeros(()), torch.zeros(())
    for g in gradients:
        n, total = n + 1, total + g
    mean = total / n
    for g in gradients:
        spread = spread + (g - mean) ** 2
    return mean, spread / n + mean**2, spread / (n - 1)


def from_the_first(gradients):
    stream = iter(gradients)
    mean, spread, n = next(stream), torch.zeros(()), 1
    for g in stream:
        n += 1
        delta = g - mean
        mean, spread = mean + delta / n, spread + delta**2
    return mean, spread / n + mean**2, spread / (n - 1)


def count_begun_again(gradients, last=lambda n: n):
    stream, n = iter(gradients), 0
    mean, spread = next(stream), torch.zeros(())
    for g in stream:
        n += 1
        delta = g - mean
        mean = mean + delta / n
        spread = spread + delta * (g - mean)
    n = last(n)
    return mean, spread / n + mean**2, spread / (n - 1)


def count_never_raised(gradients):
    return count_begun_again(gradients, last=lambda n: n + 1)


BEGUN_AGAIN = (
    "The count is one too low: the first gradient is the mean already, so the next one is the "
    "second (`enumerate(…, 2)`, or n = 1 before the loop)."
)


def of_absolute_values(gradients):
    return running_moments(g.abs() for g in gradients)


CANCELLED = (
    "mean(g²) − mean(g)² is right on paper. In 32-bit floats it subtracts two nearly equal large "
    "numbers, and what is left is rounding error (cancellation). Update the sum of squared "
    "distances draw by draw."
)


def overwritten(_result: Any, arguments: dict) -> str:
    """Fault of a function that writes into the draws it was given."""
    return OVERWRITTEN if arguments["gradients"].written else ""


OVERWRITTEN = (
    "a draw was overwritten: after `mean = next(…)` or `mean = g` the name *is* the caller's "
    "tensor, and `mean += …` writes into it; begin with `.clone()`, or write `mean = mean + …`"
)


def stream_case(label: str, gradients: Callable[[], Tensor], alone: str = "") -> Case:
    """Case of `running_moments`."""
    return Case(
        label, lambda: dict(gradients=Stream(gradients())), observe=three_moments,
        fault=overwritten, alone=alone,
        tol={"mean": 1e-4, "square": 1e-3, "variance": 1e-3, "(kept)": 0.1, "(passes)": 0.1},
        says={
            "(kept)": "The numbers may be right, but all the gradients were in memory at once (a "
            "list, or a stack). One pass keeps three things: the count, the mean, and the sum of "
            "squared distances.",
            "(passes)": "You went through the gradients twice. A generator is empty after one "
            "pass, and computing every gradient again would double the cost.",
        },
    )  # fmt: skip


RUNNING_MOMENTS = Exercise(
    reference=running_moments,
    cases=(
        stream_case("twelve gradients", lambda: random(12, 2, 3, 4, seed=51)),
        stream_case("two gradients", lambda: random(2, 3, 2, 3, seed=52)),
        stream_case("a large mean and a small spread",
                    lambda: 300 + 0.1 * random(30, 1, 3, 4, seed=53), alone=CANCELLED),
        stream_case("gradients that are all alike", lambda: torch.full((9, 2, 2, 3), 0.5)),
    ),
    mistakes=(
        Mistake(everything_kept, "The numbers are right, but all the gradients were in memory at "
                "once. One pass keeps three things: the count, the mean, and the sum of squared "
                "distances to it."),
        Mistake(second_pass, "You went through the gradients twice. A generator is empty after "
                "one pass, and computing every gradient again would double the cost."),
        Mistake(difference_of_squares, CANCELLED),
        Mistake(difference_without_n, "mean(g²) − mean(g)² subtracts two nearly equal large "
                "numbers, where 32-bit floats leave rounding error (cancellation); and the "
                "variance asked for divides by n − 1. Update the sum of squared distances draw by "
                "draw."),
        Mistake(count_begun_again, BEGUN_AGAIN),
        Mistake(count_never_raised, BEGUN_AGAIN),
        Mistake(welford("wrong_ddof", end=lambda m, s, n: (m, s / n + m**2, s / n)),
                "The variance was divided by n; the one asked for divides by n − 1, because the "
                "mean was estimated from the same draws."),
        Mistake(welford("old_mean_twice", lambda g, old, new: (g - old) ** 2),
                "You squared the distance to the *old* mean. Welford multiplies the distance to "
                "the mean before the update by the one after it."),
        Mistake(from_the_first,
                "You squared the distance to the *old* mean. Welford multiplies the distance to "
                "the mean before the update by the one after it."),
        Mistake(of_absolute_values, "You took absolute values first. The mean, the square and the "
                "variance are those of the signed gradients."),
        Mistake(welford("counted_one_too_many",
                        end=lambda m, s, n: (m, s / (n + 1) + m**2, s / n)),
                "The count is one too high at the end, as if it had started at 1: the sums are "
                "divided by n + 1 and by n. Start at 0 and count up first thing in the loop."),
        Mistake(welford("mean_for_its_square",
                        end=lambda m, s, n: (m, s / n + m, s / (n - 1))),
                "In the second, the mean was added where its square belongs: spread/n + mean²."),
        Mistake(welford("new_mean_twice", lambda g, old, new: (g - new) ** 2),
                "You squared the distance to the *new* mean. Welford multiplies the distance to "
                "the mean before the update by the one after it."),
        Mistake(welford("deviation", end=lambda m, s, n: (m, s / n + m**2, (s / (n - 1)).sqrt())),
                "The third is the standard deviation; the variance is its square."),
        Mistake(welford("of_the_mean", end=lambda m, s, n: (m, s / n + m**2, s / (n - 1) / n)),
                "The third is the variance of the *mean* (divided by n once more); the variance "
                "over the draws is asked."),
        Mistake(welford("sum_of_squares", end=lambda m, s, n: (m, s / n + m**2, s)),
                "The third is the sum of squared distances; divide it by n − 1."),
        Mistake(welford("square_of_mean", end=lambda m, s, n: (m, m**2, s / (n - 1))),
                "The second is the square of the mean; the mean of the squares is asked. They "
                "differ by the variance."),
        Mistake(welford("square_without_mean", end=lambda m, s, n: (m, s / n, s / (n - 1))),
                "The second is the spread around the mean; the mean of the squares counts from "
                "zero: add mean²."),
        Mistake(welford("square_by_n_minus_1",
                        end=lambda m, s, n: (m, s / (n - 1) + m**2, s / (n - 1))),
                "In the second, the spread was divided by n − 1; a mean of squares is divided by "
                "n throughout."),
        Mistake(welford("exchanged", end=lambda m, s, n: (m, s / (n - 1), s / n + m**2)),
                "The second and the third are exchanged: mean, square, variance."),
        Mistake(welford("halving", step=lambda old, g, n: (old + g) / 2),
                "mean = (mean + g) / 2 forgets: the last draw counts half, the first next to "
                "nothing. Move by (g − mean) / n."),
        Mistake(welford("summed", step=lambda old, g, n: old + g),
                "The mean was never divided by n: move by (g − mean) / n, not by g."),
        Mistake(welford("counted_from_zero", step=lambda old, g, n: old + (g - old) / (n + 1)),
                "The count is one ahead, as if a gradient of zero had come first. Count n up "
                "before you divide by it, and start at 0."),
    ),
    hints=(
        "Three things are kept: how many there were (n), their mean, and the sum of squared "
        "distances to the mean. How does each change when one more gradient arrives?",
        "The mean moves by (g − mean)/n. The sum of squared distances grows by (g − old mean) · "
        "(g − new mean).",
        "In the loop: `n += 1`, `delta = g - mean`, `mean = mean + delta / n`, `spread = spread + "
        "delta * (g - mean)`. At the end the variance is `spread / (n - 1)`, and the mean square "
        "is `spread / n + mean**2`.",
    ),
)  # fmt: skip


EXERCISES = (
    CLAIMS,
    SALIENCY,
    PICTURE,
    GRADIENT_X_INPUT,
    COMPLETENESS_GAP,
    SMOOTH_GRAD,
    STANDARD_ERROR,
    DRAWS_NEEDED,
    RUNNING_MOMENTS,
)
