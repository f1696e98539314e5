"""Every public method, found by its signature, so that a new one is covered unasked."""

import inspect

import pytest
import torch

import xai_lab
import xai_lab.gradients
from xai_lab import core, layers


def methods():
    """Public functions of the package that take a model and inputs, and two of the ground floor.

    Those that need a transformer are in `test_transformers_are_put_back`.
    """
    found = [getattr(xai_lab, name) for name in xai_lab.__all__]
    found = [
        f
        for f in found
        if inspect.isfunction(f)
        and f.__module__ not in ("xai_lab.attention", "xai_lab.generation")
        and list(inspect.signature(f).parameters)[:2] == ["model", "inputs"]
    ]
    return [*found, layers.record, layers.graph_from]


def call(function):
    """Return the function with its remaining arguments filled in."""
    names = inspect.signature(function).parameters
    fill = {}
    if "samples" in names:
        fill["samples"] = 3
    if "steps" in names:
        fill["steps"] = 5
    if "layers" in names:
        fill["layers"] = "features.0"

    def called(model, inputs, target=0):
        module = getattr(model, "module", model)
        if function is layers.record:
            return function(module, inputs, "features.0")
        if function is layers.graph_from:
            with function(module, inputs, "features.0") as (kept, outputs):
                return kept, core.class_scores(outputs, target)
        if called.needs_module:
            model = module
        if "attribution" in names:
            return function(model, inputs, torch.zeros_like(inputs), target, **fill)
        if "target" in names:
            return function(model, inputs, target, **fill)
        return function(model, inputs, **fill)

    called.needs_module = bool({"layer", "layers"} & set(names))
    called.explains = "target" in names
    called.goes_backward = "target" in names and "attribution" not in names
    called.name = function.__name__
    return called


@pytest.fixture(params=methods(), ids=lambda f: f.__name__)
def method(request):
    return call(request.param)


@pytest.fixture
def every_method():
    return methods()
