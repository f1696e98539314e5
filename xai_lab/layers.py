"""Inside a network: its layers by name, what they put out, and where that lies in the picture.

Read it in this order. `record` keeps the outputs of layers, `graph_from` starts the autograd graph
at them. `fold` turns whatever a layer puts out (channels first, channels last, tokens) into a map
``(N, C, h, w)``. `spatial_layers` lists the layers that have such a map, `last_spatial_layer` picks
the one to explain.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from xai_lab.core import (
    Model,
    Target,
    check_inputs,
    class_scores,
    run,
    untouched,
)

Layer: TypeAlias = str | nn.Module


def record(model: Model, inputs: Tensor, layers: Layer | Sequence[Layer]) -> dict[str, Tensor]:
    """Outputs of some layers, by name, from one forward pass without a graph.

    Parameters
    ----------
    model : Module
        Any network.
    inputs : Tensor
        ``(N, …)``.
    layers : str, Module or a sequence of them
        Dotted names or the modules themselves.

    Returns
    -------
    dict of str to Tensor
        The activations A of each layer, ``(N, …)``, detached, under the layer's dotted name.
    """
    with passing(model, inputs, layers, graph=False) as (kept, _outputs):
        return kept


@contextmanager
def graph_from(
    model: Model, inputs: Tensor, layers: Layer | Sequence[Layer]
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Activations and outputs of one forward pass whose graph starts at the first of ``layers``.

    Below that layer nothing is recorded, so a gradient of the score with respect to the
    activations costs the layers above it and no more.

    Parameters
    ----------
    model : Module
        Any network.
    inputs : Tensor
        ``(N, …)``.
    layers : str, Module or a sequence of them
        Dotted names or the modules themselves.

    Yields
    ------
    kept : dict of str to Tensor
        The activation A of each layer, under its dotted name; each takes part in the graph.
    outputs : Tensor
        Class scores ``(N, K)``, connected to them.
    """
    with passing(model, inputs, layers, graph=True) as kept_and_outputs:
        yield kept_and_outputs


@contextmanager
def passing(
    model: Model, inputs: Tensor, layers: Layer | Sequence[Layer], graph: bool
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Run the model once and keep what some layers put out, with a graph from there on or not."""
    check_inputs(inputs, model)
    wanted = [layers] if isinstance(layers, str | nn.Module) else list(layers)
    found = dict(find_layer(model, layer) for layer in wanted)
    kept: dict[str, Tensor] = {}
    runs = dict.fromkeys(found, 0)

    def keeper(name: str) -> Callable[..., Tensor]:
        def keep(_module: nn.Module, _arguments: object, output: Tensor) -> Tensor:
            check_activation(name, output)
            runs[name] += 1
            if graph:
                torch.set_grad_enabled(True)
            # A copy, because the next layer may be an in-place activation.
            own = output.clone()
            kept[name] = own if own.requires_grad else own.detach().requires_grad_(graph)
            return kept[name].clone() if graph else output

        return keep

    with untouched(bare(model), inputs):
        with ExitStack() as hooks, torch.no_grad():
            for name, module in found.items():
                hooks.callback(module.register_forward_hook(keeper(name)).remove)
            # A copy again: the model itself may work in place.
            outputs = run(bare(model), inputs.detach().clone())
        for name, times in runs.items():
            if times == 0:
                raise ValueError(
                    f"layer {name!r} was never run: the model ignores it for these inputs"
                )
            if times > 1:
                parent = name.rpartition(".")[0]
                raise ValueError(
                    f"layer {name!r} runs {times} times in one pass, so its output is not one "
                    f"thing; name the block around it{f', {parent!r}' if parent else ''}"
                )
        yield {name: kept[name] for name in found}, outputs


def bare(model: Model) -> nn.Module:
    """Module itself, out of the wrappers of ``torch.compile`` and ``DataParallel``.

    Hooks on a compiled module may be skipped, and a parallel one runs copies of its layers.
    """
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model = inner
        elif isinstance(model, nn.Module):
            return model
        else:
            raise TypeError(
                f"layers need a torch.nn.Module, got a {type(model).__name__}; a function around "
                "a model has none: pass the model, and choose the score with `target`"
            )


def find_layer(model: Model, layer: Layer) -> tuple[str, nn.Module]:
    """Dotted name and module of a layer given either way."""
    names = {name: module for name, module in bare(model).named_modules() if name}
    if isinstance(layer, nn.Module):
        for name, module in names.items():
            if module is layer:
                return name, module
        raise ValueError(f"this {type(layer).__name__} is not a part of the model")
    if layer not in names:
        near = difflib.get_close_matches(str(layer), names, n=5, cutoff=0.3)
        raise ValueError(
            f"no layer {layer!r}; near it: {', '.join(near or islice(names, 5))}. "
            "All names: `[name for name, _ in model.named_modules()]`; those with a map: "
            "`xai_lab.layers.spatial_layers(model, inputs)`"
        )
    return layer, names[layer]


def check_activation(name: str, output: object) -> None:
    """Refuse a layer that returns more than one tensor, as recurrent ones and blocks do."""
    if not isinstance(output, Tensor):
        raise TypeError(
            f"layer {name!r} returned a {type(output).__name__}, expected one tensor; "
            "name a layer inside it or after it"
        )


def fold(A: Tensor, size: Sequence[int]) -> Tensor:
    """Layer's output as maps ``(N, C, h, w)``, whatever order the network keeps it in.

    Parameters
    ----------
    A : Tensor
        ``(N, C, h, w)``; channels last, ``(N, h, w, C)``, as in Swin; or tokens ``(N, T, C)``, as
        in a vision transformer: class, distillation and register tokens come first and are
        dropped, the others are the patches row by row.
    size : (int, int)
        H and W of the inputs. Which two axes are h and w is decided by their ratio.

    Returns
    -------
    Tensor
        A view of A.

    Raises
    ------
    ValueError
        If the output has no such reading.
    """
    if A.ndim == 4:
        first, last = A.shape[2:], A.shape[1:3]
        # Channels first is by far the usual order: the other must fit much better. Swin's early
        # maps, 64 × 64 × 96, do; a small map whose ratio suffered from rounding does not.
        much_better = distortion(last, size) + math.log(1.45) < distortion(first, size)
        channels_last = much_better and min(last) > 1
        return A.permute(0, 3, 1, 2) if channels_last else A
    if A.ndim == 3:
        prefix, h, w = token_grid(A.shape[1], size)
        return A[:, prefix:].transpose(1, 2).unflatten(2, (h, w))
    raise ValueError(
        f"an output of shape {tuple(A.shape)} has no place in the picture, expected "
        "(N, C, h, w), (N, h, w, C) or tokens (N, T, C)"
    )


def distortion(grid: Sequence[int], size: Sequence[int]) -> float:
    """How far the shape of a grid is from the shape of the picture; 0 for the same shape."""
    return abs(math.log(grid[0] * size[1] / (grid[1] * size[0])))


def token_grid(tokens: int, size: Sequence[int], most: int = 16) -> tuple[int, int, int]:
    """Leading tokens that are no patches, rows and columns of the patches: ``(prefix, h, w)``."""
    fits = []
    for prefix in range(min(most, tokens - 1) + 1):
        patches = tokens - prefix
        root = math.sqrt(patches * size[0] / size[1])
        for h in (math.floor(root), math.ceil(root)):
            if h > 0 and patches % h == 0:
                grid = (h, patches // h)
                fits.append((distortion(grid, size), prefix, *grid))
    # A patch is square, or nearly so where the picture is not a whole number of patches.
    wrong, prefix, h, w = min(fits, default=(math.inf, 0, 0, 0))
    if wrong > math.log(1.25):
        raise ValueError(
            f"{tokens} tokens are no grid over a picture of {size[0]} × {size[1]}, with up to "
            f"{most} leading tokens of another kind; name a layer whose tokens are the patches"
        )
    return prefix, h, w


def spatial_layers(
    model: Model, inputs: Tensor, target: Target = None
) -> dict[str, tuple[int, ...]]:
    """Layers that put out a map which the score depends on, in the order in which they run.

    Parameters
    ----------
    model : Module
        Any network.
    inputs : Tensor
        ``(N, …, H, W)``; the first sample is used.
    target : int, sequence of int, Tensor, callable or None
        Whose score; see `class_scores`.

    Returns
    -------
    dict of str to (int, int, int)
        Dotted name, and C, h, w of the map. Left out are layers that run more than once, that
        only pass a map on or pool it, whose map is a single cell, and those whose map the score
        does not depend on: behind the last attention of a vision transformer with a class token,
        the patches lead nowhere.

    Notes
    -----
    Cost: one forward and one backward pass of one sample.
    """
    check_inputs(inputs, model)
    module = bare(model)
    if inputs.ndim != 4:
        raise ValueError(f"inputs have shape {tuple(inputs.shape)}, expected pictures (N, C, H, W)")
    found: dict[str, Tensor] = {}
    runs: dict[str, int] = {}
    newest: tuple[str, Tensor, int] | None = None

    def looker(name: str) -> Callable[..., None]:
        def look(layer: nn.Module, _arguments: object, output: object) -> None:
            nonlocal newest
            runs[name] = runs.get(name, 0) + 1
            if not isinstance(output, Tensor):
                return
            if newest is not None and output is newest[1] and output._version == newest[2]:
                # The same tensor under another name: the block that ends with this layer is a
                # better name, a layer that hands it on is not.
                if not newest[0].startswith(f"{name}."):
                    return
                if found.pop(newest[0], None) is not None:
                    found[name] = output
            elif not isinstance(layer, PASSING_ON):
                found[name] = output
            newest = (name, output, output._version)

        return look

    one = inputs[:1].detach().clone().requires_grad_()
    with untouched(module, one), ExitStack() as hooks:
        for name, layer in module.named_modules():
            if name:
                hooks.callback(layer.register_forward_hook(looker(name)).remove)
        score = class_scores(run(module, one.clone()), first(target)).sum()
        layers = {
            name: output
            for name, output in found.items()
            if runs[name] == 1 and output.requires_grad and has_map(output, inputs.shape[2:])
        }
        if not score.requires_grad or not layers:
            return {}
        gradients = torch.autograd.grad(score, list(layers.values()), allow_unused=True)
    size = inputs.shape[2:]
    maps = {name: fold(g, size) for name, g in zip(layers, gradients, strict=True) if g is not None}
    return {name: (*g.shape[1:],) for name, g in maps.items() if g.count_nonzero()}


# Layers that hand a map on, pool it, or hold something else that looks like one.
PASSING_ON = (
    nn.Identity,
    nn.Linear,
    nn.Softmax,
    nn.modules.dropout._DropoutNd,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
)


def has_map(output: Tensor, size: Sequence[int]) -> bool:
    """Whether an output can be folded to a map of more than one cell in the picture's shape."""
    try:
        grid = fold(output, size).shape[2:]
    except ValueError:
        return False
    return grid.numel() > 1 and distortion(grid, size) < math.log(2)


def first(target: Target) -> Target:
    """Target of the first sample alone."""
    if isinstance(target, Tensor):
        return target.reshape(-1)[:1]
    return [target[0]] if isinstance(target, Sequence) else target


def last_spatial_layer(model: Model, inputs: Tensor, target: Target = None) -> str:
    """Name of the layer to explain if none is named: the last of `spatial_layers`.

    It is looked for once for a model and a size of inputs, and then remembered for as long as the
    model lives with the same layers.

    Raises
    ------
    ValueError
        If no layer has a map that the score depends on.
    """
    module = bare(model)
    key = (tuple(inputs.shape[1:]), tuple(id(part) for part in module.modules()))
    known = REMEMBERED.setdefault(module, {})
    if key not in known:
        layers = spatial_layers(model, inputs, target)
        if not layers:
            raise ValueError(
                f"no layer of this {type(module).__name__} puts out a map of more than one cell "
                f"that the score depends on, for inputs {tuple(inputs.shape)}: the inputs are too "
                "small, the network has no spatial layers, or the score is flat (a head of zeros, "
                "a saturated score). `saliency` needs no layer"
            )
        known[key] = next(reversed(layers))
    return known[key]


REMEMBERED: WeakKeyDictionary[nn.Module, dict[tuple, str]] = WeakKeyDictionary()
