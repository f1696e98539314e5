"""Watching a transformer attend: its attention matrices, whatever kernel computes them.

`Attending` keeps each matrix while a model runs. `prepared` and `call` hand the model its inputs,
`chosen`, `heads_first` and `real_tokens` put what was found in order. Used by `xai_lab.attention`.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xai_lab.core import check_inputs
from xai_lab.layers import Layer, bare, find_layer

#: Pictures ``(N, C, H, W)``, numbers of tokens ``(N, T)``, or what a tokenizer returned.
Inputs: TypeAlias = Tensor | Mapping[str, Tensor]


class Attending(TorchFunctionMode):
    """While active, each attention matrix that the model computes is kept under its module's name.

    ``softmax`` over the last of four axes is attention; the fused kernels are replaced by their
    formula, so that there is a softmax to be seen. Because functions are watched, and not modules,
    it matters little whose transformer it is.

    Parameters
    ----------
    module : Module
        Whose modules give the names.
    start : int, optional
        Number of the attention at which the autograd graph starts; none by default.
    """

    softmaxes = (F.softmax, torch.softmax, Tensor.softmax, torch.special.softmax)

    def __init__(self, module: nn.Module, start: int | None = None) -> None:
        super().__init__()
        self.start = start
        self.found: list[tuple[str, Tensor]] = []
        # A module without children is a layer inside an attention: the attention gives the name.
        inner = [(name, part) for name, part in module.named_modules() if [*part.children()]]
        self.names = {id(part): name for name, part in inner}
        self.watched: dict[Callable, Callable] = {
            F.scaled_dot_product_attention: self.scaled_dot_product,
            F.multi_head_attention_forward: self.multi_head,
            **{softmax: partial(self.softmax, softmax) for softmax in self.softmaxes},
        }

    def __torch_function__(self, func, types, args=(), kwargs=None):
        # Nearly every call is of another function, so nothing else is done for it.
        return self.watched.get(func, func)(*args, **(kwargs or {}))

    def softmax(self, softmax: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Softmax, noted down if it is that of an attention."""
        output = softmax(*args, **kwargs)
        return self.keep(output) if is_attention(output, *args[1:2], **kwargs) else output

    def keep(self, A: Tensor) -> Tensor:
        """Note one matrix down; start the graph here if it is time."""
        if self.start is not None and len(self.found) >= self.start:
            torch.set_grad_enabled(True)
            A = A if A.requires_grad else A.detach().requires_grad_()
        self.found.append((self.running(), A))
        return A

    def running(self) -> str:
        """Name of the innermost module that is being run, read off the calls that led here.

        Hooks on all modules would tell as well, but cost more than everything else in this class.
        """
        frame = sys._getframe()
        while frame is not None:
            if (name := self.names.get(id(frame.f_locals.get("self")))) is not None:
                return name
            frame = frame.f_back  # type: ignore[assignment]
        return ""

    def scaled_dot_product(
        self,
        q,
        k,
        v,
        attn_mask=None,
        dropout_p=0.0,
        is_causal=False,
        *,
        scale=None,
        enable_gqa=False,
    ) -> Tensor:
        """Fused kernel of torch by its formula; models in eval mode have no dropout."""
        if enable_gqa:
            k, v = (x.repeat_interleave(q.shape[-3] // x.shape[-3], dim=-3) for x in (k, v))
        scores = q @ k.transpose(-1, -2) * (1 / math.sqrt(q.shape[-1]) if scale is None else scale)
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -math.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        # A row without anything to look at is 0 in the kernel too, and not NaN.
        nowhere = (scores == -math.inf).all(dim=-1, keepdim=True)
        A = self.keep(scores.softmax(dim=-1).masked_fill(nowhere, 0.0))
        return A @ v

    def multi_head(
        self,
        *args: Any,
        need_weights: bool = True,
        average_attn_weights: bool = True,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        """``nn.MultiheadAttention``: it has the weights, if one asks for them by head."""
        kwargs |= {"need_weights": True, "average_attn_weights": False}
        output, A = F.multi_head_attention_forward(*args, **kwargs)
        assert A is not None  # it was asked for
        A = self.keep(A)
        if A.requires_grad:
            output = mixed_values(A, *args, **kwargs)
        shown = A.mean(dim=-3) if average_attn_weights else A
        return output, shown if need_weights else None


def is_attention(output: Tensor, dim: int | None = None, **_: Any) -> bool:
    """Whether a softmax is one over the tokens that each token looks at."""
    if output.ndim not in (3, 4) or dim not in (-1, output.ndim - 1):
        return False
    # Of three axes, (N · heads, T, T): square, or it is a softmax over classes.
    return output.ndim == 4 or output.shape[1] == output.shape[2]


def mixed_values(A: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Output of ``nn.MultiheadAttention`` from its weights A, so that the graph goes through A."""
    given = inspect.signature(F.multi_head_attention_forward).bind(*args, **kwargs).arguments
    if given.get("bias_v") is not None or given.get("add_zero_attn"):
        raise ValueError("relevance is not defined for attention to added biases or zeros")
    value = given["value"]
    if given.get("use_separate_proj_weight"):
        W = given["v_proj_weight"]
    else:
        W = given["in_proj_weight"].chunk(3)[2]
    b = None if given["in_proj_bias"] is None else given["in_proj_bias"].chunk(3)[2]
    v = F.linear(value, W, b)  # (T, N, C), or (T, C) without a batch
    v = v.unflatten(-1, (given["num_heads"], -1)).movedim(0, -2)  # (N, heads, T, C / heads)
    mixed = (A @ v).movedim(-2, 0).flatten(-2)
    return F.linear(mixed, given["out_proj_weight"], given["out_proj_bias"])


@contextmanager
def eager(module: nn.Module) -> Iterator[None]:
    """Let Hugging Face's models compute attention by its formula, as long as the block lasts."""
    configs: list[Any] = [vars(part).get("config") for part in module.modules()]
    before = [
        (config, config._attn_implementation_internal)
        for config in {id(config): config for config in configs}.values()
        if hasattr(config, "_attn_implementation_internal")
    ]
    try:
        for config, _ in before:
            config._attn_implementation_internal = "eager"
        yield
    finally:
        for config, implementation in before:
            config._attn_implementation_internal = implementation


def bare_transformer(model: object) -> nn.Module:
    """Module itself, refused if there are two transformers in it."""
    inside = getattr(model, "model", None)
    if not isinstance(model, nn.Module) and isinstance(inside, nn.Module):
        raise TypeError(f"the model is a {type(model).__name__}; give its `.model`")
    module = bare(model)  # type: ignore[arg-type]
    both = getattr(getattr(module, "config", None), "is_encoder_decoder", False)
    # The encoder alone has the same configuration, but no decoder.
    if (both or isinstance(module, nn.Transformer)) and any(
        name.rpartition(".")[2] == "decoder" for name, _ in module.named_modules()
    ):
        raise ValueError(
            f"this {type(module).__name__} is an encoder and a decoder with three attentions: of "
            "the encoder, of the decoder, and of the decoder to the encoder. Give one part, with "
            "its own inputs: `model.get_encoder()`, or for a torch.nn.Transformer `model.encoder`"
        )
    return module


def prepared(module: nn.Module, inputs: Inputs) -> tuple[dict[str, Tensor], Tensor]:
    """Arguments of the model by name, and the tensor whose rows are the samples."""
    if isinstance(inputs, Tensor) and not inputs.is_floating_point() and inputs.ndim == 2:
        inputs = {"input_ids": inputs}
    if isinstance(inputs, Tensor):
        check_inputs(inputs)
        batch = {"": inputs.detach()}
    elif isinstance(inputs, Mapping):
        batch = dict(inputs)
        for name, value in batch.items():
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"{name!r} is a {type(value).__name__}, expected a tensor: "
                    'call the tokenizer with `return_tensors="pt"` (and `padding=True`)'
                )
    else:
        raise TypeError(
            f"inputs are a {type(inputs).__name__}, expected pictures (N, C, H, W) or what a "
            'tokenizer returns: `tokenizer(text, return_tensors="pt")`'
        )
    if not batch:
        raise ValueError("the inputs are empty; a tokenizer returns input_ids and attention_mask")
    rows = {name: len(value) for name, value in batch.items() if value.ndim}
    if len(rows) != len(batch) or len(set(rows.values())) > 1 or 0 in rows.values():
        shapes = {name: tuple(value.shape) for name, value in batch.items()}
        raise ValueError(f"the inputs have shapes {shapes}, expected the same number N of samples")
    like = next(iter(batch.values()))
    weight = next(module.parameters(), None)
    if weight is not None and weight.device != like.device:
        raise ValueError(
            f"inputs are on {like.device}, the model on {weight.device}; "
            f"use `inputs.to('{weight.device}')`"
        )
    if "input_ids" in batch:
        check_tokens(module, batch["input_ids"])
        batch = with_positions(module, batch)
    return batch, like


def check_tokens(module: nn.Module, ids: Tensor) -> None:
    """Refuse more tokens than the model has positions for, and tokens that it does not know."""
    if ids.ndim != 2 or ids.is_floating_point() or ids.shape[1] == 0:
        raise ValueError(
            f"input_ids have shape {tuple(ids.shape)} and are {ids.dtype}, expected whole numbers "
            "(N, T); `input_ids[None]` makes a batch of one"
        )
    limit = most_tokens(module)
    if limit is not None and ids.shape[1] > limit:
        raise ValueError(
            f"{ids.shape[1]} tokens were given, and this {type(module).__name__} takes at most "
            f"{limit}; shorten the text: `tokenizer(text, truncation=True, max_length={limit})`"
        )
    known = getattr(getattr(module, "config", None), "vocab_size", None)
    if isinstance(known, int) and (ids.max() >= known or ids.min() < 0):
        raise ValueError(
            f"input_ids reach from {int(ids.min())} to {int(ids.max())}, and the model knows 0 to "
            f"{known - 1}: the tokenizer belongs to another model"
        )


def most_tokens(module: nn.Module) -> int | None:
    """Length that the model was made for, where it says so."""
    config = getattr(module, "config", None)
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None or getattr(config, "pad_token_id", None) is None:
        return limit
    # RoBERTa counts positions from behind the number of its padding token.
    return limit - 1 - config.pad_token_id if counts_positions(module) else limit  # type: ignore[union-attr]


def counts_positions(module: nn.Module) -> bool:
    """Whether the model itself leaves padding out when it numbers the positions."""
    return any(hasattr(type(m), "create_position_ids_from_input_ids") for m in module.modules())


def with_positions(module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add positions that start behind padding on the left, which the model would count along."""
    mask = batch.get("attention_mask")
    if mask is None or mask.ndim != 2 or (mask[:, 0] > 0).all() or "position_ids" in batch:
        return batch
    takes = "position_ids" in inspect.signature(module.forward).parameters
    if not takes or counts_positions(module):
        return batch
    return {**batch, "position_ids": (mask.long().cumsum(dim=1) - 1).clamp_min(0)}


def call(module: nn.Module, batch: dict[str, Tensor]) -> object:
    """Run the model on its arguments; torch's own parts get what they need to stand alone."""
    alone = batch.get("")
    if alone is None:
        return module(**batch)
    first = next((m for m in module.modules() if isinstance(m, nn.MultiheadAttention)), None)
    own = isinstance(
        module, nn.MultiheadAttention | nn.TransformerEncoder | nn.TransformerEncoderLayer
    )
    if own and first is not None and not first.batch_first:
        alone = alone.transpose(0, 1)
    return module(alone, alone, alone) if module is first else module(alone)


def chosen(
    found: list[tuple[str, Tensor]],
    layers: int | Layer | Sequence[int | Layer] | None,
    module: nn.Module,
) -> list[tuple[str, Tensor]]:
    """Matrices of the layers that were asked for."""
    if not found:
        raise ValueError(
            f"no attention was seen in this {type(module).__name__}: it has none (a convolutional "
            "network: use `grad_cam`), or a kernel computes it that returns none (flash, xformers, "
            "a compiled one); load the model with its plain attention"
        )
    if layers is None:
        return found
    wanted = [layers] if isinstance(layers, int | str | nn.Module) else list(layers)
    if not wanted:
        raise ValueError("no layer was named; leave `layers` out for all of them")
    several = []
    for layer in wanted:
        if isinstance(layer, str | nn.Module):
            name = find_layer(module, layer)[0]
            inside = [one for one in found if f"{one[0]}.".startswith(f"{name}.")]
            if not inside:
                names = ", ".join(dict.fromkeys(label for label, _ in found))
                raise ValueError(f"layer {name!r} computes no attention; these do: {names}")
            several += inside
        else:
            several.append(found[in_range("layer", layer, len(found))])
    return several


def heads_first(A: Tensor, n: int, name: str, module: nn.Module) -> Tensor:
    """Matrix of one layer as ``(N, heads, T, T)``, precise enough for a long sum."""
    if A.ndim == 3 and len(A) % n == 0:
        A = A.unflatten(0, (n, -1))
    if A.ndim != 4 or len(A) != n:
        raise ValueError(
            f"layer {name!r} of this {type(module).__name__} computes {len(A)} attention matrices "
            f"of {A.shape[-2]} × {A.shape[-1]} for {n} samples: it attends within windows, as Swin "
            "does, so no matrix holds all tokens. Class activation explains it: `hires_cam`"
        )
    if A.shape[-1] != A.shape[-2]:
        raise ValueError(
            f"layer {name!r} of this {type(module).__name__} has {A.shape[-2]} tokens look at "
            f"{A.shape[-1]} others (attention pooling, or a shortened memory), so it does not fit "
            "the square matrices; leave it out with `layers`"
        )
    return A.to(torch.promote_types(A.dtype, torch.float32))


def real_tokens(batch: dict[str, Tensor], A: Tensor) -> Tensor | None:
    """1 for a token and 0 for padding ``(N, T)``, where the inputs say so."""
    mask = batch.get("attention_mask")
    if mask is None and (padded := batch.get("src_key_padding_mask")) is not None:
        mask = padded.logical_not() if padded.dtype == torch.bool else padded == 0
    if mask is None or mask.shape != (A.shape[1], A.shape[-1]):
        return None
    return mask.to(A)


def in_range(what: str, number: int, count: int) -> int:
    """Number of a layer or head, counted from the front."""
    if isinstance(number, bool) or not isinstance(number, int | np.integer):
        raise TypeError(f"{what} is {number!r}, expected a number from 0 to {count - 1}")
    if not -count <= number < count:
        raise ValueError(
            f"{what} {number} is out of range: there are {count}, numbered 0 to {count - 1} "
            f"(or −{count} to −1 from the end)"
        )
    return int(number) % count
