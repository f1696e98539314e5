"""The book's costs are what is counted now, and what the docstrings say."""

import ast
import inspect
import json
import re
from pathlib import Path

import pytest
import torch

import xai_lab
from benchmarks import costs
from xai_lab.cam import cam

ROOT = Path(__file__).resolve().parents[2]
RECORDED = json.loads(costs.RESULTS.read_text(encoding="utf-8"))
#: Their number of passes is decided by the last digits of a sum.
ADAPTIVE = {"integrated_tol", "text_integrated_tol"}
CHEAP = [
    (group, key)
    for group in ("photo", "sentence", "prompt")
    for key, row in RECORDED[group]["rows"].items()
    if row["seconds"] < 1 and key not in ADAPTIVE
]


@pytest.fixture(scope="module")
def groups():
    made = {}

    def get(name):
        if name not in made:
            made[name] = costs.GROUPS[name]()
        return made[name]

    return get


@pytest.mark.parametrize(("group", "key"), CHEAP, ids=[key for _, key in CHEAP])
def test_the_passes_in_the_book_are_those_that_are_counted(groups, group, key):
    model, cases = groups(group)
    if "cam" in key:
        cases[key].work()  # the first looks for its layer
    now, row = costs.count(model, cases[key].work), RECORDED[group]["rows"][key]
    assert (now.forward, now.backward) == (row["forward"], row["backward"])
    assert now.share == pytest.approx(row["share"], abs=1e-3)


@pytest.mark.parametrize("group", ["photo", "sentence", "prompt"])
def test_every_method_of_a_group_is_in_the_book(groups, group):
    _, cases = groups(group)
    recorded = {key: row["title"] for key, row in RECORDED[group]["rows"].items()}
    assert recorded == {key: case.title for key, case in cases.items()}


def small():
    """Network of two convolutions and a linear layer, and two pictures."""
    torch.manual_seed(0)
    conv = [torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3), torch.nn.ReLU()]
    conv[2].bias.data += 1  # every channel fires, so that none is left out
    pool = [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 5)]
    return torch.nn.Sequential(*conv, *pool).eval(), torch.rand(2, 3, 12, 12)


def test_counting_tells_samples_forward_and_backward_apart():
    model, x = small()
    with costs.counting(model) as counted:
        with torch.no_grad():
            model(x)
        y = model(x.clone().requires_grad_())
        torch.autograd.grad(y[:, 0].sum(), y, retain_graph=True)  # through no layer
        assert counted() == costs.Passes(4, 0, 0.0)
        y[:, 0].sum().backward(retain_graph=True)
        y[:1, 1].sum().backward()
    assert counted() == costs.Passes(4, 4, 1.0)
    model(x)
    assert counted().forward == 4, "no hook is left"


def test_a_backward_pass_that_ends_at_a_layer_is_told_from_a_whole_one():
    model, x = small()
    xai_lab.grad_cam(model, x, 0, layer="3")
    late = costs.count(model, lambda: xai_lab.grad_cam(model, x, 0, layer="3"))
    early = costs.count(model, lambda: xai_lab.grad_cam(model, x, 0, layer="1"))
    assert late == costs.Passes(2, 2, pytest.approx(1 / 3))
    assert early == costs.Passes(2, 2, pytest.approx(2 / 3))


# What a docstring says of one sample, and what that makes for two samples and these settings.
SAID = [
    (xai_lab.predict, "one forward pass a sample", {}, (2, 0)),
    (xai_lab.saliency, "one forward and one backward pass a sample", {}, (2, 2)),
    (xai_lab.gradient_x_input, "one forward and one backward pass a sample", {}, (2, 2)),
    (xai_lab.guided_backprop, "one forward and one backward pass a sample", {}, (2, 2)),
    (
        xai_lab.smooth_grad,
        "n forward and backward passes a sample, and one forward pass if ``target`` is ``None``",
        {"samples": 3, "target": None},
        (2 * 3 + 2, 2 * 3),
    ),
    (
        xai_lab.smooth_grad_statistics,
        "n forward and backward passes a sample, and one forward pass if ``target`` is ``None``",
        {"samples": 3, "target": 1},
        (2 * 3, 2 * 3),
    ),
    (cam, "one forward pass, whatever the number of targets", {"target": {"a": 0, "b": 1}}, (2, 0)),
    (
        xai_lab.grad_cam,
        "one forward pass, and a backward pass from the score to the layer, for each target",
        {"target": {"a": 0, "b": 1}},
        (2, 4),
    ),
    (xai_lab.grad_cam_plus_plus, "as `grad_cam`", {"target": 0}, (2, 2)),
    (xai_lab.layer_cam, "as `grad_cam`", {"target": 0}, (2, 2)),
    (xai_lab.hires_cam, "as `grad_cam`", {"target": 0}, (2, 2)),
    (
        xai_lab.score_cam,
        "one forward pass a channel and one more, and no backward pass",
        {"target": 0, "channels": 3},
        (2 * (3 + 1), 0),
    ),
    (
        xai_lab.integrated_gradients,
        "n forward and backward passes a sample and baseline, and 2 forward passes",
        {"target": 0, "steps": 5},
        (2 * (5 + 2), 2 * 5),
    ),
]


@pytest.mark.filterwarnings("ignore:the map of sample")
@pytest.mark.parametrize(
    ("method", "words", "settings", "passes"), SAID, ids=[row[0].__name__ for row in SAID]
)
def test_a_docstring_states_the_cost_that_is_counted(method, words, settings, passes):
    said = " ".join(inspect.getdoc(method).split())
    assert f"Cost: {words}" in said
    model, x = small()
    method(model, x, **settings)
    counted = costs.count(model, lambda: method(model, x, **settings))
    assert (counted.forward, counted.backward) == passes


@pytest.mark.parametrize(
    ("key", "words", "forward", "backward"),
    [
        ("interpreter", "some 150 of the former and 130 of the latter", 150 + 130, 150),
        # Four maps of one pass, one of 24 steps.
        ("diagnose", "five maps, and some 150 forward passes", 4 + 26 + 150, 4 + 24),
    ],
)
def test_round_numbers_in_docstrings_are_near(key, words, forward, backward):
    of = {"interpreter": xai_lab.ImageInterpreter, "diagnose": xai_lab.diagnose}[key]
    assert words in " ".join(inspect.getdoc(of).split())
    row = RECORDED["photo_evidence"]["rows"][key]
    assert (row["forward"], row["backward"]) == pytest.approx((forward, backward), rel=0.05)


def test_the_defaults_on_the_page_are_those_of_the_package():
    page = (ROOT / "book" / "choosing.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\* - `(\w+)` of `(\w+)`\n  - `(.+)`$", page, re.MULTILINE)
    assert len(rows) == page.partition("tab-settings")[2].count("\n* - ") - 1
    for name, function, value in rows:
        default = inspect.signature(getattr(xai_lab, function)).parameters[name].default
        assert default == ast.literal_eval(value), f"{name} of {function}"


def test_the_page_asks_for_costs_that_were_measured():
    page = (ROOT / "book" / "choosing.md").read_text(encoding="utf-8")
    known = {key for group in RECORDED.values() for key in group["rows"]}
    asked = set(re.findall(r"\{cost\}`(\w+)`", page))
    assert asked
    assert asked <= known
    tables = set(" ".join(re.findall(r"\{cost-table\}(.+)", page)).split())
    assert tables == set(RECORDED) == set(costs.GROUPS)
