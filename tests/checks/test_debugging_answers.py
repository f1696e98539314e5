"""Chapter 5: right answers in other words pass, wrong ones in other words are told apart."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from xai_lab import edits, grad_cam
from xai_lab import evidence as taught
from xai_lab.checks import cheating, check, hiding, repairing
from xai_lab.checks.exercise import judge

EXERCISES = [e for module in (hiding, cheating, repairing) for e in module.EXERCISES]

# ------------------------------------------------------------- right, written otherwise


def occluded_by_loop(images, masks, fill):
    result = images.clone()
    for n in range(len(images)):
        for c in range(images.shape[1]):
            result[n, c][masks[n]] = fill[n, c]
    return result


def occluded_by_formula(images, masks, fill):
    m = masks.unsqueeze(1).to(images.dtype)
    return (1 - m) * images + m * fill.reshape(*fill.shape, 1, 1)


def occluded_by_the_package(images, masks, fill):
    return edits.occlude(images, masks, fill[:, :, None, None].expand_as(images))


def odds_by_loop(outputs, target):
    found = []
    for row, c in zip(outputs, target.tolist(), strict=True):
        rest = torch.cat([row[:c], row[c + 1 :]])
        found.append(row[c] - torch.logsumexp(rest, 0))
    return torch.stack(found)


def odds_by_the_package(outputs, target):
    rows = [taught.log_odds(outputs[n : n + 1], int(c)) for n, c in enumerate(target)]
    return torch.cat(rows)


def odds_by_mask(outputs, target):
    own = F.one_hot(target, outputs.shape[1]).bool()
    rest = outputs.masked_fill(own, float("-inf"))
    top = rest.max(1, keepdim=True).values
    return outputs[own] - (top[:, 0] + (rest - top).exp().sum(1).log())


def evidence_one_by_one(model, x, mask, others, fill, target):
    def odds(picture):
        with torch.no_grad():
            S = model(picture)[0]
        return (S[target] - torch.cat([S[:target], S[target + 1 :]]).logsumexp(0)).item()

    def without(area):
        return torch.where(area, fill[:, None, None], x[0])[None]

    before = odds(x)
    fall = before - odds(without(mask))
    as_much = sum(before - odds(without(other)) >= fall for other in others)
    return fall, (1 + as_much) / (1 + len(others))


def evidence_by_the_package(model, x, mask, others, fill, target):
    areas = torch.cat([mask[None], others])
    with torch.no_grad():
        after = model(torch.where(areas[:, None], fill[:, None, None], x))
        found = taught.weigh(model(x)[0], {"colour": after}, target, 0.1).hidings["colour"]
    return torch.tensor(found.drop), torch.tensor(found.chance)


def swapped_by_loop(images, masks):
    result = torch.empty_like(images)
    for n in range(len(images)):
        k = (n + 1) % len(images)
        for c in range(images.shape[1]):
            ground = images[k, c].clone()
            ground[masks[k]] = images[k, c][~masks[k]].mean()
            result[n, c] = torch.where(masks[n], images[n, c], ground)
    return result


def swapped_by_the_package(images, masks):
    grounds = edits.occlude(images, masks, "mean").roll(-1, 0)
    return edits.swap_background(images, masks, grounds)


def flips_by_loop(model, images, edited):
    changed = 0
    with torch.no_grad():
        for a, b in zip(images, edited, strict=True):
            changed += int(model(a[None])[0].argmax() != model(b[None])[0].argmax())
    return changed / len(images)


def flips_in_one_pass(model, images, edited):
    with torch.inference_mode():
        before, after = model(torch.cat([images, edited])).max(-1).indices.chunk(2)
    return torch.ne(before, after).double().mean()


def worst_by_pairs(predictions, labels, cues):
    pairs, group = torch.stack([labels, cues], 1).unique(dim=0, return_inverse=True)
    right = torch.zeros(len(pairs), device=group.device)
    right.index_add_(0, group, (predictions == labels).float())
    return (right / group.bincount(minlength=len(pairs))).min()


def worst_by_dict(predictions, labels, cues):
    groups = {}
    rows = zip(predictions.tolist(), labels.tolist(), cues.tolist(), strict=True)
    for p, y, b in rows:
        groups.setdefault((y, b), []).append(p == y)
    return min(sum(found) / len(found) for found in groups.values())


def verdict_by_name():
    return {
        str(number): {"scenes-cnn": "object", "scenes-cnn-background": "ground"}.get(name, "mark")
        for number, name in enumerate(cheating.lineup())
    }


def verdict_with_numbers_for_keys():
    return {int(key): value for key, value in verdict_by_name().items()}


def verdict_with_capitals():
    return {f"network {key}": f"{value.capitalize()} " for key, value in verdict_by_name().items()}


def disputed_one_by_one(model, x, said, true, layer):
    maps = []
    for n in range(len(x)):
        kept = []

        def keep(_module, _inputs, output, kept=kept):
            kept.append(output)
            return output.clone()

        handle = layer.register_forward_hook(keep)
        try:
            S = model(x[n : n + 1].detach().clone().requires_grad_())[0]
        finally:
            handle.remove()
        g = torch.autograd.grad(S[said[n]] - S[true[n]], kept[0])[0]
        maps.append(torch.einsum("nk,nkhw->nhw", g.mean((2, 3)), kept[0]).clamp(min=0))
    return torch.cat(maps).detach()


def disputed_by_two_gradients(model, x, said, true, layer):
    """The gradient of a difference is the difference of the gradients."""
    kept = {}

    def keep(_module, _inputs, output):
        kept["A"] = output
        return output.clone()

    handle = layer.register_forward_hook(keep)
    try:
        S = model(x.detach().clone().requires_grad_())
    finally:
        handle.remove()
    rows = torch.arange(len(x), device=x.device)
    g = [torch.autograd.grad(S[rows, c].sum(), kept["A"], retain_graph=True)[0]
         for c in (said, true)]  # fmt: skip
    weights = (g[0] - g[1]).mean((-1, -2))[:, :, None, None]
    return F.relu((weights * kept["A"]).sum(1)).detach()


def reasons_by_loop(model, x, y, masks, weight):
    total = 0
    for n in range(len(x)):
        z = x[n : n + 1].detach().clone().requires_grad_()
        log_p = F.log_softmax(model(z), dim=1)
        g = torch.autograd.grad(log_p.sum(), z, create_graph=True)[0][0]
        total = total - log_p[0, y[n]] + weight * (g[:, ~masks[n]] ** 2).sum()
    return total / len(x)


def reasons_by_zeroing(model, x, y, masks, weight):
    z = x.clone().detach().requires_grad_(True)
    log_p = torch.log_softmax(model(z), 1)
    g = torch.autograd.grad(log_p, z, torch.ones_like(log_p), create_graph=True)[0]
    off = g.masked_fill(masks.unsqueeze(1), 0.0)
    return F.nll_loss(log_p, y) + weight * off.pow(2).flatten(1).sum(1).mean()


RIGHT = {
    "occluded": [occluded_by_loop, occluded_by_formula, occluded_by_the_package],
    "log_odds": [odds_by_loop, odds_by_the_package, odds_by_mask],
    "evidence": [evidence_one_by_one, evidence_by_the_package],
    "swapped": [swapped_by_loop, swapped_by_the_package],
    "flip_rate": [flips_by_loop, flips_in_one_pass],
    "cheaters": [verdict_by_name, verdict_with_numbers_for_keys, verdict_with_capitals],
    "worst_group": [worst_by_pairs, worst_by_dict],
    "disputed": [disputed_one_by_one, disputed_by_two_gradients],
    "right_reasons": [reasons_by_loop, reasons_by_zeroing],
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


def odds(rest):
    """Log-odds as a student writes them, with another thing to compare with."""

    def function(outputs, target):
        rows = torch.arange(len(target), device=outputs.device)
        others = outputs.clone()
        others[rows, target] = float("-inf")
        return outputs[rows, target] - rest(outputs, others)

    return function


def by_probability(last):
    def function(outputs, target):
        return last(F.softmax(outputs, dim=1)[torch.arange(len(target)), target])

    return function


def tried(
    odds=lambda S, c: odds_by_the_package(S, torch.full((len(S),), c, device=S.device)),
    count=lambda fall, others: (1 + (others >= fall).sum().item()) / (1 + len(others)),
    hide=lambda x, area, fill: torch.where(area, fill[:, None, None], x),
    falls=lambda before, after: before - after,
    result=lambda fall, chance: (fall.item(), chance),
):
    """Evidence as a student writes it, one area after the other, with these lines exchanged."""

    def evidence(model, x, mask, others, fill, target):
        with torch.no_grad():
            before = odds(model(x), target)[0]
            after = [odds(model(hide(x, area, fill)), target)[0] for area in [mask, *others]]
        fell = falls(before, torch.stack(after))
        return result(fell[0], count(fell[0], fell[1:]))

    return evidence


def moved(
    colour=lambda x, m: (x * (1 - m)).sum((2, 3), True) / (1 - m).sum((2, 3), True),
    hole=lambda x, m, c: (1 - m) * x + m * c,
    order=lambda g: torch.cat([g[1:], g[:1]]),
    join=lambda x, m, g: m * x + (1 - m) * g,
):
    """Exchanged grounds as a student writes them, with these lines exchanged."""

    def swapped(images, masks):
        m = masks.float().unsqueeze(1)
        return join(images, m, order(hole(images, m, colour(images, m))))

    return swapped


def rate(compare):
    return lambda model, images, edited: compare(
        model(images).detach(), model(edited).detach()
    )  # fmt: skip


def groups(
    key=lambda p, y, b: (y, b),
    right=lambda p, y: p == y,
    last=lambda found: min(found.values()),
    start=(),
):
    """Worst group by a dict, with these lines exchanged."""

    def worst_group(predictions, labels, cues):
        members = {k: [] for k in start}
        for p, y, b in zip(predictions.tolist(), labels.tolist(), cues.tolist(), strict=True):
            members.setdefault(key(p, y, b), []).append(right(p, y))
        return last({k: sum(m) / len(m) if m else 0.0 for k, m in members.items()})

    return worst_group


def cam(
    score=lambda S, a, b: S.gather(1, a[:, None]).sum() - S.gather(1, b[:, None]).sum(),
    weigh=lambda g: g.mean((2, 3), keepdim=True),
    finish=lambda A, w: (w * A).sum(1).relu(),
    keep_hook=False,
    after=lambda m: m.detach(),
):
    """Grad-CAM of a difference as a student writes it, with these lines exchanged."""

    def disputed(model, x, said, true, layer):
        kept = {}

        def keep(module, inputs, output):
            kept["A"] = output
            return output.clone()

        handle = layer.register_forward_hook(keep)
        try:
            S = model(x.detach().clone().requires_grad_())
        finally:
            if not keep_hook:
                handle.remove()
        g = torch.autograd.grad(score(S, said, true), kept["A"], retain_graph=True)[0]
        return after(finish(kept["A"], weigh(g)))

    return disputed


def of_one(which):
    return cam(score=lambda S, a, b: S.gather(1, (a if which == "said" else b)[:, None]).sum())


def two_maps(last):
    def disputed(model, x, said, true, layer):
        given = model, x, said, true, layer
        return last(of_one("said")(*given) - of_one("true")(*given))

    return disputed


def by_the_package(model, x, said, true, layer):
    maps = [grad_cam(model, x, c, layer=layer, upsample=False) for c in (said, true)]
    return maps[0] - maps[1]


def penalty(
    of=lambda S, y: F.log_softmax(S, 1).sum(),
    size=lambda g: g**2,
    mask=lambda m: ~m,
    add=lambda p: p.sum(),
    join=lambda loss, p, weight, n: loss + weight * p / n,
    options=None,
):
    """Right for the right reasons as a student writes it, with these lines exchanged."""
    options = {"create_graph": True} if options is None else options

    def right_reasons(model, x, y, masks, weight):
        z = x.clone().requires_grad_()
        S = model(z)
        g = torch.autograd.grad(of(S, y), z, **options)[0]
        p = add(size(g) * mask(masks).unsqueeze(1))
        return join(F.cross_entropy(S, y), p, weight, len(x))

    return right_reasons


def verdict(**other):
    return lambda: cheating.cheaters() | other


@pytest.mark.parametrize(
    ("name", "function", "words"),
    [
        ("occluded", lambda x, m, f: x * ~m[:, None], "filled with zeros"),
        ("occluded", lambda x, m, f: x * (1 - m[:, None].float()), "filled with zeros"),
        ("occluded", lambda x, m, f: x.masked_fill(m[:, None], 0), "filled with zeros"),
        ("occluded", lambda x, m, f: torch.where(m[:, None], x, f[..., None, None]),
         "everything *but*"),
        ("occluded", lambda x, m, f: torch.where(m[:, None], f, x), "rows and columns"),
        ("occluded", lambda x, m, f: x + m[:, None] * f[:, :, None, None], "still shows through"),
        ("occluded", lambda x, m, f: torch.where(m[:, None], f.mean(), x), "occluded"),
        ("occluded", lambda x, m, f: torch.where(m[0], f[:, :, None, None], x), "first picture"),
        ("occluded", lambda x, m, f: torch.where(m[:, None], f[0, :, None, None], x),
         "first one's colour"),
        ("log_odds", lambda S, c: F.log_softmax(S, 1)[torch.arange(len(c)), c], "*all* classes"),
        ("log_odds", by_probability(lambda p: torch.log(p) - torch.log1p(-p)), "infinities"),
        ("log_odds", by_probability(lambda p: torch.log(p / (1 - p))), "infinities"),
        ("log_odds", by_probability(torch.logit), "infinities"),
        ("log_odds", by_probability(lambda p: torch.logit(p, eps=1e-6)), "your own small number"),
        ("log_odds", by_probability(lambda p: torch.log(p / (1 - p + 1e-8))),
         "your own small number"),
        ("log_odds", by_probability(lambda p: p / (1 - p)), "logarithm is asked for"),
        ("log_odds", odds(lambda S, rest: rest.max(1).values), "the margin"),
        ("log_odds", odds(lambda S, rest: rest.exp().sum(1).log()), "exp(200)"),
        ("log_odds", odds(lambda S, rest: rest.exp().sum(1)), "logarithm of the sum"),
        ("log_odds", odds(lambda S, rest: rest.logsumexp(0)), "log_odds"),
        ("log_odds", odds(lambda S, rest: (S.sum(1) - S.amax(1)) / (S.shape[1] - 1)), "log_odds"),
        ("evidence", tried(count=lambda f, o: (o >= f).float().mean().item()), "divided r by n"),
        ("evidence", tried(count=lambda f, o: (1 + (o > f).sum().item()) / (1 + len(o))), "*more*"),
        ("evidence", tried(count=lambda f, o: (o > f).float().mean().item()), "*more*"),
        ("evidence", tried(falls=lambda b, a: a - b), "turned round"),
        ("evidence", tried(odds=lambda S, c: S.softmax(1)[:, c]), "fall is that of the probab"),
        ("evidence", tried(odds=lambda S, c: S.log_softmax(1)[:, c]), "log p"),
        ("evidence", tried(odds=lambda S, c: S[:, c]), "that of the logit"),
        ("evidence", tried(hide=lambda x, m, f: torch.where(m, x, f[:, None, None])),
         "everything *but*"),
        ("evidence", tried(hide=lambda x, m, f: x * ~m), "behind zeros"),
        ("evidence", tried(count=lambda f, o: float(f > o.mean())), "mean of the others"),
        ("evidence", tried(result=lambda f, c: f.item()), "Only the fall"),
        ("evidence", tried(result=lambda f, c: (c, f.item())), "exchanged"),
        ("swapped", moved(hole=lambda x, m, c: x), "*object* came along"),
        ("swapped", moved(order=lambda g: torch.cat([g[-1:], g[:-1]])), "*previous*"),
        ("swapped", moved(colour=lambda x, m: 0 * x), "black hole"),
        ("swapped", moved(colour=lambda x, m: x.mean((2, 3), True)), "*whole* picture"),
        ("swapped", moved(colour=lambda x, m: (x * (1 - m)).mean((2, 3), True)),
         "divided by all pixels"),
        ("swapped", moved(join=lambda x, m, g: (1 - m) * x + m * g), "*object* is gone"),
        ("swapped", moved(order=lambda g: g), "own ground"),
        ("swapped", edits.swap_background, "package's own|swapped"),
        ("flip_rate", rate(lambda a, b: (a.argmax(1) == b.argmax(1)).float().mean()), "*stay*"),
        ("flip_rate", rate(lambda a, b: int((a.argmax(1) != b.argmax(1)).sum())), "number of"),
        ("flip_rate", rate(lambda a, b: (a != b).float().mean().item()), "compared the scores"),
        ("flip_rate", rate(lambda a, b: (a.argmax() != b.argmax()).item()), "flip_rate"),
        ("flip_rate", rate(lambda a, b: (a.argmax(0) != b.argmax(0)).float().mean()), "dim=0"),
        ("worst_group", groups(key=lambda p, y, b: b), "grounds alone"),
        ("worst_group", groups(key=lambda p, y, b: y), "classes alone"),
        ("worst_group", groups(key=lambda p, y, b: (p, b)), "*predicted* class"),
        ("worst_group", groups(key=lambda p, y, b: 0), "overall accuracy"),
        ("worst_group", groups(last=lambda f: sum(f.values()) / len(f)), "averaged over the gr"),
        ("worst_group", groups(last=lambda f: max(f.values())), "*best* group"),
        ("worst_group", lambda p, y, g: float(np.nanmin(np.array([
            [((p == y)[(y == c) & (g == b)]).float().mean().nan_to_num(0).item()
             for b in range(int(g.max()) + 1)] for c in range(int(y.max()) + 1)]))),
         "do not occur"),
        ("worst_group", groups(right=lambda p, y: p != y), "*error*"),
        ("disputed", two_maps(lambda m: m), "two finished maps"),
        ("disputed", two_maps(torch.relu), "two finished maps"),
        ("disputed", two_maps(torch.abs), "absolute difference"),
        ("disputed", of_one("said"), "class that was said"),
        ("disputed", of_one("true"), "of the true class"),
        ("disputed", cam(score=lambda S, a, b: (lambda p: p.gather(1, a[:, None]).sum()
                                                - p.gather(1, b[:, None]).sum())(S.softmax(1))),
         "difference of *probabilities*"),
        ("disputed", cam(score=lambda S, a, b: S.gather(1, b[:, None]).sum()
                         - S.gather(1, a[:, None]).sum()), "exchanged"),
        ("disputed", cam(score=lambda S, a, b: F.cross_entropy(S, b, reduction="sum")),
         "loss of the true class"),
        ("disputed", cam(finish=lambda A, w: (w * A).sum(1)), "relu at the end is missing"),
        ("disputed", cam(weigh=lambda g: g), "cell by cell"),
        ("disputed", cam(keep_hook=True), "still on the model|hook stays"),
        ("disputed", cam(after=lambda m: m), "attached to the graph"),
        ("disputed", cam(score=lambda S, a, b: S.amax(1).sum() - S.gather(1, b[:, None]).sum()),
         "best class"),
        ("right_reasons", penalty(options={"retain_graph": True}), "no graph"),
        ("right_reasons", penalty(mask=lambda m: m), "*on the object*"),
        ("right_reasons", penalty(mask=lambda m: torch.ones_like(m)), "everywhere"),
        ("right_reasons", penalty(size=lambda g: g), "square is missing"),
        ("right_reasons", penalty(size=torch.abs), "|slope|"),
        ("right_reasons", penalty(of=lambda S, y: F.cross_entropy(S, y)), "*loss*"),
        ("right_reasons", penalty(of=lambda S, y: F.nll_loss(
            F.log_softmax(S, 1), y, reduction="sum")), "*loss*"),
        ("right_reasons", penalty(of=lambda S, y: S.sum()), "sum of the *logits*"),
        ("right_reasons", penalty(of=lambda S, y: F.softmax(S, 1).sum()), "always 0"),
        ("right_reasons", penalty(add=lambda p: p.mean(), join=lambda loss, p, w, n: loss + w * p),
         "all numbers of the picture"),
        ("right_reasons", penalty(join=lambda loss, p, w, n: loss + w * p), "every batch size"),
        ("right_reasons", penalty(join=lambda loss, p, w, n: loss), "penalty is missing"),
        ("right_reasons", penalty(join=lambda loss, p, w, n: (loss + w * p / n).detach()),
         "detached"),
        ("right_reasons", penalty(join=lambda loss, p, w, n: (loss + w * p / n).item()),
         "number|detached"),
        ("occluded", lambda x, m, f: torch.where(
            m[:, None], f.T.reshape(len(x), -1)[:, :, None, None], x), "dealt|deals"),
        ("occluded", lambda x, m, f: torch.where(m[:, None], f[:, [*range(f.shape[1])][::-1],
                                                              None, None], x), "reverse order"),
        ("occluded", lambda x, m, f: occluded_by_loop(x, m, f).clip(0, 1), "cut everything"),
        ("log_odds", lambda S, c: S[torch.arange(len(c)), c] - S.scatter(
            1, c[:, None], -100.0).logsumexp(1), "−100"),
        ("log_odds", lambda S, c: torch.log(S.softmax(1)[torch.arange(len(c)), c]) - torch.log(
            (S.softmax(1) * (1 - F.one_hot(c, S.shape[1]))).sum(1)), "round to 0"),
        ("log_odds", lambda S, c: S[torch.arange(len(c)), c] - S.topk(
            S.shape[1] - 1, largest=False).values.logsumexp(1), "*best* class out"),
        ("evidence", tried(count=lambda f, o: (1 + (o >= f - 0.05).sum().item()) / (1 + len(o))),
         "without a tolerance"),
        ("evidence", tried(count=lambda f, o: (1 + (torch.cat([f[None], o]) >= f).sum().item())
                           / (2 + len(o))), "counted twice"),
        ("evidence", tried(count=lambda f, o: max((o >= f).sum().item(), 1) / len(o)),
         "kept it from 0"),
        ("swapped", moved(join=lambda x, m, g: m * x + g), "shines through"),
        ("swapped", moved(join=lambda x, m, g: g), "objects are missing"),
        ("swapped", moved(colour=lambda x, m: ((x * (1 - m)).sum((1, 2, 3), True)
                                               / (3 * (1 - m).sum((1, 2, 3), True)))), "one grey"),
        ("swapped", lambda x, m: torch.where(m[:, None], x, torch.where(
            m[:, None], 0.5, x.roll(-1, 0))), "after the roll"),
        ("swapped", lambda x, m: swapped_by_loop(x, ~m), "wrong way round throughout"),
        ("flip_rate", rate(lambda a, b: (b.argmax(1) > a.argmax(1)).float().mean()), "*grown*"),
        ("flip_rate", rate(lambda a, b: float(a.argmax() != b.argmax())), "whole batch"),
        ("flip_rate", rate(lambda a, b: (a.sort(1).indices != b.sort(1).indices).any(1)
                           .float().mean()), "whole order"),
        ("flip_rate", lambda model, a, b: flips_by_loop(
            model.eval() if isinstance(model, torch.nn.Module) else model, a, b), "eval mode"),
        ("worst_group", lambda p, y, g: min(
            (p == y)[y * 10 + g == k].float().mean().item() for k in (y * 10 + g).unique()),
         "a fixed number"),
        ("worst_group", lambda p, y, g: min(
            (((p == y) & (y == c) & (g == b)).sum() / max(((y == c) & (g == b)).sum(), 1)).item()
            for c in y.unique() for b in g.unique()), "0 % right"),
        ("worst_group", lambda p, y, g: torch.stack([
            (p == y)[(y == c) & (g == b)].float().mean() for c in y.unique() for b in g.unique()
        ]).min(), "not a number"),
        ("worst_group", groups(last=lambda f: min(v for v in f.values() if v > 0)),
         "nothing is right"),
        ("disputed", cam(weigh=lambda g: g.mean((2, 3), keepdim=True).relu(),
                         finish=lambda A, w: (w * A).sum(1)), "around the weights"),
        ("disputed", cam(finish=lambda A, w: (w * A).relu().sum(1)), "before the sum"),
        ("right_reasons", penalty(of=lambda S, y: F.log_softmax(S, 1).sum(1).mean(),
                                  join=lambda loss, p, w, n: loss + w * p), "1/N too many"),
        ("right_reasons", penalty(join=lambda loss, p, w, n: loss + w * p.item() / n), "no graph"),
        ("right_reasons", penalty(add=lambda p: p[:, 0].sum()), "first channel"),
        ("right_reasons", penalty(join=lambda loss, p, w, n: loss + w * p / n / 2), "½"),
        ("right_reasons", penalty(size=lambda g: g**2 / g.shape[1]), "over the channels"),
        ("cheaters", lambda: [*verdict_by_name().values()], "Return a dict"),
        ("cheaters", lambda: {v: k for k, v in verdict_by_name().items()}, "other way round"),
        ("cheaters", lambda: {str(int(k) + 1): v for k, v in verdict_by_name().items()},
         "numbered from 0"),
        ("cheaters", verdict(**{"0": "object", "2": "mark"}), "Network 0 does not go by the obj"),
        ("cheaters", verdict(**{"1": "background"}), "Network 1 needs one of the words"),
        ("cheaters", lambda: {"0": "mark"}, "missing: 1, 2"),
    ],
)  # fmt: skip
def test_a_mistake_in_other_words_is_told(name, function, words):
    result = check(function, name=name)
    assert not result
    said = repr(result).lower()  # a sentence begins small, behind the name
    assert any(part.lower() in said for part in words.split("|")), result.message


def test_calling_wrong_odds_blames_those():
    def log_odds(outputs, target):
        return outputs.log_softmax(1).gather(1, target[:, None])[:, 0]

    def evidence(model, x, mask, others, fill, target):
        areas = torch.cat([mask[None], others])
        with torch.no_grad():
            S = model(torch.cat([x, torch.where(areas[:, None], fill[:, None, None], x)]))
        odds = log_odds(S, torch.full((len(S),), target, device=S.device))
        falls = odds[0] - odds[1:]
        as_much = (falls[1:] >= falls[0]).sum().item()
        return falls[0].item(), (1 + as_much) / (1 + len(others))

    assert "Run `check(log_odds)`" in check(evidence).message


def test_an_answer_that_spoils_its_arguments_does_not_spoil_the_next_check():
    def spoiling(model, x, mask, others, fill, target):
        x.zero_()
        mask.fill_(True)
        fill.zero_()
        return evidence_one_by_one(model, x, mask, others, fill, target)

    assert not check(spoiling, name="evidence")
    assert check(evidence_one_by_one, name="evidence")


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda e: e.name)
def test_arguments_are_new_each_time(exercise):
    for case in exercise.cases:
        for one, two in zip(case.arguments().values(), case.arguments().values(), strict=True):
            if isinstance(one, torch.Tensor) and one.numel():
                assert one.data_ptr() != two.data_ptr(), case.label


def test_log_odds_of_plus_and_minus_200_by_hand():
    """200 against −200 and −199: the others make −199 + log(1 + 1/e) = −198.687."""
    found = hiding.log_odds(torch.tensor([[200.0, -200.0, -199.0]]), torch.tensor([0]))
    assert found.item() == pytest.approx(199 + 200 - math.log(1 + math.exp(-1)), rel=1e-5)


@pytest.mark.parametrize("name", ["occluded", "swapped"])
def test_changed_pictures_are_told(name):
    def spoilt(images, *arguments):
        result = RIGHT[name][0](images.clone(), *arguments)
        images.mul_(0.5)
        return result

    result = check(spoilt, name=name)
    assert not result
    assert "you wrote into the caller's pictures" in result.message


def test_each_wrong_verdict_is_told_and_no_right_one_is_given_away():
    right = cheating.cheaters()
    for number, word in right.items():
        for other in sorted(set(right.values()) - {word}):
            message = check(verdict(**{number: other}), name="cheaters").message
            assert f"etwork {number} does not go by the {other}" in message
            assert word not in message.partition("One that does")[0]


def test_the_lineup_is_the_networks_in_an_order_that_is_not_the_list_s():
    assert sorted(cheating.lineup()) == sorted(cheating.CAUSES)
    assert cheating.lineup() == cheating.lineup()
    assert cheating.lineup() != list(cheating.CAUSES)


def test_the_three_networks_go_by_what_the_answer_says():
    from xai_lab.data.scenes import scenes

    plain = scenes(60, seed=5)
    marked = scenes(60, seed=5, watermark_elsewhere=1.0)
    grounds = scenes(60, seed=5, background=(plain.factors["background"] + 1) % 6)
    for net, word in zip(cheating.suspects(), cheating.cheaters().values(), strict=True):
        rates = {
            kind: cheating.flip_rate(net, *(s.images.to(next(net.parameters()).device)
                                            for s in (plain, other)))
            for kind, other in (("mark", marked), ("ground", grounds))
        }  # fmt: skip
        for kind, found in rates.items():
            assert found > 0.5 if kind == word else found < 0.2, (word, rates)


def test_the_penalty_of_the_case_on_paper():
    """Two classes, S = (2a + b, −b), at a = 1, b = 0; b is background, λ = 1/2, the class is 0.

    Σ log p = S_1 + S_2 − 2 log(e^S_1 + e^S_2), so its slope by b is 1 − 1 − 2 (p_1 − p_2), and
    with S = (2, 0) the difference p_1 − p_2 is tanh 1.
    """
    case = repairing.RIGHT_REASONS.cases[0].arguments()
    by_hand = math.log(1 + math.exp(-2)) + 0.5 * (2 * math.tanh(1)) ** 2
    assert repairing.right_reasons(**case).item() == pytest.approx(by_hand)


def test_hidden_reasons_are_judged_by_both_value_and_slope():
    result = judge(repairing.RIGHT_REASONS, penalty(options={"retain_graph": True}))
    assert result.mistake == "no_graph"
