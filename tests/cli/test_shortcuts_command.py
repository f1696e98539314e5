"""`xai-lab shortcuts`: a folder of class folders, a page, and one sentence for what cannot be."""

import json
import os
import re
import shutil
import sys

import pytest
from joblib.externals.loky import get_reusable_executor
from PIL import Image

import xai_lab
from xai_lab import cli
from xai_lab import shortcuts as package
from xai_lab.data.scenes import scenes

LOAD = xai_lab.load
LOADED = {}
BACKGROUND = ["--model", "scenes-cnn-background"]
MARKUP = "<img src=x onerror=alert(1)>&.png"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Folder to run in, with each network loaded once."""

    def load(name, device=None):
        if name not in LOADED:
            LOADED[name] = LOAD(name, device="cpu")
        return LOADED[name]

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(xai_lab, "load", load)
    return tmp_path


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Two class folders of scenes whose backgrounds give the class away."""
    folder = tmp_path_factory.mktemp("drawn") / "photos"
    for shape in ("star", "heart"):
        (folder / shape).mkdir(parents=True)
        for i, image in enumerate(scenes(7, seed=5, shape=shape, background_bias=1).images):
            pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
            Image.fromarray(pixels).save(folder / shape / f"{i}.png")
    return folder


@pytest.fixture
def photos(drawn, here):
    """The same, in the folder to run in."""
    return shutil.copytree(drawn, here / "photos")


@pytest.fixture
def run(here, capsys):
    """Run the command; what it returned, said and complained about."""

    def command(*arguments):
        code = cli.main(["shortcuts", *arguments])
        return code, *capsys.readouterr()

    return command


def test_the_planted_short_cut_is_told_and_a_page_written(run, photos, here, checked, opened):
    (photos / "star" / MARKUP).write_text("not a picture")
    (photos / "heart" / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\nhalf")
    code, out, err = run("photos", *BACKGROUND, "--keep", "parts")
    assert code == 1, "some pictures could not be read"
    assert len(err.strip().splitlines()) == 1
    assert "2 of 16 pictures cannot be read and are left out: heart/cut.png: " in err
    assert f"star/{MARKUP}: " in err
    assert out.startswith("photos: 14 pictures, scenes-cnn-background is right in 100%\n")
    assert re.search(r"Short cuts? confirmed", out)
    assert re.search(r"^  class +pictures +right +verdict$", out, re.MULTILINE)
    assert re.search(r"^  star +7 +100%  short cut: background$", out, re.MULTILINE)
    assert "Wrote photos-shortcuts.html" in out
    assert all(len(line) <= 88 for line in out.splitlines())
    read = checked(here / "photos-shortcuts.html")
    assert any(row[:3] == ["star", "7", "100%"] for row in read.rows)
    assert any(row[0] == f"star/{MARKUP}" for row in read.rows)
    tab = opened(here / "photos-shortcuts.html")
    assert "xai-lab shortcuts photos --model" in tab.locator("footer").inner_text()
    # Finished parts are taken from where they were kept.
    assert any((here / "parts").iterdir())
    assert run("photos", *BACKGROUND, "--keep", "parts")[:2] == (
        1,
        out.replace("photos-shortcuts.html", "photos-shortcuts-2.html"),
    )


def test_numbers_are_written_as_json_by_a_network_of_ones_own_and_two_processes(run, photos, here):
    (here / "two_workers.py").write_text(
        "import dataclasses\nfrom torch import nn\nfrom xai_lab.models import load\n"
        "class Net(nn.Sequential):\n    '''A class that workers have to import.'''\n"
        "def factory():\n    net = load('scenes-cnn-background', device='cpu')\n"
        "    return dataclasses.replace(net, model=Net(net.model))\n"
    )
    get_reusable_executor().shutdown()  # workers of another test know nothing of this folder
    own = ["--model", "two_workers:factory", "--jobs", "2", "--out", "found.json"]
    code, _, err = run("photos", *own, "--device", "cpu")
    assert (code, err) == (0, "")
    told = json.loads((here / "found.json").read_text(encoding="utf-8"))
    assert (told["source"], told["model"]) == ("photos", "scenes-cnn-background")
    expected = package.find_shortcuts(xai_lab.load("scenes-cnn-background"), photos).to_dict()
    assert told["clusters"] == json.loads(json.dumps(expected["clusters"]))


def test_one_class_or_one_picture_is_undecided_and_no_error(run, photos, checked, here):
    shutil.rmtree(photos / "heart")
    code, out, err = run("photos", *BACKGROUND, "--out", "one-class.html")
    assert (code, err) == (0, "")
    assert "No short cut was confirmed" in out
    assert re.search(r"^  star +7 +100%  undecided$", out, re.MULTILINE)
    for file in sorted((photos / "star").iterdir())[1:]:
        file.unlink()
    code, out, err = run("photos", *BACKGROUND, "--out", "one-picture.html")
    assert (code, err) == (0, "")
    assert out.startswith("photos: 1 picture, ")
    checked(here / "one-class.html")
    checked(here / "one-picture.html")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["none"], 1, "there is no folder none"),
        (["file.txt"], 1, "there is no folder file.txt"),
        (["empty"], 1, "the data set is empty"),
        (["photos/star"], 1, "the data set is empty"),
        (["unknown"], 1, "the folder 'wolf' is none of the classes"),
        (["unreadable"], 1, "none of the 1 pictures could be read"),
        (["photos", "--out", "page.png"], 2, "nor a file that ends in .html"),
        (["photos", "--out", "no/page.html"], 1, "there is no folder no"),
        (["photos", "--out", "photos/star/page.html"], 2, "--out photos/star lies inside photos"),
        (["photos", "--out", "photos/star"], 2, "--out photos/star lies inside photos"),
        (["photos", "--keep", "photos/parts"], 2, "--keep photos/parts lies inside photos"),
        (["photos", "--keep", "file.txt"], 1, "file.txt cannot be written to"),
        (["photos", "--jobs", "0"], 2, "0 was given, expected at least 1"),
        (["photos", "--model", "none_such:factory"], 2, "no module 'none_such'"),
        (["photos", "--model", "tiny-lm"], 2, "reads text"),
        ([], 2, "the following arguments are required: FOLDER"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(run, photos, here, arguments, code, said):
    (here / "file.txt").write_text("")
    for name in ("empty", "unknown/wolf", "unreadable/star"):
        (here / name).mkdir(parents=True)
    shutil.copy(photos / "star" / "0.png", here / "unknown" / "wolf")
    (here / "unreadable" / "star" / "a.png").write_text("x")
    model = [] if "--model" in arguments else BACKGROUND
    got, out, err = run(*arguments, *model)
    assert (got, out) == (code, "")
    assert said in err
    assert "Traceback" not in err
    if code == 1:
        assert len(err.strip().splitlines()) == 1
    assert not list(here.rglob("*.html"))


def test_a_folder_that_may_not_be_read_is_told(run, photos, monkeypatch):
    listing = os.scandir

    def refused(path="."):
        if str(path).endswith("star"):
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    iterdir = type(photos).iterdir

    def no_iterdir(path):
        refused(path).close()
        return iterdir(path)

    monkeypatch.setattr(type(photos), "iterdir", no_iterdir)
    monkeypatch.setattr(os, "scandir", refused)
    code, out, err = run("photos", *BACKGROUND)
    assert (code, out) == (1, "")
    assert "star may not be read by you" in err
    assert len(err.strip().splitlines()) == 1


def test_a_stopped_run_says_how_to_go_on(run, photos, monkeypatch):
    def stopped(*_arguments, **_settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(package, "find_shortcuts", stopped)
    code, out, err = run("photos", *BACKGROUND, "--keep", "parts")
    assert (code, out) == (130, "")
    assert "what is done lies in parts; the same command goes on from it" in err
    assert run("photos", *BACKGROUND)[2] == "xai-lab: stopped\n"


def test_the_help_names_both_commands(capsys):
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert "xai-lab debug" in said
    assert "xai-lab shortcuts" in said
    assert cli.main(["shortcuts", "--help"]) == 0
    said = capsys.readouterr().out
    for text in ("--jobs", "--keep", "--model", "--out", "Loaded(", "exit codes"):
        assert text in said
