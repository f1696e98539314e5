"""Chapter 3: right answers in other words pass, wrong ones in other words are told apart."""

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import gaussian_blur

from xai_lab.checks import baselines, check, integrated, sums, words

EXERCISES = [
    e for module in (sums, integrated, baselines, words) for e in module.EXERCISES
]  # fmt: skip

# ------------------------------------------------------------- right, written otherwise


def riemann_by_loop(f, n, rule="midpoint"):
    shift, total = {"left": 0, "midpoint": 0.5, "right": 1}[rule], 0.0
    for j in range(n):
        total += float(f((j + shift) / n)) / n
    return total


def riemann_by_linspace(f, n, rule="midpoint"):
    edges = torch.linspace(0, 1, n + 1, dtype=torch.float64)
    points = {"left": edges[:-1], "right": edges[1:], "midpoint": (edges[1:] + edges[:-1]) / 2}
    return (f(points[rule]) * edges.diff()).sum()


def interpolate_by_stack(x, baseline, alphas):
    return torch.stack([(1 - a) * baseline + a * x for a in alphas])


def interpolate_by_lerp(x, baseline, alphas):
    shape = (len(alphas),) + (1,) * x.ndim
    return torch.lerp(baseline[None], x[None], alphas.view(shape).to(x))


def gauss_by_loop(f, n):
    total = 0
    for p, w in zip(*np.polynomial.legendre.leggauss(n), strict=True):
        total += 0.5 * w * f(0.5 * p + 0.5)
    return total


def gauss_by_eigenvalues(f, n):
    """Golub and Welsch: the nodes are eigenvalues."""
    k = torch.arange(1, n, dtype=torch.float64)
    off = k / torch.sqrt(4 * k**2 - 1)
    values, vectors = torch.linalg.eigh(torch.diag(off, 1) + torch.diag(off, -1))
    return float((vectors[0] ** 2 * f((values + 1) / 2)).sum())


def ig_in_one_batch(model, x, baseline, target, steps=32):
    alphas = ((torch.arange(steps) + 0.5) / steps).to(x)
    points = interpolate_by_stack(x, baseline, alphas).flatten(0, 1).detach().requires_grad_()
    y = model(points)[torch.arange(len(points)), target.repeat(steps)]
    g = torch.autograd.grad(y.sum(), points)[0].reshape(steps, *x.shape)
    return (x - baseline) * g.mean(0)


def ig_by_sample(model, x, baseline, target, steps=32):
    maps = []
    for one, b, c in zip(x, baseline, target, strict=True):
        total = 0
        for a in torch.linspace(0.5 / steps, 1 - 0.5 / steps, steps):
            z = (one + (1 - a) * (b - one)).clone()[None].requires_grad_()
            total = total + torch.autograd.grad(model(z)[0, c], z)[0][0]
        maps.append((one - b) * total / steps)
    return torch.stack(maps).detach()


def ig_by_transform(model, x, baseline, target, steps=32):
    def score(z):
        return model(z)[torch.arange(len(z)), target].sum()

    slopes = [torch.func.grad(score)(baseline + (j + 0.5) / steps * (x - baseline))
              for j in range(steps)]  # fmt: skip
    return ((x - baseline) * sum(slopes) / steps).detach()


def gap_by_loop(model, phi, x, baseline, target):
    with torch.no_grad():
        gaps = [
            phi[i].sum() - model(x[i : i + 1])[0, c] + model(baseline[i : i + 1])[0, c]
            for i, c in enumerate(target.tolist())
        ]
    return torch.stack(gaps)


def gap_by_numbers(model, phi, x, baseline, target):
    rows = torch.arange(len(x))
    rise = (model(x) - model(baseline)).detach()[rows, target]
    return torch.tensor([p.sum().item() for p in phi]).to(x) - rise


def start_by_name(name, x, mean, std):
    """Blur and mean of x itself: both keep to the scale they are given."""
    m, s = mean.reshape(1, -1, 1, 1), std.reshape(1, -1, 1, 1)
    if name in ("black", "white"):
        return (float(name == "white") - m) / s * torch.ones_like(x)
    side = min(x.shape[-2:])
    if name == "blur":
        return gaussian_blur(x, 2 * int(0.3 * side) + 1, side / 10)
    return torch.zeros_like(x) + x.mean(dim=(-2, -1))[..., None, None]


def start_by_loop(name, x, mean, std):
    result = x.clone()
    for c in range(x.shape[1]):
        p = x[:, c : c + 1] * std[c] + mean[c]
        side = min(p.shape[-2:])
        made = {"black": p * 0, "white": p * 0 + 1,
                "mean": p.flatten(1).mean(1)[:, None, None, None].expand_as(p)}  # fmt: skip
        if name == "blur":
            made["blur"] = gaussian_blur(p, 2 * int(0.3 * side) + 1, side / 10)
        result[:, c : c + 1] = (made[name] - mean[c]) / std[c]
    return result


def blind_by_half(where, shade):
    x = torch.full((1, 1, *where.shape), (shade + 0.5) % 1.0)
    x[..., where] = shade
    return x, 0 * x + shade


def blind_by_noise(where, shade):
    """Only the spot has to be the same; the rest may be nearer to the shade."""
    x = torch.full((1, 1, *where.shape), 1.0 if shade < 0.5 else 0.0)
    x[0, 0][where] = shade
    return [x, torch.where(where, x, 0.3 * x + 0.7 * shade)]


def tokens_by_loop(read, embed, ids, pad, special, target, steps=32):
    x = embed(ids).detach()
    start = x.clone()
    start[~special] = embed.weight.detach()[pad]
    total = torch.zeros_like(x)
    for j in range(steps):
        z = (start + (j + 0.5) / steps * (x - start)).requires_grad_()
        total += torch.autograd.grad(read(z[None])[0, target], z)[0]
    return ((x - start) * total).sum(-1) / steps


def tokens_in_one_batch(read, embed, ids, pad, special, target, steps=32):
    with torch.no_grad():
        x, start = embed(ids), embed(torch.where(special, ids, pad))
    a = ((torch.arange(steps) + 0.5) / steps).to(x)[:, None, None]
    z = (a * x + (1 - a) * start).requires_grad_()
    g = torch.autograd.grad(read(z)[:, target].sum(), z)[0]
    return torch.einsum("td,ntd->t", x - start, g) / steps


def words_by_mask(values, places, count):
    return torch.stack([
        sum((v for v, p in zip(values, places, strict=True) if p == k), 0 * values[0])
        for k in range(count)
    ])  # fmt: skip


def words_by_index(values, places, count):
    kept = [i for i, p in enumerate(places) if p is not None]
    index = torch.tensor([places[i] for i in kept], device=values.device)
    return values.new_zeros(count).index_add(0, index, values[kept])


RIGHT = {
    "riemann": [riemann_by_loop, riemann_by_linspace],
    "interpolate": [interpolate_by_stack, interpolate_by_lerp],
    "gauss": [gauss_by_loop, gauss_by_eigenvalues],
    "integrated_gradients": [ig_in_one_batch, ig_by_sample, ig_by_transform],
    "gap_of": [gap_by_loop, gap_by_numbers],
    "pixel_baseline": [start_by_name, start_by_loop],
    "blind_case": [blind_by_half, blind_by_noise],
    "token_attributions": [tokens_by_loop, tokens_in_one_batch],
    "word_sums": [words_by_mask, words_by_index],
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


def walking(
    leaf=lambda x, b, a: (b + a * (x - b)).detach(),
    by=None,
    points=lambda n: (torch.arange(n) + 0.5) / n,
    pick=lambda y, t: y.gather(1, t[:, None]).sum(),
    add=lambda total, g: total + g,
    end=lambda x, b, total, n: (x - b) * total / n,
):
    """Integrated Gradients as a student writes it, with these lines exchanged."""

    def integrated_gradients(model, x, baseline, target, steps=32):
        x, total = x.clone(), torch.zeros_like(x)
        for a in points(steps):
            z = leaf(x, baseline, a)
            by_what = by(x, z) if by else z
            if not by_what.requires_grad:
                by_what.requires_grad_()
            z = leaf(x, baseline, a) if by else z
            g = torch.autograd.grad(pick(model(z), target), by_what)[0]
            total = add(total, g)
        return end(x, baseline, total, steps).detach()

    return integrated_gradients


def not_releafed(model, x, baseline, target, steps=32):
    """The gradient goes back through α, to x."""
    z, total = x.clone().requires_grad_(), 0
    for a in (torch.arange(steps) + 0.5) / steps:
        y = model(baseline + a * (z - baseline)).gather(1, target[:, None]).sum()
        total = total + torch.autograd.grad(y, z)[0]
    return (x - baseline) * total / steps


def never_zeroed(model, x, baseline, target, steps=32):
    """One leaf whose data is moved along; its .grad keeps growing."""
    z, total = baseline.clone().requires_grad_(), torch.zeros_like(x)
    flags = [w.requires_grad for w in getattr(model, "parameters", list)()]
    for w in model.parameters():
        w.requires_grad_(False)
    for j in range(steps):
        z.data = baseline + (j + 0.5) / steps * (x - baseline)
        model(z).gather(1, target[:, None]).sum().backward()
        total += z.grad
    for w, flag in zip(model.parameters(), flags, strict=True):
        w.requires_grad_(flag)
    return (x - baseline) * total / steps


def no_gradient(model, x, baseline, target, steps=32):
    z = baseline + 0.5 * (x - baseline)
    return torch.autograd.grad(model(z.detach()).sum(), z)[0]


def four_dimensions(model, x, baseline, target, steps=32):
    a = ((torch.arange(steps) + 0.5) / steps)[:, None, None, None, None].to(x)
    z = (baseline + a * (x - baseline)).flatten(0, 1).requires_grad_()
    g = torch.autograd.grad(model(z).gather(1, target.repeat(steps)[:, None]).sum(), z)[0]
    return (x - baseline) * g.reshape(steps, len(x), *x.shape[1:]).mean(0)


def ids_interpolated(read, embed, ids, pad, special, target, steps=32):
    start, total = torch.where(special, ids, pad), 0
    for j in range(steps):
        between = start + (j + 0.5) / steps * (ids - start)
        z = embed(between.long()).detach().requires_grad_()
        total = total + torch.autograd.grad(read(z[None])[0, target], z)[0]
    return ((embed(ids) - embed(start)) * total / steps).sum(-1).detach()


def special_too(read, embed, ids, pad, special, target, steps=32):
    x = embed(ids).detach()
    b = embed(torch.full_like(ids, pad)).detach()
    phi = ig_in_one_batch(read, x[None], b[None], torch.tensor([target], device=x.device), steps)
    return phi[0].sum(-1)


def zeros_too(read, embed, ids, pad, special, target, steps=32):
    x = embed(ids).detach()[None]
    c = torch.tensor([target], device=x.device)
    return ig_in_one_batch(read, x, torch.zeros_like(x), c, steps)[0].sum(-1)


SHIFT = {"left": 0.0, "midpoint": 0.5, "right": 1.0}


def for_three_channels(name, x, mean, std):
    return start_by_loop(name, x, mean.view(1, 3, 1, 1)[0, :, 0, 0], std)


def with_three_channels(name, x, mean, std):
    right = start_by_loop(name, x, mean, std)
    return right.expand(-1, 3, -1, -1)


def asking(batch):
    """Attributions of tokens by an `integrated_gradients` that is handed these."""

    def token_attributions(read, embed, ids, pad, special, target, steps=32):
        x, c = batch(embed(ids).detach(), target)
        return ig_in_one_batch(read, x, 0 * x, c[:, None][:, 0], steps)[0].sum(-1)

    return token_attributions


def words_by_repeated_index(values, places, count):
    kept = [i for i, p in enumerate(places) if p is not None]
    total = torch.zeros(count).to(values)
    total[torch.tensor([places[i] for i in kept])] += values[kept]
    return total


@pytest.mark.parametrize(
    ("name", "function", "words"),
    [
        ("riemann", lambda f, n, rule="midpoint": f(torch.linspace(0, 1, n)).sum() / n,
         "both ends"),
        ("riemann", lambda f, n, rule="midpoint": n * riemann_by_loop(f, n, rule), "1/n"),
        ("riemann", lambda f, n, rule="midpoint": sum(f((j + 0.5) / n) for j in range(n)) / n,
         "whatever `rule` says"),
        ("riemann", lambda f, n, rule="midpoint": -riemann_by_loop(f, n, rule), "sign"),
        ("interpolate", lambda x, b, alphas: b + alphas * (x - b), "dimension of size 1"),
        ("interpolate", lambda x, b, alphas: interpolate_by_stack(b, x, alphas), "wrong way"),
        ("interpolate", lambda x, b, alphas: [b + a * (x - b) for a in alphas],
         "torch.stack"),
        ("interpolate", lambda x, b, alphas: torch.cat(list(interpolate_by_stack(x, b, alphas))),
         "torch.stack"),
        ("riemann", lambda f, n, rule="midpoint": f(
            torch.linspace(0, 1, n) + SHIFT[rule] / n).mean(), "ends with 1"),
        ("riemann", lambda f, n, rule="midpoint": sum(
            f(j / n + SHIFT[rule]) / n for j in range(n)), "brackets missing"),
        ("riemann", lambda f, n, rule="midpoint": f(
            torch.arange(SHIFT[rule] / n, 1, 1 / n, dtype=torch.float64)).sum() / n,
         "leaves its end out"),
        ("riemann", lambda f, n, rule="midpoint": f(
            torch.arange(SHIFT[rule] / n, 1 + SHIFT[rule] / n, 1 / n)).sum() / n, "rounded down"),
        ("interpolate", lambda x, b, alphas: b + alphas.view(-1, 1, 1, 1) * (x - b),
         "an x of 3 dimensions"),
        ("interpolate", lambda x, b, alphas: b + alphas[:, None, None, None, None] * (x - b),
         "an x of 4 dimensions"),
        ("interpolate", lambda x, b, alphas: b + alphas.view(-1, *[1] * (x.ndim - 1)) * (x - b),
         "needs one more"),
        ("interpolate", lambda x, b, alphas: interpolate_by_stack(x, b, alphas).clamp(0, 1),
         "Leave the clamp out"),
        ("gauss", lambda f, n: sum(w / 2 * f(p + 1 / 2) for p, w in zip(
            *np.polynomial.legendre.leggauss(n), strict=True)), "there are brackets missing"),
        ("gauss", lambda f, n: gauss_by_loop(f, 16), "`leggauss(16)`"),
        ("gauss", lambda f, n: (np.ones(n) / n * f(np.ones(n))).sum(), "from_numpy"),
        ("gauss", lambda f, n: f(torch.exp(np.ones(n))), "from_numpy"),
        ("gauss", lambda f, n: f(torch.from_numpy(np.polynomial.legendre.leggauss(n)[0])).mean(),
         "in [−1, 1]"),
        ("gauss", lambda f, n: 2 * gauss_by_loop(f, n), "left the weights"),
        ("gauss", lambda f, n: gauss_by_loop(f, n + 1), "n + 1 nodes"),
        ("integrated_gradients", not_releafed, "leaf of its own"),
        ("integrated_gradients", never_zeroed, "`.backward()` *adds*"),
        ("integrated_gradients", no_gradient, "not connected"),
        ("integrated_gradients", walking(end=lambda x, b, t, n: t / n), "(x − x′) is missing"),
        ("integrated_gradients", walking(points=lambda n: torch.linspace(0, 1, n)), "both ends"),
        ("integrated_gradients", walking(points=lambda n: torch.linspace(0, 1, n + 1)),
         "more than 1"),
        ("integrated_gradients", walking(end=lambda x, b, t, n: (x - b) * t / (n + 1)), "n + 1"),
        ("integrated_gradients", walking(pick=lambda y, t: y.max(1).values.sum()), "anew"),
        ("integrated_gradients", walking(add=lambda total, g: total + g.abs()), "|∇S|"),
        ("integrated_gradients", walking(add=lambda total, g: g), "`+=`"),
        ("integrated_gradients", walking(end=lambda x, b, t, n: (x - b) * t.mean(0) / n),
         "over the batch"),
        ("integrated_gradients", walking(end=lambda x, b, t, n: ((x - b) * t / n).sum(1)),
         "dimension 1"),
        ("integrated_gradients", walking(end=lambda x, b, t, n: (x - b) * t.sum(1, True) / n),
         "*before* multiplying"),
        ("integrated_gradients", walking(leaf=lambda x, b, a: (a * x).detach()),
         "path from zeros"),
        ("integrated_gradients",
         walking(pick=lambda y, t: y.softmax(1).gather(1, t[:, None]).sum()), "softmax"),
        ("integrated_gradients", walking(pick=lambda y, t: y[:, t].sum()), "table"),
        ("integrated_gradients",
         lambda m, x, b, t, steps=32: ig_in_one_batch(m, x, b, t, steps).numpy(), "Stay in torch"),
        ("integrated_gradients", walking(leaf=lambda x, b, a: (x + b).detach() / 2), "half way"),
        ("integrated_gradients", walking(end=lambda x, b, t, n: (x - b).sign() * t / n),
         "Only the sign"[1:]),
        ("integrated_gradients", walking(points=lambda n: torch.linspace(0, 1, n)[1:-1]),
         "inner points"),
        ("gap_of", lambda m, phi, x, b, t: gap_by_loop(m, phi * (x - b), x, b, t),
         "has that factor already"),
        ("gap_of", lambda m, phi, x, b, t: phi.sum() - gap_by_loop(m, 0 * phi, x, b, t).abs(),
         "gap_of"),
        ("gap_of", lambda m, phi, x, b, t: -gap_by_loop(m, phi, x, b, t), "sign"),
        ("gap_of", lambda m, phi, x, b, t: gap_by_loop(m, phi, x, 0 * b, t), "score of zeros"),
        ("gap_of", lambda m, phi, x, b, t: phi.sum((1, 2, 3)) - m(x)[range(len(x)), t].detach(),
         "gap_of"),
        ("pixel_baseline", lambda name, x, mean, std: torch.zeros_like(x)
         if name == "black" else start_by_name(name, x, mean, std), "black is not 0"),
        ("pixel_baseline", lambda name, x, mean, std: start_by_name(name, x, mean, std)
         * std[:, None, None] + mean[:, None, None], "still pixels"),
        ("pixel_baseline", lambda name, x, mean, std: start_by_name(
            {"black": "white", "white": "black"}.get(name, name), x, mean, std), "exchanged"),
        ("pixel_baseline", lambda name, x, mean, std: gaussian_blur(x, 11, 2.0)
         if name == "blur" else start_by_name(name, x, mean, std), "another strength"),
        ("pixel_baseline", for_three_channels, "of one channel. Pictures may have any number"),
        ("pixel_baseline", with_three_channels, "Pictures may have any number"),
        ("token_attributions", asking(lambda x, c: (x[None], c)), "`torch.tensor([target])`"),
        ("token_attributions", asking(lambda x, c: (x[None], torch.tensor(c))),
         "`torch.tensor([target])`"),
        ("token_attributions", asking(lambda x, c: (x, torch.tensor([c]))), "batch of one"),
        ("token_attributions", ids_interpolated, "token *numbers*"),
        ("token_attributions", special_too, "special tokens moved too"),
        ("token_attributions", zeros_too, "zeros for all tokens"),
        ("token_attributions", lambda *a, **k: tokens_by_loop(*a, **k).abs(), "absolute value"),
        ("token_attributions", lambda *a, **k: tokens_by_loop(*a, **k)[None], "batch dimension"),
        ("word_sums", lambda v, places, count: torch.stack([
            v[[p == k for p in places]].mean() if k in places else 0 * v[0]
            for k in range(count)]), "averaged"),
        ("word_sums", lambda v, places, count: words_by_index(
            v, [count - 1 if p is None else p for p in places], count), "to the last word"),
        ("word_sums", lambda v, places, count: words_by_index(
            v, [p or 0 for p in places], count), "to the first word"),
        ("word_sums", words_by_repeated_index, "index_add_"),
        ("word_sums", lambda v, places, count: words_by_index(
            v, [None if p is None else (p - 1) % count for p in places], count),
         "`total[place - 1]`"),
        ("word_sums", lambda v, places, count: words_by_index(
            v, places, count)[: len({*places} - {None})], "right but for"),
    ],
)  # fmt: skip
def test_a_mistake_in_other_words_is_told(name, function, words):
    result = check(function, name=name)
    assert not result
    assert result.status != "not attempted"
    assert words in result.message, result.message


def test_a_function_that_counts_on_four_dimensions_is_told_so():
    message = check(four_dimensions, name="integrated_gradients").message
    assert "any number of dimensions" in message or "another shape" in message


# ------------------------------------------------------------- a blind case has no one answer


def drawn(spot, ground, start):
    """Case with these shades in the spot, around it and in the baseline."""

    def blind_case(where, shade):
        x = torch.where(where, spot(shade), ground(shade))[None, None].float()
        b = start(x, shade)
        return x, b if isinstance(b, torch.Tensor) else torch.full_like(x, b)

    return blind_case


def own(shade):
    return torch.tensor(shade)


def far(shade):
    return torch.tensor(0.0 if shade > 0.5 else 1.0)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (drawn(own, far, lambda x, s: 0.0), "which is black"),
        (drawn(own, far, lambda x, s: 1.0), "x differs from the baseline"),
        (drawn(own, far, lambda x, s: x.clone()), "same picture"),
        (drawn(far, own, lambda x, s: s), "*opposite*"),
        (drawn(own, own, lambda x, s: s), "does not see a spot"),
        (drawn(far, far, lambda x, s: s), "does not see a spot"),
        (drawn(own, far, lambda x, s: 1 - x), "x differs from the baseline"),
        (drawn(own, far, lambda x, s: torch.full_like(x, x.mean())), "x differs from the baseline"),
        (drawn(own, far, lambda x, s: torch.where(x == s, x, 0.99 * x + 0.01 * s)),
         "same score as x"),
        (drawn(own, lambda s: far(s) * 255, lambda x, s: s), "between 0 and 1"),
        (lambda where, shade: torch.zeros(1, 1, *where.shape), "wo tensors are wanted"),
        (lambda where, shade: (torch.zeros(1, 1, 12, 12),) * 2, "a size of their own"),
        (lambda where, shade: drawn(own, far, lambda x, s: s)(where, shade)[::-1], "wrong order"),
        (drawn(own, lambda s: torch.tensor(1 - s), lambda x, s: s), "when the shade is 0.4"),
        (drawn(own, lambda s: torch.tensor(0.0), lambda x, s: s), "when the shade is 0:"),
        (lambda where, shade: (where.float(), where.float()), "`[None, None]`"),
        (lambda where, shade: (0 * where[None, None].float(),) * 2, "blind_case"),
    ],
)  # fmt: skip
def test_a_case_that_is_not_blind_is_told_why(function, words):
    result = check(function, name="blind_case")
    assert not result
    assert words in repr(result), result.message


def test_calling_a_wrong_function_blames_that_one():
    def integrated_gradients(model, x, baseline, target, steps=32):
        return ig_in_one_batch(model, x, baseline, target, steps) / (x - baseline)

    def token_attributions(read, embed, ids, pad, special, target, steps=32):
        x = embed(ids).detach()
        b = torch.where(special[:, None], x, embed(torch.full_like(ids, pad)).detach())
        c = torch.tensor([target], device=ids.device)
        return integrated_gradients(read, x[None], b[None], c, steps)[0].sum(-1)

    assert "Run `check(integrated_gradients)`" in check(token_attributions).message
