"""Baselines are made of pixels, and what does not fit is refused."""

import pytest
import torch

from xai_lab import integrated_gradients
from xai_lab.baselines import MADE, baselines

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pixels(n=2, side=20):
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def channels(numbers):
    return torch.tensor(numbers)[:, None, None]


def normalised(x):
    return (x - channels(MEAN)) / channels(STD)


def the_one(*args, **dials):
    (found,) = baselines(*args, **dials)
    return found


def test_black_and_white_are_those_of_the_pixels():
    x = normalised(pixels())
    for name, value in (("black", 0.0), ("white", 1.0)):
        got = the_one(name, x, normalisation=(MEAN, STD))
        torch.testing.assert_close(got, normalised(torch.full_like(x, value)))
    assert not the_one("black", x, normalisation=(MEAN, STD)).eq(0).any()


def test_one_number_normalises_all_channels():
    x = 2 * pixels() - 1
    assert the_one("black", x, normalisation=(0.5, 0.5)).eq(-1).all()
    assert the_one("white", x, normalisation=(0.5, 0.5)).eq(1).all()
    assert the_one("black", x, normalisation=(torch.tensor(0.5), 0.5)).eq(-1).all()


def test_pictures_between_zero_and_one_need_no_normalisation():
    assert the_one("black", pixels()).eq(0).all()
    assert the_one("white", pixels()).eq(1).all()


def test_the_mean_is_each_pictures_own_colour():
    x = pixels()
    expected = x.mean(dim=(2, 3), keepdim=True).expand_as(x)
    torch.testing.assert_close(the_one("mean", x), expected)
    got = the_one("mean", normalised(x), normalisation=(MEAN, STD))
    torch.testing.assert_close(got, normalised(expected))
    assert not torch.allclose(got[0], got[1])


@pytest.mark.parametrize("shape", [(30, 30), (30, 50), (50, 30), (1, 1), (2, 7), (224, 224)])
def test_the_blur_is_a_gaussian_of_a_tenth_of_the_side(shape):
    x = torch.zeros(1, 1, *shape)
    row, column = shape[0] // 2, shape[1] // 2
    x[..., row, column] = 1
    got = the_one("blur", x)
    assert got.shape == x.shape
    assert got.ge(0).all()
    if min(shape) < 30:
        return
    sigma = min(shape) / 10
    assert got.argmax() == x.argmax()
    # A step of σ to the side takes e^−½ of the height.
    beside = got[..., row, column + int(sigma)] / got[..., row, column]
    assert float(beside) == pytest.approx(
        float(torch.tensor(-0.5 * (int(sigma) / sigma) ** 2).exp()), rel=1e-3
    )
    assert got[..., row, column + int(2.5 * sigma)].gt(0).all()  # it is not cut off before 3σ
    assert got[..., row, column + int(3.5 * sigma)].eq(0).all()
    assert float(got.sum()) == pytest.approx(1, abs=1e-3)


def test_the_blur_of_normalised_pictures_is_the_blur_of_their_pixels():
    x = pixels()
    got = the_one("blur", normalised(x), normalisation=(MEAN, STD))
    torch.testing.assert_close(got, normalised(the_one("blur", x)), rtol=1e-4, atol=1e-5)
    assert the_one("blur", torch.full_like(x, 0.25)).sub(0.25).abs().max() < 1e-5


def test_noise_is_uniform_over_the_pixels_and_its_own():
    x = normalised(pixels(side=40))
    torch.manual_seed(0)
    state = torch.get_rng_state()
    got = baselines("noise", x, normalisation=(MEAN, STD), samples=6, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(got) == 6
    generator = torch.Generator().manual_seed(3)
    for one in got:
        drawn = torch.rand(3, 40, 40, generator=generator)
        torch.testing.assert_close(one, normalised(drawn).expand_as(x))
    raw = torch.stack(got) * channels(STD) + channels(MEAN)
    assert raw.min() > -1e-6
    assert raw.max() < 1 + 1e-6
    assert abs(raw.mean() - 0.5) < 0.01
    other = baselines("noise", x, normalisation=(MEAN, STD), samples=6, seed=4)
    assert not torch.allclose(other[0], got[0])


def test_more_draws_begin_with_the_same_ones():
    few, many = (baselines("noise", pixels(), samples=n) for n in (2, 5))
    assert all(torch.equal(a, b) for a, b in zip(few, many, strict=False))


@pytest.mark.parametrize("name", [*MADE, "noise"])
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_a_baseline_is_of_the_inputs_kind(name, kind):
    x = pixels().to(kind)
    for one in baselines(name, x, samples=2):
        assert one.dtype == kind
        assert one.shape == x.shape
        assert one.device == x.device
        assert torch.isfinite(one).all()
    near = [b.float() for b in baselines(name, pixels(), samples=2)]
    for one, expected in zip(baselines(name, x, samples=2), near, strict=True):
        torch.testing.assert_close(one.float(), expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("shape", [(3, 20, 20), (1, 3, 20, 20), (2, 3, 20, 20)])
def test_a_tensor_is_taken_as_it_is(shape):
    given = torch.randn(shape, requires_grad=True)
    got = the_one(given, pixels())
    assert torch.equal(got, given.detach().expand(2, 3, 20, 20))
    assert not got.requires_grad


def test_a_list_is_a_distribution():
    x = pixels()
    got = baselines(["black", x[0], "noise", ["white"]], x, samples=3)
    assert len(got) == 6
    assert got[0].eq(0).all()
    assert torch.equal(got[1], x[:1].expand_as(x))
    assert got[5].eq(1).all()
    assert len(baselines(("black", "white"), x)) == 2


def test_other_inputs_than_pictures_take_tensors():
    x = torch.randn(4, 7)
    assert the_one(torch.zeros(7), x).shape == x.shape
    with pytest.raises(ValueError, match=r"'black' is for pictures.*\(4, 7\).*zeros_like"):
        baselines("black", x)


# Bad input


def test_another_shape():
    with pytest.raises(ValueError, match=r"shape \(3, 8, 8\), expected \(3, 20, 20\) for all"):
        baselines(torch.zeros(3, 8, 8), pixels())
    with pytest.raises(ValueError, match=r"shape \(3, 3, 20, 20\), .*\(2, 3, 20, 20\), one for"):
        baselines(torch.zeros(3, 3, 20, 20), pixels())
    with pytest.raises(ValueError, match=r"shape \(\)"):
        baselines(torch.tensor(0.0), pixels())


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.int64])
def test_another_dtype(kind):
    with pytest.raises(ValueError, match=rf"{kind} on cpu.*torch\.float32.*baseline\.to\(inputs\)"):
        baselines(torch.zeros(3, 20, 20, dtype=kind), pixels())


def test_another_device():
    with pytest.raises(ValueError, match=r"on meta, the inputs are .* on cpu.*to\(inputs\)"):
        baselines(torch.zeros(3, 20, 20, device="meta"), pixels())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_baseline_without_values(value):
    with pytest.raises(ValueError, match="the baseline holds NaN or infinity"):
        baselines(torch.full((3, 20, 20), value), pixels())


@pytest.mark.parametrize("name", ["blakc", "", "Black"])
def test_an_unknown_name(name):
    with pytest.raises(ValueError, match="there are black, white, mean, blur and noise"):
        baselines(name, pixels())


@pytest.mark.parametrize("given", [0, 0.0, None, [], (), pixels().numpy(), {"black"}])
def test_what_is_no_baseline(given):
    with pytest.raises(TypeError, match=r"expected one of black, white, mean, blur, noise; a tens"):
        baselines(given, pixels())


@pytest.mark.parametrize("name", [*MADE, "noise"])
def test_normalised_inputs_and_no_word_of_how(name):
    for x in (normalised(pixels()), 2 * pixels(), pixels() - 0.5):
        with pytest.raises(ValueError, match=r"so they are normalised.*net\.normalisation"):
            baselines(name, x)
        with pytest.raises(ValueError, match=r"so they are normalised.*net\.normalisation"):
            integrated_gradients(lambda x: x.flatten(1), x, 0, baseline=name)
        assert len(baselines(torch.zeros_like(x), x)) == 1  # a tensor needs none


@pytest.mark.parametrize("samples", [0, -1])
def test_noise_without_a_draw(samples):
    with pytest.raises(ValueError, match=f"samples is {samples}"):
        baselines("noise", pixels(), samples=samples)


@pytest.mark.gpu
@pytest.mark.parametrize("name", [*MADE, "noise"])
def test_baselines_are_the_same_on_a_gpu(name):
    x = normalised(pixels())
    here = baselines(name, x, normalisation=(MEAN, STD), samples=2)
    there = baselines(name, x.cuda(), normalisation=(MEAN, STD), samples=2)
    for a, b in zip(here, there, strict=True):
        assert b.is_cuda
        torch.testing.assert_close(b.cpu(), a, rtol=1e-4, atol=1e-5)
