"""Feedback on exercises: ``check(function)`` names the mistake, ``hint("name")`` helps on.

Start with `check`. What an exercise consists of is in `xai_lab.checks.exercise`, each chapter's
exercises are in a module of the chapter's name (those of chapter 3 also in `sums`, `baselines` and
`words`, of chapter 4 also in `heads` and `copying`, of chapter 5 in `hiding`, `cheating` and
`repairing`), how student code is run is in `sandbox`, and what is said about an unknown mistake is
in `diagnosis`.
"""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from xai_lab.checks.exercise import Exercise, Result, box, is_stub, judge, look

__all__ = ["Hint", "Result", "attempted", "check", "exercises", "hint"]


def check(function: Callable, name: str | None = None) -> Result:
    """Run a function on its exercise's cases and say what is right or wrong with it.

    Parameters
    ----------
    function : callable
        The student's function; not the result of calling it.
    name : str, optional
        The exercise, if the function goes by another name.

    Returns
    -------
    Result
        True if correct; prints as a sentence. Never raises for anything the function does.

    Raises
    ------
    AssertionError
        For a wrong answer, under nbgrader's autograder, which gives points for not raising.
    """
    result = verdict(function, name)
    if os.environ.get("NBGRADER_EXECUTION") and not result:
        raise AssertionError(repr(result))
    return result


def verdict(function: Callable, name: str | None) -> Result:
    """Return the result of a check, once it is clear what is to be checked."""
    own = str(name or getattr(function, "__name__", "check"))
    if not callable(function):
        return Result(
            own,
            "not attempted",
            f"check wants the function itself and was given a "
            f"{type(function).__name__}: write `check(saliency)`, without calling it.",
        )
    if own not in exercises():
        near = difflib.get_close_matches(own, exercises(), n=1)
        return Result(
            own,
            "not attempted",
            "there is no exercise of this name. "
            + (f"Was {near[0]} meant? " if near else "")
            + f'`check(function, name="{near[0] if near else "saliency"}")` says which one it is; '
            f"there are: {', '.join(exercises())}.",
        )
    module = getattr(function, "__module__", None) or ""
    if module.partition(".")[0] == "xai_lab":
        return Result(
            own,
            "not attempted",
            "this is the package's own function, and it is right. Write "
            "yours under the TODO and run that cell; the name then means your function.",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from wrong values; the verdict speaks of those
        return judge(exercises()[own], function)


def attempted(*functions: Callable) -> bool:
    """Whether functions have been written; says it where one has not.

    For cells that draw with the student's function: ``if attempted(saliency): …`` lets a notebook
    be run from top to bottom before everything in it is solved.
    """
    waiting = [f.__name__ for f in functions if not written(f)]
    if waiting:
        them = "it" if len(waiting) == 1 else "them"
        names = " and ".join([", ".join(waiting[:-1]), waiting[-1]][len(waiting) == 1 :])
        print(f"Waiting for {names}: write {them} above, then run this cell again.")
    return not waiting


def written(function: Callable) -> bool:
    """Whether a function is more than its TODO."""
    if is_stub(function):
        return False
    if (exercise := exercises().get(function.__name__)) is None:
        return True
    return not isinstance(look(exercise, exercise.cases[0], function).error, NotImplementedError)


@dataclass(frozen=True)
class Hint:
    """A hint: prints as text, shows as HTML in a notebook."""

    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return box(self.text, "#4a86c5", "hint")


given: dict[str, int] = {}


def hint(name: str | Callable, number: int | None = None) -> Hint:
    """Next hint of an exercise, or the one of that number: 1 nudges, 3 all but says it."""
    name = name if isinstance(name, str) else name.__name__
    if name not in exercises():
        return Hint(f"There is no exercise {name}; there are: {', '.join(exercises())}.")
    hints = exercises()[name].hints
    again = " (from the start again)" if number is None and given.get(name) == len(hints) else ""
    number = number if number is not None else given.get(name, 0) % len(hints) + 1
    number = min(max(number, 1), len(hints))
    given[name] = number
    return Hint(f"Hint {number} of {len(hints)}{again}: {hints[number - 1]}")


@cache
def exercises() -> dict[str, Exercise]:
    """All exercises by name, from every module beside this one that has some."""
    modules = sorted(module.name for module in iter_modules(__path__))
    found = [getattr(import_module(f"{__name__}.{m}"), "EXERCISES", ()) for m in modules]
    return {exercise.name: exercise for chapter in found for exercise in chapter}
