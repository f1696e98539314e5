"""Chapter 2: right answers in other words pass, wrong ones in other words are told apart."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from xai_lab.checks import check
from xai_lab.checks.cam import EXERCISES
from xai_lab.checks.exercise import known, same

# ------------------------------------------------------------- right, written otherwise


def map_by_product(A, w):
    n, k, h, columns = A.shape
    return torch.bmm(w[:, None], A.reshape(n, k, h * columns)).reshape(n, h, columns)


def map_by_loop(A, w):
    result = torch.zeros_like(A[:, 0])
    for n in range(len(A)):
        for k in range(A.shape[1]):
            result[n] += w[n, k] * A[n, k]
    return result


def logit_by_sum(M, b):
    return M.sum((1, 2)) / (M.shape[1] * M.shape[2]) + b


def logit_by_loop(M, b):
    return torch.stack([one.mean() + bias for one, bias in zip(M, b, strict=True)])


def cam_by_einsum(A, g):
    return torch.einsum("nk,nkhw->nhw", g.mean((2, 3)), A).clamp(min=0)


def cam_by_loop(A, g):
    maps = [sum(gk.mean() * ak for gk, ak in zip(gn, an, strict=True)) for gn, an in zip(g, A)]  # noqa: B905
    return torch.maximum(torch.stack(maps), torch.zeros(()).to(A))


def cam_by_pooling(A, g):
    return F.relu((F.adaptive_avg_pool2d(g, 1) * A).sum(1))


def record_cut_at_the_layer(model, x, layer, target):
    """Begin the graph at the layer: no graph below it."""
    kept = {}

    def keep(module, inputs, output):
        torch.set_grad_enabled(True)
        kept["A"] = output.detach().clone().requires_grad_()
        return kept["A"].clone()

    handle = layer.register_forward_hook(keep)
    try:
        with torch.no_grad():
            logits = model(x)
    finally:
        handle.remove()
    score = logits[torch.arange(len(x)), target].sum()
    return kept["A"].detach(), torch.autograd.grad(score, kept["A"])[0]


def record_with_one_hot(model, x, layer, target):
    store = []
    with torch.enable_grad():
        with layer.register_forward_hook(lambda m, i, o: (store.append(o), o * 1)[1]):
            y = model(x.clone().requires_grad_(True))
        g = torch.autograd.grad(y, store[0], F.one_hot(target, y.shape[1]).to(y))[0]
    return [store[0].detach(), g.detach()]


def record_one_by_one(model, x, layer, target):
    pairs = [
        record_with_one_hot(model, x[i : i + 1], layer, target[i : i + 1]) for i in range(len(x))
    ]
    return tuple(torch.cat(both) for both in zip(*pairs, strict=True))


def plus_by_the_long_formula(A, g):
    below = 2 * g**2 + A.sum((2, 3), keepdim=True) * g**3
    alpha = torch.where(below != 0, g**2 / torch.where(below != 0, below, 1), 0)
    return (alpha * g.relu()).sum((2, 3))


def plus_literally(A, g):
    return (g.relu() / (2 + g * A.sum((2, 3), keepdim=True))).sum((2, 3))


def plus_by_loop(A, g):
    w = torch.zeros(A.shape[:2]).to(A)
    for n, k in np.ndindex(*w.shape):
        positive = g[n, k][g[n, k] > 0]
        w[n, k] = (positive / (2 + positive * A[n, k].sum())).sum()
    return w


def score_by_loop(model, x, A, target, batch_size=16):
    scores = torch.full((len(A),), -torch.inf).to(x)
    with torch.no_grad():
        for k, a in enumerate(A):
            if a.max() > a.min():
                u = F.interpolate(a[None, None], x.shape[-2:], mode="bilinear")
                scores[k] = model(x * (u - u.min()) / (u.max() - u.min()))[0, target]
    return scores.softmax(0)


@torch.no_grad()
def score_by_increase(model, x, A, target, batch_size=16):
    """The paper's form: the score's rise over that of a blank picture."""
    upsample = torch.nn.Upsample(size=tuple(x.shape[2:]), mode="bilinear")
    U = upsample(A.unsqueeze(1))
    keep = (A.flatten(1) != A[:, :1, 0]).any(1).nonzero().flatten()
    low, high = U.amin((2, 3), True), U.amax((2, 3), True)
    rise, blank = [], model(torch.zeros_like(x))[0, target]
    for start in range(0, len(keep), batch_size):
        k = keep[start : start + batch_size]
        rise.append(model(x * (U[k] - low[k]) / (high[k] - low[k]))[:, target] - blank)
    w = A.new_zeros(len(A))
    w[keep] = torch.cat(rise).softmax(-1)
    return w


def nth_by_sort(logits, n):
    return torch.sort(logits, dim=1, descending=True).indices[:, n - 1]


def nth_by_numpy(logits, n):
    return torch.from_numpy(np.argsort(-logits.cpu().numpy(), axis=1)[:, n - 1].copy())


def nth_small(logits, n):
    return logits.kthvalue(logits.shape[1] - n + 1, dim=1).indices.int()


def rather_by_weights(A, g, g_other):
    w = g.mean((2, 3)) - g_other.mean((2, 3))
    return map_by_product(A, w).relu()


def rather_by_maps(A, g, g_other):
    """Two signed maps may be subtracted; the relu comes after."""
    return F.relu(map_by_product(A, g.mean((2, 3))) - map_by_product(A, g_other.mean((2, 3))))


def pointing_by_loop(maps, cells):
    shares = [cell[one == one.max()].float().mean() for one, cell in zip(maps, cells, strict=True)]
    return torch.stack(shares).mean()


def pointing_by_rows(maps, cells):
    flat, inside = maps.flatten(1), cells.flatten(1).double()
    top = (flat == flat.max(dim=1, keepdim=True).values).double()
    return float(((top * inside).sum(1) / top.sum(1)).mean())


def likeness_by_pairs(A):
    rows = [a.flatten() for a in A if a.max() > a.min()]
    found = [
        torch.corrcoef(torch.stack([a, b]))[0, 1].abs()
        for i, a in enumerate(rows)
        for b in rows[:i]
    ]
    return sum(found) / len(found)


def likeness_by_numpy(A):
    rows = A.flatten(1).cpu().numpy()
    R = np.abs(np.corrcoef(rows[np.ptp(rows, axis=1) > 0]))
    return R[np.triu_indices(len(R), 1)].mean()


RIGHT = {
    "class_map": [map_by_product, map_by_loop],
    "logit_from": [logit_by_sum, logit_by_loop],
    "grad_cam_from": [cam_by_einsum, cam_by_loop, cam_by_pooling],
    "activation_and_gradient": [record_cut_at_the_layer, record_with_one_hot, record_one_by_one],
    "plus_plus_weights": [plus_by_the_long_formula, plus_literally, plus_by_loop],
    "score_cam_weights": [score_by_loop, score_by_increase],
    "nth_best": [nth_by_sort, nth_by_numpy, nth_small],
    "rather_than": [rather_by_weights, rather_by_maps],
    "pointing_accuracy": [pointing_by_loop, pointing_by_rows],
    "likeness": [likeness_by_pairs, likeness_by_numpy],
}


def test_every_exercise_has_two_other_right_answers():
    assert [e.name for e in EXERCISES] == list(RIGHT)
    assert all(len(answers) >= 2 for answers in RIGHT.values())


@pytest.mark.parametrize(
    ("name", "function"),
    [pytest.param(n, f, id=f.__name__) for n, functions in RIGHT.items() for f in functions],
)
def test_another_right_answer_passes(name, function):
    result = check(function, name=name)
    assert result, result


# ------------------------------------------------------------- wrong, in other words


def hooked(keep, ask=True, remove=True, score=None):
    """Record as a student would, with these lines exchanged."""

    def activation_and_gradient(model, x, layer, target):
        kept = {}
        handle = layer.register_forward_hook(lambda m, i, o: keep(kept, m, i, o))
        y = model(x.clone().requires_grad_(ask))
        if remove:
            handle.remove()
        s = score(y, target) if score else y[range(len(y)), target].sum()
        return kept["A"].detach(), torch.autograd.grad(s, kept["A"])[0]

    return activation_and_gradient


def store(kept, module, inputs, output):
    kept["A"] = output


def store_and_copy(kept, module, inputs, output):
    kept["A"] = output
    return output.clone()


def detached_too_early(kept, module, inputs, output):
    kept["A"] = output.detach()
    return output.clone()


def two_arguments(model, x, layer, target):
    handle = layer.register_forward_hook(lambda module, output: None)
    try:
        return model(x)
    finally:
        handle.remove()


def backward_hook(model, x, layer, target):
    kept = {}
    handles = [
        layer.register_forward_hook(lambda m, i, o: kept.update(A=o.detach().clone())),
        layer.register_full_backward_hook(lambda m, i, o: kept.update(g=o[0])),
    ]
    z = x.clone().requires_grad_()
    model(z)[range(len(x)), target].sum().backward()
    for handle in handles:
        handle.remove()
    return kept["A"], kept["g"]


def retained(model, x, layer, target):
    kept = {}

    def keep(m, i, o):
        o.retain_grad()
        kept["A"] = o
        return o.clone()

    handle = layer.register_forward_hook(keep)
    model(x.clone().requires_grad_())[range(len(x)), target].sum().backward()
    handle.remove()
    return kept["A"].detach(), kept["A"].grad


def rechosen(y, target):
    return y.max(dim=1).values.sum()


def probability(y, target):
    return torch.softmax(y, -1)[range(len(y)), target].sum()


def plus_with_alpha(A, g, eps=1e-7):
    alpha = g.pow(2) / (2 * g.pow(2) + (A * g.pow(3)).sum((2, 3), keepdim=True) + eps)
    return (alpha * g.relu()).sum((2, 3))


def scoring(model, x, A, target, batch_size=16, softmax=True, eps=0.0, first=False):
    """Score-CAM's weights with everything at once."""
    if first:
        A = (A - A.amin((1, 2), True)) / (A.amax((1, 2), True) - A.amin((1, 2), True) + 1e-12)
    U = F.interpolate(A[None], x.shape[2:], mode="bilinear")[0]
    H = U if first else (U - U.amin((1, 2), True)) / (U.amax((1, 2), True) - U.amin((1, 2), True)
                                                      + eps)  # fmt: skip
    with torch.no_grad():
        y = torch.cat([model(x * h[:, None]) for h in H.split(batch_size)])
    return y.softmax(1)[:, target] if not softmax else y[:, target].softmax(0)


@pytest.mark.parametrize(
    ("name", "function", "words"),
    [
        ("class_map", lambda A, w: (A * w.mean(0)[:, None, None]).sum(1), "all samples"),
        ("class_map", lambda A, w: torch.einsum("nk,nkhw->nhw", w, A)[0], "first sample came"),
        ("class_map", lambda A, w: torch.einsum("nk,nkhw->nhw", w, A).float(), "torch.float64"),
        ("class_map", lambda A, w: A.reshape(len(A), -1, 49).mT, "fits one layer only"),
        ("class_map", lambda A, w: torch.einsum("nk,nkhw->nhw", w, A)[:, None], "keepdim"),
        ("class_map", lambda A, w: (w * A).sum(1), "dimension of size 1"),
        ("logit_from", lambda M, b: M.amax((1, 2)) + b, "logit_from"),
        ("grad_cam_from", lambda A, g: (g.mean((2, 3))[..., None, None] * A).sum(1), "relu is mis"),
        ("grad_cam_from", lambda A, g: cam_by_einsum(A, g) / cam_by_einsum(A, g).max(),
         "belongs to the picture"),
        ("grad_cam_from",
         lambda A, g: (lambda m: (m - m.amin((1, 2), True)) /
                       (m.amax((1, 2), True) - m.amin((1, 2), True) + 1e-8))(cam_by_einsum(A, g)),
         "own maximum (or minimum and"),
        ("grad_cam_from", lambda A, g: cam_by_einsum(A, g).mean(0), "averaged over the first dim"),
        ("grad_cam_from", lambda A, g: cam_by_einsum(A, g).mT, "transposed"),
        ("grad_cam_from", lambda A, g: A.mul_(g.mean((2, 3), True)).sum(1).relu(),
         "`A` itself was changed"),
        ("grad_cam_from", lambda A, g: cam_by_einsum(A, g).numpy(), "Stay in torch"),
        ("activation_and_gradient", hooked(store), "`return output.clone()`"),
        ("activation_and_gradient", hooked(store, ask=False), "frozen nothing asks"),
        ("activation_and_gradient", hooked(store_and_copy, remove=False), "handle.remove()"),
        ("activation_and_gradient", hooked(detached_too_early), "What a hook keeps must not"),
        ("activation_and_gradient", hooked(store_and_copy, score=rechosen), "use `target`"),
        ("activation_and_gradient", hooked(store_and_copy, score=probability), "after the softmax"),
        ("activation_and_gradient", hooked(store_and_copy, score=lambda y, t: y[0, t[0]]),
         "nly the first sample was explained"),
        ("activation_and_gradient", hooked(store_and_copy, score=F.cross_entropy),
         "differentiated the loss"),
        ("activation_and_gradient", two_arguments, "three things"),
        ("activation_and_gradient", backward_hook, "hook"),
        ("activation_and_gradient", retained, "`.backward()` computes them for every weight"),
        ("activation_and_gradient",
         lambda m, x, layer, t: [-v for v in record_with_one_hot(m, x, layer, t)],
         "in `A` and `g`: the sign"),
        ("activation_and_gradient",
         lambda m, x, layer, t: [2 ** k * v for k, v in enumerate(record_with_one_hot(
             m, x, layer, t))], "g"),
        ("plus_plus_weights", plus_with_alpha, "g·ΣA, not Σ(A·g)"),
        ("plus_plus_weights",
         lambda A, g: (g**2 / (2 * g**2 + A.sum((2, 3), True) * g**3 + 1e-6) * g.relu()).sum(
             (2, 3)),
         "epsilon"),
        ("score_cam_weights", scoring, "the same value everywhere"),
        ("score_cam_weights", lambda *a, **k: scoring(*a, **k, eps=1e-8), "the same value every"),
        ("score_cam_weights", lambda m, x, A, t, batch_size=16: score_by_increase(m, x, A, t, 99),
         "at the model at once"[3:]),
        ("nth_best", lambda logits, n: logits.topk(n).indices, "only the last of them"),
        ("nth_best", lambda logits, n: logits.topk(n).values[:, -1], "Those are the scores"[1:]),
        ("nth_best", lambda logits, n: logits.argsort()[:, -n].tolist(), "returned"),
        ("rather_than", lambda A, g, o: (cam_by_einsum(A, g) - cam_by_einsum(A, o)).clamp(min=0),
         "Subtract the gradients first"),
        ("pointing_accuracy",
         lambda maps, cells: sum(c.flatten()[m.argmax()].item() for m, c in zip(maps, cells)) /  # noqa: B905
         len(maps), "by accident of their order"),
        ("likeness", lambda A: torch.corrcoef(A.flatten(1)).abs().mean(), "likeness"),
        ("pointing_accuracy",
         lambda maps, cells: pointing_by_loop((maps * 1e3).round(), cells), "*equal* their map's"),
        ("likeness",
         lambda A: (lambda R: R[np.triu_indices(len(R), 1)].mean())(np.abs(np.corrcoef(
             A[(A != 0).any(2).any(1)].flatten(1).numpy()))), "one value everywhere, and not"),
        ("likeness", lambda A: likeness_by_pairs(A[A.flatten(1).std(1) > 1e-3]), "has no unit"),
        ("score_cam_weights",
         lambda m, x, A, t, batch_size=16: score_by_increase(
             m, x, A * (A.amax((1, 2), True) - A.amin((1, 2), True) > 1e-2), t, batch_size),
         "quiet channel"),
        ("likeness", lambda A: np.abs(np.corrcoef(A.flatten(1).numpy())).mean(), "likeness"),
    ],
)  # fmt: skip
def test_a_mistake_in_other_words_is_told(name, function, words):
    result = check(function, name=name)
    assert not result
    assert result.status != "not attempted"
    assert words in result.message, result.message


def test_calling_grad_cam_is_an_answer_and_blames_it_for_its_mistake():
    def grad_cam_from(A, g):
        return (g.mean((2, 3), keepdim=True) * A).sum(1)

    def rather_than(A, g, g_other):
        return grad_cam_from(A, g - g_other)

    assert "Run `check(grad_cam_from)`" in check(rather_than).message


def test_no_sentence_about_channels_is_said_of_rows():
    result = check(lambda A, g: cam_by_einsum(A, g).sum(1), name="grad_cam_from")
    assert "channels" not in result.message


@pytest.mark.parametrize("name", ["hook_left", "not_detached", "backward", "callers_x"])
def test_recording_that_leaves_something_behind_has_right_values(name):
    """Its sentence says so, and every catalogued function matches itself, right or not."""
    exercise = next(e for e in EXERCISES if e.name == "activation_and_gradient")
    (function,) = [m.function for m in exercise.mistakes if m.name == name]
    for i, case in enumerate(exercise.cases):
        left = known(exercise, function, i)
        assert same(case, left, known(exercise, exercise.reference, i))
        # .backward() leaves no gradient on weights that are frozen, or where none can be seen.
        unseen = "frozen" in case.label or "function" in case.label
        assert left.faults or (name == "backward" and unseen)


def test_a_hook_that_stays_when_the_model_fails_is_told():
    """The values are right; only the order of the two lines is not."""
    result = check(hooked(store_and_copy))
    assert "the values are right, but your hook stays" in result.message
    assert "`try`" in result.message


def test_a_hook_of_the_caller_that_is_taken_away_is_told():
    def activation_and_gradient(model, x, layer, target):
        layer._forward_hooks.clear()
        return record_with_one_hot(model, x, layer, target)

    assert "a hook that was there before you came is gone" in check(activation_and_gradient).message
