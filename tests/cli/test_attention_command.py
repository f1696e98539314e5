"""`xai-lab attention`: one page for a text or a photo, and one sentence for what cannot be."""

import re
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

import xai_lab
from xai_lab import attention_report, cli
from xai_lab.plot import bertviz_view

CAT = "The cat sat on the mat because it was tired"
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & $x$ <!--"
LOAD = xai_lab.load
LOADED = {}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Folder to run in, with each network loaded once; those of a hub have random weights."""

    def load(name, device=None):
        if name not in LOADED:
            bundled = name in ("minilm", "tiny-lm", "scenes-vit", "scenes-cnn")
            LOADED[name] = LOAD(name, pretrained=bundled, device="cpu")
        return LOADED[name]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(xai_lab, "load", load)
    return tmp_path


@pytest.fixture
def run(here, capsys):
    """Run the command; what it returned, said, complained about, and the page it wrote."""

    def command(*arguments):
        before = set(here.rglob("*.html"))
        code = cli.main(["attention", *arguments])
        out, err = capsys.readouterr()
        new = set(here.rglob("*.html")) - before
        pages = [path.read_text(encoding="utf-8") for path in new]
        return code, out, err, pages[0] if pages else ""

    return command


class Page(HTMLParser):
    """Tags of a page with their attributes, and the cells of its table."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.rows, self.inside = [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        self.inside = tag in ("td", "th")

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside and self.rows:
            self.rows[-1].append(data)


def test_a_text_becomes_a_page_with_a_view_and_a_table_of_heads(run):
    code, out, err, page = run(CAT)
    assert (code, err) == (0, "")
    assert "12 tokens; minilm has 6 layers × 12 heads" in out
    assert re.search(r"previous +1\.00  layer 0 head 2", out)
    assert "Wrote the-cat-sat-on-explained.html" in out
    assert f"Next: xai-lab attention '{CAT}' --layer 0 --head 2" in out
    head, *rows = Page(page).rows
    assert head == ["layer", "head", "strongest pattern", "score", "entropy", "distance"]
    assert len(rows) == 72
    assert rows[2][:4] == ["0", "2", "previous", "1.00"]
    assert float(rows[2][4]) < 0.01
    assert [row[:2] for row in rows] == [[str(i // 12), str(i % 12)] for i in range(72)]
    assert 'class="xai-bertviz head"' in page
    assert len(page) < 1_000_000


def test_the_table_holds_the_packages_own_numbers(run):
    from xai_lab.attention import attention_maps, distance, entropy

    rows = Page(run(CAT)[3]).rows[1:]
    net = xai_lab.load("minilm")
    A = attention_maps(net.model, net.preprocess(CAT))
    for place, function in ((4, entropy), (5, distance)):
        values = function(A)[:, 0].mean(-1).flatten()
        shown = torch.tensor([float(row[place]) for row in rows])
        torch.testing.assert_close(shown, values, atol=0.0051, rtol=0)


def test_a_head_is_drawn_large_and_shown_first(run):
    code, out, _, page = run(CAT, "--layer", "5", "--head", "11", "--out", "cat.html")
    assert code == 0
    assert "Layer 5, head 11" in page
    assert '"layer":5,"heads":[11]' in page
    alts = [attributes["alt"] for tag, attributes in Page(page).tags if tag == "img"]
    assert any("goes from cat (2) to cat (2)" in alt for alt in alts)
    assert "Wrote cat.html" in out
    assert "Next: open the page" in out


def test_the_page_needs_nothing_else_and_allows_no_script_but_its_own(run):
    for arguments in ((CAT,), ("scene:7",)):
        page = run(*arguments)[3]
        tags = Page(page).tags
        for tag, attributes in tags:
            assert tag not in ("iframe", "object", "base", "link") or attributes["href"] == "data:,"
            for name in ("src", "href", "action"):
                assert attributes.get(name, "data:").startswith(("data:", "#"))
            assert not any(name.startswith("on") for name in attributes), attributes
        (policy,) = (a["content"] for tag, a in tags if "http-equiv" in a)
        assert policy.startswith("default-src 'none'")
        assert "unsafe-inline" not in policy.partition("script-src")[2]
        scripts = sum(tag == "script" for tag, _ in tags)
        assert policy.count("'sha256-") == scripts
        assert scripts == (1 if arguments == (CAT,) else 0)
        assert all(a["alt"].strip() for tag, a in tags if tag == "img")


def test_markup_in_a_text_is_shown_and_not_run(run, here, browser):
    code, _, _, page = run(HOSTILE, "--out", "page.html")
    assert code == 0
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page
    assert page.count("<script") == page.count("</script>") == 1
    tab, wrong, asked = browser.new_page(), [], []
    tab.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("console", lambda line: wrong.append(line.text))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto((here / "page.html").as_uri())
    assert tab.locator("[data-id=left] text").nth(1).text_content() == "<"
    tab.locator("[data-id=left] g[tabindex]").nth(1).hover()  # the view is at work
    assert "looks at" in tab.locator("output").inner_text()
    tab.close()
    assert wrong == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_a_scene_becomes_a_page_on_where_the_class_token_looks(run):
    code, out, err, page = run("scene:7")
    assert (code, err) == (0, "")
    assert out.startswith("scene 7 (flower): flower (100%); scenes-vit has 4 layers × 4 heads")
    assert "never seen" not in page
    head, *rows = Page(page).rows
    assert head[2:] == ["kept", "strongest patch", "its share", "entropy", "distance"]
    assert len(rows) == 16
    assert "Next: xai-lab attention scene:7 --layer" in out


def test_the_table_of_a_picture_says_where_the_class_token_looks(run):
    from xai_lab.attention import attention_maps
    from xai_lab.data.scenes import scenes

    rows = Page(run("scene:3")[3]).rows[1:]
    A = attention_maps(xai_lab.load("scenes-vit").model, scenes(1, seed=3).images)[:, 0]
    for row in rows:
        looks = A[int(row[0]), int(row[1]), 0]
        y, x = divmod(int(looks[1:].argmax()), 8)
        assert row[3] == f"row {y}, column {x}"
        assert float(row[2]) == pytest.approx(looks[0].item(), abs=0.006)
        assert float(row[4]) == pytest.approx(looks[1:].max().item(), abs=0.006)


def test_a_photo_is_out_of_the_scenes_networks_world_and_the_page_says_so(run, here):
    Image.new("RGB", (90, 70), "teal").save(here / "photo.jpg")
    for what in ("cat", "photo.jpg"):
        code, out, err, page = run(what, "--layer", "2")
        assert code == 0
        assert "something it has never seen" in err
        assert "something it has never seen" in page
        assert "Wrote" in out
    assert (here / "photo.jpg").stat().st_size


@pytest.mark.parametrize("model", ["vit-base", "timm/deit_tiny_distilled_patch16_224"])
def test_larger_vision_transformers_are_one_argument_away(run, monkeypatch, model):
    # 144 maps of random weights take seconds to draw, and the unit tests draw them.
    small = attention_report.plot.by_layer({"": torch.zeros(1, 1)})
    monkeypatch.setattr(attention_report.plot, "cls_maps", lambda *_: small)
    code, out, err, page = run("cat", "--model", model, "--layer", "3", "--head", "1")
    assert (code, err) == (0, "")
    assert "12 layers" in out
    assert "14 × 14 patches" in out
    assert "Layer 3, head 1" in page


def test_other_language_models_read_as_well(run):
    code, out, err, _ = run("Mary took the red lamp . Mary took the red", "--model", "tiny-lm")
    assert (code, err) == (0, "")
    assert "tiny-lm has 2 layers × 4 heads" in out
    assert "causal" not in out
    assert "--model tiny-lm --layer" in out
    code, _, err, page = run("Mary took the xylophone .", "--model", "tiny-lm")
    assert code == 0
    assert "1 of the" in err
    assert "unknown to tiny-lm" in page


def test_the_word_cat_is_a_photo_unless_a_model_reads_it(run):
    assert "minilm has" in run("cat", "--model", "minilm")[1]
    assert "scenes-vit has" in run("cat")[1]


def test_the_same_text_gives_the_same_page_and_a_free_name(run, here):
    assert run(CAT)[0] == run(CAT)[0] == 0
    a, b = (here / f"the-cat-sat-on-explained{end}.html" for end in ("", "-2"))
    assert a.read_bytes() == b.read_bytes()
    (here / "folder").mkdir()
    assert run("...", "--out", "folder")[0] == 0
    assert (here / "folder" / "text-explained.html").is_file()


def test_without_bertviz_the_page_has_a_still_picture(run, monkeypatch):
    monkeypatch.setattr(bertviz_view, "find_spec", lambda name: None)
    code, _, err, page = run(CAT)
    assert code == 0
    assert "pip install bertviz" in err
    assert "<script" not in page
    assert "script-src 'none'" in page
    assert len(Page(page).rows) == 73


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["", "--out", "a.html"], 2, "the text is empty"),
        ([" \n\t "], 2, "the text is empty"),
        (["word " * 99], 2, "the text has 101 tokens, a page shows 100 at most"),
        (["word " * 5000], 2, "the text has 5002 tokens"),
        ([CAT, "--layer", "6"], 2, "--layer 6: minilm has layers 0 to 5"),
        ([CAT, "--layer", "0", "--head", "12"], 2, "--head 12: minilm has heads 0 to 11"),
        ([CAT, "--head", "1"], 2, "--head needs --layer"),
        ([CAT, "--layer", "-1"], 2, "-1 was given, expected at least 0"),
        ([CAT, "--out", "page.txt"], 2, "nor a file that ends in .html"),
        ([CAT, "--out", "no/page.html"], 1, "there is no folder no"),
        (["scene:7", "--layer", "4"], 2, "--layer 4: scenes-vit has layers 0 to 3"),
        (["scene:7", "--model", "scenes-cnn"], 1, "no attention was seen"),
        (["cat", "--model", "timm/swin_tiny_patch4_window7_224"], 1, "within windows"),
        (["no.jpg"], 1, "no photo 'no.jpg'"),
        (["no.jpg", "--model", "minilm"], 2, "reads text, and no.jpg is a picture"),
        ([CAT, "--model", "scenes-vit"], 1, "no photo"),
        (["scene:99999999999999999999"], 2, "the seed is a number below"),
        ([CAT, "--model", "no-such-model"], 1, "no photo"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(run, here, arguments, code, said):
    got, out, err, page = run(*arguments)
    assert got == code
    assert said in err
    assert "Traceback" not in err
    assert out == page == ""
    if code == 1:
        assert len(err.strip().splitlines()) == 1
    assert not list(here.rglob("*.html"))


def test_a_text_file_is_not_taken_for_a_text_nor_overwritten(run, here):
    (here / "notes.html").write_text("my notes")
    code, _, err, _ = run("notes.html", "--out", "notes.html")
    assert code == 1
    assert "notes.html" in err
    assert (here / "notes.html").read_text() == "my notes"


def test_the_model_is_as_it_was(run):
    run("scene:7")
    net = xai_lab.load("scenes-vit")
    before = net.model.config._attn_implementation
    run("scene:8")
    assert net.model.config._attn_implementation == before
    assert not net.model.training
    assert all(p.grad is None for p in net.model.parameters())


def test_the_help_names_the_command(capsys):
    assert cli.main(["--help"]) == 0
    assert "attention" in capsys.readouterr().out
    assert cli.main(["attention", "--help"]) == 0
    said = capsys.readouterr().out
    for text in ("--model", "--layer", "--head", "--out", "scene:7", "exit codes"):
        assert text in said
