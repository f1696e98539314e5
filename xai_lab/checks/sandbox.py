"""Run a student's function so that nothing it does can hurt the notebook.

`call` runs it in a thread of its own, with a time limit, its printing kept, its exceptions caught
and the line that raised them found. `watch` photographs what must not change, before and after.
"""

from __future__ import annotations

import ctypes
import io
import linecache
import os
import random
import sysconfig
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LIMIT = 10.0  # seconds for one case, a thousand times what a right answer needs
KEPT = 2000  # characters of printing


class TimeUpError(BaseException):
    """Raised inside the student's function; not an Exception, so `except Exception` misses it."""


@dataclass(frozen=True)
class Outcome:
    """What came out of one call.

    Attributes
    ----------
    value : object
        What the function returned.
    error : BaseException or None
        What it raised.
    place : str
        The student's own line that raised it.
    printed : str
        The first characters of what it printed.
    stopped : bool
        False if the function ignored the time limit and had to be left behind.
    """

    value: object = None
    error: BaseException | None = None
    place: str = ""
    printed: str = ""
    stopped: bool = True


def call(function: Callable[[], object], limit: float = LIMIT) -> Outcome:
    """Call a function without arguments, for at most ``limit`` seconds of work.

    A thread works in a notebook, under any operating system, and leaves grad mode, which belongs
    to a thread, as it was. A signal would work on some systems, and only in the main thread.
    """
    result: dict = {}

    def work() -> None:
        try:
            result["value"] = function()
        except BaseException as error:  # SystemExit and KeyboardInterrupt too
            result["error"] = error

    printed = Printed()
    thread = threading.Thread(target=work, daemon=True)
    with redirect_stdout(printed), redirect_stderr(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        thread.start()
        try:
            wait(thread, limit)
        finally:  # also when the reader presses stop
            if late := thread.is_alive():
                stop(thread)
    error = result.get("error")
    if late and not isinstance(error, TimeUpError):
        error = TimeUpError()
    return Outcome(
        value=result.get("value"),
        error=error,
        place=own_line(error),
        printed=printed.text(),
        stopped=not thread.is_alive(),
    )


def wait(thread: threading.Thread, seconds: float) -> None:
    """Join until the time is up: so many seconds of work, or three times as many of waiting.

    A busy machine is not the student's fault, and importing half of torch may take a while there.
    Short joins, so that stop buttons work where a long one cannot be interrupted.
    """
    start, work = time.monotonic(), time.process_time()
    while thread.is_alive():
        thread.join(0.1)
        passed, worked = time.monotonic() - start, time.process_time() - work
        if min(passed, worked) > seconds or passed > 3 * seconds:
            return


def stop(thread: threading.Thread, patience: float = 1.0) -> None:
    """Raise `TimeUpError` in a thread, again and again in case it catches everything."""
    end = time.monotonic() + patience
    while thread.is_alive() and time.monotonic() < end:
        identity = ctypes.c_ulong(thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(TimeUpError))
        thread.join(0.05)


class Printed(io.TextIOBase):
    """A file that keeps the first characters and counts the rest."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.length = 0

    def writable(self) -> bool:
        """Yes, that is what it is for."""
        return True

    def write(self, text: str) -> int:
        """Keep what still fits."""
        if self.length < KEPT:
            self.kept.append(text[: KEPT - self.length])
        self.length += len(text)
        return len(text)

    def text(self) -> str:
        """Return what was kept, and how much was not."""
        more = f"\n… and {self.length - KEPT:,} characters more" if self.length > KEPT else ""
        return "".join(self.kept).rstrip() + more


LIBRARIES = tuple(
    os.path.normcase(path)
    for path in (
        *(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")),
        *torch.__path__,
        os.path.dirname(os.path.dirname(__file__)),
    )
)


def own_line(error: BaseException | None) -> str:
    """Last line of the traceback that is not a library's, as "line 3, `g = …`"."""
    for frame in reversed(traceback.extract_tb(error.__traceback__ if error else None)):
        if not os.path.normcase(frame.filename).startswith((*LIBRARIES, "<frozen")):
            source = linecache.getline(frame.filename, frame.lineno or 0).strip()
            return f"line {frame.lineno}" + (f", `{source}`" if source else "")
    return ""


# What must be as it was, with the sentence for the case that it is not.
LEFT_BEHIND = {
    "data": "`{name}` itself was changed: an in-place operation (`+=`, `x[…] = …`, a name that "
    "ends in `_`) writes into the caller's tensor; work on `{name}.detach().clone()`",
    "asks": "`{name}.requires_grad` was left switched on: the caller's tensor is not yours to "
    "change; work on `{name}.detach().clone().requires_grad_()`",
    "grad": "a gradient was left in `{name}.grad`: `torch.autograd.grad(S, x)` returns the "
    "gradient and leaves nothing behind",
    "weights' gradients": "gradients were left in the weights' `.grad`: `.backward()` computes "
    "them for every weight of the network; `torch.autograd.grad` computes only what you ask for",
    "wiped": "`zero_grad()` wiped the weights' gradients, which were not yours: whoever is "
    "training this network has lost them; use `torch.autograd.grad`, which leaves nothing to wipe",
    "weights": "the model's weights or batch-norm statistics were changed",
    "trainable": "`requires_grad` of the model's weights was changed and not restored",
    "training": "the model was left in another mode (`.train()` or `.eval()`) than it came in",
    "hooks": "a hook was left on the model: remove it with `handle.remove()` in a `finally`",
    "unhooked": "a hook that was there before you came is gone: take away only your own, with "
    "`handle.remove()`",
    "random": "the global random state was changed (`torch.manual_seed`, or draws from the "
    "global stream), so whoever draws next gets other numbers; make a generator of your own, "
    "`rng = torch.Generator().manual_seed(seed)`, and draw with "
    "`torch.randn(x.shape, generator=rng)`",
    "dtype": "torch's default dtype was changed",
}


def watch(arguments: dict[str, object]) -> dict[tuple[str, str], object]:
    """State of everything that a function may not change, by kind and argument."""
    state: dict[tuple[str, str], object] = {
        ("random", ""): (
            torch.get_rng_state().numpy().tobytes(),
            random.getstate(),
            np.random.get_state()[1].tobytes(),  # type: ignore[index]
        ),
        ("dtype", ""): torch.get_default_dtype(),
    }
    for name, value in arguments.items():
        if isinstance(value, Tensor):
            state["data", name] = frozen(value)
            state["asks", name] = value.requires_grad
            # .grad of a tensor that is no leaf warns, and has none.
            state["grad", name] = value.is_leaf and value.grad is not None
        if isinstance(value, nn.Module):
            weights, modules = list(value.parameters()), list(value.modules())
            state["weights", name] = [frozen(v) for v in value.state_dict().values()]
            state["weights' gradients", name] = [
                w.grad if w.grad is None else frozen(w.grad) for w in weights
            ]
            state["trainable", name] = [w.requires_grad for w in weights]
            state["training", name] = [m.training for m in modules]
            state["hooks", name] = [
                [list(d) for key, d in sorted(vars(m).items()) if key.endswith("_hooks")]
                for m in modules
            ]
    return state


def frozen(value: Tensor) -> tuple:
    """Something that can be compared after the tensor has changed."""
    return tuple(value.shape), value.detach().cpu().contiguous().numpy().tobytes()


def changed(before: dict[tuple[str, str], object], after: dict) -> tuple[str, ...]:
    """Sentences for everything that is no longer as it was."""
    return tuple(
        LEFT_BEHIND[narrower(kind, before[kind, name], after[kind, name])].format(name=name)
        for kind, name in before
        if before[kind, name] != after[kind, name]
    )


def narrower(kind: str, before: Any, after: Any) -> str:
    """Kind of change, told apart by what was there before: something came, or something went."""
    if kind == "weights' gradients" and any(
        one and any(one[1]) and not (two and any(two[1]))
        for one, two in zip(before, after, strict=True)
    ):
        return "wiped"
    if kind == "hooks" and any(
        set(one) - set(two)
        for b, a in zip(before, after, strict=True)
        for one, two in zip(b, a, strict=True)
    ):
        return "unhooked"
    return kind
