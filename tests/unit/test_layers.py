"""Inside a network: recording, starting the graph, folding, and finding the layer to explain."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
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


# Tokens and channels: where an output lies in the picture.


@pytest.mark.parametrize(
    ("tokens", "size", "expected"),
    [
        (196, (224, 224), (0, 14, 14)),
        (197, (224, 224), (1, 14, 14)),
        (198, (224, 224), (2, 14, 14)),  # class and distillation
        (201, (224, 224), (5, 14, 14)),  # class and four registers
        (1370, (518, 518), (1, 37, 37)),
        (1 + 14 * 28, (224, 448), (1, 14, 28)),
        (1 + 28 * 14, (448, 224), (1, 28, 14)),
        (1 + 14 * 20, (224, 320), (1, 14, 20)),
        (1 + 14 * 15, (230, 250), (1, 14, 15)),  # no whole number of patches
        (1 + 4 * 6, (32, 48), (1, 4, 6)),
    ],
)
def test_tokens_are_the_grid_of_the_pictures_shape(tokens, size, expected):
    assert layers.token_grid(tokens, size) == expected


@given(
    h=st.integers(3, 40),
    w=st.integers(3, 40),
    prefix=st.integers(0, 5),
    patch=st.sampled_from([4, 8, 14, 16, 32]),
)
@settings(deadline=None, derandomize=True)
def test_any_grid_of_square_patches_is_found_again(h, w, prefix, patch):
    assert layers.token_grid(prefix + h * w, (h * patch, w * patch)) == (prefix, h, w)


@pytest.mark.parametrize(("tokens", "size"), [(2, (224, 896)), (3, (224, 2240))])
def test_tokens_that_are_no_grid_are_said(tokens, size):
    with pytest.raises(ValueError, match=rf"{tokens} tokens are no grid over a picture of 224 × "):
        layers.token_grid(tokens, size)


def test_tokens_are_folded_row_by_row_without_those_that_are_no_patches():
    tokens = torch.arange(2 * (1 + 3 * 5) * 4.0).reshape(2, 16, 4)
    got = layers.fold(tokens, (48, 80))
    assert got.shape == (2, 4, 3, 5)
    assert torch.equal(got[1, :, 2, 3], tokens[1, 1 + 2 * 5 + 3])


@pytest.mark.parametrize("shape", [(2, 7, 5, 96), (2, 96, 7, 5), (2, 5, 5, 5), (2, 1280, 1, 1)])
def test_four_axes_are_read_by_the_pictures_shape(shape):
    A = torch.rand(shape)
    last = shape[3] == 96
    assert torch.equal(layers.fold(A, (70, 50)), A.permute(0, 3, 1, 2) if last else A)


def test_a_small_map_that_lost_its_ratio_is_not_taken_for_channels_last():
    # Two convolutions without padding make 4 × 2 of 8 × 6, and 5 × 4 has that ratio too.
    A = torch.rand(1, 5, 4, 2)
    assert torch.equal(layers.fold(A, (8, 6)), A)


def test_the_early_maps_of_a_swin_are_channels_last():
    A = torch.rand(1, 64, 64, 96)
    assert torch.equal(layers.fold(A, (256, 256)), A.permute(0, 3, 1, 2))


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4, 5, 6)])
def test_an_output_without_a_place_is_said(shape):
    with pytest.raises(ValueError, match="has no place in the picture"):
        layers.fold(torch.rand(shape), (32, 32))


# The layer to explain, and what is left out.


def test_spatial_layers_are_those_that_lead_to_the_score_in_the_order_they_run():
    got = layers.spatial_layers(tiny(), torch.randn(1, 3, 8, 8))
    assert list(got) == ["0", "1", "2", "3"]
    assert got["3"] == (5, 4, 4)


def test_a_map_is_that_of_the_block_that_puts_it_out():
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Dropout(), Mean(), head(4)
    )
    assert list(layers.spatial_layers(model, torch.randn(1, 3, 8, 8))) == ["0.0", "0"]


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(dim=(2, 3))


def head(width):
    torch.manual_seed(0)
    return nn.Linear(width, 3)


def test_the_default_layer_is_found_anew_when_the_model_or_the_picture_changes():
    model, x = tiny(), torch.randn(1, 3, 8, 8)
    assert layers.last_spatial_layer(model, x) == "3"
    assert layers.last_spatial_layer(model, torch.randn(1, 3, 6, 6)) == "3"
    assert layers.last_spatial_layer(model, torch.randn(1, 3, 5, 5)) == "1"  # 3 has 1 × 1 cells
    model[3] = nn.Identity()
    assert layers.last_spatial_layer(model, x) == "2"


def test_the_default_layer_does_not_depend_on_what_is_never_reached():
    model = nn.ModuleDict({"body": tiny(), "spare": nn.Conv2d(3, 3, 3)})
    model.forward = lambda x: (model["spare"](x), model["body"](x))[1]
    assert layers.last_spatial_layer(model, torch.randn(1, 3, 8, 8)) == "body.3"


class OneActivation(nn.Module):
    """Two convolutions behind which the same activation runs."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.relu = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.ReLU()
        self.head = head(4)

    def forward(self, x):
        return self.head(self.relu(self.second(self.relu(self.first(x)))).mean(dim=(2, 3)))


def test_a_layer_that_runs_twice_is_not_the_default():
    model, x = OneActivation(), torch.randn(1, 3, 8, 8)
    assert list(layers.spatial_layers(model, x)) == ["first", "second"]


def test_a_flat_score_is_said():
    model = tiny()
    nn.init.zeros_(model[6].weight)
    with pytest.raises(ValueError, match=r"the score is flat \(a head of zeros"):
        layers.last_spatial_layer(model, torch.randn(1, 3, 8, 8))


def hugging_face(distilled=False):
    from transformers import DeiTConfig, DeiTForImageClassification, ViTConfig
    from transformers import ViTForImageClassification as ViT

    small = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "image_size": 32,
        "patch_size": 8,
        "num_labels": 3,
        "initializer_range": 0.3,
    }
    return DeiTForImageClassification(DeiTConfig(**small)) if distilled else ViT(ViTConfig(**small))


def timm_vit(**more):
    from timm.models.vision_transformer import VisionTransformer

    small = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    return VisionTransformer(**small, num_classes=3, **more)


def timm_distilled():
    from timm.models.deit import VisionTransformerDistilled

    return VisionTransformerDistilled(
        img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=3
    )


def torchvision_vit():
    from torchvision.models import VisionTransformer

    model = VisionTransformer(32, 8, 2, 2, 16, 16, num_classes=3)
    nn.init.normal_(model.heads.head.weight)  # zeros, otherwise
    return model


def timm_swin():
    from timm.models.swin_transformer import SwinTransformer

    return SwinTransformer(
        32, 2, embed_dim=8, depths=(1, 1), num_heads=(2, 2), window_size=4, num_classes=3
    )


def torchvision_swin():
    from torchvision.models import SwinTransformer

    return SwinTransformer([2, 2], 8, [1, 1], [2, 2], [4, 4], num_classes=3)


TRANSFORMERS = {
    "Hugging Face ViT": (hugging_face, "layernorm_before", (16, 4, 4)),
    "Hugging Face distilled": (lambda: hugging_face(True), "layernorm_before", (16, 4, 4)),
    "timm ViT": (timm_vit, "blocks.1.norm1", (16, 4, 4)),
    "timm ViT with registers": (lambda: timm_vit(reg_tokens=3), "blocks.1.norm1", (16, 4, 4)),
    "timm ViT that pools": (lambda: timm_vit(global_pool="avg"), "blocks", (16, 4, 4)),
    "timm distilled": (timm_distilled, "blocks.1.norm1", (16, 4, 4)),
    "torchvision ViT": (torchvision_vit, "ln_1", (16, 4, 4)),
    "timm Swin": (timm_swin, "norm", (16, 8, 8)),
    "torchvision Swin": (torchvision_swin, "permute", (16, 8, 8)),
}


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_the_default_layer_of_a_transformer_is_the_last_whose_patches_count(kind):
    make, name, shape = TRANSFORMERS[kind]
    torch.manual_seed(0)
    model, x = make().eval(), torch.randn(1, 3, 32, 32)
    found = layers.spatial_layers(model, x)
    last = layers.last_spatial_layer(model, x)
    assert last == list(found)[-1]
    assert last.endswith(name)
    assert found[last] == shape


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_a_change_in_the_picture_shows_at_its_place_in_the_map(kind):
    make, _name, _shape = TRANSFORMERS[kind]
    torch.manual_seed(0)
    model, x = make().eval(), torch.randn(1, 3, 32, 32)
    changed = x.clone()
    changed[..., 8:16, 24:] += 3  # second row of patches, last column of four
    last = layers.last_spatial_layer(model, x)
    maps = [layers.fold(layers.record(model, z, last)[last], (32, 32)) for z in (x, changed)]
    cell = (maps[1] - maps[0]).abs().mean(1)[0]
    cell = nn.functional.adaptive_avg_pool2d(cell[None], 4)[0]
    assert cell.argmax() == 1 * 4 + 3


def test_a_transformer_for_a_picture_that_is_not_square():
    torch.manual_seed(0)
    model, x = timm_vit(dynamic_img_size=True).eval(), torch.randn(1, 3, 32, 48)
    assert layers.spatial_layers(model, x)["blocks.1.norm1"] == (16, 4, 6)
