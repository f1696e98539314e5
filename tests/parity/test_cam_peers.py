"""Grad-CAM as captum has it, and as pytorch-grad-cam and torch-cam do where they are installed."""

import captum.attr
import pytest
import torch
from torch import nn

from xai_lab import grad_cam, hires_cam, layer_cam

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:.*:UserWarning:captum"),
    pytest.mark.filterwarnings("ignore:the map of sample"),
]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 5),
    ).eval()


@pytest.fixture(scope="module")
def pictures():
    return torch.randn(4, 3, 12, 16, generator=torch.Generator().manual_seed(0))


CLASSES = torch.tensor([0, 3, 3, 4])


def scaled(maps):
    """Maps between 0 and 1, as some libraries return them."""
    maps = maps - maps.amin(dim=(1, 2), keepdim=True)
    return maps / maps.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)


@pytest.mark.parametrize("layer", ["0", "2", "5"])
def test_grad_cam_is_captums(model, pictures, layer):
    theirs = captum.attr.LayerGradCam(model, model.get_submodule(layer))
    expected = theirs.attribute(pictures, CLASSES, relu_attributions=True)[:, 0]
    got = grad_cam(model, pictures, CLASSES, layer=layer, upsample=False)
    torch.testing.assert_close(got, expected.detach())
    enlarged = captum.attr.LayerAttribution.interpolate(expected[:, None], (12, 16), "bilinear")
    torch.testing.assert_close(
        grad_cam(model, pictures, CLASSES, layer=layer), enlarged[:, 0].detach()
    )


@pytest.mark.parametrize("layer", ["0", "2", "5"])
def test_hires_cam_is_captums_gradient_times_activation(model, pictures, layer):
    theirs = captum.attr.LayerGradientXActivation(model, model.get_submodule(layer))
    expected = theirs.attribute(pictures, CLASSES).sum(dim=1)
    got = hires_cam(model, pictures, CLASSES, layer=layer, upsample=False)
    torch.testing.assert_close(got, expected.detach())


@pytest.mark.parametrize(("ours", "name"), [(grad_cam, "GradCAM"), (layer_cam, "LayerCAM")])
def test_torch_cam_has_the_same_maps(model, pictures, ours, name):
    methods = pytest.importorskip("torchcam.methods")
    with getattr(methods, name)(model, "5") as theirs:
        expected = theirs(CLASSES.tolist(), model(pictures), normalized=False)[0]
    got = ours(model, pictures, CLASSES, layer="5", upsample=False)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(("ours", "name"), [(grad_cam, "GradCAM"), (layer_cam, "LayerCAM")])
def test_pytorch_grad_cam_has_the_same_maps_to_scale(model, pictures, ours, name):
    package = pytest.importorskip("pytorch_grad_cam")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    with getattr(package, name)(model, [model[5]]) as theirs:
        classes = [targets.ClassifierOutputTarget(int(c)) for c in CLASSES]
        expected = torch.from_numpy(theirs(pictures, classes))
    model.zero_grad(set_to_none=True)
    # It scales before it enlarges, and again after, and OpenCV rounds on its own.
    got = scaled(scaled(ours(model, pictures, CLASSES, layer="5")))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
