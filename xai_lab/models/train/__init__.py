"""Trains the small models of the course: ``python -m xai_lab.models.train scenes-cnn tiny-lm``.

A recipe says how one model is trained and measured; `run` follows it and writes the weights with
their card. The recipes are in the modules beside this one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version

import torch
from torch import Tensor, nn

from xai_lab.models import bundled

#: Which module has a model's recipe, in the order of training.
HOME = {
    "digits-cnn": "digits",
    "scenes-cnn": "scenes",
    "scenes-cnn-background": "scenes",
    "scenes-cnn-watermark": "scenes",
    "scenes-vit": "scenes",
    "tiny-lm": "tiny_lm",
    "minilm-sentiment": "sentiment",
    "minilm-sentiment-spurious": "sentiment",
}
LARGEST = 8_000_000


@dataclass(frozen=True)
class Recipe:
    """How one model is made.

    Attributes
    ----------
    train : callable
        Trains from scratch and returns the module; shows a progress line of its own.
    evaluate : callable
        From the module to its metrics, by name.
    data, architecture : str
        A sentence each, for the card.
    goals : mapping of str to (float, float)
        Range that each metric must lie in, or the weights are not written.
    tolerance : float
        How far a metric may move when the training is repeated on the same machine.
    seed : int
        That ``train`` uses.
    keep : callable
        Which tensors are shipped, by name; the others come from elsewhere.
    half : bool
        Store in float16. The metrics are those of the rounded weights.
    """

    train: Callable[[], nn.Module]
    evaluate: Callable[[nn.Module], dict[str, float]]
    data: str
    architecture: str
    goals: Mapping[str, tuple[float, float]]
    tolerance: float = 0.02
    seed: int = 0
    keep: Callable[[str], bool] = field(default=lambda _name: True)
    half: bool = True


def recipe(name: str) -> Recipe:
    """Recipe of a model."""
    return import_module(f"xai_lab.models.train.{HOME[name]}").RECIPES[name]


def run(name: str) -> bool:
    """Train one model, measure it, write its weights and card; false if it misses a goal."""
    from safetensors.torch import save

    plan = recipe(name)
    started, busy = time.perf_counter(), time.process_time()
    model = plan.train().eval().cpu()
    state = model.state_dict()
    state.update(shipped(plan, state))
    model.load_state_dict(state)
    minutes = (time.perf_counter() - started) / 60
    cpu_minutes = (time.process_time() - busy) / 60  # what other work on the machine leaves alone
    metrics = {key: round(float(value), 4) for key, value in plan.evaluate(model).items()}
    reached = report(name, plan, metrics)
    content = save(shipped(plan, state))
    if len(content) > LARGEST:
        print(f"{name}: the file would have {len(content) / 1e6:.1f} MB, at most 8 are allowed")
        reached = False
    if not reached:
        print(f"{name}: nothing was written. Change xai_lab/models/train/{HOME[name]}.py.")
        return False
    card = {
        "name": name,
        "data": plan.data,
        "architecture": plan.architecture,
        "parameters": sum(p.numel() for p in model.parameters()),
        "metrics": metrics,
        "goals": {key: list(limits) for key, limits in plan.goals.items()},
        "tolerance": plan.tolerance,
        "seed": plan.seed,
        "minutes": round(minutes, 1),
        "cpu_minutes": round(cpu_minutes, 1),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, CPU",
        "versions": {
            "python": platform.python_version(),
            **{package: version(package) for package in ("torch", "transformers", "safetensors")},
        },
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    bundled.WEIGHTS.mkdir(exist_ok=True)
    write(f"{name}.safetensors", content)
    write(f"{name}.json", (json.dumps(card, indent=2, ensure_ascii=False) + "\n").encode())
    print(f"{name}: written, {len(content) / 1e6:.2f} MB, {minutes:.1f} minutes", flush=True)
    return True


def shipped(plan: Recipe, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the file, in the precision of the file."""
    return {
        name: (tensor.half() if plan.half and tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in state.items()
        if plan.keep(name)
    }


def report(name: str, plan: Recipe, metrics: Mapping[str, float]) -> bool:
    """Print each metric beside its goal and the last card; false if a goal is missed."""
    try:
        before = bundled.card(name)["metrics"]
    except FileNotFoundError:
        before = {}
    reached = True
    for key, value in metrics.items():
        low, high = plan.goals.get(key, (-float("inf"), float("inf")))
        met = low <= value <= high
        reached = reached and met
        line = f"{name}: {key} {value:.4f}" + ("" if met else f", outside its goal {low}..{high}")
        if key in before:
            near = abs(value - before[key]) <= plan.tolerance
            line += f" (before: {before[key]:.4f}, {'within' if near else 'NOT within'} tolerance)"
        print(line, flush=True)
    missing = set(plan.goals) - set(metrics)
    if missing:
        raise ValueError(f"{name}: no metric for the goals {', '.join(sorted(missing))}")
    return reached


def write(name: str, content: bytes) -> None:
    """Write a file whole or not at all."""
    part = bundled.WEIGHTS / f"{name}.part"
    part.write_bytes(content)
    os.replace(part, bundled.WEIGHTS / name)


def main(arguments: list[str] | None = None) -> int:
    """Train the models named on the command line, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m xai_lab.models.train", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(HOME)}")
    names = parser.parse_args(arguments).names or list(HOME)
    unknown = [name for name in names if name not in HOME]
    if unknown:
        parser.error(f"no recipe for {', '.join(unknown)}; there are {', '.join(HOME)}")
    failed = [name for name in names if not run(name)]
    if failed:
        print(f"Missed their goals: {', '.join(failed)}")
        return 1
    print("Next: make test, then make book, whose page on the models shows the new cards.")
    return 0
