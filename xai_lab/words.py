"""What each word of a text contributed: the methods for pictures, asked about embeddings.

A token's number cannot move by a little, its embedding can. `text_attributions` lets a method work
on what the word embeddings put out, with positions, types and mask as they are, and adds up what it
finds over the numbers of a token and over the tokens of a word. `reader` is the model as a function
of the embeddings; the rest prepares text and names things.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from xai_lab.core import Target, class_scores, per_sample, predict, taken
from xai_lab.data.sentences import words_of_tokens
from xai_lab.gradients import saliency, smooth_grad
from xai_lab.integrated import integrated_gradients, path_integral, tell
from xai_lab.layers import Layer, find_layer
from xai_lab.models import encode

Texts: TypeAlias = str | Sequence[str] | Mapping[str, Tensor] | Tensor
TextBaseline: TypeAlias = str | Tensor | Sequence[str | Tensor]


@dataclass(frozen=True)
class TextAttribution:
    """What each token and each word of one text contributed.

    Attributes
    ----------
    tokens : list of str
        As the tokenizer cut the text, without padding.
    values : Tensor
        One number a token, ``(tokens,)``.
    words : list of str
        The words of the text. What the tokenizer added, such as [CLS], belongs to no word.
    word_values : Tensor
        Sums over the tokens of each word, ``(words,)``.
    target : int or None
        The class that was explained; None for a function of the scores.
    score : float
        S of the text.
    gap : float or None
        Completeness gap, for Integrated Gradients.
    """

    tokens: list[str]
    values: Tensor
    words: list[str]
    word_values: Tensor
    target: int | None
    score: float
    gap: float | None = None


def text_attributions(
    model: Any,
    texts: Texts,
    target: Target = None,
    *,
    tokenizer: Any = None,
    method: Callable[..., Tensor] = integrated_gradients,
    baseline: TextBaseline = "pad",
    layer: Layer | None = None,
    batch_size: int | None = None,
    **dials: Any,
) -> list[TextAttribution]:
    r"""Attribution of a class score to the tokens and the words of texts.

    .. math:: \Phi_t = \sum_d \Phi_{td} \qquad\text{or}\qquad
        \Phi_t = \Bigl(\sum_d \Phi_{td}^2\Bigr)^{1/2}

    The signed sum over the D numbers of a token's embedding, for methods whose parts are shares of
    the score (Integrated Gradients, gradient × input); the length for plain gradients (saliency,
    SmoothGrad), whose sum over a vector means nothing.

    Parameters
    ----------
    model : Module
        A classifier or a causal language model of Hugging Face, like BERT, DistilBERT or GPT. Of
        the latter the next token is explained.
    texts : str, sequence of str, mapping or Tensor
        Text; or what the tokenizer made of it; or token numbers ``(N, tokens)``.
    target : int, sequence of int, Tensor, callable or None
        As in `xai_lab.saliency`.
    tokenizer : transformers.PreTrainedTokenizerBase, optional
        The model's own. Needed for text and for a baseline with the name of a token.
    method : callable
        `xai_lab.integrated_gradients`, `xai_lab.gradient_x_input`, `xai_lab.saliency`,
        `xai_lab.smooth_grad`, or another function of (model, inputs, target).
    baseline : str, Tensor or a sequence of them
        For Integrated Gradients: the embedding of ``"pad"``, ``"mask"`` or ``"unk"`` in the place
        of each word's, ``"zeros"``, or the ``"mean"`` of the vocabulary, all between the same
        special tokens; or embeddings ``(D,)``, ``(tokens, D)`` or ``(N, tokens, D)``. Several are
        averaged over.
    layer : str or Module, optional
        The word embeddings, where the model does not say which they are.
    batch_size : int, optional
        Points on the device at once; the result does not depend on it.
    dials : object
        Settings of the method, such as ``steps=24`` or ``tol=0.01``.

    Returns
    -------
    list of TextAttribution
        One a text, in units of the score; for plain gradients in score per unit of embedding.

    Raises
    ------
    TypeError, ValueError
        For an empty text, a tokenizer that does not belong to the model, embeddings that cannot be
        found, a model without class scores. That a text had to be cut, and that a word is unknown
        to the tokenizer, is said in a warning.

    Notes
    -----
    Cost: that of the method, and one forward pass. Each text is explained by itself, cut out
    of its padding: padding gets nothing and changes nothing.

    References
    ----------
    Sundararajan, Taly and Yan, *Axiomatic attribution for deep networks*, ICML 2017, section 6.3.
    """
    embeddings = word_embeddings(model, layer)
    inputs = model_inputs(model, tokenizer, texts)
    check_tokenizer(model, tokenizer, embeddings, inputs["input_ids"])
    n = len(inputs["input_ids"])
    targets = per_sample(target, n)
    lines = [texts] if isinstance(texts, str) else texts
    if getattr(model.config, "pad_token_id", None) is None and not is_causal(model):
        batch_size = 1  # a classifier like GPT then takes no more: it looks for the last token
    found = []
    for i in range(n):
        own = without_padding(inputs, i)
        read = reader(model, own, embeddings)
        x = embedded(embeddings, own["input_ids"])
        outputs = predict(read, x)
        c = taken(targets, torch.tensor([i], device="cpu"))
        c = outputs.argmax(dim=1) if c is None else c
        gap = None
        if method is integrated_gradients:
            given = of_text(baseline, inputs, i)
            starts = text_baselines(given, x, own["input_ids"], embeddings, tokenizer)
            seen = path_integral(read, x, c, baseline=starts, batch_size=batch_size, **dials)
            tell(seen, dials.get("tol"), name=f"text {i}")
            phi, gap = seen.attribution, seen.gap.item()
        else:
            phi = method(read, x, c, batch_size=batch_size, **dials)
        values = (phi.norm(dim=2) if method in (saliency, smooth_grad) else phi.sum(dim=2))[0]
        text = lines[i] if isinstance(lines, Sequence) else None
        tokens, words, places = spelled(tokenizer, own["input_ids"][0], text)
        found.append(
            TextAttribution(
                tokens=tokens,
                values=values,
                words=words,
                word_values=sums(values, places, len(words)),
                target=None if callable(c) else int(c),
                score=class_scores(outputs, c).item(),
                gap=gap,
            )
        )
    return found


def reader(
    model: Any, inputs: Mapping[str, Tensor], embeddings: nn.Module
) -> Callable[[Tensor], Tensor]:
    """Model as a function of its word embeddings, everything else held as it is.

    Parameters
    ----------
    model : Module
        Of Hugging Face.
    inputs : mapping of str to Tensor
        One text, ``(1, tokens)``.
    embeddings : Module
        The layer whose output is replaced.

    Returns
    -------
    callable
        From embeddings ``(B, tokens, D)`` to scores ``(B, K)``.
    """

    def read(x: Tensor) -> Tensor:
        def replace(_layer: nn.Module, _ids: object, output: Tensor) -> Tensor:
            if output.shape != x.shape:
                raise ValueError(
                    f"the layer puts out {tuple(output.shape)} in place of {tuple(x.shape)}: these "
                    "are not the word embeddings of this text"
                )
            return x

        with_x = embeddings.register_forward_hook(replace)
        try:
            outputs = model(**{name: held.expand(len(x), -1) for name, held in inputs.items()})
        finally:
            with_x.remove()
        scores = getattr(outputs, "logits", None)
        if scores is None:
            raise TypeError(
                f"{type(model).__name__} has no class scores to explain: it is an encoder. Load it "
                "with a head (…ForSequenceClassification), or explain a function of its output "
                "with `xai_lab.words.reader`"
            )
        if scores.ndim == 3 and not is_causal(model):
            raise TypeError(
                f"{type(model).__name__} scores every token, {tuple(scores.shape)}: explain a "
                "function that picks one, with `xai_lab.words.reader`"
            )
        return scores[:, -1] if scores.ndim == 3 else scores

    return read


def is_causal(model: Any) -> bool:
    """Whether a model foretells the next token."""
    return type(model).__name__.endswith(("LMHeadModel", "ForCausalLM"))


def embedded(embeddings: nn.Module, ids: Tensor) -> Tensor:
    """Embeddings ``(…, D)`` of tokens, without a graph."""
    with torch.no_grad():
        return embeddings(ids).detach()


def word_embeddings(model: Any, layer: Layer | None = None) -> nn.Module:
    """Layer of a model that turns token numbers into vectors."""
    if not isinstance(model, nn.Module):
        inside = "; give its `.model`" if hasattr(model, "model") else ""
        raise TypeError(
            f"the model is a {type(model).__name__}, expected a module of Hugging Face{inside}"
        )
    if layer is not None:
        return find_layer(model, layer)[1]
    try:
        embeddings = model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):
        embeddings = None
    if not isinstance(embeddings, nn.Embedding):
        raise ValueError(
            f"the word embeddings of {type(model).__name__} cannot be found; name their layer with "
            "`layer=`, such as 'bert.embeddings.word_embeddings'"
        )
    return embeddings


def model_inputs(model: Any, tokenizer: Any, texts: Texts) -> dict[str, Tensor]:
    """Texts as tensors ``(N, tokens)``, whatever form they came in."""
    device = next(model.parameters()).device
    if isinstance(texts, Tensor):
        check_numbers(model, tokenizer, texts)
        pad = getattr(tokenizer, "pad_token_id", None)
        mask = torch.ones_like(texts) if pad is None else (texts != pad).long()
        return {"input_ids": texts.to(device), "attention_mask": mask.to(device)}
    if isinstance(texts, Mapping):
        if "input_ids" not in texts:
            raise ValueError(f"there are no 'input_ids' among {', '.join(texts)}")
        check_numbers(model, tokenizer, texts["input_ids"])
        known = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
        tensors = {name: texts[name].to(device) for name in known if name in texts}
        return {"attention_mask": torch.ones_like(tensors["input_ids"]), **tensors}
    if tokenizer is None:
        raise ValueError("text was given without a tokenizer; add `tokenizer=net.tokenizer`")
    return dict(encode(model, tokenizer, texts))


def check_numbers(model: Any, tokenizer: Any, ids: Any) -> None:
    """Refuse what cannot be the token numbers of a text that this model takes."""
    if not isinstance(ids, Tensor):
        raise TypeError(
            f"the token numbers are a {type(ids).__name__}, expected a tensor (N, tokens); ask the "
            'tokenizer for `return_tensors="pt"`, with `padding=True` for several texts'
        )
    if ids.ndim != 2 or ids.is_floating_point() or ids.numel() == 0 or ids.min() < 0:
        raise ValueError(
            f"token numbers of shape {tuple(ids.shape)} and {ids.dtype} were given, "
            "expected whole numbers (N, tokens) from 0 on"
        )
    places = getattr(model.config, "max_position_embeddings", None)
    if places is not None and ids.shape[1] > places:
        raise ValueError(
            f"the texts have {ids.shape[1]} tokens, the model takes {places}; cut them, or give "
            "the text itself, which is then cut with a warning"
        )


def without_padding(inputs: Mapping[str, Tensor], i: int) -> dict[str, Tensor]:
    """Text i alone, ``(1, tokens)``, without the columns that are padding."""
    kept = inputs["attention_mask"][i].bool()
    if not kept.any():
        raise ValueError(f"text {i} is empty: its attention mask is zero everywhere")
    return {name: held[i : i + 1, kept] for name, held in inputs.items()}


def of_text(baseline: TextBaseline, inputs: Mapping[str, Tensor], i: int) -> TextBaseline:
    """Baseline of text i, where a tensor holds one for each text, ``(N, tokens, D)``."""
    if not isinstance(baseline, Tensor) or baseline.ndim != 3:
        return baseline
    mask = inputs["attention_mask"]
    if baseline.shape[:2] not in (mask.shape, (1, mask.shape[1])):
        raise ValueError(
            f"the baseline has shape {tuple(baseline.shape)}, expected (N, tokens, D) with N and "
            f"tokens {tuple(mask.shape)}, or (D,) for all tokens"
        )
    return baseline.expand(len(mask), -1, -1)[i, mask[i].bool().to(baseline.device)]


def text_baselines(
    baseline: TextBaseline, x: Tensor, ids: Tensor, embeddings: nn.Module, tokenizer: Any
) -> list[Tensor]:
    """Baselines ``(1, tokens, D)`` of one text: the special tokens stay what they are."""
    if isinstance(baseline, Sequence) and not isinstance(baseline, str):
        return [b for one in baseline for b in text_baselines(one, x, ids, embeddings, tokenizer)]
    if isinstance(baseline, Tensor):
        if baseline.shape not in (x.shape[2:], x.shape[1:], x.shape):
            raise ValueError(
                f"the baseline has shape {tuple(baseline.shape)}, expected "
                f"{tuple(x.shape[2:])} for every token or {tuple(x.shape[1:])}"
            )
        return [baseline.detach().to(x).expand_as(x)]
    weight = next(embeddings.parameters()).detach()
    if baseline == "zeros":
        nothing = torch.zeros_like(weight[0])
    elif baseline == "mean":
        nothing = weight.mean(dim=0)
    elif baseline in ("pad", "mask", "unk"):
        token = getattr(tokenizer, f"{baseline}_token_id", None)
        if token is None:
            raise ValueError(
                f"there is no {baseline} token"
                f"{'' if tokenizer else ', because no tokenizer was given'}; take the baseline "
                "'zeros' or 'mean', or a tensor"
            )
        nothing = weight[token]
    else:
        raise ValueError(
            f"there is no baseline {baseline!r} for text; there are pad, mask, unk, zeros and mean"
        )
    special = torch.tensor(special_tokens(tokenizer, ids[0].tolist()), device=x.device)
    return [torch.where(special[:, None], x, nothing.to(x))]


def special_tokens(tokenizer: Any, ids: list[int]) -> list[bool]:
    """Which tokens the tokenizer added, such as [CLS] and [SEP]."""
    if tokenizer is None:
        return [False] * len(ids)
    added = {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.bos_token_id}
    added |= {tokenizer.eos_token_id}
    return [number in added for number in ids]


def check_tokenizer(model: Any, tokenizer: Any, embeddings: nn.Module, ids: Tensor) -> None:
    """Refuse a tokenizer of another model, as far as its numbers give it away."""
    rows = len(next(embeddings.parameters()))
    if ids.max() >= rows or (tokenizer is not None and len(tokenizer) > rows):
        raise ValueError(
            f"the model has embeddings for {rows} tokens, the tokenizer has "
            f"{len(tokenizer) if tokenizer is not None else int(ids.max()) + 1}: they do not "
            "belong together; load both under the same name"
        )
    if tokenizer is None:
        return
    theirs, ours = getattr(model.config, "pad_token_id", None), tokenizer.pad_token_id
    if theirs is not None and ours is not None and theirs != ours:
        raise ValueError(
            f"the model pads with token {theirs}, the tokenizer with {ours}: they do not belong "
            "together; load both under the same name"
        )
    for i, numbers in enumerate(ids.tolist()):
        if tokenizer.unk_token_id in numbers and tokenizer.unk_token_id != tokenizer.eos_token_id:
            warnings.warn(
                f"text {i} has {numbers.count(tokenizer.unk_token_id)} unknown tokens "
                f"({tokenizer.unk_token}): the model cannot tell them apart",
                stacklevel=3,
            )


def spelled(
    tokenizer: Any, ids: Tensor, text: str | None
) -> tuple[list[str], list[str], list[int | None]]:
    """Tokens of a text, its words, and which word each token belongs to."""
    if tokenizer is None:
        tokens = [str(number) for number in ids.tolist()]
        return tokens, tokens, list(range(len(tokens)))
    numbers = ids.tolist()
    raw = tokenizer.convert_ids_to_tokens(numbers)
    # What a byte-level tokenizer calls a token is not what it stands for; ## says "goes on".
    tokens = [
        one if one.startswith("##") else tokenizer.decode([number]).strip() or one
        for one, number in zip(raw, numbers, strict=True)
    ]
    special = special_tokens(tokenizer, numbers)
    own = [n for n, s in zip(numbers, special, strict=True) if not s]
    if text is None:
        text = tokenizer.decode(own)
    whole = tokenizer(text, verbose=False)["input_ids"]
    added = special_tokens(tokenizer, whole)
    told = zip(whole, added, words_of_tokens(tokenizer, text), strict=True)
    read = [(n, place) for n, s, place in told if not s]
    if [n for n, _ in read[: len(own)]] == own:
        words, following = text.split(), [place for _, place in read]
    else:  # these numbers are not what the tokenizer makes of a text: a token is a word
        words = [t for t, s in zip(tokens, special, strict=True) if not s]
        following = list(range(len(own)))
    # A text that was cut keeps its beginning.
    left = iter(following)
    places = [None if s else next(left) for s in special]
    return tokens, words[: max((p for p in places if p is not None), default=-1) + 1], places


def sums(values: Tensor, places: Sequence[int | None], count: int) -> Tensor:
    """Sum of the tokens' values in each of ``count`` words."""
    total = values.new_zeros(count)
    for value, place in zip(values, places, strict=True):
        if place is not None:
            total[place] += value
    return total
