"""What the unit tests share: networks that come with the course, and the list of methods."""

import inspect

import pytest

import xai_lab
import xai_lab.gradients


def methods():
    """Every public function of `xai_lab.gradients` that explains a model; a new one joins in."""
    found = [getattr(xai_lab, name) for name in xai_lab.__all__]
    return [
        f
        for f in found
        if inspect.isfunction(f)
        and f.__module__ == "xai_lab.gradients"
        and list(inspect.signature(f).parameters)[:3] == ["model", "inputs", "target"]
    ]


@pytest.fixture(params=methods(), ids=lambda f: f.__name__)
def method(request):
    """Each method in turn, with few draws where it draws."""
    function = request.param
    if "samples" not in inspect.signature(function).parameters:
        return function

    def few(*args, **kwargs):
        return function(*args, **{"samples": 3, **kwargs})

    return few


@pytest.fixture(scope="session")
def lite0():
    return xai_lab.load("efficientnet-lite0", device="cpu")


@pytest.fixture(scope="session")
def background():
    return xai_lab.load("scenes-cnn-background", device="cpu")


@pytest.fixture(scope="session")
def watermark():
    return xai_lab.load("scenes-cnn-watermark", device="cpu")


@pytest.fixture(scope="session")
def honest():
    return xai_lab.load("scenes-cnn", device="cpu")
