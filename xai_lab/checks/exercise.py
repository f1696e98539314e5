"""An exercise and what it takes to judge an answer to it.

Read `Exercise`, `Case` and `Mistake`, which a chapter's module fills in; then `judge`, the order in
which an answer is looked at; then `Result`, which is what the student sees.
"""

from __future__ import annotations

import html
import inspect
import re
import traceback
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from types import CellType, FunctionType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from xai_lab.checks.sandbox import LIMIT, Outcome, TimeUpError, call, changed, watch

Status = Literal["correct", "not attempted", "raised", "wrong shape", "wrong value"]


@dataclass(frozen=True)
class Case:
    """One question put to the student's function.

    Attributes
    ----------
    label : str
        What is special about it; finishes "wrong for …".
    arguments : callable
        Makes the arguments, new ones each time, by parameter name.
    play : callable
        ``(function, arguments) → result``: how the function is used; once, unless said.
    observe : callable
        ``(result, arguments) → result`` or a dict of what was measured. A random function is
        judged by what it handed to the model rather than by what it drew.
    tol : float or dict
        How far off a part may be, as a fraction of the part's largest value.
    says : dict
        For a measured part, the sentence for when it is off, or ``(got, want) → sentence``.
    alone : str
        What it means if this case is the only one that is wrong.
    fault : callable
        ``(result, arguments) → sentence`` about something that is wrong beside the numbers, or "".
    """

    label: str
    arguments: Callable[[], dict[str, object]]
    play: Callable | None = None
    observe: Callable = lambda result, arguments: result
    tol: float | dict[str, float] = 1e-4
    says: dict[str, str | Callable[[Tensor, Tensor], str]] = field(default_factory=dict)
    alone: str = ""
    fault: Callable[[Any, dict[str, Any]], str] = lambda result, arguments: ""

    def tolerance(self, part: str) -> float:
        """Tolerance of one part."""
        return self.tol.get(part, 1e-4) if isinstance(self.tol, dict) else self.tol


@dataclass(frozen=True)
class Mistake:
    """A wrong function, and what a good tutor says to whoever wrote it."""

    function: Callable
    sentence: str

    @property
    def name(self) -> str:
        """Name of the wrong function."""
        return self.function.__name__


def catalogue(**wrong: tuple[Callable, str]) -> tuple[Mistake, ...]:
    """Make mistakes of wrong functions and their sentences, by name."""
    for name, (function, _) in wrong.items():
        function.__name__ = name
    return tuple(Mistake(function, sentence) for function, sentence in wrong.values())


@dataclass(frozen=True)
class Exercise:
    """A function to be written: its right version, the cases, the known mistakes, three hints."""

    reference: Callable
    cases: tuple[Case, ...]
    mistakes: tuple[Mistake, ...]
    hints: tuple[str, str, str]
    remember: dict = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Name of the function that the student writes."""
        return self.reference.__name__


@dataclass(frozen=True)
class Seen:
    """What one case showed of a function: an error, or parts that are numbers.

    `kind` says what sort of thing was returned; `faults` is what is wrong beside the numbers.
    """

    error: BaseException | None = None
    place: str = ""
    kind: str = ""
    parts: dict[str, Tensor] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    printed: str = ""
    stopped: bool = True


@dataclass(frozen=True)
class Result:
    """A check's verdict: prints as text, shows as HTML in a notebook, is true if correct."""

    name: str
    status: Status
    message: str
    mistake: str = ""
    printed: str = ""

    def __bool__(self) -> bool:
        return self.status == "correct"

    def __repr__(self) -> str:
        sign = {"correct": "✓", "not attempted": "○"}.get(self.status, "✗")
        printed = f"\nIt printed:\n{self.printed}" if self.printed and not self else ""
        return f"{sign} {self.name}: {self.message}{printed}"

    def _repr_html_(self) -> str:
        # A border that is seen on white and on black; the sign and the words do not need it.
        colour = {"correct": "#2a9d5c", "not attempted": "#808890"}.get(self.status, "#d9652b")
        return box(repr(self), colour, self.status)


def box(text: str, colour: str, role: str) -> str:
    """Text as a quiet box, in the page's own colours, `code` set as code."""
    first, _, rest = text.partition("\n")
    body = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(first, quote=False))
    more = f"<pre>{html.escape(rest, quote=False)}</pre>" if rest else ""
    return (
        f'<div role="status" aria-label="{role}" style="border-left: 4px solid {colour}; '
        'padding: 0.4em 0.8em; margin: 0.4em 0; max-width: 46em; color: inherit">'
        f"{body}{more}</div>"
    )


def judge(exercise: Exercise, function: Callable, limit: float = LIMIT) -> Result:
    """Look at an answer as a tutor would, the most telling thing first."""
    from xai_lab.checks import diagnosis

    def result(status: Status, message: str, more: bool = True, mistake: str = "") -> Result:
        hint = f' `hint("{exercise.name}")` has more.' if more else ""
        small = message[:2].isascii() and message[1:2].islower()  # not a formula: S, Σφ
        message = message[:1].lower() + message[1:] if small else message
        return Result(exercise.name, status, message + hint, mistake, printed)

    printed = ""
    if is_stub(function):
        return result("not attempted", NOT_YET, more=False)
    if misfit := diagnosis.signature(exercise, function):
        return result("raised", misfit)
    right = [known(exercise, exercise.reference, i) for i in range(len(exercise.cases))]
    seen: list[Seen] = []
    for case in exercise.cases:
        seen.append(look(exercise, case, function, limit))
        printed = printed or seen[-1].printed
        if isinstance(seen[-1].error, NotImplementedError | TimeUpError):
            break  # it will not do better on the next one
    last = seen[-1]
    if isinstance(last.error, NotImplementedError):
        callee = unwritten(last.error, exercise.name)
        return result("not attempted", CALLED_STUB.format(callee) if callee else NOT_YET, False)
    if isinstance(last.error, TimeUpError):
        return result("raised", diagnosis.too_slow(exercise.cases[len(seen) - 1], last, limit))

    wrong = [i for i, case in enumerate(exercise.cases) if not same(case, seen[i], right[i])]
    faulty = any(s.faults for s in seen)
    if (wrong or faulty) and (callee := blamed(exercise, function, right, limit)):
        stub = is_stub(callees(exercise.name, function)[callee])
        status: Status = "not attempted" if stub else "wrong value"
        sentence = CALLED_STUB if stub else CALLED_WRONG
        return result(status, sentence.format(callee), more=False)
    if not wrong:
        if faults := [*dict.fromkeys(fault for s in seen for fault in s.faults)]:
            if mistake := recognised(exercise, seen):
                return result("wrong value", mistake.sentence, mistake=mistake.name)
            return result("wrong value", f"the values are right, but {'; and '.join(faults)}.")
        again = look(exercise, exercise.cases[0], function, limit)
        if not same(exercise.cases[0], again, right[0]):
            return result("wrong value", diagnosis.STATEFUL)
        cases = f"all {len(right)} cases" if len(right) > 1 else exercise.cases[0].label
        return result("correct", f"right on {cases}", more=False)

    if mistake := recognised(exercise, seen):
        first = wrong[0]
        status = status_of(seen[first], right[first])
        return result(status, mistake.sentence, mistake=mistake.name)
    status, message, name = diagnosis.explain(exercise, seen, right, wrong)
    also = next((f" Also, {fault}." for s in seen for fault in s.faults), "")
    return result(status, message + also, mistake=name)


NOT_YET = "not attempted yet. Write your lines where the TODO is, run that cell, then this one."
CALLED_STUB = "`{0}`, which you call, is not written yet. Write it, run its cell, then this one."
CALLED_WRONG = (
    "your lines are right, and `{0}`, which they call, is not: with a right `{0}` they pass. Run "
    "`check({0})`."
)


def unwritten(error: BaseException, name: str) -> str:
    """Name of another exercise's function in which a TODO was reached, if it was there."""
    from xai_lab.checks import exercises

    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].name if frames and frames[-1].name in exercises().keys() - {name} else ""


def callees(name: str, function: Callable) -> dict[str, Callable]:
    """Functions of other exercises, as the student has written them, that a function names."""
    from xai_lab.checks import exercises

    if not isinstance(function, FunctionType):
        return {}
    names = inspect.getclosurevars(function)
    found = {**names.globals, **names.nonlocals}
    return {
        key: value
        for key, value in found.items()
        if key in exercises().keys() - {name}
        and isinstance(value, FunctionType)
        and not (value.__module__ or "").startswith("xai_lab")
    }


def blamed(exercise: Exercise, function: Callable, right: list[Seen], limit: float) -> str:
    """Name of the student's function without whose mistake this one would be right."""
    from xai_lab.checks import exercises

    for name in callees(exercise.name, function):
        other = with_callee(function, name, exercises()[name].reference)  # type: ignore[arg-type]
        seen = (look(exercise, case, other, limit) for case in exercise.cases)
        if all(
            same(case, s, r) and not s.faults
            for case, s, r in zip(exercise.cases, seen, right, strict=True)
        ):
            return name
    return ""


def with_callee(function: FunctionType, name: str, callee: Callable) -> Callable:
    """Copy of a function that calls another one under a name."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    closure = tuple(CellType(callee) if free == name else cell for free, cell in cells)
    copy = FunctionType(
        function.__code__, {**function.__globals__, name: callee}, function.__name__,
        function.__defaults__, closure,
    )  # fmt: skip
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def status_of(seen: Seen, right: Seen) -> Status:
    """Status of an answer that is wrong on a case."""
    if seen.error:
        return "raised"
    shapes = [{k: v.shape for k, v in s.parts.items()} for s in (seen, right)]
    return "wrong shape" if seen.kind != right.kind or shapes[0] != shapes[1] else "wrong value"


def recognised(exercise: Exercise, seen: list[Seen]) -> Mistake | None:
    """Find the mistake in the catalogue that behaves as the student's function does."""

    def alike(function: Callable) -> bool:
        return all(
            same(case, seen[i], known(exercise, function, i))
            for i, case in enumerate(exercise.cases)
        )

    found = [mistake for mistake in exercise.mistakes if alike(mistake.function)]
    for mistake in found:  # one that also leaves the same things behind comes first
        if all(s.faults == known(exercise, mistake.function, i).faults for i, s in enumerate(seen)):
            return mistake
    # The numbers may be right, and the catalogue's version leaves other things behind.
    return None if alike(exercise.reference) else next(iter(found), None)


def known(exercise: Exercise, function: Callable, i: int) -> Seen:
    """Show one of our own functions a case, and remember it."""
    if (function, i) not in exercise.remember:
        exercise.remember[function, i] = look(exercise, exercise.cases[i], function)
    return exercise.remember[function, i]


def look(exercise: Exercise, case: Case, function: Callable, limit: float = LIMIT) -> Seen:
    """Play one case with fresh arguments and note what it shows."""
    with torch.random.fork_rng(devices=[]):  # neither we nor the student move the reader's stream
        return played(exercise, case, function, limit)


def played(exercise: Exercise, case: Case, function: Callable, limit: float) -> Seen:
    """Play a case; what `look` notes."""
    arguments = case.arguments()
    before = watch(arguments)
    play = case.play or (lambda f, a: pass_on(exercise.reference, f, a))
    outcome: Outcome = call(lambda: play(function, arguments), limit)
    if outcome.error:
        return Seen(outcome.error, outcome.place, printed=outcome.printed, stopped=outcome.stopped)
    faults = list(changed(before, watch(arguments)))
    try:
        faults += filter(None, [case.fault(outcome.value, arguments)])
        value = case.observe(deepcopy_detached(outcome.value, faults), arguments)
        kind, parts = apart(value)
    except Exception:  # something that does not behave like what it looks like
        kind, parts = f"a {type(outcome.value).__name__} that says nothing here", {}
    return Seen(kind=kind, parts=parts, faults=tuple(faults), printed=outcome.printed)


def pass_on(reference: Callable, function: Callable, arguments: dict[str, object]) -> object:
    """Call a function: what must be given by position, so that it may have other names."""
    parameters = inspect.signature(reference).parameters
    required = [p.name for p in parameters.values() if p.default is p.empty]
    given = [arguments[name] for name in required]
    options = {name: value for name, value in arguments.items() if name not in required}
    return function(*given, **options)


def deepcopy_detached(value: object, faults: list[str]) -> object:
    """Take a result from its graph; a graph that was still there is a fault."""
    if isinstance(value, Tensor):
        if value.requires_grad and ATTACHED not in faults:
            faults.append(ATTACHED)
        return value.detach().cpu().to_dense().clone()
    if isinstance(value, tuple | list) and len(value) <= 100:
        return tuple(deepcopy_detached(v, faults) for v in value)
    return deepcopy(value)


ATTACHED = (
    "the result is still attached to the graph (`requires_grad=True`), which keeps every "
    "activation in memory; return it with `.detach()`"
)


def apart(value: object) -> tuple[str, dict[str, Tensor]]:
    """Say what sort of thing a value is, and the numbers in it by name."""
    if isinstance(value, dict):
        return "a dict", {str(k): numbers(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return f"{len(value)} things", {str(i): numbers(v) for i, v in enumerate(value)}
    if value is None:
        return "None", {}
    if isinstance(value, np.ndarray):
        return "a NumPy array", {"": numbers(torch.from_numpy(np.array(value)))}
    if isinstance(value, str):
        return "a str", {}
    if isinstance(value, Tensor) and value.ndim:
        whole = not value.is_floating_point()
        return f"a tensor of {value.dtype}" if whole else "a tensor", {"": numbers(value)}
    return "a number", {"": numbers(value)}


def numbers(value: object) -> Tensor:
    """Anything numeric as a tensor of doubles."""
    if isinstance(value, Tensor) and value.is_complex():
        raise TypeError("complex")
    return torch.as_tensor(value).detach().cpu().double()


def same(case: Case, one: Seen, two: Seen) -> bool:
    """Whether two functions did the same thing in a case, up to its tolerance."""
    if one.error or two.error:
        return type(one.error) is type(two.error)
    return (
        one.kind == two.kind
        and one.parts.keys() == two.parts.keys()
        and all(near(one.parts[k], two.parts[k], case.tolerance(k)) for k in one.parts)
    )


def near(one: Tensor, two: Tensor, tol: float) -> bool:
    """Equal up to a fraction of the largest value, NaN where the other is NaN.

    Values in the cases are of the order of 1, so what should be zero is so up to a tenth of it.
    """
    if one.shape != two.shape:
        return False
    if one.numel() == 0:
        return True
    if not torch.equal(one.isfinite(), two.isfinite()):
        return False
    scale = two[two.isfinite()].abs().max().item() if two.isfinite().any() else 0.0
    return torch.allclose(one, two, rtol=0, atol=tol * max(scale, 0.1), equal_nan=True)


def is_stub(function: Callable) -> bool:
    """Whether a function's body is empty: `pass`, `...`, or nothing but its docstring."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return False
    empty = (lambda: None, empty_with_docstring)
    return (
        any(code.co_code == e.__code__.co_code for e in empty)
        and not code.co_names
        and all(constant is None or isinstance(constant, str) for constant in code.co_consts)
    )


def empty_with_docstring() -> None:
    """Do nothing."""
