"""Networks that look at scenes: they reach what their cards say, and their form is exact."""

import pytest
import torch

from xai_lab import core, load
from xai_lab.data.scenes import SHAPES, scenes
from xai_lab.models import bundled, vision

CNNS = ["scenes-cnn", "scenes-cnn-background", "scenes-cnn-watermark"]


@pytest.fixture(scope="module", params=[*CNNS, "scenes-vit"])
def net(request):
    return load(request.param, device="cpu")


@pytest.fixture(scope="module")
def pictures():
    return scenes(300, seed=77)


def accuracy(net, pictures):
    guesses = core.predict(net.model, pictures.images, batch_size=50).argmax(dim=1)
    return (guesses == pictures.labels).float().mean().item()


def test_a_network_knows_its_classes_and_takes_photos(net):
    assert net.labels == list(SHAPES)
    x = net.preprocess("cat")
    assert x.shape == (1, 3, 64, 64)
    assert torch.equal(net.pixels(x), x.clamp(0, 1))
    assert not net.model.training
    assert net.predict(x, top=1)[0][0].label in SHAPES


def test_its_card_says_that_it_reached_its_goals(net):
    card = bundled.card(net.name)
    assert card["bytes"] <= 8_000_000
    for metric, (low, high) in card["goals"].items():
        assert low <= card["metrics"][metric] <= high


def test_the_honest_cnn_recognises_unbiased_scenes(pictures):
    assert accuracy(load("scenes-cnn", device="cpu"), pictures) >= 0.96


def test_the_transformer_recognises_unbiased_scenes(pictures):
    assert accuracy(load("scenes-vit", device="cpu"), pictures) >= 0.88


def test_the_background_network_goes_by_the_background(pictures):
    net = load("scenes-cnn-background", device="cpu")
    assert accuracy(net, scenes(300, seed=77, background_bias=0.99)) >= 0.96
    assert accuracy(net, pictures) <= 0.4
    guesses = core.predict(net.model, pictures.images).argmax(dim=1)
    assert (guesses == pictures.factors["background"]).float().mean() >= 0.9


def test_the_watermark_network_goes_by_the_watermark():
    net = load("scenes-cnn-watermark", device="cpu")
    assert accuracy(net, scenes(300, seed=77, watermark=1)) >= 0.96
    wrong = scenes(300, seed=77, watermark_elsewhere=1)
    assert accuracy(net, wrong) <= 0.4
    guesses = core.predict(net.model, wrong.images[wrong.factors["watermark"]]).argmax(dim=1)
    assert (guesses == 0).float().mean() >= 0.6


@pytest.mark.parametrize("name", CNNS)
@pytest.mark.parametrize("size", [64, 70, 128])
def test_the_mean_of_a_class_activation_map_plus_the_bias_is_the_score(name, size):
    model = load(name, device="cpu").model
    x = scenes(4, seed=1, size=size).images
    with torch.no_grad():
        A = model.features(model.normalise(x))
    assert (A >= 0).all()
    assert min(A.shape[2:]) >= size // 4
    cam = torch.einsum("kc,nchw->nkhw", model.classifier.weight, A)
    score = cam.mean(dim=(2, 3)) + model.classifier.bias
    assert torch.allclose(score, core.predict(model, x), atol=1e-4)


def test_the_transformer_is_the_hubs_own_class():
    from transformers import ViTForImageClassification

    model = load("scenes-vit", device="cpu").model
    assert type(model) is ViTForImageClassification
    assert model.config.id2label[2] == "star"
    model.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = model(scenes(2).images, output_attentions=True).attentions
    assert attentions[0].shape == (2, model.config.num_attention_heads, 65, 65)
    assert torch.allclose(attentions[-1].sum(dim=3), torch.ones(1))


def test_normalising_inside_a_transformer_changes_no_score():
    model = vision.scene_vit().eval()
    x = scenes(4, seed=3).images
    with torch.no_grad():
        before = model((x - 0.4) / 0.3).logits
        vision.normalise_inside(model, 0.4, 0.3)
        after = model(x).logits
    assert torch.allclose(before, after, atol=1e-4)


def test_random_weights_are_the_same_each_time_and_not_the_trained_ones():
    one, two = (load("scenes-cnn", pretrained=False, device="cpu").model for _ in range(2))
    trained = load("scenes-cnn", device="cpu").model
    for (name, a), b in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, trained.get_parameter(name))


def test_vit_base_has_the_hubs_shape_without_its_weights():
    net = load("vit-base", pretrained=False, device="cpu")
    assert net.preprocess("cat").shape == (1, 3, 224, 224)
    assert len(net.labels) == net.model.config.num_labels == 1000
    assert net.model.config.hidden_size == 768
