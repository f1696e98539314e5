"""Attention drawn: legible at any length, on one scale, and BertViz without the web."""

import itertools
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

import xai_lab.plot.bertviz_view as module
from xai_lab import plot

WORDS = "the cat sat on the mat because it was tired".split()


def attention(tokens, layers=2, heads=3, seed=0):
    """Attention as a model has it, with a batch of one."""
    scores = torch.randn(
        layers, 1, heads, tokens, tokens, generator=torch.Generator().manual_seed(seed)
    )
    return (3 * scores).softmax(-1)


def words(count):
    return [WORDS[i % len(WORDS)] for i in range(count)]


def figures(count):
    """Every figure of attention over so many tokens."""
    A, tokens = attention(count), words(count)
    return {
        "head": plot.head(A[0, 0, 0], tokens, title="layer 0, head 0"),
        "heads": plot.heads(A[0, 0], tokens),
        "all_heads": plot.all_heads(A, marked=[(1, 2)]),
        "from_token": plot.from_token(A, tokens, count - 1),
    }


def matrices(figure):
    return [ax.images[0] for ax in figure.axes if ax.images]


def texts_of_ticks(figure):
    """Size in points of each label at a tick, as wide as the page shows it."""
    figure.canvas.draw()
    shrunk = min(1.0, 7.3 / figure.get_figwidth())
    return [
        label.get_fontsize() * shrunk
        for ax in figure.axes
        for label in (*ax.get_xticklabels(), *ax.get_yticklabels())
        if label.get_text() and label.get_visible()
    ]


# Figures


@pytest.mark.parametrize("count", [1, 3, 12, 40, 120])
def test_every_figure_can_be_drawn_and_read(count):
    for name, figure in figures(count).items():
        assert plot.png(figure).startswith(b"\x89PNG"), name
        assert figure.get_figwidth() <= 7.3, name
        assert min(texts_of_ticks(figure)) >= 7, name


@pytest.mark.parametrize("count", [12, 40])
def test_no_name_of_a_token_covers_the_next(count):
    A, tokens = attention(count), words(count)
    for figure in (plot.head(A[0, 0, 0], tokens), plot.from_token(A, tokens, 0)):
        figure.canvas.draw()
        named = [ax.get_xticklabels() for ax in figure.axes if len(ax.get_xticklabels()) == count]
        boxes = [label.get_window_extent() for label in named[-1]]
        assert all(a.x1 <= b.x0 + 0.5 for a, b in itertools.pairwise(boxes))


def test_all_matrices_share_one_scale_from_nought_to_one():
    for name, figure in figures(5).items():
        assert {image.get_clim() for image in matrices(figure)} == {(0, 1)}, name
        bars = [ax for ax in figure.axes if ax.get_label() == "<colorbar>"]
        assert len(bars) == 1, name


def test_a_row_looks_and_a_column_is_looked_at():
    A = torch.eye(3).roll(1, 0)
    ax = plot.head(A, ["a", "b", "c"]).axes[0]
    np.testing.assert_array_equal(ax.images[0].get_array(), A)
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("looks", "is looked at")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]


def test_heads_stand_in_their_order_under_their_titles():
    A = attention(4)[0, 0]
    axes = plot.heads(A, words(4)).axes
    assert [ax.get_title() for ax in axes[:3]] == ["head 0", "head 1", "head 2"]
    for ax, matrix in zip(axes, A, strict=False):
        np.testing.assert_allclose(ax.images[0].get_array(), matrix)


def test_thumbnails_stand_by_layer_and_head_and_the_marked_one_is_framed():
    A = attention(4)
    axes = plot.all_heads(A, marked=[(1, 0)]).axes
    for number, matrix in enumerate(A[:, 0].flatten(0, 1)):
        np.testing.assert_allclose(axes[number].images[0].get_array(), matrix)
        assert axes[number].spines["left"].get_visible() == (number == 3)


def test_from_a_token_the_mean_and_the_strongest_head_are_shown():
    A = torch.zeros(1, 2, 3, 3)
    A[0, 0, 1] = torch.tensor([0.9, 0.1, 0.0])
    A[0, 1, 1] = torch.tensor([0.1, 0.2, 0.7])
    figure = plot.from_token(A, ["a", "b", "c"], 1)
    mean, most = matrices(figure)
    np.testing.assert_allclose(mean.get_array(), [[0.5, 0.15, 0.35]], rtol=1e-6)
    np.testing.assert_allclose(most.get_array(), [[0.9, 0.2, 0.7]], rtol=1e-6)
    written = [(text.get_position()[0], text.get_text()) for text in figure.axes[1].texts]
    assert written == [(0, "0"), (2, "1")]
    assert plot.from_token(A, ["a", "b", "c"], -2).get_suptitle() == figure.get_suptitle()


def test_by_layer_draws_each_head_and_their_mean():
    values = torch.tensor([[1.0, 3.0], [2.0, 6.0]])
    ax = plot.by_layer({"entropy (nats)": values}).axes[0]
    assert sorted(ax.collections[0].get_offsets()[:, 1]) == [1, 2, 3, 6]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [2, 4])
    assert ax.get_ylabel() == "entropy (nats)"


def test_cls_maps_lie_over_the_photo_on_one_scale_or_each_on_its_own():
    maps = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    maps[1] *= 10
    photo = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for shared, scales in ((True, 1), (False, 6)):
        figure = plot.cls_maps(maps, photo, shared=shared)
        over = [ax.images[-1] for ax in figure.axes if len(ax.images) == 2]
        assert len(over) == 6
        assert len({image.get_clim() for image in over}) == scales
        assert plot.png(figure).startswith(b"\x89PNG")


def test_odd_tokens_are_written_without_a_warning(recwarn):
    tokens = ["$x_1$", "猫", "Ġcat", "▁", "\n", "", "a" * 40, "</w>"]
    figure = plot.head(torch.eye(8), tokens)
    plot.png(figure)
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert shown == [r"\$x_1\$", "□", "cat", "␣", "⏎", "␣", "a" * 13 + "…", "␣"]
    assert not recwarn.list


def test_the_attention_itself_is_left_alone():
    A = attention(4).requires_grad_()
    before = A.detach().clone()
    plot.all_heads(A)
    plot.head_view(A, words(4))
    assert torch.equal(A.detach(), before)


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda A: plot.head(A[0, 0, 0], words(4)), r"4 tokens were given, attention is over 5"),
        (lambda A: plot.heads(A[0, 0], words(6)), r"6 tokens were given, attention is over 5"),
        (lambda A: plot.head_view(A, words(4)), r"4 tokens.*over 5.*\[CLS\]"),
        (lambda A: plot.model_view(A, words(4)), r"4 tokens.*over 5"),
        (lambda A: plot.head(A[0, 0], words(5)), r"\(3, 5, 5\), expected \(tokens, tokens\)"),
        (lambda A: plot.all_heads(A.expand(2, 2, 3, 5, 5)), r"one sample at a time"),
        (lambda A: plot.all_heads(A[..., :4]), r"as many rows as columns"),
        (lambda A: plot.all_heads(A * torch.nan), r"NaN"),
        (lambda A: plot.all_heads(A, marked=[(2, 0)]), r"no layer 2 head 0 to mark"),
        (lambda A: plot.all_heads(A, layers=[4]), r"1 layers were named, attention has 2"),
        (lambda A: plot.heads(A[0, 0], words(5), titles=["one"]), r"1 titles .* 3 matrices"),
        (lambda A: plot.from_token(A, words(5), 5), r"position is 5, expected 0 to 4"),
        (lambda A: plot.by_layer({"entropy": A}), r"expected \(layers, heads\)"),
        (lambda A: plot.by_layer({}), r"nothing to draw"),
        (
            lambda A: plot.cls_maps(A[0, 0], torch.rand(3, 8, 8)),
            r"expected \(layers, heads, h, w\)",
        ),
        (lambda A: plot.head_view(A, words(5), layer=2), r"layer 2 was asked for, expected 0 to 1"),
        (lambda A: plot.head_view(A, words(5), heads=[-1]), r"head -1 was asked for"),
        (lambda A: plot.head_view(A, words(5), heads=[]), r"no head was asked for"),
        (lambda A: plot.head_view(A, words(5), layer=0, layers=[1]), r"not among the layers \[1\]"),
        (lambda A: plot.model_view(A, words(5), layers=[7]), r"layer 7 was asked for"),
        (lambda A: plot.head_view(A, words(5), digits=0), r"digits is 0, expected 1 to 6"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(draw, said):
    with pytest.raises(ValueError, match=said):
        draw(attention(5))


# BertViz


def test_views_are_the_same_bytes_every_time_and_ask_for_nothing():
    for make in (plot.head_view, plot.model_view):
        page = make(attention(5), words(5))._repr_html_()
        assert page == make(attention(5), words(5))._repr_html_()
        tags = re.findall(r"<(?:script|img|link|iframe)[^>]*>", page)
        assert [tag for tag in tags if "src" in tag and 'src="data:' not in tag] == []
        assert "require.config" not in page
        asked = re.findall(r"""['"](https?:[^'"]*)""", page)
        assert set(asked) <= {"http://www.w3.org/2000/svg"}  # a name, and no address
        assert ' id="' not in page  # two views on a page would have it twice


def test_views_stay_under_three_megabytes():
    A = attention(40, layers=6, heads=12)
    for view in (plot.head_view(A, words(40)), plot.model_view(A, words(40))):
        assert len(view.html.encode()) < 3_000_000 / 2  # both fit one page


def test_weights_are_rounded_and_layers_chosen():
    A = attention(4, layers=5)
    view = plot.head_view(A, words(4), layers=[1, 4], digits=2)
    params = json.loads(re.search(r"look\(box, (\{.*\}), \(requirejs", view.html)[1])
    kept = torch.tensor(params["attention"][0]["attn"]) / params["unit"]
    assert torch.allclose(kept, A[[1, 4], 0], atol=0.0051)
    assert params["include_layers"] == [1, 4]
    assert params["layer"] == 1


def test_markup_in_a_token_or_caption_does_not_reach_the_page():
    tokens = ["</script><script>alert(1)</script>", "<!--", "<img src=x onerror=alert(2)>", "&amp;"]
    for make in (plot.head_view, plot.model_view):
        page = make(attention(4), tokens, caption="<b>&</b>").html
        assert page.count("<script") == page.count("</script>") == 1
        assert "<img src=x" not in page
        assert "<!--" not in page
        assert "&lt;b&gt;&amp;&lt;/b&gt;" in page


def test_a_missing_or_another_bertviz_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install bertviz"):
        plot.head_view(attention(3), words(3))
    (tmp_path / "head_view.js").write_text("import * as d3 from 'd3'")
    spec = type("spec", (), {"submodule_search_locations": [str(tmp_path)]})
    monkeypatch.setattr(module, "find_spec", lambda name: spec)
    with pytest.raises(ModuleNotFoundError, match=r"otherwise than 1\.4\.1"):
        plot.head_view(attention(3), words(3))


def test_plot_can_be_imported_without_bertviz():
    code = "import sys; sys.modules['bertviz'] = None; import xai_lab.plot"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


# In a browser


def known():
    """Two layers, two heads: each head looks at one place, so that all numbers are known."""
    A = torch.zeros(2, 2, 3, 3)
    A[0, 0] = torch.eye(3)  # the token itself
    A[0, 1] = torch.eye(3).roll(1, 1)  # the next one
    A[1, 0, :, 0] = 1.0  # the first
    A[1, 1] = 1 / 3  # all
    return A


TOKENS = ["[CLS]", "</script><b>cat", "it"]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A page with three views, as a book would hold them, under rules of its own for drawings."""
    views = [
        plot.head_view(known(), TOKENS),
        plot.model_view(known(), TOKENS),
        plot.head_view(known(), TOKENS, layer=1, heads=[0]),
    ]
    path = tmp_path_factory.mktemp("views") / "page.html"
    theme = ".bd-article figure svg, .bd-article img { height: auto; max-width: 100%; }"
    body = "".join(view.html for view in views)
    path.write_text(
        "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<style>{theme}</style><div class=bd-article>{body}</div>",
        encoding="utf-8",
    )
    return path.as_uri()


@pytest.fixture
def opened(browser, written):
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    page.asked, page.wrong = [], []
    page.on("request", lambda request: page.asked.append(request.url))
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda line: page.wrong.append(line.text))
    page.goto(written)
    yield page
    assert [url for url in page.asked if not url.startswith(("file:", "data:"))] == []
    assert page.wrong == []
    page.close()


def view(page, number):
    return page.locator("figure.xai-bertviz").nth(number)


def lines(one):
    """Lines that can be seen: from, to, strength."""
    return one.evaluate(
        """box => [...box.querySelectorAll("line")]
            .filter(l => getComputedStyle(l).visibility === "visible")
            .map(l => [+l.getAttribute("left-token-index"), +l.getAttribute("right-token-index"),
                       +l.getAttribute("stroke-opacity")]).filter(l => l[2] > 0)"""
    )


def test_lines_join_each_token_with_what_it_looks_at(opened):
    one = view(opened, 0)
    assert sorted(lines(one)) == [
        [0, 0, 0.5], [0, 1, 0.5], [1, 1, 0.5], [1, 2, 0.5], [2, 0, 0.5], [2, 2, 0.5]
    ]  # fmt: skip
    assert one.locator("img").count() == 0
    assert one.locator("text", has_text="</script><b>cat").count() == 2
    assert opened.locator("figure b").count() == 0


def test_the_reader_chooses_layer_head_and_token(opened):
    one, other = view(opened, 0), view(opened, 2)
    before = lines(other)
    one.locator("select").select_option("1")
    assert [0, 0, 0.5] in lines(one)
    assert [1, 0, 0.5] in lines(one)
    squares = one.locator("rect[role=checkbox]")
    squares.nth(1).click()
    assert [square.get_attribute("aria-checked") for square in squares.all()] == ["true", "false"]
    assert sorted(lines(one)) == [[0, 0, 1], [1, 0, 1], [2, 0, 1]]
    one.locator("[data-id=left] g[tabindex]").nth(2).hover()
    assert lines(one) == [[2, 0, 1]]
    said = (
        "“it” (2) looks at [CLS] (0) 1.00, </script><b>cat (1) 0.00, it (2) 0.00; layer 1, head 0"
    )
    assert one.locator("output").inner_text() == said
    one.locator("[data-id=right] g[tabindex]").nth(0).hover()
    assert "“[CLS]” (0) is looked at by [CLS] (0) 1.00" in one.locator("output").inner_text()
    assert lines(other) == before  # views of one page do not know each other


def test_the_keyboard_does_what_the_mouse_does(opened):
    one = view(opened, 0)
    one.locator("select").focus()
    for key in ("Tab", "ArrowDown", "ArrowDown"):
        opened.keyboard.press(key)
    assert "“it” (2) looks at" in one.locator("output").inner_text()
    assert sorted(lines(one)) == [[2, 0, 0.5], [2, 2, 0.5]]
    for key in ("Tab", "Tab", "ArrowRight", "Shift+Enter"):
        opened.keyboard.press(key)
    assert sorted(lines(one)) == [[0, 1, 1], [1, 2, 1], [2, 0, 1]]
    squares = one.locator("rect[role=checkbox]")
    assert [s.get_attribute("aria-label") for s in squares.all()] == ["head 0", "head 1"]
    assert [s.get_attribute("aria-checked") for s in squares.all()] == ["false", "true"]


def test_a_view_starts_with_the_layer_and_heads_that_were_asked_for(opened):
    one = view(opened, 2)
    assert one.locator("select").input_value() == "1"
    assert sorted(lines(one)) == [[0, 0, 1], [1, 0, 1], [2, 0, 1]]


def test_the_model_view_enlarges_the_head_that_is_chosen(opened):
    one = view(opened, 1)
    heads = one.locator("rect[tabindex]")
    names = [head.get_attribute("aria-label") for head in heads.all()]
    assert names == [f"layer {layer}, head {head}" for layer in (0, 1) for head in (0, 1)]
    heads.nth(0).click()
    assert one.locator("text.detail").text_content() == "Layer 0, Head 0"
    for key in ("Enter", "ArrowDown", "Enter"):
        opened.keyboard.press(key)
    assert one.locator("text.detail").text_content() == "Layer 1, Head 0"


def test_a_view_is_as_high_as_its_tokens_and_a_phone_need_not_scroll_sideways(opened):
    assert view(opened, 0).locator("svg").bounding_box()["height"] == pytest.approx(97.5, abs=1)
    opened.set_viewport_size({"width": 360, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") <= 360


def test_without_scripts_a_still_picture_is_seen(browser, written):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(written)
    for number in range(3):
        assert view(page, number).locator("img").is_visible()
        assert view(page, number).locator("img").get_attribute("alt").startswith("Attention of")
        assert not view(page, number).locator("[data-stage]").is_visible()
    context.close()
