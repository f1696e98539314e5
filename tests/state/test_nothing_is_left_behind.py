"""After any call, also one that raised, everything is as it was."""

import contextlib
import dataclasses
import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import xai_lab

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_state_dict_hooks",
)
GLOBAL_HOOKS = [
    value
    for name, value in vars(torch.nn.modules.module).items()
    if name.startswith("_global_") and isinstance(value, dict)
]


class BrokenError(Exception):
    """Raised on purpose."""


class Trouble(nn.Module):
    """Draws from the random streams, and raises where it is told to."""

    def __init__(self, where=None, error=BrokenError):
        super().__init__()
        self.where, self.error = where, error

    def forward(self, x):
        torch.rand(3)
        if self.where == "forward":
            raise self.error
        return BreakBackward.apply(x, self.error) if self.where == "backward" else x


class BreakBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, error):
        ctx.error = error
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        raise ctx.error


class Mixed(nn.Module):
    """Some modules train, some do not; some weights are frozen, some have gradients already."""

    def __init__(self, where=None, error=BrokenError):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5)
        )
        self.trouble = Trouble(where, error)
        self.head = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU6(), nn.Flatten(), nn.LazyLinear(5))
        self(torch.rand(2, 3, 6, 6)) if where is None else self.head(torch.rand(2, 4, 4, 4))
        self.train()
        self.features[3].eval()
        self.head[0].eval()
        self.features[0].weight.requires_grad_(False)
        self.head[3].weight.grad = torch.rand_like(self.head[3].weight)
        self.features.register_forward_hook(lambda *_: None)

    def forward(self, x):
        return self.head(self.trouble(self.features(x)))


class Wrapped:
    """The same model behind a function, as after `lambda x: model(x)[0]`."""

    def __init__(self, module):
        self.module = module

    def __call__(self, x):
        return self.module(x)


def snapshot(model, inputs):
    """Everything that a call could change, as a nested dict that compares with ==."""
    model = getattr(model, "module", model)
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers()), "inputs": inputs}
    return {
        "training": {name: module.training for name, module in model.named_modules()},
        "hooks": {
            name: [list(getattr(module, kind)) for kind in HOOKS]
            for name, module in model.named_modules()
        },
        "global hooks": [list(hooks) for hooks in GLOBAL_HOOKS],
        "attributes": {name: sorted(vars(module)) for name, module in model.named_modules()},
        "values": {name: tensor.detach().clone().tolist() for name, tensor in tensors.items()},
        "identities": {name: (id(t), t.data_ptr()) for name, t in tensors.items()},
        "versions": {name: None if t.is_inference() else t._version for name, t in tensors.items()},
        "requires_grad": {name: tensor.requires_grad for name, tensor in tensors.items()},
        "grad": {
            name: None if t.grad is None else (id(t.grad), t.grad.tolist())
            for name, t in tensors.items()
            if t.is_leaf
        },
        "tensor hooks": {name: bool(t._backward_hooks) for name, t in tensors.items()},
        "torch random": torch.get_rng_state().tolist(),
        "numpy random": str(np.random.get_state()),
        "python random": random.getstate(),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "function modes": torch._C._len_torch_function_stack(),
        "dispatch modes": torch._C._len_torch_dispatch_stack(),
        "anomaly": torch.is_anomaly_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "threads": torch.get_num_threads(),
        "warnings": list(warnings.filters),
    }


def check(method, model, inputs, expected=None, target=0):
    """Call the method, and compare what was before with what is after."""
    before = snapshot(model, inputs)
    if expected is None:
        method(model, inputs, target)
    else:
        with pytest.raises(expected):
            method(model, inputs, target)
    after = snapshot(model, inputs)
    for what, value in before.items():
        assert after[what] == value, what


def pictures():
    x = torch.rand(10, 3, 6, 6, generator=torch.Generator().manual_seed(1), requires_grad=True)
    x.grad = torch.ones_like(x)
    return x


def model_as(kind, where=None, error=BrokenError):
    return Wrapped(Mixed(where, error)) if kind == "function" else Mixed(where, error)


kinds = pytest.mark.parametrize("kind", ["module", "function"])


def test_the_search_for_methods_finds_what_there_is(every_method):
    names = {f.__name__ for f in every_method}
    assert {"predict", "saliency", "smooth_grad", "guided_backprop", "record"} <= names
    assert {"integrated_gradients", "path_integral", "completeness_gap"} <= names


@kinds
def test_a_call_leaves_no_trace(method, kind):
    check(method, model_as(kind), pictures())


@kinds
@pytest.mark.parametrize(
    "error", [BrokenError, RuntimeError, torch.OutOfMemoryError, KeyboardInterrupt]
)
def test_a_model_that_raises_leaves_no_trace(method, kind, error):
    check(method, model_as(kind, "forward", error), pictures(), error)


@kinds
@pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt])
def test_a_backward_pass_that_raises_leaves_no_trace(method, kind, error):
    if not method.goes_backward:
        pytest.skip("runs no backward pass")
    check(method, model_as(kind, "backward", error), pictures(), error)


def test_it_may_also_raise_in_a_later_batch(method):
    model = Mixed()
    calls = []

    def third(_module, _arguments):
        calls.append(1)
        if len(calls) == 2:
            raise BrokenError

    handle = model.trouble.register_forward_pre_hook(third)
    if method.name in ("record", "graph_from", "activations"):
        calls.append(1)
    check(method, model, pictures(), BrokenError)
    handle.remove()


def test_a_wrong_target_leaves_no_trace(method):
    if not method.explains:
        pytest.skip("takes no target")
    check(method, Mixed(), pictures(), ValueError, target=99)


def test_a_target_function_that_raises_leaves_no_trace(method):
    if not method.explains:
        pytest.skip("takes no target")

    def broken(outputs):
        raise BrokenError

    check(method, Mixed(), pictures(), BrokenError, target=broken)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("where", [None, "forward"])
def test_the_callers_grad_mode_neither_matters_nor_changes(method, mode, where):
    model = Mixed(where)
    with mode():
        check(method, model, pictures().detach().clone(), where and BrokenError)


def test_inputs_from_inference_mode_are_fine_outside(method):
    with torch.inference_mode():
        x = torch.rand(2, 3, 6, 6)
    check(method, Mixed(), x)


def test_the_result_is_the_same_under_no_grad(method):
    if not method.explains:
        pytest.skip("no map")
    model = Mixed()
    outside = method(model, pictures())
    with torch.inference_mode():
        inside = method(model, pictures())
    if dataclasses.is_dataclass(outside):
        outside, inside = vars(outside), vars(inside)
    torch.testing.assert_close(outside, inside)


def test_inputs_that_belong_to_a_graph_keep_it(method):
    leaf = torch.rand(2, 3, 6, 6, requires_grad=True)
    x = leaf / 2
    method(Mixed(), x)
    (g,) = torch.autograd.grad(x.sum(), leaf)
    assert g.eq(0.5).all()


def test_weights_that_no_module_owns_get_no_gradient(method):
    if method.needs_module:
        pytest.skip("takes modules only")
    loose, model = torch.ones(1, requires_grad=True), Mixed()
    method(lambda x: model(x) * loose, pictures())
    assert loose.grad is None
    assert loose.requires_grad


def test_inputs_that_share_memory_are_not_written_to(method):
    x = torch.rand(1, 3, 6, 6).expand(4, 3, 6, 6)
    check(method, Mixed(), x)


def test_a_model_that_works_in_place_on_its_input_does_not_reach_the_callers(method):
    class InPlace(Mixed):
        def forward(self, x):
            return super().forward(x.mul_(2))

    check(method, InPlace(), pictures())


@pytest.mark.parametrize("dtype", [torch.float64])
def test_the_default_dtype_neither_matters_nor_changes(method, dtype):
    x, model = pictures(), Mixed()
    before = method(model, x)
    torch.set_default_dtype(dtype)
    try:
        check(method, model, x)
        after = method(model, x)
    finally:
        torch.set_default_dtype(torch.float32)
    if isinstance(before, torch.Tensor):
        assert torch.equal(before, after)


def test_a_default_device_is_not_used_behind_the_callers_back(method):
    x, model = pictures(), Mixed("none")
    model.trouble = nn.Identity()
    with torch.device("meta"):
        check(method, model, x)


def test_the_global_random_state_does_not_decide_the_result(method):
    x, model = pictures(), Mixed()
    results = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        results.append(method(model, x))
    if isinstance(results[0], torch.Tensor):
        assert torch.equal(*results)


def test_a_body_that_raises_inside_graph_from_leaves_no_trace():
    from xai_lab import layers

    def method(model, inputs, _target):
        with layers.graph_from(model, inputs, "features.0"):
            raise BrokenError

    check(method, Mixed(), pictures(), BrokenError)


def test_loading_a_model_leaves_the_random_streams_alone(monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    before = torch.get_rng_state()
    xai_lab.load("mobilenet_v3_large", pretrained=False, device="cpu")
    assert torch.equal(torch.get_rng_state(), before)
    assert not seeded, "every GPU's generator was seeded"


def test_randomising_leaves_the_model_and_the_random_streams_alone(monkeypatch):
    model, seeded = Mixed(), []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    check(lambda model, _x, _t: xai_lab.faithfulness.randomize(model), model, pictures())
    assert not seeded, "every GPU's generator was seeded"


@pytest.mark.gpu
def test_a_gpus_random_state_is_left_alone(method):
    model, x = Mixed().cuda(), pictures().detach().cuda()
    model.trouble.forward = lambda x: x + 0 * torch.rand(1, device="cuda")
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng())
        before = torch.cuda.get_rng_state()
        method(model, x)
        assert torch.equal(torch.cuda.get_rng_state(), before)
