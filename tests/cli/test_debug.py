"""`xai-lab debug`: a verdict, a page, and one sentence for what cannot be."""

import json
import os
import re
import subprocess
import sys

import pytest
from PIL import Image

import xai_lab
from xai_lab import cli

LOAD = xai_lab.load
LOADED = {}
SCENE = ["scene:1", "--model", "scenes-cnn-background"]
HOSTILE = '<img src=x onerror=alert(2)> & $\\frac$ "q" <script>alert(1)</script>'
FACTORIES = """
from xai_lab.models import Loaded, load
from pathlib import Path

def scenes():
    return load("scenes-cnn-background", device="cpu")

def hostile():
    import dataclasses
    labels = [HOSTILE + str(c) for c in range(6)]
    return dataclasses.replace(scenes(), name="<b>mine</b>", labels=labels)

def training():
    net = scenes()
    net.model.train()
    return net

def plain():
    return scenes().model

def nothing():
    pass

def text():
    return load("tiny-lm", device="cpu")

def broken():
    raise KeyError("weights\\nare missing")

def leaves():
    raise SystemExit(3)

def needs(path):
    return scenes()

class Zoo:
    ready = scenes()
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Folder to run in, with modules of somebody's own, and each network loaded once."""

    def load(name, device=None):
        if name not in LOADED:
            LOADED[name] = LOAD(name, device="cpu")
        return LOADED[name]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(xai_lab, "load", load)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    (tmp_path / "mynet").mkdir()
    (tmp_path / "mynet" / "zoo.py").write_text(f"HOSTILE = {HOSTILE!r}\n{FACTORIES}")
    (tmp_path / "raises.py").write_text("x = 1\nraise RuntimeError('no such disk')\n")
    (tmp_path / "typo.py").write_text("def factory(:\n")
    (tmp_path / "lacks.py").write_text("import there_is_no_such_package\n")
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("mynet", "raises", "typo", "lacks"):
            del sys.modules[name]


@pytest.fixture
def run(here, capsys):
    """Run the command; what it returned, said and complained about."""

    def command(*arguments):
        code = cli.main(["debug", *arguments])
        return code, *capsys.readouterr()

    return command


def test_a_short_cut_is_named_and_its_page_written(run, here, checked):
    code, out, err = run(*SCENE, "--true", "flower")
    assert (code, err) == (0, "")
    assert out.startswith("scene 1 (flower): hexagon, not flower\n")
    assert "The deciding region is the background" in out
    assert "Wrote scene-1-diagnosed.html" in out
    assert "xai-lab shortcuts FOLDER --model scenes-cnn-background" in out
    assert all(len(line) <= 88 for line in out.splitlines())
    page = (here / "scene-1-diagnosed.html").read_text(encoding="utf-8")
    read = checked(here / "scene-1-diagnosed.html")
    assert ["hexagon", ">99.9%", "7.9", "1 of 6"] in read.rows
    assert any(row[0] == "flower (true)" and row[3] == "4 of 6" for row in read.rows)
    assert any("rank correlation" in row[0] for row in read.rows)
    assert "Of scene 1 (flower)." in page
    assert "xai-lab debug scene:1 --model scenes-cnn-background --true flower" in page
    assert "scenes-cnn-background on cpu" in page


def test_the_numbers_are_written_as_json_and_are_the_packages_own(run, here):
    assert run(*SCENE, "--true", "3", "--out", "case.json")[0] == 0
    told = json.loads((here / "case.json").read_text(encoding="utf-8"))
    assert (told["source"], told["model"]) == ("scene 1 (flower)", "scenes-cnn-background")
    assert told["command"].startswith("xai-lab debug scene:1")
    image = Image.open(make_scene(here, 1))
    net = xai_lab.load("scenes-cnn-background")
    own = xai_lab.diagnose(net, net.preprocess(image), "flower").to_dict()
    assert {name: told[name] for name in own} == json.loads(json.dumps(own))


def make_scene(folder, seed):
    """File of a drawn scene."""
    from xai_lab.attention_report import opened

    path = folder / f"scene{seed}.png"
    opened(f"scene:{seed}")[0].save(path)
    return path


def test_a_correct_prediction_has_nothing_to_diagnose(run, here, checked):
    model = ["--model", "scenes-cnn"]
    code, out, err = run("scene:1", "--true", "flower", *model)
    assert (code, err) == (0, "")
    assert re.search(r"Nothing to diagnose: flower is right, with \S+%, \d+ points\s+ahead of", out)
    assert "xai-lab shortcuts FOLDER --model scenes-cnn finds that" in out
    assert not list(here.glob("*.html"))
    assert run("scene:1", "--true", "Flower", *model, "--out", "asked.html")[0] == 0
    checked(here / "asked.html")


def test_the_right_class_may_be_typed_as_one_would():
    from xai_lab.debug_report import true_class

    labels = ["space shuttle", "tabby", "yellow lady's slipper", "crane", "crane", "7"]
    assert true_class("Space-Shuttle", labels) == 0
    assert true_class("1", labels) == 1
    assert true_class("7", labels) == 5
    with pytest.raises(cli.MisuseError, match=r"2 classes are called 'crane': .*\[3, 4\]"):
        true_class("crane", labels)
    with pytest.raises(cli.MisuseError, match="near it: space shuttle"):
        true_class("shuttle", labels)
    with pytest.raises(cli.MisuseError, match="there is no class 99"):
        true_class("99", labels)


def test_every_verdict_has_a_next_step():
    from xai_lab import debug_report, diagnosis

    assert set(debug_report.NEXT) == {*diagnosis.RULES, "correct"}


@pytest.mark.parametrize("name", ["mynet.zoo:scenes", "mynet.zoo:training", "mynet.zoo:Zoo.ready"])
def test_a_network_of_ones_own_is_diagnosed_alike(run, here, name):
    expected = run(*SCENE, "--true", "flower")[1].splitlines()[:10]
    code, out, err = run("scene:1", "--true", "flower", "--model", name, "--device", "cpu")
    assert (code, err) == (0, "")
    assert out.splitlines()[:10] == expected
    assert f"xai-lab shortcuts FOLDER --model {name}" in out


def test_markup_in_labels_files_and_models_is_shown_and_not_run(run, here, checked, opened):
    path = make_scene(here, 1).rename(here / "<b onclick=alert(3)>$x$ & ü.png")
    code, out, err = run(
        path.name, "--true", f"{HOSTILE}3", "--model", "mynet.zoo:hostile", "--out", "page.html"
    )
    assert (code, err) == (0, "")
    assert f"{HOSTILE}1, not {HOSTILE}3" in out
    read = checked(here / "page.html")
    assert read.rows[1][0] == f"{HOSTILE}1"
    assert not any(tag in ("b", "script") for tag, _ in read.tags)
    tab = opened(here / "page.html")
    assert tab.title() == f"{HOSTILE}3, taken for {HOSTILE}1"
    assert path.name in tab.locator("footer").inner_text()
    assert "<b>mine</b>" in tab.locator("footer").inner_text()


TRUE = ["--true", "flower"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["no.jpg", *TRUE], 1, "no photo 'no.jpg'"),
        (["broken.png", *TRUE], 1, "broken.png is not an image"),
        ([".", *TRUE], 1, "no photo '.'"),
        ([*SCENE, "--true", "flowers"], 2, "no class 'flowers' among its 6; near it: flower"),
        ([*SCENE, "--true", ""], 2, "no class ''"),
        ([*SCENE, "--true", "6"], 2, "there is no class 6: the model has 0 to 5"),
        ([*SCENE], 2, "the following arguments are required: --true"),
        ([*SCENE, *TRUE, "--out", "page.txt"], 2, "nor a file that ends in .html"),
        ([*SCENE, *TRUE, "--out", "no/page.html"], 1, "there is no folder no"),
        ([*SCENE, *TRUE, "--seed", "-1"], 2, "-1 was given, expected at least 0"),
        (["scene:1", *TRUE, "--model", "minilm"], 2, "reads text"),
        (["scene:1", *TRUE, "--model", "no-such-model"], 1, "no-such-model"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(run, here, arguments, code, said):
    (here / "broken.png").write_text("no picture")
    got, out, err = run(*arguments)
    assert (got, out) == (code, "")
    assert said in err
    assert "Traceback" not in err
    if code == 1:
        assert len(err.strip().splitlines()) == 1
    assert "--text" not in err
    assert not [*here.glob("*.html"), *here.glob("*.json")]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("there_is_none:factory", "no module 'there_is_none' in this folder"),
        ("mynet.none:factory", "no module 'mynet.none'"),
        ("mynet.zoo.py:scenes", "without .py"),
        (":scenes", "importing"),
        ("mynet.zoo:", "no ''; it has"),
        ("mynet.zoo:factory", "mynet.zoo has no 'factory'; it has HOSTILE, Loaded, load"),
        ("mynet.zoo:Path", "gives a PosixPath"),
        ("mynet.zoo:HOSTILE", "gives a str"),
        ("mynet.zoo:nothing", "gives nothing (None)"),
        ("mynet.zoo:text", "gives a LoadedText"),
        ("mynet.zoo:plain", "gives a plain network (SceneCNN), expected what `xai_lab.load`"),
        ("mynet.zoo:broken", "broken raised KeyError: 'weights\\nare missing' (zoo.py, line"),
        ("mynet.zoo:leaves", "leaves raised SystemExit: 3 (zoo.py, line"),
        ("mynet.zoo:needs", "missing 1 required positional argument"),
        (
            "raises:factory",
            "importing raises raised RuntimeError: no such disk (raises.py, line 2)",
        ),
        ("typo:factory", "importing typo raised SyntaxError"),
        ("lacks:factory", "No module named 'there_is_no_such_package' (lacks.py, line 1)"),
    ],
)
def test_a_factory_that_does_not_work_is_told_in_one_sentence(run, here, model, said):
    code, out, err = run("scene:1", *TRUE, "--model", model)
    assert (code, out) == (2, "")
    assert err.startswith(f"xai-lab: --model {model}: ")
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err


def test_labels_that_do_not_fit_a_network_are_told(run, here):
    (here / "few.py").write_text(
        "import dataclasses\nfrom mynet.zoo import scenes\n"
        "def factory():\n    return dataclasses.replace(scenes(), labels=['a', 'flower'])\n"
    )
    code, out, err = run("scene:1", *TRUE, "--model", "few:factory")
    assert (code, out) == (1, "")
    assert "there are 2 labels, the model has 6 classes" in err


def test_explain_takes_a_network_of_ones_own_as_well(here, capsys):
    path = make_scene(here, 1)
    asked = ["--model", "mynet.zoo:scenes", "--method", "saliency", "--device", "cpu"]
    assert cli.main(["explain", path.name, *asked]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("scene1.png: hexagon")
    assert "--model mynet.zoo:scenes" in out


def test_what_cannot_be_written_is_said_before_any_work_is_done(run, here, monkeypatch):
    folder = here / "shut"
    folder.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: "shut" not in str(path))
    code, out, err = run(*SCENE, *TRUE, "--out", "shut")
    assert (code, out) == (1, "")
    assert "nothing can be written to" in err


def test_the_photo_itself_is_not_overwritten(run, here):
    photo = make_scene(here, 1).rename(here / "photo.html")
    code, _, err = run("photo.html", *TRUE, "--out", "photo.html")
    assert code == 2
    assert "is the photo itself" in err
    assert Image.open(photo).size == (64, 64)


def test_the_help_says_how_to_bring_ones_own_network_and_loads_nothing():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "xai_lab", "debug", "--help"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0
    for text in ("--true", "--model", "Loaded(", "scene:7", "exit codes"):
        assert text in done.stdout
    assert not re.search(r"\| +torch$", done.stderr, re.MULTILINE)
