"""`xai-lab explain` for frames: a folder or an animated file in, an overlaid GIF out."""

import gc
import io
import os
import tracemalloc
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

import xai_lab
from xai_lab import animation, cli
from xai_lab.models import Loaded

LOAD = xai_lab.load


@pytest.fixture(scope="module")
def net():
    """Network that sees how red, green or blue a place is, on a grid of 4 × 4 cells."""
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 3, 8, stride=8, bias=False),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(3, 3, bias=False),
    ).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(3)[..., None, None].expand(3, 3, 8, 8) / 64)
        model[4].weight.copy_(5 * torch.eye(3))
    transform = transforms.Compose(
        [transforms.Resize(32), transforms.CenterCrop(32), transforms.ToTensor()]
    )
    return Loaded("own", model, ["red", "green", "blue"], transform, (0,) * 3, (1,) * 3)


@pytest.fixture
def here(tmp_path, monkeypatch, net):
    """Folder to run `main` in, with the network already loaded."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(xai_lab, "load", lambda name, device=None: net)
    return tmp_path


def spot(strength, side=32, colour=0, width=None):
    """Dark picture with a spot of one colour in the upper left."""
    pixels = np.zeros((side, width or side, 3), np.uint8)
    pixels[: side // 2, : side // 2, colour] = strength
    return Image.fromarray(pixels)


def folder(here, pictures, name="frames"):
    """Write pictures by their file names."""
    (here / name).mkdir()
    for file, picture in pictures.items():
        picture.save(here / name / file)
    return name


def animated(path, pictures, **options):
    """Write an animated GIF with Pillow."""
    pictures[0].save(path, save_all=True, append_images=pictures[1:], **options)


def read(path):
    """Frames of a GIF as arrays, and how long each lasts."""
    found, times = [], []
    with Image.open(path) as file:
        for number in range(file.n_frames):
            file.seek(number)
            file.load()
            times.append(file.info.get("duration", 0))
            found.append(np.asarray(file.convert("RGB")).astype(int))
    return found, times


def brightness(frame):
    """How bright the middle of the spot is; magma and grey both grow in lightness."""
    return int(frame[50, 50].sum())


def test_a_folder_becomes_an_animation_in_the_order_in_which_people_count(here, capsys):
    strengths = {"f1.png": 60, "f2.png": 120, "f10.png": 250}
    folder(here, {name: spot(value) for name, value in strengths.items()})
    (here / "frames" / "notes.txt").write_text("no frame")
    assert cli.main(["explain", "frames", "--out", "film.gif"]) == 0
    found, times = read(here / "film.gif")
    assert times == [100] * 3
    assert {frame.shape for frame in found} == {(244, 224, 3)}
    assert brightness(found[0]) < brightness(found[1]) < brightness(found[2])
    out, err = capsys.readouterr()
    assert "3 frames, all explained for red (the best guess for the first one" in out
    assert "Wrote film.gif" in out
    assert err == ""


def test_all_frames_share_one_scale_and_a_frame_is_drawn_alike_wherever_it_stands(here):
    folder(here, {"1.png": spot(100), "2.png": spot(0), "3.png": spot(250), "4.png": spot(100)})
    assert cli.main(["explain", "frames", "--target", "red", "--out", "a.gif"]) == 0
    found, _ = read(here / "a.gif")
    np.testing.assert_array_equal(found[0], found[3])
    # Drawn by itself the faint frame is as bright as the strong one.
    folder(here, {"1.png": spot(100)}, "alone")
    assert cli.main(["explain", "alone", "--out", "b.gif"]) == 0
    assert brightness(found[0]) < brightness(found[2])
    assert brightness(found[0]) < brightness(read(here / "b.gif")[0][0]) - 50


def test_a_frame_without_a_map_is_the_photo_is_counted_and_sets_no_scale(here, capsys):
    folder(here, {"1.png": spot(1), "2.png": spot(250, colour=2)})
    assert cli.main(["explain", "frames", "--target", "red", "--out", "a.gif"]) == 0
    assert "1 of 2 maps are zero everywhere: nothing there speaks for red" in (
        capsys.readouterr().err
    )
    found, _ = read(here / "a.gif")
    assert np.ptp(found[1][50, 50]) < 12  # grey
    # The scale is that of the faint map, 0.02 at most, and not the 1 of an empty one.
    assert found[0][50, 50].sum() > 300


def test_one_class_is_explained_in_all_frames(here, capsys):
    folder(here, {"1.png": spot(250), "2.png": spot(250, colour=1), "3.png": spot(90)})
    assert cli.main(["explain", "frames", "--out", "a.gif"]) == 0
    out = capsys.readouterr().out
    assert "explained for red" in out
    assert "in 1 the best guess is another, mostly green" in out
    assert cli.main(["explain", "frames", "--target", "1", "--out", "b.gif"]) == 0
    assert "explained for green (as asked)" in capsys.readouterr().out


def test_an_animated_file_keeps_its_times_and_its_repetitions(here):
    pictures = [spot(value) for value in (50, 250, 100, 100, 200)]
    animated(here / "in.gif", pictures[:3] + pictures[4:], duration=[40, 500, 70, 120], loop=3)
    assert cli.main(["explain", "in.gif", "--method", "layer-cam", "--out", "out.gif"]) == 0
    assert read(here / "out.gif")[1] == [40, 500, 70, 120]
    assert Image.open(here / "out.gif").info["loop"] == 3
    animated(here / "once.gif", pictures[:2], duration=30)
    assert cli.main(["explain", "once.gif", "--out", "out.gif"]) == 0
    assert "loop" not in Image.open(here / "out.gif").info


def test_integrated_gradients_take_the_same_steps_in_every_frame(here, net, monkeypatch, capsys):
    folder(here, {"1.png": spot(120), "2.png": spot(250)})
    steps, whole = [], xai_lab.path_integral
    monkeypatch.setattr(
        xai_lab,
        "path_integral",
        lambda *a, **k: steps.append((k["steps"], k["tol"])) or whole(*a, **k),
    )
    assert cli.main(["explain", "frames", "--method", "ig", "--steps", "5", "--out", "a.gif"]) == 0
    assert steps == [(5, None)] * 2
    assert cli.main(["explain", "frames", "--method", "ig", "--out", "b.gif"]) == 0
    assert steps[2:] == [(48, None)] * 2
    out, err = capsys.readouterr()
    assert "from black, 5 steps a frame; the parts add up but for" in out
    assert err == ""
    found, _ = read(here / "a.gif")
    # Yellow on the spot, and more of it where the spot is brighter; grey where there is nothing.
    assert found[1][50, 50][0] > found[1][50, 50][2] + 60
    assert brightness(found[0]) < brightness(found[1])
    assert np.ptp(found[1][180, 180]) < 12


@pytest.mark.parametrize("setting", ["tol", "most"])
def test_an_animation_has_no_tolerance(here, capsys, setting):
    folder(here, {"1.png": spot(120)})
    ask = ["explain", "frames", "--method", "ig", f"--{setting}"]
    assert cli.main([*ask, "0.1" if setting == "tol" else "9"]) == 2
    assert f"--{setting} is for photos and text" in capsys.readouterr().err


def test_frames_that_are_alike_stay_frames_of_their_own(here):
    folder(here, {f"{n}.png": spot(200) for n in range(4)})
    assert cli.main(["explain", "frames", "--out", "a.gif"]) == 0
    assert read(here / "a.gif")[1] == [100] * 4


def test_one_in_so_many_frames_lasts_as_long_as_those_it_stands_for(here):
    animated(
        here / "in.gif", [spot(v) for v in (50, 100, 150, 200, 250)], duration=[10, 20, 30, 40, 50]
    )
    assert cli.main(["explain", "in.gif", "--every", "2", "--out", "out.gif"]) == 0
    found, times = read(here / "out.gif")
    assert times == [30, 70, 50]
    assert brightness(found[0]) < brightness(found[1]) < brightness(found[2])
    folder(here, {f"{n}.png": spot(200) for n in range(5)})
    assert cli.main(["explain", "frames", "--every", "3", "--out", "b.gif"]) == 0
    assert read(here / "b.gif")[1] == [300, 200]


def test_what_a_gif_cannot_count_is_made_up_for_later():
    file = io.BytesIO()
    animation.write_gif(file, [(spot(v), 100 / 3) for v in range(9)])
    times = read(file)[1]
    assert set(times) == {30, 40}
    assert sum(times) == 300


@pytest.mark.parametrize("source", ["still.png", "cat"])
def test_a_still_picture_is_an_animation_of_one_frame(here, source):
    spot(200).save(here / "still.png")
    assert cli.main(["explain", source, "--out", "out.gif"]) == 0
    assert len(read(here / "out.gif")[0]) == 1


def test_pictures_by_name_are_frames_in_the_order_given(here):
    folder(here, {"a.png": spot(50), "b.png": spot(250)})
    assert cli.main(["explain", "frames/b.png", "frames/a.png", "--target", "red", "--out", "x.gif"]) == 0  # fmt: skip  # noqa: E501
    first, second = read(here / "x.gif")[0]
    assert brightness(first) > brightness(second)


@pytest.mark.parametrize("method", ["cam", "saliency", "gradient-x-input", "score-cam"])
def test_any_method_can_be_animated(here, method):
    folder(here, {"1.png": spot(250), "2.png": spot(120, side=64)})
    assert cli.main(["explain", "frames", "--method", method, "--out", "x.gif"]) == 0
    first, second = read(here / "x.gif")[0]
    assert np.ptp(first[50, 50]) > 20
    assert not np.array_equal(first, second)


def test_maps_in_a_film_are_the_packages_own(here, monkeypatch):
    from xai_lab import report

    net, drawn = LOAD("scenes-cnn", device="cpu"), []
    monkeypatch.setattr(xai_lab, "load", lambda name, device=None: net)
    whole = report.overlaid
    monkeypatch.setattr(report, "overlaid", lambda *a: drawn.append(a) or whole(*a))
    pictures = [spot(250), spot(120, colour=1)]
    folder(here, {"1.png": pictures[0], "2.png": pictures[1]})
    for name, function in (("hires-cam", xai_lab.hires_cam), ("saliency", xai_lab.saliency)):
        drawn.clear()
        ask = ["explain", "frames", "--method", name, "--target", "0", "--out", "x.gif"]
        assert cli.main(ask) == 0
        maps = [function(net.model, net.preprocess(picture), 0) for picture in pictures]
        flats = [xai_lab.plot.flat(one, signed=name == "hires-cam") for one in maps]
        for (values, *_), expected in zip(drawn, flats, strict=True):
            np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)
        assert {limit for _, _, limit, _ in drawn} == {max(map(xai_lab.plot.limit, flats))}


# What goes wrong


def test_broken_frames_are_listed_counted_and_left_out(here, capsys):
    folder(here, {f"{n:02}.png": spot(20 * n + 20) for n in range(10)})
    for n in range(1, 8):
        (here / "frames" / f"{n:02}.png").write_bytes(b"Dear diary")
    assert cli.main(["explain", "frames", "--out", "x.gif"]) == 1
    out, err = capsys.readouterr()
    assert "3 frames" in out
    assert "7 of 10 frames cannot be read and are left out: 01.png is not an image" in err
    assert "05.png" in err
    assert "06.png" not in err
    assert "and 2 more" in err
    found, _ = read(here / "x.gif")
    assert len(found) == 3
    assert brightness(found[0]) < brightness(found[1]) < brightness(found[2])


def test_a_broken_first_frame_leaves_the_choice_of_the_class_to_the_next(here, capsys):
    folder(here, {"1.png": spot(9), "2.png": spot(250, colour=2)})
    (here / "frames" / "1.png").write_bytes(b"")
    assert cli.main(["explain", "frames", "--out", "x.gif"]) == 1
    assert "explained for blue" in capsys.readouterr().out


def test_an_animated_file_that_is_cut_off_gives_the_frames_it_has(here, capsys):
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)) for _ in range(4)]
    animated(here / "in.gif", noise, duration=50)
    content = (here / "in.gif").read_bytes()
    (here / "in.gif").write_bytes(content[: int(0.6 * len(content))])
    assert cli.main(["explain", "in.gif", "--out", "out.gif"]) == 1
    assert "frame 3: " in capsys.readouterr().err
    assert len(read(here / "out.gif")[0]) == 2


def test_sizes_may_differ_and_that_is_said(here, capsys):
    folder(here, {"1.png": spot(250), "2.png": spot(250, side=48, width=90)})
    assert cli.main(["explain", "frames", "--out", "x.gif"]) == 0
    assert "2 sizes (32 × 32, 90 × 48)" in capsys.readouterr().err
    assert len({frame.shape for frame in read(here / "x.gif")[0]}) == 1


def nothing(here):
    (here / "frames").mkdir()
    (here / "frames" / "notes.txt").write_text("no frame")


def all_broken(here):
    (here / "frames").mkdir()
    (here / "frames" / "1.png").write_bytes(b"Dear diary")


def fine(here):
    folder(here, {"1.png": spot(250)})


def moving(here):
    animated(here / "in.gif", [spot(9), spot(99)], duration=50)


def two_folders(here):
    fine(here)
    folder(here, {"1.png": spot(250)}, "more")


@pytest.mark.parametrize(
    ("make", "arguments", "code", "said"),
    [
        (nothing, ["frames"], 1, "there are no frames in frames"),
        (all_broken, ["frames"], 1, "none of the 1 frames can be read; 1.png is not an image"),
        (fine, ["frames", "--out", "x.png"], 2, "that ends in .gif"),
        (fine, ["frames", "--out", "x.mp4"], 2, "that ends in .gif"),
        (fine, ["frames", "--out", "no/x.gif"], 1, "there is no folder no"),
        (fine, ["frames", "--out", "frames/x.gif"], 2, "would lie among the frames"),
        (fine, ["frames", "--out", "frames"], 2, "would lie among the frames"),
        (fine, ["frames", "--method", "cam,grad-cam"], 2, "shows one map, 2 were asked for"),
        (fine, ["frames", "--layer", "0,1"], 2, "shows one map, 2 were asked for"),
        (fine, ["frames", "--layer", "9"], 2, "no layer '9'"),
        (fine, ["frames", "--method", "cam", "--layer", "1"], 2, "of no use to cam"),
        (fine, ["frames", "--target", "top2"], 2, "shows one class, --target top2 names 2"),
        (fine, ["frames", "--target", "cyan"], 2, "no such class"),
        (fine, ["frames", "cat"], 2, "one folder of frames at a time"),
        (two_folders, ["frames", "more"], 2, "one folder of frames at a time"),
        (moving, ["in.gif", "--out", "in.gif"], 2, "would be overwritten"),
        (nothing, ["missing.gif", "--out", "x.gif"], 1, "no photo 'missing.gif'"),
    ],
)
def test_a_film_that_cannot_be_made_is_one_sentence_and_no_file(
    here, capsys, make, arguments, code, said
):
    make(here)
    before = sorted(here.rglob("*"))
    assert cli.main(["explain", *arguments]) == code
    out, err = capsys.readouterr()
    assert said in err
    assert err.count("\n") == 1
    assert out == ""
    assert sorted(here.rglob("*")) == before


def test_too_many_frames_are_refused_with_the_way_out(here, monkeypatch, capsys):
    folder(here, {f"{n}.png": spot(200) for n in range(7)})
    monkeypatch.setattr(cli, "MOST_FRAMES", 3)
    assert cli.main(["explain", "frames", "--out", "x.gif"]) == 2
    assert "7 frames are more than a GIF can reasonably hold (3); add --every 3" in (
        capsys.readouterr().err
    )
    assert cli.main(["explain", "frames", "--every", "3", "--out", "x.gif"]) == 0
    assert len(read(here / "x.gif")[0]) == 3


def test_a_video_is_answered_with_how_to_take_it_apart(here, capsys):
    (here / "clip.mp4").write_bytes(b"\0" * 99)
    for out in ([], ["--out", "x.gif"]):
        assert cli.main(["explain", "clip.mp4", *out]) == 1
        assert "ffmpeg -i clip.mp4 frames/%04d.png" in capsys.readouterr().err


def test_an_animated_file_without_a_gif_to_write_is_its_first_frame_and_that_is_said(here, capsys):
    animated(here / "in.gif", [spot(250), spot(99), spot(9)], duration=50)
    assert cli.main(["explain", "in.gif", "--method", "cam"]) == 0
    assert "in.gif has 3 frames, this is the first; --out FILE.gif takes all" in (
        capsys.readouterr().err
    )
    assert (here / "in-explained.png").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_film_that_is_stopped_leaves_what_was_there(here, monkeypatch, capsys, error):
    folder(here, {"1.png": spot(250), "2.png": spot(99)})
    (here / "x.gif").write_bytes(b"old")
    whole = animation.write_gif

    def stopped(file, pictures, loop):
        whole(file, [next(pictures)], loop)
        raise error

    monkeypatch.setattr(animation, "write_gif", stopped)
    assert cli.main(["explain", "frames", "--out", "x.gif"]) in (1, 130)
    assert (here / "x.gif").read_bytes() == b"old"
    assert sorted(path.name for path in here.iterdir()) == ["frames", "x.gif"]


def test_without_out_no_file_is_ever_replaced(here):
    folder(here, {"1.png": spot(250)}, "my.frames")
    for _ in range(2):
        assert cli.main(["explain", "my.frames"]) == 0
    assert sorted(path.name for path in here.glob("*.gif")) == [
        "my.frames-explained-2.gif",
        "my.frames-explained.gif",
    ]
    (here / "films").mkdir()
    assert cli.main(["explain", "my.frames", "--out", "films"]) == 0
    assert (here / "films" / "my.frames-explained.gif").exists()


def test_the_photo_cat_stays_a_photo_where_a_folder_has_its_name(here):
    folder(here, {"1.png": spot(250)}, "cat")
    assert cli.main(["explain", "cat", "--method", "cam"]) == 0
    assert (here / "cat-explained.png").exists()
    assert cli.main(["explain", "./cat"]) == 0
    assert (here / "cat-explained.gif").exists()


def test_memory_does_not_grow_with_the_number_of_frames(here, monkeypatch):
    from xai_lab import report

    drawn, alive, held = [], [], []
    whole = report.captioned

    def watched(*arguments):
        picture = whole(*arguments)
        drawn.append(weakref.ref(picture))
        alive.append(sum(reference() is not None for reference in drawn))
        if len(drawn) == held[0]:
            gc.collect()  # what waits to be collected is not held
            held.append(tracemalloc.get_traced_memory()[0])
        return picture

    def drawing(count):
        folder(here, {f"{n}.png": spot(200 + n) for n in range(count)}, f"of{count}")
        drawn.clear()
        held[:] = [count]
        tracemalloc.start()
        assert cli.main(["explain", f"of{count}", "--method", "saliency", "--out", "x.gif"]) == 0
        tracemalloc.stop()
        assert len(drawn) == count
        return held[-1]

    monkeypatch.setattr(report, "captioned", watched)
    drawing(2)  # imports what is needed
    few, many = drawing(3), drawing(30)
    assert many < few + 50_000  # the maps of 27 frames are 110 kB
    assert max(alive) <= 2  # one is let go when the next has been drawn


def test_no_file_stays_open(here):
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    animated(here / "in.gif", [spot(9), spot(99)], duration=50)
    cli.main(["explain", "in.gif", "--out", "x.gif"])
    before = len(os.listdir("/proc/self/fd"))
    cli.main(["explain", "in.gif", "--out", "x.gif"])
    assert len(os.listdir("/proc/self/fd")) <= before
