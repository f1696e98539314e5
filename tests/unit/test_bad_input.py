"""Each kind of bad input gives a sentence that helps, or the right answer; never a wrong map."""

import numpy as np
import pytest
import torch
from torch import nn

import xai_lab
from xai_lab import layers, predict, saliency, smooth_grad, smooth_grad_statistics


class Small(nn.Module):
    """Pictures to two classes, with batch norm and dropout."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.drop, self.head = nn.Dropout(), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.drop(self.norm(self.conv(x)).relu().mean((2, 3))))


PICTURE = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_a_missing_batch_dimension(method):
    with pytest.raises(ValueError, match=r"shape \(3, 8, 8\).*\(N, 3, H, W\): a batch dimension"):
        method(Small(), PICTURE[0])


def test_a_vector_is_not_a_batch(method):
    with pytest.raises(ValueError, match=r"shape \(3,\).*inputs\[None\]"):
        method(nn.Linear(3, 2), torch.ones(3))


def test_no_samples(method):
    with pytest.raises(ValueError, match="at least one sample"):
        method(Small(), PICTURE[:0])


def test_wrong_channel_count(method):
    with pytest.raises(ValueError, match=r"shape \(2, 1, 8, 8\).*3 channels"):
        method(Small(), PICTURE[:, :1])


def test_channels_last(method):
    with pytest.raises(ValueError, match=r"shape \(2, 8, 8, 3\).*3 channels"):
        method(Small(), PICTURE.permute(0, 2, 3, 1))


def test_wrong_width_for_a_linear_model(method):
    with pytest.raises(ValueError, match=r"shape \(2, 5\).*takes 3 numbers"):
        method(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.ones(2, 5))


def test_double_precision_from_numpy(method):
    with pytest.raises(ValueError, match=r"float64.*float32.*inputs\.to\(torch\.float32\)"):
        method(Small(), PICTURE.double())


def test_integer_images(method):
    with pytest.raises(TypeError, match=r"torch\.uint8.*floating point.*255"):
        method(Small(), (255 * PICTURE).byte())


def test_an_array_instead_of_a_tensor(method):
    with pytest.raises(TypeError, match="inputs are a ndarray, expected a float tensor"):
        method(Small(), PICTURE.numpy())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity(method, value):
    x = PICTURE.clone()
    x[1, 0, 0, 0] = value
    with pytest.raises(ValueError, match="NaN or infinity"):
        method(Small(), x)


@pytest.mark.parametrize("target", [2, -1, [0, 5]])
def test_a_target_out_of_range(method, target):
    with pytest.raises(ValueError, match="out of range: the model has classes 0 to 1"):
        method(Small(), PICTURE, target)


@pytest.mark.parametrize("target", [[0], [0, 1, 0], [[0, 1]]])
def test_a_target_of_the_wrong_length(method, target):
    with pytest.raises(ValueError, match="for 2 samples, expected one class, or 2 of them"):
        method(Small(), PICTURE, target)


@pytest.mark.parametrize("target", [1.0, True, [0.5, 1.0]])
def test_a_target_that_is_no_class_number(method, target):
    with pytest.raises(TypeError, match=r"expected class numbers \(int\)"):
        method(Small(), PICTURE, target)


def test_a_label_for_a_target(method):
    with pytest.raises(TypeError, match=r"labels\.index"):
        method(Small(), PICTURE, "espresso")


def test_a_target_function_that_returns_one_number(method):
    with pytest.raises(ValueError, match=r"target function returned \(\), expected .* shape \("):
        method(Small(), PICTURE, lambda y: y.sum())


def test_a_target_function_that_counts_on_all_samples_at_once():
    x = PICTURE.repeat(5, 1, 1, 1)
    with pytest.raises(ValueError, match=r"target function failed.*batches.*as a list"):
        saliency(Small(), x, lambda y: y[torch.arange(10), torch.zeros(10, dtype=torch.long)])


def test_a_model_that_returns_a_tuple(method):
    model = Small()
    with pytest.raises(TypeError, match=r"returned a tuple.*lambda x: model\(x\)\[0\]"):
        method(lambda x: (model(x), 0), PICTURE)


def test_a_model_that_returns_one_score_a_sample(method):
    model = Small()
    with pytest.raises(ValueError, match=r"returned shape \(.*expected \(.*, K\)"):
        method(lambda x: model(x)[:, 0], PICTURE)


class Detached(Small):
    def forward(self, x):
        return super().forward(x.detach())


def test_an_output_that_does_not_depend_on_the_input(method):
    with pytest.raises(ValueError, match="does not depend on the inputs"):
        method(Detached(), PICTURE)


def test_the_same_behind_a_function_with_trainable_weights(method):
    model, loose = Small(), torch.ones(1, requires_grad=True)
    with pytest.raises(ValueError, match="does not depend on the inputs"):
        method(lambda x: model(x.detach()) * loose, PICTURE)


def test_a_model_in_training_mode_is_explained_in_eval_mode_and_restored(method):
    model, still = Small().train(), Small().eval()
    got, expected = method(model, PICTURE, 0), method(still, PICTURE, 0)
    got, expected = (
        getattr(r, "mean", None) if hasattr(r, "samples") else r for r in (got, expected)
    )
    torch.testing.assert_close(got, expected)
    assert all(module.training for module in model.modules())
    assert model.norm.num_batches_tracked == 0
    assert model.norm.running_mean.eq(0).all()


def test_frozen_parameters_are_fine(method):
    model = Small().requires_grad_(False)
    method(model, PICTURE, 0)
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_inputs_on_another_device(method):
    with pytest.raises(
        ValueError, match=r"inputs are on cpu, the model on meta; use .*to\('meta'\)"
    ):
        method(Small().to("meta"), PICTURE)


def test_weights_made_under_inference_mode():
    with torch.inference_mode():
        model = nn.Linear(3, 2)
    with pytest.raises(ValueError, match=r"inference_mode.*load it outside"):
        saliency(model, torch.ones(1, 3))
    assert predict(model, torch.ones(1, 3)).shape == (1, 2)


@pytest.mark.parametrize("function", [smooth_grad, smooth_grad_statistics])
def test_draws_and_noise(function):
    for samples in (0, -3):
        with pytest.raises(ValueError, match=rf"samples is {samples}, expected at least"):
            function(Small(), PICTURE, samples=samples)
    for samples in (2.0, "8", True):
        with pytest.raises(TypeError, match=r"samples is .*, expected a whole number"):
            function(Small(), PICTURE, samples=samples)
    for noise in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"noise is .*, expected a fraction"):
            function(Small(), PICTURE, noise=noise)
    function(Small(), PICTURE, samples=np.int64(2))


def test_batch_sizes(method):
    with pytest.raises(ValueError, match="batch_size is 0, expected at least 1"):
        method(Small(), PICTURE, batch_size=0)
    with pytest.raises(TypeError, match=r"batch_size is 2.5, expected a whole number"):
        method(Small(), PICTURE, batch_size=2.5)


def test_something_that_is_no_model(method):
    net = type("Loaded", (), {"model": Small()})()
    with pytest.raises(TypeError, match=r"the model is a Loaded.*give its `\.model`"):
        method(net, PICTURE)
    with pytest.raises(TypeError, match="the model is a Tensor"):
        method(PICTURE, Small())


def test_gradients_that_overflow(method):
    big = torch.full((1,), 3e38)
    with pytest.raises(ValueError, match="gradient is NaN or infinite"):
        method(lambda x: (x.relu().sum(1, keepdim=True) * big) * big, torch.ones(1, 2))


def test_guided_backprop_of_a_model_without_a_relu():
    with pytest.raises(ValueError, match=r"this model has none.*use `saliency`"):
        xai_lab.guided_backprop(nn.Sequential(nn.Linear(2, 2), nn.SiLU()), torch.ones(1, 2))


def test_a_models_own_error_comes_through_unchanged(method):
    def broken(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        method(broken, PICTURE)


def test_predict_and_record_check_as_well():
    with pytest.raises(TypeError, match="floating point"):
        predict(Small(), (255 * PICTURE).byte())
    with pytest.raises(ValueError, match="NaN or infinity"):
        layers.record(Small(), PICTURE * float("nan"), "conv")
