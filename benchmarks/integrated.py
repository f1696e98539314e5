"""Integrated Gradients on EfficientNet-Lite0, beside captum and beside the bare passes.

`python -m benchmarks.integrated CONTESTANT STEPS` prints the peak memory of one contestant. How
many steps are enough is measured in `benchmarks.gaps`.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from functools import partial

import psutil
import torch
from torch import Tensor

import xai_lab
from benchmarks.gradients import bare_passes, best_batch_size, megabytes, relative_error, row
from benchmarks.measure import Row, in_fresh_process, peak_megabytes, rounds, say
from xai_lab.baselines import baselines

STEPS = 48
PEERS = {"captum": "captum, defaults", "captum8": "captum, batches of 8"}


def setting() -> tuple[torch.nn.Module, Tensor, Tensor, int]:
    """Model, one photo, black, and the class predicted."""
    net = xai_lab.load("efficientnet-lite0")
    x = net.preprocess("cat")
    (black,) = baselines("black", x, normalisation=net.normalisation)
    return net.model, x, black, int(xai_lab.predict(net.model, x).argmax())


def contestants(
    model: torch.nn.Module, x: Tensor, black: Tensor, target: int, steps: int
) -> dict[str, Callable[[], Tensor]]:
    """Everyone's way to the integral, by name; the points and the weights are the same."""
    from captum.attr import IntegratedGradients

    theirs = partial(IntegratedGradients(model).attribute, x, black, target, n_steps=steps)
    return {
        "ours": partial(
            xai_lab.integrated_gradients, model, x, target, baseline=black, steps=steps
        ),
        "captum": theirs,
        "captum8": partial(theirs, internal_batch_size=8),
    }


def run(count: int, memory: bool = True) -> list[Row]:
    """Rows of the table."""
    warnings.filterwarnings("ignore", module="captum")
    model, x, black, target = setting()
    all_of_them = contestants(model, x, black, target, STEPS)
    best = best_batch_size(model, x)
    say(f"integrated_gradients, {count} rounds")
    times = rounds({"floor": partial(bare_passes, model, x, STEPS, best), **all_of_them}, count)
    ours = all_of_them["ours"]()
    rows = []
    for peer, label in PEERS.items():
        difference = relative_error(all_of_them[peer]().detach().float(), ours)
        alike = f"maps differ by {difference:.0e}"
        name = f"integrated_gradients, {STEPS} steps"
        rows.append(row(name, label, peer, times, STEPS, error=alike))
        if memory:
            rows[-1].memory = memories(peer)
    return rows


def memories(peer: str) -> str:
    """Peak memory of ours and a peer's, also with ten times the steps."""

    def peak(contestant: str, steps: int) -> float | None:
        say(f"memory of {contestant}, {steps} steps")
        return in_fresh_process("benchmarks.integrated", contestant, steps)

    few, many = STEPS, 10 * STEPS
    theirs = peak(peer, few)
    if torch.cuda.is_available():
        free = torch.cuda.mem_get_info()[0]
    else:
        free = psutil.virtual_memory().available
    # One batch of ten times as many may be more than the machine has: then it is not tried.
    if peer == "captum" and theirs is not None and 10 * theirs * 2**20 > 0.7 * free:
        more = f"not run, {megabytes(10 * theirs)} expected"
    else:
        more = megabytes(peak(peer, many))
    return (
        f"{megabytes(peak('ours', few))} / {megabytes(theirs)}; "
        f"{many} steps: {megabytes(peak('ours', many))} / {more}"
    )


def main() -> None:
    """Print the peak memory of one contestant."""
    name, steps = sys.argv[1], int(sys.argv[2])
    warnings.simplefilter("ignore")
    contestants(*setting(), steps)[name]()
    print(json.dumps(peak_megabytes()))


if __name__ == "__main__":
    main()
