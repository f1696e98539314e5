"""`xai-lab explain --text`: coloured words on a page and in a terminal, and what is said."""

import io
import re
import sys
from html.parser import HTMLParser

import pytest
import torch

import xai_lab
from xai_lab import cli, text_report, words
from xai_lab.methods import METHODS

LOAD = xai_lab.load
SOUP = "The soup was not bland at all."
NETS = {}
READ = ["saliency", "gradient-x-input", "smooth-grad", "integrated-gradients"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Folder to run `main` in; every network is loaded once, those of the hub untrained."""

    def load(name, device=None):
        if name not in NETS:
            hub = name in ("gpt2", "distilbert-sst2", "bert-base")
            NETS[name] = LOAD(name, pretrained=not hub, device="cpu")
        return NETS[name]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(xai_lab, "load", load)
    return tmp_path


def explain(text, *arguments):
    """Run the command on a text."""
    return cli.main(["explain", "--text", text, "--device", "cpu", *arguments])


def piped(monkeypatch, content):
    """Let some bytes be piped in."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


def joined(text):
    """Text without its line breaks."""
    return " ".join(text.split())


def numbers(said):
    """Words and numbers of ``word[+0.12]``."""
    return {word: float(value) for word, value in re.findall(r"(\S+)\[([-+.\d]+)\]", said)}


class Page(HTMLParser):
    """Tags, and the text that is read."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags, self.text = [], ""
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


# What is found


def test_words_and_numbers_are_the_packages_own(here, capsys):
    assert explain(SOUP, "--target", "positive", "--baseline", "mask", "--out", "a.html") == 0
    net = NETS["minilm-sentiment"]
    (expected,) = xai_lab.text_attributions(
        net.model, SOUP, 1, tokenizer=net.tokenizer, baseline="mask", tol=0.01
    )
    out = capsys.readouterr().out
    found = numbers(out)
    assert list(found) == expected.words == SOUP.split()
    assert list(found.values()) == pytest.approx(expected.word_values.tolist(), abs=0.006)
    sums = re.search(r"S\(x\) = (\S+), S\(baseline\) = (\S+), a difference of (\S+)\.", joined(out))
    score, start, difference = map(float, sums.groups())
    assert score == pytest.approx(expected.score, abs=0.006)
    assert difference == pytest.approx(score - start, abs=0.011)
    assert sum(found.values()) == pytest.approx(difference, abs=0.05)
    assert "From [MASK]: " in joined(out)


def test_several_baselines_are_averaged(here, capsys):
    ask = ["--steps", "3", "--target", "negative", "--out", "a.html", "--baseline"]
    alone = []
    for name in ("zeros", "unk"):
        assert explain(SOUP, *ask, name) == 0
        alone.append(numbers(capsys.readouterr().out)["bland"])
    assert explain(SOUP, *ask, "zeros,unk") == 0
    out = capsys.readouterr().out
    assert numbers(out)["bland"] == pytest.approx(sum(alone) / 2, abs=0.011)
    assert "From the mean of zeros and [UNK]: " in joined(out)
    assert "after 6 passes" in joined(out)


def test_every_method_for_text_is_on_the_page_with_what_it_hides(here, capsys):
    ask = ["--method", "all", "--target", "top2", "--steps", "2", "--samples", "2"]
    assert explain(SOUP, *ask, "--out", "a.html") == 0
    page = Page(here / "a.html")
    assert READ == [name for name, method in METHODS.items() if method.words]
    for name in READ:
        assert METHODS[name].words[0] in page.text
        assert METHODS[name].words[1] in page.text
    net = NETS["minilm-sentiment"]
    (expected,) = xai_lab.text_attributions(
        net.model, SOUP, 0, tokenizer=net.tokenizer, method=xai_lab.saliency
    )
    said = capsys.readouterr().out.partition("Saliency, negative:")[2]
    assert numbers(said.partition("Gradient ×")[0]) == {
        word: pytest.approx(value, abs=0.006)
        for word, value in zip(expected.words, expected.word_values.tolist(), strict=True)
    }
    assert "2 noisy copies, noise 0.15, seed 0" in page.text
    assert page.source.count('<table class="strongest">') == 8


def test_tokens_that_belong_to_no_word_are_not_forgotten(here, capsys):
    assert explain("good", "--method", "gradient-x-input", "--out", "a.html") == 0
    net = NETS["minilm-sentiment"]
    (one,) = xai_lab.text_attributions(
        net.model, "good", tokenizer=net.tokenizer, method=xai_lab.gradient_x_input
    )
    rest = f"{(one.values.sum() - one.word_values.sum()).item():+.2f}"
    assert f"Tokens that are no words, such as the one that ends a text, got {rest}." in joined(
        capsys.readouterr().out
    )
    assert f"got {rest}." in Page(here / "a.html").text


@pytest.mark.parametrize(
    ("model", "text", "said"),
    [
        ("tiny-lm", "Mary took the red lamp . Mary took the red", "expects lamp next"),
        ("gpt2", "the cat", "expects token "),
        ("distilbert-sst2", "good film", "says "),
    ],
)
def test_a_language_model_explains_the_next_token(here, capsys, model, text, said):
    assert explain(text, "--model", model, "--steps", "2", "--top", "3", "--out", "a.html") == 0
    assert said in Page(here / "a.html").text
    found = numbers(capsys.readouterr().out)
    assert set(found) == set(text.split())


def test_a_token_can_be_the_target(here, capsys):
    story = "Mary took the red lamp . Mary took the red"
    ask = ["--model", "tiny-lm", "--steps", "2", "--out", "a.html", "--target"]
    assert explain(story, *ask, "lamp,home,.") == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("Integrated")] == [
        "Integrated Gradients, lamp:", "Integrated Gradients, home:", "Integrated Gradients, .:"
    ]  # fmt: skip


def test_of_tokens_that_look_alike_the_most_probable_is_meant():
    from xai_lab.models import Guess

    guesses = [Guess(3, " the", 0.6, 2.0), Guess(1, "\n", 0.3, 1.0), Guess(2, "The", 0.1, 0.0)]
    assert [guess.index for guess in cli.asked_about("the", guesses)] == [3]
    assert text_report.named(guesses[0]).label == "the"
    assert text_report.named(guesses[1]).label == r"'\n'"


# The page


def test_the_page_needs_nothing_else_and_runs_nothing(here):
    hostile = "not <script>alert(1)</script> bland </style></title> &amp; \"'><img src=x>"
    assert explain(hostile, "--steps", "2", "--target", "top2", "--out", "a.html") == 0
    page = Page(here / "a.html")
    for tag, attributes in page.tags:
        assert tag not in ("script", "img", "iframe", "object", "base"), tag
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("src", "href") or value.startswith(("data:", "#"))
    assert not re.search(r"url\(|@import|https?:", page.source)
    assert "default-src 'none'" in page.source
    assert [tag for tag, _ in page.tags].count("style") == 1
    for word in ("<script>alert(1)</script>", "&amp;", "</style></title>", "\"'><img"):
        assert word in page.text  # as it was written


def test_the_page_says_everything_that_has_to_be_said(here):
    assert explain(SOUP, "--out", "a.html") == 0
    page = Page(here / "a.html")
    text = joined(page.text)
    for said in (
        "minilm-sentiment says negative , with a probability of 96%",
        "S(baseline) = ",
        "% of the difference",
        "How words work together",
        "Strongest: ",  # for readers who do not see the colours
        "baseline pad, tol 0.01 in at most 200 steps",
        "xai-lab explain --text 'The soup was not bland at all.'",
        f"torch {torch.__version__.partition('+')[0]}",
        "transformers ",
    ):
        assert said.replace(" ,", ",") in text, said
    table = page.source.partition('class="strongest"')[2]
    rows = re.findall(r'<th scope="row">(.*?)</th><td class="number">(\d+)', table)
    assert {word: int(place) for word, place in rows} == {
        word: place for place, word in enumerate(SOUP.split(), start=1)
    }
    values = [abs(float(v)) for v in re.findall(r'<td class="number">([-+][\d.]+)</td>', table)]
    assert values == sorted(values, reverse=True)
    assert "—" not in text


def test_the_page_repeats_byte_for_byte(here):
    ask = ["--method", "smooth-grad,ig", "--samples", "2", "--steps", "2", "--out"]
    for name in ("a.html", "b.html"):
        torch.manual_seed(len(name))
        assert explain(SOUP, *ask, name) == 0
    a, b = ((here / name).read_text(encoding="utf-8") for name in ("a.html", "b.html"))
    assert a == b.replace("b.html", "a.html")
    assert explain(SOUP, *ask, "c.html", "--seed", "5") == 0
    c = (here / "c.html").read_text(encoding="utf-8")
    colours = [re.findall(r'title="([-+.\d]+)"', page) for page in (a, c)]
    assert len(colours[0]) == 14
    assert colours[0][:7] != colours[1][:7]  # SmoothGrad draws
    assert colours[0][7:] == colours[1][7:]


def test_without_out_no_file_is_replaced(here):
    for _ in range(2):
        assert explain("../../etc is bad", "--steps", "2") == 0
    assert sorted(path.name for path in here.iterdir()) == [
        "etc-is-bad-explained-2.html", "etc-is-bad-explained.html"
    ]  # fmt: skip


# The terminal


def test_nothing_is_coloured_where_nobody_sees_it(here, capsys):
    assert explain(SOUP, "--steps", "2", "--out", "a.html") == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert re.search(r"bland\[[-+]\d\.\d\d\]", out)


def test_a_terminal_gets_colours_and_the_strongest_words(here, monkeypatch, capsys):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(text_report.os, "name", "posix")
    assert explain(SOUP, "--out", "a.html", "--target", "negative") == 0
    out = capsys.readouterr().out
    # The strongest word for the class has the end of the scale, with black ink on it.
    assert f"\x1b[48;5;{text_report.cube('#fee838')};38;5;16mbland\x1b[0m" in out
    assert out.count("\x1b[0m") == len(re.findall(r"\x1b\[48", out)) > 2
    assert "Strongest: bland +" in out
    assert "bland[" not in out


@pytest.mark.parametrize(
    ("name", "value", "coloured"),
    [("NO_COLOR", "1", False), ("NO_COLOR", "", True), ("TERM", "dumb", False)],
)
def test_colours_can_be_declined(here, monkeypatch, capsys, name, value, coloured):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert explain(SOUP, "--steps", "2", "--out", "a.html") == 0
    assert ("\x1b" in capsys.readouterr().out) == coloured


def test_numbers_of_colours_are_those_of_terminals():
    wanted = {"#000000": 16, "#ffffff": 231, "#ff0000": 196, "#0000ff": 21, "#808080": 244}
    assert {colour: text_report.cube(colour) for colour in wanted} == wanted


def test_lines_break_between_words(monkeypatch):
    monkeypatch.setenv("COLUMNS", "22")
    shown = [f"\x1b[0m{word}" for word in ("aaaaaaaaa", "bbbbbbbbb", "cc", "cc", "d" * 30, "e")]
    lines = text_report.wrapped(shown, [9, 9, 2, 2, 30, 1])
    assert [line.replace("\x1b[0m", "") for line in lines] == [
        "  aaaaaaaaa bbbbbbbbb", "  cc cc", f"  {'d' * 30}", "  e"
    ]  # fmt: skip


def test_the_text_cannot_control_the_terminal(here, capsys):
    assert explain("good \x1b[31mred\x07 \u202eevil", "--steps", "2", "--out", "a.html") == 0
    out, err = capsys.readouterr()
    assert not set("\x1b\x07\u202e") & set(out + err + Page(here / "a.html").source)
    assert "�[31mred�[" in out


def test_the_next_step_leaves_out_the_word_that_speaks_for_the_class(here, capsys):
    assert explain(SOUP, "--target", "negative", "--out", "a.html") == 0
    out = capsys.readouterr().out
    assert "Next: xai-lab explain --text 'The soup was not at all.' --target negative" in out
    assert "without “bland”" in out
    assert explain("good", "--target", "negative", "--out", "a.html") == 0  # nothing speaks for it
    assert "Next: open the page. Then the same with --target" in capsys.readouterr().out


# Where text comes from


def test_text_comes_from_a_file_or_a_pipe_as_it_does_from_the_command_line(
    here, monkeypatch, capsys
):
    (here / "review.txt").write_bytes(b"\xef\xbb\xbf" + SOUP.encode() + b"\n")
    piped(monkeypatch, SOUP.encode())
    found = []
    for text in (SOUP, "review.txt", "-"):
        assert explain(text, "--steps", "2", "--out", ".") == 0
        found.append(numbers(capsys.readouterr().out))
    assert found[0] == found[1] == found[2]
    assert (here / "review-explained.html").exists()


@pytest.mark.parametrize(
    ("text", "content", "code", "said"),
    [
        ("", None, 2, "the text is empty"),
        (" \n\t", None, 2, "the text is empty"),
        ("-", b"", 2, "the text is empty"),
        ("a.txt", b"  \n", 2, "the text is empty"),
        ("a.txt", b"caf\xe9 is bad", 1, "a.txt is no text in UTF-8"),
        ("-", b"\xff\xfe", 1, "what was piped in is no text in UTF-8"),
        ("a.txt", b"a\0b", 1, "zero bytes"),
        ("b.txt", None, 1, "there is no file b.txt"),
    ],
)
def test_text_that_cannot_be_read_is_one_sentence(
    here, monkeypatch, capsys, text, content, code, said
):
    monkeypatch.setattr(xai_lab, "load", lambda *_, **__: pytest.fail("the network was loaded"))
    if content is not None:
        (here / "a.txt").write_bytes(content)
        piped(monkeypatch, content)
    assert explain(text) == code
    out, err = capsys.readouterr()
    assert said in err
    assert (out, err.count("\n")) == ("", 1)
    assert not list(here.glob("*.html"))


def test_a_long_text_is_said_to_be_cut_and_where(here, capsys):
    assert explain("Mary took the lamp . " * 30, "--model", "tiny-lm", "--steps", "2") == 0
    out, err = capsys.readouterr()
    assert "the model takes 128: the rest was cut off after" in err
    assert err.count("the rest was cut off") == 1
    assert 100 < len(re.findall(r"\S\[[-+]", out)) <= 128
    (page,) = here.glob("*.html")
    assert "the rest was cut off after" in Page(page).text


def test_of_an_endless_text_the_beginning_is_read(here, monkeypatch, capsys):
    monkeypatch.setattr(text_report, "MOST_CHARACTERS", 20)
    text = "größer größer größer " * 9
    (here / "a.txt").write_text(text, encoding="utf-8")
    assert explain("a.txt", "--steps", "2") == 0
    out, err = capsys.readouterr()
    assert "only the first 20 characters of the text are read" in err
    assert "“größer größer größer”" in out


def test_words_that_the_model_does_not_know_are_named(here, capsys):
    assert explain("good 🦄 film", "--steps", "2", "--out", "a.html") == 0
    out, err = capsys.readouterr()
    assert err.startswith("xai-lab: minilm-sentiment does not know 🦄, and reads [UNK] instead")
    assert err.count("does not know") == 1
    assert "does not know 🦄" in Page(here / "a.html").text
    assert "🦄[" in out


def test_a_gap_that_is_not_reached_is_said_everywhere(here, capsys):
    assert explain(SOUP, "--tol", "1e-9", "--most", "12", "--out", "a.html") == 0
    assert "could not be reached in 12 passes" in capsys.readouterr().err
    assert "could not be reached in 12 passes" in Page(here / "a.html").text
    assert explain(SOUP, "--steps", "1", "--out", "a.html") == 0
    out, err = capsys.readouterr()
    assert "--tol 0.01 in place of --steps" in err
    assert "after 1 pass," in joined(out)


def test_a_text_that_is_its_own_baseline_is_said(here, capsys):
    assert explain("[PAD] [PAD]", "--steps", "2", "--out", "a.html") == 0
    out, err = capsys.readouterr()
    assert "this is its own baseline" in err
    assert "saturated" not in err
    assert "Next: the same with another --baseline" in out


# What may be asked


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--text", "hi", "cat"], "one or the other"),
        (["--text", "hi", "--layer", "a"], "--layer is for photos"),
        (["--text", "hi", "--channels", "3"], "--channels is for photos"),
        (["--text", "hi", "--every", "2"], "--every is for photos"),
        (["--text", "hi", "--method", "grad-cam"], "Grad-CAM is for photos; the methods for text"),
        (["--text", "hi", "--baseline", "blur"], "for a text there are pad, mask, unk, zeros"),
        (["--text", "hi", "--baseline", "masc"], "did you mean mask?"),
        (["--text", "hi", "--method", "saliency", "--baseline", "pad"], "is of no use to saliency"),
        (["--text", "hi", "--tol", "0.1", "--steps", "3"], "exclude each other"),
        (["--text", "hi", "--model", "scenes-cnn"], "scenes-cnn does not read text"),
        (["--text", "hi", "--model", "minilm-sentimental"], "does not read text"),
        (["--text", "hi", "--out", "x.png"], "ends in .html"),
        (["--model", "minilm-sentiment", "cat"], "give a text with --text"),
        ([], "name a PHOTO, or add --text"),
    ],
)
def test_a_misuse_is_said_before_any_work(here, monkeypatch, capsys, arguments, said):
    monkeypatch.setattr(xai_lab, "load", lambda *_, **__: pytest.fail("the network was loaded"))
    assert cli.main(["explain", *arguments]) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert (out, err.count("\n")) == ("", 1)
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "minilm"], "minilm is an encoder: it has no class scores"),
        (["--model", "tiny-lm", "--baseline", "mask"], "has no such token; take zeros or mean"),
        (["--target", "negativ"], "near it: negative"),
        (["--target", "neutral"], "the network knows no such class"),
        (["--target", "2"], "classes 0 to 1"),
        (["--target", "top3"], "top1 to top2"),
    ],
)
def test_a_model_that_cannot_be_asked_that_is_a_misuse(here, capsys, arguments, said):
    assert explain("Mary took it", *arguments) == 2
    assert said in capsys.readouterr().err
    assert not list(here.iterdir())


def test_baselines_of_the_command_are_those_of_the_package(here):
    net = xai_lab.load("minilm-sentiment")
    embeddings = words.word_embeddings(net.model)
    ids = net.preprocess("hi")["input_ids"]
    x = words.embedded(embeddings, ids)
    for name in cli.TEXT_BASELINES:
        assert words.text_baselines(name, x, ids, embeddings, net.tokenizer)
    with pytest.raises(ValueError, match="there are " + ", ".join(cli.TEXT_BASELINES[:-1])):
        words.text_baselines("blur", x, ids, embeddings, net.tokenizer)


def test_the_model_is_left_as_it_was(here):
    net = xai_lab.load("minilm-sentiment")
    before = torch.get_rng_state()
    hooks = len(words.word_embeddings(net.model)._forward_hooks)
    assert explain(SOUP, "--method", "all", "--steps", "2", "--samples", "2") == 0
    assert len(words.word_embeddings(net.model)._forward_hooks) == hooks
    assert all(p.grad is None and p.requires_grad for p in net.model.parameters())
    assert torch.equal(torch.get_rng_state(), before)
