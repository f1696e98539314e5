"""The small language model: its words, its stories, its induction head."""

import pytest
import torch

from xai_lab import load
from xai_lab.models import tiny_lm
from xai_lab.models.bundled import card
from xai_lab.models.train.tiny_lm import look, repetitions, sequence, stories


@pytest.fixture(scope="module")
def lm():
    return load("tiny-lm", device="cpu")


@pytest.mark.parametrize("length", [10, 25, 50, 63])
def test_the_second_copy_is_foretold_by_the_first(lm, length):
    loss, _ = look(lm.model, tiny_lm.repeated(length, count=32, seed=99))
    assert loss[:, length + 1 :].mean() <= 0.1 * loss[:, :length].mean()


@pytest.mark.parametrize("length", [10, 25, 50, 63])
def test_one_head_looks_at_the_word_after_the_last_occurrence(lm, length):
    about = card("tiny-lm")["metrics"]
    _, attention = look(lm.model, tiny_lm.repeated(length, count=32, seed=99))
    second = torch.arange(1 + length, 1 + 2 * length)
    head = attention[int(about["induction layer"]), :, int(about["induction head"])]
    assert head[:, second, second - length + 1].mean() >= 0.9


def test_one_head_below_looks_at_the_previous_word(lm):
    about = card("tiny-lm")["metrics"]
    assert about["previous word layer"] < about["induction layer"]
    _, attention = look(lm.model, tiny_lm.repeated(40, count=32, seed=99))
    places = torch.arange(2, 81)
    head = attention[int(about["previous word layer"]), :, int(about["previous word head"])]
    assert head[:, places, places - 1].mean() >= 0.8


def test_words_that_do_not_come_again_are_not_foretold(lm):
    ids = torch.randint(4, len(tiny_lm.WORDS), (32, 100))
    loss, attention = look(lm.model, ids)
    assert loss[:, 50:].mean() > 5
    about = card("tiny-lm")["metrics"]
    head = attention[int(about["induction layer"]), :, int(about["induction head"])]
    assert head[:, 60:, 20].mean() < 0.1


@pytest.mark.parametrize(("one", "two"), [("John", "Mary"), ("Mary", "John"), ("Leo", "Iris")])
def test_the_thing_is_given_to_the_other_one(lm, one, two):
    text = f"When {two} and {one} went to the park, {one} gave a ball to"
    assert lm.predict(text)[0][0].label == two
    text = f"When {one} and {two} went to the park, {one} gave a ball to"
    assert lm.predict(text)[0][0].label == two


def test_the_verb_mostly_follows_its_own_noun_and_not_the_nearer_one(lm):
    prompts, verbs = [], []
    for animal, (many, does, do, _) in tiny_lm.ANIMALS.items():
        for other, (others, *_) in tiny_lm.ANIMALS.items():
            prompts += [f"Leo ran to the tent. The {many} near the {other}"]
            prompts += [f"Leo ran to the tent. The {animal} near the {others}"]
            verbs += [do, does]
    guesses = [row[0].label for row in lm.predict(prompts, top=1)]
    assert sum(map(str.__eq__, guesses, verbs)) / len(verbs) > 0.75


def test_it_writes_readable_text(lm):
    tokens = lm.preprocess("Mary and John walked to the")
    ids = lm.model.generate(**tokens, max_new_tokens=60, do_sample=False)
    text = lm.tokenizer.decode(ids[0], skip_special_tokens=True)
    assert text.startswith("Mary and John walked to the ")
    assert text.split()[6].rstrip(".") in tiny_lm.PLACES
    assert text.count(".") >= 1
    assert " ." not in text, "no space before a full stop"


def test_texts_of_different_length_do_not_disturb_each_other(lm):
    texts = ["Mary went to the", "When Leo and Anna went to the park, Leo gave a key to"]
    together = [guess[0].label for guess in lm.predict(texts)]
    assert together == [lm.predict(text)[0][0].label for text in texts]
    assert together[1] == "Anna"


def test_labels_are_the_words(lm):
    assert lm.labels == tiny_lm.WORDS
    assert len(set(lm.labels)) == lm.model.config.vocab_size == len(lm.tokenizer)
    assert lm.tokenizer.convert_ids_to_tokens(range(len(lm.labels))) == lm.labels


def test_its_limit_is_said(lm):
    assert lm.tokenizer.model_max_length == lm.model.config.max_position_embeddings == 128
    with pytest.warns(UserWarning, match="text 0 has 131 tokens, the model takes 128"):
        assert lm.preprocess("Mary " * 130)["input_ids"].shape == (1, 128)


def test_an_unknown_word_is_one_token(lm):
    tokens = lm.preprocess("Mary saw a zebra.")["input_ids"][0]
    assert lm.tokenizer.convert_ids_to_tokens(tokens)[4] == "<unk>"


def test_it_hands_out_its_attention(lm):
    attentions = lm.model(**lm.preprocess("Mary went home."), output_attentions=True).attentions
    assert [a.shape for a in attentions] == [(1, 4, 5, 5)] * lm.model.config.n_layer
    torch.testing.assert_close(attentions[0].sum(dim=-1), torch.ones(1, 4, 5))


def test_stories_use_known_words_only_and_repeat_under_a_seed():
    told = [tiny_lm.story(seed) for seed in range(2000)]
    used = {word for text in told for word in text.split()}
    assert used <= set(tiny_lm.WORDS)
    assert set(tiny_lm.WORDS) - used == set(tiny_lm.SPECIAL), "no word is there for nothing"
    assert told[7] == tiny_lm.story(7)
    assert len(set(told)) > 1900


def test_repeated_words_differ_within_a_copy():
    ids = tiny_lm.repeated(60, count=50, seed=1)
    assert ids.shape == (50, 121)
    assert (ids[:, 0] == 1).all()
    assert torch.equal(ids[:, 1:61], ids[:, 61:])
    assert all(len(set(row.tolist())) == 60 for row in ids[:, 1:61])
    assert ids[:, 1:].min() >= len(tiny_lm.SPECIAL)
    assert torch.equal(ids, tiny_lm.repeated(60, count=50, seed=1))
    with pytest.raises(ValueError, match="length is 64, expected 1 to 63"):
        tiny_lm.repeated(64)


def test_training_sequences_have_the_length_asked_for():
    import random

    draw = random.Random(0)
    for length in (32, 128):
        assert {len(sequence(draw, length)) for _ in range(200)} == {length}
        assert len(stories(draw, length)) >= length
        assert len(repetitions(draw, length)) >= length
