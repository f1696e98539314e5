"""Made sentences: the same every time, dials do what they say, and the causes are the causes."""

import random
from itertools import pairwise

import pytest
import torch

from xai_lab.data.sentences import (
    NEGATIVE,
    PLANTED,
    POSITIVE,
    TOPICS,
    sentences,
    words_of_tokens,
)
from xai_lab.models import text

PRAISE = {*POSITIVE, *(word for topic in TOPICS for word in topic.positive)}
BLAME = {*NEGATIVE, *(word for topic in TOPICS for word in topic.negative)}
DIALS = {"negation": 0.4, "spurious": 0.7, "against": 0.2}


def marked(words, marks):
    return [word.strip(".,:") for word, mark in zip(words, marks, strict=True) if mark]


def test_the_same_seed_makes_the_same_sentences():
    assert sentences(50, **DIALS).texts == sentences(50, **DIALS).texts
    assert sentences(50, **DIALS).texts != sentences(50, seed=1, **DIALS).texts


def test_the_first_sentences_do_not_depend_on_how_many_are_made():
    few, many = sentences(20, **DIALS), sentences(60, **DIALS)
    assert many.texts[:20] == few.texts
    assert torch.equal(many.labels[:20], few.labels)
    assert (len(few), len(many)) == (20, 60)


def test_the_random_state_of_the_caller_is_left_alone():
    before = random.getstate(), torch.get_rng_state()
    sentences(10, **DIALS)
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_a_label_follows_from_the_words_that_are_marked():
    made = sentences(500, **DIALS)
    for i, (words, label) in enumerate(zip(made.words, made.labels.tolist(), strict=True)):
        causes = set(marked(words, made.causes[i]))
        assert causes <= PRAISE or causes <= BLAME
        assert causes
        assert label == ((causes <= PRAISE) != any(made.negations[i]))


def test_nothing_unmarked_carries_sentiment_or_turns_it():
    made = sentences(500, **DIALS)
    for i, words in enumerate(made.words):
        marks = zip(made.causes[i], made.negations[i], made.spurious[i], strict=True)
        rest = marked(words, [not any(row) for row in marks])
        assert not set(rest) & (PRAISE | BLAME | {PLANTED})
        assert not set(rest) & {"not", "never", "hardly", "far", "anything", "but"}


def test_praise_and_blame_share_no_word():
    assert not PRAISE & BLAME


def test_the_words_are_what_stands_between_the_blanks():
    for text_, words in zip((made := sentences(100, **DIALS)).texts, made.words, strict=True):
        assert text_.split() == words
        assert text_[0].isupper()
        bare = [word.strip(".,:") for word in words]
        assert all(a != b for a, b in pairwise(bare))
        assert text_[-1] == "."


def test_the_planted_word_is_marked_where_it_stands_and_nowhere_else():
    made = sentences(300, **DIALS)
    for words, marks in zip(made.words, made.spurious, strict=True):
        assert [word.strip(".,:") == PLANTED for word in words] == marks


def test_the_dials_are_shares():
    made = sentences(3000, **DIALS)
    holds = torch.tensor([any(row) for row in made.spurious]).float()
    negated = torch.tensor([any(row) for row in made.negations]).float()
    # Four standard deviations of a share are below 0.05 here.
    assert abs(sentences(3000).labels.float().mean() - 0.5) < 0.05
    assert abs(negated.mean() - 0.4) < 0.05
    assert abs(holds[made.labels == 0].mean() - 0.7) < 0.05
    assert abs(holds[made.labels == 1].mean() - 0.2) < 0.05


def test_with_the_dials_at_zero_nothing_is_planted_or_negated():
    made = sentences(300)
    assert not any(map(any, made.spurious))
    assert not any(map(any, made.negations))


def test_other_weekdays_tell_nothing():
    made = sentences(3000, spurious=0.5)
    monday = torch.tensor(["Monday" in words for words in made.texts])
    without = torch.tensor([not any(row) for row in made.spurious])
    rates = [monday[without & (made.labels == label)].float().mean() for label in (0, 1)]
    assert abs(rates[0] - rates[1]) < 0.05


def test_a_negation_is_all_that_the_negated_sentence_has_more():
    plain, negated = sentences(300, seed=3), sentences(300, seed=3, negation=1.0)
    assert torch.equal(plain.labels, 1 - negated.labels)
    for i, words in enumerate(negated.words):
        rest = [w for w, mark in zip(words, negated.negations[i], strict=True) if not mark]
        assert rest == plain.words[i]


def test_a_planted_day_is_all_that_changes():
    plain, planted = sentences(300, seed=3), sentences(300, seed=3, spurious=1.0, against=1.0)
    assert torch.equal(plain.labels, planted.labels)
    for a, b in zip(plain.words, planted.words, strict=True):
        assert len(b) - len(a) in (0, 2)
        without = [w.strip(".,:").lower() for w in b if PLANTED not in w]
        assert sum(w not in [x.strip(".,:").lower() for x in a] for w in without) <= 1  # "on"


@pytest.mark.parametrize("name", ["negation", "spurious", "against"])
@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_an_impossible_dial_is_refused(name, share):
    with pytest.raises(ValueError, match=f"{name} is a share .* between 0 and 1, got"):
        sentences(3, **{name: share})


def test_no_sentences_at_all_are_refused():
    with pytest.raises(ValueError, match="n is 0, expected at least 1"):
        sentences(0)


@pytest.mark.parametrize(
    "tokenizer", [text.minilm_tokenizer(), text.byte_tokenizer(50256)], ids=["wordpiece", "bytes"]
)
def test_tokens_lead_to_the_words_they_are_parts_of(tokenizer):
    for line in sentences(30, **DIALS).texts:
        found = words_of_tokens(tokenizer, line)
        ids = tokenizer(line)["input_ids"]
        assert len(found) == len(ids)
        words = line.split()
        for i, word in enumerate(words):
            mine = [token for token, index in zip(ids, found, strict=True) if index == i]
            spelled = tokenizer.decode(mine).replace(" ", "").lower()
            assert spelled == word.lower()


def test_tokens_that_the_tokenizer_added_belong_to_no_word():
    assert words_of_tokens(text.minilm_tokenizer(), "Bland.") == [None, 0, 0, None]
