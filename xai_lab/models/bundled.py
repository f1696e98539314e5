"""The weights that come with the course: found, checked against their card, read.

Each trained model has two files in `weights/`: ``NAME.safetensors`` and its card ``NAME.json``,
which says how it was made, what it reaches, and the hash of the file. `make weights` writes both.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from torch import Tensor

WEIGHTS = Path(__file__).parent / "weights"


def card(name: str) -> dict[str, Any]:
    """Card of a model trained here: data, architecture, metrics, seed, versions, hash."""
    path = WEIGHTS / f"{name}.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.name} is missing from the package; make it again: make weights MODELS={name}"
        )
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        about["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path.name} is cut off or changed. Install the package again, or train the model "
            f"anew: make weights MODELS={name}"
        ) from error
    return about


def read_weights(name: str) -> dict[str, Tensor]:
    """Tensors of a model trained here, by name, after the file's hash has been checked."""
    from safetensors.torch import load

    expected = card(name)["sha256"]
    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.name} is missing from the package; make it again: make weights MODELS={name}"
        )
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ValueError(
            f"{path.name} has sha256 {found[:12]}…, its card says {expected[:12]}…: the file is "
            "cut off or changed. Install the package again, or train it anew: "
            f"make weights MODELS={name}"
        )
    return load(content)
