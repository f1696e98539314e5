"""`xai-lab explain`: what it writes, what it says, and what it does with a bad photo."""

import errno
import io
import os
import re
import struct
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import xai_lab
from xai_lab import cli, data
from xai_lab.methods import METHODS

QUICK = ["--samples", "2", "--channels", "2", "--device", "cpu"]
IG = ["--method", "ig", "--device", "cpu"]
LOAD = xai_lab.load
ASKED = ["--method", "all", "--target", "football-helmet,goldfish", "--seed", "3", "--tol", "0.1"]


def shell(*arguments, cwd=None, **environment):
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "xai_lab", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        cwd=cwd,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1", **environment},
    )


@pytest.fixture(scope="module")
def net():
    return xai_lab.load("efficientnet-lite0", device="cpu")


@pytest.fixture
def here(tmp_path, monkeypatch, net):
    """Folder to run `main` in, with the network already loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(xai_lab, "load", lambda name, device=None: net)
    return tmp_path


def stand_in(monkeypatch, model):
    """Let the command load a network of the test's own."""
    net = xai_lab.load("")
    own = type(net)("own", model, ["a", "b", "c"], net.transform, net.mean, net.std)
    monkeypatch.setattr(xai_lab, "load", lambda name, device=None: own)


@pytest.fixture
def seen(here, monkeypatch):
    """Keep what would have been drawn, and draw nothing."""
    from xai_lab import report

    kept = []
    monkeypatch.setattr(report, "picture", lambda explained, *_: kept.extend(explained) or b"PNG")
    return kept


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """One real run of the command, whose report many tests look at."""
    folder = tmp_path_factory.mktemp("report")
    done = shell("explain", "astronaut", *ASKED, *QUICK, "--out", "report.html", cwd=folder)
    assert done.returncode == 0, done.stderr
    return done, (folder / "report.html").read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, page):
        super().__init__()
        self.all = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.all.append((tag, dict(attributes)))


# The report


def test_the_report_asks_for_nothing_outside_itself(reported):
    page = reported[1]
    for tag, attributes in Tags(page).all:
        assert tag not in ("script", "iframe", "object", "base"), tag
        for name in ("src", "href", "srcset", "action", "poster"):
            address = attributes.get(name)
            assert address is None or address.startswith(("data:", "#")), address
    assert not re.search(r"url\(|@import|https?:", page)


def test_every_image_of_the_report_says_what_it_shows(reported):
    images = [attributes for tag, attributes in Tags(reported[1]).all if tag == "img"]
    assert len(images) == 1 + 2 * len(METHODS)
    assert all(image["alt"].strip() and image["width"] == "224" for image in images)
    assert len({image["alt"] for image in images}) == len(images)


def test_links_of_the_report_lead_somewhere(reported):
    tags = Tags(reported[1]).all
    places = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(places) == len(set(places))
    links = [a["href"][1:] for tag, a in tags if tag == "a"]
    assert links
    assert set(links) <= set(places)


def test_the_report_names_command_versions_and_what_each_map_hides(reported):
    page = reported[1]
    wanted = ["xai-lab explain astronaut", "--target football-helmet,goldfish", "seed 3"]
    wanted += [f"torch {torch.__version__.partition('+')[0]}", "football helmet", "goldfish"]
    for text in wanted:
        assert text in page
    for method in METHODS.values():
        assert method.title in page
        assert method.hides.partition("'")[0] in page
    assert METHODS["guided-backprop"].warning in page


def test_the_command_says_prediction_file_and_next_step(reported):
    said = reported[0].stdout
    assert said.startswith("astronaut: football helmet\n")
    assert "Wrote report.html" in said
    assert "Next: " in said
    assert "\x1b" not in said + reported[0].stderr


def test_nothing_is_said_on_stderr_when_all_is_well_and_nobody_watches(reported):
    assert reported[0].stderr == ""


def test_a_photo_with_a_hostile_name_stays_text(here):
    name = '<img src=x onerror=alert(1)>&".png'
    data.photo("cat").resize((64, 64)).save(here / name, format="PNG")
    assert cli.main(["explain", name, "--method", "saliency", "--out", "r.html", *QUICK]) == 0
    assert "<img src=x" not in (here / "r.html").read_text(encoding="utf-8")


def test_a_report_holds_many_photos(here):
    arguments = ["explain", "cat", "coffee", "--method", "saliency", "--out", "r.html", *QUICK]
    assert cli.main(arguments) == 0
    page = (here / "r.html").read_text(encoding="utf-8")
    assert "2 photos, explained" in page
    assert page.count("<img ") == 4


# The picture


def test_the_picture_depends_on_the_seed_and_on_nothing_else(here):
    ask = ["explain", "cat", "--method", "smooth-grad", *QUICK, "--out"]
    torch.manual_seed(1)
    assert cli.main([*ask, "a.png"]) == 0
    torch.manual_seed(2)
    assert cli.main([*ask, "b.png"]) == 0
    assert cli.main([*ask, "c.png", "--seed", "1"]) == 0
    a, b, c = ((here / name).read_bytes() for name in ("a.png", "b.png", "c.png"))
    assert a == b != c
    assert Image.open(here / "a.png").size[0] > 900


def test_every_number_of_methods_and_classes_can_be_laid_out(here):
    names = list(METHODS)
    for count in (2, 4, 6):
        chosen = ",".join(names[:count])
        assert cli.main(["explain", "cat", "--method", chosen, "--target", "top2", *QUICK]) == 0
    assert len(list(here.glob("cat-explained*.png"))) == 3


def test_the_maps_are_the_packages_own(seen, net):
    ask = ["--method", "saliency,var-grad", "--target", "football-helmet,goldfish", "--seed", "3"]
    assert cli.main(["explain", "astronaut", *ask, *QUICK, "--noise", "0.1"]) == 0
    (one,) = seen
    x = net.preprocess("astronaut")
    goldfish = net.labels.index("goldfish")
    torch.testing.assert_close(
        one.maps[goldfish, "saliency", ""].attribution, xai_lab.saliency(net.model, x, goldfish)
    )
    torch.testing.assert_close(
        one.maps[goldfish, "var-grad", ""].attribution,
        xai_lab.smooth_grad_statistics(
            net.model, x, goldfish, samples=2, noise=0.1, seed=3
        ).variance,
    )


# Class activation


CAMS = ["cam", "grad-cam", "grad-cam++", "score-cam", "layer-cam", "hires-cam"]


def test_maps_of_layers_are_the_packages_own(seen, monkeypatch):
    net = LOAD("scenes-cnn", device="cpu")
    monkeypatch.setattr(xai_lab, "load", lambda *_, **__: net)
    ask = ["--method", ",".join(CAMS), "--target", "top2", *QUICK]
    assert cli.main(["explain", "cat", *ask]) == 0
    (one,) = seen
    x = net.preprocess("cat")
    for target in one.targets:
        for name in CAMS:
            (map,) = (m for m in one.of(target) if m.name == name)
            function = getattr(xai_lab.cam, name.replace("-", "_").replace("++", "_plus_plus"))
            settings = {"channels": 2} if name == "score-cam" else {}
            expected = function(net.model, x, target.index, upsample=False, **settings)
            torch.testing.assert_close(map.attribution, expected)
            drawn = function(net.model, x, target.index, **settings)[0]
            torch.testing.assert_close(torch.from_numpy(map.flat), drawn)


def test_all_classes_share_one_forward_pass(here, net):
    net.predict(net.preprocess("cat"))
    xai_lab.grad_cam(net.model, net.preprocess("cat"))  # finds the layer, once and for all
    passes = []
    hook = net.model.register_forward_hook(lambda *_: passes.append(1))
    counts = []
    for target in ("top1", "top5"):
        passes.clear()
        settings = {"layers": (), "channels": None}
        cli.explain_one(net, "cat", {"grad-cam": METHODS["grad-cam"]}, target, 5, settings)
        counts.append(len(passes))
    hook.remove()
    assert counts == [2, 2]  # the guesses, and the maps


def test_every_named_layer_has_a_map_and_pixels_have_one(seen):
    ask = ["--method", "grad-cam,saliency,cam", "--layer", "blocks.2, blocks.4"]
    assert cli.main(["explain", "cat", *ask]) == 0
    (one,) = seen
    maps = {(map.name, map.layer): map for map in one.of(one.targets[0])}
    assert list(maps) == [
        ("grad-cam", "blocks.2"), ("grad-cam", "blocks.4"), ("saliency", ""), ("cam", "bn2")
    ]  # fmt: skip
    assert maps["grad-cam", "blocks.2"].title == "Grad-CAM, blocks.2"
    assert maps["grad-cam", "blocks.2"].grid == "28 × 28 cells"


def test_a_map_of_cells_lies_over_the_photo():
    from xai_lab import report

    picture = torch.rand(1, 3, 2, 2)
    over = report.overlaid(np.array([[0.0, 1.0], [0.5, 9.0]]), picture, 1.0, signed=False)
    grey = (255 * picture[0].mean(0)).round()
    assert over[0, 0].tolist() == [grey[0, 0]] * 3  # where nothing is said the photo is seen
    top = 255 * np.array([0.987053, 0.991438, 0.749504])  # the end of magma
    for row, column in ((0, 1), (1, 1)):
        expected = 0.8 * top + 0.2 * grey[row, column].item()
        np.testing.assert_allclose(over[row, column], expected, atol=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "grad-cam", "--layer", "bn3"], "no layer 'bn3'; near it: bn2"),
        (["--method", "saliency", "--layer", "bn2"], "--layer is of no use to saliency"),
        (["--method", "cam", "--layer", "bn2"], "--layer is of no use to cam"),
        (["--method", "grad-cam", "--layer", ","], "no layer was named"),
        (["--method", "gradcam"], "did you mean grad-cam"),
        (["--model", "minilm"], "minilm reads text"),
    ],
)
def test_a_layer_or_model_that_cannot_be_asked_is_a_misuse(here, capsys, arguments, said):
    assert cli.main(["explain", "cat", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not list(here.iterdir())


def test_grad_cam_plus_plus_may_be_spelled_out():
    assert cli.methods("grad_cam_plus_plus,Grad-CAM++,cam") == ["grad-cam++", "cam"]


def test_a_method_that_does_not_fit_does_not_stop_the_others(here, monkeypatch, capsys):
    deep = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 16, stride=16), torch.nn.ReLU(),
        torch.nn.Flatten(), torch.nn.Linear(4 * 14 * 14, 3),
    )  # fmt: skip
    stand_in(monkeypatch, deep)
    assert cli.main(["explain", "cat", "--method", "cam,hires-cam", "--out", "x.png"]) == 1
    err = capsys.readouterr().err
    assert "cat, CAM is left out: CAM is the score cell by cell" in err
    assert (here / "x.png").exists()
    assert cli.main(["explain", "cat", "--method", "cam", "--out", "y.png"]) == 1
    assert not (here / "y.png").exists()


@pytest.mark.parametrize("name", ["scenes-cnn", "digits-cnn"])
def test_a_network_trained_here_explains_a_photo_and_names_its_own_classes(
    here, monkeypatch, capsys, name
):
    own = LOAD(name, device="cpu")
    monkeypatch.setattr(xai_lab, "load", lambda *_, **__: own)
    ask = ["explain", "cat", "--model", name, "--method", "cam,saliency", "--out"]
    assert cli.main([*ask, "a.png"]) == 0
    assert cli.main([*ask, "a.html"]) == 0
    (asked,) = set(re.findall(r"--target (\S+)", capsys.readouterr().out))
    assert {word.replace("-", " ") for word in asked.split(",")} <= set(own.labels)


def test_the_cost_of_score_cam_is_said_to_somebody_who_watches(seen, monkeypatch, capsys):
    clock = iter(range(0, 10**6, 24))  # a batch of eight seems to take 24 seconds
    monkeypatch.setattr(cli.time, "perf_counter", lambda: next(clock))
    ask = ["explain", "cat", "--method", "score-cam", "--channels", "20", "--device", "cpu"]
    assert cli.main(ask) == 0
    assert "Score-CAM" not in capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert cli.main(ask) == 0
    assert (
        "Score-CAM runs the network 20 times, which takes about 60 seconds; --channels 10 tries "
        "only the 10 channels that vary most" in capsys.readouterr().err
    )


# Integrated Gradients


@pytest.fixture
def scenes(monkeypatch):
    """Small network, whose passes cost little."""
    own = LOAD("scenes-cnn", device="cpu")
    monkeypatch.setattr(xai_lab, "load", lambda *_, **__: own)
    return own


def sum_of_pixels():
    """Network of two classes: the sum of all pixels times 0.001, and the same with its sign."""
    model = torch.nn.Sequential(
        torch.nn.AvgPool2d(224), torch.nn.Flatten(), torch.nn.Linear(3, 3, bias=False)
    )
    torch.nn.init.zeros_(model[2].weight)
    with torch.no_grad():
        model[2].weight[0], model[2].weight[1] = 10.0, -10.0
    return model


@pytest.mark.parametrize(
    ("asked", "settings"),
    [
        (["--baseline", "blur"], {"baseline": "blur", "tol": 0.01}),
        (["--tol", "0.2", "--most", "20"], {"tol": 0.2, "most": 20}),
        (["--steps", "3", "--baseline", "white"], {"steps": 3, "baseline": "white"}),
        (
            "--baseline black,noise --baseline blur --samples 2 --seed 5 --steps 2".split(),
            {"baseline": ["black", "noise", "blur"], "samples": 2, "seed": 5, "steps": 2},
        ),
    ],
)
def test_integrated_gradients_are_the_packages_own(seen, scenes, asked, settings):
    assert cli.main(["explain", "cat", *IG, *asked, "--target", "heart,drop"]) == 0
    (one,) = seen
    x = scenes.preprocess("cat")
    for target in one.targets:
        (map,) = one.of(target)
        found = xai_lab.path_integral(
            scenes.model, x, target.index, normalisation=scenes.normalisation, **settings
        )
        torch.testing.assert_close(map.attribution, found.attribution)
        assert map.account.passes == found.passes[0]
        assert map.account.gap == pytest.approx(found.gap.item(), rel=1e-3, abs=1e-5)
        assert map.account.difference == pytest.approx(found.difference.item(), rel=1e-5)
        assert map.account.score == pytest.approx(target.score, rel=1e-5)


@pytest.mark.parametrize("name", ["ig", "IG", "integrated-gradients", "Integrated_Gradients"])
def test_integrated_gradients_have_two_names(name):
    assert cli.methods(f"saliency,{name},ig") == ["saliency", "integrated-gradients"]


def test_baselines_of_the_command_are_those_of_the_package():
    from xai_lab.baselines import MADE

    assert set(cli.BASELINES) == {*MADE, "noise"}


def test_the_baseline_is_made_in_pixels_of_the_network_asked(seen, monkeypatch):
    own = LOAD("scenes-cnn", device="cpu")
    shifted = type(own)(
        "own", sum_of_pixels(), ["a", "b", "c"],
        lambda image: torch.full((3, 224, 224), 0.3) * 2 - 1, (0.5,) * 3, (0.5,) * 3,
    )  # fmt: skip
    monkeypatch.setattr(xai_lab, "load", lambda *_, **__: shifted)
    assert cli.main(["explain", "cat", *IG, "--target", "a"]) == 0
    (found,) = seen[0].of(seen[0].targets[0])
    # From −1, which is black, to −0.4: three channels of 10 · 0.6.
    assert found.account.difference == pytest.approx(18, rel=1e-3)
    assert found.attribution.sum().item() == pytest.approx(18, rel=1e-3)
    assert found.account.blind == 0


def test_a_sum_is_told_in_numbers_that_add_up(seen, here, monkeypatch, capsys):
    stand_in(monkeypatch, sum_of_pixels())
    Image.new("RGB", (224, 224), (255, 255, 255)).save(here / "w.png")
    assert cli.main(["explain", "w.png", *IG, "--target", "a,b", "--baseline", "black"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(
        r"Integrated Gradients, a: From black: S\(x\) = 30.00, S\(baseline\) = -30.00, a "
        r"difference of 60.00. The parts add up to 60.00 after 17 passes, a gap of (<0.1|0.0)%",
        said,
    )
    assert "S(x) = -30.00, S(baseline) = 30.00, a difference of -60.00" in said
    for_a, _, for_b = said.partition("Integrated Gradients, b:")
    assert "The baseline has the higher score" not in for_a
    assert "The baseline has the higher score" in for_b
    assert (
        seen[0]
        .of(seen[0].targets[0])[0]
        .account.short.endswith("%, 17 passes, from black (S = -30.00)")
    )
    assert cli.main(["explain", "w.png", *IG, "--baseline", "mean,black"]) == 0
    assert "Next: xai-lab explain w.png --method ig --baseline mean,black --target a,b" in (
        capsys.readouterr().out
    )


def test_pixels_of_the_baselines_colour_are_counted(seen, here, monkeypatch, capsys):
    stand_in(monkeypatch, sum_of_pixels())
    image = Image.new("RGB", (224, 224), (255, 255, 255))
    image.paste((0, 0, 0), (0, 0, 224, 56))
    image.paste((1, 0, 1), (0, 56, 224, 112))
    image.paste((3, 0, 0), (0, 112, 224, 168))
    image.save(here / "dark.png")
    ask = ["explain", "dark.png", *IG, "--target", "a", "--baseline"]
    assert cli.main([*ask, "black"]) == 0
    assert "50% of the pixels have the baseline's own colour" in " ".join(
        capsys.readouterr().out.split()
    )
    assert cli.main([*ask, "black,white"]) == 0  # no pixel has both colours
    assert "own colour" not in capsys.readouterr().out
    shares = [one.of(one.targets[0])[0].account.blind for one in seen]
    assert shares == [pytest.approx(0.5, abs=0.01), 0]  # the edge of the photo is cropped


def test_a_gap_that_is_not_reached_is_said_everywhere(here, scenes, capsys):
    ask = ["explain", "cat", *IG, "--tol", "1e-9", "--most", "12", "--out", "r.html"]
    assert cli.main(ask) == 0
    out, err = capsys.readouterr()
    assert "could not be reached in 12 passes; raise --most" in err
    assert err.count("\n") == 1
    assert "after 12 passes" in " ".join(out.split())
    page = (here / "r.html").read_text(encoding="utf-8")
    assert "could not be reached in 12 passes" in page
    assert "S(baseline) = 19.09" in page
    assert "baseline black, tol 1e-09 in at most 12 steps" in page


def test_too_few_steps_are_said(here, scenes, capsys):
    assert cli.main(["explain", "cat", *IG, "--steps", "2", "--out", "x.png"]) == 0
    assert "--tol 0.01 in place of --steps looks closer" in capsys.readouterr().err
    assert cli.main(["explain", "cat", *IG, "--out", "x.png"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert 0 < float(re.search(r"a gap of <?([\d.]+)%", " ".join(out.split()))[1]) <= 1


def test_a_photo_that_is_its_own_baseline_is_said(here, scenes, capsys):
    Image.new("RGB", (64, 64)).save(here / "night.png")
    assert cli.main(["explain", "night.png", *IG, "--out", "x.png"]) == 0
    assert "this is its own baseline" in capsys.readouterr().err
    assert cli.main(["explain", "night.png", *IG, "--baseline", "white", "--out", "x.png"]) == 0
    assert capsys.readouterr().err == ""


def test_the_page_says_what_a_baseline_hides_and_repeats_byte_for_byte(here, scenes):
    ask = ["explain", "cat", *IG, "--baseline", "noise", "--samples", "2", "--target", "top2"]
    pages = []
    for seed in (1, 1, 2):
        torch.manual_seed(len(pages))
        assert cli.main([*ask, "--out", "r.html", "--seed", str(seed)]) == 0
        pages.append((here / "r.html").read_text(encoding="utf-8"))
    assert pages[0] == pages[1] != pages[2].replace("seed 2", "seed 1")
    assert "black pixels from a black baseline" in pages[0]
    assert "baseline noise (2 draws), tol 0.01 in at most 200 steps, seed 1" in pages[0]
    assert pages[0].count("S(baseline) = ") == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--method", "ig", "--baseline", "blu"], "did you mean blur?"),
        (["--method", "ig", "--baseline", "pad"], "for a photo there are black, white"),
        (["--method", "ig", "--baseline", ","], "no baseline was named"),
        (["--baseline", "blur"], "--baseline is of no use to saliency"),
        (["--method", "grad-cam", "--tol", "0.1"], "add --method ig"),
        (["--method", "grad-cam", "--steps", "9"], "--steps is of no use"),
        (["--method", "ig", "--tol", "0.1", "--steps", "9"], "exclude each other"),
        (["--method", "ig", "--most", "20", "--steps", "9"], "exclude each other"),
        (["--method", "ig", "--tol", "0"], "a share between 0 and 1"),
        (["--method", "ig", "--tol", "nan"], "a share between 0 and 1"),
        (["--method", "ig", "--tol", "1"], "a share between 0 and 1"),
        (["--method", "ig", "--most", "8"], "at least 9"),
        (["--method", "ig", "--steps", "0"], "at least 1"),
        (["--method", "integrated"], "did you mean integrated-gradients"),
    ],
)
def test_a_path_that_cannot_be_is_a_misuse(here, monkeypatch, capsys, arguments, said):
    monkeypatch.setattr(xai_lab, "load", lambda *_, **__: pytest.fail("the network was loaded"))
    assert cli.main(["explain", "cat", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not list(here.iterdir())


# Names and files


def test_without_out_no_file_is_ever_replaced(seen, here):
    (here / "cat-explained.png").write_bytes(b"mine")
    for _ in range(2):
        assert cli.main(["explain", "cat", "--method", "saliency"]) == 0
    assert (here / "cat-explained.png").read_bytes() == b"mine"
    assert (here / "cat-explained-2.png").exists()
    assert (here / "cat-explained-3.png").exists()


def test_a_file_that_is_named_is_replaced_and_said_so(seen, here, capsys):
    (here / "old.png").write_bytes(b"old")
    assert cli.main(["explain", "cat", "--method", "saliency", "--out", "old.png"]) == 0
    assert (here / "old.png").read_bytes() == b"PNG"
    assert "Replaced old.png" in capsys.readouterr().out


def test_the_photo_itself_is_never_replaced(seen, here, capsys):
    photo = here / "mine.png"
    data.photo("cat").save(photo)
    before = photo.read_bytes()
    assert cli.main(["explain", "mine.png", "--out", str(photo)]) == 2
    assert photo.read_bytes() == before
    assert "overwritten" in capsys.readouterr().err


def test_a_folder_takes_one_picture_a_photo(seen, here):
    (here / "maps").mkdir()
    assert cli.main(["explain", "cat", "coffee", "--method", "saliency", "--out", "maps"]) == 0
    names = sorted(path.name for path in (here / "maps").iterdir())
    assert names == ["cat-explained.png", "coffee-explained.png"]


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_failed_write_leaves_what_was_there(seen, here, monkeypatch, capsys, old):
    if old:
        (here / "x.png").write_bytes(old)
    whole = Path.write_bytes

    def full(path, content):
        whole(path, content[:1])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", full)
    assert cli.main(["explain", "cat", "--method", "saliency", "--out", "x.png"]) == 1
    assert "x.png could not be written: No space left on device" in capsys.readouterr().err
    assert [path.read_bytes() for path in here.iterdir()] == ([old] if old else [])


def test_a_missing_folder_is_said_before_any_work(here, monkeypatch, capsys):
    monkeypatch.setattr(xai_lab, "load", lambda *_: pytest.fail("the network was loaded"))
    assert cli.main(["explain", "cat", "--out", "missing/x.png"]) == 1
    assert "there is no folder missing" in capsys.readouterr().err


def test_a_folder_that_may_not_be_written_is_said(here, monkeypatch, capsys):
    (here / "locked").mkdir(mode=0o500)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    assert cli.main(["explain", "cat", "--out", "locked/x.png"]) == 1
    assert "nothing can be written" in capsys.readouterr().err


# Photos of every kind


@pytest.fixture(scope="module")
def plain():
    """Small colour photo."""
    return data.photo("flower").resize((80, 60))


def inputs_of(image, here, seen, **options):
    """Save an image, explain it, and return what the network got."""
    image.save(here / "photo.tif" if image.mode == "CMYK" else here / "photo.png", **options)
    (path,) = here.glob("photo.*")
    assert cli.main(["explain", path.name, "--method", "saliency"]) == 0
    path.unlink()
    return seen[-1].inputs


@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda p: p.convert("RGBA"), id="RGBA, opaque"),
        pytest.param(
            lambda p: Image.merge("CMYK", [*(c.point(lambda v: 255 - v) for c in p.split()),
                                           Image.new("L", p.size)]),
            id="CMYK",
        ),
    ],
)  # fmt: skip
def test_another_kind_of_file_is_the_same_photo(plain, here, seen, convert):
    expected = inputs_of(plain, here, seen)
    torch.testing.assert_close(inputs_of(convert(plain), here, seen), expected)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_photo_is_seen_upright(plain, here, seen, orientation):
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = inputs_of(plain, here, seen)
    torch.testing.assert_close(inputs_of(plain.transpose(turn), here, seen, exif=exif), expected)


def test_a_grey_photo_is_seen_in_three_equal_channels(plain, here, seen):
    grey = plain.convert("L")
    expected = inputs_of(Image.merge("RGB", [grey] * 3), here, seen)
    torch.testing.assert_close(inputs_of(grey, here, seen), expected)


def test_sixteen_bits_are_scaled_rather_than_clipped(plain, here, seen):
    grey = plain.convert("L")
    expected = inputs_of(grey, here, seen)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    assert deep.mode.startswith("I;16")
    got = inputs_of(deep, here, seen)
    torch.testing.assert_close(got, expected, atol=0.02, rtol=0)  # one grey level is 0.008


def test_what_is_transparent_lies_on_white(plain, here, seen):
    clear = plain.convert("RGBA")
    clear.putalpha(0)
    expected = inputs_of(Image.new("RGB", plain.size, "white"), here, seen)
    torch.testing.assert_close(inputs_of(clear, here, seen), expected)


def header_of_a_huge_png(width, height):
    """PNG of a few bytes that says it is enormous."""

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", size), chunk(b"IDAT", zlib.compress(bytes(99))), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def truncated():
    """First half of a JPEG."""
    buffer = io.BytesIO()
    data.photo("flower").save(buffer, "JPEG")
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(lambda: b"Dear diary", "is not an image", id="text"),
        pytest.param(lambda: b"", "is not an image", id="empty"),
        pytest.param(truncated, "damaged or cut off", id="truncated"),
        pytest.param(lambda: header_of_a_huge_png(12000, 12000), "million pixels", id="enormous"),
        pytest.param(lambda: header_of_a_huge_png(60000, 60000), "million pixels", id="bomb"),
    ],
)
def test_a_bad_photo_is_one_sentence_and_no_file(here, monkeypatch, capsys, content, said):
    monkeypatch.setattr(xai_lab, "load", lambda *_: pytest.fail("the network was loaded"))
    (here / "bad.jpg").write_bytes(content())
    assert cli.main(["explain", "bad.jpg"]) == 1
    out, err = capsys.readouterr()
    assert said in err
    assert out == ""
    assert err.startswith("xai-lab: ")
    assert err.count("\n") == 1
    assert [path.name for path in here.iterdir()] == ["bad.jpg"]


def test_one_bad_photo_does_not_stop_the_others(seen, here, capsys):
    (here / "bad.jpg").write_bytes(b"Dear diary")
    assert cli.main(["explain", "bad.jpg", "missing.jpg", "cat", "--method", "saliency"]) == 1
    out, err = capsys.readouterr()
    assert (here / "cat-explained.png").exists()
    assert err.count("\n") == 2
    assert "Wrote cat-explained.png" in out


# What may be asked


@pytest.mark.parametrize(
    ("target", "labels"),
    [
        ("football-helmet", ["football helmet"]),
        ("Football_Helmet", ["football helmet"]),
        ("560", ["football helmet"]),
        ("top2", ["football helmet", "bobsled"]),
        ("top1,goldfish,1", ["football helmet", "goldfish"]),
        ("jack-o'-lantern", ["jack-o'-lantern"]),
    ],
)
def test_a_class_can_be_named_in_several_ways(net, target, labels):
    guesses = net.predict(net.preprocess("astronaut"), top=1000)[0]
    assert [guess.label for guess in cli.asked_about(target, guesses)] == labels


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("helmett", "football helmet"),
        ("hound", "bloodhound"),
        ("1000", "classes 0 to 999"),
        ("-1", "classes 0 to 999"),
        ("top0", "top1 to top1000"),
        ("", "no such class"),
    ],
)
def test_a_class_that_does_not_exist_is_a_misuse_with_a_hint(net, target, said):
    guesses = net.predict(net.preprocess("astronaut"), top=1000)[0]
    with pytest.raises(cli.MisuseError, match=said):
        cli.asked_about(target, guesses)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "usage"),
        (["explian"], "invalid choice"),
        (["explain"], "PHOTO"),
        (["explain", "cat", "--method", "salency"], "did you mean saliency"),
        (["explain", "cat", "--method", ","], "no method was named"),
        (["explain", "cat", "--samples", "1"], "at least 2"),
        (["explain", "cat", "--samples", "many"], "not a whole number"),
        (["explain", "cat", "--noise", "-0.1"], "share of the photo's range"),
        (["explain", "cat", "--noise", "nan"], "share of the photo's range"),
        (["explain", "cat", "--seed", "-1"], "at least 0"),
        (["explain", "cat", "--top", "0"], "at least 1"),
        (["explain", "cat", "--out", "x.jpg"], "ends in .png"),
        (["explain", "cat", "coffee", "--out", "x.png"], "holds one photo"),
    ],
)
def test_a_misuse_is_said_with_exit_code_2(here, capsys, arguments, said):
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert said in err
    assert out == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "resnet5"], "resnet50"),
        (["--model", "timm/no_such_net"], "timm has no model"),
        (["--model", "resnet50"], "hub cannot be reached"),
        (["--device", "cuda:99"], "--device cuda:99 cannot be used here"),
        (["--device", "toaster"], "--device toaster cannot be used here"),
    ],
)
def test_a_model_or_device_that_cannot_be_had_is_one_sentence(
    tmp_path, monkeypatch, capsys, arguments, said
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    assert cli.main(["explain", "cat", *arguments]) == 1
    err = [line for line in capsys.readouterr().err.splitlines() if "xai-lab: " in line]
    assert len(err) == 1
    assert said in err[0]


def test_a_method_that_does_not_fit_the_model_is_one_sentence(here, monkeypatch, capsys):
    smooth = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(4), torch.nn.SiLU(), torch.nn.Flatten(), torch.nn.Linear(48, 3)
    )
    stand_in(monkeypatch, smooth)
    assert cli.main(["explain", "cat", "--method", "guided-backprop"]) == 1
    assert "this model has none" in capsys.readouterr().err


def test_a_flat_score_is_said_on_stderr_and_in_the_report(here, monkeypatch, capsys):
    dead = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 3), torch.nn.ReLU()
    )
    torch.nn.init.constant_(dead[2].bias, -99)
    stand_in(monkeypatch, dead)
    ask = ["explain", "cat", "--method", "saliency", "--target", "top2", "--out"]
    assert cli.main([*ask, "r.html"]) == 0
    assert cli.main([*ask, "r.png"]) == 0
    assert "zero everywhere" in capsys.readouterr().err
    page = (here / "r.html").read_text(encoding="utf-8")
    assert "not the same as" in page
    assert "nan" not in re.sub(r'"data:[^"]*"', "", page)


def test_ctrl_c_is_130_without_a_traceback(here, monkeypatch, capsys):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(xai_lab, "load", stopped)
    assert cli.main(["explain", "cat"]) == 130
    assert capsys.readouterr().err == "xai-lab: stopped\n"


def test_an_error_nobody_foresaw_points_to_the_doctor(here, monkeypatch, capsys):
    def broken(*_, **__):
        raise RuntimeError("operator torchvision::nms\ndoes not exist")

    monkeypatch.setattr(xai_lab, "load", broken)
    assert cli.main(["explain", "cat"]) == 1
    err = capsys.readouterr().err
    assert "operator torchvision::nms does not exist. `xai-lab doctor`" in err
    monkeypatch.setenv("XAI_LAB_TRACEBACK", "1")
    with pytest.raises(RuntimeError):
        cli.main(["explain", "cat"])


# Help


def test_help_is_quick_and_complete():
    code = (
        "import sys; from xai_lab.cli import main; main(['--version'])\n"
        "for command in ([], ['explain'], ['doctor']): assert main([*command, '--help']) == 0\n"
        "heavy = {'torch', 'timm', 'torchvision', 'matplotlib', 'transformers', 'skimage'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"xai-lab {xai_lab.__version__}\n")
    assert "LOADED []" in done.stdout
    for text in [*METHODS, *data.PHOTOS, "exit codes", "examples", "130  stopped"]:
        assert text in done.stdout


def test_a_reader_who_leaves_is_not_an_error():
    process = subprocess.Popen(
        [sys.executable, "-m", "xai_lab", "explain", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=120) in (0, 141)


def test_a_terminal_without_unicode_is_no_reason_to_fail(seen, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert cli.main(["explain", "cat", "--method", "saliency"]) == 0
    terminal.flush()
    assert b"####" in terminal.buffer.getvalue()
