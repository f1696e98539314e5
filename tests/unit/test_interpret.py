"""Interpreters: on networks whose reason was planted, the evidence says so."""

import json
from html.parser import HTMLParser

import pytest
import torch
from torch import nn

from xai_lab import ImageInterpreter, TextInterpreter, load
from xai_lab.data.scenes import scenes
from xai_lab.interpret import draw_others, without


@pytest.fixture(scope="module")
def watermark():
    return load("scenes-cnn-watermark", device="cpu")


@pytest.fixture(scope="module")
def marked():
    return scenes(2, seed=3, watermark=1, watermark_elsewhere=1)


@pytest.fixture(scope="module")
def found(watermark, marked):
    return ImageInterpreter(watermark)(marked.images)


@pytest.fixture(scope="module")
def spurious():
    return load("minilm-sentiment-spurious", device="cpu")


@pytest.fixture(scope="module")
def read(spurious):
    return TextInterpreter(spurious)("The soup on Tuesday was delicious and the room was clean.")[0]


class Reader(HTMLParser):
    """Collects tags, and complains about what is not closed."""

    void = ("meta", "link", "img", "br")

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def check_page(page):
    """Hold a page to be closed, self-contained, without scripts, its pictures told in words."""
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    tags = {tag for tag, _ in reader.seen}
    assert not tags & {"script", "iframe", "b", "object"}
    for tag, attrs in reader.seen:
        assert attrs.get("src", "data:").startswith("data:")
        assert attrs.get("href", "data:").startswith("data:")
        if tag == "img":
            assert len(attrs["alt"]) > 20


def test_the_planted_watermark_is_what_every_map_marks_and_hiding_shows_it(found, marked):
    for one, cue in zip(found, marked.cue_masks, strict=True):
        assert one.target.label == "pentagon"
        assert {e.verdict for e in one.evidence.values()} == {"holds"}
        for area in one.marked.values():
            assert (area & cue).sum() > 0.5 * cue.sum()
        assert "mark what the network goes by" in one.conclusion


def test_the_honest_network_goes_by_the_object():
    some = scenes(2, seed=1)
    for one, mask in zip(
        ImageInterpreter(load("scenes-cnn", device="cpu"), methods=["Grad-CAM"])(some.images),
        some.masks,
        strict=True,
    ):
        assert one.evidence["Grad-CAM"].verdict == "holds"
        assert (one.marked["Grad-CAM"] & mask).sum() > 0.4 * mask.sum()


def test_a_map_that_knows_nothing_finds_no_evidence(watermark, marked):
    def corner(model, inputs, target):
        maps = torch.zeros_like(inputs[:, 0])
        maps[:, -12:, -12:] = 1.0
        return maps

    def nothing(model, inputs, target):
        return torch.zeros_like(inputs)

    assert not marked.cue_masks[0, -12:, -12:].any()
    methods = {"corner": corner, "nothing": nothing}
    one = ImageInterpreter(watermark, methods=methods)(marked.images[:1])[0]
    assert one.evidence["corner"].verdict == "does not hold"
    assert one.evidence["nothing"].verdict == "nothing marked"
    assert "None of these maps marks what pentagon rests on" in one.conclusion
    assert json.dumps(one.to_dict(), allow_nan=False)
    check_page(one.html())


def test_noise_finds_evidence_no_more_often_than_by_chance(watermark, marked):
    def noise(seed):
        draw = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(seed))
        return lambda model, inputs, target: draw

    methods = {str(seed): noise(seed) for seed in range(10)}
    one = ImageInterpreter(watermark, methods=methods)(marked.images[:1])[0]
    # 1 in 20 is the rule; 3 or more of 10 would then come about once in 90 times.
    assert sum(e.verdict == "holds" for e in one.evidence.values()) < 3


def test_numbers_do_not_depend_on_batch_size_or_on_the_other_pictures(watermark, marked, found):
    interpreter = ImageInterpreter(watermark, methods=["Grad-CAM"], batch_size=3)
    alone = interpreter(marked.images[1:])[0]
    together = found[1].evidence["Grad-CAM"]
    for fill, hiding in alone.evidence["Grad-CAM"].hidings.items():
        assert hiding.drop == pytest.approx(together.hidings[fill].drop, abs=1e-3)
        assert hiding.elsewhere == pytest.approx(together.hidings[fill].elsewhere, abs=1e-3)
    torch.testing.assert_close(alone.maps["Grad-CAM"], found[1].maps["Grad-CAM"])


def test_the_class_asked_for_is_the_one_explained(watermark, marked):
    one = ImageInterpreter(watermark, methods=["Grad-CAM"])(marked.images[:1], target=2)[0]
    assert one.target.label == "star"
    assert one.target.probability < 0.5
    assert one.guesses[0].label == "pentagon"


def test_an_interpretation_is_plain_data(found):
    said = json.loads(json.dumps(found[0].to_dict(maps=True), allow_nan=False))
    assert said["target"]["label"] == "pentagon"
    assert len(said["maps"]["Grad-CAM"]) == 64
    hiding = said["evidence"]["Grad-CAM"]["hidings"]["blur"]
    assert len(hiding["elsewhere"]) == 20
    assert hiding["chance"] == pytest.approx(1 / 21)
    assert len(found[0].table().splitlines()) == 2 + 3 * 2


def test_nothing_of_the_model_is_changed(marked):
    model = load("scenes-cnn", device="cpu").model.train()
    inputs = marked.images[:1].clone()
    state = torch.get_rng_state()
    ImageInterpreter(model)(inputs)
    assert all(module.training for module in model.modules())
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
    assert torch.equal(inputs, marked.images[:1])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_page_is_closed_and_shows_markup_as_it_is(watermark, marked):
    labels = ['<b onload="x">', "<script>alert(1)</script>", "a&b", "'q'", "|", "$title"]
    one = ImageInterpreter(watermark.model, labels, methods=["Grad-CAM"])(marked.images[:1])[0]
    page = one.html()
    check_page(page)
    assert "&lt;b onload" in page
    assert "&lt;script&gt;alert(1)" in page
    assert "$title" in page


@pytest.mark.parametrize(
    ("options", "inputs", "target", "words"),
    [
        ({"labels": ["a", "b"]}, torch.rand(1, 3, 64, 64), None, "2 labels, the model has 6"),
        ({"methods": ["Grad-Cam"]}, torch.rand(1, 3, 64, 64), None, "there are Grad-CAM"),
        ({"share": 0}, torch.rand(1, 3, 64, 64), None, "a part of the picture"),
        ({}, torch.rand(3, 64, 64), None, "batch of one"),
        ({}, torch.rand(1, 3, 64, 64), 6, "classes 0 to 5"),
        ({}, torch.full((1, 3, 64, 64), torch.nan), None, "NaN"),
    ],
)
def test_bad_input_is_told_in_words(watermark, options, inputs, target, words):
    with pytest.raises(ValueError, match=words):
        ImageInterpreter(watermark.model, **{"methods": ["Grad-CAM"], **options})(inputs, target)


def test_a_target_that_is_no_class_is_refused(watermark, marked):
    with pytest.raises(TypeError, match="one class"):
        ImageInterpreter(watermark)(marked.images, lambda y: y[:, 0] - y[:, 1])


def test_a_network_of_one_output_has_nothing_to_compare():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 1))
    methods = {"brightness": lambda model, inputs, target: inputs}
    with pytest.raises(ValueError, match="one class"):
        ImageInterpreter(model, methods=methods)(torch.rand(1, 3, 4, 4))


def test_the_spurious_word_is_found_and_taking_it_away_shows_it(read):
    k = read.words.index("Tuesday")
    assert read.target.label == "negative"
    assert k in read.marked["Integrated Gradients"]
    assert read.evidence["Integrated Gradients"].verdict == "holds"
    for falls in read.alone.values():
        assert max(range(len(falls)), key=falls.__getitem__) == k
    assert "“Tuesday”" in read.conclusion
    assert set(read.alone) == {"deleted", "[MASK]", "“something”"}
    assert json.loads(json.dumps(read.to_dict(), allow_nan=False))["words"][k] == "Tuesday"
    assert "Tuesday" in read.table()


def test_the_honest_sentiment_goes_by_the_opinion():
    one = TextInterpreter(load("minilm-sentiment", device="cpu"))(
        "On Tuesday we had the soup and it was horrible."
    )[0]
    k = one.words.index("horrible.")
    for falls in one.alone.values():
        assert max(range(len(falls)), key=falls.__getitem__) == k
    assert one.words.index("Tuesday") not in one.marked["Integrated Gradients"]


def test_a_text_page_shows_markup_as_it_is(spurious):
    one = TextInterpreter(spurious)("It was <b>not</b> <script>x</script> good.")[0]
    check_page(one.html())
    assert "&lt;script&gt;" in one.html()


def test_a_text_of_one_word_has_nothing_to_compare_with(spurious):
    one = TextInterpreter(spurious)("Terrible.")[0]
    assert {e.verdict for e in one.evidence.values()} <= {"undecided", "nothing marked"}
    assert json.dumps(one.to_dict(), allow_nan=False)


def test_texts_are_interpreted_as_if_alone(spurious, read):
    several = TextInterpreter(spurious, batch_size=2)(["It was good.", read.text])[1]
    for way, falls in read.alone.items():
        assert several.alone[way] == pytest.approx(falls, abs=1e-3)


def test_words_are_taken_out_without_their_punctuation():
    words = ["It", "was", "good,", "not", "bad."]
    assert without(words, [2], None) == "It was, not bad."
    assert without(words, [2, 4], "[MASK]") == "It was [MASK], not [MASK]."
    assert without(["Bad."], [0], None) == "."


def test_other_words_are_drawn_once_each():
    drawn = list(draw_others(6, [1, 4], 20, seed=0))
    assert sorted(drawn) == [(0, 2), (0, 3), (0, 5), (2, 3), (2, 5), (3, 5)]
    assert list(draw_others(3, [0, 1], 20, 0)) == []


def test_text_without_a_tokenizer_or_without_classes_is_refused(spurious):
    with pytest.raises(ValueError, match="tokenizer is missing"):
        TextInterpreter(spurious.model)("It was good.")
    with pytest.raises(TypeError, match="no class scores"):
        TextInterpreter(load("minilm", device="cpu"))("It was good.")
    with pytest.raises(ValueError, match="empty text"):
        TextInterpreter(spurious)(" ")
