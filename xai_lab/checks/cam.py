# ruff: noqa: D103 (what is said about a wrong function stands beside it in the catalogue)
"""Exercises of chapter 2: class maps, Grad-CAM, Grad-CAM++, Score-CAM, and what layers hold.

Each exercise is a block: the right function under its exercise's name, the cases, the mistakes,
the hints. `EXERCISES` at the end is what `check` finds.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lab.checks.exercise import Case, Exercise, catalogue
from xai_lab.checks.saliency import LEFT, WRONG_SCORE
from xai_lab.checks.saliency import saliency as gradient_at
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


def maps(*shape: int, seed: int) -> Tensor:
    """Activations as they are behind a ReLU: not negative, and some of them zero."""
    return random(*shape, seed=seed).relu()


def spread_out(weights: Tensor) -> Tensor:
    """Weights (N, K) so shaped that they broadcast over maps (N, K, h, w)."""
    return weights[:, :, None, None]


def stretched(t: Tensor) -> Tensor:
    """Each map (N, h, w) or (K, h, w) between 0 and 1, by its own minimum and maximum."""
    low = t.amin((1, 2), keepdim=True)
    return (t - low) / (t.amax((1, 2), keepdim=True) - low)


# ------------------------------------------------------------ 1. the class score, cell by cell


OF_ALL_SAMPLES = (
    "The weights of all samples were put together. Row n of `w` belongs to sample n and to no "
    "other: in `einsum`, both have the letter n."
)


def class_map(A: Tensor, w: Tensor) -> Tensor:
    """Σ_k w_k A_k, signed."""
    return (spread_out(w) * A).sum(1)


def narrowed(result: object, arguments: dict) -> str:
    """Complain about a result of another dtype than the activations'."""
    dtype = arguments["A"].dtype
    other = isinstance(result, Tensor) and result.is_floating_point() and result.dtype != dtype
    return (f"A is {dtype} and the result is not: what you make yourself should follow A's dtype "
            "and device, as `torch.zeros_like(A[:, 0])` or `.to(A)` do") * other  # fmt: skip


CLASS_MAP = Exercise(
    reference=class_map,
    cases=(
        Case("a batch of two", lambda: dict(A=maps(2, 3, 4, 5, seed=1), w=random(2, 3, seed=2))),
        Case("activations of both signs",
             lambda: dict(A=random(3, 4, 2, 3, seed=3), w=random(3, 4, seed=4))),
        Case("as many channels as rows, in double precision",
             lambda: dict(A=maps(2, 4, 4, 4, seed=5).double(), w=random(2, 4, seed=6).double()),
             fault=narrowed),
        Case(f"a batch of one{WHERE}",
             lambda: on_device(dict(A=maps(1, 6, 3, 2, seed=7), w=random(1, 6, seed=8)))),
    ),
    mistakes=catalogue(
        with_relu=(lambda A, w: class_map(A, w).relu(),
            "You cut the negative values off (a relu). That is Grad-CAM's last step; a class map "
            "keeps its sign, or its mean no longer gives the score."),
        averaged=(lambda A, w: (spread_out(w) * A).mean(1),
            "You averaged over the channels; the formula adds them up."),
        without_weights=(lambda A, w: A.sum(1),
            "You added up the channels without their weights, so the map is the same for every "
            "class."),
        first_weights=(lambda A, w: class_map(A, w[:1].expand_as(w)),
            "Every sample was given the first one's weights. Row n of `w` belongs to sample n."),
        absolute_weights=(lambda A, w: class_map(A, w.abs()),
            "You took |w|. A channel with a negative weight speaks *against* the class; its sign "
            "belongs in the map."),
        positive_weights=(lambda A, w: class_map(A, w.relu()),
            "You left out the channels with a negative weight; what speaks against the class is "
            "part of its score."),
        each_strongest=(lambda A, w: (spread_out(w) * A).amax(1),
            "You took the largest channel at each place; the formula adds all of them up."),
        not_summed=(lambda A, w: spread_out(w) * A,
            "There is one map a channel left: add them up, over dimension 1."),
        pooled=(lambda A, w: (w * A.mean((2, 3))).sum(1),
            "You averaged over the places first. That is the score (without its bias); the map "
            "does not average, so that the places stay."),
        own_minimum=(lambda A, w: class_map(A, w) - class_map(A, w).amin((1, 2), keepdim=True),
            "You subtracted the map's own minimum. Then zero no longer means *speaks neither for "
            "nor against*, and the mean is no longer the score."),
        averaged_over_places=(lambda A, w: class_map(A, w) / A[0, 0].numel(),
            "You divided by h·w. That belongs to the mean over the places, the second formula, "
            "which is `logit_from`."),
        only_the_last_channel=(lambda A, w: class_map(A[:, -1:], w[:, -1:]),
            "Only the last channel is left. In a loop, each one is added: `+=` where `=` stands."),
        reshaped=(lambda A, w: (A.reshape(len(A), -1, A.shape[1]) @ w[:, :, None]).reshape(
                len(A), *A.shape[2:]),
            "`reshape` moves no dimension: it cuts the same row of numbers in other places, so "
            "channels and places are mixed. `flatten(2)` keeps (N, K, h·w); `movedim` or `permute` "
            "put the channels last."),
        all_samples_weights=(lambda A, w: class_map(A, w.sum(0).expand_as(w)), OF_ALL_SAMPLES),
        mean_of_all_samples_weights=(lambda A, w: class_map(A, w.mean(0).expand_as(w)),
            OF_ALL_SAMPLES),
    ),
    hints=(
        "At each cell, each channel says how much it found, and the class has one weight for each "
        "channel. What is their sum?",
        "(N, K) must meet (N, K, h, w): give `w` two dimensions of size 1, and sum over "
        "dimension 1.",
        "`(w[:, :, None, None] * A).sum(dim=1)`, or `torch.einsum(\"nk,nkhw->nhw\", w, A)`.",
    ),
)  # fmt: skip


def logit_from(M: Tensor, b: Tensor) -> Tensor:
    """Mean over the cells plus the bias, one number a sample."""
    return M.mean((1, 2)) + b


LOGIT_FROM = Exercise(
    reference=logit_from,
    cases=(
        Case("a batch of two", lambda: dict(M=random(2, 4, 5, seed=11), b=random(2, seed=12))),
        Case("as many samples as rows",
             lambda: dict(M=random(3, 3, 3, seed=13), b=random(3, seed=14))),
        Case("a batch of one", lambda: dict(M=random(1, 2, 4, seed=15), b=random(1, seed=16))),
    ),
    mistakes=catalogue(
        summed=(lambda M, b: M.sum((1, 2)) + b,
            "You added the cells up. The network *averages* each channel before its last layer, so "
            "the score is the mean over the cells, plus the bias."),
        without_bias=(lambda M, b: M.mean((1, 2)),
            "The bias is missing: it is the part of the score that no place has earned."),
        bias_subtracted=(lambda M, b: M.mean((1, 2)) - b, "The bias is added, not subtracted."),
        bias_for_each_cell=(lambda M, b: M.mean((1, 2)) + b * M[0].numel(),
            "The bias was counted once a cell; the score has it once."),
        bias_divided=(lambda M, b: (M.sum((1, 2)) + b) / M[0].numel(),
            "The bias was divided by the number of cells too. Average the map, then add it."),
        positive_part=(lambda M, b: M.relu().mean((1, 2)) + b,
            "You averaged the positive part only. What speaks against the class lowers its score "
            "and belongs in the mean."),
        of_the_batch=(lambda M, b: M.mean() + b,
            "You averaged over the whole batch. Every sample has a mean of its own: over "
            "dimensions 1 and 2."),
        everything=(lambda M, b: (M.mean((1, 2)) + b).mean(),
            "One number for the whole batch is left; one a sample is wanted, (N,)."),
        table=(lambda M, b: M.mean((1, 2))[:, None] + b,
            "You added an (N, 1) to an (N,), which makes an (N, N) table. Without `keepdim` the "
            "mean is (N,)."),
        over_the_columns=(lambda M, b: M.mean(2) + b[:, None],
            "You averaged over the columns only. Both h and w go: `mean(dim=(1, 2))`."),
        probability=(lambda M, b: (M.mean((1, 2)) + b).sigmoid(),
            "You put a sigmoid on the score; the logit is wanted, as it is."),
        seven_by_seven=(lambda M, b: M.sum((1, 2)) / 49 + b,
            "You divide by 49, whatever the size of the map: that is right for 7 × 7 cells only. "
            "`M.mean(dim=(1, 2))` counts them itself."),
        **{f"square_{d}": (lambda M, b, d=d: M.sum((1, 2)) / M.shape[d] ** 2 + b,
            "You divide by the square of one side, which is right for square maps only. A map has "
            "h·w cells.") for d in (1, 2)},
        first_bias=(lambda M, b: M.mean((1, 2)) + b[0],
            "Every sample was given the first one's bias, `b[0]`; each has its own."),
        highest=(lambda M, b: M.amax((1, 2)) + b,
            "That is the highest cell of each map, not the mean over its cells."),
        median=(lambda M, b: M.flatten(1).median(1).values + b,
            "You took the median over the cells; the formula has their mean."),
    ),
    hints=(
        "What does the network do between the layer's maps and its linear layer?",
        "Average over the rows and columns of each sample, dimensions 1 and 2; then the bias, "
        "once.",
        "`M.mean(dim=(1, 2)) + b`.",
    ),
)  # fmt: skip


# --------------------------------------------------- 2. Grad-CAM from activation and gradient


def grad_cam_from(A: Tensor, g: Tensor) -> Tensor:
    """relu(Σ_k mean(g_k) A_k)."""
    return weighed(A, g.mean((2, 3)))


def weighed(A: Tensor, w: Tensor) -> Tensor:
    """Weighted sum of the channels and a relu: what the methods of this family share."""
    return class_map(A, w).relu()


GRAD_CAM_FROM = Exercise(
    reference=grad_cam_from,
    cases=(
        Case("a batch of two",
             lambda: dict(A=maps(2, 3, 4, 5, seed=21), g=random(2, 3, 4, 5, seed=22))),
        Case("activations of both signs",
             lambda: dict(A=random(3, 5, 3, 2, seed=23), g=random(3, 5, 3, 2, seed=24))),
        Case("two samples of very different strength",
             lambda: dict(A=maps(2, 4, 4, 4, seed=25) * torch.tensor([1.0, 20.0])[:, None, None,
                                                                                  None],
                          g=random(2, 4, 4, 4, seed=26))),
        Case(f"a batch of one{WHERE}",
             lambda: on_device(dict(A=maps(1, 6, 3, 4, seed=29), g=random(1, 6, 3, 4, seed=28)))),
    ),
    mistakes=catalogue(
        without_relu=(lambda A, g: class_map(A, g.mean((2, 3))),
            "The relu is missing: your map has negative values. Grad-CAM shows what speaks *for* "
            "the class and cuts the rest off, at the very end."),
        over_the_batch=(lambda A, g: weighed(A, g.mean((0, 2, 3))[None].expand(len(A), -1)),
            "You averaged the gradients over the batch too (dimension 0), so a picture is weighed "
            "by its neighbours' classes. Each sample has its own weights: `g.mean(dim=(2, 3))`."),
        summed_gradient=(lambda A, g: weighed(A, g.sum((2, 3))),
            "You added the gradients up where the formula averages them, so the map is h·w times "
            "too large and changes with the size of the layer."),
        mean_of_channels=(lambda A, g: (spread_out(g.mean((2, 3))) * A).mean(1).relu(),
            "The weights are right; then you averaged the channels where the formula adds them "
            "up, so the map is K times too small."),
        **{f"relu_on_the_gradient{k}": (lambda A, g, last=last: last(A, g.relu().mean((2, 3))),
            "You took the relu of the gradient, before averaging. A channel whose gradient is "
            "mostly negative then gets a positive weight. The relu comes last, on the map.")
           for k, last in (("", weighed), ("_only", class_map))},
        **{f"relu_on_the_weights{k}": (lambda A, g, last=last: last(A, g.mean((2, 3)).relu()),
            "You took the relu of the weights, which leaves out the channels that speak against "
            "the class. They may weaken the map; the relu comes last, on the sum.")
           for k, last in (("", weighed), ("_only", class_map))},
        largest_gradient=(lambda A, g: weighed(A, g.amax((2, 3))),
            "You took the largest gradient of each channel; its weight is the mean over the "
            "places."),
        relu_on_each_channel=(lambda A, g: (spread_out(g.mean((2, 3))) * A).relu().sum(1),
            "You took the relu of each channel and then added up, so what speaks against is gone "
            "before it could weigh. Add up first, relu last."),
        absolute_gradient=(lambda A, g: weighed(A, g.abs().mean((2, 3))),
            "You averaged |g|. The sign says whether a channel speaks for or against the class."),
        absolute_map=(lambda A, g: class_map(A, g.mean((2, 3))).abs(),
            "You took the absolute value where the formula has a relu: what speaks *against* the "
            "class now lights up as if it spoke for it."),
        without_gradient=(lambda A, g: A.sum(1).relu(),
            "The gradient is not in it: you added up the activations, so the map is the same "
            "whatever class is asked for."),
        cell_by_cell=(lambda A, g: (g * A).sum(1).relu(),
            "You multiplied gradient and activation cell by cell. That is another method "
            "(HiResCAM); Grad-CAM averages the gradient of each channel over the places first."),
        positive_cell_by_cell=(lambda A, g: (g.relu() * A).sum(1).relu(),
            "You multiplied cell by cell with the positive gradient. That is LayerCAM; Grad-CAM "
            "averages the gradient of each channel over the places first."),
        wrong_axis=(lambda A, g: (g.mean(1, keepdim=True) * A).sum(1).relu(),
            "You averaged the gradient over the channels (dimension 1) and kept the places. It is "
            "the other way round: average over the places, dimensions 2 and 3, one weight a "
            "channel."),
        exchanged=(lambda A, g: weighed(g, A.mean((2, 3))),
            "A and g are exchanged: you weighed the gradients by the mean activations."),
        first_weights=(lambda A, g: weighed(A, g[:1].mean((2, 3)).expand(len(A), -1)),
            "Every sample was given the first one's weights (`g[0]`); each has its own."),
        first_sample=(lambda A, g: grad_cam_from(A, g)[0],
            "Only the first sample came back. Keep the batch: (N, h, w)."),
        own_minimum=(lambda A, g: stretched(grad_cam_from(A, g)),
            "You scaled the map by its own maximum (or minimum and maximum) to 0 … 1. Then no two "
            "maps can be compared, and a map that says hardly anything looks as strong as any. "
            "Scaling belongs to the picture."),
        own_minimum_before_relu=(lambda A, g: stretched(class_map(A, g.mean((2, 3)))),
            "You stretched the signed map by its own minimum in place of cutting it at zero: what "
            "speaks *against* the class now has a positive value. The formula has a relu."),
        unit_gradient=(lambda A, g: weighed(
                A, (g / g.square().mean((1, 2, 3), keepdim=True).sqrt()).mean((2, 3))),
            "You divided the gradient by its size (its root mean square) first, as some old code "
            "does. The map then has no unit; leave the gradient as it is."),
    ),
    hints=(
        "Three steps: a weight for each channel, the weighted sum of the channels, and a relu. "
        "Which dimensions does each step remove?",
        "The weights are (N, K), so the mean runs over dimensions 2 and 3 only; the sum over the "
        "channels removes dimension 1; the relu is last.",
        "`w = g.mean(dim=(2, 3), keepdim=True)`, then `(w * A).sum(dim=1).relu()`.",
    ),
)  # fmt: skip


# ---------------------------------------------------------------------------- 3. recording


def activation_and_gradient(
    model: nn.Module, x: Tensor, layer: nn.Module, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Output of a layer and the gradient of each sample's own score there."""
    A, rest = split(model, x, layer)
    return A, gradient_at(rest, A, target)


def split(model: nn.Module, x: Tensor, layer: nn.Module) -> tuple[Tensor, Any]:
    """Cut the network at a layer: its output, and the scores as a function of that output."""

    def hooked(hook: Callable) -> Tensor:
        handle = layer.register_forward_hook(hook)
        try:
            return model(x.detach().clone())
        finally:
            handle.remove()

    kept = []
    with torch.no_grad():
        hooked(lambda _m, _i, output: kept.append(output.clone()))
    # A copy, because the next layer may work in place.
    return kept[0], lambda z: hooked(lambda *_: z.clone())


def at_layer(wrong: Callable) -> Callable:
    """Recording with a wrong gradient, which is given as a wrong saliency."""

    def function(model, x, layer, target):
        A, rest = split(model, x, layer)
        return A, wrong(rest, A, target)

    return function


def recorded(
    keep: Callable = lambda inputs, output: output,
    copies: bool = True,
    input_asks: bool = True,
    finish: Callable = lambda A, g: (A.detach(), g),
    remove: bool = True,
) -> Callable:
    """Recording with a hook, as students write it, with one thing different."""

    def function(model, x, layer, target):
        kept = {}

        def hook(_module, inputs, output):
            kept["A"] = keep(inputs, output)
            return output.clone() if copies else None

        handle = layer.register_forward_hook(hook)
        z = x.detach().clone()
        score = own_scores(model(z.requires_grad_() if input_asks else z), target).sum()
        if remove:
            handle.remove()
        return finish(kept["A"], torch.autograd.grad(score, kept["A"])[0])

    return function


def of_the_input(model, x, layer, target):
    return split(model, x, layer)[0], gradient_at(model, x, target)


def in_training_mode(model, x, layer, target):
    flags = [(m, m.training) for m in model.modules()]
    model.train()
    statistics = {k: v.clone() for k, v in model.state_dict().items()}
    result = activation_and_gradient(model, x, layer, target)
    model.load_state_dict(statistics)
    for module, flag in flags:
        module.training = flag
    return result


def last_convolution(model, x, layer, target):
    found = [m for m in model.modules() if isinstance(m, nn.Conv2d)][-1]
    return activation_and_gradient(model, x, found, target)


def callers_x(model, x, layer, target):
    x.requires_grad_()
    return activation_and_gradient(model, x, layer, target)


def sample_by_sample(finish: Callable) -> Callable:
    """Recording of the right pair, with something done to it."""

    def function(model, x, layer, target):
        return finish(*activation_and_gradient(model, x, layer, target))

    return function


def cnn() -> nn.Module:
    """Two convolutions, the second with an in-place ReLU behind it, and a head with a bend."""
    model = seeded(
        5, nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 2),
        nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 6), nn.Tanh(),
        nn.Linear(6, 4),
    )  # fmt: skip
    model[1].running_mean.fill_(0.2)  # type: ignore[index]
    return model


def in_training() -> nn.Module:
    """Network in training mode, where batch norm would change by being asked, so it has none."""
    model = with_gradients(cnn())
    model[1] = nn.Identity()  # type: ignore[operator]
    model[0].register_forward_hook(lambda *_: None)  # type: ignore[index]
    return model.train()


def as_a_function(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments with a plain function for a model."""
    model = arguments["model"]
    return arguments | dict(model=lambda inputs: 2 * model(inputs))


def after_a_failure(function: Callable, arguments: dict[str, Any]) -> object:
    """Call once with a model that fails behind the layer, then as usual."""
    model, layer = arguments["model"], arguments["layer"]

    def failing(inputs: Tensor) -> Tensor:
        raise ValueError(f"not for {len(model(inputs))} pictures")

    with suppress(Exception):
        function(failing, arguments["x"], layer, arguments["target"])
    arguments["left"] = len(layer._forward_hooks)
    layer._forward_hooks.clear()
    return function(model, arguments["x"], layer, arguments["target"])


def left_by_failure(_result: object, arguments: dict[str, Any]) -> str:
    """Complain about a hook that is still there after the failure."""
    return ("your hook stays on the layer when the model fails: run the model in a `try`, and call "
            "`handle.remove()` in its `finally`") * (arguments["left"] > 0)  # fmt: skip


def at(k: int, model: nn.Module, **arguments: Any) -> dict[str, Any]:
    """Arguments, with the layer of this number."""
    return dict(model=model, layer=model[k]) | arguments  # type: ignore[index]


def pair(result: object, _arguments: dict) -> object:
    """Two results under their names."""
    two = isinstance(result, tuple | list) and len(result) == 2
    return dict(zip("Ag", result, strict=True)) if two else result  # type: ignore[call-overload]


RECORD_CASES = (
    Case("a layer in the middle and a batch of two",
         lambda: at(2, cnn(), x=random(2, 2, 7, 6, seed=31), target=classes(3, 1)), observe=pair),
    Case("a layer that an in-place ReLU follows",
         lambda: at(3, cnn(), x=random(3, 2, 7, 6, seed=32), target=classes(0, 2, 1)),
         observe=pair, alone="The layer behind it works in place and wrote into the tensor that "
         "you kept. Hand it a copy: end the hook with `return output.clone()`."),
    Case("a network with frozen weights",
         lambda: at(2, cnn().requires_grad_(False), x=random(2, 2, 7, 6, seed=33),
                    target=classes(2, 0)), observe=pair),
    Case("a network in the middle of its training",
         lambda: at(0, in_training(), x=random(2, 2, 7, 6, seed=34), target=classes(1, 3)),
         observe=pair),
    Case("a model that fails before it answers",
         lambda: at(2, cnn(), x=random(2, 2, 7, 6, seed=36), target=classes(1, 0)),
         play=after_a_failure, observe=pair, fault=left_by_failure),
    Case("a model that is a plain function",
         lambda: as_a_function(at(2, cnn(), x=random(2, 2, 7, 6, seed=37), target=classes(0, 3))),
         observe=pair),
    Case(f"a batch of one{WHERE}",
         lambda: on_device(at(2, cnn(), x=random(1, 2, 7, 6, seed=35), target=classes(3))),
         observe=pair),
)  # fmt: skip

ACTIVATION_AND_GRADIENT = Exercise(
    reference=activation_and_gradient,
    cases=RECORD_CASES,
    mistakes=catalogue(
        hook_left=(recorded(remove=False),
            "The values are right, but your hook is still on the model: it will run in every later "
            "pass of everybody, and keep its tensors alive. Keep the handle, and call "
            "`handle.remove()` in a `finally`."),
        not_detached=(recorded(finish=lambda A, g: (A, g)),
            "The values are right, but A is still attached to the graph, which keeps every layer's "
            "activations in memory. Return `A.detach()`."),
        backward=(at_layer(LEFT[0].function),
            "The values are right, but `.backward()` also filled the `.grad` of the weights, and "
            "what it left there is added to the next one's. "
            "`torch.autograd.grad(score, A)` computes what you ask and leaves nothing."),
        callers_x=(callers_x,
            "The values are right, but the caller's x now has `requires_grad=True`. Hand the model "
            "a copy, `x.detach().clone().requires_grad_()`."),
        without_a_copy=(recorded(copies=False),
            "A layer behind yours works in place and wrote into the tensor that you kept, so you "
            "returned the activation after its ReLU, and the gradient there. Hand the next layer a "
            "copy: end the hook with `return output.clone()`."),
        without_a_copy_or_a_graph=(recorded(copies=False, input_asks=False),
            "Two things. A layer that works in place wrote into the tensor that you kept: end the "
            "hook with `return output.clone()`. And where the weights are frozen nothing asks for "
            "a gradient: hand the model `x.detach().clone().requires_grad_()`."),
        the_input_of_the_layer=(recorded(keep=lambda inputs, output: inputs[0].clone()
                                         if not inputs[0].requires_grad else inputs[0]),
            "You kept what goes *into* the layer. A hook is called with (module, inputs, output): "
            "the activation A is the third."),
        of_the_input=(of_the_input,
            "The activation is right; the gradient is that of the input x. Differentiate by what "
            "the hook kept: `torch.autograd.grad(score, A)`."),
        exchanged=(sample_by_sample(lambda A, g: (g, A)),
            "The two are exchanged: return A first, then g."),
        first_sample=(sample_by_sample(lambda A, g: (A[0], g[0])),
            "Only the first sample came back. Keep the batch in both: (N, K, h, w)."),
        averaged_gradient=(sample_by_sample(lambda A, g: (A, g.mean((2, 3)))),
            "You averaged the gradient over the places already. That is Grad-CAM's step; another "
            "method needs it cell by cell, so return it whole."),
        over_the_batch=(sample_by_sample(lambda A, g: (A, g.mean(0, keepdim=True).expand_as(g))),
            "You averaged the gradients over the batch: a sample's gradient then depends on the "
            "others' classes."),
        relu_of_the_gradient=(sample_by_sample(lambda A, g: (A, g.relu())),
            "You cut the negative gradients off. Return them; a method that wants a relu takes "
            "one itself."),
        relu_of_both=(sample_by_sample(lambda A, g: (A.relu(), g.relu())),
            "You took a relu of the activation and of the gradient. Return both as they are; a "
            "method that wants a relu takes one itself."),
        in_training_mode=(in_training_mode,
            "The model ran in training mode, so batch norm used this batch's statistics: a "
            "sample's values depend on the others. Leave it in the mode in which it came."),
        last_convolution=(last_convolution,
            "You recorded the last convolution, whatever was asked for. The layer is an argument: "
            "hook `layer`."),
        **{m.name: (at_layer(m.function), m.sentence) for m in WRONG_SCORE},
    ),
    hints=(
        "A forward hook sees what a layer puts out while the model runs. What do you have to keep, "
        "what do you have to take away again, and what do you differentiate by?",
        "`handle = layer.register_forward_hook(keep)`, with `keep(module, inputs, output)` storing "
        "the output; run the model in a `try`, remove the handle in its `finally`. Then "
        "`torch.autograd.grad` of each sample's own logit, summed, by what was stored.",
        "In `keep`: `kept[\"A\"] = output` and `return output.clone()`. Then `logits = model("
        "x.detach().clone().requires_grad_())`, `score = logits.gather(1, target[:, None]).sum()`, "
        "`(g,) = torch.autograd.grad(score, kept[\"A\"])`, and `kept[\"A\"].detach(), g`.",
    ),
)  # fmt: skip


# ---------------------------------------------------------------------------- 4. Grad-CAM++


def plus_plus_weights(A: Tensor, g: Tensor) -> Tensor:
    """Σ relu(g) / (2 + g ΣA), one number a channel."""
    # With relu(g) below the line too, no zero of it can meet the zero above it.
    return (g.relu() / (2 + g.relu() * A.sum((2, 3), keepdim=True))).sum((2, 3))


def of_alpha(alpha: Callable[[Tensor, Tensor], Tensor]) -> Callable:
    """Weights from another α: Σ α relu(g)."""
    return lambda A, g: (alpha(A, g) * g.relu()).sum((2, 3))


def below(line: Callable[[Tensor, Tensor], Tensor]) -> Callable:
    """Weights with something else below the line than 2 + g ΣA."""
    return lambda A, g: (g.relu() / line(A, g)).sum((2, 3))


def total(A: Tensor) -> Tensor:
    """ΣA of each channel, (N, K, 1, 1)."""
    return A.sum((2, 3), keepdim=True)


def two_times(epsilon: float) -> Callable:
    """Weights with 2 · g ΣA below the line."""
    return below(lambda A, g: 2 * g.relu() * total(A) + epsilon)


def alpha(A: Tensor, g: Tensor) -> Tensor:
    """α of the paper, zero where g is."""
    return torch.where(g > 0, 1 / (2 + g.relu() * total(A)), 0)


def with_epsilon(size: float, inside: bool = False) -> Callable:
    """Weights from the long formula with a small number below the line."""

    def below(A: Tensor, g: Tensor) -> Tensor:
        return (A * g**3).sum((2, 3), keepdim=True) if inside else total(A) * g**3

    return of_alpha(lambda A, g: g**2 / (2 * g**2 + below(A, g) + size))


EPSILON = (
    "You added a small number below the line (an epsilon). Where gradients are small, as for a "
    "class that is all but certain, g² is smaller still: the epsilon is then all there is, and "
    "the map means nothing. Divided through by g² the formula needs none: relu(g) / (2 + g·ΣA)."
)


SUM_INSIDE = (
    "You summed the products A·g (or A·g³) over the places. In the formula the sum runs over A "
    "alone, and each place's own g multiplies it from outside: g·ΣA, not Σ(A·g). Much code has "
    "this mistake."
)


def large(result: object, _arguments: dict) -> object:
    """Bring a small result to the size at which mistakes are seen."""
    return result * 1e3 if isinstance(result, Tensor) and result.is_floating_point() else result


PLUS_PLUS_WEIGHTS = Exercise(
    reference=plus_plus_weights,
    cases=(
        Case("a batch of two",
             lambda: dict(A=maps(2, 3, 4, 5, seed=41), g=random(2, 3, 4, 5, seed=42))),
        Case("a channel that is silent",
             lambda: dict(A=maps(2, 4, 3, 3, seed=43) * torch.tensor([1.0, 0, 2, 1])[:, None, None],
                          g=random(2, 4, 3, 3, seed=44))),
        Case("gradients as small as those of a class that is all but certain",
             lambda: dict(A=300 * maps(2, 3, 2, 4, seed=45), g=1e-3 * random(2, 3, 2, 4, seed=46)),
             observe=large),
        Case(f"a batch of one{WHERE}",
             lambda: on_device(dict(A=maps(1, 5, 3, 2, seed=47), g=random(1, 5, 3, 2, seed=48)))),
    ),
    mistakes=catalogue(
        sum_inside=(with_epsilon(1e-30, inside=True), SUM_INSIDE),
        simplified_sum_inside=(below(lambda A, g: 2 + (A * g).sum((2, 3), keepdim=True)),
            SUM_INSIDE),
        **{f"epsilon_{k}": (with_epsilon(10.0**-k), EPSILON) for k in (6, 7, 8, 9)},
        **{f"sum_inside_and_epsilon_{k}": (with_epsilon(10.0**-k, inside=True), SUM_INSIDE +
                                           " And no epsilon is needed: divide through by g².")
           for k in (6, 7, 8, 9)},
        own_activation=(below(lambda A, g: 2 + g.relu() * A),
            "You used each cell's own A below the line; the formula has their sum over the "
            "channel, ΣA."),
        mean_activation=(below(lambda A, g: 2 + g.relu() * A.mean((2, 3), keepdim=True)),
            "You used the mean of A below the line; the formula has the sum."),
        over_the_channels=(below(lambda A, g: 2 + g.relu() * A.sum(1, keepdim=True)),
            "You summed A over the channels. ΣA runs over the places of one channel, dimensions "
            "2 and 3."),
        over_everything=(below(lambda A, g: 2 + g.relu() * A.sum((1, 2, 3), keepdim=True)),
            "You summed A over the channels too. ΣA runs over the places of one channel, "
            "dimensions 2 and 3."),
        positive_sum_inside=(below(lambda A, g: 2 + (A * g.relu()).sum((2, 3), keepdim=True)),
            SUM_INSIDE),
        divided_last=(lambda A, g: plus_plus_weights(
                total(A), g.relu().sum((2, 3), keepdim=True)),
            "You added the gradients up before dividing. Each place is divided by a number of its "
            "own, 2 + g·ΣA with the g of that place; add up after that."),
        **{f"relu_last{k}": (lambda A, g, size=size: (g / (2 + size(g) * total(A))).sum(
                (2, 3)).relu(),
            "The relu comes too late, after the sum. It belongs to each place, so that those with "
            "a negative gradient add nothing.")
           for k, size in (("", torch.clone), ("_of_size", torch.abs), ("_of_relu", torch.relu))},
        **{f"two_times{k}": (two_times(size),
            "Below the line stands 2 *plus* g·ΣA, not 2 times it.")
           for k, size in (("", 0.0), ("_and_epsilon", 1e-9), ("_and_epsilon_8", 1e-8))},
        normalised=(lambda A, g: plus_plus_weights(A, g) / plus_plus_weights(A, g).sum(
                1, keepdim=True).clamp(min=1e-12),
            "You made the weights of a sample add up to 1. The formula leaves them as they are, in "
            "the unit of the gradient."),
        over_the_batch=(below(lambda A, g: 2 + g.relu() * A.sum((0, 2, 3), keepdim=True)),
            "You summed A over the batch too. Each sample has its own ΣA, over dimensions 2 and "
            "3."),
        without_relu=(lambda A, g: (g / (2 + g * total(A))).sum((2, 3)),
            "The relu above the line is missing: places with a negative gradient take part."),
        absolute=(lambda A, g: (g.abs() / (2 + g.abs() * total(A))).sum((2, 3)),
            "You took |g|: places with a negative gradient count as if theirs were positive. The "
            "formula has a relu."),
        without_alpha=(lambda A, g: g.relu().sum((2, 3)),
            "That is Σ relu(g): the denominator 2 + g·ΣA is missing."),
        alpha_only=(lambda A, g: alpha(A, g).sum((2, 3)),
            "That is the sum of the α alone; each is multiplied by relu(g)."),
        normalised_alpha=(of_alpha(lambda A, g: alpha(A, g) / alpha(A, g).sum(
                (2, 3), keepdim=True).clamp(min=1e-12)),
            "You made the α of each channel add up to 1, as some code does. Neither the formula "
            "nor its derivation has that step."),
        mean_for_sum=(lambda A, g: plus_plus_weights(A, g) / g[0, 0].numel(),
            "You averaged over the places; ++ adds up, because its α weigh already."),
        one_below=(below(lambda A, g: 1 + g.relu() * total(A)),
            "Below the line stands 2 + g·ΣA, not 1 + g·ΣA."),
        squared_gradient=(below(lambda A, g: 2 + g**2 * total(A)),
            "There is a g² below the line: when α is divided through by g², one g is left there."),
        without_gradient=(below(lambda A, g: 2 + total(A)),
            "The gradient is missing below the line, where 2 + g·ΣA stands. (In the long form: "
            "2g² + g³·ΣA, with the third power.)"),
        gradient_twice=(lambda A, g: (g.relu() ** 2 / (2 + g.relu() * total(A))).sum((2, 3)),
            "There is a g too many above the line: α has lost its g² by the division, so relu(g) "
            "stands there once."),
        grad_cam=(lambda A, g: g.mean((2, 3)),
            "Those are Grad-CAM's weights, the mean gradient. ++ counts the positive ones, each "
            "divided by 2 + g·ΣA."),
        not_summed=(lambda A, g: g.relu() / (2 + g.relu() * total(A)),
            "There is one value a cell left. Add them up over dimensions 2 and 3, one weight a "
            "channel."),
        already_a_map=(lambda A, g: weighed(A, plus_plus_weights(A, g)),
            "The weights are right, and you went on to the map. Return the weights, (N, K)."),
    ),
    hints=(
        "Inside out: ΣA is one number a channel. What stands below the line at each place? Then "
        "divide, then add up.",
        "Keep ΣA as (N, K, 1, 1) with `keepdim=True`, so that it meets g; the last sum is over "
        "dimensions 2 and 3, without `keepdim`.",
        "`total = A.sum(dim=(2, 3), keepdim=True)`, then "
        "`(g.relu() / (2 + g.relu() * total)).sum(dim=(2, 3))`. (Where g is negative the part is "
        "zero, whatever stands below.)",
    ),
)  # fmt: skip


# ----------------------------------------------------------------------------- 5. Score-CAM


def enlarged(A: Tensor, x: Tensor) -> Tensor:
    """Maps (K, h, w) at the picture's size."""
    return F.interpolate(A[None], x.shape[2:], mode="bilinear")[0]


def scored(
    masks: Callable[[Tensor, Tensor], Tensor] = lambda A, x: stretched(enlarged(A, x)),
    apply: Callable[[Tensor, Tensor], Tensor] = lambda x, H: x * H[:, None],
    score: Callable[[Tensor, int], Tensor] = lambda y, c: y[:, c],
    weights: Callable[..., Tensor] = lambda S: S.softmax(0),
    chunks: Callable[[Tensor, int], Any] = lambda H, n: H.split(n),
    count_all: bool = False,
    fill: bool = False,
) -> Callable:
    """Score-CAM's weights with one ingredient exchanged; all in their place, the right ones."""

    def function(model, x, A, target, batch_size=16):
        varies = (A.amax((1, 2)) > A.amin((1, 2))) | count_all
        H = masks(A[varies], x)
        with torch.no_grad():
            S = [score(model(apply(x, part)), target) for part in chunks(H, batch_size)]
        w = torch.zeros(len(A)).to(x)
        scores = torch.cat(S)
        found = weights(F.pad(scores, (0, fill * (len(H) - len(scores)))))
        w[varies.nonzero()[: len(found), 0]] = found.to(w)
        return w

    return function


reference_weights = scored()


def score_cam_weights(
    model: nn.Module, x: Tensor, A: Tensor, target: int, batch_size: int = 16
) -> Tensor:
    """Softmax over the channels of the score that each leaves as a mask."""
    return reference_weights(model, x, A, target, batch_size)


def each_chunk(model, x, A, target, batch_size=16):
    varies, w = A.amax((1, 2)) > A.amin((1, 2)), torch.zeros(len(A)).to(x)
    parts = A[varies].split(batch_size)
    w[varies] = torch.cat([score_cam_weights(model, x, a, target, batch_size) for a in parts])
    return w


def masked_net() -> Recorder:
    """Network that looks at where things are, and notes what it is handed."""
    return Recorder(seeded(
        6, nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 4),
    ))  # fmt: skip


def batches(_result: object, arguments: dict) -> str:
    """Complain about more masked pictures at once than were asked for."""
    most = max([len(handed) for handed in arguments["model"].handed], default=0)
    n = arguments["batch_size"]
    return f"the model was handed {most} pictures at once where `batch_size` is {n}" * (most > n)


CONSTANT = (
    "A channel that has the same value everywhere, zero or not, masks nothing: its max − min is "
    "zero in `A` (and not always in U, since enlarging rounds). Leave it out before the softmax, "
    "so that the others add up to 1, and give it the weight 0."
)


def zeroed_late(model, x, A, target, batch_size=16):
    counted = scored(lambda A, x: stretched(enlarged(A, x)).nan_to_num(), count_all=True)
    return counted(model, x, A, target, batch_size) * (A.amax((1, 2)) > A.amin((1, 2)))


def quieter(A: Tensor, factor: float) -> Tensor:
    """Maps (K, h, w), every second of which is made smaller."""
    A[1::2] *= factor
    return A


def evenly(A: Tensor, **channels: float) -> Tensor:
    """Maps (K, h, w), some of whose channels, c0 and so on, have one value everywhere."""
    for name, value in channels.items():
        A[int(name[1:])] = value
    return A


SCORE_CAM_WEIGHTS = Exercise(
    reference=score_cam_weights,
    cases=(
        Case("five channels, two at a time",
             lambda: dict(model=masked_net(), x=2 * random(1, 2, 12, 8, seed=51),
                          A=random(5, 3, 2, seed=52), target=2, batch_size=2), fault=batches),
        Case("activations behind a ReLU",
             lambda: dict(model=masked_net(), x=2 * random(1, 2, 12, 12, seed=53),
                          A=maps(7, 4, 4, seed=54), target=0, batch_size=3), fault=batches),
        Case("a channel that is zero everywhere",
             lambda: dict(model=masked_net(), x=2 * random(1, 2, 8, 8, seed=55),
                          A=evenly(maps(4, 4, 2, seed=56), c1=0), target=1, batch_size=16),
             alone=CONSTANT, fault=batches),
        Case("channels that have one value everywhere, and not zero",
             lambda: dict(model=masked_net(), x=2 * random(1, 2, 9, 6, seed=59),
                          A=evenly(maps(5, 3, 2, seed=60), c0=0.1, c3=0.7), target=2,
                          batch_size=2), alone=CONSTANT, fault=batches),
        Case("loud channels and very quiet ones",
             lambda: dict(model=masked_net(), x=2 * random(1, 2, 6, 8, seed=67),
                          A=quieter(random(4, 2, 3, seed=68), 1e-3), target=1, batch_size=4),
             alone="A quiet channel is not a constant one: once it is stretched to 0 … 1, it masks "
             "as a loud one does. Leave out a channel only if its maximum is its minimum.",
             fault=batches),
        Case(f"one at a time{WHERE}",
             lambda: on_device(dict(model=masked_net(), x=2 * random(1, 2, 9, 6, seed=57),
                                    A=random(3, 3, 2, seed=58), target=3, batch_size=1)),
             fault=batches),
    ),
    mistakes=catalogue(
        all_at_once=(scored(chunks=lambda H, n: H.split(len(H))),
            "The values are right, but all masked pictures went through the model at once. A real "
            "layer has a thousand channels: hand the model `batch_size` of them at a time."),
        stretched_first=(scored(lambda A, x: enlarged(stretched(A), x)),
            "You stretched each map to 0 … 1 and enlarged it after that. Enlarging rounds the "
            "peaks off, so the mask no longer reaches 0 and 1: enlarge first."),
        not_stretched=(scored(enlarged),
            "The masks are the activations as they are. Bring each between 0 and 1 with its own "
            "minimum and maximum, after enlarging."),
        stretched_together=(scored(lambda A, x: (enlarged(A, x) - enlarged(A, x).min()) /
                                   (enlarged(A, x).max() - enlarged(A, x).min())),
            "You used the minimum and maximum of all channels together, so a quiet channel gives a "
            "flat mask. Each channel has its own."),
        only_the_maximum=(scored(lambda A, x: enlarged(A, x) / enlarged(A, x).amax(
                (1, 2), keepdim=True)),
            "You divided by the maximum only. Subtract the minimum as well, above and below the "
            "line, so that the mask begins at 0."),
        nearest=(scored(lambda A, x: stretched(F.interpolate(A[None], x.shape[2:])[0])),
            "You enlarged with `mode=\"nearest\"`, the default of `F.interpolate`, so the masks "
            "have steps. The formula's enlarging is bilinear."),
        aligned_corners=(scored(lambda A, x: stretched(F.interpolate(
                A[None], x.shape[2:], mode="bilinear", align_corners=True)[0])),
            "You enlarged with `align_corners=True`, which pulls the outer cells to the picture's "
            "edge. A cell's place is its middle: leave that option out."),
        upside_down=(scored(lambda A, x: 1 - stretched(enlarged(A, x))),
            "You hid what the channel shows (1 − H). The question is what score is left if *only* "
            "that is seen."),
        added=(scored(apply=lambda x, H: x + H[:, None]),
            "You added the mask to the picture; it is multiplied with it, so that it hides."),
        no_mask=(scored(apply=lambda x, H: x.expand(len(H), -1, -1, -1)),
            "The model was handed the same picture for every channel, so all weights are equal. "
            "Multiply the picture by the mask."),
        probabilities=(scored(score=lambda y, c: y.softmax(1)[:, c]),
            "You explained the probability, and took the softmax over channels of that. Numbers "
            "between 0 and 1 give a softmax that is nearly even, so every channel counts alike. "
            "Use the logit."),
        softmax_over_classes=(scored(score=lambda y, c: y.softmax(1)[:, c], weights=lambda S: S),
            "The softmax runs over the classes, so the weights are probabilities and do not add up "
            "to 1. It runs over the *channels*: first collect one logit a channel, then "
            "`softmax(dim=0)`."),
        raw_scores=(scored(weights=lambda S: S),
            "Those are the scores. The softmax over the channels is missing."),
        divided_by_the_sum=(scored(weights=lambda S: S / S.sum()),
            "You divided the scores by their sum. Scores can be negative, and then so is a weight; "
            "the formula has a softmax."),
        minus_scores=(scored(weights=lambda S: (-S).softmax(0)),
            "The sign is the wrong way round: channels that leave a *low* score got the large "
            "weights. If you subtract, it is the masked score minus that of the blank picture."),
        best_class=(scored(score=lambda y, c: y.amax(1)),
            "You took the score of whatever class is best for each masked picture. The question "
            "stays the same for all of them: `target`."),
        each_chunk=(each_chunk,
            "You took a softmax within each batch of masks, so the weights depend on "
            "`batch_size`. Collect the scores of all channels, then take one softmax."),
        mean_of_the_batch=(scored(score=lambda y, c: y[:, c].mean().expand(len(y))),
            "You averaged the scores over a batch of masked pictures. Each picture is a channel "
            "and has its own score."),
        last_chunk_lost=(scored(chunks=lambda H, n: H[: len(H) // n * n].split(n)),
            "The last channels are missing where their number is no multiple of `batch_size`. "
            "`split` gives a last, smaller part as well."),
        constant_counted=(scored(lambda A, x: stretched(enlarged(A, x)).nan_to_num(),
                                 count_all=True),
            CONSTANT),
        constant_divides=(scored(count_all=True), CONSTANT),
        zeroed_late=(zeroed_late,
            "You set the weight of a constant channel to 0 only after the softmax, in which it "
            "still was: the others no longer add up to 1. Leave it out before."),
        last_chunk_unseen=(scored(chunks=lambda H, n: H[: len(H) // n * n].split(n), fill=True),
            "The last batch, smaller than `batch_size`, was never shown to the model (a `//` "
            "leaves it out). `H.split(batch_size)` has it."),
        divided_by_their_number=(scored(weights=lambda S: (S / len(S)).softmax(0)),
            "You divided the scores by the number of channels before the softmax, which makes the "
            "weights nearly even. The scores go into the softmax as they are."),
    ),
    hints=(
        "Per channel: enlarge, stretch to 0 … 1, multiply, run the model, note one logit. What do "
        "you do with all the logits in the end, and over which dimension?",
        "`U = F.interpolate(A[None], x.shape[2:], mode=\"bilinear\")[0]`; its minimum and maximum "
        "over dimensions 1 and 2; `H.split(batch_size)` gives batches, and `x * part[:, None]` the "
        "masked pictures. Leave out channels whose max is their min in `A`, before "
        "enlarging, which rounds.",
        "`S = torch.cat([model(x * part[:, None])[:, target] for part in H.split(batch_size)])` "
        "under `torch.no_grad()`, with H of the channels that vary, `varies = A.amax(dim=(1, 2)) > "
        "A.amin(dim=(1, 2))`; then `w = torch.zeros(len(A)).to(x)` and `w[varies] = "
        "S.softmax(dim=0)`.",
    ),
)  # fmt: skip


# ----------------------------------------------------------------- 6. another class, two classes


def nth_best(logits: Tensor, n: int) -> Tensor:
    """Class in place n of each sample, the best being 1."""
    return logits.argsort(dim=1, descending=True)[:, n - 1]


def whole(result: object, _arguments: dict) -> object:
    """Whole numbers of any size as those of 64 bits."""
    exact = isinstance(result, Tensor) and not result.is_floating_point()
    return result.long() if exact else result  # type: ignore[attr-defined]


def ordered(logits: Tensor, descending: bool = True, dim: int = 1) -> Tensor:
    """Classes in order of their score."""
    return logits.argsort(dim=dim, descending=descending)


def struck_out(logits, n):
    logits = logits.clone()
    for _ in range(n - 1):
        logits.scatter_(1, logits.argmax(1, keepdim=True), 0.0)
    return logits.argmax(1)


NTH_BEST = Exercise(
    reference=nth_best,
    cases=(
        Case("the second best of a batch of three",
             lambda: dict(logits=random(3, 6, seed=61), n=2), observe=whole),
        Case("the best", lambda: dict(logits=random(4, 5, seed=62), n=1), observe=whole),
        Case("the fourth best", lambda: dict(logits=random(5, 7, seed=63), n=4), observe=whole),
        Case(f"a batch of one, the last place{WHERE}",
             lambda: on_device(dict(logits=random(1, 5, seed=66), n=5)), observe=whole),
    ),
    mistakes=catalogue(
        one_too_far=(lambda logits, n: ordered(logits)[:, n],
            "You are one place too far down: that is place n + 1. The best class is place 1 and "
            "has index 0."),
        one_too_near=(lambda logits, n: ordered(logits)[:, max(n - 2, 0)],
            "You are one place too far up: subtract 1 from n once only."),
        from_the_bottom=(lambda logits, n: ordered(logits, False)[:, n - 1],
            "You counted from the worst class up: `argsort` begins with the smallest unless told "
            "`descending=True`."),
        **{f"over_the_batch{k}": (lambda logits, n, at=at: at(ordered(logits, dim=0), n - 1),
            "You ranked the samples within each class (dimension 0). Rank the classes within each "
            "sample: `dim=1`.")
           for k, at in (("", lambda t, i: t[i]), ("_then_columns", lambda t, i: t[:, i]))},
        struck_out_with_zero=(struck_out,
            "You struck out the better ones with 0, which is no small logit: where the others are "
            "negative, what was struck out is the largest again. Use −∞, on a copy."),
        its_score=(lambda logits, n: logits.sort(1, descending=True).values[:, n - 1],
            "Those are the scores; the class that has the score is wanted: `argsort`, or "
            "`topk(…).indices`."),
        all_of_them=(lambda logits, n: ordered(logits)[:, :n],
            "Those are the n best; only the last of them is wanted, one class a sample."),
        first_sample=(lambda logits, n: ordered(logits)[0, n - 1],
            "Only the first sample's class came back; one a sample is wanted, (N,)."),
        always_the_best=(lambda logits, n: logits.argmax(1),
            "That is the best class, whatever n is."),
        rank_of_class=(lambda logits, n: ordered(ordered(logits), False)[:, n - 1],
            "That is the *place of class* n − 1, which one gets from sorting twice. The *class at "
            "place* n is wanted: one `argsort`."),
        by_size=(lambda logits, n: ordered(logits.abs())[:, n - 1],
            "You sorted by the absolute value: a strongly negative logit is not a good guess."),
        **{f"of_everything{k}": (
            lambda logits, n, of=of: ordered(logits.flatten(), dim=0)[n - 1] % of(logits),
            "You sorted the whole batch in one list. Each sample has its own order: `dim=1`.")
           for k, of in (("", torch.numel), ("_its_column", lambda t: t.shape[1]))},
    ),
    hints=(
        "Sort each row, the largest first. Do you want the sorted values, or where they came from?",
        "`argsort(dim=1, descending=True)` gives the classes in order; the first of them, with "
        "index 0, is place 1.",
        "`logits.argsort(dim=1, descending=True)[:, n - 1]`.",
    ),
)  # fmt: skip


def rather_than(A: Tensor, g: Tensor, g_other: Tensor) -> Tensor:
    """Grad-CAM of the difference of two scores."""
    return grad_cam_from(A, g - g_other)


def to_one(maps: Tensor) -> Tensor:
    """Each map divided by its maximum."""
    return maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)


RATHER_THAN = Exercise(
    reference=rather_than,
    cases=(
        Case("a batch of two",
             lambda: dict(A=maps(2, 3, 4, 5, seed=71), g=random(2, 3, 4, 5, seed=72),
                          g_other=random(2, 3, 4, 5, seed=73))),
        Case("activations of both signs",
             lambda: dict(A=random(3, 4, 3, 3, seed=74), g=random(3, 4, 3, 3, seed=75),
                          g_other=random(3, 4, 3, 3, seed=76))),
        Case("two classes that are nearly the same",
             lambda: dict(A=maps(2, 4, 3, 2, seed=77), g=1 + random(2, 4, 3, 2, seed=78),
                          g_other=1 + random(2, 4, 3, 2, seed=78)
                          + 0.5 * random(2, 4, 3, 2, seed=79))),
        Case(f"a batch of one{WHERE}",
             lambda: on_device(dict(A=maps(1, 5, 2, 4, seed=80), g=random(1, 5, 2, 4, seed=81),
                                    g_other=random(1, 5, 2, 4, seed=82)))),
    ),
    mistakes=catalogue(
        difference_of_maps=(lambda A, g, o: grad_cam_from(A, g) - grad_cam_from(A, o),
            "You subtracted two finished maps, each of which has lost what speaks against its "
            "class. Subtract the scores, that is, the gradients; then weigh, add up and take one "
            "relu."),
        positive_difference_of_maps=(
            lambda A, g, o: (grad_cam_from(A, g) - grad_cam_from(A, o)).relu(),
            "You subtracted two finished maps and took a relu. Each map had lost what speaks "
            "against its class by then: where something speaks against the *other* one, the "
            "difference should be larger. Subtract the gradients first."),
        difference_of_weights=(lambda A, g, o: weighed(
                A, g.mean((2, 3)).relu() - o.mean((2, 3)).relu()),
            "You took a relu of both weights before subtracting. The only relu comes last."),
        without_relu=(lambda A, g, o: class_map(A, (g - o).mean((2, 3))),
            "The relu at the end is missing: negative values speak for the other class."),
        turned_round=(lambda A, g, o: grad_cam_from(A, o - g),
            "The classes are exchanged: this shows what speaks for the *other* one."),
        added=(lambda A, g, o: grad_cam_from(A, g + o),
            "You added the gradients; the difference S_a − S_b has the gradient g_a − g_b."),
        other_ignored=(lambda A, g, o: grad_cam_from(A, g),
            "That is Grad-CAM of the first class alone; `g_other` has no part in it."),
        only_the_other=(lambda A, g, o: grad_cam_from(A, o),
            "That is Grad-CAM of the *other* class alone; `g` has no part in it."),
        absolute=(lambda A, g, o: class_map(A, (g - o).mean((2, 3))).abs(),
            "You took the absolute value where the formula has a relu: the map shows both what "
            "speaks for the one and for the other, and does not say which."),
        ratio=(lambda A, g, o: weighed(A, g.mean((2, 3)) / o.mean((2, 3))),
            "You divided; the target is a difference of scores."),
        **{f"scaled_maps_{i}": (lambda A, g, o, scale=scale, cut=cut: cut(
                scale(grad_cam_from(A, g)) - scale(grad_cam_from(A, o))),
            "You scaled two finished maps and subtracted them. Then the weaker class counts as "
            "much as the stronger one. Subtract the gradients, and scale nothing.")
           for i, (scale, cut) in enumerate(
               (s, c) for s in (stretched, to_one) for c in (torch.relu, torch.clone))},
        where_the_other_is_empty=(lambda A, g, o: grad_cam_from(A, g) * (grad_cam_from(A, o) == 0),
            "You kept the one map where the other is empty. What matters is which of the two "
            "scores a cell raises more: subtract the gradients."),
        absolute_difference=(lambda A, g, o: grad_cam_from(A, (g - o).abs()),
            "You took the absolute value of the gradients' difference, so what speaks for the "
            "other class counts as if it spoke for this one."),
        positive_gradients=(lambda A, g, o: grad_cam_from(A, g.relu() - o.relu()),
            "Each gradient lost its negative part before the difference was formed. There is one "
            "relu, and it comes at the end."),
        **{f"as_grad_cam_{m.name}": (lambda A, g, o, wrong=m.function: wrong(A, g - o), m.sentence)
           for m in GRAD_CAM_FROM.mistakes
           if m.name not in ("without_relu", "absolute_gradient", "absolute_map")},
    ),
    hints=(
        "What is the gradient of a difference? It can be formed before anything is cut off.",
        "S_a − S_b has the gradient g − g_other at the layer. The rest is Grad-CAM, which you have "
        "written.",
        "`return grad_cam_from(A, g - g_other)`.",
    ),
)  # fmt: skip


# -------------------------------------------------------------------------- 7. several objects


def pointing_accuracy(maps: Tensor, cells: Tensor) -> float:
    """Share of the maps whose highest point lies inside; ties count in part."""
    top = maps == maps.amax((1, 2), keepdim=True)
    return ((top & cells).sum((1, 2)) / top.sum((1, 2))).mean().item()


def by_argmax(place: Callable[[Tensor], Tensor]) -> Callable:
    """Accuracy from one place of each map."""
    return lambda maps, cells: cells.flatten(1).gather(1, place(maps)[:, None]).double().mean()


def over_top(inside: Callable[[Tensor, Tensor], Tensor]) -> Callable:
    """Accuracy from the highest points in another way."""
    return lambda maps, cells: inside(maps == maps.amax((1, 2), keepdim=True), cells)


def boxes(n: int, *shape: int, seed: int) -> Tensor:
    """Masks (n, H, W), each another part of the picture."""
    return random(n, *shape, seed=seed) > 0.3


def tied() -> Tensor:
    """Maps of zeros, and maps whose highest value stands in several places."""
    return torch.cat([torch.zeros(2, 4, 4), random(5, 4, 4, seed=106).round()])


def wide() -> Tensor:
    """Maps of 3 rows and 7 columns, each with a peak in another column of the first row."""
    return random(7, 3, 7, seed=92) + F.pad(5 * torch.eye(7)[:, None], (0, 0, 0, 2))


def faint() -> Tensor:
    """Maps of very small numbers, with a place that is nearly as high as the highest."""
    rows = 1e-4 * random(6, 16, seed=90)
    best = rows.max(1, keepdim=True)
    return rows.scatter(1, (best.indices + 5) % 16, 0.995 * best.values).reshape(6, 4, 4)


def split_by_rows(maps, cells):
    top = maps == maps.amax((1, 2), keepdim=True)
    n, row, column = top.cpu().nonzero(as_tuple=True)
    flat, rows = row * maps.shape[2] + column, maps.shape[1]
    return (cells.cpu()[n, flat // rows, flat % rows] / top.cpu().sum((1, 2))[n]).sum() / len(maps)


POINTING_ACCURACY = Exercise(
    reference=pointing_accuracy,
    cases=(
        Case("seven wide maps", lambda: dict(maps=wide(), cells=boxes(7, 3, 7, seed=105))),
        Case("square maps, most of whose values are negative",
             lambda: dict(maps=random(9, 4, 4, seed=94) - 2, cells=boxes(9, 4, 4, seed=95))),
        Case("maps of zeros, and several highest points", lambda: dict(
                maps=tied(), cells=boxes(7, 4, 4, seed=102)),
             alone="Where several points of a map are equally high, the share of *them* that lies "
             "inside counts for that map; and every map counts as much as any other, also one of "
             "zeros."),
        Case("very small numbers, and points that are nearly as high as the highest",
             lambda: dict(maps=faint(), cells=boxes(6, 4, 4, seed=96)),
             alone="Only points that *equal* their map's maximum count. A tolerance or a threshold "
             "lets others in, the more so the smaller the map's numbers are."),
        Case(f"one map{WHERE}",
             lambda: on_device(dict(maps=random(1, 3, 4, seed=98),
                                    cells=torch.ones(1, 3, 4) > 0))),
    ),
    mistakes=catalogue(
        one_of_several=(by_argmax(lambda m: m.flatten(1).argmax(1)),
            "`argmax` picks one of several highest points, by accident of their order: a map of "
            "zeros then points at a corner. Let the share of the highest points that lie inside "
            "count."),
        any_of_several=(over_top(lambda t, c: (t & c).flatten(1).any(1).double().mean()),
            "If any of several highest points lies inside, you call it a hit, so a map of zeros, "
            "which says nothing, always wins. Let the *share* of them that lies inside count."),
        half_is_a_hit=(over_top(lambda t, c: (2 * (t & c).sum((1, 2)) >= t.sum((1, 2))).float(
                ).mean()),
            "You call it a hit if half of the highest points lie inside. Let their share count as "
            "it is, without rounding."),
        all_inside=(over_top(lambda t, c: ((t & c).sum((1, 2)) == t.sum((1, 2))).float().mean()),
            "You call it a hit only if *all* the highest points lie inside. Let the share of them "
            "that does count."),
        **{f"mass{k}": (lambda maps, cells, low=low: ((maps.relu() * cells).sum((1, 2)) /
                maps.relu().sum((1, 2)).clamp(min=low)).mean(),
            "That is the share of the map's mass inside, a fair score too, and another one. "
            "Pointing asks only where the highest point lies.")
           for k, low in (("", 0), ("_not_nan", 1e-12))},
        pooled=(over_top(lambda t, c: (t & c).sum() / t.sum()),
            "You pooled the highest points of all maps, so a map of zeros weighs as much as it has "
            "cells. Form the share of each map first, then the mean over the maps."),
        divided_by_the_mask=(over_top(lambda t, c: ((t & c).sum((1, 2)) / c.sum((1, 2))).mean()),
            "You divided by the size of the mask. Divide by the number of highest points, which is "
            "1 for most maps."),
        zeros_miss=(lambda maps, cells: pointing_accuracy(
                maps, cells & (maps.amax((1, 2), keepdim=True) > 0)),
            "You count a map that is nowhere above zero as a miss. It has highest points too, and "
            "they are judged as any other's."),
        zeros_left_out=(lambda maps, cells: pointing_accuracy(
                maps[maps.amax((1, 2)) > maps.amin((1, 2))],
                cells[maps.amax((1, 2)) > maps.amin((1, 2))]),
            "You left out the maps that have one value everywhere. They count too: the share of "
            "all their points that lies inside."),
        relu_first=(lambda maps, cells: pointing_accuracy(maps.relu(), cells),
            "You cut the maps off at zero first, so one that is below zero everywhere has all its "
            "points equally high. Ask the map as it is."),
        only_the_last=(lambda maps, cells: pointing_accuracy(maps[-1:], cells[-1:]) / len(maps),
            "Only the last map counted. In a loop, each share is added: `+=` where `=` stands."),
        split_by_rows=(split_by_rows,
            "You split the flat index by the number of rows, h. A row is W cells long: the row is "
            "`i // W`, the column `i % W`."),
        lowest=(by_argmax(lambda m: m.flatten(1).argmin(1)),
            "You took the lowest point; the highest is wanted."),
        **{f"largest_size{k}": (function,
            "You took the point with the largest absolute value. A strongly negative one speaks "
            "against the class; the *highest* is wanted.")
           for k, function in (("", lambda maps, cells: pointing_accuracy(maps.abs(), cells)),
                               ("_one", by_argmax(lambda m: m.abs().flatten(1).argmax(1))))},
        **{f"of_the_batch{k}": (
            lambda maps, cells, share=share: share(maps == maps.max(), cells),
            "You looked for the highest point of the whole batch. Each map has its own: over "
            "dimensions 1 and 2.")
           for k, share in (
               ("", lambda t, c: (t & c).sum() / t.sum()),
               ("_nan", lambda t, c: ((t & c).sum((1, 2)) / t.sum((1, 2))).mean()),
               ("_each", lambda t, c: ((t & c).sum((1, 2)) / t.sum((1, 2)).clamp(min=1)).mean()))},
        first_cells=(lambda maps, cells: pointing_accuracy(maps, cells[:1].expand_as(cells)),
            "Every map was judged by the first one's cells. Each has its own."),
        first_map=(lambda maps, cells: pointing_accuracy(maps[:1], cells[:1]),
            "Only the first map was judged; the answer is a share of all."),
        one_a_map=(over_top(lambda t, c: (t & c).sum((1, 2)) / t.sum((1, 2))),
            "There is one number a map left. The accuracy is their mean."),
        misses=(lambda maps, cells: 1 - pointing_accuracy(maps, cells),
            "That is the share of the misses."),
    ),
    hints=(
        "For each map: where is it as high as its own highest value, and how many of those places "
        "lie inside?",
        "`maps.amax(dim=(1, 2), keepdim=True)` is the highest value of each map; comparing gives a "
        "mask of the highest points; `&` with the cells those that hit.",
        "`top = maps == maps.amax(dim=(1, 2), keepdim=True)`, then `((top & cells).sum(dim=(1, 2)) "
        "/ top.sum(dim=(1, 2))).mean().item()`.",
    ),
)  # fmt: skip


# ------------------------------------------------------------------- 8. how alike channels are


def likeness(A: Tensor) -> float:
    """Mean absolute correlation of two different channels, constant ones left out."""
    return pairwise(correlations(A).abs())


def correlations(A: Tensor, centre: bool = True, keep: bool = False) -> Tensor:
    """Table (K, K) of the correlation of each channel with each."""
    rows = A.flatten(1).double()
    rows = rows if keep else rows[rows.amax(1) > rows.amin(1)]
    rows = rows - rows.mean(1, keepdim=True) if centre else rows
    return (rows @ rows.T) / (rows.norm(dim=1)[:, None] * rows.norm(dim=1))


def pairwise(table: Tensor) -> float:
    """Mean of a table without its diagonal."""
    return table[~torch.eye(len(table), dtype=torch.bool, device=table.device)].mean().item()


def varying(A: Tensor) -> Tensor:
    """Rows of the channels that vary."""
    rows = A.flatten(1)
    return rows[rows.amax(1) > rows.amin(1)]


ALL_THE_SAME = (
    "A channel that has the same value everywhere, zero or not, has no correlation with anything: "
    "its deviation is zero, up to rounding, and 0/0 is NaN. Leave out channels whose maximum is "
    "their minimum, and count the pairs of the others."
)

LIKENESS = Exercise(
    reference=likeness,
    cases=(
        Case("five channels", lambda: dict(A=random(5, 4, 6, seed=101))),
        Case("activations behind a ReLU, with brighter and darker channels", lambda: dict(
                A=maps(4, 3, 5, seed=102) * torch.tensor([1.0, 5, 0.2, 2])[:, None, None] + 1)),
        Case("a channel that is zero everywhere",
             lambda: dict(A=evenly(maps(4, 4, 4, seed=103), c1=0)), alone=ALL_THE_SAME),
        Case("channels that have one value everywhere, and not zero",
             lambda: dict(A=evenly(maps(6, 3, 5, seed=106), c0=0.1, c2=0.7, c3=0.9)),
             alone=ALL_THE_SAME),
        Case("loud channels and very quiet ones",
             lambda: dict(A=quieter(random(5, 3, 5, seed=107), 1e-5)),
             alone="Correlation has no unit: a quiet channel is as like another as a loud one is. "
             "Leave out a channel only if its maximum is its minimum; a threshold or a small "
             "number below the line hits quiet channels too."),
        Case(f"two channels, one the negative of the other, and a third{WHERE}",
             lambda: on_device(dict(A=torch.stack([
                 random(3, 4, seed=104), -random(3, 4, seed=104), random(3, 4, seed=105)])))),
    ),
    mistakes=catalogue(
        with_itself=(lambda A: correlations(A).abs().mean().item(),
            "Each channel is compared with itself too, which is always 1. Leave the diagonal of "
            "the table out."),
        itself_as_zero=(lambda A: ((correlations(A).abs().sum() - len(correlations(A))) /
                                   len(correlations(A)) ** 2).item(),
            "The diagonal is out of the sum, but still counted in what you divide by: there are "
            "K·(K − 1) pairs."),
        each_pair_once=(lambda A: correlations(A).abs().triu(1).mean().item(),
            "You summed half of the table (`triu`) and divided by all of it. Divide by the number "
            "of pairs that are in the sum."),
        signed=(lambda A: pairwise(correlations(A)),
            "You averaged signed correlations, in which likeness and opposition cancel. Two "
            "channels of which one is the negative of the other are alike: take absolute values."),
        absolute_at_the_end=(lambda A: abs(pairwise(correlations(A))),
            "You averaged first and took the absolute value after it, when likeness and opposition "
            "had cancelled. Absolute value first."),
        squared=(lambda A: pairwise(correlations(A) ** 2),
            "You averaged the squares of the correlations; the formula has absolute values."),
        not_centred=(lambda A: pairwise(correlations(A, centre=False).abs()),
            "That is the cosine: the channels' means were not taken off, so any two bright ones "
            "look alike. A correlation is the cosine *after* centring."),
        half_of_the_pairs=(lambda A: correlations(A).abs().triu(1).sum().item() / (
                len(varying(A)) * (len(varying(A)) - 1)),
            "You summed each pair once (half of the table) and divided by K·(K − 1), which counts "
            "it twice."),
        counted_in_k=(lambda A: pairwise(correlations(A).abs()) * len(varying(A)) * (
                len(varying(A)) - 1) / (len(A) * (len(A) - 1)),
            "Constant channels are out of the sum, but still counted in K. Let K be the number of "
            "the others."),
        neighbours=(lambda A: correlations(A).diagonal(1).abs().mean().item(),
            "You compared each channel with the next one only. All pairs are wanted."),
        deviations_mixed=(lambda A: pairwise(correlations(A).abs()) * (1 - 1 / A[0].numel()),
            "It is (hw − 1)/hw times the right one, hw being the cells of a channel: `std` divides "
            "by hw − 1 and `mean` by hw. Use one of the two in both places, or `torch.corrcoef`."),
        **{f"covariance{k}": (lambda A, rows=rows: pairwise(torch.cov(rows(A)).abs()),
            "That is the covariance. Divide by both channels' deviations, or a strong channel "
            "counts more than a weak one.")
           for k, rows in (("", varying), ("_of_all", lambda A: A.flatten(1)))},
        **{f"between_places{k}": (lambda A, rows=rows: pairwise(
                torch.corrcoef(rows(A).T).nan_to_num().abs()),
            "You compared the *places* with one another. The channels are to be compared: one row "
            "a channel, `A.flatten(1)`.")
           for k, rows in (("", varying), ("_of_all", lambda A: A.flatten(1)))},
        constant_is_nan=(lambda A: pairwise(torch.corrcoef(A.flatten(1)).abs()), ALL_THE_SAME),
        constant_is_zero=(lambda A: pairwise(torch.corrcoef(A.flatten(1)).abs().nan_to_num()),
            "You counted a channel that has the same value everywhere as unlike all others. It has "
            "no correlation at all: leave it out, also of the number of pairs."),
        the_table=(lambda A: correlations(A).abs(),
            "That is the whole table; return the mean over its pairs, one number."),
    ),
    hints=(
        "Make each channel a row of numbers. `torch.corrcoef` compares every row with every row. "
        "Which entries of its table are no pair of two different channels?",
        "First drop rows that are constant (their maximum is their minimum). Of the K × K table, "
        "the diagonal is 1: subtract K from the sum of absolute values, and divide by K·(K − 1).",
        "`rows = A.flatten(1)`, `rows = rows[rows.amax(1) > rows.amin(1)]`, `R = "
        "torch.corrcoef(rows).abs()`, `K = len(R)`, `((R.sum() - K) / (K * (K - 1))).item()`.",
    ),
)  # fmt: skip


EXERCISES = (
    CLASS_MAP,
    LOGIT_FROM,
    GRAD_CAM_FROM,
    ACTIVATION_AND_GRADIENT,
    PLUS_PLUS_WEIGHTS,
    SCORE_CAM_WEIGHTS,
    NTH_BEST,
    RATHER_THAN,
    POINTING_ACCURACY,
    LIKENESS,
)
