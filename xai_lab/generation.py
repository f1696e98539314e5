"""Language models that write: what they would say at each layer, and what made them say it.

Read `logit_lens`, which reads the hidden states of every layer with the model's own last step, and
`prompt_attribution`, which traces each generated token back to the tokens before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from xai_lab.attending import (
    Inputs,
    bare_transformer,
    most_tokens,
    prepared,
    with_positions,
)
from xai_lab.core import in_batches, untouched


def logit_lens(
    model: nn.Module,
    inputs: Inputs,
    *,
    positions: int | Sequence[int] | None = None,
    batch_size: int | None = None,
) -> Tensor:
    r"""Logit lens: the next token, as each layer would have it.

    .. math:: y_l = W_U \, \operatorname{norm}(h_l), \qquad l = 0, \dots, L

    h is the hidden state, norm the model's last normalisation and W its head. h₀ is the embedding,
    y_L what the model says.

    Parameters
    ----------
    model : Module
        A causal language model of Hugging Face: GPT-2, Llama and their like.
    inputs : Tensor or mapping of str to Tensor
        ``input_ids`` ``(N, T)``, or what a tokenizer returned.
    positions : int or sequence of int, optional
        Tokens to read at, counted from 0 or from the end; all by default. A large vocabulary at
        every token of every layer fills the memory.
    batch_size : int, optional
        Samples on the device at once; the result does not depend on it.

    Returns
    -------
    Tensor
        y, ``(layers + 1, N, positions, K)``, logits, detached: ``.softmax(-1)`` makes
        probabilities, ``.topk(5)`` the five best tokens. What stands at padding means nothing.

    Raises
    ------
    TypeError, ValueError
        If the model has no head over its vocabulary behind a normalisation, or the inputs do not
        fit.

    Notes
    -----
    Cost: one forward pass a sample, and one head a layer. Early layers are read with a head that
    was trained for the last, so what they say is a lower bound on what they know.

    References
    ----------
    nostalgebraist, *Interpreting GPT: the logit lens*, LessWrong 2020; Belrose et al., *Eliciting
    latent predictions from transformers with the tuned lens*, 2023, on its bias.
    """
    module: Any = bare_transformer(model)
    batch, like = prepared(module, inputs)
    blocks, head = blocks_and_head(module)
    where = slice(None) if positions is None else places(positions, like.shape[1])

    def read(i: Tensor) -> Tensor:
        part = {name: value[i.to(value.device)] for name, value in batch.items()}
        hidden, norm, outputs = hidden_states(module, part, blocks, head)
        *earlier, last = [h[:, where] for h in hidden]
        # What the head was given is normalised already.
        lens = torch.stack([*(head(norm(h)) for h in earlier), head(last)])
        said = outputs.logits[:, where]
        if not torch.allclose(lens[-1], said, rtol=1e-3, atol=1e-3 * float(said.abs().max())):
            raise ValueError(
                f"the scores of this {type(module).__name__} are not what its head gives (they are "
                "capped or scaled), so the lens would show what it does not say"
            )
        return lens.transpose(0, 1).float()

    with untouched(module, like), torch.no_grad():
        found = torch.cat(list(in_batches(read, range(len(like)), batch_size, like)))
    return found.transpose(0, 1)


def prompt_attribution(
    model: nn.Module,
    inputs: Inputs,
    continuation: Tensor | Sequence[int],
    *,
    method: str = "gradient_x_input",
    baseline: int | None = None,
    batch_size: int | None = None,
    progress: bool = False,
) -> Tensor:
    r"""What each token of a generated text owes to each token before it.

    .. math::
        S_g = \ln p(t_g \mid \text{prompt}, t_1, \dots, t_{g-1})

        \Phi_{gj} = e_j \cdot \frac{\partial S_g}{\partial e_j}
        \quad \text{or} \quad
        \Phi_{gj} = S_g - S_g(e_j \leftarrow \text{baseline})

    e is the embedding of a token. The text is fed to the model as it is (teacher forcing): one
    forward pass holds the scores of *all* its tokens, where generating it takes one each.

    Parameters
    ----------
    model : Module
        A causal language model of Hugging Face.
    inputs : Tensor or mapping of str to Tensor
        The prompt: ``input_ids`` ``(N, P)``, or what a tokenizer returned; padding on the left.
    continuation : Tensor or sequence of int
        Numbers of the tokens behind the prompt, ``(N, G)``, or ``(G,)`` for one prompt:
        ``model.generate(**inputs)[:, P:]``, or any text whose cause you want to know.
    method : {"gradient_x_input", "occlusion"}
        The first or the second formula.
    baseline : int, optional
        Token that stands in for an occluded one. By default its embedding is zero, which is also
        what gradient × input compares with.
    batch_size : int, optional
        Texts on the device at once; the result does not depend on it.
    progress : bool
        Show a bar.

    Returns
    -------
    Tensor
        Φ, ``(N, G, P + G)``, signed, in nats of log-probability: columns of the prompt, then of
        the continuation, which is 0 from the explained token on. The sum over the rows says what
        the whole text owes.

    Raises
    ------
    TypeError, ValueError
        If the model does not generate, the text is longer than its context, the prompt is padded
        on the right, or prompt and continuation do not go together.

    Notes
    -----
    Cost: gradient × input one forward and G backward passes a sample; occlusion P + G forward
    passes, each for all targets.

    References
    ----------
    Miglani et al., *Using captum to explain generative language models*, 2023, which takes at
    least a forward pass a target token; Shrikumar et al. 2017 for gradient × input, Zeiler and
    Fergus, ECCV 2014, for occlusion.
    """
    methods = {"gradient_x_input": token_gradients, "occlusion": token_drops}
    if method not in methods:
        raise ValueError(f"method is {method!r}, expected one of {', '.join(methods)}")
    if baseline is not None and method != "occlusion":
        raise ValueError("a baseline stands in for occluded tokens; use it with method='occlusion'")
    module: Any = bare_transformer(model)
    batch, target = continued(module, inputs, continuation)
    ids = batch.pop("input_ids")
    known = module.config.get_text_config().vocab_size
    if baseline is not None and not 0 <= baseline < known:
        raise ValueError(
            f"baseline {baseline} is no token of the model, which knows 0 to {known - 1}"
        )
    n, length = ids.shape
    texts = length * n if method == "occlusion" else n
    bar = tqdm(total=texts, desc=method, unit="text", disable=not progress)
    with untouched(module, ids), bar:
        with torch.no_grad():
            e = module.get_input_embeddings()(ids)
            at = torch.tensor(0 if baseline is None else baseline, device=ids.device)
            instead = module.get_input_embeddings()(at) * (baseline is not None)
        found = methods[method](module, batch, e, target, instead, batch_size, bar)
    if not torch.isfinite(found).all():
        raise ValueError("the attribution is NaN or infinite; use `model.float()` for precision")
    # Nothing is said of a token by itself, nor by what comes after it; the last one was not fed.
    found = torch.cat([found, found.new_zeros(*found.shape[:2], 1)], dim=2)
    return found.tril(length - target.shape[1])


def token_gradients(
    module: Any,
    batch: dict[str, Tensor],
    e: Tensor,
    target: Tensor,
    instead: Tensor,
    batch_size: int | None,
    bar: tqdm,
) -> Tensor:
    """Gradient × input of each target's score at each embedding, ``(N, G, P + G − 1)``."""

    def explained(i: Tensor) -> Tensor:
        i = i.to(e.device)
        x = e[i].detach().requires_grad_()
        S = scores(module, {name: value[i] for name, value in batch.items()}, x, target[i])
        rows = []
        for g in range(S.shape[1]):
            (gradient,) = torch.autograd.grad(S[:, g].sum(), x, retain_graph=True)
            rows.append((gradient * x.detach()).sum(dim=-1))
        bar.update(len(i))
        return torch.stack(rows, dim=1)

    return torch.cat(list(in_batches(explained, range(len(e)), batch_size, e)))


def token_drops(
    module: Any,
    batch: dict[str, Tensor],
    e: Tensor,
    target: Tensor,
    instead: Tensor,
    batch_size: int | None,
    bar: tqdm,
) -> Tensor:
    """Loss of each target's score without each embedding, ``(N, G, P + G − 1)``."""
    found = []
    for n, x in enumerate(e):
        own = {name: value[n] for name, value in batch.items()}

        def without(j: Tensor, n: int = n, x: Tensor = x, own: dict[str, Tensor] = own) -> Tensor:
            hidden = x.expand(len(j), *x.shape).clone()
            # −1 is the text as it is.
            some = (j >= 0).nonzero()[:, 0].to(x.device)
            hidden[some, j.to(x.device)[some]] = instead.to(x)
            part = {name: value.expand(len(j), *value.shape) for name, value in own.items()}
            bar.update(int((j >= 0).sum()))
            return scores(module, part, hidden, target[n].expand(len(j), -1))

        with torch.no_grad():
            S = torch.cat(list(in_batches(without, range(-1, len(x)), batch_size, e)))
        found.append((S[:1] - S[1:]).T)
    return torch.stack(found)


def scores(module: Any, batch: dict[str, Tensor], e: Tensor, target: Tensor) -> Tensor:
    """Log-probability of each token of the continuation, ``(N, G)``, from one forward pass."""
    logits = module(inputs_embeds=e, **batch).logits
    # The last of the prompt says the first of the continuation.
    said = logits[:, -target.shape[1] :].float().log_softmax(dim=-1)
    return said.gather(2, target[..., None])[..., 0]


def continued(
    module: Any, inputs: Inputs, continuation: Tensor | Sequence[int]
) -> tuple[dict[str, Tensor], Tensor]:
    """Text without its last token, which says nothing more, and the tokens to explain."""
    writes = getattr(module, "can_generate", None)
    if writes is None or not writes():
        raise ValueError(
            f"this {type(module).__name__} does not generate text, expected a causal language "
            'model of Hugging Face, such as `load("tiny-lm").model`'
        )
    batch, like = prepared(module, inputs)
    if "input_ids" not in batch:
        raise ValueError("the prompt has no input_ids; give what the tokenizer returned")
    prompt = batch["input_ids"]
    target = torch.as_tensor(continuation, device=like.device)
    target = target[None] if target.ndim == 1 else target
    if target.is_floating_point() or target.ndim != 2 or len(target) != len(prompt):
        raise ValueError(
            f"a continuation of shape {tuple(target.shape)} and {target.dtype} was given for "
            f"{len(prompt)} prompts, expected numbers of tokens ({len(prompt)}, G)"
        )
    if target.shape[1] == 0:
        raise ValueError("the continuation is empty; there is no token to explain")
    known = module.config.get_text_config().vocab_size
    if target.min() < 0 or target.max() >= known:
        raise ValueError(f"the continuation has tokens that are not in 0 to {known - 1}")
    length, limit = prompt.shape[1] + target.shape[1], most_tokens(module)
    if limit is not None and length - 1 > limit:
        raise ValueError(
            f"prompt and continuation have {length} tokens, and this {type(module).__name__} sees "
            f"at most {limit} when it says the next: its first words would have been forgotten. "
            "Shorten one of them"
        )
    ids = torch.cat([prompt, target[:, :-1].to(prompt)], dim=1)
    text = {"input_ids": ids}
    if (mask := batch.get("attention_mask")) is not None:
        if not (mask[:, -1] > 0).all():
            raise ValueError(
                "the prompt is padded on the right, so the continuation would follow padding; use "
                '`tokenizer.padding_side = "left"`'
            )
        more = mask.new_ones(len(mask), target.shape[1] - 1)
        text["attention_mask"] = torch.cat([mask, more], dim=1)
    return with_positions(module, text), target.long()


def blocks_and_head(module: Any) -> tuple[nn.ModuleList, nn.Module]:
    """Blocks of a language model, and the layer that turns hidden states into scores."""
    find = getattr(module, "get_output_embeddings", None)
    head = find() if find is not None else None
    config = getattr(module, "config", None)
    count = getattr(config, "num_hidden_layers", None)
    lists = (part for part in module.modules() if isinstance(part, nn.ModuleList))
    blocks = next((part for part in lists if len(part) == count), None)
    if head is None or blocks is None:
        raise ValueError(
            f"this {type(module).__name__} has no head over a vocabulary behind a row of blocks, "
            'expected a causal language model of Hugging Face, such as `load("tiny-lm").model`'
        )
    return blocks, head


def hidden_states(
    module: Any, batch: dict[str, Tensor], blocks: nn.ModuleList, head: nn.Module
) -> tuple[list[Tensor], nn.Module, Any]:
    """What each block is given, and then the head; the last normalisation; the outputs.

    Asking the model for its hidden states would leave hooks of its own on it.
    """
    given: list[Tensor] = []
    norms: list[tuple[nn.Module, Tensor, Tensor]] = []
    ends: list[Tensor] = []

    def note(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        given.append(args[0] if args else kwargs["hidden_states"])

    def end(_module: nn.Module, _args: tuple, output: Any) -> None:
        ends.append(output[0] if isinstance(output, tuple) else output)

    with ExitStack() as hooks:
        hooks.callback(blocks[-1].register_forward_hook(end).remove)
        for part in [*blocks, head]:
            hooks.callback(part.register_forward_pre_hook(note, with_kwargs=True).remove)
        for part in module.modules():
            if "norm" in type(part).__name__.lower():
                hook = part.register_forward_hook(lambda m, x, y: norms.append((m, x[0], y)))
                hooks.callback(hook.remove)
        outputs = module(**batch)
    for norm, before, after in reversed(norms):
        if same(before, ends[-1]) and same(after, given[-1]):
            return given, norm, outputs
    raise ValueError(
        f"between the last block of this {type(module).__name__} and its head stands something "
        "else than one normalisation, so the lens does not know how to read the earlier layers"
    )


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same numbers."""
    return a.shape == b.shape and torch.equal(a, b)


def places(positions: int | Sequence[int], length: int) -> list[int]:
    """Positions as a list, each within the text."""
    several = [positions] if isinstance(positions, int) else list(positions)
    for one in several:
        if not -length <= one < length:
            raise ValueError(f"position {one} is out of range: there are {length} tokens")
    if not several:
        raise ValueError("no position was named; leave `positions` out for all of them")
    return several
