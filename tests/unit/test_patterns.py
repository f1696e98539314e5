"""Patterns: an ideal head scores 1, an even one and a shuffled one 0, and real heads are found."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import xai_lab
from xai_lab.attention import attention_maps
from xai_lab.models.tiny_lm import repeated
from xai_lab.patterns import head_patterns, name_heads, window_widths

T, N = 24, 4
TOKENS = torch.randint(0, 8, (N, T), generator=torch.Generator().manual_seed(0))
ROW, COLUMN = torch.arange(T)[:, None], torch.arange(T)[None]
ALIKE = TOKENS[:, :, None] == TOKENS[:, None, :]
BEHIND = torch.cat([torch.zeros(N, T, 1, dtype=torch.bool), ALIKE[:, :, :-1]], dim=2)
#: Where each ideal head looks.
IDEAL = {
    "previous": COLUMN == ROW - 1,
    "next": COLUMN == ROW + 1,
    "same": COLUMN == ROW,
    "first": (COLUMN == 0).expand(T, T),
    "delimiter": ((TOKENS == 3) | (TOKENS == 5))[:, None, :].expand(N, T, T),
    "same token": ALIKE & (ROW != COLUMN),
    "induction": BEHIND & (COLUMN <= ROW),
    "broadcast": (COLUMN == 7).expand(T, T),
    "local": (ROW - COLUMN).abs() <= 2,
    "dilated": ((ROW - COLUMN) % 3 == 0) & (ROW != COLUMN),
    "causal": COLUMN <= ROW,
}
NAMES = list(IDEAL)


def even(where):
    """A head that looks evenly at these places, and everywhere where there is no such place."""
    where = torch.as_tensor(where).expand(N, T, T)
    where = where | ~where.any(dim=-1, keepdim=True)
    A = where.double()
    return (A / A.sum(dim=-1, keepdim=True))[None, :, None]


def shuffled(A, count, seed=0):
    """Heads with each row's weights in another order, ``(1, N, count, T, T)``."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(1, N, count, T, T, generator=generator).argsort(dim=-1)
    return A.expand(1, N, count, T, T).gather(-1, order)


def scores(A, **more):
    return head_patterns(A, TOKENS, delimiters=[3, 5], **more)


@pytest.mark.parametrize("name", NAMES)
def test_the_ideal_head_scores_one(name):
    assert scores(even(IDEAL[name]))[name] == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("name", NAMES)
def test_an_even_head_scores_nothing(name):
    found = scores(torch.full((1, N, 1, T, T), 1 / T, dtype=torch.float64))
    assert found[name] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", ["previous", "broadcast", "local", "dilated"])
def test_shuffled_heads_score_next_to_nothing(name, shape):
    found = scores(shuffled(even(IDEAL[shape]), count=20))[name]
    assert found.mean() < 0.08
    assert found.max() < 0.3


@pytest.mark.parametrize("name", ["previous", "next", "same"])
def test_heads_that_look_each_at_another_token_do_not_broadcast(name):
    assert scores(even(IDEAL[name]))["broadcast"] == 0


@pytest.mark.parametrize("name", ["previous", "same", "first", "same token", "induction"])
def test_in_a_decoder_chance_is_counted_among_what_can_be_seen(name):
    triangle = even(COLUMN <= ROW)
    assert scores(triangle)[name] == pytest.approx(0.0, abs=1e-9)
    ideal = torch.as_tensor(IDEAL[name]).expand(N, T, T) & (COLUMN <= ROW)
    where = ideal | (~ideal.any(dim=-1, keepdim=True) & (COLUMN <= ROW))
    assert scores(even(where))[name] == pytest.approx(1.0, abs=1e-9)


def test_a_head_that_looks_the_other_way_has_not_the_pattern():
    assert scores(even(COLUMN == ROW + 1))["previous"] == 0
    assert scores(even(COLUMN == ROW - 1))["next"] == 0
    assert scores(even(COLUMN >= ROW))["causal"] == pytest.approx(0, abs=0.1)
    # The copy itself is not what stands behind it.
    assert scores(even(ALIKE & (COLUMN < ROW)))["induction"] < 0.2


def test_in_a_decoder_nobody_looks_at_the_next_token():
    assert scores(even(COLUMN <= ROW))["next"] == 0


def test_half_a_head_scores_a_half():
    half = 0.5 * even(COLUMN == ROW - 1) + 0.5 / T
    assert scores(half)["previous"] == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_the_width_of_a_window_is_found(width):
    A = even((ROW - COLUMN).abs() <= width)
    assert window_widths(A) == width
    assert scores(A)["local"] == pytest.approx(1.0)
    assert window_widths(A, window=1) == 1


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), sharp=st.floats(0, 20))
def test_scores_are_between_zero_and_one_for_any_attention(seed, sharp):
    generator = torch.Generator().manual_seed(seed)
    A = torch.randn(2, N, 3, T, T, generator=generator, dtype=torch.float64).mul(sharp).softmax(-1)
    for name, score in scores(A).items():
        assert score.shape == (2, 3), name
        assert ((score >= 0) & (score <= 1)).all(), name


def test_padding_does_not_matter():
    A = torch.rand(1, N, 2, T, T, generator=torch.Generator().manual_seed(0)).softmax(-1)
    wide = torch.zeros(1, N, 2, T + 5, T + 5)
    for before, after in ((0, 5), (5, 0), (2, 3)):
        wide[:] = 0
        wide[..., before : before + T, before : before + T] = A
        pads = torch.full((N, before), 99), torch.full((N, after), 99)
        found = head_patterns(wide, torch.cat([pads[0], TOKENS, pads[1]], 1), delimiters=[3, 5])
        for name, expected in scores(A).items():
            torch.testing.assert_close(found[name], expected, msg=name)


def test_tokens_as_strings_bring_their_delimiters():
    words = ["[CLS]", "a", "cat", ",", "a", "cat", "Ġ.", "##s", "[SEP]", "<s>"]
    A = torch.zeros(1, 1, 1, 10, 10)
    A[..., [0, 3, 6, 8, 9]] = 0.2
    assert head_patterns(A, words)["delimiter"] == pytest.approx(1.0)
    assert head_patterns(A, [words])["delimiter"] == pytest.approx(1.0)
    assert head_patterns(A, words, delimiters=["[SEP]"])["delimiter"] == pytest.approx(
        1 / 9, abs=0.01
    )
    assert "delimiter" not in head_patterns(A, torch.arange(10)[None])


def test_without_tokens_there_are_no_patterns_of_tokens():
    found = head_patterns(even(COLUMN == ROW - 1))
    assert found["previous"] == pytest.approx(1.0)
    assert not {"same token", "induction", "delimiter"} & set(found)


def test_a_text_without_repetitions_says_nothing_about_copies():
    found = head_patterns(torch.rand(1, 1, 2, 6, 6).softmax(-1), torch.arange(6)[None])
    assert found["same token"].isnan().all()
    assert found["induction"].isnan().all()
    assert name_heads(found, least=0.9) == [["none", "none"]]


def test_the_heads_of_tiny_lm_are_found():
    ids = repeated(20, 6)
    A = attention_maps(xai_lab.load("tiny-lm", device="cpu").model, ids)
    found = head_patterns(A, ids)
    assert found["previous"][0, 0] > 0.95
    assert found["induction"][1, 0] > 0.9
    assert found["induction"].sum() < 1.05
    names = name_heads(found)
    assert names[0][0] == "previous"
    assert names[1][0] == "induction"
    assert not {"causal"} & {name for layer in names for name in layer}


def test_the_previous_word_head_of_minilm_is_found():
    net = xai_lab.load("minilm", device="cpu")
    encoded = net.tokenizer("The cat sat on the mat because it was tired", return_tensors="pt")
    found = head_patterns(attention_maps(net.model, encoded), encoded["input_ids"])
    assert found["previous"][0, 2] == pytest.approx(0.9996, abs=2e-4)
    assert name_heads(found)[0][2] == "previous"


def test_a_head_is_named_by_the_narrowest_pattern_that_fits():
    A = torch.cat(
        [
            even(COLUMN == ROW - 1),
            even(COLUMN == 7),
            even((ROW - COLUMN).abs() <= 3),
            even(ROW >= 0),
        ],
        dim=2,
    )
    assert name_heads(scores(A)) == [["previous", "broadcast", "local", "none"]]
    assert name_heads(scores(A), least=1.1) == [["none"] * 4]


@pytest.mark.parametrize(
    "tokens", [TOKENS[:, 1:], TOKENS[:1], ["a"] * T, [["a"] * T] * (N - 1) + [["a"]], []]
)
def test_tokens_and_matrix_of_different_lengths_are_refused(tokens):
    with pytest.raises(ValueError, match=f"attention of {N} samples with {T} tokens"):
        head_patterns(even(ROW == COLUMN), tokens)


def test_other_bad_input_is_refused():
    with pytest.raises(ValueError, match="kernel never returned any"):
        head_patterns(())
    with pytest.raises(ValueError, match="window"):
        head_patterns(even(ROW == COLUMN), window=0)
    with pytest.raises(ValueError, match="window"):
        window_widths(even(ROW == COLUMN), window=0)
