"""The ground floor: what every method needs before it can say anything.

Read it in this order. `predict` runs a model. `class_scores` turns a *target* into one score a
sample, the S of every formula. `untouched` lends a model out and returns it as it was.
`in_batches` cuts work to what fits on the device. The checks at the end turn bad input into a
sentence. What is inside a network is in `xai_lab.layers`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from numbers import Integral
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

Result = TypeVar("Result")
Model: TypeAlias = Callable[[Tensor], object]
Target: TypeAlias = int | Sequence[int] | Tensor | Callable[[Tensor], Tensor] | None


def device() -> torch.device:
    """Device the course computes on: ``XAI_LAB_DEVICE`` if set, else a GPU if there is one.

    Returns
    -------
    torch.device
        ``cuda``, ``mps`` or ``cpu``.

    Raises
    ------
    ValueError
        If ``XAI_LAB_DEVICE`` names a device that this machine does not have.
    """
    available = torch.accelerator.current_accelerator(check_available=True)
    wanted = os.environ.get("XAI_LAB_DEVICE", "").strip()
    if not wanted:
        return available or torch.device("cpu")
    try:
        chosen = torch.device(wanted)
        torch.empty(0, device=chosen)
        if chosen.type == "meta":
            raise RuntimeError("the meta device holds no numbers")
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"XAI_LAB_DEVICE={wanted} cannot be used here; found {available or 'no GPU'}. "
            "Unset the variable, or set it to cpu."
        ) from error
    return chosen


def predict(model: Model, inputs: Tensor, *, batch_size: int | None = None) -> Tensor:
    """Class scores of a model, without a graph.

    Parameters
    ----------
    model : callable
        Maps ``(N, …)`` to scores ``(N, K)``: a tensor, or an object with ``.logits``.
    inputs : Tensor
        ``(N, …)``, floating point.
    batch_size : int, optional
        Samples on the device at once.

    Returns
    -------
    Tensor
        Scores (logits, for a model that ends in none else) ``(N, K)``.

    Notes
    -----
    Cost: one forward pass a sample.
    """
    check_inputs(inputs, model)
    with untouched(model, inputs), torch.no_grad():
        batches = in_batches(
            lambda i: run(model, inputs[i].detach()), range(len(inputs)), batch_size, inputs
        )
        return torch.cat(list(batches))


def run(model: Model, inputs: Tensor) -> Tensor:
    """Model's scores ``(N, K)``, checked; the one place where a model is called."""
    try:
        outputs = model(inputs)
    except (RuntimeError, ValueError, IndexError) as error:
        raise_if_misfit(model, inputs, error)
        raise
    outputs = getattr(outputs, "logits", outputs)
    if not isinstance(outputs, Tensor):
        raise TypeError(
            f"the model returned a {type(outputs).__name__}, expected a tensor (N, K) or an object "
            "with .logits; wrap the model: `lambda x: model(x)[0]` picks the first of a tuple, "
            "`lambda x: model(x)['out']` an entry of a dict"
        )
    if outputs.ndim != 2 or len(outputs) != len(inputs):
        raise ValueError(
            f"the model returned shape {tuple(outputs.shape)} for inputs {tuple(inputs.shape)}, "
            f"expected ({len(inputs)}, K): one row of class scores a sample. Is a batch "
            "dimension missing (`inputs[None]`), or does the model need a wrapper?"
        )
    return outputs


def class_scores(outputs: Tensor, target: Target = None) -> Tensor:
    """Score S that is to be explained, one a sample.

    .. math:: S_n = y_{n, c_n}

    Parameters
    ----------
    outputs : Tensor
        Class scores y, ``(N, K)``.
    target : int, sequence of int, Tensor, callable or None
        Class c for all samples; one a sample; a function from ``(N, K)`` to ``(N,)``; or ``None``
        for the class with the highest score.

    Returns
    -------
    Tensor
        ``(N,)``.

    Raises
    ------
    TypeError, ValueError
        If the target is not of these kinds, out of range, or of the wrong length.
    """
    n, k = outputs.shape
    target = per_sample(target, n)
    if callable(target):
        try:
            scores = target(outputs)
        except (RuntimeError, IndexError) as error:
            raise ValueError(
                f"the target function failed on outputs of shape {tuple(outputs.shape)}: {error}. "
                "It is called on batches, so it must take any number of rows and treat them alike; "
                "for a class of its own for each sample, give the classes as a list"
            ) from error
        if not isinstance(scores, Tensor) or scores.shape != (n,):
            got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise ValueError(
                f"the target function returned {got}, expected a tensor of shape ({n},): "
                "one score a sample, such as `lambda y: y[:, 3] - y[:, 5]`"
            )
        return scores
    if target is None:
        target = outputs.detach().argmax(dim=1)
    elif target.min() < 0 or target.max() >= k:
        raise ValueError(
            f"target {target.tolist()} is out of range: the model has classes 0 to {k - 1}"
        )
    return outputs.gather(1, target.to(outputs.device)[:, None])[:, 0]


def per_sample(target: Target, n: int) -> Tensor | Callable[[Tensor], Tensor] | None:
    """Target as one class a sample ``(n,)``, so that it can be cut into batches with the inputs."""
    if target is None or callable(target):
        return target
    try:
        classes = target if isinstance(target, Tensor) else torch.as_tensor(target, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"target {target!r} is neither a class number, a list of them, None nor a "
            "function of the outputs; `labels.index('espresso')` finds a number"
        ) from error
    if classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool:
        raise TypeError(
            f"a target of {classes.dtype} was given, expected class numbers (int), None or a "
            "function of the outputs"
        )
    if classes.ndim > 1 or (classes.ndim == 1 and len(classes) != n):
        raise ValueError(
            f"a target of shape {tuple(classes.shape)} was given for {n} samples, "
            f"expected one class, or {n} of them"
        )
    return classes.long().expand(n)


def taken(
    target: Tensor | Callable[[Tensor], Tensor] | None, index: Tensor
) -> Tensor | Callable[[Tensor], Tensor] | None:
    """Part of a `per_sample` target that belongs to the samples ``index``."""
    return target[index.to(target.device)] if isinstance(target, Tensor) else target


@contextmanager
def untouched(model: Model, inputs: Tensor) -> Iterator[None]:
    """Lend a model out in eval mode with frozen weights; return it as it was, error or not.

    Training flags and ``requires_grad`` come back module by module and weight by weight, and so
    does the global random state, for a model that draws from it. A function around a model, such
    as ``lambda x: model(x)[0]``, is no different: its modules are found when it calls them.
    Inside, gradients can be recorded even if the caller had switched that off.
    """
    met: dict[int, nn.Module] = {}
    training: list[nn.Module] = []
    trainable: list[nn.Parameter] = []

    def lend(module: nn.Module, _arguments: object = None) -> None:
        if id(module) in met:
            return
        for part in module.modules():
            met[id(part)] = part
            if part.training:
                training.append(part)
                part.training = False
        # Frozen weights need no gradient, and autograd then keeps fewer activations.
        for parameter in module.parameters():
            if parameter.requires_grad and not parameter.is_inference():
                trainable.append(parameter)
                parameter.requires_grad_(False)

    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        # On a CPU, naming no device keeps fork_rng from asking every GPU for its state.
        own = [inputs.device] if inputs.device.type == "cuda" else []
        stack.enter_context(torch.random.fork_rng(devices=own))
        try:
            if isinstance(model, nn.Module):
                lend(model)
            else:
                stack.callback(register_module_forward_pre_hook(lend).remove)
            yield
        finally:
            for part in training:
                part.training = True
            for parameter in trainable:
                parameter.requires_grad_(True)


def in_batches(
    function: Callable[[Tensor], Result],
    items: Iterable[Tensor | int],
    batch_size: int | None,
    like: Tensor,
) -> Iterator[Result]:
    """Apply ``function`` to stacks of at most ``batch_size`` items, halved when memory runs out.

    Parameters
    ----------
    function : callable
        From a stack of items ``(B, …)`` to a result.
    items : iterable of Tensor or int
        Drawn as needed, so a generator of a million noise pictures costs no memory.
    batch_size : int, optional
        ``None``: 8 on a CPU, where larger batches are slower, and 64 on a GPU.
    like : Tensor
        Inputs whose device decides the default.

    Yields
    ------
    Result
        Of ``function`` for each stack, in order.
    """
    if batch_size is None:
        batch_size = 8 if like.device.type == "cpu" else 64
    check_count("batch_size", batch_size)
    items = iter(items)
    waiting = [as_item(item) for item in islice(items, batch_size)]
    while waiting:
        stack = waiting[:batch_size]
        try:
            result = function(torch.stack(stack))
        except RuntimeError as error:
            if len(stack) == 1 or not out_of_memory(error):
                raise
            result = None
        if result is None:  # outside the handler: the error's traceback holds the memory
            batch_size = len(stack) // 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        yield result
        del waiting[: len(stack)], result
        # After halving, more may be waiting than fit.
        missing = max(0, batch_size - len(waiting))
        waiting += [as_item(item) for item in islice(items, missing)]


def as_item(item: Tensor | int) -> Tensor:
    """Tensor to be stacked; a number stays on the CPU, whatever the default device is."""
    return item if isinstance(item, Tensor) else torch.tensor(item, device="cpu")


def out_of_memory(error: RuntimeError) -> bool:
    """Whether an error says that the device's memory is full; each device has its own words."""
    words = ("out of memory", "not enough memory", "can't allocate memory", "alloc_failed")
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(word in text for word in words)


def check_inputs(inputs: Tensor, model: Model | None = None) -> None:
    """Refuse inputs that would give an error without a meaning, or a map without one."""
    if model is not None and not callable(model):
        inside = "; give its `.model`" if hasattr(model, "model") else ""
        raise TypeError(
            f"the model is a {type(model).__name__}, expected a torch.nn.Module or a function "
            f"from (N, …) to class scores (N, K){inside}"
        )
    if not isinstance(inputs, Tensor):
        raise TypeError(
            f"inputs are a {type(inputs).__name__}, expected a float tensor (N, …); "
            "a photo becomes one with `load(name).preprocess(photo)`"
        )
    if not inputs.is_floating_point():
        raise TypeError(
            f"inputs are {inputs.dtype}, expected floating point: a gradient needs numbers that "
            "can move. Use the model's preprocess, or `inputs.float() / 255` for a picture of bytes"
        )
    if inputs.ndim < 2 or len(inputs) == 0:
        raise ValueError(
            f"inputs have shape {tuple(inputs.shape)}, expected a batch (N, …) of at least one "
            "sample; `inputs[None]` makes a batch of one"
        )
    if isinstance(model, nn.Module) and (weight := next(model.parameters(), None)) is not None:
        if weight.device != inputs.device:
            raise ValueError(
                f"inputs are on {inputs.device}, the model on {weight.device}; "
                f"use `inputs.to('{weight.device}')`"
            )
    if inputs.device.type != "meta" and not torch.isfinite(inputs).all():
        raise ValueError("inputs hold NaN or infinity; look at them before you explain them")


def raise_if_misfit(model: Model, inputs: Tensor, error: Exception) -> None:
    """Say what the model's first layer wants, when that is why it failed."""
    if "Inference tensors" in str(error):
        raise ValueError(
            "the model was built or loaded under torch.inference_mode(), and such weights cannot "
            "take part in a gradient; load it outside"
        ) from error
    modules = model.modules() if isinstance(model, nn.Module) else ()
    first = next((m for m in modules if isinstance(getattr(m, "weight", None), Tensor)), None)
    shape = tuple(inputs.shape)
    if isinstance(first, nn.Conv2d) and (inputs.ndim != 4 or inputs.shape[1] != first.in_channels):
        raise ValueError(
            f"inputs have shape {shape}, the model expects pictures "
            f"(N, {first.in_channels}, H, W): a batch dimension first, then "
            f"{first.in_channels} channels"
        ) from error
    if first is not None and first.weight.dtype != inputs.dtype:
        kind = str(first.weight.dtype).removeprefix("torch.")
        raise ValueError(
            f"inputs are {inputs.dtype}, the model's weights {first.weight.dtype}; "
            f"use `inputs.to(torch.{kind})`"
        ) from error
    if isinstance(first, nn.Linear):
        width, wanted = inputs.shape[-1], first.in_features
        if width != wanted and inputs.flatten(1).shape[1] != wanted:
            raise ValueError(
                f"inputs have shape {shape}, the model's first layer takes {wanted} numbers each"
            ) from error


def check_count(name: str, value: int, least: int = 1) -> None:
    """Refuse a count that is not a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} is {value!r}, expected a whole number")
    if value < least:
        raise ValueError(f"{name} is {value}, expected at least {least}")


def check_attribution(attribution: Tensor) -> Tensor:
    """Refuse a map of NaNs; say it when one is zero everywhere."""
    if not torch.isfinite(attribution).all():
        raise ValueError(
            "the gradient is NaN or infinite; in half precision a score can overflow: "
            "use `model.float()` and `inputs.float()`"
        )
    empty = (attribution.flatten(1) == 0).all(dim=1).nonzero()[:, 0].tolist()
    if empty:
        warnings.warn(
            f"the map of sample {', '.join(map(str, empty))} is zero everywhere: the score is flat "
            "at this input (a saturated or dead unit), which is not the same as 'nothing matters'",
            stacklevel=3,
        )
    return attribution
