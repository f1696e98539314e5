"""What all benchmarks share: interleaved rounds, ratios, peak memory, one table.

Absolute times on a shared machine mean little, so contestants take turns (A B C A B C …) and what
is reported is the median over the rounds of their *ratio* within a round.
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import psutil
import torch


@dataclass
class Row:
    """One line of the table.

    Attributes
    ----------
    method, peer : str
        What is timed, and beside what.
    ours, theirs : float
        Seconds, medians.
    ratio : float
        Median of theirs / ours.
    passes : int
        Forward and backward passes that the method's definition needs.
    overhead : float
        Median of ours / floor.
    memory : str
        Peak memory, ours and theirs.
    error : str
        Root-mean-square error against a long run, ours and theirs.
    """

    method: str
    peer: str
    ours: float
    theirs: float
    ratio: float
    passes: int
    overhead: float
    memory: str = ""
    error: str = ""


def say(text: str) -> None:
    """Progress, beside the table and not in it."""
    print(text, file=sys.stderr, flush=True)


def seconds(work: Callable[[], object]) -> float:
    """Time of one call, the device's queue included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def rounds(contestants: dict[str, Callable[[], object]], count: int) -> dict[str, list[float]]:
    """Time every contestant once a round."""
    for work in contestants.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(count):
        # Each round begins elsewhere, so that nobody always runs after the same neighbour.
        names = list(contestants)
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            times[name].append(seconds(contestants[name]))
    return times


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median of the ratios within the rounds."""
    return median(a / b for a, b in zip(above, below, strict=True))


def peak_megabytes() -> float:
    """Peak memory of this process, or of the GPU where there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would do, but on Linux its peak outlives exec: a child starts with its parent's.
        (line,) = (one for one in status.read_text().splitlines() if one.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def in_fresh_process(module: str, *arguments: object) -> float | None:
    """Megabytes that a module prints for one contestant; None if it does not come to an end."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        say(f"  {' '.join(map(str, arguments))}: ended with {done.returncode}, {reason}")
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def import_times(statements: Sequence[str], count: int) -> dict[str, list[float]]:
    """Seconds of each statement in fresh processes, taking turns."""

    def fresh(statement: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", statement], check=True)

    return rounds({statement: fresh(statement) for statement in statements}, count)


def table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table."""
    lines = [
        "| method | peer | ours | peer's | peer / ours | passes | ours / floor "
        "| peak memory, ours / peer's | error, ours / peer's |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row.method} | {row.peer} | {row.ours:.3f} s | {row.theirs:.3f} s "
            f"| {row.ratio:.2f} | {row.passes} | {row.overhead:.2f} | {row.memory} | {row.error} |"
        )
    return "\n".join(lines)


def machine() -> str:
    """Versions and machine, in one line."""
    names = ("torch", "timm", "captum", "grad-cam", "torchcam")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    if torch.cuda.is_available():
        where = torch.cuda.get_device_name()
    else:
        where = (
            f"{platform.machine()}, {psutil.cpu_count()} cores, {torch.get_num_threads()} threads"
        )
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"Python {platform.python_version()}, {packages}; {where}, {memory:.0f} GiB, "
        f"load {psutil.getloadavg()[0]:.1f}"
    )
