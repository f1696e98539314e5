"""The network for handwritten digits, and the digits."""

import pytest
import torch
from PIL import Image, ImageDraw

from xai_lab import load
from xai_lab.models.digits import as_digit, digits


@pytest.fixture(scope="module")
def net():
    return load("digits-cnn", device="cpu")


def test_it_reads_98_of_100_digits_that_it_has_not_seen(net):
    images, labels = digits("test")
    with torch.no_grad():
        assert (net.model(images).argmax(dim=1) == labels).float().mean() >= 0.98


def test_no_digit_is_in_both_parts():
    (train, train_labels), (test, test_labels) = digits("train"), digits("test")
    assert len(train) + len(test) == 1797
    assert len(test) == 599
    seen = {tuple(image.flatten().tolist()) for image in train}
    assert not seen & {tuple(image.flatten().tolist()) for image in test}
    for labels in (train_labels, test_labels):
        assert labels.bincount().min() / len(labels) > 0.09, "each digit has its share"


def test_digits_are_light_on_dark_in_zero_to_one():
    images, labels = digits()
    assert images.shape == (599, 1, 8, 8)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert images.min() == 0
    assert images.max() == 1
    assert images.mean() < 0.5


def test_another_part_is_refused():
    with pytest.raises(ValueError, match="part is 'validation', expected 'train' or 'test'"):
        digits("validation")


def test_pictures_are_normalised_inside(net):
    images, _ = digits()
    assert torch.equal(net.pixels(images), images)
    assert net.labels == list("0123456789")


def test_class_activation_is_exact(net):
    images, _ = digits()
    with torch.no_grad():
        scores = net.model(images[:5])
        maps = net.model.features((images[:5] - 0.305) / 0.376)
        cam = torch.einsum("kc,nchw->nkhw", net.model.head.weight, maps)
        torch.testing.assert_close(cam.mean(dim=(2, 3)) + net.model.head.bias, scores)


@pytest.mark.parametrize(("ink", "paper"), [("white", "black"), ("black", "white")])
def test_a_photo_of_a_digit_is_read_whatever_its_ink(net, ink, paper):
    photo = Image.new("RGB", (200, 160), paper)
    ImageDraw.Draw(photo).ellipse([50, 0, 150, 160], outline=ink, width=25)
    x = net.preprocess(photo)
    assert x.shape == (1, 1, 8, 8)
    assert net.predict(x)[0][0].label == "0"


def test_a_digit_survives_being_a_photo():
    image = digits()[0][3]
    photo = Image.fromarray((image[0] * 255).round().byte().numpy()).resize((64, 64), 0)
    torch.testing.assert_close(as_digit(photo.convert("RGB")), image, atol=1 / 255, rtol=0)


def test_without_training_it_guesses():
    net = load("digits-cnn", pretrained=False, device="cpu")
    images, labels = digits()
    with torch.no_grad():
        assert (net.model(images).argmax(dim=1) == labels).float().mean() < 0.4
