"""Coloured sentences say the same in colour, in words and in print."""

import re

import numpy as np
import pytest
import torch

from xai_lab import plot
from xai_lab.plot.words import luminance

WORDS = ["The", "film", "was", "not", "<b>bad</b>"]
VALUES = torch.tensor([0.0, 0.01, -0.5, -1.0, 2.0])


def drawn(**settings):
    return plot.sentences({"a title": (WORDS, VALUES)}, **settings)


def contrast(paper, ink):
    a, b = sorted(
        luminance(np.array([int(c[k : k + 2], 16) / 255 for k in (1, 3, 5)])) for c in (paper, ink)
    )
    return (b + 0.05) / (a + 0.05)


def test_every_word_is_shown_and_markup_is_not_run():
    page = drawn()._repr_html_()
    assert "<b>bad" not in page
    assert "&lt;b&gt;bad&lt;/b&gt;" in page
    assert [len(re.findall(rf">{word}<", page)) for word in WORDS[:4]] == [1, 1, 1, 1]


def test_the_strongest_words_are_said_with_their_sign():
    assert drawn().spoken("a title", 2) == "Strongest: <b>bad</b> +2.00, not -1.00."
    assert "a title: Strongest:" in repr(drawn())


def test_weak_words_keep_the_colours_of_the_page():
    papers = [paper for paper, _ in drawn().colours("a title")]
    assert [bool(paper) for paper in papers] == [False, False, True, True, True]


def test_opposite_signs_have_colours_of_unequal_lightness():
    (_, _, _, against, speaking_for) = drawn().colours("a title")
    assert contrast(against[0], speaking_for[0]) > 2


@pytest.mark.parametrize("signed", [True, False])
def test_every_word_can_be_read(signed):
    values = torch.linspace(-1 if signed else 0, 1, 41)
    shown = plot.sentences({"": (["word"] * 41, values)}, signed=signed)
    assert min(contrast(*pair) for pair in shown.colours("") if pair[0]) > 4.5


def test_shared_scale_makes_sentences_comparable():
    texts = {"weak": (["a"], [0.5]), "strong": (["b"], [1.0])}
    own, shared = plot.sentences(texts), plot.sentences(texts, shared=True)
    assert own.colours("weak") == own.colours("strong")
    assert shared.colours("weak") != shared.colours("strong")


def test_caption_is_shown_and_escaped():
    assert "<figcaption>a &lt; b</figcaption>" in drawn(caption="a < b")._repr_html_()
    assert "figcaption" not in drawn()._repr_html_()


def test_long_sentences_wrap_inside_the_figure():
    words = [f"word{k}" for k in range(60)]
    figure = plot.sentences({"long": (words, np.linspace(-1, 1, 60))}).figure
    edges = [text.get_window_extent() for text in figure.texts]
    assert [text.get_text() for text in figure.texts] == ["long", *words]
    assert max(box.x1 for box in edges) <= figure.bbox.x1
    assert min(box.y0 for box in edges) >= figure.bbox.y0


def test_zeros_are_drawn_and_empty_sentences_too():
    assert "Strongest" in plot.sentences({"": (["a", "b"], [0.0, 0.0])})._repr_html_()
    plot.png(plot.sentences({"": (["a"], [0.0])}).figure)


def test_same_sentence_same_bytes():
    assert drawn()._repr_html_() == drawn()._repr_html_()
    assert plot.png(drawn().figure) == plot.png(drawn().figure)


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match="5 words and 4 values"):
        plot.sentences({"x": (WORDS, VALUES[:4])})
    with pytest.raises(ValueError, match="no sentence"):
        plot.sentences({})


def test_bars_are_sorted_by_strength_and_keep_their_sign():
    figure = plot.bars(WORDS, VALUES, top=3)
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["<b>bad</b>", "not", "was"]
    assert [bar.get_width() for bar in ax.patches] == [2.0, -1.0, -0.5]
