"""Identities of class activation that hold for all networks of a kind, tried on many."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from xai_lab import grad_cam, grad_cam_plus_plus, hires_cam, layer_cam, predict, score_cam
from xai_lab.cam import cam

settings.register_profile("cam", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("cam")

METHODS = [cam, grad_cam, grad_cam_plus_plus, layer_cam, hires_cam, score_cam]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda f: f.__name__)
pytestmark = pytest.mark.filterwarnings("ignore:the map of sample")

seeds = st.integers(0, 2**31)
classes = st.integers(0, 2)
sizes = st.tuples(st.integers(1, 3), st.integers(6, 11), st.integers(6, 11))


def pooled(seed, bias=True):
    """Network that ends in global average pooling and one linear layer."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 3, bias=bias),
    ).double()
    nn.init.constant_(model[2].bias, 0.5)  # some unit is alive, and so layer 3 is the default
    return model


def deep(seed):
    """Network of which everything behind layer 1 is ReLU and linear, without biases."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(20, 8, bias=False),
        nn.ReLU(),
        nn.Linear(8, 3, bias=False),
    ).double()


def pictures(seed, size):
    n, h, w = size
    generator = torch.Generator().manual_seed(seed + 1)
    return torch.randn(n, 2, h, w, generator=generator, dtype=torch.float64)


def close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


@given(seed=seeds, size=sizes, c=classes, bias=st.booleans())
def test_the_mean_of_cam_and_the_bias_are_the_logit(seed, size, c, bias):
    model, x = pooled(seed, bias), pictures(seed, size)
    b = model[6].bias[c].detach() if bias else 0
    close(cam(model, x, c, upsample=False).mean(dim=(1, 2)) + b, predict(model, x)[:, c])


@given(seed=seeds, size=sizes, c=classes)
def test_grad_cam_is_the_positive_part_of_cam_over_the_cells(seed, size, c):
    model, x = pooled(seed), pictures(seed, size)
    M = cam(model, x, c, upsample=False)
    close(grad_cam(model, x, c, upsample=False), M.relu() / M[0].numel())


@given(seed=seeds, size=sizes, c=classes)
def test_hires_cam_is_cam_over_the_cells(seed, size, c):
    model, x = pooled(seed), pictures(seed, size)
    M = cam(model, x, c, upsample=False)
    close(hires_cam(model, x, c, upsample=False), M / M[0].numel())


@given(seed=seeds, size=sizes, c=classes, layer=st.sampled_from(["1", "2", "3"]))
def test_hires_cam_adds_up_to_the_logit_of_a_relu_head_without_biases(seed, size, c, layer):
    model, x = deep(seed), pictures(seed, size)
    got = hires_cam(model, x, c, layer=layer, upsample=False)
    close(got.sum(dim=(1, 2)), predict(model, x)[:, c])


@given(seed=seeds, size=sizes, a=st.floats(-3, 3), b=st.floats(-3, 3))
def test_the_signed_maps_are_linear_in_the_score(seed, size, a, b):
    x = pictures(seed, size)
    for method, model in ((cam, pooled(seed)), (hires_cam, deep(seed))):
        mixed = method(model, x, lambda y: a * y[:, 0] + b * y[:, 2])
        close(mixed, a * method(model, x, 0) + b * method(model, x, 2))


@given(seed=seeds, size=sizes, c=classes, factor=st.floats(0.01, 100))
def test_grad_cam_and_layer_cam_grow_with_the_score(seed, size, c, factor):
    model, x = deep(seed), pictures(seed, size)
    for method in (grad_cam, layer_cam):
        close(method(model, x, lambda y: factor * y[:, c]), factor * method(model, x, c))


@given(seed=seeds, size=sizes, c=classes, shift=st.floats(-1e3, 1e3))
def test_score_cam_does_not_notice_a_constant_added_to_the_score(seed, size, c, shift):
    model, x = pooled(seed), pictures(seed, size)
    torch.testing.assert_close(
        score_cam(model, x, lambda y: y[:, c] + shift), score_cam(model, x, c), rtol=1e-6, atol=1e-9
    )


@given(seed=seeds, size=sizes, c=classes)
def test_what_is_cut_off_at_zero_is_never_negative(seed, size, c):
    model, x = deep(seed), pictures(seed, size)
    for method in (grad_cam, grad_cam_plus_plus, layer_cam, score_cam):
        assert method(model, x, c, layer="0").ge(0).all()


@every_method
@given(seed=seeds, size=sizes)
def test_the_predicted_class_is_the_default(method, seed, size):
    model, x = pooled(seed), pictures(seed, size)
    close(method(model, x), method(model, x, predict(model, x).argmax(1)))


@every_method
@given(seed=seeds, size=sizes, batch_size=st.integers(1, 4))
def test_a_batch_gives_what_its_samples_give_alone(method, seed, size, batch_size):
    model, x = pooled(seed), pictures(seed, size)
    together = method(model, x, batch_size=batch_size)
    for n in range(len(x)):
        close(together[n], method(model, x[n : n + 1])[0])


@every_method
@given(seed=seeds, size=sizes)
def test_the_map_does_not_depend_on_the_order_of_the_channels(method, seed, size):
    model, x, other = pooled(seed), pictures(seed, size), pooled(seed)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        other[2].weight.copy_(model[2].weight[order])
        other[2].bias.copy_(model[2].bias[order])
        other[6].weight.copy_(model[6].weight[:, order])
    close(method(other, x, 1), method(model, x, 1))


@every_method
@given(seed=seeds)
def test_the_same_call_gives_the_same_bits(method, seed):
    model, x = pooled(seed), pictures(seed, (2, 8, 9))
    first = method(model, x)
    torch.manual_seed(seed + 17)
    assert torch.equal(method(model, x), first)
