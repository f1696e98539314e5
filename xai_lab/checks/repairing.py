# ruff: noqa: D103 (what is said about a wrong function stands beside it in the catalogue)
"""Exercises of chapter 5, third part: where two classes part, and right for the right reasons.

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

from xai_lab.checks.cam import cnn, in_training, split, stretched, to_one, weighed
from xai_lab.checks.exercise import Case, Exercise, catalogue
from xai_lab.checks.hiding import own, spots, without
from xai_lab.checks.small import WHERE, classes, on_device, random, seeded, with_gradients

# --------------------------------------------------------------- 1. said rather than true

Score = Callable[[Tensor, Tensor, Tensor], Tensor]


def difference(S: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """By how much each sample's class a is ahead of its class b."""
    return own(S, a) - own(S, b)


def slope(rest: Callable[[Tensor], Tensor], A: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    """Gradient of a score with respect to a layer's output."""
    z = A.detach().clone().requires_grad_()
    return torch.autograd.grad(score(rest(z)).sum(), z)[0]


def parting(
    score: Score = difference,
    weights: Callable[[Tensor], Tensor] = lambda g: g.mean((2, 3)),
    finish: Callable[[Tensor, Tensor], Tensor] = weighed,
) -> Callable:
    """Grad-CAM of a function of the scores, with one ingredient exchanged."""

    def function(model, x, said, true, layer):
        A, rest = split(model, x, layer)
        return finish(A, weights(slope(rest, A, lambda S: score(S, said, true))))

    return function


def disputed(model: nn.Module, x: Tensor, said: Tensor, true: Tensor, layer: nn.Module) -> Tensor:
    """Grad-CAM of S_said − S_true at a layer."""
    return parting()(model, x, said, true, layer)


def subtracted(
    scale: Callable[[Tensor], Tensor] = lambda m: m, cut: Callable[[Tensor], Tensor] = lambda m: m
) -> Callable:
    """Difference of two finished maps."""
    for_said = parting(lambda S, a, b: own(S, a))
    for_true = parting(lambda S, a, b: own(S, b))

    def function(*given):
        return cut(scale(for_said(*given)) - scale(for_true(*given)))

    return function


def where_true_is_dark(model, x, said, true, layer):
    one = parting(lambda S, a, b: own(S, a))(model, x, said, true, layer)
    two = parting(lambda S, a, b: own(S, b))(model, x, said, true, layer)
    return one * (two == 0)


def hooked(
    *,
    remove: bool = True,
    detach: bool = True,
    backward: bool = False,
    copies: bool = True,
    asks: bool = True,
) -> Callable:
    """Map by a hook, as students write it, with one thing different."""

    def function(model, x, said, true, layer):
        kept = {}

        def keep(_module, _inputs, output):
            kept["A"] = output
            return output.clone() if copies else None

        handle = layer.register_forward_hook(keep)
        S = model(x.detach().clone().requires_grad_(asks))
        if remove:
            handle.remove()
        score, A = difference(S, said, true).sum(), kept["A"]
        if backward:
            A.retain_grad()
            score.backward()
            g = A.grad
        else:
            g = torch.autograd.grad(score, A)[0]
        found = weighed(A, g.mean((2, 3)))
        return found.detach() if detach else found

    return function


def at_the_input(model, x, said, true, layer):
    z = x.detach().clone().requires_grad_()
    g = torch.autograd.grad(difference(model(z), said, true).sum(), z)[0]
    return g.abs().amax(1)


def enlarged(model, x, said, true, layer):
    found = disputed(model, x, said, true, layer)
    return F.interpolate(found[:, None], x.shape[2:], mode="bilinear")[:, 0]


def last_convolution(model, x, said, true, layer):
    found = [m for m in layer.modules() if isinstance(m, nn.Conv2d)]
    inner = model if isinstance(model, nn.Module) else layer
    found = [m for m in inner.modules() if isinstance(m, nn.Conv2d)] or found
    return disputed(model, x, said, true, found[-1] if found else layer)


def of_the_input(model, x, said, true, layer):
    """What goes into the layer rather than what comes out."""
    kept = {}

    def keep(_module, inputs):
        kept["A"] = inputs[0]
        return (inputs[0].clone(),)

    handle = layer.register_forward_pre_hook(keep)
    try:
        S = model(x.detach().clone().requires_grad_())
    finally:
        handle.remove()
    g = torch.autograd.grad(difference(S, said, true).sum(), kept["A"])[0]
    return weighed(kept["A"], g.mean((2, 3))).detach()


def at(k: int, seed: int, said: tuple[int, ...], true: tuple[int, ...], model: Any = None) -> dict:
    """Pictures whose two classes are given, and a network with the layer of this number."""
    model = model or cnn()
    return dict(model=model, x=random(len(said), 2, 7, 6, seed=seed), said=classes(*said),
                true=classes(*true), layer=model[k])  # fmt: skip


def after_a_failure(function: Callable, arguments: dict[str, Any]) -> object:
    """Call once with a model that fails behind the layer, then as usual."""
    model, layer = arguments["model"], arguments["layer"]
    rest = {name: arguments[name] for name in ("x", "said", "true")}

    def failing(inputs: Tensor) -> Tensor:
        raise ValueError(f"not for {len(model(inputs))} pictures")

    with suppress(Exception):
        function(failing, *rest.values(), layer)
    arguments["left"] = len(layer._forward_hooks)
    layer._forward_hooks.clear()
    return function(model, *rest.values(), layer)


def left_by_failure(_result: object, arguments: dict[str, Any]) -> str:
    """Complain about a hook that is still there after the failure."""
    return ("your hook stays on the layer when the model fails: run the model in a `try`, and call "
            "`handle.remove()` in its `finally`") * (arguments["left"] > 0)  # fmt: skip


FINISHED = (
    "You subtracted two finished maps, each of which has lost what speaks against its class. What "
    "raises *said* by lowering *true* is in neither. Subtract the scores, S_said − S_true, and "
    "take one gradient of that."
)
DISPUTED = Exercise(
    reference=disputed,
    cases=(
        Case("two pictures", lambda: at(2, 701, (3, 1), (0, 2))),
        Case("three pictures and a layer that an in-place ReLU follows",
             lambda: at(3, 702, (0, 2, 1), (1, 3, 2)),
             alone="The layer behind it works in place and wrote into the tensor that you kept. "
             "Hand it a copy: end the hook with `return output.clone()`."),
        Case("a network with frozen weights",
             lambda: at(2, 703, (2, 0), (1, 3), cnn().requires_grad_(False)),
             alone="Where the weights are frozen nothing asks for a gradient: hand the model "
             "`x.detach().clone().requires_grad_()`."),
        Case("a network in the middle of its training",
             lambda: at(0, 704, (1, 3), (2, 0), in_training())),
        Case("a network that fails before it answers",
             lambda: at(2, 705, (1, 0), (3, 2)), play=after_a_failure, fault=left_by_failure),
        Case(f"a batch of one{WHERE}", lambda: on_device(at(2, 706, (3,), (1,)))),
    ),
    mistakes=catalogue(
        difference_of_maps=(subtracted(), FINISHED),
        positive_difference_of_maps=(subtracted(cut=torch.relu),
            FINISHED + " (The relu comes once, at the end.)"),
        **{f"scaled_maps_{i}": (subtracted(scale, cut),
            "You scaled two finished maps and subtracted them. The class that was hardly seen "
            "then counts as much as the one that won. Subtract the scores, and scale nothing.")
           for i, (scale, cut) in enumerate(
               (s, c) for s in (stretched, to_one) for c in (torch.relu, torch.clone))},
        absolute_difference_of_maps=(subtracted(cut=torch.abs),
            "That is the absolute difference of two finished maps: it lights up for either class, "
            "and does not say which. Subtract the scores; then weigh, add up, relu."),
        where_true_is_dark=(where_true_is_dark,
            "You kept the one map where the other is empty. What matters is which of the two "
            "scores a cell raises more: subtract the scores."),
        turned_round=(parting(lambda S, a, b: difference(S, b, a)),
            "The classes are exchanged: this shows what speaks for *true* rather than for what "
            "was said."),
        said_alone=(parting(lambda S, a, b: own(S, a)),
            "That is Grad-CAM of the class that was said. Much of it speaks for both; what decided "
            "*between* them is in the difference."),
        true_alone=(parting(lambda S, a, b: own(S, b)),
            "That is Grad-CAM of the true class. What decided against it is in the difference."),
        added=(parting(lambda S, a, b: own(S, a) + own(S, b)),
            "You added the two scores; the difference is asked for."),
        without_relu=(parting(finish=lambda A, w: (w[:, :, None, None] * A).sum(1)),
            "The relu at the end is missing: negative values speak for the true class."),
        absolute=(parting(finish=lambda A, w: (w[:, :, None, None] * A).sum(1).abs()),
            "You took the absolute value where the formula has a relu: the map shows what speaks "
            "for either, and does not say which."),
        absolute_gradient=(parting(weights=lambda g: g.abs().mean((2, 3))),
            "You averaged |g|: a channel that speaks for the true class then counts as if it "
            "spoke for the other."),
        positive_weights=(parting(weights=lambda g: g.mean((2, 3)).relu()),
            "You took the relu of the weights. What speaks for the true class may weaken a cell; "
            "the relu comes last, on the map."),
        positive_gradient=(parting(weights=lambda g: g.relu().mean((2, 3))),
            "You took the relu of the gradient, before averaging. The relu comes last, on the "
            "map."),
        summed=(parting(weights=lambda g: g.sum((2, 3))),
            "You added the gradient up over the places; its mean is the weight."),
        mean_of_channels=(parting(finish=lambda A, w: (w[:, :, None, None] * A).mean(1).relu()),
            "You averaged the channels where the formula adds them up."),
        over_the_batch=(parting(weights=lambda g: g.mean((0, 2, 3))[None].expand(len(g), -1)),
            "You averaged the gradients over the batch too, so a picture is weighed by its "
            "neighbours' classes. Each has its own weights: `g.mean(dim=(2, 3))`."),
        cell_by_cell=(parting(weights=lambda g: g,
                              finish=lambda A, g: (g * A).sum(1).relu()),
            "You multiplied gradient and activation cell by cell (that is HiResCAM). Grad-CAM "
            "averages the gradient over the places first."),
        probabilities=(parting(lambda S, a, b: difference(S.softmax(1), a, b)),
            "You took the difference of *probabilities*. All other classes are in those, and where "
            "the network is sure of its mistake there is hardly a gradient. Use the logits."),
        log_ratio_of_odds=(parting(lambda S, a, b: (own(S, a) - without(S, a).logsumexp(1))
                                   - (own(S, b) - without(S, b).logsumexp(1))),
            "You took the difference of *log-odds*. The other classes are in both, with different "
            "weights; the difference of the two logits is asked for."),
        loss=(parting(lambda S, a, b: -own(S.log_softmax(1), b)),
            "You differentiated the loss of the true class, which all other classes enter. Two "
            "are asked about: S_said − S_true."),
        ratio=(parting(lambda S, a, b: own(S, a) / own(S, b)),
            "You divided the scores; logits are compared by their difference."),
        best_two=(parting(lambda S, a, b: S.topk(2).values[:, 0] - S.topk(2).values[:, 1]),
            "You took the two best classes, whatever was asked. The true one may be further down."),
        best_against_true=(parting(lambda S, a, b: S.amax(1) - own(S, b)),
            "You took the best class for what was said. `said` is an argument: a question may be "
            "asked about any two."),
        one_pair=(parting(lambda S, a, b: S[:, a[0]] - S[:, b[0]]),
            "Every picture was asked about the first one's two classes; each has its own."),
        all_pairs=(parting(lambda S, a, b: S[:, a].sum(1) - S[:, b].sum(1)),
            "`S[:, said]` takes *every* picture's class for every picture. Each needs its own: "
            "`S.gather(1, said[:, None])`."),
        relu_of_the_weights=(parting(
                finish=lambda A, w: (w.relu()[:, :, None, None] * A).sum(1)),
            "Your relu is around the weights: channels that speak against are dropped before they "
            "could be subtracted. It comes once, around the sum."),
        relu_of_each_channel=(parting(finish=lambda A, w: (w[:, :, None, None] * A).relu().sum(1)),
            "Your relu comes before the sum over the channels: those that speak against are "
            "dropped. It comes once, around the sum."),
        of_the_input=(of_the_input,
            "You kept what goes *into* the layer (a pre-hook). A is its output: "
            "`register_forward_hook`."),
        own_scale=(lambda *given: to_one(disputed(*given)),
            "You divided each map by its own maximum. A dispute about nothing then looks as fierce "
            "as any; scaling belongs to the picture."),
        enlarged=(enlarged,
            "The map is right, and enlarged to the picture. Return it as coarse as the layer is, "
            "(N, h, w): enlarging is for drawing."),
        at_the_input=(at_the_input,
            "That is the gradient at the *input*. `layer` says where to look: keep its output with "
            "a hook, and differentiate by that."),
        last_convolution=(last_convolution,
            "You looked at the last convolution, whatever was asked for: hook `layer`."),
        hook_left=(hooked(remove=False),
            "The values are right, but your hook is still on the model: it will run in every later "
            "pass of everybody. Keep the handle, and call `handle.remove()` in a `finally`."),
        attached=(hooked(detach=False),
            "The values are right, but the map is still attached to the graph, which keeps every "
            "activation in memory: `.detach()`."),
        without_a_copy_or_a_slope=(hooked(copies=False, asks=False),
            "Two things. A layer behind yours works in place and wrote into the tensor that you "
            "kept: end the hook with `return output.clone()`. And where the weights are frozen "
            "nothing asks for a gradient: hand the model `x.detach().clone().requires_grad_()`."),
        without_a_copy=(hooked(copies=False),
            "A layer behind yours works in place and wrote into the tensor that you kept. Hand it "
            "a copy: end the hook with `return output.clone()`."),
    ),
    hints=(
        "Grad-CAM explains any number that the network puts out. Which number says by how much it "
        "prefers what it said to what is true?",
        "Keep the layer's output A in a forward hook (`return output.clone()` at its end); then "
        "`g` is the gradient of `(S_said - S_true).sum()` with respect to A, and the rest is "
        "Grad-CAM: mean over the places, weighted sum over the channels, relu.",
        "`S = model(x.detach().clone().requires_grad_())` between `register_forward_hook` and "
        "`handle.remove()` (in a `finally`); `d = S.gather(1, said[:, None]) - S.gather(1, true[:, "
        "None])`; `(g,) = torch.autograd.grad(d.sum(), A)`; `(g.mean((2, 3), keepdim=True) * "
        "A).sum(1).relu().detach()`",
    ),
)  # fmt: skip


# ------------------------------------------------------ 2. right for the right reasons


def penalised(
    score: Callable[[Tensor, Tensor], Tensor] = lambda S, y: S.log_softmax(1).sum(),
    size: Callable[[Tensor], Tensor] = torch.square,
    where: Callable[[Tensor], Tensor] = lambda m: ~m[:, None],
    reduce: Callable[[Tensor, Tensor], Tensor] = lambda p, off: p.sum() / len(p),
    entropy: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    join: Callable[[Tensor, Tensor, float], Tensor] = lambda loss, p, weight: loss + weight * p,
    graph: bool = True,
) -> Callable:
    """Loss with a penalty on gradients off the object, with one ingredient exchanged."""

    def function(model, x, y, masks, weight):
        z = x.detach().clone().requires_grad_()
        S = model(z)
        asked = score(S, y)
        (g,) = torch.autograd.grad(asked, z, create_graph=graph, retain_graph=True)
        off = where(masks)
        return join(entropy(S, y), reduce(size(g) * off, off.expand_as(g)), weight)

    return function


def right_reasons(
    model: Callable[[Tensor], Tensor], x: Tensor, y: Tensor, masks: Tensor, weight: float
) -> Tensor:
    """Cross entropy, and λ times the squared slope of Σ log p outside the masks."""
    return penalised()(model, x, y, masks, weight)


def callers_input(model, x, y, masks, weight):
    S = model(x.requires_grad_())
    (g,) = torch.autograd.grad(S.log_softmax(1).sum(), x, create_graph=True)
    return F.cross_entropy(S, y) + weight * (g.square() * ~masks[:, None]).sum() / len(x)


def backward_first(model, x, y, masks, weight):
    z = x.detach().clone().requires_grad_()
    S = model(z)
    S.log_softmax(1).sum().backward(retain_graph=True)
    return F.cross_entropy(S, y) + weight * (z.grad.square() * ~masks[:, None]).sum() / len(x)


def each_class(model, x, y, masks, weight):
    z = x.detach().clone().requires_grad_()
    log_p, squares = model(z).log_softmax(1), torch.zeros_like(z)
    for k in range(log_p.shape[1]):
        squares = squares + torch.autograd.grad(log_p[:, k].sum(), z, create_graph=True)[0] ** 2
    return F.nll_loss(log_p, y) + weight * (squares * ~masks[:, None]).sum() / len(x)


def detached(model, x, y, masks, weight):
    return right_reasons(model, x, y, masks, weight).detach()


def masked_picture(model, x, y, masks, weight):
    return F.cross_entropy(model(x * masks[:, None]), y)


def trained_on(function: Callable, arguments: dict[str, Any]) -> object:
    """Use the loss as training does: its value, and its slope by the network's weights."""
    model = arguments["model"]
    loss = function(model, *(arguments[k] for k in ("x", "y", "masks", "weight")))
    if not isinstance(loss, Tensor) or loss.ndim:
        return loss.detach() if isinstance(loss, Tensor) else loss
    weights = list(model.parameters())
    slopes: Any = [None] * len(weights)
    if loss.requires_grad:
        slopes = torch.autograd.grad(loss, weights, allow_unused=True, retain_graph=True)
    flat = [torch.zeros_like(w) if s is None else s
            for w, s in zip(weights, slopes, strict=True)]  # fmt: skip
    return {
        "the loss": loss.detach(),
        "its slope by the weights": torch.cat([s.detach().flatten() for s in flat]),
    }


def line(rows: list[list[float]], bias: list[float]) -> nn.Module:
    """Linear network of given weights."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(len(rows[0]), len(rows)))
    model[1].weight.data = torch.tensor(rows)  # type: ignore[union-attr]
    model[1].bias.data = torch.tensor(bias)  # type: ignore[union-attr]
    return model.eval()


def bent(seed: int) -> nn.Module:
    """Small network whose slope depends on its input."""
    return seeded(seed, nn.Conv2d(2, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(3 * 2 * 3, 3))


def batch(seed: int, y: tuple[int, ...], weight: float, model: Any = None) -> dict[str, Any]:
    """Pictures, their classes, objects in them, and λ."""
    n = len(y)
    return dict(model=model or bent(seed), x=random(n, 2, 3, 4, seed=seed + 1), y=classes(*y),
                masks=spots(n, 3, 4, seed=seed + 2), weight=weight)  # fmt: skip


def trained(label: str, arguments: Callable[[], dict[str, Any]], alone: str = "") -> Case:
    """Case in which the loss is differentiated, as training does."""
    return Case(label, arguments, play=trained_on, alone=alone)


NO_GRAPH = (
    "The value is right and training would not notice the penalty: it has no graph (or `.item()` "
    "or `.detach()` took it away), so its gradient by the weights is zero. "
    "{}`torch.autograd.grad(…, create_graph=True)` makes a gradient that can be differentiated "
    "once more."
)
RIGHT_REASONS = Exercise(
    reference=right_reasons,
    cases=(
        trained("two pixels, two classes and a linear network: on paper", lambda: dict(
            model=line([[2.0, 1.0], [0.0, -1.0]], [0.0, 0.0]), x=torch.tensor([[[[1.0, 0.0]]]]),
            y=classes(0), masks=torch.tensor([[[True, False]]]), weight=0.5)),
        trained("three pictures and a network with a bend",
                lambda: batch(711, (0, 2, 1), 0.3)),
        trained("objects that cover everything, so that there is nothing to penalise",
                lambda: (made := batch(721, (1, 0), 2.0))
                | dict(masks=torch.ones_like(made["masks"])),
                alone="Where the object covers the whole picture the penalty is 0: a mean over no "
                "pixel is not a number."),
        trained("λ = 0", lambda: batch(731, (2, 1, 0), 0.0)),
        trained("a network in the middle of its training, and four pictures",
                lambda: batch(741, (0, 1, 2, 2), 0.7, with_gradients(bent(742)))),
        trained(f"a batch of one{WHERE}", lambda: on_device(batch(751, (2,), 1.5))),
    ),
    mistakes=catalogue(
        no_graph=(penalised(graph=False), NO_GRAPH.format("")),
        backward_first=(backward_first,
            "Two things: `.backward()` filled the weights' `.grad`, where the optimiser will find "
            "it; and " + NO_GRAPH.format("")[:1].lower() + NO_GRAPH.format("")[1:]),
        detached=(detached,
            "The value is right, and detached: nothing can be learnt from it. A loss keeps its "
            "graph."),
        callers_input=(callers_input,
            "The values are right, but the caller's x now has `requires_grad=True`. Work on "
            "`x.detach().clone().requires_grad_()`."),
        no_penalty=(penalised(join=lambda loss, p, weight: loss + 0 * p),
            "The penalty is missing or always 0 (the probabilities add up to 1, so their sum has "
            "no slope): this is the cross entropy alone."),
        no_loss=(penalised(join=lambda loss, p, weight: weight * p),
            "The cross entropy is missing. A network that says nothing has no slope anywhere."),
        inside=(penalised(where=lambda m: m[:, None]),
            "You penalised slopes *on the object*, which is where they belong. The masks are true "
            "on the object: penalise `~masks`."),
        everywhere=(penalised(where=lambda m: torch.ones_like(m[:, None])),
            "You penalised slopes everywhere, on the object too. Then the network is to be flat, "
            "not right: only `~masks`."),
        no_square=(penalised(size=lambda g: g),
            "The square is missing. Slopes of both signs cancel, and the loss falls for ever as "
            "they become negative."),
        absolute=(penalised(size=torch.abs),
            "You took |slope|; the formula has its square, which hits a single strong pixel "
            "harder."),
        root=(penalised(reduce=lambda p, off: (p.flatten(1).sum(1) + 1e-12).sqrt().mean()),
            "You took the length of the gradient, a square root too many."),
        of_the_loss=(penalised(lambda S, y: F.cross_entropy(S, y, reduction="sum")),
            "You differentiated the *loss*, log p of the true class alone. Where the network is "
            "right its slope vanishes, cheat or not. Differentiate the sum over all classes, "
            "Σ_k log p_k."),
        of_the_mean_loss=(penalised(F.cross_entropy),
            "You differentiated the *loss*, and its mean at that, so that the slopes shrink with "
            "the batch. Differentiate Σ_k log p_k, summed over the batch."),
        of_the_logit=(penalised(lambda S, y: own(S, y).sum()),
            "You differentiated the true class's logit; the formula has the sum of all classes' "
            "log p."),
        of_all_logits=(penalised(lambda S, y: S.sum()),
            "You differentiated the sum of the *logits*. They may all rise together, which "
            "changes no answer: take `log_softmax` first."),
        of_the_best=(penalised(lambda S, y: S.log_softmax(1).amax(1).sum()),
            "You differentiated log p of the *predicted* class; the sum over all classes is asked "
            "for."),
        mean_over_classes=(penalised(lambda S, y: S.log_softmax(1).mean(1).sum()),
            "You averaged log p over the classes; the formula adds them up."),
        mean_of_everything=(penalised(lambda S, y: S.log_softmax(1).mean()),
            "You differentiated the *mean* of log p over classes and batch, so each slope shrinks "
            "with the size of the batch: `.sum()`."),
        mean_of_samples=(penalised(lambda S, y: S.log_softmax(1).sum(1).mean()),
            "You differentiated the mean over the batch, so each slope is divided by N, and its "
            "square by N². Start from the sum over the batch; the mean comes after the square."),
        mean_of_samples_summed=(penalised(lambda S, y: S.log_softmax(1).sum(1).mean(),
                                          reduce=lambda p, off: p.sum()),
            "You differentiated the mean over the batch, so each slope is divided by N, and its "
            "square by N²; adding the squares up leaves a factor 1/N too many. Start from the sum "
            "over the batch, and divide by N after the square."),
        mean_of_samples_averaged=(penalised(lambda S, y: S.log_softmax(1).sum(1).mean(),
                                            reduce=lambda p, off: p.mean()),
            "Two things: you differentiated the mean over the batch, so each slope is divided by "
            "N, and its square by N²; and you averaged the squares over all numbers. Start from "
            "the sum, add the squares up, and divide by N."),
        of_the_mean_loss_summed=(penalised(F.cross_entropy, reduce=lambda p, off: p.sum()),
            "You differentiated the *loss*, and its mean at that, so that the slopes shrink with "
            "the batch. Differentiate Σ_k log p_k, summed over the batch, and divide the sum of "
            "the squares by N."),
        each_class=(each_class,
            "You squared the slope of each class's log p and added the squares up. The formula "
            "adds the log p up first, and squares the slope of the sum."),
        square_of_the_sum=(penalised(
                size=lambda g: g, reduce=lambda p, off: p.sum((1, 2, 3)).square().mean()),
            "You added the slopes up and squared the sum: slopes of both signs cancel. Square each "
            "number, then add up."),
        root_of_the_sum=(penalised(reduce=lambda p, off: p.flatten(1).sum(1).sqrt().mean()),
            "You took the length of the gradient, a square root too many. (Where nothing is "
            "outside, the slope of √0 is not a number.)"),
        entropy_summed=(penalised(entropy=lambda S, y: F.cross_entropy(S, y, reduction="sum")),
            "You added the cross entropy up over the batch; both parts are means over it."),
        entropy_of_p=(penalised(entropy=lambda S, y: F.cross_entropy(S.softmax(1), y)),
            "`F.cross_entropy` takes logits, and applies softmax itself: you applied it twice."),
        entropy_of_each=(penalised(entropy=lambda S, y: F.cross_entropy(S, y, reduction="none"),
                                   reduce=lambda p, off: p.sum((1, 2, 3))),
            "These are the losses of the samples. L is one number, their mean."),
        first_channel=(penalised(size=lambda g: g.square() * (
                torch.arange(g.shape[1], device=g.device) == 0)[:, None, None]),
            "Only the first channel is penalised. Every channel outside counts."),
        mean_over_channels=(penalised(size=lambda g: g.square() / g.shape[1]),
            "You averaged the squares over the channels; the formula adds them up."),
        half=(penalised(join=lambda loss, p, weight: loss + weight / 2 * p),
            "Half of the penalty is missing: λ stands there without ½."),
        mean_outside=(penalised(
                reduce=lambda p, off: (p.sum((1, 2, 3)) / off[:, :1].sum((1, 2, 3))).mean()),
            "You averaged the squares over the pixels outside; the formula adds them up, and "
            "averages over the batch only. (Where nothing is outside, 0/0 is not a number.)"),
        mean_over_pixels=(penalised(reduce=lambda p, off: p.mean()),
            "You averaged the squares over all numbers of the picture; the formula adds them up, "
            "and averages over the batch only."),
        mean_over_background=(penalised(
                reduce=lambda p, off: p.sum() / off.sum().clamp(min=1)),
            "You averaged the squares over the background; the formula adds them up, and averages "
            "over the batch only."),
        summed_over_the_batch=(penalised(reduce=lambda p, off: p.sum()),
            "You added the penalties of the batch up, and the cross entropy is a mean: λ then "
            "means something else for every batch size. Divide by N."),
        all_summed=(penalised(reduce=lambda p, off: p.sum(),
                              entropy=lambda S, y: F.cross_entropy(S, y, reduction="sum")),
            "You added everything up over the batch; both parts are means over it."),
        masked_after_the_sum=(penalised(
                size=lambda g: g.sum(1, keepdim=True).square().expand_as(g) / g.shape[1]),
            "You added the channels up before squaring, and a red slope may cancel a green one. "
            "Square each number."),
        weight_inside=(penalised(join=lambda loss, p, weight: loss + weight**2 * p),
            "λ went into the square: it belongs in front of it."),
        weight_on_the_loss=(penalised(join=lambda loss, p, weight: weight * loss + p),
            "λ stands before the cross entropy; it belongs before the penalty."),
        rewarded=(penalised(join=lambda loss, p, weight: loss - weight * p),
            "You *subtracted* the penalty: the network is rewarded for looking elsewhere."),
        times_input=(lambda model, x, y, masks, weight: penalised(
                size=lambda g: (g * x).square())(model, x, y, masks, weight),
            "You penalised gradient × input. A black pixel then costs nothing, however much the "
            "network goes by it."),
        masked_picture=(masked_picture,
            "You hid the background and trained on what is left. That is another repair, on "
            "pictures that it will never see in use; here x stays whole, and the *slope* is "
            "penalised."),
    ),
    hints=(
        "Two parts: the usual loss, and for each picture how much Σ_k log p_k changes when a "
        "background number is nudged, squared and added up. The second one is to be differentiated "
        "again, by the weights.",
        "`z = x.detach().clone().requires_grad_()`; one pass `S = model(z)` for both parts; "
        "`torch.autograd.grad(S.log_softmax(1).sum(), z, create_graph=True)[0]` is the slope of "
        "every picture. The background is `~masks[:, None]`.",
        "`penalty = (g.square() * ~masks[:, None]).sum() / len(x)`; `return F.cross_entropy(S, y) "
        "+ weight * penalty`",
    ),
)  # fmt: skip

EXERCISES = (DISPUTED, RIGHT_REASONS)
