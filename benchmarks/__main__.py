"""Print the benchmark table: each method beside its peers and its floor."""

from __future__ import annotations

import argparse
from statistics import median

from benchmarks import attention, cam, gradients, integrated, measure


def main() -> None:
    """Run all families and print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contestant (7)")
    parser.add_argument("--no-memory", action="store_true", help="leave the memory column out")
    options = parser.parse_args()
    rows = gradients.run(options.rounds, memory=not options.no_memory)
    rows += integrated.run(options.rounds, memory=not options.no_memory)
    rows += cam.run(options.rounds, memory=not options.no_memory)
    rows += attention.run(options.rounds, memory=not options.no_memory)
    print(measure.table(rows))
    measure.say("imports, in fresh processes")
    bare, lazy = "import torch", "import xai_lab"
    # The package loads each name when it is used, so the bare import does not even reach torch:
    # what a user pays is the import with every public name in hand.
    full = "from xai_lab import *"
    times = measure.import_times([bare, lazy, full], max(options.rounds, 7))
    print()
    for statement in (lazy, full):
        print(
            f"{statement}: {median(times[statement]):.2f} s, {bare}: {median(times[bare]):.2f} s, "
            f"ratio {measure.ratio(times[statement], times[bare]):.2f} (goal: at most 1.15)"
        )
    print(
        "\nFloor: as many forward and backward passes at the best batch size, with frozen weights "
        "and nothing else.\nTimes are medians, ratios medians of the ratios within a round; "
        "contestants take turns.\nError: root-mean-square distance to a run of 960 draws, as a "
        "share of its size."
    )
    print(measure.machine())


if __name__ == "__main__":
    main()
