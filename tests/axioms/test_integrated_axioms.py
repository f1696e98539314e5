"""What Integrated Gradients promises for every network, input and baseline, tried on many."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from xai_lab import completeness_gap, integrated_gradients, path_integral, predict
from xai_lab.integrated import nodes

settings.register_profile("quiet", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("quiet")

seeds = st.integers(0, 2**31)
rules = st.sampled_from(["gauss-legendre", "midpoint", "left", "right", "trapezoid"])
pytestmark = pytest.mark.filterwarnings("ignore:the map of sample")
every_way = pytest.mark.parametrize("dials", [{"steps": 6}, {"tol": 0.05}], ids=["steps", "tol"])


def smooth(seed, width=4, classes=3):
    torch.manual_seed(seed)
    layers = [nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, 8), nn.Softplus(), nn.Linear(8, classes)]
    return nn.Sequential(*layers).double()


def bent(seed, width=4, classes=3):
    torch.manual_seed(seed)
    layers = [nn.Linear(width, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU6(), nn.Linear(8, classes)]
    return nn.Sequential(*layers).double()


def points(seed, n, width=4):
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.randn(n, width, generator=generator, dtype=torch.float64)


def close(a, b, **limits):
    torch.testing.assert_close(a, b, **{"rtol": 1e-9, "atol": 1e-11, **limits})


@given(seed=seeds, n=st.integers(1, 4), shared=st.booleans(), scale=st.floats(0.1, 3))
def test_the_parts_add_up_for_any_baseline(seed, n, shared, scale):
    model, x = smooth(seed), points(seed, n)
    start = scale * points(seed + 7, 1 if shared else n)
    got = integrated_gradients(model, x, baseline=start, steps=64)
    target = predict(model, x).argmax(1, keepdim=True)
    difference = (model(x) - model(start.expand_as(x))).detach().gather(1, target)[:, 0]
    close(got.sum(1), difference, rtol=1e-5, atol=1e-6)


@given(seed=seeds, steps=st.integers(2, 9), rule=rules)
def test_the_gap_is_known_whatever_the_rule(seed, steps, rule):
    model, x, start = bent(seed), points(seed, 3), points(seed + 7, 3)
    found = path_integral(model, x, 1, baseline=start, steps=steps, rule=rule)
    difference = (model(x) - model(start)).detach()[:, 1]
    close(found.difference, difference)
    close(found.gap, found.attribution.sum(1) - difference)
    close(completeness_gap(model, x, found.attribution, 1, baseline=start), found.gap)
    _, weights = nodes(steps, rule)
    for k in range(3):
        close((weights * found.slopes[k]).sum(), found.attribution[k].sum())


@given(seed=seeds, tol=st.floats(1e-3, 0.3), most=st.integers(9, 150))
def test_reached_means_that_the_gap_is_below_the_tolerance(seed, tol, most):
    model, x, start = bent(seed), points(seed, 3), points(seed + 7, 3)
    found = path_integral(model, x, 1, baseline=start, tol=tol, most=most)
    within = found.gap.abs() <= tol * found.difference.abs() * (1 + 1e-6)
    assert found.reached.tolist() == within.tolist()
    assert max(found.passes) <= most


@every_way
@given(seed=seeds, batch_size=st.integers(1, 20))
def test_the_batch_size_does_not_matter(dials, seed, batch_size):
    model, x, start = bent(seed), points(seed, 3), points(seed + 7, 3)
    a = path_integral(model, x, baseline=start, batch_size=batch_size, **dials)
    b = path_integral(model, x, baseline=start, **dials)
    close(a.attribution, b.attribution)
    assert a.passes == b.passes


@every_way
@given(seed=seeds, n=st.integers(2, 4))
def test_a_batch_gives_what_its_samples_give_alone(dials, seed, n):
    model, x, start = bent(seed), points(seed, n), points(seed + 7, n)
    whole = integrated_gradients(model, x, baseline=start, **dials)
    for i in range(n):
        one = slice(i, i + 1)
        close(whole[one], integrated_gradients(model, x[one], baseline=start[one], **dials))


@every_way
@given(seed=seeds, dummy=st.integers(0, 3))
def test_an_input_that_the_network_ignores_gets_nothing(dials, seed, dummy):
    model, x, start = bent(seed), points(seed, 2), points(seed + 7, 2)
    model[0].weight.data[:, dummy] = 0
    assert integrated_gradients(model, x, baseline=start, **dials)[:, dummy].eq(0).all()


@every_way
@given(seed=seeds, same=st.integers(0, 3))
def test_an_input_that_equals_its_baseline_gets_nothing(dials, seed, same):
    model, x, start = bent(seed), points(seed, 2), points(seed + 7, 2)
    start[:, same] = x[:, same]
    assert integrated_gradients(model, x, baseline=start, **dials)[:, same].eq(0).all()


@every_way
@given(seed=seeds)
def test_inputs_that_the_network_treats_alike_share_alike(dials, seed):
    model, x, start = bent(seed), points(seed, 2), points(seed + 7, 2)
    model[0].weight.data[:, 2] = model[0].weight.data[:, 1]
    x[:, 2], start[:, 2] = x[:, 1], start[:, 1]
    got = integrated_gradients(model, x, baseline=start, **dials)
    close(got[:, 2], got[:, 1])


@every_way
@given(seed=seeds)
def test_swapped_inputs_swap_their_parts(dials, seed):
    model, x, start = bent(seed), points(seed, 2), points(seed + 7, 2)
    order = torch.tensor([2, 0, 3, 1])
    back = order.argsort()
    got = integrated_gradients(
        lambda z: model(z[:, back]), x[:, order], 0, baseline=start[:, order], **dials
    )
    close(got, integrated_gradients(model, x, 0, baseline=start, **dials)[:, order])


@given(seed=seeds, a=st.floats(-3, 3), b=st.floats(-3, 3), rule=rules)
def test_it_is_linear_in_the_score(seed, a, b, rule):
    model, x, start = bent(seed), points(seed, 2), points(seed + 7, 2)

    def found(target):
        return integrated_gradients(model, x, target, baseline=start, steps=5, rule=rule)

    close(found(lambda y: a * y[:, 0] + b * y[:, 2]), a * found(0) + b * found(2))


@every_way
@given(seed=seeds)
def test_networks_with_the_same_function_have_the_same_map(dials, seed):
    model, x, start = bent(seed), points(seed, 2), points(seed + 7, 2)
    other = bent(seed)
    # Units in another order, and a ReLU written as two: relu(z) = (z + |z|)/2.
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    other[0].weight.data, other[0].bias.data = model[0].weight[order], model[0].bias[order]
    other[2].weight.data = model[2].weight.data[:, order]
    other[1] = Half()
    close(predict(other, x), predict(model, x))
    got = integrated_gradients(other, x, baseline=start, **dials)
    close(got, integrated_gradients(model, x, baseline=start, **dials))


class Half(nn.Module):
    def forward(self, z):
        return (z + z.abs()) / 2


@given(seed=seeds, scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_other_units_of_the_inputs_do_not_matter(seed, scale, shift):
    model, x, start = smooth(seed), points(seed, 2), points(seed + 7, 2)
    got = integrated_gradients(
        lambda z: model((z - shift) / scale),
        scale * x + shift,
        0,
        baseline=scale * start + shift,
        steps=5,
    )
    usual = integrated_gradients(model, x, 0, baseline=start, steps=5)
    close(got, usual, rtol=1e-6, atol=1e-9)


@given(seed=seeds, rule=rules)
def test_a_linear_score_is_exact(seed, rule):
    torch.manual_seed(seed)
    model, x, start = nn.Linear(4, 3).double(), points(seed, 2), points(seed + 7, 2)
    got = integrated_gradients(model, x, 1, baseline=start, steps=2, rule=rule)
    close(got, (x - start) * model.weight.data[1])


@given(seed=seeds, degree=st.integers(1, 8))
def test_a_polynomial_is_exact_with_half_as_many_nodes_as_its_degree(seed, degree):
    x, start = points(seed, 2), points(seed + 7, 2)
    w = points(seed + 9, 1)

    def score(z):  # the gradient has the degree `degree` − 1 in α
        return ((z * w).sum(1, keepdim=True)) ** degree

    steps = (degree + 1) // 2
    got = integrated_gradients(score, x, baseline=start, steps=steps)
    rise = (score(x) - score(start))[:, 0]
    close(got.sum(1), rise, rtol=1e-8, atol=1e-8)
    way = w * (x - start)
    assume((way.sum(1).abs() > 1e-3).all())
    close(got, way * (rise / way.sum(1))[:, None], rtol=1e-6, atol=1e-8)


@given(seed=seeds)
def test_the_way_back_has_the_opposite_map(seed):
    model, x, start = smooth(seed), points(seed, 2), points(seed + 7, 2)
    for rule in ("gauss-legendre", "midpoint", "trapezoid"):
        there = integrated_gradients(model, x, 0, baseline=start, steps=5, rule=rule)
        back = integrated_gradients(model, start, 0, baseline=x, steps=5, rule=rule)
        close(back, -there)


@pytest.mark.gpu
@every_way
@given(seed=seeds)
def test_a_gpu_gives_the_cpus_result(dials, seed):
    model, x, start = smooth(seed), points(seed, 3), points(seed + 7, 3)
    expected = integrated_gradients(model, x, baseline=start, **dials)
    got = integrated_gradients(model.cuda(), x.cuda(), baseline=start.cuda(), **dials)
    assert got.is_cuda
    torch.testing.assert_close(got.cpu(), expected, rtol=1e-6, atol=1e-9)
