"""Class activation: values worked out by hand, any way of asking, and what is said of bad input."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from xai_lab import (
    activations,
    grad_cam,
    grad_cam_plus_plus,
    hires_cam,
    layer_cam,
    predict,
    score_cam,
)
from xai_lab.cam import cam

GRADIENT_METHODS = [grad_cam, grad_cam_plus_plus, layer_cam, hires_cam]
EVERY_METHOD = [cam, *GRADIENT_METHODS, score_cam]
by_gradient = pytest.mark.parametrize("method", GRADIENT_METHODS, ids=lambda f: f.__name__)
every_method = pytest.mark.parametrize("method", EVERY_METHOD, ids=lambda f: f.__name__)
pytestmark = pytest.mark.filterwarnings("ignore:the map of sample")


class OneConvolution(nn.Module):
    """Two channels that add up nine pixels, and a head that is for one and against the other."""

    def __init__(self):
        super().__init__()
        self.conv1, self.relu1 = nn.Conv2d(1, 2, 3), nn.ReLU()
        self.fc1, self.relu2 = nn.Linear(8, 4), nn.ReLU()
        with torch.no_grad():
            self.conv1.weight.fill_(1)
            self.conv1.bias.copy_(torch.tensor([-50.0, -75.0]))
            self.fc1.weight.copy_(torch.tensor([1.0] * 5 + [-1.0] * 3).expand(4, 8))
            self.fc1.bias.zero_()

    def forward(self, x):
        return self.relu2(self.fc1(self.relu1(self.conv1(x)).flatten(1)))


RAMP = torch.arange(16.0).reshape(1, 1, 4, 4)


@pytest.mark.parametrize(
    ("method", "layer", "expected"),
    [
        (grad_cam, "conv1", [[11.25, 13.5], [20.25, 22.5]]),
        (grad_cam, "relu1", [[0, 4], [28, 32.5]]),
        (grad_cam_plus_plus, "relu1", [[0, 0.20779], [1.87126, 2.73010]]),
        (hires_cam, "relu1", [[0, 4], [25, 25]]),
        # Of the second channel, only the first cell speaks for the class, and it is zero.
        (layer_cam, "relu1", [[0, 4], [31, 40]]),
    ],
)
def test_values_worked_out_by_hand(method, layer, expected):
    got = method(OneConvolution(), RAMP, 0, layer=layer, upsample=False)
    expected = torch.tensor(expected, dtype=torch.float32)
    torch.testing.assert_close(got[0], expected, rtol=0, atol=5e-6)


def test_the_default_layer_comes_before_what_the_head_flattens():
    got = grad_cam(OneConvolution(), RAMP, 0, upsample=False)
    torch.testing.assert_close(got[0], torch.tensor([[0, 4], [28, 32.5]]))


def network(seed=0, dtype=torch.float64, inplace=False, head=None):
    """Small convolutional network of which two layers have a map worth looking at."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=inplace),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(inplace=inplace),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        *(head or [nn.Linear(8, 4)]),
    )
    return model.to(dtype).eval()


def pictures(n=3, h=12, w=12, dtype=torch.float64):
    return torch.randn(n, 3, h, w, generator=torch.Generator().manual_seed(1)).to(dtype)


def close(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)


def by_full_autograd(model, x, c, layer):
    """A and g of a sequential network, by the graph of the whole network."""
    A = model[: layer + 1](x).detach().requires_grad_()
    (g,) = torch.autograd.grad(model[layer + 1 :](A.clone())[:, c].sum(), A)
    return A.detach(), g


def test_grad_cam_is_its_formula():
    model, x = network(), pictures()
    A, g = by_full_autograd(model, x, 2, 2)
    w = g.sum(dim=(2, 3)) / (12 * 12)
    expected = sum(w[:, k, None, None] * A[:, k] for k in range(6)).relu()
    close(grad_cam(model, x, 2, layer="2", upsample=False), expected)


def test_grad_cam_plus_plus_is_the_papers_formula_cell_by_cell():
    head = [nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 4)]
    model, x = network(head=head), pictures()
    A, g = by_full_autograd(model, x, 1, 5)
    bottom = 2 * g**2 + A.sum(dim=(2, 3), keepdim=True) * g**3
    alpha = torch.where(g == 0, 0, g**2 / bottom)
    w = (alpha * g.relu()).sum(dim=(2, 3), keepdim=True)
    expected = (w * A).sum(dim=1).relu()
    got = grad_cam_plus_plus(model, x, 1, layer="5", upsample=False)
    assert got.any()
    close(got, expected)


def test_grad_cam_plus_plus_needs_no_epsilon():
    # The gradients of a probability near one are tiny. Its map is then relu(g) / 2, to scale.
    maps = []
    for factor in (1e-6, 1e-12):
        faint = nn.Sequential(network(), Times(factor))
        maps.append(grad_cam_plus_plus(faint, pictures(), 1, layer="0.5") / factor)
    assert maps[0].any()
    torch.testing.assert_close(*maps, rtol=1e-4, atol=0)


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


def test_grad_cam_plus_plus_stays_finite_where_activations_are_negative():
    # ΣA = −2/g would divide by zero.
    class Negative(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, x):
            return self.layer(x).flatten(1).sum(1, keepdim=True)

    x = -torch.ones(1, 1, 2, 2) / 2
    got = grad_cam_plus_plus(Negative(), x, 0, layer="layer", upsample=False)
    assert torch.isfinite(got).all()


def test_layer_cam_keeps_each_cells_own_positive_gradient():
    model, x = network(), pictures()
    A, g = by_full_autograd(model, x, 0, 2)
    close(
        layer_cam(model, x, 0, layer="2", upsample=False), (g.clamp(min=0) * A).sum(1).clamp(min=0)
    )


def score_cam_by_the_book(model, x, c, A):
    """Score-CAM of one picture, one channel after the other, blank picture and all."""
    scores, maps = [], []
    blank = model(torch.zeros_like(x))[0, c]
    for a in A[0]:
        if a.max() == a.min():
            continue
        U = F.interpolate(a[None, None], x.shape[2:], mode="bilinear", align_corners=False)[0, 0]
        H = (U - U.min()) / (U.max() - U.min())
        scores.append(model(x * H)[0, c] - blank)
        maps.append(a)
    w = torch.stack(scores).softmax(0)
    return sum(w_k * a for w_k, a in zip(w, maps, strict=True)).relu()


@pytest.mark.parametrize("batch_size", [1, 3, 5, None])
def test_score_cam_is_the_loop_of_the_paper(batch_size):
    model, x = network(), pictures(2)
    got = score_cam(model, x, [1, 3], layer="2", upsample=False, batch_size=batch_size)
    for n, c in enumerate([1, 3]):
        one = x[n : n + 1]
        with torch.no_grad():
            close(got[n], score_cam_by_the_book(model, one, c, model[:3](one)))


def test_score_cam_enlarges_before_it_scales():
    # One bright cell between others never reaches its full value in a picture of even size, so
    # its mask would have no 1 if it were scaled first.
    model = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, 2, 1), nn.Flatten(), nn.Linear(18, 2))
    x, masks = pictures(1).abs() + 1, []
    model.double()[0].register_forward_pre_hook(lambda _m, a: masks.append(a[0] / x))
    score_cam(model, x, 0, layer="1")
    masks = torch.cat(masks[1:])[:, 0]
    close(masks.amax(dim=(1, 2)), torch.ones(2).double())
    close(masks.amin(dim=(1, 2)), torch.zeros(2).double())


def test_score_cam_bears_a_channel_that_varies_between_the_pixels_only():
    class Fine(nn.Module):
        def forward(self, x):
            A = torch.zeros(len(x), 2, 48, 48).double()
            A[:, 0, 4, 4] = 1  # a picture of 12 × 12 samples cells 1 and 2 of each four
            A[:, 1, 5, 5] = 1
            return A * x.mean()

    model = nn.Sequential(Fine(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2).double())
    assert torch.isfinite(score_cam(model, pictures(1), 0, layer="0")).all()


@pytest.mark.parametrize("level", [0.0, 0.1, 10.0])
def test_score_cam_leaves_out_channels_that_do_not_vary(level):
    model, x = network(dtype=torch.float32), pictures(2, dtype=torch.float32)
    convolution = model[0]
    with torch.no_grad():
        convolution.weight[[0, 3]] = 0
        convolution.bias[[0, 3]] = level
    got = score_cam(model, x, 0, layer="0", upsample=False)
    for n in range(2):
        one = x[n : n + 1]
        with torch.no_grad():
            expected = score_cam_by_the_book(model, one, 0, convolution(one))
        torch.testing.assert_close(got[n], expected, rtol=1e-4, atol=1e-5)


def test_score_cam_of_a_flat_layer_is_refused():
    model = network()
    nn.init.zeros_(model[0].weight)
    with pytest.raises(ValueError, match="no channel of this layer varies"):
        score_cam(model, pictures(), layer="0")


def test_score_cam_tries_the_channels_that_vary_most():
    model, x = network(), pictures(1)
    seen = []
    model[0].register_forward_pre_hook(lambda _m, a: seen.append(len(a[0])))
    got = score_cam(model, x, 0, layer="2", channels=2, upsample=False)
    assert sum(seen) == 1 + 2  # one pass to record
    with torch.no_grad():
        A = model[:3](x)
        best = A[0].flatten(1).std(dim=1).topk(2).indices
        close(got[0], score_cam_by_the_book(model, x, 0, A[:, best]))


def test_score_cam_with_more_channels_than_there_are_takes_all():
    model, x = network(), pictures(1)
    close(score_cam(model, x, 0, channels=999), score_cam(model, x, 0))


@pytest.mark.parametrize(("channels", "error"), [(0, ValueError), (2.5, TypeError)])
def test_score_cam_wants_a_whole_number_of_channels(channels, error):
    with pytest.raises(error, match="channels is"):
        score_cam(network(), pictures(), channels=channels)


def test_score_cam_shows_a_bar_if_asked(capsys):
    score_cam(network(), pictures(1), layer="5", progress=True)
    assert "Score-CAM" in capsys.readouterr().err
    score_cam(network(), pictures(1), layer="5")
    assert capsys.readouterr().err == ""


def test_score_cam_explains_the_class_predicted_for_the_picture_not_for_the_masked_one():
    model, x = network(), pictures()
    close(score_cam(model, x), score_cam(model, x, predict(model, x).argmax(1)))


@every_method
@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_the_batch_size_makes_no_difference(method, batch_size):
    model, x = network(), pictures(5)
    close(method(model, x, batch_size=batch_size), method(model, x))


@every_method
def test_each_sample_has_its_own_target(method):
    model, x, classes = network(), pictures(), [2, 0, 3]
    got = method(model, x, classes, batch_size=2)
    for n, c in enumerate(classes):
        close(got[n], method(model, x[n : n + 1], c)[0])


@every_method
def test_several_targets_are_each_alone(method):
    model, x = network(), pictures()
    asked = {"best": None, "two": 2, "own": [0, 1, 2], "rather": lambda y: y[:, 0] - y[:, 1]}
    got = method(model, x, asked)
    assert list(got) == list(asked)
    for name, target in asked.items():
        close(got[name], method(model, x, target))


@by_gradient
def test_several_layers_are_each_alone(method):
    model, x = network(), pictures()
    got = method(model, x, 1, layer=["5", model[2]], upsample=False)
    assert list(got) == ["5", "2"]
    for name in got:
        close(got[name], method(model, x, 1, layer=name, upsample=False))


@by_gradient
def test_several_targets_and_layers_are_a_dict_of_dicts(method):
    model, x = network(), pictures()
    got = method(model, x, {"a": 0, "b": 1}, layer=["2"])
    assert list(got["b"]) == ["2"]
    close(got["b"]["2"], method(model, x, 1, layer="2"))


@by_gradient
def test_several_targets_and_layers_share_one_forward_pass(method):
    model, x, passes = network(), pictures(), []
    model[0].register_forward_pre_hook(lambda *_: passes.append(1))
    method(model, x, {"a": 0, "b": 1, "c": None}, layer=["2", "5"])
    assert len(passes) == 1


def test_the_default_layer_is_looked_for_once():
    model, x, passes = network(), pictures(), []
    model[0].register_forward_pre_hook(lambda *_: passes.append(1))
    grad_cam(model, x)
    grad_cam(model, x)
    assert len(passes) == 1 + 2


def test_a_difference_of_scores_shows_what_speaks_for_the_one_and_against_the_other():
    model, x = network(), pictures()
    got = hires_cam(model, x, lambda y: y[:, 3] - y[:, 1])
    close(got, hires_cam(model, x, 3) - hires_cam(model, x, 1))
    close(cam(model, x, lambda y: y[:, 3] - y[:, 1]), cam(model, x, 3) - cam(model, x, 1))


@every_method
def test_the_map_has_the_inputs_size_or_the_layers(method):
    model, x = network(), pictures(2, 12, 20)
    assert method(model, x).shape == (2, 12, 20)
    assert method(model, x, upsample=False).shape == (2, 6, 10)
    enlarged = F.interpolate(method(model, x, upsample=False)[:, None], (12, 20), mode="bilinear")
    close(method(model, x), enlarged[:, 0])


@every_method
def test_a_map_lies_where_the_evidence_is_in_a_picture_that_is_not_square(method):
    # A head that counts what is bright, and one bright place, towards the lower right.
    model = nn.Sequential(
        nn.Conv2d(1, 1, 1, bias=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(1, 1, bias=False),
    )
    nn.init.ones_(model[0].weight)
    nn.init.ones_(model[4].weight)
    x = torch.zeros(1, 1, 6, 10)
    x[0, 0, 4, 7] = 1
    assert method(model, x, 0)[0].argmax() == 4 * 10 + 7


@every_method
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_nearly_the_same_map(method, dtype):
    model, x = network(dtype=torch.float32), pictures(dtype=torch.float32)
    exact = method(model, x, 1)
    got = method(model.to(dtype), x.to(dtype), 1)
    assert got.dtype == torch.float32
    assert (got - exact).norm() < 0.05 * exact.norm()


@every_method
def test_in_place_activations_change_nothing(method):
    x = pictures()
    for layer in ("1", "4"):
        if method is not cam:
            close(
                method(network(inplace=True), x, 0, layer=layer),
                method(network(), x, 0, layer=layer),
            )
    close(method(network(inplace=True), x, 0), method(network(), x, 0))


@every_method
def test_frozen_parameters_change_nothing(method):
    x = pictures()
    close(method(network().requires_grad_(False), x, 0), method(network(), x, 0))


@every_method
def test_training_mode_changes_nothing(method):
    x = pictures()
    close(method(network().train(), x, 0), method(network(), x, 0))


@every_method
def test_wrappers_change_nothing(method):
    model, x = network(), pictures()
    expected = method(model, x, 0)
    close(method(nn.DataParallel(model), x, 0), expected)
    compiled = torch.compile(model, backend="eager")
    close(method(compiled, x, 0), expected)
    compiled(x)  # and once it has been traced
    close(method(compiled, x, 0), expected)


def test_a_layer_of_a_wrapped_model_may_be_given_as_module():
    model, x = network(), pictures()
    close(grad_cam(nn.DataParallel(model), x, 0, layer=model[2]), grad_cam(model, x, 0, layer="2"))


def test_logits_inside_an_output_object_are_found():
    from types import SimpleNamespace

    class Hub(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            return SimpleNamespace(logits=self.net(x))

    close(grad_cam(Hub(), pictures(), 0), grad_cam(network(), pictures(), 0))


def test_activations_are_the_layers_outputs():
    model, x = network(inplace=True), pictures()
    got = activations(model, x, ["0", "5"])
    close(got["0"], model[0](x).detach())
    close(got["5"], model[:6](x).detach())
    assert not got["5"].requires_grad
    assert list(activations(model, x, model[5])) == ["5"]


# What is said of bad input.


@every_method
def test_a_batch_of_zero(method):
    with pytest.raises(ValueError, match="at least one sample"):
        method(network(), pictures()[:0])


@every_method
def test_a_missing_batch_dimension(method):
    with pytest.raises(ValueError, match=r"shape \(3, 12, 12\).*batch"):
        method(network(), pictures()[0])


@every_method
def test_inputs_that_are_no_tensor(method):
    with pytest.raises(TypeError, match=r"inputs are a list"):
        method(network(), [[1.0]])


@every_method
def test_a_function_has_no_layers(method):
    model = network()
    with pytest.raises(TypeError, match=r"layers need a torch\.nn\.Module, got a function"):
        method(lambda x: model(x), pictures())


@every_method
def test_no_targets(method):
    with pytest.raises(ValueError, match="no target in this mapping"):
        method(network(), pictures(), {})


@every_method
def test_a_target_out_of_range(method):
    with pytest.raises(ValueError, match=r"out of range: the model has classes 0 to 3"):
        method(network(), pictures(), 4)


@by_gradient
def test_no_layers(method):
    with pytest.raises(ValueError, match="no layer was named"):
        method(network(), pictures(), layer=[])


@pytest.mark.parametrize("method", [*GRADIENT_METHODS, score_cam], ids=lambda f: f.__name__)
class TestALayerThat:
    def test_is_not_in_the_model(self, method):
        with pytest.raises(ValueError, match=r"no layer 'features'; near it: .*spatial_layers"):
            method(network(), pictures(), layer="features")

    def test_belongs_to_another_model(self, method):
        with pytest.raises(ValueError, match="this Conv2d is not a part of the model"):
            method(network(), pictures(), layer=nn.Conv2d(1, 1, 1))

    def test_never_runs(self, method):
        class Idle(nn.Module):
            def __init__(self):
                super().__init__()
                self.net, self.spare = network(), nn.Conv2d(3, 3, 3)

            def forward(self, x):
                return self.net(x)

        with pytest.raises(ValueError, match="layer 'spare' was never run"):
            method(Idle(), pictures(), layer="spare")

    def test_runs_several_times(self, method):
        with pytest.raises(ValueError, match=r"layer 'body\.again' runs 3 times.*block .*'body'"):
            method(Again(), pictures(), layer="body.again")

    def test_gives_no_map(self, method):
        with pytest.raises(ValueError, match=r"shape \(\d, 8\) has no place in the picture"):
            method(network(), pictures(), layer="7")

    def test_gives_a_map_of_one_cell(self, method):
        with pytest.raises(ValueError, match=r"1 × 1 cells.*an earlier layer.*spatial_layers"):
            method(network(), pictures(), layer="6")


class Again(nn.Module):
    """The same layer three times over, inside a block."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Module(), nn.Linear(3, 2).double()
        self.body.again = nn.Conv2d(3, 3, 3, padding=1).double()
        self.body.forward = lambda x: self.body.again(self.body.again(self.body.again(x)))

    def forward(self, x):
        return self.head(self.body(x).relu().mean(dim=(2, 3)))


@pytest.mark.parametrize("method", [*GRADIENT_METHODS, score_cam], ids=lambda f: f.__name__)
def test_the_default_layer_is_not_one_that_runs_several_times(method):
    assert method(Again(), pictures(), 0, upsample=False).shape == (3, 12, 12)


@every_method
def test_a_network_without_a_map_is_said(method):
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="no layer of this Sequential puts out a map"):
        method(model, torch.randn(1, 3, 4, 4))


@every_method
def test_inputs_so_small_that_no_map_is_left_are_said(method):
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"inputs \(1, 3, 3, 3\): the inputs are too small"):
        method(model, torch.randn(1, 3, 3, 3))


class Branches(nn.Module):
    """One branch leads to the score; of the two others, one is dropped and one cut."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.used, self.unused, self.cut = (nn.Conv2d(3, 4, 3).double() for _ in range(3))
        self.head = nn.Linear(4, 2).double()

    def forward(self, x):
        self.unused(x)
        A = self.used(x).relu() + self.cut(x).detach()
        return self.head(A.mean(dim=(2, 3)))


@by_gradient
@pytest.mark.parametrize("layer", ["unused", "cut"])
def test_a_score_that_does_not_depend_on_the_layer_is_said(method, layer):
    with pytest.raises(ValueError, match="the score does not depend on"):
        method(Branches(), pictures(), layer=layer)
    with pytest.raises(ValueError, match=f"does not depend on layer '{layer}'"):
        method(Branches(), pictures(), layer=["used", layer])


@by_gradient
def test_a_constant_target_is_said(method):
    with pytest.raises(ValueError, match=r"does not depend on any of these layers.*constant"):
        method(network(), pictures(), lambda y: torch.ones(len(y)).double(), layer="5")


@by_gradient
def test_a_score_of_probabilities_that_overflows_is_said(method):
    model = nn.Sequential(network(), Times(float("inf")))
    with pytest.raises(ValueError, match="NaN or infinite"):
        method(model, pictures(), 0, layer="0.5")


def against():
    """Network in which every cell speaks against class 0 and for class 1."""
    model = network(head=[nn.Linear(8, 2, bias=False)])
    with torch.no_grad():
        model[8].weight.copy_(torch.tensor([[-1.0], [1.0]]).expand(2, 8))
    return model


@pytest.mark.filterwarnings("default:the map of sample")
@pytest.mark.parametrize("method", [grad_cam, grad_cam_plus_plus, layer_cam])
def test_a_map_that_is_zero_everywhere_is_said_and_returned(method):
    with pytest.warns(UserWarning, match=r"map of sample 0, 2 is zero everywhere.*speaks \*for\*"):
        got = method(against(), pictures(), [0, 1, 0])
    assert not got[0].any()
    assert got[1].any()


@pytest.mark.filterwarnings("default:the map of sample")
@pytest.mark.parametrize("method", [grad_cam, grad_cam_plus_plus, layer_cam])
def test_the_warning_names_the_callers_line(method):
    with pytest.warns(UserWarning, match="zero everywhere") as caught:
        method(against(), pictures(), 0)
    assert caught[0].filename == __file__


@pytest.mark.filterwarnings("error:the map of sample")
def test_a_signed_map_is_not_zero_there():
    assert (hires_cam(against(), pictures(), 0, upsample=False) <= 0).all()
    assert (cam(against(), pictures(), 0, upsample=False) <= 0).all()


@pytest.mark.parametrize(
    "head",
    [
        [nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 4)],
        [nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 4)],
        [nn.Linear(8, 4), nn.Softmax(1)],
        [Times(2.0), nn.Linear(8, 4)],
    ],
    ids=["two layers", "two layers of the same width", "softmax", "a factor"],
)
def test_cam_refuses_a_network_that_it_is_not_exact_for(head):
    torch.manual_seed(0)
    for layer in head:
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight)
    with pytest.raises(ValueError, match="ends in global average pooling and one linear layer"):
        cam(network(head=head), pictures())


def test_cam_refuses_a_target_that_is_not_linear_in_the_scores():
    with pytest.raises(ValueError, match="a target that is linear in the scores"):
        cam(network(), pictures(), lambda y: y[:, 0] ** 2 + 1)


def test_cam_takes_a_head_without_bias():
    model, x = network(head=[nn.Linear(8, 4, bias=False)]), pictures()
    close(cam(model, x, 1, upsample=False).mean((1, 2)), model(x)[:, 1].detach())


@pytest.mark.gpu
@every_method
def test_a_gpu_gives_the_cpus_map(method):
    model, x = network(), pictures()
    expected = method(model, x, [0, 1, 2])
    got = method(model.cuda(), x.cuda(), torch.tensor([0, 1, 2]))
    assert got.is_cuda
    torch.testing.assert_close(got.cpu(), expected, rtol=1e-6, atol=1e-9)
