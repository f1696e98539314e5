"""Class activation: which cells of a layer's map speak for a class.

Read `grad_cam` first, then `class_activation` below the methods: it gives the first four of them
the same two tensors, the activation A of a layer and the gradient g of the score there, both
``(N, C, h, w)``, and a method is what it makes of them. `cam` is the exact ancestor, `score_cam`
needs no gradient. `activations` shows the maps themselves.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from xai_lab.core import (
    Model,
    Target,
    check_count,
    check_inputs,
    class_scores,
    in_batches,
    per_sample,
    predict,
    run,
    taken,
    untouched,
)
from xai_lab.layers import Layer, bare, find_layer, fold, graph_from, last_spatial_layer, record

#: A map ``(N, H, W)``; for several layers or several targets a dict of them, by name.
Maps: TypeAlias = Any
Targets: TypeAlias = Target | Mapping[str, Target]
Layers: TypeAlias = Layer | Sequence[Layer] | None


def grad_cam(
    model: Model,
    inputs: Tensor,
    target: Targets = None,
    *,
    layer: Layers = None,
    upsample: bool = True,
    batch_size: int | None = None,
) -> Maps:
    r"""Grad-CAM: channels weighted by their mean gradient, what speaks against cut off.

    .. math::
        w_k = \frac{1}{hw} \sum_{xy} \frac{\partial S}{\partial A_{kxy}}

        M_{xy} = \operatorname{relu} \Big( \sum_k w_k A_{kxy} \Big)

    Parameters
    ----------
    model : Module
        Maps ``(N, C, H, W)`` to class scores ``(N, K)``; explain logits, not probabilities.
    inputs : Tensor
        x, ``(N, C, H, W)``.
    target : int, sequence of int, Tensor, callable, None or a mapping of names to these
        Class to explain, as in `xai_lab.saliency`. ``lambda y: y[:, cat] - y[:, dog]`` asks what
        speaks for the one rather than the other. A mapping asks for several at once; they share
        the forward pass.
    layer : str, Module or a sequence of them, optional
        Where to look; by default the last layer whose map the score depends on
        (`xai_lab.layers.last_spatial_layer`). Several share all passes.
    upsample : bool
        Interpolate the map to the inputs' size (bilinear), or leave it on the layer's grid.
    batch_size : int, optional
        Samples on the device at once; the result does not depend on it.

    Returns
    -------
    Tensor or dict of str to Tensor
        M, ``(N, H, W)`` or ``(N, h, w)``, not normalised, in units of the score. For a mapping
        of targets a dict with its keys, for a sequence of layers a dict with their names, for
        both a dict of dicts, targets first.

    Raises
    ------
    TypeError, ValueError
        If inputs, target, model or layer do not fit; the message says what to do.

    Warns
    -----
    UserWarning
        If a map is zero everywhere.

    Notes
    -----
    Cost: one forward pass, and a backward pass from the score to the layer, for each target. No
    graph is built below the layer. The first call on a model without ``layer`` costs one forward
    and one backward pass of one sample more.

    References
    ----------
    Selvaraju et al., *Grad-CAM: visual explanations from deep networks via gradient-based
    localization*, ICCV 2017.
    """

    def weighted(A: Tensor, g: Tensor) -> Tensor:
        w = g.mean(dim=(2, 3), keepdim=True)
        return (w * A).sum(dim=1).relu()

    return class_activation(model, inputs, target, layer, upsample, batch_size, weighted)


def grad_cam_plus_plus(
    model: Model,
    inputs: Tensor,
    target: Targets = None,
    *,
    layer: Layers = None,
    upsample: bool = True,
    batch_size: int | None = None,
) -> Maps:
    r"""Grad-CAM++: each cell's positive gradient counts, the more so the rarer the channel fires.

    .. math::
        \alpha_{kxy} = \frac{g_{kxy}^2}{2 g_{kxy}^2 + g_{kxy}^3 \sum_{ab} A_{kab}}

        w_k = \sum_{xy} \alpha_{kxy} \operatorname{relu}(g_{kxy})

        M_{xy} = \operatorname{relu} \Big( \sum_k w_k A_{kxy} \Big)

    The paper explains exp(S), whose three derivatives along a piecewise linear network are
    exp(S) times g, g² and g³; exp(S) cancels in α and is left out of w as one positive factor of
    the whole map. Divided by g², the weight is Σ relu(g) / (2 + relu(g) ΣA) and needs no epsilon:
    where g is negative the numerator is zero, whatever stands below.

    Parameters
    ----------
    model, inputs, target, layer, upsample, batch_size
        As in `grad_cam`. The derivation assumes activations that are not negative, as behind a
        ReLU; elsewhere a negative ΣA, which can make α infinite, counts as zero.

    Returns
    -------
    Tensor or dict of str to Tensor
        As in `grad_cam`. Compare places within a map; α weighs by the gradient's size, so that
        the scale is the score's own in each channel only.

    Raises
    ------
    TypeError, ValueError
        As in `grad_cam`.

    Notes
    -----
    Cost: as `grad_cam`; the higher derivatives are powers of the first.

    References
    ----------
    Chattopadhay et al., *Grad-CAM++: generalized gradient-based visual explanations for deep
    convolutional networks*, WACV 2018.
    """

    def weighted(A: Tensor, g: Tensor) -> Tensor:
        total = A.sum(dim=(2, 3), keepdim=True).relu()
        # Where g is negative its part is zero, and so must not be divided by what may be zero.
        w = (g.relu() / (2 + g.relu() * total)).sum(dim=(2, 3), keepdim=True)
        return (w * A).sum(dim=1).relu()

    return class_activation(model, inputs, target, layer, upsample, batch_size, weighted)


def layer_cam(
    model: Model,
    inputs: Tensor,
    target: Targets = None,
    *,
    layer: Layers = None,
    upsample: bool = True,
    batch_size: int | None = None,
) -> Maps:
    r"""LayerCAM: every cell weighted by its own positive gradient, so that early layers work too.

    .. math::
        M_{xy} = \operatorname{relu} \Big( \sum_k \operatorname{relu}(g_{kxy}) A_{kxy} \Big)

    Parameters
    ----------
    model, inputs, target, layer, upsample, batch_size
        As in `grad_cam`.

    Returns
    -------
    Tensor or dict of str to Tensor
        As in `grad_cam`.

    Raises
    ------
    TypeError, ValueError
        As in `grad_cam`.

    Notes
    -----
    Cost: as `grad_cam`.

    References
    ----------
    Jiang et al., *LayerCAM: exploring hierarchical class activation maps for localization*, IEEE
    Transactions on Image Processing 30, 2021.
    """

    def weighted(A: Tensor, g: Tensor) -> Tensor:
        return (g.relu() * A).sum(dim=1).relu()

    return class_activation(model, inputs, target, layer, upsample, batch_size, weighted)


def hires_cam(
    model: Model,
    inputs: Tensor,
    target: Targets = None,
    *,
    layer: Layers = None,
    upsample: bool = True,
    batch_size: int | None = None,
) -> Maps:
    r"""HiResCAM: gradient times activation, cell by cell, with its sign.

    .. math:: M_{xy} = \sum_k g_{kxy} A_{kxy}

    If what follows the layer is linear, or ReLU without biases, the map sums to the score less
    its bias: each cell's share is exact. Averaging the gradients first, as `grad_cam` does, gives
    that up, and can point at cells that the score does not use.

    Parameters
    ----------
    model, inputs, target, layer, upsample, batch_size
        As in `grad_cam`. Sum over the layer's own grid, with ``upsample=False``.

    Returns
    -------
    Tensor or dict of str to Tensor
        As in `grad_cam`, but signed.

    Raises
    ------
    TypeError, ValueError
        As in `grad_cam`.

    Notes
    -----
    Cost: as `grad_cam`.

    References
    ----------
    Draelos and Carin, *Use HiResCAM instead of Grad-CAM for faithful explanations of
    convolutional neural networks*, 2020.
    """

    def weighted(A: Tensor, g: Tensor) -> Tensor:
        return (g * A).sum(dim=1)

    return class_activation(model, inputs, target, layer, upsample, batch_size, weighted)


def cam(
    model: Model,
    inputs: Tensor,
    target: Targets = None,
    *,
    upsample: bool = True,
    batch_size: int | None = None,
) -> Maps:
    r"""CAM: the class score, cell by cell, for a network that ends in mean and linear layer.

    .. math::
        M_{c,xy} = \sum_k w_k^c A_{kxy}

        \frac{1}{hw} \sum_{xy} M_{c,xy} + b_c = S_c

    Nothing is estimated here. The last linear layer and the mean over places are both sums, and
    CAM takes them in the other order.

    Parameters
    ----------
    model, inputs, target, upsample, batch_size
        As in `grad_cam`. A callable target must be linear in the outputs, as a difference is.

    Returns
    -------
    Tensor or dict of str to Tensor
        M, ``(N, H, W)`` or ``(N, h, w)``, signed, in units of the score.

    Raises
    ------
    TypeError, ValueError
        As in `grad_cam`; and if the identity above does not hold, because the network has another
        kind of head.

    Notes
    -----
    Cost: one forward pass, whatever the number of targets.

    References
    ----------
    Zhou et al., *Learning deep features for discriminative localization*, CVPR 2016.
    """
    module, targets = bare(model), named(target, inputs)
    (layer,) = chosen(module, inputs, None)
    size = inputs.shape[2:]

    def explained(i: Tensor) -> list[Tensor]:
        found = []
        with graph_from(module, inputs[i], layer) as (kept, outputs):
            A = maps_of(kept[layer].detach(), size)
            head = pooled_head(module, A.shape[1], outputs.shape[1])
            W = head.weight.detach().to(A.dtype)
            b = W.new_zeros(len(W)) if head.bias is None else head.bias.detach().to(A.dtype)
            for one in targets.values():
                S = class_scores(outputs, taken(one, i))
                (c,) = torch.autograd.grad(S.sum(), outputs, retain_graph=True)
                c = c.to(A.dtype)  # one-hot for a class, +1 and −1 for a difference of two
                M = torch.einsum("nk,nkhw->nhw", c @ W, A)
                gap = M.mean(dim=(1, 2)) + c @ b - S.detach()
                if (gap.abs() > 1e-2 * (1 + S.detach().abs())).any():
                    raise ValueError(no_pooled_head(module))
                found.append(M)
        return found

    maps = mapped(explained, inputs, batch_size, upsample)
    return dict(zip(targets, maps, strict=True)) if isinstance(target, Mapping) else maps[0]


def score_cam(
    model: Model,
    inputs: Tensor,
    target: Targets = None,
    *,
    layer: Layer | None = None,
    channels: int | None = None,
    upsample: bool = True,
    batch_size: int | None = None,
    progress: bool = False,
) -> Maps:
    r"""Score-CAM: each channel is tried as a mask, and weighted by the score that is left.

    .. math::
        H_k = \frac{U(A_k) - \min U(A_k)}{\max U(A_k) - \min U(A_k)}

        w = \operatorname{softmax}_k \, S(x \odot H_k)

        M_{xy} = \operatorname{relu} \Big( \sum_k w_k A_{kxy} \Big)

    U enlarges to the inputs' size, before the scaling. The paper subtracts the score of a blank
    picture from each S; the softmax does not notice, so that pass is saved. Give logits: a softmax
    over probabilities is nearly even, and the map then nearly the mean activation.

    Parameters
    ----------
    model, inputs, target, upsample
        As in `grad_cam`; several targets share all passes.
    layer : str or Module, optional
        As in `grad_cam`, one only.
    channels : int, optional
        Try only so many channels, those with the largest standard deviation over the map. All by
        default. Channels without any variation mask nothing and are always left out.
    batch_size : int, optional
        Masked pictures on the device at once; the result does not depend on it.
    progress : bool
        Show a bar.

    Returns
    -------
    Tensor or dict of str to Tensor
        M, ``(N, H, W)`` or ``(N, h, w)``; a mean of activations, so not in units of the score. A
        masked pixel is zero in the model's own units: after normalising that is grey, not black.

    Raises
    ------
    TypeError, ValueError
        As in `grad_cam`; and for fewer than one channel, or a map in which no channel varies.

    Notes
    -----
    Cost: one forward pass a channel and one more, and no backward pass. Memory does not grow with
    the number of channels.

    References
    ----------
    Wang et al., *Score-CAM: score-weighted visual explanations for convolutional neural
    networks*, CVPR workshops 2020.
    """
    if channels is not None:
        check_count("channels", channels)
    module, targets = bare(model), named(target, inputs)
    (layer,) = chosen(module, inputs, layer)
    if any(one is None for one in targets.values()):
        predicted = predict(module, inputs, batch_size=batch_size).argmax(dim=1)
        targets = {name: predicted if one is None else one for name, one in targets.items()}
    bar = tqdm(desc="Score-CAM", unit="channel", disable=not progress)
    found = []
    with untouched(module, inputs), torch.no_grad(), bar:
        for n, x in enumerate(inputs.detach()):
            own = [taken(one, torch.tensor([n], device="cpu")) for one in targets.values()]
            A = maps_of(record(module, x[None], layer)[layer], x.shape[1:])[0]
            found.append(masked_scores(module, x, own, A, channels, batch_size, bar))
    maps = [
        finished(torch.stack(each), inputs.shape[2:], upsample) for each in zip(*found, strict=True)
    ]
    return dict(zip(targets, maps, strict=True)) if isinstance(target, Mapping) else maps[0]


def masked_scores(
    module: nn.Module,
    x: Tensor,
    targets: Sequence[Target],
    A: Tensor,
    channels: int | None,
    batch_size: int | None,
    bar: tqdm,
) -> list[Tensor]:
    """Score-CAM of one picture x ``(C, H, W)`` with maps A ``(K, h, w)``, for each target."""
    spread = A.flatten(1).std(dim=1)
    varying = int((spread > 0).sum())
    if varying == 0:
        raise ValueError("no channel of this layer varies over the map, so none can be a mask")
    most = spread.argsort(descending=True)[: min(channels or varying, varying)]

    def scores(k: Tensor) -> Tensor:
        U = F.interpolate(A[None, k.to(A.device)], x.shape[1:], mode="bilinear")[0]
        low, high = U.amin(dim=(1, 2), keepdim=True), U.amax(dim=(1, 2), keepdim=True)
        # A channel that varies, but not where U samples it, hides everything.
        H = ((U - low) / (high - low).clamp_min(torch.finfo(U.dtype).tiny)).to(x.dtype)
        outputs = run(module, x * H[:, None])
        bar.update(len(k))
        each = [c.expand(len(k)) if isinstance(c, Tensor) else c for c in targets]
        return torch.stack([class_scores(outputs, c) for c in each])

    S = torch.cat(list(in_batches(scores, most.cpu(), batch_size, x)), dim=1)
    w = S.to(A.dtype).softmax(dim=1)
    return [torch.einsum("k,khw->hw", each, A[most]).relu() for each in w]


def activations(model: Model, inputs: Tensor, layers: Layer | Sequence[Layer]) -> dict[str, Tensor]:
    """Maps of some layers, one a channel: what there is to weigh.

    Parameters
    ----------
    model : Module
        Any network.
    inputs : Tensor
        ``(N, C, H, W)``.
    layers : str, Module or a sequence of them
        `xai_lab.layers.spatial_layers` lists them.

    Returns
    -------
    dict of str to Tensor
        A of each layer by its dotted name, ``(N, C, h, w)``, detached; tokens are folded to their
        grid, and tokens that are no patches dropped.

    Raises
    ------
    TypeError, ValueError
        If a layer is not there, never runs, runs several times, or has no map.

    Notes
    -----
    Cost: one forward pass.
    """
    size = inputs.shape[2:]
    return {name: fold(A, size) for name, A in record(model, inputs, layers).items()}


def class_activation(
    model: Model,
    inputs: Tensor,
    target: Targets,
    layer: Layers,
    upsample: bool,
    batch_size: int | None,
    weighted: Callable[[Tensor, Tensor], Tensor],
) -> Maps:
    """Maps that ``weighted`` makes of activation and gradient, for each target and layer.

    The one place where the gradient methods of this module meet the network. ``weighted`` gets A
    and g as ``(N, C, h, w)`` in float32 at least, and returns ``(N, h, w)``.
    """
    module, targets = bare(model), named(target, inputs)
    names = chosen(module, inputs, layer)
    size = inputs.shape[2:]

    def explained(i: Tensor) -> list[Tensor]:
        with graph_from(module, inputs[i], names) as (kept, outputs):
            A = [maps_of(one.detach(), size) for one in kept.values()]
            found = []
            for one in targets.values():
                score = class_scores(outputs, taken(one, i)).sum()
                g = [maps_of(g, size) for g in gradients_at(score, kept)]
                found += [weighted(*pair) for pair in zip(A, g, strict=True)]
        return found

    maps = iter(mapped(explained, inputs, batch_size, upsample))
    by_target: dict[str, Maps] = {name: {label: next(maps) for label in names} for name in targets}
    if layer is None or isinstance(layer, str | nn.Module):
        by_target = {name: by_layer[names[0]] for name, by_layer in by_target.items()}
    return by_target if isinstance(target, Mapping) else by_target[""]


def named(target: Targets, inputs: Tensor) -> dict[str, Any]:
    """Targets by name, each as one class a sample; a single one has no name."""
    check_inputs(inputs)
    if not isinstance(target, Mapping):
        target = {"": target}
    elif not target:
        raise ValueError("there is no target in this mapping; give one, or None for the best guess")
    return {name: per_sample(one, len(inputs)) for name, one in target.items()}


def chosen(module: nn.Module, inputs: Tensor, layer: Layers) -> list[str]:
    """Names of the layers that were asked for, or of the default one."""
    if inputs.ndim != 4:
        raise ValueError(
            f"inputs have shape {tuple(inputs.shape)}, expected pictures (N, C, H, W); "
            "`inputs[None]` makes a batch of one"
        )
    if layer is None:
        return [last_spatial_layer(module, inputs)]
    several = [layer] if isinstance(layer, str | nn.Module) else list(layer)
    if not several:
        raise ValueError("no layer was named; leave `layer` out for the last one with a map")
    return [find_layer(module, one)[0] for one in several]


def mapped(
    explained: Callable[[Tensor], list[Tensor]],
    inputs: Tensor,
    batch_size: int | None,
    upsample: bool,
) -> list[Tensor]:
    """Maps of all samples, batch by batch, checked and enlarged."""
    batches = list(in_batches(explained, range(len(inputs)), batch_size, inputs))
    return [
        finished(torch.cat(parts), inputs.shape[2:], upsample)
        for parts in zip(*batches, strict=True)
    ]


def gradients_at(score: Tensor, kept: Mapping[str, Tensor]) -> list[Tensor]:
    """Gradient of the score at each layer, refused where the score does not depend on it."""
    if not score.requires_grad:
        raise ValueError(
            "the score does not depend on any of these layers: something behind them cuts the "
            "graph (detach, no_grad, argmax), or the target is a constant"
        )
    # The graph is kept for the next target; it is freed with the activations.
    gradients = torch.autograd.grad(
        score, list(kept.values()), retain_graph=True, allow_unused=True
    )
    for name, g in zip(kept, gradients, strict=True):
        if g is None:
            raise ValueError(
                f"the score does not depend on layer {name!r}; name a layer that leads to it"
            )
    return list(gradients)


def maps_of(A: Tensor, size: Sequence[int]) -> Tensor:
    """Activation or gradient as maps ``(N, C, h, w)``, precise enough for a long sum."""
    maps = fold(A, size)
    if maps.shape[2:].numel() == 1:
        raise ValueError(
            "the layer's map has 1 × 1 cells, so it says nothing about where; name an earlier "
            "layer, or use a larger picture. Layers with a map: "
            "`xai_lab.layers.spatial_layers(model, inputs)`"
        )
    return maps.to(torch.promote_types(maps.dtype, torch.float32))


def finished(maps: Tensor, size: Sequence[int], upsample: bool) -> Tensor:
    """Maps checked, and at the inputs' size if that is wanted."""
    if not torch.isfinite(maps).all():
        raise ValueError(
            "the map is NaN or infinite; in half precision a score can overflow: "
            "use `model.float()` and `inputs.float()`"
        )
    empty = (maps.flatten(1) == 0).all(dim=1).nonzero()[:, 0].tolist()
    if empty:
        warnings.warn(
            f"the map of sample {', '.join(map(str, empty))} is zero everywhere. Either nothing in "
            "this layer speaks *for* the class, and relu has cut off the rest (`hires_cam` shows "
            "it with its sign), or the layer leads nowhere: behind the last attention of a vision "
            "transformer only the class token does",
            stacklevel=callers_level(),
        )
    if upsample:
        return F.interpolate(maps[:, None], tuple(size), mode="bilinear")[:, 0]
    return maps


def callers_level() -> int:
    """Stack level at which the function that asks was called from outside this module."""
    level = 1
    while sys._getframe(level).f_globals["__name__"] == __name__:
        level += 1
    return level


def pooled_head(module: nn.Module, channels: int, classes: int) -> nn.Linear:
    """Last linear layer that could turn the mean of each channel into the class scores."""
    heads = [
        part
        for part in module.modules()
        if isinstance(part, nn.Linear)
        and (part.in_features, part.out_features) == (channels, classes)
    ]
    if not heads:
        raise ValueError(no_pooled_head(module))
    return heads[-1]


def no_pooled_head(module: nn.Module) -> str:
    """Sentence for a network that CAM is not exact for."""
    return (
        f"CAM is the score cell by cell, for a network that ends in global average pooling and "
        f"one linear layer, and for a target that is linear in the scores; this "
        f"{type(module).__name__} and target are not so. `grad_cam` takes any head"
    )
