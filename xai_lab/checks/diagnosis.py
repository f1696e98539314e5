"""How an answer is off, when it is none of the mistakes that its exercise knows.

`explain` tries, in this order: the error, the kind of thing returned, its shape, one of the
changes below applied to the right answer, a constant factor, such a change on top of a known
mistake; and at last describes what it sees.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import Tensor

from xai_lab.checks.exercise import Case, Exercise, Seen, Status, known, near, same, status_of

STATEFUL = (
    "right the first time, but the same call gave another answer the second time. Something is "
    "remembered between calls: a global variable, a mutable default argument, or a random draw "
    "that the seed does not fix."
)

FROM_NUMPY = "A NumPy array meets torch. Make it a tensor first: `torch.from_numpy(array)`."

# What torch says, and what it means here.
TRANSLATED = {
    "does not require grad": "The score is not connected to what you differentiate by. Call "
    "`.requires_grad_()` on your copy of x before the model sees it, and compute the score from "
    "that copy, outside `torch.no_grad()`; a function of yours that needs a gradient must not be "
    "called in there either. What a hook keeps must not be detached before the gradient is taken.",
    "can be implicitly created only for scalar": "`autograd.grad` wants one number to start from. "
    "Sum the scores of the batch: no sample's score depends on another sample, so each one "
    "receives its own gradient.",
    "been used in the graph": "You differentiate by a tensor that the score was not computed "
    "from: a copy or a view made afterwards, or one that a `detach` has cut off from the score.",
    "leaf variable": "An in-place operation on a tensor that requires a gradient. "
    "Make a new tensor (`x = x + noise`) instead of writing into it (`x += noise`).",
    "backward through the graph a second time": "The graph is gone after one backward pass. Run "
    "the model again for every gradient, or sum the scores and go backward once.",
    "same device": "Two tensors live on different devices. Make new ones `.to(x)`, which follows "
    "x's device and dtype.",
    "can't call numpy() on tensor that requires grad": "Call `.detach()` before `.numpy()`; here a "
    "tensor is all that is needed.",
    "'nonetype' object": "Something is None. If it is `x.grad`: only a leaf keeps its gradient, "
    "so a tensor made by an operation (`x + noise`) has none; `torch.autograd.grad` needs no leaf.",
    "only tensors of floating point": "Only floating-point tensors can have a gradient.",
    "must match the size": "Two shapes do not fit together; print both. A size belongs to the "
    "tensor: `x.shape`, not a number in your code. An index with None, `target[:, None]`, adds a "
    "dimension of size 1; one number a sample, (N,), meets (N, C, H, W) only in the shape "
    "(N, 1, 1, 1): `v[:, None, None, None]`.",
    "is invalid for input of size": "The sizes asked for do not multiply up to the number of "
    "values that are there. Take them from the tensor's `.shape`: a number such as 3 or 7 in your "
    "code fits one case only.",
    "selected index k out of range": "`topk` was asked for more values than the dimension has. A "
    "number such as 10 in your code does not fit every input; look at `dim`, too.",
    "'function' object has no attribute": "If that is the model: it may be anything that can be "
    "called, also a plain function, which has no mode, no weights and no modules. Take it as it "
    "comes.",
    "of batch2 tensor": "`@` and `matmul` are the product of matrices; multiply value by "
    "value, with `*`.",
    "index tensor must have the same number of dimensions": "`gather` wants an index with as many "
    "dimensions as the scores: `target[:, None]` is (N, 1).",
    "positional arguments but 3 were given": "A forward hook is called with three things: "
    "`def keep(module, inputs, output): …`.",
    "modified by an inplace operation": "A later layer works in place and wrote into the tensor "
    "that you kept. Keep one tensor, and hand the next layer a copy: `return output.clone()`.",
    "is being modified inplace": "A backward hook cannot stand where a layer works in place. Use a "
    "forward hook, and `torch.autograd.grad` for the gradient.",
    "not defined": "A name is used before it is given a value. Run the cells above, or look for "
    "a typing error.",
    "maximum recursion depth": "The function calls itself without an end; a method of the package "
    "with the same name may have been meant.",
    "dimension out of range": "There are fewer dimensions than your line counts on. `.flatten(1)` "
    "makes (N, everything else) of any shape, and dim=-1 is the last, however many there are.",
    "too many indices for tensor of dimension 0": "One number, a tensor without dimensions, was "
    "indexed. A class for each sample is a tensor (N,); for a batch of one it is "
    "`torch.tensor([target])`.",
    "'int' object is not subscriptable": "A number stands where a tensor is wanted. A class for "
    "each sample is a tensor (N,); for a batch of one it is `torch.tensor([target])`.",
    "mat1 and mat2 shapes cannot be multiplied": "A layer was handed another size than it was made "
    "for. Is the batch dimension missing? A model wants (N, …): `x[None]` is a batch of one.",
    "'numpy.ndarray' and 'tensor'": FROM_NUMPY,
    "must be tensor, not numpy.ndarray": FROM_NUMPY,
    "division by zero": "With a single draw n − 1 is zero: look at what you divide by.",
}


def explain(
    exercise: Exercise, seen: list[Seen], right: list[Seen], wrong: list[int]
) -> tuple[Status, str, str]:
    """Status, sentence, and the known mistake that is a part of it, if any."""
    first = wrong[0]
    case, got, want = exercise.cases[first], seen[first], right[first]
    status = status_of(got, want)
    if got.error:
        only = [case.alone] if case.alone and len(wrong) == 1 else []
        return (
            status,
            " ".join([raised(got.error, got.place) + where_else(exercise, wrong), *only]),
            "",
        )
    if message := altered(exercise, seen, exercise.reference):
        return status, message, ""
    if got.kind != want.kind:
        return status, kind(got.kind, want), ""
    if got.parts.keys() != want.parts.keys():
        return status, names(got, want), ""
    if case.alone and {exercise.cases[i].alone for i in wrong} == {case.alone}:
        labels = "; ".join(exercise.cases[i].label for i in wrong)
        return status, f"right but for {labels}. {case.alone}", ""
    for i in wrong:
        if not seen[i].error and (message := measured(exercise.cases[i], seen[i], right[i])):
            return status_of(seen[i], right[i]), message, ""
    if message := factor(exercise, seen, exercise.reference, guess=True):
        return status, message, ""
    for mistake in exercise.mistakes:
        if factor(exercise, seen, mistake.function):
            return status, mistake.sentence, mistake.name  # the factor may belong to it
        if second := altered(exercise, seen, mistake.function):
            return status, f"{mistake.sentence} And there is a second thing: {second}", mistake.name
    for part, value in got.parts.items():
        if value.shape != want.parts[part].shape:
            where = f" (in the case of {case.label})"
            return "wrong shape", shape(part, value, want.parts[part]) + where, ""
    return status, describe(exercise, seen, right, wrong), ""


def signature(exercise: Exercise, function: Callable) -> str:
    """Say what keeps the function from being called as the exercise says, if anything does."""
    ours = inspect.signature(exercise.reference)
    try:
        theirs = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    required = [p for p in ours.parameters.values() if p.default is p.empty]
    options = {p.name: None for p in ours.parameters.values() if p.default is not p.empty}
    try:
        theirs.bind(*[None] * len(required), **options)
    except TypeError as error:
        return (
            f"the check calls it as `{exercise.name}{plain(ours)}`, and yours is "
            f"`{exercise.name}{plain(theirs)}` ({error}). Keep the arguments of the stub."
        )
    return ""


def plain(signature: inspect.Signature) -> str:
    """Arguments without their types."""
    return (
        "("
        + ", ".join(
            p.name if p.default is p.empty else f"{p.name}={p.default!r}"
            for p in signature.parameters.values()
        )
        + ")"
    )


def raised(error: BaseException, place: str) -> str:
    """Tell an exception, where it came from, and what it means."""
    if isinstance(error, SystemExit | KeyboardInterrupt):
        left = f"it left with {type(error).__name__}{at(place)}"
        return f"{left}; a function should `return` its result."
    text = " ".join(str(error).split())
    text = text if len(text) <= 160 else text[:160] + " …"
    means = next((m for words, m in TRANSLATED.items() if words in str(error).lower()), "")
    return f"it raised {type(error).__name__}{at(place)}: {text.rstrip('.')}. {means}".rstrip()


def at(place: str) -> str:
    """Place of an error within a sentence."""
    return f" in {place}" if place else ""


def where_else(exercise: Exercise, wrong: list[int]) -> str:
    """Where an error happened, if the other cases were fine."""
    if len(wrong) == len(exercise.cases):
        return ""
    return f" It happened in the case of {exercise.cases[wrong[0]].label}."


def too_slow(case: Case, seen: Seen, limit: float) -> str:
    """Sentence for a function that had to be stopped."""
    left = "" if seen.stopped else " It could not be stopped either: restart the kernel."
    return (
        f"it was still running after {limit:g} seconds on a case that takes a moment "
        f"({case.label}), so it was stopped{at(seen.place)}. Look for a loop without an end.{left}"
    )


def kind(got: str, want: Seen) -> str:
    """Sentence for a result of the wrong sort."""
    wanted = want.kind
    if want.kind == "a tensor":
        wanted = f"a tensor of shape {tuple(want.parts[''].shape)}"
    if want.kind == "a dict":
        wanted = "a value each for " + ", ".join(k for k in want.parts if k[:1] != "(")
    if got == "1 things":
        return (
            f"it returned a tuple or a list of one, expected {wanted}. `autograd.grad` returns a "
            "gradient for each thing it is asked about; take the first: `[0]`."
        )
    if got.endswith(" things") and want.kind == "a tensor":
        return f"it returned {got}, expected {wanted}. `torch.stack` makes one tensor of a list."
    if got == "None":
        return f"it returned None, expected {wanted}. Is the `return` missing?"
    if got == "a NumPy array":
        return f"it returned {got}, expected {wanted}. Stay in torch: no `.numpy()` is needed."
    if got == "a tensor" and want.kind.startswith("a tensor of"):
        return f"it returned floating-point numbers, expected {want.kind}."
    if got == "a number" and want.kind.startswith("a tensor"):
        return (
            f"it returned a single number, expected {wanted}. Something summed or averaged over "
            "everything; give `dim=` to reduce only what should be reduced."
        )
    if got.startswith("a tensor of torch."):
        return (
            f"it returned {got}, expected floating point: rounded or compared values have lost "
            "what the result is made of."
        )
    return f"it returned {got}, expected {wanted}."


def names(got: Seen, want: Seen) -> str:
    """Sentence for a dict with other keys."""
    missing = ", ".join(k for k in want.parts if k not in got.parts and k[:1] != "(")
    extra = ", ".join(k for k in got.parts if k not in want.parts)
    return " ".join(
        [f"missing: {missing}."] * bool(missing) + [f"not asked for: {extra}."] * bool(extra)
    )


def measured(case: Case, got: Seen, want: Seen) -> str:
    """Sentences of the case itself for measured parts that are off."""
    said = [
        says(got.parts[part], want.parts[part]) if callable(says) else says
        for part, says in case.says.items()
        if part in got.parts and not near(got.parts[part], want.parts[part], case.tolerance(part))
    ]
    return " ".join(said)


def shape(part: str, got: Tensor, want: Tensor) -> str:
    """Sentence for a wrong shape that no change explains."""
    a, b = tuple(got.shape), tuple(want.shape)
    why = ""
    if sorted(a) == sorted(b):
        why = ", the same sizes in another order"
    elif got.numel() == want.numel():
        why = ", the same number of values in another shape"
    elif got.ndim < want.ndim:
        why = ": dimensions are missing"
    elif got.ndim > want.ndim:
        why = ": there are dimensions too many"
    return f"{part_name(part)} has shape {a}, expected {b}{why}."


def part_name(part: str) -> str:
    """Part's name within a sentence."""
    return f"`{part}`" if part else "the result"


def lead(t: Tensor) -> Tensor:
    """Shape that broadcasts one number a sample over t."""
    return t.new_zeros((len(t),) + (1,) * (t.ndim - 1))


def each(reduce: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Reduce each sample to a number that broadcasts over it."""
    return lambda t: reduce(t.flatten(1)).reshape(lead(t).shape)


low, high = each(lambda t: t.amin(1)), each(lambda t: t.amax(1))
peak, total = each(lambda t: t.abs().amax(1)), each(lambda t: t.sum(1))
length, average = each(lambda t: t.norm(dim=1)), each(lambda t: t.mean(1))
spread = each(lambda t: t.std(1))


def only_first(t: Tensor) -> Tensor:
    """First sample kept, zeros for the others."""
    kept = torch.zeros_like(t)
    kept[0] = t[0]
    return kept


def of_channels(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Change of the channels, which are dimension 1 of (N, C, H, W) and of nothing else."""

    def changed(t: Tensor) -> Tensor:
        if t.ndim != 4:
            raise TypeError("no channels")
        return change(t)

    return changed


# What may have been done to the right answer on the way out, and how to say it. The first that
# explains all cases is said, so the narrower of two comes first.
CHANGES: tuple[tuple[Callable[[Tensor], Tensor], str], ...] = (
    (lambda t: -t, "the sign is the wrong way round: every value is minus what it should be."),
    (
        lambda t: t.abs(),
        "your map never has a negative value, the right one does: it is its "
        "absolute value. Keep the sign; the absolute value belongs to the picture.",
    ),
    (lambda t: -t.abs(), "it is minus the absolute value of the right one."),
    (lambda t: t.clamp(min=0), "negative values were cut to zero (a relu or clamp); keep them."),
    (lambda t: t.clamp(max=0), "positive values were cut to zero; keep them."),
    (lambda t: (-t).clamp(min=0), "only the negative values are there, with their sign lost."),
    (lambda t: t**2, "every value is the square of what it should be."),
    (lambda t: t * t.abs(), "every value was multiplied by its own absolute value."),
    (lambda t: t.abs().sqrt(), "it is the square root of the right one's absolute value."),
    (lambda t: t.sign(), "only the signs are left; the sizes are missing."),
    (lambda t: t.round(), "the values were rounded to whole numbers."),
    (lambda t: t.floor(), "the values were rounded down to whole numbers."),
    (lambda t: t.half().double(), "the precision of half floats: a `.half()` on the way?"),
    (torch.exp, "it is the exponential of the right one."),
    (lambda t: 1 / t, "it is one over the right one: turn the fraction round."),
    (lambda t: t.mT if t.ndim >= 2 else t, "rows and columns are exchanged (transposed)."),
    (lambda t: t.flip(-1), "it is mirrored left to right (the last dimension is reversed)."),
    (lambda t: t.flip(-2) if t.ndim >= 2 else t, "it is upside down (a reversed dimension)."),
    (of_channels(lambda t: t.flip(1)), "the channels are in reverse order."),
    (lambda t: t.flip(0), "the samples of the batch are in reverse order."),
    (only_first, "only the first sample of the batch is right; the others are zero."),
    (lambda t: t[:1].expand_as(t), "every sample got the first one's result."),
    (lambda t: t[-1:].expand_as(t), "every sample got the last one's result."),
    (
        lambda t: t.mean(0, keepdim=True).expand_as(t),
        "the samples of the batch were averaged together: each should keep its own.",
    ),
    (
        lambda t: t.sum(0, keepdim=True).expand_as(t),
        "the samples of the batch were added together: each should keep its own.",
    ),
    (
        lambda t: t / len(t),
        "it was divided by the number of samples in the batch: sum the scores "
        "where you averaged them.",
    ),
    (
        lambda t: t / peak(t),
        "each sample was divided by its largest absolute value. Normalising "
        "belongs to the picture, not to the method.",
    ),
    (
        lambda t: t / t.abs().max(),
        "everything was divided by the largest absolute value of the "
        "batch. Normalising belongs to the picture, not to the method.",
    ),
    (
        lambda t: t / t.max(),
        "everything was divided by the largest value. Normalising belongs to the picture.",
    ),
    (
        lambda t: (t - low(t)) / (high(t) - low(t)),
        "each sample was stretched to 0 … 1 (min–max). "
        "Normalising belongs to the picture, and the zero has moved with it.",
    ),
    (
        lambda t: (t - t.min()) / (t.max() - t.min()),
        "it was stretched to 0 … 1 (min–max). "
        "Normalising belongs to the picture, and the zero has moved with it.",
    ),
    (
        lambda t: t.abs() / peak(t),
        "it was made absolute and normalised; both belong to the picture.",
    ),
    (lambda t: t / t.sum(), "it was divided by its own sum."),
    (lambda t: t / t.abs().sum(), "it was divided by the sum of its absolute values."),
    (lambda t: t / total(t), "each sample was divided by its sum."),
    (lambda t: t / length(t), "each sample was divided by its length (its norm)."),
    (lambda t: t / t.norm(), "it was divided by its length (its norm)."),
    (lambda t: t - average(t), "each sample's mean was subtracted."),
    (lambda t: (t - average(t)) / spread(t), "each sample was standardised (mean 0, deviation 1)."),
    (lambda t: (t - t.mean()) / t.std(), "it was standardised (mean 0, deviation 1)."),
    (lambda t: t.flatten(1).softmax(1).reshape(t.shape), "a softmax was taken over the result."),
    (lambda t: t[0], "only the first sample came back, and the batch dimension is missing."),
    (lambda t: t[:1], "only the first sample of the batch came back."),
    (lambda t: t[-1:], "only the last sample of the batch came back."),
    (
        lambda t: t.squeeze(),
        "a `squeeze` took a dimension of size 1 away; a batch of one is still a batch.",
    ),
    (lambda t: t[None], "there is a dimension of size 1 too many in front."),
    (lambda t: t[..., None], "there is a dimension of size 1 too many at the end."),
    (
        lambda t: t[..., None, None],
        "there are two dimensions of size 1 too many at the end (`keepdim=True`).",
    ),
    (
        lambda t: t[:, None],
        "there is a dimension of size 1 too many: the reduced one was kept (`keepdim=True`).",
    ),
    (lambda t: t.sum(0), "it was summed over the first dimension; that one should stay."),
    (lambda t: t.mean(0), "it was averaged over the first dimension; that one should stay."),
    (lambda t: t.sum(), "everything was summed to one number: one for each is wanted."),
    (lambda t: t.mean(), "everything was averaged to one number: one for each is wanted."),
    (
        of_channels(lambda t: t.abs().amax(1)),
        "it is the picture already: the largest absolute value over the "
        "channels. The method returns every channel, with its sign.",
    ),
    (
        of_channels(lambda t: t.abs().amax(1, keepdim=True)),
        "it is the picture already: the largest absolute "
        "value over the channels. The method returns every channel, with its sign.",
    ),
    (
        of_channels(lambda t: t.amax(1)),
        "the largest value over the channels was taken; return all channels.",
    ),
    (of_channels(lambda t: t.sum(1)), "the channels were added up; return all of them."),
    (of_channels(lambda t: t.mean(1)), "the channels were averaged; return all of them."),
    (
        of_channels(lambda t: t.abs().sum(1)),
        "absolute values were added up over the channels; return all of them, with their sign.",
    ),
    (
        of_channels(lambda t: t.abs().mean(1)),
        "absolute values were averaged over the channels; return all of them, with their sign.",
    ),
    (
        of_channels(lambda t: t.norm(dim=1)),
        "it is the length of the colour vector at each pixel; return every channel.",
    ),
    (of_channels(lambda t: t.mean(1, keepdim=True).expand_as(t)), "the channels were averaged."),
    (of_channels(lambda t: t.sum(1, keepdim=True).expand_as(t)), "the channels were added up."),
    (lambda t: t.flatten(1), "it was flattened; keep the shape of the input."),
    (lambda t: t.flatten(), "it was flattened; keep the shape of the input."),
    (
        of_channels(lambda t: t.movedim(1, -1)),
        "the channels come last, as in a picture file; torch wants (N, C, H, W).",
    ),
    (lambda t: t.flatten(1).sum(1), "each sample was summed to one number."),
)


# The same for single numbers, of which a map's changes would only talk nonsense.
OF_A_NUMBER: tuple[tuple[Callable[[Tensor], Tensor], str], ...] = (
    (lambda t: -t, "the sign is the wrong way round."),
    (lambda t: t**2, "it is the square of the right number."),
    (lambda t: t.abs().sqrt(), "it is the square root of the right number."),
    (lambda t: 1 / t, "it is one over the right number: turn the fraction round."),
)


def altered(exercise: Exercise, seen: list[Seen], base: Callable) -> str:
    """Sentence for the change of `base`'s result that gives what was seen, in every case."""
    if any(s.error for s in seen) or all(constant(s) for s in seen):
        return ""
    single = all(s.parts[""].ndim == 0 for s in seen if "" in s.parts)
    for change, sentence in OF_A_NUMBER if single else CHANGES:
        for parts in changeable(seen):
            if all(
                explains(change, case, seen[i], known(exercise, base, i), parts)
                for i, case in enumerate(exercise.cases)
            ):
                return sentence if parts == ("",) else f"in {both(parts)}: {sentence}"
    return ""


def changeable(seen: list[Seen]) -> list[tuple[str, ...]]:
    """Parts of a result that may have been changed: the whole, each named one, or all of those."""
    if any("" in s.parts for s in seen):
        return [("",)]
    named = [k for k, v in seen[0].parts.items() if v.ndim and all(k in s.parts for s in seen)]
    return [*((k,) for k in named), tuple(named)][: len(named) + (len(named) > 1)]


def both(parts: tuple[str, ...]) -> str:
    """Names of parts within a sentence."""
    return " and ".join(part_name(part) for part in parts)


def explains(
    change: Callable[[Tensor], Tensor], case: Case, got: Seen, base: Seen, changed: tuple[str, ...]
) -> bool:
    """Whether a change of some parts, and of nothing else, leads from `base` to `got`."""
    if base.error:
        return False
    try:
        parts = {k: change(v) if k in changed else v for k, v in base.parts.items()}
    except (RuntimeError, IndexError, TypeError):
        return False
    for part in changed:
        result, shown = parts.get(part), got.parts.get(part)
        if result is not None and shown is not None and result.shape == shown.shape:
            # Where it divides by zero, a student may have added a small number: no evidence.
            if not result.isfinite().any() and shown.any():
                return False
            parts[part] = torch.where(result.isfinite(), result, shown)
    whole = parts.get("")
    sort = got.kind if whole is not None and whole.ndim == 0 else base.kind
    return same(case, got, Seen(kind=sort, parts=parts))


def constant(seen: Seen) -> bool:
    """Whether a result is the same everywhere, so that almost anything explains it."""
    value = seen.parts.get("")
    return value is not None and value.numel() > 1 and bool((value == value.flatten()[0]).all())


def factor(exercise: Exercise, seen: list[Seen], base: Callable, guess: bool = False) -> str:
    """Sentence for a constant factor, with a name for it if the cases have such a number.

    With ``guess``, also for one that differs from case to case and has no name; for a single
    number that would be no finding, since any number is another one times something.
    """
    factors: list[float] = []
    exact: list[Case] = []
    for i, case in enumerate(exercise.cases):
        theirs = known(exercise, base, i)
        got, want = seen[i].parts.get(""), theirs.parts.get("")
        if seen[i].error or theirs.error:
            return ""
        if got is None or want is None or got.shape != want.shape:
            if not same(case, seen[i], theirs):
                return ""
            continue
        if not want.any() and not got.any():
            continue
        c = ((got * want).sum() / (want**2).sum()).item()
        scaled = Seen(kind=seen[i].kind, parts=theirs.parts | {"": c * want})
        if not (0 < abs(c) < float("inf")) or not same(case, seen[i], scaled):
            return ""
        if case.tolerance("") <= 1e-3:
            factors.append(c)
            exact.append(case)
    if not factors or all(abs(c - 1) < 1e-4 for c in factors):
        return ""
    if all(abs(c - factors[0]) < 1e-3 * abs(factors[0]) for c in factors):
        named = NUMBERS.get(round(factors[0], 3), "")
        return f"it is {factors[0]:.4g} times the right one, everywhere and in every case{named}."
    shown = " and ".join(f"{c:.4g}" for c in dict.fromkeys(round(c, 4) for c in factors))
    for name, value in quantities(exact).items():
        for how, f in FACTORS.items():
            if len(value) == len(factors) and all(
                abs(c - f(q)) < 1e-3 * abs(c) for c, q in zip(factors, value, strict=True)
            ):
                return f"it is {how.format(name)}."
    if not guess or all(s.parts[""].numel() < FEW for s in seen):
        return ""
    return (
        f"the pattern is right, the size is not: it is the right one times {shown}, depending on "
        "the case. Look for a number that you divide by, or forgot to divide by."
    )


NUMBERS = {
    2.0: ": something is counted twice, or a square was differentiated",
    0.5: ": something is halved",
    -1.0: ": the sign is the wrong way round",
}
FACTORS: dict[str, Callable[[float], float]] = {
    "multiplied by {0}: a sum where a mean was asked for": lambda q: q,
    "divided by {0} once too often": lambda q: 1 / q,
    "divided by {0} − 1 where {0} was asked for": lambda q: q / (q - 1) if q > 1 else 0.0,
    "divided by {0} + 1 where {0} was asked for": lambda q: q / (q + 1),
    "divided by {0} where {0} − 1 was asked for": lambda q: (q - 1) / q,
    "multiplied by √{0}": lambda q: q**0.5,
    "divided by √{0} once too often": lambda q: q**-0.5,
    "multiplied by √({0} / ({0} − 1)), as if `ddof` were another one": (
        lambda q: (q / (q - 1)) ** 0.5 if q > 1 else 0.0
    ),
    "multiplied by √(({0} − 1) / {0}), as if `ddof` were another one": lambda q: (
        ((q - 1) / q) ** 0.5
    ),
    "multiplied by {0}²": lambda q: q**2,
}


def quantities(cases: list[Case]) -> dict[str, list[float]]:
    """Numbers that an answer may be off by, in each of the cases."""
    found: dict[str, list[float]] = {}
    for case in cases:
        for name, value in case.arguments().items():
            if isinstance(value, int | float) and value:
                found.setdefault(f"`{name}`", []).append(float(value))
            if isinstance(value, Tensor) and value.ndim:
                size, n = float(value.numel()), float(len(value))
                found.setdefault(f"the first size of `{name}`", []).append(n)
                found.setdefault(f"the number of values in `{name}`", []).append(size)
                found.setdefault(f"the number of values in `{name}[0]`", []).append(size / n)
    return found


def describe(exercise: Exercise, seen: list[Seen], right: list[Seen], wrong: list[int]) -> str:
    """Say what can be seen without knowing the cause."""
    # What is so in one case only may be chance: a case is shown that the others do not gainsay.
    alike = [i for i in wrong if status_of(seen[i], right[i]) == "wrong value"]
    first = next((i for i in alike if varied(seen[i])), wrong[0])
    case, got, want = exercise.cases[first], seen[first], right[first]
    off = [k for k in want.parts if not near(got.parts[k], want.parts[k], case.tolerance(k))]
    fine = [exercise.cases[i].label for i in range(len(seen)) if i not in wrong]
    where = f"wrong for {case.label}"
    if fine:
        where += f", right for {'; '.join(fine)}"
    shown = [k for k in want.parts if k and k[:1] != "("]
    if shown and len(off) < len(shown):
        where += f" (there, {' and '.join(k for k in shown if k not in off)} is right)"
    part = off[0]
    pairs = [(seen[i].parts[part], right[i].parts[part]) for i in alike]
    sentence = look_at(
        part_name(part), got.parts[part], want.parts[part], case.tolerance(part),
        unsigned=all((s.parts[part] >= 0).all() for s in seen if part in s.parts),
        one_row=all(a.ndim == 0 or len(b) == 1 or len(agreeing(a, b, case.tolerance(part))) == 1
                    for a, b in pairs),
    )  # fmt: skip
    return f"{where}. {f'In `{part}`: ' if part else ''}{sentence}"


def varied(seen: Seen) -> bool:
    """Whether a result has several values that are not all the same."""
    return "" in seen.parts and seen.parts[""].numel() > 1 and not constant(seen)


def agreeing(a: Tensor, b: Tensor, tol: float) -> list[int]:
    """Numbers of the rows in which a is b."""
    off = (a - b).abs() > tol * b.abs().max()
    return [i for i in range(len(b)) if not off[i].any()]


FEW = 8  # numbers, of which it makes no sense to say how alike they are


def look_at(
    name: str, a: Tensor, b: Tensor, tol: float, unsigned: bool = True, one_row: bool = True
) -> str:
    """First thing that strikes the eye about values a that should be b.

    ``unsigned``: no case has a negative value; ``one_row``: one row is right wherever some are off.
    """
    if a.isnan().any():
        return f"There are NaNs in {name}: 0/0, the square root of a negative number, or ∞ − ∞."
    if a.isinf().any():
        return f"There are infinities in {name}: look at what you divide by."
    if b.numel() > 1 and (a == 0).all():
        return capital(f"{name} is zero everywhere: nothing arrived at it.")
    if a.numel() > 1 and (a == a.flatten()[0]).all():
        return capital(f"{name} has the same value everywhere.")
    if a.ndim == 0:
        size = "too small" if a.abs() < b.abs() else "too large"
        sign = " and has the wrong sign" if a * b < 0 else ""
        return capital(f"{name} is {size}{sign}.")
    off = (a - b).abs() > tol * b.abs().max()
    if 0 < len(fine := agreeing(a, b, tol)) < len(b):
        good = ", ".join(map(str, fine))
        bad = ", ".join(str(i) for i in range(len(b)) if i not in fine)
        ask = ": does every sample get its own treatment?" if one_row else "."
        return f"Along the first dimension, {good} is right and {bad} is not{ask}"
    if near(a.abs(), b.abs(), tol):
        return f"The sizes are right, but {share(a * b < 0)} of the signs are not."
    if (b > 0).sum() > 2 and near(a.clamp(min=0), b.clamp(min=0), tol):
        return "The positive values are right; look at what happens to the negative ones."
    if unsigned and (a >= 0).all() and (b < 0).any():
        return (
            "Your result never has a negative value, the right one does. Was an absolute value, a "
            "square, a relu or a maximum taken somewhere?"
        )
    if b.numel() < FEW:
        right = int((~off).sum())
        too = int((a.abs() > b.abs())[off].sum())
        sizes = "too large" if 2 * too > off.sum() else "too small"
        turned = ", and some have the wrong sign" if (a * b < 0).any() else ""
        return f"{right} of {b.numel()} numbers are right; most of the others are {sizes}{turned}."
    pattern = torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].item()
    if (ratio := (a / b)).isfinite().all() and ratio.std() < 0.02 * ratio.mean().abs():
        return capital(f"{name} is about {ratio.mean():.3g} times the right one.")
    shift = a - b
    if shift.std() < 1e-3 * b.abs().max():
        return capital(f"{name} is off by the same amount everywhere: something is added.")
    if share_of(off) < 0.5:
        return f"{share(~off)} of the values are right."
    if pattern > 0.98:
        return "The pattern is nearly right, the sizes are not: look at factors and at the mean."
    if pattern < -0.9:
        return "The pattern is nearly right, with the sign the wrong way round."
    alike = "no likeness" if abs(pattern) < 0.3 else f"a correlation of {pattern:.1f}"
    whole = "All" if off.all() else share(off) + " of the"
    return f"{whole} values are off, with {alike} to the right pattern."


def capital(sentence: str) -> str:
    """Sentence with a large first letter."""
    return sentence[:1].upper() + sentence[1:]


def share_of(mask: Tensor) -> float:
    """Fraction of values for which a mask is true."""
    return mask.double().mean().item()


def share(mask: Tensor) -> str:
    """Fraction in per cent, as text."""
    return f"{100 * share_of(mask):.0f} %"
