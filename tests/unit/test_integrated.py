"""Integrals worked out by hand, what a call costs, and bad input."""

import warnings

import pytest
import torch
from torch import nn

import xai_lab
from xai_lab import completeness_gap, integrated_gradients, path_integral
from xai_lab.integrated import nodes

RULES = ("gauss-legendre", "midpoint", "left", "right", "trapezoid")


def linear(*rows):
    """Bias-free linear model with these weights, one row a class."""
    model = nn.Linear(len(rows[0]), len(rows), bias=False)
    model.weight.data = torch.tensor(rows)
    return model


def power(degree):
    """S = Σ x^degree."""
    return lambda x: (x**degree).sum(1, keepdim=True)


def near(result, expected, **limits):
    torch.testing.assert_close(result, torch.tensor(expected, dtype=result.dtype), **limits)


def zeros(x):
    return torch.zeros_like(x)


class Counted:
    """A model, and how many samples it was shown with a graph and without."""

    def __init__(self, model):
        self.model, self.with_graph, self.without, self.seen = model, 0, 0, []

    def __call__(self, x):
        if x.requires_grad:
            self.with_graph += len(x)
            self.seen += x.detach().flatten(1).tolist()
        else:
            self.without += len(x)
        return self.model(x)


def steep(x):
    """Flat, then a bend at a third of the way, then a steep curve; two classes."""
    s = x.sum(1, keepdim=True)
    return torch.cat([torch.relu(s - 1) * 3 + torch.tanh(4 * (s - 2)), -s], dim=1)


# What the rules are


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [2, 3, 7, 48])
def test_the_weights_sum_to_one_and_the_points_lie_on_the_path(rule, steps):
    alphas, weights = nodes(steps, rule)
    assert alphas.shape == weights.shape == (steps,)
    assert alphas.dtype == weights.dtype == torch.float64
    near(weights.sum(), 1.0)
    assert weights.gt(0).all()
    assert alphas.ge(0).all()
    assert alphas.le(1).all()
    assert alphas.diff().gt(0).all()


def test_the_points_are_where_the_docstring_says():
    near(nodes(4, "left")[0], [0, 0.25, 0.5, 0.75])
    near(nodes(4, "right")[0], [0.25, 0.5, 0.75, 1])
    near(nodes(4, "midpoint")[0], [0.125, 0.375, 0.625, 0.875])
    near(nodes(5, "trapezoid")[0], [0, 0.25, 0.5, 0.75, 1])
    near(nodes(5, "trapezoid")[1], [0.125, 0.25, 0.25, 0.25, 0.125])
    near(nodes(2, "gauss-legendre")[0], [0.5 - 0.75**0.5 / 3, 0.5 + 0.75**0.5 / 3])
    near(nodes(1, "gauss-legendre")[0], [0.5])


@pytest.mark.parametrize("rule", RULES)
def test_a_linear_score_is_exact_with_every_rule(rule):
    x, start = torch.tensor([[0.5, 2.0]]), torch.tensor([[0.25, -1.0]])
    got = integrated_gradients(linear([3.0, -1.0]), x, baseline=start, steps=2, rule=rule)
    near(got, [[0.75, -3.0]])


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8])
def test_gauss_legendre_is_exact_up_to_the_degree_of_its_name(steps):
    # The gradient of x^(2n) has the degree 2n − 1.
    x = torch.tensor([[1.3, -0.7]], dtype=torch.float64)
    got = integrated_gradients(power(2 * steps), x, baseline=zeros(x), steps=steps)
    torch.testing.assert_close(got, x ** (2 * steps))
    start = torch.tensor([[0.4, 0.2]], dtype=torch.float64)
    got = integrated_gradients(power(2 * steps), x, baseline=start, steps=steps)
    torch.testing.assert_close(got, x ** (2 * steps) - start ** (2 * steps))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_gauss_legendre_is_not_exact_beyond(steps):
    x = torch.ones(1, 1, dtype=torch.float64)
    got = integrated_gradients(power(2 * steps + 1), x, baseline=zeros(x), steps=steps)
    assert not torch.allclose(got, x, atol=1e-6)


@pytest.mark.parametrize("steps", [2, 5, 50])
def test_the_bias_of_the_sums_on_a_square(steps):
    # ∇S = 2αx: the sum of the left points is x²(n−1)/n, of the right ones x²(n+1)/n.
    x = torch.tensor([[3.0, -2.0]], dtype=torch.float64)

    def found(rule):
        return integrated_gradients(power(2), x, baseline=zeros(x), steps=steps, rule=rule)

    torch.testing.assert_close(found("left"), x**2 * (steps - 1) / steps)
    torch.testing.assert_close(found("right"), x**2 * (steps + 1) / steps)
    torch.testing.assert_close(found("midpoint"), x**2)
    torch.testing.assert_close(found("trapezoid"), x**2)


@pytest.mark.parametrize("steps", [2, 5, 50])
def test_the_error_of_midpoint_and_trapezoid_on_a_cube(steps):
    # ∇S = 3α²x²: ∫ is 1; midpoint gives 1 − 1/4n², trapezoid over n − 1 intervals 1 + 1/2(n−1)².
    x = torch.tensor([[2.0]], dtype=torch.float64)

    def found(rule):
        got = integrated_gradients(power(3), x, baseline=zeros(x), steps=steps, rule=rule)
        return got.item() / 8

    assert found("midpoint") == pytest.approx(1 - 1 / (4 * steps**2))
    assert found("trapezoid") == pytest.approx(1 + 1 / (2 * (steps - 1) ** 2))


# Values worked out by hand


def test_the_oracle_of_two_units():
    # S = relu(relu(x₁) − 1 − relu(x₂)) from zero to (3, 1): for x₁ − x₂ = 2α > 1 the slope is
    # (1, −1), which is the second half of the path: (3, −1)/2.
    def model(x):
        return torch.relu(torch.relu(x[:, :1]) - 1 - torch.relu(x[:, 1:]))

    x = torch.tensor([[3.0, 1.0]])
    near(integrated_gradients(model, x, baseline=zeros(x), steps=1000, rule="midpoint"),
         [[1.5, -0.5]])  # fmt: skip
    near(integrated_gradients(model, x, baseline=zeros(x), steps=200), [[1.5, -0.5]], atol=0.02,
         rtol=0)  # fmt: skip
    near(integrated_gradients(model, x, baseline=zeros(x), tol=0.001), [[1.5, -0.5]], atol=0.02,
         rtol=0)  # fmt: skip


def test_a_saturated_score_is_shared_where_its_gradient_is_zero():
    # 1 − relu(1 − x₁ − x₂) at (1, 1): the gradient is zero, the rise of 1 is not.
    def model(x):
        return 1 - torch.relu(1 - x.sum(1, keepdim=True))

    x = torch.ones(1, 2)
    got = integrated_gradients(model, x, baseline=zeros(x), steps=100, rule="midpoint")
    near(got, [[0.5, 0.5]])


def test_a_product_is_shared_in_halves():
    x = torch.tensor([[3.0, 4.0]])
    got = integrated_gradients(lambda x: x.prod(1, keepdim=True), x, baseline=zeros(x), steps=1)
    near(got, [[6.0, 6.0]])


def test_the_baseline_decides_what_counts_as_nothing():
    x = torch.tensor([[1.0, 1.0]])
    got = integrated_gradients(linear([2.0, 2.0]), x, baseline=torch.tensor([1.0, 0.0]), steps=3)
    near(got, [[0.0, 2.0]])  # what equals its baseline gets nothing


# The target


def test_the_class_of_the_input_is_kept_along_the_path():
    # From zero to (1, 1) the prediction changes from class 1 to class 0.
    model = nn.Linear(2, 2)
    model.weight.data = torch.tensor([[3.0, 1.0], [0.0, 0.0]])
    model.bias.data = torch.tensor([-2.0, 0.0])
    x = torch.ones(1, 2)
    near(integrated_gradients(model, x, baseline=zeros(x), steps=8), [[3.0, 1.0]])


def test_each_sample_of_a_batch_gets_its_own_class():
    model, x = linear([1.0, 2.0], [3.0, 4.0], [5.0, 6.0]), torch.ones(2, 2)
    for target in ([2, 0], torch.tensor([2, 0])):
        got = integrated_gradients(model, x, target, baseline=zeros(x), batch_size=3)
        near(got, [[5.0, 6.0], [1.0, 2.0]])


def test_a_function_explains_the_difference_of_two_classes():
    x = torch.tensor([[1.0, 2.0]])
    got = path_integral(
        linear([1.0, 2.0], [3.0, 7.0]), x, lambda y: y[:, 1] - y[:, 0], baseline=zeros(x), steps=2
    )
    near(got.attribution, [[2.0, 10.0]])
    near(got.difference, [12.0])


# Several baselines


def test_several_baselines_are_averaged_over():
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    starts = [torch.tensor(b, dtype=torch.float64) for b in ([0.0, 0.0], [0.5, -1.0], [2.0, 1.0])]
    each = [path_integral(power(3), x, baseline=b, steps=4) for b in starts]
    got = path_integral(power(3), x, baseline=starts, steps=4)
    mean = torch.stack([one.attribution for one in each]).mean(0)
    torch.testing.assert_close(got.attribution, mean)
    torch.testing.assert_close(got.difference, torch.stack([o.difference for o in each]).mean(0))
    torch.testing.assert_close(got.gap, zeros(got.gap), atol=1e-12, rtol=0)
    assert got.passes == [12]
    assert len(got.alphas) == 3
    shared = completeness_gap(power(3), x, got.attribution, baseline=starts)
    torch.testing.assert_close(shared, got.gap, atol=1e-12, rtol=0)


def test_noise_is_averaged_over_samples_and_the_seed_decides_it():
    x = torch.rand(2, 1, 2, 2, generator=torch.Generator().manual_seed(0))

    def model(x):
        return (x**2).flatten(1).sum(1, keepdim=True)

    got = [integrated_gradients(model, x, baseline="noise", samples=n, seed=s, steps=2)
           for n, s in ((5, 0), (5, 0), (5, 1), (4, 0))]  # fmt: skip
    assert torch.equal(got[0], got[1])
    assert not torch.allclose(got[0], got[2])
    assert not torch.allclose(got[0], got[3])
    generator = torch.Generator().manual_seed(0)
    noise = torch.stack([torch.rand(1, 2, 2, generator=generator) for _ in range(5)])
    torch.testing.assert_close(got[0], x**2 - (noise**2).mean(0))


# What was seen on the way


def test_the_points_scores_and_slopes_of_the_path_are_kept():
    x = torch.tensor([[1.0, 1.0], [2.0, 0.0]], dtype=torch.float64)
    start = torch.tensor([0.0, 1.0], dtype=torch.float64)
    found = path_integral(power(2), x, baseline=start, steps=3, rule="left")
    alphas = torch.arange(3, dtype=torch.float64) / 3
    for k, way in enumerate(x - start):
        points = start + alphas[:, None] * way
        torch.testing.assert_close(found.alphas[k], alphas)
        torch.testing.assert_close(found.scores[k], (points**2).sum(1))
        torch.testing.assert_close(found.slopes[k], (2 * points * way).sum(1))
    assert found.passes == [3, 3]
    assert found.reached.tolist() == [True, True]
    assert found.same == []
    torch.testing.assert_close(found.difference, torch.tensor([1.0, 3.0]).double())
    torch.testing.assert_close(found.gap, found.attribution.sum(1) - found.difference)


def test_the_gap_is_the_sum_less_the_difference():
    x = torch.tensor([[3.0, -2.0]])
    found = path_integral(power(2), x, baseline=zeros(x), steps=5, rule="right")
    near(found.difference, [13.0])
    near(found.gap, [13 / 5], rtol=1e-5, atol=0)
    alone = completeness_gap(power(2), x, found.attribution, baseline=zeros(x))
    torch.testing.assert_close(alone, found.gap)
    near(completeness_gap(power(2), x, zeros(x), baseline=zeros(x)), [-13.0])


def test_the_gap_of_a_batch_is_one_a_sample_and_of_its_class():
    x = torch.tensor([[1.0, 2.0], [3.0, 1.0]])
    model = linear([1.0, 2.0], [3.0, -1.0])
    found = completeness_gap(model, x, torch.ones(2, 2), [1, 0], baseline=zeros(x), batch_size=1)
    near(found, [2.0 - 1.0, 2.0 - 5.0])
    best = completeness_gap(model, x, torch.ones(2, 2), baseline=zeros(x))
    near(best, [2.0 - 5.0, 2.0 - 8.0])


# Cost


@pytest.mark.parametrize("batch_size", [None, 1, 5])
def test_the_cost_is_what_the_docstring_says(batch_size):
    model, x = Counted(steep), torch.tensor([[1.0, 2.0], [0.5, 0.5], [1.0, 1.0]])
    found = path_integral(model, x, 0, baseline=zeros(x), steps=7, batch_size=batch_size)
    assert model.with_graph == 21 == sum(found.passes)
    assert model.without == 2 * len(x)


@pytest.mark.parametrize("batch_size", [1, 3, 8, 50])
@pytest.mark.parametrize("tol", [0.2, 0.01, 1e-4])
def test_passes_are_reported_and_no_point_is_looked_at_twice(batch_size, tol):
    model, x = Counted(steep), torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    found = path_integral(model, x, 0, baseline=zeros(x), tol=tol, batch_size=batch_size)
    assert model.with_graph == found.passes[0] == len(found.alphas[0])
    assert len({tuple(point) for point in model.seen}) == len(model.seen)
    assert model.without == 2
    alphas = found.alphas[0]
    assert alphas.diff().gt(0).all()
    assert alphas[0] == 0
    assert alphas[-1] == 1
    assert found.scores[0][-1] == steep(x)[0, 0]


# Accuracy in place of a number of steps


@pytest.mark.parametrize("tol", [0.3, 0.1, 0.01, 1e-3, 1e-4])
def test_the_gap_is_below_the_tolerance_that_was_reached(tol):
    x = torch.tensor([[1.0, 2.0], [0.4, 0.9], [3.0, 0.0]], dtype=torch.float64)
    found = path_integral(steep, x, 0, baseline=zeros(x), tol=tol)
    assert found.reached.all()
    assert (found.gap.abs() <= tol * found.difference.abs() * (1 + 1e-9)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = integrated_gradients(steep, x, 0, baseline=zeros(x), tol=tol)
    assert torch.equal(got, found.attribution)


def test_a_smaller_tolerance_takes_more_passes():
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    passes = [
        path_integral(steep, x, 0, baseline=zeros(x), tol=tol, most=2000).passes[0]
        for tol in (0.3, 1e-2, 1e-4, 1e-6)
    ]
    assert passes == sorted(passes)
    assert passes[0] == 17
    assert passes[-1] > passes[0]


@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
def test_the_batch_size_does_not_matter_with_a_tolerance(batch_size):
    x = torch.tensor([[1.0, 2.0], [3.0, 0.2]], dtype=torch.float64)
    found = path_integral(steep, x, 0, baseline=zeros(x), tol=1e-3, batch_size=batch_size)
    usual = path_integral(steep, x, 0, baseline=zeros(x), tol=1e-3)
    assert found.passes == usual.passes
    torch.testing.assert_close(found.attribution, usual.attribution)


def test_points_go_where_the_score_bends():
    x = torch.tensor([[1.0]], dtype=torch.float64)

    def bend(x):  # at 0.7, straight before and behind
        return torch.relu(x - 0.7) * 10 + x

    found = path_integral(bend, x, baseline=zeros(x), tol=1e-3)
    distance = (found.alphas[0] - 0.7).abs()
    assert distance.min() < 1 / 512
    assert distance.lt(1 / 16).sum() >= 8  # of even points, 2
    # A fixed rule needs many more for the same gap.
    assert found.passes[0] < 60
    even = path_integral(bend, x, baseline=zeros(x), steps=found.passes[0], rule="midpoint")
    assert found.gap.abs() < even.gap.abs()


def test_the_adaptive_map_is_the_trapezoid_over_the_points_it_looked_at():
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    found = path_integral(steep, x, 0, baseline=zeros(x), tol=1e-3)
    a, slope = found.alphas[0], found.slopes[0]
    integral = torch.trapezoid(slope, a)
    torch.testing.assert_close(found.attribution.sum(), integral)
    torch.testing.assert_close(found.attribution, torch.stack([integral, 2 * integral])[None] / 3)


def test_a_gap_that_is_small_by_chance_is_not_believed():
    # The first nine points miss the bump, which has no part in the difference.
    def bump(x):
        return x + torch.exp(-(((x - 0.19) / 0.004) ** 2))

    x = torch.ones(1, 1, dtype=torch.float64)
    found = path_integral(bump, x, baseline=zeros(x), tol=0.01)
    assert found.passes[0] >= 17


def test_what_cannot_be_reached_is_said_with_the_number_of_passes():
    x = torch.tensor([[1.0, 2.0], [0.1, 0.1]], dtype=torch.float64)
    with pytest.warns(UserWarning, match=r"sample \d: the gap") as said:
        integrated_gradients(steep, x, 0, baseline=zeros(x), tol=1e-9, most=20)
    words = [str(one.message) for one in said]
    assert any(
        w.startswith("sample 0: the gap is not below tol=1e-09 after 20 passes; it is")
        for w in words
    )
    assert all("choose a baseline with another score" in w for w in words)
    assert all(one.filename == __file__ for one in said)
    found = path_integral(steep, x, 0, baseline=zeros(x), tol=1e-9, most=20)
    assert not found.reached[0]
    assert found.passes[0] == 20
    assert found.gap[0].abs() > 1e-9 * found.difference[0].abs()


@pytest.mark.parametrize("most", [9, 10, 16, 17, 23, 40])
def test_no_path_takes_more_points_than_allowed(most):
    model, x = Counted(steep), torch.tensor([[1.0, 2.0]])
    found = path_integral(model, x, 0, baseline=zeros(x), tol=1e-9, most=most)
    assert found.passes == [most]
    assert model.with_graph == most


def test_a_gap_within_the_tolerance_is_never_called_unreached():
    x = torch.tensor([[0.5, 2.0]])
    found = path_integral(linear([3.0, -1.0]), x, baseline=zeros(x), tol=0.01, most=9)
    assert found.reached.all()


def test_a_path_between_equal_scores_is_said():
    # S goes up and comes back: no share of zero is small enough.
    x = torch.ones(1, 1)
    with pytest.warns(UserWarning, match=r"difference of 0.*another score"):
        integrated_gradients(lambda x: x**3 - x, x, baseline=zeros(x), tol=0.01, most=20)


def test_with_several_baselines_each_path_reaches_the_tolerance():
    x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    starts = [zeros(x), 0.5 * x, torch.tensor([[0.0, 1.0]]).double()]
    found = path_integral(steep, x, 0, baseline=starts, tol=0.01)
    assert found.reached.all()
    for a, s, slope in zip(found.alphas, found.scores, found.slopes, strict=True):
        assert (torch.trapezoid(slope, a) - (s[-1] - s[0])).abs() <= 0.01 * (s[-1] - s[0]).abs()
    with pytest.warns(UserWarning, match="not below tol=1e-09 on every path after 27 passes"):
        integrated_gradients(steep, x, 0, baseline=starts, tol=1e-9, most=9)


def test_one_path_that_falls_short_is_enough():
    x = torch.ones(1, 1, dtype=torch.float64)
    starts = [torch.full((1, 1), 0.9).double(), zeros(x)]  # straight; with a bend
    for order in (starts, starts[::-1]):
        found = path_integral(
            lambda x: torch.relu(x - 0.7123), x, baseline=order, tol=1e-8, most=12
        )
        assert not found.reached.any()


# Kinds of numbers


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_precision_sums_in_float32(kind):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3))
    x = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    expected = integrated_gradients(model, x, 0, steps=300)
    got = path_integral(model.to(kind), x.to(kind), 0, steps=300)
    assert got.attribution.dtype == torch.float32
    assert (got.attribution - expected).norm() < 0.03 * expected.norm()
    assert integrated_gradients(model, x.to(kind), 0, tol=0.1).dtype == torch.float32


def test_half_precision_does_not_round_the_points():
    # From −1 to 1 the middle is near zero; α in bfloat16 would be off by a fifth of it there.
    seen = []

    def model(x):
        seen.extend(x.detach().float()[:, 0].tolist())
        return (x**2).sum(1, keepdim=True)

    x = torch.ones(1, 1, dtype=torch.bfloat16)
    integrated_gradients(model, x, 0, baseline=-x, steps=100, rule="midpoint")
    near(torch.tensor(seen[2:]), [k / 50 - 0.99 for k in range(100)], rtol=1 / 128, atol=0)


@pytest.mark.parametrize("dials", [{"steps": 5}, {"tol": 0.01}], ids=["steps", "tol"])
def test_neither_the_callers_modes_nor_its_default_device_matter(dials):
    x = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3))
    usual = integrated_gradients(model, x, 1, **dials)
    with torch.inference_mode():
        assert torch.equal(integrated_gradients(model, x.clone(), 1, **dials), usual)
    with torch.no_grad():
        assert torch.equal(integrated_gradients(model, x, 1, **dials), usual)
    with torch.device("meta"):
        assert torch.equal(integrated_gradients(model, x, 1, **dials), usual)
        assert completeness_gap(model, x, usual, 1, baseline=zeros(x)).device.type == "cpu"


def test_the_callers_tensors_stay_as_they_are():
    x = torch.rand(1, 3, 4, 4, requires_grad=True)
    start = torch.zeros(1, 3, 4, 4, requires_grad=True)
    got = integrated_gradients(lambda x: x.flatten(1), x, 0, baseline=start, steps=3)
    assert not got.requires_grad
    assert x.grad is None
    assert start.grad is None


# Bad input


@pytest.mark.parametrize("steps", [0, -3])
def test_fewer_than_one_step(steps):
    with pytest.raises(ValueError, match=f"steps is {steps}, expected at least 1"):
        integrated_gradients(power(2), torch.ones(1, 2), baseline=torch.zeros(2), steps=steps)


@pytest.mark.parametrize("steps", [2.5, "many", True])
def test_steps_that_are_no_number_of_steps(steps):
    with pytest.raises(TypeError, match="expected a whole number"):
        integrated_gradients(power(2), torch.ones(1, 2), baseline=torch.zeros(2), steps=steps)


def test_one_step_is_too_few_for_a_trapezoid():
    with pytest.raises(ValueError, match="steps is 1, expected at least 2"):
        nodes(1, "trapezoid")


def test_an_unknown_rule():
    with pytest.raises(ValueError, match=r"no rule 'simpson'; there are gauss-legendre, left"):
        integrated_gradients(power(2), torch.ones(1, 2), baseline=torch.zeros(2), rule="simpson")


@pytest.mark.parametrize("tol", [0, 0.0, -0.1, float("nan"), float("inf")])
def test_a_tolerance_that_no_sum_can_meet(tol):
    with pytest.raises(ValueError, match=r"tol is .*above zero, such as 0\.01"):
        integrated_gradients(power(2), torch.ones(1, 2), baseline=torch.zeros(2), tol=tol)


@pytest.mark.parametrize("most", [0, 8])
def test_too_few_points_to_begin_with(most):
    with pytest.raises(ValueError, match="expected at least 9"):
        integrated_gradients(
            power(2), torch.ones(1, 2), baseline=torch.zeros(2), tol=0.1, most=most
        )


@pytest.mark.parametrize("dials", [{"steps": 4}, {"tol": 0.01}], ids=["steps", "tol"])
def test_an_input_that_equals_its_baseline_has_a_zero_map_and_it_is_said(dials):
    x = torch.tensor([[1.0, 1.0], [0.0, 0.0], [2.0, 0.0]])
    with pytest.warns(UserWarning, match="sample") as said:
        got = integrated_gradients(power(2), x, baseline=torch.zeros(2), **dials)
    (one,) = said
    assert "sample 1 equals its baseline" in str(one.message)
    assert "choose another baseline" in str(one.message)
    assert one.filename == __file__
    near(got[:2], [[1.0, 1.0], [0.0, 0.0]])
    assert path_integral(power(2), x, baseline=torch.zeros(2), **dials).same == [1]


def test_one_baseline_of_several_may_equal_the_input():
    x = torch.tensor([[1.0, 1.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = integrated_gradients(power(2), x, baseline=[x, zeros(x)], steps=2)
    near(got, [[0.5, 0.5]])


def test_a_flat_score_is_said_also_beside_an_input_that_equals_its_baseline():
    x = torch.tensor([[0.0], [-1.0]])
    with pytest.warns(UserWarning, match="sample") as said:
        integrated_gradients(torch.relu, x, 0, baseline=torch.zeros(1))
    assert sorted(str(one.message)[:25] for one in said) == [
        "sample 0 equals its basel",
        "the map of sample 1 is ze",
    ]


@pytest.mark.parametrize("x", [[[-1.0]], [[0.0], [-1.0]]], ids=["alone", "beside a zero map"])
@pytest.mark.filterwarnings("ignore:sample 0 equals")
def test_a_gradient_without_a_value(x):
    with pytest.raises(ValueError, match="the gradient is NaN or infinite"):
        integrated_gradients(torch.sqrt, torch.tensor(x), 0, baseline=torch.zeros(1), steps=3)


def test_an_attribution_of_another_shape_has_no_gap():
    x = torch.ones(1, 3, 4, 4)
    with pytest.raises(ValueError, match=r"shape \(1, 4, 4\), the inputs \(1, 3, 4, 4\).*merging"):
        completeness_gap(lambda x: x.flatten(1), x, x.sum(1), 0)


@pytest.mark.parametrize("f", [integrated_gradients, path_integral])
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"target": 9}, ValueError, "out of range"),
        ({"target": [0, 1]}, ValueError, "for 1 samples"),
        ({"target": "cat"}, TypeError, "labels.index"),
        ({"inputs": torch.ones(2)}, ValueError, "batch"),
        ({"inputs": torch.ones(1, 2, dtype=torch.long)}, TypeError, "floating point"),
        ({"inputs": torch.full((1, 2), float("nan"))}, ValueError, "NaN or infinity"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
        ({"model": "resnet"}, TypeError, "the model is a str"),
        ({"model": lambda x: x.detach()}, ValueError, "does not depend on the inputs"),
    ],
)
def test_other_bad_input(f, change, error, words):
    call = {"model": power(2), "inputs": torch.ones(1, 2), "baseline": torch.zeros(2), **change}
    with pytest.raises(error, match=words):
        f(**call)


def test_a_progress_bar_counts_paths(capsys):
    x = torch.tensor([[1.0, 1.0], [2.0, 2.0]])
    integrated_gradients(power(2), x, baseline=[zeros(x), -x], steps=2, progress=True)
    assert "Integrated Gradients: 100%" in (shown := capsys.readouterr().err)
    assert "4/4" in shown
    integrated_gradients(power(2), x, baseline=zeros(x), steps=2)
    assert not capsys.readouterr().err


# A network that knows something


def test_on_a_photo_the_gap_is_below_the_tolerance_and_black_gets_nothing(lite0):
    x = lite0.preprocess("coffee")
    x[:, :, :40] = -1.0  # black
    found = path_integral(
        lite0.model, x, xai_lab.predict(lite0.model, x).argmax(1), tol=0.05,
        normalisation=lite0.normalisation,
    )  # fmt: skip
    assert found.reached.all()
    assert found.gap.abs() <= 0.05 * found.difference.abs() + 1e-3
    assert found.attribution[:, :, :40].eq(0).all()


@pytest.mark.gpu
@pytest.mark.parametrize("dials", [{"steps": 6}, {"tol": 0.01}], ids=["steps", "tol"])
@pytest.mark.parametrize("baseline", ["black", "blur", "noise"])
def test_a_gpu_gives_the_cpus_result(dials, baseline):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3)).double()
    x = torch.rand(2, 3, 6, 6, dtype=torch.float64)
    expected = path_integral(model, x, [0, 2], baseline=baseline, samples=2, **dials)
    got = path_integral(model.cuda(), x.cuda(), [0, 2], baseline=baseline, samples=2, **dials)
    assert got.attribution.is_cuda
    assert got.passes == expected.passes
    torch.testing.assert_close(got.attribution.cpu(), expected.attribution)
    torch.testing.assert_close(got.gap.cpu(), expected.gap, atol=1e-9, rtol=1e-6)
