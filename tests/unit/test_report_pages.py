"""Pages and sentences: what a reader is told is what was measured, and nothing is run."""

import re
from dataclasses import dataclass

import pytest
import torch

from xai_lab import pages
from xai_lab.evidence import Evidence, Hiding
from xai_lab.interpret import TextInterpretation, check_classes, concluded, named_classes, unpacked
from xai_lab.models import Guess, Loaded
from xai_lab.plot import evidence as figures

HOSTILE = '<script>alert(1)</script> & "q" | $\\frac$ ☃ 漢'


@pytest.mark.parametrize(
    ("probability", "digits", "told"),
    [
        (0.0, 0, "0%"),
        (0.004, 0, "<1%"),
        (0.005, 0, "<1%"),
        (0.006, 0, "1%"),
        (0.994, 0, "99%"),
        (0.996, 0, ">99%"),
        (1.0, 0, "100%"),
        (0.0, 1, "0.0%"),
        (0.0004, 1, "<0.1%"),
        (0.1623, 1, "16.2%"),
        (0.9996, 1, ">99.9%"),
        (1.0, 1, "100.0%"),
    ],
)
def test_neither_end_is_told_unless_it_is_reached(probability, digits, told):
    assert pages.percent(probability, digits) == told


def test_whatever_is_named_is_escaped():
    rows = [{HOSTILE: HOSTILE, "b": HOSTILE}]
    parts = [
        pages.table(rows, caption=HOSTILE),
        pages.paragraph(HOSTILE),
        pages.quoted(HOSTILE),
        pages.document(HOSTILE, HOSTILE, [(HOSTILE, "")], made=HOSTILE),
        pages.signed("<footer></footer>", HOSTILE),
        pages.image(figures.evidence(torch.rand(3, 4, 4), {}, {}, {}), alt=HOSTILE),
    ]
    counts = [4, 1, 1, 5, 1, 1]
    for part, count in zip(parts, counts, strict=True):
        assert "<script" not in part
        assert part.count("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;q&quot;") == count


def test_a_page_is_signed_at_its_foot_and_nowhere_else():
    page = pages.document("a", "b", [("c", pages.paragraph("</footer>"))], made="d")
    signed = pages.signed(page, "first", "second")
    foot = signed[signed.index("<footer>") :]
    assert foot.startswith("<footer>d<p>first</p><p>second</p></footer>")
    assert signed[: signed.index("<footer>")] == page[: page.index("<footer>")]


def test_long_cells_may_break_and_short_ones_do_not():
    table = pages.table([{"name": "x" * 50, "short": "x" * 40, "long": "x" * 41}])
    assert re.findall(r"<td[^>]*>", table) == ["<td>", "<td class=long>"]
    assert pages.table([]) == "<p>Nothing to show.</p>"


def test_a_bar_in_a_cell_is_no_column_of_markdown():
    head, line, row = pages.markdown([{"a": "x|y", "b": 1}]).splitlines()
    assert (head, line, row) == ("| a | b |", "| --- | --- |", "| x\\|y | 1 |")
    assert pages.markdown([]) == ""


def test_what_is_no_number_is_a_dash_and_in_json_none():
    assert [pages.number(x) for x in (0.123, float("nan"), float("inf"))] == ["0.12", "–", "–"]
    nested = {"a": [float("nan"), 1.5, (float("-inf"), "x")], "b": {"c": 2}}
    assert pages.finite(nested) == {"a": [None, 1.5, [None, "x"]], "b": {"c": 2}}


def test_names_are_listed_as_a_reader_would():
    assert [pages.listed(x) for x in (["a"], ["a", "b"], ["a", "b", "c"])] == [
        "a",
        "a and b",
        "a, b and c",
    ]


# The conclusion of an interpreter

CAT = Guess(0, "cat", 0.8, 3.0)


def weighed(verdict, *pairs, share=0.15):
    """Evidence with a probability after hiding, and one after hiding elsewhere, for each fill."""
    hidings = {
        str(i): Hiding(0.8, after, 2.0 - after, (0.0,) * 20, away)
        for i, (after, away) in enumerate(pairs)
    }
    return Evidence(share, hidings, verdict)


def told(**evidence):
    return concluded(evidence, CAT, "the picture", "equal areas elsewhere")


def test_the_numbers_of_a_conclusion_bound_those_of_all_maps_it_names():
    said = told(
        A=weighed("holds", (0.01, 0.5), (0.05, 0.7)),
        B=weighed("holds", (0.2, 0.6), share=0.16),
        C=weighed("undecided", (0.7, 0.1), share=0.3),
    )
    assert said == (
        "A and B mark what the network goes by: hiding 16% of the picture takes cat from 80% to "
        "20% or less, equal areas elsewhere leave 50% or more on average."
    )
    assert told(A=weighed("holds", (0.1, 0.7))).startswith("A marks what")


def test_a_conclusion_says_why_there_is_none():
    assert told(A=weighed("undecided", (0.1, 0.5)), B=weighed("does not hold")).startswith(
        "Undecided: for A it depends"
    )
    assert "hiding it costs little, or no more than" in told(
        A=weighed("does not hold", (0.7, 0.7)), B=weighed("nothing marked")
    )
    assert told(A=weighed("nothing marked")) == (
        "None of these maps marks anything for cat, so nothing was hidden."
    )


def test_marked_words_are_told_without_their_punctuation():
    @dataclass
    class Text:
        words = ("Soup,", "…", "bland.", "--", ".")
        marked = {"IG": [0, 2, 4]}  # noqa: RUF012

    assert TextInterpretation.marked_words(Text(), "IG") == ["Soup", "bland", "."]


@pytest.mark.parametrize("labels", [["a", "b"], ["a", "b", "c", "d"]])
def test_labels_fit_the_classes_one_to_one(labels):
    with pytest.raises(ValueError, match=f"{len(labels)} labels, the model has 3"):
        named_classes(labels, 3)
    assert named_classes(None, 2) == ["class 0", "class 1"]


def test_what_a_loaded_network_brings_along_is_used_unless_something_else_is_given():
    model = torch.nn.Identity()
    net = Loaded("", model, ["a"], str, (0.5,), (0.25,))
    assert unpacked(net, None, None) == (model, ["a"], ((0.5,), (0.25,)))
    assert unpacked(net, ["b"], ((0.0,), (1.0,))) == (model, ["b"], ((0.0,), (1.0,)))
    assert unpacked(model, None, None) == (model, None, None)


@pytest.mark.parametrize("target", [-1, 3])
def test_the_first_number_that_is_no_class_is_refused(target):
    check_classes(torch.tensor([0, 2]), 3)
    with pytest.raises(ValueError, match="classes 0 to 2"):
        check_classes(torch.tensor([0, target]), 3)


# Figures


def test_a_label_is_drawn_as_it_is_written_and_an_empty_map_is_called_so():
    assert figures.drawable("a $x$ ☃") == "a \\$x\\$ ☃"
    assert figures.drawable("漢\n") == "□\n"
    title = figures.titled(HOSTILE * 5, torch.zeros(2, 2))
    assert title.endswith("…\n(empty)")
    assert max(map(len, title.splitlines())) <= 30
    assert "(empty)" not in figures.titled("cat", torch.ones(2, 2))
    hidings = Evidence(0.1, {HOSTILE: Hiding(0.5, 0.1, 2.0, (0.1,), 0.5)}, "holds")
    maps = {HOSTILE: torch.rand(4, 4)}
    figure = figures.evidence(
        torch.rand(3, 4, 4), maps, {HOSTILE: torch.eye(4) > 0}, {HOSTILE: hidings}
    )
    assert pages.image(figure, alt="drawn").startswith("<figure>")
    words = figures.words([HOSTILE, "a"], {HOSTILE: [0.1, 0.2]}, {HOSTILE: [0.1, 0.2]})
    assert pages.image(words, alt="drawn").startswith("<figure>")
