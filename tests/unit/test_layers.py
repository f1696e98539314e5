"""Inside a network: recording, starting the graph, folding, and finding the layer to explain."""

import pytest
import torch
from torch import nn

from xai_lab import layers


def tiny():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 5, 3),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 3),
    ).eval()


def test_record_keeps_what_came_out_before_an_in_place_activation():
    model, x = tiny(), torch.randn(2, 3, 8, 8)
    got = layers.record(model, x, ["0", model[1]])
    torch.testing.assert_close(got["0"], model[0](x).detach())
    torch.testing.assert_close(got["1"], model[0](x).relu().detach())
    assert not got["0"].requires_grad


def test_record_takes_one_name_too():
    assert list(layers.record(tiny(), torch.randn(1, 3, 8, 8), "2")) == ["2"]


@pytest.mark.parametrize("layer", ["0", "1", "2", "3", "4"])
def test_graph_from_gives_the_gradient_of_full_autograd(layer):
    model, x = tiny(), torch.randn(2, 3, 8, 8)
    with layers.graph_from(model, x, layer) as (kept, outputs):
        (got,) = torch.autograd.grad(outputs[:, 1].sum(), kept[layer])
    A = model[: int(layer) + 1](x.clone()).detach().requires_grad_()
    (expected,) = torch.autograd.grad(model[int(layer) + 1 :](A.clone())[:, 1].sum(), A)
    torch.testing.assert_close(kept[layer], A)
    torch.testing.assert_close(got, expected)


def test_graph_from_records_nothing_below_the_layer():
    model, seen = tiny(), {}
    for name in ("0", "4"):
        module = model.get_submodule(name)
        module.register_forward_hook(lambda _m, _a, y, name=name: seen.update({name: y}))
    x = torch.randn(1, 3, 8, 8, requires_grad=True)
    with layers.graph_from(model, x, "2") as (kept, outputs):
        assert kept["2"].is_leaf
        assert outputs.requires_grad
    assert not seen["0"].requires_grad
    assert seen["4"].requires_grad


def test_a_layer_that_never_ran_is_said():
    model = tiny()
    model.unused = nn.Linear(1, 1)
    model.forward = lambda x: model[:7](x)
    x = torch.randn(1, 3, 8, 8)
    with pytest.raises(ValueError, match="layer 'unused' was never run"):
        layers.record(model, x, "unused")
    with (
        pytest.raises(ValueError, match="layer 'unused' was never run"),
        layers.graph_from(model, x, "unused"),
    ):
        pass


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.memory, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.memory(x)[0][:, -1])


def test_a_layer_that_returns_a_tuple_is_said():
    x = torch.randn(2, 5, 3)
    with pytest.raises(TypeError, match="layer 'memory' returned a tuple"):
        layers.record(Recurrent(), x, "memory")
    with (
        pytest.raises(TypeError, match="layer 'memory' returned a tuple"),
        layers.graph_from(Recurrent(), x, "memory"),
    ):
        pass


def test_a_misspelt_layer_lists_its_neighbours():
    model = nn.ModuleDict({"layer1": nn.Linear(1, 1), "layer2": nn.Linear(1, 1)})
    with pytest.raises(ValueError, match=r"no layer 'layer3'; near it: .*layer[12]"):
        layers.find_layer(model, "layer3")
    with pytest.raises(ValueError, match="near it: layer1, layer2"):
        layers.find_layer(model, "zzz")


def test_a_foreign_module_and_a_function_are_refused():
    with pytest.raises(ValueError, match="this Linear is not a part of the model"):
        layers.find_layer(tiny(), nn.Linear(1, 1))
    with pytest.raises(TypeError, match=r"layers need a torch\.nn\.Module, got a function"):
        layers.find_layer(lambda x: x, "0")


def test_a_layer_is_found_by_module():
    model = tiny()
    assert layers.find_layer(model, model[2]) == ("2", model[2])
